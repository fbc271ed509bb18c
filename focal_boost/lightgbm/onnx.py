"""Trees of LightGBM for ONNX."""

from __future__ import annotations

from typing import Any

import lightgbm
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from focal_boost.lightgbm.text import round_thresholds

__all__ = ["trees"]


def trees(adapter: Any, estimator: Any, n_features: int) -> tuple[Any, list[int]]:
    """Trees of a fitted estimator; see `focal_boost._adapter.Adapter.onnx_trees`."""
    booster = lightgbm.Booster(model_str=round_thresholds(estimator.booster_))
    shape = FloatTensorType([None, n_features])
    converted = convert_lightgbm(booster, initial_types=[("X", shape)], target_opset=15, zipmap=False)
    outputs = booster.num_model_per_iteration()
    return converted, [tree % outputs for tree in range(booster.num_trees())]
