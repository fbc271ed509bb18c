"""Focal loss next to log loss on payments, judged as a fraud team would: one report, two model files, two pictures.

    python examples/fraud_detection.py                                  # simulated payments
    python examples/fraud_detection.py --data my.csv --target is_fraud --time paid_at --amount amount  # your own
    python examples/fraud_detection.py --library xgboost --gamma 2 --alpha balanced

Five models with the same booster settings: the built-in log loss, the same with weights that make the classes equal,
focal loss as in a textbook (p = sigma(z), start at z = 0), focal_boost with gamma 0, which tells what its start and its
bounded leaves do by themselves, and focal_boost. Early stopping follows the log loss, but average precision for the
second and third, whose answers are no probabilities of the classes. Where days are known the last ones are the test,
and days are left out before it, since the latest frauds are not known yet. Where they are not, every row is judged by
models that never saw it (cross-validation). Files are CSV, Parquet or npz.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _data import SEED, Table, all_payments, expected_calibration_error, folds, hits_within, read_table, row_log_loss
from _elsewhere import compare
from _fraud_picture import draw
from scipy.special import expit
from scipy.stats import t as student
from sklearn.base import clone
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight
from tqdm import tqdm

from focal_boost import BinaryFocalLoss, FocalClassifier

ROUNDS, PATIENCE, N_FOLDS = 1000, 40, 5
SETTINGS = {"learning_rate": 0.05, "min_child_weight": 1, "reg_lambda": 1, "random_state": SEED, "n_jobs": -1}
TEST_SHARE, STOP_SHARE = 0.3, 0.1  # of the days
LOG_LOSS, WEIGHTED, TEXTBOOK = "log loss", "log loss, weighted", "textbook focal"
GAMMA_0, FOCAL = "focal_boost, gamma 0", "focal_boost"
COMPARED = (LOG_LOSS, WEIGHTED, TEXTBOOK, GAMMA_0, FOCAL)
# Of what early stopping follows where probabilities are none: the log loss would end such models too soon.
BY_RANKING = {"lightgbm": {"metric": "average_precision"}, "xgboost": {"eval_metric": "aucpr"}}
LIBRARIES = {"lightgbm": "LightGBM", "xgboost": "XGBoost"}


# ---------------------------------------------------------------------------------------------------------------------
# Models


def make_booster(library: str, **settings: Any) -> Any:
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=ROUNDS, verbosity=-1, **SETTINGS, **settings)
    from xgboost import XGBClassifier

    return XGBClassifier(
        n_estimators=ROUNDS, early_stopping_rounds=PATIENCE, enable_categorical=True, **SETTINGS, **settings
    )


def make_textbook(library: str, gamma: float) -> Any:
    """Booster on the focal loss of the paper with its second derivatives, as it is found everywhere."""
    paper = BinaryFocalLoss(gamma, hessian="exact", max_step=None, link="focal")

    def objective(y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return paper.gradient_hessian(y, z)

    # XGBoost would take another start than 0, which is a probability of a half, and LightGBM has no other.
    start = {"base_score": 0.5} if library == "xgboost" else {}
    return make_booster(library, objective=objective, **BY_RANKING[library], **start)


def fit(name: str, library: str, focal: FocalClassifier, table: Table, train: Any, stop: Any) -> tuple[Any, Callable]:
    """Fitted model, and the function that gives its probabilities of the positive class."""
    model, options = make_booster(library), {}
    if name == FOCAL:
        model = focal
    elif name == GAMMA_0:
        model = clone(focal).set_params(gamma=0.0)
    elif name == TEXTBOOK:
        model = make_textbook(library, focal.gamma)
    elif name == WEIGHTED:
        model = make_booster(library, **BY_RANKING[library])
        options = {"sample_weight": compute_sample_weight("balanced", table.y[train])}
    if library == "lightgbm":
        from lightgbm import early_stopping

        options["callbacks"] = [early_stopping(PATIENCE, first_metric_only=True, verbose=False)]
    else:
        options["verbose"] = False
    with warnings.catch_warnings():
        # LightGBM would rather have eval_X and eval_y; eval_set is the name that both libraries know.
        warnings.filterwarnings("ignore", message="The argument 'eval_set' is deprecated")
        model.fit(table.rows(train), table.y[train], eval_set=[(table.rows(stop), table.y[stop])], **options)
    if name != TEXTBOOK:
        return model, lambda X: model.predict_proba(X)[:, 1]
    raw = {"raw_score": True} if library == "lightgbm" else {"output_margin": True}
    return model, lambda X: expit(model.predict(X, **raw))


# ---------------------------------------------------------------------------------------------------------------------
# Which rows to train on, to stop early on and to test on


class Split(NamedTuple):
    """Numbers of rows."""

    train: np.ndarray
    stop: np.ndarray
    test: np.ndarray


def splits(table: Table, delay: int) -> list[Split]:
    if table.day is not None:
        return [split_by_days(table, delay)]
    parts = []
    for rest, test in folds(table, N_FOLDS):
        train, stop = train_test_split(rest, test_size=0.2, stratify=table.y[rest], random_state=SEED)
        parts.append(Split(train, stop, test))
    return parts


def split_by_days(table: Table, delay: int) -> Split:
    """The last days to test on, some before to stop early on, and `delay` days left out before either."""
    first, last = table.day.min(), table.day.max()
    n_days = last - first + 1
    test_from = last + 1 - round(TEST_SHARE * n_days)
    stop_from = test_from - delay - max(1, round(STOP_SHARE * n_days))
    starts_and_ends = (first, stop_from - delay), (stop_from, test_from - delay), (test_from, last + 1)
    split = Split(*(np.flatnonzero((table.day >= start) & (table.day < end)) for start, end in starts_and_ends))
    for use, rows in zip(("train", "stop early", "test"), split, strict=True):
        fewest = np.bincount(table.y[rows], minlength=2).min()
        if fewest < 2:
            raise ValueError(
                f"of {n_days} days with a delay of {delay} those to {use} on have {fewest} rows of the rarer class, "
                "but need two: give a table of more days, a shorter --delay, or leave --time out"
            )
    return split


def describe_split(table: Table, split: list[Split], delay: int) -> str:
    if table.day is None:
        return f"{N_FOLDS} folds, every row judged by models that never saw it"
    days = [(table.day[rows].min(), table.day[rows].max()) for rows in split[0]]
    train, stop, test = (f"{start} to {end}" for start, end in days)
    return (
        f"Trained on days {train}, stopped early on {stop}, judged on {test}; "
        f"{delay} days between, whose frauds nobody knows yet"
    )


# ---------------------------------------------------------------------------------------------------------------------
# What a team looks at


class Judged(NamedTuple):
    """Rows of the test, part by part (days, else folds), and what the models of a library say of them."""

    y: np.ndarray
    part: np.ndarray
    amount: np.ndarray | None
    probas: dict[str, np.ndarray]

    def by_part(self, measure: Callable[..., Any], *of_rows: np.ndarray) -> np.ndarray:
        """One result of `measure` for each day or fold."""
        return np.array([measure(*(values[self.part == part] for values in of_rows)) for part in np.unique(self.part)])

    def caught(self, name: str, budget: int) -> np.ndarray:
        """Positives among the `budget` rows that look worst, for each day or fold."""
        return self.by_part(lambda y, p: hits_within(y, p, budget), self.y, self.probas[name])

    def value_caught(self, score: np.ndarray, budget: int) -> np.ndarray:
        """The same in money, for any score."""
        return self.by_part(lambda value, p: hits_within(value, p, budget), self.y * self.amount, score)

    def saved(self, proba: np.ndarray, cost: float) -> np.ndarray:
        """Money saved on each day if every row is looked at, for `cost`, whose probability times amount is more."""
        gain = np.where(proba * self.amount > cost, self.y * self.amount - cost, 0.0)
        return self.by_part(np.sum, gain)


def judge(
    table: Table, library: str, focal: FocalClassifier, parts: list[Split], bar: tqdm
) -> tuple[Judged, FocalClassifier]:
    """Judge every tested row by models that never saw it; the last model of focal_boost comes along."""
    probas: dict[str, list[np.ndarray]] = {name: [] for name in COMPARED}
    for split in parts:
        for name in COMPARED:
            bar.set_description(f"{LIBRARIES[library]}, {name}")
            model, probability = fit(name, library, focal, table, split.train, split.stop)
            probas[name].append(probability(table.rows(split.test)))
            bar.update()
    tested = np.concatenate([split.test for split in parts])
    fold = np.repeat(np.arange(len(parts)), [len(split.test) for split in parts])
    return (
        Judged(
            table.y[tested],
            fold if table.day is None else table.day[tested],
            None if table.amount is None else table.amount[tested],
            {name: np.concatenate(proba) for name, proba in probas.items()},
        ),
        model,
    )


def report(judged: Judged, title: str, budget: int, cost: float) -> str:
    """One line a model, and in words what they say about focal_boost next to log loss."""
    y, amount = judged.y, judged.amount
    n_parts = len(np.unique(judged.part))
    heads = ["precision", "recall"] + (["value", "by risk", "saved"] if amount is not None else [])
    heads += ["avg. prec.", "log loss", "calibration", "mean p"]
    lines = [f"{title:<22}" + "".join(f"{head:>12}" for head in heads)]
    for name, proba in judged.probas.items():
        caught = judged.caught(name, budget).sum()
        numbers = [f"{caught / (budget * n_parts):.1%}", f"{caught / y.sum():.1%}"]
        if amount is not None:
            risk, lost = proba * amount, y * amount
            values = [judged.value_caught(score, budget).sum() / lost.sum() for score in (proba, risk)]
            numbers += [f"{value:.1%}" for value in values] + [f"{judged.saved(proba, cost).mean():,.0f}"]
        numbers += [f"{average_precision_score(y, proba):.3f}", f"{row_log_loss(y, proba).mean():.5f}"]
        numbers += [f"{expected_calibration_error(y, proba):.5f}", f"{proba.mean():.3%}"]
        lines.append(f"{name:<22}" + "".join(f"{number:>12}" for number in numbers))
    return "\n".join([*lines, verdict(judged, budget)])


def verdict(judged: Judged, budget: int) -> str:
    """Say whether focal_boost can be told from log loss and from its own gamma 0, days or folds being what varies."""
    caught = {name: judged.caught(name, budget) for name in COMPARED}
    # With its sign turned, so that more is better here too.
    losses = {name: -judged.by_part(np.mean, row_log_loss(judged.y, proba)) for name, proba in judged.probas.items()}
    lines = []
    for other in (LOG_LOSS, GAMMA_0):
        for what, values, digits in (("more positives in the budget", caught, 2), ("less log loss", losses, 5)):
            gain = values[FOCAL] - values[other]
            n = len(gain)
            margin = student.ppf(0.975, n - 1) * gain.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
            better = f"{FOCAL if gain.mean() > 0 else other} is better"
            words = better if abs(gain.mean()) > margin else f"{other} is as good, this is no more than chance"
            lines.append(f"Than {other}: {gain.mean():.{digits}f} +/- {margin:.{digits}f} {what}; {words}.")
    return "\n".join(lines)


EXPLANATIONS = """\
precision, recall  share of the alerts that are right, and of the positives that are found
value              share of the money at stake that these alerts catch
by risk            the same if the alerts go to the largest probability x amount
saved              money a day if every payment is looked at, for {cost:g}, where probability x amount is more
calibration        mean distance between probability and observed share, in 15 bins of equally many rows
mean p             mean probability, where {share:.3%} are positive"""


def explain(share: float, cost: float, with_amounts: bool) -> str:
    money = ("value ", "by risk", "saved")
    lines = EXPLANATIONS.format(share=share, cost=cost).splitlines()
    return "\n".join(line for line in lines if with_amounts or not line.startswith(money))


def save_model(model: FocalClassifier, library: str, rows: Any, folder: Path) -> str:
    """Save the plain booster and check that its file needs no focal_boost."""
    if library == "lightgbm":
        path = folder / "model.txt"
        model.estimator_.booster_.save_model(path)
    else:
        path = folder / "model.json"
        model.estimator_.get_booster()[: model.n_rounds_].save_model(path)
    return compare(library, path, rows, model.predict_proba(rows)[:, 1])


# ---------------------------------------------------------------------------------------------------------------------


def _alpha(text: str) -> float | str:
    return text if text == "balanced" else float(text)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="CSV, Parquet or npz file (default: simulated payments)")
    parser.add_argument("--target", help="column of a CSV or Parquet file with two labels; the rarer one is positive")
    parser.add_argument("--time", help="column of dates, or of numbers of days, to split by")
    parser.add_argument("--amount", help="column with the money that a positive costs; it stays among the features")
    parser.add_argument("--delay", type=int, default=7, help="days until it is known who is positive (default 7)")
    parser.add_argument("--alerts", type=int, help="alerts a day, or in each fold (default: as many as positives)")
    parser.add_argument("--cost", type=float, default=5.0, help="of an alert, in the unit of the amounts (default 5)")
    parser.add_argument("--payments", type=int, default=300_000, help="payments to simulate (default 300,000)")
    parser.add_argument("--library", choices=(*LIBRARIES, "both"), default="both")
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    parser.add_argument("--alpha", type=_alpha, help="weight of the positive class in (0, 1), or 'balanced'")
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), help="folder for models and pictures (default demo)"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    parser = make_parser()
    args = parser.parse_args(argv)
    libraries = list(LIBRARIES) if args.library == "both" else [args.library]
    results = {}
    try:
        if args.data:
            table = read_table(args.data, args.target, args.time, args.amount)
        else:
            table, _ = all_payments(args.payments)
        parts = splits(table, args.delay)
        # On a terminal only.
        with tqdm(total=len(libraries) * len(parts) * len(COMPARED), disable=None, leave=False) as bar:
            for library in libraries:
                focal = FocalClassifier(make_booster(library), gamma=args.gamma, alpha=args.alpha)
                results[library] = judge(table, library, focal, parts, bar)
    except ValueError as error:  # what focal_boost and these examples raise names the value and the way out
        parser.error(str(error))
    judged, _ = results[libraries[0]]
    n_parts = len(np.unique(judged.part))
    budget = args.alerts or max(1, round(judged.y.sum() / n_parts))
    when = "fold" if table.day is None else "day"
    print(table.describe())
    print(describe_split(table, parts, args.delay))
    alpha = "none" if args.alpha is None else args.alpha
    print(f"gamma {args.gamma:g}, alpha {alpha}; at most {ROUNDS} rounds, early stopping ({PATIENCE})")
    print(f"Budget: {budget} alerts a {when}, for {judged.y.sum() / n_parts:.1f} positives")
    args.output.mkdir(parents=True, exist_ok=True)
    for library, (judged, model) in results.items():
        print("\n" + report(judged, LIBRARIES[library], budget, args.cost))
        print(save_model(model, library, table.rows(parts[-1].test[:10_000]), args.output))
        picture = args.output / f"report_{library}.png"
        title = f"{table.name}, {LIBRARIES[library]}, gamma {args.gamma:g}: {budget} alerts a {when}"
        draw(judged, title, budget, args.cost, when, picture)
        print(f"{picture}: the same in a picture")
    print("\n" + explain(judged.y.mean(), args.cost, table.amount is not None))


if __name__ == "__main__":
    main()
