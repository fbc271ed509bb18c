"""scikit-learn estimator that trains XGBoost or LightGBM with focal loss.

Everything particular to a library is in the module of the same name (`focal_boost.xgboost`, `focal_boost.lightgbm`);
this one deals with labels, weights, parameters and probabilities.
"""

from __future__ import annotations

import copy
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from focal_boost._adapter import LIBRARIES, Adapter, library_of, names
from focal_boost._saving import load, save, with_booster, without_booster
from focal_boost._typing import AnyArray, FloatArray, Hessian
from focal_boost._validation import (
    check_features,
    check_indicator,
    check_labels,
    check_sample_weight,
    check_start_margins,
    encode_columns,
    per_eval_set,
    refuse_unreadable,
)
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss, make_loss

if TYPE_CHECKING:
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

__all__ = ["FocalClassifier"]

# One for all classes, or one for each in their order or by label.
Gamma = float | Sequence[float] | NDArray[np.floating[Any]] | Mapping[Any, float]

# One weight for the positive class of two, weights in the order of the classes or by label, or the inverse shares.
Alpha = float | Sequence[float] | NDArray[np.floating[Any]] | Mapping[Any, float] | Literal["balanced"] | None


class FocalClassifier(ClassifierMixin, BaseEstimator):
    """Gradient-boosted trees trained with focal loss, answering with class probabilities.

    Parameters
    ----------
    estimator : XGBClassifier, XGBRFClassifier or LGBMClassifier, default=None
        Unfitted; it is cloned and never touched. None is ``LGBMClassifier()``.
    gamma : float, sequence or mapping, default=1.0
        Focusing parameter of the loss, >= 0: one for all classes, or one for each, in a sequence in the order of
        `classes_` or in a mapping from label. At 0 the loss is the log loss.
    alpha : float, sequence, mapping, "balanced" or None, default=None
        Class weights: a float in (0, 1) weighs the positive class of two with alpha and the other with 1 - alpha; a
        sequence gives one positive weight per class in the order of `classes_`; a mapping gives them by label;
        "balanced" is the inverse of the weighted class shares. Only their ratios matter.
    hessian : {"expected", "exact"}, default="expected"
        Curvature handed to the booster: averaged over the label, hence positive, or the signed second derivative.
    max_step : float or None, default=8.0
        No leaf exceeds this value (before the learning rate), whatever the data.

    Attributes
    ----------
    classes_ : ndarray of shape (K,), or list of K ndarrays
        Labels, sorted. For y of shape (n, K), 0 and 1 for each column, as scikit-learn's forests have it.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has column names.
    loss_ : BinaryFocalLoss or MulticlassFocalLoss
    estimator_ : XGBClassifier, XGBRFClassifier or LGBMClassifier
        Fitted on labels 0 to K - 1. It and its saved model file stand alone and give the same probabilities.
    feature_importances_ : ndarray of shape (`n_features_in_`,)
    evals_result_ : dict
        Metrics of each `eval_set` in each round, as the library reports them; empty without one.
    best_iteration_ : int or None
        As the library counts it (XGBoost: index of a round from 0; LightGBM: number of rounds from 1); None where
        there was no early stopping.
    n_rounds_ : int
        Number of rounds that predictions are made of, counted alike for both libraries: ``n_estimators`` for the same
        model without early stopping.

    Notes
    -----
    Early stopping is asked for as the library asks for it: ``XGBClassifier(early_stopping_rounds=…)``,
    ``fit(callbacks=[lightgbm.early_stopping(…)])``. Every `eval_set` is scored by the log loss of the probabilities,
    unless the estimator names other metrics, under the library's own name: ``logloss`` or ``mlogloss``,
    ``binary_logloss`` or ``multi_logloss``. XGBoost follows the last metric that its estimator was given; LightGBM
    follows all of them, or the first with ``first_metric_only=True``. Metric functions of the user get probabilities,
    and so do the built-in metrics of XGBoost. Those of LightGBM see raw scores, so that only ranking metrics, which
    it reports before all others, are accepted beside the log loss.

    Parameters of the inner estimator that an objective of one's own would silently ignore are refused.

    Margins are log-odds whatever `gamma` and `alpha` are. Both change what the trees attend to, not what is predicted:
    `predict_proba` gives the probabilities of the rows as they are, and `predict` the most probable label. To find more
    of a rare class, choose a threshold, for instance with scikit-learn's TunedThresholdClassifierCV.

    With XGBoost y may be an indicator of shape (n, K), K labels that are each 0 or 1, each trained with the binary
    loss: in trees of its own, or with ``XGBClassifier(multi_strategy="multi_output_tree")`` in the leaves of trees that
    all share. `gamma` and `alpha` are then one number or pair for all labels, metrics are means over rows and labels.
    Where the labels need different weights, and with LightGBM, scikit-learn's MultiOutputClassifier trains a model a
    label.

    Examples
    --------
    >>> from lightgbm import LGBMClassifier
    >>> from sklearn.datasets import make_classification
    >>> from focal_boost import FocalClassifier
    >>> X, y = make_classification(weights=[0.95], random_state=0)
    >>> model = FocalClassifier(LGBMClassifier(n_estimators=10, verbosity=-1), gamma=2.0).fit(X, y)
    >>> model.predict_proba(X).shape
    (100, 2)
    """

    estimator_: Any
    classes_: Any  # ndarray, or a list of them for several labels
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    loss_: BinaryFocalLoss | MulticlassFocalLoss
    evals_result_: dict[str, dict[str, list[float]]]
    best_iteration_: int | None

    def __init__(
        self,
        estimator: XGBClassifier | LGBMClassifier | None = None,
        *,
        gamma: Gamma = 1.0,
        alpha: Alpha = None,
        hessian: Hessian = "expected",
        max_step: float | None = 8.0,
    ) -> None:
        self.estimator = estimator
        self.gamma = gamma
        self.alpha = alpha
        self.hessian = hessian
        self.max_step = max_step

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        eval_set: Sequence[tuple[Any, Any]] | None = None,
        **fit_params: Any,
    ) -> Self:
        """Train the inner estimator with focal loss.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
            Whatever the library takes: NumPy, SciPy, pandas, polars, Arrow; NaN and categorical columns included.
        y : array-like of shape (n,), or (n, K) with XGBoost
            Labels of any kind; two or more classes. (n, K): K columns of 0 and 1, dense or sparse.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0.
        eval_set : list of (X, y) pairs, default=None
            Scored in each round; labels as in `y`.
        **fit_params
            The inner estimator's own arguments of ``fit``: eval weights, callbacks, verbosity, and so on. A model to
            continue (``xgb_model`` and ``init_model``) may also be a fitted FocalClassifier or the path of a saved
            one. Its classes and features must be those of this model, but gamma and alpha may change, and it may be
            one of the library's own log loss: margins mean the same. Its start is in its margins and counted once.
            Where it was stopped early, its best round is the last that counts.

        Returns
        -------
        FocalClassifier
            Itself.

        Raises
        ------
        ValueError
            If data, labels, weights or parameters cannot be trained on; before any training, and without a change
            to a model that was fitted before.
        TypeError
            If `estimator` is not one of the three, or an argument of ``fit`` is not known to it.
        """
        # All of it happens to a copy: whatever fails, a model that was fitted before is still whole.
        fitted = copy.copy(self)
        fitted._fit(X, y, sample_weight, eval_set, fit_params)
        self.__dict__ = fitted.__dict__
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, eval_set: Any, fit_params: dict[str, Any]) -> None:
        if y is None:
            raise ValueError("FocalClassifier requires y to be passed, but the target y is None")
        library, inner = self._clone_estimator()
        train_X = self._check_X(X, library, reset=True)
        classes, codes = encode_columns(y)
        _check_rows("y", len(codes), "X", train_X)
        if codes.ndim == 2 and not library.MULTILABEL:
            raise ValueError(
                f"y has shape {codes.shape}, but {_title(library)} trains one label a row: train a model a label with "
                "sklearn.multioutput.MultiOutputClassifier(FocalClassifier(...)), or pass an XGBClassifier"
            )
        weight = check_sample_weight(sample_weight, len(codes))
        loss = self._make_loss(classes, _totals(codes, weight))
        weight = self._combine_weights(inner, y, weight)
        _check_weighted_classes(weight, classes, codes)
        fit_params = self._earlier_models(fit_params, library, loss, classes)
        pairs = self._check_eval_set(eval_set, fit_params, X, y, train_X, codes, classes, library)
        n_outputs = codes.shape[1] if codes.ndim == 2 else loss.n_outputs
        _check_per_row(fit_params, n_outputs, len(codes), pairs)
        library.fit_estimator(inner, loss, train_X, codes, weight, pairs, fit_params)
        self.estimator_ = inner
        self.classes_ = classes
        self.loss_ = loss
        self.evals_result_ = library.evals_result(inner)
        self.best_iteration_ = library.best_iteration(inner)

    def decision_function(self, X: Any, **predict_params: Any) -> FloatArray:
        """Margins of the trees, start included: log-odds, or log-probabilities up to a constant for many classes.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        **predict_params
            The inner estimator's own arguments of ``predict``, such as ``iteration_range`` or ``num_iteration``.

        Returns
        -------
        ndarray of shape (n,), or (n, K) for more than two classes
        """
        check_is_fitted(self)
        for name in _OTHER_PREDICTIONS & set(predict_params):
            raise TypeError(
                f"{name}={predict_params[name]!r} asks for something other than this method gives: leave it out, or "
                "call predict of estimator_"
            )
        library = library_of(self.estimator_)
        X = self._check_X(X, library, reset=False)
        margins: FloatArray = library.predict_margins(self.estimator_, X, predict_params)
        return margins

    def predict_proba(self, X: Any, **predict_params: Any) -> FloatArray:
        """Class probabilities: sigmoid or softmax of `decision_function`.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        **predict_params
            As for `decision_function`.

        Returns
        -------
        ndarray of shape (n, K)
            Columns in the order of `classes_`; rows sum to 1. If y had K columns: the probability of each.
        """
        margins = self.decision_function(X, **predict_params)
        return self.loss_.predict_proba(margins)

    def predict(self, X: Any, **predict_params: Any) -> AnyArray:
        """Most probable label of each row, and of each column of y.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        **predict_params
            As for `decision_function`.

        Returns
        -------
        ndarray of shape (n,) or (n, K)
        """
        proba = self.predict_proba(X, **predict_params)
        if isinstance(self.classes_, list):
            return (proba > 0.5).astype(np.int64)
        labels: AnyArray = self.classes_[np.argmax(proba, axis=1)]
        return labels

    @property
    def feature_importances_(self) -> AnyArray:
        """Importance of each feature, as the inner estimator counts it; ndarray of shape (`n_features_in_`,)."""
        check_is_fitted(self)
        importances: AnyArray = self.estimator_.feature_importances_
        return importances

    @property
    def n_rounds_(self) -> int:
        """Number of boosting rounds that predictions are made of: up to the best where training stopped early."""
        check_is_fitted(self)
        return library_of(self.estimator_).n_rounds(self.estimator_)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that `load` reads without pickle, by the extra ``save`` (skops).

        Parameters
        ----------
        path : str or PathLike
            Overwritten if it exists, in one step: whoever reads it meets the old file or the new one, never a part.

        Raises
        ------
        ValueError
            If the model holds something that `load` would refuse: callbacks, functions, classes of one's own.
        ImportError
            If skops is not installed.
        OSError
            If the file cannot be written.

        See Also
        --------
        focal_boost.save : The same for a Pipeline or another estimator with such a model in it.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from lightgbm import LGBMClassifier
        >>> from focal_boost import FocalClassifier
        >>> X, y = np.arange(100.0)[:, None], np.repeat(["no", "yes"], 50)
        >>> model = FocalClassifier(LGBMClassifier(n_estimators=5, verbosity=-1)).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(Path(folder, "model.focal"))
        ...     loaded = FocalClassifier.load(Path(folder, "model.focal"))
        >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
        True
        """
        check_is_fitted(self)
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that `save` wrote: fitted, and ready to be trained again.

        Parameters
        ----------
        path : str or PathLike

        Returns
        -------
        FocalClassifier
            With the same margins and probabilities, bit for bit.

        Raises
        ------
        ValueError
            If the file is not one that `save` wrote, is damaged, holds a type that is not trusted or a model of
            another class, or comes from focal_boost 0.1.0.
        ImportError
            If skops or the library of its booster is not installed.
        OSError
            If the file cannot be read.

        See Also
        --------
        focal_boost.load : Reads what `focal_boost.save` wrote, whatever it is; what a file can do stands there.
        """
        model = load(path)
        if not isinstance(model, cls):
            raise ValueError(
                f"{os.fspath(path)!r} holds a {type(model).__name__}, not a {cls.__name__}: use focal_boost.load"
            )
        return model

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "estimator_" in state:
            state["estimator_"] = without_booster(self.estimator_)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "posterior" in state:
            raise ValueError(
                "the pickle was written by focal_boost 0.1.0, whose margins mean something else: train the model "
                "again, or load it with focal_boost==0.1.0"
            )
        if "estimator_" in state:
            state = {**state, "estimator_": with_booster(state["estimator_"])}
        super().__setstate__(state)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        # Not target_tags.multi_output, whose check wants classes_ to be one array: scikit-learn's scorers would then
        # take two labels for two classes.
        tags.classifier_tags.multi_label = _takes_labels(self.estimator)
        return tags

    def _clone_estimator(self) -> tuple[Adapter, Any]:
        estimator = self.estimator
        if estimator is None:
            try:
                from lightgbm import LGBMClassifier
            except ImportError as error:
                raise ImportError(
                    "estimator=None stands for LGBMClassifier(), but lightgbm is not installed: "
                    "pip install 'focal_boost[lightgbm]', or pass an XGBClassifier"
                ) from error
            estimator = LGBMClassifier()
        library = library_of(estimator)
        with warnings.catch_warnings():
            # XGBRFClassifier warns of its deprecation each time it is built; whoever passed it has been told.
            warnings.simplefilter("ignore", FutureWarning)
            inner = clone(estimator)
        library.check_estimator(inner)
        return library, inner

    def _check_X(self, X: Any, library: Adapter, *, reset: bool) -> Any:
        """Features as the boosters take them: data frames as they are, all else as arrays or sparse matrices."""
        refuse_unreadable(X, "X")
        if hasattr(X, "columns") or hasattr(X, "__arrow_c_stream__"):
            validate_data(self, X, skip_check_array=True, reset=reset)
            if not len(X):
                raise ValueError(
                    f"Found data frame with 0 sample(s) (columns {list(X.columns)[:5]}); pass at least one row"
                )
            library.check_frame(X)
            return X
        if getattr(getattr(X, "dtype", None), "kind", "") == "c":  # check_array would print the table
            raise ValueError(
                f"Complex data not supported: X has dtype {X.dtype}; pass real and imaginary parts as columns"
            )
        X = validate_data(self, X, reset=reset, accept_sparse=("csr", "csc"), ensure_all_finite=False, estimator=self)
        return check_features(X)

    def _make_loss(
        self, classes: np.ndarray | list[np.ndarray], totals: np.ndarray
    ) -> BinaryFocalLoss | MulticlassFocalLoss:
        """The loss for these classes, of which `totals` are the sums of weights."""
        if not totals.any():
            raise ValueError("sample_weight is zero in every row: at least one row must count")
        if isinstance(classes, list):
            gamma, alpha = (_of_labels(name, getattr(self, name)) for name in ("gamma", "alpha"))
            classes = classes[0]
        else:
            gamma = _resolve(self.gamma, "gamma", classes)
            alpha = _resolve_alpha(self.alpha, classes, totals)
        return make_loss(len(classes), gamma=gamma, alpha=alpha, hessian=self.hessian, max_step=self.max_step)

    def _earlier_models(self, fit_params: dict[str, Any], library: Adapter, loss: Any, classes: Any) -> dict[str, Any]:
        """Arguments of fit with what the library continues from in place of what the user gave."""
        return {
            name: self._earlier_model(name, value, library, loss, classes)
            if name in names("earlier") and value is not None
            else value
            for name, value in fit_params.items()
        }

    def _earlier_model(self, name: str, earlier: Any, library: Adapter, loss: Any, classes: Any) -> Any:
        if isinstance(earlier, (str, os.PathLike)) and zipfile.is_zipfile(earlier):
            earlier = load(earlier)
        if isinstance(earlier, FocalClassifier):
            check_is_fitted(earlier)
            if library_of(earlier.estimator_) is not library:
                raise ValueError(
                    f"{name} is a model of another library: {type(earlier.estimator_).__name__}; continue one of "
                    "the same library"
                )
            _check_same("classes_", _as_list(earlier.classes_), _as_list(classes), name)
            _check_same("n_features_in_", earlier.n_features_in_, self.n_features_in_, name)
            old, new = (list(getattr(model, "feature_names_in_", ())) for model in (earlier, self))
            if old and new:
                _check_same("feature_names_in_", old, new, name)
            earlier = earlier.estimator_
        else:
            labels = _as_list(getattr(earlier, "classes_", classes))
            if labels != list(range(len(labels))):  # of an estimator on encoded labels they say nothing
                _check_same("classes_", labels, _as_list(classes), name)
        return library.check_earlier(earlier, loss, self.n_features_in_)

    def _combine_weights(self, inner: Any, y: Any, weight: np.ndarray | None) -> np.ndarray | None:
        """Sample weights times the inner estimator's own class_weight, which it would apply to encoded labels."""
        class_weight = getattr(inner, "class_weight", None)
        if class_weight is None:
            return weight
        self._check_class_weight(class_weight)
        inner.set_params(class_weight=None)
        by_class: AnyArray = compute_sample_weight(class_weight, y)
        self._warn_of_class_weight(class_weight)
        return by_class if weight is None else weight * by_class

    def _check_class_weight(self, class_weight: Any) -> None:
        if self.alpha is not None:
            raise ValueError(
                f"class weights are given twice, by alpha={self.alpha!r} and by class_weight={class_weight!r} of the "
                "estimator: keep alpha, which predict_proba undoes, and leave class_weight None"
            )

    @staticmethod
    def _warn_of_class_weight(class_weight: Any) -> None:
        warnings.warn(
            f"class_weight={class_weight!r} of the estimator multiplies the row weights, so predict_proba gives the "
            "probabilities of rows weighted so; use alpha={label: weight} or alpha='balanced' instead, which "
            "predict_proba undoes",
            UserWarning,
            stacklevel=3,
        )

    def _check_eval_set(
        self,
        eval_set: Any,
        fit_params: dict[str, Any],
        X: Any,
        y: Any,
        train_X: Any,
        codes: np.ndarray,
        classes: np.ndarray | list[np.ndarray],
        library: Adapter,
    ) -> list[tuple[Any, np.ndarray]] | None:
        """Evaluation pairs with encoded labels; those that are the training data stay the same objects."""
        given = _eval_pairs(eval_set, fit_params)
        if given is None:
            return None
        pairs = []
        for i, pair in enumerate(given):
            if pair[0] is X and pair[1] is y:
                pairs.append((train_X, codes))
                continue
            labels = _eval_labels(pair[1], codes, i)
            known = classes[0] if isinstance(classes, list) else classes
            _check_known(labels.ravel(), known, i)
            features = self._check_X(pair[0], library, reset=False)
            _check_rows(f"y of eval_set[{i}]", len(labels), "its X", features)
            pairs.append((features, np.searchsorted(known, labels)))
        return pairs


