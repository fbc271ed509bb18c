"""FocalClassifier where scikit-learn and imbalanced-learn want an estimator: resampling, ensembles, weights by name.

    python examples/ensembles.py
    python examples/ensembles.py --library xgboost --gamma 1

Every row is judged by models that never saw it. Read log loss beside average precision: resampling and rebalanced bags
change the shares of the classes that a model sees, so their probabilities are no longer those of the table, while focal
loss by itself keeps them. SMOTE is left out where imbalanced-learn is not installed.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import sklearn
from _data import SEED, Table, find_table, folds, rare_frauds, row_log_loss
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from focal_boost import FocalClassifier

TABLES = {"mammography": "Microcalcifications in mammograms."}
ROUNDS, N_FOLDS = 60, 3
SETTINGS = {"learning_rate": 0.1, "min_child_weight": 1, "reg_lambda": 1, "random_state": SEED, "n_jobs": 1}


def make_booster(library: str) -> Any:
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=ROUNDS, num_leaves=15, verbosity=-1, **SETTINGS)
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=ROUNDS, max_depth=4, **SETTINGS)


def make_models(library: str, gamma: float) -> dict[str, Any]:
    booster = make_booster(library)
    focal = FocalClassifier(booster, gamma=gamma)
    pair = [("focal", focal), ("log loss", booster)]
    models = {
        "built-in log loss": booster,
        "focal": focal,
        "bagging of focal": BaggingClassifier(focal, n_estimators=5, max_samples=0.8, random_state=SEED),
        "voting, focal + log loss": VotingClassifier(pair, voting="soft"),
        "stacking, focal + log loss": StackingClassifier(pair, LogisticRegression(), cv=3),
        "calibrated focal": CalibratedClassifierCV(focal, method="sigmoid", cv=3),
    }
    try:
        from imblearn.over_sampling import SMOTE
        from imblearn.pipeline import make_pipeline as make_resampling_pipeline
    except ImportError:
        return models
    # Only the rows that are trained on are resampled: imbalanced-learn's pipeline sees to that, scikit-learn's cannot.
    smote = SMOTE(sampling_strategy=0.2, k_neighbors=3, random_state=SEED)
    return models | {
        "SMOTE, built-in log loss": make_resampling_pipeline(smote, booster),
        "SMOTE, focal": make_resampling_pipeline(smote, focal),
    }


def judge(table: Table, models: dict[str, Any]) -> dict[str, np.ndarray]:
    """Probability of the positive class for each row, from models that never saw the row."""
    probas = {name: np.empty(len(table.y)) for name in models}
    for train, test in folds(table, N_FOLDS):
        for name, model in models.items():
            fitted = clone(model).fit(table.rows(train), table.y[train])
            probas[name][test] = fitted.predict_proba(table.rows(test))[:, 1]
    return probas


def report(table: Table, library: str, gamma: float, probas: dict[str, np.ndarray]) -> str:
    lines = [table.describe(), f"{library}, gamma {gamma:g}, {ROUNDS} rounds, {N_FOLDS} folds", ""]
    lines.append(f"{'':<28}{'average precision':>18}{'log loss':>10}{'Brier':>9}{'mean probability':>18}")
    for name, proba in probas.items():
        lines.append(
            f"{name:<28}{average_precision_score(table.y, proba):>18.3f}{row_log_loss(table.y, proba).mean():>10.4f}"
            f"{brier_score_loss(table.y, proba):>9.4f}{proba.mean():>18.4f}"
        )
    lines.append(f"{'share of positives':<28}{table.y.mean():>55.4f}")
    if "SMOTE, focal" not in probas:
        lines += ["", "imbalanced-learn is not installed: pip install imbalanced-learn adds SMOTE to the report"]
    return "\n".join(lines)


def routed(table: Table, library: str, gamma: float) -> str:
    """Weights that pass a scaler and reach the focal loss, by scikit-learn's metadata routing."""
    weight = np.where(table.y == 1, 3.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        focal = FocalClassifier(make_booster(library), gamma=gamma).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), focal)
        pipeline.fit(table.X, table.y, sample_weight=weight)
    share = np.average(table.y, weights=weight)
    mean = np.average(pipeline.predict_proba(table.X)[:, 1], weights=weight)
    return f"Weights of 3 for positives, routed past a scaler: weighted share {share:.4f}, mean probability {mean:.4f}."


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=("lightgbm", "xgboost"), default="lightgbm", help="(default lightgbm)")
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    args = parser.parse_args(argv)
    table = find_table(TABLES, lambda: rare_frauds(100))
    probas = judge(table, make_models(args.library, args.gamma))
    print(report(table, args.library, args.gamma, probas))
    print("\n" + routed(table, args.library, args.gamma))


if __name__ == "__main__":
    main()
