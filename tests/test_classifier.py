"""FocalClassifier: labels, weights, parameters, data of all kinds, early stopping, and its place in scikit-learn."""

from __future__ import annotations

import inspect
import pickle
import sys
import warnings

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import sklearn
import xgboost as xgb
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFECV, SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, get_scorer, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import draw, real

from focal_boost import FocalClassifier
from focal_boost._training import split


def lightgbm(**params):
    return lgb.LGBMClassifier(**{"n_estimators": 20, "verbosity": -1, "n_jobs": 1, **params})


def xgboost(**params):
    return xgb.XGBClassifier(**{"n_estimators": 20, "n_jobs": 1, **params})


def forest(**params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated in XGBoost 3.4
        return xgb.XGBRFClassifier(**{"n_estimators": 20, "n_jobs": 1, **params})


each_estimator = pytest.mark.parametrize("make", [lightgbm, xgboost, forest])
each_booster = pytest.mark.parametrize("make", [lightgbm, xgboost])
each_task = pytest.mark.parametrize("n_classes", [2, 3])


LOG_LOSS = {
    (lightgbm, 2): "binary_logloss",
    (lightgbm, 3): "multi_logloss",
    **dict.fromkeys([(xgboost, 2), (forest, 2)], "logloss"),
    **dict.fromkeys([(xgboost, 3), (forest, 3)], "mlogloss"),
}


def quiet(make):
    """Fit arguments that keep XGBoost from printing each round."""
    return {} if make is lightgbm else {"verbose": False}


#
# Labels

LABELS = {
    "nullable whole numbers": lambda codes: pd.Series(codes, dtype="Int64"),
    "nullable booleans": lambda codes: pd.Series(codes == 1, dtype="boolean"),
    "strings of Arrow in pandas": lambda codes: pd.Series(["no", "rare", "some"], dtype="string[pyarrow]")[codes],
    "arrow": lambda codes: pa.chunked_array([np.array(["no", "rare", "some"])[codes]]),
    "strings": lambda codes: np.array(["no", "rare", "some"])[codes],
    "objects": lambda codes: np.array(["no", "rare", "some"], dtype=object)[codes],
    "negative": lambda codes: codes - 1,
    "large": lambda codes: (codes + 1) * 10**15,
    "floats": lambda codes: codes * 2.0,
    "bool": lambda codes: codes == 1,
    "list": lambda codes: codes.tolist(),
    "pandas": lambda codes: pd.Series(np.array(["no", "rare", "some"])[codes], index=np.arange(len(codes)) + 7),
    "categorical": lambda codes: pd.Series(np.array(["no", "rare", "some"])[codes], dtype="category"),
    "polars": lambda codes: pl.Series(np.array(["no", "rare", "some"])[codes]),
}


@each_estimator
@pytest.mark.parametrize("kind", LABELS)
@each_task
def test_labels_of_any_kind_in_y_and_eval_set(make, kind, n_classes):
    if "bool" in kind and n_classes == 3:
        pytest.skip("two labels only")
    table, valid = draw(600, n_classes=n_classes), draw(300, n_classes=n_classes, seed=1)
    y, y_valid = LABELS[kind](table.y), LABELS[kind](valid.y)
    plain = FocalClassifier(make()).fit(table.X, table.y, eval_set=[(valid.X, valid.y)], **quiet(make))
    model = FocalClassifier(make()).fit(table.X, y, eval_set=[(valid.X, y_valid)], **quiet(make))
    np.testing.assert_array_equal(model.predict_proba(valid.X), plain.predict_proba(valid.X))
    np.testing.assert_array_equal(np.asarray(model.predict(valid.X)), np.unique(np.asarray(y))[plain.predict(valid.X)])
    assert model.evals_result_ == plain.evals_result_
    assert model.score(valid.X, y_valid) == plain.score(valid.X, valid.y)


@each_booster
def test_unseen_label_in_eval_set_is_named(make):
    table = draw(300)
    names = np.array(["no", "yes"])[table.y]
    with pytest.raises(ValueError, match=r"eval_set\[1\] hold \['what'\].*\['no', 'yes'\]"):
        FocalClassifier(make()).fit(
            table.X, names, eval_set=[(table.X, names), (table.X[:2], np.array(["no", "what"]))]
        )


def test_an_eval_set_may_lack_classes_and_may_be_a_single_pair():
    table = draw(600, n_classes=3)
    rows = table.y != 0
    model = FocalClassifier(lightgbm()).fit(table.X, table.y, eval_set=(table.X[rows], table.y[rows]))
    assert len(model.evals_result_["valid_0"]["multi_logloss"]) == 20


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


#
# Probabilities


@each_estimator
@each_task
@pytest.mark.parametrize("alpha", [None, "balanced"])
def test_probabilities_are_the_link_of_the_margins_and_calibrated(make, n_classes, alpha):
    table, test = draw(12_000, n_classes=n_classes), draw(12_000, n_classes=n_classes, seed=1)
    model = FocalClassifier(make(max_depth=3, n_estimators=60), alpha=alpha).fit(table.X, table.y)
    proba, margins = model.predict_proba(test.X), model.decision_function(test.X)
    link = np.stack([expit(-margins), expit(margins)], axis=1) if n_classes == 2 else softmax(margins, axis=1)
    np.testing.assert_allclose(proba, link, rtol=2e-6)
    np.testing.assert_allclose(model.estimator_.predict_proba(test.X), link, rtol=0, atol=1e-6)
    if make is forest:  # one round of which learns less than there is
        return
    np.testing.assert_allclose(proba.mean(axis=0), np.bincount(test.y) / len(test.y), atol=0.03)
    # Neither more nor less sure than they should be.
    cost = [log_loss(test.y, softmax(factor * np.log(proba), axis=1)) for factor in (0.7, 1.0, 1.5)]
    assert cost[1] < min(cost[0], cost[2])


#
# Early stopping, callbacks, fit arguments


@each_task
@pytest.mark.parametrize("named", [None, "auc", ["aucpr", "logloss"]])
def test_xgboost_stops_on_the_log_loss_or_on_the_metric_that_was_named(n_classes, named):
    if named and n_classes == 3:
        named = "auc" if named == "auc" else ["auc", "mlogloss"]
    table, valid = draw(800, n_classes=n_classes), draw(400, n_classes=n_classes, seed=1)
    estimator = xgboost(n_estimators=300, early_stopping_rounds=5, eval_metric=named, learning_rate=0.5)
    model = FocalClassifier(estimator).fit(table.X, table.y, eval_set=[(valid.X, valid.y)], verbose=False)
    log = model.evals_result_["validation_0"]
    expected = list(np.atleast_1d(LOG_LOSS[xgboost, n_classes] if named is None else named))
    assert list(log) == expected
    followed = expected[-1]
    best = np.argmax(log[followed]) if followed == "auc" else np.argmin(log[followed])
    assert model.best_iteration_ == model.estimator_.best_iteration == best
    assert model.n_rounds_ == best + 1
    assert {len(values) for values in log.values()} == {best + 6}
    if followed == LOG_LOSS[xgboost, n_classes]:
        # In all digits, and of every round: nothing else is as low.
        stages = [
            log_loss(valid.y, model.predict_proba(valid.X, iteration_range=(0, i + 1)))
            for i in range(len(log[followed]))
        ]
        np.testing.assert_allclose(log[followed], stages, rtol=1e-6)
        assert best == np.argmin(stages)


@each_task
def test_xgboost_early_stopping_sees_more_than_six_decimals(n_classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2))
    y = np.digitize(X[:, 0], [0.0] if n_classes == 2 else [-0.5, 0.5])
    estimator = xgboost(n_estimators=100, early_stopping_rounds=5, learning_rate=1.0, min_child_weight=0, reg_lambda=0)
    model = FocalClassifier(estimator).fit(X, y, eval_set=[(X, y)], verbose=False)
    log = np.array(model.evals_result_["validation_0"][LOG_LOSS[xgboost, n_classes]])
    assert model.best_iteration_ > np.flatnonzero(log < 1e-5)[0] + 3


