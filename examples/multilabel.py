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
from _data import SEED, row_log_loss
from lightgbm import LGBMClassifier
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputClassifier
from xgboost import XGBClassifier

from focal_boost import FocalClassifier

SETTINGS = {"n_estimators": 60, "learning_rate": 0.1, "max_depth": 4, "random_state": SEED, "n_jobs": 1}
LABELS = ("has a loop", "is a prime", "is above 7")


def find_labels() -> tuple[np.ndarray, np.ndarray]:
    """Bundled digits, three questions about each."""
    X, digit = load_digits(return_X_y=True)
    return X, np.stack([np.isin(digit, (0, 6, 8, 9)), np.isin(digit, (2, 3, 5, 7)), digit > 7], axis=1).astype(int)


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


def probabilities(model: Any, X: np.ndarray) -> np.ndarray:
    """One probability a label, shape (n, K); MultiOutputClassifier gives a list of arrays (n, 2)."""
    proba = model.predict_proba(X)
    return np.stack([part[:, 1] for part in proba], axis=1) if isinstance(proba, list) else proba


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gamma", type=float, default=2.0, help="focusing parameter (default 2)")
    args = parser.parse_args(argv)
    X, Y = find_labels()
    X_train, X_test, Y_train, Y_test = train_test_split(X, Y, test_size=0.4, random_state=SEED)
    print(f"Digits of scikit-learn: {len(X):,} rows; labels and their shares: ", end="")
    print(", ".join(f"{name} {share:.0%}" for name, share in zip(LABELS, Y.mean(axis=0), strict=True)))
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
