"""Tables for tests: drawn ones with a known seed, and the real ones that FOCAL_BOOST_DATA names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest


class Table(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def draw(n: int = 2000, n_classes: int = 2, seed: int = 0) -> Table:
    """A table with noise, interactions and unequal classes. Weights are exact in float32, as boosters keep them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8))
    score = 2 * X[:, 0] + X[:, 1] ** 2 - X[:, 2] * X[:, 3] + rng.logistic(size=n)
    edges = {2: [4.5], 3: [0.0, 4.0], 4: [-1.0, 1.0, 4.0]}[n_classes]
    return Table(X, np.digitize(score, edges), rng.uniform(0.5, 2, n).astype(np.float32).astype(np.float64))


def draw_rare(n: int, positives: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A table with few positives that are mostly, not wholly, told apart."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    y = np.zeros(n, dtype=int)
    y[:positives] = 1
    X[:positives, :3] += 1.9
    order = rng.permutation(n)
    return X[order], y[order]


def real(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of a real table; the test is skipped where there are none."""
    folder = os.environ.get("FOCAL_BOOST_DATA")
    if not folder:
        pytest.skip("FOCAL_BOOST_DATA does not name a folder with the evaluation tables")
    with np.load(Path(folder) / f"{name}.npz") as table:
        return table["X"], table["y"]
