"""The package as a whole, and what does not depend on the kernels in use."""

from __future__ import annotations

import fresh
import numpy as np
import pytest

import focal_boost
from focal_boost import BinaryFocalLoss, MulticlassFocalLoss


def test_public_names():
    assert focal_boost.__all__ == [
        "BinaryFocalLoss",
        "FocalClassifier",
        "FocalClassifierCV",
        "MulticlassFocalLoss",
        "load",
        "save",
        "show_config",
    ]
    for name in focal_boost.__all__:
        assert getattr(focal_boost, name).__doc__


def test_importing_the_package_imports_no_optional_library():
    optional = ["xgboost", "lightgbm", "cupy", "dask"]
    code = f"import sys, focal_boost; print([name for name in {optional} if name in sys.modules])"
    assert fresh.run(code).stdout.strip() == "[]"


def test_numpy_kernels_warn_once_on_large_data():
    code = """
import warnings, numpy as np, sys
sys.modules["focal_boost.kernels._native"] = None
import focal_boost
z = np.zeros(1_000_001)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    loss = focal_boost.BinaryFocalLoss()
    loss.gradient_hessian(z, z)
    loss.gradient_hessian(z, z)
    loss.gradient_hessian(z[:10], z[:10])
print([str(w.message) for w in caught])
"""
    done = fresh.run(code, without=["FOCAL_BOOST_KERNELS"])
    assert done.stdout.count("install it again where a C++ compiler is found") == 1


@pytest.mark.parametrize("gamma", [0.1, 2.0, 20.0, 100.0])
@pytest.mark.parametrize("share", [0.0, 1e-12, 0.5, 1.0])
def test_log_loss_scale_is_finite_and_positive(gamma, share):
    for loss, y in ((BinaryFocalLoss(gamma), [0, 1]), (MulticlassFocalLoss(2, gamma), [0, 1])):
        assert 0 < loss.log_loss_scale(loss.fit_intercept_only(y, [1 - share, share])) < np.inf
