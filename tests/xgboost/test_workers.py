"""Means over the rows of all workers, with the other workers played by hand: their sums are added to those sent.

`test_dask_training.py` has real ones. Here are shares of rows that chance gives none of them: no rows, little weight.
"""

from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb
from libraries import make_loss
from tables import draw
from xgboost import collective

from focal_boost.xgboost import FocalObjective
from focal_boost.xgboost.objective import mean_over_workers


@pytest.fixture
def others(monkeypatch):
    """Sums of the other workers, to be filled in, and what this one sends them."""
    played = {"sums": 0.0, "sent": []}

    def allreduce(sums, operation):
        assert operation == collective.Op.SUM
        played["sent"].append(sums.copy())
        return sums + played["sums"]

    monkeypatch.setattr(collective, "get_world_size", lambda: 2)
    monkeypatch.setattr(collective, "allreduce", allreduce)
    return played


def never(labels, scores, weights):
    raise AssertionError("called without rows")


def test_a_worker_without_rows_or_weight_takes_part_and_computes_nothing(others):
    others["sums"] = np.array([3.0, 8.0, 4.0, 0.0])
    for labels, weights in ((np.empty(0), None), (np.ones(5), np.zeros(5))):
        assert mean_over_workers([never, never], labels, np.empty(len(labels)), weights) == [0.75, 2.0]
    np.testing.assert_array_equal(others["sent"], np.zeros((2, 4)))


@pytest.mark.parametrize("total", [0.001, 0.5, 1.0, 1.5])
def test_a_worker_of_little_weight_counts_as_much_as_it_weighs(others, total):
    others["sums"] = np.array([2.0, 0.5, 0.0])
    found = mean_over_workers([lambda *_: 7.0], np.ones(4), np.zeros(4), np.full(4, total / 4))
    assert found == pytest.approx([(7 * total + 2) / (total + 0.5)], rel=1e-12)


def test_rows_without_weights_weigh_one_each(others):
    others["sums"] = np.array([2.0, 2.0, 0.0])
    assert mean_over_workers([lambda *_: 7.0], np.ones(6), np.zeros(6), None) == [(42 + 2) / 8]


def test_an_error_is_told_to_the_others_and_theirs_ends_this_one(others):
    with pytest.raises(AssertionError, match="called without rows"):
        mean_over_workers([never], np.ones(3), np.zeros(3), None)
    np.testing.assert_array_equal(others["sent"], [[0, 0, 1]])
    others["sums"] = np.array([0.0, 0.0, 1.0])
    with pytest.raises(xgb.core.XGBoostError, match="a metric failed on another worker"):
        mean_over_workers([lambda *_: 7.0], np.ones(3), np.zeros(3), None)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_both_metrics_of_the_objective_are_means_over_all_rows(others, n_classes):
    """Rows of a table here and on the other worker: as if they were all here."""
    table, loss = draw(300, n_classes=n_classes), make_loss(n_classes)
    objective = FocalObjective(loss, loss.fit_intercept_only(table.y))
    margins = np.random.default_rng(0).normal(size=300 if n_classes == 2 else (300, n_classes))
    here, there = slice(0, 90), slice(90, 300)
    weight = table.weight[there].sum()
    losses = (loss, loss.log_loss)
    means = [one(table.y[there], margins[there], table.weight[there]) for one in losses]
    others["sums"] = np.array([weight * means[0], weight * means[1], weight, 0])
    found = objective.metric(margins[here], xgb.DMatrix(table.X[here], table.y[here], weight=table.weight[here]))
    assert [name for name, _ in found] == ["focal_loss", "log_loss"]
    whole = [one(table.y, margins, table.weight) for one in losses]
    assert [value for _, value in found] == pytest.approx(whole, rel=1e-6)
    others["sums"] = np.array([weight * means[0], weight, 0])
    of_estimator = objective.metric(table.y[here], margins[here], table.weight[here])
    assert of_estimator == pytest.approx(whole[0], rel=1e-12)
