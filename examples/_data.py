"""Tables and metrics that the examples share.

The tables are simulated payments (_payments.py) unless the environment variable FOCAL_BOOST_DATA names a folder with
real ones (``<name>.npz`` with arrays X and y).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _payments import KINDS, WARM_UP, features, simulate
from scipy.stats import rankdata
from sklearn.model_selection import RepeatedStratifiedKFold
from tqdm import tqdm

SEED = 0


@dataclass(frozen=True)
class Table:
    """Features, encoded classes (of two, 1 is the rare one) and what a reader should know about them."""

    name: str
    X: Any
    y: np.ndarray
    note: str = ""
    day: np.ndarray | None = None
    amount: np.ndarray | None = None  # that a positive costs
    labels: tuple[str, ...] | None = None

    def rows(self, index: np.ndarray) -> Any:
        """Features of some rows, as an array or a data frame."""
        return self.X.iloc[index] if hasattr(self.X, "iloc") else self.X[index]

    def describe(self) -> str:
        """Rows, columns and classes in a line or two."""
        counts = np.bincount(self.y)
        rare = (
            f"{counts[1]:,} positive ({counts[1] / len(self.y):.3%})" if len(counts) == 2 else f"{len(counts)} classes"
        )
        facts = f"Table {self.name}: {len(self.y):,} rows, {rare}, {self.X.shape[1]} columns"
        return f"{facts}\n{self.note}" if self.note else facts


# ---------------------------------------------------------------------------------------------------------------------
# Finding a table


def find_table(names: dict[str, str], fallback: Callable[[], Table]) -> Table:
    """First table of FOCAL_BOOST_DATA among `names` (name to note), else the simulated one."""
    folder = os.environ.get("FOCAL_BOOST_DATA")
    for name, note in names.items() if folder else ():
        path = Path(folder) / f"{name}.npz"
        if path.exists():
            with np.load(path) as arrays:
                return Table(name, arrays["X"], arrays["y"].astype(np.int64), note)
    return fallback()


def all_payments(n_payments: int = 100_000) -> tuple[Table, pd.DataFrame]:
    """Simulated payments day by day, fraud or not, and which kinds of fraud each is."""
    simulated = simulate(n_payments, SEED)
    # The first days are there to be looked back on.
    known = simulated["time"] >= WARM_UP
    X, simulated = features(simulated)[known], simulated[known]
    kinds = simulated[list(KINDS[1:])]
    fraud, day = kinds.any(axis=1).to_numpy(dtype=np.int64), simulated["time"].to_numpy(dtype=np.int64)
    note = "Simulated after the Fraud Detection Handbook."
    return Table("payments", X, fraud, note, day, simulated["amount"].to_numpy()), kinds


def some_payments(n_rows: int, n_frauds: int) -> tuple[Table, pd.DataFrame]:
    """Random rows of the same, `n_frauds` of them frauds."""
    table, kinds = all_payments()
    order = np.random.default_rng(SEED).permutation(len(table.y))
    counts = {1: n_frauds, 0: n_rows - n_frauds}
    rows = np.sort(np.concatenate([order[table.y[order] == label][:count] for label, count in counts.items()]))
    note = f"{table.note[:-1]}; {n_frauds} frauds and {n_rows - n_frauds:,} other payments drawn at random."
    return Table(table.name, table.rows(rows), table.y[rows], note), kinds.iloc[rows]


def rare_frauds(n_frauds: int, n_rows: int = 10_000) -> Table:
    """Random payments, `n_frauds` of them frauds: two classes."""
    return some_payments(n_rows, n_frauds)[0]


def kinds_of_fraud() -> Table:
    """Random payments in four classes: normal ones and three kinds of fraud, of which the rarest has about thirty."""
    table, kinds = some_payments(10_000, 600)
    y = (kinds.to_numpy() * np.arange(1, len(KINDS))).max(axis=1)
    return Table("kinds of fraud", table.X, y, table.note, labels=KINDS)


def read_table(path: Path, target: str | None, time: str | None = None, amount: str | None = None) -> Table:
    """Read a user's own CSV, Parquet or npz file; of the two labels in `target` the rarer one is positive."""
    if not path.is_file():
        raise ValueError(f"--data {path}: there is no such file; give the path of a CSV, Parquet or npz file")
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".pq": pd.read_parquet, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ValueError(f"--data {path}: files ending in {path.suffix!r} are not known; use .csv, .parquet or .npz")
    frame = readers[path.suffix](path)
    if path.suffix == ".npz":
        target = "y"
    for option, name in (("--target", target), ("--time", time), ("--amount", amount)):
        if name not in frame.columns and (name is not None or option == "--target"):
            given = "is missing" if name is None else f"{name} is not a column of {path.name}"
            raise ValueError(f"{option} {given}: name one of {', '.join(map(str, frame.columns))}")
        if name is not None and frame[name].isna().any():
            raise ValueError(f"{option} {name} is empty in {frame[name].isna().sum()} rows: remove or fill them first")
    y = _encode_rarer(frame.pop(target).to_numpy(), target)
    day = None if time is None else _days(frame.pop(time), time)
    lost = None if amount is None else frame[amount].to_numpy(dtype=float)
    return Table(path.name, _categories(frame), y, f"Target: {target}.", day, lost)


