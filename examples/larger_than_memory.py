"""Focal loss on a table that is read in pieces: XGBoost's iterators, LightGBM's Sequence and two-round loading.

    python examples/larger_than_memory.py
    python examples/larger_than_memory.py --rows 2000000 --folder /data/large

What to remember: labels are one number a row and fit into memory long after the features do not. One pass over them
gives the class shares, hence the intercept; everything else is the library's own way of reading, and the objective is
the same as ever. Each way runs in a process of its own, so that its peak memory can be told.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from focal_boost import BinaryFocalLoss

ROUNDS = 20
ROWS_AT_ONCE = 20_000
COLUMNS = 20
XGBOOST = {"max_depth": 5, "learning_rate": 0.2, "max_bin": 63, "nthread": 1}
LIGHTGBM = {"num_leaves": 31, "learning_rate": 0.2, "max_bin": 63, "num_threads": 1, "verbosity": -1}


# ---------------------------------------------------------------------------------------------------------------------
# A table in files, which nobody holds as a whole


class Files(NamedTuple):
    """Features as float32 row by row, labels as bytes, and both as text for LightGBM."""

    X: Path
    y: Path
    text: Path

    @property
    def rows(self) -> int:
        """Number of rows, from the size of the file."""
        return self.y.stat().st_size

    def read(self, start: int, stop: int) -> np.ndarray:
        """Features of some rows."""
        size = 4 * COLUMNS
        return np.fromfile(self.X, np.float32, (stop - start) * COLUMNS, offset=start * size).reshape(-1, COLUMNS)

    def labels(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Labels of some rows, or of all."""
        count = -1 if stop is None else stop - start
        return np.fromfile(self.y, np.uint8, count, offset=start)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """First and last row number of each piece, the latter not included."""
        for start in range(0, self.rows, ROWS_AT_ONCE):
            yield start, min(start + ROWS_AT_ONCE, self.rows)


def files_in(folder: Path) -> Files:
    return Files(folder / "X.float32", folder / "y.uint8", folder / "table.csv")


def write(files: Files, rows: int, *, text: bool = True, seed: int = 0) -> None:
    """Draw a table with about 3 % positives, piece by piece."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(1.5, 0, COLUMNS, dtype=np.float32)
    with open(files.X, "wb") as of_X, open(files.y, "wb") as of_y, open(files.text, "w") as of_text:
        for start in range(0, rows, ROWS_AT_ONCE):
            n = min(ROWS_AT_ONCE, rows - start)
            X = rng.standard_normal((n, COLUMNS), dtype=np.float32)
            score = X @ slope + X[:, 0] * X[:, 1] + 2 * rng.logistic(size=n)
            y = (score > 9.3).astype(np.uint8)
            X.tofile(of_X)
            y.tofile(of_y)
            if text:
                np.savetxt(of_text, np.column_stack([y, X]), fmt=["%d"] + ["%.9g"] * COLUMNS, delimiter=",")


def class_shares(files: Files) -> np.ndarray:
    """Share of each class, from one pass over the labels."""
    counts = np.zeros(2)
    for start, stop in files.pieces():
        counts += np.bincount(files.labels(start, stop), minlength=2)
    return counts / counts.sum()


# ---------------------------------------------------------------------------------------------------------------------
# Ways to train; each imports its library itself, so that a process holds only the one that it uses


def xgboost_data(way: str, files: Files, cache: Path) -> Any:
    """A matrix for XGBoost: of all rows at once, or of pieces."""
    import xgboost as xgb

    if way == "DMatrix":
        return xgb.DMatrix(files.read(0, files.rows), files.labels(), nthread=XGBOOST["nthread"])

    class Pieces(xgb.DataIter):
        """XGBoost's iterator: reads the table piece by piece, as often as it is asked to."""

        def __init__(self) -> None:
            # Pieces in external memory are written to the cache; else the iterator keeps nothing.
            super().__init__(cache_prefix=str(cache / "xgboost") if way == "ExtMemQuantileDMatrix" else None)
            self.left = files.pieces()

        def reset(self) -> None:
            self.left = files.pieces()

        def next(self, input_data: Callable[..., Any]) -> bool:
            piece = next(self.left, None)
            if piece is None:
                return False
            input_data(data=files.read(*piece), label=files.labels(*piece))
            return True

    return getattr(xgb, way)(Pieces(), max_bin=XGBOOST["max_bin"], nthread=XGBOOST["nthread"])