@each_task
def test_lightgbm_stops_early_by_callback_or_parameter(n_classes):
    table, valid = draw(800, n_classes=n_classes), draw(400, n_classes=n_classes, seed=1)
    callback = FocalClassifier(lightgbm(n_estimators=300, learning_rate=0.3)).fit(
        table.X,
        table.y,
        eval_set=[(valid.X, valid.y)],
        callbacks=[lgb.early_stopping(5, first_metric_only=True, verbose=False)],
    )
    log = callback.evals_result_["valid_0"]
    (losses,) = log.values()
    assert list(log) == [LOG_LOSS[lightgbm, n_classes]]
    best = np.argmin(losses) + 1
    assert callback.n_rounds_ == callback.best_iteration_ == callback.estimator_.best_iteration_ == best
    assert log_loss(valid.y, callback.predict_proba(valid.X)) == pytest.approx(min(losses))
    parameter = FocalClassifier(
        lightgbm(n_estimators=300, learning_rate=0.3, early_stopping_round=5, first_metric_only=True)
    ).fit(table.X, table.y, eval_set=[(valid.X, valid.y)])
    assert parameter.best_iteration_ == callback.best_iteration_


@each_booster
def test_without_early_stopping_there_is_no_best_iteration(make):
    table = draw(300)
    model = FocalClassifier(make()).fit(table.X, table.y)
    assert model.best_iteration_ is None
    assert model.n_rounds_ == model.estimator_.n_estimators
    assert model.evals_result_ == {}


