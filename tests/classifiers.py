"""Estimators of all kinds that FocalClassifier takes, for its tests."""

from __future__ import annotations

import warnings

import lightgbm as lgb
import pytest
import xgboost as xgb


def lightgbm(**params):
    return lgb.LGBMClassifier(**{"n_estimators": 20, "verbosity": -1, "n_jobs": 1, **params})


def xgboost(**params):
    return xgb.XGBClassifier(**{"n_estimators": 20, "n_jobs": 1, **params})


def forest(**params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated in XGBoost 3.4
        return xgb.XGBRFClassifier(**{"n_estimators": 20, "n_jobs": 1, **params})


each_estimator = pytest.mark.parametrize("make", [lightgbm, xgboost, forest])
each_booster = pytest.mark.parametrize("make", [lightgbm, xgboost])
each_task = pytest.mark.parametrize("n_classes", [2, 3])


LOG_LOSS = {
    (lightgbm, 2): "binary_logloss",
    (lightgbm, 3): "multi_logloss",
    **dict.fromkeys([(xgboost, 2), (forest, 2)], "logloss"),
    **dict.fromkeys([(xgboost, 3), (forest, 3)], "mlogloss"),
}


def quiet(make):
    """Fit arguments that keep XGBoost from printing each round."""
    return {} if make is lightgbm else {"verbose": False}


# A part of the rows is kept out of training and stops it.
HELD_OUT = {"validation_fraction": 0.25}
