"""FocalClassifier as a description of plain data and a booster in its library's own format, and back.

The reader builds what the description says with the constructors that a user calls, so that whatever they refuse is
refused here; it executes nothing and imports nothing but the library that the description names.
"""

from __future__ import annotations

import itertools
import os
import warnings
from typing import Any

import numpy as np

from focal_boost import _container
from focal_boost._adapter import LIBRARIES, Adapter, import_adapter
from focal_boost._plain import decode, encode
from focal_boost.losses import PARAMETERS, make_loss

__all__ = ["load", "save"]

_KINDS = {kind: name for name, library in LIBRARIES.items() for kind in library.estimators}

# Labels of other dtypes (dates, bytes, mixed objects) have no form in JSON that comes back the same.
_LABEL_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "str", "object"),
)
_MAX_CLASSES = 1_000_000


def save(model: Any, library: Adapter, path: Any) -> None:
    """Write a fitted FocalClassifier to a file.

    Parameters
    ----------
    model : FocalClassifier
        Fitted.
    library : module
        The module of this package that knows its booster.
    path : str or PathLike

    Raises
    ------
    ValueError
        If it has something that the file cannot hold.
    OSError
        If the file cannot be written.
    """
    left_out: list[str] = []
    params = model.get_params(deep=False)
    estimator = params.pop("estimator")
    description = {
        "library": library.__name__.rpartition(".")[2],
        "params": {name: _encode(value, f"the parameter {name}") for name, value in params.items()},
        "estimator": None if estimator is None else _describe(estimator, left_out),
        "fitted_estimator": _describe(model.estimator_, left_out),
        "loss": {name: encode(getattr(model.loss_, name)) for name in PARAMETERS},
        "classes": _describe_classes(model.classes_),
        "n_features_in": int(model.n_features_in_),
        "feature_names_in": _names(getattr(model, "feature_names_in_", None)),
        "best_iteration": None if model.best_iteration_ is None else int(model.best_iteration_),
        "evals_result": encode(_without_order(model.evals_result_)),
        "left_out": sorted(set(left_out)),
    }
    member, booster, state = library.export_estimator(model.estimator_)
    description["state"] = encode(state)
    _container.write(path, description, member, booster)
    if left_out:
        warnings.warn(
            f"the file keeps the fitted model whole, but not the parameters {sorted(set(left_out))} of its estimator, "
            "which are not plain data; a model loaded from it is trained again without them",
            UserWarning,
            stacklevel=3,
        )


def load(cls: type, path: Any) -> Any:
    """Read a FocalClassifier from a file.

    Parameters
    ----------
    cls : type
        FocalClassifier or a subclass with the same parameters.
    path : str or PathLike

    Returns
    -------
    FocalClassifier

    Raises
    ------
    ValueError
        If the file is not one that `save` wrote.
    ImportError
        If the library of its booster is not installed.
    OSError
        If the file cannot be read.
    """
    description, booster = _container.read(path)
    name = os.fspath(path)
    library = _import_library(description.get("library"), name)
    try:
        return _build(cls, library, description, booster)
    except _WRONG as error:
        raise ValueError(
            f"{name!r} has the form of a saved FocalClassifier, but what it describes is none: {error}"
        ) from error


# What constructors and parsers raise at values of wrong types and sizes; anything of a library's own is among the
# subclasses of ValueError and RuntimeError or is converted by its adapter.
_WRONG = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError, MemoryError)


def _import_library(library: Any, name: str) -> Adapter:
    if not isinstance(library, str) or library not in LIBRARIES:
        known = " nor ".join(LIBRARIES)
        raise ValueError(f"{name!r} names the library {str(library)[:80]!r}, which is neither {known}")
    try:
        return import_adapter(library)
    except ImportError as error:
        raise ImportError(
            f"{name!r} holds a model of {library}, which is not installed: pip install 'focal_boost[{library}]'"
        ) from error


