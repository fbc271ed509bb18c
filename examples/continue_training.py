"""Train some rounds, save, and go on later, with focal loss after focal loss or after plain log loss.

Margins mean the same for the log loss and for every gamma and alpha, and the intercept is counted once: 50 and 50
rounds are 100.

python examples/continue_training.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from _data import SEED, rare_frauds
from lightgbm import LGBMClassifier
from sklearn.base import clone
from sklearn.metrics import log_loss
from xgboost import XGBClassifier

from focal_boost import FocalClassifier

ROUNDS = 50


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    table = rare_frauds(100)
    for kind, argument, settings in (
        (LGBMClassifier, "init_model", {"verbosity": -1}),
        (XGBClassifier, "xgb_model", {}),
    ):
        half = kind(n_estimators=ROUNDS, random_state=SEED, n_jobs=1, **settings)
        whole = kind(n_estimators=2 * ROUNDS, random_state=SEED, n_jobs=1, **settings)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.focal")
            FocalClassifier(half, gamma=1.0).fit(table.X, table.y).save(path)
            both = FocalClassifier(half, gamma=1.0).fit(table.X, table.y, **{argument: path})
        at_once = FocalClassifier(whole, gamma=1.0).fit(table.X, table.y)
        difference = np.abs(both.decision_function(table.X) - at_once.decision_function(table.X)).max()
        print(f"{kind.__name__}: {ROUNDS} + {ROUNDS} rounds and {2 * ROUNDS} rounds differ by {difference:.1e}")
        plain = clone(half).fit(table.X, table.y)
        mixed = FocalClassifier(half, gamma=1.0).fit(table.X, table.y, **{argument: plain})
        losses = [log_loss(table.y, model.predict_proba(table.X)) for model in (plain, mixed)]
        print(f"  log loss of the training rows {losses[0]:.5f} after {ROUNDS} rounds without focal loss, ", end="")
        print(f"{losses[1]:.5f} after {ROUNDS} more with it")


if __name__ == "__main__":
    main()
