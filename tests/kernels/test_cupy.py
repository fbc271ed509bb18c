"""The stand-in for CuPy (fake_cupy.py) against CuPy itself, which needs no GPU for this, and CuPy's own compiler.

What focal_boost asks of CuPy is recorded while the stand-in does it: names, keywords, and kernels that are launched.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import SimpleNamespace

import fake_cupy
import numpy as np
import pytest

import focal_boost
from focal_boost import BinaryFocalLoss, MulticlassFocalLoss

cupy = pytest.importorskip("cupy", reason="needs CuPy (no GPU): pip install 'focal_boost[cuda]'", exc_type=ImportError)

SOURCES = sorted(Path(focal_boost.__file__).parent.rglob("*.py"))
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def has_gpu():
    try:
        return cupy.cuda.runtime.getDeviceCount() > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


def everything(to):
    """Whatever a loss does on a GPU."""
    for k in (1, 3, 40):
        rng = np.random.default_rng(0)
        z = rng.normal(size=(20, k) if k > 1 else 20)
        y, weight = np.arange(20) % min(max(k, 2), 20), rng.random(20)
        for options in ({"hessian": "expected"}, {"hessian": "exact", "gamma": 1.5}, {"link": "focal"}):
            loss = BinaryFocalLoss(**options) if k == 1 else MulticlassFocalLoss(k, **options)
            for dtype in (np.float32, np.float64):
                loss.gradient_hessian(to(y), to(z.astype(dtype)), to(weight), intercept=0.1 if k == 1 else [0.1] * k)
                loss.gradient_hessian(to(y), to(z.astype(dtype)), to(weight))
                loss.loss(to(y), to(z.astype(dtype)))
                loss(to(y), to(z.astype(dtype)), to(weight))
                loss.log_loss(to(y), to(z.astype(dtype)))
            loss.predict_proba(to(z))
            loss.fit_intercept_only(to(y), to(weight))
            with pytest.raises(ValueError, match="y_true holds"):
                loss.loss(to(y + 0.5 + k), to(z))
            with pytest.raises(ValueError, match="sample_weight holds"):
                loss(to(y), to(z), to(-weight))
    labels, margins = (rng.random((20, 3)) > 0.5) * 1.0, rng.normal(size=(20, 3))
    loss = BinaryFocalLoss()
    loss.gradient_hessian(to(labels), to(margins), to(weight), intercept=[0.1, 0.2, 0.3], scale=np.ones(3))
    loss.predict_proba(to(margins))
    loss.fit_intercept_only(to(labels))


@pytest.fixture(scope="module")
def asked():
    """Attributes of arrays, names of kernels, and their source: what the stand-in saw."""
    if not fake_cupy.COMPILER:
        pytest.skip("needs a C++ compiler")
    attributes, getattr_ = set(), fake_cupy.Array.__getattr__
    kernels, make = set(), fake_cupy.RawModule.__init__

    def record(self, name):
        value = getattr_(self, name)
        attributes.add(name)
        return value

    def record_module(self, *, code, options, name_expressions):
        make(self, code=code, options=options, name_expressions=name_expressions)
        kernels.update(name_expressions)

    with pytest.MonkeyPatch.context() as patch, fake_cupy.installed() as cuda:
        patch.setattr(fake_cupy.Array, "__getattr__", record)
        patch.setattr(fake_cupy.RawModule, "__init__", record_module)
        everything(cuda.asarray)
        return SimpleNamespace(
            attributes=attributes, kernels=sorted(kernels), source=cuda._source(), options=cuda._OPTIONS
        )


def names(namespace, prefix=""):
    """Dotted public names of a namespace and of those inside it."""
    for name, value in vars(namespace).items():
        if not name.startswith("_"):
            yield prefix + name
            if isinstance(value, SimpleNamespace):
                yield from names(value, f"{prefix}{name}.")


def real(dotted):
    found = cupy
    for name in dotted.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("name", sorted(names(fake_cupy.module())))
def test_what_the_stand_in_offers_is_in_cupy(name):
    real(name)


def test_what_is_asked_of_arrays_is_in_cupy(asked):
    own = {name for name, value in vars(fake_cupy.Array).items() if callable(value) or isinstance(value, property)}
    own.remove("__getattr__")
    assert {"__rtruediv__", "__cuda_array_interface__", "device"} <= own
    assert {"astype", "reshape", "sum", "strides", "shape", "dtype"} <= asked.attributes
    missing = [name for name in asked.attributes | own if not hasattr(cupy.ndarray, name)]
    assert not missing


def calls():
    """Calls of CuPy's functions in the package and the benchmark: file, line, name, number of arguments, keywords."""
    for path in [*SOURCES, BENCHMARK]:
        if not path.exists():  # tests of a wheel
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            chain = ast.unparse(node.func)
            for start in (
                "cp.",
                "kind.arrays.",
                "module.arrays.",
                "kernels.arrays.",
                "self.cupy.",
                "on.cupy.",
                "cupy.",
            ):
                if chain.startswith(start) and "(" not in chain:
                    starred = any(isinstance(x, ast.Starred) for x in node.args)
                    keywords = [keyword.arg for keyword in node.keywords]
                    yield f"{path.name}:{node.lineno}", chain.removeprefix(start), len(node.args), keywords, starred


