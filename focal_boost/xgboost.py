"""Focal loss as an objective and a metric of XGBoost."""

from __future__ import annotations

import ctypes
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import xgboost
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from xgboost import collective

from focal_boost import _xgboost_rounds as rounds
from focal_boost._objective import Objective
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["FocalObjective", "train"]

# XGBoost's built-in softmax takes twice the diagonal of the curvature, an upper bound of the whole matrix for K = 2.
_SOFTMAX_HESSIAN_SCALE = 2.0

# Whether FocalClassifier may pass labels of shape (n, K).
MULTILABEL = True

# Of margins.
MARGIN_DTYPE = np.float32

# base_score is stored as a float32 probability: the margins beyond which it would be rounded to 0 or 1.
_MARGIN_LIMIT = 16.0


class FocalObjective(Objective):
    """A focal loss as XGBoost wants it: the same object for train, cv, XGBClassifier and Dask.

    Parameters
    ----------
    loss : BinaryFocalLoss or MulticlassFocalLoss
        What to minimise.
    intercept : float, or array-like of shape (K,) for the multiclass loss or K labels, default=None
        Margin from which boosting starts, usually ``loss.fit_intercept_only(y, sample_weight)``. None is 0. XGBoost
        never estimates it for an objective of one's own; it reaches the booster through `params`.
    n_threads : int or None, default=None
        Threads for gradients and metrics, where the kernels are compiled. None is the ``nthread`` of the DMatrix where
        it has one, else all processors.
    scale : float, ndarray of shape (K,) for K labels, or None, default=None
        Factor on the derivatives, for settings of the booster that are absolute numbers (L2 penalty, least curvature
        of a leaf, least gain). None makes them mean what they mean for the log loss, whatever gamma and alpha are:
        ``loss.log_loss_scale(intercept)``. Metrics are not scaled.

    Raises
    ------
    TypeError
        If `loss` is not one of the two losses.
    ValueError
        If the intercept is not finite or has the wrong shape, or the scale is not positive.

    Notes
    -----
    Stateless apart from its parameters, hence picklable and safe in threads; no array that is passed in is written
    to. Row weights of the DMatrix are applied in gradients and metrics.

    A callable objective together with the objective string in `params` makes a model file that needs no Python code:
    the file names XGBoost's own logistic or softmax link. Margins are log-odds, so ``predict`` gives the class
    probabilities, and XGBoost's own metrics (``logloss`` or ``mlogloss`` unless others are named) are right. Only a
    loss of ``link="focal"`` has margins of another meaning:
    ``loss.predict_proba(booster.predict(data, output_margin=True))``.

    An estimator of XGBoost asks the objective for gradients alone, so it has to be told where to start:
    ``XGBClassifier(objective=objective, base_score=objective.params["base_score"])``. Left out, boosting starts from 0
    and the intercept has no effect.

    With ``device="cuda"`` and CuPy (the extra ``cuda``) gradients are computed on the GPU and stay there; XGBoost
    brings the margins through host memory, which `focal_boost.xgboost.train` spares. Where XGBoost finds no GPU it
    trains on the processor, and so does the objective.

    A DMatrix with labels of shape (n, K) and a BinaryFocalLoss train K labels that are each yes or no, with one tree a
    label in each round or, with ``multi_strategy="multi_output_tree"``, one tree whose leaves hold a value for each.

    Examples
    --------
    >>> import numpy as np, xgboost as xgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.xgboost import FocalObjective
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> objective = FocalObjective(loss, intercept=loss.fit_intercept_only(y))
    >>> dtrain = xgb.DMatrix(X, y)
    >>> booster = xgb.train(objective.params, dtrain, 5, obj=objective)
    >>> booster.predict(dtrain).shape
    (200,)
    """

    _takes_labels = True

    @property
    def params(self) -> dict[str, Any]:
        """What the booster must be told besides: the objective string (its link), base_score, and num_class."""
        if self.loss.n_outputs == 1:
            probability = expit(np.clip(self.intercept, -_MARGIN_LIMIT, _MARGIN_LIMIT)).tolist()
            return {"objective": "binary:logistic", "base_score": probability}
        return {
            "objective": "multi:softprob",
            "num_class": self.loss.n_classes,
            "base_score": [float(margin) for margin in self.intercept],
        }

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike | xgboost.DMatrix, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Gradient and curvature of each row, weights applied.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            Either XGBoost's own form, ``(margins, DMatrix)``, or the one of its scikit-learn estimators,
            ``(labels, margins, sample_weight)``.

        Returns
        -------
        gradient, hessian : ndarray of shape (n,) or (n, K), float32
            CuPy arrays where the booster that calls trains on a GPU or the margins lie on one, else NumPy arrays.
        """
        labels: Any
        weights: Any
        if isinstance(y_pred, xgboost.DMatrix):
            margins, n_threads = y_true, self._threads(y_pred)
            labels, weights = _labels_and_weights(y_pred)
        else:
            margins, n_threads = y_pred, self.n_threads
            labels, weights = y_true, sample_weight
        kernels, context = rounds.kernels_of_caller(margins, self.loss)
        with context:
            margins = kernels.asarray(margins)
            outputs = [kernels.arrays.empty(margins.shape, dtype=np.float32) for _ in range(2)]
            return self._derivatives(labels, margins, weights, outputs, n_threads)

    def _derivatives(
        self, labels: Any, margins: Any, weights: Any, outputs: Any, n_threads: int | None
    ) -> tuple[Any, Any]:
        """Gradient and curvature at the scale of XGBoost, into arrays that are given."""
        gradient, hessian = outputs
        return self.loss.gradient_hessian(
            labels,
            margins,
            weights,
            gradient,
            hessian,
            n_threads,
            hessian_scale=1.0 if self.loss.n_outputs == 1 else _SOFTMAX_HESSIAN_SCALE,
            scale=self.scale,
        )

    @overload
    def metric(self, y_true: ArrayLike, y_pred: xgboost.DMatrix) -> list[tuple[str, float]]: ...

    @overload
    def metric(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float: ...

    def metric(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> list[tuple[str, float]] | float:
        """Weighted focal loss and log loss on margins, for `custom_metric` or ``eval_metric=``.

        Parameters
        ----------
        y_true : ndarray of shape (n,) or (n, K)
            Labels; in XGBoost's own form, ``metric(margins, dmatrix)``, the margins.
        y_pred : ndarray of shape (n,) or (n, K), or xgboost.DMatrix
            Margins; in XGBoost's own form the data, with labels and weights.
        sample_weight : ndarray of shape (n,), default=None
            Finite weights >= 0.

        Returns
        -------
        list of (str, float), or float
            For XGBoost's own form ``focal_loss`` and then ``log_loss``, the place that early stopping follows; for its
            scikit-learn estimators, which take one number, the focal loss.

        Notes
        -----
        XGBoost hands values of metric functions on with six decimals. Its built-in ``logloss`` and ``mlogloss``, which
        are the log loss too (but for ``link="focal"``), keep all of them: early stopping has no need of this method.

        In distributed training, where XGBoost averages over workers whatever they report, each reports the mean over
        the rows of all of them.
        """
        if isinstance(y_pred, xgboost.DMatrix):
            labels, weights = _labels_and_weights(y_pred)
            functions = {"focal_loss": self.loss, "log_loss": self.loss.log_loss}
            values = _means(list(functions.values()), labels, y_true, weights, self._threads(y_pred))
            return list(zip(functions, values, strict=True))
        return _means([self.loss], y_true, y_pred, sample_weight, self.n_threads)[0]

    def _threads(self, data: xgboost.DMatrix) -> int | None:
        return self.n_threads if self.n_threads is not None else getattr(data, "nthread", None)

    def portable(self, booster: xgboost.Booster) -> xgboost.Booster:
        """Return the booster as it is: a model trained with `params` stands alone.

        The counterpart of the method of the same name for LightGBM, so that code for both libraries reads the same.

        Parameters
        ----------
        booster : xgboost.Booster

        Returns
        -------
        xgboost.Booster
        """
        return booster


def _means(functions: list[Callable[..., float]], labels: Any, scores: Any, weights: Any, *rest: Any) -> list[float]:
    """Weighted means of functions of ``(labels, scores, weights, *rest)``, over the rows of all workers of a training.

    Every worker has to call it equally often, with rows or without. A function that is not a mean over rows is
    averaged all the same, by the weight of the rows.
    """
    if collective.get_world_size() == 1:
        return [function(labels, scores, weights, *rest) for function in functions]
    weight = float(len(labels) if weights is None else np.sum(weights, dtype=np.float64))
    failure = None
    sums = np.zeros(len(functions) + 2)
    if weight > 0:
        try:
            sums[:-2] = [weight * function(labels, scores, weights, *rest) for function in functions]
            sums[-2] = weight
        except Exception as error:
            failure = error
            sums[-1] = 1
    # The others wait for this sum: whoever failed takes part, so that all of them stop.
    sums = collective.allreduce(sums, collective.Op.SUM)
    if failure is not None:
        raise failure
    if sums[-1] > 0:
        raise xgboost.core.XGBoostError("a metric failed on another worker")
    return [float(value) for value in sums[:-2] / sums[-2]]


def _labels_and_weights(data: xgboost.DMatrix) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels and weights where the DMatrix keeps them: not copied each round, and never stale."""
    labels = _info(data, "label")
    weights = _info(data, "weight")
    return labels, weights if weights.size else None


