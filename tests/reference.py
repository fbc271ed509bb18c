"""The focal losses and their derivatives in arbitrary precision.

Only the loss of a probability is written down here, as in Lin et al. 2017, with one gamma a class, and what the margins
of each link mean; the rest follows from calculus that any loss would share. Nothing is shared with the package, and
nothing with the closed forms of its documentation.

- Margins of the paper ("focal"): p = softmax(margins). Every derivative is a central difference of the loss, and the
  posterior is what makes the numerical gradient vanish on average.
- Margins that are log-odds ("logit"): softmax(margins) is the posterior, and p is where the expected loss under it is
  least. It is found by Newton's method, and differentiated through the equations that it solves; `resolved` takes
  differences of newly solved losses instead, as a check of that.

The binary loss is that of two classes with the margins 0 and z. Doubles are converted exactly. Results are good to 50
digits and more, and have no smallest value.
"""

from __future__ import annotations

from functools import cache
from math import comb, log
from typing import NamedTuple

from mpmath import mp, mpf

STEP = mpf(10) ** -30
# A second difference loses the square of the step, and its truncation error is about that square.
LOST = 60
KEPT = 70


class Row(NamedTuple):
    """What is true of one row of margins, for each class t as its label."""

    loss: list  # [t]
    gradient: list  # [t][k]
    curvature: list  # [t][k], the diagonal of the second derivatives
    posterior: list  # [k], the probabilities under which the margins are best
    expected: list  # [k], the curvature averaged over the posterior
    terms: list  # [t][k], the summands of the curvature that a formula may add up, by their sizes; logit link alone


@cache
def row(link: str, margins: tuple, gamma: tuple[float, ...], class_weight: tuple[float, ...]) -> Row:
    """All of it, for the link "focal" or "logit"."""
    if link == "logit":
        return logit_row(margins, gamma, class_weight)
    weights = [mpf(w) for w in class_weight]
    with mp.workdps(KEPT):
        losses, gradients, curvatures = focal_terms(margins, gamma)
        losses = [w * value for w, value in zip(weights, losses, strict=True)]
        gradients, curvatures = (
            [[w * value for value in values] for w, values in zip(weights, table, strict=True)]
            for table in (gradients, curvatures)
        )
        posterior = stationary(gradients)
        return Row(losses, gradients, curvatures, posterior, average(curvatures, posterior), [])


def average(table, posterior):
    """Columns of [t][k], averaged over t."""
    return [
        sum(eta * value for eta, value in zip(posterior, column, strict=True)) for column in zip(*table, strict=True)
    ]


def spread(margins) -> float:
    return float(max(margins) - min(margins))


def central_differences(below, middle, above):
    """First and second derivative."""
    return (above - below) / (2 * STEP), (above - 2 * middle + below) / STEP**2


# ---------------------------------------------------------------------------------------------------------------------
# The margins of the paper


def focal(p, gamma):
    """Focal loss of a row whose true class has probability p."""
    return -((1 - p) ** gamma) * mp.log(p)


@cache
def focal_terms(margins: tuple, gamma: tuple[float, ...]):
    """Losses [t], gradients [t][k] and diagonal curvatures [t][k] for each true class t, without class weights."""
    classes = range(len(margins))
    # Enough digits for 1 - p and then for the differences of a loss that hardly depends on a margin.
    with mp.workdps(int(2 * spread(margins) / log(10)) + LOST + KEPT):
        exponents = [mpf(g) for g in gamma]
        exponentials = [mp.exp(mpf(margin) - mpf(max(margins))) for margin in margins]

        def losses(moved, factor):
            numerators = [e * factor if k == moved else e for k, e in enumerate(exponentials)]
            total = sum(numerators)
            return [focal(e / total, g) for e, g in zip(numerators, exponents, strict=True)]

        here = losses(0, 1)
        grow, shrink = mp.exp(STEP), mp.exp(-STEP)
        below = [losses(k, shrink) for k in classes]
        above = [losses(k, grow) for k in classes]
        pairs = [[central_differences(below[k][t], here[t], above[k][t]) for k in classes] for t in classes]
        gradients, curvatures = ([[pair[i] for pair in row] for row in pairs] for i in (0, 1))
        return here, gradients, curvatures


