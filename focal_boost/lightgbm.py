"""Focal loss as an objective and a metric of LightGBM."""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import lightgbm
import numpy as np
from numpy.typing import ArrayLike, NDArray

from focal_boost._lightgbm_text import link_of, stand_alone
from focal_boost._loss_checks import check_n_threads
from focal_boost._objective import Objective
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["FocalObjective"]

# The class is not exported; what early_stopping() returns is.
_EarlyStopping = type(lightgbm.early_stopping(1, verbose=False))

# Whether FocalClassifier may pass labels of shape (n, K).
MULTILABEL = False

# Of margins.
MARGIN_DTYPE = np.float64

_DEVICE_NAMES = ("device_type", "device")
_THREAD_NAMES = ("num_threads", "num_thread", "nthread", "nthreads", "n_jobs")


def _empty(shape: tuple[int, ...], data: Any) -> NDArray[np.float32]:
    """An output array in the order that LightGBM takes without a copy.

    LightGBM built with CUDA copies gradients to the GPU from where they lie: faster from memory that the operating
    system cannot move, which CuPy, if it is there, gives and takes back into its pool.
    """
    params = getattr(data, "params", None) or {}
    if any(params.get(name) == "cuda" for name in _DEVICE_NAMES):
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
        Threads for gradients and metrics, where the kernels are compiled. None is the ``num_threads`` of the Dataset
        where it has one, else all processors.
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

    LightGBM resets the parameters of a booster at the first update with an objective of one's own, which draws the
    columns of the first tree anew (issue 6053) and refuses tables without a splittable feature (issue 5667). Importing
    this module keeps boosters that train a FocalObjective from doing so; all others behave as before.

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

    _takes_labels = False

    def _refuse_labels(self, intercept: Any) -> str:
        return (
            f"intercept={intercept!r} has shape {np.shape(intercept)}, one margin a label, but LightGBM takes one "
            "label a row: train one model a label, for instance with sklearn.multioutput.MultiOutputClassifier, or "
            "use XGBoost"
        )

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
        labels, scores, weights, n_threads = self._arguments(y_true, y_pred, sample_weight)
        return self.loss.gradient_hessian(
            labels,
            scores,
            weights,
            _empty(scores.shape, y_pred),
            _empty(scores.shape, y_pred),
            n_threads,
            hessian_scale=self._hessian_scale,
            intercept=self.intercept,
            scale=self.scale,
        )

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
        labels, scores, weights, n_threads = self._arguments(y_true, y_pred, sample_weight)
        arguments = labels, scores, weights, n_threads
        return [
            ("log_loss", self.loss.log_loss(*arguments, intercept=self.intercept), False),
            ("focal_loss", self.loss(*arguments, intercept=self.intercept), False),
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
            is returned as it is, so a second call changes nothing.

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
    def _hessian_scale(self) -> float:
        """Factor of LightGBM's own softmax objective on the diagonal of the curvature."""
        return 1.0 if self.loss.n_outputs == 1 else self.loss.n_classes / (self.loss.n_classes - 1.0)

    def _arguments(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, np.ndarray, Any, int | None]:
        """Labels, raw scores, weights and threads from either calling convention."""
        n_threads = self.n_threads
        if isinstance(y_pred, lightgbm.Dataset):
            if n_threads is None:
                n_threads = _given_threads(y_pred.params or {})
            # Both are kept by a constructed Dataset; weights that are all one are None.
            y_true, y_pred, sample_weight = y_pred.get_label(), y_true, y_pred.get_weight()
        return y_true, np.asarray(y_pred), sample_weight, n_threads


def _given_threads(params: dict[str, Any]) -> int | None:
    """Number of threads under whichever of its names it is given, as it is given."""
    return next((params[name] for name in _THREAD_NAMES if params.get(name) is not None), None)


def _keep_parameters(update: Callable[..., bool]) -> Callable[..., bool]:
    """Let Booster.update skip the reset of parameters where the objective is a FocalObjective."""

    @functools.wraps(update)
    def wrapper(self: lightgbm.Booster, train_set: Any = None, fobj: Any = None) -> bool:
        # The scikit-learn estimators of LightGBM wrap the objective in an object with the attribute func.
        objective = getattr(fobj, "func", fobj)
        # A booster that was built without an objective has nothing that the reset could be needed for.
        if isinstance(objective, FocalObjective) and not self._Booster__set_objective_to_none:
            _check_start(objective, self)
            self._Booster__set_objective_to_none = self.params.get("objective") in ("none", "custom")
        return update(self, train_set, fobj)

    wrapper._focal_boost = True  # type: ignore[attr-defined]
    return wrapper


def _check_start(objective: FocalObjective, booster: lightgbm.Booster) -> None:
    """Refuse an intercept beside an earlier model whose trees hold one."""
    predictor = getattr(booster, "_Booster__init_predictor", None)
    if predictor is None or not np.any(objective.intercept):
        return
    # LightGBM keeps of the earlier model what its predictor needs: the handle, and not the Booster around it.
    earlier: Any = types.SimpleNamespace(_handle=predictor._handle, best_iteration=0, pandas_categorical=None)
    if link_of(lightgbm.Booster.model_to_string(earlier, num_iteration=1)):
        raise ValueError(
            f"init_model has its start in its trees, and intercept={objective.intercept!r} would be added to it: go on "
            "with FocalObjective(loss, scale=objective.scale), without an intercept"
        )


if not hasattr(lightgbm.Booster.update, "_focal_boost"):
    lightgbm.Booster.update = _keep_parameters(lightgbm.Booster.update)


# ---------------------------------------------------------------------------------------------------------------------
# LGBMClassifier, for FocalClassifier

# What the log loss is called, for two classes and more; it is computed here.
_LOG_LOSSES = ("binary_logloss", "multi_logloss")

# Metrics of LightGBM that only look at the order of raw scores, for two classes and more, and its words for none.
_RANKING_METRICS = ({"auc", "average_precision"}, {"auc_mu"})
_NO_METRIC = {"", "none", "null", "custom", "na"}
_METRIC_NAMES = ("metric", "metrics", "metric_types")

# Parameter (all its names), the value without effect, what to do instead (a format, given the value).
_IGNORED: tuple[tuple[tuple[str, ...], Any, str], ...] = (
    (("objective", "objective_type", "app", "application", "loss"), None, "FocalClassifier brings its own objective"),
    (
        ("scale_pos_weight",),
        1,
        "use FocalClassifier(alpha={{label: weight}}), e.g. alpha=(1, {value!r}), or alpha='balanced'",
    ),
    (("is_unbalance", "unbalance", "unbalanced_sets"), False, "use FocalClassifier(alpha='balanced')"),
    (("num_class", "num_classes"), None, "the number of classes comes from y"),
    (("sigmoid",), 1, "the margins of focal loss are not rescaled"),
    (("pos_bagging_fraction", "pos_sub_row", "pos_subsample", "pos_bagging"), 1, "use subsample for both classes"),
    (("neg_bagging_fraction", "neg_sub_row", "neg_subsample", "neg_bagging"), 1, "use subsample for both classes"),
)


def check_estimator(estimator: Any) -> None:
    """Refuse what focal loss would make LightGBM ignore.

    Parameters
    ----------
    estimator : LGBMClassifier

    Raises
    ------
    TypeError
        If it is another kind of estimator.
    ValueError
        If a parameter would have no effect; the message names it and what to use instead.
    """
    if not isinstance(estimator, lightgbm.LGBMClassifier):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}, but focal loss is for classification: pass an LGBMClassifier, "
            "an XGBClassifier or an XGBRFClassifier"
        )
    params = estimator.get_params()
    for names, neutral, advice in _IGNORED:
        for name in names:
            value = params.get(name)
            if value is not None and value != neutral:
                raise ValueError(
                    f"the estimator has {name}={value!r}, which has no effect with an objective of one's own: leave "
                    f"it out; {advice.format(value=value)}"
                )
    for name in ("boosting_type", "boosting", "boost"):
        if params.get(name) in ("rf", "random_forest"):
            raise ValueError(
                f"the estimator has {name}={params[name]!r}, which LightGBM does not train with an objective of one's "
                "own; use XGBRFClassifier for a random forest"
            )
    for name in _METRIC_NAMES:
        _check_metrics(params.get(name), name)


