"""LGBMClassifier, for FocalClassifier."""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import sys
from typing import Any, ClassVar

import joblib
import lightgbm
import numpy as np
from sklearn.preprocessing import LabelEncoder

from focal_boost._adapter import Adapter, Loss, metric_on_probabilities
from focal_boost._checks import check_n_threads
from focal_boost._features import check_columns
from focal_boost._typing import AnyArray, FloatArray
from focal_boost.lightgbm.objective import (
    DEVICE_NAMES,
    FocalObjective,
    ObjectiveOfTraining,
    given_threads,
    keep_parameters,
)
from focal_boost.lightgbm.text import link_of

__all__ = ["ADAPTER", "LightGBMAdapter"]

# The class is not exported; what early_stopping() returns is.
_EarlyStopping = type(lightgbm.early_stopping(1, verbose=False))

# What the log loss is called, for two classes and more; it is computed here.
_LOG_LOSSES = ("binary_logloss", "multi_logloss")

# Metrics of LightGBM that only look at the order of raw scores, for two classes and more, and its words for none.
_RANKING_METRICS = ({"auc", "average_precision"}, {"auc_mu"})
_NO_METRIC = {"", "none", "null", "custom", "na"}

# Other names of parameters.
_METRIC_NAMES = ("metric", "metrics", "metric_types")
_BOOSTING_NAMES = ("boosting_type", "boosting", "boost")
STOPPING_NAMES = ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change")
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


def _stop_after(patience: int) -> Any:
    """Stop as early_stopping does, and keep the rounds after the best one, which LightGBM would throw away."""
    losses: list[float] = []

    def stop(env: Any) -> None:
        losses.append(env.evaluation_result_list[0][2])
        if len(losses) - 1 - int(np.argmin(losses)) >= patience:
            raise lightgbm.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    stop.order = 30  # type: ignore[attr-defined]  # as early_stopping: once the last round has been recorded
    return stop


