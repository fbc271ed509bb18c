"""The formulas of `focal_boost.kernels.numpy`, compiled: same functions, same results to the last bits of float32.

The work is done in the extension module `_native` (``native.cpp``, ``loops.cpp``, ``focal.hpp``), which reads and
writes arrays of any strides in place: labels and weights as bool, 8-, 32- or 64-bit integers or floats, margins and
outputs as float32 or float64. Other dtypes, foreign byte order and unaligned memory are converted here.

The environment variable ``FOCAL_BOOST_DISPATCH`` (``baseline``, ``avx2`` or ``avx512``) names the instruction set to
use instead of the best one that the machine has.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focal_boost.kernels import _native
from focal_boost.kernels import numpy as reference

__all__ = [
    "binary_gradient_hessian",
    "binary_loss",
    "binary_posterior_logit",
    "multiclass_gradient_hessian",
    "multiclass_log_posterior",
    "multiclass_loss",
]

arrays: ModuleType = reference.arrays
asarray: Callable[..., NDArray[Any]] = reference.asarray
to_host: Callable[..., NDArray[Any]] = reference.to_host
sigmoid: Callable[[NDArray[Any]], NDArray[Any]] = reference.sigmoid
softmax: Callable[[NDArray[Any]], NDArray[Any]] = reference.softmax

# Besides the first row with a label that is not allowed, the compiled functions return these.
_DONE = -1
_CONVERT = -2

if _wanted := os.environ.get("FOCAL_BOOST_DISPATCH"):
    try:
        _native.set_dispatch(_wanted)
    except ValueError as _error:
        raise ValueError(
            f"FOCAL_BOOST_DISPATCH={_wanted!r}: {_error}; available here: {', '.join(_native.supported())}"
        ) from None


def _converted(function: Callable[..., int], *args: Any, outputs: tuple[int, ...]) -> int:
    """Call again with arrays that the loops take, and copy results back; `outputs` are positions of output arrays."""
    plain = [
        np.empty(x.shape) if i in outputs else np.array(x, dtype=np.float64) if isinstance(x, np.ndarray) else x
        for i, x in enumerate(args)
    ]
    status = function(*plain)
    if status == _DONE:
        for i in outputs:
            args[i][...] = plain[i]
    return status


def binary_loss(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: tuple[float, float],
    out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Focal loss of each row, times its weight."""
    args = (y, z, weight, gamma, *class_weight, out, n_threads, intercept)
    status = _native.binary_loss(*args)
    if status == _CONVERT:
        status = _converted(_native.binary_loss, *args, outputs=(6,))
    if status != _DONE:
        reference._binary_labels(y[status : status + 1])


def binary_gradient_hessian(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: tuple[float, float],
    expected: bool,
    max_step: float,
    hessian_scale: float,
    gradient_out: np.ndarray,
    hessian_out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Gradient and curvature of each row with respect to its margin, times its weight."""
    w0, w1 = class_weight
    args = (
        y,
        z,
        weight,
        gamma,
        w0,
        w1,
        expected,
        max_step,
        hessian_scale,
        gradient_out,
        hessian_out,
        n_threads,
        intercept,
    )
    status = _native.binary_gradient_hessian(*args)
    if status == _CONVERT:
        status = _converted(_native.binary_gradient_hessian, *args, outputs=(9, 10))
    if status != _DONE:
        reference._binary_labels(y[status : status + 1])


def binary_posterior_logit(
    z: np.ndarray,
    gamma: float,
    class_weight: tuple[float, float],
    out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Logit of the class probability that a margin stands for."""
    args = (z, gamma, *class_weight, out, n_threads, intercept)
    if _native.binary_posterior_logit(*args) == _CONVERT:
        _converted(_native.binary_posterior_logit, *args, outputs=(4,))


def multiclass_loss(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: np.ndarray,
    out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Focal loss of each row, times its weight."""
    args = (y, z, weight, gamma, class_weight, out, n_threads, intercept)
    status = _native.multiclass_loss(*args)
    if status == _CONVERT:
        status = _converted(_native.multiclass_loss, *args, outputs=(5,))
    if status != _DONE:
        reference._class_labels(y[status : status + 1], z.shape[1])


def multiclass_gradient_hessian(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: np.ndarray,
    expected: bool,
    max_step: float,
    hessian_scale: float,
    gradient_out: np.ndarray,
    hessian_out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Gradient and diagonal curvature of each row with respect to its margins, times its weight; shapes (n, K)."""
    args = (
        y,
        z,
        weight,
        gamma,
        class_weight,
        expected,
        max_step,
        hessian_scale,
        gradient_out,
        hessian_out,
        n_threads,
        intercept,
    )
    status = _native.multiclass_gradient_hessian(*args)
    if status == _CONVERT:
        status = _converted(_native.multiclass_gradient_hessian, *args, outputs=(8, 9))
    if status != _DONE:
        reference._class_labels(y[status : status + 1], z.shape[1])


def multiclass_log_posterior(
    z: np.ndarray, gamma: float, class_weight: np.ndarray, out: np.ndarray, n_threads: int = 1, intercept: Any = None
) -> None:
    """Logarithm of the class probabilities that margins stand for, up to a constant a row."""
    args = (z, gamma, class_weight, out, n_threads, intercept)
    if _native.multiclass_log_posterior(*args) == _CONVERT:
        _converted(_native.multiclass_log_posterior, *args, outputs=(3,))