def _check_device(params: dict[str, Any]) -> None:
    """Refuse a GPU that is not there: LightGBM built for one would end the process, not raise."""
    for name in _DEVICE_NAMES:
        if params.get(name) == "cuda" and not _finds_gpu():
            raise ValueError(
                f"the estimator has {name}='cuda', but no driver finds a GPU here: use {name}='cpu', or start where "
                "nvidia-smi lists one"
            )


def _finds_gpu() -> bool:
    """Whether NVIDIA's driver finds a GPU. LightGBM can be built for those of AMD too, and is left to find them."""
    if os.path.exists("/dev/kfd"):
        return True
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _check_metrics(metric: Any, name: str) -> list[Any]:
    """Metrics as a list; those that would be computed on raw scores as if on probabilities are refused."""
    metrics: list[Any] = []
    if metric is None:
        return metrics
    for one in metric if isinstance(metric, (list, tuple, set)) else [metric]:
        if callable(one) and name == "eval_metric":
            metrics.append(one)
            continue
        if not isinstance(one, str):
            raise TypeError(
                f"{name}={one!r} is not the name of a metric: pass one, or to eval_metric of fit a function "
                "(y_true, y_proba)"
            )
        names = one.lower().split(",")
        known = {*_LOG_LOSSES, *_RANKING_METRICS[0], *_RANKING_METRICS[1]}
        if not set(names) <= known | _NO_METRIC:
            raise ValueError(
                f"{name}={one!r} would be computed on raw scores, not probabilities: name one of {sorted(known)}, or "
                "pass a function (y_true, y_proba) to eval_metric, which gets probabilities"
            )
        metrics += names
    return metrics


