"""Losses, derivatives and posterior of both links against `reference`, in arbitrary precision."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

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


ROWS = {"binary": np.column_stack([np.zeros_like(MARGINS), MARGINS])}
ROWS |= {n_classes: softmax_rows(n_classes) for n_classes in (2, 3, 7)}
CLASS_WEIGHTS = {2: (0.2, 1.7), 3: (0.03, 1.0, 2.5), 7: (0.5, 3.0, 0.01, 1.0, 1.0, 0.2, 0.7)}
WEIGHTS = {"binary": BINARY_ALPHAS, **{n_classes: (None, weights) for n_classes, weights in CLASS_WEIGHTS.items()}}
# The binary loss, or a number of classes.
kinds = pytest.mark.parametrize("kind", WEIGHTS)


def of_each_class(gamma, n_classes=2):
    """What a loss is given for a gamma of the list, and the same as one number a class."""
    if gamma == "per class":
        return PER_CLASS[n_classes], PER_CLASS[n_classes]
    return gamma, (gamma,) * n_classes


class Truth(NamedTuple):
    """What `reference` says of each row of margins, t its label."""

    loss: np.ndarray  # [row, t]
    gradient: np.ndarray  # [row, t, k]
    curvature: np.ndarray  # [row, t, k]
    terms: np.ndarray  # [row, t, k]: sums of the sizes of the curvature's terms, which cancel where its sign changes
    expected: np.ndarray  # [row, k]
    posterior: np.ndarray  # [row, k]


@cache
def truth(link, kind, gamma, alpha, dtype):
    if kind == "binary":
        weights = (1.0, 1.0) if alpha is None else alpha if isinstance(alpha, tuple) else (1 - alpha, alpha)
    else:
        weights = alpha or (1.0,) * kind
    margins = [tuple(row) for row in rows(kind, dtype).tolist()]
    found = [reference.row(link, row, gamma, weights) for row in margins]
    terms = [
        row.terms if link == "logit" else focal_curvature_terms(at, gamma, weights)
        for at, row in zip(margins, found, strict=True)
    ]
    fields = ([getattr(row, name) for row in found] for name in ("loss", "gradient", "curvature"))
    rest = ([getattr(row, name) for row in found] for name in ("expected", "posterior"))
    return Truth(*(np.array(values, dtype=object) for values in (*fields, terms, *rest)))


def rows(kind, dtype):
    """All rows in double precision, of which those of several classes need fewer in single precision."""
    return ROWS[kind].astype(dtype) if dtype == np.float64 or kind == "binary" else ROWS[kind][::3].astype(dtype)


def each_loss(kind, link, dtype, **options):
    """Each gamma and alpha: margins as the loss takes them, the loss, the truth, one gamma a class."""
    n_classes = 2 if kind == "binary" else kind
    margins = rows(kind, dtype)
    for gamma in GAMMAS if n_classes < 7 else [0.0, 1e-3, 2.0, 50.0, "per class"]:
        gamma, each = of_each_class(gamma, n_classes)
        for alpha in WEIGHTS[kind]:
            true = truth(link, kind, each, alpha, dtype)
            if kind == "binary":
                yield margins[:, 1], BinaryFocalLoss(gamma, alpha, link=link, **options), true, each
            else:
                yield margins, MulticlassFocalLoss(kind, gamma, alpha, link=link, **options), true, each


def of_label(kind, label, table):
    """Entries of a table [row, t, ...] for one label, which may be soft, and the sizes of what is added up."""
    if kind != "binary":
        return table[:, label], abs(table[:, label])
    with mp.workdps(reference.KEPT):
        zero, one = (1 - mpf(label)) * table[:, 0], mpf(label) * table[:, 1]
        return zero + one, abs(zero) + abs(one)


def margins_taken(kind, table):
    """A table [row, k] of two margins, of which the binary loss has the second."""
    return table[:, 1] if kind == "binary" else table


def tolerance(dtype, link):
    """Relative error that is allowed."""
    if dtype == np.float32:
        return (8 if hasattr(losses.kernels, "cuda") else 2) * 2.0**-24
    if losses.kernels is numpy_kernels:
        return 1e-12
    return 5e-14 if link == "focal" else 1e-10


def assert_accurate(got, expected, loss, scale=None):
    """Relative error of each entry; absolute where the true value is below the smallest normal number."""
    smallest = mpf(float(np.finfo(got.dtype).smallest_normal))
    if got.dtype == np.float32 and hasattr(losses.kernels, "cuda"):
        smallest *= 4  # a GPU makes 0 of smaller numbers, before class weights of up to 2.5 multiply them
    allowed = tolerance(got.dtype, loss.link)
    scale = expected if scale is None else scale
    assert got.shape == expected.shape
    # The question is quickly asked in double precision, with some room for its own rounding.
    near, sizes = expected.astype(float), abs(scale.astype(float))
    plain = (np.abs(near) > 1.001 * float(smallest)) & (np.abs(got - near) <= 0.9 * allowed * sizes)
    with mp.workdps(50):
        for place in map(tuple, np.argwhere(~plain)):
            value, true = float(got[place]), expected[place]
            error = abs(mpf(value) - true)
            if abs(true) < smallest and error < smallest:
                continue
            relative = error / abs(scale[place])
            assert relative <= allowed, (
                f"{loss}, entry {place}: {value!r} for {mp.nstr(true, 20)}, error {mp.nstr(relative, 3)}"
            )


@cache
def unweighted_curvature_terms(t, z, gamma):
    """For the margins of the paper and a label."""
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


def focal_curvature_terms(margins, gamma, weights):
    with mp.workdps(30):
        sizes = [unweighted_curvature_terms(t, margins, gamma[t]) for t in range(len(margins))]
        return [[mpf(w) * size for size in row] for w, row in zip(weights, sizes, strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# The reference itself


def ordinary_margins(n_classes):
    return [tuple(row) for row in np.random.default_rng(0).normal(0, 8, (4, n_classes)).tolist()]


@pytest.mark.parametrize("kernels", ["numpy"], indirect=True)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("gamma", [0.0, 1e-3, 2.0, "per class"])
def test_reference_of_the_logit_link_is_the_derivative_of_its_losses(gamma, n_classes):
    """The equations that define the probabilities, solved anew beside each margin."""
    _, gamma = of_each_class(gamma, n_classes)
    for margins in [(0.0,) * n_classes, *ordinary_margins(n_classes)]:
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
    for margins in ordinary_margins(n_classes):
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
# Values, for each gamma and alpha


def labels_of(kind):
    return LABELS if kind == "binary" else range(kind)


@links
@dtypes
@kinds
def test_loss_and_gradient(kind, dtype, link):
    for z, loss, true, _ in each_loss(kind, link, dtype, max_step=None):
        for label in labels_of(kind):
            y = np.full(len(z), label)
            assert_accurate(loss.loss(y, z), of_label(kind, label, true.loss)[0], loss)
            gradient, sizes = (margins_taken(kind, table) for table in of_label(kind, label, true.gradient))
            assert_accurate(loss.gradient_hessian(y, z)[0], gradient, loss, sizes)


@links
@dtypes
@kinds
def test_exact_curvature(kind, dtype, link):
    for z, loss, true, _ in each_loss(kind, link, dtype, hessian="exact", max_step=None):
        for label in labels_of(kind):
            hessian = loss.gradient_hessian(np.full(len(z), label), z)[1]
            curvature, sizes = (
                margins_taken(kind, of_label(kind, label, table)[0]) for table in (true.curvature, true.terms)
            )
            assert_accurate(hessian, curvature, loss, sizes)


@links
@dtypes
@kinds
def test_expected_curvature(kind, dtype, link):
    """For the binary loss it does not depend on the label, to the last bit."""
    for z, loss, true, _ in each_loss(kind, link, dtype, max_step=None):
        hessians = [loss.gradient_hessian(np.full(len(z), label), z)[1] for label in labels_of(kind)]
        for hessian in hessians:
            if kind == "binary":
                np.testing.assert_array_equal(hessian, hessians[0])
            assert_accurate(hessian, margins_taken(kind, true.expected), loss)


@links
@dtypes
@kinds
def test_posterior(kind, dtype, link):
    for z, loss, true, gamma in each_loss(kind, link, dtype):
        scale = true.posterior
        if link == "focal" and dtype == np.float64:
            # A probability is the exponential of a logit of size (gamma + 1) |z|, rounded to a double.
            size = np.ptp(rows(kind, dtype), axis=1)[:, None]
            scale = scale * (1 + (1 + max(gamma)) * size / 100)
        assert_accurate(loss.predict_proba(z), true.posterior, loss, scale)


@links
@pytest.mark.parametrize("n_classes", CLASS_WEIGHTS)
def test_log_loss(n_classes, link):
    """The logarithm of the posterior, also where the posterior itself is below the smallest number."""
    for z, loss, true, gamma in each_loss(n_classes, link, np.float64):
        for margins, posterior in zip(z[::3], true.posterior[::3], strict=True):
            for t in range(n_classes):
                with mp.workdps(reference.KEPT):
                    exact = -mp.log(posterior[t]) if posterior[t] < 0.5 else -mp.log1p(posterior[t] - 1)
                error = abs(loss.log_loss([t], [margins]) - exact)
                assert error <= 1e-12 * exact + 1e-300 + (1 + max(gamma)) * np.ptp(margins) * 2e-14 * (link == "focal")


# ---------------------------------------------------------------------------------------------------------------------
# Margins without a reference: infinite ones and the largest numbers


def far_margins(dtype):
    largest = float(np.finfo(dtype).max)
    sizes = [np.inf, largest, largest / 2, largest / 1e3, 1e30, 1e6, 800.0]
    return np.array([*sizes, 0.0, *[-size for size in sizes]], dtype=dtype)


def far_rows(dtype, n_classes=3):
    return np.array(np.meshgrid(*[far_margins(dtype)] * n_classes)).reshape(n_classes, -1).T


@links
@dtypes
@hessians
def test_derivatives_are_finite_at_every_margin(hessian, dtype, link):
    far, grid = far_margins(dtype), far_rows(dtype)
    for max_step in (None, 8.0):
        for gamma in GAMMAS:
            for alpha in BINARY_ALPHAS:
                loss = BinaryFocalLoss(of_each_class(gamma)[0], alpha, hessian, max_step, link)
                for y in LABELS:
                    assert np.isfinite(loss.gradient_hessian(np.full(len(far), y), far)).all(), (loss, y)
            loss = MulticlassFocalLoss(3, of_each_class(gamma, 3)[0], hessian=hessian, max_step=max_step, link=link)
            for t in range(3):
                assert np.isfinite(loss.gradient_hessian(np.full(len(grid), t), grid)).all(), (loss, t)


@links
@dtypes
def test_losses_are_never_nan_or_negative(dtype, link):
    far, pairs = far_margins(dtype), far_rows(dtype, 2)
    for gamma in GAMMAS:
        gamma, _ = of_each_class(gamma)
        for y in LABELS:
            assert (BinaryFocalLoss(gamma, link=link).loss(np.full(len(far), y), far) >= 0).all(), (gamma, y)
        for t in (0, 1):
            loss = MulticlassFocalLoss(2, gamma, link=link)
            assert (loss.loss(np.full(len(pairs), t), pairs) >= 0).all(), (gamma, t)


@links
@dtypes
def test_probabilities_are_proper_at_every_margin(dtype, link):
    allowed = 2 * float(np.finfo(dtype).eps)
    for gamma in GAMMAS:
        for proba in (
            BinaryFocalLoss(of_each_class(gamma)[0], link=link).predict_proba(far_margins(dtype)),
            MulticlassFocalLoss(3, of_each_class(gamma, 3)[0], link=link).predict_proba(far_rows(dtype)),
        ):
            assert ((proba >= 0) & (proba <= 1)).all(), gamma
            np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=allowed, err_msg=f"{gamma=}")


def share_of_the_rest(link, gamma):
    """Part of a hopeless row's gradient that goes to the sure class: under the logit link p moves less than eta."""
    return 1 / (1 + gamma) if link == "logit" else 1.0


