"""Training on a Dask cluster of several processes: the objectives by themselves, and DaskFocalClassifier."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from libraries import make_loss
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.utils import get_tags
from tables import draw

from focal_boost import FocalClassifier
from focal_boost._adapter import import_adapter
from focal_boost.lightgbm import FocalObjective as LightGBMObjective
from focal_boost.xgboost import FocalObjective as XGBoostObjective

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from xgboost import dask as xgb_dask  # noqa: E402

from focal_boost.dask import DaskFocalClassifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of ports and of pandas

# Tasks run where their data lie, however small these are: the tests decide which worker holds which rows.
PLACEMENT = {"distributed.scheduler.unknown-task-duration": "1us", "distributed.scheduler.work-stealing": False}
NAMES = np.array(["a", "b", "c"])


def start_cluster():
    return distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)


@pytest.fixture(scope="module")
def client():
    with dask.config.set(PLACEMENT), start_cluster() as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def place(client):
    """Put rows on workers: ``place([(array, worker), ...])`` gives a Dask array of these chunks."""
    workers = sorted(client.scheduler_info()["workers"])
    kept = []

    def build(chunks):
        futures = [client.scatter(chunk, workers=[workers[worker]], hash=False) for chunk, worker in chunks]
        kept.extend(futures)
        arrays = [
            da.from_delayed(future, chunk.shape, chunk.dtype)
            for future, (chunk, _) in zip(futures, chunks, strict=True)
        ]
        return da.concatenate(arrays)

    return build


def uneven(place, values, cuts=(700, 750, 1500), workers=(0, 0, 0, 1)):
    return place(list(zip(np.split(values, cuts), workers, strict=True)))


def sorted_by_class(n_classes, n=2000, seed=0):
    """Rows of the rarest class come last, so that only one worker gets them."""
    table = draw(n, n_classes=n_classes, seed=seed)
    order = np.argsort(table.y == n_classes - 1, kind="stable")
    return type(table)(*(values[order] for values in table))


class LightGBM:
    stop = staticmethod(lambda rounds: {"callbacks": [lgb.early_stopping(rounds, verbose=False)]})
    error = lgb.basic.LightGBMError
    weights = "eval_sample_weight"
    earlier = "init_model"
    names = ("valid_0", "valid_1")
    training = "training"

    @staticmethod
    def there(**params):
        return lgb.DaskLGBMClassifier(**{"n_estimators": 20, "num_leaves": 8, "verbosity": -1, **params})

    @staticmethod
    def here(**params):
        return lgb.LGBMClassifier(**{"n_estimators": 20, "num_leaves": 8, "verbosity": -1, "n_jobs": 1, **params})

    @staticmethod
    def quiet(**params):
        return params


class XGBoost:
    stop = staticmethod(lambda rounds: {})
    error = xgb.core.XGBoostError
    weights = "sample_weight_eval_set"
    earlier = "xgb_model"
    names = ("validation_0", "validation_1")
    training = "validation_0"

    @staticmethod
    def there(**params):
        return xgb_dask.DaskXGBClassifier(**{"n_estimators": 20, "max_depth": 3, "learning_rate": 0.1, **params})

    @staticmethod
    def here(**params):
        return xgb.XGBClassifier(**{"n_estimators": 20, "max_depth": 3, "learning_rate": 0.1, "n_jobs": 1, **params})

    @staticmethod
    def quiet(**params):
        return {"verbose": False, **params}


each_library = pytest.mark.parametrize("library", [LightGBM, XGBoost])
each_task = pytest.mark.parametrize("n_classes", [2, 3])


#
# The objectives through the libraries' own interfaces


@each_task
def test_xgboost_train(client, place, n_classes):
    table = sorted_by_class(n_classes)
    X, y = uneven(place, table.X), uneven(place, table.y)
    loss = make_loss(n_classes)
    objective = XGBoostObjective(loss, loss.fit_intercept_only(table.y), n_threads=1)
    params = {"nthread": 1, "max_depth": 3, **objective.params}
    data = xgb_dask.DaskDMatrix(client, X, y)
    there = xgb_dask.train(
        client,
        params,
        data,
        10,
        obj=objective,
        custom_metric=objective.metric,
        evals=[(data, "train")],
        verbose_eval=False,
    )
    here = xgb.train(params, xgb.QuantileDMatrix(table.X, table.y), 10, obj=objective)
    margins = [
        booster.predict(xgb.DMatrix(table.X), output_margin=True).astype(float) for booster in (there["booster"], here)
    ]
    # not the same trees: the workers find the bins of the features together, from other samples than one machine
    assert loss(table.y, margins[0]) == pytest.approx(loss(table.y, margins[1]), rel=0.05)
    # over all rows, however they lie; XGBoost passes six decimals on
    history = there["history"]["train"]
    assert history["focal_loss"][-1] == pytest.approx(loss(table.y, margins[0]), abs=1e-6)
    assert history["log_loss"][-1] == pytest.approx(loss.log_loss(table.y, margins[0]), abs=1e-6)
    assert history["logloss" if n_classes == 2 else "mlogloss"][-1] == pytest.approx(history["log_loss"][-1], abs=1e-6)
    local = [loss(table.y[rows], margins[0][rows]) for rows in (slice(1500), slice(1500, None))]
    assert abs(np.mean(local) - loss(table.y, margins[0])) > 1e-3  # what the mean over workers would be


@each_task
def test_lightgbm_objective(client, n_classes):
    table = draw(2000, n_classes=n_classes)
    X, y = da.from_array(table.X, chunks=(500, 8)), da.from_array(table.y, chunks=500)
    loss = make_loss(n_classes)
    objective = LightGBMObjective(loss, loss.fit_intercept_only(table.y))
    options = {"objective": objective, "n_estimators": 10, "verbosity": -1, "metric": "None"}
    there = lgb.DaskLGBMClassifier(client=client, **options).fit(X, y)
    here = lgb.LGBMClassifier(n_jobs=1, **options).fit(table.X, table.y)
    scores = [
        loss(table.y, objective.portable(model.booster_).predict(table.X, raw_score=True)) for model in (there, here)
    ]
    # not the same trees: the workers find the bins of the features together, from other samples than one machine
    assert scores[0] == pytest.approx(scores[1], rel=0.05)
    assert np.isfinite(scores).all()


#
# DaskFocalClassifier: the same model as on one machine


def margins_of(model, X):
    """Centred margins of either kind of model."""
    if isinstance(model, FocalClassifier):
        margins = model.decision_function(X)
    elif isinstance(model, lgb.LGBMModel):
        margins = model.booster_.predict(X, raw_score=True)
    else:
        margins = model.get_booster().predict(xgb.DMatrix(X), output_margin=True)
    return margins - margins.mean(axis=0)


@each_library
@each_task
def test_predictions_of_one_machine(client, place, library, n_classes):
    """As near to one machine as the library's own objective is, with a class that only one worker has."""
    table, test = sorted_by_class(n_classes), draw(1000, n_classes=n_classes, seed=1)
    X, y, weight = (uneven(place, values) for values in (table.X, table.y, table.weight))
    # LightGBM's own classifier numbers labels worker by worker: it gets rows whose order spares it that.
    order = np.random.default_rng(0).permutation(len(table.y))
    X_mixed, y_mixed = (uneven(place, values[order]) for values in (table.X, table.y))

    built_in = library.there()
    built_in.client = client
    built_in.fit(X_mixed, y_mixed, **library.quiet())
    built_in_here = library.here().fit(table.X[order], table.y[order])
    there = DaskFocalClassifier(library.there(), client=client).fit(X, y, weight, **library.quiet())
    here = FocalClassifier(library.here()).fit(table.X, table.y, table.weight)

    distances = []
    for one, other in ((built_in, built_in_here), (there, here)):
        first, second = margins_of(one, test.X), margins_of(other, test.X)
        distances.append(np.sqrt(np.mean((first - second) ** 2)) / second.std())
    assert distances[1] < 1.5 * distances[0] + 1e-3
    assert there.loss_ == here.loss_
    assert there.score(X, y) == pytest.approx(here.score(table.X, table.y), abs=0.02)


