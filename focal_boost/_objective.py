"""What the objectives of all libraries have in common: parameters, their checks, and the representation."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from focal_boost._loss_checks import check_n_threads
from focal_boost._typing import FloatArray
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["Objective"]


class Objective:
    """A loss with a start margin, threads and a scale; what each is for stands in the classes derived from this one.

    Stateless apart from its parameters, hence picklable and safe in threads.

    Parameters
    ----------
    loss : BinaryFocalLoss or MulticlassFocalLoss
    intercept : float, or array-like of shape (K,), default=None
    n_threads : int or None, default=None
    scale : float, ndarray of shape (K,) for K labels, or None, default=None

    Raises
    ------
    TypeError
        If `loss` is not one of the two losses.
    ValueError
        If the intercept is not finite or has the wrong shape, or the scale is not positive.
    """

    # Whether one booster may train K labels that are each yes or no, with an intercept and a scale for each.
    _takes_labels: ClassVar[bool]

    def __init__(
        self,
        loss: BinaryFocalLoss | MulticlassFocalLoss,
        intercept: ArrayLike | None = None,
        n_threads: int | None = None,
        *,
        scale: float | FloatArray | None = None,
    ) -> None:
        if not isinstance(loss, (BinaryFocalLoss, MulticlassFocalLoss)):
            raise TypeError(f"loss={loss!r} is neither a BinaryFocalLoss nor a MulticlassFocalLoss: pass one of them")
        self.loss: BinaryFocalLoss | MulticlassFocalLoss = loss
        self.intercept: Any = loss.check_intercept(intercept)
        if loss.n_outputs == 1 and np.ndim(self.intercept) and not self._takes_labels:
            raise ValueError(self._refuse_labels(intercept))
        self.n_threads: int | None = check_n_threads(n_threads)
        if scale is None:
            scale = loss.log_loss_scale(self.intercept)
        per_label = isinstance(scale, np.ndarray) and scale.ndim == 1 and loss.n_outputs == 1 and self._takes_labels
        if (
            isinstance(scale, bool)
            or not (per_label or isinstance(scale, Real))
            or not np.all((scale > 0) & (scale < math.inf))
        ):
            raise ValueError(
                f"scale={scale!r} is not a positive number; 1.0 leaves the loss as it is, None is the scale of the "
                "log loss"
            )
        self.scale: Any = np.array(scale) if per_label else float(scale)

    def _refuse_labels(self, intercept: Any) -> str:
        """Say what to do instead of an intercept a label, where `_takes_labels` is False."""
        raise NotImplementedError

    def __repr__(self) -> str:
        scale = "" if np.all(self.scale == 1.0) else f", scale={self.scale!r}"
        return f"FocalObjective({self.loss!r}, intercept={self.intercept!r}{scale})"
