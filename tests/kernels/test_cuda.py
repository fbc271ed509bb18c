"""The kernels for a GPU against those for a processor, and what only they get wrong: layouts, dtypes, launches.

Each test runs on a GPU, and with the same kernels compiled for this processor behind a stand-in for CuPy
(fake_cupy.py), which runs one thread after the other. `test_derivatives` holds both to the reference."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

import fake_cupy
import fresh
import numpy as np
import pytest

import focal_boost.kernels
from focal_boost import BinaryFocalLoss, MulticlassFocalLoss
from focal_boost.kernels import numpy as plain
from focal_boost.kernels.parameters import Parameters

GAMMAS = [0.0, 0.5, 1.0, 2.0, 7.3]
# Numbers that the compiler knows (four of them in the stand-in), and others.
CLASSES = [2, 3, 4, 5, 15, 40, 600, 4000]
PER_CLASS = "a gamma for each class"
# Relative error of single precision, "to a millionth".
SINGLE = 2.0**-20

links = pytest.mark.parametrize("link", ["logit", "focal"])
hessians = pytest.mark.parametrize("expected", [True, False], ids=["expected", "exact"])


def margins(shape, seed=0):
    """Margins from ordinary to absurd, with ties."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 3, shape)
    z = np.where(rng.random(shape) < 0.2, rng.uniform(-750, 750, shape), z)
    return np.where(rng.random(shape) < 0.1, 0.25, z)


def make_loss(k, gamma=2.0, **options):
    if gamma == PER_CLASS:
        gamma = tuple((0.5, 2.0, 1.0)[i % 3] for i in range(max(k, 2)))
    if k == 1:
        return BinaryFocalLoss(gamma, (0.3, 2.0), **options)
    return MulticlassFocalLoss(k, gamma, tuple(np.linspace(0.5, 1.5, k)), **options)


def draw(n, k, dtype=np.float64):
    z = margins((n, k) if k > 1 else n).astype(dtype)
    return np.arange(n) % max(k, 2), z, np.random.default_rng(1).random(n)


def double(link):
    """Relative error of the compiled kernels, which both may make."""
    return 4e-13 if link == "focal" else 2e-10


@links
@hessians
@pytest.mark.parametrize("gamma", [*GAMMAS, PER_CLASS])
@pytest.mark.parametrize("k", [1, *CLASSES])
def test_derivatives_agree(device, gamma, expected, k, link):
    y, z, weight = draw(37 if k > 99 else 300, k)
    options = {"hessian": "expected" if expected else "exact", "max_step": None if gamma == 0.5 else 8.0}
    loss = make_loss(k, gamma, link=link, **options)
    start = 0.3 if k == 1 else np.linspace(-1, 1, k)
    to = device.asarray
    for dtype, unit in ((np.float64, double(link)), (np.float32, SINGLE)):
        want = loss.gradient_hessian(y, z.astype(dtype), weight, hessian_scale=2.0, intercept=start)
        got = loss.gradient_hessian(to(y), to(z.astype(dtype)), to(weight), hessian_scale=2.0, intercept=start)
        for ours, theirs in zip(got, want, strict=True):
            assert isinstance(ours, device.arrays.ndarray)
            assert ours.dtype == dtype
            # The exact second derivative is a difference of terms as large as the slope.
            allowed = 2e-14 if expected or link == "focal" else unit
            np.testing.assert_allclose(
                device.to_host(ours), theirs, rtol=unit, atol=allowed + np.finfo(dtype).smallest_normal
            )


@links
@pytest.mark.parametrize("gamma", [0.0, 0.001, 0.3, 1.0, 1.5, 2.0, PER_CLASS, 2.5, 8.0])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 20])
def test_single_precision_is_exact_to_a_millionth(device, gamma, k, link):
    n = 20_000 // k
    rng = np.random.default_rng(k)
    z = rng.normal(0, 1, (n, k)) * rng.choice([0.3, 1.0, 4.0, 40.0, 300.0], (n, 1))
    z = (z if k > 1 else z.ravel()).astype(np.float32)
    y = rng.integers(0, max(k, 2), n)
    loss, to = make_loss(k, gamma, max_step=None, link=link), device.asarray
    wanted = [loss.loss(y, z.astype(np.float64)), *loss.gradient_hessian(y, z.astype(np.float64))]
    got = [loss.loss(to(y), to(z)), *loss.gradient_hessian(to(y), to(z))]
    for ours, true in zip(got, wanted, strict=True):
        assert ours.dtype == np.float32
        # CuPy compiles with -ftz=true, which makes 0 of what is no normal number in single precision, and class weights
        # of up to 2 multiply it.
        np.testing.assert_array_less(np.abs(device.to_host(ours) - true), SINGLE * np.abs(true) + 2.0**-124)


