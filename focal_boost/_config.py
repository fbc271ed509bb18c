"""What this installation computes with."""

from __future__ import annotations

import os
from typing import Any, Literal

from focal_boost import kernels

__all__ = ["show_config"]


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Show which kernels are in use, for which instruction set, and how many threads they may use.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default="stdout"
        Print a table, or return the same as a dict, as `numpy.show_config` does.

    Returns
    -------
    dict or None
        ``kernels``: "native" (compiled) or "numpy"; ``dispatch``: the instruction set in use; ``available``: those
        compiled in that this machine has; ``cpus``: processors that this process may use, the most that ``n_threads``
        is good for. Without compiled kernels ``dispatch`` is None, ``available`` is empty and ``reason`` says why.

    Raises
    ------
    ValueError
        If `mode` is not known.

    Examples
    --------
    >>> from focal_boost import show_config
    >>> show_config(mode="dicts")["kernels"] in ("native", "numpy")
    True
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode={mode!r} is not known; use 'stdout' to print or 'dicts' to get a dict")
    config = _config()
    if mode == "dicts":
        return config
    width = max(map(len, config))
    for key, value in config.items():
        print(f"{key:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    return None


def _config() -> dict[str, Any]:
    name = kernels.active.__name__.rpartition(".")[2]
    if name == "native":
        native = kernels.active._native
        return {
            "kernels": name,
            "dispatch": native.dispatch(),
            "available": native.supported(),
            "cpus": native.cpu_count(),
        }
    forced = os.environ.get("FOCAL_BOOST_KERNELS") == "numpy"
    return {
        "kernels": name,
        "dispatch": None,
        "available": [],
        "cpus": 1,
        "reason": "FOCAL_BOOST_KERNELS=numpy" if forced else "installed without the compiled extension",
    }