def _info(data: xgboost.DMatrix, field: str) -> NDArray[np.float32]:
    """View of a float field inside a DMatrix that is alive for as long as the caller holds the DMatrix.

    The public getters copy at each call. The view is read through the C interface behind them; where that is not as
    expected (a later version, memory of a GPU), the getters serve.
    """
    try:
        interface_json = ctypes.c_char_p()
        status = xgboost.core._LIB.XGDMatrixGetInfoRef(data.handle, field.encode(), ctypes.byref(interface_json))
        interface = json.loads(interface_json.value or b"{}") if status == 0 else {}
    except AttributeError:
        interface = {}
    if interface.get("typestr") != "<f4" or "stream" in interface:
        copied: NDArray[np.float32] = data.get_float_info(field)
        return copied
    (address, _), shape = interface["data"], tuple(interface["shape"])
    size = math.prod(shape)
    if size == 0:
        return np.empty(0, dtype=np.float32)
    view = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape=(size,))
    view.flags.writeable = False
    return view.reshape(shape)


def train(
    params: dict[str, Any],
    dtrain: xgboost.DMatrix,
    num_boost_round: int = 10,
    *,
    evals: Sequence[tuple[xgboost.DMatrix, str]] | None = None,
    obj: Callable[..., tuple[Any, Any]] | None = None,
    maximize: bool | None = None,
    early_stopping_rounds: int | None = None,
    evals_result: dict[str, Any] | None = None,
    verbose_eval: bool | int | None = True,
    xgb_model: str | os.PathLike[str] | bytearray | xgboost.Booster | None = None,
    callbacks: Sequence[xgboost.callback.TrainingCallback] | None = None,
    custom_metric: Callable[..., Any] | None = None,
    X: Any = None,
) -> xgboost.Booster:
    """Train as ``xgboost.train`` does, to the same model, with fewer copies of margins and gradients.

    It is ``xgboost.train`` that runs: evaluation, callbacks and early stopping are its own. If `obj` is a
    `FocalObjective`, a callback takes over the update of each round. On the processor margins are read where XGBoost
    keeps them, and gradients are written to the same two arrays in each round. On a GPU gradients are computed there,
    from labels and weights that are copied to it once; with `X` the margins stay there too.

    Parameters
    ----------
    params : dict
        Parameters of the booster, `FocalObjective.params` among them. This one and the others before `X` mean what
        they mean to ``xgboost.train``.
    dtrain : xgboost.DMatrix
        Rows to train on, of its own kinds too. Labels and weights may not change in the meantime.
    num_boost_round : int, default=10
        Rounds at most.
    evals : sequence of (DMatrix, str), default=None
        Evaluation sets and their names.
    obj : FocalObjective or callable, default=None
        The objective. Anything but a `FocalObjective` is left to ``xgboost.train``.
    maximize : bool, default=None
        Whether early stopping waits for a larger value of the metric.
    early_stopping_rounds : int, default=None
        Rounds without improvement after which training ends.
    evals_result : dict, default=None
        Filled with the values of the metrics.
    verbose_eval : bool or int, default=True
        Whether, or every how many rounds, metrics are printed.
    xgb_model : xgboost.Booster, or path, default=None
        A model to continue.
    callbacks : sequence of xgboost.callback.TrainingCallback, default=None
        Called besides the one that this function adds.
    custom_metric : callable, default=None
        Such as `FocalObjective.metric`.
    X : array of shape (n, n_features), default=None
        The features that `dtrain` was made of, which it does not keep in a form that the trees of one round can be
        applied to on a GPU: a NumPy or CuPy array, or any other on a GPU. Only used where training is on a GPU, and
        then held in its memory.

    Returns
    -------
    xgboost.Booster

    Raises
    ------
    ValueError
        If `X` has another shape than `dtrain`.

    Notes
    -----
    Margins stay on a GPU only where that is exact: booster ``gbtree`` with one tree a round and output, no categorical
    features, and `X` the data of `dtrain`, which is checked bit by bit after the first round. Otherwise they cross to
    the GPU in each round; the logger ``focal_boost`` says why at level DEBUG.

    Examples
    --------
    >>> import numpy as np, xgboost as xgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.xgboost import FocalObjective, train
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> objective = FocalObjective(loss, intercept=loss.fit_intercept_only(y))
    >>> booster = train(objective.params, xgb.DMatrix(X, y), 5, obj=objective, X=X)
    >>> booster.num_boosted_rounds()
    5
    """
    if isinstance(obj, FocalObjective):
        rounds.check_features(X, dtrain)
        callbacks = [rounds.Rounds(obj, _labels_and_weights, X), *(callbacks or [])]
    else:
        rounds.logger.debug("obj=%r is no FocalObjective: xgboost.train does everything", obj)
    return xgboost.train(
        params,
        dtrain,
        num_boost_round,
        evals=evals,
        obj=obj,
        maximize=maximize,
        early_stopping_rounds=early_stopping_rounds,
        evals_result=evals_result,
        verbose_eval=verbose_eval,
        xgb_model=xgb_model,
        callbacks=callbacks,
        custom_metric=custom_metric,
    )