@links
@pytest.mark.parametrize("gamma", [*GAMMAS, PER_CLASS])
@pytest.mark.parametrize("k", [1, 2, 5, 40, 700])
def test_losses_probabilities_and_intercepts_agree(device, gamma, k, link):
    y, z, weight = draw(100, k)
    y = y if k < 100 else y % 30
    loss, to, back = make_loss(k, gamma, link=link), device.asarray, device.to_host
    np.testing.assert_allclose(back(loss.loss(to(y), to(z), to(weight))), loss.loss(y, z, weight), rtol=double(link))
    assert loss(to(y), to(z), to(weight)) == pytest.approx(loss(y, z, weight), rel=double(link))
    log_loss = loss.log_loss(to(y), to(z), to(weight))
    assert log_loss == pytest.approx(loss.log_loss(y, z, weight), rel=double(link))
    np.testing.assert_allclose(back(loss.predict_proba(to(z))), loss.predict_proba(z), rtol=2e-11, atol=1e-300)
    for w in (None, weight):
        got = loss.fit_intercept_only(to(y), None if w is None else to(w))
        np.testing.assert_allclose(got, loss.fit_intercept_only(y, w), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "i1", "u1", "?", "i2", "u4"])
@pytest.mark.parametrize("k", [1, 2])
def test_label_and_weight_dtypes(device, dtype, k):
    y, z, _ = draw(203, k)
    loss, to = make_loss(k), device.asarray
    want = loss.gradient_hessian(to(y), to(z), to(y.astype(float)))
    got = loss.gradient_hessian(to(y.astype(dtype)), to(z), to(y.astype(dtype)))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(device.to_host(a), device.to_host(b))


def layouts(x):
    """The same values strided, reversed and in column order; `x` lies on the device."""
    yield x
    wide = x.repeat(3).reshape((*x.shape, 3))
    wide[..., 0] = 99.0
    yield wide[..., 1]
    yield x[::-1].copy()[::-1]
    yield x.T.copy().T
    # Without gaps, but from an address that is no multiple of 16.
    shifted = x.ravel().repeat(2)[: x.size + 1]
    shifted[1:] = x.ravel()
    yield shifted[1:].reshape(x.shape)
    if x.ndim == 2:
        yield x[:, ::-1].copy()[:, ::-1]


dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@dtypes
@hessians
@pytest.mark.parametrize("k", [1, 3, 4, 5, 33])
def test_layouts_do_not_matter_and_neighbours_are_left_alone(device, k, expected, dtype):
    y, z, weight = draw(331, k, dtype)
    weight = weight.astype(dtype)
    loss, to = make_loss(k, hessian="expected" if expected else "exact"), device.asarray
    want = loss.gradient_hessian(to(y), to(z), to(weight))
    inputs = list(zip(layouts(to(z)), layouts(to(y.astype(dtype))), layouts(to(weight)), strict=False))
    checked = 0
    for laid, y_laid, w_laid in inputs:
        for out in layouts(to(np.zeros_like(z))):
            got = loss.gradient_hessian(y_laid, laid, w_laid, out, to(np.zeros_like(z)))
            for a, b in zip(got, want, strict=True):
                np.testing.assert_array_equal(device.to_host(a), device.to_host(b))
            if out.base is not None and out.base.size == 3 * out.size:
                assert (device.to_host(out.base).reshape(-1, 3)[:, 0] == 99.0).all()
                checked += 1
    assert checked == len(inputs)


@dtypes
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 31, 32, 33, 128, 129, 257, 1023, 1024, 1026])
@pytest.mark.parametrize("k", [1, 3, 4, 20])
def test_every_number_of_rows(device, n, k, dtype):
    y, z, weight = draw(n, k, dtype)
    loss, to = make_loss(k), device.asarray
    want = loss.gradient_hessian(y, z, weight)
    tolerance = double("logit") if dtype == np.float64 else SINGLE
    for a, b in zip(loss.gradient_hessian(to(y), to(z), to(weight)), want, strict=True):
        np.testing.assert_allclose(device.to_host(a), b, rtol=tolerance, atol=np.finfo(dtype).smallest_normal + 1e-14)


