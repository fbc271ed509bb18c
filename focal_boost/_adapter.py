"""What a library's adapter provides, and which libraries have one: the seam where a booster is added.

Each library has a room, the package of its name in this one: its objective, derived from `Objective`, and its adapter,
derived from `Adapter`, by which the rest of the package works without a word of the library. This module imports no
library.
"""

from __future__ import annotations

import abc
import ctypes
import importlib
import inspect
import math
import os
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from focal_boost._checks import check_n_threads, kind_of, package_of
from focal_boost._typing import AnyArray, FloatArray
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["LIBRARIES", "Adapter", "Objective", "import_adapter", "library_of"]


# By the name of the package, which is the name of the room too: the classifiers that are taken.
LIBRARIES = {"xgboost": ("XGBClassifier", "XGBRFClassifier"), "lightgbm": ("LGBMClassifier",)}

Loss = BinaryFocalLoss | MulticlassFocalLoss


def import_adapter(name: str) -> Adapter:
    """Import the adapter of a library in `LIBRARIES`, and with it the library.

    Parameters
    ----------
    name : str
        A key of `LIBRARIES`.

    Returns
    -------
    Adapter
        The same object each time.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    return cast(Adapter, importlib.import_module(f"focal_boost.{name}").ADAPTER)


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
    *others, last = (name for names in LIBRARIES.values() for name in names)
    raise TypeError(
        f"estimator={estimator!r} is not an {', '.join(others)} or {last}; pass an instance of one of them, unfitted"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Objectives


class Objective(abc.ABC):
    """A loss with a start margin, threads and a scale; what each is for stands in the classes derived from this one.

    Stateless apart from its parameters, hence picklable and safe in threads.
    """

    # Whether one booster may train K labels that are each yes or no, with an intercept and a scale for each.
    _takes_labels: ClassVar[bool]

    # The library's name as its authors write it.
    _title: ClassVar[str]

    # The library's own table of features and labels, which its native interface hands over in the place of labels.
    _data_class: ClassVar[Any]
    # For kernels that compute in the library's threads, see `team_of`; 0: in their own.
    _team: ClassVar[int] = 0

    def __init__(
        self,
        loss: Loss,
        intercept: ArrayLike | None = None,
        n_threads: int | None = None,
        *,
        scale: float | FloatArray | None = None,
    ) -> None:
        if not isinstance(loss, (BinaryFocalLoss, MulticlassFocalLoss)):
            raise TypeError(f"loss={loss!r} is neither a BinaryFocalLoss nor a MulticlassFocalLoss: pass one of them")
        self.loss: Loss = loss
        self.intercept: Any = loss.check_intercept(intercept)
        if loss.n_outputs == 1 and np.ndim(self.intercept) and not self._takes_labels:
            raise ValueError(
                f"intercept={intercept!r} has shape {self.intercept.shape}, one margin a label, but {self._title} "
                "takes one label a row: train one model a label, for instance with "
                "sklearn.multioutput.MultiOutputClassifier, or use XGBoost"
            )
        check_n_threads(n_threads)
        self.n_threads: int | None = n_threads
        if scale is None:
            scale = loss.log_loss_scale(self.intercept)
        per_label = isinstance(scale, np.ndarray) and scale.ndim == 1 and loss.n_outputs == 1 and self._takes_labels
        if (
            isinstance(scale, bool)
            or not (per_label or isinstance(scale, Real))
            or not np.all((scale > 0) & (scale < math.inf))
        ):
            raise ValueError(
                f"scale={scale!r} is not a positive number; 1.0 leaves the loss as it is, None is the scale of the "
                "log loss"
            )
        self.scale: Any = np.array(scale) if per_label else float(scale)

    def __repr__(self) -> str:
        scale = "" if np.all(self.scale == 1.0) else f", scale={self.scale!r}"
        return f"FocalObjective({self.loss!r}, intercept={self.intercept!r}{scale})"

    @property
    @abc.abstractmethod
    def params(self) -> dict[str, Any]:
        """What the booster must be told besides the objective itself."""

    @property
    @abc.abstractmethod
    def _softmax_scale(self) -> float:
        """Factor of the library's own softmax objective on the diagonal of the curvature."""

    @abc.abstractmethod
    def _labels_and_weights(self, data: Any) -> tuple[Any, Any]:
        """What the library's own table holds, weights that are not there being None."""

    @abc.abstractmethod
    def _library_threads(self, data: Any) -> int | None:
        """Number of threads that the library has been given, with its own table or without (None)."""

    def _arguments(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any, Any, int | None]:
        """Labels, margins, weights and threads from either convention of calling."""
        if not isinstance(y_pred, self._data_class):
            if (root := package_of(y_pred)) in LIBRARIES:
                raise TypeError(
                    f"this objective was given a {type(y_pred).__name__}, which is another library's: pass "
                    f"focal_boost.{root}.FocalObjective(loss) as the objective there"
                )
            return y_true, y_pred, sample_weight, self._threads(None)
        labels, weights = self._labels_and_weights(y_pred)
        return labels, y_true, weights, self._threads(y_pred)

    def _threads(self, data: Any) -> int | None:
        return self._library_threads(data) if self.n_threads is None else self.n_threads

    def _prepared(
        self,
        labels: Any,
        margins: Any,
        weights: Any,
        outputs: list[Any],
        n_threads: int | None,
        intercept: Any = None,
        *,
        in_training: bool,
    ) -> tuple[Any, Any, Callable[[Any], None]]:
        """Gradient and curvature at the scale of the library, arrays that are given, and what fills them.

        In a training threads of the library compute: after its own work they wait for more, for milliseconds and
        without rest, so that others would have to share the processors with them.
        """
        curvature = 1.0 if self.loss.n_outputs == 1 else self._softmax_scale
        gradient_out, hessian_out = outputs
        return self.loss._prepared(
            labels,
            margins,
            weights,
            gradient_out,
            hessian_out,
            n_threads,
            hessian_scale=curvature,
            intercept=intercept,
            scale=self.scale,
            team=self._team if in_training else 0,
        )


