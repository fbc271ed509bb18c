"""Time of one objective call, in nanoseconds a row and class: plain NumPy against the compiled kernels.

Run as ``python benchmarks/objective.py [--rows N] [--repeat R] [--gamma G] [--threads 1 2]``. Every figure is the
smallest of R repetitions, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from focal_boost.kernels import numpy as numpy_kernels

try:
    from focal_boost.kernels import _native
    from focal_boost.kernels import native as native_kernels
except ImportError:
    native_kernels = None

CLASSES = (2, 5, 20, 100)


class Case(NamedTuple):
    """One row of the table: its name, the number of outputs, and the call to time."""

    name: str
    outputs: int
    call: Callable[..., None]


def binary_cases(n: int, gamma: float, seed: int) -> Iterator[Case]:
    rng = np.random.default_rng(seed)
    z64 = rng.normal(0.0, 3.0, n)
    y = (rng.random(n) < 0.1).astype(np.float32)
    for dtype in (np.float32, np.float64):
        z = z64.astype(dtype)
        g, h = np.empty(n, np.float32), np.empty(n, np.float32)
        for hessian in ("exact", "expected"):

            def call(kernels, n_threads, z=z, g=g, h=h, expected=hessian == "expected"):
                kernels.binary_gradient_hessian(y, z, None, gamma, (1.0, 1.0), expected, 8.0, 1.0, g, h, n_threads)

            yield Case(f"binary {hessian} {np.dtype(dtype)}", 1, call)


def multiclass_cases(n: int, gamma: float, seed: int) -> Iterator[Case]:
    for k in CLASSES:
        rng = np.random.default_rng(seed)
        rows = max(n // k, 1000)
        y = rng.integers(0, k, rows).astype(np.float32)
        w = np.ones(k)
        for order in ("C", "F"):
            z = np.asarray(rng.normal(0.0, 3.0, (rows, k)), dtype=np.float32, order=order)
            g, h = np.empty_like(z), np.empty_like(z)
            for hessian in ("exact", "expected"):

                def call(kernels, n_threads, y=y, z=z, w=w, g=g, h=h, expected=hessian == "expected"):
                    kernels.multiclass_gradient_hessian(y, z, None, gamma, w, expected, 8.0, 1.0, g, h, n_threads)

                yield Case(f"K={k} {hessian} float32 {order}-order", rows * k / n, call)


def best_seconds(call: Callable[[], None], repeat: int) -> float:
    call()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for binary; entries for multiclass")
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--gamma", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-numpy", action="store_true", help="time the compiled kernels only")
    options = parser.parse_args()

    columns: list[tuple[str, object, int]] = []
    if not options.no_numpy:
        columns.append(("numpy", numpy_kernels, 1))
    if native_kernels is not None:
        columns += [(f"{_native.dispatch()} x{threads}", native_kernels, threads) for threads in options.threads]
    print(f"gamma = {options.gamma:g}, {options.rows} entries, ns a row and class, best of {options.repeat}")
    print(f"{'':32s}" + "".join(f"{name:>12s}" for name, _, _ in columns))
    for cases in (binary_cases, multiclass_cases):
        for case in cases(options.rows, options.gamma, options.seed):
            entries = options.rows * case.outputs
            cells = []
            for _, kernels, threads in columns:
                repeat = 3 if kernels is numpy_kernels else options.repeat
                seconds = best_seconds(partial(case.call, kernels, threads), repeat)
                cells.append(f"{seconds / entries * 1e9:12.2f}")
            print(f"{case.name:32s}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
