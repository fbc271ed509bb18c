"""Time of one objective call, in nanoseconds a row and class.

Compiled kernels against NumPy kernels, against the objectives of other packages (see peers.py), and against the time
that a mere copy of the same bytes takes. Everything in a row of a table is timed in turns; figures are medians.
Prints the tables and writes them to results/objective.md with a picture. Run with nothing else going on:

    python benchmarks/objective.py            # about ten minutes
    python benchmarks/objective.py --quick    # two minutes
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from _report import RESULTS, copy_bandwidth, in_turns, machine, markdown_table, save
from peers import binary_peers, multiclass_peers

from focal_boost import BinaryFocalLoss
from focal_boost.kernels import numpy as numpy_kernels

try:
    from focal_boost.kernels import native as native_kernels
except ImportError:
    native_kernels = None

CLASSES = (2, 5, 20, 100)
GAMMAS = (2.0, 1.5)
REPEAT = 5


def binary_call(kernels, y, z, gamma, expected, n_threads=1) -> Callable[[], None]:
    g, h = np.empty(len(z), np.float32), np.empty(len(z), np.float32)
    return partial(kernels.binary_gradient_hessian, y, z, None, gamma, (1.0, 1.0), expected, 8.0, 1.0, g, h, n_threads)


def multiclass_call(kernels, y, z, gamma, expected, n_threads=1) -> Callable[[], None]:
    g, h = np.empty(z.shape, np.float32, order="F"), np.empty(z.shape, np.float32, order="F")
    if z.flags.c_contiguous:
        g, h = np.empty(z.shape, np.float32), np.empty(z.shape, np.float32)
    w = np.ones(z.shape[1])
    return partial(kernels.multiclass_gradient_hessian, y, z, None, gamma, w, expected, 8.0, 1.0, g, h, n_threads)


def per_element(times: dict[str, np.ndarray], elements: int) -> dict[str, float]:
    return {name: float(np.median(values)) / elements * 1e9 for name, values in times.items()}


def draw(n: int, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    if k == 1:
        return (rng.random(n) < 0.1).astype(np.float32), rng.normal(0.0, 3.0, n)
    return rng.integers(0, k, n).astype(np.float32), rng.normal(0.0, 3.0, (n, k))


def peers_table(n: int) -> tuple[str, dict[str, float]]:
    """Binary, gamma = 2, float64 margins (what the peers work in), one thread."""
    y, z = draw(n)
    wide = y.astype(np.float64)
    calls = {"focal_boost, NumPy kernels": binary_call(numpy_kernels, y, z, 2.0, False)}
    if native_kernels:
        calls = {"focal_boost, compiled": binary_call(native_kernels, y, z, 2.0, False), **calls}
    calls |= {name: partial(peer, wide, z, 2.0) for name, peer in binary_peers().items()}
    with np.errstate(all="ignore"):
        figures = per_element(in_turns(calls, REPEAT, 5.0), n)
    ours = next(iter(figures.values()))
    rows = [[name, f"{value:.2f}", f"{value / ours:.1f}"] for name, value in figures.items()]
    return markdown_table(["binary, exact derivative", "ns/row", "times ours"], rows), figures


def multiclass_peers_table(n: int, k: int) -> str:
    y, z = draw(n, k)
    wide = y.astype(np.float64)
    calls = {"focal_boost, NumPy kernels": multiclass_call(numpy_kernels, y, z, 2.0, False)}
    if native_kernels:
        calls = {"focal_boost, compiled": multiclass_call(native_kernels, y, z, 2.0, False), **calls}
    calls |= {name: partial(peer, wide, z, 2.0) for name, peer in multiclass_peers(k).items()}
    with np.errstate(all="ignore"):
        figures = per_element(in_turns(calls, REPEAT, 2.0), n)
    ours = next(iter(figures.values()))
    rows = [[name, f"{value:.1f}", f"{value / ours:.1f}"] for name, value in figures.items()]
    return markdown_table([f"K = {k}, exact derivative", "ns/row", "times ours"], rows)


def dtypes_table(n: int) -> str:
    y, z = draw(n)
    rows = []
    for dtype in (np.float32, np.float64):
        for gamma in GAMMAS:
            for expected in (False, True):
                margins = z.astype(dtype)
                calls = {
                    str(threads): binary_call(native_kernels, y, margins, gamma, expected, threads)
                    for threads in (1, 2)
                }
                times = in_turns(calls, REPEAT, 2.0)
                figures = per_element(times, n)
                speedup = float(np.median(times["1"] / times["2"]))
                kind = "expected" if expected else "exact"
                rows.append(
                    [
                        f"{np.dtype(dtype)}, gamma {gamma:g}, {kind}",
                        f"{figures['1']:.2f}",
                        f"{figures['2']:.2f}",
                        f"{speedup:.2f}",
                    ]
                )
    return markdown_table([f"binary, {n:,} rows", "1 thread", "2 threads", "speed-up"], rows)


def sizes_table(sizes: list[int], bandwidth: float) -> tuple[str, list[tuple[int, float, float]]]:
    """Time against n, beside the copy of as many bytes: 4 of margin and 4 of label in, 4 + 4 out."""
    rows, curve = [], []
    for n in sizes:
        y, z = draw(n)
        margins = z.astype(np.float32)
        g, h = np.empty(n, np.float32), np.empty(n, np.float32)
        # one after the other: a turn of NumPy's temporaries would leave nothing of a small table in the caches
        times = in_turns({"public": partial(BinaryFocalLoss().gradient_hessian, y, margins, None, g, h)}, REPEAT, 1.0)
        times |= in_turns({"numpy": binary_call(numpy_kernels, y, margins, 2.0, True)}, REPEAT, 0.0)
        figures = per_element(times, n)
        bound = 16 / bandwidth * 1e9
        curve.append((n, figures["public"], figures["numpy"]))
        microseconds = float(np.median(times["public"])) * 1e6
        rows.append(
            [f"{n:,}", f"{microseconds:,.1f}", f"{figures['public']:.2f}", f"{figures['numpy']:.1f}", f"{bound:.2f}"]
        )
    header = ["rows", "microseconds a call", "ns/row", "NumPy kernels", "copy of the same bytes"]
    return markdown_table(header, rows), curve


def classes_table(entries: int) -> str:
    rows = []
    for k in CLASSES:
        for order in ("C", "F"):
            y, z = draw(max(entries // k, 1000), k)
            z = np.asarray(z, dtype=np.float32, order=order)
            cells = []
            for gamma in GAMMAS:
                calls = {
                    kind: multiclass_call(native_kernels, y, z, gamma, kind == "expected")
                    for kind in ("exact", "expected")
                }
                cells += [f"{value:.2f}" for value in per_element(in_turns(calls, REPEAT, 1.0), z.size).values()]
            slow = per_element(in_turns({"numpy": multiclass_call(numpy_kernels, y, z, 2.0, True)}, 2, 0), z.size)
            rows.append([f"K = {k}, {'row' if order == 'C' else 'column'}-major", *cells, f"{slow['numpy']:.1f}"])
    header = ["float32", *(f"gamma {g:g}, {kind}" for g in GAMMAS for kind in ("exact", "expected")), "NumPy, expected"]
    return markdown_table(header, rows)


def picture(curve: list[tuple[int, float, float]], peers: dict[str, float], bound: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), constrained_layout=True)
    n, ours, numpy = (np.array(column) for column in zip(*curve, strict=True))
    left.loglog(n, numpy, "s--", color="#D55E00", label="NumPy kernels")
    left.loglog(n, ours, "o-", color="#0072B2", label="compiled, through the public method")
    left.axhline(bound, color="0.5", linestyle=":", label="copy of the same bytes")
    left.set(xlabel="rows", ylabel="ns a row", title="Binary, expected curvature, gamma 2, one thread")
    left.legend()
    left.grid(alpha=0.3)
    names = list(peers)
    right.barh(names, list(peers.values()), color=["#0072B2" if "compiled" in name else "#999999" for name in names])
    right.invert_yaxis()
    right.bar_label(right.containers[0], fmt="%.1f", padding=3)
    right.set(xlabel="ns a row", title="Binary, exact derivative, gamma 2, one thread")
    right.margins(x=0.12)
    RESULTS.mkdir(exist_ok=True)
    fig.savefig(RESULTS / "objective.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    quick = parser.parse_args().quick
    n = 300_000 if quick else 1_000_000
    bandwidth = copy_bandwidth()
    parts = [
        "# One objective call",
        "Command: `python benchmarks/objective.py" + (" --quick`" if quick else "`") + ". Medians, in turns.",
        machine(),
        f"Copying: {bandwidth / 1e9:.1f} GB/s, read and write, one thread.",
    ]
    print("\n".join(parts))

    def add(table: str) -> None:
        print("\n" + table, flush=True)
        parts.append(table)

    table, peers = peers_table(n)
    add(table)
    add(multiclass_peers_table(n // 5, 5))
    sizes = [10**e for e in range(3, 7 if quick else 8)]
    table, curve = sizes_table(sizes, bandwidth)
    add(table)
    if native_kernels:
        add(dtypes_table(2 * n))
        parts.append("Nanoseconds a row and class:")
        add(classes_table(n))
    picture(curve, peers, 16 / bandwidth * 1e9)
    save("objective", "\n\n".join([*parts, "![objective](objective.png)"]))


if __name__ == "__main__":
    main()
