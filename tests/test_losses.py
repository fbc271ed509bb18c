"""What a loss promises its callers: weights, step bound, intercept, probabilities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
from conftest import within
from mpmath import mp, mpf
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, softmax

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss, losses
from focal_boost.kernels import numpy as numpy_kernels

pytestmark = pytest.mark.usefixtures("kernels")

LINKS = ["logit", "focal"]
GAMMAS = [0.0, 0.3, 0.5, 1.0, 2.0, 3.7, 5.0, 8.0]
N = 10_007  # more than two blocks of rows, and no multiple of one

links = pytest.mark.parametrize("link", LINKS)
gammas = within(gamma=GAMMAS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
hessians = pytest.mark.parametrize("hessian", ["expected", "exact"])


@dataclasses.dataclass
class Case:
    loss: BinaryFocalLoss | MulticlassFocalLoss
    y: np.ndarray
    z: np.ndarray
    weight: np.ndarray

    def derivatives(self, **changes):
        arguments = {"y_true": self.y, "raw_prediction": self.z, "sample_weight": self.weight} | changes
        return self.loss.gradient_hessian(**arguments)


def few_digits(link, plain):
    """A tolerance: `plain`, or what compiled kernels promise where they have to find the probabilities first."""
    return 1e-10 if link == "logit" and losses.kernels is not numpy_kernels else plain


def make_case(kind, n=N, link="logit"):
    rng = np.random.default_rng(0)
    weight = rng.uniform(0, 3, n)
    if kind == "binary":
        return Case(BinaryFocalLoss(2.0, 0.25, link=link), rng.integers(0, 2, n), rng.normal(0, 4, n), weight)
    loss = MulticlassFocalLoss(3, 2.0, (0.5, 1.0, 2.0), link=link)
    return Case(loss, rng.integers(0, 3, n), rng.normal(0, 4, (n, 3)), weight)


@pytest.fixture(params=[(kind, link) for link in LINKS for kind in ("binary", "multiclass")], ids="-".join)
def case(request):
    kind, link = request.param
    return make_case(kind, link=link)


# ---------------------------------------------------------------------------------------------------------------------
# Weights, labels, step bound


def test_sample_weights_multiply(case):
    unweighted = [*case.derivatives(sample_weight=None), case.loss.loss(case.y, case.z)]
    weighted = [*case.derivatives(), case.loss.loss(case.y, case.z, case.weight)]
    for one, many in zip(unweighted, weighted, strict=True):
        weight = case.weight if one.ndim == 1 else case.weight[:, None]
        np.testing.assert_array_equal(many, one * weight)


def test_unit_weights_change_nothing(case):
    np.testing.assert_array_equal(case.derivatives(sample_weight=np.ones(N)), case.derivatives(sample_weight=None))


def test_calling_a_loss_gives_its_weighted_mean(case):
    losses = case.loss.loss(case.y, case.z)
    np.testing.assert_allclose(case.loss(case.y, case.z), losses.mean(), rtol=1e-13)
    expected = np.average(losses, weights=case.weight)
    np.testing.assert_allclose(case.loss(case.y, case.z, case.weight), expected, rtol=1e-13)


def test_the_mean_of_single_precision_margins_is_taken_in_double_precision(case):
    z = case.z.astype(np.float32)
    assert case.loss(case.y, z) == case.loss(case.y, z.astype(np.float64))


def test_a_row_of_weight_zero_counts_for_nothing(case):
    weight = case.weight.copy()
    weight[::2] = 0
    kept = weight > 0
    assert not case.derivatives(sample_weight=weight)[0][::2].any()
    np.testing.assert_allclose(
        case.loss(case.y, case.z, weight), case.loss(case.y[kept], case.z[kept], weight[kept]), rtol=1e-13
    )


@within(alpha=[0.25, np.float32(0.25), (0.75, 0.25), [0.75, 0.25], np.array([0.75, 0.25])])
def test_forms_of_binary_alpha(alpha):
    case = make_case("binary")
    weight = np.where(case.y == 1, 0.25, 0.75)
    losses = BinaryFocalLoss(1.5, alpha, link="focal").loss(case.y, case.z)
    np.testing.assert_allclose(losses, BinaryFocalLoss(1.5, link="focal").loss(case.y, case.z, weight), rtol=1e-15)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_alpha_weighs_the_classes_of_the_focal_link(kind):
    # In the gradient alpha acts as a sample weight; in the expected curvature it also moves the posterior.
    case = make_case(kind, link="focal")
    alpha = np.array([0.3, 0.9, 2.0][: case.loss.n_classes])
    with_alpha = dataclasses.replace(case.loss, alpha=alpha, hessian="exact", max_step=None)
    without = dataclasses.replace(case.loss, alpha=None, hessian="exact", max_step=None)
    np.testing.assert_allclose(
        with_alpha.gradient_hessian(case.y, case.z),
        without.gradient_hessian(case.y, case.z, alpha[case.y]),
        rtol=1e-14,
        atol=1e-16,  # the terms of the exact curvature cancel
    )


@links
@hessians
def test_a_soft_label_mixes_both_classes(hessian, link):
    case = make_case("binary")
    loss = BinaryFocalLoss(2.0, (0.5, 3.0), hessian, max_step=None, link=link)
    t = np.random.default_rng(1).uniform(0, 1, N)

    def evaluate(y):
        return np.array([loss.loss(y, case.z), *loss.gradient_hessian(y, case.z)])

    mixture = t * evaluate(np.ones(N)) + (1 - t) * evaluate(np.zeros(N))
    np.testing.assert_allclose(evaluate(t), mixture, rtol=1e-13, atol=1e-15)


@within(scale=[2.0, 1.5, 0.1])
def test_hessian_scale_multiplies_the_bounded_curvature(case, scale):
    g, h = case.derivatives()
    scaled_g, scaled_h = case.derivatives(hessian_scale=scale)
    np.testing.assert_array_equal(scaled_g, g)
    np.testing.assert_allclose(scaled_h, scale * h, rtol=1e-15)


@within(scale=[2.0, 0.1])
def test_scale_multiplies_the_loss(case, scale):
    for scaled, own in zip(case.derivatives(scale=scale), case.derivatives(), strict=True):
        np.testing.assert_allclose(scaled, scale * own, rtol=few_digits(case.loss.link, 1e-14))


@links
@within(alpha=[None, (0.2, 1.7)])
@within(gamma=[*GAMMAS, (1.0, 4.0)])
@within(share=[1e-3, 0.05, 0.5, 0.9])
def test_log_loss_scale_gives_a_constant_the_curvature_of_the_log_loss(gamma, alpha, share, link):
    """By definition: central differences of the gradient at the best constant, averaged over the label.

    For the log loss with class weights the same, in log-odds: its weighted mean gradient is moved by weights too.
    """
    loss = BinaryFocalLoss(gamma, alpha, max_step=None, link=link)
    log_loss = BinaryFocalLoss(0.0, alpha, max_step=None)
    shares, d = np.array([1 - share, share]), 1e-6

    def curvature(loss):
        z = loss.fit_intercept_only([0, 1], shares)
        up, down = (loss.gradient_hessian([0, 1], np.full(2, z + e))[0] for e in (d, -d))
        return shares @ (up - down) / (2 * d)

    mean_weight = shares @ (alpha or (1.0, 1.0))
    scale = loss.log_loss_scale(loss.fit_intercept_only([0, 1], shares))
    assert scale * curvature(loss) == pytest.approx(curvature(log_loss) / mean_weight, rel=1e-6)
    if alpha is None and link == "logit":
        assert curvature(log_loss) == pytest.approx(share * (1 - share), rel=1e-6)


@links
@within(alpha=[None, (0.5, 1.0, 7.0)])
@within(gamma=[*GAMMAS, (0.0, 2.0, 0.5)])
def test_log_loss_scale_of_several_classes(gamma, alpha, link):
    shares, d = np.array([0.7, 0.25, 0.05]), 1e-6
    loss = MulticlassFocalLoss(3, gamma, alpha, max_step=None, link=link)

    def curvature(loss):
        start, total = loss.fit_intercept_only(np.arange(3), shares), 0.0
        for k in range(3):
            up, down = (np.tile(start, (3, 1)) for _ in range(2))
            up[:, k] += d
            down[:, k] -= d
            change = loss.gradient_hessian(np.arange(3), up)[0] - loss.gradient_hessian(np.arange(3), down)[0]
            total += shares @ change[:, k] / (2 * d)
        return total

    target = curvature(MulticlassFocalLoss(3, 0.0, alpha, max_step=None)) / (shares @ (alpha or np.ones(3)))
    assert loss.log_loss_scale(loss.fit_intercept_only(np.arange(3), shares)) * curvature(loss) == pytest.approx(
        target, rel=1e-6
    )


@links
@pytest.mark.parametrize("n_classes", [2, 3])
@gammas
def test_only_ratios_of_class_weights_matter_to_a_scaled_loss(gamma, n_classes, link):
    alpha = np.array([0.3, 2.0, 1.1])[:n_classes]
    make = BinaryFocalLoss if n_classes == 2 else lambda *given, **named: MulticlassFocalLoss(3, *given, **named)
    case = make_case("binary" if n_classes == 2 else "multiclass", n=500)

    def scaled(alpha):
        loss = make(gamma, alpha, link=link)
        start = loss.fit_intercept_only(case.y)
        return loss.gradient_hessian(case.y, case.z, scale=loss.log_loss_scale(start), intercept=start)

    for one, other in zip(scaled(alpha), scaled(5.0 * alpha), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)
    for one, other in zip(scaled(None), scaled(np.full(n_classes, 0.5)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


@links
def test_log_loss_scale_of_two_classes_and_of_two_labels(link):
    binary = BinaryFocalLoss(2.0, (0.3, 2.0), link=link)
    scales = [binary.log_loss_scale(margin) for margin in (0.7, -1.0)]
    np.testing.assert_array_equal(binary.log_loss_scale([0.7, -1.0]), scales)
    pair = MulticlassFocalLoss(2, 2.0, (0.3, 2.0), link=link)
    assert pair.log_loss_scale([-0.35, 0.35]) == pytest.approx(scales[0], rel=few_digits(link, 1e-13))


@pytest.mark.parametrize("loss", [BinaryFocalLoss(0.0), BinaryFocalLoss(0.0, link="focal")])
def test_the_log_loss_needs_no_scale(loss):
    assert loss.log_loss_scale(-1.0) == 1.0
    assert dataclasses.replace(loss, alpha=0.5).log_loss_scale(-1.0) == pytest.approx(2.0, rel=1e-15)


@hessians
@within(max_step=[0.5, 3.0, 8.0])
@gammas
@links
def test_no_newton_step_exceeds_the_bound(link, gamma, max_step, hessian):
    for kind in ("binary", "multiclass"):
        case = make_case(kind, n=2_000, link=link)
        case.loss = dataclasses.replace(case.loss, gamma=gamma, hessian=hessian, max_step=max_step)
        case.z *= 20
        g, h = case.derivatives()
        large = np.abs(g) > 1e-290
        assert (np.abs(g[large]) <= max_step * h[large] * (1 + 1e-15)).all()


def test_an_infinite_bound_is_none(case):
    results = [
        dataclasses.replace(case.loss, max_step=bound).gradient_hessian(case.y, case.z) for bound in (np.inf, None)
    ]
    np.testing.assert_array_equal(*results)


@hessians
def test_the_step_bound_only_raises_the_curvature(case, hessian):
    case.loss = dataclasses.replace(case.loss, hessian=hessian)
    g, bounded = case.derivatives()
    case.loss = dataclasses.replace(case.loss, max_step=None)
    same_g, h = case.derivatives()
    np.testing.assert_array_equal(g, same_g)
    raised = bounded != h
    assert 0 < raised.sum() < raised.size
    assert (bounded[raised] > h[raised]).all()
    np.testing.assert_allclose(bounded[raised], np.abs(g[raised]) / 8, rtol=1e-15)


@links
@gammas
def test_expected_curvature_is_positive(gamma, link):
    z = np.linspace(-30, 30, 2_001)
    loss = BinaryFocalLoss(gamma, (0.3, 2.0), max_step=None, link=link)
    assert (loss.gradient_hessian(np.zeros(len(z)), z)[1] > 0).all()
    logits = np.random.default_rng(0).uniform(-15, 15, (2_000, 5))
    loss = MulticlassFocalLoss(5, gamma, max_step=None, link=link)
    assert (loss.gradient_hessian(np.zeros(len(logits)), logits)[1] > 0).all()


@within(gamma=[0.5, 1.0, 2.0, 5.0])
def test_exact_curvature_of_the_focal_link_is_signed(gamma):
    z = np.linspace(-10, 10, 101)
    h = BinaryFocalLoss(gamma, hessian="exact", max_step=None, link="focal").gradient_hessian(np.ones(101), z)[1]
    assert h.min() < 0 < h.max()


@links
@hessians
def test_without_focusing_the_derivatives_are_those_of_the_log_loss(hessian, link):
    # The logit link finds the probabilities by Newton's method even where they are those of the margins.
    atol = 1e-15 if link == "focal" else 1e-12
    case = make_case("binary", n=200)
    p = expit(case.z)
    g, h = BinaryFocalLoss(0.0, hessian=hessian, max_step=None, link=link).gradient_hessian(case.y, case.z)
    np.testing.assert_allclose(g, p - case.y, rtol=0, atol=atol)
    np.testing.assert_allclose(h, p * (1 - p), rtol=0, atol=atol)
    case = make_case("multiclass", n=200)
    p, residual = softmax(case.z, axis=1), softmax(case.z, axis=1) - np.eye(3)[case.y]
    loss = MulticlassFocalLoss(3, 0.0, hessian=hessian, max_step=None, link=link)
    g, h = loss.gradient_hessian(case.y, case.z)
    np.testing.assert_allclose(g, residual, rtol=0, atol=atol)
    np.testing.assert_allclose(h, p * (1 - p), rtol=0, atol=atol)
    np.testing.assert_allclose(loss.loss(case.y, case.z), -np.log(p[np.arange(200), case.y]), rtol=1e-13, atol=atol)


# ---------------------------------------------------------------------------------------------------------------------
# Margins that are log-odds


@within(alpha=[None, (0.2, 1.7)])
@within(gamma=[*GAMMAS, (1.0, 4.0)])
def test_the_binary_loss_of_log_odds_is_logistic_with_a_weight_free_of_the_label(gamma, alpha):
    """Gradient (eta - y) v and expected curvature eta (1 - eta) v, v one number a row."""
    z = np.linspace(-12, 12, 201)
    loss = BinaryFocalLoss(gamma, alpha, max_step=None)
    zero, h = loss.gradient_hessian(np.zeros(201), z)
    v = zero / expit(z)
    assert (v > 0).all()
    for y in (1.0, 0.3):
        g, _ = loss.gradient_hessian(np.full(201, y), z)
        # A soft label's two summands nearly cancel where the margin says the same.
        np.testing.assert_allclose(g, (expit(z) - y) * v, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(loss.gradient_hessian(np.ones(201), z)[0], -expit(-z) * v, rtol=1e-11)
    np.testing.assert_allclose(h, expit(z) * expit(-z) * v, rtol=1e-11)


def test_some_weights_of_rows():
    z = np.array([0.0, 3.0, -3.0, 5.0, 10.0])
    v = 3 * BinaryFocalLoss(2.0, max_step=None).gradient_hessian(np.zeros(5), z)[0] / expit(z)
    np.testing.assert_allclose(v, [0.6687, 0.9575, 0.9575, 1.1602, 1.1523], rtol=0, atol=5e-5)


@links
@within(alpha=[None, (0.5, 1.0, 2.0)])
@within(gamma=[*GAMMAS, (0.0, 2.0, 0.5)])
def test_gradients_of_a_row_sum_to_zero(gamma, alpha, link):
    case = make_case("multiclass", n=500)
    g, _ = MulticlassFocalLoss(3, gamma, alpha, link=link).gradient_hessian(case.y, case.z)
    assert (np.abs(g.sum(axis=1)) <= 1e-15 * np.abs(g).sum(axis=1) + 1e-300).all()


@pytest.mark.parametrize("loss", [BinaryFocalLoss, MulticlassFocalLoss])
def test_alpha_and_gamma_are_undone(loss):
    """The constant that a loss likes best has the class shares for its probabilities, whatever is asked of it."""
    shares = np.array([0.6, 0.3, 0.1] if loss is MulticlassFocalLoss else [0.9, 0.1])
    k = len(shares)
    y = np.arange(k)
    for gamma in (0.0, 0.5, 2.0, (0.5, 3.0, 1.0)[:k]):
        for alpha in (None, (0.2, 1.0, 4.0)[:k]):
            model = loss(gamma, alpha) if k == 2 else loss(k, gamma, alpha)

            def mean_loss(free, model=model):
                z = np.array([*free, 0.0])
                return model(y, np.full(k, free[0]) if k == 2 else np.tile(z, (k, 1)), shares)

            best = minimize(mean_loss, np.zeros(k - 1), method="BFGS", options={"gtol": 1e-9}).x
            z = best if k == 2 else np.array([[*best, 0.0]])
            np.testing.assert_allclose(model.predict_proba(z)[0], shares, atol=2e-6)


def test_probabilities_know_nothing_of_gamma_and_alpha():
    for kind in ("binary", "multiclass"):
        case = make_case(kind, n=100)
        plain = dataclasses.replace(case.loss, gamma=0.0, alpha=None)
        np.testing.assert_array_equal(case.loss.predict_proba(case.z), plain.predict_proba(case.z))
        assert case.loss.log_loss(case.y, case.z, case.weight) == plain.log_loss(case.y, case.z, case.weight)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_both_links_are_one_loss_of_the_probabilities(kind):
    """Log-odds of the margins of the paper, by the posterior: the same loss."""
    case = make_case(kind, n=300)
    paper = dataclasses.replace(case.loss, link="focal")
    case.z = 0.5 * case.z
    eta = paper.predict_proba(case.z)
    logits = np.log(eta[:, 1] / eta[:, 0]) if kind == "binary" else np.log(eta)
    np.testing.assert_allclose(case.loss.loss(case.y, logits), paper.loss(case.y, case.z), rtol=1e-9)


# ---------------------------------------------------------------------------------------------------------------------
# Binary is two-class softmax


@hessians
@within(alpha=[None, (0.2, 1.7)])
@within(gamma=[*GAMMAS, (1.0, 4.0)])
@links
def test_binary_equals_two_class_softmax(link, gamma, alpha, hessian):
    case = make_case("binary", n=3_000)
    binary = BinaryFocalLoss(gamma, alpha, hessian, max_step=None, link=link)
    pair = MulticlassFocalLoss(2, gamma, alpha, hessian=hessian, max_step=None, link=link)
    logits = np.column_stack([-case.z / 2, case.z / 2])
    rtol = few_digits(link, 1e-13)
    g, h = binary.gradient_hessian(case.y, case.z)
    pair_g, pair_h = pair.gradient_hessian(case.y, logits)
    np.testing.assert_allclose(pair_g, np.column_stack([-g, g]), rtol=rtol)
    # The exact curvature is a difference of terms; its error is measured against the largest second derivative here.
    np.testing.assert_allclose(pair_h, np.column_stack([h, h]), rtol=rtol, atol=few_digits(link, 1e-14))
    np.testing.assert_allclose(pair.loss(case.y, logits), binary.loss(case.y, case.z), rtol=rtol)
    np.testing.assert_allclose(pair.predict_proba(logits), binary.predict_proba(case.z), rtol=rtol)


@within(share=[1e-6, 0.01, 0.3, 0.5, 0.98])
@within(alpha=[None, (0.2, 1.7)])
@gammas
@links
def test_binary_intercept_is_the_difference_of_two_margins(link, gamma, alpha, share):
    y, weight = [0, 1], [1 - share, share]
    low, high = MulticlassFocalLoss(2, gamma, alpha, link=link).fit_intercept_only(y, weight)
    expected = BinaryFocalLoss(gamma, alpha, link=link).fit_intercept_only(y, weight)
    np.testing.assert_allclose(high - low, expected, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Intercept


@links
@within(alpha=[None, 0.25, (0.1, 3.0)])
@within(gamma=[*GAMMAS, (1.0, 4.0)])
def test_binary_intercept_minimises_the_mean_loss(gamma, alpha, link):
    rng = np.random.default_rng(0)
    y, weight = (rng.uniform(size=300) < 0.07).astype(float), rng.uniform(0, 2, 300)
    loss = BinaryFocalLoss(gamma, alpha, link=link)

    def mean_loss(z):
        return loss(y, np.full(len(y), z), weight)

    intercept = loss.fit_intercept_only(y, weight)
    best = minimize_scalar(mean_loss, bracket=(intercept - 1.3, intercept + 1.1), options={"xtol": 1e-10})
    assert mean_loss(intercept) <= best.fun * (1 + 1e-14)
    np.testing.assert_allclose(intercept, best.x, rtol=0, atol=1e-6)
    gradient = loss.gradient_hessian(y, np.full(len(y), intercept), weight)[0]
    assert abs(gradient.sum()) <= 1e-13 * np.abs(gradient).sum()


@links
@within(alpha=[None, (0.1, 3.0, 1.0, 0.6)])
@within(gamma=[*GAMMAS, (0.0, 2.0, 0.5, 4.0)])
def test_multiclass_intercept_minimises_the_mean_loss(gamma, alpha, link):
    rng = np.random.default_rng(0)
    y, weight = rng.choice(4, size=300, p=[0.7, 0.2, 0.08, 0.02]), rng.uniform(0, 2, 300)
    loss = MulticlassFocalLoss(4, gamma, alpha, link=link)

    def mean_loss(z):
        return loss(y, np.tile(z, (len(y), 1)), weight)

    def mean_gradient(z):
        return loss.gradient_hessian(y, np.tile(z, (len(y), 1)), weight)[0].sum(axis=0) / weight.sum()

    intercept = loss.fit_intercept_only(y, weight)
    assert intercept.shape == (4,)
    for start in (np.zeros(4), intercept + rng.normal(0, 0.5, 4)):
        best = minimize(mean_loss, start, jac=mean_gradient, method="BFGS", options={"gtol": 1e-10})
        assert mean_loss(intercept) <= best.fun * (1 + 1e-14)
        np.testing.assert_allclose(intercept, best.x - best.x.mean(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(mean_gradient(intercept), 0, rtol=0, atol=1e-13)
    np.testing.assert_allclose(intercept.mean(), 0, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("rare", "probability"), [(1, 0.073), (10, 0.154), (50, 0.250)])
def test_focal_intercepts_of_rare_classes(rare, probability):
    y = np.arange(1000) < rare
    assert round(float(expit(BinaryFocalLoss(2.0, link="focal").fit_intercept_only(y))), 3) == probability


@within(gamma=[2.0, (1.0, 4.0)])
def test_the_start_in_log_odds_is_that_of_the_class_shares(gamma):
    y = np.arange(1000) < 60
    assert BinaryFocalLoss(gamma, 0.25).fit_intercept_only(y) == pytest.approx(np.log(0.06 / 0.94), rel=1e-14)
    start = MulticlassFocalLoss(3, 2.0, (1, 2, 3)).fit_intercept_only([0, 1, 2], [6.0, 3.0, 1.0])
    logs = np.log([0.6, 0.3, 0.1])
    np.testing.assert_allclose(start, logs - logs.mean(), rtol=1e-14)


@gammas
def test_intercept_stands_for_the_class_shares(gamma, case):
    loss = dataclasses.replace(case.loss, gamma=gamma)
    intercept = np.atleast_1d(loss.fit_intercept_only(case.y, case.weight))
    proba = loss.predict_proba(intercept if loss.n_outputs == 1 else intercept[None])[0]
    shares = np.bincount(case.y, weights=case.weight) / case.weight.sum()
    np.testing.assert_allclose(proba, shares, rtol=1e-12)


@links
def test_binary_intercept_of_soft_labels(link):
    soft = BinaryFocalLoss(2.0, link=link).fit_intercept_only([0.1, 0.4])
    hard = BinaryFocalLoss(2.0, link=link).fit_intercept_only([0, 1], [0.75, 0.25])
    np.testing.assert_allclose(soft, hard, rtol=1e-13)


@links
@gammas
def test_a_class_without_rows_has_a_finite_intercept(gamma, link):
    low, high = (BinaryFocalLoss(gamma, link=link).fit_intercept_only([label] * 5) for label in (0, 1))
    assert -40 < low < -1 < 1 < high < 40
    intercept = MulticlassFocalLoss(4, gamma, link=link).fit_intercept_only([0, 0, 2, 2])
    assert np.isfinite(intercept).all()
    assert max(intercept[[1, 3]]) < min(intercept[[0, 2]])


# ---------------------------------------------------------------------------------------------------------------------
# Class probabilities; what those of the focal link are, is what this link has a posterior for


@within(alpha=[None, (0.2, 1.7)])
@within(gamma=[0.0, 0.5, 2.0, 5.0])
@within(eta=[1e-4, 0.03, 0.5, 0.8, 0.999])
def test_binary_posterior_recovers_known_probabilities(eta, gamma, alpha):
    # The margin that minimises the expected loss is found from the loss of the reference alone.
    def expected_gradient(z):
        gradient = reference.row("focal", (0.0, z), (gamma, gamma), alpha or (1.0, 1.0)).gradient
        return (1 - mpf(eta)) * gradient[0][1] + mpf(eta) * gradient[1][1]

    with mp.workdps(30):
        z = float(mp.findroot(expected_gradient, (-40, 40), solver="bisect", tol=1e-50, maxsteps=200))
    proba = BinaryFocalLoss(gamma, alpha, link="focal").predict_proba([z])
    np.testing.assert_allclose(proba, [[1 - eta, eta]], rtol=1e-10)


@within(alpha=[None, (0.2, 1.7, 0.6)])
@within(gamma=[0.0, 0.5, 2.0, 5.0])
@within(eta=[(0.01, 0.04, 0.95), (0.2, 0.3, 0.5), (0.999, 0.0006, 0.0004)])
def test_multiclass_posterior_recovers_known_probabilities(eta, gamma, alpha):
    weights = alpha or (1.0,) * 3

    def expected_gradient(*free):
        gradients = reference.focal_terms((*free, mpf(0)), (gamma,) * 3)[1]
        return [sum(eta[t] * weights[t] * gradients[t][k] for t in range(3)) for k in range(2)]

    start = [float(np.log(share * w)) / (1 + gamma) for share, w in zip(eta, weights, strict=True)]
    with mp.workdps(30):
        root = mp.findroot(expected_gradient, [start[0] - start[2], start[1] - start[2]], tol=1e-40)
    proba = MulticlassFocalLoss(3, gamma, alpha, link="focal").predict_proba([[float(root[0]), float(root[1]), 0.0]])
    np.testing.assert_allclose(proba, [eta], rtol=1e-10)


@links
@within(alpha=[None, 0.01])
@gammas
def test_binary_probabilities_increase_strictly(gamma, alpha, link):
    z = np.linspace(-600, 600, 24_001) / (1 + gamma * (link == "focal"))
    proba = BinaryFocalLoss(gamma, alpha, link=link).predict_proba(z)
    half = proba[:, 1] < 0.5
    assert (np.diff(proba[half, 1]) > 0).all()
    assert (np.diff(proba[~half, 0]) < 0).all()
    assert half.any()
    assert (~half).any()
    assert (np.diff(half.astype(int)) <= 0).all()


def test_probabilities_are_sigmoid_or_softmax(case):
    """Under the logit link always, under the paper's without focusing."""
    loss = case.loss if case.loss.link == "logit" else dataclasses.replace(case.loss, gamma=0.0, alpha=None)
    link = np.column_stack([expit(-case.z), expit(case.z)]) if case.z.ndim == 1 else softmax(case.z, axis=1)
    np.testing.assert_allclose(loss.predict_proba(case.z), link, rtol=1e-13)


