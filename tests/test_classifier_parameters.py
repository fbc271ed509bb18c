"""Parameters of FocalClassifier and of its estimator, weights, alpha and gamma of the classes."""

from __future__ import annotations

import pickle
import sys

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from classifiers import LOG_LOSS, each_booster, each_estimator, each_task, forest, lightgbm, quiet, xgboost
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from tables import draw

from focal_boost import FocalClassifier

#
# Weights and alpha


@each_estimator
@each_task
def test_weights_reach_trees_intercept_and_metrics(make, n_classes):
    table = draw(600, n_classes=n_classes)
    eval_weight = "eval_sample_weight" if make is lightgbm else "sample_weight_eval_set"
    model = FocalClassifier(make()).fit(
        *table, eval_set=[(table.X, table.y)], **{eval_weight: [table.weight]}, **quiet(make)
    )
    margins = model.decision_function(table.X)
    (log,) = model.evals_result_.values()
    assert list(log) == [LOG_LOSS[make, n_classes]]
    expected = log_loss(table.y, model.predict_proba(table.X), sample_weight=table.weight)
    assert log[LOG_LOSS[make, n_classes]][-1] == pytest.approx(expected, rel=1e-6)
    unweighted = FocalClassifier(make()).fit(table.X, table.y)
    assert np.abs(unweighted.decision_function(table.X) - margins).max() > 1e-3
    if make is forest:
        return  # whose trees see a part of the rows each
    constant = FocalClassifier(make(n_estimators=1)).fit(np.zeros((600, 1)), table.y, table.weight)
    shares = np.bincount(table.y, weights=table.weight) / table.weight.sum()
    np.testing.assert_allclose(constant.predict_proba(np.zeros((1, 1)))[0], shares, rtol=2e-6)


ALPHAS = [
    (2, 0.8, (0.2, 0.8)),
    (2, {"a": 1.0, "b": 5.0}, (1.0, 5.0)),
    (2, [1, 5], (1.0, 5.0)),
    (3, np.array([1.0, 2.0, 4.0]), (1.0, 2.0, 4.0)),
    (3, {"c": 4, "a": 1, "b": 2}, (1.0, 2.0, 4.0)),
]


@pytest.mark.parametrize(("n_classes", "alpha", "weights"), ALPHAS)
def test_alpha_in_all_its_forms(n_classes, alpha, weights):
    table = draw(400, n_classes=n_classes)
    names = np.array(list("abc"))[table.y]
    model = FocalClassifier(lightgbm(), alpha=alpha)
    if isinstance(alpha, float):  # which of two names is positive, only their order says
        with pytest.warns(UserWarning, match="alpha=0.8 weighs 'b', the last of.*pass alpha={'a': 0.2, 'b': 0.8}"):
            model.fit(table.X, names)
    else:
        model.fit(table.X, names)
    np.testing.assert_allclose(model.loss_._parameters.class_weight, weights)


def test_balanced_alpha_is_the_inverse_weighted_share_and_is_undone():
    table = draw(3000, n_classes=3)
    model = FocalClassifier(lightgbm(), alpha="balanced").fit(*table)
    counts = np.bincount(table.y, weights=table.weight)
    np.testing.assert_allclose(model.loss_.alpha, table.weight.sum() / (3 * counts))
    plain = FocalClassifier(lightgbm()).fit(*table)
    share = np.average(table.y == 1, weights=table.weight)
    for fitted in (model, plain):  # probabilities stay probabilities
        assert np.average(fitted.predict_proba(table.X)[:, 1], weights=table.weight) == pytest.approx(share, abs=0.02)


@each_estimator
@each_task
def test_only_ratios_of_alpha_matter(make, n_classes):
    """Also where leaves are penalised, as XGBoost's are by default."""
    table = draw(600, n_classes=n_classes)
    probas = [
        FocalClassifier(make(), alpha=alpha).fit(*table).predict_proba(table.X)
        for alpha in (None, 0.5 if n_classes == 2 else [4.0, 4.0, 4.0], [0.25] * n_classes)
    ]
    for proba in probas[1:]:
        np.testing.assert_allclose(proba, probas[0], rtol=0, atol=1e-7)
    uneven = np.arange(1.0, n_classes + 1)
    probas = [
        FocalClassifier(make(), alpha=alpha).fit(*table).predict_proba(table.X) for alpha in (uneven, 1000 * uneven)
    ]
    np.testing.assert_allclose(probas[1], probas[0], rtol=0, atol=1e-5)


GAMMAS = [
    (2, [0.5, 2.0], (0.5, 2.0)),
    (2, {"b": 2, "a": 0.5}, (0.5, 2.0)),
    (3, np.array([1.0, 2.0, 4.0]), (1.0, 2.0, 4.0)),
    (3, {"c": 4, "a": 1, "b": 2}, (1.0, 2.0, 4.0)),
]


