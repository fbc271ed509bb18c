"""LightGBM's model text: taken apart, shifted, and rounded.

The text is what LightGBM saves and reads, and the only way to change a linear leaf, the name of the objective, or all
thresholds of a booster.
"""

from __future__ import annotations

import re

import lightgbm
import numpy as np

__all__ = ["link_of", "round_thresholds", "stand_alone"]


def _split_model(text: str) -> tuple[str, list[str], str]:
    """Header, trees and the rest of LightGBM's model text; joined again they give the text."""
    starts = [match.start() for match in re.finditer(r"^Tree=\d+$", text, flags=re.MULTILINE)]
    end = text.index("end of trees")
    if not starts:
        return text[:end], [], text[end:]
    stops = [*starts[1:], end]
    return text[: starts[0]], [text[i:j] for i, j in zip(starts, stops, strict=True)], text[end:]


# Where the trees are in the text; not needed to load it.
_TREE_SIZES = re.compile(r"^tree_sizes=.*\n", flags=re.MULTILINE)

# Every number of a tree that is an output: of leaves, of leaves with a linear model, of inner nodes (for SHAP's sake).
_OUTPUT_LINES = re.compile(r"^(leaf_value|leaf_const|internal_value)=(.*)$", flags=re.MULTILINE)


def _shift_tree(tree: str, margin: float) -> str:
    """Add a margin to all outputs of a tree."""

    def shifted(match: re.Match[str]) -> str:
        values = (repr(float(value) + margin) for value in match[2].split())
        return f"{match[1]}={' '.join(values)}"

    return _OUTPUT_LINES.sub(shifted, tree)


def link_of(text: str) -> str | None:
    """How a model text says that margins become probabilities; that of an objective of one's own does not."""
    found = re.search(r"^objective=(.*)$", text.partition("\nTree=")[0], flags=re.MULTILINE)
    return None if found is None else found[1]


def stand_alone(text: str, margins: np.ndarray, link: str) -> str:
    """Return a model text with the intercept in its trees and a link named, which LightGBM then applies.

    Parameters
    ----------
    text : str
        Of a booster that was trained with an objective of one's own.
    margins : ndarray of shape (n_outputs,)
        The intercept.
    link : str
        As LightGBM writes it: ``binary sigmoid:1``, or ``multiclass num_class:3``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there are no trees.
    """
    header, trees, rest = _split_model(text)
    if len(trees) < len(margins):
        raise ValueError("the booster has no trees that could carry the intercept: train it first")
    for output, margin in enumerate(margins):
        trees[output] = _shift_tree(trees[output], float(margin))
    header = header.replace("\nfeature_names=", f"\nobjective={link}\nfeature_names=", 1)
    # Wrong after an edit.
    header = _TREE_SIZES.sub("", header)
    rest = rest.replace("[objective: custom]", f"[objective: {link.split()[0]}]", 1)
    return header + "".join(trees) + rest


def round_thresholds(booster: lightgbm.Booster) -> str:
    """Model text up to the best iteration whose thresholds are float32 and decide the same for each float32 value.

    Parameters
    ----------
    booster : lightgbm.Booster

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it splits on categories or has linear leaves.
    """
    header, trees, rest = _split_model(booster.model_to_string())
    for tree in trees:
        found = re.search(r"^decision_type=(.*)$", tree, re.MULTILINE)
        # Bits 2 and 3 of a split say what is missing there: nothing, zeros, or NaN.
        if found and any(int(kind) >> 2 & 3 == 1 for kind in found[1].split()):
            raise ValueError(
                "the booster takes zeros for missing (zero_as_missing), but in ONNX trees only NaN is missing: train "
                "without it, with NaN in the place of those zeros"
            )
        if not re.search(r"^num_cat=0$", tree, re.MULTILINE) or re.search(r"^is_linear=1$", tree, re.MULTILINE):
            raise ValueError(
                "the booster has categorical splits or linear leaves, which are not converted: encode categories as "
                "numbers, and train without linear_tree"
            )
    return _TREE_SIZES.sub("", header) + "".join(map(_round_tree, trees)) + rest


def _round_tree(tree: str) -> str:
    def rounded(match: re.Match[str]) -> str:
        exact = np.array([float(value) for value in match[1].split()])
        limit = np.finfo(np.float32).max
        near = np.clip(exact, -limit, limit).astype(np.float32)
        near = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
        return f"threshold={' '.join(repr(float(value)) for value in near)}"

    return re.sub(r"^threshold=(.*)$", rounded, tree, flags=re.MULTILINE)
