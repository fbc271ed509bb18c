"""Focal loss next to the built-in log loss on a table with a rare class: one report, one model file, one picture.

    python examples/fraud_detection.py                                  # a table that is at hand
    python examples/fraud_detection.py --data my.csv --target is_fraud  # your own: CSV, Parquet or npz
    python examples/fraud_detection.py --library xgboost --gamma 1 --alpha balanced

Both models have the same booster settings and stop early on a part of the training rows. Every row is judged by models
that never saw it (cross-validation), so that all the positives count. A model trained on the whole table is then saved
as a plain LightGBM or XGBoost file.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from _data import (
    SEED,
    Table,
    calibration_bins,
    expected_calibration_error,
    find_table,
    folds,
    rare_eights,
    read_table,
    recall_at_precision,
    row_log_loss,
)
from _elsewhere import compare
from scipy.special import logit
from scipy.stats import beta
from sklearn.metrics import average_precision_score, brier_score_loss, precision_recall_curve
from sklearn.model_selection import train_test_split

from focal_boost import FocalClassifier

ROUNDS, PATIENCE, N_FOLDS, PRECISIONS = 1000, 50, 5, (0.9, 0.5)
MIN_ROWS = 10  # of a bin in the picture
SETTINGS = {"learning_rate": 0.05, "min_child_weight": 1, "reg_lambda": 1, "random_state": SEED, "n_jobs": 1}
TABLES = {
    "creditcard_ulb_sub": "Card payments. All frauds but few of the normal rows: in the full set 0.17 % are frauds.",
    "mammography": "Microcalcifications in mammograms.",
}
BUILT_IN, FOCAL = "built-in log loss", "focal loss"
# Okabe & Ito's colours, told apart by colour-blind readers, and in grey by line style and marker.
STYLES = {
    BUILT_IN: {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    FOCAL: {"color": "#D55E00", "linestyle": "--", "marker": "s"},
}


def make_booster(library: str) -> Any:
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=ROUNDS, verbosity=-1, **SETTINGS)
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=ROUNDS, early_stopping_rounds=PATIENCE, enable_categorical=True, **SETTINGS)


def fit(model: Any, library: str, table: Table, rows: np.ndarray) -> Any:
    """Train on four fifths of the rows and stop early on the rest."""
    train, stop = train_test_split(rows, test_size=0.2, stratify=table.y[rows], random_state=SEED)
    options: dict[str, Any] = {"verbose": False}
    if library == "lightgbm":
        from lightgbm import early_stopping

        options = {"callbacks": [early_stopping(PATIENCE, first_metric_only=True, verbose=False)]}
    with warnings.catch_warnings():
        # LightGBM would rather have eval_X and eval_y; eval_set is the name that both libraries know.
        warnings.filterwarnings("ignore", message="The argument 'eval_set' is deprecated")
        return model.fit(table.rows(train), table.y[train], eval_set=[(table.rows(stop), table.y[stop])], **options)


def judge(table: Table, library: str, focal: FocalClassifier) -> dict[str, np.ndarray]:
    """Probability of the positive class for each row, from models that never saw the row."""
    probas = {name: np.empty(len(table.y)) for name in (BUILT_IN, FOCAL)}
    for train, test in folds(table, N_FOLDS):
        X_test = table.rows(test)
        probas[BUILT_IN][test] = fit(make_booster(library), library, table, train).predict_proba(X_test)[:, 1]
        probas[FOCAL][test] = fit(focal, library, table, train).predict_proba(X_test)[:, 1]
    return probas


# ---------------------------------------------------------------------------------------------------------------------
# Report


def metrics_table(y: np.ndarray, probas: dict[str, np.ndarray]) -> str:
    columns = {
        "average precision": lambda p: average_precision_score(y, p),
        **{f"recall at {v:.0%} precision": lambda p, v=v: recall_at_precision(y, p, v) for v in PRECISIONS},
        "log loss": lambda p: row_log_loss(y, p).mean(),
        "Brier score": lambda p: brier_score_loss(y, p),
        "calibration error": lambda p: expected_calibration_error(y, p),
    }
    lines = [f"{'metric':<26}" + "".join(f"{name:>20}" for name in probas)]
    for name, metric in columns.items():
        lines.append(f"{name:<26}" + "".join(f"{metric(p):>20.4f}" for p in probas.values()))
    return "\n".join(lines)


def verdict(y: np.ndarray, probas: dict[str, np.ndarray]) -> str:
    """Say in words what the numbers say."""
    difference = row_log_loss(y, probas[FOCAL]) - row_log_loss(y, probas[BUILT_IN])
    mean, margin = difference.mean(), 1.96 * difference.std() / np.sqrt(len(y))
    by = f"focal minus built-in {mean:+.4f} +/- {margin:.4f}"
    if abs(mean) <= margin:
        words = f"On log loss, plain log loss is as good as focal loss here: {by}, no more than chance."
    else:
        words = f"On log loss, {'focal loss is better' if mean < 0 else 'plain log loss is better'} here: {by}."
    precision = {name: average_precision_score(y, p) for name, p in probas.items()}
    error = {name: expected_calibration_error(y, p) for name, p in probas.items()}
    return "\n".join(
        [
            words,
            f"Ranking: average precision {precision[BUILT_IN]:.4f} built-in, {precision[FOCAL]:.4f} focal.",
            f"Probabilities are off by {error[BUILT_IN]:.4f} on average built-in, {error[FOCAL]:.4f} focal.",
        ]
    )


def report(table: Table, library: str, focal: FocalClassifier, probas: dict[str, np.ndarray]) -> str:
    alpha = "none" if focal.alpha is None else focal.alpha
    return "\n".join(
        [
            table.describe(),
            f"{library}, gamma {focal.gamma:g}, alpha {alpha}; at most {ROUNDS} rounds, early stopping ({PATIENCE})",
            f"{N_FOLDS} folds, every row judged by models that never saw it; 15 calibration bins of equally many rows",
            "",
            metrics_table(table.y, probas),
            "",
            verdict(table.y, probas),
        ]
    )


# ---------------------------------------------------------------------------------------------------------------------
# Model file and picture


def save_model(model: FocalClassifier, library: str, table: Table, folder: Path) -> str:
    """Save the plain booster and check that its file needs no focal_boost."""
    if library == "lightgbm":
        path = folder / "model.txt"
        model.estimator_.booster_.save_model(path)
    else:
        path = folder / "model.json"
        model.estimator_.get_booster()[: model.n_rounds_].save_model(path)
    rows = table.rows(np.arange(min(len(table.y), 10_000)))
    return compare(library, path, rows, model.predict_proba(rows)[:, 1])


def draw(table: Table, title: str, probas: dict[str, np.ndarray], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    draw_precision_recall(left, table.y, probas)
    draw_reliability(right, table.y, probas)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_precision_recall(axes: Any, y: np.ndarray, probas: dict[str, np.ndarray]) -> None:
    for name in probas:
        precision, recall, _ = precision_recall_curve(y, probas[name])
        style = {key: STYLES[name][key] for key in ("color", "linestyle")}
        label = f"{name} (average precision {average_precision_score(y, probas[name]):.3f})"
        axes.step(recall, precision, where="post", linewidth=2, label=label, **style)
    axes.axhline(y.mean(), color="black", linewidth=1, linestyle=(0, (1, 3)), label=f"chance ({y.mean():.2%})")
    axes.set(xlabel="recall: share of the positives found", ylabel="precision: share of the alarms that are right")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), title="Ranking")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", framealpha=1)


def draw_reliability(axes: Any, y: np.ndarray, probas: dict[str, np.ndarray]) -> None:
    """Bins one unit of log-odds wide; both axes logarithmic where positives are rare."""
    rare = y.mean() < 0.1
    left = bottom = 0.5
    for name, proba in probas.items():
        unit = np.floor(logit(proba.clip(1e-9, 1 - 1e-9))).astype(np.int64)
        predicted, positives, rows = calibration_bins(y, proba, unit - unit.min())
        # A share of 0 has no place on a logarithmic axis; the upper end of its interval has.
        shown, none = rows >= MIN_ROWS, (rows >= MIN_ROWS) & (positives == 0) & rare
        shown &= ~none
        observed = positives[shown] / rows[shown]
        low, high = _interval(positives, rows)
        style = STYLES[name]
        axes.vlines(predicted[shown], low[shown], high[shown], linewidth=1, color=style["color"])
        axes.plot(predicted[shown], observed, label=name, **style)
        axes.plot(predicted[none], high[none], marker=7, linestyle="", color=style["color"])
        left, bottom = min(left, predicted[shown].min(initial=1)), min(bottom, observed.min(initial=1))
    left, bottom, top = (left / 2, bottom / 3, 1.3) if rare else (0, 0, 1)
    axes.plot([min(left, bottom), 1], [min(left, bottom), 1], "k:", linewidth=1, label="perfect")
    if rare:
        axes.plot([], [], marker=7, linestyle="", color="black", label="no positives: upper limit")
        axes.set(xscale="log", yscale="log")
    axes.set(xlim=(left, top), ylim=(bottom, top), title="Probabilities")
    axes.set(
        xlabel=f"predicted probability (bins with {MIN_ROWS} rows or more)", ylabel="observed share, 95 % interval"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", framealpha=1)


def _interval(positives: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jeffreys' 95 % interval of a share."""
    return tuple(beta.ppf(level, positives + 0.5, rows - positives + 0.5) for level in (0.025, 0.975))