# ---------------------------------------------------------------------------------------------------------------------
# XGBClassifier and XGBRFClassifier, for FocalClassifier


# Parameters of LightGBM, which XGBoost would only warn of.
_FOREIGN = {"class_weight", "is_unbalance", "unbalance"}


def check_estimator(estimator: Any) -> None:
    """Refuse what focal loss would make XGBoost ignore.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier

    Raises
    ------
    TypeError
        If it is another kind of estimator.
    ValueError
        If a parameter would have no effect; the message names it and what to use instead.
    """
    if not isinstance(estimator, xgboost.XGBClassifier):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}, but focal loss is for classification: pass an XGBClassifier, "
            "an XGBRFClassifier or an LGBMClassifier"
        )
    if estimator.objective not in (None, "binary:logistic", "multi:softprob", "multi:softmax"):
        raise ValueError(
            f"the estimator has objective={estimator.objective!r}, but FocalClassifier brings its own: leave it out"
        )
    params = estimator.get_params()
    for name in _FOREIGN & set(params):
        if params[name] not in (None, False):
            raise ValueError(
                f"the estimator has {name}={params[name]!r}, which XGBoost does not know; use "
                "FocalClassifier(alpha=...) with one weight per class, or alpha='balanced'"
            )
    if params.get("num_class") is not None:
        raise ValueError(
            f"the estimator has num_class={params['num_class']!r}, but the number of classes comes from y: leave it out"
        )
    scale = params.get("scale_pos_weight")
    if scale not in (None, 1):
        raise ValueError(
            f"the estimator has scale_pos_weight={scale!r}, which an objective of one's own does not see; use "
            f"FocalClassifier(alpha={{label: weight}}), e.g. alpha=(1, {scale!r}), or alpha='balanced'"
        )


