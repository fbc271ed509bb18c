"""Focal loss for gradient-boosted trees: XGBoost and LightGBM, binary and multiclass.

The submodules `focal_boost.xgboost` and `focal_boost.lightgbm` hold the objective for each library; importing
`focal_boost` itself imports neither.
"""

from __future__ import annotations

from focal_boost._config import show_config
from focal_boost._saving import load, save
from focal_boost.classifier import FocalClassifier
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss
from focal_boost.model_selection import FocalClassifierCV

__version__ = "0.2.0"

__all__ = [
    "BinaryFocalLoss",
    "FocalClassifier",
    "FocalClassifierCV",
    "MulticlassFocalLoss",
    "load",
    "save",
    "show_config",
]