# Arguments of predict that make it return something else than margins.
_OTHER_PREDICTIONS = {one for words in names("other_predictions") for one in words}


def _title(library: Adapter) -> str:
    return LIBRARIES[library.__name__.rpartition(".")[2]].title


def _check_same(what: str, earlier: Any, now: Any, name: str) -> None:
    if earlier != now:
        raise ValueError(
            f"{name} is a model with {what} {str(earlier)[:200]}, but this one has {str(now)[:200]}: make them equal"
        )


def _as_list(classes: Any) -> Any:
    return np.asarray(classes).tolist()


def _check_per_row(fit_params: dict[str, Any], n_outputs: int, n: int, pairs: list[Any] | None) -> None:
    """Check weights and margins that go to the library under its own names."""
    for name in names("start_margins"):
        check_start_margins(fit_params.get(name), n, n_outputs, name)
    for name in names("eval_weights"):
        for i, weight in per_eval_set(fit_params.get(name), pairs, name):
            check_sample_weight(weight, len(pairs[i][1]) if pairs else 0, f"{name}[{i}]")
    for name in names("eval_start_margins"):
        for i, margins in per_eval_set(fit_params.get(name), pairs, name):
            check_start_margins(margins, len(pairs[i][1]) if pairs else 0, n_outputs, f"{name}[{i}]")


