"""Small searches of FocalClassifierCV, for its tests."""

from __future__ import annotations

import lightgbm as lgb
import pytest
import xgboost as xgb

from focal_boost import FocalClassifierCV


def lightgbm(**params):
    return lgb.LGBMClassifier(**{"n_estimators": 60, "num_leaves": 7, "verbosity": -1, "n_jobs": 1, **params})


def xgboost(**params):
    return xgb.XGBClassifier(**{"n_estimators": 60, "max_depth": 3, "learning_rate": 0.2, "n_jobs": 1, **params})


each_booster = pytest.mark.parametrize("make", [lightgbm, xgboost])
each_task = pytest.mark.parametrize("n_classes", [2, 3])


def search(estimator, **options):
    return FocalClassifierCV(estimator, **{"gammas": (0, 1, 2), "cv": 3, "early_stopping_rounds": 10, **options})
