"""Arithmetic on arrays, nothing else: the seam between the losses and whatever computes them.

``active`` is the module that is in use: `native` where the compiled extension is installed, else `numpy`. The
environment variable ``FOCAL_BOOST_KERNELS`` (``native`` or ``numpy``) decides instead.
"""

from __future__ import annotations

import os
from types import ModuleType

__all__ = ["active", "is_compiled"]


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


active = _choose()


def is_compiled() -> bool:
    """Whether the compiled kernels are in use."""
    return active.__name__.endswith(".native")