@pytest.mark.parametrize("bad", [-1.0, 2.0, 0.5, np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 2, 20])
def test_labels_that_are_not_allowed(device, bad, k):
    if bad == 0.5 and k == 1:
        pytest.skip("a soft label")
    y, z, _ = draw(3000, k)
    y = y * (k < 3) + 0.0
    y[[1234, 2000]] = bad if bad != 2.0 else max(k, 2), 7.5
    loss, to = make_loss(k), device.asarray
    for function in (loss.gradient_hessian, loss.loss):
        with pytest.raises(ValueError, match="y_true holds") as want:
            function(y, z)
        with pytest.raises(ValueError, match="y_true holds") as got:
            function(to(y), to(z))
        assert str(got.value) == str(want.value)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_a_refused_label_is_forgotten(device, k):
    y, z, weight = draw(50, k)
    loss, to = make_loss(k), device.asarray
    want = loss.gradient_hessian(y, z, weight)
    for bad_y, bad_weight in ((y - 1, weight), (y, weight - 1)):
        with pytest.raises(ValueError, match="holds -"):
            loss.gradient_hessian(to(bad_y), to(z), to(bad_weight))
        for _ in range(2):
            for ours, theirs in zip(loss.gradient_hessian(to(y), to(z), to(weight)), want, strict=True):
                np.testing.assert_allclose(device.to_host(ours), theirs, rtol=double("logit"), atol=1e-14)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 3])
def test_weights_that_are_not_allowed(device, bad, k):
    y, z, weight = draw(300, k)
    weight[123] = bad
    loss, to = make_loss(k), device.asarray
    with pytest.raises(ValueError, match=f"sample_weight holds {bad}"):
        loss.gradient_hessian(to(y), to(z), to(weight))
    with pytest.raises(ValueError, match="sample_weight holds"):
        loss.fit_intercept_only(to(y), to(weight))


@dtypes
@hessians
@pytest.mark.parametrize("k", [4, 40])
def test_nan_margins_stay_nan_and_touch_no_other_row(device, k, expected, dtype):
    y, z, _ = draw(200, k, dtype)
    loss, to = make_loss(k, hessian="expected" if expected else "exact"), device.asarray
    want = [device.to_host(x) for x in loss.gradient_hessian(to(y), to(z))]
    z[77, 2] = z[78, 0] = z[79, 3] = z[80] = np.nan
    rows = [77, 78, 79, 80]
    for a, b in zip(loss.gradient_hessian(to(y), to(z)), want, strict=True):
        a = device.to_host(a)
        assert np.isnan(a[rows]).all()
        np.testing.assert_array_equal(np.delete(a, rows, axis=0), np.delete(b, rows, axis=0))


