"""What FocalClassifier.fit makes of its arguments before the first round, and the rows that it holds out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils import check_random_state

from focal_boost._adapter import Adapter
from focal_boost._checks import by_position, check_start_margins, on_host, per_eval_set, row_weights, total_weight
from focal_boost._features import rows_of
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["Training", "check_fraction", "check_per_row", "check_rows", "check_weighted_classes", "n_outputs", "totals"]

# Rounds without a better score after which training stops if validation_fraction alone asks for it.
PATIENCE = 50


@dataclass(frozen=True)
class Training:
    """What `fit` has made of its arguments before the first round."""

    library: Adapter
    estimator: Any
    loss: BinaryFocalLoss | MulticlassFocalLoss
    classes: Any
    X: Any
    codes: NDArray[np.int64]
    weight: NDArray[np.float64] | None
    eval_set: list[tuple[Any, NDArray[np.int64]]] | None
    fit_params: dict[str, Any]

    def with_rows_held_out(self, fraction: float, groups: Any) -> Training:
        """The same with a part of the rows as evaluation set, which stops training early."""
        library = self.library
        held, kept = split(self.codes, fraction, groups, getattr(self.estimator, "random_state", None))
        lost = sorted(set(self.codes.ravel().tolist()) - set(self.codes[kept].ravel().tolist()))
        if lost:
            raise ValueError(
                f"validation_fraction={fraction!r} holds out all rows of {np.ravel(self.classes)[lost].tolist()}, "
                "which are in one group: pass an eval_set"
            )
        fit_params = {**library.stopping_arguments(self.estimator, self.fit_params, PATIENCE)}
        if self.weight is not None:
            total_weight(self.weight[held], "sample_weight of the rows held out")
            fit_params[library.eval_weights_argument] = [self.weight[held]]
        name = library.margins_argument
        if fit_params.get(name) is not None:
            margins = np.asarray(fit_params[name])
            if len(margins) != len(self.codes):
                raise ValueError(
                    f"{name} has shape {margins.shape}, which does not say what belongs to the {len(self.codes)} rows "
                    "of which validation_fraction holds some out: pass one row of margins for each"
                )
            fit_params.update({name: margins[kept], library.eval_margins_argument: [margins[held]]})
        return replace(
            self,
            X=rows_of(self.X, kept),
            codes=self.codes[kept],
            weight=None if self.weight is None else self.weight[kept],
            eval_set=[(rows_of(self.X, held), self.codes[held])],
            fit_params=fit_params,
        )


def check_fraction(fraction: Any, groups: Any) -> None:
    if fraction is None and groups is not None:
        raise ValueError("groups say which rows validation_fraction may not divide, but that is None: set it, e.g. 0.1")
    share = by_position(fraction)
    if share is not None and (isinstance(share, bool) or not isinstance(share, Real) or not 0 < float(share) < 1):
        raise ValueError(
            f"validation_fraction={fraction!r} is not a number between 0 and 1; 0.1 holds out a tenth of the rows for "
            "early stopping, None holds out nothing"
        )


def split(
    codes: NDArray[np.int64], fraction: float, groups: Any, seed: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to hold out and to train on: of each class its share, but none of a class that has only one row."""
    if isinstance(seed, np.random.Generator):
        seed = int(seed.integers(2**31))
    random_state = check_random_state(0 if seed is None else seed)
    rows = np.arange(len(codes))
    try:
        if groups is not None:
            held = _grouped(codes, fraction, groups, random_state)
        else:
            single = codes.ndim == 1 and np.bincount(codes)[codes] == 1
            several = rows[~single] if codes.ndim == 1 else rows
            strata = codes[several] if codes.ndim == 1 else None
            held = train_test_split(several, test_size=fraction, stratify=strata, random_state=random_state)[1]
    except ValueError as error:
        raise ValueError(
            f"validation_fraction={fraction!r} cannot be held out of {len(codes)} rows: {error}; choose another "
            "fraction, or pass an eval_set"
        ) from error
    held = np.sort(held)
    return held, np.setdiff1d(rows, held)


def _grouped(codes: NDArray[np.int64], fraction: float, groups: Any, random_state: Any) -> NDArray[np.int64]:
    groups = np.asarray(on_host(groups))
    if groups.shape != codes.shape[:1]:
        raise ValueError(f"groups has shape {groups.shape}, but there are {len(codes)} rows: pass one group a row")
    n_folds = min(20, len(np.unique(groups)))
    strata = codes if codes.ndim == 1 else np.zeros(len(codes), dtype=np.int64)
    counts = np.bincount(strata)
    # Classes with fewer rows than there are folds cannot be in each.
    strata = np.where(counts[strata] < n_folds, counts.argmax(), strata)
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state).split(codes, strata, groups)
    n_held = min(max(1, round(fraction * n_folds)), n_folds - 1)
    return np.concatenate([test for _, test in folds][:n_held])


def check_per_row(fit_params: dict[str, Any], library: Adapter, n_outputs: int, n: int, pairs: list[Any]) -> None:
    """Check weights and margins that go to the library under its own names."""
    name = library.margins_argument
    check_start_margins(fit_params.get(name), n, n_outputs, name)
    name = library.eval_weights_argument
    for i, weight in per_eval_set(fit_params.get(name), len(pairs), name):
        row_weights(weight, len(pairs[i][1]), f"{name}[{i}]")
    name = library.eval_margins_argument
    for i, margins in per_eval_set(fit_params.get(name), len(pairs), name):
        check_start_margins(margins, len(pairs[i][1]), n_outputs, f"{name}[{i}]")


def check_rows(name: str, n: int, other: str, X: Any) -> None:
    rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if rows != n:
        raise ValueError(f"{name} has {n} labels, but {other} has {rows} rows: pass one label a row")


def totals(codes: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Sum of the weights of each class; where there are several labels a row, that of all rows."""
    if codes.ndim == 2:
        return np.atleast_1d(len(codes) if weight is None else weight.sum())
    return np.bincount(codes, weights=weight)


def check_weighted_classes(weight: np.ndarray | None, classes: Any, codes: np.ndarray) -> None:
    """A class all of whose rows have weight zero is as good as not there; two must be."""
    if weight is None:
        return
    if codes.ndim == 2:
        kept = np.unique(codes[weight > 0])
    else:
        kept = classes[np.bincount(codes, weights=weight, minlength=len(classes)) > 0]
    if len(kept) < 2:
        raise ValueError(
            f"sample_weight leaves rows of only one class, {kept.tolist()}: a classifier needs rows with a weight "
            "above 0 of at least two classes"
        )


def n_outputs(classes: Any) -> int:
    """Margins of a row: one for two classes or for each label that is yes or no, else one for each class."""
    return len(classes) if isinstance(classes, list) or len(classes) > 2 else 1
