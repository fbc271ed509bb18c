"""What callers pass to the losses and to FocalClassifier, checked and brought into one form.

Functions called check_ raise or do nothing; the others are called by what they return. Where scikit-learn's own checks
raise, their words are kept, since its estimator checks ask for them, and the way out is added. `kind` is a module of
kernels: arrays are NumPy's or CuPy's as it takes them.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Number, Real
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from focal_boost._typing import FloatArray
from focal_boost.kernels import for_gpu, is_device_array
from focal_boost.kernels import numpy as host

# ---------------------------------------------------------------------------------------------------------------------
# Parameters of a loss

# Boosters take gradients in single precision. At gamma = 100 a row of probability 1/2 has a gradient of 1e-28, at 130
# it is lost; class weights and steps beyond these bounds would be rounded to zero or infinity too.
_LARGEST_GAMMA = 100.0
_CLASS_WEIGHT_RANGE = (1e-20, 1e20)
_SMALLEST_STEP = 1e-12


def by_position(value: Any) -> Any:
    """A sequence or array as a tuple, an array without dimensions as its number, anything else as it is."""
    if isinstance(value, np.ndarray) and not np.ma.is_masked(value):
        return tuple(value.tolist()) if value.ndim else value.item()
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def gamma_values(gamma: Any, n_classes: int) -> float | tuple[float, ...]:
    """One focusing parameter, or one per class, as it was given."""
    values = by_position(gamma)
    if not isinstance(values, tuple):
        return _gamma_value(values)
    if len(values) != n_classes:
        raise ValueError(
            f"gamma={gamma!r} holds {len(values)} values, not one each for {n_classes} classes; pass a number for "
            "all, or one value per class in their order"
        )
    return tuple(_gamma_value(value) for value in values)


def _gamma_value(gamma: Any) -> float:
    if not _is_number(gamma) or not 0 <= float(gamma) < math.inf:
        raise ValueError(f"gamma={gamma!r} is not a finite number >= 0; 1.0 is the default, 0 gives the plain log loss")
    if float(gamma) > _LARGEST_GAMMA:
        raise ValueError(
            f"gamma={gamma!r} is above {_LARGEST_GAMMA:g}, where gradients vanish in the single precision of boosters; "
            "1.0 is the default, and values above 5 are rarely of use"
        )
    return float(gamma)


def check_choice(name: str, value: Any, choices: Mapping[str, str]) -> None:
    """Refuse what is none of the strings to choose from, each with what it stands for."""
    if not isinstance(value, str) or value not in choices:
        words = " or ".join(f"{choice!r} ({meaning})" for choice, meaning in choices.items())
        raise ValueError(f"{name}={value!r} is not known; use {words}")


def step_bound(max_step: Any) -> float | None:
    """The largest leaf, None for no bound."""
    bound = by_position(max_step)
    if bound is None:
        return None
    if not _is_number(bound) or not float(bound) > 0:
        raise ValueError(f"max_step={max_step!r} is not a positive number; use a bound such as 8.0, or None for none")
    if bound < _SMALLEST_STEP:
        raise ValueError(
            f"max_step={max_step!r} is below {_SMALLEST_STEP:g}, where the curvature overflows the single precision of "
            "boosters; use a bound such as 8.0, and a learning rate for small steps"
        )
    return float(bound)


def class_weight_values(alpha: Any, n_classes: int, *, binary: bool) -> tuple[Any, tuple[float, ...]]:
    """Alpha in its canonical form, and the weight of each class that it stands for."""
    values = by_position(alpha)
    if values is None:
        return None, (1.0,) * n_classes
    if binary and isinstance(values, Real):
        if not _is_number(values) or not 0 < float(values) < 1:
            raise ValueError(
                f"alpha={alpha!r} is not in (0, 1): a number weighs the positive class with alpha and the rest with "
                "1 - alpha; for free weights pass the pair (w_0, w_1)"
            )
        weights: tuple[float, ...] = (1.0 - float(values), float(values))
        canonical: Any = weights[1]
    else:
        canonical = weights = _class_weights(alpha, values, n_classes)
    low, high = _CLASS_WEIGHT_RANGE
    if not all(low <= weight <= high for weight in weights):
        raise ValueError(
            f"alpha={alpha!r} makes class weights outside [{low:g}, {high:g}], which single precision rounds to zero "
            "or infinity; only the ratio of class weights matters, so scale them"
        )
    return canonical, weights


def _class_weights(alpha: Any, values: Any, n_classes: int) -> tuple[float, ...]:
    if not isinstance(values, tuple):
        raise ValueError(
            f"alpha={alpha!r} is not understood by a loss; use None or one positive weight per class. "
            "Mappings from label to weight and 'balanced' need the labels: pass them to FocalClassifier"
        )
    if not all(_is_number(weight) for weight in np.ravel(np.array(values, dtype=object))):
        raise ValueError(f"alpha={alpha!r} holds something that is no number; pass one positive weight per class")
    weights = np.asarray(values, dtype=np.float64)
    if weights.shape != (n_classes,):
        raise ValueError(
            f"alpha={alpha!r} holds {weights.size} weights, not one each for {n_classes} classes; pass one positive "
            "weight per class, in their order"
        )
    if not np.all(np.isfinite(weights) & (weights > 0)):
        raise ValueError(
            f"alpha={alpha!r} holds a weight that is not a positive finite number; to leave a class out of training, "
            "remove its rows"
        )
    return tuple(weights.tolist())


# ---------------------------------------------------------------------------------------------------------------------
# Arrays, threads and outputs of a loss


def check_no_mask(values: Any, name: str) -> None:
    """Refuse masked arrays with masked values, which NumPy would take as if they were not."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(values)} masked values, whose mask would be ignored; "
            "fill them (features: with numpy.nan), or drop their rows"
        )