@dtypes
@hessians
@pytest.mark.parametrize("k", [1, 2, 3, 4, 40])
def test_infinite_margins(device, k, expected, dtype):
    y, z, _ = draw(60, k, dtype)
    far = np.finfo(dtype).max
    z = z.reshape(60, -1)
    z[:, -1] = np.where(np.arange(60) % 2, np.inf, -np.inf)
    z[:20, 0] = np.repeat([np.inf, -np.inf, far, -far], 5)
    z[59] = -np.inf
    z = z[:, 0] if k == 1 else z
    loss, to = make_loss(k, hessian="expected" if expected else "exact"), device.asarray
    for ours, theirs in zip(loss.gradient_hessian(to(y), to(z)), loss.gradient_hessian(y, z), strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(device.to_host(ours), theirs, rtol=SINGLE, atol=1e-14)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_host_arrays_beside_device_arrays_and_refused_outputs(device, k):
    y, z, weight = draw(50, k)
    loss, to = make_loss(k), device.asarray
    want = loss.gradient_hessian(to(y), to(z), to(weight))
    for a, b in zip(loss.gradient_hessian(y, to(z), weight), want, strict=True):
        np.testing.assert_array_equal(device.to_host(a), device.to_host(b))
    with pytest.raises(ValueError, match="gradient_out must be a float32 or float64 CuPy array"):
        loss.gradient_hessian(to(y), to(z), None, np.empty_like(z))
    with pytest.raises(ValueError, match="raw_prediction has 50 rows"):
        loss.gradient_hessian(to(y[:-1]), to(z))


@pytest.mark.parametrize("k", [1, 3])
def test_host_arrays_of_dtypes_that_cupy_has_not(device, k):
    y, z, weight = draw(50, k)
    loss, z = make_loss(k), device.asarray(z)
    want = loss.gradient_hessian(y, z, weight)
    for kind in (np.longdouble, ">f8", ">f4"):
        got = loss.gradient_hessian(y.astype(kind), z, weight.astype(np.longdouble))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(device.to_host(a), device.to_host(b))
    for bad in (y.astype(str), y.astype(object), y * 1j):
        with pytest.raises(ValueError, match=r"y_true has dtype .* but a loss takes encoded classes"):
            loss.gradient_hessian(bad, z)
        with pytest.raises(ValueError, match=r"sample_weight has dtype .* but weights are real numbers"):
            loss.gradient_hessian(y, z, bad)


def test_labels_that_are_each_yes_or_no(device):
    rng = np.random.default_rng(0)
    y, z, weight = (rng.random((50, 3)) > 0.5) * 1.0, rng.normal(size=(50, 3)), rng.random(50)
    start, scale = np.array([0.1, -0.2, 0.3]), np.array([1.0, 2.0, 0.5])
    loss, to, back = make_loss(1), device.asarray, device.to_host
    want = loss.gradient_hessian(y, z, weight, intercept=start, scale=scale)
    for laid in layouts(to(z)):
        for out in layouts(to(np.zeros_like(z))):
            got = loss.gradient_hessian(to(y), laid, to(weight), out, None, intercept=start, scale=scale)
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(back(a), b, rtol=double("logit"), atol=1e-15)
    np.testing.assert_allclose(back(loss.predict_proba(to(z))), loss.predict_proba(z), rtol=2e-11)
    np.testing.assert_allclose(
        loss.fit_intercept_only(to(y), to(weight)), loss.fit_intercept_only(y, weight), rtol=1e-9
    )
    assert loss(to(y), to(z), to(weight)) == pytest.approx(loss(y, z, weight), rel=double("logit"))


class Foreign:
    """An array of another library, which knows one of the two protocols."""

    def __init__(self, x, protocol):
        self.x = self.host = x
        if protocol == "array interface":
            self.__cuda_array_interface__ = x.__cuda_array_interface__
        else:
            self.__dlpack_device__ = lambda: (2, 0)
            self.__dlpack__ = lambda **options: x.__dlpack__(**options)
        self.host = getattr(x, "host", None)


@pytest.mark.parametrize("protocol", ["array interface", "DLPack"])
def test_arrays_of_other_libraries_are_taken_in_place(device, protocol):
    y, z, _ = draw(50, 1)
    loss, z = make_loss(1), device.asarray(z)
    assert device.asarray(Foreign(z, protocol)).data.ptr == z.data.ptr
    got, _ = loss.gradient_hessian(y, Foreign(z, protocol))
    np.testing.assert_allclose(
        device.to_host(got), loss.gradient_hessian(y, device.to_host(z))[0], rtol=double("logit")
    )


@pytest.mark.skipif(not fake_cupy.COMPILER, reason="needs a C++ compiler")
def test_arrays_on_a_gpu_that_is_not_the_current_one_are_refused(monkeypatch):
    with fake_cupy.installed() as cuda:
        monkeypatch.setattr(cuda.cp.cuda.runtime, "getDevice", lambda: 1)
        with pytest.raises(ValueError, match=r"y_true lies on GPU 0.*current one is GPU 1.*cupy\.cuda\.Device\(0\)"):
            BinaryFocalLoss().gradient_hessian(cuda.asarray(np.zeros(3)), cuda.asarray(np.zeros(3)))


def test_gradient_and_curvature_are_one_launch(monkeypatch):
    with fake_cupy.installed() as cuda:
        for k in (1, 5):
            y, z, weight = draw(100, k)
            arrays = [cuda.asarray(x) for x in (y, z, weight)]
            loss = make_loss(k)
            loss.gradient_hessian(*arrays)
            fake_cupy.launches.clear()
            # Nor is anything else filled or copied to the device, once constants are there.
            with monkeypatch.context() as patch:
                for name in ("full", "zeros", "asarray"):
                    patch.delattr(cuda.cp, name)
                loss.gradient_hessian(*arrays)
            assert len(fake_cupy.launches) == 1


def test_device_arrays_without_cupy_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "focal_boost.kernels.cuda", raising=False)
    array = fake_cupy.Array(np.zeros(3))
    with pytest.raises(ImportError, match=r"focal_boost\[cuda\]"):
        BinaryFocalLoss().gradient_hessian(np.zeros(3), array)


