"""Choice of gamma and alpha by cross-validation, where plain log loss (gamma = 0) always takes part.

Focal losses of different gamma cannot be compared; scores of the probabilities can.
"""

from __future__ import annotations

import copy
import inspect
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from scipy.stats import t as student_t
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import check_scoring, log_loss, make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from focal_boost._adapter import names
from focal_boost._typing import AnyArray, FloatArray, Hessian, Splitter
from focal_boost._validation import check_sample_weight, encode
from focal_boost.classifier import Alpha, FocalClassifier, Gamma

if TYPE_CHECKING:
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

__all__ = ["FocalClassifierCV"]

# A candidate is given up when its mean over the folds that it has seen would have to change by more than this many
# standard deviations to catch up in the folds to come: one chance in ten for a candidate that is level.
_GIVE_UP = 1.25

# Folds that every candidate sees: two, because one has no spread.
_FIRST_FOLDS = 2

# Rounds that a fold waits for an improvement at least, unless fewer were asked for.
_LEAST_PATIENCE = 10

# Arguments of fit that a search over folds cannot honour, and what to do instead.
_REFUSED = {
    **dict.fromkeys(
        (
            "eval_set",
            "eval_X",
            "eval_y",
            "eval_names",
            "eval_class_weight",
            "eval_metric",
            *names("eval_weights"),
        ),
        "the rows that a fold holds out are its evaluation set; to choose on rows of your own add them to X and y "
        "and pass cv=PredefinedSplit(...)",
    ),
    **dict.fromkeys(
        (*names("start_margins"), *names("eval_start_margins")),
        "start margins are no part of what is scored; train FocalClassifier with the chosen gamma instead",
    ),
    **dict.fromkeys(
        names("earlier"),
        "an earlier model has seen the rows that a fold holds out; continue FocalClassifier with the chosen gamma",
    ),
}


