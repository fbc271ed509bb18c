"""Rounds of XGBoost without the copies that it makes for an objective of one's own.

`Rounds` is a callback of ``xgboost.train``, which goes on to do everything else. Before each round it puts a function
of its own in the place of the booster's method ``update``, for this one call.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import logging
import sys
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import numpy as np
import xgboost

from focal_boost import kernels

__all__ = ["Rounds", "calling_booster", "has_cuda", "kernels_of_caller", "logger", "on_device", "threads_of"]

logger: logging.Logger = logging.getLogger("focal_boost")

# Between the booster and what asks for it lie functions of the objective, at most three, the wrapper of XGBoost's
# estimators and a user's own.
_FRAMES = 7
# Modules with functions that call an objective or a metric for a booster, and its name there.
_OWNERS = {"xgboost.core": "self", __name__: "booster"}


# ---------------------------------------------------------------------------------------------------------------------
# Where to compute


def _config(booster: xgboost.Booster) -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return learner


_places: weakref.WeakKeyDictionary[xgboost.Booster, tuple[str, int]] = weakref.WeakKeyDictionary()


def _place(booster: xgboost.Booster) -> tuple[str, int]:
    """Where a booster really trains (XGBoost has replaced a GPU that is not there by "cpu"), and its ``nthread``.

    Asked once of each booster, since the answer takes as long as a small round; whoever changes them in the midst of a
    training gets the same gradients from where they were computed before.
    """
    if (place := _places.get(booster)) is None:
        told = _config(booster)["generic_param"]
        place = _places[booster] = str(told["device"]), int(told["nthread"])
    return place


def threads_of(booster: xgboost.Booster | None) -> int | None:
    """The ``nthread`` of a booster, None where it is not given."""
    n_threads = 0 if booster is None else _place(booster)[1]
    return n_threads if n_threads > 0 else None


@functools.cache
def has_cuda() -> bool:
    """Whether this XGBoost was built for GPUs."""
    return bool(xgboost.build_info().get("USE_CUDA"))


@functools.cache
def _warn_of_cupy(reason: str) -> None:
    warnings.warn(
        f"XGBoost trains on a GPU, but gradients of the focal loss are computed on the processor, since {reason}: "
        "pip install 'focal_boost[cuda]'",
        UserWarning,
        stacklevel=2,
    )


@functools.lru_cache(maxsize=256)
def _failure(loss: Any, ordinal: int) -> str | None:
    """Why gradients of a loss cannot be computed on a GPU, or None.

    CuPy can be imported and still lack its compiler or a driver that it goes with, which the first kernel shows. One
    row is tried, with the kernel that all rows need: nothing is compiled in vain.
    """
    module = kernels.for_gpu()
    try:
        with _device_context(module, ordinal):
            margins = np.zeros((1,) if loss.n_outputs == 1 else (1, loss.n_outputs), dtype=np.float32)
            loss.gradient_hessian(np.zeros(1), module.asarray(margins))
    except Exception as error:  # whatever it is, there are other kernels
        lines = str(error).splitlines() or [""]
        return f"{type(error).__name__}: {lines[0][:200]}"
    return None


def _kernels_for_booster(booster: xgboost.Booster, loss: Any) -> tuple[Any, int]:
    """The kernels that compute where a booster trains, and its GPU.

    If CuPy is missing or does not work, those for the processor, and a warning.
    """
    device, _, ordinal = (_place(booster)[0] if has_cuda() else "cpu").partition(":")
    if device != "cuda":
        return kernels.active, 0
    try:
        module = kernels.for_gpu()
    except Exception as error:  # of CuPy's own extensions too, built for another NumPy
        _warn_of_cupy(f"CuPy is not installed or cannot be loaded ({error.__cause__ or error})")
        return kernels.active, 0
    if reason := _failure(loss, int(ordinal or 0)):
        _warn_of_cupy(f"CuPy cannot compute there ({reason})")
        return kernels.active, 0
    return module, int(ordinal or 0)


def calling_booster() -> xgboost.Booster | None:
    """The booster that has called an objective or a metric, None if there is none.

    Margins come through host memory wherever the booster trains, and neither they nor the DMatrix says where that is
    and with how many threads, nor can parameters that another function is given. So it is asked of the booster itself,
    which is found among the callers: nothing else lets the plain ``xgboost.train`` of a GPU have its gradients computed
    there.
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES):
        if frame is None:
            break
        module = frame.f_globals.get("__name__")
        if module in _OWNERS and isinstance(booster := frame.f_locals.get(_OWNERS[module]), xgboost.Booster):
            return booster
        frame = frame.f_back
    return None


