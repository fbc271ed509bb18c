"""The formulas of the focal losses in plain NumPy.

This file is the readable specification: any other set of kernels computes what is written here. It works on blocks of
rows, in double precision, whatever the dtypes and strides of its arguments; temporaries stay in cache and memory does
not grow with the number of rows.

Notation: ``p`` probability of a class at which the loss is taken, ``q = 1 - p``, ``t = log(p / q)``, ``a = -log p``,
``w`` class weight (alpha). The binary loss is that of two classes with the margins 0 and f.

References: Lin et al. 2017 (arXiv 1708.02002) for the loss; Charoenphakdee et al. 2021 (arXiv 2011.09172) for the class
probabilities at which it is least. docs/mathematics.md derives what is used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit as sigmoid
from scipy.special import softmax as _softmax

from focal_boost.kernels.parameters import Operation, Parameters, label_error

__all__ = ["run", "sigmoid", "softmax"]

Array = NDArray[np.float64]

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


def run(
    operation: Operation,
    parameters: Parameters,
    y: Any,
    z: Any,
    weight: Any,
    outputs: tuple[Any, ...],
    n_threads: int = 1,
    intercept: Any = None,
    hessian_scale: float = 1.0,
    checked: bool = False,
    team: int = 0,
) -> None:
    """Compute one operation for all rows.

    Parameters
    ----------
    operation : {"loss", "derivatives", "log_odds"}
    parameters : Parameters
    y : ndarray of shape (n,), or None for "log_odds"
        Labels.
    z : ndarray of shape (n,) for the binary loss, else (n, K)
        Margins, float32 or float64.
    weight : ndarray of shape (n,), or None
        Factor on the loss and the derivatives of each row.
    outputs : tuple of ndarray
        Written to: the loss of each row; or gradient and curvature, of the shape of the margins; or the log-odds.
    n_threads : int
        For kernels that can use more than one.
    intercept : float, ndarray of shape (K,), or None
        Added to the margins.
    hessian_scale : float
        Factor on the curvature, after the step bound.
    checked : bool
        Whether labels and weights are those of an earlier call, which has looked at them: where that costs something
        they are not looked at again.
    team : int
        Address of ``GOMP_parallel`` of the OpenMP library whose threads are to compute, for kernels that use threads.
        0: threads of their own.

    Raises
    ------
    ValueError
        If a label is not allowed.
    """
    n_classes = parameters.n_classes
    for rows in _blocks(len(z), n_classes):
        margins = _margins(z[rows], intercept, parameters.binary)
        if operation == "log_odds":
            log_eta = Probabilities(margins, parameters).log_posterior()
            outputs[0][rows] = log_eta[1] - log_eta[0] if parameters.binary else log_eta.T
            continue
        block = (Posteriors if parameters.logit else Probabilities)(margins, parameters)
        label_weights = _label_weights(y[rows], parameters)
        factor = 1.0 if weight is None else np.asarray(weight[rows], dtype=np.float64)
        if operation == "loss":
            with np.errstate(over="ignore"):  # float32: beyond its range the loss is infinite
                outputs[0][rows] = (label_weights * block.losses()).sum(axis=0) * factor
            continue
        gradient, hessian = block.derivatives(label_weights, parameters.expected)
        if parameters.max_step < np.inf:
            # Step bound: with h >= |g| / max_step in every row, no Newton step sum(g) / sum(h) exceeds max_step, the
            # cure that LogitBoost applied to its working response (Friedman, Hastie & Tibshirani 2000).
            np.maximum(hessian, np.abs(gradient) / parameters.max_step, out=hessian)
        for out, values in zip(outputs, (gradient * factor, hessian * hessian_scale * factor), strict=True):
            out[rows] = values[1] if parameters.binary else values.T


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(_BLOCK // width, 16)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _margins(block: NDArray[Any], intercept: Any, binary: bool) -> Array:
    """Margins of shape (K, rows) in double precision, with the intercept, infinities replaced."""
    z = block.astype(np.float64)
    if intercept is not None:
        z += intercept
    np.clip(z, -_FAR, _FAR, out=z)
    return np.stack([np.zeros_like(z), z]) if binary else z.T.copy()


def _label_weights(block: NDArray[Any], parameters: Parameters) -> Array:
    """How much each class is the label of each row, shape (K, rows): 0 and 1, or the shares of a soft label."""
    y = block.astype(np.float64)
    classes = np.arange(parameters.n_classes)[:, None]
    allowed = (y >= 0) & (y <= 1) if parameters.binary else (classes == y).any(axis=0)
    if not allowed.all():
        raise label_error(y[~allowed][0], parameters)
    return np.stack([1.0 - y, y]) if parameters.binary else (classes == y).astype(np.float64)


def _ratio_to_small(numerator: Array, small: Array) -> Array:
    """``numerator / small`` where both underflow together and their ratio tends to 1."""
    return np.divide(numerator, small, out=np.ones_like(small), where=small > 0)


def _others(values: Array) -> Array:
    """Sum of the other classes' non-negative values, without a difference."""
    before, after = np.zeros_like(values), np.zeros_like(values)
    before[1:] = np.cumsum(values, axis=0)[:-1]
    after[:-1] = np.cumsum(values[::-1], axis=0)[::-1][1:]
    return before + after