@links
@pytest.mark.parametrize("gamma", GAMMAS)
def test_limits_of_the_gradient(gamma, link):
    pair, each = of_each_class(gamma)
    g, h = BinaryFocalLoss(pair, link=link).gradient_hessian([0, 0, 1, 1], [-np.inf, np.inf, -np.inf, np.inf])
    zero, one = (share_of_the_rest(link, x) for x in each)
    rtol = tolerance(g.dtype, link)
    np.testing.assert_allclose(g, [0, one, -zero, 0], rtol=rtol)
    np.testing.assert_allclose(h, np.abs(g) / 8, rtol=4e-16)

    three, each = of_each_class(gamma, 3)
    loss = MulticlassFocalLoss(3, three, link=link)
    g, h = loss.gradient_hessian([0, 1, 2], [[np.inf, 0, -np.inf]] * 3)
    sure = share_of_the_rest(link, each[0])
    smallest = float(np.finfo(g.dtype).smallest_normal)
    np.testing.assert_allclose(g, [[0, 0, 0], [sure, -sure, 0], [sure, 1 - sure, -1]], rtol=rtol, atol=smallest)
    np.testing.assert_allclose(h, np.abs(g) / 8, rtol=4e-16)

    # Equal infinities are ties.
    tie = loss.gradient_hessian([1], np.zeros((1, 3)))
    for size in (np.inf, -np.inf, 1e308, -np.finfo(float).max):
        np.testing.assert_array_equal(loss.gradient_hessian([1], np.full((1, 3), size)), tie)


# ---------------------------------------------------------------------------------------------------------------------
# Difference quotients of the package's own losses

gamma_values = st.sampled_from([0.0, 1e-3, 0.3, 0.5, 1.0, 1.7, 2.0, 3.7, 5.5, 8.0])
# Compiled kernels tabulate each pair when they first meet it, and keep the tables of some thirty.
pair_values = st.sampled_from(
    [(0.0, 0.0), (1.0, 1.0), (1.7, 1.7), (3.7, 3.7), (8.0, 8.0), (0.0, 2.0), (2.0, 1e-3), (0.3, 5.5), (5.5, 0.5)]
)
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
    gamma=pair_values,
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
