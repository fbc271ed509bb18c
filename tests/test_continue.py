"""Training goes on from an earlier model, of whatever gamma: the start is counted once, and all rounds count."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from classifiers import LOG_LOSS, each_booster, each_task, lightgbm, quiet, xgboost
from libraries import make_loss
from sklearn.metrics import log_loss
from tables import draw

import focal_boost.lightgbm
import focal_boost.xgboost
from focal_boost import BinaryFocalLoss, FocalClassifier

ARGUMENT = {lightgbm: "init_model", xgboost: "xgb_model"}


@each_booster
@each_task
@pytest.mark.parametrize("form", ["model", "loaded", "file", "estimator", "booster", "booster file"])
def test_ten_rounds_and_ten_are_twenty(make, n_classes, form, tmp_path):
    table = draw(500, n_classes=n_classes)
    whole = FocalClassifier(make()).fit(table.X, table.y)
    half = FocalClassifier(make(n_estimators=10)).fit(table.X, table.y)
    half.save(tmp_path / "model.focal")
    booster = half.estimator_._Booster
    booster.save_model(tmp_path / "booster.json")
    earlier = {
        "model": half,
        "loaded": FocalClassifier.load(tmp_path / "model.focal"),
        "file": tmp_path / "model.focal",
        "estimator": half.estimator_,
        "booster": booster,
        "booster file": tmp_path / "booster.json",
    }[form]
    before = half.decision_function(table.X)
    both = FocalClassifier(make(n_estimators=10)).fit(table.X, table.y, **{ARGUMENT[make]: earlier})
    # What the library's own objective gives for the same two fits.
    plain = [make().fit(table.X, table.y), make(n_estimators=10).fit(table.X, table.y)]
    plain[1] = make(n_estimators=10).fit(table.X, table.y, **{ARGUMENT[make]: plain[1]})
    margins = {"raw_score": True} if make is lightgbm else {"output_margin": True}
    yardstick = np.abs(np.subtract(*(model.predict(table.X, **margins) for model in plain))).max()
    assert np.abs(both.decision_function(table.X) - whole.decision_function(table.X)).max() <= yardstick + 1e-9
    np.testing.assert_array_equal(half.decision_function(table.X), before)
    again = FocalClassifier(make(n_estimators=10)).fit(table.X, table.y, **{ARGUMENT[make]: both})
    assert [model.n_rounds_ for model in (half, both, again)] == [10, 20, 30]


@each_booster
@each_task
def test_no_earlier_model_is_the_same_as_none_given(make, n_classes):
    table = draw(300, n_classes=n_classes)
    plain = FocalClassifier(make()).fit(table.X, table.y)
    none = FocalClassifier(make()).fit(table.X, table.y, **{ARGUMENT[make]: None})
    np.testing.assert_array_equal(none.decision_function(table.X), plain.decision_function(table.X))


@each_booster
@each_task
def test_a_model_of_the_log_loss_or_of_another_gamma_goes_on(make, n_classes):
    """Margins mean the same, so that the sum of the trees is a model, and its first probabilities are those before."""
    table, valid = draw(800, n_classes=n_classes), draw(400, n_classes=n_classes, seed=1)
    plain = make(n_estimators=10).fit(table.X, table.y)
    earlier = [plain, plain.booster_ if make is lightgbm else plain.get_booster()]
    earlier += [FocalClassifier(make(n_estimators=10), gamma=5.0, alpha="balanced").fit(table.X, table.y)]
    for model in earlier:
        before = (model if hasattr(model, "predict_proba") else plain).predict_proba(table.X)
        still = FocalClassifier(make(n_estimators=1, learning_rate=1e-12)).fit(
            table.X, table.y, **{ARGUMENT[make]: model}
        )
        np.testing.assert_allclose(still.predict_proba(table.X), before, rtol=0, atol=1e-6)
        assert still.n_rounds_ == 11
        more = FocalClassifier(make(n_estimators=30), gamma=[2.0] * n_classes)
        more.fit(table.X, table.y, eval_set=[(valid.X, valid.y)], **{ARGUMENT[make]: model}, **quiet(make))
        (log,) = more.evals_result_.values()
        losses = log[LOG_LOSS[make, n_classes]]
        assert losses[-1] == pytest.approx(log_loss(valid.y, more.predict_proba(valid.X)), rel=1e-6)
    # gamma = 0 goes on as the library's own objective does.
    ours = FocalClassifier(make(n_estimators=10), gamma=0, max_step=None)
    ours.fit(table.X, table.y, **{ARGUMENT[make]: plain})
    theirs = make(n_estimators=10).fit(table.X, table.y, **{ARGUMENT[make]: plain})
    np.testing.assert_allclose(ours.predict_proba(table.X), theirs.predict_proba(table.X), rtol=0, atol=1e-6)


@each_booster
@each_task
def test_new_rounds_after_an_early_stop_count(make, n_classes):
    table, valid = draw(800, n_classes=n_classes), draw(400, n_classes=n_classes, seed=1)
    stop = {"early_stopping_rounds": 5} if make is xgboost else {"early_stopping_round": 5}
    first = FocalClassifier(make(n_estimators=300, learning_rate=0.5, **stop))
    first.fit(table.X, table.y, eval_set=[(valid.X, valid.y)], **quiet(make))
    before = first.decision_function(valid.X)
    for earlier in (first, first.estimator_, first.estimator_._Booster):
        more = FocalClassifier(make(n_estimators=10)).fit(table.X, table.y, **{ARGUMENT[make]: earlier})
        assert (more.n_rounds_, more.best_iteration_) == (first.n_rounds_ + 10, None)
        margins = {"raw_score": True} if make is lightgbm else {"output_margin": True}
        np.testing.assert_array_equal(more.decision_function(valid.X), more.estimator_.predict(valid.X, **margins))
        still = FocalClassifier(make(n_estimators=1, learning_rate=1e-12))
        still.fit(table.X, table.y, **{ARGUMENT[make]: earlier})
        np.testing.assert_allclose(still.decision_function(valid.X), before, rtol=0, atol=1e-6)
        assert np.abs(more.decision_function(valid.X) - before).max() > 0.01
    np.testing.assert_array_equal(first.decision_function(valid.X), before)
    again = FocalClassifier(make(n_estimators=300, learning_rate=0.1, **stop))
    again.fit(table.X, table.y, eval_set=[(valid.X, valid.y)], **{ARGUMENT[make]: first}, **quiet(make))
    (log,) = again.evals_result_.values()
    best = np.argmin(log[LOG_LOSS[make, n_classes]])
    assert again.n_rounds_ == first.n_rounds_ + best + 1


@each_booster
def test_an_array_continues_a_model_of_named_columns_and_other_names_do_not(make):
    table = draw(300)
    frames = [pd.DataFrame(table.X, columns=list(names)) for names in ("abcdefgh", "abcdefgx")]
    earlier = FocalClassifier(make(n_estimators=3)).fit(frames[0], table.y)
    model = FocalClassifier(make(n_estimators=3))
    if make is lightgbm:  # XGBoost itself asks for the names
        assert model.fit(table.X, table.y, **{ARGUMENT[make]: earlier}).n_rounds_ == 6
    with pytest.raises(ValueError, match="feature_names_in_"):
        model.fit(frames[1], table.y, **{ARGUMENT[make]: earlier})


@each_booster
def test_a_model_that_speaks_of_something_else_is_refused(make):
    table, three = draw(300), draw(300, n_classes=3)
    argument = ARGUMENT[make]
    earlier = FocalClassifier(make(n_estimators=3), gamma=2.0, alpha=0.3).fit(table.X, table.y)
    same = FocalClassifier(make(n_estimators=3), gamma=2.0, alpha=0.3)
    plain = make(n_estimators=3).fit(table.X, table.y)
    for model, before, X, y, what in [
        (same, earlier, table.X, table.y + 1, r"classes_ \[0, 1\], but this one has \[1, 2\]"),
        (same, earlier, table.X[:, :3], table.y, "n_features_in_ 8, but this one has 3"),
        (same, plain, table.X[:, :3], table.y, f"{argument} has 8 features, but X has 3"),
        (FocalClassifier(make()), plain, three.X, three.y, f"{argument} has 1 outputs a row"),
    ]:
        with pytest.raises(ValueError, match=what):
            model.fit(X, y, **{argument: before})
        assert not hasattr(model, "estimator_")
    other = FocalClassifier((xgboost if make is lightgbm else lightgbm)(n_estimators=3)).fit(table.X, table.y)
    with pytest.raises(ValueError, match="another library"):
        FocalClassifier(make()).fit(table.X, table.y, **{argument: other})
    regressor = (lgb.LGBMRegressor if make is lightgbm else xgb.XGBRegressor)(n_estimators=2).fit(table.X, table.y)
    with pytest.raises(ValueError, match=f"{argument} has the objective 're.*no log-odds: continue a model of binary"):
        same.fit(table.X, table.y, **{argument: regressor})


def test_labels_of_a_plain_lightgbm_model_are_checked():
    table = draw(300)
    plain = lightgbm(n_estimators=3).fit(table.X, np.array(["a", "b"])[table.y])
    model = FocalClassifier(lightgbm(n_estimators=3))
    with pytest.raises(ValueError, match=r"classes_ \['a', 'b'\], but this one has \['b', 'c'\]"):
        model.fit(table.X, np.array(["b", "c"])[table.y], init_model=plain)
    model.fit(table.X, np.array(["a", "b"])[table.y], init_model=plain)
    model.fit(table.X, np.array(["b", "c"])[table.y], init_model=model.estimator_)


@each_task
@pytest.mark.parametrize("form", ["booster", "file", "own log loss"])
def test_native_lightgbm_counts_a_start_in_the_trees_once_or_refuses(n_classes, form, tmp_path):
    table = draw(600, n_classes=n_classes)
    loss = make_loss(n_classes)
    objective = focal_boost.lightgbm.FocalObjective(loss, loss.fit_intercept_only(table.y))
    params = {"verbosity": -1, "num_threads": 1, **objective.params}
    bare = lgb.train(params, lgb.Dataset(table.X, table.y), 10)
    whole = objective.portable(lgb.train(params, lgb.Dataset(table.X, table.y), 20))
    # A booster whose start is in no tree yet: added in both trainings, folded in once.
    both = objective.portable(lgb.train(params, lgb.Dataset(table.X, table.y), 10, init_model=bare))
    np.testing.assert_allclose(both.predict(table.X), whole.predict(table.X), rtol=0, atol=1e-9)
    earlier = objective.portable(bare)
    if form == "file":
        earlier.save_model(tmp_path / "first.txt")
        earlier = tmp_path / "first.txt"
    elif form == "own log loss":
        earlier = lightgbm(n_estimators=10).fit(table.X, table.y).booster_
    with pytest.raises(ValueError, match=r"start in its trees.*FocalObjective\(loss, scale=objective.scale\)"):
        lgb.train(params, lgb.Dataset(table.X, table.y), 10, init_model=earlier)
    free = focal_boost.lightgbm.FocalObjective(loss, scale=objective.scale)
    booster = lgb.train({**params, **free.params}, lgb.Dataset(table.X, table.y), 10, init_model=earlier)
    proba = free.portable(booster).predict(table.X)
    shares = np.bincount(table.y) / len(table.y)
    np.testing.assert_allclose(proba.mean(axis=0), shares if n_classes > 2 else shares[1], atol=0.05)
    if form != "own log loss":
        np.testing.assert_allclose(proba, whole.predict(table.X), rtol=0, atol=1e-9)


def test_a_lightgbm_booster_without_its_intercept_is_refused(tmp_path):
    table = draw(300)
    loss = BinaryFocalLoss()
    start = loss.fit_intercept_only(table.y)
    objective = focal_boost.lightgbm.FocalObjective(loss, start)
    params = {"verbosity": -1, "num_threads": 1, **objective.params}
    booster = lgb.train(params, lgb.Dataset(table.X, table.y), 10)
    model = FocalClassifier(lightgbm(n_estimators=10))
    with pytest.raises(ValueError, match=r"objective.portable\(booster\)"):
        model.fit(table.X, table.y, init_model=booster)
    model.fit(table.X, table.y, init_model=objective.portable(booster))
    whole = FocalClassifier(lightgbm()).fit(table.X, table.y)
    np.testing.assert_allclose(model.decision_function(table.X), whole.decision_function(table.X), atol=1e-12)
    (tmp_path / "none.txt").write_text("nothing")
    with pytest.raises(ValueError, match="not a model that LightGBM reads"):
        model.fit(table.X, table.y, init_model=tmp_path / "none.txt")


def test_a_native_xgboost_booster_goes_on():
    table = draw(300)
    loss = BinaryFocalLoss()
    start = loss.fit_intercept_only(table.y)
    objective = focal_boost.xgboost.FocalObjective(loss, start, 1)
    booster = xgb.train({"nthread": 1, **objective.params}, xgb.DMatrix(table.X, table.y), 10, obj=objective)
    both = FocalClassifier(xgboost(n_estimators=10)).fit(table.X, table.y, xgb_model=booster)
    whole = FocalClassifier(xgboost()).fit(table.X, table.y)
    np.testing.assert_allclose(both.decision_function(table.X), whole.decision_function(table.X), atol=1e-6)