def _logsumexp(x: Array) -> Array:
    highest = x.max(axis=0)
    total: Array = highest + np.log(np.exp(x - highest).sum(axis=0))
    return total


# ---------------------------------------------------------------------------------------------------------------------
# Classes by the logits of their probabilities


class Logit:
    """Probabilities by their logits t, and what the logit link needs of them, without cancellation at any t.

    With L(p) = -(1 - p)**gamma log p, a row with class probabilities eta has its least expected loss where eta_k w_k
    L'(p_k) is the same for all classes, hence where ``theta_k = -log(-L'(p_k))`` is log eta_k + log w_k up to a
    constant a row. theta increases in t.

    Attributes
    ----------
    t, p, q, a, b : logit, probability, complement, -log p, -log q
    theta : ``t + (gamma - 1) b - log(1 + gamma a p / q)``
    slope : d theta / dt
    """

    t: Array
    gamma: Any
    p: Array
    q: Array
    a: Array
    b: Array
    odds_a: Array
    bracket: Array
    theta: Array
    slope: Array

    def __init__(self, t: Array, gamma: Any) -> None:
        self.t, self.gamma = t, gamma
        small = np.exp(-np.abs(t))
        log_sum = np.log1p(small)
        positive = t >= 0
        self.p = np.where(positive, 1.0, small) / (1.0 + small)
        self.q = np.where(positive, small, 1.0) / (1.0 + small)
        self.a = log_sum + np.maximum(-t, 0.0)
        self.b = log_sum + np.maximum(t, 0.0)
        self.odds_a = np.where(positive, _ratio_to_small(log_sum, small), self.a * small)  # a p / q, in (0, 1)
        self.bracket = 1.0 + gamma * self.odds_a
        self.theta = t + (gamma - 1.0) * self.b - np.log(self.bracket)
        self.slope = gamma * self.p + (self.q + gamma * self.p * (1.0 - self.odds_a)) / self.bracket

    def log_r(self) -> Array:
        """Logarithm of ``r = dp / d theta = p q / slope``."""
        with np.errstate(divide="ignore"):  # at gamma 0 the slope is q, which underflows
            log_r: Array = np.where(self.gamma == 0.0, -self.a, -self.a - self.b - np.log(self.slope))
        return log_r

    def bends(self) -> tuple[Array, Array]:
        """``r'/r`` and ``D'/D`` for D = r exp(-theta), derivatives with respect to theta; the second is r'/r - 1."""
        g, p, q, bracket = self.gamma, self.p, self.q, self.bracket
        slope = np.where(g == 0.0, 1.0, self.slope)
        excess = g * (self.odds_a - p) / bracket
        of_slope = ((g - 1.0) * p * q + g * p * q / bracket - (1.0 + g * p) * excess / bracket) / slope
        # For improbable classes the slope is nearly 1: what it differs by, without it.
        of_r, of_d = (q - p - of_slope) / slope, ((1.0 - g) * p + excess - 2.0 * p - of_slope) / slope
        return np.where(g == 0.0, 1.0, of_r), np.where(g == 0.0, 0.0, of_d)

    def q_gamma(self) -> Array:
        """``q**gamma``."""
        power: Array = np.exp(-self.gamma * self.b)
        return power


# ---------------------------------------------------------------------------------------------------------------------
# The link of the paper


