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

__all__ = ["block", "n_steps", "parts"]

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
def block(parameters: Parameters) -> Array:
    """All that compiled kernels know of a loss, as one array of doubles.

    Parameters
    ----------
    parameters : Parameters

    Returns
    -------
    ndarray of shape (m,)
        What `parts` returns, places of tables being places in this array.
    """
    head, tables = parts(parameters)
    if parameters.logit:
        head[4 * parameters.n_classes :] += len(head)
    return np.concatenate([head, tables])


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
        Cell n is that around n widths, where the variable of its polynomial is 0; it runs from -1/2 to 1/2. Behind the
        first table of a class single precision has the cells of one more, `decline` of `_class_tables`.
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
            for table in _binary_tables(*key, cells) if parameters.binary else _class_tables(*key, cells):
                seen[key].append(place)
                tables.append(table)
                place += len(table)
            seen[key] += [0.0] * (3 - len(seen[key]))
        places += seen[key]
    return np.concatenate([*head, places]), np.concatenate([np.empty(0), *tables])


def n_steps(parameters: Parameters) -> int:
    """Return how many steps of Halley's method a multiclass row needs before the last, which makes it exact.

    Parameters
    ----------
    parameters : Parameters

    Returns
    -------
    int
    """
    largest = max(parameters.gamma)
    if len(set(parameters.gamma)) == 1 and largest <= 8:
        return 2
    return 4 if largest <= 8 else 8


def _tabulate(
    function: Callable[[Array], Array], low: float, high: float, degree: int, width: float, slopes: tuple[float, float]
) -> Array:
    first, last = math.floor(low / width), math.ceil(high / width)
    # Twice as many nodes as there are coefficients: values have rounding errors, which derivatives magnify.
    n_nodes = 2 * (degree + 1)
    nodes = 0.5 * np.cos(np.pi * (np.arange(n_nodes) + 0.5) / n_nodes)
    x = width * (np.arange(first, last + 1)[:, None] + nodes)
    coefficients = (
        function(x.ravel()).reshape(x.shape) @ np.linalg.pinv(np.vander(nodes, degree + 1, increasing=True)).T
    )
    return np.concatenate(
        [
            [first, 1 / width, last - first + 1, slopes[0] * width, slopes[1] * width, 0.0, 0.0, 0.0],
            coefficients.ravel(),
        ]
    )


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
def _class_tables(gamma: float, cells: _Cells) -> tuple[Array, Array, Array]:
    """Three tables of a class: see the functions that are tabulated."""
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

    def decline(theta: Array) -> Array:
        """D(theta): `shrinkage` plus its derivative, which nearly cancel if gamma is large."""
        there = improbable(theta)
        result: Array = np.exp(-there.a - there.b - there.theta) / there.slope
        return result

    def at(x: Array) -> Array:
        """Logit of the top class if all others are improbable: of ``theta - log q = x``."""
        return _inverse(lambda t: ((there := Logit(t, gamma)).theta + there.b, there.slope + there.p), x, -60.0, 60.0)

    def constant(x: Array) -> Array:
        """Give theta of the top class, x as in `at`."""
        result: Array = Logit(at(x), gamma).theta
        return result

    def one_other(x: Array) -> Array:
        """What x has to be moved by if the others are a single class."""
        there = Logit(_binary_logit(gamma, gamma, x), gamma)
        result: Array = there.theta + there.b - x
        return result

    first = _tabulate(shrinkage, -cells.far, half, cells.degree, width, (0.0, 0.0))
    if cells is _SINGLE:
        first = np.concatenate([first, _tabulate(decline, -cells.far, half, cells.degree, width, (0.0, 0.0))[8:]])
    return (
        first,
        _tabulate(constant, -cells.far, far, cells.degree, width, (1.0, gamma / (1.0 + gamma))),
        _tabulate(one_other, -cells.far, far, cells.degree, width, (0.0, 0.0)),
    )


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
