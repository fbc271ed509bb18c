"""FocalClassifier in scikit-learn: its checks, meta-estimators, routing of metadata, pickles."""

from __future__ import annotations

import inspect
import pickle

import joblib
import lightgbm as lgb
import numpy as np
import pytest
import sklearn
import xgboost as xgb
from classifiers import HELD_OUT, each_booster, each_estimator, each_task, lightgbm, quiet, xgboost
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.feature_selection import RFECV, SelectFromModel
from sklearn.metrics import average_precision_score, get_scorer
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import draw

from focal_boost import FocalClassifier

#
# In scikit-learn

# XGBoost sums gradients in float32: a row of weight 2 and a row that is there twice give sums that differ in the last
# bit, and so do XGBClassifier's own predictions; the check allows 1e-7.
ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data": "XGBoost's float32 sums",
    "check_sample_weight_equivalence_on_sparse_data": "XGBoost's float32 sums",
}


@parametrize_with_checks(
    [FocalClassifier(lightgbm()), FocalClassifier(xgboost())],
    expected_failed_checks=lambda model: ROUNDING if isinstance(model.estimator, xgb.XGBClassifier) else {},
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", ROUNDING)
def test_the_built_in_objective_fails_the_checks_that_are_expected_to_fail(name):
    """The check is the smallest reproduction: 15 rows, weights against repeated rows."""
    with pytest.raises(AssertionError, match="is not equivalent to fitting with removed or repeated data"):
        getattr(estimator_checks, name)("XGBClassifier", xgboost())


@each_booster
def test_clone_and_nested_parameters(make):
    model = FocalClassifier(make(), gamma=1.5, alpha=0.3)
    copy = clone(model).set_params(estimator__n_estimators=7, gamma=0.5)
    assert (copy.estimator.n_estimators, copy.gamma, copy.alpha) == (7, 0.5, 0.3)
    assert (model.estimator.n_estimators, model.gamma) == (20, 1.5)


@each_booster
def test_grid_search_in_a_pipeline(make):
    table = draw(400)
    pipeline = make_pipeline(StandardScaler(), FocalClassifier(make(n_estimators=5)))
    grid = {"focalclassifier__gamma": [0.0, 2.0], "focalclassifier__estimator__max_depth": [2, 3]}
    search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=3, error_score="raise").fit(table.X, table.y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > -0.5


@each_booster
def test_meta_estimators(make):
    table = draw(400)
    model = FocalClassifier(make(n_estimators=5))
    for wrapped in (
        CalibratedClassifierCV(model, cv=3),
        TunedThresholdClassifierCV(model, scoring="f1", cv=3),
        StackingClassifier([("focal", model)], cv=3),
    ):
        wrapped.fit(table.X, table.y)
        assert average_precision_score(table.y, wrapped.predict_proba(table.X)[:, 1]) > 0.5


ARGUMENTS_OF_FIT = {
    make: set(inspect.signature(kind.fit).parameters) - {"self", "X", "y", "sample_weight", "eval_set"}
    for make, kind in ((lightgbm, lgb.LGBMClassifier), (xgboost, xgb.XGBClassifier))
}


@each_booster
def test_every_argument_of_the_inner_fit_can_be_routed(make):
    with sklearn.config_context(enable_metadata_routing=True):
        model = FocalClassifier(make()).set_fit_request(**dict.fromkeys(ARGUMENTS_OF_FIT[make], True), groups=True)
        requested = model.get_metadata_routing().fit.requests
    assert {name for name, request in requested.items() if request is True} == {*ARGUMENTS_OF_FIT[make], "groups"}


@each_booster
def test_evaluation_sets_and_groups_are_routed_through_a_pipeline(make):
    table, valid = draw(600), draw(300, seed=1)
    scaler = StandardScaler().fit(table.X)
    plain = FocalClassifier(make()).fit(
        scaler.transform(table.X), table.y, eval_set=[(scaler.transform(valid.X), valid.y)], **quiet(make)
    )
    with sklearn.config_context(enable_metadata_routing=True):
        model = FocalClassifier(make()).set_fit_request(eval_X=True, eval_y=True, **dict.fromkeys(quiet(make), True))
        pipeline = Pipeline([("scale", StandardScaler()), ("model", model)], transform_input=["eval_X"])
        pipeline.fit(table.X, table.y, eval_X=(valid.X,), eval_y=(valid.y,), **quiet(make))
        held_out = make_pipeline(StandardScaler(), FocalClassifier(make(), **HELD_OUT).set_fit_request(groups=True))
        cross_validate(held_out, table.X, table.y, params={"groups": np.arange(600) // 3}, cv=2, error_score="raise")
    (log,), (expected,) = (one.evals_result_.values() for one in (pipeline[-1], plain))
    for name, values in expected.items():
        np.testing.assert_allclose(log[name], values, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*gblinear:UserWarning")
@pytest.mark.filterwarnings("ignore:.*gblinear:FutureWarning")
@each_task
def test_importances_of_a_linear_model_are_one_a_feature(n_classes):
    table = draw(600, n_classes=n_classes)
    model = FocalClassifier(xgboost(booster="gblinear"))
    importances = model.fit(table.X, table.y).feature_importances_
    assert importances.shape == (8,)
    assert importances.sum() == pytest.approx(1, rel=1e-5)
    assert SelectFromModel(model).fit(table.X, table.y).transform(table.X).shape[1] < 8
    assert RFECV(model, cv=2, step=4).fit(table.X, table.y).support_.sum() > 0


def test_sample_weight_is_routed():
    table = draw(400)
    with sklearn.config_context(enable_metadata_routing=True):
        model = FocalClassifier(lightgbm(n_estimators=1, learning_rate=1e-9)).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        heavy = np.where(table.y == 1, 50.0, 1.0)
        result = cross_validate(
            pipeline,
            table.X,
            table.y,
            params={"sample_weight": heavy},
            scoring=get_scorer("neg_log_loss").set_score_request(sample_weight=True),
            cv=3,
            return_estimator=True,
            error_score="raise",
        )
    for fold in result["estimator"]:  # hardly anything but the intercept, which the weights have moved
        assert fold.predict_proba(table.X)[:, 1].min() > 0.7


@each_estimator
@each_task
def test_pickle_and_joblib(make, n_classes, tmp_path):
    table = draw(400, n_classes=n_classes)
    model = FocalClassifier(make()).fit(table.X, table.y)
    joblib.dump(model, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(copy.predict_proba(table.X), model.predict_proba(table.X))
