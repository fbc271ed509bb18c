"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "_config",
        "_saving",
        "classifier",
        "lightgbm.objective",
        "losses",
        "model_selection",
        "onnx",
        "xgboost.objective",
    ],
)
def test_examples(name):
    if name == "onnx":
        pytest.importorskip("onnxmltools", reason="onnxmltools is not installed")
    result = doctest.testmod(importlib.import_module(f"focal_boost.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
