"""What `focal_boost.kernels.numpy` computes, compiled: the same function, the same results to the last bits of float32.

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
from focal_boost.kernels.parameters import Operation, Parameters, label_error
from focal_boost.kernels.tables import is_beyond, n_steps, parts

__all__ = ["run"]

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


# The numbers of `Operation` in task.hpp.
_OPERATIONS = {"loss": 0, "log_odds": 3}
# Positions of the arguments of the compiled function that are output arrays.
_OUTPUTS = (10, 11)


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
    if is_beyond(parameters):
        reference.run(operation, parameters, y, z, weight, outputs, intercept=intercept, hessian_scale=hessian_scale)
        return
    args = (
        _OPERATIONS.get(operation, 1 if parameters.expected else 2),
        parameters.binary,
        parameters.logit,
        parameters.max_step,
        n_steps(parameters, outputs[0].dtype.itemsize == 4),
        *parts(parameters),
        y,
        z,
        weight,
        *(outputs if len(outputs) == 2 else (*outputs, None)),
        n_threads,
        None if intercept is None else np.array(intercept, dtype=np.float64, ndmin=1),
        hessian_scale,
        team,
    )
    status = _native.run(*args)
    if status == _CONVERT:
        # Again with arrays that the loops take, outputs as wide as they were; results are copied back.
        plain = [
            x
            if not isinstance(x, np.ndarray)
            else np.empty(x.shape, np.float32 if x.dtype.itemsize == 4 else np.float64)
            if i in _OUTPUTS
            else np.array(x, np.float64)
            for i, x in enumerate(args)
        ]
        status = _native.run(*plain)
        for i in _OUTPUTS if status == _DONE else ():
            if args[i] is not None:
                args[i][...] = plain[i]
    if status != _DONE:
        raise label_error(np.asarray(y)[status], parameters)