def test_importing_the_package_imports_no_cupy():
    script = "import sys, focal_boost, focal_boost.xgboost; assert 'cupy' not in sys.modules"
    fresh.run(script, imported=fresh.BOOSTERS)


@pytest.fixture(scope="module")
def nvrtc():
    """NVRTC from a CUDA toolkit or from its wheel, nvidia-cuda-nvrtc."""
    folders = [Path("/usr/local/cuda/lib64"), *(Path(p) / "nvidia" / "cu13" / "lib" for p in sys.path)]
    for folder in folders:
        for path in sorted(folder.glob("libnvrtc.so*")):
            return ctypes.CDLL(str(path))
    return pytest.skip("needs NVRTC: a CUDA toolkit, or pip install nvidia-cuda-nvrtc")


def compile_kernels(nvrtc, names, options):
    """A program of NVRTC with the kernels of these names, made of what is handed to CuPy."""
    with fake_cupy.installed() as cuda:
        source = cuda._source()
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"focal.cu", 0, None, None) == 0
    for name in names:
        assert nvrtc.nvrtcAddNameExpression(program, name.encode()) == 0
    encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = nvrtc.nvrtcCompileProgram(program, len(options), encoded)
    assert status == 0, text_of(nvrtc, program, "ProgramLog")
    return program


def text_of(nvrtc, program, what):
    size = ctypes.c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{what}")(program, text) == 0
    return text.value.decode()


def of(k, gamma=2.0, logit=True, expected=True):
    """What a loss is made of."""
    gammas = gamma if isinstance(gamma, tuple) else (gamma,) * max(k, 2)
    return Parameters(k == 1, logit, gammas, (1.0,) * max(k, 2), expected)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_nvrtc_compiles_what_is_handed_to_cupy(nvrtc, architecture, k):
    with fake_cupy.installed(known_classes=None) as cuda:
        names = {
            cuda._name(operation, of(k, logit=logit, expected=expected), single=False)
            for operation in ("loss", "derivatives", "log_odds")
            for logit in (True, False)
            for expected in (True, False)
        }
        if k < 20:
            names.add(cuda._name("derivatives", of(k, logit=k == 1), single=True))
        compile_kernels(nvrtc, sorted(names), [*cuda._OPTIONS, f"--gpu-architecture={architecture}"])


@pytest.mark.parametrize(("k", "logit"), [(1, True), (5, False)], ids=["logit", "focal"])
def test_machine_code_holds_what_makes_it_fast(nvrtc, k, logit):
    with fake_cupy.installed(known_classes=None) as cuda:
        name, options = cuda._name("derivatives", of(k, logit=logit), single=True), cuda._OPTIONS
    options = [*options, "-ftz=true", "--gpu-architecture=compute_90"]
    code = text_of(nvrtc, compile_kernels(nvrtc, [name], options), "PTX")
    # No elementary function or division in double precision, nothing in memory of the thread's own, no generic address.
    assert not re.search(r"(div|rcp|sqrt)[.\w]*\.f64", code)
    assert ".local" not in code
    assert not re.search(r"\b(ld|st)\.(f32|f64|b32|v4)", code)
    # A handful of operations in double precision for each margin: differences of margins and what follows of them.
    arithmetic = len(re.findall(r"\b(add|sub|mul|fma)\.(rn\.)?f64", code))
    assert arithmetic <= (8 * 4 if k == 1 else 16 * k)
    if logit:
        # The coefficients of a cell are one word.
        assert re.search(r"ld\.global\.(nc\.)?v4\.(f32|b32)", code)


def test_only_the_first_array_on_a_gpu_brings_the_kernels_in():
    assert not focal_boost.kernels.is_device_array(np.zeros(3))
    assert not focal_boost.kernels.is_device_array([0.0])
    assert focal_boost.kernels.is_device_array(fake_cupy.Array(np.zeros(3)))
    assert plain.arrays is np
