"""What focal boosting gives on real tables, against the built-in objectives and the other packages.

Every table of the data folder that its index marks for scoring; both libraries; several seeds. A seed draws the rows
(tables are cut to ``--max-rows``, classes in proportion) and the split: 60 % train, 15 % validation, 25 % test. Each
contender trains once and is scored twice: after 100 rounds, the default of both libraries, and after the round that
was best on the validation rows (early stopping with a patience of 50 rounds, each contender by the log loss of its own
probabilities). One thread each.

Writes results/quality.csv, one line a training, as soon as it is known: a run that was cut off goes on where it ended.
Then a summary (results/quality.md) and two pictures.

    FOCAL_BOOST_DATA=folder python benchmarks/quality.py               # two hours on two cores; --jobs 8 on eight
    FOCAL_BOOST_DATA=folder python benchmarks/quality.py --tables ctg3 wilt --seeds 1
    python benchmarks/quality.py --report                              # only the summary, from the CSV
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import _quality_report
import numpy as np
from _report import RESULTS
from peers import binary_peers, multiclass_peers
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score, f1_score
from sklearn.model_selection import train_test_split

from focal_boost import FocalClassifier, FocalClassifierCV

FIXED = 100
PATIENCE = 50
MOST = 400
TABLE = RESULTS / "quality.csv"

# Settings of the inner boosters. "plain" is what the libraries do unasked; "stabilised" is what cures most divergence.
STABLE = {"learning_rate": 0.05, "min_child_weight": 1.0, "reg_lambda": 1.0}


class Split(NamedTuple):
    """Rows to train on, to stop on, and to be scored on; labels 0 to n_classes - 1."""

    X: np.ndarray
    y: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    n_classes: int


class Fitted(NamedTuple):
    """Test probabilities after the fixed number of rounds and after the best one, and that best number."""

    fixed: np.ndarray
    stopped: np.ndarray
    rounds: int


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def score_tables(folder: Path) -> dict[str, dict[str, Any]]:
    """Entries of the index that are for scoring, cheap ones first."""
    import json

    index = json.loads((folder / "index.json").read_text())
    chosen = {name: entry for name, entry in index.items() if _use(entry) != "smoke"}
    return dict(sorted(chosen.items(), key=lambda item: item[1]["n_classes"] * min(item[1]["n"], 6_000)))


def _use(entry: dict[str, Any]) -> str:
    return str(entry.get("use", entry.get("suggested_split", ""))).split()[0]


def load(folder: Path, name: str, seed: int, max_rows: int) -> Split:
    """Rows and split of a seed. Classes with fewer than eight rows left are dropped: a split could not hold them."""
    with np.load(folder / f"{name}.npz") as table:
        X, y = table["X"], table["y"].astype(np.int64)
    if len(y) > max_rows:
        keep, _ = train_test_split(np.arange(len(y)), train_size=max_rows, stratify=y, random_state=seed)
        X, y = X[keep], y[keep]
    enough = np.bincount(y)[y] >= 8
    X, y = X[enough], np.unique(y[enough], return_inverse=True)[1]
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    X, X_val, y, y_val = train_test_split(X, y, test_size=0.2, stratify=y, random_state=seed)
    return Split(X, y, X_val, y_val, X_test, y_test, int(y.max()) + 1)


# ---------------------------------------------------------------------------------------------------------------------
# Training with one stopping rule for all


class Stopper:
    """Stops after PATIENCE rounds without a better validation loss, but not before FIXED rounds."""

    def __init__(self) -> None:
        self.best, self.rounds, self.seen = np.inf, 1, 0

    def tell(self, loss: float) -> bool:
        """Take the validation loss of a round; whether to stop."""
        self.seen += 1
        if loss < self.best:
            self.best, self.rounds = loss, self.seen
        return self.seen >= FIXED and self.seen - self.rounds >= PATIENCE


def lightgbm_callback(stopper: Stopper, metric: str) -> Callable[[Any], None]:
    import lightgbm as lgb

    def callback(env: Any) -> None:
        values = {entry[1]: entry[2] for entry in env.evaluation_result_list}
        if stopper.tell(values[metric]):
            # Rounds after the best one are kept: naming the best here would cut them off.
            raise lgb.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    return callback


def xgboost_callback(stopper: Stopper, metric: str) -> Any:
    import xgboost as xgb

    class Stop(xgb.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            (log,) = evals_log.values()
            return stopper.tell(log[metric][-1])

    return Stop()


def estimator(library: str, stopper: Stopper | None, seed: int, metric: str, **settings: Any) -> Any:
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=MOST, n_jobs=1, random_state=seed, verbosity=-1, **settings)
    from xgboost import XGBClassifier

    callbacks = [xgboost_callback(stopper, metric)] if stopper else None
    return XGBClassifier(n_estimators=MOST, n_jobs=1, random_state=seed, callbacks=callbacks, **settings)


def rounds_argument(library: str, rounds: int) -> dict[str, Any]:
    return {"num_iteration": rounds} if library == "lightgbm" else {"iteration_range": (0, rounds)}


def focal(library: str, split: Split, seed: int, settings: dict[str, Any], **options: Any) -> Fitted:
    stopper = Stopper()
    inner = estimator(library, stopper, seed, "posterior_log_loss", **settings)
    model = FocalClassifier(inner, **options)
    extra = {"callbacks": [lightgbm_callback(stopper, "posterior_log_loss")]} if library == "lightgbm" else {}
    model.fit(split.X, split.y, eval_set=[(split.X_val, split.y_val)], **(extra or {"verbose": False}))
    fixed, stopped = (
        model.predict_proba(split.X_test, **rounds_argument(library, rounds)) for rounds in (FIXED, stopper.rounds)
    )
    return Fitted(fixed, stopped, stopper.rounds)


def searched(library: str, split: Split, seed: int) -> Fitted:
    """Gamma and rounds by cross-validation on the rows to train and to stop on together; one model for both columns."""
    model = FocalClassifierCV(estimator(library, None, seed, ""), early_stopping_rounds=PATIENCE)
    model.fit(np.concatenate([split.X, split.X_val]), np.concatenate([split.y, split.y_val]))
    proba = model.predict_proba(split.X_test)
    return Fitted(proba, proba, model.n_rounds_)


def built_in(library: str, split: Split, seed: int, settings: dict[str, Any], balanced: bool = False) -> Fitted:
    from sklearn.utils.class_weight import compute_sample_weight

    stopper = Stopper()
    weight = compute_sample_weight("balanced", split.y) if balanced else None
    validation = [(split.X_val, split.y_val)]
    if library == "lightgbm":
        metric = "binary_logloss" if split.n_classes == 2 else "multi_logloss"
        model = estimator(library, stopper, seed, metric, **settings)
        extra = {"callbacks": [lightgbm_callback(stopper, metric)], "eval_metric": metric}
        extra |= {"eval_X": split.X_val, "eval_y": split.y_val}
        validation = None
    else:
        metric = "logloss" if split.n_classes == 2 else "mlogloss"
        model = estimator(library, stopper, seed, metric, eval_metric=metric, **settings)
        extra = {"verbose": False, "eval_set": validation}
    model.fit(split.X, split.y, sample_weight=weight, **extra)
    fixed, stopped = (
        model.predict_proba(split.X_test, **rounds_argument(library, rounds)) for rounds in (FIXED, stopper.rounds)
    )
    return Fitted(fixed, stopped, stopper.rounds)


def sigmoid_or_softmax(margins: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        p = expit(margins.astype(np.float64)) if margins.ndim == 1 else softmax(margins.astype(np.float64), axis=1)
    return np.column_stack([1 - p, p]) if margins.ndim == 1 else p


def peer(library: str, split: Split, seed: int, settings: dict[str, Any], objective: Any) -> Fitted:
    """An objective of another package, gamma = 2, in the native API; probabilities by sigmoid or softmax."""
    stopper = Stopper()
    k = split.n_classes

    def log_loss(margins: np.ndarray, y: np.ndarray) -> float:
        return log_loss_of(sigmoid_or_softmax(margins), y)

    if library == "lightgbm":
        import lightgbm as lgb

        def objective_lgb(z: np.ndarray, data: Any) -> Any:
            g, h = objective(data.get_label().astype(np.float64), z.copy(), 2.0)
            return (np.asarray(g), np.asarray(h)) if k == 2 else (np.asfortranarray(g), np.asfortranarray(h))

        data = lgb.Dataset(split.X, split.y)
        valid = lgb.Dataset(split.X_val, split.y_val, reference=data)
        params = {"verbosity": -1, "num_threads": 1, "seed": seed, "metric": "None", "objective": objective_lgb}
        params |= settings | ({} if k == 2 else {"num_class": k})
        metric = lambda z, data: ("log_loss", log_loss(z, data.get_label().astype(int)), False)  # noqa: E731
        booster = lgb.train(
            params, data, MOST, [valid], feval=metric, callbacks=[lightgbm_callback(stopper, "log_loss")]
        )
        margins = partial(booster.predict, split.X_test, raw_score=True)
    else:
        import xgboost as xgb

        def objective_xgb(z: np.ndarray, data: Any) -> Any:
            g, h = objective(data.get_label().astype(np.float64), z.astype(np.float64), 2.0)
            return np.asarray(g, dtype=np.float32), np.asarray(h, dtype=np.float32)

        data, valid = xgb.QuantileDMatrix(split.X, split.y), xgb.DMatrix(split.X_val, split.y_val)
        params = {"nthread": 1, "seed": seed, "disable_default_eval_metric": True, "base_score": 0.0} | settings
        params |= {} if k == 2 else {"num_class": k}
        metric = lambda z, data: ("log_loss", log_loss(z, data.get_label().astype(int)))  # noqa: E731
        booster = xgb.train(
            params,
            data,
            MOST,
            [(valid, "val")],
            obj=objective_xgb,
            custom_metric=metric,
            verbose_eval=False,
            callbacks=[xgboost_callback(stopper, "log_loss")],
        )
        margins = partial(booster.predict, xgb.DMatrix(split.X_test), output_margin=True)
    fixed, stopped = (
        sigmoid_or_softmax(margins(**rounds_argument(library, rounds))) for rounds in (FIXED, stopper.rounds)
    )
    return Fitted(fixed, stopped, stopper.rounds)


def catboost_focal(library: str, split: Split, seed: int) -> Fitted:
    """CatBoost's own Focal, gamma = 2, both classes alike; it has no multiclass."""
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        iterations=MOST,
        loss_function="Focal:focal_alpha=0.5;focal_gamma=2.0",
        eval_metric="Logloss",
        random_seed=seed,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
        early_stopping_rounds=PATIENCE,
        use_best_model=False,
    )
    model.fit(split.X, split.y, eval_set=(split.X_val, split.y_val))
    best = int(np.argmin(model.get_evals_result()["validation"]["Logloss"])) + 1
    fixed, stopped = (model.predict_proba(split.X_test, ntree_end=rounds) for rounds in (FIXED, best))
    return Fitted(fixed, stopped, best)


