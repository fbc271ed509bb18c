"""Training goes on from an earlier model: the intercept is counted once, and the margins must mean the same."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from tables import draw
from test_classifier import each_booster, each_task, lightgbm, xgboost

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
def test_a_model_whose_margins_mean_something_else_is_refused(make):
    table, three = draw(300), draw(300, n_classes=3)
    argument = ARGUMENT[make]
    earlier = FocalClassifier(make(n_estimators=3), gamma=2.0, alpha=0.3).fit(table.X, table.y)
    same = FocalClassifier(make(n_estimators=3), gamma=2.0, alpha=0.3)
    for model, X, y, what in [
        (FocalClassifier(make(), gamma=1.0, alpha=0.3), table.X, table.y, "gamma 2.0, but this one has 1.0"),
        (FocalClassifier(make(), gamma=2.0), table.X, table.y, "alpha 0.3, but this one has None"),
        (same, table.X, table.y + 1, r"classes_ \[0, 1\], but this one has \[1, 2\]"),
        (same, table.X[:, :3], table.y, "n_features_in_ 8, but this one has 3"),
    ]:
        with pytest.raises(ValueError, match=what):
            model.fit(X, y, **{argument: earlier})
        assert not hasattr(model, "estimator_")
    changed = FocalClassifier(make(n_estimators=3), gamma=1.0).fit(table.X, table.y, **{argument: earlier.estimator_})
    assert changed.loss_.gamma == 1.0
    with pytest.raises(ValueError, match=f"{argument} has 1 outputs a row"):
        FocalClassifier(make()).fit(three.X, three.y, **{argument: earlier.estimator_})
    other = FocalClassifier((xgboost if make is lightgbm else lightgbm)(n_estimators=3)).fit(table.X, table.y)
    with pytest.raises(ValueError, match="another library"):
        FocalClassifier(make()).fit(table.X, table.y, **{argument: other})


def test_a_lightgbm_booster_without_its_intercept_is_refused(tmp_path):
    table = draw(300)
    loss = BinaryFocalLoss()
    start = loss.fit_intercept_only(table.y)
    objective = focal_boost.lightgbm.FocalObjective(loss, start, scale=loss.log_loss_scale(start))
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
    objective = focal_boost.xgboost.FocalObjective(loss, start, 1, scale=loss.log_loss_scale(start))
    booster = xgb.train({"nthread": 1, **objective.params}, xgb.DMatrix(table.X, table.y), 10, obj=objective)
    both = FocalClassifier(xgboost(n_estimators=10)).fit(table.X, table.y, xgb_model=booster)
    whole = FocalClassifier(xgboost()).fit(table.X, table.y)
    np.testing.assert_allclose(both.decision_function(table.X), whole.decision_function(table.X), atol=1e-6)