class LightGBMAdapter(Adapter):
    """What the rest of the package knows of LightGBM."""

    title = "LightGBM"
    model_argument = "init_model"
    margins_argument = "init_score"
    eval_margins_argument = "eval_init_score"
    eval_weights_argument = "eval_sample_weight"
    prediction_arguments: ClassVar[frozenset[str]] = frozenset(
        {
            *("num_iteration", "start_iteration", "validate_features", "predict_disable_shape_check", "num_threads"),
            *("pred_early_stop", "pred_early_stop_freq", "pred_early_stop_margin"),
        }
    )
    takes_label_columns = False
    margin_dtype = np.float64
    cluster_class = "DaskLGBMClassifier"
    cluster_parameter = "client"
    _model_class = lightgbm.LGBMModel
    _booster_class = lightgbm.Booster
    _classifier_class = lightgbm.LGBMClassifier
    _log_odds_links = ("binary sigmoid:1", "cross_entropy"), ("multiclass num_class:",)
    _log_losses = _LOG_LOSSES

    def _check_parameters(self, params: dict[str, Any]) -> None:
        for names, neutral, advice in _IGNORED:
            for name in names:
                value = params.get(name)
                if value is not None and value != neutral:
                    raise ValueError(
                        f"the estimator has {name}={value!r}, which has no effect with an objective of one's own: "
                        f"leave it out; {advice.format(value=value)}"
                    )
        for name in _BOOSTING_NAMES:
            if params.get(name) in ("rf", "random_forest"):
                raise ValueError(
                    f"the estimator has {name}={params[name]!r}, which LightGBM does not train with an objective of "
                    "one's own; use XGBRFClassifier for a random forest"
                )
        for name in _METRIC_NAMES:
            eval_metrics(params.get(name), name)

    def check_frame(self, X: Any, estimator: Any) -> None:
        check_columns(X, self.title, {"number", "category", "category of floats"}, "categories of pandas")
        for name in getattr(X, "column_names", None) or X.columns:
            if _REFUSED_IN_NAMES & set(str(name)):
                raise ValueError(
                    f"column {name!r} of X has a character in its name that LightGBM refuses, one of "
                    f"{' '.join(sorted(_REFUSED_IN_NAMES))}: rename it"
                )

    def _booster_of(self, model: Any) -> Any:
        if isinstance(model, lightgbm.LGBMModel):
            return model.booster_
        if isinstance(model, lightgbm.Booster):
            return model
        try:
            return lightgbm.Booster(model_file=model)
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"init_model={os.fspath(model)!r} is not a model that LightGBM reads: {error}") from error

    def _outputs_link_features(self, booster: Any) -> tuple[int, str, int]:
        link = link_of(booster.model_to_string(num_iteration=1))
        if link is None:
            raise ValueError(
                "init_model was trained with an objective of one's own, and its intercept is not in its trees: pass "
                "objective.portable(booster) of the FocalObjective that trained it"
            )
        return booster.num_model_per_iteration(), link, booster.num_feature()

    def fit_estimator(
        self,
        estimator: Any,
        loss: Loss,
        X: Any,
        y: AnyArray,
        sample_weight: AnyArray | None,
        eval_set: list[tuple[Any, AnyArray]] | None,
        fit_params: dict[str, Any],
        *,
        intercept: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.check_fit_params(estimator, fit_params)
        fit_params = dict(fit_params)
        params = estimator.get_params()
        eval_metric = eval_metrics(fit_params.pop("eval_metric", None), "eval_metric")
        _check_number_of_classes([*own_metrics(params)[1], *eval_metric], loss)
        if isinstance(estimator, lightgbm.LGBMClassifier):  # and not on a cluster, whose workers have the GPUs
            _check_device(params)
        callbacks = fit_params.get("callbacks")
        check_callbacks(callbacks)
        self._check_stopping(estimator, callbacks, eval_set)
        fit_params["callbacks"] = [*(callbacks or []), keep_parameters]
        started = any(fit_params.get(name) is not None for name in (self.margins_argument, self.model_argument))
        started = started or params.get("boost_from_average") is False
        if intercept is None:
            intercept = loss.fit_intercept_only(y, sample_weight)
        scale = loss.log_loss_scale(intercept)
        n_threads = _threads(params) if n_threads is None else n_threads
        objective = ObjectiveOfTraining(loss, None if started else intercept, n_threads, scale=scale)

        given, of_params = own_metrics(params)
        name_of_metrics = next(iter(given), "metric")
        built_in = [metric for metric in of_params if metric not in self._log_losses]
        estimator.set_params(objective=objective, **{name_of_metrics: built_in or "None"})
        named = [metric for metric in eval_metric if isinstance(metric, str) and metric not in self._log_losses]
        fit_params["eval_metric"] = named + self.metric_functions(params, eval_metric, objective)
        fit = estimator.fit
        if type(estimator).fit is lightgbm.LGBMClassifier.fit:
            # Labels are codes already. Encoded once more, those of the training set in `eval_set` would be another
            # object, and LightGBM would not recognise it.
            fit = functools.partial(lightgbm.LGBMModel.fit, estimator)
            set_classes(estimator, loss.n_classes)
        fit(X, y, sample_weight=sample_weight, **fit_params, **_eval_arguments(estimator, eval_set))

        estimator._Booster = objective.portable(estimator.booster_)
        # What is left is an ordinary estimator whose booster knows its link (set_params resets _objective too).
        estimator.set_params(objective=None, **given)
        estimator._objective = "binary" if loss.n_outputs == 1 else "multiclass"
        if not given:
            estimator._other_params.pop(name_of_metrics)
            estimator.__dict__.pop(name_of_metrics)

    def metric_functions(self, params: dict[str, Any], eval_metric: list[Any], objective: FocalObjective) -> list[Any]:
        """Metrics of raw scores: the log loss, which LightGBM takes to be of probabilities, and functions of the user.

        Parameters
        ----------
        params : dict
            Of the estimator. Where they name metrics, the log loss is one only if it is named.
        eval_metric : list
            Of ``fit``, as `eval_metrics` gives it.
        objective : FocalObjective
            Whose intercept is added to the raw scores.

        Returns
        -------
        list of callable
        """
        log_loss = self.log_loss_name(objective.loss.n_classes)
        functions = [_on_probabilities(metric, objective) for metric in eval_metric if callable(metric)]
        given, of_params = own_metrics(params)
        if not given or log_loss in [*of_params, *eval_metric]:
            functions.insert(0, _log_loss(log_loss, objective))
        return functions

    def predict_margins(self, estimator: Any, X: Any, predict_params: dict[str, Any]) -> FloatArray:
        margins: FloatArray = estimator.predict(X, raw_score=True, **predict_params)
        return margins

    def evals_result(self, estimator: Any) -> dict[str, dict[str, list[float]]]:
        history: dict[str, dict[str, list[float]]] = estimator.evals_result_
        return history

    def best_iteration(self, estimator: Any) -> int | None:
        """Number of rounds up to the best one, or None without early stopping."""
        return estimator.best_iteration_ or None

    def n_rounds(self, estimator: Any) -> int:
        rounds: int = self.best_iteration(estimator) or estimator.booster_.current_iteration()
        return rounds

    def stopping_arguments(self, estimator: Any, fit_params: dict[str, Any], patience: int) -> dict[str, Any]:
        callbacks = fit_params.get("callbacks")
        if self._stopping(estimator, callbacks):
            return fit_params
        return {**fit_params, "callbacks": [*(callbacks or []), lightgbm.early_stopping(patience, verbose=False)]}

    def _stopping(self, estimator: Any, callbacks: Any) -> list[str]:
        params = estimator.get_params()
        asked = [f"{name}={params[name]!r}" for name in STOPPING_NAMES if (params.get(name) or 0) > 0]
        return asked + [f"callbacks={[one]!r}" for one in callbacks or () if isinstance(one, _EarlyStopping)]

    def _indivisible(self, estimator: Any) -> str | None:
        params = estimator.get_params()
        return "dart" if any(params.get(name) == "dart" for name in _BOOSTING_NAMES) else None

    def check_search(self, estimator: Any, patience: int | None, fit_params: dict[str, Any]) -> None:
        super().check_search(estimator, patience, fit_params)
        for callback in fit_params.get("callbacks") or []:
            for name, values in getattr(callback, "kwargs", {}).items():
                if patience is not None and isinstance(values, list):
                    raise ValueError(
                        f"reset_parameter({name}=[...]) has {len(values)} values, one a round, but how many rounds the "
                        "last training has is found by the search: pass a function of the round"
                    )

    def fold_arguments(
        self, estimator: Any, n_classes: int, sample_weight: AnyArray | None, patience: int | None
    ) -> dict[str, Any]:
        params = estimator.get_params()
        estimator.set_params(**{name: None for name in _METRIC_NAMES if params.get(name) is not None})
        stop = [] if patience is None else [_stop_after(patience)]
        weights = None if sample_weight is None else [sample_weight]
        return {self.eval_weights_argument: weights, "callbacks": stop}

    def set_rounds(self, estimator: Any, n_rounds: int) -> None:
        """Let an unfitted estimator train this many rounds, whatever name it was given them by."""
        given = [name for name in _ROUND_NAMES if estimator.get_params().get(name) is not None]
        estimator.set_params(n_estimators=n_rounds, **dict.fromkeys(given, n_rounds))

    def stop_at(self, estimator: Any, n_rounds: int) -> None:
        estimator.booster_.best_iteration = n_rounds

    def booster_state(self, estimator: Any) -> dict[str, Any]:
        booster = estimator.booster_
        others = {name: getattr(booster, name) for name in ("best_iteration", "best_score", "pandas_categorical")}
        return {"booster": booster.model_to_string(num_iteration=-1).encode(), **others}

    def restore_booster(self, estimator: Any, state: dict[str, Any]) -> None:
        booster = lightgbm.Booster(model_str=state["booster"].decode())
        for name in ("best_iteration", "best_score", "pandas_categorical"):
            setattr(booster, name, state[name])
        estimator._Booster = booster

    def fit_on_cluster(
        self,
        given: Any,
        estimator: Any,
        client: Any,
        loss: Loss,
        train: Any,
        eval_sets: list[Any] | None,
        fit_params: dict[str, Any],
        start: dict[str, Any],
    ) -> None:
        from focal_boost.lightgbm.dask import fit

        fit(self, given, estimator, client, loss, train, eval_sets, fit_params, start)

    def onnx_trees(self, estimator: Any, n_features: int) -> tuple[Any, list[int]]:
        from focal_boost.lightgbm.onnx import trees

        return trees(self, estimator, n_features)


def set_classes(estimator: Any, n_classes: int) -> None:
    """Set what LGBMClassifier.fit knows of labels that are 0 to K - 1."""
    codes = np.arange(n_classes)
    estimator._le = LabelEncoder().fit(codes)
    estimator._class_map = {int(code): int(code) for code in codes}
    estimator._classes, estimator._n_classes = codes, n_classes


def _check_device(params: dict[str, Any]) -> None:
    """Refuse a GPU that is not there: LightGBM built for one would end the process, not raise."""
    for name in DEVICE_NAMES:
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


def eval_metrics(metric: Any, name: str) -> list[Any]:
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


def own_metrics(params: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Metrics among the parameters of an estimator: as they are given, and by name."""
    given = {name: params[name] for name in _METRIC_NAMES if params.get(name) is not None}
    return given, [metric for name, value in given.items() for metric in eval_metrics(value, name)]


def _check_number_of_classes(metrics: list[Any], loss: Loss) -> None:
    """Refuse metrics of two classes for more, and the other way round."""
    fitting = {_LOG_LOSSES[loss.n_classes > 2], *_RANKING_METRICS[loss.n_classes > 2]}
    for metric in metrics:
        if isinstance(metric, str) and metric not in fitting | _NO_METRIC:
            raise ValueError(f"{metric!r} is no metric of {loss.n_classes} classes: {sorted(fitting)} are")


def check_callbacks(callbacks: Any) -> None:
    if callbacks is not None and not (
        isinstance(callbacks, (list, tuple)) and all(callable(callback) for callback in callbacks)
    ):
        raise TypeError(
            f"callbacks={callbacks!r} is not a list of functions; pass callbacks=[lightgbm.early_stopping(50)]"
        )


def _log_loss(name: str, objective: FocalObjective) -> Any:
    """LightGBM's own log loss, as a function of raw scores."""

    def score(y_true: AnyArray, raw_scores: AnyArray, weight: Any) -> tuple[str, float, bool]:
        value = objective.loss.log_loss(y_true, raw_scores, weight, objective.n_threads, intercept=objective.intercept)
        return name, value, False

    score.is_mean_over_rows = True  # type: ignore[attr-defined]  # so that a cluster may score its partitions
    return score


_RESULT = "(name, value, whether larger is better), or a list of such"


def _on_probabilities(metric: Any, objective: FocalObjective) -> Any:
    """Let a metric function of the user see probabilities, with as many arguments as it takes."""
    signature = inspect.signature(metric)
    if len(signature.parameters) not in (2, 3, 4):
        name = getattr(metric, "__name__", type(metric).__name__)
        raise TypeError(
            f"eval_metric={name} takes {len(signature.parameters)} arguments, but LightGBM calls (y_true, y_proba), or "
            f"these and weights, and wants {_RESULT}: pass a function such as "
            f"def metric(y_true, y_proba): return {name!r}, {name}(y_true, y_proba), False"
        )
    of_margins = metric_on_probabilities(metric, objective.loss, _RESULT, _is_result)

    def score(y_true: AnyArray, raw_scores: AnyArray, *rest: Any) -> Any:
        return of_margins(y_true, raw_scores + objective.intercept, *rest)

    # LightGBM counts the parameters to decide whether to pass weights and groups.
    score.__signature__ = signature  # type: ignore[attr-defined]
    return score


def _is_result(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_result, value))
    return isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], str) and np.ndim(value[1]) == 0


def _threads(params: dict[str, Any]) -> int | None:
    """Threads of an estimator, counted as joblib does: -1 is all processors, -2 all but one."""
    n_jobs = given_threads(params)
    check_n_threads(n_jobs)
    return n_jobs if n_jobs is None or n_jobs > 0 else joblib.effective_n_jobs(n_jobs or -1)


def _eval_arguments(estimator: Any, eval_set: list[tuple[Any, AnyArray]] | None) -> dict[str, Any]:
    if eval_set is None:
        return {}
    if "eval_X" in inspect.signature(estimator.fit).parameters:  # LightGBM 4.7, where eval_set is deprecated
        return {"eval_X": tuple(X for X, _ in eval_set), "eval_y": tuple(y for _, y in eval_set)}
    return {"eval_set": eval_set}


# Characters that LightGBM refuses in names of features once it has begun to train.
_REFUSED_IN_NAMES = set('",:[]{}')


ADAPTER = LightGBMAdapter()