@dtypes
def test_probabilities_sum_to_one(case, dtype):
    proba = case.loss.predict_proba(case.z.astype(dtype))
    assert proba.shape == (N, case.loss.n_classes)
    np.testing.assert_allclose(proba.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=2 * float(np.finfo(dtype).eps))


def test_log_loss_is_that_of_the_probabilities(case):
    proba = case.loss.predict_proba(case.z)
    costs = -np.log(proba[np.arange(N), case.y])
    np.testing.assert_allclose(case.loss.log_loss(case.y, case.z), costs.mean(), rtol=1e-12)
    expected = np.average(costs, weights=case.weight)
    np.testing.assert_allclose(case.loss.log_loss(case.y, case.z, case.weight), expected, rtol=1e-12)


@links
@gammas
def test_log_loss_of_infinite_margins(gamma, link):
    assert BinaryFocalLoss(gamma, link=link).log_loss([0, 1], [-np.inf, np.inf]) == 0
    assert BinaryFocalLoss(gamma, link=link).log_loss([1], [-np.inf]) >= 1e200
    sure = [[np.inf, 0.0, -np.inf]]
    assert MulticlassFocalLoss(3, gamma, link=link).log_loss([0], sure) == 0
    assert MulticlassFocalLoss(3, gamma, link=link).log_loss([1], sure) >= 1e200
