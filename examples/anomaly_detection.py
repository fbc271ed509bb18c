"""Anomalies in the hundredths of a percent: how many are among the few rows that someone has time to look at.

    python examples/anomaly_detection.py
    python examples/anomaly_detection.py --budgets 20 200 --repeats 5

LightGBM at its defaults can run away on such tables: its log loss ends up worse than that of giving every row the same
probability. FocalClassifier starts from the best constant and bounds every leaf, for any gamma. Two more rows of the
report tell what the gain is due to: the same machinery with gamma 0, which is log loss, and the built-in objective with
settings that hold it back.
"""

from __future__ import annotations

import argparse

import numpy as np
from _data import SEED, Table, find_table, folds, hits_within, rare_frauds, row_log_loss
from lightgbm import LGBMClassifier

from focal_boost import FocalClassifier

TABLES = {"smtp_kdd": "Mail connections of KDD Cup 1999; positive: attacks."}
DEFAULTS = {"random_state": SEED, "n_jobs": 1, "verbosity": -1}
BUILT_IN, FOCAL, GAMMA_0, HELD_BACK = "built-in", "focal, gamma 1", "focal, gamma 0", "built-in, held back"
MODELS = {
    BUILT_IN: LGBMClassifier(**DEFAULTS),
    FOCAL: FocalClassifier(LGBMClassifier(**DEFAULTS), gamma=1.0),
    GAMMA_0: FocalClassifier(LGBMClassifier(**DEFAULTS), gamma=0.0),
    HELD_BACK: LGBMClassifier(learning_rate=0.05, min_child_weight=1, reg_lambda=1, **DEFAULTS),
}


def run(table: Table, n_folds: int, n_repeats: int, budgets: list[int]) -> dict[str, np.ndarray]:
    """Log loss, then positives within each budget, averaged over the test folds; for the models and for no model."""
    results: dict[str, list[list[float]]] = {name: [] for name in (*MODELS, "no model")}
    for train, test in folds(table, n_folds, n_repeats):
        y_test = table.y[test]
        probas = {"no model": np.full(len(test), table.y[train].mean())}
        for name, model in MODELS.items():
            model.fit(table.rows(train), table.y[train])
            probas[name] = model.predict_proba(table.rows(test))[:, 1]
        for name, proba in probas.items():
            hits = [hits_within(y_test, proba, budget) for budget in budgets]
            results[name].append([row_log_loss(y_test, proba).mean(), *hits])
    return {name: np.mean(rows, axis=0) for name, rows in results.items()}


def report(table: Table, n_folds: int, budgets: list[int], results: dict[str, np.ndarray]) -> str:
    columns = "".join(f"{f'found in {budget}':>15}" for budget in budgets)
    lines = [
        table.describe(),
        f"Means over test folds of about {len(table.y) // n_folds:,} rows and {table.y.sum() / n_folds:.1f} anomalies: "
        "log loss, and anomalies among the rows with the highest scores",
        "",
        f"{'LightGBM':<22}{'log loss':>12}{columns}",
    ]
    for name, (loss, *hits) in results.items():
        lines.append(f"{name:<22}{loss:>12.5f}" + "".join(f"{found:>15.1f}" for found in hits))
    return "\n".join([*lines, "", verdict(results)])


def verdict(results: dict[str, np.ndarray]) -> str:
    """Say in words what the numbers say."""
    loss = {name: row[0] for name, row in results.items()}
    lines = []
    for name in (BUILT_IN, FOCAL):
        ratio = loss[name] / loss["no model"]
        fate = "worse" if ratio > 1 else "better"
        lines.append(f"At LightGBM's defaults, {name} is {fate} than no model: {ratio:.3g} times its log loss.")
    if loss[GAMMA_0] <= 1.1 * loss[FOCAL] < 0.5 * loss[BUILT_IN]:
        lines.append("Gamma 0 does as well as gamma 1: the start and the bounded leaves matter here, not the focusing.")
    if loss[HELD_BACK] <= loss[FOCAL]:
        lines.append("Held back, the built-in log loss is as good as focal loss at defaults, or better.")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", type=int, nargs="+", default=[10, 50, 100], help="rows that can be looked at")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args(argv)
    table = find_table(TABLES, lambda: rare_frauds(12, 20_000))
    print(report(table, args.folds, args.budgets, run(table, args.folds, args.repeats, args.budgets)))


if __name__ == "__main__":
    main()
