"""Focal loss as an objective and a metric of XGBoost."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import xgboost
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from xgboost import collective

from focal_boost._adapter import Objective, team_of
from focal_boost.xgboost import rounds

__all__ = ["FocalObjective", "train"]

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
        Threads for gradients and metrics, where the kernels are compiled. None is the ``nthread`` of the booster that
        calls; if it has none, that of the DMatrix; else all processors.
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

    _title = "XGBoost"
    _takes_labels = True
    _data_class = xgboost.DMatrix
    _team = team_of(xgboost.core._LIB)

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
        labels, margins, weights, n_threads = self._arguments(y_true, y_pred, sample_weight)
        kernels, context = rounds.kernels_of_caller(margins, self.loss)
        with context:
            margins = kernels.asarray(margins)
            outputs = [kernels.arrays.empty(margins.shape, dtype=np.float32) for _ in range(2)]
            gradient, hessian, fill = self._prepared(
                labels, margins, weights, outputs, n_threads, in_training=isinstance(y_pred, xgboost.DMatrix)
            )
            fill(margins)
            return gradient, hessian

    def _labels_and_weights(self, data: xgboost.DMatrix) -> tuple[Any, Any]:
        return labels_and_weights(data)

    def _library_threads(self, data: xgboost.DMatrix | None) -> int | None:
        n_threads = rounds.threads_of(rounds.calling_booster())
        return getattr(data, "nthread", None) if n_threads is None else n_threads

    @property
    def _softmax_scale(self) -> float:
        # Twice the diagonal is an upper bound of the whole matrix for K = 2.
        return 2.0

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
        arguments = self._arguments(y_true, y_pred, sample_weight)
        if not isinstance(y_pred, xgboost.DMatrix):
            return mean_over_workers([self.loss], *arguments)[0]
        functions = {"focal_loss": self.loss, "log_loss": self.loss.log_loss}
        return list(zip(functions, mean_over_workers(list(functions.values()), *arguments), strict=True))

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


def mean_over_workers(
    functions: list[Callable[..., float]], labels: Any, scores: Any, weights: Any, *rest: Any
) -> list[float]:
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


def labels_and_weights(data: xgboost.DMatrix) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels and weights where the DMatrix keeps them: not copied each round, and never stale."""
    labels = _info(data, "label")
    if labels.size > (n_rows := data.num_row()) > 0:
        labels = labels.reshape(n_rows, -1)
    weights = _info(data, "weight")
    return labels, weights if weights.size else None


def _info(data: xgboost.DMatrix, field: str) -> NDArray[np.float32]:
    """Flat view of a float field inside a DMatrix that is alive for as long as the caller holds the DMatrix.

    The public getters copy at each call. The view is read through the C interface that was behind them; where that is
    not there (a later version), they serve.
    """
    length, values = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
    try:
        read = xgboost.core._LIB.XGDMatrixGetFloatInfo
        if read(data.handle, field.encode(), ctypes.byref(length), ctypes.byref(values)) != 0:
            raise AttributeError(field)
    except AttributeError:
        copied: NDArray[np.float32] = data.get_float_info(field)
        return copied.ravel()
    if not length.value:
        return np.empty(0, dtype=np.float32)
    view = np.ctypeslib.as_array(values, shape=(length.value,))
    view.flags.writeable = False
    return view


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
) -> xgboost.Booster:
    """Train as ``xgboost.train`` does, to the same model, with fewer copies of margins and gradients.

    It is ``xgboost.train`` that runs: evaluation, callbacks and early stopping are its own. If `obj` is a
    `FocalObjective`, a callback takes over the update of each round. On the processor margins are read where XGBoost
    keeps them, and gradients are written to the same two arrays in each round. On a GPU gradients are computed there,
    from labels and weights that are copied to it once, and from margins that go there by a copy at the speed of the
    bus. Labels and weights are checked once.

    Parameters
    ----------
    params : dict
        Parameters of the booster, `FocalObjective.params` among them. This one and all others mean what they mean to
        ``xgboost.train``.
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

    Returns
    -------
    xgboost.Booster

    Examples
    --------
    >>> import numpy as np, xgboost as xgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.xgboost import FocalObjective, train
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> objective = FocalObjective(loss, intercept=loss.fit_intercept_only(y))
    >>> booster = train(objective.params, xgb.DMatrix(X, y), 5, obj=objective)
    >>> booster.num_boosted_rounds()
    5
    """
    updates = None
    if isinstance(obj, FocalObjective):
        updates = rounds.Rounds(obj)
        callbacks = [updates, *(callbacks or [])]
    else:
        rounds.logger.debug("obj=%r is no FocalObjective: xgboost.train does everything", obj)
    try:
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
    finally:
        if updates is not None:
            updates.close()