def _real_array(values: Any, name: str, wanted: str, kind: Any = host) -> Any:
    """Numbers as an array of `kind`; strings, dates and complex numbers are not taken for numbers."""
    check_no_mask(values, name)
    array = kind.asarray(values) if is_device_array(values) else np.asarray(values)
    if array.dtype.kind not in "biuf":
        held = array.ravel()[:1] if array.dtype != object else [v for v in array.flat if not _is_number(v)][:1]
        shown = f" and holds {held[0]!r}" if len(held) else ""
        raise ValueError(f"{name} has dtype {array.dtype}{shown}, but {wanted}")
    if kind.arrays is np or is_device_array(array):
        return array
    # CuPy has no long double.
    return kind.asarray(array if array.dtype.itemsize <= 8 else array.astype(np.float64))


def margin_array(raw_prediction: Any, n_outputs: int, kind: Any) -> Any:
    """Margins as a float32 or float64 array; no copy if it is one.

    A multiclass loss takes (n, K); a binary one (n,), or (n, K) for K labels that are each yes or no.
    """
    z = _real_array(raw_prediction, "raw_prediction", "margins are real: pass float32 or float64", kind)
    if z.dtype not in (np.float32, np.float64):
        z = z.astype(np.float64)
    if n_outputs == 1:
        if z.ndim == 2 and z.shape[1] == 1:
            z = z[:, 0]
        if z.ndim not in (1, 2) or (z.ndim == 2 and not z.shape[1]):
            raise ValueError(
                f"raw_prediction has shape {z.shape}, but a binary loss takes one margin a row, shape (n,), or one for "
                "each of K labels, shape (n, K); for K classes that exclude each other use MulticlassFocalLoss"
            )
    elif z.ndim != 2 or z.shape[1] != n_outputs:
        raise ValueError(
            f"raw_prediction has shape {z.shape}, but a loss with {n_outputs} classes takes shape (n, {n_outputs}); "
            "margins that come as one vector must be reshaped first (in the order of the booster that made them)"
        )
    return z


def code_array(y_true: Any, shape: tuple[int, ...] | None, kind: Any) -> Any:
    """Encoded classes as a numeric array of this shape, if any. Their values are checked in the pass of the kernels."""
    y = _real_array(
        y_true,
        "y_true",
        "a loss takes encoded classes (numbers); use FocalClassifier for labels of any kind, or encode them with "
        "sklearn.preprocessing.LabelEncoder",
        kind,
    )
    if y.ndim == 2 and y.shape[1] == 1 and (shape is None or len(shape) == 1):
        y = y[:, 0]
    if shape is None or y.shape == shape:
        return y
    if len(shape) == 2:
        raise ValueError(
            f"raw_prediction has shape {shape}, but y_true has shape {y.shape}: a binary loss takes one margin for "
            "each label, both of shape (n,) or both (n, K); for K classes that exclude each other use "
            "MulticlassFocalLoss"
        )
    raise ValueError(f"y_true has shape {y.shape}, but raw_prediction has {shape[0]} rows: pass one label a row")


