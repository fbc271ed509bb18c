"""What other packages make of a fitted model: pickles of all kinds, SHAP, Treelite, ONNX, MLflow."""

from __future__ import annotations

import warnings

import joblib
import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from tables import draw
from test_classifier import each_booster, each_estimator, each_task, forest, lightgbm, xgboost

from focal_boost import FocalClassifier
from focal_boost._saving import TRUSTED



@each_estimator
@each_task
@pytest.mark.parametrize("way", ["joblib", "cloudpickle", "skops"])
def test_pickles(make, n_classes, way, tmp_path):
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(make(n_estimators=5)).fit(table.X, np.array(["a", "b", "c"])[table.y])
    if way == "joblib":
        joblib.dump(model, tmp_path / "model", compress=3)
        copy = joblib.load(tmp_path / "model")
    elif way == "cloudpickle":
        cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
        copy = cloudpickle.loads(cloudpickle.dumps(model))
    else:
        skops = pytest.importorskip("skops.io", reason="skops is not installed")
        content = skops.dumps(model)
        types = skops.get_untrusted_types(data=content)
        assert set(types) <= set(TRUSTED), types
        copy = skops.loads(content, trusted=types)
    np.testing.assert_array_equal(copy.predict_proba(table.X), model.predict_proba(table.X))
    np.testing.assert_array_equal(copy.predict(table.X), model.predict(table.X))


@each_booster
@each_task
def test_contributions_add_up_to_the_margins(make, n_classes):
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(make()).fit(table.X, table.y)
    if make is lightgbm:
        parts = model.estimator_.predict(table.X, pred_contrib=True).reshape(300, -1, 9)
    else:
        data = xgb.DMatrix(table.X)
        parts = model.estimator_.get_booster().predict(data, pred_contribs=True).reshape(300, -1, 9)
    margins = model.decision_function(table.X).reshape(300, -1)
    np.testing.assert_allclose(parts.sum(axis=2), margins, rtol=0, atol=1e-5)
    # A share of the splits or of the gain, as the library counts it.
    expected = (
        model.estimator_.booster_.feature_importance() if make is lightgbm else model.estimator_.feature_importances_
    )
    np.testing.assert_array_equal(model.feature_importances_, expected)
    assert model.feature_importances_.shape == (8,)


@each_booster
@each_task
@pytest.mark.filterwarnings("ignore")  # of shap and numba
def test_shap_adds_up_to_the_margins(make, n_classes):
    shap = pytest.importorskip("shap", reason="shap is not installed")
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(make()).fit(table.X, table.y)
    explanation = shap.TreeExplainer(model.estimator_)(table.X[:50])
    total = explanation.values.sum(axis=1) + explanation.base_values
    margins = model.decision_function(table.X[:50])
    np.testing.assert_allclose(total.reshape(margins.shape), margins, rtol=0, atol=1e-4)


@each_estimator
@each_task
def test_treelite_gives_margins_and_probabilities(make, n_classes, tmp_path):
    treelite = pytest.importorskip("treelite", reason="treelite is not installed")
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(make(n_estimators=5)).fit(table.X, table.y)
    if make is lightgbm:
        trees = treelite.frontend.from_lightgbm(model.estimator_.booster_)
    else:
        trees = treelite.frontend.from_xgboost(model.estimator_.get_booster())
    X = table.X.astype(np.float32 if make is not lightgbm else np.float64)
    margins = np.asarray(treelite.gtil.predict(trees, X, nthread=1, pred_margin=True), dtype=np.float64)
    margins = margins.reshape(model.decision_function(X).shape)
    np.testing.assert_allclose(margins, model.decision_function(X), rtol=0, atol=2e-6)
    np.testing.assert_allclose(model.loss_.predict_proba(margins), model.predict_proba(X), rtol=0, atol=1e-6)
    proba = np.asarray(treelite.gtil.predict(trees, X, nthread=1)).reshape(300, -1)
    expected = model.predict_proba(X)
    np.testing.assert_allclose(proba, expected[:, -proba.shape[1] :], rtol=0, atol=1e-6)


#
# ONNX


def run_onnx(model, X):
    pytest.importorskip("onnxmltools", reason="onnxmltools is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from focal_boost.onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters
        content = to_onnx(model).SerializeToString()
    return runtime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"X": X})


