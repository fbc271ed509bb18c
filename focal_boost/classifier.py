"""scikit-learn estimator that trains XGBoost or LightGBM with focal loss.

Everything particular to a library is in the module of the same name (`focal_boost.xgboost`, `focal_boost.lightgbm`);
this one deals with labels, weights, parameters and probabilities.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from focal_boost._adapter import LIBRARIES, Adapter, library_of
from focal_boost._checks import (
    by_position,
    check_known,
    check_start_margins,
    classes_and_codes,
    eval_labels,
    eval_pairs,
    is_on_gpu,
    on_host,
    package_of,
    row_labels,
    row_weights,
)
from focal_boost._features import feature_table
from focal_boost._saving import Saved, load
from focal_boost._training import (
    Training,
    check_fraction,
    check_per_row,
    check_rows,
    check_weighted_classes,
    n_outputs,
    totals,
)
from focal_boost._typing import AnyArray, FloatArray, Hessian
from focal_boost.kernels import for_gpu, is_device_array
from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss, make_loss

if TYPE_CHECKING:
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

__all__ = ["FocalClassifier"]

# One for all classes, or one for each in their order or by label.
Gamma = float | Sequence[float] | NDArray[np.floating[Any]] | Mapping[Any, float]

# One weight for the positive class of two, weights in the order of the classes or by label, or the inverse shares.
Alpha = float | Sequence[float] | NDArray[np.floating[Any]] | Mapping[Any, float] | Literal["balanced"] | None


_FIT_ARGUMENTS = (
    *("callbacks", "categorical_feature", "eval_X", "eval_init_score", "eval_metric", "eval_names", "eval_y"),
    *("eval_sample_weight", "eval_class_weight", "feature_name", "init_model", "init_score"),
    *("base_margin", "base_margin_eval_set", "feature_weights", "sample_weight_eval_set", "verbose", "xgb_model"),
)


class FocalClassifier(ClassifierMixin, Saved):
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
    validation_fraction : float or None, default=None
        Share of the rows that `fit` holds out for early stopping where it is given no `eval_set`, as scikit-learn's
        HistGradientBoostingClassifier does: so that training stops early inside Pipeline, GridSearchCV and
        CalibratedClassifierCV too. Rows are drawn by the `random_state` of `estimator` (0 if it has none), from each
        class its share, and keep their weights and start margins; those of one group stay together. If `estimator`
        does not say when to stop, it is when 50 rounds have brought nothing. The model is not trained again on all
        rows. None holds out nothing.

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
    Early stopping is asked for by `validation_fraction`, or as the library asks for it:
    ``XGBClassifier(early_stopping_rounds=…)``, ``fit(callbacks=[lightgbm.early_stopping(…)])``. Every `eval_set` is
    scored by the log loss of the probabilities, unless the estimator names other metrics, under the library's own name:
    ``logloss`` or ``mlogloss``, ``binary_logloss`` or ``multi_logloss``. XGBoost follows the last metric that its
    estimator was given; LightGBM follows all of them, or the first with ``first_metric_only=True``. Metric functions of
    the user get probabilities, and so do the built-in metrics of XGBoost. Those of LightGBM see raw scores, so that
    only ranking metrics, which it reports before all others, are accepted beside the log loss.

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

    # What scikit-learn may route to fit besides the arguments that it names: all that the inner estimators take.
    __metadata_request__fit: ClassVar[dict[str, None]] = dict.fromkeys(_FIT_ARGUMENTS)

    def __init__(
        self,
        estimator: XGBClassifier | LGBMClassifier | None = None,
        *,
        gamma: Gamma = 1.0,
        alpha: Alpha = None,
        hessian: Hessian = "expected",
        max_step: float | None = 8.0,
        validation_fraction: float | None = None,
    ) -> None:
        self.estimator = estimator
        self.gamma = gamma
        self.alpha = alpha
        self.hessian = hessian
        self.max_step = max_step
        self.validation_fraction = validation_fraction

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        eval_set: Sequence[tuple[Any, Any]] | None = None,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Train the inner estimator with focal loss.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
            Whatever the library takes: NumPy, SciPy, pandas, polars, Arrow; NaN and categorical columns included. With
            XGBoost also CuPy, cuDF and other tables in the memory of a GPU, which stay there; predictions are then
            CuPy arrays if XGBoost makes them there.
        y : array-like of shape (n,), or (n, K) with XGBoost
            Labels of any kind; two or more classes. (n, K): K columns of 0 and 1, dense or sparse.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0.
        eval_set : list of (X, y) pairs, default=None
            Scored in each round; labels as in `y`.
        groups : array-like of shape (n,), default=None
            Rows of one group are held out together, or not at all; for `validation_fraction`.
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
        training = self._prepare(X, y, sample_weight, eval_set, groups, fit_params)
        library, estimator = training.library, training.estimator
        library.fit_estimator(
            estimator,
            training.loss,
            training.X,
            training.codes,
            training.weight,
            training.eval_set,
            training.fit_params,
        )
        # Last: whatever fails before leaves a model that was fitted earlier whole.
        validate_data(self, training.X, skip_check_array=True)
        self.estimator_ = estimator
        self.classes_ = training.classes
        self.loss_ = training.loss
        self.evals_result_ = library.evals_result(estimator)
        self.best_iteration_ = library.best_iteration(estimator)
        return self

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any, groups: Any, fit_params: dict[str, Any]
    ) -> Training:
        """Check all that `fit` is given, and make of it what the library trains on."""
        if y is None:
            raise ValueError("FocalClassifier requires y to be passed, but the target y is None")
        check_fraction(self.validation_fraction, groups)
        library, inner = self._clone_estimator()
        fit_params = dict(fit_params)
        given = eval_pairs(eval_set, fit_params)
        seen = type(self)(**self.get_params(deep=False))  # scikit-learn notes on it what X looks like
        table = seen._features(X, inner, reset=True)
        classes, codes = classes_and_codes(y)
        check_rows("y", len(codes), "X", table)
        if codes.ndim == 2 and not library.takes_label_columns:
            raise ValueError(
                f"y has shape {codes.shape}, but {library.title} trains one label a row: train a model a label with "
                "sklearn.multioutput.MultiOutputClassifier(FocalClassifier(...)), or pass an XGBClassifier"
            )
        weight = row_weights(sample_weight, len(codes))
        loss = self._make_loss(classes, totals(codes, weight))
        weight = self._combine_weights(inner, classes[codes] if codes.ndim == 1 else codes, weight)
        seen._replace_earlier_model(fit_params, library, loss, classes)
        pairs = None if given is None else seen._encoded_pairs(given, X, y, table, codes, classes, inner)
        check_per_row(fit_params, library, n_outputs(classes), len(codes), pairs or [])
        training = Training(library, inner, loss, classes, table, codes, weight, pairs, fit_params)
        if self.validation_fraction is not None and not pairs:
            training = training.with_rows_held_out(float(self.validation_fraction), groups)
        check_weighted_classes(training.weight, classes, training.codes)
        return training

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
        library = library_of(self.estimator_)
        for name in set(predict_params) - library.prediction_arguments:
            raise TypeError(
                f"{name}={predict_params[name]!r:.60} is none of the arguments of predict that margins can be made "
                f"with, {', '.join(sorted(library.prediction_arguments))}: leave it out, or call predict of estimator_"
            )
        X = self._features(X, self.estimator_, reset=False)
        name = library.margins_argument
        check_start_margins(predict_params.get(name), X.shape[0], n_outputs(self.classes_), name)
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
        codes = proba.argmax(axis=1)
        labels: AnyArray = self.classes_
        if is_device_array(codes) and labels.dtype.kind in "biuf":
            labels = for_gpu().asarray(labels)
        else:
            codes = on_host(codes)
        chosen: AnyArray = labels[codes]
        return chosen

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Share of rows whose most probable label is theirs, by weight.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        y : array-like of shape (n,) or (n, K)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        float
        """
        return self._accuracy(self.predict(X), y, sample_weight)

    def _accuracy(self, predicted: Any, y: Any, sample_weight: Any) -> float:
        labels = row_labels(y, "y")
        return float(accuracy_score(labels, on_host(predicted), sample_weight=on_host(sample_weight)))

    @property
    def feature_importances_(self) -> AnyArray:
        """Importance of each feature, as the inner estimator counts it; ndarray of shape (`n_features_in_`,)."""
        check_is_fitted(self)
        importances: AnyArray = self.estimator_.feature_importances_
        if importances.ndim == 1:
            return importances
        # Of a linear model, a coefficient for each class: their sizes together.
        sizes: AnyArray = np.abs(importances).sum(axis=1)
        return sizes / (sizes.sum() or 1.0)

    @property
    def n_rounds_(self) -> int:
        """Number of boosting rounds that predictions are made of: up to the best where training stopped early."""
        check_is_fitted(self)
        return library_of(self.estimator_).n_rounds(self.estimator_)

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
        inner = clone(estimator)
        for name in ("callbacks", "eval_metric"):
            if (own := getattr(estimator, name, None)) is not None:
                inner.set_params(**{name: _shared(own, getattr(inner, name))})
        library.check_estimator(inner)
        return library, inner

    def _features(self, X: Any, estimator: Any, *, reset: bool, name: str = "X") -> Any:
        """Features as `estimator` takes them: data frames as they are, all else as arrays or sparse matrices."""
        if is_on_gpu(X):
            library_of(estimator).check_device_table(X, name)
        X = feature_table(X, name, self)
        validate_data(self, X, skip_check_array=True, reset=reset)
        if hasattr(X, "columns"):
            library_of(estimator).check_frame(X, estimator)
        return X

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
        loss = make_loss(len(classes), gamma=gamma, alpha=alpha, hessian=self.hessian, max_step=self.max_step)
        if isinstance(loss.alpha, float) and loss.alpha != 0.5 and classes.dtype.kind not in "biuf":
            other, last = classes.tolist()
            warnings.warn(
                f"alpha={alpha!r} weighs {last!r}, the last of {[other, last]} in sorted order and no more positive "
                f"than that; to say which class is meant pass alpha={{{other!r}: {1 - loss.alpha:.12g}, {last!r}: "
                f"{loss.alpha:.12g}}}",
                UserWarning,
                stacklevel=4,
            )
        return loss

    def _replace_earlier_model(self, fit_params: dict[str, Any], library: Adapter, loss: Any, classes: Any) -> None:
        """Put the booster to continue in the place of the model that the user gave."""
        name = library.model_argument
        earlier = fit_params.get(name)
        if earlier is None:
            return
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
        fit_params[name] = library.model_to_continue(earlier, loss, self.n_features_in_)

    def _combine_weights(self, inner: Any, y: Any, weight: np.ndarray | None) -> np.ndarray | None:
        """Sample weights times the inner estimator's own class_weight, which it would apply to encoded labels."""
        class_weight = getattr(inner, "class_weight", None)
        if class_weight is None:
            return weight
        by_class: AnyArray = compute_sample_weight(class_weight, y)
        self._check_class_weight(class_weight)
        inner.set_params(class_weight=None)
        return by_class if weight is None else weight * by_class

    def _check_class_weight(self, class_weight: Any) -> None:
        """Refuse class weights of the estimator beside alpha, and say what they do without it."""
        if self.alpha is not None:
            raise ValueError(
                f"class weights are given twice, by alpha={self.alpha!r} and by class_weight={class_weight!r} of the "
                "estimator: keep alpha, which predict_proba undoes, and leave class_weight None"
            )
        warnings.warn(
            f"class_weight={class_weight!r} of the estimator multiplies the row weights, so predict_proba gives the "
            "probabilities of rows weighted so; use alpha={label: weight} or alpha='balanced' instead, which "
            "predict_proba undoes",
            UserWarning,
            stacklevel=3,
        )

    def _encoded_pairs(
        self,
        given: list[tuple[Any, Any]],
        X: Any,
        y: Any,
        table: Any,
        codes: np.ndarray,
        classes: np.ndarray | list[np.ndarray],
        estimator: Any,
    ) -> list[tuple[Any, np.ndarray]]:
        """Evaluation pairs with encoded labels; those that are the training data stay the same objects."""
        pairs = []
        known = classes[0] if isinstance(classes, list) else classes
        for i, pair in enumerate(given):
            if pair[0] is X and pair[1] is y:
                pairs.append((table, codes))
                continue
            labels = eval_labels(pair[1], codes.shape, i)
            check_known(labels.ravel(), known, i)
            features = self._features(pair[0], estimator, reset=False, name=f"X of eval_set[{i}]")
            check_rows(f"y of eval_set[{i}]", len(labels), "its X", features)
            pairs.append((features, np.searchsorted(known, labels)))
        return pairs