@each_library
def test_shares_weights_and_intercept_of_the_cluster(client, place, library):
    table = sorted_by_class(3)
    X, y, weight = (uneven(place, values) for values in (table.X, NAMES[table.y], table.weight))
    there = DaskFocalClassifier(library.there(n_estimators=2), alpha="balanced", client=client)
    there.fit(X, y, weight, **library.quiet())
    here = FocalClassifier(library.here(n_estimators=2), alpha="balanced").fit(table.X, NAMES[table.y], table.weight)
    assert there.classes_.tolist() == ["a", "b", "c"]
    assert there.loss_.alpha == pytest.approx(here.loss_.alpha, rel=1e-12)
    # two rounds leave the start margins in charge
    np.testing.assert_allclose(
        there.decision_function(table.X).mean(axis=0), here.decision_function(table.X).mean(axis=0), atol=0.02
    )


def test_class_weight_of_the_estimator(client, place):
    table = sorted_by_class(3)
    X, y = (uneven(place, values) for values in (table.X, NAMES[table.y]))
    for class_weight in ("balanced", {"a": 2.0, "c": 3.0}):
        there = DaskFocalClassifier(LightGBM.there(n_estimators=2, class_weight=class_weight), client=client)
        here = FocalClassifier(LightGBM.here(n_estimators=2, class_weight=class_weight))
        for model, data in ((there, (X, y)), (here, (table.X, NAMES[table.y]))):
            with pytest.warns(UserWarning, match="class_weight=.*use alpha="):
                model.fit(*data)
        np.testing.assert_allclose(
            there.decision_function(table.X).mean(axis=0), here.decision_function(table.X).mean(axis=0), atol=0.02
        )


