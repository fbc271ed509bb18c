"""FocalClassifier inside resampling pipelines and ensembles: probabilities, labels and weights arrive whole."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
import sklearn
import xgboost as xgb
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import draw

from focal_boost import FocalClassifier


def lightgbm(**params):
    return lgb.LGBMClassifier(**{"n_estimators": 15, "num_leaves": 7, "verbosity": -1, "n_jobs": 1, **params})


def xgboost(**params):
    return xgb.XGBClassifier(**{"n_estimators": 15, "max_depth": 3, "n_jobs": 1, **params})


each_booster = pytest.mark.parametrize("make", [lightgbm, xgboost])
each_task = pytest.mark.parametrize("n_classes", [2, 3])
NAMES = np.array(["no", "rare", "some"])


def tables(n_classes=2):
    train, test = draw(500, n_classes=n_classes), draw(500, n_classes=n_classes, seed=1)
    return train.X, NAMES[train.y], test.X, NAMES[test.y]


@each_booster
@each_task
def test_smote_resamples_what_is_trained_on_and_nothing_else(make, n_classes):
    pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline as make_resampling_pipeline

    X, y, X_test, y_test = tables(n_classes)
    model = make_resampling_pipeline(SMOTE(k_neighbors=3, random_state=0), FocalClassifier(make())).fit(X, y)
    by_hand = FocalClassifier(make()).fit(*SMOTE(k_neighbors=3, random_state=0).fit_resample(X, y))
    np.testing.assert_array_equal(model.predict_proba(X_test), by_hand.predict_proba(X_test))
    # Balanced shares are what it was trained on: the price in log loss of the table as it is.
    assert log_loss(y_test, model.predict_proba(X_test)) > log_loss(
        y_test, FocalClassifier(make()).fit(X, y).predict_proba(X_test)
    )


@each_booster
@each_task
def test_bagging_averages_posteriors(make, n_classes):
    X, y, X_test, _ = tables(n_classes)
    model = BaggingClassifier(FocalClassifier(make()), n_estimators=3, random_state=0).fit(X, y)
    mean = np.mean([one.predict_proba(X_test) for one in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict_proba(X_test), mean, rtol=1e-6)
    assert len({one.predict_proba(X_test)[0, 0] for one in model.estimators_}) == 3
    assert set(model.predict(X_test)) <= set(NAMES)


@each_booster
@each_task
def test_voting_averages_posteriors_with_those_of_other_models(make, n_classes):
    X, y, X_test, _ = tables(n_classes)
    members = [("focal", FocalClassifier(make())), ("linear", LogisticRegression())]
    model = VotingClassifier(members, voting="soft", weights=[3, 1]).fit(X, y)
    focal, linear = (clone(member).fit(X, y).predict_proba(X_test) for _, member in members)
    np.testing.assert_allclose(model.predict_proba(X_test), (3 * focal + linear) / 4, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X_test), NAMES[:n_classes][(3 * focal + linear).argmax(axis=1)])


@each_booster
@each_task
@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_stacking_on_posteriors_and_on_margins(make, n_classes, method):
    X, y, X_test, y_test = tables(n_classes)
    members = [("focal", FocalClassifier(make())), ("log loss", FocalClassifier(make(), gamma=0))]
    model = StackingClassifier(members, LogisticRegression(max_iter=1000), cv=3, stack_method=method).fit(X, y)
    features = model.transform(X_test)
    assert features.shape[1] == 2 * (1 if n_classes == 2 else n_classes)
    expected = getattr(FocalClassifier(make()).fit(X, y), method)(X_test).reshape(500, -1)
    np.testing.assert_allclose(features[:, : features.shape[1] // 2], expected[:, -features.shape[1] // 2 :], rtol=1e-6)
    # of a constant answer: 1 / n_classes
    assert balanced_accuracy_score(y_test, model.predict(X_test)) > 1 / n_classes + 0.05


@each_booster
@each_task
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(make, n_classes, method):
    X, y, X_test, _ = tables(n_classes)
    model = CalibratedClassifierCV(FocalClassifier(make()), method=method, cv=3).fit(X, y)
    proba = model.predict_proba(X_test)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    members = model.calibrated_classifiers_
    np.testing.assert_allclose(proba, np.mean([one.predict_proba(X_test) for one in members], axis=0), rtol=1e-6)
    assert len({one.estimator.decision_function(X_test).ravel()[0] for one in members}) == 3
    np.testing.assert_array_equal(model.predict(X_test), model.classes_[proba.argmax(axis=1)])


@each_booster
def test_weights_are_routed_through_ensembles(make):
    X, y, _, _ = tables()
    weight = np.where(y == "rare", 50.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        # Hardly anything but the intercept, which the weights move.
        focal = FocalClassifier(make(n_estimators=1, learning_rate=1e-9)).set_fit_request(sample_weight=True)
        scaled = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), focal)
        linear = LogisticRegression().set_fit_request(sample_weight=True)
        for model in (
            scaled,
            BaggingClassifier(focal, n_estimators=2, random_state=0),
            VotingClassifier([("focal", scaled), ("again", focal)], voting="soft"),
            CalibratedClassifierCV(focal, cv=2, method="sigmoid"),
        ):
            model.fit(X, y, sample_weight=weight)
            if not isinstance(model, CalibratedClassifierCV):
                # The weights have moved the intercept; scikit-learn's bagging draws rows by weight, to the same end.
                assert model.predict_proba(X)[:, 1].min() > 0.7
        stacked = StackingClassifier([("focal", focal)], linear, cv=2).fit(X, y, sample_weight=weight)
        assert stacked.estimators_[0].predict_proba(X)[:, 1].min() > 0.7