def _shared(own: Any, copied: Any) -> Any:
    """A user's object in place of its copy, which would keep what it collects; those of a library start afresh."""
    if isinstance(own, (list, tuple)):
        return [_shared(*pair) for pair in zip(own, copied, strict=True)]
    return copied if package_of(own) in LIBRARIES else own


def _check_same(what: str, earlier: Any, now: Any, name: str) -> None:
    if earlier != now:
        raise ValueError(
            f"{name} is a model with {what} {str(earlier)[:200]}, but this one has {str(now)[:200]}: make them equal"
        )


def _as_list(classes: Any) -> Any:
    return np.asarray(classes).tolist()


def _takes_labels(estimator: Any) -> bool:
    """Whether an estimator trains on y of shape (n, K)."""
    try:
        return estimator is not None and library_of(estimator).takes_label_columns
    except TypeError:
        return False


def _of_labels(name: str, value: Any) -> Any:
    """What a loss of several labels takes for gamma or alpha: one value or pair that serves all of them."""
    if isinstance(value, (str, Mapping)):
        raise ValueError(
            f"{name}={value!r} is not known for y of several columns: pass one number or one pair (no, yes) for all of "
            "them, or train a model a label with sklearn.multioutput.MultiOutputClassifier"
        )
    return value


def _resolve(value: Any, name: str, classes: np.ndarray) -> Any:
    """What a loss takes for gamma or alpha, from what a user may give: by label, or as it is."""
    if not isinstance(value, Mapping):
        return value
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
    if len(classes) > 2 and isinstance(by_position(alpha), Real) and not isinstance(alpha, bool):
        raise ValueError(
            f"alpha={alpha!r} is one number, but there are {len(classes)} classes: pass one weight per class, a "
            "mapping from label to weight, or 'balanced'"
        )
    return _resolve(alpha, "alpha", classes)
