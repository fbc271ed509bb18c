"""Focal loss as an objective and a metric of XGBoost."""

from __future__ import annotations

import ctypes
import json
import math
from numbers import Real
from typing import Any

import numpy as np
import xgboost
from scipy.special import expit

from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["FocalObjective"]

# XGBoost's built-in softmax takes twice the diagonal of the curvature, an upper bound of the whole matrix for K = 2.
_SOFTMAX_HESSIAN_SCALE = 2.0

# base_score is stored as a float32 probability: the margins beyond which it would be rounded to 0 or 1.
_MARGIN_LIMIT = 16.0


class FocalObjective:
    """A focal loss as XGBoost wants it: the same object for train, cv, XGBClassifier and Dask.

    Parameters
    ----------
    loss : BinaryFocalLoss or MulticlassFocalLoss
        What to minimise.
    intercept : float, or array-like of shape (K,) for the multiclass loss, default=None
        Margin from which boosting starts, usually ``loss.fit_intercept_only(y, sample_weight)``. None is 0. XGBoost
        never estimates it for an objective of one's own; it reaches the booster through `params`.
    n_threads : int or None, default=None
        Threads for gradients and metrics, where the kernels are compiled. None is the ``nthread`` of the DMatrix where
        it has one, else all processors.
    scale : float, default=1.0
        Factor on the derivatives, for settings of the booster that are absolute numbers (L2 penalty, least curvature
        of a leaf, least gain); ``loss.log_loss_scale(intercept)`` makes them mean what they mean for the log loss, and
        is what FocalClassifier uses. Metrics are not scaled.

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
    the file names XGBoost's own logistic or softmax link, and ``predict`` gives sigma(margin) or softmax(margin).
    The class posterior is ``loss.predict_proba(booster.predict(data, output_margin=True))``.

    Examples
    --------
    >>> import numpy as np, xgboost as xgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.xgboost import FocalObjective
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> objective = FocalObjective(loss, intercept=loss.fit_intercept_only(y))
    >>> dtrain = xgb.DMatrix(X, y)
    >>> booster = xgb.train(objective.params, dtrain, 5, obj=objective, custom_metric=objective.metric)
    >>> loss.predict_proba(booster.predict(dtrain, output_margin=True)).shape
    (200, 2)
    """

    def __init__(
        self,
        loss: BinaryFocalLoss | MulticlassFocalLoss,
        intercept: Any = None,
        n_threads: int | None = None,
        *,
        scale: float = 1.0,
    ) -> None:
        if not isinstance(loss, (BinaryFocalLoss, MulticlassFocalLoss)):
            raise TypeError(f"loss={loss!r} is neither a BinaryFocalLoss nor a MulticlassFocalLoss")
        self.loss = loss
        self.intercept = loss.check_intercept(intercept)
        self.n_threads = n_threads
        if isinstance(scale, bool) or not isinstance(scale, Real) or not 0 < scale < float("inf"):
            raise ValueError(f"scale={scale!r} is not a positive number; 1.0 leaves the loss as it is")
        self.scale: float = float(scale)

    def __repr__(self) -> str:
        scale = "" if self.scale == 1.0 else f", scale={self.scale!r}"
        return f"FocalObjective({self.loss!r}, intercept={self.intercept!r}{scale})"

    @property
    def params(self) -> dict[str, Any]:
        """What the booster must be told besides: the objective string (its link), base_score, and num_class."""
        if self.loss.n_outputs == 1:
            probability = float(expit(np.clip(self.intercept, -_MARGIN_LIMIT, _MARGIN_LIMIT)))
            return {"objective": "binary:logistic", "base_score": probability}
        return {
            "objective": "multi:softprob",
            "num_class": self.loss.n_classes,
            "base_score": [float(margin) for margin in self.intercept],
        }

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and curvature of each row, weights applied.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            Either XGBoost's own form, ``(margins, DMatrix)``, or the one of its scikit-learn estimators,
            ``(labels, margins, sample_weight)``.

        Returns
        -------
        gradient, hessian : ndarray of shape (n,) or (n, K), float32
        """
        if isinstance(y_pred, xgboost.DMatrix):
            margins, n_threads = np.asarray(y_true), self._threads(y_pred)
            labels, weights = _labels_and_weights(y_pred)
        else:
            margins, n_threads = np.asarray(y_pred), self.n_threads
            labels, weights = y_true, sample_weight
        return self.loss.gradient_hessian(
            labels,
            margins,
            weights,
            np.empty(margins.shape, dtype=np.float32),
            np.empty(margins.shape, dtype=np.float32),
            n_threads,
            hessian_scale=1.0 if self.loss.n_outputs == 1 else _SOFTMAX_HESSIAN_SCALE,
            scale=self.scale,
        )

    def metric(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Weighted posterior log loss and focal loss on margins, for `custom_metric` or ``eval_metric=``.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            As in calling the objective.

        Returns
        -------
        list of (str, float), or float
            For XGBoost's own form ``posterior_log_loss``, ``focal_loss`` and ``log_focal_loss``; for its scikit-learn
            estimators, which take one number, the focal loss.

        Notes
        -----
        XGBoost hands values of its own metrics functions on with six decimals, so that a focal loss of 3e-7 would be
        read as 0 and end early stopping. The natural logarithm of the focal loss comes last, the place that early
        stopping follows, and keeps a relative precision of 1e-6 however small the loss is.
        """
        if isinstance(y_pred, xgboost.DMatrix):
            margins, n_threads = y_true, self._threads(y_pred)
            labels, weights = _labels_and_weights(y_pred)
            focal = self.loss(labels, margins, weights, n_threads)
            return [
                ("posterior_log_loss", self.loss.posterior_log_loss(labels, margins, weights, n_threads)),
                ("focal_loss", focal),
                ("log_focal_loss", math.log(focal) if focal > 0 else -math.inf),
            ]
        return self.loss(y_true, y_pred, sample_weight, self.n_threads)

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


