"""Arithmetic on arrays, nothing else: the seam between the losses and whatever computes them."""

from __future__ import annotations

from focal_boost.kernels import numpy as active

__all__ = ["active"]