@each_booster
@each_task
def test_as_many_rounds_without_early_stopping_are_the_same_model(make, n_classes):
    table, valid = draw(800, n_classes=n_classes), draw(400, n_classes=n_classes, seed=1)
    stop = {"early_stopping_rounds": 5} if make is xgboost else {"early_stopping_round": 5, "first_metric_only": True}
    options = {"learning_rate": 0.5}
    stopped = FocalClassifier(make(n_estimators=300, **options, **stop))
    stopped.fit(table.X, table.y, eval_set=[(valid.X, valid.y)], **({"verbose": False} if make is xgboost else {}))
    assert 1 < stopped.n_rounds_ < 290
    again = FocalClassifier(make(n_estimators=stopped.n_rounds_, **options)).fit(table.X, table.y)
    assert again.n_rounds_ == stopped.n_rounds_
    np.testing.assert_array_equal(again.decision_function(valid.X), stopped.decision_function(valid.X))
    with pytest.raises(NotFittedError):
        _ = FocalClassifier(make()).n_rounds_


def test_xgboost_metric_functions_see_probabilities():
    table, valid = draw(600), draw(300, seed=1)
    seen = []

    def brier(y_true, y_score, sample_weight=None):
        seen.append((y_score.copy(), sample_weight))
        return float(np.average((y_true - y_score) ** 2, weights=sample_weight))

    estimator = xgboost(eval_metric=["auc", brier])
    model = FocalClassifier(estimator).fit(
        table.X, table.y, eval_set=[(valid.X, valid.y)], sample_weight_eval_set=[valid.weight], verbose=False
    )
    np.testing.assert_allclose(seen[-1][0], model.predict_proba(valid.X)[:, 1], rtol=1e-5)
    np.testing.assert_allclose(seen[-1][1], valid.weight)
    log = model.evals_result_["validation_0"]
    assert list(log) == ["auc", "brier"]
    assert log["brier"][-1] == pytest.approx(brier(valid.y, model.predict_proba(valid.X)[:, 1], valid.weight), abs=1e-6)
    assert model.estimator_.eval_metric == ["auc", brier]


def test_lightgbm_metric_functions_see_probabilities():
    table, valid = draw(600), draw(300, seed=1)
    seen = []

    def brier(y_true, y_score, weight):
        seen.append(y_score.copy())
        return "brier", float(np.average((y_true - y_score) ** 2, weights=weight)), False

    model = FocalClassifier(lightgbm()).fit(
        table.X,
        table.y,
        eval_set=[(valid.X, valid.y)],
        eval_sample_weight=[valid.weight],
        eval_metric=["auc", "average_precision", brier],
    )
    np.testing.assert_allclose(seen[-1], model.predict_proba(valid.X)[:, 1])
    log = model.evals_result_["valid_0"]
    assert list(log) == ["auc", "average_precision", "binary_logloss", "brier"]
    scores = model.decision_function(valid.X)
    assert log["auc"][-1] == pytest.approx(roc_auc_score(valid.y, scores, sample_weight=valid.weight))
    with pytest.raises(ValueError, match="eval_metric='binary_error' would be computed on raw scores"):
        FocalClassifier(lightgbm()).fit(table.X, table.y, eval_metric="binary_error")
    with pytest.raises(TypeError, match="metric=.*not the name of a metric.*eval_metric of fit"):
        FocalClassifier(lightgbm(metric=brier)).fit(table.X, table.y)