def test_a_worker_with_neither_the_first_class_nor_the_last(client, place):
    """Its labels would be numbered anew by LightGBM's own classifier."""
    table = draw(1500, n_classes=3)
    order = np.argsort(table.y != 1, kind="stable")
    X, y = table.X[order], NAMES[table.y[order]]
    n_middle = int((table.y == 1).sum())
    cuts, workers = (n_middle,), (0, 1)
    model = DaskFocalClassifier(LightGBM.there(), client=client)
    model.fit(uneven(place, X, cuts, workers), uneven(place, y, cuts, workers))
    assert model.score(X, y) == pytest.approx(FocalClassifier(LightGBM.here()).fit(X, y).score(X, y), abs=0.02)


#
# Metrics and early stopping


def rows(y_true, y_proba, sample_weight=None):
    """Not a mean over rows: how many there are where it is called."""
    distributed.get_worker().log_event("rows", len(y_true))
    return float(len(y_true))


def as_lightgbm_metric(function):
    def metric(y_true, y_proba, sample_weight):
        return function.__name__, function(y_true, y_proba, sample_weight), False

    return metric


@each_library
@each_task
def test_early_stopping_is_the_same_on_all_workers(client, place, library, n_classes):
    """One evaluation set lies on one worker, the other unevenly on both; values are those over all rows."""
    table, valid = sorted_by_class(n_classes), draw(600, n_classes=n_classes, seed=1)
    X, y = uneven(place, table.X), uneven(place, NAMES[table.y])
    two = uneven(place, valid.X, (500,), (0, 1)), uneven(place, NAMES[valid.y], (500,), (0, 1))
    weight_two = uneven(place, valid.weight, (500,), (0, 1))
    one = place([(valid.X[:400], 1)]), place([(NAMES[valid.y[:400]], 1)])
    stop = {"early_stopping_rounds": 3} if library is XGBoost else {}
    estimator = library.there(n_estimators=400, learning_rate=0.5, **stop)
    model = DaskFocalClassifier(estimator, client=client, gamma=1.0)
    model.fit(
        X,
        y,
        eval_set=[two, one],
        **{library.weights: [weight_two, da.ones(400, chunks=400)]},
        **library.quiet(**library.stop(3)),
    )
    assert 1 < model.best_iteration_ < 200
    assert list(model.evals_result_) == list(library.names)
    best = model.n_rounds_ - 1
    margins, margins_one = model.decision_function(valid.X), model.decision_function(valid.X[:400])
    log_two, log_one = (model.evals_result_[name] for name in library.names)
    exact = {"rel": 1e-5}
    name = import_adapter("xgboost" if library is XGBoost else "lightgbm").log_loss_name(n_classes)
    assert list(log_two) == list(log_one) == [name]
    assert log_two[name][best] == pytest.approx(model.loss_.log_loss(valid.y, margins, valid.weight), **exact)
    assert log_one[name][best] == pytest.approx(model.loss_.log_loss(valid.y[:400], margins_one), **exact)
    # the library's rule, on these values: one of the sets (XGBoost: the last) had no better round for three
    stops = [np.argmin(log[name]) for log in (log_one, *([log_two] if library is LightGBM else []))]
    assert best in stops
    assert len(log_one[name]) == best + 4


