"""Time and memory of training with focal loss against the library's built-in objective.

Both train the same number of rounds on the same data with the same settings, in turns; the ratio is taken turn by turn
and its median reported with the quartiles, at gamma = 2 and at gamma = 0, where both objectives describe the same
trees. XGBoost trains by focal_boost's `train` and by its own `xgb.train(obj=)`. A further objective computes nothing
and hands over what was prepared before: the time that the library itself adds for any objective of one's own. Then the
same beside a process that computes all the time, the cost of a round that does not depend on the rows, and peak memory,
that of a process of its own for each. Prints the tables and writes them to results/training.md with a picture. Run with
nothing else going on:

    python benchmarks/training.py                          # 1e5, 1e6 and 1e7 rows, about 25 minutes on two cores
    python benchmarks/training.py --rows 100000 --seconds 10
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _report import RESULTS, in_turns, machine, markdown_table, save

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss

COLUMNS = 20
# By the number of rows: enough that what is done once a training does not count.
ROUNDS = {100_000: 20, 1_000_000: 10, 10_000_000: 2}
SETTINGS = {
    "xgboost": {"max_depth": 6, "learning_rate": 0.1, "tree_method": "hist", "min_child_weight": 0.0},
    "lightgbm": {"num_leaves": 31, "learning_rate": 0.1, "verbosity": -1, "min_sum_hessian_in_leaf": 0.0},
}


def draw(n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A table with signal in half of the columns; the rarest class has about 3 % of the rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, COLUMNS), dtype=np.float32)
    score = X[:, :10] @ rng.normal(size=10).astype(np.float32) + rng.logistic(size=n).astype(np.float32) * 2
    edges = [0.97] if n_classes == 2 else [0.45, 0.75, 0.9, 0.97]
    return X, np.digitize(score, np.quantile(score, edges))


class ReadyMade:
    """An objective without arithmetic: the derivatives at the start margin, in every round."""

    def __init__(self, focal: Callable, y: np.ndarray, start: np.ndarray | float, order: str) -> None:
        margins = np.broadcast_to(np.asarray(start, dtype=np.float32), (len(y), np.size(start)))
        margins = np.array(margins if np.size(start) > 1 else margins[:, 0], order=order)
        self.derivatives = focal(y, margins)

    def __call__(self, *_: object) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and curvature, whatever the margins."""
        return self.derivatives


WAYS = {
    "xgboost": ("built-in", "gamma 2", "gamma 0", "xgb.train(obj=)", "ready-made"),
    "lightgbm": ("built-in", "gamma 2", "gamma 0", "ready-made"),
}


def trainer(
    library: str, way: str, X: np.ndarray, y: np.ndarray, threads: int, **other_settings: Any
) -> Callable[[int], None]:
    """A call that trains a number of rounds, on data that were binned beforehand."""
    k = int(y.max()) + 1
    gamma = 0.0 if way == "gamma 0" else 2.0
    loss = BinaryFocalLoss(gamma) if k == 2 else MulticlassFocalLoss(k, gamma)
    start = loss.fit_intercept_only(y)
    settings = {**SETTINGS[library], **other_settings}
    if library == "xgboost":
        import xgboost as xgb

        from focal_boost.xgboost import FocalObjective, train

        focal = FocalObjective(loss, start, threads)
        data = xgb.QuantileDMatrix(X, y, nthread=threads)
        settings |= {"nthread": threads, **focal.params}
        ready_made = ReadyMade(focal, y, start, "C") if way == "ready-made" else None
        if way.startswith("gamma"):
            return lambda rounds: train(settings, data, rounds, obj=focal)
        obj = None if way == "built-in" else ready_made or focal
        return lambda rounds: xgb.train(settings, data, rounds, obj=obj)
    import lightgbm as lgb

    from focal_boost.lightgbm import FocalObjective as Objective

    data = lgb.Dataset(X, y, params={"verbosity": -1, "num_threads": threads}).construct()
    built_in = {"objective": "binary"} if k == 2 else {"objective": "multiclass", "num_class": k}
    own = built_in if way == "built-in" else Objective(loss, start, threads).params
    if way == "ready-made":
        own = {**built_in, "objective": ReadyMade(Objective(loss, None, threads), y, start, "F")}
    return lambda rounds: lgb.train({**settings, "num_threads": threads, **own}, data, rounds)


