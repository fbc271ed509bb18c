"""Focal loss as an objective and a metric of LightGBM."""

from __future__ import annotations

import ctypes
import types
import weakref
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import ArrayLike, NDArray

from focal_boost._adapter import Objective, team_of
from focal_boost.lightgbm.text import link_of, stand_alone

__all__ = ["FocalObjective", "keep_parameters"]

DEVICE_NAMES = ("device_type", "device")
_THREAD_NAMES = ("num_threads", "num_thread", "nthread", "nthreads", "n_jobs")

# Code of LightGBM for single precision.
_FLOAT32 = 0

# Earlier models that have been found to need an intercept, so that they are looked at in one round only.
_without_start: weakref.WeakSet[Any] = weakref.WeakSet()


def _empty(shape: tuple[int, ...], data: Any) -> NDArray[np.float32]:
    """An output array in the order that LightGBM takes without a copy.

    LightGBM built with CUDA copies gradients to the GPU from where they lie: faster from memory that the operating
    system cannot move, which CuPy, if it is there, gives and takes back into its pool.
    """
    params = getattr(data, "params", None) or {}
    if any(params.get(name) == "cuda" for name in DEVICE_NAMES):
        try:
            import cupyx

            pinned: NDArray[np.float32] = cupyx.empty_pinned(shape, dtype=np.float32, order="F")
            return pinned
        except Exception:  # no CuPy, or one of another NumPy, no driver, no GPU: there is other memory
            pass
    return np.empty(shape, dtype=np.float32, order="F")


