"""Train some rounds, save, and go on later: the intercept is counted once, so 50 and 50 rounds are 100.

python examples/continue_training.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from _data import SEED, rare_eights
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

from focal_boost import FocalClassifier

ROUNDS = 50


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    table = rare_eights(40)
    for kind, argument, settings in (
        (LGBMClassifier, "init_model", {"verbosity": -1}),
        (XGBClassifier, "xgb_model", {}),
    ):
        half = kind(n_estimators=ROUNDS, random_state=SEED, n_jobs=1, **settings)
        whole = kind(n_estimators=2 * ROUNDS, random_state=SEED, n_jobs=1, **settings)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.focal")
            FocalClassifier(half, gamma=2.0).fit(table.X, table.y).save(path)
            # Another gamma, alpha or set of labels than the saved model's would be refused.
            both = FocalClassifier(half, gamma=2.0).fit(table.X, table.y, **{argument: path})
        at_once = FocalClassifier(whole, gamma=2.0).fit(table.X, table.y)
        difference = np.abs(both.decision_function(table.X) - at_once.decision_function(table.X)).max()
        print(f"{kind.__name__}: {ROUNDS} + {ROUNDS} rounds and {2 * ROUNDS} rounds differ by {difference:.1e}")


if __name__ == "__main__":
    main()