def stationary(rates):
    """Probabilities under which the margins minimise the expected loss: ``sum_t eta_t g_k(t) = 0`` for each k.

    The gradient of a row sums to 0 and only the true class has a negative entry, so this asks for the stationary
    distribution of a Markov chain whose rate from t to k is g_k(t). The elimination of Grassmann, Taksar & Heyman
    (1985) finds it without a subtraction, so that the smallest probability keeps its digits.
    """
    rate = [list(row) for row in rates]
    n = len(rate)
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


# ---------------------------------------------------------------------------------------------------------------------
# Margins that are log-odds


class Class:
    """A class with a given logit of p: derivatives of its loss L in p, up to an order, by Leibniz's rule."""

    def __init__(self, logit, gamma, order=2):
        odds = mp.exp(logit)
        self.p, self.q = odds / (1 + odds), 1 / (1 + odds)
        powers = [self.q**gamma]
        for i in range(order):
            powers.append(powers[-1] * (i - gamma) / self.q)
        logs = [mp.log(self.p) if logit < 0 else mp.log1p(-self.q)]
        for i in range(order):
            logs.append((-i * logs[-1] if i else 1) / self.p)
        self.derivatives = [-sum(comb(n, i) * powers[i] * logs[n - i] for i in range(n + 1)) for n in range(order + 1)]
        # Of log(-L'), which is the same for all classes, but for log eta + log w.
        self.bend = self.derivatives[2] / self.derivatives[1]

    @property
    def log_slope(self):
        return mp.log(-self.derivatives[1])

    @property
    def bend_slope(self):
        return self.derivatives[3] / self.derivatives[1] - self.bend**2


