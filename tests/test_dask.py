"""Training on a Dask cluster of several processes: the objectives by themselves, and DaskFocalClassifier."""

from __future__ import annotations

import pickle

import fresh
import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from libraries import make_loss
from sklearn.base import clone
from tables import draw

from focal_boost import FocalClassifier
from focal_boost.lightgbm import FocalObjective as LightGBMObjective
from focal_boost.xgboost import FocalObjective as XGBoostObjective

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from clusters import NAMES, LightGBM, XGBoost, each_library, each_task, sorted_by_class, uneven  # noqa: E402
from xgboost import dask as xgb_dask  # noqa: E402

from focal_boost.dask import DaskFocalClassifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of ports and of pandas


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
    fresh.run(script, imported=fresh.BOOSTERS, cwd=tmp_path)


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