@each_task
@pytest.mark.parametrize("given", [{}, {"metric": "None"}, {"metrics": "{log_loss}"}, {"metric": ["{ranking}"]}])
@pytest.mark.parametrize("named", [None, "{log_loss}", ["{ranking}"]])
def test_lightgbm_reports_the_metrics_that_it_would_report_itself(n_classes, given, named):
    """The log loss unless the estimator names others, as LGBMClassifier does; and the parameters come back whole."""
    words = {"log_loss": LOG_LOSS[lightgbm, n_classes], "ranking": "auc" if n_classes == 2 else "auc_mu"}

    def fill(value):
        return [fill(one) for one in value] if isinstance(value, list) else value and value.format(**words)

    table, valid = draw(400, n_classes=n_classes), draw(200, n_classes=n_classes, seed=1)
    given = {name: fill(value) for name, value in given.items()}
    arguments = {"eval_set": [(valid.X, valid.y)], "eval_metric": fill(named)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lgb.basic.LGBMDeprecationWarning)  # of eval_set
        own = lightgbm(**given).fit(table.X, table.y, **arguments)
    model = FocalClassifier(lightgbm(**given), gamma=0, max_step=None).fit(table.X, table.y, **arguments)
    logs = [one.evals_result_.get("valid_0", {}) for one in (own, model)]
    assert set(logs[0]) == set(logs[1])
    for name, values in logs[0].items():
        # The order of rows with equal scores is decided by rounding.
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-9 if name in LOG_LOSS.values() else 0.01)
    assert {name: model.estimator_.get_params()[name] for name in given} == given
    assert "metric" in given or "metric" not in model.estimator_.get_params()


HELD_OUT = {"validation_fraction": 0.25}


@each_booster
@each_task
def test_rows_held_out_stop_training_as_an_eval_set_of_them_does(make, n_classes):
    table = draw(1200, n_classes=n_classes)
    margins = np.random.default_rng(0).normal(size=(1200, n_classes) if n_classes > 2 else 1200)
    start = {"init_score" if make is lightgbm else "base_margin": margins}
    model = FocalClassifier(make(n_estimators=200, learning_rate=0.3), **HELD_OUT)
    model.fit(*table, **start, groups=np.arange(1200))
    fitted = model.estimator_
    held = split(table.y, 0.25, np.arange(1200), None)[0]
    kept = np.setdiff1d(np.arange(1200), held)
    assert 290 < len(held) < 310
    names = ["eval_sample_weight", "eval_init_score"]
    if make is xgboost:
        names = ["sample_weight_eval_set", "base_margin_eval_set"]
    stop = {"early_stopping_rounds": 50, **({"verbosity": -1} if make is lightgbm else {})}
    same = FocalClassifier(make(n_estimators=200, learning_rate=0.3, **stop)).fit(
        table.X[kept],
        table.y[kept],
        table.weight[kept],
        eval_set=[(table.X[held], table.y[held])],
        **dict(zip(names, ([table.weight[held]], [margins[held]]), strict=True)),
        **{name: values[kept] for name, values in start.items()},
        **quiet(make),
    )
    assert model.evals_result_ == same.evals_result_
    assert model.n_rounds_ == same.n_rounds_ < 150
    np.testing.assert_array_equal(model.predict_proba(table.X), same.predict_proba(table.X))
    assert type(fitted) is type(same.estimator_)


@each_booster
def test_rows_held_out_are_of_each_class_its_share_and_reproducible(make):
    y = np.repeat([0, 1, 2, 3], [9000, 900, 99, 1])
    held, kept = split(y, 0.1, None, None)
    assert sorted([*held, *kept]) == list(range(10_000))
    np.testing.assert_allclose(np.bincount(y[held], minlength=4), [900, 90, 10, 0], atol=1)
    np.testing.assert_array_equal(split(y, 0.1, None, None)[0], held)
    for seed in (1, np.random.RandomState(1), np.random.default_rng(1)):
        assert set(split(y, 0.1, None, seed)[0]) != set(held)
    groups = np.random.default_rng(0).integers(0, 50, 10_000)
    held, kept = split(np.where(y > 1, 1, y), 0.2, groups, 0)
    assert not set(groups[held]) & set(groups[kept])
    assert 1500 < len(held) < 2500
    table = draw(800)
    models = [FocalClassifier(make(random_state=seed), **HELD_OUT).fit(*table) for seed in (None, 0, 5)]
    curves = [model.evals_result_ for model in models]
    assert curves[0] == curves[1] != curves[2]


