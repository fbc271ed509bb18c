"""The compiled kernels against the NumPy ones, and what only compiled code can get wrong: memory, threads, dispatch.

The formulas themselves are held to a high-precision reference in `test_derivatives`, for both sets of kernels.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fresh
import numpy as np
import pytest

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss, show_config
from focal_boost.kernels import numpy as plain
from focal_boost.kernels.parameters import Parameters
from focal_boost.kernels.tables import parts

pytest.importorskip("focal_boost.kernels._native", reason="installed without the compiled extension")
from focal_boost.kernels import _native
from focal_boost.kernels import native as compiled

LEVELS = _native.supported()
UNIT = 2.0**-24
# What compiled kernels in double precision may differ by from the reference, by link.
# The reference itself is held to 1e-12 in the tests of derivatives, compiled kernels with the focal link to 5e-14.
DIGITS = {"logit": 1e-10, "focal": 2e-13}
# Where terms of both signs are added, errors are judged against terms of the size of 1.
FLOOR = {"logit": 1e-12, "focal": 2e-14}
EACH = "one a class"

links = pytest.mark.parametrize("link", ["logit", "focal"])
GAMMAS = [0.5, 1.0, 2.0, 8.0, EACH]
gammas = pytest.mark.parametrize("gamma", [0.0, *GAMMAS])
# Where all of them are 0, losses take the focal link's formulas for the logit link too.
LINKS_AND_GAMMAS = [("focal", 0.0), ("logit", 1e-3), *((link, gamma) for link in DIGITS for gamma in GAMMAS)]
links_and_gammas = pytest.mark.parametrize(("link", "gamma"), LINKS_AND_GAMMAS)
links_and_few_gammas = pytest.mark.parametrize(("link", "gamma"), [c for c in LINKS_AND_GAMMAS if c[1] in (0, 2, EACH)])
hessians = pytest.mark.parametrize("expected", [True, False], ids=["expected", "exact"])
max_steps = pytest.mark.parametrize("max_step", [8.0, np.inf])
# Margins a row: 1 is the binary loss.
n_margins = pytest.mark.parametrize("k", [1, 2, 5, 70])


@pytest.fixture(params=LEVELS)
def level(request):
    before = _native.dispatch()
    _native.set_dispatch(request.param)
    yield request.param
    _native.set_dispatch(before)


def make(k, link="logit", gamma=2.0, expected=True, max_step=8.0):
    """Parameters of a loss of k margins a row."""
    n_classes = max(k, 2)
    each = tuple(np.resize([2.0, 0.5, 3.7, 0.0, 1.0], n_classes)) if gamma == EACH else (gamma,) * n_classes
    weights = (0.3, 2.0) if k == 1 else tuple(np.linspace(0.5, 1.5, k))
    return Parameters(k == 1, link == "logit", each, weights, expected, max_step)


def margins(n, k=1, seed=0):
    """Margins from ordinary to absurd, with ties: shape (n,) for k = 1."""
    shape = (n,) if k == 1 else (n, k)
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 3, shape)
    z = np.where(rng.random(shape) < 0.2, rng.uniform(-750, 750, shape), z)
    return np.where(rng.random(shape) < 0.1, 0.25, z)


def width(z):
    return 1 if z.ndim == 1 else z.shape[1]


def labels(z):
    return np.arange(len(z)) % max(width(z), 2)


def derivatives(kernels, z, parameters=None, y=None, weight=None, n_threads=1, out=None, **others):
    """Gradient and hessian."""
    parameters = make(width(z)) if parameters is None else parameters
    out = (np.full(z.shape, 7.0, z.dtype), np.full(z.shape, 7.0, z.dtype)) if out is None else out
    y = labels(z) if y is None else y
    kernels.run("derivatives", parameters, y, z, weight, out, n_threads, **others)
    return out


def losses(kernels, z, parameters=None, y=None, weight=None, n_threads=1):
    """Loss of each row."""
    out = np.full(len(z), 7.0, z.dtype)
    y = labels(z) if y is None else y
    kernels.run("loss", make(width(z)) if parameters is None else parameters, y, z, weight, (out,), n_threads)
    return out


def assert_close(got, want, digits, floor=0.0):
    """Agreement of arrays of float64 to `digits`, of float32 to two units."""
    assert got.dtype == want.dtype
    rtol = digits if got.dtype == np.float64 else 2 * UNIT
    np.testing.assert_allclose(got, want, rtol=rtol, atol=floor + np.finfo(got.dtype).smallest_normal)


# ---------------------------------------------------------------------------------------------------------------------
# Agreement


@n_margins
@links_and_gammas
@pytest.mark.parametrize(("expected", "max_step"), [(True, np.inf), (False, np.inf), (False, 8.0)])
def test_derivatives_agree(level, k, link, gamma, expected, max_step):
    n = 997 if k == 1 else 131
    rng = np.random.default_rng(1)
    arguments = {"weight": rng.random(n), "hessian_scale": 2.0, "intercept": rng.normal(size=k)}
    if k == 1:
        arguments |= {"y": rng.choice([0.0, 1.0, 0.3], n)}
    parameters = make(k, link, gamma, expected, max_step)
    for dtype in (np.float64, np.float32):
        z = margins(n, k).astype(dtype)
        got, want = (derivatives(kernels, z, parameters, **arguments) for kernels in (compiled, plain))
        for one, other in zip(got, want, strict=True):
            assert_close(one, other, DIGITS[link], FLOOR[link])


@pytest.mark.parametrize(
    "gamma", [(10.0, 9.5, 1.0), (12.0, 3.0, 5.0), (6.0, 5.7, 1.0), (4.0, 3.8, 0.0), (2.0, 1.9, 1.0)]
)
def test_derivatives_agree_where_gammas_differ(level, gamma):
    z = np.random.default_rng(0).uniform(-15, 15, (20_000, 3))
    parameters = Parameters(False, True, gamma, (1.0, 1.0, 1.0), True, np.inf)
    got, want = (derivatives(kernels, z, parameters) for kernels in (compiled, plain))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-10, atol=1e-12)


@n_margins
@links_and_gammas
def test_losses_agree(level, k, link, gamma):
    parameters = make(k, link, gamma)
    for dtype in (np.float64, np.float32):
        z, weight = margins(301, k).astype(dtype), np.linspace(0, 2, 301)
        got, want = (losses(kernels, z, parameters, weight=weight) for kernels in (compiled, plain))
        assert_close(got, want, DIGITS[link])


@n_margins
@gammas
def test_log_odds_agree(level, k, gamma):
    for dtype, floor in ((np.float64, 1e-12), (np.float32, 1e-6)):
        z = margins(301, k).astype(dtype)
        got, want = np.empty_like(z), np.empty_like(z)
        for kernels, out in ((compiled, got), (plain, want)):
            kernels.run("log_odds", make(k, "focal", gamma), None, z, None, (out,))
        assert_close(got, want, DIGITS["focal"], floor)


# ---------------------------------------------------------------------------------------------------------------------
# Arrays of every kind


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "i1", "u1", "?", "i2", "u2", "u4", "u8", "f2", ">f8", ">i4"])
def test_label_and_weight_dtypes(dtype):
    y = (np.arange(203) % 2).astype(dtype)
    for z in (margins(203), margins(203, 2)):
        want = derivatives(compiled, z, weight=np.arange(203) % 2.0)
        np.testing.assert_array_equal(derivatives(compiled, z, y=y, weight=y), want)


def layouts(values):
    """The same values as strided, reversed, broadcast-free, unaligned and foreign arrays."""
    n = len(values)
    yield values.copy()
    wide = np.zeros((n, *values.shape[1:], 3), values.dtype)
    wide[..., 1] = values
    yield wide[..., 1]
    yield values[::-1].copy()[::-1]
    yield np.asfortranarray(values)
    if values.ndim == 2:
        yield values[:, ::-1].copy()[:, ::-1]
    raw = np.zeros(values.nbytes + 1, np.uint8)[1:].view(values.dtype).reshape(values.shape)
    raw[...] = values
    yield raw
    yield values.astype(values.dtype.newbyteorder())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@links
@hessians
def test_layouts_do_not_matter(dtype, link, expected):
    for k in (1, 5):
        z, parameters = margins(331, k).astype(dtype), make(k, link, EACH, expected)
        y, weight = np.arange(331) % 2.0, np.linspace(0, 2, 331)
        want, want_loss = derivatives(compiled, z, parameters, y, weight), losses(compiled, z, parameters, y, weight)
        for laid in zip(layouts(z), layouts(y), layouts(weight), strict=False):
            for out in zip(layouts(np.zeros_like(z)), layouts(np.zeros_like(z)), strict=True):
                derivatives(compiled, laid[0], parameters, *laid[1:], out=out)
                np.testing.assert_array_equal(out, want)
            for out in layouts(np.zeros(331, dtype)):
                compiled.run("loss", parameters, laid[1], laid[0], laid[2], (out,))
                np.testing.assert_array_equal(out, want_loss)


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_of_strided_outputs_are_left_alone(k):
    z = margins(130, k)
    wide = np.full((*z.shape, 3), 7.0)
    derivatives(compiled, z, out=(wide[..., 1], np.empty_like(z)))
    assert (wide[..., [0, 2]] == 7.0).all()
    assert (wide[..., 1] != 7.0).all()


@links
def test_broadcast_and_read_only_inputs(link):
    y = np.broadcast_to(np.int64(1), (100,))
    z = np.broadcast_to(np.float64(0.5), (100,))
    gradient, _ = derivatives(compiled, z, make(1, link), y, out=(np.empty(100), np.empty(100)))
    assert len(set(gradient)) == 1
    assert len(set(losses(compiled, np.broadcast_to(np.float32(0.5), (100, 4)), make(4, link), y))) == 1


@links
@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 128, 1000])
def test_every_number_of_rows(link, n):
    for k in (1, 3):
        z = margins(1000, k)[:n]
        got, want = (derivatives(kernels, z, make(k, link, EACH)) for kernels in (compiled, plain))
        for one, other in zip(got, want, strict=True):
            assert_close(one, other, DIGITS[link], FLOOR[link])


def test_shapes_that_disagree_are_refused():
    z = margins(10)
    with pytest.raises(ValueError, match="one value a row"):
        derivatives(compiled, z, y=np.zeros(9))
    with pytest.raises(ValueError, match="shape of the margins"):
        derivatives(compiled, z, out=(np.empty(9), np.empty(10)))
    with pytest.raises(ValueError, match="margins must have shape"):
        derivatives(compiled, z, make(3))
    with pytest.raises(ValueError, match="two output arrays"):
        compiled.run("derivatives", make(1), labels(z), z, None, (np.empty(10),))
    frozen = np.empty(10)
    frozen.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        derivatives(compiled, z, out=(frozen, np.empty(10)))
    with pytest.raises(TypeError, match="arguments"):
        _native.run(1)


def changed(values, place, value):
    values = values.copy()
    values[place] = value
    return values


@pytest.mark.parametrize("k", [1, 3])
def test_tables_that_lie_elsewhere_are_refused(monkeypatch, k):
    z, parameters = margins(10, k), make(k)
    head, tables = parts(parameters)
    places = 4 * parameters.n_classes
    table = int(head[places])
    wrong = [(head[:n], tables) for n in (0, places, len(head) - 1)]
    wrong += [(head, tables[:n]) for n in (0, table, table + 4, len(tables) - 1)]
    for change in (lambda x: x.astype(np.float32), lambda x: x[np.newaxis], lambda x: x.repeat(2)[::2]):
        wrong += [(change(head), tables), (head, change(tables))]
    beyond = (-1.0, 1e9, 1e300, np.nan, np.inf, len(tables) - 1.0)
    wrong += [(changed(head, places, value), tables) for value in beyond]
    # How many cells a table has.
    wrong += [(head, changed(tables, table + 2, value)) for value in (-1e9, 0.0, 1e9, np.nan)]
    for values in wrong:
        monkeypatch.setattr(compiled, "parts", lambda _, values=values: values)
        with pytest.raises(ValueError, match="parameters"):
            derivatives(compiled, z, parameters)


# ---------------------------------------------------------------------------------------------------------------------
# The last bit


@links_and_few_gammas
@hessians
@pytest.mark.parametrize("k", [1, 5])
def test_threads_offset_and_alignment_do_not_change_a_bit(level, link, gamma, expected, k):
    n, parameters = 200_001 // k, make(k, link, gamma, expected)
    z = margins(n, k).astype(np.float32 if k == 1 else np.float64)
    y = labels(z)
    want = derivatives(compiled, z, parameters, y)
    for n_threads in (2, 3, 7, 0):
        np.testing.assert_array_equal(derivatives(compiled, z, parameters, y, n_threads=n_threads), want)
    for start, stop in ((1, n), (5, 70), (63, 64), (100, 4321)):
        got = derivatives(compiled, z[start:stop], parameters, y[start:stop])
        np.testing.assert_array_equal(got, [column[start:stop] for column in want])


# ---------------------------------------------------------------------------------------------------------------------
# Margins and labels at the edge


@links_and_gammas
@hessians
@max_steps
def test_no_margin_makes_nan_or_infinity(level, link, gamma, expected, max_step):
    sizes = [0.0, 5e-324, 1e-300, 1.0, 708.5, 745.13, 750.0, 1e5, 1e20, 1e155, 1e200, 1e300, 1.7e308, np.inf]
    z = np.array([sign * size for size in sizes for sign in (-1, 1)])
    cases = [(z, y) for y in (0.0, 1.0, 0.5)]
    several = np.array([(a, b, c) for a in z for b in z for c in (0.0, -np.inf, np.inf, 1e20)])
    for margin, y in cases + [(several, t) for t in range(3)]:
        parameters = make(width(margin), link, gamma, expected, max_step)
        label = np.full(len(margin), y)
        assert np.isfinite(derivatives(compiled, margin, parameters, label)).all()
        loss = losses(compiled, margin, parameters, label)
        assert np.isfinite(loss).all()
        assert (loss >= 0).all()


@links_and_few_gammas
@hessians
def test_nan_margins_stay_nan_and_touch_no_other_row(level, link, gamma, expected):
    for k in (1, 4):
        z, parameters = margins(200, k), make(k, link, gamma, expected)
        want = np.array(derivatives(compiled, z, parameters))
        rows = [77, 78, 79, 80]
        if k == 1:
            z[rows] = np.nan
        else:
            z[77, 2] = z[78, 0] = z[79, 3] = np.nan
            z[80] = np.nan
        got = np.array(derivatives(compiled, z, parameters))
        assert np.isnan(got[:, rows]).all()
        np.testing.assert_array_equal(np.delete(got, rows, axis=1), np.delete(want, rows, axis=1))


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("bad", [-1, 2, 0.5, np.nan, np.inf, -np.inf, 1e300, 2**62, -(2**62)])
def test_labels_that_are_not_allowed(level, bad, n_threads):
    y = np.zeros(150_000, np.int64 if isinstance(bad, int) else np.float64)
    y[[70_001, 149_999]] = bad
    for z in (margins(150_000), margins(150_000, 2)):
        for compute in (derivatives, losses):
            if bad == 0.5 and z.ndim == 1:
                compute(compiled, z, y=y, n_threads=n_threads)
                continue
            with pytest.raises(ValueError, match="y_true holds") as want:
                compute(plain, z[70_000:], y=y[70_000:])
            with pytest.raises(ValueError, match="y_true holds") as got:
                compute(compiled, z, y=y, n_threads=n_threads)
            assert str(got.value) == str(want.value)


def test_the_first_of_several_bad_labels_is_named():
    y = np.zeros(300_000)
    y[[1234, 50_000, 290_000]] = 3, 4, 5
    for n_threads in (1, 2, 8):
        with pytest.raises(ValueError, match="holds 3,"):
            derivatives(compiled, margins(300_000), y=y, n_threads=n_threads)


# ---------------------------------------------------------------------------------------------------------------------
# Threads and processes


def test_many_python_threads_at_once():
    z = margins(150_000)
    want = derivatives(compiled, z)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: derivatives(compiled, z, n_threads=2), range(32)):
            np.testing.assert_array_equal(got, want)


def test_the_interpreter_runs_on_meanwhile():
    z = margins(1_000_000, 4)
    out = np.empty_like(z), np.empty_like(z)
    y = np.zeros(len(z))
    done = threading.Event()

    def compute():
        derivatives(compiled, z, make(4, gamma=EACH), y, out=out)
        done.set()

    # With the lock held, this thread would wake up only when the call is over.
    worker = threading.Thread(target=compute)
    ticks = 0
    worker.start()
    while not done.is_set():
        time.sleep(0.0005)
        ticks += 1
    worker.join()
    assert ticks > 3


def _checksum(_=None):
    return sum(float(out.sum()) for out in derivatives(compiled, margins(200_000), n_threads=2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_fork():
    want = _checksum()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_checksum, range(4)) == [want] * 4
    assert _checksum() == want


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib(backend):
    joblib = pytest.importorskip("joblib")
    loss = BinaryFocalLoss()
    z = margins(200_000)
    y = np.arange(len(z)) % 2
    want = loss.gradient_hessian(y, z)
    work = [joblib.delayed(loss.gradient_hessian)(y, z, n_threads=2) for _ in range(3)]
    for got in joblib.Parallel(2, backend=backend)(work):
        np.testing.assert_array_equal(got, want)


SHOW = "import focal_boost; print(focal_boost.show_config(mode='dicts'))"


@pytest.mark.parametrize("name", LEVELS)
def test_environment_chooses_the_instruction_set(name):
    result = fresh.run(SHOW, FOCAL_BOOST_DISPATCH=name)
    assert f"'dispatch': '{name}'" in result.stdout, result.stderr


def test_environment_names_an_unknown_instruction_set():
    result = fresh.run(SHOW, check=False, FOCAL_BOOST_DISPATCH="mmx")
    assert result.returncode != 0
    assert "FOCAL_BOOST_DISPATCH='mmx'" in result.stderr
    assert "baseline" in result.stderr


def test_environment_chooses_the_kernels():
    assert "'kernels': 'numpy'" in fresh.run(SHOW, FOCAL_BOOST_KERNELS="numpy").stdout
    assert "'kernels': 'native'" in fresh.run(SHOW, FOCAL_BOOST_KERNELS="native").stdout
    assert "FOCAL_BOOST_KERNELS='cython'" in fresh.run(SHOW, check=False, FOCAL_BOOST_KERNELS="cython").stderr


def test_show_config(capsys):
    config = show_config(mode="dicts")
    assert config["kernels"] == "native"
    assert config["dispatch"] in config["available"]
    assert config["cpus"] >= 1
    assert show_config() is None
    assert "native" in capsys.readouterr().out
    with pytest.raises(ValueError, match="mode='json'"):
        show_config(mode="json")


@links
def test_losses_use_the_compiled_kernels(link):
    z = margins(50, 3)
    loss = MulticlassFocalLoss(3, 2.0, np.linspace(0.5, 1.5, 3), link=link)
    np.testing.assert_array_equal(loss.gradient_hessian(labels(z), z), derivatives(compiled, z, make(3, link)))


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("1,4", 1), ("100000", None), ("0", None), ("many", None)])
def test_threads_go_by_omp_num_threads(monkeypatch, limit, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    available = _native.cpu_count()
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert _native.cpu_count() == (expected or available)


def team(n_calls):
    """What GOMP_parallel does, one thread after the other: asked for any number of threads, it has so many."""
    asked = []

    @ctypes.CFUNCTYPE(None, ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(function, data, n_threads, flags):
        asked.append(n_threads)
        for _ in range(n_calls):
            function(data)

    return parallel, asked


@pytest.mark.parametrize("k", [1, 5])
def test_threads_of_a_team(k):
    z, y = margins(40_000 // k, k), labels(margins(40_000 // k, k))
    want = derivatives(compiled, z, y=y)
    for n_calls in (1, 3):
        parallel, asked = team(n_calls)
        got = derivatives(compiled, z, y=y, n_threads=3, team=ctypes.cast(parallel, ctypes.c_void_p).value)
        assert asked == [3]
        for one, other in zip(got, want, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_team_is_called_whole_or_not_at_all():
    parallel, asked = team(1)
    address = ctypes.cast(parallel, ctypes.c_void_p).value
    derivatives(compiled, margins(8191), n_threads=9, team=address)
    derivatives(compiled, margins(8192), n_threads=1, team=address)
    assert asked == []
    derivatives(compiled, margins(8192), n_threads=9, team=address)
    assert asked == [9]


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_the_threads_of_a_booster(library):
    pytest.importorskip(f"{library}.sklearn")  # a folder of tests has the library's name
    objective = importlib.import_module(f"focal_boost.{library}").FocalObjective
    if not objective._team:
        pytest.skip("its OpenMP library has no GOMP_parallel")
    z = margins(100_000)
    y = labels(z)
    want = derivatives(compiled, z, y=y)
    for n_threads in (1, 2, 3):
        got = derivatives(compiled, z, y=y, n_threads=n_threads, team=objective._team)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_array_equal(one, other)
    bad = changed(changed(y, 70_000, 7), 99_999, 7)
    with pytest.raises(ValueError, match="y_true holds 7"):
        derivatives(compiled, z, y=bad, n_threads=3, team=objective._team)
