"""Checks of what a caller passes to a loss: parameters, margins, labels, weights, threads and output arrays.

`kind` is a module of kernels: arrays are NumPy's or CuPy's as it takes them.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from focal_boost._typing import Hessian, Link
from focal_boost.kernels import is_device_array

__all__ = [
    "check_class_weights",
    "check_gamma",
    "check_hessian",
    "check_labels",
    "check_link",
    "check_margins",
    "check_max_step",
    "check_n_threads",
    "check_out",
    "check_overlap",
    "check_threads",
    "check_weight_range",
    "check_weights",
    "refuse_mask",
    "total_weight",
]

# Boosters take gradients in single precision. At gamma = 100 a row of probability 1/2 has a gradient of 1e-28, at 130
# it is lost; class weights and steps beyond these bounds would be rounded to zero or infinity too.
_LARGEST_GAMMA = 100.0
_CLASS_WEIGHT_RANGE = (1e-20, 1e20)
_SMALLEST_STEP = 1e-12


def check_gamma(gamma: Any, n_classes: int) -> float | tuple[float, ...]:
    """Return one focusing parameter, or one per class, as it was given."""
    if isinstance(gamma, (Sequence, np.ndarray)) and not isinstance(gamma, (str, bytes)) and np.ndim(gamma) > 0:
        if len(gamma) != n_classes:
            raise ValueError(
                f"gamma={gamma!r} holds {len(gamma)} values, not one each for {n_classes} classes; pass a number for "
                "all, or one value per class in their order"
            )
        return tuple(_check_one_gamma(value) for value in gamma)
    return _check_one_gamma(gamma)


def _check_one_gamma(gamma: Any) -> float:
    if isinstance(gamma, bool) or not isinstance(gamma, Real) or not 0 <= float(gamma) < math.inf:
        raise ValueError(f"gamma={gamma!r} is not a finite number >= 0; 1.0 is the default, 0 gives the plain log loss")
    if float(gamma) > _LARGEST_GAMMA:
        raise ValueError(
            f"gamma={gamma!r} is above {_LARGEST_GAMMA:g}, where gradients vanish in the single precision of boosters; "
            "1.0 is the default, and values above 5 are rarely of use"
        )
    return float(gamma)


def check_link(link: Any) -> Link:
    if isinstance(link, str) and link in ("logit", "focal"):
        return "logit" if link == "logit" else "focal"
    raise ValueError(f"link={link!r} is not known; use 'logit' (margins are log-odds) or 'focal' (those of the paper)")


def check_hessian(hessian: Any) -> Hessian:
    if isinstance(hessian, str) and hessian == "expected":
        return "expected"
    if isinstance(hessian, str) and hessian == "exact":
        return "exact"
    raise ValueError(f"hessian={hessian!r} is not known; use 'expected' (always positive) or 'exact' (signed)")


def check_max_step(max_step: Any) -> float | None:
    if max_step is None:
        return None
    if isinstance(max_step, bool) or not isinstance(max_step, Real) or not float(max_step) > 0:
        raise ValueError(f"max_step={max_step!r} is not a positive number; use a bound such as 8.0, or None for none")
    if max_step < _SMALLEST_STEP:
        raise ValueError(
            f"max_step={max_step!r} is below {_SMALLEST_STEP:g}, where the curvature overflows the single precision of "
            "boosters; use a bound such as 8.0, and a learning rate for small steps"
        )
    return float(max_step)


def check_class_weights(alpha: Any, n_classes: int) -> tuple[float, ...]:
    """One positive weight per class from a sequence."""
    if isinstance(alpha, (str, bytes)) or not isinstance(alpha, (Sequence, np.ndarray)):
        raise ValueError(
            f"alpha={alpha!r} is not understood by a loss; use None or one positive weight per class. "
            "Mappings from label to weight and 'balanced' need the labels: pass them to FocalClassifier"
        )
    try:
        weights = np.asarray(alpha, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"alpha={alpha!r} holds something that is no number; pass one positive weight per class"
        ) from None
    if weights.shape != (n_classes,):
        raise ValueError(
            f"alpha={alpha!r} holds {weights.size} weights, not one each for {n_classes} classes; pass one positive "
            "weight per class, in their order"
        )
    if not np.all(np.isfinite(weights) & (weights > 0)):
        raise ValueError(
            f"alpha={alpha!r} holds a weight that is not a positive finite number; to leave a class out of training, "
            "remove its rows"
        )
    return tuple(float(weight) for weight in weights)


def check_weight_range(alpha: Any, weights: Sequence[float]) -> None:
    low, high = _CLASS_WEIGHT_RANGE
    if not all(low <= weight <= high for weight in weights):
        raise ValueError(
            f"alpha={alpha!r} makes class weights outside [{low:g}, {high:g}], which single precision rounds to zero "
            "or infinity; only the ratio of class weights matters, so scale them"
        )


def refuse_mask(values: Any, name: str) -> None:
    """Refuse masked arrays with masked values, which NumPy would take as if they were not.

    Parameters
    ----------
    values : array-like
    name : str
        What the caller calls it.

    Raises
    ------
    ValueError
        If any value is masked.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(values)} masked values, whose mask would be ignored; "
            "fill them (features: with numpy.nan), or drop their rows"
        )


