"""Features as the libraries take them, from tables of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import _safe_indexing, check_array

from focal_boost._checks import check_readable, is_missing, is_on_gpu, kind_of, package_of
from focal_boost.kernels import for_gpu, is_device_array

__all__ = ["check_columns", "feature_table", "rows_of"]


def feature_table(X: Any, name: str, estimator: Any) -> Any:
    """Features as both libraries take them: data frames as they are, all else as arrays or sparse matrices.

    What is in the memory of a GPU stays there: frames of cuDF as they are, all else as an array of CuPy that shares it.
    """
    check_readable(X, name)
    kind = kind_of(X)
    if (hasattr(X, "columns") or hasattr(X, "__arrow_c_stream__")) and len(getattr(X, "shape", ())) == 2:
        if not all(X.shape):
            what, wanted = ("feature(s)", "column") if X.shape[0] else ("sample(s)", "row")
            raise ValueError(f"Found data frame with 0 {what} ({name} has shape {X.shape}); pass at least one {wanted}")
        return X
    if not hasattr(X, "ndim"):
        X = np.asarray(X)
    if X.ndim < 2:  # check_array would print it
        raise ValueError(
            f"Expected 2D array, got {'1D' if X.ndim else 'scalar'} array instead: {name} is a {kind} of shape "
            f"{X.shape}. Reshape your data to a row a sample: {name}.reshape(-1, 1) if it is one feature"
        )
    if is_on_gpu(X):
        return for_gpu().asarray(X)
    dtype = getattr(X, "dtype", None)
    if getattr(dtype, "kind", "") == "c":  # here too
        raise ValueError(
            f"Complex data not supported: {name} has dtype {dtype}; pass real and imaginary parts as columns"
        )
    if getattr(dtype, "kind", "") == "O" and not scipy.sparse.issparse(X):
        X = np.where(np.frompyfunc(is_missing, 1, 1)(X).astype(bool), np.nan, X)
    X = check_array(X, accept_sparse=("csr", "csc"), ensure_all_finite=False, estimator=estimator, input_name=name)
    if not X.dtype.isnative:  # the bytes of which XGBoost reads in the order of the machine
        X = X.astype(X.dtype.newbyteorder("="))
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {X.dtype}, but features are numbers: convert them, for instance to float64")
    if not scipy.sparse.issparse(X):
        return X
    # LightGBM predicts on sparse matrices, not on SciPy's newer sparse arrays, and not on whole numbers in them. Values
    # that are floats already are shared.
    X = scipy.sparse.csr_matrix(X)
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def rows_of(X: Any, index: Any) -> Any:
    """Rows of what `feature_table` returned."""
    return X[for_gpu().asarray(index)] if is_device_array(X) else _safe_indexing(X, index)


_SIZES = ("8", "16", "32", "64")
_INTEGERS = [f"{kind}{size}" for kind in ("Int", "UInt") for size in _SIZES]
_NUMBERS = {"Boolean", "Float32", "Float64", *_INTEGERS, "bool", "float", "double", *map(str.lower, _INTEGERS)}


def check_columns(X: Any, library: str, taken: set[str], categories: str) -> None:
    """Refuse columns of a data frame that a library does not take: some end the process, some say nothing of use.

    `taken` holds kinds of columns: "number" (bool included), "category", "category of floats", and "arrow number" (of
    pandas, in Arrow's layout) and "arrow category" (of polars or Arrow); `categories` says which it takes.
    """
    for name, dtype, kind in _column_kinds(X):
        if kind not in taken:
            raise ValueError(
                f"column {name!r} of X has dtype {dtype}, but {library} takes numbers, bool, and {categories}: encode "
                "it, or leave it out"
            )


def _column_kinds(X: Any) -> list[tuple[Any, Any, str | None]]:
    """Name, dtype and kind of each column, None where no library takes it. Of other data frames nothing is known."""
    if hasattr(X, "iloc"):  # pandas
        return [(name, dtype, _pandas_kind(dtype)) for name, dtype in X.dtypes.items()]
    module = package_of(X)
    if module == "polars":
        columns = list(X.collect_schema().items())
    elif module == "pyarrow":
        columns = [(one.name, one.type) for one in X.schema]
    else:
        return []
    return [(name, dtype, _arrow_kind(str(dtype))) for name, dtype in columns]


def _pandas_kind(dtype: Any) -> str | None:
    if str(dtype) == "category":
        return "category of floats" if dtype.categories.dtype.kind == "f" else "category"
    if hasattr(dtype, "pyarrow_dtype"):
        return "arrow number" if str(dtype.pyarrow_dtype) in _NUMBERS else None
    # Other extension types (nullable numbers, sparse ones) are taken as their numbers are.
    return "number" if getattr(dtype, "kind", "O") in "biuf" else None


def _arrow_kind(dtype: str) -> str | None:
    if dtype in _NUMBERS:
        return "number"
    return "arrow category" if dtype.startswith(("Categorical", "Enum", "dictionary<")) else None