def contenders(library: str, n_classes: int) -> dict[str, Callable[[str, Split, int], Fitted]]:
    """All contenders of a library by name."""
    if library == "catboost":
        return {"CatBoost Focal": catboost_focal} if n_classes == 2 else {}
    plain: dict[str, Any] = {}
    found = {
        "built-in": partial(built_in, settings=plain),
        "built-in, stabilised": partial(built_in, settings=STABLE),
        "built-in, class weights": partial(built_in, settings=plain, balanced=True),
        "focal 0": partial(focal, settings=plain, gamma=0.0),
        "focal 0.5": partial(focal, settings=plain, gamma=0.5),
        "focal 1": partial(focal, settings=plain, gamma=1.0),
        "focal 2": partial(focal, settings=plain, gamma=2.0),
        "focal 1, stabilised": partial(focal, settings=STABLE, gamma=1.0),
        "focal 2, stabilised": partial(focal, settings=STABLE, gamma=2.0),
        "focal 2, exact": partial(focal, settings=plain, gamma=2.0, hessian="exact"),
        "focal 2, no step bound": partial(focal, settings=plain, gamma=2.0, max_step=None),
        "FocalClassifierCV": searched,
    }
    wrong_library = {"xgboost": "imlightgbm", "lightgbm": "imbalance-xgboost"}[library]
    for name, objective in (binary_peers() if n_classes == 2 else multiclass_peers(n_classes)).items():
        if name not in (wrong_library, "CatBoost's formula"):
            found[name] = partial(peer, settings=plain, objective=objective)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Scores


