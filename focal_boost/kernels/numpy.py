"""The formulas of the focal losses in plain NumPy.

This file is the readable specification: any other set of kernels computes what is written here.
Every public function works on blocks of rows, in double precision, whatever the dtypes and strides of its
arguments; temporaries stay in cache and memory does not grow with the number of rows.

Notation: ``z`` margin, ``p`` probability, ``q = 1 - p``, ``a = -log p``, ``b = -log q``, ``w`` class weight (alpha).
References: Lin et al. 2017 (arXiv 1708.02002) for the loss; Charoenphakdee et al. 2021 (arXiv 2011.09172) for the
posterior. Expected curvature and step bound are derived where they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit as sigmoid
from scipy.special import softmax as _softmax

__all__ = [
    "binary_gradient_hessian",
    "binary_loss",
    "binary_posterior_logit",
    "multiclass_gradient_hessian",
    "multiclass_log_posterior",
    "multiclass_loss",
    "sigmoid",
    "softmax",
]

arrays: ModuleType = np
asarray: Callable[..., NDArray[Any]] = np.asarray
to_host: Callable[..., NDArray[Any]] = np.asarray


def softmax(x: NDArray[Any]) -> NDArray[Any]:
    """Exponentials of each row over their sum."""
    shares: NDArray[Any] = _softmax(x, axis=1)
    return shares


# Elements of one temporary: 32 kB of doubles, so that the dozen that are alive fit into the second-level cache.
_BLOCK = 4096

# Infinite margins are replaced by this one: large enough that every exponential has underflowed, small enough that
# no product below overflows.
_FAR = 1e200


def _blocks(n: int, width: int = 1) -> Iterator[slice]:
    step = max(_BLOCK // width, 16)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _margins(block: np.ndarray, intercept: Any) -> np.ndarray:
    """Double-precision copy of a block of margins, plus the intercept, infinities replaced."""
    z = block.astype(np.float64)
    if intercept is not None:
        z += intercept
    return np.clip(z, -_FAR, _FAR, out=z)


def _ratio_to_small(numerator: NDArray[np.float64], small: NDArray[np.float64]) -> NDArray[np.float64]:
    """``numerator / small`` where both underflow together and their ratio tends to 1."""
    return np.divide(numerator, small, out=np.ones_like(small), where=small > 0)


# ---------------------------------------------------------------------------------------------------------------------
# Binary


class _Side:
    """Everything about ``|z|``: the sign of z only exchanges the two classes.

    One exp, one log1p and one division give all probabilities and their logarithms, none of them by a difference:
    ``big = sigma(x)``, ``small = sigma(-x)``, ``cost_big = -log(big)``, ``cost_small = -log(small)`` for ``x = |z|``.
    """

    def __init__(self, z: np.ndarray, gamma: float) -> None:
        x = self.x = np.abs(z)
        e = np.exp(-x)
        self.cost_big = np.log1p(e)
        self.cost_small = x + self.cost_big
        self.big = 1.0 / (1.0 + e)
        self.small = e * self.big
        # big**gamma and small**gamma. exp(-gamma x) is kept apart from the rest of small**gamma so that the rounding
        # of gamma * cost_small, half a unit of a number up to 745, is the only error that the exponential magnifies.
        self.big_gamma = np.exp(-gamma * self.cost_big)
        self.small_gamma = np.exp(-gamma * x) * self.big_gamma

    def slopes(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """|dFL/dz| of a row on the wrong side by x, and of a row on the right side by x (both with w = 1)."""
        wrong = self.big_gamma * (gamma * self.small * self.cost_small + self.big)
        right = self.small_gamma * (gamma * self.big * self.cost_big + self.small)
        return wrong, right

    def curvatures(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Signed second derivatives, of a row on the wrong side by x and on the right side by x (w = 1)."""
        twice = 1.0 + 2.0 * gamma
        # small times a cost of 700 and more: near the end of the range small alone would be subnormal and lose digits
        # that the product still has, hence exp(-x) in two halves.
        root = np.exp(-0.5 * self.x)
        bracket = self.big * (twice - gamma * self.cost_small) + gamma * gamma * self.small * self.cost_small
        wrong = root * (root * (self.big * self.big_gamma * bracket))
        right = (
            self.big
            * self.small_gamma
            * (self.small * (twice - gamma * self.cost_big) + gamma * gamma * self.big * self.cost_big)
        )
        return wrong, right

    def posterior_slope(self, gamma: float) -> np.ndarray:
        """M = d logit(eta) / dz: even in z, positive, gamma + 1 far from zero and 1 everywhere for gamma = 0."""
        rho_small = self.cost_small / self.big
        rho_big = _ratio_to_small(self.cost_big, self.small)
        slope: NDArray[np.float64] = (
            gamma
            + self.small * (1.0 + gamma * (1.0 - self.cost_small)) / (1.0 + gamma * self.small * rho_small)
            + self.big * (1.0 + gamma * (1.0 - self.cost_big)) / (1.0 + gamma * self.big * rho_big)
        )
        return slope