@each_booster
@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "sparse", "list"])
def test_rows_are_held_out_of_tables_of_any_kind(make, kind):
    table = draw(600)
    frame = pl.DataFrame(table.X, schema=[f"c{i}" for i in range(8)])
    X = {
        "pandas": lambda: frame.to_pandas().set_index(np.arange(600)[::-1]),
        "polars": lambda: frame,
        "arrow": frame.to_arrow,
        "sparse": lambda: scipy.sparse.coo_array(table.X),
        "list": table.X.tolist,
    }[kind]()
    model = FocalClassifier(make(), **HELD_OUT).fit(X, table.y)
    plain = FocalClassifier(make(), **HELD_OUT).fit(table.X, table.y)
    assert model.evals_result_ == plain.evals_result_
    assert len(model.evals_result_) == 1


@each_booster
def test_early_stopping_works_where_nobody_can_pass_an_eval_set(make, capsys):
    table = draw(900)
    model = FocalClassifier(make(n_estimators=400, learning_rate=0.5), **HELD_OUT)
    pipeline = make_pipeline(StandardScaler(), model)
    assert pipeline.fit(table.X, table.y)[-1].n_rounds_ < 300
    search = GridSearchCV(pipeline, {"focalclassifier__gamma": [0.0, 1.0]}, cv=2, scoring="neg_log_loss")
    assert search.fit(table.X, table.y).best_estimator_[-1].n_rounds_ < 300
    calibrated = CalibratedClassifierCV(model, cv=2).fit(*table)
    assert all(one.estimator.n_rounds_ < 300 for one in calibrated.calibrated_classifiers_)
    assert capsys.readouterr().out == ""


@each_booster
def test_an_eval_set_and_a_patience_of_the_user_come_before_those_of_validation_fraction(make):
    table, valid = draw(600), draw(300, seed=1)
    model = FocalClassifier(make(n_estimators=30), **HELD_OUT)
    model.fit(table.X, table.y, eval_set=[(valid.X, valid.y)], **quiet(make))
    plain = FocalClassifier(make(n_estimators=30)).fit(table.X, table.y, eval_set=[(valid.X, valid.y)], **quiet(make))
    assert model.best_iteration_ is None
    assert model.evals_result_ == plain.evals_result_
    own = make(n_estimators=300, early_stopping_rounds=4, learning_rate=0.5)
    model = FocalClassifier(own, **HELD_OUT).fit(table.X, table.y)
    ((curve,),) = (log.values() for log in model.evals_result_.values())
    assert len(curve) == model.n_rounds_ + 4


def test_several_labels_a_row_are_held_out_together():
    table = draw(600)
    model = FocalClassifier(xgboost(n_estimators=300, learning_rate=0.5), **HELD_OUT)
    model.fit(table.X, np.column_stack([table.y, 1 - table.y]))
    assert model.n_rounds_ < 250
    assert list(model.evals_result_) == ["validation_0"]


def test_the_training_set_among_the_eval_sets_is_known_as_such():
    table, valid = draw(600), draw(300, seed=1)
    arguments = {"eval_metric": "auc", "callbacks": [lgb.early_stopping(20, first_metric_only=True, verbose=False)]}
    alone, both = (
        FocalClassifier(lightgbm(n_estimators=200)).fit(table.X, table.y, eval_set=sets, **arguments)
        for sets in ([(valid.X, valid.y)], [(table.X, table.y), (valid.X, valid.y)])
    )
    assert list(both.evals_result_) == ["training", "valid_1"]
    assert both.best_iteration_ == alone.best_iteration_


