"""LGBMClassifier trained on a Dask cluster.

While it trains, LightGBM scores on each worker the rows that lie there, and each worker stops early by itself, which
leaves the others waiting. So the workers train all rounds without evaluation sets; the rounds are scored afterwards,
over all rows, and callbacks that follow the scores see them then. Early stopping keeps the same rounds as on one
machine and saves no time.
"""

from __future__ import annotations

import inspect
from typing import Any

import dask
import lightgbm
import numpy as np

from focal_boost.lightgbm.estimator import STOPPING_NAMES, check_callbacks, eval_metrics, own_metrics, set_classes
from focal_boost.lightgbm.objective import FocalObjective

__all__ = ["fit"]


def fit(
    adapter: Any,
    given: Any,
    estimator: Any,
    client: Any,
    loss: Any,
    train: Any,
    eval_sets: list[Any] | None,
    fit_params: dict[str, Any],
    start: dict[str, Any],
) -> None:
    """Fit an LGBMClassifier in place; see `focal_boost._adapter.Adapter.fit_on_cluster`."""
    params = estimator.get_params()
    callbacks = fit_params.get("callbacks") or []
    check_callbacks(callbacks)
    stopping = {name: params[name] for name in STOPPING_NAMES if (params.get(name) or 0) > 0}
    followers = [one for one in callbacks if not getattr(one, "before_iteration", False)]
    if stopping:
        first_only = bool(params.get("first_metric_only"))
        followers.append(lightgbm.early_stopping(next(iter(stopping.values())), first_only, verbose=False))
    if followers:
        adapter._check_stopping(estimator, callbacks, eval_sets)
    metrics = eval_metrics(fit_params.get("eval_metric"), "eval_metric")
    functions = adapter.metric_functions(params, metrics, FocalObjective(loss, n_threads=start["n_threads"], scale=1.0))
    sets = eval_sets or []
    is_training = [rows.X is train.X and rows.y is train.y for rows in sets]
    names = fit_params.get("eval_names") or [
        "training" if training else f"valid_{i}" for i, training in enumerate(is_training)
    ]
    _check_evaluation(fit_params, params, names, len(sets))

    # DaskLGBMClassifier would number the labels on each worker, so that a worker without a class numbers the others
    # differently.
    cluster = lightgbm.DaskLGBMRegressor(client=client, **params)
    cluster.set_params(**dict.fromkeys(stopping), **({"num_class": loss.n_classes} if loss.n_classes > 2 else {}))
    of_fit = {name: value for name, value in fit_params.items() if name != "eval_names"}
    of_fit["callbacks"] = [one for one in callbacks if getattr(one, "before_iteration", False)]
    adapter.fit_estimator(cluster, loss, train.X, train.y, train.weight, None, {**of_fit, **train.others}, **start)
    fitted = {name: value for name, value in vars(cluster).items() if name.startswith("_") or name == "fitted_"}
    del fitted["_other_params"]
    vars(estimator).update(fitted)
    set_classes(estimator, loss.n_classes)
    estimator._class_weight = None

    earlier = fit_params.get(adapter.model_argument)
    first = 0 if earlier is None else earlier.current_iteration()
    scores = [_scores(client, estimator.booster_, first, rows, functions) for rows in sets]
    for name, training in zip(names, is_training, strict=True):
        if training:
            estimator.booster_.set_train_data_name(name)
    _follow(estimator, first, dict(zip(names, scores, strict=True)), followers)


def _check_evaluation(fit_params: dict[str, Any], params: dict[str, Any], names: list[str], n_sets: int) -> None:
    if fit_params.get("eval_class_weight") is not None:
        raise TypeError("eval_class_weight is not taken on a cluster: pass eval_sample_weight, one weight a row")
    if len(names) != n_sets or len(set(names)) != len(names):
        raise ValueError(f"eval_names={names!r} are not {n_sets} different names: give one to each evaluation set")
    named = [*eval_metrics(fit_params.get("eval_metric"), "eval_metric"), *own_metrics(params)[1]]
    built_in = {one for one in named if isinstance(one, str)}
    if ranking := sorted(built_in & {"auc", "average_precision", "auc_mu"}):
        raise ValueError(
            f"{ranking[0]!r} is not computed over the rows of a cluster by LightGBM: pass a function to eval_metric, "
            "which gets all rows of an evaluation set, such as "
            "lambda y, proba: ('auc', sklearn.metrics.roc_auc_score(y, proba), True)"
        )


def _scores(client: Any, booster: Any, first: int, rows: Any, functions: list[Any]) -> list[Any]:
    """Metrics of an evaluation set in each round, over all of its rows: lists of (name, value, larger is better)."""
    if not functions:
        return [[]] * (booster.current_iteration() - first)
    # The log loss is a mean over rows, so that the partitions can be scored where they lie. What a function of the
    # user is nobody knows: it gets all rows at once.
    parts = rows.parts(together=len(functions) > 1 or not hasattr(functions[0], "is_mean_over_rows"))
    tasks = [dask.delayed(_score_part, pure=False)(booster, first, functions, *part) for part in parts]
    weights, results = zip(*client.compute(tasks, sync=True), strict=True)
    if len(results) == 1:
        return list(results[0])
    merged = []
    for of_parts in zip(*results, strict=True):
        merged.append(
            [
                (one[0][0], float(np.average([value for _, value, _ in one], weights=weights)), one[0][2])
                for one in zip(*of_parts, strict=True)
            ]
        )
    return merged


def _score_part(booster: Any, first: int, functions: list[Any], X: Any, y: Any, weight: Any, margins: Any) -> Any:
    """Sum of weights and the metrics of each round; runs where the rows lie."""
    raw = booster.predict(X, raw_score=True, num_iteration=first) if first else 0.0
    raw = raw if margins is None else raw + np.asarray(margins)
    results = []
    for i in range(first, booster.current_iteration()):
        raw = raw + booster.predict(X, raw_score=True, start_iteration=i, num_iteration=1)
        of_round: list[Any] = []
        for function in functions:
            found = function(*(y, raw, weight, None)[: len(inspect.signature(function).parameters)])
            of_round += found if isinstance(found, list) else [found]
        results.append(of_round)
    return (len(y) if weight is None else float(np.sum(weight))), results


def _follow(estimator: Any, first: int, scores: dict[str, list[Any]], followers: list[Any]) -> None:
    """Show the scores of all rounds to callbacks in LightGBM's way, and keep what they decide."""
    booster, history = estimator.booster_, estimator._evals_result
    last = booster.current_iteration()
    callbacks = sorted([lightgbm.record_evaluation(history), *followers], key=lambda one: getattr(one, "order", 0))
    results: list[Any] = []
    try:
        for i in range(first, last):
            results = [_result(name, *one) for name, rounds in scores.items() for one in rounds[i - first]]
            env = lightgbm.callback.CallbackEnv(booster, estimator.get_params(), i, first, last, results)
            for callback in callbacks:
                callback(env)
    except lightgbm.callback.EarlyStopException as stop:
        booster.best_iteration = estimator._best_iteration = stop.best_iteration + 1
        results = stop.best_score
    for result in results:
        booster.best_score.setdefault(result[0], {})[result[1]] = result[2]
    estimator._best_score = booster.best_score


def _result(*fields: Any) -> Any:
    """An entry of LightGBM's list of results, a class of its own since LightGBM 4.7."""
    return lightgbm.EvalResult(*fields) if hasattr(lightgbm, "EvalResult") else fields
