"""Serve a focal model without Python boosters, as an ONNX graph or by Treelite: nothing of focal loss is needed there.

pip install 'focal_boost[recipes]'
python examples/deploy.py --output demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import treelite
from _data import SEED, rare_frauds
from xgboost import XGBClassifier

from focal_boost import FocalClassifier
from focal_boost.onnx import to_onnx

SETTINGS = {"n_estimators": 50, "max_depth": 4, "random_state": SEED, "n_jobs": 1}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the model (default demo)")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    table = rare_frauds(100)
    X = table.X.to_numpy(np.float32)
    model = FocalClassifier(XGBClassifier(**SETTINGS), gamma=1.0, alpha="balanced").fit(X, table.y)
    expected = model.predict_proba(X)

    path = args.output / "model.onnx"
    path.write_bytes(to_onnx(model).SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _, proba = session.run(None, {"X": X})
    print(f"{path}: probabilities equal to {np.abs(proba - expected).max():.1e}")

    trees = treelite.frontend.from_xgboost(model.estimator_.get_booster())
    proba = treelite.gtil.predict(trees, X, nthread=1).reshape(-1)
    print(f"Treelite: probabilities equal to {np.abs(proba - expected[:, 1]).max():.1e}")


if __name__ == "__main__":
    main()