def _array(x: Any, kind: Any) -> Any:
    """An array of `kind`; one of strings or objects stays NumPy's, for the caller to refuse by its dtype."""
    if kind.arrays is np or is_device_array(x):
        return kind.asarray(x)
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        return x
    # CuPy has no long double.
    return kind.asarray(x if x.dtype.itemsize <= 8 else x.astype(np.float64))


def check_margins(raw_prediction: Any, n_outputs: int, kind: Any) -> Any:
    """Return margins as a float32 or float64 array; no copy if it is one.

    A multiclass loss takes (n, K); a binary one (n,), or (n, K) for K labels that are each yes or no.
    """
    refuse_mask(raw_prediction, "raw_prediction")
    z = _array(raw_prediction, kind)
    if z.dtype not in (np.float32, np.float64):
        if z.dtype.kind not in "biuf":
            raise ValueError(f"raw_prediction has dtype {z.dtype}, but margins are real: pass float32 or float64")
        z = z.astype(np.float64)
    if n_outputs == 1:
        if z.ndim == 2 and z.shape[1] == 1:
            z = z[:, 0]
        if z.ndim not in (1, 2) or (z.ndim == 2 and not z.shape[1]):
            raise ValueError(
                f"raw_prediction has shape {z.shape}, but a binary loss takes one margin a row, shape (n,), or one for "
                "each of K labels, shape (n, K); for K classes that exclude each other use MulticlassFocalLoss"
            )
    elif z.ndim != 2 or z.shape[1] != n_outputs:
        raise ValueError(
            f"raw_prediction has shape {z.shape}, but a loss with {n_outputs} classes takes shape (n, {n_outputs}); "
            "margins that come as one vector must be reshaped first (in the order of the booster that made them)"
        )
    return z


def check_labels(y_true: Any, shape: tuple[int, ...], kind: Any) -> Any:
    """Labels as a numeric array of this shape. Their values are checked in the pass of the kernels."""
    refuse_mask(y_true, "y_true")
    y = _array(y_true, kind)
    if len(shape) == 1 and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"y_true has dtype {y.dtype}, but a loss takes encoded classes (numbers); "
            "use FocalClassifier for labels of any kind, or encode them with sklearn.preprocessing.LabelEncoder"
        )
    if y.shape != shape:
        if len(shape) == 2:
            raise ValueError(
                f"raw_prediction has shape {shape}, but y_true has shape {y.shape}: a binary loss takes one margin for "
                "each label, both of shape (n,) or both (n, K); for K classes that exclude each other use "
                "MulticlassFocalLoss"
            )
        raise ValueError(f"y_true has shape {y.shape}, but raw_prediction has {shape[0]} rows: pass one label a row")
    return y