def log_loss_name(n_classes: int) -> str:
    """Name of the log loss among the metrics."""
    return _LOG_LOSSES[n_classes > 2]


def _log_loss(objective: FocalObjective) -> Any:
    """LightGBM's own log loss, as a function of raw scores."""
    name = log_loss_name(objective.loss.n_classes)

    def score(y_true: np.ndarray, raw_scores: np.ndarray, weight: Any) -> tuple[str, float, bool]:
        value = objective.loss.log_loss(y_true, raw_scores, weight, objective.n_threads, intercept=objective.intercept)
        return name, value, False

    return score


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
    over_workers: Any = None,
) -> None:
    """Fit an LGBMClassifier, or the DaskLGBMRegressor that stands for one on a cluster, in place with a focal loss.

    Parameters
    ----------
    estimator : LGBMClassifier or DaskLGBMRegressor
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
        Threads of the objective; None is the number that the estimator was given.
    over_workers : ClusterMetrics, default=None
        On a cluster, what adds up metrics.
    """
    fit_params = dict(fit_params)
    params = estimator.get_params()
    given = {name: params[name] for name in _METRIC_NAMES if params.get(name) is not None}
    of_params = [metric for name, value in given.items() for metric in _check_metrics(value, name)]
    of_fit = _check_metrics(fit_params.pop("eval_metric", None), "eval_metric")
    log_loss = log_loss_name(loss.n_classes)
    ranking = _RANKING_METRICS[loss.n_classes > 2]
    for metric in (*of_params, *of_fit):
        if isinstance(metric, str) and metric not in {log_loss, *ranking, *_NO_METRIC}:
            raise ValueError(
                f"{metric!r} is no metric of {loss.n_classes} classes: {log_loss} and {sorted(ranking)} are"
            )
    if over_workers is None:
        _check_device(params)
    _check_stopping(params, fit_params.get("callbacks"), eval_set)
    started = any(fit_params.get(name) is not None for name in ("init_score", "init_model"))
    started = started or params.get("boost_from_average") is False
    if intercept is None:
        intercept = loss.fit_intercept_only(y, sample_weight)
    scale = loss.log_loss_scale(intercept)
    n_threads = _threads(params) if n_threads is None else n_threads
    objective = FocalObjective(loss, None if started else intercept, n_threads, scale=scale)

    # LightGBM would compute its log loss, which is the default here as there, on raw scores.
    name_of_metrics = next(iter(given), "metric")
    built_in = [metric for metric in of_params if metric not in _LOG_LOSSES]
    estimator.set_params(objective=objective, **{name_of_metrics: built_in or "None"})
    metrics = [_on_probabilities(metric, objective) for metric in of_fit if metric not in _LOG_LOSSES]
    if not given or log_loss in [*of_params, *of_fit]:
        metrics = [_log_loss(objective), *metrics]
    fit_params["eval_metric"] = metrics if over_workers is None else [over_workers.metric(m) for m in metrics]
    fit_params.update(_eval_arguments(estimator, eval_set))

    estimator.fit(X, y, sample_weight=sample_weight, **fit_params)

    estimator._Booster = objective.portable(estimator.booster_)
    # What is left is an ordinary estimator whose booster knows its link (set_params resets _objective too).
    estimator.set_params(objective=None, **given)
    estimator._objective = "binary" if loss.n_outputs == 1 else "multiclass"
    if not given:
        estimator._other_params.pop(name_of_metrics)
        estimator.__dict__.pop(name_of_metrics)


