"""Losses, derivatives and posterior of both links against `reference`, in arbitrary precision."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss, losses
from focal_boost.kernels import numpy as numpy_kernels

pytestmark = pytest.mark.usefixtures("kernels")

LINKS = ["logit", "focal"]
PER_CLASS = {2: (1.0, 4.0), 3: (0.0, 2.0, 0.5), 7: (2.0, 0.0, 1.0, 2.0, 5.5, 0.3, 1.0)}
GAMMAS = [0.0, 1e-3, 0.3, 0.5, 1.0, 2.0, 3.7, 8.0, 50.0, "per class"]
DTYPES = [np.float64, np.float32]

BINARY_ALPHAS = [None, 0.25, (0.03, 2.5)]
LABELS = [0.0, 1.0, 0.3]
SIZES = [1e-300, 1e-8, 0.5, 1.0, 1.7, 3.0, 10.0, 20.0, 36.7, 37.5, 88.0, 100.0, 103.5, 190.3, 300.0, 450.7, 709.0]
SIZES += [715.5, 717.0, 744.0, 745.2, 750.0]
MARGINS = np.array([-size for size in SIZES] + [0.0] + SIZES)
# The same, rounded, so that the reference is asked for most of them once.
MARGINS[np.abs(MARGINS) > 1e-200] = MARGINS[np.abs(MARGINS) > 1e-200].astype(np.float32)

links = pytest.mark.parametrize("link", LINKS)
binary_cases = pytest.mark.parametrize("alpha", BINARY_ALPHAS, ids=str)
gammas = pytest.mark.parametrize("gamma", GAMMAS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
hessians = pytest.mark.parametrize("hessian", ["expected", "exact"])


def softmax_rows(n_classes):
    """Ordinary and enormous spreads, ties, a common offset, and rows that one class or two dominate."""
    rng = np.random.default_rng(n_classes)
    n = {2: 4, 3: 8, 7: 2}[n_classes]  # two classes are met as the binary loss too
    rows = [*rng.normal(0, 3, (n, n_classes)), *rng.normal(0, 300, (n, n_classes))]
    rows += [np.zeros(n_classes), 1e4 + rng.normal(0, 3, n_classes)]
    for size in (12.5, 40.1, 700.3, 760.9):
        rows += [np.where(np.arange(n_classes) == 1, size, rng.normal(0, 1, n_classes))]
        rows += [np.where(np.arange(n_classes) == 0, -size, 0.25)]
    for size in (30.0, 400.0):
        rows += [np.where(np.arange(n_classes) < 2, size, -size)]
    return np.array(rows)


ROWS = {n_classes: softmax_rows(n_classes) for n_classes in (2, 3, 7)}
CLASS_WEIGHTS = {2: (0.2, 1.7), 3: (0.03, 1.0, 2.5), 7: (0.5, 3.0, 0.01, 1.0, 1.0, 0.2, 0.7)}
multiclass_cases = pytest.mark.parametrize(
    ("n_classes", "alpha", "gamma"),
    [
        (k, alpha, gamma)
        for k, weights in CLASS_WEIGHTS.items()
        for alpha in (None, weights)
        for gamma in (GAMMAS if k < 7 else [0.0, 1e-3, 2.0, 50.0, "per class"])
    ],
    ids=lambda value: "alpha" if isinstance(value, tuple) else str(value),
)


def of_each_class(gamma, n_classes=2):
    """What a loss is given for a gamma of the list, and the same as one number a class."""
    if gamma == "per class":
        return PER_CLASS[n_classes], PER_CLASS[n_classes]
    return gamma, (gamma,) * n_classes


def tolerance(dtype, link):
    """Relative error that is allowed."""
    if dtype == np.float32:
        return (8 if hasattr(losses.kernels, "cuda") else 2) * 2.0**-24
    if losses.kernels is numpy_kernels:
        return 1e-12
    return 5e-14 if link == "focal" else 1e-10


def assert_accurate(got, expected, link, scale=None):
    """Relative error of each entry; absolute where the true value is below the smallest normal number."""
    smallest = mpf(float(np.finfo(got.dtype).smallest_normal))
    if got.dtype == np.float32 and hasattr(losses.kernels, "cuda"):
        smallest *= 4  # a GPU makes 0 of smaller numbers, before class weights of up to 2.5 multiply them
    allowed = tolerance(got.dtype, link)
    scale = expected if scale is None else scale
    assert got.shape == (len(expected),)
    with mp.workdps(50):
        for i, (value, true, size) in enumerate(zip(got.tolist(), expected, scale, strict=True)):
            # The same question in double precision is quickly asked, with some room for its own rounding.
            if abs(true) >= smallest and abs(value - float(true)) <= 0.9 * allowed * float(abs(size)):
                continue
            error = abs(mpf(value) - true)
            if abs(true) < smallest and error < smallest:
                continue
            relative = error / abs(size)
            assert relative <= allowed, f"entry {i}: {value!r} for {mp.nstr(true, 20)}, error {mp.nstr(relative, 3)}"


def tuples(z):
    return [tuple(row) for row in z.tolist()]


def binary_weights(alpha):
    if alpha is None:
        return 1.0, 1.0
    return alpha if isinstance(alpha, tuple) else (1 - alpha, alpha)


def binary_rows(link, z, gamma, alpha):
    return [reference.row(link, (0.0, margin), gamma, binary_weights(alpha)) for margin in z.tolist()]


def mixed(y, pairs):
    """Values of label y, and the sizes of what is added up, from those of label 0 and label 1."""
    with mp.workdps(reference.KEPT):
        summands = [((1 - mpf(y)) * zero, mpf(y) * one) for zero, one in pairs]
        return [zero + one for zero, one in summands], [abs(zero) + abs(one) for zero, one in summands]


def curvature_terms(link, margins, gamma, class_weight):
    """Sums of the sizes of the terms of the exact second derivative [t][k], which cancel where it changes its sign."""
    if link == "logit":
        return reference.row(link, margins, gamma, class_weight).terms
    with mp.workdps(30):
        sizes = [focal_curvature_terms(t, margins, gamma[t]) for t in range(len(margins))]
        return [[mpf(w) * size for size in row] for w, row in zip(class_weight, sizes, strict=True)]


@cache
def focal_curvature_terms(t, z, gamma):
    """For the margins of the paper, class by class, without class weight."""
    gamma = mpf(gamma)
    with mp.workdps(30):
        exponentials = [mp.exp(mpf(margin) - mpf(max(z))) for margin in z]
        total = sum(exponentials)
        p = [e / total for e in exponentials]
        others = [sum(exponentials[:k] + exponentials[k + 1 :]) for k in range(len(z))]
        q = [rest / total for rest in others]
        a = mp.log1p(others[t] / exponentials[t])
        slope = q[t] ** gamma * (1 + gamma * p[t] * a / q[t])
        bend = gamma * p[t] * q[t] ** (gamma - 1) * (2 + a + abs(gamma - 1) * p[t] * a / q[t])
        residuals = [q[k] if k == t else p[k] for k in range(len(z))]
        return [bend * r**2 + slope * p[k] * q[k] for k, r in enumerate(residuals)]


# ---------------------------------------------------------------------------------------------------------------------
# The reference itself


@pytest.mark.parametrize("kernels", ["numpy"], indirect=True)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("gamma", [0.0, 1e-3, 2.0, "per class"])
def test_reference_of_the_logit_link_is_the_derivative_of_its_losses(gamma, n_classes):
    """The equations that define the probabilities, solved anew beside each margin."""
    _, gamma = of_each_class(gamma, n_classes)
    for margins in [(0.0,) * n_classes, *tuples(np.random.default_rng(0).normal(0, 8, (4, n_classes)))]:
        row = reference.row("logit", margins, gamma, CLASS_WEIGHTS[n_classes])
        for ours, theirs in zip(
            (row.gradient, row.curvature), reference.resolved(margins, gamma, CLASS_WEIGHTS[n_classes]), strict=True
        ):
            with mp.workdps(reference.KEPT):
                assert all(
                    abs(a - b) < abs(b) * mpf(10) ** -50
                    for one, other in zip(ours, theirs, strict=True)
                    for a, b in zip(one, other, strict=True)
                )


@pytest.mark.parametrize("kernels", ["numpy"], indirect=True)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("gamma", [0.0, 1e-3, 2.0, "per class"])
def test_closed_forms_of_the_logit_link(gamma, n_classes):
    """``r = dp / d theta``, theta = -log(-L'), has shares rho of its sum R: gradient and both curvatures in these."""
    _, gamma = of_each_class(gamma, n_classes)
    weights = CLASS_WEIGHTS[n_classes]
    for margins in tuples(np.random.default_rng(0).normal(0, 8, (4, n_classes))):
        row = reference.row("logit", margins, gamma, weights)
        with mp.workdps(100):
            goals = [mpf(f) + mp.log(mpf(w)) for f, w in zip(margins, weights, strict=True)]
            at = reference.best_probabilities(goals, [mpf(g) for g in gamma], 100)
            r = []
            for c, g in zip(at, map(mpf, gamma), strict=True):
                odds = c.q / c.p
                r.append(c.p * c.q / ((g - 1) * c.p + (odds + g * c.q) / (odds - g * mp.log(c.p))))
            total = sum(r)
            rho = [x / total for x in r]
            theta = [-c.log_slope for c in at]
            level = goals[0] - theta[0]
            pull = mp.exp(level) / sum(mp.exp(mpf(f)) for f in margins)  # c
            for t in range(n_classes):
                weight = mpf(weights[t]) * r[t] * mp.exp(-theta[t])
                for k in range(n_classes):
                    assert abs(row.gradient[t][k] - weight * (rho[k] - (k == t))) < mpf(10) ** -60
            for k in range(n_classes):
                assert abs(row.expected[k] - pull * total * rho[k] * (1 - rho[k])) < mpf(10) ** -60


# ---------------------------------------------------------------------------------------------------------------------
# Binary


@links
@dtypes
@gammas
@binary_cases
def test_binary_loss_and_gradient(alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma)
    z = MARGINS.astype(dtype)
    loss = BinaryFocalLoss(gamma, alpha, max_step=None, link=link)
    rows = binary_rows(link, z, each, alpha)
    for y in LABELS:
        labels = np.full(len(z), y)
        assert_accurate(loss.loss(labels, z), mixed(y, [row.loss for row in rows])[0], link)
        gradients, sizes = mixed(y, [[values[1] for values in row.gradient] for row in rows])
        assert_accurate(loss.gradient_hessian(labels, z)[0], gradients, link, sizes)


@links
@dtypes
@gammas
@binary_cases
def test_binary_exact_curvature(alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma)
    z = MARGINS.astype(dtype)
    loss = BinaryFocalLoss(gamma, alpha, hessian="exact", max_step=None, link=link)
    rows = binary_rows(link, z, each, alpha)
    sizes = [curvature_terms(link, (0.0, margin), each, binary_weights(alpha)) for margin in z.tolist()]
    for y in LABELS:
        hessian = loss.gradient_hessian(np.full(len(z), y), z)[1]
        curvatures, _ = mixed(y, [[values[1] for values in row.curvature] for row in rows])
        scale, _ = mixed(y, [[values[1] for values in size] for size in sizes])
        assert_accurate(hessian, curvatures, link, scale)


@links
@dtypes
@gammas
@binary_cases
def test_binary_expected_curvature(alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma)
    z = MARGINS.astype(dtype)
    loss = BinaryFocalLoss(gamma, alpha, max_step=None, link=link)
    expected = [row.expected[1] for row in binary_rows(link, z, each, alpha)]
    for y in LABELS:
        assert_accurate(loss.gradient_hessian(np.full(len(z), y), z)[1], expected, link)


@links
@gammas
@binary_cases
def test_binary_expected_curvature_does_not_depend_on_the_label(alpha, gamma, link):
    loss = BinaryFocalLoss(of_each_class(gamma)[0], alpha, max_step=None, link=link)
    curvatures = [loss.gradient_hessian(np.full(len(MARGINS), y), MARGINS)[1] for y in LABELS]
    np.testing.assert_array_equal(curvatures[0], curvatures[1])
    np.testing.assert_array_equal(curvatures[0], curvatures[2])


def posterior_scale(eta, link, dtype, size, gamma):
    """Under the focal link a probability is the exponential of a logit of size (gamma + 1) |z|, rounded to a double."""
    if link == "logit" or dtype == np.float32:
        return eta
    return [value * (1 + (1 + max(gamma)) * size / 100) for value in eta]


@links
@dtypes
@gammas
@binary_cases
def test_binary_posterior(alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma)
    z = MARGINS.astype(dtype)
    proba = BinaryFocalLoss(gamma, alpha, link=link).predict_proba(z)
    expected = [row.posterior for row in binary_rows(link, z, each, alpha)]
    scale = [posterior_scale(eta, link, dtype, abs(x), each) for eta, x in zip(expected, z.tolist(), strict=True)]
    for label in (0, 1):
        assert_accurate(proba[:, label], [eta[label] for eta in expected], link, [size[label] for size in scale])


# ---------------------------------------------------------------------------------------------------------------------
# Softmax


def margins_of(n_classes, dtype):
    """All rows in double precision, of which single precision needs fewer."""
    return ROWS[n_classes] if dtype == np.float64 else ROWS[n_classes][::3].astype(dtype)


def multiclass_rows(link, z, gamma, alpha):
    return [reference.row(link, row, gamma, alpha or (1.0,) * z.shape[1]) for row in tuples(z)]


@links
@dtypes
@multiclass_cases
def test_multiclass_loss_and_gradient(n_classes, alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma, n_classes)
    z = margins_of(n_classes, dtype)
    loss = MulticlassFocalLoss(n_classes, gamma, alpha, max_step=None, link=link)
    expected = multiclass_rows(link, z, each, alpha)
    for t in range(n_classes):
        labels = np.full(len(z), t)
        assert_accurate(loss.loss(labels, z), [row.loss[t] for row in expected], link)
        gradient = loss.gradient_hessian(labels, z)[0]
        for k in range(n_classes):
            assert_accurate(gradient[:, k], [row.gradient[t][k] for row in expected], link)


@links
@dtypes
@multiclass_cases
def test_multiclass_exact_curvature(n_classes, alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma, n_classes)
    z = margins_of(n_classes, dtype)
    loss = MulticlassFocalLoss(n_classes, gamma, alpha, hessian="exact", max_step=None, link=link)
    expected = multiclass_rows(link, z, each, alpha)
    sizes = [curvature_terms(link, row, each, alpha or (1.0,) * n_classes) for row in tuples(z)]
    for t in range(n_classes):
        hessian = loss.gradient_hessian(np.full(len(z), t), z)[1]
        for k in range(n_classes):
            assert_accurate(
                hessian[:, k], [row.curvature[t][k] for row in expected], link, [size[t][k] for size in sizes]
            )


@links
@dtypes
@multiclass_cases
def test_multiclass_expected_curvature(n_classes, alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma, n_classes)
    z = margins_of(n_classes, dtype)
    loss = MulticlassFocalLoss(n_classes, gamma, alpha, max_step=None, link=link)
    expected = multiclass_rows(link, z, each, alpha)
    for t in range(n_classes):
        hessian = loss.gradient_hessian(np.full(len(z), t), z)[1]
        for k in range(n_classes):
            assert_accurate(hessian[:, k], [row.expected[k] for row in expected], link)


@links
@dtypes
@multiclass_cases
def test_multiclass_posterior(n_classes, alpha, gamma, dtype, link):
    gamma, each = of_each_class(gamma, n_classes)
    z = margins_of(n_classes, dtype)
    proba = MulticlassFocalLoss(n_classes, gamma, alpha, link=link).predict_proba(z)
    expected = [row.posterior for row in multiclass_rows(link, z, each, alpha)]
    scale = [
        posterior_scale(eta, link, dtype, max(row) - min(row), each)
        for eta, row in zip(expected, tuples(z), strict=True)
    ]
    for k in range(n_classes):
        assert_accurate(proba[:, k], [eta[k] for eta in expected], link, [size[k] for size in scale])


@links
@multiclass_cases
def test_log_loss(n_classes, alpha, gamma, link):
    """The logarithm of the posterior, also where the posterior itself is below the smallest number."""
    gamma, each = of_each_class(gamma, n_classes)
    z = ROWS[n_classes][::3]
    loss = MulticlassFocalLoss(n_classes, gamma, alpha, link=link)
    for margins, row in zip(z, multiclass_rows(link, z, each, alpha), strict=True):
        for t in range(n_classes):
            with mp.workdps(reference.KEPT):
                true = -mp.log(row.posterior[t]) if row.posterior[t] < 0.5 else -mp.log1p(row.posterior[t] - 1)
            error = abs(loss.log_loss([t], [margins]) - true)
            assert error <= 1e-12 * true + 1e-300 + (1 + max(each)) * np.ptp(margins) * 2e-14 * (link == "focal")


# ---------------------------------------------------------------------------------------------------------------------
# Margins without a reference: infinite ones and the largest numbers


def far_margins(dtype):
    largest = float(np.finfo(dtype).max)
    sizes = [np.inf, largest, largest / 2, largest / 1e3, 1e30, 1e6, 800.0]
    return np.array([*sizes, 0.0, *[-size for size in sizes]], dtype=dtype)


@links
@dtypes
@pytest.mark.parametrize("max_step", [None, 8.0])
@hessians
@gammas
def test_binary_derivatives_are_finite_at_every_margin(gamma, hessian, max_step, dtype, link):
    z = far_margins(dtype)
    for alpha in BINARY_ALPHAS:
        loss = BinaryFocalLoss(of_each_class(gamma)[0], alpha, hessian, max_step, link)
        for y in LABELS:
            g, h = loss.gradient_hessian(np.full(len(z), y), z)
            assert np.isfinite(g).all()
            assert np.isfinite(h).all()


@links
@dtypes
@pytest.mark.parametrize("max_step", [None, 8.0])
@hessians
@gammas
def test_multiclass_derivatives_are_finite_at_every_margin(gamma, hessian, max_step, dtype, link):
    far = far_margins(dtype)
    grid = np.array(np.meshgrid(far, far, far)).reshape(3, -1).T
    loss = MulticlassFocalLoss(3, of_each_class(gamma, 3)[0], hessian=hessian, max_step=max_step, link=link)
    for t in range(3):
        g, h = loss.gradient_hessian(np.full(len(grid), t), grid)
        assert np.isfinite(g).all()
        assert np.isfinite(h).all()


@links
@dtypes
@gammas
def test_losses_are_never_nan_or_negative(gamma, dtype, link):
    gamma, _ = of_each_class(gamma)
    far = far_margins(dtype)
    for y in LABELS:
        assert (BinaryFocalLoss(gamma, link=link).loss(np.full(len(far), y), far) >= 0).all()
    pairs = np.array(np.meshgrid(far, far)).reshape(2, -1).T
    for t in (0, 1):
        assert (MulticlassFocalLoss(2, gamma, link=link).loss(np.full(len(pairs), t), pairs) >= 0).all()


@links
@dtypes
@gammas
def test_probabilities_are_proper_at_every_margin(gamma, dtype, link):
    far = far_margins(dtype)
    grid = np.array(np.meshgrid(far, far, far)).reshape(3, -1).T
    allowed = 2 * float(np.finfo(dtype).eps)
    for proba in (
        BinaryFocalLoss(of_each_class(gamma)[0], link=link).predict_proba(far),
        MulticlassFocalLoss(3, of_each_class(gamma, 3)[0], link=link).predict_proba(grid),
    ):
        assert ((proba >= 0) & (proba <= 1)).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=allowed)