class Probabilities:
    """The classes of a block of rows, all arrays of shape (K, rows); margins of the paper, p = softmax(z).

    Attributes
    ----------
    logit : Logit
        The logit of a class is its margin less the logarithm of the sum of the other exponentials.
    """

    gamma: Array
    w: Array
    logit: Logit
    is_top: NDArray[np.bool_]

    def __init__(self, z: Array, parameters: Parameters) -> None:
        self.gamma = np.array(parameters.gamma)[:, None]
        self.w = np.array(parameters.class_weight)[:, None]
        columns = np.arange(z.shape[1])
        top = np.argmax(z, axis=0)
        self.is_top = np.arange(len(z))[:, None] == top
        highest = z[top, columns]
        d = z - highest
        e = np.exp(d)
        # Top is the only class that the others can be small beside: their sum is taken without it. Of the others the
        # sum without them is at least 1, top's own.
        t = d - np.log(np.where(self.is_top, 1.0, e.sum(axis=0) - np.where(self.is_top, 0.0, e)))
        t_top = -_logsumexp(np.where(self.is_top, -np.inf, d))
        # What ties with top stays tied to the last bit.
        self.logit = Logit(np.where(d == 0.0, t_top, t), self.gamma)

    def losses(self) -> Array:
        """Focal loss of a row whose label is the class, ``w q**gamma a``."""
        losses: Array = self.w * self.logit.q_gamma() * self.logit.a
        return losses

    def slope(self) -> Array:
        """``-A_k = w q**gamma (1 + gamma p a / q)``: what the gradient of a row of class k is proportional to."""
        slope: Array = self.w * self.logit.q_gamma() * self.logit.bracket
        return slope

    def bend(self) -> Array:
        """``R_k = V_k q_k / -A_k``, ``V_k = p_k dA_k/dp_k``; free of weights and of q**gamma: it never underflows."""
        g, c = self.gamma, self.logit
        bend: Array = c.p * (g * (2.0 - c.a + (g - 1.0) * c.odds_a) / c.bracket)
        return bend

    def derivatives(self, label_weights: Array, expected: bool) -> tuple[Array, Array]:
        """Gradient and diagonal of the second derivatives.

        Gradient for label t: ``A_t (delta_tk - p_k)``. Exact diagonal: ``V_t (delta_tk - p_k)**2 - A_t p_k q_k``.
        Expected diagonal: the exact one averaged over t ~ eta, eta_t = c p_t / -A_t. Since sum_t eta_t (-A_t) = c and
        eta_t V_t = c p_t R_t / q_t,

            h_k = c [ p_k q_k (1 + R_k) + p_k**2 sum_{t != k} p_t R_t / q_t ],   1/c = sum_t p_t / -A_t,

        O(K) a row, and nothing in it is a difference of large numbers. ``p_k / q_t`` of top, whose complement may
        underflow, comes from logarithms.
        """
        p, q, slope, bend = self.logit.p, self.logit.q, self.slope(), self.bend()
        labelled = label_weights * slope
        # For label k itself the complement, which is no difference; the sum over the other labels likewise.
        gradient: Array = _others(labelled) * p - labelled * q
        b_top = np.where(self.is_top, self.logit.b, 0.0).sum(axis=0)
        p_over_q_top = np.exp(np.where(self.is_top, -np.inf, b_top - self.logit.a))

        def across(values: Array) -> Array:
            """``p_k`` times the sum of values_t / q_t over the classes t but k."""
            of_top = np.where(self.is_top, values, 0.0).sum(axis=0)
            others = np.where(self.is_top, 0.0, values / np.where(self.is_top, 1.0, q))
            result: Array = p * (others.sum(axis=0) - others) + p_over_q_top * of_top
            return result

        if expected:
            with np.errstate(over="ignore", divide="ignore"):
                c = 1.0 / (p / slope).sum(axis=0)
            return gradient, c * p * (q * (1.0 + bend) + across(p * bend))
        hessian: Array = labelled * bend * q + p * across(labelled * bend) + labelled.sum(axis=0) * p * q
        return gradient, hessian

    def log_posterior(self) -> Array:
        """Logarithms of the class probabilities for which the margins are best, largest 0: ``log(p_k / -A_k)``."""
        log_eta = self.logit.theta - np.log(self.w)
        shifted: Array = log_eta - log_eta.max(axis=0)
        return shifted


# ---------------------------------------------------------------------------------------------------------------------
# The logit link