def best_probabilities(goals, gamma, digits):
    """Classes at which ``goal_k + log(-L'_k(p_k))`` is the same for all k, and the p_k sum to 1.

    The unknowns are the logits. Only one class can have more than 1/2; its complement is the sum of the others, which
    is what Newton's method is asked for, in logarithms.
    """
    classes = range(len(goals))
    with mp.workdps(20):
        top = max(classes, key=lambda k: goals[k] + Class(mpf(0), gamma[k]).log_slope)
        others = [k for k in classes if k != top]
        ratio = mp.log(sum(mp.exp(goals[k] - goals[top]) for k in others))
        logits = [mpf(0)] * len(goals)
        logits[top] = -ratio if ratio > 0 else -ratio / (1 + gamma[top])
        for k in others:
            start = goals[k] - goals[top] - Class(logits[top], gamma[top]).log_slope
            logits[k] = min(start, mpf(0))
    precision = 20
    for _ in range(200):
        with mp.workdps(precision):
            here = [Class(logits[k], gamma[k]) for k in classes]
            levels = [goals[k] + here[k].log_slope for k in classes]
            # Derivative of goal + log(-L') in the logit.
            slopes = [-c.bend * c.p * c.q for c in here]
            missing = {k: levels[k] - levels[top] for k in others}
            total = sum(here[k].p for k in others)
            # Moving logit k by (missing + slope_top * x) / slope_k keeps its level equal to top's, top moving by x.
            pull = {k: here[k].p * here[k].q / (slopes[k] * total) for k in others}
            excess = mp.log(total / here[top].q) + sum(pull[k] * missing[k] for k in others)
            moved = -excess / (here[top].p + slopes[top] * sum(pull.values()))
            limit = 4 + abs(logits[top]) / 2
            moved = max(-limit, min(limit, moved))
            steps = [moved if k == top else (missing[k] + slopes[top] * moved) / slopes[k] for k in classes]
            logits = [
                t + s if k == top else min(t + s, mpf(0)) for k, (t, s) in enumerate(zip(logits, steps, strict=True))
            ]
            size = max(abs(s) / (1 + abs(t)) for s, t in zip(steps, logits, strict=True))
        if size < mpf(10) ** (-precision // 2 - 2):
            if precision == digits:
                break
            precision = min(2 * precision, digits)
    else:
        raise ArithmeticError(f"no root for {goals}, gamma {gamma}")
    with mp.workdps(digits):
        return [Class(logits[k], gamma[k], order=3) for k in classes]


def shares(margins):
    exponentials = [mp.exp(f - max(margins)) for f in margins]
    total = sum(exponentials)
    return [e / total for e in exponentials]


def logit_row(margins: tuple, gamma: tuple[float, ...], class_weight: tuple[float, ...], extra: int = 0) -> Row:
    """Solve for the best probabilities and differentiate the equations that they solve.

    With ``log(-L'_k(p_k)) + f_k + log w_k = c`` and ``sum p_k = 1``: a margin j moves p_k by ``(c' - delta_kj) / M_k``,
    M = L''/L', where c' makes the sum vanish; then once more.
    """
    classes = range(len(margins))
    # Second derivatives of rows far from their label are a difference, as small as the smallest probability.
    digits = int(spread(margins) / log(10)) + KEPT + 20 + extra
    with mp.workdps(digits):
        f, exponents, w = ([mpf(x) for x in values] for values in (margins, gamma, class_weight))
        goals = [margin + mp.log(weight) for margin, weight in zip(f, w, strict=True)]
        at = best_probabilities(goals, exponents, digits)
        inverse = [1 / c.bend for c in at]
        total = sum(inverse)
        gradients, curvatures, terms = ([[None] * len(f) for _ in f] for _ in range(3))
        for j in classes:
            level = inverse[j] / total
            # c' - 1 without a difference
            rest = -sum(inverse[k] for k in classes if k != j) / total
            first = [(rest if k == j else level) * inverse[k] for k in classes]
            pushes = [at[k].bend_slope * first[k] ** 2 * inverse[k] for k in classes]
            level_2, sizes = sum(pushes) / total, sum(map(abs, pushes)) / abs(total)
            for t in classes:
                _, slope, bend, _ = at[t].derivatives
                gradients[t][j] = w[t] * slope * first[t]
                # What the true class's own level adds, and what c'' does: a sum over the classes.
                own = bend * first[t] ** 2 - slope * pushes[t]
                curvatures[t][j] = w[t] * (own + slope * level_2 * inverse[t])
                terms[t][j] = w[t] * (abs(own) + abs(slope * sizes * inverse[t]))
        posterior = shares(f)
        losses = [weight * c.derivatives[0] for weight, c in zip(w, at, strict=True)]
        return Row(losses, gradients, curvatures, posterior, average(curvatures, posterior), terms)


def resolved(margins: tuple, gamma: tuple[float, ...], class_weight: tuple[float, ...]):
    """Gradients and curvatures of the logit link [t][k] by differences of losses at newly solved probabilities."""
    classes = range(len(margins))
    digits = int(2 * spread(margins) / log(10)) + LOST + KEPT
    with mp.workdps(digits):
        exponents, w = ([mpf(x) for x in values] for values in (gamma, class_weight))

        def losses(moved, by):
            f = [mpf(margin) + by * (k == moved) for k, margin in enumerate(margins)]
            goals = [margin + mp.log(weight) for margin, weight in zip(f, w, strict=True)]
            at = best_probabilities(goals, exponents, digits)
            return [weight * focal(c.p, g) for weight, c, g in zip(w, at, exponents, strict=True)]

        here = losses(0, 0)
        below, above = ([losses(k, by) for k in classes] for by in (-STEP, STEP))
        pairs = [[central_differences(below[k][t], here[t], above[k][t]) for k in classes] for t in classes]
        return ([[pair[i] for pair in row] for row in pairs] for i in (0, 1))