@pytest.mark.parametrize("n_classes", [2, 3])
def test_lightgbm_stops_on_the_users_metric_alone(n_classes):
    table, valid = draw(600, n_classes=n_classes), draw(300, n_classes=n_classes, seed=1)

    def accuracy(y_true, proba):
        labels = proba > 0.5 if n_classes == 2 else proba.argmax(axis=1)
        return "accuracy", float(np.mean(labels == y_true)), True

    model = FocalClassifier(lightgbm(metric="None", n_estimators=200))
    stop = lgb.early_stopping(5, first_metric_only=True, verbose=False)
    model.fit(table.X, table.y, eval_set=[(valid.X, valid.y)], eval_metric=accuracy, callbacks=[stop])
    assert list(model.evals_result_["valid_0"]) == ["accuracy"]
    assert model.best_iteration_ == np.argmax(model.evals_result_["valid_0"]["accuracy"]) + 1


def test_xgboost_stops_on_a_metric_with_a_number_in_its_name():
    table, valid = draw(600), draw(300, seed=1)
    estimator = xgboost(n_estimators=200, early_stopping_rounds=5, eval_metric="error@0.7")
    model = FocalClassifier(estimator).fit(table.X, table.y, eval_set=[(valid.X, valid.y)], verbose=False)
    errors = np.mean((model.predict_proba(valid.X)[:, 1] > 0.7) != valid.y)
    assert model.evals_result_["validation_0"]["error@0.7"][model.best_iteration_] == pytest.approx(errors)


def test_callbacks_and_metrics_of_the_user_are_his_objects():
    table, valid = draw(600), draw(300, seed=1)

    class Collect(xgb.callback.TrainingCallback):
        def __init__(self):
            self.rounds = []

        def after_iteration(self, model, epoch, evals_log):
            self.rounds.append(epoch)
            return False

    class Metric:
        __name__ = "metric"

        def __init__(self):
            self.calls = 0

        def __call__(self, y_true, proba):
            self.calls += 1
            return float(np.mean((y_true - proba) ** 2))

    collect, metric = Collect(), Metric()
    stop = xgb.callback.EarlyStopping(rounds=3)
    model = FocalClassifier(xgboost(n_estimators=200, callbacks=[collect, stop], eval_metric=metric, learning_rate=0.5))
    arguments = {"eval_set": [(valid.X, valid.y)], "verbose": False}
    rounds = [model.fit(table.X, table.y, **arguments).n_rounds_ for _ in range(2)]
    assert rounds[0] == rounds[1]  # the library's own callbacks start afresh
    assert collect.rounds == 2 * list(range(rounds[0] + 3))
    assert metric.calls == len(collect.rounds)
    assert model.estimator.callbacks == [collect, stop]


