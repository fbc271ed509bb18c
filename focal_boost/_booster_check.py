"""Booster files looked over before a library parses them.

Both libraries raise errors for most of what is wrong with a file, but not for all: lengths are trusted, and a tree
whose nodes point outside of it is walked at predict. So grammar and trees are checked here; what passes cannot lead a
prediction out of its arrays or round in circles.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np

__all__ = ["check_lightgbm", "check_xgboost"]


# ---------------------------------------------------------------------------------------------------------------------
# XGBoost: UBJSON, of which it writes a part

_SCALARS = {"i": "b", "U": "B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}
_ARRAYS = {"i": "i1", "U": "u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_CONSTANTS = {"T": True, "F": False, "Z": None}
_MAX_DEPTH = 32
_ROOT_PARENT = 2**31 - 1


class _Reader:
    """Values of a UBJSON text; numeric arrays are views of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> int:
        """Pass over some bytes and return where they start."""
        start = self.at
        if not 0 <= size <= len(self.data) - start:
            raise ValueError("the booster ends within a value, or a length in it is wrong")
        self.at = start + size
        return start

    def mark(self) -> str:
        return chr(self.data[self.take(1)])

    def integer(self) -> int:
        kind = self.mark()
        if kind not in "iUIlL":
            raise ValueError("a length in the booster is no integer")
        length: int = self.scalar(kind)
        return length

    def scalar(self, kind: str) -> Any:
        form = _SCALARS[kind]
        return struct.unpack_from(form, self.data, self.take(struct.calcsize(form)))[0]

    def text(self) -> str:
        start = self.take(self.integer())
        return self.data[start : self.at].decode("utf-8")

    def value(self, kind: str, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("the booster is nested too deeply")
        if kind in _SCALARS:
            return self.scalar(kind)
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == "S":
            return self.text()
        if kind == "{":
            return self.object(depth)
        if kind == "[":
            return self.array(depth)
        raise ValueError(f"the booster has a value of the unknown kind {kind!r}")

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.data[self.take(1)] != ord("}"):
            self.at -= 1
            name = self.text()
            if name in found:
                raise ValueError(f"the booster has {name[:40]!r} twice in one object")
            found[name] = self.value(self.mark(), depth + 1)
        return found

    def array(self, depth: int) -> Any:
        sign = self.mark()
        if sign == "$":
            kind = self.mark()
            if kind not in _ARRAYS or self.mark() != "#":
                raise ValueError("the booster has an array of an unknown kind")
            length = self.integer()
            dtype = np.dtype(_ARRAYS[kind])
            return np.frombuffer(self.data, dtype, max(length, 0), self.take(length * dtype.itemsize))
        if sign != "#":
            raise ValueError("the booster has an array without a length")
        length = self.integer()
        if not 0 <= length <= len(self.data) - self.at:
            raise ValueError("the booster has an array that is longer than it")
        return [self.value(self.mark(), depth + 1) for _ in range(length)]


def check_xgboost(data: bytes) -> None:
    """Refuse a booster of XGBoost in UBJSON that is not whole or has a tree that is none.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    ValueError, KeyError, TypeError
        If something in it is not as XGBoost writes it.
    """
    reader = _Reader(data)
    model = reader.value(reader.mark())
    if reader.at != len(data):
        raise ValueError("the booster has something after its end")
    learner = model["learner"]
    shape = learner["learner_model_param"]
    n_features = int(shape["num_feature"])
    gradient_booster = learner["gradient_booster"]
    gradient_booster = gradient_booster.get("gbtree", gradient_booster)  # dart keeps its trees one level below
    if gradient_booster["name"] == "gblinear":
        weights = gradient_booster["model"]["weights"]
        if len(weights) != (n_features + 1) * max(int(shape["num_class"]), 1):
            raise ValueError("the booster has another number of weights than features")
        return
    forest = gradient_booster["model"]
    trees, groups = forest["trees"], np.asarray(forest["tree_info"])
    if len(groups) != len(trees) or not np.all((groups >= 0) & (groups < max(int(shape["num_class"]), 1))):
        raise ValueError("the booster has trees of no output")
    rounds = np.asarray(forest["iteration_indptr"])
    if rounds[0] != 0 or rounds[-1] != len(trees) or np.any(np.diff(rounds) < 0):
        raise ValueError("the booster has rounds that do not add up to its trees")
    for number, tree in enumerate(trees):
        if tree["id"] != number:
            raise ValueError(f"tree {number} of the booster has the number {tree['id']!r}")
        _check_xgboost_tree(tree, n_features, max(int(shape["num_class"]), 1))


def _check_xgboost_tree(tree: dict[str, Any], n_features: int, n_outputs: int) -> None:
    left, right, parents, feature = (
        np.asarray(tree[name]) for name in ("left_children", "right_children", "parents", "split_indices")
    )
    n = int(tree["tree_param"]["num_nodes"])
    if int(tree["tree_param"]["num_feature"]) != n_features:
        raise ValueError("a tree of the booster has another number of features")
    for name in ("left_children", "right_children", "parents", "split_indices", "default_left", "split_type"):
        if len(tree[name]) != n:
            raise ValueError(f"a tree of the booster has {len(tree[name])} {name} for {n} nodes")
    width = int(tree["tree_param"]["size_leaf_vector"])
    if width not in (0, 1, n_outputs):
        raise ValueError(f"a tree of the booster has leaves of {width} values for {n_outputs} outputs")
    if width <= 1:
        for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian"):
            if len(tree[name]) != n:
                raise ValueError(f"a tree of the booster has {len(tree[name])} {name} for {n} nodes")
    if n < 1 or parents[0] != _ROOT_PARENT:
        raise ValueError("a tree of the booster has no root")
    inner = left != -1
    # A node with one parent at most, and a root with none: whoever starts at the root never comes back.
    _check_children(np.concatenate([left[inner], right[inner]]), 1, n)
    nodes = np.flatnonzero(inner)
    if np.any(parents[left[inner]] != nodes) or np.any(parents[right[inner]] != nodes):
        raise ValueError("a tree of the booster has a node that names another parent")
    if np.any(right[~inner] != -1) or np.any((feature[inner] < 0) | (feature[inner] >= n_features)):
        raise ValueError("a tree of the booster splits on a feature that there is not")
    # Both lists of categories are written for categorical nodes alone.
    start, size = np.asarray(tree["categories_segments"]), np.asarray(tree["categories_sizes"])
    split_nodes, categories = np.asarray(tree["categories_nodes"]), np.asarray(tree["categories"])
    if not len(start) == len(size) == len(split_nodes) or np.any((split_nodes < 0) | (split_nodes >= n)):
        raise ValueError("a tree of the booster has categories of no node")
    if np.any((start < 0) | (size < 0) | (start > len(categories)) | (size > len(categories) - start)):
        raise ValueError("a tree of the booster has categories outside of their list")
    if np.any((categories < 0) | (categories >= 2**24)):
        raise ValueError("a tree of the booster has a category that there is not")


def _check_children(children: np.ndarray, first: int, stop: int) -> None:
    if np.any((children < first) | (children >= stop)):
        raise ValueError("a tree of the booster has a node outside of it")
    if len(np.unique(children)) != len(children):
        raise ValueError("a tree of the booster has a node with two parents")


# ---------------------------------------------------------------------------------------------------------------------
# LightGBM: text

_TREE = re.compile(r"^Tree=(\d+)$", flags=re.MULTILINE)


def check_lightgbm(text: str) -> None:
    """Refuse a model text of LightGBM that is not whole or has a tree that is none.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError, KeyError, TypeError
        If something in it is not as LightGBM writes it.
    """
    end = text.index("\nend of trees")
    starts = list(_TREE.finditer(text, 0, end))
    if not starts or "\0" in text:
        raise ValueError("the booster has no trees")
    header = _lines(text[: starts[0].start()])
    n_features = int(header["max_feature_idx"]) + 1
    outputs = int(header["num_tree_per_iteration"])
    if outputs < 1 or int(header["num_class"]) != outputs or len(starts) % outputs:
        raise ValueError("the booster has rounds that do not add up to its trees")
    if any(len(header[name].split()) != n_features for name in ("feature_names", "feature_infos")):
        raise ValueError("the booster has another number of names than features")
    stops = [*(match.start() for match in starts[1:]), end]
    for number, (match, stop) in enumerate(zip(starts, stops, strict=True)):
        if int(match[1]) != number:
            raise ValueError(f"tree {number} of the booster has the number {match[1]}")
        _check_lightgbm_tree(_lines(text[match.end() : stop]), n_features)


def _lines(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        if name in found and name:
            raise ValueError(f"the booster has {name[:40]!r} twice")
        found[name] = value
    return found


def _integers(values: str, length: int) -> np.ndarray:
    found = np.array([int(value) for value in values.split()], dtype=np.int64)
    if len(found) != length:
        raise ValueError(f"a tree of the booster has {len(found)} values where it should have {length}")
    return found


def _floats(values: str, length: int) -> None:
    if len([float(value) for value in values.split()]) != length:
        raise ValueError(f"a tree of the booster has not {length} numbers where it should have them")


def _check_lightgbm_tree(tree: dict[str, str], n_features: int) -> None:
    leaves, categorical = int(tree["num_leaves"]), int(tree["num_cat"])
    if not 1 <= leaves < 2**31 or not 0 <= categorical < leaves:
        raise ValueError("a tree of the booster has no leaves")
    n = leaves - 1
    _floats(tree["leaf_value"], leaves)
    for name in ("leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count", "split_gain"):
        if tree.get(name):
            _floats(tree[name], leaves if name.startswith("leaf") else n)
    _floats(tree["shrinkage"], 1)
    if n:
        _check_lightgbm_splits(tree, leaves, categorical, n_features)
    if int(tree.get("is_linear", "0")):
        _check_linear_leaves(tree, leaves, n_features)


def _check_lightgbm_splits(tree: dict[str, str], leaves: int, categorical: int, n_features: int) -> None:
    n = leaves - 1
    # A child below zero is a leaf: -1 the first of them.
    children = np.concatenate([_integers(tree[name], n) for name in ("left_child", "right_child")])
    _check_children(children, -leaves, n)
    if np.any(children == 0):
        raise ValueError("a tree of the booster has a root with a parent")
    feature = _integers(tree["split_feature"], n)
    if np.any((feature < 0) | (feature >= n_features)):
        raise ValueError("a tree of the booster splits on a feature that there is not")
    kinds = _integers(tree["decision_type"], n)
    thresholds = tree["threshold"].split()
    _floats(tree["threshold"], n)
    if np.any((kinds < -128) | (kinds > 127)):
        raise ValueError("a tree of the booster has a split of no kind")
    by_category = [int(float(value)) for value, kind in zip(thresholds, kinds, strict=True) if kind & 1]
    if any(not 0 <= value < categorical for value in by_category):
        raise ValueError("a tree of the booster splits on categories that there are not")
    if categorical:
        words = len(tree["cat_threshold"].split())
        bounds = _integers(tree["cat_boundaries"], categorical + 1)
        _integers(tree["cat_threshold"], words)
        if bounds[0] != 0 or bounds[-1] != words or np.any(np.diff(bounds) < 0):
            raise ValueError("a tree of the booster has categories outside of their list")


def _check_linear_leaves(tree: dict[str, str], leaves: int, n_features: int) -> None:
    _floats(tree["leaf_const"], leaves)
    numbers = _integers(tree["num_features"], leaves)
    if np.any(numbers < 0) or np.any(numbers > n_features):
        raise ValueError("a leaf of the booster has a linear model of too many features")
    features = _integers(tree["leaf_features"], int(numbers.sum()))
    _floats(tree["leaf_coeff"], int(numbers.sum()))
    if np.any((features < 0) | (features >= n_features)):
        raise ValueError("a leaf of the booster has a linear model of a feature that there is not")
