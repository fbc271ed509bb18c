"""What the examples of training on a cluster share: a table, the same model on one machine, and the comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from _data import SEED, Table, rare_frauds

from focal_boost import BinaryFocalLoss
from focal_boost.xgboost import FocalObjective

ROUNDS = 40
XGBOOST = {"learning_rate": 0.1, "max_depth": 4, "nthread": 1, "seed": SEED, "tree_method": "hist"}


def find_frame() -> tuple[Table, pd.DataFrame]:
    """Payments with their label in one data frame, as clusters hold them.

    Features are ranks in steps of a sixteenth: few values, which every worker sorts into the same bins.
    """
    table = rare_frauds(100, 4000)
    return table, (table.X.rank(pct=True) * 16).round().assign(label=table.y)


def objective_of_shares(loss: BinaryFocalLoss, counts: dict[int, int]) -> FocalObjective:
    """Objective whose start margin is that of the whole table, from the rows that each label has on the cluster.

    A worker sees its own rows alone: an intercept that it computed by itself would differ from worker to worker.
    """
    labels = sorted(counts)
    return FocalObjective(loss, loss.fit_intercept_only(labels, [counts[label] for label in labels]))


def margins(booster: xgb.Booster, frame: pd.DataFrame) -> np.ndarray:
    return booster.predict(xgb.DMatrix(frame.drop(columns="label")), output_margin=True)


def train_here(frame: pd.DataFrame, params: dict[str, Any], objective: Any) -> xgb.Booster:
    """Train the same model on one machine."""
    return xgb.train(params, xgb.DMatrix(frame.drop(columns="label"), frame["label"]), ROUNDS, obj=objective)


def compare(here: np.ndarray, there: np.ndarray, what: str) -> str:
    """One line on how far the cluster's margins are from one machine's; an error if that is more than rounding."""
    difference = float(np.abs(here - there).max())
    if not difference <= 1e-3:
        raise RuntimeError(
            f"{what}: the cluster's model is not that of one machine: margins differ by {difference:.1e}"
        )
    return f"{what}: largest difference from one machine {difference:.1e} over {len(here):,} margins"
