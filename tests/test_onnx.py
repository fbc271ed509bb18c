"""Fitted models as ONNX graphs: the same margins and probabilities, or an error that names what the graph lacks."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from classifiers import each_booster, each_estimator, each_task, lightgbm, xgboost
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import draw

from focal_boost import FocalClassifier, FocalClassifierCV

pytest.importorskip("onnxmltools", reason="onnxmltools is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import skl2onnx  # noqa: E402

from focal_boost.onnx import to_onnx  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of the converters


def run(model, X):
    return run_graph(to_onnx(model), X)


def run_graph(graph, X):
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


@each_estimator
@each_task
@pytest.mark.parametrize("missing", [False, True])
def test_gives_margins_and_probabilities(make, n_classes, missing):
    table = draw(400, n_classes=n_classes)
    X = table.X.astype(np.float32)
    if missing:
        X[np.abs(X) < 0.2] = np.nan
    model = FocalClassifier(make(), gamma=1.7, alpha="balanced").fit(X, table.y)
    margins, proba = run(model, X)
    np.testing.assert_allclose(margins.reshape(model.decision_function(X).shape), model.decision_function(X), atol=1e-5)
    np.testing.assert_allclose(proba, model.predict_proba(X), rtol=0, atol=2e-6)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)


@each_booster
def test_decides_like_the_booster_on_a_threshold(make):
    X = np.repeat(np.float32([0.1, np.nextafter(np.float32(0.1), np.float32(1)), 0.3, 1e20, -1e20]), 60)[:, None]
    y = np.repeat([0, 1, 0, 1, 0], 60)
    model = FocalClassifier(make(n_estimators=10)).fit(X, y)
    margins, _ = run(model, X)
    np.testing.assert_allclose(margins[:, 0], model.decision_function(X), atol=1e-5)


class DerivedXGB(xgb.XGBClassifier):
    """A class of the user's own, in a module that is not the library's."""


class DerivedLGBM(lgb.LGBMClassifier):
    """The same for LightGBM."""


@pytest.mark.parametrize(("derived", "quiet"), [(DerivedXGB, {}), (DerivedLGBM, {"verbosity": -1})])
def test_of_a_derived_estimator(derived, quiet):
    table = draw(200)
    X = table.X.astype(np.float32)
    model = FocalClassifier(derived(n_estimators=3, n_jobs=1, **quiet)).fit(X, table.y)
    margins, _ = run(model, X)
    np.testing.assert_allclose(margins[:, 0], model.decision_function(X), atol=1e-5)


@each_booster
def test_stops_at_the_best_round(make):
    table, valid = draw(600), draw(300, seed=1)
    X, X_valid = table.X.astype(np.float32), valid.X.astype(np.float32)
    stop = {} if make is lightgbm else {"early_stopping_rounds": 3}
    fit = {"callbacks": [lgb.early_stopping(3, verbose=False)]} if make is lightgbm else {"verbose": False}
    model = FocalClassifier(make(n_estimators=200, learning_rate=0.5, **stop))
    model.fit(X, table.y, eval_set=[(X_valid, valid.y)], **fit)
    margins, _ = run(model, X_valid)
    np.testing.assert_allclose(margins[:, 0], model.decision_function(X_valid), atol=1e-5)


@each_booster
@pytest.mark.parametrize(
    "labels", [["no", "yes", "maybe"], [3, 7, 11], [False, True], np.array(["a", "b"], dtype=object)]
)
def test_a_pipeline_is_converted_by_skl2onnx(make, labels):
    table = draw(400, n_classes=len(labels))
    y = np.asarray(labels)[table.y]
    pipeline = make_pipeline(StandardScaler(), FocalClassifier(make(n_estimators=5))).fit(table.X, y)
    graph = skl2onnx.to_onnx(pipeline, table.X[:1], options={id(pipeline[-1]): {"zipmap": False}})
    found, proba = run_graph(graph, table.X)
    np.testing.assert_array_equal(found.astype(y.dtype), pipeline.predict(table.X))
    np.testing.assert_allclose(proba, pipeline.predict_proba(table.X), rtol=0, atol=1e-6)
    _, rows = run_graph(skl2onnx.to_onnx(pipeline, table.X[:1]), table.X[:2])
    assert [sorted(row) for row in rows] == [sorted(np.unique(y).astype(str if y.dtype.kind in "UO" else int))] * 2


@each_booster
def test_searches(make):
    """The best model of a search; what ends otherwise is refused by name."""
    table = draw(300)
    X = table.X.astype(np.float32)
    model = FocalClassifier(make(n_estimators=5))
    for search in (
        GridSearchCV(model, {"gamma": [0.0, 2.0]}, cv=2),
        FocalClassifierCV(model.estimator, gammas=(0, 2.0), cv=2, early_stopping_rounds=None),
    ):
        search.fit(X, table.y)
        np.testing.assert_allclose(run(search, X)[1], search.predict_proba(X), rtol=0, atol=1e-6)
        graph = skl2onnx.to_onnx(search, X[:1], options={"zipmap": False})
        np.testing.assert_allclose(run_graph(graph, X)[1], search.predict_proba(X), rtol=0, atol=1e-6)
    for other in (make_pipeline(clone(model)), model.estimator):
        with pytest.raises(TypeError, match=f"is a {type(other).__name__}, not a FocalClassifier.*skl2onnx"):
            to_onnx(other)


@pytest.mark.parametrize(
    ("estimator", "what"),
    [
        (xgboost(booster="dart"), "booster='dart'"),
        (xgboost(missing=0.0), "missing=0.0.*only NaN is missing"),
        (xgboost(missing=-999), "missing=-999.*only NaN is missing"),
        (xgboost(multi_strategy="multi_output_tree"), "multi_output_tree.*one number"),
        (lightgbm(zero_as_missing=True), "zero_as_missing.*only NaN is missing"),
        (lightgbm(linear_tree=True), "linear leaves"),
    ],
)
def test_what_trees_of_onnx_do_not_have_is_refused(estimator, what):
    table = draw(300, n_classes=3)
    X = np.round(table.X)
    with pytest.raises(ValueError, match=what):
        to_onnx(FocalClassifier(estimator).fit(X, table.y))


@pytest.mark.parametrize("trained_with_nan", [False, True])
@each_booster
def test_missing_values_at_prediction(make, trained_with_nan):
    X = np.round(draw(400).X).astype(np.float32)
    holes = np.where(np.abs(X) == 1, np.nan, X)
    model = FocalClassifier(make()).fit(holes if trained_with_nan else X, draw(400).y)
    np.testing.assert_allclose(run(model, holes)[1], model.predict_proba(holes), rtol=0, atol=2e-6)


def test_categorical_splits_are_refused():
    X = np.repeat(np.arange(6), 50)[:, None]
    model = FocalClassifier(lightgbm()).fit(X, X[:, 0] % 2, categorical_feature=[0])
    with pytest.raises(ValueError, match="categorical splits"):
        to_onnx(model)


def test_several_columns_of_labels_are_refused():
    table = draw(100)
    with pytest.raises(ValueError, match="2 columns of labels"):
        to_onnx(FocalClassifier(xgboost(n_estimators=2)).fit(table.X, np.column_stack([table.y, 1 - table.y])))