@each_estimator
@each_task
@pytest.mark.parametrize("missing", [False, True])
def test_onnx_gives_margins_and_probabilities(make, n_classes, missing):
    table = draw(400, n_classes=n_classes)
    X = table.X.astype(np.float32)
    if missing:
        X[np.abs(X) < 0.2] = np.nan
    model = FocalClassifier(make(), gamma=1.7, alpha="balanced").fit(X, table.y)
    margins, proba = run_onnx(model, X)
    np.testing.assert_allclose(margins.reshape(model.decision_function(X).shape), model.decision_function(X), atol=1e-5)
    np.testing.assert_allclose(proba, model.predict_proba(X), rtol=0, atol=2e-6)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)


@each_booster
def test_onnx_decides_like_the_booster_on_a_threshold(make):
    X = np.repeat(np.float32([0.1, np.nextafter(np.float32(0.1), np.float32(1)), 0.3, 1e20, -1e20]), 60)[:, None]
    y = np.repeat([0, 1, 0, 1, 0], 60)
    model = FocalClassifier(make(n_estimators=10)).fit(X, y)
    margins, _ = run_onnx(model, X)
    np.testing.assert_allclose(margins[:, 0], model.decision_function(X), atol=1e-5)


class DerivedXGB(xgb.XGBClassifier):
    """A class of the user's own, in a module that is not the library's."""


class DerivedLGBM(lgb.LGBMClassifier):
    """The same for LightGBM."""


@pytest.mark.parametrize(("derived", "quiet"), [(DerivedXGB, {}), (DerivedLGBM, {"verbosity": -1})])
def test_onnx_of_a_derived_estimator(derived, quiet):
    table = draw(200)
    X = table.X.astype(np.float32)
    model = FocalClassifier(derived(n_estimators=3, n_jobs=1, **quiet)).fit(X, table.y)
    margins, _ = run_onnx(model, X)
    np.testing.assert_allclose(margins[:, 0], model.decision_function(X), atol=1e-5)


@each_booster
def test_onnx_stops_at_the_best_round(make):
    table, valid = draw(600), draw(300, seed=1)
    X, X_valid = table.X.astype(np.float32), valid.X.astype(np.float32)
    stop = {} if make is lightgbm else {"early_stopping_rounds": 3}
    fit = {"callbacks": [lgb.early_stopping(3, verbose=False)]} if make is lightgbm else {"verbose": False}
    model = FocalClassifier(make(n_estimators=200, learning_rate=0.5, **stop))
    model.fit(X, table.y, eval_set=[(X_valid, valid.y)], **fit)
    margins, _ = run_onnx(model, X_valid)
    np.testing.assert_allclose(margins[:, 0], model.decision_function(X_valid), atol=1e-5)


def test_onnx_refuses_what_it_cannot_express():
    pytest.importorskip("onnxmltools", reason="onnxmltools is not installed")
    from focal_boost.onnx import to_onnx

    table = draw(300)
    for estimator, what in [
        (xgboost(booster="dart"), "booster='dart'"),
        (lightgbm(linear_tree=True), "linear leaves"),
    ]:
        with pytest.raises(ValueError, match=what):
            to_onnx(FocalClassifier(estimator).fit(table.X, table.y))
    X = np.repeat(np.arange(6), 50)[:, None]
    model = FocalClassifier(lightgbm()).fit(X, X[:, 0] % 2, categorical_feature=[0])
    with pytest.raises(ValueError, match="categorical splits"):
        to_onnx(model)


#
# MLflow, which is heavy: not among what the tests install


@each_booster
@pytest.mark.filterwarnings("ignore")  # of mlflow and what it imports
def test_mlflow_logs_the_booster_and_the_classifier(make, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    table = draw(300)
    model = FocalClassifier(make()).fit(table.X, table.y)
    flavour = mlflow.lightgbm if make is lightgbm else mlflow.xgboost
    flavour.save_model(model.estimator_, str(tmp_path / "booster"))
    mlflow.sklearn.save_model(model, str(tmp_path / "model"), serialization_format="cloudpickle")
    loaded = mlflow.sklearn.load_model(str(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(table.X), model.predict_proba(table.X))
    estimator = flavour.load_model(str(tmp_path / "booster"))
    np.testing.assert_allclose(estimator.predict_proba(table.X), model.predict_proba(table.X), atol=1e-7)


def test_forests_have_one_tree_a_round_and_class():
    model = FocalClassifier(forest(n_estimators=4)).fit(*draw(200, n_classes=3)[:2])
    assert len(model.estimator_.get_booster().get_dump()) == 12