class FocalClassifierCV(ClassifierMixin, BaseEstimator):
    """FocalClassifier with gamma and alpha chosen by cross-validation.

    Every candidate is scored on probabilities of held-out rows, a scale on which different gamma and alpha can be
    compared; gamma = 0, the plain log loss, is always among them, and `verdict_` says whether focal loss beat
    it by more than the folds differ. The best candidate is trained again on all rows.

    Parameters
    ----------
    estimator : XGBClassifier, XGBRFClassifier or LGBMClassifier, default=None
        Unfitted; it is cloned and never touched. None is ``LGBMClassifier()``. Its ``n_estimators`` is the largest
        number of rounds.
    gammas : sequence, default=(0, 0.5, 1, 2, 5)
        Focusing parameters to try, each as `FocalClassifier` takes it: a number >= 0, or one for each class in a
        sequence or a mapping from label. If 0 is left out it is added in front.
    alphas : sequence, default=(None,)
        Class weights to try, each as `FocalClassifier` takes it, with every gamma: ``(None, "balanced", 0.25)``.
    hessian : {"expected", "exact"}, default="expected"
        As for `FocalClassifier`.
    max_step : float or None, default=8.0
        As for `FocalClassifier`.
    cv : int, splitter or iterable, default=5
        As in scikit-learn: an integer is the number of folds of a StratifiedKFold that does not shuffle; a splitter
        that does should have a ``random_state``; an iterable yields rows for training and for testing. It is asked
        once, so that all candidates see the same folds.
    scoring : str or callable, default="neg_log_loss"
        A scorer of scikit-learn by name, or a function ``(estimator, X, y)``; larger is better.
    early_stopping_rounds : int or None, default=50
        A fold stops when the log loss of the rows that it holds out has not fallen for this many rounds, and is scored
        at its best round. None trains all rounds of the estimator.
    racing : bool, default=True
        True gives up candidates that will hardly win, see the notes. False trains every candidate in every fold with
        the full patience.
    n_jobs : int or None, default=None
        Folds and candidates that are trained at the same time, as in joblib. The result does not depend on it. Give
        the estimator one thread then (``n_jobs=1``).
    verbose : int, default=0
        From 1 on a progress bar (of tqdm, if that is installed, else a line for each training).

    Attributes
    ----------
    best_estimator_ : FocalClassifier
        Trained on all rows for `n_rounds_` rounds.
    best_params_ : dict
        Its ``gamma`` and ``alpha``.
    best_score_ : float
        Mean score of the best candidate over the folds.
    best_index_ : int
        Its place in `cv_results_`.
    cv_results_ : dict of ndarrays
        One entry per candidate, as `GridSearchCV` has it: ``param_gamma``, ``param_alpha``, ``params``,
        ``split0_test_score`` and so on, ``mean_test_score``, ``std_test_score``, ``rank_test_score``, times in
        seconds. Besides: ``split0_n_rounds`` and so on, the round at which the fold was scored, their mean, and
        ``n_rounds_trained``, the sum of all rounds that the candidate cost.
        Candidates that were given up have NaN in folds that they have not seen, their means are over those that they
        have, and they rank after all that were completed.
    n_rounds_ : int
        Rounds of `best_estimator_`: the median over the folds of the rounds that the best candidate was scored at.
    verdict_ : str
        One line: whether the best candidate beat gamma = 0.
    refit_time_ : float
        Seconds of the last training.
    scorer_ : callable
    n_splits_ : int
    classes_ : ndarray of shape (K,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has column names.

    Notes
    -----
    **Racing.** Gamma = 0 is trained in all folds, and every other candidate in the first two. Let d be the mean
    difference of a candidate to gamma = 0 over the m of k folds that it has seen, and s the standard deviation of
    such differences over folds, pooled over the candidates. The difference over all k folds will be about
    ``d ± s sqrt(1/m - 1/k)``. The candidate with the highest ``d + 1.25 s sqrt(1/m - 1/k)`` is completed as long as
    that is above the best mean of a completed candidate; then the others are given up. Races on folds are the idea
    of [1]_. Early stopping loses most of its rounds in waiting: from the second fold on a fold waits as long as the
    longest wait that was worth it at gamma = 0 so far, but at least 10 rounds and a fifth of `early_stopping_rounds`.

    **Rounds and score come from the same rows.** With early stopping the held-out rows choose the round at which they
    are scored, so the scores are a little too good, for all candidates in the same way, gamma = 0 included; compare
    them with each other, and judge the model on rows of its own. The number of rounds of the last training is the
    median because one fold that went on for long would move a mean, and is not enlarged for the larger table.

    **Weights.** Each fold's part of `sample_weight` is used in training, in early stopping, and in scoring where the
    scorer takes weights (those of scikit-learn do; a callable must have a parameter of that name).

    **Verdict.** A paired t-test over the folds, two-sided at 5 %, with the variance corrected for the rows that the
    trainings share [2]_. It is not corrected for the choice of the best among several candidates.

    Neither gamma nor alpha changes what a probability means. Scores such as ``average_precision`` do not see the scale
    of probabilities; rounds still follow the log loss.

    References
    ----------
    .. [1] Maron & Moore, "Hoeffding Races: Accelerating Model Selection Search for Classification and Function
       Approximation", NIPS 1993.
    .. [2] Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003.

    Examples
    --------
    >>> from lightgbm import LGBMClassifier
    >>> from sklearn.datasets import make_classification
    >>> from focal_boost import FocalClassifierCV
    >>> X, y = make_classification(500, weights=[0.9], random_state=0)
    >>> booster = LGBMClassifier(n_estimators=30, n_jobs=1, verbosity=-1)
    >>> search = FocalClassifierCV(booster, gammas=(0, 1, 2), cv=3).fit(X, y)
    >>> sorted(search.best_params_)
    ['alpha', 'gamma']
    >>> search.predict_proba(X).shape
    (500, 2)
    """

    best_estimator_: FocalClassifier
    best_params_: dict[str, Any]
    best_score_: float
    best_index_: int
    cv_results_: dict[str, Any]
    n_rounds_: int
    verdict_: str
    refit_time_: float
    scorer_: Callable[..., float]
    n_splits_: int
    classes_: AnyArray
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def __init__(
        self,
        estimator: XGBClassifier | LGBMClassifier | None = None,
        *,
        gammas: Iterable[Gamma] = (0, 0.5, 1, 2, 5),
        alphas: Iterable[Alpha] = (None,),
        hessian: Hessian = "expected",
        max_step: float | None = 8.0,
        cv: int | Splitter | Iterable[tuple[ArrayLike, ArrayLike]] = 5,
        scoring: str | Callable[..., float] = "neg_log_loss",
        early_stopping_rounds: int | None = 50,
        racing: bool = True,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.gammas = gammas
        self.alphas = alphas
        self.hessian = hessian
        self.max_step = max_step
        self.cv = cv
        self.scoring = scoring
        self.early_stopping_rounds = early_stopping_rounds
        self.racing = racing
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, **fit_params: Any) -> Self:
        """Choose gamma and alpha, and train with them on all rows.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        y : array-like of shape (n,)
            Labels of any kind; two or more classes.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0.
        **fit_params
            Arguments of the inner estimator's ``fit``, passed to every training: callbacks, categorical features.
            Those that concern evaluation sets, start margins or an earlier model are refused.

        Returns
        -------
        FocalClassifierCV
            Itself.

        Raises
        ------
        ValueError
            If data, candidates, folds or scoring cannot be used, before any training and without a change to a model
            that was fitted before; or if the scorer gives a value that is not finite.
        TypeError
            If `estimator` is not one of the three, or an argument of ``fit`` is not known to it.
        """
        fitted = copy.copy(self)
        fitted._fit(X, y, sample_weight, fit_params)
        self.__dict__ = fitted.__dict__
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]) -> None:
        if y is None:
            raise ValueError("FocalClassifierCV requires y to be passed, but the target y is None")
        template = FocalClassifier(self.estimator, hessian=self.hessian, max_step=self.max_step)
        X = template._check_X(X, template._clone_estimator()[0], reset=True)
        self.n_features_in_ = template.n_features_in_
        if hasattr(template, "feature_names_in_"):
            self.feature_names_in_ = template.feature_names_in_
        self.classes_, codes = encode(y)
        y = self.classes_[codes]
        check_consistent_length(X, y)
        weight = check_sample_weight(sample_weight, len(y))
        candidates = _candidates(self.gammas, self.alphas)
        patience = _check_patience(self.early_stopping_rounds)
        _check_candidates(template, candidates, self.classes_, codes, y, weight)
        _check_fit_params(template, patience, fit_params)
        self.scorer_ = _check_scorer(self.scoring, template, self.classes_)
        splits = _check_splits(self.cv, X, codes, self.classes_, weight)
        self.n_splits_ = len(splits)

        data = _Data(X, y, weight, fit_params)
        results = self._search(template, candidates, data, splits, patience)
        reference = _reference(candidates)
        scores = _matrix(results, len(candidates), len(splits), "score")
        ranks = _ranks(scores)
        self.cv_results_ = _cv_results(candidates, results, scores, ranks)
        self.best_index_ = int(np.argmin(ranks))
        self.best_params_ = candidates[self.best_index_]
        self.best_score_ = float(scores[self.best_index_].mean())
        sizes = np.array([(len(train), len(test)) for train, test in splits])
        self.verdict_ = _verdict(scores, candidates, self.best_index_, reference, sizes, self.scoring)
        best_rounds = [results[self.best_index_, split].n_rounds for split in range(len(splits))]
        self.n_rounds_ = math.floor(np.median(best_rounds) + 0.5)
        start = time.perf_counter()
        self.best_estimator_ = self._refit(template, data, patience)
        self.refit_time_ = time.perf_counter() - start

    def _search(
        self,
        template: FocalClassifier,
        candidates: list[dict[str, Any]],
        data: _Data,
        splits: list[tuple[np.ndarray, np.ndarray]],
        patience: int | None,
    ) -> dict[tuple[int, int], _Fold]:
        """Train candidates in folds, batch by batch, until no candidate that is left could win."""
        results: dict[tuple[int, int], _Fold] = {}
        reference, shape = _reference(candidates), (len(candidates), len(splits))
        with (
            Parallel(n_jobs=self.n_jobs, return_as="generator") as parallel,
            _Progress(self.verbose, shape[0] * shape[1]) as progress,
        ):
            while batch := _next_batch(_matrix(results, *shape, "score"), reference, self.racing, patience is not None):
                wait = patience
                if self.racing and patience is not None:
                    wait = _shorter_patience(patience, [r for (i, _), r in results.items() if i == reference])
                done = parallel(
                    delayed(_fit_and_score)(template, candidates[i], data, *splits[j], self.scorer_, wait)
                    for i, j in batch
                )
                for (i, j), result in zip(batch, done, strict=True):
                    results[i, j] = result
                    progress.step(candidates[i], j, result)
        return results

    def _refit(self, template: FocalClassifier, data: _Data, patience: int | None) -> FocalClassifier:
        model: FocalClassifier = clone(template).set_params(**self.best_params_)
        library, model.estimator = model._clone_estimator()
        if patience is not None:
            library.set_rounds(model.estimator, self.n_rounds_)
        return model.fit(data.X, data.y, data.weight, **data.fit_params)

    def decision_function(self, X: Any, **predict_params: Any) -> FloatArray:
        """Margins of the best model, intercept included.

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
        return self.best_estimator_.decision_function(X, **predict_params)

    def predict_proba(self, X: Any, **predict_params: Any) -> FloatArray:
        """Class probabilities of the best model.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        **predict_params
            The inner estimator's own arguments of ``predict``, such as ``iteration_range`` or ``num_iteration``.

        Returns
        -------
        ndarray of shape (n, K)
            Columns in the order of `classes_`; rows sum to 1.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_proba(X, **predict_params)

    def predict(self, X: Any, **predict_params: Any) -> AnyArray:
        """Most probable label of each row by the best model.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        **predict_params
            The inner estimator's own arguments of ``predict``, such as ``iteration_range`` or ``num_iteration``.

        Returns
        -------
        ndarray of shape (n,)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict(X, **predict_params)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Score of the best model by `scoring`.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return _score(self.scorer_, self.best_estimator_, X, y, sample_weight)

    @property
    def feature_importances_(self) -> AnyArray:
        """Importance of each feature in the best model; ndarray of shape (`n_features_in_`,)."""
        check_is_fitted(self)
        return self.best_estimator_.feature_importances_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


# ---------------------------------------------------------------------------------------------------------------------
# What is searched, and checks of it


@dataclass(frozen=True)
class _Data:
    """What every training gets, or its rows of it."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    fit_params: dict[str, Any]

    def rows(self, index: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray | None]:
        return _safe_indexing(self.X, index), self.y[index], None if self.weight is None else self.weight[index]


