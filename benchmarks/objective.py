"""Time of one objective call, in nanoseconds a row and class.

Compiled kernels, through the public method, against the NumPy kernels, the libraries' own log loss, the objectives of
other packages (see peers.py), and the time that a mere copy of the same bytes takes. Everything in a row of a table is
timed in turns; figures are medians. Prints the tables and writes them to results/objective.md with a picture. Run with
nothing else going on:

    python benchmarks/objective.py            # about eight minutes
    python benchmarks/objective.py --quick    # two minutes
    python benchmarks/objective.py --dry      # seconds; writes nothing, and its figures mean nothing
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import re
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from _report import RESULTS, copy_bandwidth, in_turns, machine, markdown_table, save
from peers import binary_peers, multiclass_peers

from focal_boost.kernels import is_compiled
from focal_boost.kernels import numpy as numpy_kernels
from focal_boost.losses import make_loss

CLASSES = (2, 3, 5, 10, 50)
# Columns of the table of losses, besides NumPy and the library.
LOSSES = {
    "gamma 1": {"gamma": 1.0},
    "gamma 2": {"gamma": 2.0},
    "gamma 1.5": {"gamma": 1.5},
    "one a class": {"gamma": "each"},
    "gamma 2, exact": {"gamma": 2.0, "hessian": "exact"},
    "focal link, gamma 2": {"gamma": 2.0, "link": "focal"},
    "focal link, gamma 1.5": {"gamma": 1.5, "link": "focal"},
}
HOST_ROUNDS = 10

Call = Callable[[], object]


def draw(n: int, k: int, library: str = "lightgbm") -> tuple[np.ndarray, np.ndarray]:
    """Labels and margins as a library has them."""
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 0.1 if k == 2 else rng.integers(0, k, n)).astype(np.float32)
    z = rng.normal(0.0, 3.0, n if k == 2 else (n, k))
    return y, z.astype(np.float32) if library == "xgboost" else np.asfortranarray(z)


def make(k: int, **parameters):
    if parameters["gamma"] == "each":
        parameters["gamma"] = np.linspace(1.0, 3.0, k)
    return make_loss(k, **parameters)


def outputs(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In single precision, which both libraries take, in the order of the margins."""
    return np.empty_like(z, np.float32), np.empty_like(z, np.float32)


def compiled(loss, y: np.ndarray, z: np.ndarray, n_threads: int = 1) -> Call:
    return partial(loss.gradient_hessian, y, z, None, *outputs(z), n_threads)


def in_numpy(loss, y: np.ndarray, z: np.ndarray) -> Call:
    return partial(numpy_kernels.run, "derivatives", loss._parameters, y, z, None, outputs(z))


def per_element(times: dict[str, np.ndarray], elements: int) -> dict[str, float]:
    return {name: float(np.median(values)) / elements * 1e9 for name, values in times.items()}


# ---------------------------------------------------------------------------------------------------------------------
# What the libraries' own log loss takes


def host_table(n: int) -> np.ndarray:
    """Features of which a tree is made in no time."""
    return np.random.default_rng(1).integers(0, 2, (n, 1)).astype(np.float32)


def xgboost_seconds(y: np.ndarray, z: np.ndarray, k: int, threads: int) -> Callable[[], float]:
    """A measurement of XGBoost's gradients: its own stopwatch around them, which it reports if it is asked to."""
    import xgboost as xgb

    data = xgb.DMatrix(host_table(len(y)), y, base_margin=z, nthread=threads)
    several = {"objective": "multi:softprob", "num_class": k}
    settings = {"max_depth": 1, "learning_rate": 0.0, "nthread": threads, "verbosity": 3}
    settings["objective"] = "binary:logistic"
    settings |= several if k > 2 else {}

    def measure() -> float:
        with contextlib.redirect_stdout(io.StringIO()) as said, xgb.config_context(verbosity=1):
            booster = xgb.Booster(settings, [data])
            for i in range(HOST_ROUNDS):
                booster.update(data, i)
            del booster  # reports as it goes
        seconds, calls = re.search(r"GetGradient: ([\d.e-]+)s, (\d+) calls", said.getvalue()).groups()
        return float(seconds) / int(calls)

    return measure


