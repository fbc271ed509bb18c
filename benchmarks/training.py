"""Time and memory of training with focal loss against the library's built-in objective.

Both train the same number of rounds on the same data with the same settings, in turns; the ratio is taken turn by turn
and its median reported, at gamma = 2 and at gamma = 0, where both objectives describe the same trees. A third objective
computes nothing and hands over what was prepared before: the time that the library itself adds for any objective of
one's own. Peak memory is that of a process of its own for each. Prints the table and writes it to results/training.md
with a picture. Run with nothing else going on:

    python benchmarks/training.py                          # 1e5 and 1e6 rows, about 15 minutes on two cores
    python benchmarks/training.py --rows 10000000          # hours for K = 5
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _report import RESULTS, in_turns, machine, markdown_table, save

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss

COLUMNS = 20
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


def trainer(
    library: str, objective: str, X: np.ndarray, y: np.ndarray, rounds: int, threads: int
) -> Callable[[], None]:
    """A call that trains, on data that were binned beforehand."""
    k = int(y.max()) + 1
    gamma = 0.0 if objective == "focal, gamma 0" else 2.0
    loss = BinaryFocalLoss(gamma) if k == 2 else MulticlassFocalLoss(k, gamma)
    start = loss.fit_intercept_only(y)
    settings = dict(SETTINGS[library])
    if library == "xgboost":
        import xgboost as xgb

        from focal_boost.xgboost import FocalObjective

        focal = FocalObjective(loss, start, threads)
        data = xgb.QuantileDMatrix(X, y, nthread=threads)
        settings |= {"nthread": threads, **focal.params}
        ready_made = ReadyMade(focal, y, start, "C") if objective == "ready-made" else None
        obj = None if objective == "built-in" else ready_made or focal
        return lambda: xgb.train(settings, data, rounds, obj=obj)
    import lightgbm as lgb

    from focal_boost.lightgbm import FocalObjective as Objective

    data = lgb.Dataset(X, y, params={"verbosity": -1, "num_threads": threads}).construct()
    built_in = {"objective": "binary"} if k == 2 else {"objective": "multiclass", "num_class": k}
    own = built_in if objective == "built-in" else Objective(loss, start, threads).params
    if objective == "ready-made":
        own = {**built_in, "objective": ReadyMade(Objective(loss, None, threads), y, start, "F")}
    return lambda: lgb.train({**settings, "num_threads": threads, **own}, data, rounds)


def peak_bytes(library: str, objective: str, n: int, k: int, threads: int) -> float:
    """Peak memory of a process while it trains a few rounds; NaN where the system does not tell (only Linux does)."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    arguments = [library, objective, str(n), str(k), str(threads)]
    done = subprocess.run([sys.executable, __file__, "--child", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def child(library: str, objective: str, n: str, k: str, threads: str) -> None:
    X, y = draw(int(n), int(k))
    train = trainer(library, objective, X, y, 3, int(threads))
    del X
    # What counts is training, not the making of the data before it: Linux forgets the peak so far.
    Path("/proc/self/clear_refs").write_text("5")
    train()
    status = Path("/proc/self/status").read_text()
    print(json.dumps(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024))


def measure(library: str, n: int, k: int, rounds: int, turns: int, threads: int) -> dict[str, float]:
    X, y = draw(n, k)
    names = ("built-in", "focal, gamma 2", "focal, gamma 0", "ready-made")
    calls = {name: trainer(library, name, X, y, rounds, threads) for name in names}
    times = in_turns(calls, turns, 0.0)
    built_in = times["built-in"]
    peaks = {name: peak_bytes(library, name, n, k, threads) for name in (names[0], names[1], names[3])}
    return {
        "built_in": float(np.median(built_in)) / rounds,
        "focal": float(np.median(times["focal, gamma 2"])) / rounds,
        "ratio": float(np.median(times["focal, gamma 2"] / built_in)),
        "ratio_low": float(np.quantile(times["focal, gamma 2"] / built_in, 0.25)),
        "ratio_high": float(np.quantile(times["focal, gamma 2"] / built_in, 0.75)),
        "ratio_zero": float(np.median(times["focal, gamma 0"] / built_in)),
        "ratio_ready": float(np.median(times["ready-made"] / built_in)),
        "bytes": (peaks["focal, gamma 2"] - peaks["built-in"]) / (n * (1 if k == 2 else k)),
        "bytes_ready": (peaks["ready-made"] - peaks["built-in"]) / (n * (1 if k == 2 else k)),
    }


def picture(labels: list[str], results: list[dict[str, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axis = plt.subplots(figsize=(9, 0.5 * len(labels) + 1.5), constrained_layout=True)
    place = np.arange(len(labels))
    axis.barh(place - 0.2, [r["ratio"] for r in results], 0.38, color="#0072B2", label="gamma 2")
    axis.barh(place + 0.2, [r["ratio_zero"] for r in results], 0.38, color="#56B4E9", label="gamma 0: the same trees")
    axis.axvline(1.0, color="black", linewidth=1)
    axis.set_yticks(place, labels)
    axis.invert_yaxis()
    axis.set(xlabel="time of training, built-in objective = 1", title="Focal loss against the built-in objective")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.08), ncols=2, frameon=False)
    RESULTS.mkdir(exist_ok=True)
    fig.savefig(RESULTS / "training.png", dpi=120)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    header = ["", "built-in, ms/round", "focal, ms/round", "ratio", "quartiles", "ratio at gamma 0", "ready-made"]
    header += ["extra bytes", "ready-made"]
    rows, results = [], []
    for n in options.rows:
        for k in options.classes:
            for library in SETTINGS:
                r = measure(library, n, k, options.rounds, options.turns, options.threads)
                results.append(r)
                label = f"{library}, {'binary' if k == 2 else f'K = {k}'}, {n:,} rows"
                rows.append(
                    [
                        label,
                        f"{r['built_in'] * 1e3:.1f}",
                        f"{r['focal'] * 1e3:.1f}",
                        f"{r['ratio']:.3f}",
                        f"{r['ratio_low']:.2f}-{r['ratio_high']:.2f}",
                        f"{r['ratio_zero']:.3f}",
                        f"{r['ratio_ready']:.3f}",
                        f"{r['bytes']:.1f}",
                        f"{r['bytes_ready']:.1f}",
                    ]
                )
                print(" ".join(rows[-1]), flush=True)
    table = markdown_table(header, rows)
    picture([row[0] for row in rows], results)
    text = [
        "# Training",
        f"Command: `python benchmarks/training.py {' '.join(sys.argv[1:])}`.".replace(" `.", "`."),
        machine(),
        f"{COLUMNS} columns, {options.rounds} rounds, {options.threads} threads, {options.turns} turns; medians, "
        "ratios turn by turn. Extra bytes: peak memory beyond that of the built-in objective, a row and class.",
        "At gamma 0 both objectives lead to the same trees, so that only the cost of the objective differs; at gamma 2 "
        "the trees are others. Ready-made: an objective without arithmetic that hands over prepared arrays, that is, "
        "what the library itself adds for an objective of one's own.",
        table,
        "![training](training.png)",
    ]
    print("\n" + table)
    save("training", "\n\n".join(text))


if __name__ == "__main__":
    main()