@each_booster
@pytest.mark.parametrize(("n_classes", "gamma", "values"), GAMMAS)
def test_one_gamma_per_class(make, n_classes, gamma, values):
    table, test = draw(3000, n_classes=n_classes), draw(3000, n_classes=n_classes, seed=1)
    names = np.array(list("abc"))[table.y]
    model = FocalClassifier(make(), gamma=gamma).fit(table.X, names)
    assert model.loss_.gamma == values
    other = FocalClassifier(make(), gamma=values[::-1]).fit(table.X, names)
    assert np.abs(other.decision_function(test.X) - model.decision_function(test.X)).max() > 1e-3
    shares = np.bincount(test.y) / len(test.y)
    for fitted in (model, other):
        np.testing.assert_allclose(fitted.predict_proba(test.X).mean(axis=0), shares, atol=0.04)
        assert log_loss(test.y, fitted.predict_proba(test.X)) < 0.8 * -(shares @ np.log(shares))


@pytest.mark.parametrize(
    ("gamma", "message"),
    [
        ((1.0, 2.0, 3.0), "gamma=.*3 values, not one each for 2 classes"),
        ((1.0, -1.0), "gamma=-1.0 is not a finite number"),
        ({"a": 1.0}, r"gamma has values for \['a'\], but the classes are \['a', 'b'\]"),
        ({"a": 1.0, "b": 2.0, "c": 1.0}, r"classes are \['a', 'b'\]: give one for each"),
    ],
)
def test_bad_gamma_of_classes_is_refused(gamma, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        FocalClassifier(lightgbm(), gamma=gamma).fit(table.X, np.array(["a", "b"])[table.y])


BAD_ALPHAS = [
    ("heavy", "only string is 'balanced'"),
    (1.5, r"alpha=1.5 is not in \(0, 1\)"),
    ((1.0, 2.0, 3.0), "3 weights, not one each for 2 classes"),
    ((1.0, 0.0), "not a positive finite number"),
    ({"a": 1.0}, r"classes are \['a', 'b'\]"),
]


@pytest.mark.parametrize(("alpha", "message"), BAD_ALPHAS)
def test_bad_alpha_is_refused(alpha, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        FocalClassifier(lightgbm(), alpha=alpha).fit(table.X, np.array(["a", "b"])[table.y])


def test_one_alpha_for_many_classes_is_refused():
    table = draw(300, n_classes=3)
    with pytest.raises(ValueError, match="one weight per class"):
        FocalClassifier(lightgbm(), alpha=0.25).fit(table.X, table.y)


@each_booster
def test_an_eval_set_of_the_training_features_has_its_own_labels(make):
    table = draw(300)
    other, silent = 1 - table.y, {"verbose": False} if make is xgboost else {}
    evals = [
        FocalClassifier(make()).fit(table.X, table.y, eval_set=[(X, other)], **silent).evals_result_
        for X in (table.X, table.X.copy())
    ]
    assert evals[0] == evals[1]


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 1, "b": 4}])
def test_class_weight_of_lightgbm_counts_as_sample_weight(class_weight):
    table = draw(600)
    names = np.array(["a", "b"])[table.y]
    with pytest.warns(UserWarning, match=r"class_weight=.*weighted so; use alpha=\{label: weight\}.*undoes"):
        model = FocalClassifier(lightgbm(class_weight=class_weight)).fit(table.X, names)
    factor = len(names) / (2 * np.bincount(table.y)) if class_weight == "balanced" else np.array([1, 4])
    for weight in (1.0, table.weight):
        with pytest.warns(UserWarning, match="class_weight="):
            model = clone(model).fit(table.X, names, weight * np.ones(600))
        same = FocalClassifier(lightgbm()).fit(table.X, names, weight * factor[table.y])
        np.testing.assert_allclose(model.predict_proba(table.X), same.predict_proba(table.X), rtol=1e-6)
    with pytest.raises(ValueError, match="given twice.*class_weight"):
        FocalClassifier(lightgbm(class_weight=class_weight), alpha=[0.3, 0.7]).fit(table.X, names)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(5), r"shape \(5,\).*300 rows"),
        (-np.ones(300), "holds -1"),
        (np.full(300, np.nan), "holds nan"),
        (np.zeros(300), "zero in every row"),
    ],
)
def test_bad_weights_are_refused(weight, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        FocalClassifier(lightgbm()).fit(table.X, table.y, weight)


#
# Parameters

REFUSED = [
    (lightgbm(scale_pos_weight=5), "scale_pos_weight=5.*alpha"),
    (lightgbm(is_unbalance=True), "is_unbalance=True.*alpha='balanced'"),
    (lightgbm(unbalance=True), "unbalance=True"),
    (lightgbm(objective="binary"), "objective='binary'"),
    (lightgbm(application="binary"), "application='binary'"),
    (lightgbm(sigmoid=2.0), "sigmoid=2.0"),
    (lightgbm(pos_bagging_fraction=0.5), "pos_bagging_fraction=0.5"),
    (lightgbm(neg_subsample=0.5), "neg_subsample=0.5"),
    (lightgbm(boosting_type="rf", subsample=0.5, subsample_freq=1), "boosting_type='rf'.*XGBRFClassifier"),
    (lightgbm(metric="binary_error"), "metric='binary_error' would be computed on raw scores"),
    (lightgbm(metric="multi_logloss"), "'multi_logloss' is no metric of 2 classes: .*binary_logloss"),
    (xgboost(scale_pos_weight=5), "scale_pos_weight=5.*alpha"),
    (xgboost(objective="reg:squarederror"), "objective='reg:squarederror'"),
]


@pytest.mark.parametrize(("estimator", "message"), REFUSED, ids=[message.split("=")[0] for _, message in REFUSED])
def test_parameters_without_effect_are_refused_by_name(estimator, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        FocalClassifier(estimator).fit(table.X, table.y)


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), lgb.LGBMRegressor(), xgb.XGBRegressor(), "lightgbm"],
    ids=lambda e: type(e).__name__,
)
def test_other_estimators_are_refused(estimator):
    table = draw(300)
    with pytest.raises(TypeError, match="XGBClassifier"):
        FocalClassifier(estimator).fit(table.X, table.y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1}, "gamma=-1"),
        ({"gamma": np.nan}, "gamma=nan"),
        ({"gamma": "2"}, "gamma='2'"),
        ({"hessian": "gauss"}, "hessian='gauss'.*'expected'"),
        ({"max_step": 0}, "max_step=0"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        FocalClassifier(lightgbm(), **options).fit(table.X, table.y)


def test_one_class_is_refused_by_name():
    with pytest.raises(ValueError, match=r"only one class, \['no'\]"):
        FocalClassifier(lightgbm()).fit(np.zeros((30, 2)), ["no"] * 30)


@each_booster
def test_estimator_is_cloned_and_never_touched(make):
    table = draw(300)
    estimator = make()
    before = estimator.get_params()
    state = dict(vars(estimator))
    FocalClassifier(estimator).fit(table.X, table.y)
    assert estimator.get_params() == before
    assert vars(estimator) == state


@each_booster
def test_fitted_estimator_keeps_the_users_parameters_and_stands_alone(make):
    table = draw(300)
    model = FocalClassifier(make()).fit(table.X, table.y)
    ours, given = model.estimator_.get_params(), make().get_params()
    differing = {
        name for name in ours if ours[name] is not given.get(name) and repr(ours[name]) != repr(given.get(name))
    }
    assert differing <= {"objective"}
    np.testing.assert_allclose(model.estimator_.predict_proba(table.X), model.predict_proba(table.X), rtol=0, atol=1e-7)


def test_default_estimator_is_lightgbm():
    table = draw(300)
    model = FocalClassifier().fit(table.X, table.y)
    assert isinstance(model.estimator_, lgb.LGBMClassifier)


def test_missing_default_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match=r"focal_boost\[lightgbm\]"):
        FocalClassifier().fit(np.zeros((4, 1)), [0, 1, 0, 1])


