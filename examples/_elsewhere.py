"""Predict with a saved model in a fresh process where any import of focal_boost fails, as a service would."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_PROGRAM = """
import pickle, sys
sys.modules["focal_boost"] = None  # an attempt to import it is an ImportError
library, model_file, rows_file, result_file = sys.argv[1:]
with open(rows_file, "rb") as file:
    rows = pickle.load(file)
if library == "lightgbm":
    import lightgbm
    result = lightgbm.Booster(model_file=model_file).predict(rows)
else:
    import xgboost
    result = xgboost.Booster(model_file=model_file).predict(xgboost.DMatrix(rows, enable_categorical=True))
with open(result_file, "wb") as file:
    pickle.dump(result, file)
"""


def predict_elsewhere(library: str, model_file: Path, rows: Any) -> np.ndarray:
    """Return what the model file answers by itself: sigma or softmax of the margins."""
    with tempfile.TemporaryDirectory() as folder:
        rows_file, result_file = Path(folder, "rows.pkl"), Path(folder, "result.pkl")
        rows_file.write_bytes(pickle.dumps(rows))
        program = [sys.executable, "-c", _PROGRAM, library, str(model_file), str(rows_file), str(result_file)]
        subprocess.run(program, check=True)
        return pickle.loads(result_file.read_bytes())


def compare(library: str, model_file: Path, rows: Any, expected: np.ndarray) -> str:
    """One line that says how far the file's answers are from those of the model in memory; an error if not equal."""
    difference = float(np.abs(predict_elsewhere(library, model_file, rows) - expected).max())
    if not difference <= 1e-6:
        raise RuntimeError(f"{model_file} answers differently in a fresh process: by {difference:.1e} at most")
    return (
        f"{model_file}: a fresh process without focal_boost gives the same predictions "
        f"(largest difference {difference:.1e} over {len(expected):,} rows)"
    )
