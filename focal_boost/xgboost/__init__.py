"""Everything about XGBoost: focal loss as its objective and metric, and what the rest of the package asks of it."""

from focal_boost.xgboost.estimator import ADAPTER as ADAPTER
from focal_boost.xgboost.objective import FocalObjective, train

__all__ = ["FocalObjective", "train"]
