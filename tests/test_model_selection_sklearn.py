"""FocalClassifierCV: what it refuses before training, arguments of fit, and its place in scikit-learn."""

from __future__ import annotations

import inspect
import pickle

import lightgbm as lgb
import numpy as np
import pytest
import sklearn
import xgboost as xgb
from searches import each_booster, lightgbm, search, xgboost
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import draw, real

from focal_boost import FocalClassifier, FocalClassifierCV

# Most searches here are short; a test of its own is for what is said then.
pytestmark = pytest.mark.filterwarnings("ignore:the mean log loss was lowest in the last")


#
# Errors before training


@pytest.fixture
def no_training(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise AssertionError("trained")

    monkeypatch.setattr(FocalClassifier, "fit", refuse)


REFUSED = [
    ({"gammas": ()}, "gammas is empty"),
    ({"gammas": 2.0}, r"gammas=2.0 is not a sequence.*\(2.0,\)"),
    ({"gammas": (0, -1)}, "gamma=-1.0"),
    ({"gammas": (0, np.nan)}, "gamma=nan"),
    ({"gammas": (0, "2")}, "gamma='2'"),
    ({"gammas": (0, True)}, "gamma=True"),
    ({"gammas": (0, (1.0, -2.0))}, "gamma=-2.0"),
    ({"gammas": (0, ())}, r"gamma=\(\)"),
    ({"rule": "1se"}, "rule='1se' is not known; use 'best' or 'simplest'"),
    ({"gammas": {"no": 1.0}}, "gammas={'no': 1.0} is not a sequence"),
    ({"gammas": (0, (1.0, 2.0, 3.0))}, "3 values, not one each for 2 classes"),
    ({"alphas": ()}, "alphas is empty"),
    ({"alphas": "balanced"}, r"alphas='balanced' is not a sequence.*alphas=\('balanced',\)"),
    ({"alphas": (None, (1.0, 2.0, 3.0))}, "3 weights, not one each for 2 classes"),
    ({"alphas": (1.5,)}, r"alpha=1.5 is not in \(0, 1\)"),
    ({"hessian": "gauss"}, "hessian='gauss'"),
    ({"scoring": "log_loss"}, "'log_loss'"),
    ({"scoring": ["roc_auc", "f1"]}, r"scoring=\['roc_auc', 'f1'\] is not one scorer"),
    ({"early_stopping_rounds": 0}, "early_stopping_rounds=0 is not a positive integer"),
    ({"cv": [(np.arange(150), np.array([], dtype=int))]}, "fold 0 of cv has 150 rows to train on and 0 held out"),
    ({"cv": []}, "yields no folds"),
]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_bad_options_are_refused_before_training(options, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        search(lightgbm(), **options).fit(table.X, table.y)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("n_classes", [3])
def test_one_number_for_many_classes_is_refused(n_classes):
    table = draw(300, n_classes=n_classes)
    with pytest.raises(ValueError, match="one weight per class"):
        search(lightgbm(), alphas=(None, 0.25)).fit(table.X, table.y)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (3, r"class rare has 3 rows, fewer than the n_splits=5 folds: pass a smaller cv \(2 to 3\)"),
        (1, "class rare has 1 row, fewer than the n_splits=5 folds, and cannot be both"),
    ],
)
def test_classes_with_fewer_rows_than_folds(rows, message):
    y = np.array(["no"] * 60 + ["rare"] * rows)
    with pytest.raises(ValueError, match=message):
        search(lightgbm(), cv=5).fit(np.zeros((len(y), 2)), y)


@pytest.mark.usefixtures("no_training")
def test_a_training_without_a_class_and_weights_without_weight():
    table = draw(300)
    order = np.argsort(table.y)
    rows = np.arange(300)
    with pytest.raises(ValueError, match=r"fold 1 of cv trains on no row of class 1, which has \d+ rows"):
        search(lightgbm(), cv=[(rows[50:], rows[:50]), (rows[:50], rows[50:])]).fit(table.X[order], table.y[order])
    with pytest.raises(ValueError, match="sample_weight is zero in all rows that fold 0"):
        search(lightgbm(), cv=[(rows[50:], rows[:50])]).fit(table.X, table.y, (rows >= 50) * 1.0)