def share_of_the_rest(link, gamma):
    """Part of a hopeless row's gradient that goes to the sure class: under the logit link p moves less than eta."""
    return 1 / (1 + gamma) if link == "logit" else 1.0


@links
@gammas
def test_limits_of_the_binary_gradient(gamma, link):
    gamma, each = of_each_class(gamma)
    g, h = BinaryFocalLoss(gamma, link=link).gradient_hessian([0, 0, 1, 1], [-np.inf, np.inf, -np.inf, np.inf])
    zero, one = (share_of_the_rest(link, x) for x in each)
    np.testing.assert_allclose(g, [0, one, -zero, 0], rtol=tolerance(g.dtype, link))
    np.testing.assert_allclose(h, np.abs(g) / 8, rtol=4e-16)


@links
@gammas
def test_limits_of_the_multiclass_gradient(gamma, link):
    gamma, each = of_each_class(gamma, 3)
    z = [[np.inf, 0, -np.inf]] * 3
    g, h = MulticlassFocalLoss(3, gamma, link=link).gradient_hessian([0, 1, 2], z)
    sure = share_of_the_rest(link, each[0])
    rtol = tolerance(g.dtype, link)
    smallest = float(np.finfo(g.dtype).smallest_normal)
    np.testing.assert_allclose(g, [[0, 0, 0], [sure, -sure, 0], [sure, 1 - sure, -1]], rtol=rtol, atol=smallest)
    np.testing.assert_allclose(h, np.abs(g) / 8, rtol=4e-16)


