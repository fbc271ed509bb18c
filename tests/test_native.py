"""The compiled kernels against the NumPy ones, and what only compiled code can get wrong: memory, threads, dispatch.

The formulas themselves are held to a high-precision reference in `test_derivatives`, for both sets of kernels.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss, show_config
from focal_boost.kernels import numpy as plain

pytest.importorskip("focal_boost.kernels._native", reason="installed without the compiled extension")
from focal_boost.kernels import _native
from focal_boost.kernels import native as compiled

UNIT = 2.0**-24
GAMMAS = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.3]
CLASSES = [2, 3, 7, 70]
LEVELS = _native.supported()

gammas = pytest.mark.parametrize("gamma", GAMMAS)
hessians = pytest.mark.parametrize("expected", [True, False], ids=["expected", "exact"])
max_steps = pytest.mark.parametrize("max_step", [8.0, np.inf])


@pytest.fixture(params=LEVELS)
def level(request):
    before = _native.dispatch()
    _native.set_dispatch(request.param)
    yield request.param
    _native.set_dispatch(before)


def margins(shape, seed=0):
    """Margins from ordinary to absurd, with ties."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 3, shape)
    z = np.where(rng.random(shape) < 0.2, rng.uniform(-750, 750, shape), z)
    return np.where(rng.random(shape) < 0.1, 0.25, z)


def binary(
    kernels, z, gamma=2.0, expected=True, *, y=None, weight=None, n_threads=1, max_step=8.0, out=None, scale=1.0
):
    """Gradient and hessian of the binary loss."""
    y = np.arange(len(z)) % 2.0 if y is None else y
    g, h = (np.full(z.shape, 7.0, z.dtype), np.full(z.shape, 7.0, z.dtype)) if out is None else out
    kernels.binary_gradient_hessian(y, z, weight, gamma, (0.3, 2.0), expected, max_step, scale, g, h, n_threads)
    return g, h


def multiclass(
    kernels, z, gamma=2.0, expected=True, *, y=None, weight=None, n_threads=1, max_step=8.0, out=None, scale=1.0
):
    """Gradient and hessian of the multiclass loss."""
    n, k = z.shape
    y = np.arange(n) % k if y is None else y
    w = np.linspace(0.5, 1.5, k)
    g, h = (np.empty_like(z), np.empty_like(z)) if out is None else out
    kernels.multiclass_gradient_hessian(y, z, weight, gamma, w, expected, max_step, scale, g, h, n_threads)
    return g, h


def assert_close(got, want, unit=2 * UNIT, floor=0.0):
    """Relative agreement; `floor` is the size below which a sum of cancelling terms is judged absolutely."""
    np.testing.assert_allclose(got, want, rtol=unit, atol=floor + np.finfo(got.dtype).smallest_normal)


# ---------------------------------------------------------------------------------------------------------------------
# Agreement


@gammas
@hessians
@max_steps
def test_binary_derivatives_agree(level, gamma, expected, max_step):
    z = margins(997)
    weight = np.random.default_rng(1).random(997)
    y = np.random.default_rng(2).choice([0.0, 1.0, 0.3], 997)
    arguments = {"y": y, "weight": weight, "max_step": max_step, "scale": 2.0}
    for got, want in zip(
        binary(compiled, z, gamma, expected, **arguments), binary(plain, z, gamma, expected, **arguments), strict=True
    ):
        # Soft labels and the exact curvature pass through zero.
        assert_close(got, want, 2e-13, floor=2e-14)
    single = z.astype(np.float32)
    for got, want in zip(
        binary(compiled, single, gamma, expected, **arguments),
        binary(plain, single, gamma, expected, **arguments),
        strict=True,
    ):
        assert_close(got, want, floor=2e-14)


@gammas
@hessians
@max_steps
@pytest.mark.parametrize("k", CLASSES)
def test_multiclass_derivatives_agree(level, gamma, expected, max_step, k):
    z = margins((131, k))
    weight = np.random.default_rng(1).random(131)
    arguments = {"weight": weight, "max_step": max_step, "scale": 2.0}
    for got, want in zip(
        multiclass(compiled, z, gamma, expected, **arguments),
        multiclass(plain, z, gamma, expected, **arguments),
        strict=True,
    ):
        assert_close(got, want, 2e-13, floor=2e-14)
    single = z.astype(np.float32)
    for got, want in zip(
        multiclass(compiled, single, gamma, expected, **arguments),
        multiclass(plain, single, gamma, expected, **arguments),
        strict=True,
    ):
        assert_close(got, want, floor=2e-14)


