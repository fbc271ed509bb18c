"""Fitting a FocalClassifier: early stopping, metrics, callbacks, rows held out, and fit arguments."""

from __future__ import annotations

import warnings

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
import scipy.sparse
import xgboost as xgb
from classifiers import HELD_OUT, LOG_LOSS, each_booster, each_task, lightgbm, quiet, xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import draw

from focal_boost import FocalClassifier
from focal_boost._training import split

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


#
# Rows held out


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


#
# Callbacks, metrics of the user, arguments


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
