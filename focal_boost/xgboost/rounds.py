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
import math
import sys
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import xgboost

from focal_boost import kernels

__all__ = ["Rounds", "check_features", "kernels_of_caller", "logger", "on_device"]

logger = logging.getLogger("focal_boost")

# Between the objective and the booster that calls it lie at most the wrapper of XGBoost's estimators and a user's own.
_FRAMES = 4


# ---------------------------------------------------------------------------------------------------------------------
# Where to compute


def _config(booster: xgboost.Booster) -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return learner


def _device(booster: xgboost.Booster) -> str:
    """Where a booster really trains: XGBoost has replaced a GPU that is not there by "cpu"."""
    return str(_config(booster)["generic_param"]["device"])


@functools.cache
def _xgboost_has_cuda() -> bool:
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
    """The kernels that compute where the booster trains, and its GPU.

    If CuPy is missing or does not work, those for the processor, and a warning.
    """
    device, _, ordinal = (_device(booster) if _xgboost_has_cuda() else "cpu").partition(":")
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


def kernels_of_caller(margins: Any, loss: Any) -> tuple[Any, Any]:
    """The kernels for margins that XGBoost hands to an objective, and the context in which they compute.

    Margins come through host memory wherever the booster trains, and neither they nor the DMatrix says where that is,
    nor can parameters that another function is given. So it is asked of the booster itself, which is found among the
    callers: nothing else lets the plain ``xgboost.train`` of a GPU have its gradients computed there.
    """
    if kernels.is_device_array(margins):
        return kernels.for_gpu(), contextlib.nullcontext()
    if not _xgboost_has_cuda():
        return kernels.active, contextlib.nullcontext()
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_FRAMES):
        if frame is None:
            break
        if isinstance(booster := frame.f_locals.get("self"), xgboost.Booster):
            module, ordinal = _kernels_for_booster(booster, loss)
            return module, on_device(module, ordinal)
        frame = frame.f_back
    return kernels.active, contextlib.nullcontext()


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


# ---------------------------------------------------------------------------------------------------------------------
# Rounds


class _Crossing:
    """Margins come from the booster in each round; where it trains on a GPU they go back there."""

    def __init__(self, module: Any, ordinal: int, labels: Any, weights: Any) -> None:
        self.module, self.ordinal = module, ordinal
        self.labels, self.weights = labels, weights

    def margins(self, booster: xgboost.Booster, data: xgboost.DMatrix) -> Any:
        return self.module.asarray(_margins(booster, data))

    def finished(self, booster: xgboost.Booster, data: xgboost.DMatrix) -> bool:
        """Take note of the trees of a round; whether all is well."""
        return True


class _Resident(_Crossing):
    """Margins stay where the gradients are computed: each round adds what its own tree says of the features."""

    def __init__(self, module: Any, ordinal: int, labels: Any, weights: Any, X: Any) -> None:
        super().__init__(module, ordinal, labels, weights)
        self.X = X
        self.current: Any = None
        self.is_checked = False

    def margins(self, booster: xgboost.Booster, data: xgboost.DMatrix) -> Any:
        if self.current is None:
            # Whatever the start is made of: base_score, margins of the data, an earlier model.
            self.current = self.module.asarray(_margins(booster, data)).copy()
        return self.current

    def finished(self, booster: xgboost.Booster, data: xgboost.DMatrix) -> bool:
        newest = booster.num_boosted_rounds() - 1
        self.current = booster.inplace_predict(
            self.X,
            iteration_range=(newest, newest + 1),
            predict_type="margin",
            missing=data.missing if data.missing is not None else math.nan,
            validate_features=False,
            base_margin=self.current,
        )
        if self.is_checked:
            return True
        self.is_checked = True
        return np.array_equal(self.module.to_host(self.current), _margins(booster, data))


def check_features(X: Any, data: xgboost.DMatrix) -> None:
    """Refuse features that cannot be those of a DMatrix."""
    if X is None:
        return
    shape = tuple(getattr(X, "shape", np.shape(X)))
    if shape != (data.num_row(), data.num_col()):
        raise ValueError(
            f"X has shape {shape}, but dtrain has {data.num_row()} rows and {data.num_col()} columns: pass the array "
            "that dtrain was made of, or leave X out"
        )