def test_lightgbm_stops_by_an_area_over_all_rows_and_callbacks_keep_what_they_see(client, place):
    """An area under a curve is no mean over rows; the training set is told apart and decides nothing."""
    table, valid = sorted_by_class(2), draw(600, seed=1)
    X, y = uneven(place, table.X), uneven(place, table.y)
    pair = uneven(place, valid.X, (500,), (0, 1)), uneven(place, valid.y, (500,), (0, 1))
    weight = uneven(place, valid.weight, (500,), (0, 1))

    def auc(y_true, y_proba, sample_weight):
        return "auc", roc_auc_score(y_true, y_proba, sample_weight=sample_weight), True

    log: dict = {}
    callbacks = [lgb.early_stopping(3, verbose=False), lgb.record_evaluation(log)]
    estimator = LightGBM.there(n_estimators=60, learning_rate=0.5, metric="None")
    model = DaskFocalClassifier(estimator, client=client)
    model.fit(
        X,
        y,
        eval_set=[(X, y), pair],
        eval_sample_weight=[None, weight],
        eval_metric=auc,
        callbacks=callbacks,
    )
    scores = model.evals_result_["valid_1"]["auc"]
    assert log == model.evals_result_
    assert list(log) == ["training", "valid_1"]
    assert model.best_iteration_ == np.argmax(scores) + 1 == len(scores) - 3
    found = model.predict_proba(valid.X)[:, 1]
    assert max(scores) == pytest.approx(roc_auc_score(valid.y, found, sample_weight=valid.weight), rel=1e-12)


def test_lightgbm_sets_that_share_half_of_the_training_data_are_not_the_training_set(client, place):
    """Nor are its features with other labels, or its labels with other features."""
    table = sorted_by_class(2)
    X, other, y = (uneven(place, values) for values in (table.X, table.X[:, ::-1].copy(), table.y))
    model = DaskFocalClassifier(LightGBM.there(n_estimators=4), client=client)
    model.fit(X, y, eval_set=[(X, 1 - y), (other, y), (X, y)])
    assert list(model.evals_result_) == ["valid_0", "valid_1", "training"]
    first, second, training = (log["binary_logloss"][-1] for log in model.evals_result_.values())
    assert training < second < first


def test_lightgbm_sets_without_a_metric_are_no_obstacle(client, place):
    """As on one machine: there is nothing to report, of a training that goes on from another, too."""
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)
    model = DaskFocalClassifier(LightGBM.there(n_estimators=3, metric="None"), client=client)
    plain = model.fit(X, y, eval_set=[(X, y)])
    assert plain.evals_result_ == {}
    more = clone(model).fit(X, y, eval_set=[(X, y)], init_model=plain)
    assert more.evals_result_ == {}
    assert more.n_rounds_ == 6


@each_library
def test_several_labels_a_row_are_not_promised(library):
    assert not get_tags(DaskFocalClassifier(library.there())).classifier_tags.multi_label


@each_library
def test_metric_functions_see_probabilities_of_all_rows(client, place, library):
    """XGBoost has means over the rows of workers, LightGBM calls them with all rows."""
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)

    def squared(y_true, y_proba, sample_weight=None):
        return float(np.average((y_true - y_proba) ** 2, weights=sample_weight))

    def train(metric):
        if library is XGBoost:  # which takes one function
            estimator, options = library.there(eval_metric=["auc", metric]), {"verbose": False}
        else:
            estimator, options = library.there(), {"eval_metric": [as_lightgbm_metric(metric)]}
        model = DaskFocalClassifier(estimator, client=client).fit(X, y, eval_set=[(X, y)], **options)
        return model, model.evals_result_[library.training][metric.__name__][-1]

    model, found = train(squared)
    assert found == pytest.approx(squared(table.y, model.predict_proba(table.X)[:, 1]), rel=1e-5)
    before = len(client.get_events("rows"))
    _, found = train(rows)
    seen = {int(event) for _, event in client.get_events("rows")[before:]}
    assert sum(seen) == 2000
    if library is LightGBM:
        assert found == 2000
        return
    # 1500 rows on one worker and 500 on the other, unless the scheduler has moved a chunk
    assert len(seen) == 2
    assert found == pytest.approx(sum(rows**2 for rows in seen) / 2000)


