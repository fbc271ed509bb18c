"""The two libraries behind one face, so that tests of the objectives share their bodies."""

from __future__ import annotations

import atexit
import functools
import subprocess
import sys
import textwrap
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss
from focal_boost.lightgbm import FocalObjective as LightGBMObjective
from focal_boost.lightgbm import keep_parameters
from focal_boost.xgboost import FocalObjective as XGBoostObjective


def make_loss(n_classes: int, gamma: float = 2.0, **options: Any) -> BinaryFocalLoss | MulticlassFocalLoss:
    if n_classes == 2:
        return BinaryFocalLoss(gamma=gamma, **options)
    return MulticlassFocalLoss(n_classes, gamma=gamma, **options)


class LightGBM:
    name = "lightgbm"
    Objective = LightGBMObjective
    base = {"verbosity": -1, "learning_rate": 0.1, "seed": 3, "num_threads": 1, "deterministic": True}
    columns = {"feature_fraction": 0.5}
    classifier = lgb.LGBMClassifier
    quiet = {"verbosity": -1, "n_jobs": 1}
    tolerance = 1e-12

    @staticmethod
    def data(X, y, weight=None):
        return lgb.Dataset(X, y, weight=weight, free_raw_data=False)

    def train(self, objective, train, rounds=30, valid=None, stop=None, **params):
        callbacks = [keep_parameters]
        callbacks += [lgb.early_stopping(stop, first_metric_only=True, verbose=False)] if stop else []
        log: dict = {}
        callbacks.append(lgb.record_evaluation(log))
        booster = lgb.train(
            {**self.base, **params, **objective.params},
            train,
            rounds,
            feval=objective.metric,
            valid_sets=[] if valid is None else [valid],
            callbacks=callbacks,
        )
        booster.log = log.get("valid_0")
        return booster

    def train_built_in(self, n_classes, train, objective, rounds=30, valid=None, stop=None, **params):
        task = {"objective": "binary"} if n_classes == 2 else {"objective": "multiclass", "num_class": n_classes}
        return lgb.train(
            {**self.base, **params, **task},
            train,
            rounds,
            valid_sets=[] if valid is None else [valid],
            callbacks=[lgb.early_stopping(stop, verbose=False)] if stop else None,
        )

    @staticmethod
    def predict(booster, X):
        return booster.predict(X)

    @staticmethod
    def margins(booster, X):
        return booster.predict(X, raw_score=True)

    @staticmethod
    def leaves(booster):
        """Leaf values before the learning rate."""
        frame = booster.trees_to_dataframe()
        return frame["value"][frame["left_child"].isna()].to_numpy() / 0.1

    @staticmethod
    def save(booster, path):
        booster.save_model(path)

    loader = "import lightgbm; booster = lightgbm.Booster(model_file=path); p = booster.predict(X)"


class XGBoost:
    name = "xgboost"
    Objective = XGBoostObjective
    base = {"learning_rate": 0.1, "seed": 3, "nthread": 1, "max_depth": 4}
    columns = {"colsample_bytree": 0.5}
    classifier = xgb.XGBClassifier
    quiet = {"n_jobs": 1}
    tolerance = 1e-6

    @staticmethod
    def data(X, y, weight=None):
        return xgb.DMatrix(X, y, weight=weight)

    def train(self, objective, train, rounds=30, valid=None, stop=None, **params):
        log: dict = {}
        booster = xgb.train(
            {**self.base, **params, **objective.params},
            train,
            rounds,
            obj=objective,
            custom_metric=objective.metric,
            evals=[] if valid is None else [(valid, "valid")],
            early_stopping_rounds=stop,
            evals_result=log,
            verbose_eval=False,
        )
        booster.log = log.get("valid")
        return booster

    def train_built_in(self, n_classes, train, objective, rounds=30, valid=None, stop=None, **params):
        return xgb.train(
            {**self.base, **params, **objective.params},
            train,
            rounds,
            evals=[] if valid is None else [(valid, "valid")],
            early_stopping_rounds=stop,
            verbose_eval=False,
        )

    @staticmethod
    def _best(booster):
        return (0, getattr(booster, "best_iteration", -1) + 1)

    def predict(self, booster, X):
        return booster.predict(xgb.DMatrix(X), iteration_range=self._best(booster))

    def margins(self, booster, X):
        return booster.predict(xgb.DMatrix(X), output_margin=True, iteration_range=self._best(booster))

    @staticmethod
    def leaves(booster):
        """Leaf values before the learning rate."""
        frame = booster.trees_to_dataframe()
        return frame["Gain"][frame["Feature"] == "Leaf"].to_numpy() / 0.1

    @staticmethod
    def save(booster, path):
        booster.save_model(path)

    loader = (
        "import xgboost; booster = xgboost.Booster(model_file=path); "
        "best = int(booster.attr('best_iteration') or -1) + 1; "
        "p = booster.predict(xgboost.DMatrix(X), iteration_range=(0, best))"
    )


LIBRARIES = [LightGBM(), XGBoost()]

each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)


SERVE = """
    import sys, numpy

    for line in sys.stdin:
        path, rows, out = line.rstrip("\\n").split("\\t")
        X = numpy.load(rows)
        {loader}
        assert not any(name.startswith("focal_boost") for name in sys.modules)
        numpy.save(out, p)
        print("done", flush=True)
"""


@functools.cache
def process_without_focal_boost(library) -> subprocess.Popen:
    """A process that predicts with the models that it is told to load, one for all tests: a start takes a second."""
    script = textwrap.dedent(SERVE).format(loader=library.loader)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    atexit.register(process.kill)
    return process


def predict_elsewhere(library, path, X, tmp_path) -> np.ndarray:
    """Predictions of a saved model in a process that never imports focal_boost."""
    np.save(tmp_path / "X.npy", X)
    process = process_without_focal_boost(library)
    process.stdin.write(f"{path}\t{tmp_path / 'X.npy'}\t{tmp_path / 'p.npy'}\n")
    answer = process.stdout.readline()
    if answer != "done\n":
        process_without_focal_boost.cache_clear()  # it has ended, by the error that it printed
        raise AssertionError("the saved model could not be used without focal_boost")
    return np.load(tmp_path / "p.npy")