def _obstacle(booster: xgboost.Booster, data: xgboost.DMatrix, X: Any) -> str | None:
    """Why margins cannot be kept without a copy, or None."""
    if X is None:
        return "train was not given X"
    if not (isinstance(X, np.ndarray) or kernels.is_device_array(X)):
        return "X is not an array of numbers"
    if "c" in (data.feature_types or []):
        return "there are categorical features"
    config = _config(booster)
    model = config["gradient_booster"]
    if (name := model.get("name")) != "gbtree":
        return f"booster={name!r}"
    drops = model.get("dart_train_param", {})  # newer versions know dart as a way of gbtree
    if float(drops.get("rate_drop", 0)) > 0 or drops.get("one_drop", "0") != "0":
        return "trees are dropped"
    if (trees := model["gbtree_model_param"]["num_parallel_tree"]) != "1":
        return f"num_parallel_tree={trees}"
    if (process := model["gbtree_train_param"]["process_type"]) != "default":
        return f"process_type={process!r}"
    if (strategy := config["learner_train_param"]["multi_strategy"]) != "one_output_per_tree":
        return f"multi_strategy={strategy!r}"
    return None


def _features(module: Any, ordinal: int, X: Any) -> tuple[Any, str | None]:
    """Features on the GPU as XGBoost takes them in place, and None; or None and why there are none."""
    try:
        X = module.asarray(X)
        if X.dtype.kind not in "fiu":
            return None, "X is not an array of numbers"
        if module.arrays is not np and X.device.id != ordinal:
            return None, "X lies on another GPU"
        # XGBoost reads strides as unsigned numbers.
        return (X.copy() if min(X.strides) < 0 else X), None
    except MemoryError:  # CuPy's own is one
        return None, "X does not fit into the memory of the GPU"
    except (TypeError, ValueError, BufferError) as error:
        return None, f"CuPy does not take X ({error})"


class Rounds(xgboost.callback.TrainingCallback):
    """Computes gradients in the place of ``Booster.update``, to the same bits.

    Parameters
    ----------
    objective : FocalObjective
    X : array or None
        See `focal_boost.xgboost.train`.
    """

    def __init__(self, objective: Any, X: Any = None) -> None:
        super().__init__()
        self.objective = objective
        self.X = X
        self.way: _Crossing | None = None
        self.prepared: Any = None

    def before_training(self, model: Any) -> Any:
        """Forget an earlier training."""
        self.way = self.prepared = None
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Take over the coming update, and no more than that: a callback that saves the booster saves a plain one."""
        model.update = functools.partial(self._update, model)
        return False

    def after_training(self, model: Any) -> Any:
        """Let go of data and device memory."""
        self.way = self.prepared = self.X = None
        model.__dict__.pop("update", None)
        return model

    def _update(self, booster: Any, dtrain: xgboost.DMatrix, iteration: int, fobj: Any = None) -> None:
        del booster.update
        booster._assign_dmatrix_features(dtrain)
        if self.way is None:
            self.way = self._choose(booster, dtrain)
        module = self.way.module
        with on_device(module, self.way.ordinal):
            margins = self.way.margins(booster, dtrain)
            if self.prepared is None:
                outputs = [module.arrays.empty(margins.shape, dtype=np.float32) for _ in range(2)]
                self.prepared = self.objective._prepared(
                    self.way.labels, margins, self.way.weights, outputs, self.n_threads
                )
            gradient, hessian, fill = self.prepared
            fill(margins)
            booster.boost(dtrain, iteration, grad=gradient, hess=hessian)
            if not self.way.finished(booster, dtrain):
                logger.debug("margins cross to the GPU in each round: X is not what dtrain was made of")
                self.way = _Crossing(module, self.way.ordinal, self.way.labels, self.way.weights)

    def _choose(self, booster: xgboost.Booster, dtrain: xgboost.DMatrix) -> _Crossing:
        module, ordinal = _kernels_for_booster(booster, self.objective.loss)
        labels, _, weights, self.n_threads = self.objective._arguments(None, dtrain, None)
        if module is kernels.active:
            return _Crossing(module, ordinal, labels, weights)
        if module.arrays is not np:
            # Where a caller's own X may still be on its way; rounds are on another stream.
            module.arrays.cuda.get_current_stream().synchronize()
        with on_device(module, ordinal):
            labels, weights = module.asarray(labels), None if weights is None else module.asarray(weights)
            obstacle = _obstacle(booster, dtrain, self.X)
            X = None
            if obstacle is None:
                X, obstacle = _features(module, ordinal, self.X)
            if obstacle is None:
                return _Resident(module, ordinal, labels, weights, X)
        logger.debug("margins cross to the GPU in each round: %s", obstacle)
        return _Crossing(module, ordinal, labels, weights)
