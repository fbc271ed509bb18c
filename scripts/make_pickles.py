"""Write models of the installed versions into tests/fixtures, pickled and saved, for tests under other versions.

Usage: python scripts/make_pickles.py
Run it under each pair of versions that is supported (oldest and newest Python and XGBoost at least); a name says which
library, how many classes, and the versions.
"""

from __future__ import annotations

import pickle
import platform
import tempfile
from pathlib import Path

import lightgbm as lgb
import numpy as np
import xgboost as xgb

from focal_boost import FocalClassifier

FOLDER = Path(__file__).parent.parent / "tests" / "fixtures"
ROWS = 80


def table(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Few rows, so that a file stays small."""
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(ROWS, 3)).round(2)
    score = X[:, 0] + 0.3 * rng.normal(size=ROWS)
    return X, np.array(["a", "b", "c"])[np.digitize(score, [0.4, 1.0][: n_classes - 1])]


def main() -> None:
    """Train and write."""
    FOLDER.mkdir(exist_ok=True)
    estimators = {
        lgb: lgb.LGBMClassifier(n_estimators=4, num_leaves=4, verbosity=-1, n_jobs=1),
        xgb: xgb.XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1),
    }
    for library, estimator in estimators.items():
        for n_classes in (2, 3):
            X, y = table(n_classes)
            model = FocalClassifier(estimator, gamma=1.5).fit(X, y)
            file = Path(tempfile.gettempdir(), "model.focal")
            model.save(file)
            version = tuple(int(part) for part in library.__version__.split(".")[:2])
            saved = {
                "model": model,
                "file": file.read_bytes(),
                "version": version,
                "X": X,
                "y": y,
                "proba": model.predict_proba(X),
                "labels": model.predict(X),
            }
            python = ".".join(platform.python_version_tuple()[:2])
            name = f"{library.__name__}-{n_classes}-{'.'.join(map(str, version))}-python{python}.pickle"
            (FOLDER / name).write_bytes(pickle.dumps(saved, protocol=5))
            print(name, (FOLDER / name).stat().st_size, "bytes")


if __name__ == "__main__":
    main()
