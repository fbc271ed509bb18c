"""Labels between 0 and 1: several annotators who disagree, or label smoothing.

    python examples/soft_labels.py
    python examples/soft_labels.py --annotators 3 --error 0.3

A binary label t in [0, 1] is the share of annotators who said yes; its loss is t times that of a yes plus 1 - t times
that of a no. Both libraries take such labels through their own ``train``. Soft labels of more than two classes have no
such form: give each row once for each class with the share as its weight (`one_row_a_class`), which holds for every
loss and library.
"""

from __future__ import annotations

import argparse

import lightgbm as lgb
import numpy as np
import xgboost as xgb
from _data import SEED, rare_frauds, row_log_loss
from sklearn.model_selection import train_test_split

import focal_boost.lightgbm
import focal_boost.xgboost
from focal_boost import BinaryFocalLoss

ROUNDS = 80
XGBOOST = {"learning_rate": 0.1, "max_depth": 4, "nthread": 1, "seed": SEED}
LIGHTGBM = {"learning_rate": 0.1, "num_leaves": 15, "num_threads": 1, "seed": SEED, "verbosity": -1}


def annotate(y: np.ndarray, n_annotators: int, error: float) -> np.ndarray:
    """Share of annotators who said yes; each is wrong with probability `error`."""
    wrong = np.random.default_rng(SEED).random((len(y), n_annotators)) < error
    return np.where(wrong, 1 - y[:, None], y[:, None]).mean(axis=1)


def one_row_a_class(X: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, classes and weights that stand for soft labels of shape (n, K), without the entries that are 0."""
    row, label = np.nonzero(shares)
    return X[row], label, shares[row, label]


def with_xgboost(loss: BinaryFocalLoss, X: np.ndarray, t: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    objective = focal_boost.xgboost.FocalObjective(loss, loss.fit_intercept_only(t))
    booster = xgb.train({**XGBOOST, **objective.params}, xgb.DMatrix(X, t), ROUNDS, obj=objective)
    return booster.predict(xgb.DMatrix(X_test))


def with_lightgbm(loss: BinaryFocalLoss, X: np.ndarray, t: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    objective = focal_boost.lightgbm.FocalObjective(loss, loss.fit_intercept_only(t))
    booster = lgb.train({**LIGHTGBM, **objective.params}, lgb.Dataset(X, t), ROUNDS)
    return objective.portable(booster).predict(X_test)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotators", type=int, default=5, help="opinions a row (default 5)")
    parser.add_argument("--error", type=float, default=0.2, help="share of wrong opinions (default 0.2)")
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    args = parser.parse_args(argv)
    table = rare_frauds(400, 4000)
    X, X_test, y, y_test = train_test_split(
        table.X.to_numpy(), table.y, test_size=0.4, stratify=table.y, random_state=SEED
    )
    t, t_test = (annotate(part, args.annotators, args.error) for part in (y, y_test))
    labels = {
        "one annotator": annotate(y, 1, args.error),
        "majority": (t > 0.5).astype(float),
        "share who said yes": t,
        "majority, smoothed by 0.1": 0.05 + 0.9 * (t > 0.5),
    }
    loss = BinaryFocalLoss(gamma=args.gamma)
    print(table.describe())
    print(f"{args.annotators} annotators, each wrong in {args.error:.0%} of the rows; new rows are judged by others\n")
    print(f"{'labels to train on':<28}{'log loss against the shares of new rows':>40}")
    print(f"{'':<28}{'XGBoost':>28}{'LightGBM':>12}")
    for name, label in labels.items():
        losses = []
        for fit in (with_xgboost, with_lightgbm):
            proba = fit(loss, X, label, X_test)
            both = [row_log_loss(np.full(len(proba), answer), proba) for answer in (1, 0)]
            losses.append(np.mean(t_test * both[0] + (1 - t_test) * both[1]))
        print(f"{name:<28}{losses[0]:>28.4f}{losses[1]:>12.4f}")


if __name__ == "__main__":
    main()