STOPPING = [
    (lightgbm(early_stopping_round=5), {}, "early_stopping_round=5"),
    (lightgbm(early_stopping_round=1), {}, "early_stopping_round=1"),
    (lightgbm(n_iter_no_change=5), {}, "n_iter_no_change=5"),
    (lightgbm(), {"callbacks": [lgb.early_stopping(5)]}, "stops early by itself .callbacks"),
    (lightgbm(), {"callbacks": [lgb.reset_parameter(learning_rate=[0.1] * 60)]}, "pass a function of the round"),
    (lightgbm(boosting_type="dart"), {}, "dart.*early_stopping_rounds=None"),
    (xgboost(early_stopping_rounds=5), {}, "early_stopping_rounds=5"),
    (xgboost(callbacks=[xgb.callback.EarlyStopping(rounds=5)]), {}, "stops early by itself"),
    (xgboost(booster="dart"), {}, "booster='dart'.*early_stopping_rounds=None"),
    (lightgbm(metric="binary_error"), {}, "metric='binary_error' would be computed on raw scores"),
]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("estimator", "arguments", "message"), STOPPING, ids=[m[:25] for _, _, m in STOPPING])
def test_early_stopping_given_twice_or_impossible(estimator, arguments, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        search(estimator).fit(table.X, table.y, **arguments)


@pytest.mark.parametrize(
    ("patience", "rates"), [(10, lambda i: 0.1 * 0.9**i), (None, [0.2, 0.1, 0.1, 0.1])], ids=["function", "all rounds"]
)
def test_rates_by_round_that_a_search_can_honour(patience, rates):
    table = draw(200)
    callbacks = [lgb.reset_parameter(learning_rate=rates)]
    model = search(lightgbm(n_estimators=4), gammas=(0,), early_stopping_rounds=patience)
    assert model.fit(table.X, table.y, callbacks=callbacks).n_rounds_ <= 4


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("eval_set", "PredefinedSplit"),
        ("eval_X", "PredefinedSplit"),
        ("init_score", "margins"),
        ("init_model", "earlier"),
    ],
)
def test_arguments_that_folds_cannot_honour(name, advice):
    table = draw(300)
    with pytest.raises(ValueError, match=f"does not take {name}: .*{advice}"):
        search(lightgbm()).fit(table.X, table.y, **{name: [(table.X, table.y)]})


@each_booster
def test_other_arguments_reach_every_training(make):
    table = draw(300)
    rounds = []
    if make is lightgbm:
        estimator, arguments = make(), {"callbacks": [lambda env: rounds.append(env.iteration)]}
    else:

        class Count(xgb.callback.TrainingCallback):
            def after_iteration(self, model, epoch, evals_log):
                rounds.append(epoch)
                return False

        estimator, arguments = make(callbacks=[Count()]), {"feature_weights": None}
    model = search(estimator, gammas=(0, 1)).fit(table.X, table.y, **arguments)
    assert len(rounds) > model.n_rounds_ + 3 * model.cv_results_["n_rounds"].sum()
    assert rounds[-model.n_rounds_ :] == list(range(model.n_rounds_))
    with pytest.raises(TypeError, match="speed"):
        search(make(), gammas=(0,)).fit(table.X, table.y, speed=3)


def test_failed_fit_leaves_a_fitted_model_whole():
    table = draw(300)
    model = search(lightgbm(n_estimators=5)).fit(table.X, table.y)
    before = model.predict_proba(table.X)
    model.gammas = ()
    with pytest.raises(ValueError, match="gammas is empty"):
        model.fit(table.X[:, :3], table.y)
    assert model.n_features_in_ == 8
    np.testing.assert_array_equal(model.predict_proba(table.X), before)


#
# In scikit-learn