def peak_bytes(library: str, way: str, n: int, k: int, threads: int) -> float:
    """Peak memory of a process while it trains a few rounds; NaN where the system does not tell (only Linux does)."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    arguments = [library, way, str(n), str(k), str(threads)]
    done = subprocess.run([sys.executable, __file__, "--child", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def child(library: str, way: str, n: str, k: str, threads: str) -> None:
    X, y = draw(int(n), int(k))
    train = trainer(library, way, X, y, int(threads))
    del X
    # What counts is training, not the making of the data before it: Linux forgets the peak so far.
    Path("/proc/self/clear_refs").write_text("5")
    train(3)
    status = Path("/proc/self/status").read_text()
    print(json.dumps(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024))


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """A process beside this one that computes all the time, in one thread."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def label(library: str, k: int, n: int) -> str:
    return f"{library}, {'binary' if k == 2 else f'K = {k}'}, {n:,} rows"


def ratios(library: str, n: int, k: int, threads: int, seconds: float, ways: Sequence[str]) -> dict[str, np.ndarray]:
    """Seconds a round of each way in each turn, of at least five."""
    X, y = draw(n, k)
    calls = {way: trainer(library, way, X, y, threads) for way in ways}
    rounds = ROUNDS[min(ROUNDS, key=lambda size: abs(np.log(size / n)))]
    runs = {way: functools.partial(call, rounds) for way, call in calls.items()}
    times = in_turns(runs, 5, seconds)
    return {way: values / rounds for way, values in times.items()}


def spread(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3f} ({low:.2f}-{high:.2f})"


def times_table(options: argparse.Namespace, results: dict[str, dict[str, np.ndarray]]) -> str:
    rows = []
    for n, k, library in itertools.product(options.rows, options.classes, SETTINGS):
        ways = [way for way in WAYS[library] if n <= 1_000_000 or way in ("built-in", "gamma 2", "gamma 0")]
        times = ratios(library, n, k, options.threads, options.seconds, ways)
        results[label(library, k, n)] = times
        built_in = times["built-in"]
        cells = [spread(times[way] / built_in) if way in times else "" for way in WAYS["xgboost"][1:]]
        milliseconds = [f"{np.median(times[way]) * 1e3:.1f}" for way in ("built-in", "gamma 2")]
        rows.append([label(library, k, n), *milliseconds, *cells, str(len(built_in))])
        print(" ".join(rows[-1]), flush=True)
    header = ["", "built-in, ms a round", "gamma 2, ms a round", *WAYS["xgboost"][1:], "turns"]
    return markdown_table(header, rows)


def busy_table(options: argparse.Namespace) -> str:
    rows = []
    with neighbour():
        for n, k, library in itertools.product(options.rows, options.classes, SETTINGS):
            if n > 1_000_000:
                continue
            times = ratios(library, n, k, options.threads, options.seconds, ("built-in", "gamma 2"))
            milliseconds = [f"{np.median(values) * 1e3:.1f}" for values in times.values()]
            turns = str(len(times["built-in"]))
            rows.append([label(library, k, n), *milliseconds, spread(times["gamma 2"] / times["built-in"]), turns])
            print("busy:", " ".join(rows[-1]), flush=True)
    return markdown_table(["", "built-in, ms a round", "gamma 2, ms a round", "ratio", "turns"], rows)