def fit_estimator(
    estimator: Any,
    loss: BinaryFocalLoss | MulticlassFocalLoss,
    X: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    eval_set: list[tuple[Any, np.ndarray]] | None,
    fit_params: dict[str, Any],
    *,
    intercept: Any = None,
    n_threads: int | None = None,
) -> None:
    """Fit an XGBClassifier, XGBRFClassifier or DaskXGBClassifier in place with a focal loss.

    Parameters
    ----------
    estimator : XGBClassifier, XGBRFClassifier or DaskXGBClassifier
        A clone that belongs to the caller.
    loss : BinaryFocalLoss or MulticlassFocalLoss
    X : array-like of shape (n, n_features)
    y : ndarray of shape (n,)
        Labels 0 to K - 1.
    sample_weight : ndarray of shape (n,) or None
    eval_set : list of (X, y) or None
    fit_params : dict
        Further arguments of ``estimator.fit``.
    intercept : float or ndarray of shape (K,), default=None
        Margin to start from; None fits it to `y`, which only arrays in memory allow.
    n_threads : int or None, default=None
        Threads of the objective; None is ``estimator.n_jobs``.
    """
    _check_stopping(estimator, eval_set)
    _check_base_score(estimator.base_score, loss, y.shape[1] if y.ndim == 2 else 1)
    n_threads = estimator.n_jobs if n_threads is None else n_threads
    own = {name: getattr(estimator, name) for name in ("eval_metric", "callbacks", "base_score")}
    if intercept is None:
        intercept = loss.fit_intercept_only(y, sample_weight)
    # Unless the user's own base_score, margins or earlier model give the start.
    given = (own["base_score"], fit_params.get("base_margin"), fit_params.get("xgb_model"))
    start = intercept if all(value is None for value in given) else None
    objective = FocalObjective(loss, start, n_threads, scale=loss.log_loss_scale(intercept))

    estimator.objective = objective
    estimator.eval_metric = _on_probabilities(own["eval_metric"], loss)
    if not isinstance(estimator, xgboost.XGBRFClassifier):  # whose single round allows no callbacks
        updates = rounds.Rounds(objective, _labels_and_weights, X if isinstance(X, np.ndarray) else None)
        estimator.callbacks = [updates, *(own["callbacks"] or [])]
    if own["base_score"] is None and fit_params.get("xgb_model") is None:
        estimator.base_score = objective.params["base_score"]

    try:
        estimator.fit(X, y, sample_weight=sample_weight, eval_set=eval_set, **fit_params)
    except xgboost.core.XGBoostError as error:
        if "`inf`" in str(error):  # while it bins the features, before any tree
            raise ValueError(
                "X holds infinity or a value too large for single precision, which XGBoost does not take; replace it "
                "(missing values are NaN), or set missing=inf in the estimator"
            ) from error
        raise

    # What is left is an ordinary estimator whose booster knows its link; the user's own settings are back in place.
    estimator.objective = objective.params["objective"]
    for name, value in own.items():
        setattr(estimator, name, value)


