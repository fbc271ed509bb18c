"""Several labels a row, each yes or no, with XGBoost: one tree a label, or vector leaves that all labels share.

    python examples/multilabel.py
    python examples/multilabel.py --gamma 1

A row may have any number of the labels at once. The focal loss is that of each label, so is the start margin, and the
probability of each label is comparable with that of the built-in objective. LightGBM trains one label a row:
there, and where each label wants class weights of its own, MultiOutputClassifier trains a model a label.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from _data import SEED, row_log_loss, some_payments
from lightgbm import LGBMClassifier
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputClassifier
from xgboost import XGBClassifier

from focal_boost import FocalClassifier

SETTINGS = {"n_estimators": 60, "learning_rate": 0.1, "max_depth": 4, "random_state": SEED, "n_jobs": 1}


def find_labels() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Payments, and for each kind of fraud whether a payment is one: a stolen card can meet a bad terminal."""
    table, kinds = some_payments(6000, 600)
    return table.X, kinds.astype(int)


def make_models(gamma: float) -> dict[str, Any]:
    shared = {**SETTINGS, "multi_strategy": "multi_output_tree"}
    return {
        "built-in, a tree a label": XGBClassifier(**SETTINGS),
        "focal, a tree a label": FocalClassifier(XGBClassifier(**SETTINGS), gamma=gamma),
        "built-in, vector leaves": XGBClassifier(**shared),
        "focal, vector leaves": FocalClassifier(XGBClassifier(**shared), gamma=gamma),
        "focal, LightGBM, a model a label": MultiOutputClassifier(
            FocalClassifier(LGBMClassifier(verbosity=-1, **SETTINGS), gamma=gamma, alpha="balanced")
        ),
    }


def probabilities(model: Any, X: pd.DataFrame) -> np.ndarray:
    """One probability a label, shape (n, K); MultiOutputClassifier gives a list of arrays (n, 2)."""
    proba = model.predict_proba(X)
    return np.stack([part[:, 1] for part in proba], axis=1) if isinstance(proba, list) else proba


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    args = parser.parse_args(argv)
    X, Y = find_labels()
    X_train, X_test, Y_train, Y_test = train_test_split(X, Y.to_numpy(), test_size=0.4, random_state=SEED)
    print(f"Simulated payments: {len(X):,} rows; labels and their shares: ", end="")
    print(", ".join(f"{name} {share:.1%}" for name, share in Y.mean().items()))
    print(f"\n{'':<34}{'log loss':>10}{'all right':>12}   average precision by label")
    for name, model in make_models(args.gamma).items():
        model.fit(X_train, Y_train)
        proba = probabilities(model, X_test)
        loss = np.mean([row_log_loss(y, p).mean() for y, p in zip(Y_test.T, proba.T, strict=True)])
        precision = average_precision_score(Y_test, proba, average=None)
        right = np.mean((model.predict(X_test) == Y_test).all(axis=1))
        print(f"{name:<34}{loss:>10.4f}{right:>12.1%}   " + "".join(f"{value:>8.3f}" for value in precision))


if __name__ == "__main__":
    main()