# Of objectives whose margins are log-odds, as those of a focal loss are.
_LINKS = {1: ("binary sigmoid:1", "cross_entropy"), 2: ("multiclass num_class:",)}


def check_earlier(earlier: Any, loss: BinaryFocalLoss | MulticlassFocalLoss, n_features: int) -> lightgbm.Booster:
    """Return the booster of a model to continue, of a focal loss or of LightGBM's own log loss.

    Parameters
    ----------
    earlier : Booster, LGBMClassifier, str or PathLike
    loss : BinaryFocalLoss or MulticlassFocalLoss
    n_features : int

    Returns
    -------
    Booster

    Raises
    ------
    ValueError
        If its outputs or features are others than those of this training, its margins are no log-odds, or its
        intercept is not in its trees.
    """
    _check_model(earlier)
    booster = earlier.booster_ if isinstance(earlier, lightgbm.LGBMModel) else earlier
    if isinstance(booster, (str, os.PathLike)):
        try:
            booster = lightgbm.Booster(model_file=booster)
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(
                f"init_model={os.fspath(earlier)!r} is not a model that LightGBM reads: {error}"
            ) from error
    outputs = booster.num_model_per_iteration()
    if outputs != loss.n_outputs:
        raise ValueError(f"init_model has {outputs} outputs a row, but {loss!r} has {loss.n_outputs}")
    link = link_of(booster.model_to_string(num_iteration=1))
    if link is None:
        raise ValueError(
            "init_model was trained with an objective of one's own, and its intercept is not in its trees: pass "
            "objective.portable(booster) of the FocalObjective that trained it"
        )
    if not link.startswith(_LINKS[min(outputs, 2)]):
        raise ValueError(
            f"init_model has the objective {link!r}, whose margins are no log-odds: continue a model of "
            f"{' or '.join(_LINKS[min(outputs, 2)])}"
        )
    if booster.num_feature() != n_features:
        raise ValueError(f"init_model has {booster.num_feature()} features, but X has {n_features}")
    return booster


def _threads(params: dict[str, Any]) -> int | None:
    """Threads of an estimator, counted as joblib does: -1 is all processors, -2 all but one."""
    n_jobs = check_n_threads(_given_threads(params))
    return n_jobs if n_jobs is None or n_jobs > 0 else joblib.effective_n_jobs(n_jobs or -1)


def _eval_arguments(estimator: Any, eval_set: list[tuple[Any, np.ndarray]] | None) -> dict[str, Any]:
    if eval_set is None:
        return {}
    if "eval_X" in inspect.signature(estimator.fit).parameters:  # LightGBM 4.7, where eval_set is deprecated
        return {"eval_X": tuple(X for X, _ in eval_set), "eval_y": tuple(y for _, y in eval_set)}
    return {"eval_set": eval_set}


def _on_probabilities(metric: Any, objective: FocalObjective) -> Any:
    """Let a metric function of the user see probabilities, with as many arguments as it takes."""
    if not callable(metric):
        return metric

    def score(y_true: np.ndarray, raw_scores: np.ndarray, *rest: Any) -> Any:
        proba = objective.loss.predict_proba(raw_scores + objective.intercept)
        return metric(y_true, proba[:, 1] if objective.loss.n_outputs == 1 else proba, *rest)

    # LightGBM counts the parameters to decide whether to pass weights and groups.
    score.__signature__ = inspect.signature(metric)  # type: ignore[attr-defined]
    return score


_STOPPING_NAMES = ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change")


def _check_stopping(params: dict[str, Any], callbacks: Any, eval_set: Any) -> None:
    if callbacks is not None and not (
        isinstance(callbacks, (list, tuple)) and all(callable(callback) for callback in callbacks)
    ):
        raise TypeError(
            f"callbacks={callbacks!r} is not a list of functions; pass callbacks=[lightgbm.early_stopping(50)]"
        )
    if eval_set:
        return
    stops = [f"{name}={params[name]!r}" for name in _STOPPING_NAMES if (params.get(name) or 0) > 0]
    stops += [repr(callback) for callback in callbacks or () if isinstance(callback, _EarlyStopping)]
    if stops:
        raise ValueError(
            f"training stops early ({stops[0]}), but there is no eval_set to judge by; pass eval_set=[(X_val, y_val)]"
        )


