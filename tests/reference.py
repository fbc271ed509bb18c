"""The focal losses in arbitrary precision, differentiated numerically.

Only the losses themselves are written down here, as in Lin et al. 2017; every derivative is a central difference of
them, and the posterior is what makes the numerical gradient vanish on average. Nothing is shared with the package.

Doubles are converted exactly. Results are good to 50 digits and more, and have no smallest value.
"""

from __future__ import annotations

from functools import cache
from math import log

from mpmath import mp, mpf

STEP = mpf(10) ** -30
# A second difference loses the square of the step, and its truncation error is about that square.
LOST = 60
KEPT = 70


def precision(spread: float):
    """Enough digits for ``1 - p`` and then for the differences of a loss that hardly depends on a margin."""
    return mp.workdps(int(2 * spread / log(10)) + LOST + KEPT)


def focal(p, gamma):
    """Focal loss of a row whose true class has probability p."""
    return -((1 - p) ** gamma) * mp.log(p)


def central_differences(below, middle, above):
    """First and second derivative."""
    return (above - below) / (2 * STEP), (above - 2 * middle + below) / STEP**2


# ---------------------------------------------------------------------------------------------------------------------
# Binary


@cache
def binary_terms(z: float, gamma: float):
    """(loss, first derivative, second derivative) for label 0 and for label 1, without class weights."""
    gamma = mpf(gamma)
    with precision(abs(float(z))):
        sigmoids = [1 / (1 + mp.exp(-(mpf(z) + shift))) for shift in (-STEP, 0, STEP)]
        losses = ([focal(1 - p, gamma) for p in sigmoids], [focal(p, gamma) for p in sigmoids])
        return tuple((values[1], *central_differences(*values)) for values in losses)


def binary(y: float, z: float, gamma: float, class_weight=(1.0, 1.0)):
    """Loss, gradient and exact curvature for a label in [0, 1], and the two summands of each."""
    with mp.workdps(KEPT):
        share = (1 - mpf(y), mpf(y))
        summands = [
            [share[label] * mpf(class_weight[label]) * value for value in binary_terms(z, gamma)[label]]
            for label in (0, 1)
        ]
        return [sum(pair) for pair in zip(*summands, strict=True)], summands


def binary_posterior(z: float, gamma: float, class_weight=(1.0, 1.0)):
    """Probabilities of class 0 and class 1 under which the margin minimises the expected loss."""
    with mp.workdps(KEPT):
        g0, g1 = (mpf(w) * terms[1] for w, terms in zip(class_weight, binary_terms(z, gamma), strict=True))
        return g1 / (g1 - g0), g0 / (g0 - g1)


def binary_expected(z: float, gamma: float, class_weight=(1.0, 1.0)):
    """Second derivative, averaged over the posterior."""
    with mp.workdps(KEPT):
        eta = binary_posterior(z, gamma, class_weight)
        return sum(eta[label] * mpf(class_weight[label]) * binary_terms(z, gamma)[label][2] for label in (0, 1))


# ---------------------------------------------------------------------------------------------------------------------
# Softmax


@cache
def multiclass_terms(z: tuple[float, ...], gamma: float):
    """Losses [t], gradients [t][k] and diagonal curvatures [t][k] for each true class t, without class weights."""
    gamma = mpf(gamma)
    classes = range(len(z))
    with precision(max(z) - min(z)):
        exponentials = [mp.exp(mpf(margin) - mpf(max(z))) for margin in z]

        def losses(moved, factor):
            numerators = [e * factor if k == moved else e for k, e in enumerate(exponentials)]
            total = sum(numerators)
            return [focal(e / total, gamma) for e in numerators]

        here = losses(0, 1)
        grow, shrink = mp.exp(STEP), mp.exp(-STEP)
        below = [losses(k, shrink) for k in classes]
        above = [losses(k, grow) for k in classes]
        pairs = [[central_differences(below[k][t], here[t], above[k][t]) for k in classes] for t in classes]
        gradients, curvatures = ([[pair[i] for pair in row] for row in pairs] for i in (0, 1))
        return here, gradients, curvatures


def multiclass(t: int, z: tuple[float, ...], gamma: float, class_weight):
    """Loss, gradient [k] and exact diagonal curvature [k] for true class t."""
    with mp.workdps(KEPT):
        loss, gradient, curvature = (terms[t] for terms in multiclass_terms(z, gamma))
        w = mpf(class_weight[t])
        return w * loss, [w * value for value in gradient], [w * value for value in curvature]


def multiclass_posterior(z: tuple[float, ...], gamma: float, class_weight):
    """Probabilities under which the margins minimise the expected loss: ``sum_t eta_t g_k(t) = 0`` for each k.

    The gradient of a row sums to 0 and only the true class has a negative entry, so this asks for the stationary
    distribution of a Markov chain whose rate from t to k is g_k(t). The elimination of Grassmann, Taksar & Heyman
    (1985) finds it without a subtraction, so that the smallest probability keeps its digits.
    """
    n = len(z)
    with mp.workdps(KEPT):
        gradients = multiclass_terms(z, gamma)[1]
        rate = [[mpf(w) * g for g in row] for w, row in zip(class_weight, gradients, strict=True)]
        for last in range(n - 1, 0, -1):
            leaving = sum(rate[last][:last])
            for i in range(last):
                rate[i][last] /= leaving
                for j in range(last):
                    if i != j:
                        rate[i][j] += rate[i][last] * rate[last][j]
        eta = [mpf(1)]
        for k in range(1, n):
            eta.append(sum(eta[i] * rate[i][k] for i in range(k)))
        total = sum(eta)
        return [value / total for value in eta]


def multiclass_expected(z: tuple[float, ...], gamma: float, class_weight):
    """Diagonal of the second derivatives [k], averaged over the posterior."""
    with mp.workdps(KEPT):
        eta = multiclass_posterior(z, gamma, class_weight)
        curvatures = multiclass_terms(z, gamma)[2]
        weights = [value * mpf(w) for value, w in zip(eta, class_weight, strict=True)]
        return [sum(w * row[k] for w, row in zip(weights, curvatures, strict=True)) for k in range(len(z))]
