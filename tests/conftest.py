from __future__ import annotations

# Threads of the libraries that wait for others sleep and do not spin: tests run side by side, with more threads than
# processors. Read when OpenMP is loaded, so set before anything is imported.
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import contextlib
import functools
import inspect
import itertools
import warnings
from importlib.util import find_spec

import fake_cupy
import numpy as np
import pytest
from hypothesis import settings

from focal_boost import losses
from focal_boost.kernels import numpy as numpy_kernels

# The same examples every time; FOCAL_BOOST_EXAMPLES asks for that many new ones per property.
EXAMPLES = os.environ.get("FOCAL_BOOST_EXAMPLES")
settings.register_profile(
    "focal_boost",
    deadline=None,
    derandomize=EXAMPLES is None,
    database=None,
    max_examples=int(EXAMPLES or settings().max_examples),
)
settings.load_profile("focal_boost")

KERNELS = {"numpy": numpy_kernels}
if find_spec("focal_boost.kernels._native") is not None:
    from focal_boost.kernels import _native
    from focal_boost.kernels import native as native_kernels

    KERNELS |= dict.fromkeys(_native.supported(), native_kernels)

CUDA = [
    pytest.param("cuda", marks=pytest.mark.gpu),
    pytest.param("cuda-on-host", marks=pytest.mark.skipif(not fake_cupy.COMPILER, reason="needs a C++ compiler")),
]


def within(**values):
    """Try a test with each of an argument's values, inside one test: for what is too quick to be a test of its own."""

    def decorate(test):
        @functools.wraps(test)
        def looped(*args, **kwargs):
            for chosen in itertools.product(*values.values()):
                given = dict(zip(values, chosen, strict=True))
                try:
                    test(*args, **kwargs, **given)
                except Exception as error:
                    error.add_note(f"with {given}")
                    raise

        of_test = inspect.signature(test)
        kept = [parameter for name, parameter in of_test.parameters.items() if name not in values]
        looped.__signature__ = of_test.replace(parameters=kept)
        return looped

    return decorate


def gpu_missing():
    """Why there is no GPU to test on, or None."""
    if find_spec("cupy") is None:
        return "needs CuPy: pip install 'focal_boost[cuda]'"
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is installed and cannot be loaded: {error}"
    try:
        return None if cupy.cuda.runtime.getDeviceCount() else "needs an NVIDIA GPU"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"needs an NVIDIA GPU: {error}"


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and (missing := gpu_missing()):
        pytest.skip(missing)


class ThroughDevice:
    """Kernels for a GPU behind the face of those for host memory, so that both sorts share their tests."""

    arrays, asarray, to_host = np, np.asarray, np.asarray
    sigmoid, softmax = staticmethod(numpy_kernels.sigmoid), staticmethod(numpy_kernels.softmax)

    def __init__(self, cuda):
        self.cuda = cuda

    def run(self, operation, parameters, y, z, weight, outputs, *args, **kwargs):
        moved = [None if x is None else self.cuda.asarray(x) for x in (y, z, weight)]
        there = tuple(self.cuda.asarray(x) for x in outputs)
        self.cuda.run(operation, parameters, *moved, there, *args, **kwargs)
        for host, device in zip(outputs, there, strict=True):
            host[...] = self.cuda.to_host(device)


@pytest.fixture(scope="module", params=[*KERNELS, *CUDA])
def kernels(request):
    """Let the losses compute with each set of kernels in turn."""
    if request.param.startswith("cuda"):
        with pytest.MonkeyPatch.context() as patch, cuda_kernels(request.param) as module:
            patch.setattr(losses, "kernels", ThroughDevice(module))
            yield losses.kernels
        return
    module = KERNELS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "numpy":
            before = _native.dispatch()
            _native.set_dispatch(request.param)
        patch.setattr(losses, "kernels", module)
        yield module
        if request.param != "numpy":
            _native.set_dispatch(before)


@contextlib.contextmanager
def cuda_kernels(name):
    """The kernels for a GPU, on one ("cuda") or compiled for this processor ("cuda-on-host")."""
    if name == "cuda":
        if missing := gpu_missing():
            pytest.skip(missing)
        from focal_boost.kernels import cuda

        yield cuda
    else:
        with fake_cupy.installed() as cuda:
            yield cuda


@pytest.fixture(scope="module", params=CUDA)
def device(request):
    """Each sort of device in turn: its kernels, with CuPy (or what stands for it) as ``arrays``."""
    with cuda_kernels(request.param) as module:
        yield module


@pytest.fixture(scope="session")
def client():
    """A Dask cluster of two processes, one for all tests: a start takes seconds."""
    import dask
    import distributed
    from clusters import PLACEMENT, start_cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own, of ports
        with dask.config.set(PLACEMENT):
            cluster = start_cluster()
        with cluster, distributed.Client(cluster) as client:
            yield client


@pytest.fixture
def place(client):
    """Put rows on workers: ``place([(array, worker), ...])`` gives a Dask array of these chunks."""
    import dask.array as da

    workers = sorted(client.scheduler_info()["workers"])
    kept = []

    def build(chunks):
        futures = [client.scatter(chunk, workers=[workers[worker]], hash=False) for chunk, worker in chunks]
        kept.extend(futures)
        arrays = [
            da.from_delayed(future, chunk.shape, chunk.dtype)
            for future, (chunk, _) in zip(futures, chunks, strict=True)
        ]
        return da.concatenate(arrays)

    return build