def test_calls_are_found():
    found = {call[1] for call in calls()}
    assert {"RawModule", "cuda.runtime.getDevice", "full", "empty_like", "bincount", "average", "repeat"} <= found


@pytest.mark.parametrize("call", list(calls()), ids=lambda call: f"{call[0]} {call[1]}")
def test_cupy_takes_the_arguments_it_is_given(call):
    _, name, n_arguments, keywords, starred = call
    function = real(name)
    try:
        signature = inspect.signature(function)
    except ValueError:  # compiled, without one: its docstring begins with it
        documented = (function.__doc__ or "").partition("\n\n")[0]
        assert all(keyword in documented for keyword in keywords)
        return
    if not starred:
        signature.bind(*[None] * n_arguments, **dict.fromkeys(keywords))


@pytest.fixture
def named_architecture(monkeypatch):
    """CuPy asks the device before it compiles, even for an architecture that is named."""
    from cupy.cuda import compiler

    choose = getattr(compiler._get_arch_for_options_for_nvrtc, "__wrapped__", None)
    if choose is None:
        pytest.skip("this CuPy does not let its compiler run without a GPU")
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", choose)
    return compiler


@pytest.mark.parametrize("architecture", ["75", "120"])
def test_cupy_compiles_every_kernel_that_is_launched(asked, named_architecture, architecture):
    try:
        cupy.cuda.nvrtc.getVersion()
    except RuntimeError as error:
        pytest.skip(f"needs NVRTC: {error}")
    assert len(asked.kernels) > 10
    # What CuPy adds to the options of a RawModule.
    code, mapping = named_architecture.compile_using_nvrtc(
        asked.source, (*asked.options, "-ftz=true"), architecture, "focal.cu", tuple(asked.kernels)
    )
    assert code.startswith(b"\x7fELF")
    assert set(mapping) == set(asked.kernels)
    for name in asked.kernels:
        assert mapping[name].encode() in code


def test_modules_are_made_as_cupy_wants_them(asked):
    name = asked.kernels[0]
    module = cupy.RawModule(code=asked.source, options=asked.options, name_expressions=[name])
    if has_gpu():
        assert module.get_function(name).max_threads_per_block >= 128
    else:
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
            module.get_function(name)


def test_without_a_driver_cupy_raises_what_is_waited_for():
    """LightGBM's pinned memory and the reason why tests for a GPU are skipped rest on it."""
    import cupyx

    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    inspect.signature(cupyx.empty_pinned).bind((2,), dtype=np.float32, order="F")
    if has_gpu():
        assert cupyx.empty_pinned((2, 3), dtype=np.float32, order="F").flags.f_contiguous
        return
    with pytest.raises(RuntimeError):
        cupyx.empty_pinned((2,), dtype=np.float32, order="F")
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        cupy.asarray(np.zeros(3))


@pytest.mark.gpu
def test_everything_runs_on_a_gpu_with_numpy_kept_out():
    from focal_boost.kernels import cuda

    everything(cuda.asarray)


@pytest.mark.parametrize("task", ["xgboost.train", "train", "classifier"])
def test_a_gpu_that_cupy_cannot_use_means_the_processor(task, monkeypatch):
    """CuPy itself, without a driver, under an XGBoost that says it trains on a GPU."""
    if has_gpu():
        pytest.skip("CuPy can use it")
    xgb = pytest.importorskip("xgboost")
    from focal_boost import FocalClassifier
    from focal_boost.xgboost import FocalObjective, rounds, train

    monkeypatch.setattr(rounds, "has_cuda", lambda: True)
    monkeypatch.setattr(rounds, "_place", lambda booster: ("cuda:0", 1))
    rounds._failure.cache_clear()
    rounds._warn_of_cupy.cache_clear()
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = (X[:, 0] > 1).astype(int)
    objective = FocalObjective(BinaryFocalLoss())
    data = xgb.DMatrix(X, y)
    params = {**objective.params, "nthread": 1}
    run = {
        "xgboost.train": lambda: xgb.train(params, data, 3, obj=objective),
        "train": lambda: train(params, data, 3, obj=objective),
        "classifier": lambda: FocalClassifier(xgb.XGBClassifier(n_estimators=3, n_jobs=1)).fit(X, y),
    }[task]
    with pytest.warns(UserWarning, match="CuPy cannot compute there .*CUDARuntimeError: .*focal_boost"):
        model = run()
    assert np.ptp(model.predict(X if task == "classifier" else data)) > 0.1