# Objectives whose margins are log-odds, as those of a focal loss are.
_LINKS = {1: ("binary:logistic", "binary:logitraw", "reg:logistic"), 2: ("multi:softprob", "multi:softmax")}


def check_earlier(earlier: Any, loss: BinaryFocalLoss | MulticlassFocalLoss, n_features: int) -> xgboost.Booster:
    """Return the booster of a model to continue, of a focal loss or of XGBoost's own log loss.

    Parameters
    ----------
    earlier : Booster, XGBClassifier, str or PathLike
    loss : BinaryFocalLoss or MulticlassFocalLoss
    n_features : int

    Returns
    -------
    Booster
        Up to its best round where it was stopped early, and no longer with a note of that one, which predictions would
        go up to for ever.

    Raises
    ------
    ValueError
        If its outputs or features are others than those of this training, or its margins are no log-odds.
    """
    _check_model(earlier)
    if isinstance(earlier, xgboost.XGBModel):
        booster = earlier.get_booster()
    else:
        booster = earlier if isinstance(earlier, xgboost.Booster) else xgboost.Booster(model_file=os.fspath(earlier))
    learner = json.loads(booster.save_config())["learner"]
    outputs = max(int(learner["learner_model_param"]["num_class"]), 1)
    if outputs != loss.n_outputs:
        raise ValueError(f"xgb_model has {outputs} outputs a row, but {loss!r} has {loss.n_outputs}")
    if (link := learner["objective"]["name"]) not in _LINKS[min(outputs, 2)]:
        raise ValueError(
            f"xgb_model has the objective {link!r}, whose margins are no log-odds: continue a model of "
            f"{' or '.join(_LINKS[min(outputs, 2)])}, or of a FocalObjective with its params"
        )
    if booster.num_features() != n_features:
        raise ValueError(f"xgb_model has {booster.num_features()} features, but X has {n_features}")
    if (best := booster.attr("best_iteration")) is not None:
        is_linear = learner["gradient_booster"]["name"] == "gblinear"  # whose rounds are no parts
        booster = booster.copy() if is_linear else booster[: int(best) + 1]
        booster.set_attr(best_iteration=None, best_score=None)
    return booster


