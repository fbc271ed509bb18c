"""What a type checker tells a user of the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")

ROOT = Path(__file__).parent.parent
SNIPPET = """
import numpy as np
from focal_boost import BinaryFocalLoss, FocalClassifier, FocalClassifierCV, MulticlassFocalLoss

X, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])

class Own(FocalClassifier): ...

reveal_type(FocalClassifier(gamma=2.0, alpha="balanced").fit(X, y, eval_set=[(X, y)]))
reveal_type(Own(alpha={0: 1.0, 1: 2.0}).fit(X, y, [1.0, 1.0, 2.0, 2.0]))
reveal_type(Own.load("model.focal"))
reveal_type(FocalClassifier().predict_proba(X))
reveal_type(FocalClassifierCV(gammas=(0, 2.0), cv=[(y, y)]).fit(X, y))
reveal_type(FocalClassifierCV().best_estimator_)
reveal_type(MulticlassFocalLoss(3, alpha=[1, 2, 3.0])([0, 1], X))
reveal_type(BinaryFocalLoss().gradient_hessian(y, X[:, 0])[0])
reveal_type(BinaryFocalLoss().log_loss_scale(0.5))
"""
REVEALED = [
    "FocalClassifier",
    "Own",
    "Own",
    "ndarray[tuple[Any, ...], dtype[floating[Any]]]",
    "FocalClassifierCV",
    "FocalClassifier",
    "float",
    "ndarray[tuple[Any, ...], dtype[floating[Any]]]",
    "float",
]
# A line, and what is wrong with it.
REFUSED = [
    ('BinaryFocalLoss(gamma="2")', "arg-type"),
    ('BinaryFocalLoss(hessian="newton")', "arg-type"),
    ("FocalClassifier().save(3)", "arg-type"),
    ("FocalClassifier(learning_rate=0.1)", "call-arg"),
]


def run_mypy(folder, text):
    source = folder / "snippet.py"
    source.write_text(text)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert not result.stderr, result.stderr
    return result.stdout


def test_types_that_a_user_sees(tmp_path):
    out = run_mypy(tmp_path, SNIPPET + "\n".join(line for line, _ in REFUSED))
    found = re.findall(r'note: Revealed type is "(.*)"', out)
    short = [re.sub(r"\b[\w.]+\.", "", name) for name in found]
    assert short == REVEALED, out
    first = SNIPPET.count("\n") + 1
    errors = {int(line): code for line, code in re.findall(r"snippet\.py:(\d+): error: .*\[([\w-]+)\]", out)}
    expected = {first + i: code for i, (_, code) in enumerate(REFUSED)}
    assert errors == expected, out
