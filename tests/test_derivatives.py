"""Losses, derivatives and posterior against the losses of `reference`, differentiated in high precision."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss

pytestmark = pytest.mark.usefixtures("kernels")

GAMMAS = [0.0, 0.3, 0.5, 1.0, 2.0, 3.7, 5.0, 8.0]
DTYPES = [np.float64, np.float32]
TOLERANCE = {np.dtype(np.float64): 1e-13, np.dtype(np.float32): 2 * 2.0**-24}

BINARY_ALPHAS = [None, 0.25, (0.03, 2.5)]
LABELS = [0.0, 1.0, 0.3]
SIZES = [1e-300, 1e-8, 0.5, 1.0, 1.7, 3.0, 10.0, 20.0, 36.7, 37.5, 88.0, 100.0, 103.5, 190.3, 300.0, 450.7, 709.0]
SIZES += [744.0, 745.2, 750.0]
MARGINS = np.array([-size for size in SIZES] + [0.0] + SIZES)

binary_cases = pytest.mark.parametrize("alpha", BINARY_ALPHAS, ids=str)
gammas = pytest.mark.parametrize("gamma", GAMMAS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
hessians = pytest.mark.parametrize("hessian", ["expected", "exact"])


def softmax_rows(n_classes):
    """Ordinary and enormous spreads, ties, and rows that one class or two dominate."""
    rng = np.random.default_rng(n_classes)
    rows = [*rng.normal(0, 3, (6, n_classes)), *rng.normal(0, 300, (6, n_classes))]
    rows.append(np.zeros(n_classes))
    for size in (12.5, 40.1, 700.3, 760.9):
        rows += [np.where(np.arange(n_classes) == 1, size, rng.normal(0, 1, n_classes))]
        rows += [np.where(np.arange(n_classes) == 0, -size, 0.25)]
    for size in (30.0, 400.0):
        rows += [np.where(np.arange(n_classes) < 2, size, -size)]
    return np.array(rows)


ROWS = {n_classes: softmax_rows(n_classes) for n_classes in (2, 3, 7)}
CLASS_WEIGHTS = {2: (0.2, 1.7), 3: (0.03, 1.0, 2.5), 7: (0.5, 3.0, 0.01, 1.0, 1.0, 0.2, 0.7)}
multiclass_cases = pytest.mark.parametrize(
    ("n_classes", "alpha"),
    [(k, alpha) for k, weights in CLASS_WEIGHTS.items() for alpha in (None, weights)],
    ids=lambda value: "alpha" if isinstance(value, tuple) else str(value),
)


def assert_accurate(got, expected, scale=None):
    """Relative error of each entry; absolute where the true value is below the smallest normal number."""
    smallest = mpf(float(np.finfo(got.dtype).smallest_normal))
    scale = expected if scale is None else scale
    assert got.shape == (len(expected),)
    with mp.workdps(50):
        for i, (value, true, size) in enumerate(zip(got.tolist(), expected, scale, strict=True)):
            error = abs(mpf(value) - true)
            if abs(true) < smallest:
                assert error < smallest, f"entry {i}: {value!r} for {mp.nstr(true, 20)}"
            else:
                relative = error / abs(size)
                message = f"entry {i}: {value!r} for {mp.nstr(true, 20)}, error {mp.nstr(relative, 3)}"
                assert relative <= TOLERANCE[got.dtype], message


def binary_pieces(y, z, gamma, alpha):
    """What the reference says of each margin: [loss, gradient, curvature], and the summands of each."""
    weights = binary_weights(alpha)
    results = [reference.binary(y, margin, gamma, weights) for margin in z.tolist()]
    totals = [list(column) for column in zip(*[total for total, _ in results], strict=True)]
    sizes = [[sum(abs(summands[label][i]) for label in (0, 1)) for _, summands in results] for i in range(3)]
    return totals, sizes


def binary_weights(alpha):
    if alpha is None:
        return 1.0, 1.0
    return alpha if isinstance(alpha, tuple) else (1 - alpha, alpha)


def binary_curvature_scale(y, z, gamma, alpha):
    """Sum of the sizes of the terms of the exact second derivative, which cancel where it changes its sign."""
    w0, w1 = binary_weights(alpha)
    gamma = mpf(gamma)
    scales = []
    for margin in z.tolist():
        with mp.workdps(800):
            p, q = (1 / (1 + mp.exp(-sign * mpf(margin))) for sign in (1, -1))
            a, b = -mp.log(p), -mp.log(q)
            one = p * q**gamma * (q * (1 + 2 * gamma) + q * gamma * a + gamma**2 * p * a)
            zero = q * p**gamma * (p * (1 + 2 * gamma) + p * gamma * b + gamma**2 * q * b)
            scales.append(mpf(y) * w1 * one + (1 - mpf(y)) * w0 * zero)
    return scales


def softmax_curvature_scale(t, z, gamma, weights):
    """The same for the diagonal of the softmax loss, class by class."""
    gamma = mpf(gamma)
    with mp.workdps(1500):
        exponentials = [mp.exp(mpf(margin) - mpf(max(z))) for margin in z]
        total = sum(exponentials)
        p = [e / total for e in exponentials]
        q = [(total - e) / total for e in exponentials]
        a = -mp.log(p[t])
        slope = q[t] ** gamma * (1 + gamma * p[t] * a / q[t])
        bend = gamma * p[t] * q[t] ** (gamma - 1) * (2 + a + abs(gamma - 1) * p[t] * a / q[t])
        residuals = [q[k] if k == t else p[k] for k in range(len(z))]
        return [weights[t] * (bend * r**2 + slope * p[k] * q[k]) for k, r in enumerate(residuals)]


# ---------------------------------------------------------------------------------------------------------------------
# Binary


@dtypes
@pytest.mark.parametrize("y", LABELS)
@gammas
@binary_cases
def test_binary_loss_and_gradient(alpha, gamma, y, dtype):
    z = MARGINS.astype(dtype)
    labels = np.full(len(z), y)
    loss = BinaryFocalLoss(gamma, alpha, max_step=None)
    (values, gradients, _), sizes = binary_pieces(y, z, gamma, alpha)
    assert_accurate(loss.loss(labels, z), values)
    assert_accurate(loss.gradient_hessian(labels, z)[0], gradients, sizes[1])


@dtypes
@pytest.mark.parametrize("y", LABELS)
@gammas
@binary_cases
def test_binary_exact_curvature(alpha, gamma, y, dtype):
    z = MARGINS.astype(dtype)
    loss = BinaryFocalLoss(gamma, alpha, hessian="exact", max_step=None)
    hessian = loss.gradient_hessian(np.full(len(z), y), z)[1]
    assert_accurate(hessian, binary_pieces(y, z, gamma, alpha)[0][2], binary_curvature_scale(y, z, gamma, alpha))


@dtypes
@pytest.mark.parametrize("y", LABELS)
@gammas
@binary_cases
def test_binary_expected_curvature(alpha, gamma, y, dtype):
    z = MARGINS.astype(dtype)
    hessian = BinaryFocalLoss(gamma, alpha, max_step=None).gradient_hessian(np.full(len(z), y), z)[1]
    weights = binary_weights(alpha)
    assert_accurate(hessian, [reference.binary_expected(margin, gamma, weights) for margin in z.tolist()])


@gammas
@binary_cases
def test_binary_expected_curvature_does_not_depend_on_the_label(alpha, gamma):
    loss = BinaryFocalLoss(gamma, alpha, max_step=None)
    curvatures = [loss.gradient_hessian(np.full(len(MARGINS), y), MARGINS)[1] for y in LABELS]
    np.testing.assert_array_equal(curvatures[0], curvatures[1])
    np.testing.assert_array_equal(curvatures[0], curvatures[2])


@dtypes
@gammas
@binary_cases
def test_binary_posterior(alpha, gamma, dtype):
    z = MARGINS.astype(dtype)
    proba = BinaryFocalLoss(gamma, alpha).predict_proba(z)
    expected = [reference.binary_posterior(margin, gamma, binary_weights(alpha)) for margin in z.tolist()]
    for label in (0, 1):
        # The probability is the exponential of a rounded logit of size (gamma + 1) |z|.
        condition = [1 + (1 + gamma) * abs(margin) / 100 for margin in z.tolist()]
        scale = [eta[label] * factor for eta, factor in zip(expected, condition, strict=True)]
        assert_accurate(proba[:, label], [eta[label] for eta in expected], scale)


# ---------------------------------------------------------------------------------------------------------------------
# Softmax


def tuples(z):
    return [tuple(row) for row in z.tolist()]


@dtypes
@gammas
@multiclass_cases
def test_multiclass_loss_and_gradient(n_classes, alpha, gamma, dtype):
    z = ROWS[n_classes].astype(dtype)
    loss = MulticlassFocalLoss(n_classes, gamma, alpha, max_step=None)
    weights = alpha or (1.0,) * n_classes
    for t in range(n_classes):
        labels = np.full(len(z), t)
        expected = [reference.multiclass(t, row, gamma, weights) for row in tuples(z)]
        assert_accurate(loss.loss(labels, z), [value for value, _, _ in expected])
        gradient = loss.gradient_hessian(labels, z)[0]
        for k in range(n_classes):
            assert_accurate(gradient[:, k], [values[k] for _, values, _ in expected])


@dtypes
@gammas
@multiclass_cases
def test_multiclass_exact_curvature(n_classes, alpha, gamma, dtype):
    z = ROWS[n_classes].astype(dtype)
    loss = MulticlassFocalLoss(n_classes, gamma, alpha, hessian="exact", max_step=None)
    weights = alpha or (1.0,) * n_classes
    for t in range(n_classes):
        hessian = loss.gradient_hessian(np.full(len(z), t), z)[1]
        expected = [reference.multiclass(t, row, gamma, weights)[2] for row in tuples(z)]
        scales = [softmax_curvature_scale(t, row, gamma, weights) for row in tuples(z)]
        for k in range(n_classes):
            assert_accurate(hessian[:, k], [row[k] for row in expected], [row[k] for row in scales])


@dtypes
@gammas
@multiclass_cases
def test_multiclass_expected_curvature(n_classes, alpha, gamma, dtype):
    z = ROWS[n_classes].astype(dtype)
    loss = MulticlassFocalLoss(n_classes, gamma, alpha, max_step=None)
    weights = alpha or (1.0,) * n_classes
    expected = [reference.multiclass_expected(row, gamma, weights) for row in tuples(z)]
    for t in range(n_classes):
        hessian = loss.gradient_hessian(np.full(len(z), t), z)[1]
        for k in range(n_classes):
            assert_accurate(hessian[:, k], [row[k] for row in expected])


@dtypes
@gammas
@multiclass_cases
def test_multiclass_posterior(n_classes, alpha, gamma, dtype):
    z = ROWS[n_classes].astype(dtype)
    proba = MulticlassFocalLoss(n_classes, gamma, alpha).predict_proba(z)
    expected = [reference.multiclass_posterior(row, gamma, alpha or (1.0,) * n_classes) for row in tuples(z)]
    # The probability is the exponential of a rounded logarithm of size (gamma + 1) times the spread of the margins.
    condition = [1 + (1 + gamma) * (max(row) - min(row)) / 100 for row in tuples(z)]
    for k in range(n_classes):
        values = [eta[k] for eta in expected]
        assert_accurate(proba[:, k], values, [v * c for v, c in zip(values, condition, strict=True)])


# ---------------------------------------------------------------------------------------------------------------------
# Margins without a reference: infinite ones and the largest numbers


def far_margins(dtype):
    largest = float(np.finfo(dtype).max)
    sizes = [np.inf, largest, largest / 2, largest / 1e3, 1e30, 1e6, 800.0]
    return np.array([*sizes, 0.0, *[-size for size in sizes]], dtype=dtype)


@dtypes
@pytest.mark.parametrize("max_step", [None, 8.0])
@hessians
@gammas
def test_binary_derivatives_are_finite_at_every_margin(gamma, hessian, max_step, dtype):
    z = far_margins(dtype)
    for alpha in BINARY_ALPHAS:
        loss = BinaryFocalLoss(gamma, alpha, hessian, max_step)
        for y in LABELS:
            g, h = loss.gradient_hessian(np.full(len(z), y), z)
            assert np.isfinite(g).all()
            assert np.isfinite(h).all()


@dtypes
@pytest.mark.parametrize("max_step", [None, 8.0])
@hessians
@gammas
def test_multiclass_derivatives_are_finite_at_every_margin(gamma, hessian, max_step, dtype):
    far = far_margins(dtype)
    grid = np.array(np.meshgrid(far, far, far)).reshape(3, -1).T
    loss = MulticlassFocalLoss(3, gamma, hessian=hessian, max_step=max_step)
    for t in range(3):
        g, h = loss.gradient_hessian(np.full(len(grid), t), grid)
        assert np.isfinite(g).all()
        assert np.isfinite(h).all()


@dtypes
@gammas
def test_losses_are_never_nan_or_negative(gamma, dtype):
    far = far_margins(dtype)
    for y in LABELS:
        assert (BinaryFocalLoss(gamma).loss(np.full(len(far), y), far) >= 0).all()
    pairs = np.array(np.meshgrid(far, far)).reshape(2, -1).T
    for t in (0, 1):
        assert (MulticlassFocalLoss(2, gamma).loss(np.full(len(pairs), t), pairs) >= 0).all()


@dtypes
@pytest.mark.parametrize("posterior", [True, False])
@gammas
def test_probabilities_are_proper_at_every_margin(gamma, posterior, dtype):
    far = far_margins(dtype)
    grid = np.array(np.meshgrid(far, far, far)).reshape(3, -1).T
    tolerance = 2 * float(np.finfo(dtype).eps)
    for proba in (
        BinaryFocalLoss(gamma).predict_proba(far, posterior=posterior),
        MulticlassFocalLoss(3, gamma).predict_proba(grid, posterior=posterior),
    ):
        assert ((proba >= 0) & (proba <= 1)).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=tolerance)


@gammas
def test_limits_of_the_binary_gradient(gamma):
    g, _ = BinaryFocalLoss(gamma).gradient_hessian([0, 0, 1, 1], [-np.inf, np.inf, -np.inf, np.inf])
    np.testing.assert_array_equal(g, [0, 1, -1, 0])


@gammas
def test_limits_of_the_multiclass_gradient(gamma):
    z = [[np.inf, 0, -np.inf]] * 3
    g, _ = MulticlassFocalLoss(3, gamma).gradient_hessian([0, 1, 2], z)
    np.testing.assert_array_equal(g, [[0, 0, 0], [1, -1, 0], [1, 0, -1]])


@gammas
def test_equal_infinities_are_ties(gamma):
    loss = MulticlassFocalLoss(3, gamma)
    for size in (np.inf, -np.inf, 1e308, -np.finfo(float).max):
        for got, tie in zip(
            loss.gradient_hessian([1], np.full((1, 3), size)), loss.gradient_hessian([1], np.zeros((1, 3))), strict=True
        ):
            np.testing.assert_array_equal(got, tie)


# ---------------------------------------------------------------------------------------------------------------------
# Difference quotients of the package's own losses

gamma_values = st.floats(0, 8)
margin_values = st.floats(-15, 15)
weight_values = st.floats(0.1, 3)


def difference_quotient(function, step=1e-3):
    """Fourth-order central difference at 0."""
    far, near = (function(k * step) - function(-k * step) for k in (2, 1))
    return (8 * near - far) / (12 * step)


@given(y=st.floats(0, 1), z=margin_values, gamma=gamma_values, w0=weight_values, w1=weight_values)
def test_binary_derivatives_match_difference_quotients(y, z, gamma, w0, w1):
    loss = BinaryFocalLoss(gamma, (w0, w1), hessian="exact", max_step=None)
    gradient, hessian = loss.gradient_hessian([y], [z])
    slope = difference_quotient(lambda step: loss.loss([y], [z + step])[0])
    curvature = difference_quotient(lambda step: loss.gradient_hessian([y], [z + step])[0][0])
    np.testing.assert_allclose(gradient[0], slope, rtol=0, atol=1e-9)
    np.testing.assert_allclose(hessian[0], curvature, rtol=0, atol=1e-9)


@given(
    z=st.lists(margin_values, min_size=4, max_size=4),
    t=st.integers(0, 3),
    gamma=gamma_values,
    weights=st.lists(weight_values, min_size=4, max_size=4),
)
def test_multiclass_derivatives_match_difference_quotients(z, t, gamma, weights):
    loss = MulticlassFocalLoss(4, gamma, weights, hessian="exact", max_step=None)
    gradient, hessian = loss.gradient_hessian([t], [z])
    for k in range(4):
        moved = np.eye(4)[k]
        slope = difference_quotient(lambda step, moved=moved: loss.loss([t], [z + step * moved])[0])
        curvature = difference_quotient(
            lambda step, k=k, moved=moved: loss.gradient_hessian([t], [z + step * moved])[0][0, k]
        )
        np.testing.assert_allclose(gradient[0, k], slope, rtol=0, atol=1e-9)
        np.testing.assert_allclose(hessian[0, k], curvature, rtol=0, atol=1e-9)
