"""Checks of what is passed to FocalClassifier: labels, weights, start margins, features.

Where scikit-learn's own checks raise, their words are kept, since its estimator checks ask for them, and the way out is
added.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from focal_boost._loss_checks import refuse_mask
from focal_boost.kernels import is_device_array

__all__ = [
    "check_features",
    "check_indicator",
    "check_labels",
    "check_part_weight",
    "check_sample_weight",
    "check_several",
    "check_start_margins",
    "encode",
    "encode_columns",
    "per_eval_set",
    "refuse_unreadable",
]

# Boosters keep weights and gradients in single precision.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)


def refuse_unreadable(values: Any, name: str) -> None:
    """Refuse what NumPy would misread or could not read: masked arrays with masked values, and data on a GPU.

    Parameters
    ----------
    values : array-like or data frame
    name : str
        What the caller calls it.

    Raises
    ------
    ValueError
        If any value is masked.
    TypeError
        If the values lie in the memory of a GPU.
    """
    refuse_mask(values, name)
    kind = type(values)
    if kind.__module__.partition(".")[0] == "cudf" or is_device_array(values):
        raise TypeError(
            f"{name} is a {kind.__module__}.{kind.__qualname__} in the memory of a GPU, but estimators read host "
            f"memory: pass {name}.get() of CuPy, .to_pandas() of cuDF, .cpu().numpy() of PyTorch; a booster that "
            "trains on a GPU brings its data there itself"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Labels


def check_labels(y: Any, name: str = "y") -> np.ndarray:
    """Labels of any kind as an array of shape (n,).

    Parameters
    ----------
    y : array-like of shape (n,)
    name : str
        What the caller calls it.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    ValueError
        If there are none, or they are missing, continuous or of types that cannot be compared.
    TypeError
        If they are sparse or bytes.
    """
    refuse_unreadable(y, name)
    if getattr(getattr(y, "dtype", None), "kind", "") == "c":
        raise ValueError(
            f"Complex data not supported: {name} is complex; make classes of it (strings or whole numbers)"
        )
    try:
        labels: np.ndarray = column_or_1d(y, warn=True)
    except ValueError as error:
        raise ValueError(_said(error, name, "pass one label a row, shape (n,)")) from error
    if not len(labels):
        raise ValueError(f"{name} has no rows: pass one label for each row of the data")
    if labels.dtype == object:
        _check_objects(labels, name)
    try:
        assert_all_finite(labels, input_name=name)
    except ValueError as error:
        raise ValueError(_said(error, name, "rows without a label teach nothing: drop them")) from error
    if labels.dtype.kind in "mM" and np.isnat(labels).any():
        raise ValueError(f"Input {name} contains NaT; rows without a label teach nothing: drop them")
    try:
        check_classification_targets(labels)
    except ValueError as error:
        shown = (
            next((label for label in labels.tolist() if label != np.floor(label)), None) if _is_real(labels) else None
        )
        value = labels[0] if shown is None else shown
        way_out = f"{name} holds {value!r}: make classes of it (strings or whole numbers), or train a regressor"
        raise ValueError(_said(error, name, way_out)) from error
    return labels


def _is_real(labels: np.ndarray) -> bool:
    return labels.dtype.kind == "f"


def _said(error: Exception, name: str, way_out: str) -> str:
    """First line of another package's message, with the name of the argument in it and what to do."""
    message = str(error).splitlines()[0].rstrip(".;")
    if "Input contains" in message:
        message = message.replace("Input contains", f"Input {name} contains")
    return f"{message}; {way_out}"


def _check_objects(labels: np.ndarray, name: str) -> None:
    """Labels in an object array must be there, fit the machine's integers, and be comparable."""
    first: dict[str, Any] = {}
    for row, label in enumerate(labels):
        if label is None:
            raise ValueError(f"{name} holds None in row {row}; rows without a label teach nothing: drop them")
        if isinstance(label, int) and not -(2**63) <= label < 2**64:
            raise ValueError(f"{name} holds {label:.6g}, which 64 bits do not hold: pass such labels as strings")
        kind = "number" if isinstance(label, Number) else type(label).__name__
        if label == label or kind != "number":  # NaN has a message of its own
            first.setdefault(kind, label)
    if len(first) > 1:
        shown = " and ".join(f"{label!r} ({type(label).__name__})" for label in list(first.values())[:2])
        raise ValueError(
            f"{name} holds labels of different types, such as {shown}, which have no order: convert all of them, for "
            "instance to str"
        )


