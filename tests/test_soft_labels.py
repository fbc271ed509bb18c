"""Labels in [0, 1] through both libraries: what they stand for, and what they do not mean."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from libraries import each_library
from scipy.special import expit

from focal_boost import BinaryFocalLoss, FocalClassifier, MulticlassFocalLoss

EXAMPLES = Path(__file__).parent.parent / "examples"

# Leaves of both libraries count rows by Hessians or by number: only sums may decide here.
FREE = {
    "lightgbm": {"min_data_in_leaf": 1, "min_data_in_bin": 1, "min_sum_hessian_in_leaf": 0.5, "num_leaves": 7},
    "xgboost": {"tree_method": "hist", "min_child_weight": 0.5, "max_depth": 3},
}


@pytest.fixture
def one_row_a_class(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("soft_labels").one_row_a_class
    importlib.sys.modules.pop("soft_labels", None)
    importlib.sys.modules.pop("_data", None)


def draw(n_classes=2, n=600):
    """Integers as features, so that the bins do not depend on how often a row is given; shares of 1/4 each."""
    rng = np.random.default_rng(5)
    X = rng.integers(0, 12, (n, 4)).astype(float)
    score = np.stack([X[:, k] - 0.1 * X[:, 3] * k + rng.normal(size=n) for k in range(n_classes)], axis=1)
    best = np.argsort(-score, axis=1)[:, :2]
    shares = np.zeros((n, n_classes))
    first = rng.integers(2, 5, n) / 4
    np.put_along_axis(shares, best, np.stack([first, 1 - first], axis=1), axis=1)
    return X, shares


@each_library
@pytest.mark.parametrize("hessian", ["expected", "exact"])
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_a_soft_label_is_one_row_a_class(library, gamma, hessian, one_row_a_class):
    X, shares = draw()
    # The bound on a step is one for a row: two rows with the same margin may each reach it.
    loss = BinaryFocalLoss(gamma=gamma, alpha=0.6, hessian=hessian, max_step=None)
    t = shares[:, 1]
    rows, labels, weights = one_row_a_class(X, shares)
    assert loss.fit_intercept_only(t) == pytest.approx(loss.fit_intercept_only(labels, weights), rel=1e-12)
    objective = library.Objective(loss, loss.fit_intercept_only(t))
    options = FREE[library.name]
    soft = library.train(objective, library.data(X, t), rounds=10, **options)
    twice = library.train(objective, library.data(rows, labels, weights), rounds=10, **options)
    np.testing.assert_allclose(library.margins(soft, X), library.margins(twice, X), rtol=0, atol=2e-5)


@each_library
def test_gamma_0_fits_the_shares(library):
    X, shares = draw(n=3000)
    loss = BinaryFocalLoss(gamma=0.0)
    objective = library.Objective(loss, loss.fit_intercept_only(shares[:, 1]))
    train, valid = library.data(X, shares[:, 1]), library.data(X, shares[:, 1])
    booster = library.train(objective, train, rounds=40, valid=valid, **FREE[library.name])
    proba = expit(library.margins(booster, X) + (objective.intercept if library.name == "lightgbm" else 0))
    assert abs(proba.mean() - shares[:, 1].mean()) < 5e-3
    assert np.mean((proba - shares[:, 1]) ** 2) < 0.6 * shares[:, 1].var()  # about half of it is noise
    # The metric of soft labels is the cross-entropy with the shares.
    entropy = -np.mean(shares[:, 1] * np.log(proba) + shares[:, 0] * np.log1p(-proba))
    assert booster.log["log_loss"][-1] == pytest.approx(entropy, abs=2e-6)


@each_library
def test_soft_labels_of_several_classes_as_rows(library, one_row_a_class):
    X, shares = draw(n_classes=3)
    rows, labels, weights = one_row_a_class(X, shares)
    loss = MulticlassFocalLoss(3, gamma=1.0)
    objective = library.Objective(loss, loss.fit_intercept_only(labels, weights))
    booster = library.train(objective, library.data(rows, labels, weights), rounds=30)
    margins = library.margins(booster, X) + (objective.intercept if library.name == "lightgbm" else 0)
    proba = loss.predict_proba(margins)
    constant = np.average(np.eye(3)[labels], axis=0, weights=weights)
    assert -np.mean(np.sum(shares * np.log(proba), axis=1)) < -0.8 * np.mean(shares @ np.log(constant))


def test_softmax_losses_take_no_shares():
    loss = MulticlassFocalLoss(3)
    with pytest.raises(ValueError, match=r"0\.25"):
        loss.gradient_hessian(np.array([0.25, 1.0]), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"y_true has shape \(2, 3\)"):
        loss.gradient_hessian(np.full((2, 3), 1 / 3), np.zeros((2, 3)))


@pytest.mark.parametrize("t", [np.linspace(0, 1, 40), np.linspace(0, 1, 80).reshape(40, 2)], ids=["(n,)", "(n, 2)"])
@each_library
def test_the_classifier_takes_classes_only(library, t):
    with pytest.raises(ValueError, match="continuous|1d array"):
        FocalClassifier(library.classifier(**library.quiet)).fit(np.zeros((40, 1)), t)
