"""What FocalClassifierCV's race costs against the full grid, and what it loses.

For each table and library the rows are split in two halves (at most --rows for training): FocalClassifierCV chooses
gamma on one half, with racing and without; every fixed gamma is trained on the same half with the number of rounds
that its folds chose; all are judged by the log loss of their posteriors on the other half. Cost is the number of
boosting rounds trained and the time of the search (the last training apart, which is the same for both). Prints a
table and writes it to results/model_selection.md. Needs the folder of tables that FOCAL_BOOST_DATA names:

    python benchmarks/model_selection.py           # about 25 minutes on one core
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


def search(library: str, X: np.ndarray, y: np.ndarray, racing: bool) -> tuple[FocalClassifierCV, float]:
    """The fitted search and its seconds without the last training."""
    model = FocalClassifierCV(
        make_booster(library), gammas=GAMMAS, early_stopping_rounds=PATIENCE, racing=racing, n_jobs=1
    )
    start = time.perf_counter()
    model.fit(X, y)
    return model, time.perf_counter() - start - model.refit_time_


def compare(library: str, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> dict[str, Any]:
    def judge(model: Any) -> float:
        return log_loss(y_test, model.predict_proba(X_test), labels=np.unique(y))

    race, race_seconds = search(library, X, y, racing=True)
    full, full_seconds = search(library, X, y, racing=False)
    fixed = {}
    for i, gamma in enumerate(GAMMAS):
        splits = [full.cv_results_[f"split{j}_n_rounds"][i] for j in range(full.n_splits_)]
        booster = make_booster(library).set_params(n_estimators=int(np.median(splits) + 0.5))
        fixed[gamma] = judge(FocalClassifier(booster, gamma=gamma).fit(X, y))
    best = min(fixed.values())
    scores = full.cv_results_["mean_test_score"]
    chosen = GAMMAS.index(race.best_params_["gamma"])
    return {
        "rounds": race.cv_results_["n_rounds_trained"].sum() / full.cv_results_["n_rounds_trained"].sum(),
        "time": race_seconds / full_seconds,
        "race gamma": race.best_params_["gamma"],
        "grid gamma": full.best_params_["gamma"],
        "cv": scores[chosen] / scores.max(),
        "race": judge(race) / best,
        "grid": judge(full) / best,
        "zero": fixed[0] / best,
        "race/grid": judge(race) / judge(full),
        "best gamma": min(fixed, key=fixed.get),
        "verdict": race.verdict_,
    }


def summary(results: list[dict[str, Any]]) -> list[str]:
    def middle(name: str, text: str) -> str:
        values = np.array([r[name] for r in results])
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        mean = np.exp(np.log(values).mean())
        return (
            f"- {text}: median {median:.4f} ({low:.4f}-{high:.4f}), geometric mean {mean:.4f}, max {values.max():.4f}"
        )

    same = sum(r["race gamma"] == r["grid gamma"] for r in results)
    near = {name: sum(r[name] <= 1.01 for r in results) for name in ("race", "grid", "zero")}
    focal = sum(r["verdict"].startswith("gamma=") for r in results)
    return [
        middle("rounds", "rounds trained, race / full grid"),
        middle("time", "time, race / full grid"),
        f"- the race chose the gamma of the full grid in {same} of {len(results)} cases",
        middle("cv", "full-grid cross-validated log loss of the race's gamma / the best"),
        middle("race", "test log loss, race / best fixed gamma"),
        middle("grid", "test log loss, full grid / best fixed gamma"),
        middle("zero", "test log loss, gamma 0 / best fixed gamma"),
        middle("race/grid", "test log loss, race / full grid"),
        f"- within 1 % of the best fixed gamma: race {near['race']}, full grid {near['grid']}, always gamma 0 "
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
    header = ["", "rows", "rounds", "time", "race", "grid", "best on test", "test: race", "grid", "gamma 0"]
    lines, results = [], []
    cases = [(name, library) for name in tables for library in ("lightgbm", "xgboost")]
    work = (delayed(case)(Path(folder), name, library, rows) for name, library in cases)
    found = Parallel(options.jobs, return_as="generator")(work)
    for (name, library), (size, r) in zip(cases, tqdm(found, total=len(cases)), strict=True):
        results.append(r)
        figures = [f"{r[key]:.2f}" for key in ("rounds", "time")]
        gammas = [f"{r[key]:g}" for key in ("race gamma", "grid gamma", "best gamma")]
        losses = [f"{r[key]:.4f}" for key in ("race", "grid", "zero")]
        lines.append([f"{name}, {library}", f"{size:,}", *figures, *gammas, *losses])
        tqdm.write(" ".join(lines[-1]) + "  " + r["verdict"])
    table = markdown_table(header, lines)
    text = [
        "# Choosing gamma: the race against the full grid",
        f"Command: `python benchmarks/model_selection.py {' '.join(sys.argv[1:])}`.".replace(" `.", "`."),
        machine(),
        f"Gammas {', '.join(f'{gamma:g}' for gamma in GAMMAS)}; five folds; at most {MOST_ROUNDS} rounds, early "
        f"stopping after {PATIENCE}; learning rate 0.1, min_child_weight 1, reg_lambda 1. Rounds and time: race / full "
        "grid. Gammas that the race and the grid chose, and the best on the test rows. Test: log loss / that of the "
        "best fixed gamma.",
        table,
        "\n".join(summary(results)),
    ]
    print("\n" + "\n\n".join(text[4:]))
    save("model_selection_quick" if options.quick else "model_selection", "\n\n".join(text))


if __name__ == "__main__":
    main()
