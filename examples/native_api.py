"""FocalObjective with the libraries' own train and cv: early stopping, and a file that stands alone.

    python examples/native_api.py
    python examples/native_api.py --output demo

What to remember: pass ``objective.params`` and for XGBoost ``obj=``; margins are log-odds, so its built-in ``logloss``
is right, and ``predict`` gives probabilities. LightGBM trains on raw scores without their start: follow
``objective.metric`` there, and call ``objective.portable`` when it is done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightgbm as lgb
import numpy as np
import xgboost as xgb
from _data import SEED, Table, find_table, rare_frauds, row_log_loss
from _elsewhere import compare
from sklearn.model_selection import train_test_split

import focal_boost.lightgbm
import focal_boost.xgboost
from focal_boost import BinaryFocalLoss

TABLES = {"mammography": "Microcalcifications in mammograms."}
ROUNDS, PATIENCE, N_FOLDS = 500, 30, 3
XGBOOST = {"learning_rate": 0.1, "max_depth": 4, "nthread": 1, "seed": SEED}
LIGHTGBM = {"learning_rate": 0.1, "num_leaves": 15, "num_threads": 1, "seed": SEED, "verbosity": -1}


def with_xgboost(table: Table, parts: tuple[np.ndarray, ...], loss: BinaryFocalLoss, folder: Path) -> None:
    train, stop, test = (xgb.DMatrix(table.rows(part), table.y[part]) for part in parts)
    objective = focal_boost.xgboost.FocalObjective(loss, intercept=loss.fit_intercept_only(train.get_label()))
    params = {**XGBOOST, **objective.params}
    common = {"num_boost_round": ROUNDS, "obj": objective, "early_stopping_rounds": PATIENCE}

    history = xgb.cv(params, train, nfold=N_FOLDS, stratified=True, seed=SEED, as_pandas=False, **common)
    losses = history["test-logloss-mean"]
    print(f"xgb.cv     {len(losses)} rounds, log loss {losses[-1]:.4f}")

    booster = xgb.train(params, train, evals=[(stop, "stop")], verbose_eval=False, **common)
    booster = booster[: booster.best_iteration + 1]
    print(f"xgb.train  {booster.num_boosted_rounds()} rounds")
    show(table.y[parts[2]], booster.predict(test))

    path = folder / "xgboost.json"
    booster.save_model(path)
    print(compare("xgboost", path, table.rows(parts[2]), booster.predict(test)))


def with_lightgbm(table: Table, parts: tuple[np.ndarray, ...], loss: BinaryFocalLoss, folder: Path) -> None:
    train_rows, stop_rows, test_rows = parts
    train = lgb.Dataset(table.rows(train_rows), table.y[train_rows], free_raw_data=False)
    stop = lgb.Dataset(table.rows(stop_rows), table.y[stop_rows], reference=train)
    objective = focal_boost.lightgbm.FocalObjective(loss, intercept=loss.fit_intercept_only(table.y[train_rows]))
    params = {**LIGHTGBM, **objective.params}
    common = {"num_boost_round": ROUNDS, "feval": objective.metric}

    stopping = [lgb.early_stopping(PATIENCE, first_metric_only=True, verbose=False)]
    history = lgb.cv(params, train, nfold=N_FOLDS, stratified=True, seed=SEED, callbacks=stopping, **common)
    losses = history["valid log_loss-mean"]
    print(f"lgb.cv     {len(losses)} rounds, log loss {losses[-1]:.4f}")

    stopping = [lgb.early_stopping(PATIENCE, first_metric_only=True, verbose=False)]
    booster = lgb.train(params, train, valid_sets=[stop], callbacks=stopping, **common)
    booster = objective.portable(booster)
    print(f"lgb.train  {booster.best_iteration} rounds")
    X_test = table.rows(test_rows)
    show(table.y[test_rows], booster.predict(X_test))

    path = folder / "lightgbm.txt"
    booster.save_model(path)
    print(compare("lightgbm", path, X_test, booster.predict(X_test)))


def show(y: np.ndarray, proba: np.ndarray) -> None:
    losses = [row_log_loss(y, one).mean() for one in (proba, np.full(len(y), y.mean()))]
    print(f"           test rows: log loss {losses[0]:.4f}, of a constant {losses[1]:.4f}")


def split(table: Table) -> tuple[np.ndarray, ...]:
    """Rows to train on, to stop early on and to test on."""
    rest, test = train_test_split(np.arange(len(table.y)), test_size=0.3, stratify=table.y, random_state=SEED)
    train, stop = train_test_split(rest, test_size=0.25, stratify=table.y[rest], random_state=SEED)
    return train, stop, test


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the models (default demo)")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    table = find_table(TABLES, lambda: rare_frauds(300, 30_000))
    loss = BinaryFocalLoss(gamma=args.gamma)
    parts = split(table)
    print(table.describe() + "\n")
    with_xgboost(table, parts, loss, args.output)
    print()
    with_lightgbm(table, parts, loss, args.output)


if __name__ == "__main__":
    main()
