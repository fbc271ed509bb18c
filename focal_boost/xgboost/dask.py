"""XGBClassifier trained on a Dask cluster."""

from __future__ import annotations

from typing import Any

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
    """Fit an XGBClassifier in place; see `focal_boost._adapter.Adapter.fit_on_cluster`."""
    cluster = type(given)(**estimator.get_params(), coll_cfg=given.coll_cfg)
    cluster.client = client
    params = {**fit_params, **train.others}
    sets = eval_sets or []
    if any(rows.weight is not None for rows in sets):  # where one has weights, all have
        params[adapter.eval_weights_argument] = [rows.ones() if rows.weight is None else rows.weight for rows in sets]
    if any(rows.others for rows in sets):
        params[adapter.eval_margins_argument] = [rows.others.get(adapter.eval_margins_argument) for rows in sets]
    pairs = None if eval_sets is None else [(rows.X, rows.y) for rows in sets]
    adapter.fit_estimator(cluster, loss, train.X, train.y, train.weight, pairs, params, **start)
    estimator.objective = cluster.objective
    estimator.n_classes_ = loss.n_classes
    estimator._Booster = cluster.get_booster()
    if sets:
        estimator.evals_result_ = cluster.evals_result_