def check_weights(sample_weight: Any, n: int, kind: Any, *, in_kernel: bool = False) -> Any:
    """Weights as a numeric array of shape (n,), or None; `in_kernel`: if on a GPU, the kernel checks the values."""
    if sample_weight is None:
        return None
    refuse_mask(sample_weight, "sample_weight")
    weight = _array(sample_weight, kind)
    if weight.dtype.kind not in "biuf":
        raise ValueError(f"sample_weight has dtype {weight.dtype}, but weights are real numbers; pass float64")
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has shape {weight.shape}, but there are {n} rows: pass one weight a row")
    if in_kernel and kind.arrays is not np:
        return weight
    # A NaN makes either extreme NaN; one pass each and no temporary.
    if n and not (weight.min() >= 0 and weight.max() < np.inf):
        bad = weight[~((weight >= 0) & (weight < np.inf))][0]
        raise ValueError(f"sample_weight holds {bad}, but weights must be finite and >= 0; drop such rows")
    return weight


def check_n_threads(n_threads: Any) -> int | None:
    """Return a number of threads as it is given.

    Parameters
    ----------
    n_threads : int or None

    Returns
    -------
    int or None

    Raises
    ------
    ValueError
        If it is neither an integer nor None.
    """
    if n_threads is None or (isinstance(n_threads, Integral) and not isinstance(n_threads, bool)):
        return None if n_threads is None else int(n_threads)
    raise ValueError(f"n_threads={n_threads!r} is not an integer; pass a number of threads, or None for all processors")


def check_threads(n_threads: int | None) -> int:
    """Number of threads: as given, or all processors that this process may use for None and numbers below 1."""
    check_n_threads(n_threads)
    if n_threads is not None and n_threads > 0:
        return int(n_threads)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_out(out: Any, name: str, like: Any, kind: Any) -> Any:
    """The caller's output array, or a new one with dtype, shape and memory order of the margins."""
    if out is None:
        return kind.arrays.empty_like(like)
    if not isinstance(out, kind.arrays.ndarray) or out.dtype not in (np.float32, np.float64):
        library = "NumPy" if kind.arrays is np else "CuPy"
        got = f"{type(out).__module__}.{type(out).__name__} of {getattr(out, 'dtype', 'no dtype')}"
        raise ValueError(f"{name} must be a float32 or float64 {library} array, as the other arrays are; got {got}")
    if out.shape != like.shape:
        raise ValueError(f"{name} has shape {out.shape}, but raw_prediction has shape {like.shape}: they must agree")
    if kind.arrays is np and not out.flags.writeable:
        raise ValueError(f"{name} is read-only; pass an array that may be written to")
    return out


def check_overlap(outputs: dict[str, np.ndarray], inputs: dict[str, Any]) -> None:
    """Refuse outputs that would overwrite what is still to be read, or each other.

    Margins may be overwritten in place: an output that is the very same memory is written row by row after reading.
    """
    names = list(outputs)
    pairs = [(name, outputs[name], other, outputs[other]) for name, other in itertools.pairwise(names)]
    pairs += [(name, out, other, x) for name, out in outputs.items() for other, x in inputs.items()]
    for name, out, other, x in pairs:
        # The cheap question first, to which the answer is nearly always no.
        if not isinstance(x, np.ndarray) or not np.may_share_memory(out, x):
            continue
        in_place = other == "raw_prediction" and (out.ctypes.data, out.strides) == (x.ctypes.data, x.strides)
        if not in_place and _shares_memory(out, x):
            raise ValueError(f"{name} overlaps {other} in memory; pass an array of its own")


def _shares_memory(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:  # interleaved in a way that takes long to tell apart
        return True


def total_weight(weight: Any) -> float:
    total = float(weight.sum(dtype=np.float64))
    if not total > 0:
        raise ValueError("sample_weight is zero in every row: at least one row must count")
    return total