class FocalObjective(Objective):
    """A focal loss as LightGBM wants it: the same object for train, cv, LGBMClassifier and Dask.

    Parameters
    ----------
    loss : BinaryFocalLoss or MulticlassFocalLoss
        What to minimise.
    intercept : float, or array-like of shape (K,) for the multiclass loss, default=None
        Margin from which boosting starts, usually ``loss.fit_intercept_only(y, sample_weight)``. None is 0. LightGBM
        does not estimate it for an objective of one's own, so it is added to the raw scores inside the objective and
        the metric, and becomes part of the trees in `portable`.
    n_threads : int or None, default=None
        Threads for gradients and metrics, where the kernels are compiled. None is the ``num_threads`` of the Dataset,
        where ``lightgbm.train`` leaves that of its parameters, else all processors: estimators of LightGBM do not tell
        an objective their ``n_jobs``.
    scale : float or None, default=None
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
    to. Row weights of the Dataset are applied in gradients and metrics.

    Margins are log-odds, so the booster that `portable` returns predicts the class probabilities. Only those of a loss
    of ``link="focal"`` mean something else: ``loss.predict_proba(booster.predict(X, raw_score=True))``. While it
    trains, LightGBM takes raw scores for probabilities in its own metrics, but for those of the order alone (``auc``,
    ``average_precision``, ``auc_mu``): the log loss is the first that `metric` returns.

    To go on from a model whose trees hold its start (of LightGBM's own log loss, or from `portable`), leave the
    intercept out; an intercept that would be counted twice is refused.

    An estimator of LightGBM does not say that it goes on from an earlier model, so leave the intercept out there
    yourself: ``LGBMClassifier(objective=FocalObjective(loss, scale=objective.scale)).fit(X, y, init_model=...)``.

    LightGBM draws the columns of the first tree anew for an objective of one's own: the callback `keep_parameters`
    keeps it from that.

    Examples
    --------
    >>> import numpy as np, lightgbm as lgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.lightgbm import FocalObjective
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> objective = FocalObjective(loss, intercept=loss.fit_intercept_only(y))
    >>> booster = lgb.train({"verbosity": -1, **objective.params}, lgb.Dataset(X, y), 5)
    >>> booster = objective.portable(booster)
    >>> booster.predict(X).shape
    (200,)
    """

    _title = "LightGBM"
    _takes_labels = False
    _data_class = lightgbm.Dataset
    _team = team_of(lightgbm.basic._LIB)

    @property
    def params(self) -> dict[str, Any]:
        """What the booster must be told besides: the objective itself, and num_class."""
        if self.loss.n_outputs == 1:
            return {"objective": self}
        return {"objective": self, "num_class": self.loss.n_classes}

    def __call__(
        self, y_true: ArrayLike | None, y_pred: ArrayLike | lightgbm.Dataset, sample_weight: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gradient and curvature of each row, weights applied.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            Either LightGBM's own form, ``(raw_scores, Dataset)``, or the one of its scikit-learn estimators,
            ``(labels, raw_scores, sample_weight)``.

        Returns
        -------
        gradient, hessian : ndarray of shape (n,), or (n, K) in Fortran order, float32
            The layout that LightGBM takes without a copy.
        """
        gradient, hessian, fill = self._prepared_for(
            y_true, y_pred, sample_weight, in_training=isinstance(y_pred, lightgbm.Dataset)
        )
        fill(y_true if isinstance(y_pred, lightgbm.Dataset) else y_pred)
        return gradient, hessian

    def _prepared_for(
        self, y_true: Any, y_pred: Any, sample_weight: Any, *, in_training: bool
    ) -> tuple[Any, Any, Callable[[Any], None]]:
        labels, scores, weights, n_threads = self._arguments(y_true, y_pred, sample_weight)
        outputs = [_empty(np.shape(scores), y_pred) for _ in range(2)]
        return self._prepared(labels, scores, weights, outputs, n_threads, self.intercept, in_training=in_training)

    def metric(
        self, y_true: ArrayLike | None, y_pred: ArrayLike | lightgbm.Dataset, sample_weight: ArrayLike | None = None
    ) -> list[tuple[str, float, bool]]:
        """Weighted log loss and focal loss, for `feval` or ``eval_metric=``.

        Parameters
        ----------
        y_true : ndarray of shape (n,)
            Labels; in LightGBM's own form, ``metric(margins, dataset)``, the margins.
        y_pred : ndarray of shape (n,) or (n, K), or lightgbm.Dataset
            Margins; in LightGBM's own form the data, with labels and weights.
        sample_weight : ndarray of shape (n,), default=None
            Finite weights >= 0.

        Returns
        -------
        list of (str, float, bool)
            ``("log_loss", value, False)`` and ``("focal_loss", value, False)``: smaller is better.

        Notes
        -----
        LightGBM stops early as soon as any metric stops improving; ``first_metric_only=True`` makes it follow the
        log loss alone.
        """
        arguments = self._arguments(y_true, y_pred, sample_weight)
        return [
            ("log_loss", self.loss.log_loss(*arguments, intercept=self.intercept), False),
            ("focal_loss", self.loss._mean(*arguments, self.intercept), False),
        ]

    def portable(self, booster: lightgbm.Booster) -> lightgbm.Booster:
        """Return a copy of a trained booster that stands alone: intercept in the trees, link named in its file.

        Parameters
        ----------
        booster : lightgbm.Booster
            Trained with this objective. It is not changed.

        Returns
        -------
        lightgbm.Booster
            Its ``predict`` gives sigma(margin) or softmax(margin), with ``raw_score=True`` the margins, here and
            after saving and loading where focal_boost is not installed. A booster whose file names its link already
            is returned as it is, so a second call changes nothing. To LightGBM it is a model of its own log loss, and
            ``refit`` gives its leaves the values that are best for the log loss of the new rows: gamma and alpha have
            no part in it.

        Raises
        ------
        ValueError
            If the booster has another number of outputs than the loss, or no trees.
        """
        text = booster.model_to_string(num_iteration=-1)
        if link_of(text):
            return booster
        outputs = booster.num_model_per_iteration()
        if outputs != self.loss.n_outputs:
            raise ValueError(
                f"the booster has {outputs} outputs a row, but {self.loss!r} has {self.loss.n_outputs}: "
                "call portable of the objective that trained it"
            )
        link = "binary sigmoid:1" if outputs == 1 else f"multiclass num_class:{outputs}"
        alone = lightgbm.Booster(model_str=stand_alone(text, np.atleast_1d(self.intercept), link))
        alone.params = {**booster.params, "objective": link.split()[0]}
        alone.best_iteration = booster.best_iteration
        alone.best_score = booster.best_score
        alone.pandas_categorical = booster.pandas_categorical
        return alone

    @property
    def _softmax_scale(self) -> float:
        return self.loss.n_classes / (self.loss.n_classes - 1.0)

    def _labels_and_weights(self, data: lightgbm.Dataset) -> tuple[Any, Any]:
        if np.any(self.intercept):
            _check_start(self.intercept, data)
        return _field(data, "label"), _field(data, "weight")

    def _library_threads(self, data: lightgbm.Dataset | None) -> int | None:
        return None if data is None else given_threads(data.params or {})


class ObjectiveOfTraining(FocalObjective):
    """The objective of one training of an estimator: labels and weights are checked in its first round, arrays kept."""

    _kept: tuple[Any, Any, Callable[[Any], None]] | None = None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[Any, Any]:
        """Gradient and curvature from labels, margins and weights, in the same two arrays in each round."""
        if self._kept is None:
            self._kept = self._prepared_for(y_true, y_pred, sample_weight, in_training=True)
        gradient, hessian, fill = self._kept
        fill(y_pred)
        return gradient, hessian

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}


def _field(data: lightgbm.Dataset, name: str) -> NDArray[np.float32] | None:
    """View of labels or weights inside a Dataset that is alive for as long as the caller holds it; None for none.

    The public getters keep what they gave first, whatever has been set since, or copy at each call. The view is read
    through the C interface behind them; where that is not as expected (a later version), the getter serves.
    """
    length, kind, address = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    try:
        read = lightgbm.basic._LIB.LGBM_DatasetGetField
        found = [ctypes.byref(out) for out in (length, address, kind)]
        if read(data.construct()._handle, ctypes.c_char_p(name.encode()), *found) != 0 or kind.value != _FLOAT32:
            raise AttributeError(name)
    except AttributeError:
        copied: NDArray[np.float32] | None = data.get_field(name)
        return copied
    if not length.value:
        return None
    view = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape=(length.value,))
    view.flags.writeable = False
    return view


def _check_start(intercept: Any, data: lightgbm.Dataset) -> None:
    """Refuse an intercept beside an earlier model whose trees hold one."""
    predictor = getattr(data, "_predictor", None)
    if predictor is None or predictor in _without_start:
        return
    # LightGBM keeps of the earlier model what its predictor needs: the handle, and not the Booster around it.
    earlier: Any = types.SimpleNamespace(_handle=predictor._handle, best_iteration=0, pandas_categorical=None)
    if link_of(lightgbm.Booster.model_to_string(earlier, num_iteration=1)):
        raise ValueError(
            f"init_model has its start in its trees, and intercept={intercept!r} would be added to it: go on with "
            "FocalObjective(loss, scale=objective.scale), without an intercept"
        )
    _without_start.add(predictor)


def given_threads(params: dict[str, Any]) -> int | None:
    """Number of threads under whichever of its names it is given, as it is given."""
    return next((params[name] for name in _THREAD_NAMES if params.get(name) is not None), None)


def keep_parameters(env: Any) -> None:
    """Callback of LightGBM that lets a booster keep the columns it has drawn at its first update.

    At the first update with an objective of one's own LightGBM resets the parameters of the booster, though there is
    nothing to reset: the columns of the first tree are drawn anew where ``feature_fraction`` is below 1 (issue 6053),
    and a table without a feature to split on raises an error (issue 5667). With this callback ``gamma=0`` gives the
    trees of LightGBM's own log loss in these cases too. `focal_boost.FocalClassifier` brings it along.

    Parameters
    ----------
    env : lightgbm.callback.CallbackEnv
        What LightGBM hands to its callbacks.

    Examples
    --------
    >>> import numpy as np, lightgbm as lgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.lightgbm import FocalObjective, keep_parameters
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> params = {"verbosity": -1, "feature_fraction": 0.7, **FocalObjective(BinaryFocalLoss()).params}
    >>> booster = lgb.train(params, lgb.Dataset(X, y), 5, callbacks=[keep_parameters])
    >>> booster.num_trees()
    5
    """
    for booster in getattr(env.model, "boosters", [env.model]):  # several in lightgbm.cv
        if booster.params.get("objective") in ("none", "custom"):
            booster._Booster__set_objective_to_none = True


# How LightGBM sorts its callbacks.
keep_parameters.before_iteration, keep_parameters.order = True, 0  # type: ignore[attr-defined]
