"""From probabilities to decisions: thresholds for a cost matrix and for a fixed number of alerts a day.

    python examples/cost_threshold.py
    python examples/cost_threshold.py --miss 500 --alarm 5 --budget 0.05

Three thresholds for costs: 0.5, which ignores them; the one of decision theory, alarm / (alarm + miss), which is right
if the probabilities are; and the one that TunedThresholdClassifierCV finds by cross-validation. FocalClassifier
predicts probabilities whatever gamma and alpha are, which makes the second an honest candidate. An alert budget is a
limit on the share of rows that may be flagged: there is no formula, and TunedThresholdClassifierCV maximises what is
found within it.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _data import SEED, find_table, rare_frauds
from lightgbm import LGBMClassifier
from sklearn.metrics import make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    train_test_split,
)

from focal_boost import FocalClassifier

TABLES = {"creditcard_ulb_sub": "Card payments; positive: fraud."}
SETTINGS = {"n_estimators": 100, "learning_rate": 0.05, "num_leaves": 15, "random_state": SEED, "n_jobs": 1}
N_FOLDS = 5


def cost(y_true: np.ndarray, flagged: np.ndarray, miss: float, alarm: float) -> float:
    """Mean cost of a row: `miss` for a positive that is not flagged, `alarm` for a flag of any other row."""
    return float(np.mean(miss * (y_true & ~flagged.astype(bool)) + alarm * (flagged.astype(bool) & ~y_true)))


def found_within(y_true: np.ndarray, flagged: np.ndarray, budget: float) -> float:
    """Share of positives flagged; below 0, and the lower the more is flagged, beyond the budget."""
    share = float(np.mean(flagged))
    if share > budget:
        return -share
    return float(flagged[y_true.astype(bool)].mean())


def tune(model: Any, scorer: Any, X: Any, y: np.ndarray) -> TunedThresholdClassifierCV:
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    # As many thresholds as it takes to tell rare scores apart.
    tuned = TunedThresholdClassifierCV(model, scoring=scorer, cv=folds, thresholds=400, response_method="predict_proba")
    return tuned.fit(X, y)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--miss", type=float, default=100.0, help="cost of a positive that is not flagged (default 100)"
    )
    parser.add_argument("--alarm", type=float, default=5.0, help="cost of looking in vain (default 5)")
    parser.add_argument("--budget", type=float, default=0.02, help="largest share of rows to flag (default 0.02)")
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    args = parser.parse_args(argv)
    table = find_table(TABLES, lambda: rare_frauds(300))
    y = table.y.astype(bool)
    train, test = train_test_split(np.arange(len(y)), test_size=0.4, stratify=y, random_state=SEED)
    X_train, X_test = table.rows(train), table.rows(test)
    model = FocalClassifier(LGBMClassifier(verbosity=-1, **SETTINGS), gamma=args.gamma).fit(X_train, y[train])
    bayes = args.alarm / (args.alarm + args.miss)
    by_cost = make_scorer(cost, greater_is_better=False, miss=args.miss, alarm=args.alarm)
    by_budget = make_scorer(found_within, budget=args.budget)
    tuned = tune(model, by_cost, X_train, y[train])
    within = tune(model, by_budget, X_train, y[train])
    rules = {
        "threshold 0.5": fixed(model, 0.5),
        f"alarm / (alarm + miss) = {bayes:.3f}": fixed(model, bayes),
        f"tuned for cost, {tuned.best_threshold_:.3f}": tuned,
        f"tuned for the budget, {within.best_threshold_:.3f}": within,
    }
    print(table.describe())
    print(
        f"A positive missed costs {args.miss:g}, an alarm in vain {args.alarm:g}; budget: {args.budget:.1%} flagged\n"
    )
    print(f"{'rule':<42}{'cost a row':>12}{'flagged':>10}{'found':>8}")
    nothing = cost(y[test], np.zeros(len(test)), args.miss, args.alarm)
    print(f"{'flag nothing':<42}{nothing:>12.3f}{0:>10.2%}{0:>8.0%}")
    for name, rule in rules.items():
        flagged = rule.predict(X_test)
        found = flagged[y[test]].mean()
        print(f"{name:<42}{cost(y[test], flagged, args.miss, args.alarm):>12.3f}{flagged.mean():>10.2%}{found:>8.0%}")


def fixed(model: FocalClassifier, threshold: float) -> FixedThresholdClassifier:
    """Decide by a given threshold on the probabilities of a model that stays as it is."""
    from sklearn.frozen import FrozenEstimator

    frozen = FixedThresholdClassifier(FrozenEstimator(model), threshold=threshold, response_method="predict_proba")
    return frozen.fit(np.zeros((2, model.n_features_in_)), [False, True])


if __name__ == "__main__":
    main()
