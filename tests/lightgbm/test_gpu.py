"""LightGBM's trainers for GPUs: OpenCL, which the ordinary wheel has, and CUDA, which it has not.

PoCL is OpenCL on a processor (Debian: pocl-opencl-icd); the kernels of LightGBM are compiled by the first training on a
machine, for most of a minute, and cached in the home directory.
"""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
from libraries import make_loss
from tables import draw

from focal_boost import FocalClassifier, FocalClassifierCV
from focal_boost.lightgbm import FocalObjective
from focal_boost.lightgbm.estimator import _finds_gpu

BASE = {"verbosity": -1, "num_threads": 1, "learning_rate": 0.1, "seed": 3, "max_bin": 63, "gpu_use_dp": True}

each_task = pytest.mark.parametrize("n_classes", [2, 4])


def missing(device):
    """Why LightGBM cannot train on a device here, or None. Its wheel brings a loader of OpenCL of its own."""
    hint = {
        "gpu": "needs an OpenCL platform (Debian: apt-get install pocl-opencl-icd)",
        "cuda": "needs LightGBM built with CUDA, and a GPU",
    }
    if device == "cuda" and not _finds_gpu():
        return f"{hint[device]}, which no driver finds"
    try:
        data = lgb.Dataset(np.eye(50), np.arange(50) % 2)
        lgb.train({**BASE, "device_type": device, "objective": "binary"}, data, 1)
    except lgb.basic.LightGBMError as error:
        return f"{hint[device]}: {error}"
    return None


@pytest.fixture(scope="module", params=["gpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if reason := missing(request.param):
        pytest.skip(reason)
    return request.param


def differences(device, params, table, margins_of):
    """Margins after 20 rounds on the device less those on the processor."""
    margins = []
    for kind in ("cpu", device):
        booster = lgb.train(
            {**BASE, **params, "device_type": kind}, lgb.Dataset(table.X, table.y, weight=table.weight), 20
        )
        margins.append(margins_of(booster))
    assert np.ptp(margins[0]) > 1
    return np.abs(margins[1] - margins[0])


def assert_no_farther(found, built_in):
    """The trainers themselves differ: a split whose gain is the same to the last digits may be another there."""
    for share in (0.5, 0.9, 1.0):
        assert np.quantile(found, share) <= 1e-6 + 2 * np.quantile(built_in, share)


@each_task
def test_training_agrees_with_the_processor_as_the_built_in_objective_does(device, n_classes):
    table = draw(2000, n_classes=n_classes)
    loss = make_loss(n_classes)
    objective = FocalObjective(loss, loss.fit_intercept_only(table.y, table.weight))
    known = {"objective": "binary"} if n_classes == 2 else {"objective": "multiclass", "num_class": n_classes}
    built_in = differences(device, known, table, lambda booster: booster.predict(table.X, raw_score=True))
    found = differences(
        device, objective.params, table, lambda booster: objective.portable(booster).predict(table.X, raw_score=True)
    )
    assert_no_farther(found, built_in)


@each_task
def test_the_classifier_agrees_with_the_processor(device, n_classes):
    table, valid = draw(1000, n_classes=n_classes), draw(300, n_classes=n_classes, seed=1)
    found = {}
    for name in ("focal", "built-in"):
        proba = []
        for kind in ("cpu", device):
            model = lgb.LGBMClassifier(
                n_estimators=15, n_jobs=1, verbosity=-1, max_bin=63, device_type=kind, gpu_use_dp=True
            )
            if name == "focal":
                model = FocalClassifier(model).fit(table.X, table.y, eval_set=[(valid.X, valid.y)])
            else:
                model.fit(table.X, table.y)
            # Not of valid.X: of thresholds between the same two training rows, equally good, each trainer may take
            # another.
            proba.append(model.predict_proba(table.X))
        found[name] = np.abs(proba[1] - proba[0])
    assert_no_farther(found["focal"], found["built-in"])


@pytest.mark.parametrize("name", ["device_type", "device"])
@pytest.mark.parametrize("model", [FocalClassifier, FocalClassifierCV])
def test_a_gpu_that_is_not_there_is_refused(model, name, monkeypatch):
    """LightGBM built for CUDA would call std::terminate."""
    monkeypatch.setattr("focal_boost.lightgbm.estimator._finds_gpu", lambda: False)
    table = draw(60, n_classes=2)
    with pytest.raises(ValueError, match=f"{name}='cuda', but no driver finds a GPU here: use {name}='cpu'"):
        model(lgb.LGBMClassifier(verbosity=-1, **{name: "cuda"})).fit(table.X, table.y)


@pytest.mark.parametrize(
    ("started", "count", "found"), [(0, 1, True), (0, 0, False), (100, 1, False)], ids=["one", "none", "no driver"]
)
def test_the_driver_is_asked_for_gpus(started, count, found, monkeypatch):
    class Driver:
        def __init__(self, name):
            assert name in ("libcuda.so.1", "nvcuda.dll")

        def cuInit(self, flags):
            return started

        def cuDeviceGetCount(self, number):
            number._obj.value = count
            return 0

    monkeypatch.setattr("focal_boost.lightgbm.estimator.ctypes.CDLL", Driver)
    monkeypatch.setattr("focal_boost.lightgbm.estimator.os.path.exists", lambda path: False)
    assert _finds_gpu() is found


def test_gpus_of_amd_are_left_for_lightgbm_to_find(monkeypatch):
    monkeypatch.setattr("focal_boost.lightgbm.estimator.os.path.exists", lambda path: path == "/dev/kfd")
    monkeypatch.setattr("focal_boost.lightgbm.estimator.ctypes.CDLL", None)
    assert _finds_gpu() is True