@each_library
def test_a_metric_that_fails_ends_training(client, place, library):
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)

    def failing(y_true, y_proba, sample_weight=None):
        if library is LightGBM or distributed.get_worker().name == 0:
            raise ZeroDivisionError("broken metric")
        return 0.0

    estimator = library.there(**({"eval_metric": failing} if library is XGBoost else {}))
    options = {"verbose": False} if library is XGBoost else {"eval_metric": as_lightgbm_metric(failing)}
    with pytest.raises((ZeroDivisionError, library.error)):
        DaskFocalClassifier(estimator, client=client).fit(X, y, eval_set=[(X, y)], **options)
    again = DaskFocalClassifier(library.there(n_estimators=2), client=client).fit(X, y, **library.quiet())
    assert again.predict(X).compute().shape == (2000,)


#
# Predictions


@pytest.fixture(scope="module", params=[LightGBM, XGBoost])
def fitted(request, client):
    """A model of a data frame with a categorical column, and the frame."""
    table = draw(900, n_classes=3)
    frame = pd.DataFrame(table.X[:, 1:5], columns=list("pqrs"), index=np.arange(900) * 2 + 100)
    frame["kind"] = pd.Categorical(np.array(["x", "y", "z"])[np.digitize(table.X[:, 0], [-0.5, 0.5])])
    y = pd.Series(NAMES[table.y], index=frame.index)
    options = {"enable_categorical": True} if request.param is XGBoost else {}
    model = DaskFocalClassifier(request.param.there(**options), client=client)
    model.fit(dd.from_pandas(frame, npartitions=3), dd.from_pandas(y, npartitions=3), **request.param.quiet())
    return model, frame


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_lazy_predictions_keep_index_and_divisions(fitted, method):
    model, frame = fitted
    X = dd.from_pandas(frame, npartitions=4)
    lazy = getattr(model, method)(X)
    assert isinstance(lazy, dd.Series if method == "predict" else dd.DataFrame)
    assert lazy.divisions == X.divisions
    result = lazy.compute()
    expected = getattr(model.to_local(), method)(frame)
    pd.testing.assert_index_equal(result.index, frame.index)
    np.testing.assert_array_equal(result.to_numpy(), expected)
    if method == "predict":
        assert result.dtype == lazy.dtype
    else:
        assert result.columns.tolist() == ["a", "b", "c"]
        assert (result.dtypes == lazy.dtypes).all()
    np.testing.assert_array_equal(getattr(model, method)(frame), expected)  # pandas in, NumPy out


def test_categories_are_used(fitted):
    model, frame = fitted
    assert model.feature_names_in_.tolist() == ["p", "q", "r", "s", "kind"]
    assert model.feature_importances_[-1] > 0
    swapped = frame["kind"].map({"x": "z", "y": "y", "z": "x"}).astype(frame["kind"].dtype)
    change = model.predict_proba(frame)[:, 2] - model.predict_proba(frame.assign(kind=swapped))[:, 2]
    assert (change[frame["kind"] == "z"] > 0).all()  # the larger the number behind it, the more of class c
    assert (change[frame["kind"] == "y"] == 0).all()