class Posteriors:
    """The classes of a block of rows, all arrays of shape (K, rows); margins f are log-odds, eta = softmax(f).

    The probabilities p at which the loss is taken are those that are best for eta: see `Logit`. They are found by
    Newton's method on the logits t, for all classes and the constant of the row at once; ``top`` is the only class that
    can be more probable than 1/2.

    Attributes
    ----------
    logit : Logit
    rho : r over its sum R, a distribution over the classes
    d : D = r exp(-theta), which tends to 1 for improbable classes
    c_r : c R with c = eta_k w_k exp(-theta_k), which is the same for all k
    """

    gamma: Array
    w: Array
    logit: Logit
    rho: Array
    d: Array
    c_r: Array
    a_beyond: Array

    def __init__(self, f: Array, parameters: Parameters) -> None:
        self.gamma = np.array(parameters.gamma)[:, None]
        self.w = np.array(parameters.class_weight)[:, None]
        columns = np.arange(f.shape[1])
        log_w = np.log(self.w)
        half = Logit(np.zeros_like(self.gamma), self.gamma).theta  # theta of p = 1/2
        # Differences first: beside a large margin the logarithms would be lost.
        top = np.argmax((f - f.max(axis=0)) + (log_w - half), axis=0)
        is_top = np.arange(len(f))[:, None] == top
        d = f - f[top, columns]
        d = np.where(is_top, -np.inf, d + (log_w - log_w[top, 0]))
        # Farther apart than this all that depends on it has underflowed, digits would be lost, and -log p is linear.
        highest, limit = d.max(axis=0), -800.0 * (1.0 + self.gamma[top, 0])
        d = np.where(highest < limit, d - highest + limit, d)
        self.a_beyond = np.where(is_top, 0.0, np.maximum(limit - highest, 0.0) / (1.0 + self.gamma[top, 0]))
        t = self._solve(d, top, columns)
        self.logit = Logit(t, self.gamma)
        log_r = self.logit.log_r()
        highest = log_r.max(axis=0)
        relative = np.exp(log_r - highest)
        total = relative.sum(axis=0)
        self.rho = relative / total
        log_eta_top = -np.log(np.exp(np.minimum(f - f[top, columns], 700.0)).sum(axis=0))
        log_c = log_eta_top + (log_w[top, 0] - self.logit.theta[top, columns])
        self.c_r = np.exp(log_c + highest + np.log(total))
        self.d = np.exp(log_r - self.logit.theta)

    def _solve(self, d: Array, top: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        """Logits of all classes, given ``theta - theta_top``, -inf for top."""
        gamma, g_top = self.gamma, self.gamma[top, 0]
        is_top = np.isneginf(d)
        x = -_logsumexp(d)
        t_top = np.where(x > 0, (x + np.log1p(g_top)) / (1.0 + g_top), x)
        t = np.minimum(np.where(is_top, -np.inf, d + Logit(t_top, g_top).theta), 0.0)
        unsolved = np.ones(len(columns), dtype=bool)
        for _ in range(100):
            at_top, others = Logit(t_top, g_top), Logit(np.where(is_top, -1.0, t), gamma)
            missing = np.where(is_top, 0.0, d + (at_top.theta - others.theta))
            log_p = np.where(is_top, -np.inf, -others.a)
            log_sum = _logsumexp(log_p)
            pull = np.exp(log_p - log_sum) * others.q / others.slope
            step_top = -(log_sum + at_top.b + (pull * missing).sum(axis=0)) / (
                at_top.p + at_top.slope * pull.sum(axis=0)
            )
            step_top = np.clip(step_top, -4.0 - 0.5 * np.abs(t_top), 4.0 + 0.5 * np.abs(t_top))
            step = np.where(is_top, 0.0, (missing + at_top.slope * step_top) / others.slope)
            # A row that is solved stays as it is: it does not depend on the others.
            t_top = np.where(unsolved, t_top + step_top, t_top)
            t = np.where(unsolved, np.minimum(t + step, 0.0), t)
            sizes = np.maximum(np.abs(step_top) / (1.0 + np.abs(t_top)), (np.abs(step) / (1.0 + np.abs(t))).max(axis=0))
            unsolved &= sizes > 1e-9  # the next step would be of size 1e-18
            if not unsolved.any():
                break
        t[top, columns] = t_top
        return t

    def losses(self) -> Array:
        """Focal loss of a row whose label is the class, ``w q**gamma a``."""
        losses: Array = self.w * self.logit.q_gamma() * (self.logit.a + self.a_beyond)
        return losses

    def derivatives(self, label_weights: Array, expected: bool) -> tuple[Array, Array]:
        """Gradient and diagonal of the second derivatives with respect to the margins f.

        For label t, with L_t = w_t D_t: gradient ``L_t (rho_k - delta_tk)``, exact diagonal

            L_t { -(D'/D)_t (delta_tk - rho_k)**2 + rho_k (r'/r)_k (1 - rho_k)**2
                  + rho_k**2 sum_{j != k} rho_j (r'/r)_j },

        and expected diagonal, its average over t ~ eta, ``c R rho_k (1 - rho_k)``.
        """
        rho, others = self.rho, _others(self.rho)
        labelled = label_weights * self.w * self.d
        gradient: Array = _others(labelled) * rho - labelled * others
        if expected:
            return gradient, self.c_r * rho * others
        r_bend, d_bend = self.logit.bends()
        total, pulled = labelled.sum(axis=0), labelled * d_bend
        own = total * rho * r_bend - pulled
        across = total * _others(rho * r_bend) - _others(pulled)
        return gradient, others**2 * own + rho**2 * across
