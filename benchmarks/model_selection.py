"""What FocalClassifierCV finds, and what it costs.

For each table and library the rows are split in two halves (at most --rows for training): FocalClassifierCV chooses
gamma on one half, by both of its rules; every gamma is trained on the same half with the number of rounds that its
folds chose; all are judged by the log loss of their probabilities on the other half. Cost is the time of the search, in
trainings of gamma 0. Prints a table and writes it to results/model_selection.md. Needs the folder of tables that
FOCAL_BOOST_DATA names:

    python benchmarks/model_selection.py           # about three minutes on one core
    python benchmarks/model_selection.py --quick   # four tables, 1,500 rows each
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _report import machine, markdown_table, save
from joblib import Parallel, delayed
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from focal_boost import FocalClassifier, FocalClassifierCV
from focal_boost._search_results import choose

GAMMAS, PATIENCE, MOST_ROUNDS, SEED = (0, 0.5, 1, 2, 5), 50, 500, 0
TABLES = (
    "mammography",
    "adult",
    "htru2",
    "credit_default_tw",
    "annthyroid",
    "creditcard_ulb_sub",
    "phoneme",
    "jm1",
    "bank_additional",
    "telco_churn",
    "coil2000",
    "page_blocks",
    "thyroid0387",
    "ctg10",
)
QUICK = ("mammography", "phoneme", "ctg10", "page_blocks")


def make_booster(library: str) -> Any:
    settings = {"n_estimators": MOST_ROUNDS, "learning_rate": 0.1, "min_child_weight": 1, "reg_lambda": 1, "n_jobs": 1}
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(**settings, verbosity=-1)
    from xgboost import XGBClassifier

    return XGBClassifier(**settings)


def halves(folder: Path, name: str, rows: int) -> tuple[np.ndarray, ...]:
    """Features and labels to choose on and to judge by; classes with too few rows for ten folds are left out."""
    with np.load(folder / f"{name}.npz") as table:
        X, y = table["X"], table["y"].astype(np.int64)
    keep = np.bincount(y)[y] >= 20
    X, y = X[keep], np.unique(y[keep], return_inverse=True)[1]
    rest = len(y) - min(len(y) // 2, rows)
    X, X_test, y, y_test = train_test_split(X, y, test_size=rest, stratify=y, random_state=SEED)
    return X, y, X_test[: 4 * rows], y_test[: 4 * rows]


def compare(library: str, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> dict[str, Any]:
    search = FocalClassifierCV(make_booster(library), gammas=GAMMAS, early_stopping_rounds=PATIENCE, n_jobs=1)
    start = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - start
    results = search.cv_results_
    losses = {}
    for gamma, rounds in zip(GAMMAS, results["n_rounds"], strict=True):
        start = time.perf_counter()
        model = FocalClassifier(make_booster(library).set_params(n_estimators=int(rounds)), gamma=gamma).fit(X, y)
        if gamma == 0:
            training = time.perf_counter() - start
        losses[gamma] = log_loss(y_test, model.predict_proba(X_test), labels=np.unique(y))
    scores = np.array([results[f"split{j}_test_score"] for j in range(search.n_splits_)]).T
    chosen = {rule: GAMMAS[choose(scores, results["params"], rule)] for rule in ("best", "simplest")}
    lowest = min(losses.values())
    return {
        "time": seconds / training,
        **{f"{rule} gamma": gamma for rule, gamma in chosen.items()},
        "test gamma": min(losses, key=losses.get),
        **{rule: losses[gamma] / lowest for rule, gamma in chosen.items()},
        "zero": losses[0] / lowest,
        "verdict": search.verdict_,
    }


def summary(results: list[dict[str, Any]]) -> list[str]:
    def middle(name: str, text: str) -> str:
        values = np.array([r[name] for r in results])
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        mean = np.exp(np.log(values).mean())
        return (
            f"- {text}: median {median:.4f} ({low:.4f}-{high:.4f}), geometric mean {mean:.4f}, max {values.max():.4f}"
        )

    near = {name: sum(r[name] <= 1.01 for r in results) for name in ("best", "simplest", "zero")}
    focal = sum(r["verdict"].startswith("gamma=") for r in results)
    return [
        middle("time", "time of the search, in trainings of gamma 0"),
        middle("best", "test log loss, rule best / best fixed gamma"),
        middle("simplest", "test log loss, rule simplest / best fixed gamma"),
        middle("zero", "test log loss, gamma 0 / best fixed gamma"),
        f"- within 1 % of the best fixed gamma: rule best {near['best']}, simplest {near['simplest']}, always gamma 0 "
        f"{near['zero']} of {len(results)} (the best fixed gamma is known only from the test rows)",
        f"- verdict for focal loss (p < .05): {focal} of {len(results)}",
    ]


def case(folder: Path, name: str, library: str, rows: int) -> tuple[int, dict[str, Any]]:
    """Rows to choose on, and the comparison on one table with one library."""
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    data = halves(folder, name, rows)
    return len(data[1]), compare(library, *data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=None)
    parser.add_argument("--rows", type=int, default=4000, help="rows to choose on, at most")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time; their times then disturb each other")
    options = parser.parse_args()
    folder = os.environ.get("FOCAL_BOOST_DATA")
    if not folder:
        parser.error("FOCAL_BOOST_DATA is not set: it names the folder of the evaluation tables")
    tables = options.tables or (QUICK if options.quick else TABLES)
    rows = min(options.rows, 1500) if options.quick else options.rows
    header = ["", "rows", "time", "best", "simplest", "best on test", "test: best", "simplest", "gamma 0"]
    lines, results = [], []
    cases = [(name, library) for name in tables for library in ("lightgbm", "xgboost")]
    work = (delayed(case)(Path(folder), name, library, rows) for name, library in cases)
    found = Parallel(options.jobs, return_as="generator")(work)
    for (name, library), (size, r) in zip(cases, tqdm(found, total=len(cases)), strict=True):
        results.append(r)
        gammas = [f"{r[key]:g}" for key in ("best gamma", "simplest gamma", "test gamma")]
        losses = [f"{r[key]:.4f}" for key in ("best", "simplest", "zero")]
        lines.append([f"{name}, {library}", f"{size:,}", f"{r['time']:.0f}", *gammas, *losses])
        tqdm.write(" ".join(lines[-1]) + "  " + r["verdict"])
    table = markdown_table(header, lines)
    text = [
        "# Choosing gamma: what the search finds and costs",
        f"Command: `python benchmarks/model_selection.py {' '.join(sys.argv[1:])}`.".replace(" `.", "`."),
        machine(),
        f"Gammas {', '.join(f'{gamma:g}' for gamma in GAMMAS)}; five folds; at most {MOST_ROUNDS} rounds, early "
        f"stopping after {PATIENCE}; learning rate 0.1, min_child_weight 1, reg_lambda 1. Time: of the search, in "
        "trainings of gamma 0. Gammas that the two rules chose, and the best on the test rows. Test: log loss / that "
        "of the best fixed gamma.",
        table,
        "\n".join(summary(results)),
    ]
    print("\n" + "\n\n".join(text[4:]))
    save("model_selection_quick" if options.quick else "model_selection", "\n\n".join(text))


if __name__ == "__main__":
    main()