@each_library
@each_task
@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_lazy_predictions_keep_chunks(client, place, library, n_classes, method):
    table = sorted_by_class(n_classes)
    y = NAMES[table.y]
    model = DaskFocalClassifier(library.there(n_estimators=3), client=client)
    model.fit(uneven(place, table.X), uneven(place, y), **library.quiet())
    X = da.from_array(table.X, chunks=((1200, 0, 800), (5, 3)))
    lazy = getattr(model, method)(X)
    assert lazy.chunks[0] == X.chunks[0]
    result = lazy.compute()
    expected = getattr(model, method)(table.X)
    assert isinstance(expected, np.ndarray)
    assert lazy.shape == result.shape == expected.shape
    assert lazy.dtype == result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_local_model_runs_without_dask(fitted, tmp_path):
    model, frame = fitted
    local = model.to_local()
    assert type(local) is FocalClassifier
    assert "Dask" not in repr(local)
    clone(local)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(local))
    frame.to_pickle(tmp_path / "frame.pkl")
    np.save(tmp_path / "proba.npy", model.predict_proba(frame))
    script = """
        import pickle, sys
        import numpy as np, pandas as pd
        model = pickle.load(open("model.pkl", "rb"))
        assert "dask" not in sys.modules and "distributed" not in sys.modules
        np.testing.assert_array_equal(model.predict_proba(pd.read_pickle("frame.pkl")), np.load("proba.npy"))
        assert model.predict(pd.read_pickle("frame.pkl"))[0] in ["a", "b", "c"]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, cwd=tmp_path)


#
# Data


@each_library
def test_partitions_without_rows(client, library):
    table = draw(900, n_classes=2)
    frame = pd.DataFrame(table.X, columns=list("abcdefgh")).assign(y=NAMES[table.y], w=table.weight, row=np.arange(900))
    data = dd.from_pandas(frame, npartitions=6)
    data = data[data["row"].lt(300) | data["row"].ge(650)]
    kept = frame[frame["row"].lt(300) | frame["row"].ge(650)]
    columns = list("abcdefgh")
    model = DaskFocalClassifier(library.there(n_estimators=5), alpha="balanced", client=client)
    pair = data[columns], data["y"]
    model.fit(*pair, data["w"], eval_set=[pair], **{library.weights: [data["w"]]}, **library.quiet())
    here = FocalClassifier(library.here(n_estimators=5), alpha="balanced").fit(kept[columns], kept["y"], kept["w"])
    assert model.loss_.alpha == pytest.approx(here.loss_.alpha, rel=1e-12)
    (losses,) = model.evals_result_[library.training].values()
    assert len(losses) == 5
    proba = model.predict_proba(data[columns]).compute()
    pd.testing.assert_index_equal(proba.index, kept.index)
    codes, weight = (kept["y"] == "b").to_numpy(dtype=int), kept["w"]
    scores = [here.loss_(codes, one.decision_function(kept[columns]), weight) for one in (model, here)]
    assert scores[0] == pytest.approx(scores[1], rel=0.05)


def test_default_estimator_and_client(client, place):
    table = sorted_by_class(2)
    model = DaskFocalClassifier().fit(uneven(place, table.X), uneven(place, table.y == 1))
    assert isinstance(model.estimator_, lgb.LGBMClassifier)
    assert model.classes_.tolist() == [False, True]


#
# Life as an estimator


@each_library
def test_parameters_clone_and_pickle(client, place, library):
    estimator = library.there(**({"client": client} if library is LightGBM else {}))
    model = DaskFocalClassifier(estimator, gamma=1.5, alpha=[1.0, 2.0], client=client)
    assert model.get_params()["estimator__n_estimators"] == 20
    model.set_params(estimator__n_estimators=3)
    twin = clone(model)
    assert twin.client is client
    assert twin.estimator is not estimator
    assert (twin.gamma, twin.alpha, twin.estimator.n_estimators) == (1.5, [1.0, 2.0], 3)
    assert "gamma=1.5" in repr(model)
    table = sorted_by_class(2)
    twin.fit(uneven(place, table.X), uneven(place, table.y), **library.quiet())
    assert twin.client is client
    assert not hasattr(twin.estimator, "n_features_in_")
    loaded = pickle.loads(pickle.dumps(twin))
    assert loaded.client is None
    np.testing.assert_array_equal(loaded.predict_proba(table.X), twin.predict_proba(table.X))
    twin.predict(uneven(place, table.X)).compute()  # on one thread a task, which the fitted estimator must not learn
    for name, value in twin.estimator.get_params().items():
        if name not in ("client", "coll_cfg", "missing"):
            assert twin.estimator_.get_params()[name] == value or name == "objective"


@each_library
def test_what_cannot_be_trained_is_refused_and_changes_nothing(client, place, library):
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)
    model = DaskFocalClassifier(library.there(n_estimators=2), client=client).fit(X, y, **library.quiet())
    before = model.predict_proba(table.X)

    def refused(error, match, *data, **options):
        with pytest.raises(error, match=match):
            model.fit(*data, **options)
        np.testing.assert_array_equal(model.predict_proba(table.X), before)

    half = place([(table.y[:1000], 0)])
    refused(TypeError, "X is a ndarray, not a Dask array or data frame", table.X, y)
    refused(TypeError, "y of the training data is a ndarray", X, table.y)
    refused(ValueError, "y to be passed", X, None)
    refused(ValueError, "4 partitions, but y has 1", X, half)
    refused(ValueError, "partition 0 of y|partition 0 of X", X, uneven(place, table.y, (600, 750, 1500)))
    refused(ValueError, "only one class, \\[0\\]", X, y * 0)
    refused(ValueError, "sample_weight holds -1", X, y, y * 0 - 1)
    refused(ValueError, "zero in every row", X, y, y * 0)
    refused(ValueError, "eval_set\\[0\\] hold \\[7\\]", X, y, eval_set=[(X, y * 7)])
    refused(ValueError, "weights of eval_set\\[0\\] are zero", X, y, eval_set=[(X, y)], **{library.weights: [y * 0]})
    refused(ValueError, "has 1 entries, but there are 2", X, y, eval_set=[(X, y)] * 2, **{library.weights: [y]})
    refused(ValueError, "rows of only one class, \\[0\\]", X, y, 1 - y)
    refused(ValueError, "y holds None in row", X, uneven(place, np.where(table.y == 1, None, "a")))
    refused(ValueError, "2 dimensions, not one: pass one value a row", X, X)
    other = FocalClassifier(library.here(n_estimators=2)).fit(table.X, NAMES[table.y])
    earlier = library.earlier
    refused(ValueError, f"{earlier} is a model with classes_", X, y, **{earlier: other})
    other = FocalClassifier(library.here(n_estimators=2)).fit(table.X[:, 1:], table.y)
    refused(ValueError, f"{earlier} is a model with n_features_in_ 7", X, y, **{earlier: other})
    if library is LightGBM:
        evaluated = {"eval_set": [(X, y)]}
        refused(ValueError, "not 2 different names", X, y, eval_set=[(X, y)] * 2, eval_names=["a", "a"])
        refused(TypeError, "pass eval_sample_weight", X, y, **evaluated, eval_class_weight=["balanced"])
        refused(ValueError, "'auc' is not computed.*roc_auc_score", X, y, **evaluated, eval_metric="auc")
        refused(ValueError, "no eval_set to judge by", X, y, callbacks=[lgb.early_stopping(3)])
        refused(TypeError, "not a list of functions", X, y, callbacks=lgb.early_stopping(3), **evaluated)
    refused(ValueError, "is not a pair", X, y, eval_set=[X])
    refused(TypeError, "unexpected keyword argument 'feval'", X, y, feval=None)
    refused(ValueError, "NaN", X, uneven(place, np.where(table.y == 1, np.nan, 0.0)))
    model.set_params(gamma=-1)
    refused(ValueError, "gamma=-1", X, y)
    model.set_params(gamma=2.0, estimator=library.here())
    refused(TypeError, "FocalClassifier takes those for one machine", X, y)
    model.set_params(estimator=library.there(scale_pos_weight=3))
    refused(ValueError, "scale_pos_weight=3", X, y)
    if library is LightGBM:
        model.set_params(estimator=library.there(class_weight={"spam": 2.0}))
        refused(ValueError, "not in class_weight", X, y)


def test_unknown_categories_are_refused(client):
    frame = dd.from_pandas(pd.DataFrame({"kind": list("xyxy"), "p": [1.0, 2, 3, 4]}), npartitions=2)
    frame["kind"] = frame["kind"].astype("category")
    with pytest.raises(ValueError, match="categories of column 'kind' of X are not known"):
        DaskFocalClassifier(client=client).fit(frame, frame["p"])


#
# A worker dies


class Die(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        die(epoch)
        return False


def die(iteration):
    if iteration == 2 and distributed.get_worker().name == 1:
        os._exit(1)


def die_in_lightgbm(env):
    die(env.iteration)


die_in_lightgbm.before_iteration = True  # those that come after a round are called by the client


@each_library
def test_a_killed_worker_ends_training_as_it_does_for_the_built_in_objective(library):
    table = draw(800)
    callbacks = {} if library is XGBoost else {"callbacks": [die_in_lightgbm]}
    # LightGBM's survivor may wait for the dead one, two hours if it is not told otherwise; these are minutes.
    own = {"callbacks": [Die()]} if library is XGBoost else {"time_out": 1}
    endings = []
    with start_cluster() as cluster, distributed.Client(cluster) as client:
        for focal in (False, True):
            client.wait_for_workers(2, timeout=60)
            # So many chunks that either worker gets some of them.
            X, y = da.from_array(table.X, chunks=(50, 8)), da.from_array(table.y, chunks=50)
            model = library.there(n_estimators=3000, **own)
            model.client = client
            options = library.quiet(**callbacks)
            if focal:
                model = DaskFocalClassifier(model, client=client)
            with pytest.raises(library.error) as error:
                model.fit(X, y, **options)
            endings.append(error.value)
            assert client.submit(sum, [1, 2], pure=False).result(timeout=60) == 3
    assert type(endings[0]) is type(endings[1])
    assert "Workers left the cluster during training" in endings[1].__notes__[0]
