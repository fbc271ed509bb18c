"""As much of CuPy as focal_boost uses, on host memory: what is done on a GPU can be tested where there is none.

An `Array` is no NumPy array and does not turn into one by itself, as CuPy's does not; it has a
``__cuda_array_interface__``. `RawModule` compiles the kernels of device.cuh for the processor, see device_on_host.cpp.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

FOLDER = Path(__file__).parent
KERNELS = FOLDER.parent / "focal_boost" / "kernels"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

launches: list[str] = []
registered: dict[int, int] = {}  # host memory that the driver knows: address and length
streams: list[object] = []  # those that were made the current one and are it still


class Array:
    """A device array: NumPy's methods and operators, NumPy itself kept out."""

    __array_ufunc__ = None
    ordinal = 0

    def __init__(self, host):
        self.host = host

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self.host, name)
        return wrapped(value) if callable(value) else wrap(value)

    def __getitem__(self, key):
        return wrap(self.host[bare(key)])

    def __setitem__(self, key, value):
        self.host[bare(key)] = bare(value)

    def set(self, host):
        assert type(host) is np.ndarray
        self.host[...] = host

    def __len__(self):
        return len(self.host)

    def __float__(self):
        return float(self.host)

    def __bool__(self):
        return bool(self.host)

    @property
    def data(self):
        return SimpleNamespace(ptr=self.host.ctypes.data)

    @property
    def device(self):
        return SimpleNamespace(id=self.ordinal)

    @property
    def __cuda_array_interface__(self):
        return {**self.host.__array_interface__, "version": 3, "stream": 1}


def bare(x):
    if isinstance(x, tuple | list):
        return type(x)(bare(item) for item in x)
    return x.host if isinstance(x, Array) else x


def wrap(x):
    return Array(np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x


def wrapped(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return wrap(function(*bare(args), **{name: bare(value) for name, value in kwargs.items()}))

    return call


OPERATORS = "add radd sub rsub mul rmul truediv rtruediv neg ge gt le lt and or invert"
for _name in OPERATORS.split():
    setattr(Array, f"__{_name}__", wrapped(getattr(np.ndarray, f"__{_name}__")))
Array.__eq__ = wrapped(np.ndarray.__eq__)
Array.__hash__ = None


def asarray(x, dtype=None):
    if isinstance(x, Array):
        return x
    interface = getattr(x, "__cuda_array_interface__", None)
    host = np.asarray(SimpleNamespace(__array_interface__=interface)) if interface else np.array(x)
    if host.dtype.char not in "?bhilqBHILQefdFD" or not host.dtype.isnative:
        raise ValueError(f"Unsupported dtype {host.dtype}")
    return Array(host if dtype is None else host.astype(dtype, copy=False))


def from_dlpack(x):
    return Array(np.asarray(x.host))


# ---------------------------------------------------------------------------------------------------------------------
# Kernels


# Numbers of classes with which kernels are compiled; others take the kernels for all.
KNOWN_CLASSES = (2, 3, 4, 5)


@functools.cache
def library(n_classes):
    """The kernels for a number of classes, compiled once for a state of the sources."""
    sources = [FOLDER / "device_on_host.cpp", KERNELS / "device.cuh", *sorted(KERNELS.glob("*.hpp"))]
    state = b"".join(path.read_bytes() for path in sources)
    digest = hashlib.sha256(state).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"focal_boost-{os.getuid()}-{digest}-{n_classes}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / target.name
            flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
            command = [COMPILER, *flags, f"-DFOCAL_CLASSES={n_classes}", "-o", built, sources[0]]
            subprocess.run(command, check=True)
            # Other processes that run tests at the same time find a whole file or none.
            shutil.copy(built, target.with_suffix(f".{os.getpid()}"))
            target.with_suffix(f".{os.getpid()}").replace(target)
    launch = ctypes.CDLL(str(target)).launch
    launch.argtypes = [ctypes.c_char_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t]
    return launch


class RawModule:
    def __init__(self, *, code, options, name_expressions):
        assert "__global__" in code
        assert '#include "' not in code  # NVRTC reads no files
        assert options == ("-std=c++17",)
        self.names = name_expressions

    def get_function(self, name):
        assert name in self.names
        launch = library(int(name.split(", ")[3]))

        def run(grid, block, arguments):
            (task,) = arguments
            # CuPy hands an array of NumPy over by its value, if it has one element.
            assert isinstance(task, np.ndarray)
            assert task.size == 1
            assert block == (128,)
            launches.append(name)
            assert launch(name.encode(), grid[0], task.ctypes.data, task.itemsize) == 0

        return run


class Stream:
    """A stream, as far as it can be the current one."""

    def __enter__(self):
        streams.append(self)

    def __exit__(self, *reason):
        streams.remove(self)

    def synchronize(self):
        """Nothing is ever under way."""


Stream.null = Stream()


class Event:
    """A time: whatever was launched before is done."""

    def record(self):
        self.seconds = time.perf_counter()

    def synchronize(self):
        """Nothing is ever under way."""


FUNCTIONS = (
    "empty empty_like full ones zeros zeros_like exp logaddexp average bincount broadcast_to repeat where unique"
)


def module():
    """The stand-in itself."""
    cupy = ModuleType("cupy")
    cupy.__spec__ = ModuleSpec("cupy", None)  # whether it is installed is asked by find_spec
    cupy.ndarray = Array
    cupy.asarray = asarray
    cupy.from_dlpack = from_dlpack
    cupy.asnumpy = lambda x: bare(x).copy()
    cupy.RawModule = RawModule
    runtime = SimpleNamespace(
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        deviceSynchronize=lambda: None,
        hostRegister=lambda address, size, flags: registered.__setitem__(address, size),
        hostUnregister=registered.pop,
    )
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        Device=lambda ordinal: contextlib.nullcontext(),
        Stream=Stream,
        Event=Event,
        get_elapsed_time=lambda start, end: (end.seconds - start.seconds) * 1e3,
        get_current_stream=lambda: streams[-1] if streams else Stream.null,
    )
    for name in FUNCTIONS.split():
        setattr(cupy, name, wrapped(getattr(np, name)))
    return cupy


def _cupy_modules():
    """Names of what is imported of CuPy, and of the kernels over it."""
    return [
        name
        for name in sys.modules
        if name.partition(".")[0] in ("cupy", "cupyx") or name == "focal_boost.kernels.cuda"
    ]


@contextlib.contextmanager
def installed(known_classes=KNOWN_CLASSES):
    """The stand-in under CuPy's name, and kernels/cuda.py over it; None: with all numbers of classes that it knows."""
    import focal_boost.kernels

    # Submodules too: one that is left behind keeps the package that it found, and is not a part of the next one.
    saved = {name: sys.modules.pop(name) for name in _cupy_modules()}
    focal_boost.kernels.__dict__.pop("cuda", None)  # where an import would find it first
    sys.modules["cupy"] = module()
    try:
        from focal_boost.kernels import cuda

        if known_classes is not None:
            assert set(known_classes) <= set(cuda._KNOWN_CLASSES)
            cuda._KNOWN_CLASSES = known_classes
        yield cuda
    finally:
        for name in _cupy_modules():
            del sys.modules[name]
        sys.modules.update(saved)
        focal_boost.kernels.__dict__.pop("cuda", None)