@gammas
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_and_posteriors_agree(level, gamma, dtype):
    z, y = margins(501).astype(dtype), np.arange(501) % 2
    got, want = np.empty(501, dtype), np.empty(501, dtype)
    for kernels, out in ((compiled, got), (plain, want)):
        kernels.binary_loss(y, z, None, gamma, (0.3, 2.0), out)
    assert_close(got, want)
    for kernels, out in ((compiled, got), (plain, want)):
        kernels.binary_posterior_logit(z, gamma, (0.3, 2.0), out)
    assert_close(got, want, floor=1e-14)
    for k in CLASSES:
        z, y, w = margins((101, k)).astype(dtype), np.arange(101) % k, np.linspace(0.5, 1.5, k)
        got, want = np.empty(101, dtype), np.empty(101, dtype)
        for kernels, out in ((compiled, got), (plain, want)):
            kernels.multiclass_loss(y, z, None, gamma, w, out)
        assert_close(got, want)
        got, want = np.empty((101, k), dtype), np.empty((101, k), dtype)
        for kernels, out in ((compiled, got), (plain, want)):
            kernels.multiclass_log_posterior(z, gamma, w, out)
        assert_close(got, want, floor=1e-12 if dtype is np.float64 else 1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Arrays of every kind


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "i1", "u1", "?", "i2", "u2", "u4", "u8", "f2", ">f8", ">i4"])
def test_label_and_weight_dtypes(dtype):
    z = margins(203)
    y = (np.arange(203) % 2).astype(dtype)
    want = binary(compiled, z, weight=np.arange(203) % 2.0)
    for got, expected in zip(binary(compiled, z, y=y, weight=y), want, strict=True):
        np.testing.assert_array_equal(got, expected)
    z = margins((203, 2))
    want = multiclass(compiled, z, weight=np.arange(203) % 2.0)
    for got, expected in zip(multiclass(compiled, z, y=y, weight=y), want, strict=True):
        np.testing.assert_array_equal(got, expected)


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
@hessians
def test_layouts_do_not_matter(dtype, expected):
    for call, z in ((binary, margins(331)), (multiclass, margins((331, 5)))):
        z = z.astype(dtype)
        y, weight = np.arange(331) % 2.0, np.linspace(0, 2, 331)
        want = call(compiled, z, expected=expected, y=y, weight=weight)
        for z_laid, y_laid, w_laid in zip(layouts(z), layouts(y), layouts(weight), strict=False):
            for out in zip(layouts(np.zeros_like(z)), layouts(np.zeros_like(z)), strict=True):
                got = call(compiled, z_laid, expected=expected, y=y_laid, weight=w_laid, out=out)
                np.testing.assert_array_equal(got, want)


def test_neighbours_of_strided_outputs_are_left_alone():
    z = margins(130)
    wide = np.full((130, 3), 7.0)
    binary(compiled, z, out=(wide[:, 1], np.empty(130)))
    assert (wide[:, [0, 2]] == 7.0).all()


def test_broadcast_and_read_only_inputs():
    z = np.broadcast_to(np.float64(0.5), (100,))
    y = np.broadcast_to(np.int64(1), (100,))
    g, _ = binary(compiled, z, y=y, out=(np.empty(100), np.empty(100)))
    assert len(set(g)) == 1
    z = np.broadcast_to(np.float32(0.5), (100, 4))
    loss = np.empty(100)
    compiled.multiclass_loss(y, z, None, 2.0, np.ones(4), loss)
    assert len(set(loss)) == 1


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 128, 1000])
def test_every_number_of_rows(n):
    for call, z in ((binary, margins(1000)[:n]), (multiclass, margins((1000, 3))[:n])):
        for got, want in zip(call(compiled, z), call(plain, z), strict=True):
            assert_close(got, want, 2e-13, floor=1e-14)