def _labels_and_weights(data: xgboost.DMatrix) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels and weights where the DMatrix keeps them: not copied each round, and never stale."""
    labels = _info(data, "label")
    weights = _info(data, "weight")
    return labels, weights if weights.size else None


def _info(data: xgboost.DMatrix, field: str) -> np.ndarray:
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
        return data.get_float_info(field)
    (address, _), shape = interface["data"], tuple(interface["shape"])
    size = math.prod(shape)
    if size == 0:
        return np.empty(0, dtype=np.float32)
    view = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape=(size,))
    view.flags.writeable = False
    return view.reshape(shape)


# ---------------------------------------------------------------------------------------------------------------------
# XGBClassifier and XGBRFClassifier, for FocalClassifier


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
    scale = estimator.get_params().get("scale_pos_weight")
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
) -> None:
    """Fit an XGBClassifier or XGBRFClassifier in place with a focal loss.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier
        A clone that belongs to the caller.
    loss : BinaryFocalLoss or MulticlassFocalLoss
    X : array-like of shape (n, n_features)
    y : ndarray of shape (n,)
        Labels 0 to K - 1.
    sample_weight : ndarray of shape (n,) or None
    eval_set : list of (X, y) or None
    fit_params : dict
        Further arguments of ``estimator.fit``.
    """
    own = {name: getattr(estimator, name) for name in ("eval_metric", "callbacks", "base_score")}
    named = own["eval_metric"]
    named = [] if named is None else [named] if isinstance(named, str) or callable(named) else list(named)
    functions = [metric for metric in named if callable(metric)]
    metrics = _Metrics(loss, functions, estimator.n_jobs, follow=_name(named[-1]) if named else "focal_loss")
    intercept = loss.fit_intercept_only(y, sample_weight)
    # Unless the user's own base_score, margins or earlier model give the start.
    given = (own["base_score"], fit_params.get("base_margin"), fit_params.get("xgb_model"))
    start = intercept if all(value is None for value in given) else None
    objective = FocalObjective(loss, start, estimator.n_jobs, scale=loss.log_loss_scale(intercept))

    estimator.objective = objective
    # A list of functions alone is not taken.
    built_in = [metric for metric in named if not callable(metric)]
    estimator.eval_metric = [*built_in, metrics.score] if built_in else metrics.score
    is_forest = isinstance(estimator, xgboost.XGBRFClassifier)
    if not is_forest:  # whose single round allows no callbacks
        estimator.callbacks = [metrics, *(own["callbacks"] or [])]
    if own["base_score"] is None and "xgb_model" not in fit_params:
        estimator.base_score = objective.params["base_score"]
    silenced = {} if named else {"disable_default_eval_metric": True}
    estimator.set_params(**silenced)

    estimator.fit(X, y, sample_weight=sample_weight, eval_set=eval_set, **fit_params)

    if is_forest and eval_set is not None:
        metrics.complete(estimator.evals_result_)
    # What is left is an ordinary estimator whose booster knows its link; the user's own settings are back in place.
    estimator.objective = objective.params["objective"]
    for name, value in own.items():
        setattr(estimator, name, value)
    for name in silenced:
        estimator.kwargs.pop(name, None)
        estimator.__dict__.pop(name, None)


def predict_margins(estimator: Any, X: Any, predict_params: dict[str, Any]) -> np.ndarray:
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
    return estimator.predict(X, output_margin=True, **predict_params)


def evals_result(estimator: Any) -> dict[str, dict[str, list[float]]]:
    """Return the metrics of each evaluation set in each round; empty without one."""
    return getattr(estimator, "evals_result_", {})


def best_iteration(estimator: Any) -> int | None:
    """Index of the best round, from 0, or None without early stopping."""
    return getattr(estimator.get_booster(), "best_iteration", None) if _stops_early(estimator) else None


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
            "FocalClassifierCV, which follows the posterior log loss of the held-out rows"
        )
    kind = "XGBRFClassifier" if isinstance(estimator, xgboost.XGBRFClassifier) else f"booster={estimator.booster!r}"
    if patience is not None and kind in ("XGBRFClassifier", "booster='dart'", "booster='gblinear'"):
        raise ValueError(
            f"early_stopping_rounds={patience!r} cannot be used with {kind}, whose first rounds are no model of their "
            "own: pass early_stopping_rounds=None"
        )


def fold_arguments(estimator: Any, sample_weight: np.ndarray | None, patience: int | None) -> dict[str, Any]:
    """Arguments of ``fit`` with which one evaluation set is weighted and, where asked for, stops the training.

    Parameters
    ----------
    estimator : XGBClassifier or XGBRFClassifier
        A clone that belongs to the caller: early stopping becomes one of its callbacks.
    sample_weight : ndarray of shape (n,) or None
        Weights of the evaluation set.
    patience : int or None
        Rounds without a lower posterior log loss after which training stops.

    Returns
    -------
    dict
    """
    if patience is not None:
        stop = xgboost.callback.EarlyStopping(
            rounds=patience, metric_name="posterior_log_loss", data_name="validation_0", maximize=False
        )
        estimator.set_params(callbacks=[*(estimator.callbacks or []), stop])
    weights = None if sample_weight is None else [sample_weight]
    return {"sample_weight_eval_set": weights, "verbose": False}


def set_rounds(estimator: Any, n_rounds: int) -> None:
    """Let an unfitted estimator train this many rounds."""
    estimator.set_params(n_estimators=n_rounds)


def _stops_early(estimator: Any) -> bool:
    callbacks = estimator.callbacks or []
    return estimator.early_stopping_rounds is not None or any(
        isinstance(callback, xgboost.callback.EarlyStopping) for callback in callbacks
    )


def _name(metric: Any) -> str:
    return metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)


class _Metrics(xgboost.callback.TrainingCallback):
    """Focal loss, posterior log loss and the user's metric functions, in full precision.

    XGBoost's scikit-learn estimators call one metric function, and format its value with six decimals. `score` is
    that function: it computes everything and keeps it. As the first of the callbacks this object then puts the exact
    values into the log that later callbacks, early stopping among them, read.
    """

    def __init__(
        self,
        loss: BinaryFocalLoss | MulticlassFocalLoss,
        functions: list[Any],
        n_threads: int | None,
        follow: str,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.functions = functions
        self.n_threads = n_threads
        self.follow = follow
        self.scores: list[dict[str, float]] = []

        def focal_loss(y_true: np.ndarray, y_score: np.ndarray, sample_weight: Any = None) -> float:
            values = self._evaluate(y_true, y_score, sample_weight)
            self.scores.append(values)
            return values["focal_loss"]

        self.score = focal_loss

    def _evaluate(self, y_true: np.ndarray, margins: np.ndarray, sample_weight: Any) -> dict[str, float]:
        values = {
            "posterior_log_loss": self.loss.posterior_log_loss(y_true, margins, sample_weight, self.n_threads),
            "focal_loss": self.loss(y_true, margins, sample_weight, self.n_threads),
        }
        if self.functions:
            proba = self.loss.predict_proba(margins)
            y_score = proba[:, 1] if self.loss.n_outputs == 1 else proba
            weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
            for function in self.functions:
                values[_name(function)] = float(function(y_true, y_score, **weighted))
        return values

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Complete the log of this round."""
        self.complete(evals_log)
        return False

    def complete(self, evals_log: Any) -> None:
        """Put exact values into the last round of a log, the metric that early stopping follows in the last place."""
        for log, values in zip(evals_log.values(), self.scores, strict=True):
            log["focal_loss"].pop()
            for name, value in values.items():
                log.setdefault(name, []).append(value)
            if next(reversed(log)) != self.follow:
                log[self.follow] = log.pop(self.follow)
        self.scores.clear()