def _candidates(gammas: Any, alphas: Any) -> list[dict[str, Any]]:
    """All pairs, gamma = 0 among them, each once, in the order given."""
    if isinstance(gammas, (str, Real, Mapping)) or not isinstance(gammas, Iterable):
        raise ValueError(f"gammas={gammas!r} is not a sequence of candidates; for a single one pass gammas=(2.0,)")
    if isinstance(alphas, (str, Real, Mapping)) or not isinstance(alphas, Iterable):
        raise ValueError(
            f"alphas={alphas!r} is not a sequence of candidates; for a single one pass alphas=({alphas!r},)"
        )
    gammas, alphas = list(gammas), list(alphas)
    for name, values, example in (("gammas", gammas, "(0, 1, 2)"), ("alphas", alphas, "(None,)")):
        if not values:
            raise ValueError(f"{name} is empty, so that there is nothing to choose from; pass {name}={example}")
    distinct: dict[Any, Any] = {}
    for gamma in gammas:
        values = list(gamma.values()) if isinstance(gamma, Mapping) else np.ravel(gamma).tolist()
        if not values or any(
            isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf
            for value in values
        ):
            raise ValueError(f"gammas holds {gamma!r}, which is not a finite number >= 0, or one a class: remove it")
        if np.ndim(gamma) == 0 and not isinstance(gamma, Mapping):
            gamma = float(gamma)
        key = tuple(gamma.items()) if isinstance(gamma, Mapping) else tuple(values) if np.ndim(gamma) else gamma
        distinct.setdefault(key, gamma)
    if 0.0 not in distinct:
        distinct = {0.0: 0.0, **distinct}
    return [{"gamma": gamma, "alpha": alpha} for gamma in distinct.values() for alpha in alphas]