def encode(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Classes in order, and the index of each row's class.

    Parameters
    ----------
    y : array-like of shape (n,)

    Returns
    -------
    classes : ndarray of shape (K,)
    codes : ndarray of shape (n,)

    Raises
    ------
    ValueError
        As `check_labels`, and if there is only one class.
    """
    classes, codes = np.unique(check_labels(y), return_inverse=True)
    check_several(classes)
    return classes, codes


def check_indicator(y: Any) -> np.ndarray | None:
    """Several labels a row as an array of 0 and 1.

    Parameters
    ----------
    y : array-like or sparse matrix

    Returns
    -------
    ndarray of shape (n, K), int64, or None
        None if `y` is not of two or more columns with at most two different whole numbers in them.

    Raises
    ------
    ValueError
        If the two numbers are others than 0 and 1.
    """
    refuse_unreadable(y, "y")
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    if len(shape) != 2 or shape[1] < 2 or type_of_target(y) != "multilabel-indicator":
        return None
    labels = np.asarray(y.toarray() if scipy.sparse.issparse(y) else y, dtype=np.int64)
    if labels.min() < 0 or labels.max() > 1:
        raise ValueError(
            f"y of shape {labels.shape} holds {np.unique(labels).tolist()}, but several columns of labels must be "
            "0 and 1: use sklearn.preprocessing.MultiLabelBinarizer"
        )
    return labels


def encode_columns(y: Any) -> tuple[np.ndarray | list[np.ndarray], np.ndarray]:
    """As `encode`; several labels a row are codes already, with classes for each column.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, K)

    Returns
    -------
    classes : ndarray of shape (K,), or list of K ndarrays
    codes : ndarray of the shape of `y`

    Raises
    ------
    ValueError
        As `encode` and `check_indicator`.
    """
    indicator = check_indicator(y)
    if indicator is None:
        return encode(y)
    classes = np.unique(indicator)
    check_several(classes)
    return [classes] * indicator.shape[1], indicator


def check_several(classes: np.ndarray) -> None:
    """Refuse a single class.

    Parameters
    ----------
    classes : ndarray of shape (K,)

    Raises
    ------
    ValueError
        If K is below 2.
    """
    if len(classes) < 2:
        raise ValueError(
            f"y holds only one class, {classes.tolist()}: a classifier needs rows of at least two; "
            "check the filter or the split that made y"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Weights and margins


def check_part_weight(sample_weight: Any, n: int, name: str = "sample_weight") -> np.ndarray | None:
    """Weights of some of the rows, which may all be zero, in double precision.

    Parameters
    ----------
    sample_weight : array-like of shape (n,), number or None
    n : int
        Number of rows.
    name : str
        What the caller calls it.

    Returns
    -------
    ndarray of shape (n,), or None

    Raises
    ------
    ValueError
        If they are no finite numbers >= 0 or not one a row.
    """
    if sample_weight is None:
        return None
    weight = _real(sample_weight, name, "weights are real numbers: pass one a row")
    if weight.ndim == 0:
        weight = np.full(n, float(weight))
    if weight.shape != (n,):
        raise ValueError(f"{name} has shape {weight.shape}, but y has {n} rows: pass one weight a row")
    if not np.all((weight >= 0) & (weight < np.inf)):
        bad = weight[~((weight >= 0) & (weight < np.inf))][0]
        raise ValueError(f"{name} holds {bad:g}, but weights must be finite and >= 0; drop such rows")
    return weight


def check_sample_weight(sample_weight: Any, n: int, name: str = "sample_weight") -> np.ndarray | None:
    """Row weights in double precision.

    Parameters
    ----------
    sample_weight : array-like of shape (n,), number or None
    n : int
        Number of rows.
    name : str
        What the caller calls it.

    Returns
    -------
    ndarray of shape (n,), or None

    Raises
    ------
    ValueError
        If they are no finite numbers >= 0, all zero, not one a row, or too large or small for single precision.
    """
    weight = check_part_weight(sample_weight, n, name)
    if weight is None:
        return None
    if not weight.any():
        raise ValueError(f"{name} is zero in every row: at least one row must count")
    largest = float(weight.max())
    if not _SMALLEST <= largest <= _LARGEST:
        raise ValueError(
            f"{name} has a largest value of {largest:g}, which is zero or infinite in the single precision of "
            "boosters; scale all weights by one factor, which changes no model but for its regularisation"
        )
    return weight


def _real(values: Any, name: str, wanted: str) -> np.ndarray:
    """Numbers in double precision; strings, dates and complex numbers are not taken for numbers."""
    refuse_unreadable(values, name)
    array = np.asarray(values)
    if array.dtype == object and not any(isinstance(value, (str, bytes)) for value in array.flat):
        with contextlib.suppress(TypeError, ValueError):
            array = np.asarray(values, dtype=np.float64)
    if array.dtype.kind not in "biuf":
        shown = f"holds {array.flat[0]!r}" if array.size else f"has dtype {array.dtype}"
        raise ValueError(f"{name} {shown} ({array.dtype}), but {wanted}")
    return array.astype(np.float64, copy=False)


def check_start_margins(margins: Any, n: int, n_outputs: int, name: str) -> None:
    """Refuse margins to start from that are no finite numbers, one for each row and output.

    Parameters
    ----------
    margins : array-like of shape (n,) or (n, K), or None
    n, n_outputs : int
        Number of rows; 1 for two classes, else the number of classes.
    name : str
        What the caller calls it.

    Raises
    ------
    ValueError
        If they are not.
    """
    if margins is None:
        return
    array = _real(margins, name, "margins are real numbers")
    shape = (n,) if n_outputs == 1 else (n, n_outputs)
    if array.shape[:1] not in ((n,), (n * n_outputs,)) or array.size != n * n_outputs:
        raise ValueError(
            f"{name} has shape {array.shape}, but the model starts from shape {shape}: pass one margin each"
        )
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)][0]
        raise ValueError(f"{name} holds {bad:g}, but boosting must start from finite margins; 0 is no opinion")


def per_eval_set(values: Any, pairs: list[Any] | None, name: str) -> list[tuple[int, Any]]:
    """What is given for each evaluation set, with its number.

    Parameters
    ----------
    values : list, mapping from number or None
        Weights or margins; entries that are None are left out.
    pairs : list or None
        Evaluation sets.
    name : str
        What the caller calls the values.

    Returns
    -------
    list of (int, object)

    Raises
    ------
    ValueError
        If there are no evaluation sets, or another number of them.
    """
    if values is None:
        return []
    if not pairs:
        raise ValueError(f"{name} is given, but there is no eval_set that it could belong to; pass both or neither")
    if isinstance(values, Mapping):
        unknown = [key for key in values if key not in range(len(pairs))]
        if unknown:
            raise ValueError(f"{name} has an entry for {unknown[0]!r}, but eval_set has {len(pairs)} pairs, from 0 on")
        items = list(values.items())
    elif isinstance(values, (list, tuple)):
        if len(values) != len(pairs):
            raise ValueError(
                f"{name} has {len(values)} entries, but eval_set has {len(pairs)} pairs: pass one for each"
            )
        items = list(enumerate(values))
    else:
        raise ValueError(f"{name} is a {type(values).__name__}, not a list with one array for each pair of eval_set")
    return [(i, value) for i, value in items if value is not None]


# ---------------------------------------------------------------------------------------------------------------------
# Features


def check_features(X: Any) -> Any:
    """Arrays and matrices as both libraries take them, after scikit-learn's own checks.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)

    Returns
    -------
    ndarray or csr_matrix of shape (n, n_features)

    Raises
    ------
    ValueError
        If its values are no numbers.
    """
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X has dtype {X.dtype}, but features are numbers: convert them, for instance to float64")
    if not scipy.sparse.issparse(X):
        return X
    # LightGBM predicts on sparse matrices, not on SciPy's newer sparse arrays, and not on whole numbers in them. Values
    # that are floats already are shared.
    X = scipy.sparse.csr_matrix(X)
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)
