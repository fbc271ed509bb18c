"""What focal boosting gives on real tables, against the built-in objectives and the other packages.

Every table of the data folder that its index marks for scoring; both libraries; one seed or several. A seed draws the
rows (tables are cut to ``--max-rows``, those named in LARGE to ``--large-rows``, classes in proportion) and the split:
60 % train, 15 % validation, 25 % test. Each contender trains once and is scored twice: after 100 rounds, the default
of both libraries, and after the round that was best on the validation rows (early stopping with a patience of 50 rounds
and at most 1,000, each contender by the log loss of its own probabilities). One thread each.

Writes results/quality.csv, one line a training, as soon as it is known: a run that was cut off goes on where it ended.
Then a summary (results/quality.md) and two pictures. Contenders that vary one setting (the scale of the loss, the
curvature, the step bound), the search and other packages train only where they are named.

    FOCAL_BOOST_DATA=folder python benchmarks/quality.py               # an hour on two cores; --jobs 8 on eight
    FOCAL_BOOST_DATA=folder python benchmarks/quality.py --tables ctg3 wilt --contenders built-in "focal 2, exact"
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
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import _quality_report
import numpy as np
from _report import RESULTS
from peers import binary_peers, multiclass_peers
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score, f1_score
from sklearn.model_selection import train_test_split

from focal_boost import BinaryFocalLoss, FocalClassifier, FocalClassifierCV, MulticlassFocalLoss

FIXED = 100
PATIENCE = 50
MOST = 1_000
TABLE = RESULTS / "quality.csv"

# Settings of the inner boosters. "plain" is what the libraries do unasked; "stabilised" is what cures most divergence.
# At a learning rate of 0.1 the best round of tables that can be learned almost exactly still lies below MOST.
STABLE = {"learning_rate": 0.1, "min_child_weight": 1.0, "reg_lambda": 1.0}

# Tables of which more rows are taken: two classes, which train fast, and two with several.
LARGE = (
    "adult",
    "aloi",
    "bank_additional",
    "bemtpl97_claim",
    "celeba_bald",
    "cover_4v2",
    "credit_default_tw",
    "diabetes_brfss",
    "givemesomecredit",
    "nslkdd",
    "pg15_bi_claim",
    "shuttle7",
    "swmotorcycle_claim",
)


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


@lru_cache(maxsize=1)
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


def xgboost_callback(stopper: Stopper, metric: str, values: dict[str, list[float]] | None = None) -> Any:
    import xgboost as xgb

    class Stop(xgb.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            (log,) = evals_log.values() if values is None else [values]
            return stopper.tell(log[metric][-1])

    return Stop()


# The log loss of each library by its own name, for two classes and more.
METRIC = {
    ("lightgbm", False): "binary_logloss",
    ("lightgbm", True): "multi_logloss",
    ("xgboost", False): "logloss",
    ("xgboost", True): "mlogloss",
}


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
    inner = estimator(library, stopper, seed, METRIC[library, split.n_classes > 2], **settings)
    model = FocalClassifier(inner, **options)
    callbacks = [lightgbm_callback(stopper, METRIC[library, split.n_classes > 2])]
    extra = {"callbacks": callbacks} if library == "lightgbm" else {"verbose": False}
    model.fit(split.X, split.y, eval_set=[(split.X_val, split.y_val)], **extra)
    fixed, stopped = (
        model.predict_proba(split.X_test, **rounds_argument(library, rounds)) for rounds in (FIXED, stopper.rounds)
    )
    return Fitted(fixed, stopped, stopper.rounds)


def native(
    library: str,
    split: Split,
    seed: int,
    settings: dict[str, Any],
    scale: float | None = None,
    read: Callable[[np.ndarray], np.ndarray] | None = None,
    **options: Any,
) -> Fitted:
    """FocalObjective in the native API, for what FocalClassifier does not offer.

    The loss's own probabilities, unless `read` makes them of the margins.
    """
    k = split.n_classes
    loss = BinaryFocalLoss(**options) if k == 2 else MulticlassFocalLoss(k, **options)
    stopper, start, proba = Stopper(), loss.fit_intercept_only(split.y), read or loss.predict_proba
    if library == "lightgbm":
        import lightgbm as lgb

        from focal_boost.lightgbm import FocalObjective as LightGBMObjective

        objective = LightGBMObjective(loss, start, 1, scale=scale)
        data = lgb.Dataset(split.X, split.y)
        params = {"verbosity": -1, "num_threads": 1, "seed": seed, "metric": "None", **settings, **objective.params}
        booster = lgb.train(
            params,
            data,
            MOST,
            [lgb.Dataset(split.X_val, split.y_val, reference=data)],
            feval=objective.metric,
            callbacks=[lightgbm_callback(stopper, "log_loss")],
        )
        margins = partial(booster.predict, split.X_test, raw_score=True)
    else:
        import xgboost as xgb

        from focal_boost.xgboost import FocalObjective

        objective = FocalObjective(loss, start, 1, scale=scale)
        exact: dict[str, list[float]] = {"log_loss": []}

        def metric(z: np.ndarray, data: Any) -> tuple[str, float]:
            exact["log_loss"].append(loss.log_loss(split.y_val, z))  # XGBoost hands six decimals on
            return "log_loss", exact["log_loss"][-1]

        data = xgb.QuantileDMatrix(split.X, split.y)
        booster = xgb.train(
            {"nthread": 1, "seed": seed, "disable_default_eval_metric": True, **settings, **objective.params},
            data,
            MOST,
            evals=[(xgb.DMatrix(split.X_val, split.y_val), "val")],
            obj=objective,
            custom_metric=metric,
            verbose_eval=False,
            callbacks=[xgboost_callback(stopper, "log_loss", exact)],
        )
        margins, start = partial(booster.predict, xgb.DMatrix(split.X_test), output_margin=True), 0.0
    fixed, stopped = (proba(margins(**rounds_argument(library, rounds)) + start) for rounds in (FIXED, stopper.rounds))
    return Fitted(fixed, stopped, stopper.rounds)


def searched(library: str, split: Split, seed: int) -> Fitted:
    """Gamma and rounds by cross-validation on the rows to train and to stop on together; one model for both columns."""
    model = FocalClassifierCV(estimator(library, None, seed, ""), early_stopping_rounds=PATIENCE)
    model.fit(np.concatenate([split.X, split.X_val]), np.concatenate([split.y, split.y_val]))
    proba = model.predict_proba(split.X_test)
    return Fitted(proba, proba, model.n_rounds_)


def built_in(library: str, split: Split, seed: int, settings: dict[str, Any], balanced: bool = False) -> Fitted:
    from sklearn.utils.class_weight import compute_sample_weight

    stopper, metric = Stopper(), METRIC[library, split.n_classes > 2]
    weight = compute_sample_weight("balanced", split.y) if balanced else None
    if library == "lightgbm":
        model = estimator(library, stopper, seed, metric, **settings)
        extra = {"callbacks": [lightgbm_callback(stopper, metric)], "eval_metric": metric}
        extra |= {"eval_X": split.X_val, "eval_y": split.y_val}
    else:
        model = estimator(library, stopper, seed, metric, eval_metric=metric, **settings)
        extra = {"verbose": False, "eval_set": [(split.X_val, split.y_val)]}
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


def variants(gamma: float) -> dict[str, Callable[[str, Split, int], Fitted]]:
    """One setting at a time away from ``focal gamma``; the scale also with stabilised settings."""
    name, plain = f"focal {gamma:g}", {"settings": {}, "gamma": gamma}
    found = {
        f"{name}, step 4": partial(focal, max_step=4.0, **plain),
        f"{name}, step 16": partial(focal, max_step=16.0, **plain),
        f"{name}, no step bound": partial(focal, max_step=None, **plain),
        f"{name}, exact": partial(focal, hessian="exact", **plain),
    }
    scales = {"1": 1.0, "1 + gamma": 1.0 + gamma, "2 (1 + gamma)": 2.0 * (1.0 + gamma)}
    if gamma == 0.0:  # whose curvatures are the same, and whose own scale is 1
        del found[f"{name}, exact"]
        scales = {"1/3": 1 / 3, "3": 3.0}
    for label, scale in scales.items():
        found[f"{name}, scale {label}"] = partial(native, settings={}, gamma=gamma, scale=scale)
        found[f"{name}, stabilised, scale {label}"] = partial(native, settings=STABLE, gamma=gamma, scale=scale)
    return found


def contenders(library: str, n_classes: int) -> dict[str, Callable[[str, Split, int], Fitted]]:
    """All contenders of a library by name."""
    if library == "catboost":
        return {"CatBoost Focal": catboost_focal} if n_classes == 2 else {}
    plain: dict[str, Any] = {}
    found = {
        "built-in": partial(built_in, settings=plain),
        "focal 0": partial(focal, settings=plain, gamma=0.0),
        "focal 0.5": partial(focal, settings=plain, gamma=0.5),
        "focal 1": partial(focal, settings=plain, gamma=1.0),
        "focal 2": partial(focal, settings=plain, gamma=2.0),
        "focal 2, paper's margins": partial(native, settings=plain, gamma=2.0, link="focal"),
        "built-in, class weights": partial(built_in, settings=plain, balanced=True),
        "built-in, stabilised": partial(built_in, settings=STABLE),
        "focal 0, stabilised": partial(focal, settings=STABLE, gamma=0.0),
        "focal 0.5, stabilised": partial(focal, settings=STABLE, gamma=0.5),
        "focal 1, stabilised": partial(focal, settings=STABLE, gamma=1.0),
        "focal 2, stabilised": partial(focal, settings=STABLE, gamma=2.0),
    }
    found |= variants(0.0) | variants(0.5) | variants(1.0) | variants(2.0) | {"FocalClassifierCV": searched}
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
FIELDS = ("table", "library", "seed", "contender", "max_rows", "n_classes", "train_rows", "rounds", "seconds", "error")
FIELDS += tuple(f"{metric}_{when}" for when in ("fixed", "stopped") for metric in METRICS)


class Task(NamedTuple):
    """One training."""

    table: str
    library: str
    seed: int
    contender: str
    max_rows: int


def run(task: Task, folder: Path) -> dict[str, Any]:
    split = load(folder, task.table, task.seed, task.max_rows)
    shares = np.bincount(split.y, minlength=split.n_classes) / len(split.y)
    row: dict[str, Any] = task._asdict() | {"n_classes": split.n_classes, "train_rows": len(split.y), "error": ""}
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = contenders(task.library, split.n_classes)[task.contender](task.library, split, task.seed)
        for when, proba in (("fixed", fitted.fixed), ("stopped", fitted.stopped)):
            scores = scores_of(proba, split.y_test, shares)
            row |= {f"{metric}_{when}": f"{value:.6g}" for metric, value in scores.items()}
        row["rounds"] = fitted.rounds
    except Exception as error:  # another package's failure is a result too
        row["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        if task.contender.lower().startswith("focal"):
            traceback.print_exc()
    row["seconds"] = f"{time.perf_counter() - begin:.2f}"
    return row


PICTURED = ("adult", "bank_additional", "diabetes_brfss", "givemesomecredit")


def reliability_curves(folder: Path, bins: int = 10) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Mean prediction and observed share in bins of equal size, gamma = 2 on LightGBM, early-stopped."""
    curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for name in PICTURED:
        split = load(folder, name, seed=0, max_rows=60_000)
        found = {
            "sigmoid of the paper's margin": native(
                "lightgbm", split, 0, {}, gamma=2.0, link="focal", read=sigmoid_or_softmax
            ).stopped,
            "margins that are log-odds": focal("lightgbm", split, 0, {}, gamma=2.0).stopped,
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


def data_folder() -> Path:
    """Folder of the evaluation tables; without one the program ends."""
    folder = Path(os.environ.get("FOCAL_BOOST_DATA", ""))
    if not (folder / "index.json").exists():
        sys.exit("set FOCAL_BOOST_DATA to the folder that holds the tables and their index.json")
    return folder


def recorded(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(row: dict[str, Any], path: Path) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def train(tasks: list[Task], folder: Path, jobs: int, path: Path) -> None:
    """All trainings that the CSV does not have."""
    from tqdm import tqdm

    done = {(row["table"], row["library"], int(row["seed"]), row["contender"]) for row in recorded(path)}
    left = [task for task in tasks if (task.table, task.library, task.seed, task.contender) not in done]
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=len(left), unit="training") as bar:
        for future in as_completed([pool.submit(run, task, folder) for task in left]):
            append(future.result(), path)
            bar.update()


def wanted_tasks(options: argparse.Namespace, tables: dict[str, dict[str, Any]]) -> list[Task]:
    tasks = []
    for seed in range(options.seeds):
        for table, entry in tables.items():
            max_rows = options.large_rows if table in LARGE else options.max_rows
            for library in options.libraries:
                for name in contenders(library, entry["n_classes"]):
                    if name in (options.contenders or _quality_report.MAIN):
                        tasks.append(Task(table, library, seed, name, max_rows))
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", help="only these")
    parser.add_argument("--libraries", nargs="+", default=["lightgbm", "xgboost"], help="catboost too")
    parser.add_argument("--contenders", nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--max-rows", type=int, default=12_000)
    parser.add_argument("--large-rows", type=int, default=50_000, help="of the tables in LARGE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--pictures", action="store_true", help="draw the reliability anew, which trains too")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV")
    options = parser.parse_args()
    if not options.report:
        folder = data_folder()
        tables = score_tables(folder)
        if options.tables:
            tables = {name: tables[name] for name in options.tables}
        train(wanted_tasks(options, tables), folder, options.jobs, options.table)
    if options.pictures:
        _quality_report.reliability_picture(reliability_curves(data_folder()), RESULTS / "quality_reliability.png")
    print(_quality_report.write(recorded(options.table)))


if __name__ == "__main__":
    main()
