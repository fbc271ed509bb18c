"""What other packages make of a fitted model: pickles of all kinds, SHAP, Treelite, MLflow."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import xgboost as xgb
from classifiers import each_booster, each_estimator, each_task, forest, lightgbm
from tables import draw

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
