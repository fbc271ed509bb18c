"""Piecewise polynomials of what the logit link has no closed form for: made with a loss, read by compiled kernels.

Every function here depends on gamma alone, is smooth, and is constant or linear far out. It is fitted at
Chebyshev nodes of cells of equal width from values that `Logit`, whose other direction is explicit, gives to the last
bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from focal_boost.kernels.numpy import Logit
from focal_boost.kernels.parameters import Parameters

__all__ = ["is_beyond", "n_steps", "parts"]

Array = NDArray[np.float64]

# No logit that is looked for is larger.
_LARGEST = 72.0


class _Cells(NamedTuple):
    """How functions are tabulated.

    Attributes
    ----------
    degree : of the polynomials
    class_width, binary_width : of cells in theta and in log-odds; what is asked of derivatives decides
    far : exp(-far) is below the rounding error of 1
    """

    degree: int
    class_width: float
    binary_width: float
    far: float


_DOUBLE = _Cells(5, 1 / 32, 1 / 8, 36.0)
_SINGLE = _Cells(3, 1 / 32, 1 / 8, 26.0)


@functools.lru_cache(maxsize=64)
def parts(parameters: Parameters, single: bool = False) -> tuple[Array, Array]:
    """Numbers of the classes, and tables.

    Parameters
    ----------
    parameters : Parameters
    single : bool
        Tables for single precision: as exact as that is, with fewer coefficients.

    Returns
    -------
    head : ndarray of shape (4 K,) or (7 K,)
        For each class gamma; for each its weight; the logarithm of it; theta of p = 1/2 (see `Logit`); with the logit
        link three places in `tables` for each class: for the binary loss of `_binary_tables` (the third is not used),
        else of `_class_tables`.
    tables : ndarray of shape (m,)
        Of each the number of its first cell, cells for a unit, number of cells, slope a cell to the left of the first
        and to the right of the last, three zeros, and for each cell the coefficients of its polynomial from the lowest.
        Cell n is that around n widths, where the variable of its polynomial is 0; it runs from -1/2 to 1/2.
    """
    gamma = np.array(parameters.gamma)
    weight = np.array(parameters.class_weight)
    head = [gamma, weight, np.log(weight), Logit(np.zeros(len(gamma)), gamma).theta]
    cells = _SINGLE if single else _DOUBLE
    place = 0
    places: list[float] = []
    tables: list[Array] = []
    seen: dict[tuple[float, ...], list[float]] = {}
    keys = [parameters.gamma] * 2 if parameters.binary else [(g,) for g in parameters.gamma]
    for key in keys if parameters.logit else ():
        if key not in seen:
            seen[key] = []
            for table in _binary_tables(*key, cells) if parameters.binary else _class_tables(*key):
                seen[key].append(place)
                tables.append(table)
                place += len(table)
            seen[key] += [0.0] * (3 - len(seen[key]))
        places += seen[key]
    return np.concatenate([*head, places]), np.concatenate([np.empty(0), *tables])


def n_steps(parameters: Parameters, single: bool) -> int:
    """Return how many steps of Halley's method a multiclass row needs before the last, which squares what is left.

    Parameters
    ----------
    parameters : Parameters
    single : bool
        Whether outputs are in single precision.

    Returns
    -------
    int
    """
    # Where the error is by far below what is promised, found on logits from N(0, 0.1) to N(0, 100).
    largest = max(parameters.gamma)
    if len(set(parameters.gamma)) > 1:
        return 8 if largest > 4.0 else 5 if largest > 2.0 else 2 if single else 3
    return 8 if largest > 8.0 else 1 if largest <= (2.0 if single else 1.0) else 2


def is_beyond(parameters: Parameters) -> bool:
    """Whether these steps may miss the solution, which is then left to `focal_boost.kernels.numpy`.

    Parameters
    ----------
    parameters : Parameters

    Returns
    -------
    bool
        True for several classes with the logit link and gammas that differ, if one of them is above 6.
    """
    differ = len(set(parameters.gamma)) > 1
    return parameters.logit and not parameters.binary and differ and max(parameters.gamma) > 6.0


def _header(first: float, width: float, last: float, slopes: tuple[float, float]) -> list[float]:
    return [first, 1 / width, last - first + 1, slopes[0] * width, slopes[1] * width, 0.0, 0.0, 0.0]


def _nodes(degree: int) -> Array:
    """Chebyshev's nodes in [-1/2, 1/2], twice as many as coefficients since derivatives magnify rounding errors."""
    n = 2 * (degree + 1)
    nodes: Array = 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / n)
    return nodes


def _tabulate(
    function: Callable[[Array], Array], low: float, high: float, degree: int, width: float, slopes: tuple[float, float]
) -> Array:
    first, last = math.floor(low / width), math.ceil(high / width)
    nodes = _nodes(degree)
    x = width * (np.arange(first, last + 1)[:, None] + nodes)
    to_terms = np.linalg.pinv(np.vander(nodes, degree + 1, increasing=True)).T
    coefficients = function(x.ravel()).reshape(x.shape) @ to_terms
    return np.concatenate([_header(first, width, last, slopes), coefficients.ravel()])


