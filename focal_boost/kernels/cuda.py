"""The formulas of `focal_boost.kernels.numpy` on an NVIDIA GPU: same functions, arrays in device memory.

``device.cuh`` and ``focal.hpp`` are compiled by NVRTC through CuPy, each kernel when it is first called (CuPy keeps
what was compiled in its own cache on disk). Arrays are CuPy's; `asarray` makes one, without a copy, of whatever has a
``__cuda_array_interface__`` (whose ``stream`` is waited for) or speaks DLPack, such as a PyTorch tensor or a cuDF
column. Kernels run on CuPy's current stream. One launch computes gradient and curvature; labels and weights are
checked in the same pass, so each call waits for the stream once, to read the 16 bytes that tell of a bad one.

What a kernel is compiled for: gamma where it is a small integer; the number of classes where it is small, and then
whether margins and outputs are float32 without gaps, as XGBoost has them; and whether losses or derivatives are written
in single precision. Then ``focal.hpp`` computes with errors of 2^-31, in double precision still, for half of the
arithmetic.

Importing this module imports CuPy.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import cupy as cp
import numpy as np
from numpy.typing import NDArray

from focal_boost.kernels import numpy as reference

__all__ = [
    "asarray",
    "binary_gradient_hessian",
    "binary_loss",
    "binary_posterior_logit",
    "multiclass_gradient_hessian",
    "multiclass_log_posterior",
    "multiclass_loss",
]

arrays: ModuleType = cp

_OPTIONS = ("-std=c++17",)

# The numbers of `Type` in device.cuh; arrays of other dtypes are converted.
_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 4, "int8": 5, "uint8": 6, "bool": 6}
_PACKED = 7

_THREADS = 256
_ROWS_A_THREAD = 4
_TILE_THREADS = 128
# Numbers of classes for which kernels are compiled apart: a row of so many stays in the registers of one thread.
_KNOWN_CLASSES = range(2, 9)
# Shared memory that every device grants a block without being asked.
_SHARED_BYTES = 48 * 1024
# Classes of a row that one thread goes through before a second is worthwhile, and the most threads for one row.
_CLASSES_A_LANE = 16
_MOST_LANES = 32

_DLPACK_CUDA = (2, 13)  # device memory, managed memory


def asarray(x: Any) -> Any:
    """Return a CuPy array: a view where `x` lies on a GPU, a copy where it lies in host memory.

    Parameters
    ----------
    x : array-like
        CuPy array, anything with ``__cuda_array_interface__`` or DLPack on a GPU, or array-like in host memory.

    Returns
    -------
    cupy.ndarray
    """
    if isinstance(x, cp.ndarray):
        return x
    if hasattr(x, "__cuda_array_interface__"):
        return cp.asarray(x)
    if not isinstance(x, np.ndarray) and hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] in _DLPACK_CUDA:
        return cp.from_dlpack(x)
    host = np.asarray(x)
    return cp.asarray(host if host.dtype.isnative else host.astype(host.dtype.newbyteorder("=")))


def to_host(x: Any) -> np.ndarray:
    """Copy a device array into host memory."""
    host: NDArray[Any] = cp.asnumpy(x)
    return host


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))`` in double precision."""
    return cp.exp(-cp.logaddexp(0.0, -x))


def softmax(x: Any) -> Any:
    """Exponentials of each row over their sum, in double precision."""
    e = cp.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------------------------------------------------------------
# Launching


@functools.cache
def _source() -> str:
    folder = Path(__file__).parent
    # One text: NVRTC reads no files of its own, and CuPy's cache on disk goes by the text.
    formulas = (folder / "focal.hpp").read_text(encoding="utf-8")
    kernels = (folder / "device.cuh").read_text(encoding="utf-8")
    return kernels.replace('#include "focal.hpp"', formulas).replace("#pragma once", "")


@functools.cache
def _kernel(name: str, options: tuple[str, ...], device: int) -> Any:
    """A compiled kernel, by its C++ name, for a device."""
    name = f"focal::{name}"
    return cp.RawModule(code=_source(), options=options, name_expressions=[name]).get_function(name)


def _options(single: bool, n_classes: int, packed: bool) -> tuple[str, ...]:
    """What a kernel is compiled for, apart from its template arguments."""
    options: tuple[str, ...] = _OPTIONS
    if single:
        options += ("-DFOCAL_SINGLE",)
    if n_classes in _KNOWN_CLASSES:
        # As few registers as keep a row out of memory: the fewer, the more threads run at a time.
        registers = 96 if single and n_classes <= 6 else 128
        options += (f"-DFOCAL_CLASSES={n_classes}", f"--maxrregcount={registers}")
    if packed:
        options += ("-DFOCAL_PACKED",)
    return options


@functools.lru_cache(maxsize=64)
def _constants(numbers: bytes, device: int) -> Any:
    """Doubles in the memory of a device: the same for all calls of a training."""
    constants = cp.asarray(np.frombuffer(numbers, dtype=np.float64))
    # Later calls may come on another stream.
    cp.cuda.get_current_stream().synchronize()
    return constants


