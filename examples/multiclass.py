"""Several classes, some of them rare: the built-in softmax objective, focal loss, and focal loss with class weights.

    python examples/multiclass.py
    python examples/multiclass.py --gamma 1 --rounds 200

The same LightGBM settings for all three, every row judged by models that never saw it. Gamma and alpha act on training
only: all three predict class probabilities, so the log losses can be compared.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _data import SEED, Table, find_table, folds, kinds_of_fraud, row_log_loss
from lightgbm import LGBMClassifier
from sklearn.metrics import f1_score, recall_score

from focal_boost import FocalClassifier

TABLES = {
    "thyroid0387": "Diagnoses of thyroid disease.",
    "shuttle7": "States of the radiators of the space shuttle.",
}
N_FOLDS, N_RARE = 3, 4


def make_models(gamma: float, rounds: int) -> dict[str, Any]:
    booster = LGBMClassifier(
        n_estimators=rounds, min_child_weight=1, reg_lambda=1, random_state=SEED, n_jobs=1, verbosity=-1
    )
    return {
        "built-in": booster,
        "focal": FocalClassifier(booster, gamma=gamma),
        "focal, balanced": FocalClassifier(booster, gamma=gamma, alpha="balanced"),
    }


def judge(table: Table, models: dict[str, Any]) -> dict[str, np.ndarray]:
    """Class probabilities of each row, from models that never saw the row."""
    probas = {name: np.empty((len(table.y), table.y.max() + 1)) for name in models}
    for train, test in folds(table, N_FOLDS):
        for name, model in models.items():
            probas[name][test] = model.fit(table.rows(train), table.y[train]).predict_proba(table.rows(test))
    return probas


def report(table: Table, gamma: float, probas: dict[str, np.ndarray]) -> str:
    counts = np.bincount(table.y)
    rarest = np.argsort(counts, kind="stable")[:N_RARE]
    predicted = {name: proba.argmax(axis=1) for name, proba in probas.items()}
    recalls = {name: recall_score(table.y, labels, average=None) for name, labels in predicted.items()}
    scores = {
        "macro-F1": {name: f1_score(table.y, labels, average="macro") for name, labels in predicted.items()},
        "log loss": {name: row_log_loss(table.y, proba).mean() for name, proba in probas.items()},
        **{
            f"recall of {table.labels[label] if table.labels else label} ({counts[label]} rows)": {
                name: recalls[name][label] for name in probas
            }
            for label in rarest
        },
    }
    lines = [table.describe(), f"lightgbm, gamma {gamma:g}, {N_FOLDS} folds", ""]
    lines.append(f"{'metric':<34}" + "".join(f"{name:>18}" for name in probas))
    for metric, values in scores.items():
        lines.append(f"{metric:<34}" + "".join(f"{value:>18.3f}" for value in values.values()))
    best = {"macro-F1": max(probas, key=scores["macro-F1"].get), "log loss": min(probas, key=scores["log loss"].get)}
    return "\n".join([*lines, "", *(f"Best {metric}: {name}." for metric, name in best.items())])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    parser.add_argument("--rounds", type=int, default=100, help="boosting rounds (default 100)")
    args = parser.parse_args(argv)
    table = find_table(TABLES, kinds_of_fraud)
    print(report(table, args.gamma, judge(table, make_models(args.gamma, args.rounds))))


if __name__ == "__main__":
    main()