def test_shapes_that_disagree_are_refused():
    z = margins(10)
    with pytest.raises(ValueError, match="one value a row"):
        binary(compiled, z, y=np.zeros(9))
    with pytest.raises(ValueError, match="shape of the margins"):
        binary(compiled, z, out=(np.empty(9), np.empty(10)))
    with pytest.raises(ValueError, match="class weight"):
        compiled.multiclass_loss(np.zeros(4), np.zeros((4, 3)), None, 2.0, np.ones(2), np.empty(4))
    frozen = np.empty(10)
    frozen.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        binary(compiled, z, out=(frozen, np.empty(10)))
    with pytest.raises(TypeError, match="arguments"):
        _native.binary_loss(1)


# ---------------------------------------------------------------------------------------------------------------------
# The last bit


@gammas
@hessians
def test_threads_offset_and_alignment_do_not_change_a_bit(level, gamma, expected):
    z, y = margins(200_001).astype(np.float32), np.arange(200_001) % 2
    want = binary(compiled, z, gamma, expected, y=y)
    for n_threads in (2, 3, 7, 0):
        np.testing.assert_array_equal(binary(compiled, z, gamma, expected, y=y, n_threads=n_threads), want)
    for start, stop in ((1, 200_001), (5, 70), (63, 64), (100, 4321)):
        got = binary(compiled, z[start:stop], gamma, expected, y=y[start:stop])
        np.testing.assert_array_equal(got, [column[start:stop] for column in want])
    z, y = margins((40_001, 5)), np.arange(40_001) % 5
    want = multiclass(compiled, z, gamma, expected, y=y)
    for n_threads in (2, 5):
        np.testing.assert_array_equal(multiclass(compiled, z, gamma, expected, y=y, n_threads=n_threads), want)
    for start, stop in ((1, 40_001), (5, 70), (63, 64)):
        got = multiclass(compiled, z[start:stop], gamma, expected, y=y[start:stop])
        np.testing.assert_array_equal(got, [column[start:stop] for column in want])


# ---------------------------------------------------------------------------------------------------------------------
# Margins and labels at the edge


@gammas
@hessians
@max_steps
def test_no_margin_makes_nan_or_infinity(level, gamma, expected, max_step):
    sizes = [0.0, 5e-324, 1e-300, 1.0, 708.5, 745.13, 750.0, 1e5, 1e20, 1e155, 1e200, 1e300, 1.7e308, np.inf]
    z = np.array([sign * size for size in sizes for sign in (-1, 1)])
    for y in (0.0, 1.0, 0.5):
        outputs = binary(compiled, z, gamma, expected, y=np.full(len(z), y), max_step=max_step)
        assert np.isfinite(outputs).all()
    pairs = np.array([(a, b, c) for a in z for b in z for c in (0.0, -np.inf, np.inf, 1e20)])
    for t in range(3):
        outputs = multiclass(compiled, pairs, gamma, expected, y=np.full(len(pairs), t), max_step=max_step)
        assert np.isfinite(outputs).all()
        loss = np.empty(len(pairs))
        compiled.multiclass_loss(np.full(len(pairs), t), pairs, None, gamma, np.ones(3), loss)
        assert np.isfinite(loss).all()
        assert (loss >= 0).all()