# For each device, status words that are in nobody's hands and hold no row.
_clean_status: dict[int, list[Any]] = {}


def _take_status(device: int) -> Any:
    """Two numbers of rows, which kernels lower to the first with a bad label and the first with a bad weight."""
    try:
        return _clean_status[device].pop()
    except (KeyError, IndexError):
        return cp.full(2, -1, dtype=np.int64)  # read as unsigned: the largest number


def _template(name: str, gamma: float, expected: bool | None = None) -> str:
    """Name of a kernel that knows gamma at compile time where it is a small integer."""
    power = int(gamma) if gamma in (0, 1, 2, 3, 4, 5) else -1
    arguments = [] if expected is None else ["true" if expected else "false"]
    return f"{name}_kernel<{', '.join([*arguments, str(power)])}>"


def _is_packed(x: Any) -> bool:
    return bool(x.dtype == np.float32 and x.flags.c_contiguous and x.data.ptr % 16 == 0)


def _view(x: Any, name: str, shape: tuple[int, ...], device: int) -> list[Any]:
    """The four arguments that describe an array; four that say there is none for None."""
    if x is None:
        return [np.uint64(0), np.int32(0), np.int64(0), np.int64(0)]
    if x.shape != shape:
        raise ValueError(f"{name} has shape {x.shape}, but the kernel expects {shape}")
    if x.device.id != device:
        raise ValueError(
            f"{name} lies on GPU {x.device.id}, but the current one is GPU {device}: compute in "
            f"'with cupy.cuda.Device({x.device.id}):', or copy it"
        )
    strides = (*x.strides, 0)
    code = _PACKED if _is_packed(x) else _TYPES[x.dtype.name]
    # A row of one class, or a single row, may have any stride.
    return [np.uint64(x.data.ptr), np.int32(code), np.int64(strides[0]), np.int64(strides[1])]


def _readable(x: Any) -> Any:
    """Labels, weights or margins in a dtype that the kernels read."""
    if x is None:
        return None
    x = asarray(x)
    return x if x.dtype.name in _TYPES else x.astype(np.float64)