@links
@gammas
def test_equal_infinities_are_ties(gamma, link):
    loss = MulticlassFocalLoss(3, of_each_class(gamma, 3)[0], link=link)
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
link_values = st.sampled_from(LINKS)


def difference_quotient(function, step=1e-3):
    """Fourth-order central difference at 0."""
    far, near = (function(k * step) - function(-k * step) for k in (2, 1))
    return (8 * near - far) / (12 * step)


def quotient_error(link):
    """What a quotient makes of the errors of its values; 1e-9 is that of the method."""
    return max(1e-9, tolerance(np.dtype(np.float64), link) / 1e-3)


@given(
    y=st.floats(0, 1),
    z=margin_values,
    gamma=st.tuples(gamma_values, gamma_values),
    weights=st.tuples(weight_values, weight_values),
    link=link_values,
)
def test_binary_derivatives_match_difference_quotients(y, z, gamma, weights, link):
    loss = BinaryFocalLoss(gamma, weights, hessian="exact", max_step=None, link=link)
    gradient, hessian = loss.gradient_hessian([y], [z])
    slope = difference_quotient(lambda step: loss.loss([y], [z + step])[0])
    curvature = difference_quotient(lambda step: loss.gradient_hessian([y], [z + step])[0][0])
    np.testing.assert_allclose(gradient[0], slope, rtol=0, atol=quotient_error(link))
    np.testing.assert_allclose(hessian[0], curvature, rtol=0, atol=quotient_error(link))


@given(
    z=st.lists(margin_values, min_size=4, max_size=4),
    t=st.integers(0, 3),
    gamma=st.lists(gamma_values, min_size=4, max_size=4),
    weights=st.lists(weight_values, min_size=4, max_size=4),
    link=link_values,
)
def test_multiclass_derivatives_match_difference_quotients(z, t, gamma, weights, link):
    loss = MulticlassFocalLoss(4, gamma, weights, hessian="exact", max_step=None, link=link)
    gradient, hessian = loss.gradient_hessian([t], [z])
    for k in range(4):
        moved = np.eye(4)[k]
        slope = difference_quotient(lambda step, moved=moved: loss.loss([t], [z + step * moved])[0])
        curvature = difference_quotient(
            lambda step, k=k, moved=moved: loss.gradient_hessian([t], [z + step * moved])[0][0, k]
        )
        np.testing.assert_allclose(gradient[0, k], slope, rtol=0, atol=quotient_error(link))
        np.testing.assert_allclose(hessian[0, k], curvature, rtol=0, atol=quotient_error(link))
