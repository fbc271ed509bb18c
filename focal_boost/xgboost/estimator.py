"""XGBClassifier and XGBRFClassifier, for FocalClassifier."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from typing import Any, ClassVar

import numpy as np
import xgboost

from focal_boost._adapter import Adapter, Loss, metric_on_probabilities
from focal_boost._features import check_columns
from focal_boost._typing import AnyArray, FloatArray
from focal_boost.xgboost.objective import FocalObjective, mean_over_workers
from focal_boost.xgboost.rounds import Rounds, has_cuda

__all__ = ["ADAPTER", "XGBoostAdapter"]

# Parameters of LightGBM, which XGBoost would only warn of.
_FOREIGN = ("class_weight", "is_unbalance", "unbalance")


class XGBoostAdapter(Adapter):
    """What the rest of the package knows of XGBoost."""

    title = "XGBoost"
    model_argument = "xgb_model"
    margins_argument = "base_margin"
    eval_margins_argument = "base_margin_eval_set"
    eval_weights_argument = "sample_weight_eval_set"
    prediction_arguments: ClassVar[frozenset[str]] = frozenset({"base_margin", "iteration_range", "validate_features"})
    takes_label_columns = True
    margin_dtype = np.float32
    cluster_class = "DaskXGBClassifier"
    cluster_parameter = "coll_cfg"
    _model_class = xgboost.XGBModel
    _booster_class = xgboost.Booster
    _classifier_class = xgboost.XGBClassifier
    _log_odds_links = ("binary:logistic", "binary:logitraw", "reg:logistic"), ("multi:softprob", "multi:softmax")
    _log_losses = "logloss", "mlogloss"

    def _check_parameters(self, params: dict[str, Any]) -> None:
        objective = params.get("objective")
        if objective not in (None, "binary:logistic", "multi:softprob", "multi:softmax"):
            raise ValueError(
                f"the estimator has objective={objective!r}, but FocalClassifier brings its own: leave it out"
            )
        for name in _FOREIGN:
            if params.get(name) not in (None, False):
                raise ValueError(
                    f"the estimator has {name}={params[name]!r}, which XGBoost does not know; use "
                    "FocalClassifier(alpha=...) with one weight per class, or alpha='balanced'"
                )
        if params.get("num_class") is not None:
            raise ValueError(
                f"the estimator has num_class={params['num_class']!r}, but the number of classes comes from y: leave "
                "it out"
            )
        scale = params.get("scale_pos_weight")
        if scale not in (None, 1):
            raise ValueError(
                f"the estimator has scale_pos_weight={scale!r}, which an objective of one's own does not see; use "
                f"FocalClassifier(alpha={{label: weight}}), e.g. alpha=(1, {scale!r}), or alpha='balanced'"
            )

    def check_frame(self, X: Any, estimator: Any) -> None:
        categories = {"category", "arrow category"} if estimator.enable_categorical else set()
        words = "with enable_categorical=True categories that are no floats"
        check_columns(X, self.title, {"number", "arrow number", *categories}, words)

    def _no_device_tables(self) -> str | None:
        built_for = "this XGBoost is built for processors alone"
        return None if has_cuda() else f"{built_for}: install xgboost in the place of xgboost-cpu, or pass"

    def model_to_continue(self, model: Any, loss: Loss, n_features: int) -> xgboost.Booster:
        """Booster of a model, as for every library; of one that was stopped early, up to its best round.

        Predictions would go up to that round for ever, whatever came after it, if the booster still had a note of it.
        """
        booster = super().model_to_continue(model, loss, n_features)
        if (best := booster.attr("best_iteration")) is not None:
            is_linear = _learner(booster)["gradient_booster"]["name"] == "gblinear"  # whose rounds are no parts
            booster = booster.copy() if is_linear else booster[: int(best) + 1]
            booster.set_attr(best_iteration=None, best_score=None)
        return booster

    def _booster_of(self, model: Any) -> Any:
        if isinstance(model, xgboost.XGBModel):
            return model.get_booster()
        return model if isinstance(model, xgboost.Booster) else xgboost.Booster(model_file=os.fspath(model))

    def _outputs_link_features(self, booster: Any) -> tuple[int, str, int]:
        learner = _learner(booster)
        outputs = max(int(learner["learner_model_param"]["num_class"]), 1)
        return outputs, learner["objective"]["name"], booster.num_features()

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
        self._check_stopping(estimator, None, eval_set)
        _check_base_score(estimator.base_score, loss, y.shape[1] if y.ndim == 2 else 1)
        n_threads = estimator.n_jobs if n_threads is None else n_threads
        names = ("eval_metric", "callbacks", "base_score", "early_stopping_rounds")
        own = {name: getattr(estimator, name) for name in names}
        if intercept is None:
            intercept = loss.fit_intercept_only(y, sample_weight)
        # Unless the user's own base_score, margins or earlier model give the start.
        given = (own["base_score"], *map(fit_params.get, (self.margins_argument, self.model_argument)))
        start = intercept if all(value is None for value in given) else None
        objective = FocalObjective(loss, start, n_threads, scale=loss.log_loss_scale(intercept))

        estimator.objective = objective
        estimator.eval_metric = _on_probabilities(own["eval_metric"], loss)
        updates = Rounds(objective)
        if not isinstance(estimator, xgboost.XGBRFClassifier):  # whose single round allows no callbacks
            estimator.callbacks = [updates, *(own["callbacks"] or [])]
        if own["early_stopping_rounds"] is not None and _is_maximised(own["eval_metric"]):
            stop = xgboost.callback.EarlyStopping(rounds=own["early_stopping_rounds"], maximize=True)
            estimator.callbacks = [*estimator.callbacks, stop]
            estimator.early_stopping_rounds = None  # which would take the lowest value for the best
        if own["base_score"] is None and fit_params.get(self.model_argument) is None:
            estimator.base_score = objective.params["base_score"]

        try:
            estimator.fit(X, y, sample_weight=sample_weight, eval_set=eval_set, **fit_params)
        except xgboost.core.XGBoostError as error:
            _check_categories(error)
            if "`inf`" in str(error):  # while it bins the features, before any tree
                raise ValueError(
                    "X holds infinity or a value too large for single precision, which XGBoost does not take; replace "
                    "it (missing values are NaN), or set missing=inf in the estimator"
                ) from error
            if "Unknown metric" in str(error):
                raise ValueError(
                    f"eval_metric={own['eval_metric']!r} names a metric that XGBoost does not have: name one of its "
                    "own, such as 'logloss', 'mlogloss' or 'aucpr', or pass a function (y_true, y_proba)"
                ) from error
            raise
        finally:
            updates.close()
        self._warn_of_minimising(own["eval_metric"], estimator)

        # What is left is an ordinary estimator whose booster knows its link; the user's own settings are back in place.
        estimator.objective = objective.params["objective"]
        for name, value in own.items():
            setattr(estimator, name, value)

    def _warn_of_minimising(self, metrics: Any, estimator: Any) -> None:
        """Say that XGBoost minimises a function of the user, where no round was better than the first."""
        last = metrics[-1] if isinstance(metrics, (list, tuple)) and metrics else metrics
        if callable(last) and estimator.early_stopping_rounds is not None and self.best_iteration(estimator) == 0:
            name = getattr(last, "__name__", type(last).__name__)
            warnings.warn(
                f"no round was better than the first: XGBoost takes the lowest value of {name} for the best. If "
                "greater is better, pass XGBClassifier(callbacks=[xgboost.callback.EarlyStopping(rounds=..., "
                "maximize=True)]) in the place of early_stopping_rounds, or end its name in '_score'",
                UserWarning,
                stacklevel=4,
            )

    def predict_margins(self, estimator: Any, X: Any, predict_params: dict[str, Any]) -> FloatArray:
        try:
            margins: FloatArray = estimator.predict(X, output_margin=True, **predict_params)
        except xgboost.core.XGBoostError as error:
            _check_categories(error)
            raise
        return margins

    def evals_result(self, estimator: Any) -> dict[str, dict[str, list[float]]]:
        return getattr(estimator, "evals_result_", {})

    def best_iteration(self, estimator: Any) -> int | None:
        """Index of the best round, from 0, or None without early stopping."""
        return getattr(estimator.get_booster(), "best_iteration", None) if self._stopping(estimator, None) else None

    def n_rounds(self, estimator: Any) -> int:
        best = self.best_iteration(estimator)
        rounds: int = estimator.get_booster().num_boosted_rounds() if best is None else best + 1
        return rounds

    def stopping_arguments(self, estimator: Any, fit_params: dict[str, Any], patience: int) -> dict[str, Any]:
        if isinstance(estimator, xgboost.XGBRFClassifier):
            raise ValueError(
                "an XGBRFClassifier trains one round, which cannot stop early: leave validation_fraction out"
            )
        if not self._stopping(estimator, None):
            estimator.set_params(early_stopping_rounds=patience)
        return {"verbose": False, **fit_params}  # it would print each round

    def _stopping(self, estimator: Any, callbacks: Any) -> list[str]:
        rounds = estimator.early_stopping_rounds
        asked = [] if rounds is None else [f"early_stopping_rounds={rounds!r}"]
        stops = [one for one in estimator.callbacks or [] if isinstance(one, xgboost.callback.EarlyStopping)]
        return asked + [f"callbacks={estimator.callbacks!r}"] * bool(stops)

    def _indivisible(self, estimator: Any) -> str | None:
        if isinstance(estimator, xgboost.XGBRFClassifier):
            return "XGBRFClassifier"
        return f"booster={estimator.booster!r}" if estimator.booster in ("dart", "gblinear") else None

    def fold_arguments(
        self, estimator: Any, n_classes: int, sample_weight: AnyArray | None, patience: int | None
    ) -> dict[str, Any]:
        name = self.log_loss_name(n_classes)
        estimator.set_params(eval_metric=name)
        if patience is not None:
            stop = xgboost.callback.EarlyStopping(
                rounds=patience, metric_name=name, data_name="validation_0", maximize=False
            )
            estimator.set_params(callbacks=[*(estimator.callbacks or []), stop])
        weights = None if sample_weight is None else [sample_weight]
        return {self.eval_weights_argument: weights, "verbose": False}

    def set_rounds(self, estimator: Any, n_rounds: int) -> None:
        estimator.set_params(n_estimators=n_rounds)

    def stop_at(self, estimator: Any, n_rounds: int) -> None:
        estimator.get_booster().set_attr(best_iteration=str(n_rounds - 1))

    def booster_state(self, estimator: Any) -> dict[str, Any]:
        return {"booster": bytes(estimator.get_booster().save_raw("ubj"))}

    def restore_booster(self, estimator: Any, state: dict[str, Any]) -> None:
        given = {"nthread": estimator.n_jobs, "device": estimator.device}
        booster = xgboost.Booster({name: value for name, value in given.items() if value is not None})
        booster.load_model(bytearray(state["booster"]))
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
        from focal_boost.xgboost.dask import fit

        fit(self, given, estimator, client, loss, train, eval_sets, fit_params, start)

    def onnx_trees(self, estimator: Any, n_features: int) -> tuple[Any, list[int]]:
        from focal_boost.xgboost.onnx import trees

        return trees(self, estimator, n_features)


def _check_categories(error: xgboost.core.XGBoostError) -> None:
    """Say of a column of categories what XGBoost says with numbers and a stack trace."""
    if found := re.search(r"category not in the training set for the (\d+).*column: `(.*)`", str(error)):
        raise ValueError(
            f"column {found[1]} of X (from 0) holds the category {found[2]!r}, which is not among those of training: "
            "make it missing, or train on data with it"
        ) from error
    if found := re.search(r"Invalid new DataFrame input for the: (\d+)", str(error)):
        raise ValueError(
            f"column {found[1]} of X (from 0) has another type than in training: give it the same categories, or "
            "numbers where it had numbers"
        ) from error


def _learner(booster: xgboost.Booster) -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return learner


def _check_base_score(base_score: Any, loss: Loss, n_labels: int) -> None:
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


def _on_probabilities(metric: Any, loss: Loss) -> Any:
    """Let metric functions of the user see probabilities; XGBoost hands margins to those beside an objective."""
    if isinstance(metric, (list, tuple)):
        return [_on_probabilities(one, loss) for one in metric]
    if not callable(metric):
        return metric
    of_rows = metric_on_probabilities(metric, loss, "one number", lambda value: np.ndim(value) == 0)

    def of_weighted_rows(y_true: AnyArray, margins: AnyArray, sample_weight: Any) -> float:
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(of_rows(y_true, margins, **weighted))

    def score(y_true: AnyArray, margins: AnyArray, sample_weight: Any = None) -> float:
        return mean_over_workers([of_weighted_rows], y_true, margins, sample_weight)[0]

    score.__name__ = getattr(metric, "__name__", type(metric).__name__)
    return score


def _is_maximised(metrics: Any) -> bool:
    """Whether early stopping follows a function whose name says, as scikit-learn's do, that greater is better."""
    last = metrics[-1] if isinstance(metrics, (list, tuple)) and metrics else metrics
    return callable(last) and getattr(getattr(last, "func", last), "__name__", "").endswith("_score")


ADAPTER = XGBoostAdapter()