@each_booster
def test_failed_fit_leaves_a_fitted_model_whole(make):
    table = draw(300)
    model = FocalClassifier(make()).fit(pd.DataFrame(table.X).add_prefix("c"), table.y)
    before = pickle.dumps(model.predict_proba(pd.DataFrame(table.X).add_prefix("c")))
    with pytest.raises(ValueError, match="only one class"):
        model.fit(table.X[:, :3], np.zeros(300))
    assert model.n_features_in_ == 8
    assert list(model.feature_names_in_) == [f"c{i}" for i in range(8)]
    assert pickle.dumps(model.predict_proba(pd.DataFrame(table.X).add_prefix("c"))) == before


NEUTRAL = {
    lightgbm: {
        "objective": None,
        "scale_pos_weight": 1.0,
        "is_unbalance": False,
        "unbalanced_sets": False,
        "sigmoid": 1.0,
        "pos_bagging_fraction": 1.0,
        "neg_subsample": 1.0,
        "num_classes": None,
    },
    xgboost: {"scale_pos_weight": 1, "objective": "binary:logistic", "num_class": None},
}


@each_booster
def test_parameters_that_ask_for_nothing_are_taken(make):
    table = draw(200)
    plain, told = (FocalClassifier(make(**params)).fit(table.X, table.y) for params in ({}, NEUTRAL[make]))
    np.testing.assert_array_equal(plain.decision_function(table.X), told.decision_function(table.X))