def weight_array(
    sample_weight: Any, n: int, name: str = "sample_weight", *, kind: Any = host, in_kernel: bool = False
) -> Any:
    """Weights as a numeric array of shape (n,), or None; `in_kernel`: if on a GPU, the kernel checks the values."""
    if sample_weight is None:
        return None
    weight = _real_array(sample_weight, name, "weights are real numbers: pass one a row", kind)
    if weight.shape != (n,):
        raise ValueError(f"{name} has shape {weight.shape}, but there are {n} rows: pass one weight a row")
    if in_kernel and kind.arrays is not np:
        return weight
    # A NaN makes either extreme NaN; one pass each and no temporary.
    if n and not (weight.min() >= 0 and weight.max() < np.inf):
        bad = weight[~((weight >= 0) & (weight < np.inf))][0]
        raise ValueError(f"{name} holds {float(bad)}, but weights must be finite and >= 0; drop such rows")
    return weight


def total_weight(weight: Any, name: str = "sample_weight") -> float:
    """Sum of weights, which must not be zero."""
    total = float(weight.sum(dtype=np.float64))
    if not total > 0:
        raise ValueError(f"{name} is zero in every row: at least one row must count")
    return total


def check_n_threads(n_threads: Any) -> None:
    """Refuse a number of threads that is neither an integer nor None."""
    if n_threads is not None and (not isinstance(n_threads, Integral) or isinstance(n_threads, bool)):
        raise ValueError(
            f"n_threads={n_threads!r} is not an integer; pass a number of threads, or None for all processors"
        )


def thread_count(n_threads: int | None) -> int:
    """Number of threads: as given, or 0, all processors that this process may use, for None and numbers below 1."""
    check_n_threads(n_threads)
    return max(int(n_threads or 0), 0)


def output_array(out: Any, name: str, like: Any, kind: Any) -> Any:
    """The caller's output array, or a new one with dtype, shape and memory order of the margins."""
    if out is None:
        return kind.arrays.empty_like(like)
    if not isinstance(out, kind.arrays.ndarray) or out.dtype not in (np.float32, np.float64):
        library = "NumPy" if kind.arrays is np else "CuPy"
        got = f"{type(out).__module__}.{type(out).__name__} of {getattr(out, 'dtype', 'no dtype')}"
        raise ValueError(f"{name} must be a float32 or float64 {library} array, as the other arrays are; got {got}")
    if out.shape != like.shape:
        raise ValueError(f"{name} has shape {out.shape}, but raw_prediction has shape {like.shape}: they must agree")
    if kind.arrays is np and not out.flags.writeable:
        raise ValueError(f"{name} is read-only; pass an array that may be written to")
    return out


def check_overlap(outputs: dict[str, np.ndarray], inputs: dict[str, Any]) -> None:
    """Refuse outputs that would overwrite what is still to be read, or each other.

    Margins may be overwritten in place: an output that is the very same memory is written row by row after reading.
    """
    names = list(outputs)
    pairs = [(name, outputs[name], other, outputs[other]) for name, other in itertools.pairwise(names)]
    pairs += [(name, out, other, x) for name, out in outputs.items() for other, x in inputs.items()]
    for name, out, other, x in pairs:
        # The cheap question first, to which the answer is nearly always no.
        if not isinstance(x, np.ndarray) or not np.may_share_memory(out, x):
            continue
        in_place = other == "raw_prediction" and (out.ctypes.data, out.strides) == (x.ctypes.data, x.strides)
        if not in_place and _shares_memory(out, x):
            raise ValueError(f"{name} overlaps {other} in memory; pass an array of its own")