def _check_model(model: Any) -> None:
    if model is not None and not isinstance(model, (str, os.PathLike, lightgbm.Booster, lightgbm.LGBMModel)):
        raise TypeError(
            f"init_model={model!r} is no model to go on from: pass a Booster, an LGBMClassifier, a FocalClassifier of "
            "it, or the path of a saved one"
        )
    if isinstance(model, (str, os.PathLike)) and not os.path.exists(model):
        raise FileNotFoundError(f"init_model={model!r} is not there; pass the path of a saved model")


# Characters that LightGBM refuses in names of features once it has begun to train.
_REFUSED_IN_NAMES = set('",:[]{}')


def check_frame(X: Any) -> None:
    """Refuse data frames that LightGBM does not take; columns of strings in Arrow's layout would end the process.

    Parameters
    ----------
    X : data frame of pandas, polars or Arrow

    Raises
    ------
    ValueError
        If a column holds no numbers or its name has a character of JSON.
    """
    columns = _columns(X)
    for name, dtype, fine in columns:
        if not fine:
            raise ValueError(
                f"column {name!r} of X has dtype {dtype}, but LightGBM takes numbers and bool"
                f"{', and categories' if hasattr(X, 'iloc') else ''}: encode it, or leave it out"
            )
        if _REFUSED_IN_NAMES & set(str(name)):
            raise ValueError(
                f"column {name!r} of X has a character in its name that LightGBM refuses, one of "
                f"{' '.join(sorted(_REFUSED_IN_NAMES))}: rename it"
            )


def _columns(X: Any) -> list[tuple[Any, Any, bool]]:
    """Name and dtype of each column, and whether LightGBM takes it. Other kinds of data frames are left to LightGBM."""
    if hasattr(X, "iloc"):  # pandas
        return [(name, dtype, _is_pandas_number(dtype)) for name, dtype in X.dtypes.items()]
    module = type(X).__module__.partition(".")[0]
    if module == "polars":
        return [(name, dtype, str(dtype) in _POLARS_NUMBERS) for name, dtype in X.collect_schema().items()]
    if module == "pyarrow":
        return [(one.name, one.type, str(one.type) in _ARROW_NUMBERS) for one in X.schema]
    return []


def _is_pandas_number(dtype: Any) -> bool:
    # Extension types (nullable numbers, sparse ones, Arrow's) are as LightGBM takes them.
    return str(dtype) == "category" or getattr(dtype, "kind", "O") in "biuf"


_SIZES = ("8", "16", "32", "64")
_POLARS_NUMBERS = {"Boolean", "Float32", "Float64", *(f"{kind}{size}" for kind in ("Int", "UInt") for size in _SIZES)}
_ARROW_NUMBERS = {"bool", "float", "double", *(f"{kind}{size}" for kind in ("int", "uint") for size in _SIZES)}


# LightGBM 4.6 takes its own names (Column_0 and so on) for names that X had in fit. What X has was checked before.
_WARNS_OF_NAMES = "eval_X" not in inspect.signature(lightgbm.LGBMClassifier.fit).parameters


def predict_margins(estimator: Any, X: Any, predict_params: dict[str, Any]) -> NDArray[np.float64]:
    """Margins of a fitted estimator, by its own rule for the best iteration.

    Parameters
    ----------
    estimator : LGBMClassifier
    X : array-like of shape (n, n_features)
    predict_params : dict
        Further arguments of ``estimator.predict``.

    Returns
    -------
    ndarray of shape (n,) or (n, K), float64
    """
    margins: NDArray[np.float64]
    if not _WARNS_OF_NAMES:
        margins = estimator.predict(X, raw_score=True, **predict_params)
        return margins
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        margins = estimator.predict(X, raw_score=True, **predict_params)
    return margins


def evals_result(estimator: Any) -> dict[str, dict[str, list[float]]]:
    """Return the metrics of each evaluation set in each round; empty without one."""
    history: dict[str, dict[str, list[float]]] = estimator.evals_result_
    return history


def best_iteration(estimator: Any) -> int | None:
    """Number of rounds up to the best one, or None without early stopping."""
    return estimator.best_iteration_ or None


