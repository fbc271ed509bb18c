"""Save a model without pickle and load it where it is needed; and the booster's own file, which needs no focal_boost.

pip install 'focal_boost[demo,save]'
python examples/save_and_load.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightgbm
import numpy as np
from _data import SEED, rare_frauds

from focal_boost import FocalClassifier

SETTINGS = {"n_estimators": 50, "random_state": SEED, "n_jobs": 1, "verbosity": -1}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the model (default demo)")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    table = rare_frauds(100)
    model = FocalClassifier(lightgbm.LGBMClassifier(**SETTINGS), gamma=1.0).fit(
        table.X, np.array(["normal", "fraud"])[table.y]
    )

    path = args.output / "model.focal"
    model.save(path)
    loaded = FocalClassifier.load(path)
    same = bool((loaded.predict_proba(table.X) == model.predict_proba(table.X)).all())
    print(f"{path}: {path.stat().st_size:,} bytes, labels {loaded.classes_.tolist()}, same probabilities: {same}")

    path = args.output / "model.txt"
    model.estimator_.booster_.save_model(path)
    proba = lightgbm.Booster(model_file=path).predict(table.X)
    same = np.allclose(proba, model.predict_proba(table.X)[:, 1])
    print(f"{path}: {path.stat().st_size:,} bytes, read by LightGBM alone, same probabilities: {same}")


if __name__ == "__main__":
    main()