def _geometry(n_classes: int, packed: bool) -> tuple[int, int, int, int]:
    """Threads a block, lanes a row, bytes of shared memory a block, and doubles of global scratch a block."""
    if packed:
        return _TILE_THREADS, 1, 2 * 4 * _TILE_THREADS * n_classes, 0
    lanes = 1
    while lanes < _MOST_LANES and n_classes >= _CLASSES_A_LANE * lanes:
        lanes *= 2
    threads = _TILE_THREADS
    while True:
        values = 2 * (threads // lanes) * (n_classes | 1)
        partial = 8 * 3 * threads
        if partial + 8 * values <= _SHARED_BYTES:
            return threads, lanes, partial + 8 * values, 0
        if threads == _MOST_LANES:
            return threads, lanes, partial, values
        threads //= 2


def _launch(
    name: str,
    *,
    y: Any,
    z: Any,
    weight: Any,
    outputs: tuple[Any, ...],
    gamma: float,
    class_weight: Any,
    exact: bool = False,
    log_class_weight: Any = None,
    max_step: float = math.inf,
    hessian_scale: float = 1.0,
    intercept: Any = None,
) -> None:
    z, y, weight = _readable(z), _readable(y), _readable(weight)
    n = len(z)
    if n == 0:
        return
    n_classes = z.shape[1] if z.ndim == 2 else 1
    single = not exact and all(out.dtype == np.float32 for out in outputs)
    packed = (
        single
        and intercept is None
        and n_classes in _KNOWN_CLASSES
        and all(_is_packed(x) for x in (z, *outputs) if x.ndim == 2)
    )
    if z.ndim == 2:
        threads, lanes, shared, scratch_size = _geometry(n_classes, packed)
        blocks = -(-n // (threads // lanes))
    else:
        threads, lanes, shared, scratch_size = _THREADS, 1, 0, 0
        blocks = -(-n // (threads * _ROWS_A_THREAD))
    scratch = cp.empty(blocks * scratch_size) if scratch_size else None
    with np.errstate(over="ignore"):
        class_weight = np.stack([class_weight, np.reciprocal(class_weight)], axis=1)
    # One small array for all numbers that the kernel reads by address: one copy to the device.
    numbers = [np.asarray(x, dtype=np.float64).ravel() for x in (class_weight, log_class_weight, intercept)
               if x is not None]  # fmt: skip
    device = cp.cuda.runtime.getDevice()
    constants = _constants(np.concatenate(numbers).tobytes(), device)
    addresses, place = [], constants.data.ptr
    for x in (class_weight, log_class_weight, intercept):
        addresses.append(np.uint64(0 if x is None else place))
        place += 0 if x is None else 8 * np.size(x)
    status = None if y is None else _take_status(device)
    hessian = outputs[1] if len(outputs) > 1 else None
    out_shape = z.shape if outputs[0].ndim == z.ndim else (n,)
    arguments = (
        np.int64(n),
        np.int64(n_classes),
        *_view(y, "y_true", (n,), device),
        *_view(z, "raw_prediction", z.shape, device),
        *_view(weight, "sample_weight", (n,), device),
        *_view(outputs[0], "the first output", out_shape, device),
        *_view(hessian, "hessian_out", out_shape, device),
        np.float64(gamma),
        addresses[2],
        addresses[0],
        addresses[1],
        np.float64(1.0 / max_step),
        np.float64(0.0 if max_step < math.inf else -math.inf),
        np.float64(hessian_scale),
        np.uint64(0 if status is None else status.data.ptr),
        np.uint64(0 if scratch is None else scratch.data.ptr),
        np.int32(lanes),
    )
    kernel = _kernel(name, _options(single, n_classes, packed), device)
    kernel((blocks,), (threads,), arguments, shared_mem=shared)
    if status is not None:
        # Waits for the stream: another one may have the words next.
        label, bad_weight = (int(row) for row in to_host(status))
        if label < 0 and bad_weight < 0:
            _clean_status.setdefault(device, []).append(status)
        else:
            _refuse(label, bad_weight, y, weight, n_classes)


def _refuse(label: int, bad_weight: int, y: Any, weight: Any, n_classes: int) -> None:
    """Say which label or weight is not allowed, in the words of the other kernels; rows are negative where all are."""
    if label >= 0:
        bad = to_host(y[label : label + 1])
        if n_classes == 1:
            reference._binary_labels(bad)
        else:
            reference._class_labels(bad, n_classes)
    if bad_weight >= 0:
        bad = to_host(weight[bad_weight : bad_weight + 1])[0]
        raise ValueError(f"sample_weight holds {bad}, but weights must be finite and >= 0; drop such rows")


# ---------------------------------------------------------------------------------------------------------------------
# The six functions


def binary_loss(
    y: Any,
    z: Any,
    weight: Any,
    gamma: float,
    class_weight: tuple[float, float],
    out: Any,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Focal loss of each row, times its weight."""
    _launch(
        _template("binary_loss", gamma),
        y=y,
        z=z,
        weight=weight,
        outputs=(out,),
        gamma=gamma,
        class_weight=class_weight,
        intercept=intercept,
    )


def binary_gradient_hessian(
    y: Any,
    z: Any,
    weight: Any,
    gamma: float,
    class_weight: tuple[float, float],
    expected: bool,
    max_step: float,
    hessian_scale: float,
    gradient_out: Any,
    hessian_out: Any,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Gradient and curvature of each row with respect to its margin, times its weight."""
    _launch(
        _template("binary_derivatives", gamma, expected),
        y=y,
        z=z,
        weight=weight,
        outputs=(gradient_out, hessian_out),
        gamma=gamma,
        class_weight=class_weight,
        max_step=max_step,
        hessian_scale=hessian_scale,
        intercept=intercept,
    )


def binary_posterior_logit(
    z: Any,
    gamma: float,
    class_weight: tuple[float, float],
    out: Any,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Logit of the class probability that a margin stands for."""
    w0, w1 = class_weight
    _launch(
        "binary_posterior_kernel<-1>",
        exact=True,  # a difference of logarithms
        y=None,
        z=z,
        weight=None,
        outputs=(out,),
        gamma=gamma,
        class_weight=class_weight,
        log_class_weight=math.log(w0 / w1),
        intercept=intercept,
    )


def multiclass_loss(
    y: Any,
    z: Any,
    weight: Any,
    gamma: float,
    class_weight: np.ndarray,
    out: Any,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Focal loss of each row, times its weight."""
    _launch(
        _template("multiclass_loss", gamma),
        y=y,
        z=z,
        weight=weight,
        outputs=(out,),
        gamma=gamma,
        class_weight=class_weight,
        intercept=intercept,
    )


def multiclass_gradient_hessian(
    y: Any,
    z: Any,
    weight: Any,
    gamma: float,
    class_weight: np.ndarray,
    expected: bool,
    max_step: float,
    hessian_scale: float,
    gradient_out: Any,
    hessian_out: Any,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Gradient and diagonal curvature of each row with respect to its margins, times its weight; shapes (n, K)."""
    _launch(
        _template("multiclass_derivatives", gamma, expected),
        y=y,
        z=z,
        weight=weight,
        outputs=(gradient_out, hessian_out),
        gamma=gamma,
        class_weight=class_weight,
        max_step=max_step,
        hessian_scale=hessian_scale,
        intercept=intercept,
    )


def multiclass_log_posterior(
    z: Any, gamma: float, class_weight: np.ndarray, out: Any, n_threads: int = 1, intercept: Any = None
) -> None:
    """Logarithm of the class probabilities that margins stand for, up to a constant a row."""
    _launch(
        "multiclass_posterior_kernel<-1>",
        exact=True,
        y=None,
        z=z,
        weight=None,
        outputs=(out,),
        gamma=gamma,
        class_weight=class_weight,
        log_class_weight=np.log(class_weight),
        intercept=intercept,
    )