def lightgbm_data(way: str, files: Files) -> Any:
    """A Dataset for LightGBM: of all rows at once, of pieces, or of a file that it reads twice itself."""
    import lightgbm as lgb

    # Read exactly, as Python would.
    params = {**LIGHTGBM, "two_round": True, "header": False, "label_column": 0, "precise_float_parser": True}
    if way == "two_round":
        return lgb.Dataset(str(files.text), params=params)
    if way == "array":
        return lgb.Dataset(files.read(0, files.rows), files.labels(), params=LIGHTGBM)

    class Table(lgb.Sequence):
        """LightGBM's view of a table: rows by number, in any order, and slices of `batch_size` rows, as float64."""

        batch_size = ROWS_AT_ONCE

        def __getitem__(self, index: Any) -> np.ndarray:
            if isinstance(index, slice):
                return files.read(*index.indices(files.rows)[:2]).astype(np.float64)
            return files.read(int(index), int(index) + 1)[0].astype(np.float64)

        def __len__(self) -> int:
            return files.rows

    return lgb.Dataset(Table(), files.labels(), params=LIGHTGBM)


WAYS = {
    "xgboost": ("DMatrix", "QuantileDMatrix", "ExtMemQuantileDMatrix"),
    "lightgbm": ("array", "Sequence", "two_round"),
}


class Result(NamedTuple):
    """What a way led to."""

    peak: float
    log_loss: float
    margins: np.ndarray


def train(library: str, way: str, folder: Path, *, focal: bool = True) -> Result:
    """Train in this process; peak memory in bytes beyond what the process had before it touched the table."""
    files = files_in(folder)
    before = prepare_peak(library)
    loss = BinaryFocalLoss(2.0 if focal else 0.0)
    intercept = loss.fit_intercept_only([0, 1], class_shares(files))
    predict = (train_xgboost if library == "xgboost" else train_lightgbm)(way, files, loss, intercept, focal)
    peak = peak_bytes() - before
    scored = range(0, min(files.rows, 5 * ROWS_AT_ONCE), ROWS_AT_ONCE)
    margins = np.concatenate([predict(files.read(start, min(start + ROWS_AT_ONCE, files.rows))) for start in scored])
    log_loss = loss.log_loss(files.labels(0, len(margins)), margins)
    return Result(peak, log_loss, margins)


def train_xgboost(
    way: str, files: Files, loss: BinaryFocalLoss, intercept: float, focal: bool
) -> Callable[[np.ndarray], np.ndarray]:
    import xgboost as xgb

    from focal_boost.xgboost import FocalObjective

    objective = FocalObjective(loss, intercept, XGBOOST["nthread"])
    with tempfile.TemporaryDirectory(dir=files.X.parent) as cache:
        data = xgboost_data(way, files, Path(cache))
        params = {**XGBOOST, **objective.params}
        booster = xgb.train(params, data, ROUNDS, obj=objective if focal else None)
        del data
    return lambda X: booster.predict(xgb.DMatrix(X), output_margin=True).astype(np.float64)


def train_lightgbm(
    way: str, files: Files, loss: BinaryFocalLoss, intercept: float, focal: bool
) -> Callable[[np.ndarray], np.ndarray]:
    import lightgbm as lgb

    from focal_boost.lightgbm import FocalObjective

    objective = FocalObjective(loss, intercept, LIGHTGBM["num_threads"])
    own = objective.params if focal else {"objective": "binary"}
    booster = lgb.train({**LIGHTGBM, **own}, lightgbm_data(way, files), ROUNDS)
    booster = objective.portable(booster)
    return lambda X: booster.predict(X, raw_score=True)


def prepare_peak(library: str) -> float:
    """Import what is needed, forget the peak so far where the system can, and return what counts as the start."""
    __import__(f"focal_boost.{library}")
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return peak_bytes()


def peak_bytes() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_own_process(*arguments: Any, **options: Any) -> Result:
    """`train` in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(train, *arguments, **options).result()


# ---------------------------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--folder", type=Path, help="where the table is written (default: a temporary folder)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        files = files_in(folder)
        write(files, args.rows)
        size = files.X.stat().st_size / 1e6
        print(
            f"{files.rows:,} rows, {COLUMNS} columns, {size:.1f} MB of features; {class_shares(files)[1]:.2%} positive"
        )
        for library, ways in WAYS.items():
            print(f"\n{library:10}{'':14}peak memory   log loss   margins, largest difference from all rows at once")
            in_core = None
            for way in ways:
                result = in_own_process(library, way, folder)
                in_core = in_core or result
                difference = np.abs(result.margins - in_core.margins).max()
                print(f"  {way:22}{result.peak / 1e6:8.1f} MB {result.log_loss:10.6f} {difference:10.2g}")


if __name__ == "__main__":
    main()