def kernels_of_caller(margins: Any, loss: Any) -> tuple[Any, Any]:
    """The kernels for margins that XGBoost hands to an objective, and the context in which they compute."""
    if kernels.is_device_array(margins):
        return kernels.for_gpu(), contextlib.nullcontext()
    if not has_cuda() or (booster := calling_booster()) is None:
        return kernels.active, contextlib.nullcontext()
    module, ordinal = _kernels_for_booster(booster, loss)
    return module, on_device(module, ordinal)


def on_device(module: Any, ordinal: int) -> Any:
    """Context in which CuPy uses a GPU and its default stream; for NumPy nothing changes.

    XGBoost computes on a stream of its own, which the default stream alone waits for, and its predictions on a GPU are
    handed over before they are there.
    """
    return contextlib.nullcontext() if module.arrays is np else _device_context(module, ordinal)


@contextlib.contextmanager
def _device_context(module: Any, ordinal: int) -> Iterator[None]:
    cuda = module.arrays.cuda
    with cuda.Device(ordinal), cuda.Stream.null:
        yield


# ---------------------------------------------------------------------------------------------------------------------
# Margins


def _read_margins(booster: xgboost.Booster, data: xgboost.DMatrix) -> np.ndarray:
    """Margins of the training data where the booster holds them: valid until it predicts again in this thread.

    The call is the one behind ``Booster.predict(data, output_margin=True, training=True)``, which copies its result.
    """
    arguments = {"type": 1, "training": True, "iteration_begin": 0, "iteration_end": 0, "strict_shape": False}
    result = ctypes.POINTER(ctypes.c_float)()
    shape, n_dims = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
    status = xgboost.core._LIB.XGBoosterPredictFromDMatrix(
        booster.handle,
        data.handle,
        json.dumps(arguments).encode(),
        ctypes.byref(shape),
        ctypes.byref(n_dims),
        ctypes.byref(result),
    )
    if status != 0:
        raise AttributeError("XGBoosterPredictFromDMatrix")
    view = np.ctypeslib.as_array(result, shape=tuple(shape[i] for i in range(n_dims.value)))
    view.flags.writeable = False
    return view


def _margins(booster: xgboost.Booster, data: xgboost.DMatrix) -> np.ndarray:
    try:
        return _read_margins(booster, data)
    except AttributeError:  # another version
        margins: np.ndarray = booster.predict(data, output_margin=True, training=True)
        return margins


def _drops_trees(booster: xgboost.Booster) -> bool:
    """Whether trees are left out of the margins at random, by numbers that are drawn in the thread that reads them."""
    model = _config(booster)["gradient_booster"]
    drops = model.get("dart_train_param", {})  # newer versions know dart as a way of gbtree
    return model.get("name") == "dart" or float(drops.get("rate_drop", 0)) > 0 or drops.get("one_drop", "0") != "0"


