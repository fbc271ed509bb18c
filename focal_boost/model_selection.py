"""Choice of gamma and alpha by cross-validation, where plain log loss (gamma = 0) always takes part.

Focal losses of different gamma cannot be compared; scores of the probabilities can.
"""

from __future__ import annotations

import inspect
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring, log_loss, make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from focal_boost._adapter import Adapter, library_of
from focal_boost._checks import is_on_gpu, on_host, row_weights
from focal_boost._features import rows_of
from focal_boost._search_results import choose, cv_results, describe, verdict
from focal_boost._typing import AnyArray, FloatArray, Hessian, Splitter
from focal_boost.classifier import Alpha, FocalClassifier, Gamma

if TYPE_CHECKING:
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

__all__ = ["FocalClassifierCV"]

# What a search over folds cannot honour among the arguments of fit, and what to do instead.
_HELD_OUT = (
    "the rows that a fold holds out are its evaluation set; to choose on rows of your own add them to X and y and pass "
    "cv=PredefinedSplit(...)"
)
_START = "start margins are no part of what is scored; train FocalClassifier with the chosen gamma instead"
_CONTINUED = "an earlier model has seen the rows that a fold holds out; continue FocalClassifier with the chosen gamma"


def _of_best(name: str) -> Any:
    """Make an attribute that is one of `best_estimator_`."""
    return property(lambda search: getattr(search.best_estimator_, name))