def _binary_labels(block: np.ndarray) -> np.ndarray:
    y = block.astype(np.float64)
    if not np.all((y >= 0.0) & (y <= 1.0)):
        bad = y[~((y >= 0.0) & (y <= 1.0))][0]
        raise ValueError(
            f"y_true holds {bad:g}, but binary labels must lie in [0, 1] (0 and 1 for classes, values between for "
            "soft labels); encode other labels first, or use FocalClassifier, which takes labels of any kind"
        )
    return y


def binary_loss(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: tuple[float, float],
    out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Focal loss of each row, times its weight: ``w1 q**gamma a`` for y = 1, ``w0 p**gamma b`` for y = 0."""
    w0, w1 = class_weight
    for rows in _blocks(len(z)):
        zb = _margins(z[rows], intercept)
        t = _binary_labels(y[rows])
        s = _Side(zb, gamma)
        wrong = s.big_gamma * s.cost_small
        right = s.small_gamma * s.cost_big
        positive = zb >= 0
        loss1 = np.where(positive, right, wrong)
        loss0 = np.where(positive, wrong, right)
        loss = t * (w1 * loss1) + (1.0 - t) * (w0 * loss0)
        if weight is not None:
            loss *= weight[rows]
        with np.errstate(over="ignore"):  # float32: beyond its range the loss is infinite
            out[rows] = loss


def binary_gradient_hessian(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: tuple[float, float],
    expected: bool,
    max_step: float,
    hessian_scale: float,
    gradient_out: np.ndarray,
    hessian_out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Gradient and curvature of each row with respect to its margin, times its weight.

    Expected curvature: the exact second derivative averaged over y ~ Bernoulli(eta), eta being the posterior that the
    margin stands for. With u1 = -dFL(z,1)/dz and u0 = dFL(z,0)/dz, eta = u0 / (u0 + u1) and the gradient is
    ``(u0 + u1)(eta - y)``; its derivative, averaged with y = eta, keeps only ``(u0 + u1) d eta/dz``, which is
    ``u0 u1 / (u0 + u1) * M`` with M = d logit(eta)/dz. One of the slopes is of order w at every margin, so the
    quotient is never 0/0.

    ``max_step`` is infinite for no bound; ``hessian_scale`` multiplies the bounded curvature.
    """
    w0, w1 = class_weight
    for rows in _blocks(len(z)):
        zb = _margins(z[rows], intercept)
        t = _binary_labels(y[rows])
        s = _Side(zb, gamma)
        positive = zb >= 0
        wrong, right = s.slopes(gamma)
        u0 = w0 * np.where(positive, wrong, right)
        u1 = w1 * np.where(positive, right, wrong)
        gradient = (1.0 - t) * u0 - t * u1
        if expected:
            hessian = u0 / (u0 + u1) * u1 * s.posterior_slope(gamma)
        else:
            wrong, right = s.curvatures(gamma)
            hessian = t * (w1 * np.where(positive, right, wrong)) + (1.0 - t) * (w0 * np.where(positive, wrong, right))
        _finish(gradient, hessian, None if weight is None else weight[rows], max_step, hessian_scale)
        gradient_out[rows] = gradient
        hessian_out[rows] = hessian


def _finish(
    gradient: np.ndarray, hessian: np.ndarray, weight: np.ndarray | None, max_step: float, hessian_scale: float
) -> None:
    """Step bound, library scale and sample weights, in place.

    Step bound: with h >= |g| / max_step in every row, no Newton step sum(g) / sum(h) exceeds max_step, the cure that
    LogitBoost applied to its working response (Friedman, Hastie & Tibshirani 2000).
    """
    if max_step < np.inf:
        np.maximum(hessian, np.abs(gradient) / max_step, out=hessian)
    if hessian_scale != 1.0:
        hessian *= hessian_scale
    if weight is not None:
        gradient *= weight
        hessian *= weight


def binary_posterior_logit(
    z: np.ndarray,
    gamma: float,
    class_weight: tuple[float, float],
    out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Logit of the class probability that a margin stands for: ``log u0 - log u1``, strictly increasing in z.

    ``gamma z + log[(p + gamma q b) / (q + gamma p a)] + log(w0 / w1)``, written for x = |z| so that only the quotient
    of the small side by its own probability is taken: ``(gamma + 1) x + log[(1 + gamma small rho) / (1 + gamma big
    rho')]``, odd in z but for the class weights.
    """
    w0, w1 = class_weight
    shift = np.log(w0 / w1)
    for rows in _blocks(len(z)):
        zb = _margins(z[rows], intercept)
        s = _Side(zb, gamma)
        rho_small = s.cost_small / s.big
        rho_big = _ratio_to_small(s.cost_big, s.small)
        odd = (gamma + 1.0) * np.abs(zb) + np.log1p(gamma * s.small * rho_small) - np.log1p(gamma * s.big * rho_big)
        out[rows] = np.copysign(odd, zb) + shift


# ---------------------------------------------------------------------------------------------------------------------
# Multiclass


class _Softmax:
    """Softmax of a block of margins, shape (K, rows), with complements and logarithms free of cancellation.

    The largest margin of a row ("top") is the only class whose complement can be small. All other classes are taken
    relative to the second largest margin, so that the share of each in top's complement survives where that
    complement underflows. ``d + d_low`` is a margin difference without rounding error (Knuth's two-sum): at a
    difference of 700 the rounding alone would cost a factor of 1 +- 6e-14 in its exponential.
    """

    def __init__(self, z: np.ndarray, gamma: float) -> None:
        k, n = z.shape
        columns = np.arange(n)
        top = np.argmax(z, axis=0)
        highest = z[top, columns]
        self.is_top = np.arange(k)[:, None] == top
        rest = z.copy()
        rest[top, columns] = -np.inf
        second = rest.max(axis=0)
        gap, gap_low = _two_diff(second, highest)
        root = np.exp(0.5 * gap) * (1.0 + 0.5 * gap_low)
        t = root * root

        d, d_low = _two_diff(z, second)
        d[top, columns] = 0.0
        d_low[top, columns] = 0.0
        share = np.exp(d) * (1.0 + d_low)
        share[top, columns] = 0.0
        others = share.sum(axis=0)  # in [1, K - 1]
        rest_sum = t * others  # sum of all exponentials but top's, top's being 1
        total = 1.0 + rest_sum
        log_total = np.log1p(rest_sum)

        # p_k in two factors, neither of them subnormal, for products with large numbers; zero for top
        self.p_factors = root, share * (root / total)
        # share: p_k / q_top, exact even where both underflow; zero for top
        self.share = share / others
        self.p = share * (t / total)
        self.p[top, columns] = 1.0 / total
        self.q = 1.0 - self.p  # no cancellation: p <= 1/2 but for top
        q_top = rest_sum / total
        self.q[top, columns] = q_top
        # a = -log p
        self.a = (highest - z) + log_total
        # log q, and q**gamma with exp(gamma * gap) apart, as in the binary case
        self.log_q = np.log1p(-np.where(self.is_top, 0.0, self.p))
        log_q_top = np.log(others) - log_total
        self.log_q[top, columns] = gap + log_q_top
        self.q_gamma = np.exp(gamma * self.log_q)
        self.q_gamma[top, columns] = np.exp(gamma * gap) * np.exp(gamma * (gap_low + log_q_top))
        # rho = a / q, 1 in the limit
        self.rho = self.a / np.where(self.is_top, 1.0, self.q)
        self.rho[top, columns] = _ratio_to_small(log_total, q_top)

    def slope(self, gamma: float, w: np.ndarray) -> np.ndarray:
        """-A_k = w q**gamma (1 + gamma p rho): what the gradient of a row of class k is proportional to."""
        slope: NDArray[np.float64] = w * self.q_gamma * (1.0 + gamma * self.p * self.rho)
        return slope

    def bend(self, gamma: float) -> np.ndarray:
        """R_k = V_k q_k / -A_k with V_k = p_k dA_k/dp_k; free of weights and of q**gamma, so it never underflows."""
        p_rho = self.p * self.rho
        factor = gamma * (2.0 - self.a + (gamma - 1.0) * p_rho) / (1.0 + gamma * p_rho)
        outer, inner = self.p_factors
        bend: NDArray[np.float64] = np.where(self.is_top, self.p * factor, outer * (inner * factor))
        return bend


def _two_diff(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x - y and its rounding error; the error is left out where the exponential of x - y is 0 by far."""
    d = x - y
    virtual = x - d
    low = (x - (d + virtual)) + (virtual - y)
    # Of margins of 1e20 the error alone would overflow an exponential, and 0 times infinity is NaN.
    low[np.abs(d) > 1e9] = 0.0
    return d, low


def _class_labels(block: np.ndarray, n_classes: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        y = block.astype(np.int64)
    if not np.all((block == y) & (y >= 0) & (y < n_classes)):
        bad = block[~((block == y) & (y >= 0) & (y < n_classes))][0]
        raise ValueError(
            f"y_true holds {bad:g}, but the labels of a loss with {n_classes} classes must be the integers "
            f"0 to {n_classes - 1}; encode other labels first, or use FocalClassifier, which takes labels of any kind"
        )
    return y


def _pick(table: np.ndarray, y: np.ndarray) -> np.ndarray:
    picked: NDArray[Any] = table[y, np.arange(len(y))]
    return picked


def multiclass_loss(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: np.ndarray,
    out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Focal loss of each row, times its weight: ``w_t q_t**gamma a_t`` for the true class t."""
    n, k = z.shape
    for rows in _blocks(n, k):
        t = _class_labels(y[rows], k)
        s = _Softmax(_margins(z[rows], intercept).T.copy(), gamma)
        loss = class_weight[t] * _pick(s.q_gamma, t) * _pick(s.a, t)
        if weight is not None:
            loss *= weight[rows]
        with np.errstate(over="ignore"):  # float32: beyond its range the loss is infinite
            out[rows] = loss


def multiclass_gradient_hessian(
    y: np.ndarray,
    z: np.ndarray,
    weight: np.ndarray | None,
    gamma: float,
    class_weight: np.ndarray,
    expected: bool,
    max_step: float,
    hessian_scale: float,
    gradient_out: np.ndarray,
    hessian_out: np.ndarray,
    n_threads: int = 1,
    intercept: Any = None,
) -> None:
    """Gradient and diagonal curvature of each row with respect to its margins, times its weight; shapes (n, K).

    Gradient: ``g_k = A_t (delta_tk - p_k)``, A as in `_Softmax.slope`.
    Exact diagonal: ``V_t (delta_tk - p_k)**2 - A_t p_k q_k``.
    Expected diagonal: the exact one averaged over t ~ eta, eta_t = c p_t / -A_t. Since sum_t eta_t (-A_t) = c and
    eta_t V_t = c p_t R_t / q_t with R as in `_Softmax.bend`, it is

        h_k = c [ p_k q_k (1 + R_k) + p_k**2 sum_{t != k} p_t R_t / q_t ],   1/c = sum_t p_t / -A_t,

    O(K) a row, and nothing in it is a difference of large numbers. ``p_k / q_top`` is taken from the shares.
    """
    n, k = z.shape
    w = class_weight[:, None]
    for rows in _blocks(n, k):
        t = _class_labels(y[rows], k)
        s = _Softmax(_margins(z[rows], intercept).T.copy(), gamma)
        slope = s.slope(gamma, w)
        true = np.arange(k)[:, None] == t
        # p_k - delta_tk with the complement for the true class
        residual = np.where(true, -s.q, s.p)
        gradient = _pick(slope, t) * residual
        hessian = _expected_diagonal(s, slope, gamma) if expected else _exact_diagonal(s, slope, gamma, t, true)
        _finish(gradient, hessian, None if weight is None else weight[rows], max_step, hessian_scale)
        gradient_out[rows] = gradient.T
        hessian_out[rows] = hessian.T


def _expected_diagonal(s: _Softmax, slope: np.ndarray, gamma: float) -> np.ndarray:
    with np.errstate(over="ignore", divide="ignore"):
        c = 1.0 / (s.p / slope).sum(axis=0)
    bend = s.bend(gamma)
    p_bend = s.p * bend
    term = np.where(s.is_top, 0.0, p_bend / np.where(s.is_top, 1.0, s.q))
    term_sum = term.sum(axis=0)
    top_bend = np.where(s.is_top, p_bend, 0.0).sum(axis=0)
    diagonal: NDArray[np.float64] = c * s.p * (s.q * (1.0 + bend) + s.p * (term_sum - term) + s.share * top_bend)
    return diagonal


def _exact_diagonal(s: _Softmax, slope: np.ndarray, gamma: float, t: np.ndarray, true: np.ndarray) -> np.ndarray:
    bend = _pick(s.bend(gamma), t)
    q_true = _pick(s.q, t)
    top_is_true = _pick(s.is_top, t)
    # p_k / q_t, by the share where q_t is top's complement
    ratio = np.where(top_is_true, s.share, s.p / np.where(top_is_true, 1.0, q_true))
    squared = np.where(true, q_true, s.p * ratio)
    diagonal: NDArray[np.float64] = _pick(slope, t) * (bend * squared + s.p * s.q)
    return diagonal


def multiclass_log_posterior(
    z: np.ndarray, gamma: float, class_weight: np.ndarray, out: np.ndarray, n_threads: int = 1, intercept: Any = None
) -> None:
    """Logarithm of the class probabilities that margins stand for, up to a constant a row: ``log(p_k / -A_k)``."""
    n, k = z.shape
    w = class_weight[:, None]
    for rows in _blocks(n, k):
        zb = _margins(z[rows], intercept).T.copy()
        s = _Softmax(zb, gamma)
        log_eta = -s.a - gamma * s.log_q - np.log1p(gamma * s.p * s.rho)
        # Margins that tie with top take a different path above; they shall stay tied to the last bit.
        log_eta_top = np.where(s.is_top, log_eta, -np.inf).max(axis=0)
        log_eta = np.where(zb == zb.max(axis=0), log_eta_top, log_eta) - np.log(w)
        log_eta -= log_eta.max(axis=0)
        out[rows] = log_eta.T
