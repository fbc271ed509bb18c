"""Random calls of the compiled kernels: any shape, stride, dtype, byte order, alignment, length, and wrong arguments.

Run through ``make sanitize``, where AddressSanitizer watches, or for long with
``python tests/kernels/fuzz.py --seconds 600``.
Case number s is drawn from seed s alone, so ``python tests/kernels/fuzz.py --first s --cases 1`` repeats it.

Sanitizers see only what leaves an allocation. Here most arrays lie inside a larger one, so two more things are
checked: bytes around an output stay as they were, and the result is bit for bit the one of contiguous copies, which a
value read from anywhere else would change (the memory around inputs is NaN, or a label that is refused).
"""

from __future__ import annotations

import argparse
import array
import mmap
import random
import sys
import time
from collections import Counter

import numpy as np
from numpy.lib.stride_tricks import as_strided

from focal_boost.kernels import _native
from focal_boost.kernels.parameters import Parameters
from focal_boost.kernels.tables import n_steps, parts

LABEL_TYPES = ["?", "i1", "u1", "i4", "i8", "f4", "f8"]
WEIGHT_TYPES = ["?", "u1", "i4", "i8", "f4", "f8"]
FLOAT_TYPES = ["f4", "f8"]
# Not taken by the loops: the answer is "convert first", and nothing is touched.
RARE_TYPES = ["i2", "u2", "u4", "u8", "f2", ">f8", ">f4", ">i4", ">i8", "c8", "c16", "O", "S3", "U2", "V5", "f16"]
MARGINS = [0.0, -0.0, 0.25, 5e-324, 1e-300, 1.0, 30.0, 708.5, 745.2, 1e5, 1e20, 1e155, 1e200, 1.7e308, np.inf]
GAMMAS = [0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.3, 20.0]
# Of two classes: kernels tabulate a pair when they first meet it, which takes longer than a hundred calls, and keep the
# tables of some thirty pairs.
PAIRS = [(gamma, GAMMAS[i - 3]) for i, gamma in enumerate(GAMMAS)]
CLASSES = [2, 2, 3, 3, 4, 5, 7, 8, 9, 16, 17, 33, 50, 70]
ROWS = [0, 1, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 200]

# Address space without memory behind it, for strides of more than 4 GiB.
SPARSE_BYTES = 1 << 34


def _sparse() -> np.ndarray | None:
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        return np.frombuffer(mmap.mmap(-1, SPARSE_BYTES, flags=flags), np.uint8)
    except (OSError, ValueError, AttributeError):  # a limit on address space, or another system
        return None


class Laid:
    """An array somewhere inside a larger one, which remembers what was around it."""

    def __init__(self, draw: random.Random, values: np.ndarray, dtype: str) -> None:
        values = values.astype(dtype)
        rank, size = values.ndim, values.dtype.itemsize
        steps = [draw.choice([1, 1, 1, -1, -1, 2, -3]) for _ in range(rank)]
        order = list(range(rank))
        draw.shuffle(order)
        strides, extent = [0] * rank, size + draw.choice([0, 0, 0, size, 8 * size])
        for axis in order:
            strides[axis] = steps[axis] * extent
            extent *= abs(steps[axis]) * max(values.shape[axis], 1)
        # Neither axis may overlap the other; a shift of one byte makes everything unaligned.
        shift = draw.choice([0] * 30 + [1, 3])
        reach = [(n - 1) * stride if n else 0 for n, stride in zip(values.shape, strides, strict=True)]
        before = -sum(r for r in reach if r < 0)
        total = before + sum(r for r in reach if r > 0) + size
        self.raw = np.full(total + shift + size, 0xFF, np.uint8)
        start = before + shift
        self.array = np.ndarray(values.shape, values.dtype, self.raw.data, start, strides)
        self.aligned = shift == 0 and all(stride % size == 0 for stride in strides)
        self.aligned &= (self.raw.ctypes.data + start) % size == 0
        own = np.zeros(len(self.raw), bool)
        cells = np.ndarray((*values.shape, size), np.bool_, own.data, start, (*strides, 1))
        cells[...] = True
        self.around = ~own
        if values.size:
            self.array[...] = values

    def intact(self) -> bool:
        return bool((self.raw[self.around] == 0xFF).all())


