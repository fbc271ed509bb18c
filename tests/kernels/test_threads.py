"""Python threads that compute and train at the same time: every result has the bytes that it has alone.

With an interpreter lock they meet where it is let go, in kernels and boosters; without one, everywhere.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig
import threading

import numpy as np
import pytest

from focal_boost import BinaryFocalLoss, FocalClassifier, MulticlassFocalLoss, kernels
from focal_boost.kernels import tables

N_THREADS = 6


def at_once(functions):
    """What the functions return, each called in a thread of its own, all let go at the same moment."""
    results = [None] * len(functions)
    start = threading.Barrier(len(functions))

    def call(i):
        start.wait()
        try:
            results[i] = functions[i]()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def forget_tables():
    """Make what losses are tabulated in be made anew, as in a fresh process."""
    for cached in (tables.parts, tables._class_tables, tables._binary_tables):
        cached.cache_clear()


def computations():
    """Calls of losses of all kinds, those of a kind with the same arrays."""
    rng = np.random.default_rng(0)
    n = 20_000
    calls = []
    for link in ("logit", "focal"):
        for gamma in (0.5, 1.0, 2.0):
            z, y = rng.normal(0, 3, n), rng.integers(0, 2, n)
            calls.append((BinaryFocalLoss(gamma, link=link), y, z))
            z, y = rng.normal(0, 3, (n // 4, 4)).astype(np.float32), rng.integers(0, 4, n // 4)
            calls.append((MulticlassFocalLoss(4, gamma, link=link), y, z))
    return calls


def test_losses_compute_at_once():
    calls = computations()

    def everything():
        return b"".join(
            np.ascontiguousarray(out).tobytes()
            for loss, y, z in calls
            for out in (*loss.gradient_hessian(y, z, n_threads=2), loss.loss(y, z), loss.predict_proba(z))
        )

    want = everything()
    for _ in range(3):
        forget_tables()
        assert at_once([everything] * N_THREADS) == [want] * N_THREADS


@pytest.mark.skipif(not kernels.is_compiled(), reason="installed without the compiled extension")
def test_a_call_keeps_its_instruction_set():
    from focal_boost.kernels import _native

    loss, y, z = computations()[4]  # binary, link "logit", gamma 2
    before = _native.dispatch()
    possible = {}
    try:
        for level in _native.supported():
            _native.set_dispatch(level)
            possible[loss.gradient_hessian(y, z)[0].tobytes()] = level
        done = threading.Event()

        def change():
            while not done.is_set():
                for level in _native.supported():
                    _native.set_dispatch(level)

        changing = threading.Thread(target=change)
        changing.start()
        try:
            found = at_once([lambda: [loss.gradient_hessian(y, z)[0].tobytes() for _ in range(20)]] * 3)
        finally:
            done.set()
            changing.join()
    finally:
        _native.set_dispatch(before)
    assert {out for outs in found for out in outs} <= set(possible)


# ---------------------------------------------------------------------------------------------------------------------
# Training

BOOSTERS = pytest.mark.parametrize("library", ["xgboost", "lightgbm"])


def table(n_classes, n=600):
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(n, 5))
    return X, (X[:, 0] + rng.normal(size=n) > 1).astype(int) + (n_classes > 2) * (X[:, 1] > 1)


def load(library):
    """The library; where it is not installed, the folder of tests that has its name is no substitute."""
    pytest.importorskip(f"{library}.sklearn")
    return importlib.import_module(library)


def estimator(library):
    module = load(library)
    if library == "xgboost":
        return module.XGBClassifier(n_estimators=15, max_depth=3, n_jobs=1)
    return module.LGBMClassifier(n_estimators=15, num_leaves=7, n_jobs=1, verbosity=-1)


def model_bytes(booster):
    return bytes(booster.save_raw("ubj")) if hasattr(booster, "save_raw") else booster.model_to_string().encode()


@BOOSTERS
@pytest.mark.parametrize("n_classes", [2, 3])
def test_estimators_train_at_once(library, n_classes):
    X, y = table(n_classes)
    model = estimator(library)

    def train(gamma):
        trained = FocalClassifier(model, gamma=gamma).fit(X, y).estimator_
        return model_bytes(trained.get_booster() if library == "xgboost" else trained.booster_)

    gammas = [0.0, 0.7, 1.0, 2.0, 2.0, 2.0]
    want = [train(gamma) for gamma in gammas]
    assert len(set(want)) == 4
    forget_tables()
    assert at_once([lambda gamma=gamma: train(gamma) for gamma in gammas]) == want


@BOOSTERS
def test_trainings_share_an_objective(library):
    """On so many rows that kernels compute in the threads of the booster."""
    module = load(library)
    X, y = table(2, 15_000)
    loss = BinaryFocalLoss(2.0)
    parts = [np.arange(len(y)) % N_THREADS != i for i in range(N_THREADS)]
    if library == "xgboost":
        from focal_boost.xgboost import FocalObjective

        objective = FocalObjective(loss, intercept=-1.0)

        def train(rows):
            params = {"max_depth": 3, "nthread": 2, **objective.params}
            return model_bytes(module.train(params, module.DMatrix(X[rows], y[rows]), 5, obj=objective))

    else:
        from focal_boost.lightgbm import FocalObjective

        objective = FocalObjective(loss, intercept=-1.0)

        def train(rows):
            params = {"num_leaves": 7, "num_threads": 2, "verbosity": -1, **objective.params}
            booster = module.train(params, module.Dataset(X[rows], y[rows]), 5)
            return model_bytes(objective.portable(booster))

    want = [train(rows) for rows in parts]
    assert len(set(want)) == N_THREADS
    assert at_once([lambda rows=rows: train(rows) for rows in parts]) == want


# ---------------------------------------------------------------------------------------------------------------------
# Free-threaded Python


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has its lock")
@pytest.mark.skipif(not kernels.is_compiled(), reason="installed without the compiled extension")
def test_the_extension_does_not_bring_the_lock_back():
    code = "import sys, focal_boost.kernels._native as native; print(sys._is_gil_enabled(), native.dispatch())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    # It would be brought back with a warning.
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["False", kernels.active._native.dispatch()], result.stderr