def lightgbm_seconds(y: np.ndarray, z: np.ndarray, k: int, threads: int) -> Callable[[], float]:
    """A measurement of LightGBM's gradients: a round with its objective less a round with gradients that are given."""
    import lightgbm as lgb

    settings = {"num_leaves": 2, "learning_rate": 1e-9, "num_threads": threads, "verbosity": -1}
    settings |= {"boost_from_average": False, "min_sum_hessian_in_leaf": 0.0}
    several = {"objective": "multiclass", "num_class": k}
    boosters = []
    for objective in ({"objective": "binary"} if k == 2 else several, several | {"objective": "none"}):
        if k == 2:
            objective.pop("num_class", None)
        data = lgb.Dataset(host_table(len(y)), y, init_score=z, params=settings)
        boosters.append(lgb.Booster(settings | objective, data))
    rng = np.random.default_rng(2)
    # Both gradients are read by the library as they lie.
    given = rng.normal(size=z.size).astype(np.float32), rng.uniform(0.1, 0.2, z.size).astype(np.float32)
    pointers = [values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for values in given]
    library, finished = lgb.basic._LIB, ctypes.c_int()

    def timed(function: Callable[..., int], *args: object) -> float:
        begin = time.perf_counter()
        failed = function(*args, ctypes.byref(finished))
        seconds = time.perf_counter() - begin
        if failed or finished.value:
            raise RuntimeError("LightGBM made no tree")
        return seconds

    def measure() -> float:
        own, ready = boosters
        differences = [
            timed(library.LGBM_BoosterUpdateOneIter, own._handle)
            - timed(library.LGBM_BoosterUpdateOneIterCustom, ready._handle, *pointers)
            for _ in range(HOST_ROUNDS)
        ]
        assert given is not None  # the arrays live as long as the pointers
        return float(np.median(differences))

    return measure


