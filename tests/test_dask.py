"""Training on a Dask cluster of several processes: the objectives by themselves, and DaskFocalClassifier."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from libraries import make_loss
from sklearn.base import clone
from tables import draw

from focal_boost import FocalClassifier
from focal_boost.lightgbm import FocalObjective as LightGBMObjective
from focal_boost.xgboost import FocalObjective as XGBoostObjective

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from xgboost import dask as xgb_dask  # noqa: E402

from focal_boost.dask import DaskFocalClassifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of ports and of pandas

# Tasks run where their data lie, however small these are: the tests decide which worker holds which rows.
PLACEMENT = {"distributed.scheduler.unknown-task-duration": "1us", "distributed.scheduler.work-stealing": False}
NAMES = np.array(["a", "b", "c"])


def start_cluster():
    return distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)


@pytest.fixture(scope="module")
def client():
    with dask.config.set(PLACEMENT), start_cluster() as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def place(client):
    """Put rows on workers: ``place([(array, worker), ...])`` gives a Dask array of these chunks."""
    workers = sorted(client.scheduler_info()["workers"])
    kept = []

    def build(chunks):
        futures = [client.scatter(chunk, workers=[workers[worker]], hash=False) for chunk, worker in chunks]
        kept.extend(futures)
        arrays = [
            da.from_delayed(future, chunk.shape, chunk.dtype)
            for future, (chunk, _) in zip(futures, chunks, strict=True)
        ]
        return da.concatenate(arrays)

    return build


def uneven(place, values, cuts=(700, 750, 1500), workers=(0, 0, 0, 1)):
    return place(list(zip(np.split(values, cuts), workers, strict=True)))


def sorted_by_class(n_classes, n=2000, seed=0):
    """Rows of the rarest class come last, so that only one worker gets them."""
    table = draw(n, n_classes=n_classes, seed=seed)
    order = np.argsort(table.y == n_classes - 1, kind="stable")
    return type(table)(*(values[order] for values in table))


class LightGBM:
    stop = staticmethod(lambda rounds: {"callbacks": [lgb.early_stopping(rounds, verbose=False)]})
    error = lgb.basic.LightGBMError
    weights = "eval_sample_weight"
    names = ("valid_0", "valid_1")

    @staticmethod
    def there(**params):
        return lgb.DaskLGBMClassifier(**{"n_estimators": 20, "num_leaves": 8, "verbosity": -1, **params})

    @staticmethod
    def here(**params):
        return lgb.LGBMClassifier(**{"n_estimators": 20, "num_leaves": 8, "verbosity": -1, "n_jobs": 1, **params})

    @staticmethod
    def quiet(**params):
        return params


class XGBoost:
    stop = staticmethod(lambda rounds: {})
    error = xgb.core.XGBoostError
    weights = "sample_weight_eval_set"
    names = ("validation_0", "validation_1")

    @staticmethod
    def there(**params):
        return xgb_dask.DaskXGBClassifier(**{"n_estimators": 20, "max_depth": 3, "learning_rate": 0.1, **params})

    @staticmethod
    def here(**params):
        return xgb.XGBClassifier(**{"n_estimators": 20, "max_depth": 3, "learning_rate": 0.1, "n_jobs": 1, **params})

    @staticmethod
    def quiet(**params):
        return {"verbose": False, **params}


each_library = pytest.mark.parametrize("library", [LightGBM, XGBoost])
each_task = pytest.mark.parametrize("n_classes", [2, 3])


#
# The objectives through the libraries' own interfaces


@each_task
def test_xgboost_train(client, place, n_classes):
    table = sorted_by_class(n_classes)
    X, y = uneven(place, table.X), uneven(place, table.y)
    loss = make_loss(n_classes)
    objective = XGBoostObjective(loss, loss.fit_intercept_only(table.y), n_threads=1)
    params = {"nthread": 1, "max_depth": 3, **objective.params}
    data = xgb_dask.DaskDMatrix(client, X, y)
    there = xgb_dask.train(
        client,
        params,
        data,
        10,
        obj=objective,
        custom_metric=objective.metric,
        evals=[(data, "train")],
        verbose_eval=False,
    )
    here = xgb.train(params, xgb.QuantileDMatrix(table.X, table.y), 10, obj=objective)
    margins = [
        booster.predict(xgb.DMatrix(table.X), output_margin=True).astype(float) for booster in (there["booster"], here)
    ]
    # not the same trees: the workers find the bins of the features together, from other samples than one machine
    assert loss(table.y, margins[0]) == pytest.approx(loss(table.y, margins[1]), rel=0.05)
    # over all rows, however they lie; XGBoost passes six decimals on
    history = there["history"]["train"]
    assert history["focal_loss"][-1] == pytest.approx(loss(table.y, margins[0]), abs=1e-6)
    assert history["posterior_log_loss"][-1] == pytest.approx(loss.posterior_log_loss(table.y, margins[0]), abs=1e-6)
    local = [loss(table.y[rows], margins[0][rows]) for rows in (slice(1500), slice(1500, None))]
    assert abs(np.mean(local) - loss(table.y, margins[0])) > 1e-3  # what the mean over workers would be


@each_task
def test_lightgbm_objective(client, n_classes):
    table = draw(2000, n_classes=n_classes)
    X, y = da.from_array(table.X, chunks=(500, 8)), da.from_array(table.y, chunks=500)
    loss = make_loss(n_classes)
    objective = LightGBMObjective(loss, loss.fit_intercept_only(table.y))
    options = {"objective": objective, "n_estimators": 10, "verbosity": -1, "metric": "None"}
    there = lgb.DaskLGBMClassifier(client=client, **options).fit(X, y)
    here = lgb.LGBMClassifier(n_jobs=1, **options).fit(table.X, table.y)
    scores = [
        loss(table.y, objective.portable(model.booster_).predict(table.X, raw_score=True)) for model in (there, here)
    ]
    # not the same trees: the workers find the bins of the features together, from other samples than one machine
    assert scores[0] == pytest.approx(scores[1], rel=0.05)
    assert np.isfinite(scores).all()


#
# DaskFocalClassifier: the same model as on one machine


def margins_of(model, X):
    """Centred margins of either kind of model."""
    if isinstance(model, FocalClassifier):
        margins = model.decision_function(X)
    elif isinstance(model, lgb.LGBMModel):
        margins = model.booster_.predict(X, raw_score=True)
    else:
        margins = model.get_booster().predict(xgb.DMatrix(X), output_margin=True)
    return margins - margins.mean(axis=0)


@each_library
@each_task
def test_predictions_of_one_machine(client, place, library, n_classes):
    """As near to one machine as the library's own objective is, with a class that only one worker has."""
    table, test = sorted_by_class(n_classes), draw(1000, n_classes=n_classes, seed=1)
    X, y, weight = (uneven(place, values) for values in (table.X, table.y, table.weight))
    # LightGBM's own classifier numbers labels worker by worker: it gets rows whose order spares it that.
    order = np.random.default_rng(0).permutation(len(table.y))
    X_mixed, y_mixed = (uneven(place, values[order]) for values in (table.X, table.y))

    built_in = library.there()
    built_in.client = client
    built_in.fit(X_mixed, y_mixed, **library.quiet())
    built_in_here = library.here().fit(table.X[order], table.y[order])
    there = DaskFocalClassifier(library.there(), client=client).fit(X, y, weight, **library.quiet())
    here = FocalClassifier(library.here()).fit(table.X, table.y, table.weight)

    distances = []
    for one, other in ((built_in, built_in_here), (there, here)):
        first, second = margins_of(one, test.X), margins_of(other, test.X)
        distances.append(np.sqrt(np.mean((first - second) ** 2)) / second.std())
    print(distances)
    assert distances[1] < 1.5 * distances[0] + 1e-3
    assert there.loss_ == here.loss_
    assert there.score(X, y) == pytest.approx(here.score(table.X, table.y), abs=0.02)