def check_frame(X: Any) -> None:
    """Let data frames pass: XGBoost names columns that it does not take, before training.

    Parameters
    ----------
    X : data frame
    """


def _check_stopping(estimator: Any, eval_set: Any) -> None:
    if not eval_set and _stops_early(estimator):
        raise ValueError(
            f"the estimator stops early (early_stopping_rounds={estimator.early_stopping_rounds!r}, "
            f"callbacks={estimator.callbacks!r}), but there is no eval_set to judge by; pass eval_set=[(X_val, y_val)]"
        )


def _check_base_score(base_score: Any, loss: BinaryFocalLoss | MulticlassFocalLoss, n_labels: int) -> None:
    if base_score is None:
        return
    if loss.n_outputs == 1:
        # A string is how XGBoost writes numbers; an array of one is what it loads.
        fine = np.size(base_score) in (1, n_labels) and _all(base_score, lambda p: 0 < p < 1)
        wanted = "a probability between 0 and 1"
    else:
        fine = np.size(base_score) in (1, loss.n_classes) and _all(base_score, math.isfinite)
        wanted = f"a finite margin, or one for each of {loss.n_classes} classes"
    if not fine:
        raise ValueError(
            f"the estimator has base_score={base_score!r}, but boosting starts from {wanted}; leave it out to start "
            "from the best constant"
        )


def _all(values: Any, condition: Any) -> bool:
    try:
        return all(condition(float(value)) for value in np.ravel(values))
    except (TypeError, ValueError):
        return False


def _check_model(model: Any) -> None:
    if model is not None and not isinstance(model, (str, os.PathLike, xgboost.Booster, xgboost.XGBModel)):
        raise TypeError(
            f"xgb_model={model!r} is no model to go on from: pass a Booster, an XGBClassifier, a FocalClassifier of "
            "it, or the path of a saved one"
        )
    if isinstance(model, (str, os.PathLike)) and not os.path.exists(model):
        raise FileNotFoundError(f"xgb_model={model!r} is not there; pass the path of a saved model")


def predict_margins(estimator: Any, X: Any, predict_params: dict[str, Any]) -> NDArray[np.float32]:
    """Margins of a fitted estimator, by its own rule for the best iteration.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier
    X : array-like of shape (n, n_features)
    predict_params : dict
        Further arguments of ``estimator.predict``.

    Returns
    -------
    ndarray of shape (n,) or (n, K), float32
    """
    margins: NDArray[np.float32] = estimator.predict(X, output_margin=True, **predict_params)
    return margins


def evals_result(estimator: Any) -> dict[str, dict[str, list[float]]]:
    """Return the metrics of each evaluation set in each round; empty without one."""
    return getattr(estimator, "evals_result_", {})


def best_iteration(estimator: Any) -> int | None:
    """Index of the best round, from 0, or None without early stopping."""
    return getattr(estimator.get_booster(), "best_iteration", None) if _stops_early(estimator) else None


def n_rounds(estimator: Any) -> int:
    """Return the number of rounds that predictions are made of."""
    best = best_iteration(estimator)
    rounds: int = estimator.get_booster().num_boosted_rounds() if best is None else best + 1
    return rounds