def _is_zero(candidate: dict[str, Any]) -> bool:
    gamma = candidate["gamma"]
    return isinstance(gamma, float) and gamma == 0


def _reference(candidates: list[dict[str, Any]]) -> int:
    """Place of the plain log loss: gamma = 0 with the first alpha."""
    return next(i for i, candidate in enumerate(candidates) if _is_zero(candidate))


def _check_patience(patience: Any) -> int | None:
    if patience is None:
        return None
    if isinstance(patience, bool) or not isinstance(patience, Integral) or int(patience) < 1:
        raise ValueError(
            f"early_stopping_rounds={patience!r} is not a positive integer; None trains all rounds of the estimator"
        )
    return int(patience)


def _check_candidates(
    template: FocalClassifier,
    candidates: list[dict[str, Any]],
    classes: np.ndarray,
    codes: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
) -> None:
    """Let each candidate make its loss and its weights, which is where FocalClassifier finds faults."""
    for candidate in candidates:
        model = clone(template).set_params(**candidate)
        _, inner = model._clone_estimator()
        model._make_loss(classes, np.bincount(codes, weights=weight))
        model._combine_weights(inner, y, weight)


def _check_fit_params(template: FocalClassifier, patience: int | None, fit_params: dict[str, Any]) -> None:
    for name, advice in _REFUSED.items():
        if fit_params.get(name) is not None:
            raise ValueError(f"FocalClassifierCV does not take {name}: {advice}")
    library, inner = template._clone_estimator()
    library.check_search(inner, patience, fit_params)