def test_callbacks_are_called_and_their_exceptions_surface():
    table = draw(300)
    rounds = []
    FocalClassifier(lightgbm()).fit(table.X, table.y, callbacks=[lambda env: rounds.append(env.iteration)])

    class Count(xgb.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            rounds.append(epoch)
            if epoch == 5:
                raise KeyError("mine")
            return False

    estimator = xgboost(callbacks=[Count()])
    with pytest.raises(KeyError, match="mine"):
        FocalClassifier(estimator).fit(table.X, table.y)
    assert rounds == [*range(20), *range(6)]


@each_booster
def test_unknown_fit_argument_is_a_type_error(make):
    table = draw(300)
    with pytest.raises(TypeError, match="speed"):
        FocalClassifier(make()).fit(table.X, table.y, speed=3)


def test_malformed_eval_set_is_named():
    table = draw(300)
    with pytest.raises(ValueError, match=r"eval_set\[0\] is not a pair"):
        FocalClassifier(lightgbm()).fit(table.X, table.y, eval_set=[table.X])


@each_booster
def test_training_goes_on_from_an_earlier_model(make):
    table = draw(600)
    whole = FocalClassifier(make()).fit(table.X, table.y)
    half = FocalClassifier(make(n_estimators=10)).fit(table.X, table.y)
    argument = "init_model" if make is lightgbm else "xgb_model"
    both = FocalClassifier(make(n_estimators=10)).fit(table.X, table.y, **{argument: half})
    np.testing.assert_allclose(both.decision_function(table.X), whole.decision_function(table.X), rtol=1e-4, atol=1e-5)


#
# Features


@each_booster
def test_missing_values_and_float32(make):
    table = draw(600)
    X = table.X.astype(np.float32)
    X[::3, 0] = np.nan
    model = FocalClassifier(make()).fit(X, table.y)
    assert np.isfinite(model.predict_proba(X)).all()


@each_booster
@each_task
def test_pandas_with_categories(make, n_classes):
    table = draw(600, n_classes=n_classes)
    frame = pd.DataFrame(table.X, columns=[f"c{i}" for i in range(8)])
    frame["c0"] = pd.Categorical(np.where(frame["c0"] > 0, "high", "low"))
    extra = {"enable_categorical": True} if make is xgboost else {}
    model = FocalClassifier(make(**extra)).fit(frame, table.y, eval_set=[(frame, table.y)], **quiet(make))
    assert list(model.feature_names_in_) == list(frame.columns)
    assert model.score(frame, table.y) > 0.6
    # only the category differs between these rows, and it decides
    rows = frame.iloc[[0, 0]].assign(c0=pd.Categorical(["high", "low"], categories=["high", "low"]))
    assert np.ptp(model.decision_function(rows), axis=0).max() > 0.01
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


@each_booster
def test_polars_frames(make):
    table = draw(600)
    frame = pl.DataFrame(table.X, schema=[f"c{i}" for i in range(8)])
    model = FocalClassifier(make()).fit(
        frame, pl.Series(table.y), eval_set=[(frame, pl.Series(table.y))], **quiet(make)
    )
    plain = FocalClassifier(make()).fit(table.X, table.y)
    np.testing.assert_allclose(model.predict_proba(frame), plain.predict_proba(table.X), rtol=1e-6)
    assert model.n_features_in_ == 8


@each_booster
@pytest.mark.parametrize("make_sparse", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
def test_sparse(make, make_sparse):
    table = draw(600)
    X = make_sparse(np.where(np.abs(table.X) > 0.5, table.X, 0))
    model = FocalClassifier(make()).fit(X, table.y)
    assert model.score(X, table.y) > 0.75


@each_booster
def test_bytes_in_the_other_order_are_read_as_what_they_are(make):
    table = draw(600)
    plain = FocalClassifier(make()).fit(*table)
    model = FocalClassifier(make()).fit(table.X.astype(">f8"), table.y.astype(">i4"), table.weight.astype(">f4"))
    np.testing.assert_allclose(model.predict_proba(table.X.astype(">f4")), plain.predict_proba(table.X), atol=1e-6)


@each_booster
def test_a_second_fit_leaves_nothing_of_the_first(make):
    table = draw(300)
    frame = pd.DataFrame(table.X).add_prefix("c")
    model = FocalClassifier(make()).fit(frame, table.y, eval_set=[(frame, table.y)], **quiet(make))
    model.fit(table.X[:, :3], table.y)
    assert not hasattr(model, "feature_names_in_")
    assert (model.n_features_in_, model.evals_result_) == (3, {})


def test_whole_numbers_and_booleans_of_pandas_stay_what_they_are():
    table = draw(300)
    for dtype, kind in (("Int64", "i"), ("boolean", "b"), ("int64[pyarrow]", "i")):
        model = FocalClassifier(lightgbm()).fit(table.X, pd.Series(table.y, dtype=dtype))
        assert model.classes_.dtype.kind == model.predict(table.X).dtype.kind == kind


def test_wrong_number_of_features_is_named():
    table = draw(300)
    model = FocalClassifier(lightgbm()).fit(table.X, table.y)
    with pytest.raises(ValueError, match=r"5 features.*expecting 8"):
        model.predict(table.X[:, :5])


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


#
# Real tables


@pytest.mark.data
@pytest.mark.parametrize("name", ["thyroid0387", "shuttle7", "avila", "kddcup99_10pct", "smtp_kdd"])
def test_plain_lightgbm_defaults_do_not_diverge(name):
    """The built-in objective ends above the log loss of the class shares on each of these."""
    X, y = real(name)
    rng = np.random.default_rng(0)
    if len(y) > 100_000:  # every row of the rare classes, a third of the others
        kept = (np.bincount(y)[y] < 1000) | (rng.random(len(y)) < 1 / 3)
        X, y = X[kept], y[kept]
    test = rng.random(len(y)) < 0.3
    model = FocalClassifier(lgb.LGBMClassifier(verbosity=-1, n_jobs=1)).fit(X[~test], y[~test])
    shares = np.bincount(y[~test]) / np.sum(~test)
    score = log_loss(y[test], model.predict_proba(X[test]), labels=np.arange(len(shares)))
    assert score < 0.5 * -np.log(shares)[y[test]].mean()
