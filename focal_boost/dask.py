"""Focal loss on a Dask cluster.

`DaskFocalClassifier` does for DaskXGBClassifier and DaskLGBMClassifier what `FocalClassifier` does on one machine.
Without it, XGBoost's own Dask interface takes the objective as it is. Class shares belong to the whole cluster, so the
intercept is computed from them and not from the rows of a worker; metrics add up rows over the workers by themselves::

    import dask.array as da
    from xgboost import dask as xgb_dask
    from focal_boost import BinaryFocalLoss
    from focal_boost.xgboost import FocalObjective

    loss = BinaryFocalLoss(gamma=2.0)
    positive = float(y.mean())  # y: a Dask array of 0 and 1
    objective = FocalObjective(loss, loss.fit_intercept_only([0, 1], [1 - positive, positive]), n_threads=1)
    data = xgb_dask.DaskDMatrix(client, X, y)
    result = xgb_dask.train(client, {**params, **objective.params}, data, 100, obj=objective, evals=[(data, "train")])
    probabilities = xgb_dask.predict(client, result, X)

LightGBM evaluates metrics on each worker's rows alone and lets each worker stop early by itself, which leaves the
others waiting; only `DaskFocalClassifier` looks at all rows.

Importing this module imports Dask and distributed, but neither XGBoost nor LightGBM.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import dask
import dask.array as da
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from focal_boost._adapter import Adapter, library_of
from focal_boost._checks import check_known, check_several, class_labels, eval_pairs, weight_array
from focal_boost._training import check_weighted_classes
from focal_boost._typing import AnyArray, FloatArray, Hessian
from focal_boost.classifier import Alpha, FocalClassifier, Gamma

__all__ = ["DaskFocalClassifier"]


class DaskFocalClassifier(FocalClassifier):
    """FocalClassifier on a Dask cluster.

    Parameters
    ----------
    estimator : DaskXGBClassifier or DaskLGBMClassifier, default=None
        Unfitted; it is cloned and never touched. None is ``DaskLGBMClassifier()``.
    gamma, alpha, hessian, max_step
        As for `FocalClassifier`. Class shares for ``alpha="balanced"`` are those of the whole cluster.
    client : distributed.Client, default=None
        None is the client of `estimator`, or else the current one. It is neither cloned nor pickled.

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_, loss_, feature_importances_, evals_result_, best_iteration_, n_rounds_
        As for `FocalClassifier`.
    estimator_ : XGBClassifier or LGBMClassifier
        Fitted on labels 0 to K - 1; an ordinary one, which knows of no cluster.

    See Also
    --------
    focal_boost.FocalClassifier : the same on one machine; `to_local` gives one.

    Notes
    -----
    Labels, weights and partitions are read once before training, where they lie; labels, class shares and the intercept
    are those of all workers, and a worker may lack a class. Partitions without rows are left out. X, y and weights have
    to be cut into rows alike, and stay in the memory of the cluster until training ends.

    Metrics are those of the rows of all workers, wherever an evaluation set lies, and early stopping follows them.
    XGBoost reports them while it trains: its own added up by itself, functions of the user as means over the workers,
    weighted by their rows, which is exact for functions that are means over rows. LightGBM cannot: it trains all
    rounds, which are scored afterwards, by functions of the user on all rows of a set at once. Early stopping then
    keeps the rounds that it would have kept, without saving the time of the others; callbacks that come after a round
    are called here and not on the workers; and ``auc`` and its like have to be functions.

    If a worker dies while it trains, both libraries give up: their error is raised, with a note on what happened. The
    cluster and a model fitted before stay usable.

    Predictions follow their input: lazy arrays with the chunks of X, lazy Series and data frames with its index and
    divisions, and without Dask where X is not a Dask collection.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from lightgbm import DaskLGBMClassifier
    >>> from focal_boost.dask import DaskFocalClassifier
    >>> with Client(n_workers=2, threads_per_worker=1) as client:  # doctest: +SKIP
    ...     X = da.random.random((10_000, 5), chunks=(2_500, 5))
    ...     y = (X[:, 0] > 0.95).astype(int)
    ...     model = DaskFocalClassifier(DaskLGBMClassifier(n_estimators=20), client=client).fit(X, y)
    ...     model.predict_proba(X)[:3].compute().shape
    (3, 2)
    """

    evals_result_: dict[str, dict[str, list[float]]]
    best_iteration_: int | None

    def __init__(
        self,
        estimator: Any = None,
        *,
        gamma: Gamma = 1.0,
        alpha: Alpha = None,
        hessian: Hessian = "expected",
        max_step: float | None = 8.0,
        client: distributed.Client | None = None,
    ) -> None:
        super().__init__(estimator, gamma=gamma, alpha=alpha, hessian=hessian, max_step=max_step)
        self.client = client

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        eval_set: Sequence[tuple[Any, Any]] | None = None,
        **fit_params: Any,
    ) -> Self:
        """Train on the cluster.

        Parameters
        ----------
        X : dask.array.Array or dask.dataframe.DataFrame of shape (n, n_features)
            Categorical columns need known categories.
        y : dask.array.Array or dask.dataframe.Series of shape (n,)
            Labels of any kind, in as many partitions as X.
        sample_weight : dask.array.Array or dask.dataframe.Series of shape (n,), default=None
            Finite weights >= 0.
        eval_set : list of (X, y) pairs, default=None
            Scored in each round; labels as in `y`.
        **fit_params
            The inner estimator's own arguments of ``fit``: ``sample_weight_eval_set`` (XGBoost) or
            ``eval_sample_weight`` (LightGBM), callbacks, verbosity, and so on.

        Returns
        -------
        DaskFocalClassifier
            Itself.

        Raises
        ------
        TypeError
            If `estimator` is not one of the two, data are not Dask collections, or an argument of ``fit`` is not known.
        ValueError
            If data, labels, weights or parameters cannot be trained on; before any training, and without a change to a
            model that was fitted before.
        xgboost.core.XGBoostError, lightgbm.basic.LightGBMError
            If a worker dies while it trains.
        """
        self._fit(X, y, sample_weight, eval_set, fit_params)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, eval_set: Any, fit_params: dict[str, Any]) -> None:
        if y is None:
            raise ValueError("DaskFocalClassifier requires y to be passed, but the target y is None")
        library, inner = self._clone_estimator()
        client = self._find_client()
        pairs = eval_pairs(eval_set, fit_params)
        library.check_fit_params(inner, fit_params)
        seen = type(self)(**self.get_params(deep=False))  # scikit-learn notes on it what X looks like
        seen._check_features(X, "X", reset=True)
        for i, (features, _) in enumerate(pairs or []):
            seen._check_features(features, f"X of eval_set[{i}]", reset=False)

        margins = {library.margins_argument: fit_params.pop(library.margins_argument, None)}
        train = Rows("training", X, y, sample_weight, margins)
        valid = None if pairs is None else _eval_rows(pairs, fit_params, library)
        sets = [train, *(valid or [])]
        _locate(client, sets)
        classes, counts, totals = train.count(client)
        check_several(classes)
        loss = self._make_loss(classes, totals)
        seen._replace_earlier_model(fit_params, library, loss, classes)
        for i, rows in enumerate(valid or []):
            labels, _, eval_totals = rows.count(client)
            check_known(labels, classes, i)
            if not eval_totals.any():
                raise ValueError(f"the weights of eval_set[{i}] are zero in every row: at least one row must count")
        by_class = self._pop_class_weight(inner, classes, counts)
        check_weighted_classes(totals * by_class, classes, np.arange(len(classes)))
        intercept = loss.fit_intercept_only(np.arange(len(classes)), totals * by_class)
        for rows in sets:
            rows.encode(classes, by_class if rows is train else np.ones(len(classes)))
        _locate(client, sets)
        for rows, pair in zip(valid or [], pairs or [], strict=True):
            if pair[0] is X and pair[1] is y:
                # The same objects, which the libraries then do not store twice.
                rows.X, rows.y = train.X, train.y

        workers = client.nthreads()
        start = {"intercept": intercept, "n_threads": min(workers.values())}
        try:
            library.fit_on_cluster(self._given_estimator(), inner, client, loss, train, valid, fit_params, start)
        except Exception as error:
            _note_lost_workers(error, client, set(workers))
            raise
        # Last: whatever fails before leaves a model that was fitted earlier whole.
        self._check_features(X, "X", reset=True)
        self.estimator_ = inner
        self.classes_ = classes
        self.loss_ = loss
        self.evals_result_ = library.evals_result(inner)
        self.best_iteration_ = library.best_iteration(inner)

    def decision_function(self, X: Any, **predict_params: Any) -> Any:
        """Margins of the trees, intercept included; lazy for a Dask collection.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame, or what `FocalClassifier` takes, of shape (n, n_features)
        **predict_params
            The inner estimator's own arguments of ``predict``, such as ``iteration_range`` or ``num_iteration``.

        Returns
        -------
        dask.array.Array, dask.dataframe.Series or dask.dataframe.DataFrame of shape (n,) or (n, K)
            An ndarray where X is not a Dask collection.
        """
        if not dask.is_dask_collection(X):
            return super().decision_function(X, **predict_params)
        return self._answer(X, "decision_function", predict_params)

    def predict_proba(self, X: Any, **predict_params: Any) -> Any:
        """Class probabilities: sigmoid or softmax of `decision_function`.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame, or what `FocalClassifier` takes, of shape (n, n_features)
        **predict_params
            As for `decision_function`.

        Returns
        -------
        dask.array.Array or dask.dataframe.DataFrame of shape (n, K)
            Columns in the order of `classes_`, which name those of a data frame. An ndarray where X is not a Dask
            collection.
        """
        if not dask.is_dask_collection(X):
            return super().predict_proba(X, **predict_params)
        return self._answer(X, "predict_proba", predict_params)

    def predict(self, X: Any, **predict_params: Any) -> Any:
        """Most probable label of each row.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame, or what `FocalClassifier` takes, of shape (n, n_features)
        **predict_params
            As for `decision_function`.

        Returns
        -------
        dask.array.Array or dask.dataframe.Series of shape (n,)
            An ndarray where X is not a Dask collection.
        """
        if not dask.is_dask_collection(X):
            return super().predict(X, **predict_params)
        return self._answer(X, "predict", predict_params)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows whose most probable label is theirs, by weight; labels and predictions are brought here.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame, or what `FocalClassifier` takes, of shape (n, n_features)
        y : dask.array.Array, dask.dataframe.Series, or array-like, of shape (n,)
        sample_weight : the same of shape (n,), default=None

        Returns
        -------
        float
        """
        return self._accuracy(*dask.compute(self.predict(X), y, sample_weight))

    def to_local(self) -> FocalClassifier:
        """Return the fitted model as an ordinary FocalClassifier, which runs and unpickles without Dask.

        Returns
        -------
        FocalClassifier

        Raises
        ------
        NotFittedError
            If there is no fitted model.
        """
        check_is_fitted(self)
        params = self.get_params(deep=False)
        del params["client"]
        params["estimator"] = clone(self.estimator_)
        local = FocalClassifier(**params)
        fitted = {name: value for name, value in vars(self).items() if name not in (*params, "client")}
        local.__dict__.update(fitted)
        return local

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = False  # y of several columns is refused on a cluster
        return tags

    def __sklearn_clone__(self) -> Self:
        params = self.get_params(deep=False)
        params["estimator"] = _clone_without_client(self.estimator)
        params |= {name: clone(params[name], safe=False) for name in ("gamma", "alpha")}
        return type(self)(**params)

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # A client belongs to its process.
        return {**super().__getstate__(), "client": None}

    def _given_estimator(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        try:
            from lightgbm import DaskLGBMClassifier
        except ImportError as error:
            raise ImportError(
                "estimator=None stands for DaskLGBMClassifier(), but lightgbm is not installed: "
                "pip install 'focal_boost[lightgbm]', or pass a DaskXGBClassifier"
            ) from error
        return DaskLGBMClassifier()

    def _clone_estimator(self) -> tuple[Adapter, Any]:
        """The library's adapter, and the estimator for one machine with the parameters of the one given."""
        estimator = self._given_estimator()
        library = library_of(estimator)
        inner = library.local_estimator(estimator)
        library.check_estimator(inner)
        return library, inner

    def _find_client(self) -> Any:
        of_estimator = {} if self.estimator is None else vars(self.estimator)
        client = self.client or of_estimator.get("client") or of_estimator.get("_client")
        if client is None:
            try:
                client = distributed.default_client()
            except ValueError as error:
                raise ValueError(
                    "there is no Dask client: start one, for instance distributed.Client(), or pass client="
                ) from error
        if client.asynchronous:
            raise ValueError(f"client={client!r} is asynchronous, but fit is not: pass a client made without it")
        return client

    def _check_features(self, X: Any, name: str, *, reset: bool) -> None:
        """Type, columns and names of features, without a look at the rows."""
        if isinstance(X, dd.DataFrame):
            unknown = [column for column in X.columns if _has_unknown_categories(X[column])]
            if unknown:
                raise ValueError(
                    f"the categories of column {unknown[0]!r} of {name} are not known, so that each partition may "
                    "number them differently: call X = X.categorize() first"
                )
            validate_data(self, X._meta, skip_check_array=True, reset=reset)
        elif isinstance(X, da.Array):
            if X.ndim != 2:
                raise ValueError(
                    f"{name} has shape {X.shape}, but features have 2 dimensions: use {name}.reshape(-1, 1)"
                )
            validate_data(self, np.empty((1, X.shape[1])), skip_check_array=True, reset=reset)
        else:
            raise TypeError(
                f"{name} is a {type(X).__name__}, not a Dask array or data frame: make one with "
                "dask.array.from_array or dask.dataframe.from_pandas, or train FocalClassifier on one machine"
            )

    def _pop_class_weight(self, inner: Any, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Weight of each class by the inner estimator's own class_weight, which it would apply to encoded labels."""
        class_weight = getattr(inner, "class_weight", None)
        if class_weight is None:
            return np.ones(len(classes))
        self._check_class_weight(class_weight)
        inner.set_params(class_weight=None)
        if class_weight == "balanced":
            by_share: FloatArray = counts.sum() / (len(classes) * counts)
            return by_share
        by_label: FloatArray = compute_class_weight(class_weight, classes=classes, y=classes)
        return by_label

    def _answer(self, X: Any, method: str, params: dict[str, Any]) -> Any:
        check_is_fitted(self)
        self._check_features(X, "X", reset=False)
        local = self.to_local()
        # One thread a task: a worker runs as many tasks as it has threads.
        local.estimator_ = copy.copy(local.estimator_)
        local.estimator_.n_jobs = 1  # set_params of a copy would reach what LightGBM's estimators share with it
        model = dask.delayed(local, pure=False)
        if isinstance(X, dd.DataFrame):
            meta = _answer_frame(X._meta, local, method, params)
            return X.map_partitions(_answer_frame, model, method, params, meta=meta)
        X = X.rechunk({1: -1})
        empty = _empty_answer(local, method)
        shape = {"drop_axis": 1} if empty.ndim == 1 else {"chunks": (X.chunks[0], (empty.shape[1],))}
        return X.map_blocks(_answer_array, model=model, method=method, params=params, meta=empty, **shape)


def _answer_array(part: Any, model: FocalClassifier, method: str, params: dict[str, Any]) -> np.ndarray:
    return getattr(model, method)(part, **params) if part.shape[0] else _empty_answer(model, method)


def _answer_frame(part: Any, model: FocalClassifier, method: str, params: dict[str, Any]) -> Any:
    values = _answer_array(part, model, method, params)
    if values.ndim == 1:
        # Of labels that are strings, none look to pandas like objects.
        dtype = pd.Series(model.classes_).dtype if method == "predict" else values.dtype
        return pd.Series(values, index=part.index, dtype=dtype)
    return pd.DataFrame(values, index=part.index, columns=model.classes_)


def _empty_answer(model: FocalClassifier, method: str) -> np.ndarray:
    """What a method answers for no rows: its dtype and columns."""
    if method == "predict":
        labels: AnyArray = model.classes_[:0]
        return labels
    K = len(model.classes_)
    dtype = library_of(model.estimator_).margin_dtype
    margins = np.zeros(1 if K == 2 else (1, K), dtype=dtype)
    return (margins if method == "decision_function" else model.loss_.predict_proba(margins))[:0]


def _has_unknown_categories(column: Any) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype) and not column.cat.known


def _clone_without_client(estimator: Any) -> Any:
    """A clone that shares the client, which cannot be copied."""
    client = None if estimator is None else vars(estimator).get("client")
    if client is None:
        return clone(estimator, safe=False)
    params = {**estimator.get_params(deep=False), "client": None}
    return clone(type(estimator)(**params)).set_params(client=client)


# ---------------------------------------------------------------------------------------------------------------------
# Rows on a cluster


class _Share(NamedTuple):
    """What a partition holds: rows, its labels, and how often and with which sum of weights each occurs."""

    n: int
    labels: np.ndarray
    counts: np.ndarray
    totals: np.ndarray


class Rows:
    """A set of rows on a cluster: features, labels, weights, and whatever else the libraries take for each row."""

    def __init__(self, name: str, X: Any, y: Any, weight: Any, others: dict[str, Any]) -> None:
        self.name = name
        self.X = X.rechunk({1: -1}) if isinstance(X, da.Array) else X
        self.y: Any = _check_vector(y, f"y of the {name} data")
        self.weight = None if weight is None else _check_vector(weight, f"weight of the {name} data")
        self.others: dict[str, Any] = {key: value for key, value in others.items() if value is not None}
        # What later collections are computed from: their graphs do not keep it on the cluster.
        self.held: list[Any] = []
        self.lazy: set[str] = set(dict(self.items()))
        for key, value in self.items():
            if value.npartitions != self.X.npartitions:
                raise ValueError(
                    f"X of the {name} data has {self.X.npartitions} partitions, but {key} has {value.npartitions}: cut "
                    "both into rows alike, with rechunk or repartition"
                )

    def items(self) -> list[tuple[str, Any]]:
        """Name and collection of each part of the rows that there is."""
        parts = {"X": self.X, "y": self.y, "weight": self.weight, **self.others}
        return [(name, part) for name, part in parts.items() if part is not None]

    def replace(self, collections: dict[int, Any]) -> None:
        """Put other collections, by the id of the present ones, into their place."""
        self.held += [part for _, part in self.items()]
        self.X, self.y, self.weight = (collections.get(id(part), part) for part in (self.X, self.y, self.weight))
        self.others = {name: collections.get(id(part), part) for name, part in self.others.items()}

    def count(self, client: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels of all partitions, sorted, with the number of rows and the sum of weights of each.

        Partitions without rows are dropped on the way.
        """
        parts = {name: _delayed(collection) for name, collection in self.items()}
        # Rows are counted where they lie, so that nothing but labels and weights is sent about.
        lengths = {name: [dask.delayed(_length, pure=False)(part) for part in parts[name]] for name in parts}
        weights = parts.get("weight", [None] * len(parts["y"]))
        tasks = [dask.delayed(_share, pure=False)(*pair) for pair in zip(parts["y"], weights, strict=True)]
        lengths, shares = client.compute([lengths, tasks], sync=True)
        self._check_lengths(lengths)
        filled = [i for i, share in enumerate(shares) if share.n]
        if not filled:
            raise ValueError(f"the {self.name} data have no rows: check the filter or the split that made them")
        if len(filled) < len(shares):
            self.replace({id(collection): collection.partitions[filled] for _, collection in self.items()})
        shares = [shares[i] for i in filled]
        self.lengths: list[Any] = [share.n for share in shares]
        labels = np.unique(np.concatenate([share.labels for share in shares]))
        counts, totals = np.zeros(len(labels)), np.zeros(len(labels))
        for share in shares:
            place = np.searchsorted(labels, share.labels)
            counts[place] += share.counts
            totals[place] += share.totals
        return labels, counts, totals

    def _check_lengths(self, lengths: dict[str, list[int]]) -> None:
        for name, of_parts in lengths.items():
            for i, (n, n_labels) in enumerate(zip(of_parts, lengths["y"], strict=True)):
                if n != n_labels:
                    raise ValueError(
                        f"partition {i} of {name} of the {self.name} data has {n} rows, but that of y has {n_labels}: "
                        "cut both into rows alike"
                    )

    def encode(self, classes: np.ndarray, by_class: np.ndarray) -> None:
        """Turn labels into codes and multiply weights by those of the classes; both become arrays."""
        self.held += [part for _, part in self.items()]
        labels = _delayed(self.y)
        self.y = self._array([dask.delayed(_codes)(part, classes) for part in labels], np.int64)
        if self.weight is not None or (by_class != 1).any():
            weights = [None] * len(labels) if self.weight is None else _delayed(self.weight)
            codes = _delayed(self.y)
            parts = [dask.delayed(_weigh)(*part, by_class) for part in zip(codes, weights, strict=True)]
            self.weight = self._array(parts, np.float64)
        self.lazy = {"y", "weight"}

    def ones(self) -> da.Array:
        """Weights that change nothing."""
        return da.ones(sum(self.lengths), chunks=(tuple(self.lengths),))

    def parts(self, *, together: bool) -> list[tuple[Any, ...]]:
        """Features, codes, weights and start margins of each partition, or of all rows together, as delayed objects."""
        margins = next(iter(self.others.values()), None)
        columns = [
            [None] * len(self.lengths) if part is None else _delayed(part)
            for part in (self.X, self.y, self.weight, margins)
        ]
        if together:
            columns = [[None if part[0] is None else dask.delayed(_joined)(part)] for part in columns]
        return list(zip(*columns, strict=True))

    def _array(self, parts: list[Any], dtype: Any) -> da.Array:
        arrays = [da.from_delayed(part, (n,), dtype) for part, n in zip(parts, self.lengths, strict=True)]
        return da.concatenate(arrays)


def _check_vector(values: Any, name: str) -> Any:
    if not isinstance(values, (da.Array, dd.Series)):
        raise TypeError(
            f"{name} is a {type(values).__name__}, not a Dask array or Series: make one with dask.array.from_array or "
            "take a column of a data frame"
        )
    if values.ndim != 1:
        raise ValueError(f"{name} has {values.ndim} dimensions, not one: pass one value a row, or take one column")
    return values


def _eval_rows(pairs: list[tuple[Any, Any]], fit_params: dict[str, Any], library: Adapter) -> list[Rows]:
    """Evaluation sets with their own weights and start margins, which leave `fit_params`."""
    lists = {}
    for name in (library.eval_weights_argument, library.eval_margins_argument):
        values = fit_params.pop(name, None)
        lists[name] = [None] * len(pairs) if values is None else values
        if len(lists[name]) != len(pairs):
            raise ValueError(f"{name} has {len(values)} entries, but there are {len(pairs)} evaluation sets")
    weights, margins = lists.values()
    return [
        Rows(f"eval_set[{i}]", *pair, weights[i], {library.eval_margins_argument: margins[i]})
        for i, pair in enumerate(pairs)
    ]


def _locate(client: Any, sets: list[Rows]) -> None:
    """Let the cluster load all rows; one that occurs twice is loaded once and stays one object."""
    collections = {id(part): part for rows in sets for name, part in rows.items() if name in rows.lazy}
    located = dict(zip(collections, client.persist(list(collections.values())), strict=True))
    distributed.wait(list(located.values()))
    for rows in sets:
        rows.replace(located)
        rows.lazy = set()


def _delayed(collection: Any) -> list[Any]:
    parts = collection.to_delayed()
    return parts if isinstance(parts, list) else parts.ravel().tolist()


def _joined(parts: list[Any]) -> Any:
    return pd.concat(parts) if hasattr(parts[0], "iloc") else np.concatenate(parts)


def _length(part: Any) -> int:
    return int(part.shape[0])


def _share(y: Any, weight: Any) -> _Share:
    """Check a partition and sum it up; runs where it lies."""
    n = len(y)
    if not n:
        return _Share(0, np.empty(0), np.empty(0), np.empty(0))
    labels, codes = np.unique(class_labels(y), return_inverse=True)
    weight = weight_array(None if weight is None else np.asarray(weight), n)
    return _Share(n, labels, np.bincount(codes), np.bincount(codes, weights=weight).astype(np.float64))


def _codes(labels: Any, classes: np.ndarray) -> np.ndarray:
    return np.searchsorted(classes, np.asarray(labels)).astype(np.int64)


def _weigh(codes: np.ndarray, weight: Any, by_class: np.ndarray) -> np.ndarray:
    weights: FloatArray = by_class[codes]
    return weights if weight is None else weights * np.asarray(weight, dtype=np.float64)


# ---------------------------------------------------------------------------------------------------------------------
# The libraries' estimators on a cluster


def _note_lost_workers(error: Exception, client: Any, before: set[str]) -> None:
    """Say of an error of the libraries that a worker has died, which they report as a broken connection."""
    if type(error).__name__ not in ("XGBoostError", "LightGBMError"):
        return
    for _ in range(20):
        # The scheduler notices a little later than the workers.
        lost = before - set(client.nthreads())
        if lost:
            error.add_note(
                f"Workers left the cluster during training: {sorted(lost)}. Training does not survive that; fit again."
            )
            return
        time.sleep(0.1)