def _shares_memory(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:  # interleaved in a way that takes long to tell apart
        return True


# ---------------------------------------------------------------------------------------------------------------------
# Labels of any kind

_DROP = "rows without a label teach nothing: drop them"


def package_of(value: Any) -> str:
    """Name of the package that a value's type is from."""
    return type(value).__module__.partition(".")[0]


def kind_of(value: Any) -> str:
    """Type of a value as its users write it, whatever module it is in."""
    return f"{package_of(value)}.{type(value).__qualname__}"


def is_on_gpu(values: Any) -> bool:
    """Whether a table or an array is in the memory of a GPU."""
    return package_of(values) == "cudf" or is_device_array(values)


def on_host(values: Any) -> Any:
    """What there is one of for each row, in host memory: it is copied from a GPU, all else is returned as it is."""
    if not is_on_gpu(values):
        return values
    if hasattr(values, "to_pandas"):
        return values.to_pandas()
    kernels = for_gpu()
    return kernels.to_host(kernels.asarray(values))


def check_readable(values: Any, name: str) -> None:
    """Refuse what NumPy would misread or could not read: masked values, and data not there yet."""
    check_no_mask(values, name)
    root, kind = package_of(values), kind_of(values)
    ways_out = {"LazyFrame": ".collect()", "RecordBatchReader": ".read_all()"}
    if root == "dask":
        ways_out = {type(values).__qualname__: ".compute(), or use focal_boost.dask.DaskFocalClassifier"}
    if (way_out := ways_out.get(type(values).__qualname__)) is not None:
        raise TypeError(f"{name} is a {kind}, whose rows are not there yet: pass {name}{way_out}")
    if kind.endswith((".DMatrix", ".Dataset")) and root in ("xgboost", "lightgbm"):
        raise TypeError(f"{name} is a {kind}, which estimators do not read: pass the table that it was made of")


def class_labels(y: Any, name: str = "y") -> np.ndarray:
    """Labels of any kind as an array of shape (n,), none of them missing."""
    check_readable(y, name)
    if getattr(getattr(y, "dtype", None), "kind", "") == "c":
        raise ValueError(
            f"Complex data not supported: {name} is complex; make classes of it (strings or whole numbers)"
        )
    is_sequence = isinstance(y, Sequence) and not isinstance(y, (str, bytes))
    dtype = getattr(y, "dtype", None)
    if is_sequence or getattr(dtype, "kind", "") == "T" or (hasattr(dtype, "kind") and not isinstance(dtype, np.dtype)):
        # NumPy would make a string of a NaN among strings, and scikit-learn floats of what pandas has as whole numbers.
        y = np.asarray(y, dtype=object)
    try:
        labels: np.ndarray = column_or_1d(y, warn=True)
    except ValueError as error:
        raise ValueError(_said(error, name, "pass one label a row, shape (n,)")) from error
    if not len(labels):
        raise ValueError(f"{name} has no rows: pass one label for each row of the data")
    if labels.dtype == object:
        labels = _plain_labels(labels, name, as_strings=is_sequence)
    try:
        assert_all_finite(labels, input_name=name)
    except ValueError as error:
        raise ValueError(_said(error, name, _DROP)) from error
    if labels.dtype.kind in "mM" and np.isnat(labels).any():
        raise ValueError(f"Input {name} contains NaT; {_DROP}")
    try:
        check_classification_targets(labels)
    except ValueError as error:
        broken = labels[labels != np.floor(labels)] if labels.dtype.kind == "f" else labels
        way_out = f"{name} holds {broken[:1].tolist()[0]!r}: make classes of it (strings or whole numbers), or train a "
        raise ValueError(_said(error, name, f"{way_out}regressor")) from error
    return labels


def _said(error: Exception, name: str, way_out: str) -> str:
    """First line of another package's message, with the name of the argument in it and what to do."""
    message = str(error).splitlines()[0].rstrip(".;")
    if "Input contains" in message:
        message = message.replace("Input contains", f"Input {name} contains")
    return f"{message}; {way_out}"


def _plain_labels(labels: np.ndarray, name: str, *, as_strings: bool) -> np.ndarray:
    """Labels of an object array: none missing, of 64 bits at most, comparable, and numbers in an array of numbers."""
    first: dict[str, Any] = {}
    for row, label in enumerate(labels):
        if is_missing(label):
            raise ValueError(f"{name} holds {label!r} in row {row}; {_DROP}")
        if isinstance(label, int) and not -(2**63) <= label < 2**64:
            raise ValueError(f"{name} holds {label:.6g}, which 64 bits do not hold: pass such labels as strings")
        known = (kind for kind in (Number, str, bytes) if isinstance(label, kind))
        first.setdefault(next(known, type(label)).__name__, label)
    if len(first) > 1:
        shown = " and ".join(f"{label!r} ({type(label).__name__})" for label in list(first.values())[:2])
        raise ValueError(
            f"{name} holds labels of different types, such as {shown}, which have no order: convert all of them, for "
            "instance to str"
        )
    if not {"str", "bytes"} & set(first) or (as_strings and {*map(type, labels)} <= {str, np.str_}):
        labels = np.array(labels.tolist())
    if labels.dtype == object and not {"str", "bytes"} & set(first):
        label = labels.flat[0]
        raise ValueError(
            f"Unknown label type: {name} holds {label!r} ({type(label).__name__}), but labels are strings, numbers or "
            "NumPy's dates: convert them, for instance to str"
        )
    return labels


def is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, NaT or the NA of pandas, which is neither equal to itself nor unequal."""
    unequal = label != label
    is_unequal = isinstance(unequal, (bool, np.bool_)) and bool(unequal)
    return label is None or is_unequal or type(label).__name__ == "NAType"


def classes_and_codes(y: Any) -> tuple[np.ndarray | list[np.ndarray], np.ndarray]:
    """Classes in order, and the index of each row's class.

    Where y has columns of 0 and 1, they are the codes, of shape (n, K), and there are classes for each.
    """
    labels = row_labels(y, "y")
    classes = np.unique(labels)
    check_several(classes)
    return (classes, np.searchsorted(classes, labels)) if labels.ndim == 1 else ([classes] * labels.shape[1], labels)


def row_labels(y: Any, name: str) -> np.ndarray:
    """Labels in host memory: of any kind, shape (n,), or several a row as 0 and 1, shape (n, K)."""
    y = on_host(y)
    indicator = _indicator(y, name)
    return class_labels(y, name) if indicator is None else indicator


def _indicator(y: Any, name: str) -> np.ndarray | None:
    """Several labels a row as an array of 0 and 1 of shape (n, K); None if `y` is something else."""
    check_readable(y, name)
    shape = y.shape if hasattr(y, "shape") else np.asarray(y, dtype=object).shape
    if len(shape) != 2 or shape[1] < 2:
        return None
    try:
        if getattr(getattr(y, "dtype", None), "kind", "") == "f":
            assert_all_finite(y)  # type_of_target would make whole numbers of NaN
        if type_of_target(y) != "multilabel-indicator":
            return None
    except ValueError as error:
        raise ValueError(_said(error, name, _DROP)) from error
    labels = np.asarray(y.toarray() if scipy.sparse.issparse(y) else y, dtype=np.int64)
    if labels.min() < 0 or labels.max() > 1:
        raise ValueError(
            f"{name} of shape {labels.shape} holds {np.unique(labels).tolist()}, but several columns of labels must be "
            "0 and 1: use sklearn.preprocessing.MultiLabelBinarizer"
        )
    return labels


def check_several(classes: np.ndarray) -> None:
    """Refuse a single class."""
    if len(classes) < 2:
        raise ValueError(
            f"y holds only one class, {classes.tolist()}: a classifier needs rows of at least two; "
            "check the filter or the split that made y"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Weights and margins of rows

# Boosters keep weights and gradients in single precision.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)


def _numbers(values: Any, name: str) -> np.ndarray:
    """An array, of float64 if it was one of objects that are numbers."""
    check_readable(values, name)
    array = np.asarray(on_host(values))
    if array.dtype == object and not any(isinstance(value, (str, bytes)) for value in array.flat):
        with contextlib.suppress(TypeError, ValueError):
            return array.astype(np.float64)
    return array


def row_weights(sample_weight: Any, n: int, name: str = "sample_weight") -> np.ndarray | None:
    """Weights of rows in double precision, of which not all are zero and single precision holds the largest."""
    if sample_weight is None:
        return None
    given = _numbers(sample_weight, name)
    weight: FloatArray = weight_array(given if given.ndim else np.full(n, given), n, name)
    weight = weight.astype(np.float64, copy=False)
    total_weight(weight, name)
    largest = float(weight.max())
    if not _SMALLEST <= largest <= _LARGEST:
        raise ValueError(
            f"{name} has a largest value of {largest:g}, which is zero or infinite in the single precision of "
            "boosters; scale all weights by one factor, which changes no model but for its regularisation"
        )
    return weight


def check_start_margins(margins: Any, n: int, n_outputs: int, name: str) -> None:
    """Refuse margins to start from that are no finite numbers, one for each row and output."""
    if margins is None:
        return
    array = _real_array(_numbers(margins, name), name, "margins are real numbers")
    shape = (n,) if n_outputs == 1 else (n, n_outputs)
    if array.shape[:1] not in ((n,), (n * n_outputs,)) or array.size != n * n_outputs:
        raise ValueError(
            f"{name} has shape {array.shape}, but the model starts from shape {shape}: pass one margin each"
        )
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)][0]
        raise ValueError(f"{name} holds {bad:g}, but boosting must start from finite margins; 0 is no opinion")


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation sets


def eval_pairs(eval_set: Any, fit_params: dict[str, Any]) -> list[tuple[Any, Any]] | None:
    """Evaluation sets as a list of pairs; ``eval_X`` and ``eval_y`` leave `fit_params` for it."""
    eval_X, eval_y = fit_params.pop("eval_X", None), fit_params.pop("eval_y", None)
    if eval_X is not None or eval_y is not None:
        if eval_set is not None:
            raise ValueError("validation data are given twice, by eval_set and by eval_X and eval_y: keep one")
        eval_set = _zipped(eval_X, eval_y)
    if eval_set is None:
        return None
    if isinstance(eval_set, tuple) and len(eval_set) == 2 and not isinstance(eval_set[0], tuple):
        eval_set = [eval_set]
    if not isinstance(eval_set, Iterable) or isinstance(eval_set, (str, Mapping)):
        raise ValueError(f"eval_set={eval_set!r} is not a list of pairs (X, y); pass eval_set=[(X_val, y_val)]")
    eval_set = list(eval_set)
    for i, pair in enumerate(eval_set):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"eval_set[{i}] is not a pair (X, y); pass eval_set=[(X_val, y_val)]")
    return [tuple(pair) for pair in eval_set]


def _zipped(eval_X: Any, eval_y: Any) -> list[tuple[Any, Any]]:
    if eval_X is None or eval_y is None:
        missing = "eval_X" if eval_X is None else "eval_y"
        raise ValueError(f"{missing} is None, but eval_X and eval_y belong together: pass both, or eval_set=[(X, y)]")
    if not isinstance(eval_X, tuple):
        return [(eval_X, eval_y)]
    if not isinstance(eval_y, tuple) or len(eval_X) != len(eval_y):
        count = len(eval_y) if isinstance(eval_y, tuple) else f"no tuple ({type(eval_y).__name__})"
        raise ValueError(f"eval_X holds {len(eval_X)} sets, but eval_y {count}: pass tuples of the same length")
    return list(zip(eval_X, eval_y, strict=True))


def eval_labels(y: Any, shape: tuple[int, ...], i: int) -> np.ndarray:
    """Labels of evaluation set `i`, as many columns as those of training, of this shape, have."""
    labels = row_labels(y, f"y of eval_set[{i}]")
    if labels.shape[1:] != shape[1:]:
        raise ValueError(
            f"the labels of eval_set[{i}] have shape {labels.shape}, but y has shape {shape}: pass the same columns"
        )
    return labels


def check_known(labels: np.ndarray, classes: np.ndarray, i: int) -> None:
    """Refuse labels of evaluation set `i` that are no classes; those of another type never are."""
    known = set(classes.tolist())
    unseen = [label for label in dict.fromkeys(labels.tolist()) if label not in known]
    if unseen:
        raise ValueError(
            f"the labels of eval_set[{i}] hold {unseen[:5]}, which y does not: the classes are "
            f"{classes.tolist()[:20]}; remove those rows, or train on data that has them"
        )


def per_eval_set(values: Any, n_sets: int, name: str) -> list[tuple[int, Any]]:
    """Weights or margins of each evaluation set, with its number; those that are None are left out."""
    if values is None:
        return []
    if not n_sets:
        raise ValueError(f"{name} is given, but there is no eval_set that it could belong to; pass both or neither")
    if isinstance(values, Mapping):
        unknown = [key for key in values if key not in range(n_sets)]
        if unknown:
            raise ValueError(f"{name} has an entry for {unknown[0]!r}, but eval_set has {n_sets} pairs, from 0 on")
        items = list(values.items())
    elif isinstance(values, (list, tuple)):
        if len(values) != n_sets:
            raise ValueError(f"{name} has {len(values)} entries, but eval_set has {n_sets} pairs: pass one for each")
        items = list(enumerate(values))
    else:
        raise ValueError(f"{name} is a {type(values).__name__}, not a list with one array for each pair of eval_set")
    return [(i, value) for i, value in items if value is not None]
