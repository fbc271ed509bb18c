"""What `focal_boost.kernels.numpy` computes, on an NVIDIA GPU: the same function, arrays in device memory.

``device.cuh`` and ``focal.hpp`` are compiled by NVRTC through CuPy, each kernel when it is first called (CuPy keeps
what was compiled in its own cache on disk). Arrays are CuPy's; `asarray` makes one, without a copy, of whatever has a
``__cuda_array_interface__`` (whose ``stream`` is waited for) or speaks DLPack, such as a PyTorch tensor or a cuDF
column. Kernels run on CuPy's current stream. One launch computes gradient and curvature; labels and weights are
checked in the same pass, so a call waits for the stream once, to read the 16 bytes that tell of a bad one, unless they
were checked before.

Gradients and expected curvature that are written in single precision are computed in it, with relative errors below
2^-20, where gamma and the number of classes allow that; all else in double precision. Up to 8 classes a row is kept in
registers, by a kernel compiled for their number; of more, in device memory.

Importing this module imports CuPy.
"""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import cupy as cp
import numpy as np
from numpy.typing import NDArray

from focal_boost.kernels import is_device_array
from focal_boost.kernels import numpy as reference
from focal_boost.kernels.parameters import Operation, Parameters, label_error
from focal_boost.kernels.tables import is_beyond, n_steps, parts

__all__ = ["asarray", "run"]

arrays: ModuleType = cp


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
    if is_device_array(x):
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

_OPTIONS = ("-std=c++17",)

# Structures of task.hpp: arrays, with the numbers of `Type`; others are converted.
_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 4, "int8": 5, "uint8": 6, "bool": 6}
_VIEW = np.dtype([("data", "u8"), ("row_stride", "i8"), ("column_stride", "i8"), ("type", "i4")], align=True)
_TASK = np.dtype(
    [
        *((name, "i8") for name in ("n_rows", "n_classes")),
        *((name, _VIEW) for name in ("y", "z", "weight", "out", "hessian_out")),
        *((name, "u8") for name in ("intercept", "head", "tables")),
        *((name, "f8") for name in ("inverse_step", "least", "hessian_scale")),
        *(("n_steps", "i4"), ("uniform", "?"), ("coarse", "?")),
        *(("operation", "i4"), ("binary", "?"), ("logit", "?")),  # which kernels know by their names
        *((name, "u8") for name in ("status", "scratch")),
    ],
    align=True,
)

_THREADS = 128
_ROWS_A_THREAD = 4  # of the binary loss
# Numbers of classes for which kernels are compiled apart: a row of so many stays in the registers of one thread.
_KNOWN_CLASSES = range(2, 9)
# Of the others a thread keeps four values for each class of its row in device memory; at the most so many bytes in all.
_SCRATCH_BYTES = 2**28
# Up to this gamma single precision is exact to 2^-20 for the binary loss with the logit link, and for several classes,
# of a number that is known, with the focal link; not where terms cancel, as they do in the exact second derivative and,
# now and then, in the solution for several classes.
_SINGLE_GAMMA = 2.0


@functools.cache
def _source() -> str:
    # One text: NVRTC reads no files of its own, and CuPy's cache on disk goes by the text.
    names = ("elementary.hpp", "task.hpp", "focal.hpp", "device.cuh")
    text = "\n".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in names)
    return re.sub(r'#include ".*"|#pragma once', "", text)


def _is_uniform(parameters: Parameters) -> bool:
    return len(set(zip(parameters.gamma, parameters.class_weight, strict=True))) == 1


def _name(operation: Operation, parameters: Parameters, single: bool) -> str:
    """C++ name of a kernel."""
    of_derivatives = "Expected" if parameters.expected else "Exact"
    which = {"loss": "Loss", "derivatives": of_derivatives, "log_odds": "LogOdds"}[operation]
    known = 1 if parameters.binary else parameters.n_classes if parameters.n_classes in _KNOWN_CLASSES else 0
    number, link = "float" if single else "double", "true" if parameters.logit else "false"
    uniform = "true" if known > 1 and _is_uniform(parameters) else "false"
    return f"focal::kernel<{number}, focal_boost::Operation::k{which}, {link}, {known}, {uniform}>"


@functools.cache
def _kernel(name: str, device: int) -> Any:
    """A compiled kernel, by its C++ name, for a device."""
    return cp.RawModule(code=_source(), options=_OPTIONS, name_expressions=[name]).get_function(name)