def _inverse(function: Callable[[Array], tuple[Array, Array]], value: Array, low: float, high: float) -> Array:
    """Where an increasing function has a value; the function returns its slope too."""
    below, above = np.full_like(value, low), np.full_like(value, high)
    for _ in range(16):
        middle = 0.5 * (below + above)
        too_low = function(middle)[0] < value
        below, above = np.where(too_low, middle, below), np.where(too_low, above, middle)
    x = 0.5 * (below + above)
    for _ in range(6):
        there, slope = function(x)
        x = np.clip(x + (value - there) / slope, low, high)
    return x


@functools.lru_cache(maxsize=32)
def _class_tables(gamma: float) -> tuple[Array, Array, Array]:
    """Three tables of a class: see the functions that are tabulated."""
    cells = _DOUBLE
    half = float(Logit(np.zeros(1), gamma).theta[0])
    far = (1.0 + gamma) * cells.far
    width = cells.class_width * (1.0 if gamma <= 8.0 else 0.5)

    def improbable(theta: Array) -> Logit:
        """Classes of probability up to 1/2, by theta."""
        t = _inverse(lambda t: ((there := Logit(t, gamma)).theta, there.slope), theta, -_LARGEST, 1.0)
        return Logit(t, gamma)

    def shrinkage(theta: Array) -> Array:
        """P(theta) exp(-theta), for classes of probability up to 1/2."""
        result: Array = np.exp(-improbable(theta).a - theta)
        return result

    def at(x: Array) -> Array:
        """Logit of the top class if all others are improbable: of ``theta - log q = x``."""
        return _inverse(lambda t: ((there := Logit(t, gamma)).theta + there.b, there.slope + there.p), x, -60.0, 60.0)

    def constant(x: Array) -> Array:
        """Give theta of the top class, x as in `at`."""
        result: Array = Logit(at(x), gamma).theta
        return result

    return (
        _tabulate(shrinkage, -cells.far, half, cells.degree, width, (0.0, 0.0)),
        _tabulate(constant, -cells.far, far, cells.degree, width, (1.0, gamma / (1.0 + gamma))),
        _start_table(gamma, far),
    )


def _start_table(gamma: float, far: float) -> Array:
    """Where to start from: by what x differs from ``theta_top - theta_other - log(m)`` if all others are alike.

    There may be any number m of them: polynomials have exponents 0 and 1 in x, and 1, 2 and 3 in 1 / m.
    """
    width, low = 0.25, -8.0
    first, last = math.floor(low / width), math.ceil(far / width)
    nodes, alike = _nodes(1), 0.5 + _nodes(3)
    x = width * (np.arange(first, last + 1)[:, None] + nodes)
    t = np.linspace(-20.0, _LARGEST, 8000)
    top = Logit(t, gamma)
    moved = []
    for share in alike:
        log_p = np.log(share) - top.b
        other = Logit(log_p - np.log1p(-np.exp(log_p)), gamma)
        apart = top.theta - other.theta + np.log(share)
        moved.append(np.interp(x.ravel(), apart, top.theta + top.b - apart).reshape(x.shape))
    of_share = np.linalg.pinv(alike[:, None] ** np.arange(1, 4))
    of_x = np.linalg.pinv(np.vander(nodes, 2, increasing=True))
    terms = np.einsum("scn,ps,qn->cpq", np.array(moved), of_share, of_x)
    return np.concatenate([_header(first, width, last, (0.0, 0.0)), terms.ravel()])


def _binary_logit(gamma0: float, gamma1: float, x: Array) -> Array:
    """Logit t of class 1 for which ``theta_1(t) - theta_0(-t) = x``."""

    def both(t: Array) -> tuple[Array, Array]:
        one, zero = Logit(t, gamma1), Logit(-t, gamma0)
        return one.theta - zero.theta, one.slope + zero.slope

    return _inverse(both, x, -_LARGEST, _LARGEST)


@functools.lru_cache(maxsize=32)
def _binary_tables(gamma0: float, gamma1: float, cells: _Cells) -> tuple[Array, Array]:
    """The row weight S and the logit t as functions of ``x = f + log(w1 / w0)``.

    With u1 = p q exp(-theta_1), u0 = p q exp(-theta_0) and M = d theta_1/dt + d theta_0/dt the gradient is
    ``(eta - y) (w0 u0 + w1 u1) / M``, and u0 / u1 = exp(x): S = (u0 + u1) / M is all there is to know.
    """

    def weight(x: Array) -> Array:
        t = _binary_logit(gamma0, gamma1, x)
        one, zero = Logit(t, gamma1), Logit(-t, gamma0)
        pq = -one.a - one.b
        result: Array = (np.exp(pq - one.theta) + np.exp(pq - zero.theta)) / (one.slope + zero.slope)
        return result

    def logit(x: Array) -> Array:
        return _binary_logit(gamma0, gamma1, x)

    low, high = -(1.0 + gamma0) * cells.far, (1.0 + gamma1) * cells.far
    slopes = 1.0 / (1.0 + gamma0), 1.0 / (1.0 + gamma1)
    # The smaller gamma is, the steeper is what it adds to a constant, until rounding errors are what counts.
    width = cells.binary_width * (2.0 if max(gamma0, gamma1) < 0.1 else 0.5 if min(gamma0, gamma1) < 4.0 else 1.0)
    return (
        _tabulate(weight, low, high, cells.degree, width, (0.0, 0.0)),
        _tabulate(logit, low, high, cells.degree, width, slopes),
    )