HOSTS = {"xgboost": xgboost_seconds, "lightgbm": lightgbm_seconds}


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def losses_table(library: str, entries: int, threads: int, turns: int) -> str:
    """All losses on margins of a library, its log loss, and the reference in NumPy."""
    rows = []
    for k in CLASSES:
        n = max(entries // (k if k > 2 else 1), 100)
        y, z = draw(n, k, library)
        host = HOSTS[library](y, z, k, threads)
        calls = {name: compiled(make(k, **of), y, z, threads) for name, of in LOSSES.items()}
        calls |= {"log loss": compiled(make(k, gamma=0.0), y, z, threads)}
        measured: list[float] = []
        # The library's measurement takes part in the turns, and brings its own time.
        times = in_turns({**calls, "host": lambda host=host, to=measured: to.append(host())}, turns, 0.0)
        figures = per_element(times | {"host": np.array(measured[1:])}, z.size)
        cells = [f"{value:.2f}" for value in figures.values()]
        if threads == 1:
            slow = per_element(in_turns({"": in_numpy(make(k, gamma=2.0), y, z)}, 2, 0.0), z.size)[""]
            cells.append(f"{slow:.1f}")
        rows.append(["binary" if k == 2 else f"K = {k}", *cells])
    precision = "float32, row-major" if library == "xgboost" else "float64, column-major"
    title = f"{precision}, {threads} thread" + "s" * (threads > 1)
    names = {"xgboost": "XGBoost", "lightgbm": "LightGBM"}
    header = [title, *LOSSES, "gamma 0", f"{names[library]}'s log loss"]
    return markdown_table([*header, "NumPy, gamma 2"] if threads == 1 else header, rows)


def peers_table(n: int, k: int, seconds: float) -> tuple[str, dict[str, float]]:
    """The paper's margins in double precision (what the peers work in), gamma 2, exact derivative, one thread."""
    y, z = draw(n, k)
    z = np.ascontiguousarray(z)
    wide = y.astype(np.float64)
    loss = make_loss(k, gamma=2.0, hessian="exact", link="focal")
    calls = {"focal_boost, compiled": compiled(loss, y, z), "focal_boost, NumPy kernels": in_numpy(loss, y, z)}
    peers = binary_peers() if k == 2 else multiclass_peers(k)
    calls |= {name: partial(peer, wide, z, 2.0) for name, peer in peers.items()}
    with np.errstate(all="ignore"):
        figures = per_element(in_turns(calls, 5, seconds), n)
    ours = next(iter(figures.values()))
    rows = [[name, f"{value:.2f}", f"{value / ours:.1f}"] for name, value in figures.items()]
    title = "binary" if k == 2 else f"K = {k}"
    return markdown_table([f"{title}, focal link, exact derivative", "ns/row", "times ours"], rows), figures


def sizes_table(sizes: list[int], bandwidth: float) -> tuple[str, list[tuple[int, float, float]]]:
    """Time against n, beside the copy of as many bytes: 4 of margin and 4 of label in, 4 + 4 out."""
    rows, curve = [], []
    for n in sizes:
        times = {}
        # One after the other: a turn of NumPy's temporaries would leave nothing of a small table in the caches.
        for k in (2, 5):
            y, z = draw(n, k, "xgboost")
            times[k] = in_turns({"": compiled(make_loss(k, gamma=2.0), y, z)}, 5, 0.5)[""]
        y, z = draw(n, 2, "xgboost")
        slow = in_turns({"": in_numpy(make_loss(2, gamma=2.0), y, z)}, 2, 0.0)[""]
        microseconds = [float(np.median(times[k])) * 1e6 for k in times]
        per_row = [value / n * 1e3 for value in (*microseconds, float(np.median(slow)) * 1e6)]
        curve.append((n, per_row[0], per_row[2]))
        cells = [f"{value:,.1f}" for value in microseconds] + [f"{value:.2f}" for value in per_row]
        rows.append([f"{n:,}", *cells, f"{16 / bandwidth * 1e9:.2f}"])
    header = ["rows", "microseconds a call", "K = 5", "ns/row", "K = 5", "NumPy kernels", "copy of the same bytes"]
    return markdown_table(header, rows), curve


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
    right.set(xlabel="ns a row", title="Binary, focal link, exact derivative, gamma 2, one thread")
    right.margins(x=0.12)
    RESULTS.mkdir(exist_ok=True)
    fig.savefig(RESULTS / "objective.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows and turns")
    parser.add_argument("--dry", action="store_true", help="only see that everything runs")
    options = parser.parse_args()
    if not is_compiled():
        parser.error("the compiled kernels are not there, or FOCAL_BOOST_KERNELS=numpy is set")
    quick, dry = options.quick or options.dry, options.dry
    n = 5_000 if dry else 300_000 if quick else 1_000_000
    turns = 2 if dry else 5 if quick else 11
    bandwidth = copy_bandwidth(1 << 20 if dry else 1 << 29)
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

    parts.append(
        "Nanoseconds a row and class (binary: a row); margins as either library has them, float32 results; expected "
        "curvature and the logit link where nothing else is said. What a library takes for its own log loss: XGBoost's "
        "stopwatch around its gradients; of LightGBM the difference of rounds with its objective and with gradients "
        "that are given."
    )
    for threads in (1, 2):
        for library in HOSTS:
            add(losses_table(library, n, threads, turns))
    table, curve = sizes_table([10**e for e in range(3, 5 if dry else 7 if quick else 8)], bandwidth)
    add(table)
    table, peers = peers_table(n, 2, 0.0 if dry else 5.0)
    add(table)
    add(peers_table(n // 5, 5, 0.0 if dry else 2.0)[0])
    if not dry:
        picture(curve, peers, 16 / bandwidth * 1e9)
        save("objective", "\n\n".join([*parts, "![objective](objective.png)"]))


if __name__ == "__main__":
    main()
