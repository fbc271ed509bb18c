"""Arithmetic on arrays, nothing else: the seam between the losses and whatever computes them.

``active`` is the module that is in use for arrays in host memory: `native` where the compiled extension is installed,
else `numpy`. The environment variable ``FOCAL_BOOST_KERNELS`` (``native`` or ``numpy``) decides instead. Arrays on a
GPU are for `cuda`, which is imported when the first one comes.

Besides six functions each module has ``arrays``, the namespace of its arrays (NumPy or CuPy), and ``asarray``.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from numpy import ndarray

__all__ = ["active", "for_gpu", "is_compiled", "is_device_array"]


def _choose() -> ModuleType:
    wanted = os.environ.get("FOCAL_BOOST_KERNELS", "")
    if wanted not in ("", "native", "numpy"):
        raise ValueError(f"FOCAL_BOOST_KERNELS={wanted!r} is not known; use 'native' or 'numpy', or leave it unset")
    if wanted != "numpy":
        try:
            from focal_boost.kernels import native
        except ImportError as error:
            if wanted == "native":
                raise ImportError(
                    "FOCAL_BOOST_KERNELS=native, but the compiled extension is not there or cannot be loaded; install "
                    "focal_boost where a C++ compiler is found, or unset the variable to use NumPy"
                ) from error
        else:
            return native
    from focal_boost.kernels import numpy

    return numpy


active: ModuleType = _choose()


def is_compiled() -> bool:
    """Whether the compiled kernels are in use."""
    return active.__name__.endswith(".native")


# DLPack's numbers for memory of an NVIDIA GPU, and for managed memory.
_DLPACK_CUDA = (2, 13)


def is_device_array(x: Any) -> bool:
    """Whether an array lies on an NVIDIA GPU, by what it says of itself: CuPy, PyTorch, cuDF, Numba and so on."""
    if x is None or isinstance(x, ndarray):
        return False
    if hasattr(x, "__cuda_array_interface__"):
        return True
    try:
        return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] in _DLPACK_CUDA
    except Exception:  # what DLPack cannot take, such as strings of Arrow, says so here, each library in its own way
        return False


def for_gpu() -> ModuleType:
    """Return the kernels for a GPU.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    """
    try:
        from focal_boost.kernels import cuda as module
    except ImportError as error:
        raise ImportError(
            "arrays on a GPU need CuPy, which is not installed or cannot be loaded: pip install 'focal_boost[cuda]', "
            "or pass NumPy arrays"
        ) from error
    return module