def fixed_table(options: argparse.Namespace) -> str:
    """Microseconds a round on a table of 100 rows and one leaf or two a tree: what does not depend on the rows."""
    rows = []
    X, y = draw(100, 2)
    small = {"xgboost": {"max_depth": 1}, "lightgbm": {"num_leaves": 2}}
    for library in SETTINGS:
        ways = [way for way in WAYS[library] if way not in ("gamma 0", "ready-made")]
        calls = {way: trainer(library, way, X, y, 1, **small[library]) for way in ways}
        times = in_turns({way: functools.partial(call, 500) for way, call in calls.items()}, 9, options.seconds / 2)
        found = {way: float(np.median(values)) / 500 * 1e6 for way, values in times.items()}
        rows.append([library, *(f"{found[way]:.0f}" if way in found else "" for way in FIXED)])
        print("fixed:", " ".join(rows[-1]), flush=True)
    return markdown_table(["microseconds a round", *FIXED], rows)


FIXED = ("built-in", "gamma 2", "xgb.train(obj=)")


def memory_table(options: argparse.Namespace) -> str:
    rows = []
    for k, library in itertools.product(options.classes, SETTINGS):
        n = max(n for n in options.rows if n <= 1_000_000 or n == min(options.rows))
        ways = [way for way in WAYS[library] if way != "gamma 0"]
        peaks = {way: peak_bytes(library, way, n, k, options.threads) for way in ways}
        entries = n * (1 if k == 2 else k)
        extra = {way: (peak - peaks["built-in"]) / entries for way, peak in peaks.items()}
        cells = [f"{extra[way]:.1f}" if way in extra else "" for way in MEMORY]
        rows.append([label(library, k, n), *cells])
        print("memory:", " ".join(rows[-1]), flush=True)
    return markdown_table(["bytes a row and class", *MEMORY], rows)


MEMORY = ("gamma 2", "xgb.train(obj=)", "ready-made")


def picture(results: dict[str, dict[str, np.ndarray]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axis = plt.subplots(figsize=(9, 0.45 * len(results) + 1.5), constrained_layout=True)
    place = np.arange(len(results))
    for shift, way, colour, words in (
        (-0.2, "gamma 2", "#0072B2", "gamma 2"),
        (0.2, "gamma 0", "#56B4E9", "gamma 0: the same trees"),
    ):
        found = np.array([np.quantile(one[way] / one["built-in"], [0.25, 0.5, 0.75]) for one in results.values()])
        reach = np.abs(found[:, [0, 2]] - found[:, [1]]).T
        axis.barh(place + shift, found[:, 1], 0.38, xerr=reach, color=colour, label=words, ecolor="0.3")
    axis.axvline(1.0, color="black", linewidth=1)
    axis.set_yticks(place, list(results))
    axis.invert_yaxis()
    axis.set(xlabel="time of training, built-in objective = 1", title="Focal loss against the built-in objective")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=2, frameon=False)
    RESULTS.mkdir(exist_ok=True)
    fig.savefig(RESULTS / "training.png", dpi=120)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=40.0, help="of a case; at least five turns are taken")
    options = parser.parse_args()
    results: dict[str, dict[str, np.ndarray]] = {}
    text = [
        "# Training",
        f"Command: `python benchmarks/training.py {' '.join(sys.argv[1:])}`.".replace(" `.", "`."),
        machine(),
        f"{COLUMNS} columns, {options.threads} threads; median of the turns, quartiles in brackets, ratios to the "
        "built-in objective turn by turn. At gamma 0 both objectives lead to the same trees, so that only the cost of "
        "the objective differs; at gamma 2 the trees are others. `xgb.train(obj=)`: XGBoost's own function with the "
        "objective at gamma 2, for which it copies margins. Ready-made: an objective without arithmetic that hands "
        "over prepared arrays, that is, what the library itself adds for an objective of one's own.",
        times_table(options, results),
        "![training](training.png)",
        "Beside a process that computes all the time, in one thread:",
        busy_table(options),
        "A round without its rows: 100 rows, trees of two leaves, one thread.",
        fixed_table(options),
        "Peak memory beyond that of the built-in objective:",
        memory_table(options),
    ]
    picture(results)
    print("\n" + "\n\n".join(text))
    save("training", "\n\n".join(text))


if __name__ == "__main__":
    main()