class _Crossing:
    """Margins on a GPU in each round, copied as they come."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def read(self, booster: xgboost.Booster, data: xgboost.DMatrix) -> Any:
        """Margins as a device array."""
        return self.module.asarray(_margins(booster, data))

    def close(self) -> None:
        """Nothing is held."""


class _Pinned(_Crossing):
    """The same from memory that the GPU knows, into one array.

    XGBoost keeps margins in host memory, in a buffer that belongs to the pair of a thread and a booster. They are read
    in a thread of its own, in which nobody else predicts, so that the buffer stays where it is and is registered with
    the driver once: copies from such memory run at the speed of the bus.
    """

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.arrays = module.arrays
        self.thread = ThreadPoolExecutor(1, "focal_boost-margins")
        self.registered: tuple[int, int] | None = None
        self.margins: Any = None

    def read(self, booster: xgboost.Booster, data: xgboost.DMatrix) -> Any:
        """Margins as a device array, the same in each round."""
        view = self.thread.submit(_margins, booster, data).result()
        place = (view.ctypes.data, view.nbytes)
        if place != self.registered and not view.flags.owndata and view.nbytes:
            self.release()
            # Where a driver does not want to, the copy is as right, and slower.
            with contextlib.suppress(RuntimeError):
                self.arrays.cuda.runtime.hostRegister(*place, 0)
                self.registered = place
        if self.margins is None or self.margins.shape != view.shape:
            self.margins = self.arrays.empty(view.shape, dtype=np.float32)
        self.margins.set(np.ascontiguousarray(view))
        # The buffer is XGBoost's again.
        self.arrays.cuda.get_current_stream().synchronize()
        return self.margins

    def release(self) -> None:
        """Let go of the buffer: memory that is freed while it is registered can corrupt later copies."""
        if self.registered is not None:
            place, self.registered = self.registered, None
            self.arrays.cuda.runtime.hostUnregister(place[0])

    def close(self) -> None:
        """Let go of buffer and thread."""
        try:
            self.release()
        finally:
            self.thread.shutdown()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


# ---------------------------------------------------------------------------------------------------------------------
# Rounds


class Rounds(xgboost.callback.TrainingCallback):
    """Computes gradients in the place of ``Booster.update``, to the same bits.

    Whoever trains with it calls `close` at the end, whatever ends the training.

    Parameters
    ----------
    objective : FocalObjective
    """

    def __init__(self, objective: Any) -> None:
        super().__init__()
        self.objective = objective
        self.close()

    def close(self) -> None:
        """Let go of data and device memory."""
        if (way := getattr(self, "way", None)) is not None:
            way.close()
        self.module: Any = None
        self.ordinal: int = 0
        self.way: _Crossing | None = None
        self.prepared: Any = None

    def before_training(self, model: Any) -> Any:
        """Forget an earlier training."""
        self.close()
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Take over the coming update, and no more than that: a callback that saves the booster saves a plain one."""
        model.update = functools.partial(self._update, model)
        return False

    def after_training(self, model: Any) -> Any:
        """Leave a plain booster."""
        self.close()
        model.__dict__.pop("update", None)
        return model

    def _update(self, booster: Any, dtrain: xgboost.DMatrix, iteration: int, fobj: Any = None) -> None:
        del booster.update
        booster._assign_dmatrix_features(dtrain)
        if self.module is None:
            self.module, self.ordinal = _kernels_for_booster(booster, self.objective.loss)
            if self.module.arrays is not np:
                self.way = (_Crossing if _drops_trees(booster) else _Pinned)(self.module)
        with on_device(self.module, self.ordinal):
            margins = _margins(booster, dtrain) if self.way is None else self.way.read(booster, dtrain)
            if self.prepared is None:
                labels, _, weights, n_threads = self.objective._arguments(None, dtrain, None)
                outputs = [self.module.arrays.empty(margins.shape, dtype=np.float32) for _ in range(2)]
                self.prepared = self.objective._prepared(labels, margins, weights, outputs, n_threads, in_training=True)
            gradient, hessian, fill = self.prepared
            fill(margins)
            booster.boost(dtrain, iteration, grad=gradient, hess=hessian)