def n_rounds(estimator: Any) -> int:
    """Return the number of rounds that predictions are made of."""
    rounds: int = best_iteration(estimator) or estimator.booster_.current_iteration()
    return rounds


def booster_state(estimator: Any) -> dict[str, Any]:
    """Return the booster of a fitted estimator as LightGBM's model text, and what that does not hold.

    Parameters
    ----------
    estimator : LGBMClassifier

    Returns
    -------
    dict
        ``booster``: bytes, all rounds; ``best_iteration``, ``best_score``, ``pandas_categorical``: as in the booster.
    """
    booster = estimator.booster_
    others = {name: getattr(booster, name) for name in ("best_iteration", "best_score", "pandas_categorical")}
    return {"booster": booster.model_to_string(num_iteration=-1).encode(), **others}


def restore_booster(estimator: Any, state: dict[str, Any]) -> None:
    """Give an estimator the booster that `booster_state` returned.

    Parameters
    ----------
    estimator : LGBMClassifier
    state : dict

    Raises
    ------
    LightGBMError
        If LightGBM does not read it.
    """
    booster = lightgbm.Booster(model_str=state["booster"].decode())
    booster.best_iteration, booster.best_score = state["best_iteration"], state["best_score"]
    booster.pandas_categorical = state["pandas_categorical"]
    estimator._Booster = booster


def stop_at(estimator: Any, n_rounds: int) -> None:
    """Let a fitted estimator predict by its first rounds, as if early stopping had found the last of them best."""
    estimator.booster_.best_iteration = n_rounds


# ---------------------------------------------------------------------------------------------------------------------
# LGBMClassifier, for FocalClassifierCV

_ROUND_NAMES = (
    "num_iterations",
    "num_iteration",
    "n_iter",
    "num_tree",
    "num_trees",
    "num_round",
    "num_rounds",
    "nrounds",
    "num_boost_round",
    "max_iter",
)


def check_search(estimator: Any, patience: int | None, fit_params: dict[str, Any]) -> None:
    """Refuse what keeps a search over folds from choosing the number of rounds.

    Parameters
    ----------
    estimator : LGBMClassifier
    patience : int or None
        Rounds without a better score after which a fold stops; None for no early stopping.
    fit_params : dict
        Further arguments of ``estimator.fit``.

    Raises
    ------
    ValueError
        If the estimator or a callback stops early by itself, or rounds cannot be taken back from what it trains.
    """
    params = estimator.get_params()
    given = [f"{name}={params[name]!r} of the estimator" for name in _STOPPING_NAMES if params.get(name)]
    given += ["a callback" for one in fit_params.get("callbacks") or [] if hasattr(one, "stopping_rounds")]
    if given:
        raise ValueError(
            f"early stopping is asked for by {given[0]}: take that out and set early_stopping_rounds of "
            "FocalClassifierCV, which follows the log loss of the held-out rows"
        )
    is_dart = any(params.get(name) == "dart" for name in ("boosting_type", "boosting", "boost"))
    if patience is not None and is_dart:
        raise ValueError(
            f"early_stopping_rounds={patience!r} cannot be used with dart, whose first rounds are no model of their "
            "own: pass early_stopping_rounds=None"
        )


def fold_arguments(
    estimator: Any, n_classes: int, sample_weight: np.ndarray | None, patience: int | None
) -> dict[str, Any]:
    """Arguments of ``fit`` with which one evaluation set is weighted and, where asked for, stops the training.

    Parameters
    ----------
    estimator : LGBMClassifier
        A clone that belongs to the caller: the log loss becomes its only metric.
    n_classes : int
    sample_weight : ndarray of shape (n,) or None
        Weights of the evaluation set.
    patience : int or None
        Rounds without a lower log loss after which training stops.

    Returns
    -------
    dict
    """
    params = estimator.get_params()
    estimator.set_params(**{name: None for name in _METRIC_NAMES if params.get(name) is not None})
    stop = [] if patience is None else [lightgbm.early_stopping(patience, verbose=False)]
    weights = None if sample_weight is None else [sample_weight]
    return {"eval_sample_weight": weights, "callbacks": stop}


def set_rounds(estimator: Any, n_rounds: int) -> None:
    """Let an unfitted estimator train this many rounds, whatever name it was given them by."""
    given = [name for name in _ROUND_NAMES if estimator.get_params().get(name) is not None]
    estimator.set_params(n_estimators=n_rounds, **dict.fromkeys(given, n_rounds))