def team_of(library: ctypes.CDLL) -> int:
    """Address of the function that lets the OpenMP threads of a library work, 0 where it has other threads."""
    try:
        # Looked up in the library and what it was linked to, which may be an OpenMP library of its own.
        return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


# ---------------------------------------------------------------------------------------------------------------------
# Estimators


class Adapter(abc.ABC):
    """All that the rest of the package knows of a library.

    An error names the value, the problem and the way out, and is raised before anything is trained or changed.
    """

    title: ClassVar[str]
    """The library's name as its authors write it."""

    model_argument: ClassVar[str]
    """Argument of ``fit`` for a model to continue."""

    margins_argument: ClassVar[str]
    """Argument of ``fit`` for margins to start from, one a row (and output)."""

    eval_margins_argument: ClassVar[str]
    """Argument of ``fit`` for a list with the start margins of each evaluation set."""

    eval_weights_argument: ClassVar[str]
    """Argument of ``fit`` for a list with the weights of each evaluation set."""

    prediction_arguments: ClassVar[frozenset[str]]
    """Arguments of ``predict`` that margins can be made with; others are ignored, or make it return something else."""

    takes_label_columns: ClassVar[bool]
    """Whether y may have shape (n, K), K labels that are each 0 or 1."""

    margin_dtype: ClassVar[Any]
    """Of what `predict_margins` returns."""

    # The base class of the library's estimators, its boosters, what a model of it is called in errors, the beginnings
    # of the names of its objectives whose margins are log-odds (of two classes, and of more), and the names of its
    # log loss (likewise).
    _model_class: ClassVar[Any]
    _booster_class: ClassVar[Any]
    _classifier_class: ClassVar[Any]
    _log_odds_links: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]
    _log_losses: ClassVar[tuple[str, str]]

    # For FocalClassifier

    def check_estimator(self, estimator: Any) -> None:
        """Refuse other kinds of estimators, and what focal loss would make the library ignore."""
        if not isinstance(estimator, self._classifier_class):
            classes = [name for names in LIBRARIES.values() for name in names]
            raise TypeError(
                f"estimator is a {type(estimator).__name__}, but focal loss is for classification: pass one of "
                f"{', '.join(classes)}"
            )
        self._check_parameters(estimator.get_params())

    @abc.abstractmethod
    def _check_parameters(self, params: dict[str, Any]) -> None:
        """Refuse parameters of an estimator that would have no effect."""

    @abc.abstractmethod
    def check_frame(self, X: Any, estimator: Any) -> None:
        """Refuse data frames that the library does not take and would not say so of before it trains."""

    def check_device_table(self, X: Any, name: str) -> None:
        """Refuse a table in the memory of a GPU if the library cannot train on it."""
        if reason := self._no_device_tables():
            raise TypeError(
                f"{name} is a {kind_of(X)} in the memory of a GPU, but {reason} {name}.get() of CuPy, .to_pandas() of "
                "cuDF, .cpu().numpy() of PyTorch"
            )

    def _no_device_tables(self) -> str | None:
        """Say why the library does not train on tables in the memory of a GPU, if it does not, and to pass others."""
        return f"{self.title} reads host memory, wherever it trains: pass"

    def model_to_continue(self, model: Any, loss: Loss, n_features: int) -> Any:
        """Booster of a model to continue, of a focal loss or of the library's own log loss."""
        name = self.model_argument
        if not isinstance(model, (str, os.PathLike, self._booster_class, self._model_class)):
            raise TypeError(
                f"{name}={model!r} is no model to go on from: pass a Booster, an {self._classifier_class.__name__}, a "
                "FocalClassifier of it, or the path of a saved one"
            )
        if isinstance(model, (str, os.PathLike)) and not os.path.exists(model):
            raise FileNotFoundError(f"{name}={model!r} is not there; pass the path of a saved model")
        booster = self._booster_of(model)
        outputs, link, features = self._outputs_link_features(booster)
        if outputs != loss.n_outputs:
            raise ValueError(f"{name} has {outputs} outputs a row, but {loss!r} has {loss.n_outputs}")
        links = self._log_odds_links[outputs > 1]
        if not link.startswith(links):
            raise ValueError(
                f"{name} has the objective {link!r}, whose margins are no log-odds: continue a model of "
                f"{' or '.join(links)}, or of a FocalObjective with its params"
            )
        if features != n_features:
            raise ValueError(f"{name} has {features} features, but X has {n_features}")
        return booster

    @abc.abstractmethod
    def _booster_of(self, model: Any) -> Any:
        """Booster of an estimator or a file, or the booster itself."""

    @abc.abstractmethod
    def _outputs_link_features(self, booster: Any) -> tuple[int, str, int]:
        """How many outputs and features a booster has, and the name of its link in the library's words."""

    @abc.abstractmethod
    def fit_estimator(
        self,
        estimator: Any,
        loss: Loss,
        X: Any,
        y: AnyArray,
        sample_weight: AnyArray | None,
        eval_set: list[tuple[Any, AnyArray]] | None,
        fit_params: dict[str, Any],
        *,
        intercept: Any = None,
        n_threads: int | None = None,
    ) -> None:
        """Fit a clone in place with a focal loss, from the best constant and at the scale of the log loss.

        Afterwards it is an ordinary estimator with the user's own parameters, whose booster stands alone: intercept
        included, link named. Each evaluation set is scored by the log loss unless other metrics are named; a pair of
        the same objects as X and y is the training set. y are labels 0 to K - 1. An intercept of None is fitted to
        them, which only arrays in memory allow; n_threads of None are those of the estimator.
        """

    @abc.abstractmethod
    def predict_margins(self, estimator: Any, X: Any, predict_params: dict[str, Any]) -> FloatArray:
        """Margins of a fitted estimator, up to the best round where training stopped early."""

    @abc.abstractmethod
    def evals_result(self, estimator: Any) -> dict[str, dict[str, list[float]]]:
        """Metrics of each evaluation set in each round; empty without one."""

    @abc.abstractmethod
    def best_iteration(self, estimator: Any) -> int | None:
        """Return the best round as the library counts, None without early stopping."""

    @abc.abstractmethod
    def n_rounds(self, estimator: Any) -> int:
        """Return the number of rounds that predictions are made of."""

    def log_loss_name(self, n_classes: int) -> str:
        """Name of the log loss among the metrics."""
        return self._log_losses[n_classes > 2]

    @abc.abstractmethod
    def stopping_arguments(self, estimator: Any, fit_params: dict[str, Any], patience: int) -> dict[str, Any]:
        """Arguments of ``fit`` with which training stops early, if nothing asks for that yet."""

    def check_fit_params(self, estimator: Any, fit_params: dict[str, Any]) -> None:
        """Refuse arguments that ``fit`` of an estimator does not take."""
        known = inspect.signature(estimator.fit).parameters
        passes_on = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
        if not passes_on and (unknown := sorted(set(fit_params) - set(known))):
            kind = type(estimator).__name__
            raise TypeError(
                f"fit() got an unexpected keyword argument {unknown[0]!r}, which fit of {kind} does not take: if it is "
                f"a parameter of the estimator pass {kind}({unknown[0]}=...)"
            )

    def _check_stopping(self, estimator: Any, callbacks: Any, eval_set: Any) -> None:
        """Refuse early stopping without an evaluation set."""
        if not eval_set and (asked := self._stopping(estimator, callbacks)):
            raise ValueError(
                f"training stops early ({asked[0]}), but there is no eval_set to judge by; pass "
                "eval_set=[(X_val, y_val)]"
            )

    @abc.abstractmethod
    def _stopping(self, estimator: Any, callbacks: Any) -> list[str]:
        """What asks for early stopping: parameters as they are written, and callbacks."""

    # For FocalClassifierCV

    def check_search(self, estimator: Any, patience: int | None, fit_params: dict[str, Any]) -> None:
        """Refuse what keeps a search over folds from choosing the number of rounds."""
        if asked := self._stopping(estimator, fit_params.get("callbacks")):
            raise ValueError(
                f"the estimator stops early by itself ({asked[0]}): take that out and set early_stopping_rounds of "
                "FocalClassifierCV, which follows the log loss of the held-out rows"
            )
        if patience is not None and (kind := self._indivisible(estimator)):
            raise ValueError(
                f"early_stopping_rounds={patience!r} cannot be used with {kind}, whose first rounds are no model of "
                "their own: pass early_stopping_rounds=None"
            )

    @abc.abstractmethod
    def _indivisible(self, estimator: Any) -> str | None:
        """Say what trains models whose first rounds are no models, if the estimator does."""

    @abc.abstractmethod
    def fold_arguments(
        self, estimator: Any, n_classes: int, sample_weight: AnyArray | None, patience: int | None
    ) -> dict[str, Any]:
        """Arguments of ``fit`` that weigh one evaluation set, score it by the log loss alone and stop by that.

        The estimator is a clone that belongs to the caller; the log loss becomes its only metric.
        """

    @abc.abstractmethod
    def set_rounds(self, estimator: Any, n_rounds: int) -> None:
        """Let an unfitted estimator train this many rounds."""

    @abc.abstractmethod
    def stop_at(self, estimator: Any, n_rounds: int) -> None:
        """Let a fitted estimator predict by its first rounds, as if early stopping had found the last of them best."""

    # For stored models

    @abc.abstractmethod
    def booster_state(self, estimator: Any) -> dict[str, Any]:
        """Return ``booster``, the library's own file as bytes, and plain data that the file does not hold."""

    @abc.abstractmethod
    def restore_booster(self, estimator: Any, state: dict[str, Any]) -> None:
        """Give an estimator the booster that `booster_state` returned."""

    # For DaskFocalClassifier

    cluster_class: ClassVar[str]
    """Name of the library's Dask estimator."""

    cluster_parameter: ClassVar[str]
    """Parameter of that one that the estimator for one machine does not have."""

    def local_estimator(self, estimator: Any) -> Any:
        """Make an unfitted estimator for one machine with the parameters of the library's Dask estimator."""
        if type(estimator).__name__ != self.cluster_class:
            raise TypeError(
                f"estimator is a {type(estimator).__name__}, but on a cluster it has to be a {self.cluster_class}; "
                "FocalClassifier takes those for one machine"
            )
        params = {name: value for name, value in estimator.get_params().items() if name != self.cluster_parameter}
        return clone(self._classifier_class(**params))

    @abc.abstractmethod
    def fit_on_cluster(
        self,
        given: Any,
        estimator: Any,
        client: Any,
        loss: Loss,
        train: Any,
        eval_sets: list[Any] | None,
        fit_params: dict[str, Any],
        start: dict[str, Any],
    ) -> None:
        """Fit an estimator for one machine in place, through the Dask estimator that was given, which is not touched.

        `train` and `eval_sets` are `focal_boost.dask.Rows`; `start` is intercept and n_threads of `fit_estimator`.
        """

    # For ONNX

    @abc.abstractmethod
    def onnx_trees(self, estimator: Any, n_features: int) -> tuple[Any, list[int]]:
        """Trees of a fitted estimator as onnxmltools converts them, and the output that each of them adds to."""


def metric_on_probabilities(metric: Any, loss: Loss, wanted: str, is_fine: Callable[[Any], bool]) -> Any:
    """Let a metric function of the user see probabilities, of class 1 if there are two, and check what it returns."""
    name = getattr(metric, "__name__", type(metric).__name__)

    def of_margins(y_true: AnyArray, margins: AnyArray, *rest: Any, **weighted: Any) -> Any:
        proba = loss.predict_proba(margins)
        value = metric(y_true, proba[:, 1] if np.ndim(margins) == 1 else proba, *rest, **weighted)
        if not is_fine(value):
            raise TypeError(f"the metric {name} returned {value!r}, but it has to return {wanted}")
        return value

    return of_margins
