"""Tables and metrics that the examples share.

Real tables are read from the folder that the environment variable FOCAL_BOOST_DATA names (``<name>.npz`` with arrays X
and y). Without it the examples fall back on the handwritten digits that scikit-learn bundles, with most rows of some
digits removed so that they become rare.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.datasets import load_digits
from sklearn.metrics import precision_recall_curve
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
    """First table of FOCAL_BOOST_DATA among `names` (name to note), else the bundled one."""
    folder = os.environ.get("FOCAL_BOOST_DATA")
    for name, note in names.items() if folder else ():
        path = Path(folder) / f"{name}.npz"
        if path.exists():
            with np.load(path) as arrays:
                return Table(name, arrays["X"], arrays["y"].astype(np.int64), note)
    return fallback()


def rare_eights(n_positive: int) -> Table:
    """Bundled digits, "is it an 8?", with only `n_positive` eights left."""
    X, digit = load_digits(return_X_y=True)
    keep = _thin(digit, {8: n_positive})
    note = f"Bundled with scikit-learn; thinned to {n_positive} of its 174 eights to make them rare: a toy."
    return Table("digits, 8 or not", X[keep], (digit[keep] == 8).astype(np.int64), note)


def rare_digits() -> Table:
    """Bundled digits, ten classes, three of them thinned."""
    X, digit = load_digits(return_X_y=True)
    left = {7: 30, 8: 20, 9: 20}
    keep = _thin(digit, left)
    note = (
        f"Bundled with scikit-learn; digits 7, 8 and 9 thinned to {list(left.values())} rows to make them rare: a toy."
    )
    return Table("digits", X[keep], digit[keep], note)


def _thin(y: np.ndarray, left: dict[int, int]) -> np.ndarray:
    """Rows that remain when only `left[c]` random rows of class c are kept."""
    order = np.random.default_rng(SEED).permutation(len(y))
    drop = [order[y[order] == c][n:] for c, n in left.items()]
    return np.setdiff1d(np.arange(len(y)), np.concatenate(drop))


def read_table(path: Path, target: str | None) -> Table:
    """Read a user's own CSV, Parquet or npz file; of the two labels in `target` the rarer one is positive."""
    if not path.is_file():
        raise ValueError(f"--data {path}: there is no such file; give the path of a CSV, Parquet or npz file")
    if path.suffix == ".npz":
        X, labels, target = *_read_npz(path), "y"
    else:
        X, labels = _read_frame(path, target)
    return Table(path.name, X, _encode_rarer(labels, target), f"Target: {target}.")


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        missing = [name for name in ("X", "y") if name not in arrays]
        if missing:
            raise ValueError(
                f"--data {path} holds {list(arrays)}, but not {missing}: write it with np.savez(path, X=X, y=y)"
            )
        return arrays["X"], arrays["y"]


def _read_frame(path: Path, target: str | None) -> tuple[Any, np.ndarray]:
    import pandas as pd

    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".pq": pd.read_parquet}
    if path.suffix not in readers:
        raise ValueError(f"--data {path}: files ending in {path.suffix!r} are not known; use .csv, .parquet or .npz")
    frame = readers[path.suffix](path)
    if target not in frame.columns:
        given = "is missing" if target is None else f"{target} is not a column of {path.name}"
        raise ValueError(f"--target {given}: name one of {', '.join(map(str, frame.columns))}")
    labels = frame.pop(target)
    if labels.isna().any():
        raise ValueError(f"--target {target} is empty in {labels.isna().sum()} rows: remove or fill them first")
    return _categories(frame), labels.to_numpy()


def _categories(frame: Any) -> Any:
    """Text columns become categories; missing values stay; names lose what the boosters refuse in them."""
    for column in frame.select_dtypes(include=["datetime", "datetimetz", "timedelta"]):
        raise ValueError(f"column {column!r} holds dates or times: turn it into numbers or drop it")
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
    yield from tqdm(splitter.split(np.zeros(len(table.y)), table.y), total=n_folds * n_repeats, desc=label, leave=False)


# ---------------------------------------------------------------------------------------------------------------------
# Metrics


def row_log_loss(y: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Log loss of each row, for probabilities of the positive class or of all K; finite even where they are 0."""
    of_truth = np.where(y == 1, proba, 1 - proba) if proba.ndim == 1 else proba[np.arange(len(y)), y]
    return -np.log(np.maximum(of_truth, 1e-15))


def recall_at_precision(y: np.ndarray, score: np.ndarray, precision: float) -> float:
    """Largest share of the positives that some threshold finds at this precision; 0 if none reaches it."""
    precisions, recalls, _ = precision_recall_curve(y, score)
    return float(recalls[precisions >= precision].max())


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