def _read_npz(path: Path) -> pd.DataFrame:
    with np.load(path) as arrays:
        missing = [name for name in ("X", "y") if name not in arrays]
        if missing:
            raise ValueError(
                f"--data {path} holds {list(arrays)}, but not {missing}: write it with np.savez(path, X=X, y=y)"
            )
        return pd.DataFrame(arrays["X"]).add_prefix("x").assign(y=arrays["y"])


def _days(time: pd.Series, name: str) -> np.ndarray:
    """Number of the day of each row, from dates or from numbers of days."""
    if not pd.api.types.is_numeric_dtype(time):
        try:
            time = pd.to_datetime(time, utc=True, format="ISO8601")
        except ValueError as error:
            raise ValueError(f"--time {name}: write dates as in 2026-12-31 or numbers of days: {error}") from None
        time = (time - time.min().normalize()) / pd.Timedelta(days=1)
    return np.floor(time.to_numpy(dtype=float)).astype(np.int64)


def _categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Text columns become categories; missing values stay; names lose what the boosters refuse in them."""
    for column in frame.select_dtypes(include=["datetime", "datetimetz", "timedelta"]):
        raise ValueError(f"column {column!r} holds dates or times: turn it into numbers, drop it, or name it by --time")
    text = frame.select_dtypes(exclude=["number", "bool"]).columns
    frame = frame.astype(dict.fromkeys(text, "category"))
    names = [re.sub(r"\W+", "_", str(column)) for column in frame.columns]
    unique = len(set(names)) == len(names)
    return frame.set_axis(names if unique else [f"{name}_{i}" for i, name in enumerate(names)], axis=1)


def _encode_rarer(labels: np.ndarray, target: str) -> np.ndarray:
    values, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(values) != 2:
        shown = ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
        raise ValueError(
            f"--target {target} has {len(values)} distinct values ({shown}), but this report is for two classes: "
            "name a column with two, or make one"
        )
    rarer = 0 if counts[0] < counts[1] else 1
    return (codes == rarer).astype(np.int64)


def folds(
    table: Table, n_folds: int, n_repeats: int = 1, label: str = "folds"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers for training and testing of each stratified fold, with a progress bar."""
    fewest = np.bincount(table.y).min()
    if fewest < 2 * n_folds:
        raise ValueError(
            f"the rarest class has {fewest} rows, but {n_folds} folds need at least {2 * n_folds}: "
            "give a table with more of them, or ask for fewer folds"
        )
    splitter = RepeatedStratifiedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=SEED)
    yield from tqdm(
        splitter.split(np.zeros(len(table.y)), table.y),
        total=n_folds * n_repeats,
        desc=label,
        leave=False,
        disable=None,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Metrics


def row_log_loss(y: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Log loss of each row, for probabilities of the positive class or of all K; finite even where they are 0."""
    of_truth = np.where(y == 1, proba, 1 - proba) if proba.ndim == 1 else proba[np.arange(len(y)), y]
    return -np.log(np.maximum(of_truth, 1e-15))


def hits_within(y: np.ndarray, score: np.ndarray, budget: int) -> float:
    """Positives among the `budget` highest scores; among equal scores at the edge, the number expected by chance."""
    edge = np.sort(score)[-min(budget, len(score))]
    above, tied = score > edge, score == edge
    return float(y[above].sum() + y[tied].mean() * (min(budget, len(score)) - above.sum()))


def calibration_bins(y: np.ndarray, proba: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Mean probability, positives and rows of each bin that has rows; `bins` numbers the bin of each row from 0."""
    predicted, positives, rows = (np.bincount(bins, weights) for weights in (proba, y, np.ones(len(y))))
    filled = rows > 0
    return np.stack([predicted[filled] / rows[filled], positives[filled], rows[filled]])


def expected_calibration_error(y: np.ndarray, proba: np.ndarray, n_bins: int = 15) -> float:
    """Mean distance between predicted and observed share over bins of equally many rows."""
    bins = rankdata(proba, method="ordinal").astype(np.int64) - 1
    predicted, positives, rows = calibration_bins(y, proba, bins * n_bins // len(y))
    return float(np.sum(np.abs(predicted * rows - positives)) / len(y))
