"""Trees of XGBoost for ONNX."""

from __future__ import annotations

import json
import math
from typing import Any

from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

__all__ = ["trees"]


def trees(adapter: Any, estimator: Any, n_features: int) -> tuple[Any, list[int]]:
    """Trees of a fitted estimator; see `focal_boost._adapter.Adapter.onnx_trees`."""
    booster, kind = estimator.get_booster(), estimator.booster
    if kind not in (None, "gbtree"):
        raise ValueError(f"the estimator has booster={kind!r}, whose weights ONNX trees do not have; train gbtree")
    if estimator.multi_strategy == "multi_output_tree":
        raise ValueError(
            "the estimator has multi_strategy='multi_output_tree', but leaves of ONNX trees hold one number; train "
            "with one_output_per_tree"
        )
    if not math.isnan(estimator.missing):
        raise ValueError(
            f"the estimator has missing={estimator.missing!r}, but in ONNX trees only NaN is missing: replace that "
            "value by NaN, train without missing=, and do the same to what the graph is given"
        )
    if "c" in (booster.feature_types or []):
        raise ValueError("the booster has categorical features, which are not converted: encode them as numbers")
    booster = booster[: adapter.n_rounds(estimator)]
    booster.feature_names = booster.feature_types = None  # the converter knows features by number
    shape = FloatTensorType([None, n_features])
    converted = convert_xgboost(booster, initial_types=[("X", shape)], target_opset=15)
    learner = json.loads(booster.save_raw("json"))["learner"]
    return converted, learner["gradient_booster"]["model"]["tree_info"]
