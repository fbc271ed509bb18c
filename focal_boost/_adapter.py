"""What a library's adapter provides, and which libraries have one: the seam where a booster is added.

An adapter is the module of this package with the name of its library. Those who call it (`classifier`,
`model_selection`, `_saving`, `dask`) know nothing else of the library; its row in `LIBRARIES` says what they need
before they import it. This module imports no library.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["LIBRARIES", "Adapter", "Library", "import_adapter", "library_of", "names"]


@dataclass(frozen=True)
class Library:
    """What is known of a library without importing it: its name, its classifiers, and its words for what all have.

    Parameters
    ----------
    title : str
        As its authors write it.
    estimators : tuple of str
        Classes of its classifiers.
    earlier : str
        Argument of ``fit`` for a model to continue.
    start_margins, eval_start_margins : str
        Arguments of ``fit`` for margins to start from: of the rows, and a list with those of each evaluation set.
    eval_weights : str
        Argument of ``fit`` for a list with the weights of each evaluation set.
    other_predictions : tuple of str
        Arguments of ``predict`` that decide what it returns, which its callers here do not leave to the user.
    """

    title: str
    estimators: tuple[str, ...]
    earlier: str
    start_margins: str
    eval_start_margins: str
    eval_weights: str
    other_predictions: tuple[str, ...]


# By the name of the package, which is the name of the adapter too.
LIBRARIES = {
    "xgboost": Library(
        title="XGBoost",
        estimators=("XGBClassifier", "XGBRFClassifier"),
        earlier="xgb_model",
        start_margins="base_margin",
        eval_start_margins="base_margin_eval_set",
        eval_weights="sample_weight_eval_set",
        other_predictions=("output_margin",),
    ),
    "lightgbm": Library(
        title="LightGBM",
        estimators=("LGBMClassifier",),
        earlier="init_model",
        start_margins="init_score",
        eval_start_margins="eval_init_score",
        eval_weights="eval_sample_weight",
        other_predictions=("raw_score", "pred_leaf", "pred_contrib"),
    ),
}


class Adapter(Protocol):
    """The functions of an adapter. Their docstrings, in `focal_boost.xgboost`, give shapes and errors.

    An error names the value, the problem and the way out, and is raised before anything is trained or changed.
    """

    __name__: str

    MULTILABEL: bool
    """Whether y may have shape (n, K), K labels that are each 0 or 1."""

    MARGIN_DTYPE: Any
    """Of what `predict_margins` returns."""

    FocalObjective: Any
    """The loss as the library wants it; `focal_boost._objective.Objective` holds what is the same for all."""

    # For FocalClassifier

    def check_estimator(self, estimator: Any) -> None:
        """Refuse other kinds of estimators (TypeError), and parameters that would have no effect (ValueError)."""

    def check_frame(self, X: Any) -> None:
        """Refuse data frames that the library does not take and would not say so of before it trains."""

    def check_earlier(self, earlier: Any, loss: BinaryFocalLoss | MulticlassFocalLoss, n_features: int) -> Any:
        """Return the booster of a model, or of the file of one; refuse those whose margins mean something else."""

    def fit_estimator(
        self,
        estimator: Any,
        loss: BinaryFocalLoss | MulticlassFocalLoss,
        X: Any,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        eval_set: list[tuple[Any, np.ndarray]] | None,
        fit_params: dict[str, Any],
        *,
        intercept: Any = None,
        n_threads: int | None = None,
    ) -> None:
        """Fit a clone in place, from the best constant and at the scale of the log loss.

        Afterwards it is an ordinary estimator with the user's own parameters, whose booster stands alone: intercept
        included, link named. Each evaluation set is scored by the log loss unless other metrics are named.
        """

    def predict_margins(self, estimator: Any, X: Any, predict_params: dict[str, Any]) -> np.ndarray:
        """Margins of shape (n,) or (n, K), up to the best round where training stopped early."""
        ...

    def evals_result(self, estimator: Any) -> dict[str, dict[str, list[float]]]:
        """Metrics of each evaluation set in each round."""
        ...

    def best_iteration(self, estimator: Any) -> int | None:
        """The best round as the library counts, None without early stopping."""

    def n_rounds(self, estimator: Any) -> int:
        """Number of rounds that predictions are made of, from 1."""
        ...

    def log_loss_name(self, n_classes: int) -> str:
        """Name of the log loss among the metrics."""
        ...

    # For FocalClassifierCV

    def check_search(self, estimator: Any, patience: int | None, fit_params: dict[str, Any]) -> None:
        """Refuse what keeps folds from choosing the number of rounds."""

    def fold_arguments(
        self, estimator: Any, n_classes: int, sample_weight: np.ndarray | None, patience: int | None
    ) -> dict[str, Any]:
        """Arguments of ``fit`` that weigh one evaluation set, score it by the log loss alone and stop by that."""
        ...

    def set_rounds(self, estimator: Any, n_rounds: int) -> None:
        """Let an unfitted estimator train this many rounds."""

    def stop_at(self, estimator: Any, n_rounds: int) -> None:
        """Let a fitted estimator predict by its first rounds only."""

    # For stored models

    def booster_state(self, estimator: Any) -> dict[str, Any]:
        """Return ``booster``, the library's own file as bytes, and plain data that the file does not hold."""
        ...

    def restore_booster(self, estimator: Any, state: dict[str, Any]) -> None:
        """Give an estimator the booster that `booster_state` returned."""


def names(what: str) -> tuple[str, ...]:
    """What each library calls a thing.

    Parameters
    ----------
    what : str
        A field of `Library`.

    Returns
    -------
    tuple
    """
    return tuple(getattr(library, what) for library in LIBRARIES.values())


def import_adapter(name: str) -> Adapter:
    """Import the adapter of a library in `LIBRARIES`, and with it the library.

    Parameters
    ----------
    name : str
        A key of `LIBRARIES`.

    Returns
    -------
    Adapter

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    return cast(Adapter, importlib.import_module(f"focal_boost.{name}"))


def library_of(estimator: Any) -> Adapter:
    """Adapter of the library that an estimator, or a class that its own derives from, comes from.

    Parameters
    ----------
    estimator : object

    Returns
    -------
    Adapter

    Raises
    ------
    TypeError
        If it comes from none of them.
    """
    for ancestor in type(estimator).__mro__:
        root = ancestor.__module__.partition(".")[0]
        if root in LIBRARIES:
            return import_adapter(root)
    *others, last = (name for library in LIBRARIES.values() for name in library.estimators)
    raise TypeError(
        f"estimator={estimator!r} is not an {', '.join(others)} or {last}; pass an instance of one of them, unfitted"
    )