def _check_rows(name: str, n: int, other: str, X: Any) -> None:
    rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if rows != n:
        raise ValueError(f"{name} has {n} labels, but {other} has {rows} rows: pass one label a row")


def _totals(codes: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Sum of the weights of each class; where there are several labels a row, that of all rows."""
    if codes.ndim == 2:
        return np.atleast_1d(len(codes) if weight is None else weight.sum())
    return np.bincount(codes, weights=weight)


def _check_weighted_classes(weight: np.ndarray | None, classes: Any, codes: np.ndarray) -> None:
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


def _eval_labels(y: Any, codes: np.ndarray, i: int) -> np.ndarray:
    """Labels of an evaluation set, as many columns as those of training have."""
    labels = check_indicator(y)
    if labels is None:
        labels = check_labels(y, f"y of eval_set[{i}]")
    if labels.shape[1:] != codes.shape[1:]:
        raise ValueError(
            f"the labels of eval_set[{i}] have shape {labels.shape}, but y has shape {codes.shape}: "
            "pass the same columns"
        )
    return labels


def _unseen(labels: np.ndarray, classes: np.ndarray) -> list[Any]:
    """Labels that are no classes; those of another type never are."""
    known = set(classes.tolist())
    return [label for label in dict.fromkeys(labels.tolist()) if label not in known]


def _pairs_of(eval_X: Any, eval_y: Any) -> list[tuple[Any, Any]]:
    if eval_X is None or eval_y is None:
        missing = "eval_X" if eval_X is None else "eval_y"
        raise ValueError(f"{missing} is None, but eval_X and eval_y belong together: pass both, or eval_set=[(X, y)]")
    if not isinstance(eval_X, tuple):
        return [(eval_X, eval_y)]
    if not isinstance(eval_y, tuple) or len(eval_X) != len(eval_y):
        count = len(eval_y) if isinstance(eval_y, tuple) else f"no tuple ({type(eval_y).__name__})"
        raise ValueError(f"eval_X holds {len(eval_X)} sets, but eval_y {count}: pass tuples of the same length")
    return list(zip(eval_X, eval_y, strict=True))


def _eval_pairs(eval_set: Any, fit_params: dict[str, Any]) -> list[tuple[Any, Any]] | None:
    """Evaluation sets as a list of pairs; ``eval_X`` and ``eval_y`` leave `fit_params` for it."""
    if "eval_X" in fit_params or "eval_y" in fit_params:
        if eval_set is not None:
            raise ValueError("validation data are given twice, by eval_set and by eval_X and eval_y: keep one")
        eval_set = _pairs_of(fit_params.pop("eval_X", None), fit_params.pop("eval_y", None))
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


def _check_known(labels: np.ndarray, classes: np.ndarray, i: int) -> None:
    unseen = _unseen(labels, classes)
    if unseen:
        raise ValueError(
            f"the labels of eval_set[{i}] hold {unseen[:5]}, which y does not: the classes are "
            f"{classes.tolist()[:20]}; remove those rows, or train on data that has them"
        )


def _takes_labels(estimator: Any) -> bool:
    """Whether an estimator trains on y of shape (n, K)."""
    try:
        return estimator is not None and library_of(estimator).MULTILABEL
    except TypeError:
        return False


def _of_labels(name: str, value: Any) -> Any:
    """What a loss of several labels takes for gamma or alpha: one value or pair that serves all of them."""
    if isinstance(value, (str, Mapping)):
        raise ValueError(
            f"{name}={value!r} is not known for y of several columns: pass one number or one pair (no, yes) for all of "
            "them, or train a model a label with sklearn.multioutput.MultiOutputClassifier"
        )
    return _by_position(value)


def _by_position(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else value


def _resolve(value: Any, name: str, classes: np.ndarray) -> Any:
    """What a loss takes for gamma or alpha, from what a user may give: by label, or as it is."""
    if not isinstance(value, Mapping):
        return _by_position(value)
    if set(value) != set(classes.tolist()):
        raise ValueError(
            f"{name} has values for {sorted(value, key=str)}, but the classes are {classes.tolist()}: give one for each"
        )
    return tuple(value[label] for label in classes.tolist())


def _resolve_alpha(alpha: Any, classes: np.ndarray, totals: np.ndarray) -> Any:
    """What a loss takes for alpha; as `_resolve`, and by share."""
    if isinstance(alpha, str):
        if alpha != "balanced":
            raise ValueError(f"alpha={alpha!r} is not known; the only string is 'balanced'")
        if not totals.all():
            empty = classes[totals == 0].tolist()
            raise ValueError(f"alpha='balanced' needs weight in every class, but {empty} have only weights of zero")
        return tuple(totals.sum() / (len(classes) * totals))
    if isinstance(alpha, Real) and not isinstance(alpha, bool) and len(classes) > 2:
        raise ValueError(
            f"alpha={alpha!r} is one number, but there are {len(classes)} classes: pass one weight per class, a "
            "mapping from label to weight, or 'balanced'"
        )
    return _resolve(alpha, "alpha", classes)