def _build(cls: type, library: Adapter, description: dict[str, Any], booster: bytes) -> Any:
    params = _dict(description, "params")
    estimator = description["estimator"]
    estimator = None if estimator is None else _make_estimator(library, estimator)
    model = cls(estimator, **{name: decode(value) for name, value in params.items()})
    classes = _make_classes(_dict(description, "classes"))
    described = _dict(description, "loss")
    loss = make_loss(len(classes), **{name: decode(described[name]) for name in PARAMETERS})
    inner = _make_estimator(library, _dict(description, "fitted_estimator"))
    n_features = _count(description, "n_features_in")
    evals_result = _history(decode(description["evals_result"]))
    state = decode(description["state"])
    member = description["booster"]["member"]
    library.import_estimator(inner, member, booster, loss, n_features, evals_result, state)
    names = description["feature_names_in"]
    if names is not None:
        if not isinstance(names, list) or len(names) != n_features or not all(isinstance(one, str) for one in names):
            raise ValueError(f"feature_names_in is not a list of {n_features} names")
        model.feature_names_in_ = np.array(names, dtype=object)
    model.n_features_in_ = n_features
    model.estimator_ = inner
    model.classes_ = classes
    model.loss_ = loss
    model.evals_result_ = evals_result
    model.best_iteration_ = None if description["best_iteration"] is None else _count(description, "best_iteration")
    return model


# ---------------------------------------------------------------------------------------------------------------------
# Parts, there and back


def _encode(value: Any, what: str) -> Any:
    try:
        return encode(value)
    except TypeError as error:
        raise ValueError(f"{what} holds {error}, which the file has no form for: use plain data, or pickle") from None


def _describe(estimator: Any, left_out: list[str]) -> dict[str, Any]:
    kind = type(estimator).__name__
    if type(estimator).__module__.partition(".")[0] != _KINDS.get(kind):
        raise ValueError(
            f"the estimator is a {type(estimator).__module__}.{kind}; the file holds {', '.join(_KINDS)} themselves, "
            "not classes derived from them: use pickle"
        )
    params = {}
    for name, value in estimator.get_params().items():
        try:
            params[name] = encode(value)
        except TypeError:
            left_out.append(name)
    return {"kind": kind, "params": params}


def _make_estimator(library: Adapter, described: Any) -> Any:
    if not isinstance(described, dict) or library.__name__ != f"focal_boost.{_KINDS.get(str(described.get('kind')))}":
        raise ValueError("an estimator is of no kind that its library has")
    params = {name: decode(value) for name, value in _dict(described, "params").items()}
    return library.make_estimator(described["kind"], params)


def _describe_classes(classes: np.ndarray) -> dict[str, Any]:
    dtype = "str" if classes.dtype.kind == "U" else classes.dtype.name
    if dtype not in _LABEL_DTYPES or (dtype == "object" and not all(isinstance(label, str) for label in classes)):
        raise ValueError(
            f"the labels have dtype {classes.dtype} ({classes[0]!r}, ...), which the file has no form for: train on "
            "integers, floats, booleans or strings, or use pickle"
        )
    return {"dtype": dtype, "labels": encode(classes.tolist())}


def _make_classes(described: dict[str, Any]) -> np.ndarray:
    dtype, labels = described["dtype"], decode(described["labels"])
    if dtype not in _LABEL_DTYPES or not isinstance(labels, list) or not 2 <= len(labels) <= _MAX_CLASSES:
        raise ValueError("classes is not a list of two or more labels with a dtype")
    kind = {"bool": bool, "float": float, "str": str, "object": str}.get(dtype.rstrip("0123456789"), int)
    if not all(type(label) is kind for label in labels):
        raise ValueError(f"classes holds a label that is not of dtype {dtype}")
    if any(not low < high for low, high in itertools.pairwise(labels)):
        raise ValueError("classes is not sorted, or holds a label twice")
    classes = np.array(labels, dtype=dtype)
    if classes.tolist() != labels:
        raise ValueError(f"classes holds a label that {dtype} does not")
    return classes


def _names(names: Any) -> list[str] | None:
    return None if names is None else [str(name) for name in names]


def _without_order(evals_result: Any) -> dict[str, dict[str, list[Any]]]:
    return {data: {metric: list(values) for metric, values in log.items()} for data, log in evals_result.items()}


def _history(evals_result: Any) -> dict[str, dict[str, list[float]]]:
    for log in _values(evals_result):
        for values in _values(log):
            if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
                raise ValueError("evals_result holds something else than lists of numbers")
    history: dict[str, dict[str, list[float]]] = evals_result
    return history


def _values(table: Any) -> list[Any]:
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table):
        raise ValueError("evals_result is not a mapping from names")
    return list(table.values())


def _dict(description: dict[str, Any], name: str) -> dict[str, Any]:
    value = description[name]
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    return value


def _count(description: dict[str, Any], name: str) -> int:
    value = description[name]
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(f"{name} is not a number of things")
    return value