def check_search(estimator: Any, patience: int | None, fit_params: dict[str, Any]) -> None:
    """Refuse what keeps a search over folds from choosing the number of rounds.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier
    patience : int or None
        Rounds without a better score after which a fold stops; None for no early stopping.
    fit_params : dict
        Further arguments of ``estimator.fit``.

    Raises
    ------
    ValueError
        If the estimator stops early by itself, or rounds cannot be taken back from what it trains.
    """
    if _stops_early(estimator):
        raise ValueError(
            f"the estimator stops early by itself (early_stopping_rounds={estimator.early_stopping_rounds!r}, "
            f"callbacks={estimator.callbacks!r}): take that out of it and set early_stopping_rounds of "
            "FocalClassifierCV, which follows the log loss of the held-out rows"
        )
    kind = "XGBRFClassifier" if isinstance(estimator, xgboost.XGBRFClassifier) else f"booster={estimator.booster!r}"
    if patience is not None and kind in ("XGBRFClassifier", "booster='dart'", "booster='gblinear'"):
        raise ValueError(
            f"early_stopping_rounds={patience!r} cannot be used with {kind}, whose first rounds are no model of their "
            "own: pass early_stopping_rounds=None"
        )


def fold_arguments(
    estimator: Any, n_classes: int, sample_weight: np.ndarray | None, patience: int | None
) -> dict[str, Any]:
    """Arguments of ``fit`` with which one evaluation set is weighted and, where asked for, stops the training.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier
        A clone that belongs to the caller: the log loss becomes its only metric, early stopping one of its callbacks.
    n_classes : int
    sample_weight : ndarray of shape (n,) or None
        Weights of the evaluation set.
    patience : int or None
        Rounds without a lower log loss after which training stops.

    Returns
    -------
    dict
    """
    name = log_loss_name(n_classes)
    estimator.set_params(eval_metric=name)
    if patience is not None:
        stop = xgboost.callback.EarlyStopping(
            rounds=patience, metric_name=name, data_name="validation_0", maximize=False
        )
        estimator.set_params(callbacks=[*(estimator.callbacks or []), stop])
    weights = None if sample_weight is None else [sample_weight]
    return {"sample_weight_eval_set": weights, "verbose": False}


def log_loss_name(n_classes: int) -> str:
    """Name of the log loss among the metrics."""
    return "logloss" if n_classes == 2 else "mlogloss"


def set_rounds(estimator: Any, n_rounds: int) -> None:
    """Let an unfitted estimator train this many rounds."""
    estimator.set_params(n_estimators=n_rounds)


def _stops_early(estimator: Any) -> bool:
    callbacks = estimator.callbacks or []
    return estimator.early_stopping_rounds is not None or any(
        isinstance(callback, xgboost.callback.EarlyStopping) for callback in callbacks
    )


def _on_probabilities(metric: Any, loss: BinaryFocalLoss | MulticlassFocalLoss) -> Any:
    """Let metric functions of the user see probabilities; XGBoost hands margins to those beside an objective."""
    if isinstance(metric, (list, tuple)):
        return [_on_probabilities(one, loss) for one in metric]
    if not callable(metric):
        return metric

    def of_rows(y_true: np.ndarray, margins: np.ndarray, sample_weight: Any) -> float:
        proba = loss.predict_proba(margins)
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(metric(y_true, proba[:, 1] if margins.ndim == 1 else proba, **weighted))

    def score(y_true: np.ndarray, margins: np.ndarray, sample_weight: Any = None) -> float:
        return _means([of_rows], y_true, margins, sample_weight)[0]

    score.__name__ = getattr(metric, "__name__", type(metric).__name__)
    return score


def booster_state(estimator: Any) -> dict[str, Any]:
    """Return the booster of a fitted estimator as a file of XGBoost's binary JSON, which holds the best iteration too.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier

    Returns
    -------
    dict
        ``booster``: bytes.
    """
    return {"booster": bytes(estimator.get_booster().save_raw("ubj"))}


def restore_booster(estimator: Any, state: dict[str, Any]) -> None:
    """Give an estimator the booster that `booster_state` returned.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier
    state : dict

    Raises
    ------
    ValueError
        If XGBoost does not read it.
    """
    given = {"nthread": estimator.n_jobs, "device": estimator.device}
    booster = xgboost.Booster({name: value for name, value in given.items() if value is not None})
    booster.load_model(bytearray(state["booster"]))  # XGBoostError is a ValueError
    estimator._Booster = booster


def stop_at(estimator: Any, n_rounds: int) -> None:
    """Let a fitted estimator predict by its first rounds, as if early stopping had found the last of them best."""
    estimator.get_booster().set_attr(best_iteration=str(n_rounds - 1))