LOSS, DERIVATIVES, LOG_ODDS = range(3)


def _call(draw: random.Random) -> tuple[int, bool, int]:
    """Operation, whether there are K columns, number of outputs."""
    operation = draw.choice([LOSS, DERIVATIVES, DERIVATIVES, LOG_ODDS])
    return operation, draw.random() < 0.5, 2 if operation == DERIVATIVES else 1


def _parameters(draw: random.Random, operation: int, wide: bool, k: int) -> Parameters:
    gamma = (draw.choice(GAMMAS),) * k
    if draw.random() < 0.3:
        gamma = draw.choice(PAIRS) if k == 2 else tuple(draw.choice(GAMMAS) for _ in range(k))
    return Parameters(
        binary=not wide,
        logit=operation != LOG_ODDS and draw.random() < 0.5,
        gamma=gamma,
        class_weight=tuple(draw.uniform(0.1, 3) for _ in range(k)),
        expected=draw.random() < 0.5,
        max_step=draw.choice([8.0, 0.5, np.inf, 5e-324]),
    )


def _arguments(operation, parameters, y, z, weight, outs, n_threads=1, intercept=None, hessian_scale=1.0):
    """What native.py passes on, without the last: an address is not tried."""
    which = {LOSS: 0, DERIVATIVES: 1 if parameters.expected else 2, LOG_ODDS: 3}[operation]
    steps = n_steps(parameters, outs[0].dtype == np.float32)
    head = [which, parameters.binary, parameters.logit, parameters.max_step, steps]
    arrays = [y, z, weight, outs[0], outs[1] if len(outs) > 1 else None]
    return [*head, *parts(parameters), *arrays, n_threads, intercept, hessian_scale]


