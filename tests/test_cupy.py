"""What focal_boost takes for granted of CuPy, held to the real one; it needs no GPU for that, nor a driver."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from pathlib import Path

import fake_cupy
import pytest

import focal_boost

cupy = pytest.importorskip("cupy", reason="needs CuPy, with or without a GPU: pip install 'focal_boost[cuda]'")
compiler = pytest.importorskip("cupy.cuda.compiler")

PACKAGE = Path(focal_boost.__file__).parent


def names_of_cupy(file: Path) -> set[str]:
    """Dotted names that a file takes from CuPy: ``cp.cuda.runtime.getDevice``, ``kind.arrays.empty``."""
    dotted = [ast.unparse(n) for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Attribute)]
    found = [re.fullmatch(r"(?:cp|[\w.]*\.arrays)\.([\w.]+)", name) for name in dotted]
    return {match[1] for match in found if match}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.name)
def test_every_name_is_there(file):
    for name in names_of_cupy(file):
        functools.reduce(getattr, name.split("."), cupy)


def test_names_are_found():
    assert {"RawModule", "cuda.runtime.getDevice", "exp"} <= names_of_cupy(PACKAGE / "kernels" / "cuda.py")
    assert {"empty", "bincount"} <= names_of_cupy(PACKAGE / "losses.py")


def test_the_stand_in_has_nothing_that_cupy_lacks():
    def compare(stand_in, real):
        for name, value in vars(stand_in).items():
            if name.startswith("_"):
                continue
            assert hasattr(real, name), name
            if type(value).__name__ == "SimpleNamespace":
                compare(value, getattr(real, name))

    compare(fake_cupy.module(), cupy)
    assert hasattr(cupy.cuda.Stream.null, "synchronize")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("average", {"a": [], "weights": None}),
        ("bincount", {"x": [], "weights": None, "minlength": 3}),
        ("empty", {"shape": (3,), "dtype": "f4"}),
        ("empty_like", {"prototype": [], "dtype": "f8"}),
        ("full", {"shape": 2, "fill_value": -1, "dtype": "i8"}),
        ("repeat", {"a": [], "repeats": 2}),
    ],
)
def test_calls_fit(function, arguments):
    inspect.signature(getattr(cupy, function)).bind(**arguments)


def test_kernels_are_asked_for_as_cupy_wants_it():
    module = cupy.RawModule(code="", options=("-std=c++17",), name_expressions=["f<1>"])
    assert callable(module.get_function)
    assert "shared_mem=0" in cupy.RawKernel.__call__.__doc__


def test_pinned_memory_without_a_driver_is_a_runtime_error():
    cupyx = pytest.importorskip("cupyx")
    inspect.signature(cupyx.empty_pinned).bind((3,), dtype="f4", order="F")
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_89", "sm_90", "sm_120"])
@pytest.mark.parametrize(("single", "n_classes"), [(True, 0), (True, 5), (False, 30)])
def test_cupy_compiles_the_kernels(architecture, single, n_classes, monkeypatch):
    try:
        cupy.cuda.nvrtc.getVersion()
    except RuntimeError as error:
        pytest.skip(f"needs NVRTC: {error}")
    # CuPy asks the device for its architecture.
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda *_: (f"-arch={architecture}", "cubin"))
    with fake_cupy.installed() as cuda:
        source, options = cuda._source(), cuda._options(single, n_classes)
        kind = "multiclass" if n_classes else "binary"
        name = f"focal::{cuda._template(f'{kind}_derivatives', 2.0, True)}"
    binary, mapping = compiler.compile_using_nvrtc(source, options, architecture[3:], "kern.cu", (name,))
    assert binary[:4] == b"\x7fELF"
    assert mapping[name].startswith(fake_cupy.mangled(name))