@gammas
@hessians
def test_nan_margins_stay_nan_and_touch_no_other_row(level, gamma, expected):
    z = margins(200)
    want = np.array(binary(compiled, z, gamma, expected))
    z[77] = np.nan
    got = np.array(binary(compiled, z, gamma, expected))
    assert np.isnan(got[:, 77]).all()
    np.testing.assert_array_equal(np.delete(got, 77, axis=1), np.delete(want, 77, axis=1))
    z = margins((200, 4))
    want = np.array(multiclass(compiled, z, gamma, expected))
    z[77, 2] = z[78, 0] = z[79, 3] = np.nan
    z[80] = np.nan
    got = np.array(multiclass(compiled, z, gamma, expected))
    rows = [77, 78, 79, 80]
    assert np.isnan(got[:, rows]).all()
    np.testing.assert_array_equal(np.delete(got, rows, axis=1), np.delete(want, rows, axis=1))


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("bad", [-1, 2, 0.5, np.nan, np.inf, -np.inf, 1e300, 2**62, -(2**62)])
def test_labels_that_are_not_allowed(level, bad, n_threads):
    dtype = np.int64 if isinstance(bad, int) else np.float64
    y = np.zeros(150_000, dtype)
    y[[70_001, 149_999]] = bad
    z = margins(150_000)
    if bad == 0.5:
        binary(compiled, z, y=y, n_threads=n_threads)
    else:
        assert_same_error(lambda kernels: binary(kernels, z, y=y, n_threads=n_threads))
        loss = np.empty(150_000)
        assert_same_error(lambda kernels: kernels.binary_loss(y, z, None, 2.0, (1.0, 1.0), loss, n_threads))
    z = margins((150_000, 2))
    assert_same_error(lambda kernels: multiclass(kernels, z, y=y, n_threads=n_threads))
    assert_same_error(lambda kernels: kernels.multiclass_loss(y, z, None, 2.0, np.ones(2), z[:, 0].copy(), n_threads))


def assert_same_error(call):
    with pytest.raises(ValueError, match="y_true holds") as want:
        call(plain)
    with pytest.raises(ValueError, match="y_true holds") as got:
        call(compiled)
    assert str(got.value) == str(want.value)


def test_the_first_of_several_bad_labels_is_named():
    y = np.zeros(300_000)
    y[[1234, 50_000, 290_000]] = 3, 4, 5
    for n_threads in (1, 2, 8):
        with pytest.raises(ValueError, match="holds 3,"):
            binary(compiled, margins(300_000), y=y, n_threads=n_threads)


# ---------------------------------------------------------------------------------------------------------------------
# Threads and processes


def test_many_python_threads_at_once():
    z = margins(150_000)
    want = binary(compiled, z)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: binary(compiled, z, n_threads=2), range(32)):
            np.testing.assert_array_equal(got, want)


def test_the_interpreter_runs_on_meanwhile():
    z = margins(3_000_000)
    out = np.empty_like(z), np.empty_like(z)
    y = np.zeros(len(z))
    done = threading.Event()

    def compute():
        binary(compiled, z, 1.5, y=y, out=out)
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
    g, h = binary(compiled, margins(200_000), n_threads=2)
    return float(g.sum() + h.sum())


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


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


SHOW = "import focal_boost; print(focal_boost.show_config(mode='dicts'))"


@pytest.mark.parametrize("name", LEVELS)
def test_environment_chooses_the_instruction_set(name):
    result = run_python(SHOW, FOCAL_BOOST_DISPATCH=name)
    assert f"'dispatch': '{name}'" in result.stdout, result.stderr


def test_environment_names_an_unknown_instruction_set():
    result = run_python(SHOW, FOCAL_BOOST_DISPATCH="mmx")
    assert result.returncode != 0
    assert "FOCAL_BOOST_DISPATCH='mmx'" in result.stderr
    assert "baseline" in result.stderr


def test_environment_chooses_the_kernels():
    assert "'kernels': 'numpy'" in run_python(SHOW, FOCAL_BOOST_KERNELS="numpy").stdout
    assert "'kernels': 'native'" in run_python(SHOW, FOCAL_BOOST_KERNELS="native").stdout
    assert "FOCAL_BOOST_KERNELS='cython'" in run_python(SHOW, FOCAL_BOOST_KERNELS="cython").stderr


def test_show_config(capsys):
    config = show_config(mode="dicts")
    assert config["kernels"] == "native"
    assert config["dispatch"] in config["available"]
    assert config["cpus"] >= 1
    assert show_config() is None
    assert "native" in capsys.readouterr().out
    with pytest.raises(ValueError, match="mode='json'"):
        show_config(mode="json")


def test_losses_use_the_compiled_kernels():
    z = margins((50, 3))
    got = MulticlassFocalLoss(3).gradient_hessian(np.arange(50) % 3, z)
    g, h = np.empty_like(z), np.empty_like(z)
    compiled.multiclass_gradient_hessian(np.arange(50) % 3, z, None, 2.0, np.ones(3), True, 8.0, 1.0, g, h)
    np.testing.assert_array_equal(got, (g, h))