@functools.lru_cache(maxsize=64)
def _constants(parameters: Parameters, single: bool, intercept: tuple[float, ...], device: int) -> tuple[Any, int, int]:
    """What is the same in all calls of a training, in the memory of a device; where the intercept and tables begin."""
    head, tables = parts(parameters, single)
    head = np.concatenate([head, intercept, [0.0] * 8])
    head = head[: len(head) // 8 * 8]  # cells of tables are read in words of 16 bytes
    numbers = head.tobytes() + tables.astype(np.float32 if single else np.float64).tobytes()
    constants = cp.asarray(np.frombuffer(numbers, dtype=np.uint8))
    # Later calls may come on another stream.
    cp.cuda.get_current_stream().synchronize()
    return constants, 8 * (7 if parameters.logit else 4) * parameters.n_classes, head.nbytes


# For each device, status words that are in nobody's hands and hold no row.
_clean_status: dict[int, list[Any]] = {}


def _take_status(device: int) -> Any:
    """Two numbers of rows, which kernels lower to the first with a bad label and the first with a bad weight."""
    try:
        return _clean_status[device].pop()
    except (KeyError, IndexError):
        return cp.full(2, -1, dtype=np.int64)  # read as unsigned: the largest number


def _view(x: Any, name: str, shape: tuple[int, ...], device: int) -> tuple[int, int, int, int]:
    """An array as a kernel sees it; none for None."""
    if x is None:
        return 0, 0, 0, 0
    if x.shape != shape:
        raise ValueError(f"{name} has shape {x.shape}, but the kernel expects {shape}")
    if x.device.id != device:
        raise ValueError(
            f"{name} lies on GPU {x.device.id}, but the current one is GPU {device}: compute in "
            f"'with cupy.cuda.Device({x.device.id}):', or copy it"
        )
    strides = (*x.strides, 0)
    return x.data.ptr, strides[0], strides[1], _TYPES[x.dtype.name]


def _readable(x: Any) -> Any:
    """Labels, weights or margins in a dtype that the kernels read."""
    if x is None:
        return None
    x = asarray(x)
    return x if x.dtype.name in _TYPES else x.astype(np.float64)


def _refuse(label: int, weight: int, y: Any, weights: Any, parameters: Parameters) -> None:
    """Say which label or weight is not allowed, in the words of the other kernels; rows are negative where all are."""
    if label >= 0:
        raise label_error(float(to_host(y[label : label + 1])[0]), parameters)
    bad = to_host(weights[weight : weight + 1])[0]
    raise ValueError(f"sample_weight holds {bad}, but weights must be finite and >= 0; drop such rows")


def run(
    operation: Operation,
    parameters: Parameters,
    y: Any,
    z: Any,
    weight: Any,
    outputs: tuple[Any, ...],
    n_threads: int = 1,
    intercept: Any = None,
    hessian_scale: float = 1.0,
    checked: bool = False,
    team: int = 0,
) -> None:
    """Compute one operation for all rows; see `focal_boost.kernels.numpy.run`."""
    z, y, weight = _readable(z), _readable(y), _readable(weight)
    n = len(z)
    if n == 0:
        return
    if is_beyond(parameters):
        labels, margins, weights = (None if x is None else to_host(x) for x in (y, z, weight))
        allowed = np.ones(1, dtype=bool) if weights is None else np.isfinite(weights) & (weights >= 0)
        if not allowed.all():
            _refuse(-1, int(np.argmin(allowed)), y, weight, parameters)
        results = tuple(np.empty(out.shape, out.dtype) for out in outputs)
        reference.run(
            operation, parameters, labels, margins, weights, results, n_threads, intercept, hessian_scale, checked
        )
        for out, result in zip(outputs, results, strict=True):
            out[...] = asarray(result)
        return
    device = cp.cuda.runtime.getDevice()
    coarse = all(out.dtype == np.float32 for out in outputs)
    single = (
        operation == "derivatives"
        and parameters.expected
        and parameters.binary == parameters.logit
        and (parameters.binary or parameters.n_classes in _KNOWN_CLASSES)
        and max(parameters.gamma) <= _SINGLE_GAMMA
        and coarse
    )
    steps = n_steps(parameters, coarse)
    start = () if intercept is None else tuple(np.array(intercept, dtype=np.float64, ndmin=1).tolist())
    constants, intercept_place, tables_place = _constants(parameters, single, start, device)
    blocks = -(-n // (_THREADS * (_ROWS_A_THREAD if parameters.binary else 1)))
    scratch = None
    if not parameters.binary and parameters.n_classes not in _KNOWN_CLASSES:
        numbers_a_block = 4 * parameters.n_classes * _THREADS
        blocks = min(blocks, max(1, _SCRATCH_BYTES // (8 * numbers_a_block)))
        scratch = cp.empty(blocks * numbers_a_block)
    status = None if y is None or checked else _take_status(device)
    bounded = parameters.max_step < math.inf
    out_shape = (n,) if operation == "loss" else z.shape
    task = np.array(
        (
            n,
            parameters.n_classes,
            _view(y, "y_true", (n,), device),
            _view(z, "raw_prediction", z.shape, device),
            _view(weight, "sample_weight", (n,), device),
            _view(outputs[0], "the first output", out_shape, device),
            _view(outputs[1] if len(outputs) > 1 else None, "hessian_out", out_shape, device),
            constants.data.ptr + intercept_place if start else 0,
            constants.data.ptr,
            constants.data.ptr + tables_place,
            1.0 / parameters.max_step,
            0.0 if bounded else -math.inf,
            hessian_scale,
            steps,
            _is_uniform(parameters),
            coarse and steps == 1 and parameters.expected,
            0,
            parameters.binary,
            parameters.logit,
            0 if status is None else status.data.ptr,
            0 if scratch is None else scratch.data.ptr,
        ),
        dtype=_TASK,
    )
    # An array of NumPy is handed to the kernel as it is.
    _kernel(_name(operation, parameters, single), device)((blocks,), (_THREADS,), (task,))
    if status is not None:
        # Waits for the stream: another one may have the words next.
        bad_label, bad_weight = (int(row) for row in to_host(status))
        if bad_label >= 0 or bad_weight >= 0:
            _refuse(bad_label, bad_weight, y, weight, parameters)
        _clean_status.setdefault(device, []).append(status)