def log_loss_of(proba: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log probability of the true class; probabilities below 1e-15 count as that."""
    p = proba[np.arange(len(y)), y]
    return float(-np.log(np.clip(np.nan_to_num(p, nan=0.0), 1e-15, 1.0)).mean())


def recall_at(share: float, y: np.ndarray, score: np.ndarray) -> float:
    """Share of the positives among the rows with the highest scores, `share` of all."""
    alerts = np.argsort(-score, kind="stable")[: max(1, round(share * len(y)))]
    return float(y[alerts].sum() / y.sum())


def calibration_error(proba: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error in bins of equal size: of the positive class, or of the most probable of several."""
    if proba.shape[1] == 2:
        p, hit = proba[:, 1], y == 1
    else:
        p, hit = proba.max(axis=1), proba.argmax(axis=1) == y
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(p[part].mean() - hit[part].mean()) * len(part) for part in parts) / len(y))


def scores_of(proba: np.ndarray, y: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    k = len(shares)
    finite = np.nan_to_num(proba, nan=0.0, posinf=1.0, neginf=0.0)
    truth = np.eye(k)[y]
    precision = (
        average_precision_score(y, finite[:, 1]) if k == 2 else average_precision_score(truth, finite, average="macro")
    )
    log_loss, trivial = log_loss_of(proba, y), float(-np.log(shares[y]).mean())
    return {
        "average_precision": float(precision),
        "recall_1": recall_at(0.01, y, finite[:, 1]) if k == 2 else np.nan,
        "recall_5": recall_at(0.05, y, finite[:, 1]) if k == 2 else np.nan,
        "log_loss": log_loss,
        "brier": float(((finite - truth) ** 2).sum(axis=1).mean() / (2 if k == 2 else 1)),
        "ece": calibration_error(finite, y),
        "macro_f1": float(f1_score(y, finite.argmax(axis=1), average="macro")),
        "diverged": float(not log_loss <= 1.15 * trivial),
    }


METRICS = ("average_precision", "recall_1", "recall_5", "log_loss", "brier", "ece", "macro_f1", "diverged")
FIELDS = ("table", "library", "seed", "contender", "n_classes", "train_rows", "rounds", "seconds", "error")
FIELDS += tuple(f"{metric}_{when}" for when in ("fixed", "stopped") for metric in METRICS)


@dataclass(frozen=True)
class Cell:
    """One table, library and seed: the contenders that are still to be trained there."""

    table: str
    library: str
    seed: int
    names: tuple[str, ...]


def run(cell: Cell, folder: Path, max_rows: int) -> Iterable[dict[str, Any]]:
    split = load(folder, cell.table, cell.seed, max_rows)
    shares = np.bincount(split.y, minlength=split.n_classes) / len(split.y)
    rows = []
    for name in cell.names:
        train = contenders(cell.library, split.n_classes)[name]
        row: dict[str, Any] = {"table": cell.table, "library": cell.library, "seed": cell.seed, "contender": name}
        row |= {"n_classes": split.n_classes, "train_rows": len(split.y), "error": ""}
        begin = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = train(cell.library, split, cell.seed)
            for when, proba in (("fixed", fitted.fixed), ("stopped", fitted.stopped)):
                scores = scores_of(proba, split.y_test, shares)
                row |= {f"{metric}_{when}": f"{value:.6g}" for metric, value in scores.items()}
            row["rounds"] = fitted.rounds
        except Exception as error:  # another package's failure is a result too
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            if name.lower().startswith("focal"):
                traceback.print_exc()
        row["seconds"] = f"{time.perf_counter() - begin:.2f}"
        rows.append(row)
    return rows


PICTURED = ("adult", "bank_additional", "diabetes_brfss", "givemesomecredit")


def reliability_curves(folder: Path, bins: int = 10) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Mean prediction and observed share in bins of equal size, gamma = 2 on LightGBM, early-stopped."""
    curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for name in PICTURED:
        split = load(folder, name, seed=0, max_rows=60_000)
        found = {
            "sigmoid of the margin": focal("lightgbm", split, 0, {}, gamma=2.0, posterior=False).stopped,
            "posterior": focal("lightgbm", split, 0, {}, gamma=2.0).stopped,
            "built-in log loss": built_in("lightgbm", split, 0, {}).stopped,
        }
        curves[name] = {}
        for kind, proba in found.items():
            parts = np.array_split(np.argsort(proba[:, 1], kind="stable"), bins)
            predicted, observed = (np.array([v[part].mean() for part in parts]) for v in (proba[:, 1], split.y_test))
            curves[name][kind] = predicted, observed
    return curves


# ---------------------------------------------------------------------------------------------------------------------
# The run


def recorded() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def append(rows: Iterable[dict[str, Any]]) -> None:
    new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def cells_to_run(options: argparse.Namespace, tables: dict[str, dict[str, Any]]) -> list[Cell]:
    done = {(row["table"], row["library"], int(row["seed"]), row["contender"]) for row in recorded()}
    cells = []
    for seed in range(options.seeds):
        for table, entry in tables.items():
            for library in options.libraries:
                names = contenders(library, entry["n_classes"])
                if options.contenders:
                    names = [name for name in names if name in options.contenders]
                left = tuple(name for name in names if (table, library, seed, name) not in done)
                if left:
                    cells.append(Cell(table, library, seed, left))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", help="only these")
    parser.add_argument("--libraries", nargs="+", default=["lightgbm", "xgboost", "catboost"])
    parser.add_argument("--contenders", nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-rows", type=int, default=6_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV")
    options = parser.parse_args()
    globals()["TABLE"] = options.table
    if not options.report:
        from tqdm import tqdm

        folder = Path(os.environ.get("FOCAL_BOOST_DATA", ""))
        if not (folder / "index.json").exists():
            sys.exit("set FOCAL_BOOST_DATA to the folder that holds the tables and their index.json")
        tables = score_tables(folder)
        if options.tables:
            tables = {name: tables[name] for name in options.tables}
        cells = cells_to_run(options, tables)
        total = sum(len(cell.names) for cell in cells)
        with ProcessPoolExecutor(options.jobs) as pool, tqdm(total=total, unit="training") as bar:
            futures = {pool.submit(run, cell, folder, options.max_rows): cell for cell in cells}
            for future in as_completed(futures):
                append(future.result())
                bar.update(len(futures[future].names))
        _quality_report.reliability_picture(reliability_curves(folder), RESULTS / "quality_reliability.png")
    peers = sorted({*binary_peers(), *multiclass_peers(3)} - {"CatBoost's formula"})
    peers.append("CatBoost Focal")
    command = " ".join(["python benchmarks/quality.py", *(arg for arg in sys.argv[1:] if arg != "--report")])
    print(_quality_report.write(recorded(), command, options.max_rows, peers))


if __name__ == "__main__":
    main()
