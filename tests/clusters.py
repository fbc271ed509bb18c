"""A Dask cluster of two processes, and both libraries on it, for the tests of Dask."""

from __future__ import annotations

import distributed
import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from tables import draw
from xgboost import dask as xgb_dask

# Tasks run where their data lie, however small these are: the tests decide which worker holds which rows.
PLACEMENT = {"distributed.scheduler.unknown-task-duration": "1us", "distributed.scheduler.work-stealing": False}
NAMES = np.array(["a", "b", "c"])


def start_cluster():
    return distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)


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
    earlier = "init_model"
    names = ("valid_0", "valid_1")
    training = "training"

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
    earlier = "xgb_model"
    names = ("validation_0", "validation_1")
    training = "validation_0"

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