class FocalClassifierCV(FocalClassifier):
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
    rule : {"best", "simplest"}, default="best"
        "best" takes the candidate of the highest mean score. "simplest" takes the one nearest to plain log loss (the
        smallest gamma, and without alpha before with one) whose mean is within one standard error of the highest.
    early_stopping_rounds : int or None, default=50
        The mean over the folds of the log loss of the rows held out is followed until it has not fallen for this many
        rounds; its lowest point is the candidate's number of rounds. None trains all rounds of the estimator.
    n_jobs : int or None, default=None
        Folds and candidates that are trained at the same time, as in joblib. The result does not depend on it. Give
        the estimator one thread then (``n_jobs=1``).
    verbose : int, default=0
        How much joblib says of the trainings.

    Attributes
    ----------
    best_estimator_ : FocalClassifier
        Trained on all rows for `n_rounds_` rounds.
    best_params_ : dict
        Its ``gamma`` and ``alpha``.
    best_score_ : float
        Mean score over the folds of the candidate that was chosen.
    best_index_ : int
        Its place in `cv_results_`.
    cv_results_ : dict of ndarrays
        One entry per candidate, as `GridSearchCV` has it: ``param_gamma``, ``param_alpha``, ``params``,
        ``split0_test_score`` and so on, ``mean_test_score``, ``std_test_score``, ``rank_test_score``, times in
        seconds. Besides: ``n_rounds``, at which all folds of the candidate were scored.
    n_rounds_ : int
        Rounds of `best_estimator_`: those of the candidate that was chosen.
    verdict_ : str
        One line: whether the candidate of the highest mean beat gamma = 0.
    refit_time_ : float
        Seconds of the last training.
    scorer_ : callable
    n_splits_ : int

    Notes
    -----
    All other attributes of a FocalClassifier, and its methods, are those of `best_estimator_`.

    **Rounds.** A candidate has one number of rounds for all folds, from the mean of their log losses, as
    ``lightgbm.cv`` has it: each fold's own best round would flatter the fold. The rows that choose it are scored too,
    so scores are still a little too good, for all candidates in the same way, gamma = 0 included; compare them with
    each other, and judge the model on rows of its own. The number is not enlarged for the larger table of the last
    training.

    **Weights.** Each fold's part of `sample_weight` is used in training, in early stopping, and in scoring where the
    scorer takes weights (those of scikit-learn do; a callable must have a parameter of that name).

    **Verdict.** A paired t-test over the folds, two-sided at 5 %, with the variance corrected for the rows that the
    trainings share [1]_. It is not corrected for the choice of the best among several candidates.

    Neither gamma nor alpha changes what a probability means. Scores such as ``average_precision`` do not see the scale
    of probabilities; rounds still follow the log loss.

    References
    ----------
    .. [1] Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003.

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
    verdict_: str
    refit_time_: float
    n_splits_: int

    estimator_: Any = _of_best("estimator_")
    classes_: Any = _of_best("classes_")
    n_features_in_: Any = _of_best("n_features_in_")
    feature_names_in_: Any = _of_best("feature_names_in_")
    loss_: Any = _of_best("loss_")
    evals_result_: Any = _of_best("evals_result_")
    best_iteration_: Any = _of_best("best_iteration_")

    # Whoever routes groups to a search means its folds.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

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
        rule: Literal["best", "simplest"] = "best",
        early_stopping_rounds: int | None = 50,
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
        self.rule = rule
        self.early_stopping_rounds = early_stopping_rounds
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Choose gamma and alpha, and train with them on all rows.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        y : array-like of shape (n,)
            Labels of any kind; two or more classes.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0.
        groups : array-like of shape (n,), default=None
            For splitters that keep the rows of a group together, such as GroupKFold.
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

        Warns
        -----
        ConvergenceWarning
            If the mean log loss of a candidate was lowest in the last round that its estimator trains.
        """
        candidates = _candidates(self.gammas, self.alphas)
        patience = _check_patience(self.early_stopping_rounds)
        if self.rule not in ("best", "simplest"):
            raise ValueError(f"rule={self.rule!r} is not known; use 'best' or 'simplest'")
        _check_fit_params(self._clone_estimator()[0], fit_params)
        for candidate in candidates:  # all that FocalClassifier.fit refuses, of any candidate
            training = self._model(candidate)._prepare(X, y, sample_weight, None, None, fit_params)
            training.library.check_search(training.estimator, patience, fit_params)
        classes, codes = training.classes, training.codes
        if codes.ndim == 2:
            raise ValueError(
                f"y should be a 1d array, got an array of shape {codes.shape} instead: choose for each label with "
                "sklearn.multioutput.MultiOutputClassifier(FocalClassifierCV(...))"
            )
        data = _Data(training.X, classes[codes], row_weights(sample_weight, len(codes)), fit_params)
        scorer = _make_scorer(self.scoring, self, classes)
        splits = _splits(self.cv, data, codes, classes, groups)

        folds = self._train(candidates, data, splits, patience)
        rounds = [_best_round(_mean_losses(of_candidate), patience) for of_candidate in folds]
        scores, score_times = np.empty((2, len(candidates), len(splits)))
        for (i, candidate), (j, (_, test)) in itertools.product(enumerate(candidates), enumerate(splits)):
            if patience is not None:
                training.library.stop_at(folds[i][j].model.estimator_, rounds[i])
            start = time.perf_counter()
            scores[i, j] = _score(scorer, folds[i][j].model, *data.rows(test))
            score_times[i, j] = time.perf_counter() - start
            if not math.isfinite(scores[i, j]):
                raise ValueError(
                    f"scoring gives {scores[i, j]} for {candidate}: candidates are compared by finite scores"
                )
        if patience is not None:
            _warn_of_last_rounds(candidates, folds, rounds)

        chosen = choose(scores, candidates, self.rule)
        start = time.perf_counter()
        best = self._model(candidates[chosen])
        if patience is not None:
            training.library.set_rounds(best.estimator, rounds[chosen])
        self.best_estimator_ = best.fit(data.X, data.y, data.weight, **fit_params)
        self.refit_time_ = time.perf_counter() - start
        self.n_splits_ = len(splits)
        fit_times = np.array([[fold.fit_time for fold in of_candidate] for of_candidate in folds])
        self.cv_results_ = cv_results(candidates, rounds, scores, fit_times, score_times)
        self.best_index_ = chosen
        self.best_params_ = candidates[chosen]
        self.best_score_ = float(scores[chosen].mean())
        sizes = np.array([(len(train), len(test)) for train, test in splits])
        self.verdict_ = verdict(scores, candidates, sizes, self.scoring)
        return self

    def _model(self, candidate: dict[str, Any]) -> FocalClassifier:
        """Make an unfitted model of a candidate, whose estimator belongs to it alone."""
        model = FocalClassifier(self.estimator, hessian=self.hessian, max_step=self.max_step, **candidate)
        _, model.estimator = model._clone_estimator()
        return model

    def _train(
        self,
        candidates: list[dict[str, Any]],
        data: _Data,
        splits: list[tuple[AnyArray, AnyArray]],
        patience: int | None,
    ) -> list[list[_Fold]]:
        """Train each candidate in each fold, for as many rounds as the mean over the folds has to be followed.

        A fold alone cannot know how many those are. It waits twice as long for an improvement as the mean will, which
        nearly always is enough; where it was not, it is trained again and waits for twice that.
        """
        places = itertools.product(range(len(candidates)), range(len(splits)))
        waits = dict.fromkeys(places, None if patience is None else 2 * patience)
        folds: list[list[Any]] = [[None] * len(splits) for _ in candidates]
        with Parallel(n_jobs=self.n_jobs, verbose=self.verbose) as parallel:
            while waits:
                done = parallel(
                    delayed(_train_fold)(self._model(candidates[i]), data, *splits[j], wait)
                    for (i, j), wait in waits.items()
                )
                for (i, j), fold in zip(waits, done, strict=True):
                    folds[i][j] = fold
                waits = {} if patience is None else _longer_waits(folds, patience)
        return folds

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
        return _score(self.scorer_, self.best_estimator_, X, y, sample_weight)

    @property
    def scorer_(self) -> Callable[..., float]:
        """What `scoring` names: a function ``(estimator, X, y)``."""
        check_is_fitted(self)
        scorer: Callable[..., float] = _make_scorer(self.scoring, self, self.classes_)
        return scorer

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = False
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
        return rows_of(self.X, index), self.y[index], None if self.weight is None else self.weight[index]


def _candidates(gammas: Any, alphas: Any) -> list[dict[str, Any]]:
    """All pairs, gamma = 0 among them, each once, in the order given."""
    for name, values in (("gammas", gammas), ("alphas", alphas)):
        if isinstance(values, (str, Real, Mapping)) or not isinstance(values, Iterable):
            raise ValueError(
                f"{name}={values!r} is not a sequence of candidates; for a single one pass {name}=({values!r},)"
            )
    gammas, alphas = list(gammas), list(alphas)
    if not gammas or not alphas:
        raise ValueError(f"{'alphas' if gammas else 'gammas'} is empty; pass at least gammas=(0,) and alphas=(None,)")
    gammas = [float(one) if isinstance(one, Real) and not isinstance(one, bool) else one for one in gammas]
    distinct = {repr(gamma): gamma for gamma in gammas}
    if "0.0" not in distinct:
        distinct = {"0.0": 0.0, **distinct}
    return [{"gamma": gamma, "alpha": alpha} for gamma in distinct.values() for alpha in alphas]


def _check_patience(patience: Any) -> int | None:
    if patience is None:
        return None
    if isinstance(patience, bool) or not isinstance(patience, Integral) or int(patience) < 1:
        raise ValueError(
            f"early_stopping_rounds={patience!r} is not a positive integer; None trains all rounds of the estimator"
        )
    return int(patience)


def _check_fit_params(library: Adapter, fit_params: dict[str, Any]) -> None:
    sets = ("eval_set", "eval_X", "eval_y", "eval_names", "eval_class_weight", "eval_metric")
    refused = {
        **dict.fromkeys((*sets, library.eval_weights_argument), _HELD_OUT),
        **dict.fromkeys((library.margins_argument, library.eval_margins_argument), _START),
        library.model_argument: _CONTINUED,
    }
    for name, advice in refused.items():
        if fit_params.get(name) is not None:
            raise ValueError(f"FocalClassifierCV does not take {name}: {advice}")


def _make_scorer(scoring: Any, estimator: Any, classes: AnyArray) -> Any:
    if not (isinstance(scoring, str) or callable(scoring)):
        raise ValueError(
            f"scoring={scoring!r} is not one scorer: pass the name of one, or a function (estimator, X, y)"
        )
    if scoring == "neg_log_loss":
        # The scorer of that name wants every class in the rows that it scores.
        return make_scorer(log_loss, greater_is_better=False, response_method="predict_proba", labels=classes)
    return check_scoring(estimator, scoring=scoring)


def _splits(cv: Any, data: _Data, codes: AnyArray, classes: AnyArray, groups: Any) -> list[tuple[AnyArray, AnyArray]]:
    """Rows of each fold for training and testing; every training has rows of every class."""
    splitter = check_cv(cv, codes, classifier=True)
    counts = np.bincount(codes)
    rare = int(counts.argmin())
    n_splits = splitter.get_n_splits(data.X, codes, groups)
    if isinstance(cv, Integral) and counts[rare] < n_splits:
        raise ValueError(
            f"class {classes[rare]!s} has {counts[rare]} rows, fewer than the n_splits={n_splits} folds: pass a "
            f"smaller cv (2 to {counts[rare]}), or collect, merge or remove such classes"
            if counts[rare] > 1
            else f"class {classes[rare]!s} has 1 row, fewer than the n_splits={n_splits} folds, and cannot be both "
            "trained on and held out: merge it with another class or remove it"
        )
    rows = np.arange(len(codes))
    parts = splitter.split(data.X, codes, groups)
    splits = [(rows[np.asarray(train)], rows[np.asarray(test)]) for train, test in parts]  # some give masks
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
        weight = data.weight
        if weight is not None and not (weight[train].any() and weight[test].any()):
            raise ValueError(f"sample_weight is zero in all rows that fold {i} of cv trains on or holds out")
    return splits


# ---------------------------------------------------------------------------------------------------------------------
# Trainings, and how long they have to be


@dataclass(frozen=True)
class _Fold:
    """What one candidate did in one fold."""

    model: FocalClassifier
    losses: list[float]  # of the rows held out, in each round
    wait: int | None  # rounds without an improvement after which it stopped
    fit_time: float

    @property
    def stopped(self) -> bool:
        """Whether it ended before the last round of its estimator."""
        return self.wait is not None and len(self.losses) - 1 - int(np.argmin(self.losses)) >= self.wait


def _train_fold(model: FocalClassifier, data: _Data, train: AnyArray, test: AnyArray, wait: int | None) -> _Fold:
    start = time.perf_counter()
    library = library_of(model.estimator)
    X, y, weight = data.rows(train)
    held_X, held_y, held_weight = data.rows(test)
    n_classes = len(np.unique(data.y))
    own = library.fold_arguments(model.estimator, n_classes, held_weight, wait)
    if data.fit_params.get("callbacks"):
        own["callbacks"] = [*data.fit_params["callbacks"], *own.get("callbacks", ())]
    model.fit(X, y, weight, eval_set=[(held_X, held_y)], **{**data.fit_params, **own})
    (log,) = model.evals_result_.values()
    return _Fold(model, log[library.log_loss_name(n_classes)], wait, time.perf_counter() - start)


def _mean_losses(folds: list[_Fold]) -> FloatArray:
    """Mean over the folds of the log loss in each round that all of them have."""
    shortest = min(len(fold.losses) for fold in folds)
    means: FloatArray = np.mean([fold.losses[:shortest] for fold in folds], axis=0)
    return means


def _best_round(losses: FloatArray, patience: int | None) -> int:
    """Number of rounds up to the lowest loss before `patience` rounds brought none lower; all without patience."""
    if patience is None:
        return len(losses)
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i - best >= patience:
            break
    return best + 1


def _longer_waits(folds: list[list[_Fold]], patience: int) -> dict[tuple[int, int], int | None]:
    """Folds, by candidate and split, that stopped before the mean could, and how long they are to wait."""
    waits: dict[tuple[int, int], int | None] = {}
    for i, of_candidate in enumerate(folds):
        end = _best_round(_mean_losses(of_candidate), patience) + patience
        for j, fold in enumerate(of_candidate):
            if fold.wait is not None and fold.stopped and len(fold.losses) < end:
                waits[i, j] = 2 * fold.wait
    return waits


def _warn_of_last_rounds(candidates: list[dict[str, Any]], folds: list[list[_Fold]], rounds: list[int]) -> None:
    last = [
        describe(candidates[i], candidates)
        for i, of_candidate in enumerate(folds)
        if rounds[i] == min(len(fold.losses) for fold in of_candidate)
    ]
    if last:
        warnings.warn(
            f"the mean log loss was lowest in the last of {max(rounds)} rounds for {'; '.join(last)}: raise "
            "n_estimators, or the learning rate",
            ConvergenceWarning,
            stacklevel=3,
        )


def _score(scorer: Any, model: FocalClassifier, X: Any, y: Any, weight: ArrayLike | None) -> float:
    # Scorers of scikit-learn pass weights to their metric, which need not take them.
    takes_weight = "sample_weight" in inspect.signature(getattr(scorer, "_score_func", scorer)).parameters
    weighted = {} if weight is None or not takes_weight else {"sample_weight": weight}
    return float(scorer(_answers_on_host(model) if is_on_gpu(X) else model, X, on_host(y), **weighted))


class _OnHost(FocalClassifier):
    """A fitted model whose answers are in host memory, where scikit-learn's metrics read them."""

    def decision_function(self, X: Any, **predict_params: Any) -> FloatArray:
        margins: FloatArray = on_host(super().decision_function(X, **predict_params))
        return margins


def _answers_on_host(model: FocalClassifier) -> FocalClassifier:
    same = _OnHost()
    same.__dict__ = {**vars(model)}
    return same
