"""Focal objectives of other packages behind one face; those that are not installed are left out.

``pip install --no-deps imbalance-xgboost bokbokbok gbdtCBL imlightgbm`` and ``pip install jaxboost ydf`` install them.
Each entry takes labels (float64, shape (n,)), margins (float64, shape (n,) or (n, K)) and gamma, and returns gradient
and second derivative. YDF's objective cannot be called: `ydf_step` and `ydf_mean_probability` ask its trees.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

Objective = Callable[[np.ndarray, np.ndarray, float], Any]


def _data(y: np.ndarray) -> Any:
    """What stands for a DMatrix or Dataset: it only has to know its labels, so that nothing else is timed."""
    return SimpleNamespace(get_label=lambda: y)


def catboost_formula(y: np.ndarray, z: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives as CatBoost's `Focal` defines them (alpha = 1/2), in NumPy; its own code is not callable."""
    p = np.clip(1 / (1 + np.exp(-z)), 1e-13, 1 - 1e-13)
    sign = 2 * y - 1
    pt = np.where(y == 1, p, 1 - p)
    power, inner = 0.5 * (1 - pt) ** gamma, gamma * pt * np.log(pt) + pt - 1
    slope = gamma * np.log(pt) + gamma + 1
    gradient = sign * power * inner
    return gradient, (power * slope - gamma * power / (1 - pt) * inner) * pt * (1 - pt)


def binary_peers() -> dict[str, Objective]:
    """Binary objectives by name."""
    peers: dict[str, Objective] = {"CatBoost's formula": catboost_formula}
    try:
        from imxgboost.focal_loss import Focal_Binary_Loss

        peers["imbalance-xgboost"] = lambda y, z, gamma: Focal_Binary_Loss(gamma).focal_binary_object(z, _data(y))
    except ImportError:
        pass
    try:
        from bokbokbok.loss_functions.classification import WeightedFocalLoss

        peers["bokbokbok"] = lambda y, z, gamma: WeightedFocalLoss(alpha=1.0, gamma=gamma)(z, _data(y))
    except ImportError:
        pass
    try:
        from gbdtCBL.binary import FLLoss

        peers["gbdtCBL"] = lambda y, z, gamma: FLLoss(gamma)(y, z)
    except ImportError:
        pass
    try:
        from imlightgbm.objective import binary_focal_objective

        peers["imlightgbm"] = binary_focal_objective
    except ImportError:
        pass
    try:
        from jaxboost.objective import focal_loss
    except ImportError:
        return peers

    def jaxboost(y: np.ndarray, z: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        gradient, hessian = focal_loss.grad_hess(z, y, gamma=gamma, alpha=0.5)
        return 2 * np.asarray(gradient), 2 * np.asarray(hessian)  # alpha weighs the other class by 1 - alpha

    return {**peers, "jaxboost": jaxboost}


def multiclass_peers(n_classes: int) -> dict[str, Objective]:
    """Multiclass objectives by name."""
    peers: dict[str, Objective] = {}
    try:
        from gbdtCBL.xgbmulti import XGBFLMulti

        peers["gbdtCBL"] = lambda y, z, gamma: XGBFLMulti(gamma)(y, z)
    except ImportError:
        pass
    try:
        from imlightgbm.objective import multiclass_focal_objective

        peers["imlightgbm"] = lambda y, z, gamma: multiclass_focal_objective(y, z, gamma, n_classes)
    except ImportError:
        pass
    try:
        from jaxboost.objective import focal_multiclass

        peers["jaxboost"] = lambda y, z, gamma: focal_multiclass(n_classes, gamma=gamma).grad_hess(z, y)
    except ImportError:
        pass
    return peers


def ydf_step(gamma: float, positives: int, negatives: int) -> tuple[float, float]:
    """Margin from which YDF starts on so many labels, and the value of the leaf of its first tree with label 0.

    The only feature is the label, so that a leaf holds rows that are alike: its value is the negative of gradient by
    second derivative.
    """
    import ydf

    ydf.verbose(0)
    y = np.repeat([1, 0], [positives, negatives])
    learner = ydf.GradientBoostedTreesLearner(
        label="y",
        task=ydf.Task.CLASSIFICATION,
        loss="BINARY_FOCAL_LOSS",
        focal_loss_gamma=gamma,
        num_trees=1,
        shrinkage=1.0,
        max_depth=2,
        min_examples=1,
        validation_ratio=0.0,
        early_stopping="NONE",
        l2_regularization=0.0,
    )
    model = learner.train({"x": y.astype(np.float32), "y": y})
    return float(model.initial_predictions()[0]), float(model.get_tree(0).root.neg_child.value.value)


def ydf_mean_probability(loss: str) -> tuple[float, float]:
    """Share of the positives and the mean probability that YDF gives them, on its training rows, at its defaults."""
    import ydf

    ydf.verbose(0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 5))
    y = (rng.random(len(X)) < 1 / (1 + np.exp(4 - 1.5 * X[:, 0]))).astype(int)
    table = {**{f"x{i}": X[:, i].astype(np.float32) for i in range(5)}, "y": y}
    model = ydf.GradientBoostedTreesLearner(label="y", task=ydf.Task.CLASSIFICATION, loss=loss).train(table)
    return float(y.mean()), float(model.predict(table).mean())