# XGBoost sums gradients in float32: a row of weight 2 and a row that is there twice give sums that differ in the last
# bit. Folds of a table with repeated rows are other folds than those of weighted rows, as with every search over folds.
FOLDS = {
    "check_sample_weight_equivalence_on_dense_data": "a repeated row may be in another fold",
    "check_sample_weight_equivalence_on_sparse_data": "a repeated row may be in another fold",
}


@parametrize_with_checks(
    [
        FocalClassifierCV(lightgbm(n_estimators=10), gammas=(0, 2), cv=2, early_stopping_rounds=3),
        FocalClassifierCV(xgboost(n_estimators=5), gammas=(0,), cv=2, early_stopping_rounds=3),
    ],
    expected_failed_checks=lambda model: FOLDS,
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_clone_nested_parameters_and_pickle():
    model = search(lightgbm(), scoring="roc_auc")
    copy = clone(model).set_params(estimator__n_estimators=7, gammas=(0, 3))
    assert (copy.estimator.n_estimators, copy.gammas, copy.scoring) == (7, (0, 3), "roc_auc")
    assert (model.estimator.n_estimators, model.gammas) == (60, (0, 1, 2))
    table = draw(300)
    copy.fit(table.X, table.y)
    loaded = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(loaded.predict_proba(table.X), copy.predict_proba(table.X))
    assert not hasattr(model, "best_estimator_")


def test_search_inside_a_pipeline_and_a_cross_validation():
    table = draw(400)
    pipeline = make_pipeline(StandardScaler(), search(lightgbm(n_estimators=10)))
    scores = cross_validate(pipeline, table.X, table.y, cv=2, scoring="roc_auc", error_score="raise")["test_score"]
    assert scores.min() > 0.6


def test_weights_are_routed():
    table = draw(400)
    heavy = np.where(table.y == 1, 50.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = search(lightgbm(n_estimators=3, learning_rate=1e-9), gammas=(0,)).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(table.X, table.y, sample_weight=heavy)
    assert pipeline.predict_proba(table.X)[:, 1].min() > 0.7  # hardly anything but the intercept


@pytest.mark.parametrize("requested", [True, False])
def test_groups_are_routed(requested):
    table = draw(400)
    with sklearn.config_context(enable_metadata_routing=True):
        model = search(lightgbm(n_estimators=5), gammas=(0,), cv=GroupKFold(3), early_stopping_rounds=None)
        if not requested:
            model.set_fit_request(groups=False)
        pipeline = make_pipeline(StandardScaler(), model)
        if requested:
            assert pipeline.fit(table.X, table.y, groups=np.arange(400) // 40)[-1].n_splits_ == 3
        else:
            with pytest.raises(TypeError, match="groups"):
                pipeline.fit(table.X, table.y, groups=np.arange(400) // 40)


@pytest.mark.data
@each_booster
def test_real_table(make):
    X, y = real("phoneme")
    rows = np.random.default_rng(0).permutation(len(y))[:1500]
    estimator = make(learning_rate=0.5, n_estimators=200)
    model = FocalClassifierCV(estimator, early_stopping_rounds=20).fit(X[rows], y[rows])
    assert model.cv_results_["n_rounds"].max() < 200
    rest = np.setdiff1d(np.arange(len(y)), rows)
    plain = FocalClassifier(make(learning_rate=0.5, n_estimators=model.n_rounds_), gamma=0.0).fit(X[rows], y[rows])
    assert log_loss(y[rest], model.predict_proba(X[rest])) < 1.02 * log_loss(y[rest], plain.predict_proba(X[rest]))
    assert isinstance(model.verdict_, str)
    assert "\n" not in model.verdict_


def test_parameters_that_are_left_out():
    defaults = {"gammas": (0, 0.5, 1, 2, 5), "alphas": (None,), "hessian": "expected", "max_step": 8.0, "cv": 5}
    defaults |= {"scoring": "neg_log_loss", "rule": "best", "early_stopping_rounds": 50, "n_jobs": None}
    found = {name: one.default for name, one in inspect.signature(FocalClassifierCV).parameters.items()}
    assert {name: found[name] for name in defaults} == defaults


def test_a_search_that_was_not_fitted_says_so():
    table = draw(50)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        search(lightgbm()).score(table.X, table.y)
