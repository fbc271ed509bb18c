"""Gamma, alpha and the booster's own parameters tuned together by Optuna, hopeless trials stopped early.

    python examples/tune_with_optuna.py
    python examples/tune_with_optuna.py --trials 100

What is minimised is the log loss of the probabilities, which means the same for every gamma and alpha, so that trials
with different losses compete on one scale and can be compared in every round. A first study keeps gamma at 0, the plain
log loss; a second one, with as many trials, starts from its best and tunes gamma too. Only what that gains is due to
focal loss, and the test rows say whether it lasts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from _data import SEED, Table, find_table, rare_frauds, row_log_loss
from lightgbm import LGBMClassifier, early_stopping
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from focal_boost import FocalClassifier

TABLES = {"mammography": "Microcalcifications in mammograms."}
ROUNDS, PATIENCE, REPORT_EVERY = 400, 30, 5
SETTINGS = {"random_state": SEED, "n_jobs": 1, "verbosity": -1}


def make_model(trial: optuna.trial.BaseTrial, gamma: float | None) -> FocalClassifier:
    """Draw all parameters of a trial; a given gamma is not drawn."""
    inner = LGBMClassifier(
        n_estimators=ROUNDS,
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        num_leaves=trial.suggest_int("num_leaves", 4, 63, log=True),
        min_child_samples=trial.suggest_int("min_child_samples", 5, 100, log=True),
        reg_lambda=trial.suggest_float("reg_lambda", 1e-3, 30.0, log=True),
        colsample_bytree=trial.suggest_float("colsample_bytree", 0.4, 1.0),
        **SETTINGS,
    )
    if gamma is None:
        gamma = trial.suggest_float("gamma", 0.0, 4.0, step=0.25)
    # Only the ratio of the two weights matters to what is learned: one number, on a logarithmic scale.
    ratio = trial.suggest_float("positive_weight", 1.0, 30.0, log=True)
    return FocalClassifier(inner, gamma=gamma, alpha=(1.0, ratio))


class Pruning:
    """LightGBM callback that reports the log loss and ends trials that have fallen behind."""

    order = 20  # after the evaluation, before early stopping

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def __call__(self, env: Any) -> None:
        """Report the round."""
        if env.iteration % REPORT_EVERY:
            return
        losses = {name: value for _, name, value, *_ in env.evaluation_result_list}
        self.trial.report(losses["binary_logloss"], env.iteration)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"behind in round {env.iteration}")


def make_goal(table: Table, train: np.ndarray, valid: np.ndarray, gamma: float | None) -> Callable[[Any], float]:
    """Log loss on the validation rows, as a function of a trial."""

    def goal(trial: optuna.Trial) -> float:
        model = make_model(trial, gamma)
        callbacks = [Pruning(trial), early_stopping(PATIENCE, verbose=False)]
        model.fit(
            table.rows(train), table.y[train], eval_set=[(table.rows(valid), table.y[valid])], callbacks=callbacks
        )
        trial.set_user_attr("rounds", model.n_rounds_)
        return row_log_loss(table.y[valid], model.predict_proba(table.rows(valid))[:, 1]).mean()

    return goal


def tune(goal: Callable[[Any], float], n_trials: int, start: dict[str, Any] | None = None) -> optuna.Study:
    """Minimise `goal`; the first trial has the parameters `start`."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=20)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED), pruner=pruner)
    if start is not None:
        study.enqueue_trial(start)
    study.optimize(goal, n_trials)
    return study


def refit(study: optuna.Study, table: Table, rows: np.ndarray, gamma: float | None) -> FocalClassifier:
    """Train the best trial's model on all rows that tuning has seen."""
    best = study.best_trial
    model = make_model(optuna.trial.FixedTrial(best.params), gamma)
    model.set_params(estimator__n_estimators=best.user_attrs["rounds"])
    return model.fit(table.rows(rows), table.y[rows])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30, help="trials of each study (default 30)")
    args = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = find_table(TABLES, lambda: rare_frauds(100))
    seen, test = train_test_split(np.arange(len(table.y)), test_size=0.3, stratify=table.y, random_state=SEED)
    train, valid = train_test_split(seen, test_size=0.3, stratify=table.y[seen], random_state=SEED)
    print(table.describe() + "\n")
    tests: dict[str, np.ndarray] = {}
    start = None
    for name, gamma in (("gamma 0", 0.0), ("gamma tuned", None)):
        study = tune(make_goal(table, train, valid, gamma), args.trials, start)
        start = {**study.best_params, "gamma": 0.0}
        pruned = len(study.get_trials(states=[optuna.trial.TrialState.PRUNED]))
        proba = refit(study, table, seen, gamma).predict_proba(table.rows(test))[:, 1]
        tests[name] = row_log_loss(table.y[test], proba)
        precision = average_precision_score(table.y[test], proba)
        print(f"{name}: {args.trials} trials, {pruned} of them pruned; best validation log loss {study.best_value:.4f}")
        print(f"  test rows: log loss {tests[name].mean():.4f}, average precision {precision:.3f}")
        shown = {key: float(f"{value:.3g}") for key, value in study.best_params.items()}
        print(f"  {shown}, {study.best_trial.user_attrs['rounds']} rounds\n")
    print(verdict(tests["gamma tuned"], tests["gamma 0"]))


def verdict(tuned: np.ndarray, plain: np.ndarray) -> str:
    """Say whether the test rows tell the two losses apart."""
    gain = plain - tuned
    if not gain.any():
        return "No gamma did better than 0 on the validation rows: plain log loss is as good here."
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    sentence = f"Tuning gamma changes the test log loss by {-gain.mean():+.4f} (standard error {error:.4f})"
    if abs(gain.mean()) <= 2 * error:
        return f"{sentence}: no more than chance would."
    return f"{sentence}: {'focal' if gain.mean() > 0 else 'plain log'} loss is better here."


if __name__ == "__main__":
    main()