def _check_scorer(scoring: Any, template: FocalClassifier, classes: np.ndarray) -> Any:
    if not (isinstance(scoring, str) or callable(scoring)):
        raise ValueError(
            f"scoring={scoring!r} is not one scorer: pass the name of one, or a function (estimator, X, y)"
        )
    if scoring == "neg_log_loss":
        # The scorer of that name wants every class in the rows that it scores.
        return make_scorer(log_loss, greater_is_better=False, response_method="predict_proba", labels=classes)
    return check_scoring(template, scoring=scoring)


def _check_splits(
    cv: Any, X: Any, codes: np.ndarray, classes: np.ndarray, weight: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of each fold for training and testing; every training has rows of every class."""
    splitter = check_cv(cv, codes, classifier=True)
    counts = np.bincount(codes)
    rare = int(counts.argmin())
    n_splits = splitter.get_n_splits(X, codes)
    if isinstance(cv, Integral) and counts[rare] < n_splits:
        raise ValueError(
            f"class {classes[rare]!s} has {counts[rare]} rows, fewer than the n_splits={n_splits} folds: pass a "
            f"smaller cv (2 to {counts[rare]}), or collect, merge or remove such classes"
            if counts[rare] > 1
            else f"class {classes[rare]!s} has 1 row, fewer than the n_splits={n_splits} folds, and cannot be both "
            "trained on and held out: merge it with another class or remove it"
        )
    splits = [_row_numbers(part, len(codes)) for part in splitter.split(X, codes)]
    if not splits:
        raise ValueError(f"cv={cv!r} yields no folds: pass at least one")
    for i, (train, test) in enumerate(splits):
        if not len(train) or not len(test):
            raise ValueError(f"fold {i} of cv has {len(train)} rows to train on and {len(test)} held out: give it both")
        missing = np.flatnonzero(np.bincount(codes[train], minlength=len(classes)) == 0)
        if len(missing):
            raise ValueError(
                f"fold {i} of cv trains on no row of class {classes[missing[0]]!s}, which has {counts[missing[0]]} "
                "rows in all: use a stratified splitter, or collect, merge or remove such classes"
            )
        if weight is not None and not (weight[train].any() and weight[test].any()):
            raise ValueError(f"sample_weight is zero in all rows that fold {i} of cv trains on or holds out")
    return splits


def _row_numbers(parts: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both parts of a fold as row numbers, also where they are masks."""
    train, test = (np.arange(n)[np.asarray(part)] for part in parts)
    return train, test


# ---------------------------------------------------------------------------------------------------------------------
# One training


@dataclass(frozen=True)
class _Fold:
    """What one candidate did in one fold."""

    score: float
    n_rounds: int  # at which it was scored
    n_rounds_trained: int
    longest_wait: int  # rounds without an improvement after which there was one
    fit_time: float
    score_time: float


def _fit_and_score(
    template: FocalClassifier,
    candidate: dict[str, Any],
    data: _Data,
    train: np.ndarray,
    test: np.ndarray,
    scorer: Any,
    patience: int | None,
) -> _Fold:
    start = time.perf_counter()
    model = clone(template).set_params(**candidate)
    library, model.estimator = model._clone_estimator()
    X, y, weight = data.rows(train)
    held_X, held_y, held_weight = data.rows(test)
    n_classes = len(np.unique(data.y))
    own = library.fold_arguments(model.estimator, n_classes, held_weight, patience)
    if data.fit_params.get("callbacks"):
        own["callbacks"] = [*data.fit_params["callbacks"], *own.get("callbacks", ())]
    model.fit(X, y, weight, eval_set=[(held_X, held_y)], **{**data.fit_params, **own})
    fitted = time.perf_counter()
    score = _score(scorer, model, held_X, held_y, held_weight)
    if not math.isfinite(score):
        raise ValueError(f"scoring gives {score!r} for {candidate}: candidates are compared by finite scores")
    (log,) = model.evals_result_.values()
    losses = log[library.log_loss_name(n_classes)]
    best, longest = _improvements(losses)
    return _Fold(
        score=score,
        n_rounds=len(losses) if patience is None else best + 1,
        n_rounds_trained=len(losses),
        longest_wait=longest,
        fit_time=fitted - start,
        score_time=time.perf_counter() - fitted,
    )


def _improvements(losses: list[float]) -> tuple[int, int]:
    """Index of the first smallest loss, and the longest way between two record lows."""
    best, longest = 0, 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best, longest = i, max(longest, i - best)
    return best, longest


def _score(scorer: Any, model: FocalClassifier, X: Any, y: Any, weight: ArrayLike | None) -> float:
    weighted = {} if weight is None or not _takes_weight(scorer) else {"sample_weight": weight}
    return float(scorer(model, X, y, **weighted))


def _takes_weight(scorer: Any) -> bool:
    """Whether a scorer knows weights; those of scikit-learn pass them to their metric, which need not."""
    return "sample_weight" in inspect.signature(getattr(scorer, "_score_func", scorer)).parameters


# ---------------------------------------------------------------------------------------------------------------------
# The race


def _matrix(results: dict[tuple[int, int], _Fold], n_candidates: int, n_splits: int, name: str) -> np.ndarray:
    """One figure of each candidate (row) in each fold (column), NaN where it was not trained."""
    values = np.full((n_candidates, n_splits), np.nan)
    for place, result in results.items():
        values[place] = getattr(result, name)
    return values


def _next_batch(scores: np.ndarray, reference: int, racing: bool, stopping: bool) -> list[tuple[int, int]]:
    """Candidates and folds to train next, in one go; none when the winner is known.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_splits)
        Larger is better; NaN where there was no training yet.
    reference : int
        The candidate that is trained in all folds.
    racing : bool
        Whether candidates may be given up.
    stopping : bool
        Whether the first training of all tells how long the others wait for an improvement.

    Returns
    -------
    list of (candidate, split)
    """
    n_candidates, n_splits = scores.shape
    unseen = np.isnan(scores)
    if not racing:
        return [(i, j) for i in range(n_candidates) for j in range(n_splits) if unseen[i, j]]
    for folds in ([0] if stopping else [], range(n_splits)):
        if batch := [(reference, j) for j in folds if unseen[reference, j]]:
            return batch
    if batch := [(i, j) for i in range(n_candidates) for j in range(min(_FIRST_FOLDS, n_splits)) if unseen[i, j]]:
        return batch
    hopes = _hopes(scores, reference)
    done = ~unseen.any(axis=1)
    best = hopes[done].max()
    hopes[done] = -np.inf
    next_one = int(np.argmax(hopes))
    if hopes[next_one] <= best:
        return []
    return [(next_one, j) for j in range(n_splits) if unseen[next_one, j]]


def _hopes(scores: np.ndarray, reference: int) -> np.ndarray:
    """Mean difference to the reference that a candidate may reach over all folds; for completed ones, reached."""
    n_splits = scores.shape[1]
    differences = scores - scores[reference]
    seen = np.sum(~np.isnan(differences), axis=1)
    means = np.nanmean(differences, axis=1)
    freedom = np.sum(seen - 1) - (n_splits - 1)  # the reference does not differ from itself
    spread = math.sqrt(np.nansum((differences - means[:, None]) ** 2) / freedom) if freedom > 0 else 0.0
    hopes: NDArray[np.float64] = means + _GIVE_UP * spread * np.sqrt(1 / seen - 1 / n_splits)
    return hopes


def _shorter_patience(patience: int, reference: list[_Fold]) -> int:
    """As long as any wait of the reference that was worth it, but not much less than what was asked for."""
    if not reference:
        return patience
    return min(patience, max(_LEAST_PATIENCE, math.ceil(patience / 5), *(fold.longest_wait for fold in reference)))


class _Progress:
    """What the user sees of a long search."""

    def __init__(self, verbose: int, most: int) -> None:
        self.verbose, self.most, self.done = verbose, most, 0
        self.bar: Any = None

    def __enter__(self) -> _Progress:
        if self.verbose:
            try:
                from tqdm import tqdm
            except ImportError:
                return self
            self.bar = tqdm(total=self.most, desc="FocalClassifierCV", unit="fit")
        return self

    def step(self, candidate: dict[str, Any], split: int, result: _Fold) -> None:
        self.done += 1
        said = f"{_describe(candidate, tell_alpha=True)}, fold {split}: {result.score:.5g}"
        if self.bar is not None:
            self.bar.set_postfix_str(said, refresh=False)
            self.bar.update()
        elif self.verbose:
            print(f"FocalClassifierCV {self.done}/{self.most} at most: {said}", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.total = self.done  # what was given up is not to come any more
            self.bar.close()


# ---------------------------------------------------------------------------------------------------------------------
# What came of it


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each candidate from 1: completed ones by their mean, then the others by what they lack to the best.

    Means over different folds cannot be compared, differences to the best one in the same folds can.
    """
    done = ~np.isnan(scores).any(axis=1)
    best = int(np.argmax(np.where(done, scores.mean(axis=1), -np.inf)))
    lead = np.nanmean(scores - scores[best], axis=1)
    ranks = np.empty(len(scores), dtype=np.int32)
    ranks[done] = rankdata(-scores[done].mean(axis=1), method="min")
    ranks[~done] = done.sum() + rankdata(-lead[~done], method="min")
    return ranks


def _cv_results(
    candidates: list[dict[str, Any]], results: dict[tuple[int, int], _Fold], scores: np.ndarray, ranks: np.ndarray
) -> dict[str, Any]:
    """Table of the search in the form of GridSearchCV."""
    n_candidates, n_splits = scores.shape
    table: dict[str, Any] = {}
    for name in ("fit_time", "score_time"):
        seconds = _matrix(results, n_candidates, n_splits, name)
        table[f"mean_{name}"], table[f"std_{name}"] = np.nanmean(seconds, axis=1), np.nanstd(seconds, axis=1)
    plain = all(isinstance(candidate["gamma"], float) for candidate in candidates)
    for name, dtype in (("gamma", np.float64 if plain else object), ("alpha", object)):
        column = np.ma.masked_all(n_candidates, dtype=dtype)
        for i, candidate in enumerate(candidates):
            column[i] = candidate[name]
        table[f"param_{name}"] = column
    table["params"] = [dict(candidate) for candidate in candidates]
    table |= {f"split{j}_test_score": scores[:, j].copy() for j in range(n_splits)}
    table["mean_test_score"], table["std_test_score"] = np.nanmean(scores, axis=1), np.nanstd(scores, axis=1)
    table["rank_test_score"] = ranks
    rounds = _matrix(results, n_candidates, n_splits, "n_rounds")
    table |= {f"split{j}_n_rounds": rounds[:, j].copy() for j in range(n_splits)}
    table["mean_n_rounds"] = np.nanmean(rounds, axis=1)
    table["n_rounds_trained"] = np.nansum(_matrix(results, n_candidates, n_splits, "n_rounds_trained"), axis=1).astype(
        np.int64
    )
    return table


def _verdict(
    scores: np.ndarray, candidates: list[dict[str, Any]], best: int, reference: int, sizes: np.ndarray, scoring: Any
) -> str:
    """One line that says whether the best candidate beat the log loss by more than the folds differ."""
    name, sign = _name(scoring)
    of_best, of_reference = (sign * scores[i].mean() for i in (best, reference))
    weighted = candidates[reference]["alpha"]
    log_loss_name = "plain log loss" if weighted is None else f"log loss with alpha={weighted!r}"
    if best == reference:
        return f"{log_loss_name} is as good here: no gamma had a better {name} than {of_reference:.4g} at gamma=0"
    won = _describe(candidates[best], tell_alpha=any(candidate["alpha"] is not None for candidate in candidates))
    p = _corrected_p_value(scores[best] - scores[reference], sizes)
    wins = int(np.sum(scores[best] > scores[reference]))
    facts = f"{won}: {name} {of_best:.4g} against {of_reference:.4g} at gamma=0, "
    facts += f"better in {wins} of {scores.shape[1]} folds"
    if math.isnan(p):
        return f"{facts} (too few folds for a test)"
    facts += f" (p = {p:.2g})"
    return facts if p < 0.05 else f"{log_loss_name} is as good here; {facts}"


def _name(scoring: Any) -> tuple[str, int]:
    """What a score is called, and its sign where larger was better only by convention."""
    if not isinstance(scoring, str):
        return getattr(scoring, "__name__", "score"), 1
    return (scoring.removeprefix("neg_").replace("_", " "), -1) if scoring.startswith("neg_") else (scoring, 1)


def _describe(candidate: dict[str, Any], tell_alpha: bool) -> str:
    value = candidate["gamma"]
    gamma = f"gamma={value:g}" if isinstance(value, float) else f"gamma={value!r}"
    return f"{gamma}, alpha={candidate['alpha']!r}" if tell_alpha else gamma


def _corrected_p_value(differences: np.ndarray, sizes: np.ndarray) -> float:
    """Two-sided p-value of a mean difference over folds whose trainings share rows (Nadeau & Bengio, 2003).

    Parameters
    ----------
    differences : ndarray of shape (n_splits,)
    sizes : ndarray of shape (n_splits, 2)
        Rows trained on and held out.

    Returns
    -------
    float
        NaN for a single fold.
    """
    k = len(differences)
    if k < 2:
        return math.nan
    n_train, n_test = sizes.mean(axis=0)
    error = math.sqrt((1 / k + n_test / n_train) * differences.var(ddof=1))
    if error == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    return float(2 * student_t.sf(abs(differences.mean()) / error, k - 1))
