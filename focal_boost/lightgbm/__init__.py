"""Everything about LightGBM: focal loss as its objective and metric, and what the rest of the package asks of it."""

from focal_boost.lightgbm.estimator import ADAPTER as ADAPTER
from focal_boost.lightgbm.objective import FocalObjective, keep_parameters

__all__ = ["FocalObjective", "keep_parameters"]
