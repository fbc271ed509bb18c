"""Types that several modules name. `numpy.typing.ArrayLike` is what the losses take; features have no common type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["AnyArray", "FloatArray", "Hessian", "Link", "Splitter"]

AnyArray = NDArray[Any]
FloatArray = NDArray[np.floating[Any]]
Hessian = Literal["expected", "exact"]
Link = Literal["logit", "focal"]


class Splitter(Protocol):
    """What scikit-learn calls a cross-validation splitter."""

    def split(self, X: Any, y: Any, groups: Any) -> Iterable[tuple[Any, Any]]:
        """Yield rows for training and for testing."""
        ...
