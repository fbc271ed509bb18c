"""Properties of losses and kernels at any link, margin, gamma, class and sample weight, for up to 50 classes.

`FOCAL_BOOST_EXAMPLES=100000 pytest tests/kernels/test_properties.py` tries that many new examples per property and set
of kernels. Values are held to an independent reference in `test_derivatives`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import fake_cupy
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from conftest import EXAMPLES
from hypothesis import given
from hypothesis import strategies as st

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss, losses
from focal_boost.kernels import numpy as numpy_kernels

pytestmark = pytest.mark.usefixtures("kernels")

EPS = float(np.finfo(np.float64).eps)
# Below this a double loses digits or is zero.
SMALLEST = float(np.finfo(np.float64).smallest_normal)

dtypes = st.sampled_from([np.float32, np.float64])
hessians = st.sampled_from(["expected", "exact"])
links = st.sampled_from(["logit", "focal"])
# Compiled kernels tabulate a gamma when they first meet it, which takes longer than an example, and keep the tables.
GAMMAS = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, *np.random.default_rng(0).uniform(0, 8, 13).tolist()]
gammas = st.one_of(st.floats(0, 20), st.sampled_from(GAMMAS)) if EXAMPLES else st.sampled_from(GAMMAS)
# Of two classes they tabulate each pair.
PAIRS = [(0.5, 4.0), (0.0, 2.0), (1.0, 3.0), (GAMMAS[7], GAMMAS[12])]
pairs = hnp.arrays(np.float64, 2, elements=gammas, fill=gammas)
if not EXAMPLES:
    pairs = st.sampled_from([np.array(pair) for ends in PAIRS for pair in (ends, ends[::-1])])
class_weights = st.floats(1e-6, 1e6)
steps = st.one_of(st.none(), st.floats(1e-3, 1e3))
moderate = st.floats(-15, 15)


def any_margin(dtype):
    return st.one_of(st.floats(-20, 20, width=32), st.floats(allow_nan=False, width=8 * np.dtype(dtype).itemsize))


def gamma_of(k):
    """One number, or one a class."""
    return st.one_of(gammas, pairs if k == 2 else hnp.arrays(np.float64, k, elements=gammas, fill=gammas))


def largest(gamma):
    return max(gamma) if isinstance(gamma, tuple) else gamma


@dataclass
class Case:
    loss: BinaryFocalLoss | MulticlassFocalLoss
    y: np.ndarray
    z: np.ndarray
    weight: np.ndarray

    def derivatives(self, **changes):
        arguments = {"y_true": self.y, "raw_prediction": self.z, "sample_weight": self.weight} | changes
        return self.loss.gradient_hessian(**arguments)


@st.composite
def cases(
    draw,
    *,
    margins=None,
    dtype=np.float64,
    hessian=hessians,
    max_step=steps,
    kinds=("binary", "multiclass"),
    link=links,
):
    """A loss with rows: one margin for the binary loss (and soft labels), 2 to 50 for the other."""
    dtype = draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype
    margins = any_margin(dtype) if margins is None else margins
    n = draw(st.integers(1, 6))
    options = {"hessian": draw(hessian), "max_step": draw(max_step), "link": draw(links)}
    if draw(st.sampled_from(kinds)) == "binary":
        alpha = draw(st.one_of(st.none(), st.floats(1e-6, 1 - 1e-6), st.tuples(class_weights, class_weights)))
        loss = BinaryFocalLoss(draw(gamma_of(2)), alpha, **options)
        y = draw(hnp.arrays(np.float64, n, elements=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))))
        shape = (n,)
    else:
        k = draw(st.one_of(st.integers(2, 5), st.integers(2, 50)))
        alpha = draw(st.one_of(st.none(), hnp.arrays(np.float64, k, elements=class_weights, fill=class_weights)))
        loss = MulticlassFocalLoss(k, draw(gamma_of(k)), alpha, **options)
        y = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
        shape = (n, k)
    z = draw(hnp.arrays(dtype, shape, elements=margins, fill=margins))
    weight = draw(hnp.arrays(np.float64, n, elements=st.floats(1e-6, 1e6)))
    return Case(loss, y, z, weight)


def by_row(weight, like):
    return weight if like.ndim == 1 else weight[:, None]


@given(cases(dtype=dtypes), st.sampled_from([1.0, 2.0, 50 / 49]))
def test_outputs_are_finite_and_losses_not_negative(case, scale):
    for derivative in case.derivatives(hessian_scale=scale):
        assert derivative.dtype == case.z.dtype
        assert np.isfinite(derivative).all()
    losses = case.loss.loss(case.y, case.z, case.weight)
    # A loss grows with the margin: an infinite margin is taken as 1e200, and float32 has nothing that large.
    assert (losses >= 0).all()
    if case.z.dtype == np.float64:
        assert np.isfinite(losses).all()


@given(cases(margins=st.floats(-400, 400), hessian=st.just("expected")))
def test_expected_curvature_is_positive(case):
    """Wherever a double can hold it.

    With s the spread of a row's margins the curvature is of order exp(-s), of the paper's margins exp(-(gamma + 1) s),
    times class and sample weight, both 1e-6 or more here, and over K; double precision ends at exp(-745), full
    precision at exp(-708). float32 outputs are the rounded doubles, hence positive up to exp(-103).
    """
    spread = np.abs(case.z) if case.z.ndim == 1 else np.ptp(case.z, axis=1)
    kept = (1 + largest(case.loss.gamma) * (case.loss.link == "focal")) * spread < 640
    hessian = case.derivatives()[1]
    assert (hessian[kept] > 0).all()
    assert (hessian >= 0).all()


def least(dtype):
    """The smallest number of a dtype that is no zero. CuPy compiles with -ftz=true, for single precision alone."""
    cuda = getattr(losses.kernels, "cuda", None)
    flushed = dtype == np.float32 and cuda is not None and cuda.arrays.ndarray is not fake_cupy.Array
    return float(np.finfo(dtype).smallest_normal if flushed else np.finfo(dtype).smallest_subnormal)


@given(cases(dtype=dtypes, max_step=st.floats(1e-3, 1e3)))
def test_no_step_exceeds_the_bound(case):
    g, h = (derivative.astype(np.float64) for derivative in case.derivatives())
    limits = np.finfo(case.z.dtype)
    # Product and quotient by weight, step and dtype are rounded once each, and to multiples of the smallest number.
    unit = 4 * float(limits.eps)
    last = 4 * (least(case.z.dtype) + by_row(case.weight, g) * float(np.finfo(np.float64).smallest_subnormal))
    assert (np.abs(g) <= case.loss.max_step * (h * (1 + unit) + last) + last).all()


@given(cases(), st.floats(1e-6, 1e6))
def test_weights_scale_linearly(case, factor):
    plain = [*case.derivatives(), case.loss.loss(case.y, case.z, case.weight)]
    weight = factor * case.weight
    scaled = [*case.derivatives(sample_weight=weight), case.loss.loss(case.y, case.z, weight)]
    for one, many in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(many, factor * one, rtol=4 * EPS, atol=1e7 * SMALLEST)
    for one, unweighted in zip(plain[:2], case.derivatives(sample_weight=None), strict=True):
        np.testing.assert_allclose(one, unweighted * by_row(case.weight, one), rtol=4 * EPS, atol=1e7 * SMALLEST)


@given(cases(dtype=dtypes), st.randoms(use_true_random=False))
def test_permuting_rows_permutes_results_to_the_last_bit(case, random):
    order = np.array(random.sample(range(len(case.z)), len(case.z)))
    y, z, weight = case.y[order], case.z[order], case.weight[order]
    results = [*case.derivatives(), case.loss.loss(case.y, case.z), case.loss.predict_proba(case.z)]
    permuted = [*case.loss.gradient_hessian(y, z, weight), case.loss.loss(y, z), case.loss.predict_proba(z)]
    for one, other in zip(results, permuted, strict=True):
        np.testing.assert_array_equal(other, one[order])


def rounding(case):
    """Relative error of a power q**gamma whose base carries a few units in the last place.

    Compiled kernels find the probabilities of the logit link to ten digits and more.
    """
    solved = case.loss.link == "logit" and losses.kernels is not numpy_kernels
    return 32 * (1 + largest(case.loss.gamma)) * EPS + 1e-10 * solved


@given(cases(kinds=("multiclass",), hessian=st.just("expected")), st.randoms(use_true_random=False))
def test_permuting_classes_permutes_columns(case, random):
    k = case.loss.n_classes
    order = np.array(random.sample(range(k), k))
    alpha, gamma = (
        np.array(given)[order] if isinstance(given, tuple) else given for given in (case.loss.alpha, case.loss.gamma)
    )
    loss = replace(case.loss, alpha=alpha, gamma=gamma)
    y, z = np.argsort(order)[case.y], case.z[:, order]
    for one, other in zip(case.derivatives(), loss.gradient_hessian(y, z, case.weight), strict=True):
        np.testing.assert_allclose(other, one[:, order], rtol=k * rounding(case), atol=1e20 * SMALLEST)
    losses = case.loss.loss(case.y, case.z)
    np.testing.assert_allclose(loss.loss(y, z), losses, rtol=k * rounding(case), atol=1e20 * SMALLEST)


@given(cases(kinds=("binary",), hessian=st.just("expected")))
def test_exchanging_the_two_classes_turns_the_sign(case):
    # 1 - alpha of a number alpha is rounded: exchange the pair instead
    weights = case.loss._parameters.class_weight
    loss = replace(case.loss, alpha=weights[::-1], gamma=case.loss._parameters.gamma[::-1])
    g, h = case.derivatives()
    other_g, other_h = loss.gradient_hessian(1 - case.y, -case.z, case.weight)
    # A soft label and its complement are each rounded; their slopes may cancel.
    floor = 16 * EPS * max(weights) * case.weight
    soft = (case.y != 0) & (case.y != 1)
    assert (np.abs(other_g + g) <= rounding(case) * np.abs(g) + np.where(soft, floor, 0) + SMALLEST).all()
    if case.loss.max_step is None or not soft.any():
        np.testing.assert_allclose(other_h, h, rtol=rounding(case), atol=SMALLEST)


NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(20)


@given(cases(margins=moderate), st.floats(-0.5, 0.5), st.randoms(use_true_random=False))
def test_gradient_is_the_difference_quotient_of_the_loss(case, step, random):
    """Exactly: the difference of the loss between two points is the integral of the gradient along the way.

    Gauss's rule with 20 nodes leaves no truncation error on a way this short: the loss is analytic within pi of the
    real line, and the rule's error is of order (step / (2 pi))**40. What is left is rounding.
    """
    width = 1 if case.z.ndim == 1 else case.z.shape[1]
    direction = np.array([random.uniform(-1, 1) for _ in range(width)])
    way = step * (direction[0] if case.z.ndim == 1 else direction)
    before, after = case.loss.loss(case.y, case.z), case.loss.loss(case.y, case.z + way)
    integral, size = np.zeros(len(case.z)), np.zeros(len(case.z))
    for node, share in zip(NODES, NODE_WEIGHTS, strict=True):
        gradient = case.loss.gradient_hessian(case.y, case.z + 0.5 * (node + 1) * way)[0]
        parts = (0.5 * share * gradient * way).reshape(len(case.z), width)
        integral += parts.sum(axis=1)
        size += np.abs(parts).sum(axis=1)
    # Both ends are rounded, the margins too: by half a unit of 16, which the slope passes on.
    slope = size / max(np.max(np.abs(way)), SMALLEST) if step else 0.0
    allowed = rounding(case) * (before + after + size) + 32 * EPS * slope * width + SMALLEST
    assert (np.abs(after - before - integral) <= allowed).all()


@given(cases(dtype=dtypes, kinds=("multiclass",)))
def test_softmax_gradients_sum_to_zero(case):
    g = case.derivatives()[0].astype(np.float64)
    limits = np.finfo(case.z.dtype)
    allowed = (8 * float(limits.eps) + rounding(case)) * np.abs(g).sum(axis=1)
    last = g.shape[1] * least(case.z.dtype) * 1e7  # weights are applied after the smallest numbers vanish
    assert (np.abs(g.sum(axis=1)) <= allowed + last).all()


@given(cases(dtype=dtypes))
def test_probabilities_are_proper_and_sum_to_one(case):
    proba = case.loss.predict_proba(case.z)
    assert proba.shape == (len(case.z), case.loss.n_classes)
    assert ((proba >= 0) & (proba <= 1)).all()
    eps = float(np.finfo(case.z.dtype).eps)
    np.testing.assert_allclose(proba.astype(np.float64).sum(axis=1), 1, rtol=0, atol=case.loss.n_classes * eps)


@given(cases(dtype=np.float32, kinds=("binary",)))
def test_probabilities_keep_the_order_of_margins(case):
    """Neighbouring floats differ by far more than the log-odds, a double, are rounded by."""
    order = np.argsort(case.z, kind="stable")
    proba = case.loss.predict_proba(case.z)[order]
    assert (np.diff(proba[:, 1]) >= 0).all()
    assert (np.diff(proba[:, 0]) <= 0).all()


@given(cases(max_step=st.none(), hessian=st.just("expected"), margins=moderate))
def test_the_expected_gradient_vanishes_under_the_probabilities(case):
    """Under the labels that they give, the weighted gradients of a margin cancel."""
    eta = case.loss.predict_proba(case.z)
    mean, size = 0.0, 0.0
    for label in range(case.loss.n_classes):
        gradient = case.loss.gradient_hessian(np.full(len(case.z), label), case.z)[0]
        share = by_row(eta[:, label], gradient)
        mean, size = mean + share * gradient, size + np.abs(share * gradient)
    # Their logarithms are sums of terms up to (gamma + 1) 30 and of log class weights.
    assert (np.abs(mean) <= 64 * (rounding(case) + 30 * EPS * (1 + largest(case.loss.gamma))) * size + SMALLEST).all()


@pytest.mark.parametrize("gamma", [5e-324, 2.2e-311, 1e-301, 1e-299, 1e-200, 1e-100, 1e-16])
def test_the_smallest_gammas_make_nothing_infinite(gamma):
    """Found by hypothesis: quotients of gamma and of a complement that is as small."""
    far = np.array([0.0, 30.0, 500.0, 690.0, 713.0, 745.0, 1e5, np.inf])
    margins = np.concatenate([far, -far])
    rows = np.stack([margins, np.zeros_like(margins), -margins], axis=1)
    for hessian in ("expected", "exact"):
        for link in ("logit", "focal"):
            for own in (gamma, (gamma, 1.0)):
                loss = BinaryFocalLoss(own, hessian=hessian, max_step=None, link=link)
                for label in (0.0, 1.0, 0.3):
                    assert np.isfinite(loss.gradient_hessian(np.full(len(margins), label), margins)).all()
            for own in (gamma, (gamma, 1.0, gamma)):
                several = MulticlassFocalLoss(3, own, hessian=hessian, max_step=None, link=link)
                for label in range(3):
                    assert np.isfinite(several.gradient_hessian(np.full(len(rows), label), rows)).all()