def _values(draw: random.Random, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(draw.getrandbits(32))
    z = rng.normal(0, 3, shape)
    if draw.random() < 0.3:
        far = rng.random(shape) < 0.3
        z[far] = (rng.choice(MARGINS, shape) * rng.choice([-1.0, 1.0], shape))[far]
    if draw.random() < 0.05:
        z[rng.random(shape) < 0.1] = np.nan
    return z


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def honest_call(draw: random.Random) -> str:
    """Arguments that fit together, in memory laid out in every way."""
    operation, wide, n_outs = _call(draw)
    n = draw.choice(ROWS)
    # Now and then enough rows for several threads.
    if draw.random() < 0.002:
        n = draw.choice([70_000, 140_001])
    k = draw.choice(CLASSES) if wide else 2
    if n > 1000:
        k = min(k, 5)
    shape = (n, k) if wide else (n,)
    out_shape = (n,) if operation == LOSS else shape
    rng = np.random.default_rng(draw.getrandbits(32))
    with np.errstate(over="ignore"):  # the largest doubles as floats
        z = Laid(draw, _values(draw, shape), draw.choice(FLOAT_TYPES))
    label_type = draw.choice(LABEL_TYPES)
    y = Laid(draw, rng.integers(0, 2 if label_type == "?" else k, n), label_type)
    weight = Laid(draw, rng.integers(0, 4, n), draw.choice(WEIGHT_TYPES)) if draw.random() < 0.5 else None
    outs = [Laid(draw, np.full(out_shape, 7.0), draw.choice(FLOAT_TYPES)) for _ in range(n_outs)]
    if operation == LOG_ODDS:
        weight = None
    inputs = [x for x in (y, z, weight) if x is not None]
    for x in inputs:
        if draw.random() < 0.3:
            x.array.flags.writeable = False
    bad = bool(n and operation != LOG_ODDS and draw.random() < 0.1)
    if bad and label_type != "?":
        y.array.flags.writeable = True
        y.array[draw.randrange(n)] = 77
    bad = bad and label_type != "?"
    before = [x.raw.tobytes() for x in inputs]
    n_threads = draw.choice([1, 1, 2, 3, 0, -1, 1000])
    parameters = _parameters(draw, operation, wide, k)
    intercept = draw.choice([None, None, np.linspace(-1, 1, k) if wide else np.array([0.5])])
    last = intercept, draw.choice([1.0, 2.0, 1.5])
    labels = None if operation == LOG_ODDS else y.array
    weights = None if weight is None else weight.array
    arguments = _arguments(operation, parameters, labels, z.array, weights, [x.array for x in outs], n_threads, *last)
    status = _native.run(*arguments, 0)
    _check([x.raw.tobytes() for x in inputs] == before, "an input was written to")
    _check(all(out.intact() for out in outs), "memory around an output was written to")
    needed = [z, *outs] if operation == LOG_ODDS else [*inputs, *outs]
    if status == -2:
        # An array of one row or column may have any stride, and NumPy hands a plain one on.
        _check(n == 0 or not all(x.aligned for x in needed), "aligned memory was not taken")
        return "unaligned"
    plain_outs = [np.full(out_shape, 7.0, out.array.dtype) for out in outs]
    labels, weights = (None if x is None else x.copy() for x in (labels, weights))
    plain = _arguments(operation, parameters, labels, z.array.copy(), weights, plain_outs, 1, *last)
    _check(_native.run(*plain, 0) == status, "status depends on the layout")
    _check((status >= 0) == bad, f"status {status} of labels that are {'' if bad else 'not '}bad")
    if not bad:
        for out, same in zip(outs, plain_outs, strict=True):
            _check(np.array_equal(out.array, same, equal_nan=True), "values depend on the layout")
    return "refused label" if bad else "computed"


def strange_call(draw: random.Random, sparse: np.ndarray | None) -> str:
    """One argument or several that do not fit: an exception or a status, and no crash."""
    operation, wide, n_outs = _call(draw)
    n, k = draw.choice(ROWS), draw.choice(CLASSES) if wide else 2
    shape = (n, k) if wide else (n,)
    out_shape = (n,) if operation == LOSS else shape
    outs = [np.zeros(out_shape) for _ in range(n_outs)]
    parameters = _parameters(draw, operation, wide, k)
    arguments = _arguments(operation, parameters, np.zeros(n), np.zeros(shape), np.ones(n), outs)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        arguments[draw.randrange(len(arguments))] = _strange(draw, n, k, sparse)
    if draw.random() < 0.02:
        arguments = arguments[: draw.randrange(len(arguments))]
    try:
        status = _native.run(*arguments, 0)
    except (ValueError, TypeError, BufferError, OverflowError, DeprecationWarning) as error:
        return type(error).__name__
    _check(status >= -2, f"status {status}")
    return {-1: "computed", -2: "convert"}.get(status, "refused label")


def _strange(draw: random.Random, n: int, k: int, sparse: np.ndarray | None):
    kind = draw.randrange(15)
    length = max(n + draw.choice([-1, 1, -2, 64, 0]), 0)
    if kind == 0:
        return draw.choice([None, "text", b"bytes", object(), 3, -1, 2**70, 1e400, np.nan, True, 1j, [0.0] * n, {}])
    if kind == 1:
        return np.zeros(length, draw.choice([*LABEL_TYPES, *RARE_TYPES]))
    if kind == 2:
        return np.zeros((n, max(k + draw.choice([-1, 0, 1, 5]), 0)), draw.choice([*FLOAT_TYPES, *RARE_TYPES]))
    if kind == 3:
        return np.zeros(draw.choice([(), (n, 1), (1, n), (n, k, 1), (0,), (0, k), (n, 0), (k, n), (1,) * 20]))
    if kind == 4:
        frozen = np.zeros(draw.choice([(n,), (n, k), (k,)]))
        frozen.flags.writeable = False
        return frozen
    if kind == 5:  # every row in one place, also of an output
        shape = draw.choice([(n,), (n, k)])
        return as_strided(np.zeros(1), shape, (0,) * len(shape))
    if kind == 6:  # strides that are never taken
        return as_strided(np.zeros(1), (1,), (draw.choice([-1, 1]) * draw.choice([3, 2**40, 2**62]),))
    if kind == 7:
        return as_strided(np.zeros(1), (0, k), (2**61, -(2**61)))
    if kind == 8:
        return memoryview(draw.choice([bytearray(8 * n), bytes(8 * n)])).cast(draw.choice("dfqibB"))
    if kind == 9:
        return array.array(draw.choice("bBhHiIlLqQfd"), [0] * draw.choice([n, length, k]))
    if kind == 10 and n < 100:
        return memoryview(np.zeros((n, k)).tobytes())
    if kind == 11:
        return np.zeros(n, dtype=[("a", "f8"), ("b", "i4")])[draw.choice(["a", "b"])]
    if kind == 12:
        return np.zeros(n, dtype=[("a", "f8"), ("b", "i4")])
    if kind == 13 and sparse is not None:
        rows, sign = min(n, 3), draw.choice([-1, 1])
        far = np.ndarray((rows,), np.float64, sparse, 0, (2**32 + 8,)) if rows else np.zeros(0)
        return far[::sign]
    return np.full(n, draw.choice([np.nan, np.inf, -1.0, 0.5, 1e300, 2**62]))


def far_rows(draw: random.Random, sparse: np.ndarray) -> str:
    """Rows more than 4 GiB apart: an index of 32 bits would fall somewhere else."""
    rows, sign = draw.choice([2, 3]), draw.choice([-1, 1])
    far = np.ndarray((rows,), np.float64, sparse, 8 * draw.randrange(100), (2**32 + 64,))[::sign]
    values = np.array([draw.uniform(-5, 5) for _ in range(rows)])
    far[...] = values
    got, want = np.empty((2, rows)), np.empty((2, rows))
    parameters = Parameters(binary=True, logit=draw.random() < 0.5, gamma=(2.0, 2.0), class_weight=(1.0, 1.0))
    for z, out in ((far, got), (values, want)):
        _native.run(*_arguments(DERIVATIVES, parameters, np.zeros(rows), z, None, out), 0)
    _check(np.array_equal(got, want), "values of far rows")
    for out in (far, want[0]):
        _native.run(*_arguments(LOSS, parameters, np.zeros(rows), values, None, [out]), 0)
    _check(np.array_equal(far, want[0]), "output of far rows")
    return "far rows"


def fuzz(first: int, cases: int | None = None, seconds: float | None = None) -> Counter[str]:
    """Run cases from a seed on, and count how they ended."""
    sparse = _sparse()
    levels = _native.supported()
    before = _native.dispatch()
    outcomes: Counter[str] = Counter()
    end = None if seconds is None else time.monotonic() + seconds
    seed = first
    try:
        while (cases is None or seed < first + cases) and (end is None or time.monotonic() < end):
            draw = random.Random(seed)
            _native.set_dispatch(draw.choice(levels))
            kind = draw.random()
            try:
                if kind < 0.6:
                    outcome = honest_call(draw)
                elif kind < 0.99 or sparse is None:
                    outcome = strange_call(draw, sparse)
                else:
                    outcome = far_rows(draw, sparse)
            except Exception as error:
                error.add_note(f"case {seed}: python tests/kernels/fuzz.py --first {seed} --cases 1")
                raise
            outcomes[outcome] += 1
            seed += 1
    finally:
        _native.set_dispatch(before)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--cases", type=int, help="number of cases")
    parser.add_argument("--seconds", type=float, help="time to spend")
    options = parser.parse_args()
    if options.cases is None and options.seconds is None:
        parser.error("give --cases or --seconds")
    outcomes = fuzz(options.first, options.cases, options.seconds)
    print(f"{outcomes.total():,} cases on {', '.join(_native.supported())}, {sys.implementation.name}")
    for outcome, count in outcomes.most_common():
        print(f"{count:>12,}  {outcome}")


if __name__ == "__main__":
    main()
