"""Plain data as JSON and back, with the values that JSON has no form for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["decode", "encode"]


def encode(value: Any) -> Any:
    """Write plain data as JSON: numbers, strings, None, lists, tuples, mappings and 1-D arrays of them.

    Floats keep all bits. What JSON has no form for becomes an object with one name that says what it is, so an object
    in the file is always one of these.

    Parameters
    ----------
    value : Any

    Returns
    -------
    Any

    Raises
    ------
    TypeError
        If there is anything else in it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype.kind not in "biufU":
            raise TypeError(f"an array of dtype {value.dtype} and {value.ndim} dimensions")
        return {"array": encode(value.tolist())}
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):  # a long double stays one
        value = value.item()
    return _encode_python(value)


def _encode_python(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > 64:
            raise TypeError("an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    raise TypeError(f"a {type(value).__name__}")


def decode(value: Any) -> Any:
    """Read what `encode` wrote.

    Parameters
    ----------
    value : Any
        As the JSON parser gives it.

    Returns
    -------
    Any

    Raises
    ------
    ValueError
        If it holds something that `encode` never writes.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a number beyond the range of floats, read as {value}")
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError(f"the integer {value}, which has more than 64 bits")
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an object with the names {list(value)[:5]}")
    ((kind, content),) = value.items()
    if kind == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if kind in _READERS and isinstance(content, list):
        return _READERS[kind](content)
    raise ValueError(f"an object of the kind {kind[:40]!r}")


def _tuple(content: list[Any]) -> tuple[Any, ...]:
    return tuple(decode(item) for item in content)


def _array(content: list[Any]) -> np.ndarray:
    items = decode(content)
    kinds = {type(item) for item in items}
    if not kinds <= {bool, int, float, str} or len(kinds) > 1:
        raise ValueError("an array of several kinds of values")
    array = np.array(items)
    if array.dtype.kind not in "biufU":
        raise ValueError("an array of integers that no dtype holds")
    return array


def _mapping(content: list[Any]) -> dict[Any, Any]:
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in content):
        raise ValueError("a mapping that is not a list of pairs")
    keys = [decode(key) for key, _ in content]
    if not all(key is None or isinstance(key, (bool, int, float, str)) for key in keys):
        raise ValueError("a mapping with a key that is no plain value")
    found = {key: decode(item) for key, (_, item) in zip(keys, content, strict=True)}
    if len(found) != len(content):
        raise ValueError("a mapping with a key that occurs twice")
    return found


_READERS = {"tuple": _tuple, "array": _array, "dict": _mapping}