# ---------------------------------------------------------------------------------------------------------------------


def _alpha(text: str) -> float | str:
    return text if text == "balanced" else float(text)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="CSV, Parquet or npz file (default: a table that is at hand)")
    parser.add_argument("--target", help="column of a CSV or Parquet file with two labels; the rarer one is positive")
    parser.add_argument("--library", choices=("lightgbm", "xgboost"), default="lightgbm")
    parser.add_argument("--gamma", type=float, default=2.0, help="focusing parameter (default 2)")
    parser.add_argument("--alpha", type=_alpha, help="weight of the positive class in (0, 1), or 'balanced'")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for model and picture (default demo)")
    return parser


def main(argv: list[str] | None = None) -> None:
    parser = make_parser()
    args = parser.parse_args(argv)
    focal = FocalClassifier(make_booster(args.library), gamma=args.gamma, alpha=args.alpha)
    try:
        table = read_table(args.data, args.target) if args.data else find_table(TABLES, lambda: rare_eights(40))
        probas = judge(table, args.library, focal)
    except ValueError as error:  # what focal_boost and these examples raise names the value and the way out
        parser.error(str(error))
    print(report(table, args.library, focal, probas))

    args.output.mkdir(parents=True, exist_ok=True)
    model = fit(focal, args.library, table, np.arange(len(table.y)))
    print("\n" + save_model(model, args.library, table, args.output))
    picture = args.output / "report.png"
    title = f"{table.name}: {table.y.sum():,} of {len(table.y):,} rows positive ({args.library}, gamma {args.gamma:g})"
    draw(table, title, probas, picture)
    print(f"{picture}: precision-recall and reliability curves")


if __name__ == "__main__":
    main()
