"""FocalClassifierCV: candidates, folds, early stopping, the race, results in scikit-learn's form, the verdict."""

from __future__ import annotations

import pickle
import sys

import lightgbm as lgb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
import xgboost as xgb
from scipy import stats
from sklearn.base import clone
from sklearn.metrics import average_precision_score, log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, PredefinedSplit, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import draw, real

from focal_boost import FocalClassifier, FocalClassifierCV
from focal_boost import model_selection as module


def lightgbm(**params):
    return lgb.LGBMClassifier(**{"n_estimators": 60, "num_leaves": 7, "verbosity": -1, "n_jobs": 1, **params})


def xgboost(**params):
    return xgb.XGBClassifier(**{"n_estimators": 60, "max_depth": 3, "learning_rate": 0.2, "n_jobs": 1, **params})


each_booster = pytest.mark.parametrize("make", [lightgbm, xgboost])
each_task = pytest.mark.parametrize("n_classes", [2, 3])


def search(estimator, **options):
    return FocalClassifierCV(estimator, **{"gammas": (0, 1, 2), "cv": 3, "early_stopping_rounds": 10, **options})


#
# What is found


@each_booster
@each_task
def test_full_grid_is_what_one_would_do_by_hand(make, n_classes):
    table = draw(500, n_classes=n_classes)
    model = search(make(), racing=False).fit(table.X, table.y)
    results = model.cv_results_
    for i, gamma in enumerate((0.0, 1.0, 2.0)):
        for j, (train, test) in enumerate(StratifiedKFold(3).split(table.X, table.y)):
            fold = FocalClassifier(make(), gamma=gamma)
            verbose = {} if make is lightgbm else {"verbose": False}
            fold.fit(table.X[train], table.y[train], eval_set=[(table.X[test], table.y[test])], **verbose)
            (log,) = fold.evals_result_.values()
            (losses,) = map(np.array, log.values())
            stop = next(
                (r for r in range(len(losses)) if r - np.argmin(losses[: r + 1]) >= 10), len(losses) - 1
            )  # ten rounds without a record low
            best = int(np.argmin(losses[: stop + 1]))
            assert results[f"split{j}_n_rounds"][i] == best + 1
            assert results[f"split{j}_test_score"][i] == pytest.approx(-losses[best], rel=2e-5)
    assert model.best_index_ == np.argmax(results["mean_test_score"])
    assert model.best_params_ == results["params"][model.best_index_]
    rounds = [results[f"split{j}_n_rounds"][model.best_index_] for j in range(3)]
    assert model.n_rounds_ == np.median(rounds)
    again = FocalClassifier(make(n_estimators=model.n_rounds_), **model.best_params_).fit(table.X, table.y)
    np.testing.assert_array_equal(model.predict_proba(table.X), again.predict_proba(table.X))
    np.testing.assert_array_equal(model.predict(table.X), again.predict(table.X))
    np.testing.assert_array_equal(model.decision_function(table.X), again.decision_function(table.X))
    assert model.score(table.X, table.y) == pytest.approx(-log_loss(table.y, again.predict_proba(table.X)))
    assert model.feature_importances_.shape == (8,)


@each_booster
def test_all_rounds_without_early_stopping(make):
    table = draw(300)
    model = search(make(n_estimators=12), early_stopping_rounds=None, racing=False).fit(table.X, table.y)
    assert model.n_rounds_ == 12
    assert set(model.cv_results_["n_rounds_trained"]) == {36}
    grid = GridSearchCV(
        FocalClassifier(make(n_estimators=12)), {"gamma": [0.0, 1.0, 2.0]}, scoring="neg_log_loss", cv=3
    )
    grid.fit(table.X, table.y)
    for name in ("mean_test_score", "std_test_score", "rank_test_score", "split0_test_score", "split2_test_score"):
        np.testing.assert_allclose(model.cv_results_[name], grid.cv_results_[name], rtol=1e-12)
    assert set(grid.cv_results_) <= set(model.cv_results_) | {"param_gamma"}
    assert model.best_index_ == grid.best_index_
    assert model.best_score_ == pytest.approx(grid.best_score_)
    assert isinstance(model.cv_results_["param_gamma"], np.ma.MaskedArray)


@pytest.mark.parametrize("name", ["num_iterations", "n_iter", "num_boost_round"])
@pytest.mark.filterwarnings("ignore:Found .* in params:UserWarning")
def test_rounds_by_any_name_of_lightgbm(name):
    table = draw(300)
    model = search(lightgbm(**{name: 40}), gammas=(0,)).fit(table.X, table.y)
    assert 1 <= model.n_rounds_ < 40
    assert model.best_estimator_.estimator_.booster_.num_trees() == model.n_rounds_


def test_forest_has_one_round():
    table = draw(300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # deprecated in XGBoost 3.4
        estimator = xgb.XGBRFClassifier(n_estimators=10, n_jobs=1)
        model = search(estimator, early_stopping_rounds=None).fit(table.X, table.y)
    assert model.predict_proba(table.X).shape == (300, 2)


def test_zero_is_added_and_duplicates_count_once():
    table = draw(300)
    model = search(lightgbm(), gammas=np.array([2, 1, 2.0]), racing=False).fit(table.X, table.y)
    assert model.cv_results_["param_gamma"].tolist() == [0.0, 2.0, 1.0]


@each_booster
def test_gamma_of_each_class_is_a_candidate_too(make):
    table = draw(400)
    names = np.array(["no", "yes"])[table.y]
    gammas = [0, 2, (0.5, 2.0), {"no": 2.0, "yes": 0.5}, [0.5, 2.0], np.array([2.0, 1.0])]
    model = search(make(n_estimators=10), gammas=gammas, racing=False).fit(table.X, names)
    kept = [params["gamma"] for params in model.cv_results_["params"]]
    assert kept[:4] == [0.0, 2.0, (0.5, 2.0), {"no": 2.0, "yes": 0.5}]
    assert kept[4] is gammas[5]
    assert len(kept) == 5
    assert repr(model.best_estimator_.gamma) == repr(model.best_params_["gamma"])
    scores = model.cv_results_["mean_test_score"]
    assert len(set(scores)) == 5
    alone = search(make(n_estimators=10), gammas=[{"no": 2.0, "yes": 0.5}], racing=False, verbose=1).fit(table.X, names)
    assert alone.cv_results_["mean_test_score"][1] == scores[3]


@each_booster
def test_metrics_and_their_order_in_the_estimator_change_no_fold(make):
    """What the estimator reports besides is not what a fold stops by."""
    table = draw(400)
    metric = {"metric": "auc"} if make is lightgbm else {"eval_metric": ["logloss", "auc"]}
    plain, other = (search(make(**extra), racing=False).fit(table.X, table.y) for extra in ({}, metric))
    np.testing.assert_array_equal(other.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    assert other.n_rounds_ == plain.n_rounds_
    kept = other.best_estimator_.estimator_.get_params()
    assert {name: kept[name] for name in metric} == metric


def test_every_pair_of_gamma_and_alpha_in_all_forms():
    table = draw(400)
    names = np.array(["no", "yes"])[table.y]
    alphas = [None, "balanced", 0.3, (1.0, 2.0), np.array([1.0, 3.0]), {"no": 1.0, "yes": 4.0}]
    model = search(lightgbm(n_estimators=10), gammas=(0, 2), alphas=alphas).fit(table.X, names)
    results = model.cv_results_
    assert results["param_gamma"].tolist() == [0.0] * 6 + [2.0] * 6
    assert all(given is kept for given, kept in zip(alphas * 2, results["param_alpha"], strict=True))
    assert list(model.classes_) == ["no", "yes"]
    assert set(model.predict(table.X)) <= {"no", "yes"}


@each_booster
def test_weights_are_sliced_and_used_in_training_stopping_and_scoring(make):
    table = draw(400)
    model = search(make(), gammas=(0, 2), racing=False).fit(table.X, table.y, table.weight)
    train, test = next(StratifiedKFold(3).split(table.X, table.y))
    name = "eval_sample_weight" if make is lightgbm else "sample_weight_eval_set"
    verbose = {} if make is lightgbm else {"verbose": False}
    fold = FocalClassifier(make(), gamma=2.0).fit(
        table.X[train],
        table.y[train],
        table.weight[train],
        eval_set=[(table.X[test], table.y[test])],
        **{name: [table.weight[test]]},
        **verbose,
    )
    (log,) = fold.evals_result_.values()
    rounds = int(model.cv_results_["split0_n_rounds"][1])
    assert rounds < 60
    (losses,) = log.values()
    assert np.argmin(losses[: rounds + 10]) == rounds - 1
    score = model.cv_results_["split0_test_score"][1]
    assert score == pytest.approx(-losses[rounds - 1], rel=2e-5)
    again = FocalClassifier(make(n_estimators=model.n_rounds_), **model.best_params_)
    again.fit(table.X, table.y, table.weight)
    np.testing.assert_array_equal(model.predict_proba(table.X), again.predict_proba(table.X))


def unweighted(y_true, y_proba):
    return average_precision_score(y_true, y_proba)


def by_hand(estimator, X, y):
    return estimator.predict_proba(X)[y == 1, 1].mean()


def by_hand_weighted(estimator, X, y, sample_weight):
    assert sample_weight.shape == (len(y),)
    return float(np.average(estimator.predict(X) == y, weights=sample_weight))


@pytest.mark.parametrize(
    "scoring",
    [
        "average_precision",
        "neg_brier_score",
        "f1",
        make_scorer(unweighted, response_method="predict_proba"),
        by_hand,
        by_hand_weighted,
    ],
)
def test_any_scorer(scoring):
    table = draw(400)
    model = search(lightgbm(), scoring=scoring).fit(table.X, table.y, table.weight)
    scores = model.cv_results_["mean_test_score"]
    complete = ~np.isnan([model.cv_results_[f"split{j}_test_score"] for j in range(3)]).any(axis=0)
    assert model.best_score_ == scores[complete].max()
    assert np.isfinite(model.score(table.X, table.y, table.weight))


def test_a_score_that_is_not_finite_is_named():
    table = draw(300)
    with pytest.raises(ValueError, match=r"scoring gives nan for \{'gamma': 0.0"):
        search(lightgbm(), scoring=lambda estimator, X, y: np.nan).fit(table.X, table.y)


#
# Folds


@pytest.mark.parametrize(
    "cv",
    [
        4,
        StratifiedKFold(3, shuffle=True, random_state=1),
        StratifiedKFold(3, shuffle=True),  # unseeded: asked once, so that candidates still share their folds
        [(np.arange(200), np.arange(200, 400)), (np.arange(200, 400), np.arange(200))],
        [(np.arange(400) < 200, np.arange(400) >= 200)],
        PredefinedSplit(np.where(np.arange(400) < 300, -1, 0)),
    ],
)
def test_folds_of_all_kinds(cv):
    table = draw(400)
    model = search(lightgbm(n_estimators=10), cv=cv).fit(table.X, table.y)
    given = cv if isinstance(cv, int) else len(cv) if isinstance(cv, list) else cv.get_n_splits()
    assert model.n_splits_ == given
    assert f"split{given - 1}_test_score" in model.cv_results_
    assert ("too few folds" in model.verdict_) == (given == 1 and model.best_params_["gamma"] > 0)


def test_held_out_rows_may_lack_a_class():
    table = draw(600, n_classes=3)
    rows = np.arange(600)
    lacking = rows[(rows < 200) & (table.y != 2)]
    model = search(lightgbm(n_estimators=5), cv=[(rows[200:], lacking), (rows[:400], rows[400:])])
    assert np.isfinite(model.fit(table.X, table.y).best_score_)


@pytest.mark.parametrize("kind", ["pandas", "polars", "csr_array", "lists"])
def test_tables_of_all_kinds(kind):
    table = draw(300)
    X = {
        "pandas": lambda: pd.DataFrame(table.X, index=np.arange(300) + 5).add_prefix("c"),
        "polars": lambda: pl.DataFrame(table.X, schema=[f"c{i}" for i in range(8)]),
        "csr_array": lambda: scipy.sparse.csr_array(table.X),
        "lists": lambda: table.X.tolist(),
    }[kind]()
    model = search(lightgbm(n_estimators=10)).fit(X, table.y.tolist())
    plain = search(lightgbm(n_estimators=10)).fit(table.X, table.y)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(table.X), rtol=1e-6)
    assert hasattr(model, "feature_names_in_") == (kind in ("pandas", "polars"))
    assert model.n_features_in_ == 8


#
# The race


def the_less_gamma_the_better(estimator, X, y):
    return -estimator.gamma


@each_booster
def test_race_costs_less_and_reports_what_it_left_out(make):
    table = draw(600)
    options = {"gammas": (0, 1, 2), "cv": 5, "early_stopping_rounds": 20, "scoring": the_less_gamma_the_better}
    full = search(make(learning_rate=0.5), racing=False, **options).fit(table.X, table.y)
    race = search(make(learning_rate=0.5), **options).fit(table.X, table.y)
    assert race.cv_results_["n_rounds_trained"].sum() < 0.75 * full.cv_results_["n_rounds_trained"].sum()
    assert race.best_params_ == full.best_params_ == {"gamma": 0.0, "alpha": None}
    scores = np.array([race.cv_results_[f"split{j}_test_score"] for j in range(5)]).T
    assert np.isnan(scores).tolist() == [[False] * 5, *[[False] * 2 + [True] * 3] * 2]
    assert race.cv_results_["rank_test_score"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(race.cv_results_["mean_test_score"], np.nanmean(scores, axis=1))


def play(scores, racing=True, stopping=True):
    """Let the race run on scores that are known beforehand; the order in which it asks for them."""
    seen = np.full(scores.shape, np.nan)
    batches = []
    while batch := module._next_batch(seen, 0, racing, stopping):
        batches.append(batch)
        for place in batch:
            assert np.isnan(seen[place])  # nothing is trained twice
            seen[place] = scores[place]
    return seen, batches


def test_order_of_the_race():
    rng = np.random.default_rng(0)
    scores = np.array([0.0, 0.3, -1.0, -2.0])[:, None] + 0.05 * rng.normal(size=(4, 5)) + rng.normal(size=5)
    seen, batches = play(scores)
    assert batches[0] == [(0, 0)]  # how long to wait is learnt here
    assert batches[1] == [(0, j) for j in range(1, 5)]
    assert batches[2] == [(i, j) for i in (1, 2, 3) for j in (0, 1)]
    assert batches[3:] == [[(1, 2), (1, 3), (1, 4)]]
    assert module._ranks(seen).tolist() == [2, 1, 3, 4]
    _, batches = play(scores, stopping=False)
    assert len(batches[0]) == 5
    seen, batches = play(scores, racing=False)
    assert len(batches) == 1
    np.testing.assert_array_equal(seen, scores)


def test_race_finds_the_winner_of_the_grid_nearly_always():
    rng = np.random.default_rng(1)
    same, trained, lost = 0, 0, []
    for _ in range(300):
        level = rng.normal(size=5) * 0.5
        scores = level[:, None] + rng.normal(size=(5, 5)) + 3 * rng.normal(size=5)
        seen, _ = play(scores)
        winner, best = int(np.argmin(module._ranks(seen))), int(np.argmax(scores.mean(axis=1)))
        same += winner == best
        lost.append(scores.mean(axis=1)[best] - scores.mean(axis=1)[winner])
        trained += np.sum(~np.isnan(seen))
    assert same > 0.8 * 300
    assert np.mean(lost) < 0.05  # of a standard deviation of a fold's score
    assert trained < 0.85 * 300 * 25


def test_equal_candidates_end_the_race():
    seen, batches = play(np.zeros((4, 5)))
    assert module._ranks(seen).tolist() == [1, 2, 2, 2]
    assert len(batches) == 3


def test_improvements_by_hand():
    assert module._improvements([5.0, 4.0, 4.5, 4.5, 3.0, 3.0, 3.5]) == (4, 3)
    assert module._improvements([1.0, 2.0, 2.0]) == (0, 0)


def test_patience_after_the_first_fold():
    def fold(wait):
        return module._Fold(0.0, 1, 1, wait, 0.0, 0.0)

    assert module._shorter_patience(50, []) == 50
    assert module._shorter_patience(50, [fold(3)]) == 10
    assert module._shorter_patience(50, [fold(3), fold(22)]) == 22
    assert module._shorter_patience(100, [fold(3)]) == 20
    assert module._shorter_patience(5, [fold(9)]) == 5


def test_result_does_not_depend_on_n_jobs():
    table = draw(300)
    one, two = (search(lightgbm(n_estimators=20), n_jobs=n, gammas=(0, 1, 2, 5)).fit(table.X, table.y) for n in (1, 2))
    for name in one.cv_results_:
        if not name.endswith("_time"):
            np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name])
    np.testing.assert_array_equal(one.predict_proba(table.X), two.predict_proba(table.X))
    assert one.verdict_ == two.verdict_


#
# Verdict

SIZES = np.array([[80, 20]] * 5)


def verdict(differences, scoring="neg_log_loss", alphas=(None,)):
    candidates = [{"gamma": gamma, "alpha": alpha} for gamma in (0.0, 1.0) for alpha in alphas]
    first = np.full(len(differences), -0.5)
    scores = np.array([first] * len(alphas) + [first + differences] * len(alphas))
    best = int(np.argmax(scores.mean(axis=1)))
    return module._verdict(scores, candidates, best, 0, SIZES[: len(differences)], scoring)


def test_verdicts():
    clear, faint = np.array([0.1, 0.12, 0.09, 0.11, 0.1]), np.array([0.1, -0.1, 0.05, -0.02, 0.01])
    assert verdict(clear).startswith("gamma=1: log loss 0.396 against 0.5 at gamma=0, better in 5 of 5 folds (p = ")
    assert verdict(faint).startswith("plain log loss is as good here; gamma=1: log loss 0.492 against 0.5 at gamma=0, ")
    assert "better in 3 of 5 folds (p = " in verdict(faint)
    assert verdict(-clear) == "plain log loss is as good here: no gamma had a better log loss than 0.5 at gamma=0"
    assert "roc_auc -0.396 against -0.5" in verdict(clear, scoring="roc_auc")
    assert verdict(clear, alphas=("balanced", None)).startswith("gamma=1, alpha='balanced': log loss ")
    assert verdict(-clear, alphas=("balanced",)).startswith("log loss with alpha='balanced' is as good here")
    assert verdict(clear[:1]).endswith("better in 1 of 1 folds (too few folds for a test)")


def test_corrected_t_by_hand():
    d = np.array([0.01, 0.02, 0.015, 0.03, 0.005])
    t = d.mean() / np.sqrt((1 / 5 + 20 / 80) * d.var(ddof=1))
    assert module._corrected_p_value(d, SIZES) == pytest.approx(2 * stats.t.sf(t, 4))
    assert module._corrected_p_value(d, SIZES) > stats.ttest_1samp(d, 0).pvalue
    assert module._corrected_p_value(np.zeros(5), SIZES) == 1
    assert module._corrected_p_value(np.ones(5), SIZES) == 0


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
    ({"gammas": (0, -1)}, "gammas holds -1, which is not a finite number >= 0"),
    ({"gammas": (0, np.nan)}, "gammas holds nan"),
    ({"gammas": (0, "2")}, "gammas holds '2'"),
    ({"gammas": (0, (1.0, -2.0))}, r"gammas holds \(1.0, -2.0\), which is not a finite number >= 0, or one a class"),
    ({"gammas": (0, ())}, r"gammas holds \(\)"),
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
    (lightgbm(early_stopping_round=5), {}, "early_stopping_round=5 of the estimator"),
    (lightgbm(n_iter_no_change=5), {}, "n_iter_no_change=5 of the estimator"),
    (lightgbm(), {"callbacks": [lgb.early_stopping(5)]}, "by a callback"),
    (lightgbm(boosting_type="dart"), {}, "dart.*early_stopping_rounds=None"),
    (xgboost(early_stopping_rounds=5), {}, "early_stopping_rounds=5"),
    (xgboost(callbacks=[xgb.callback.EarlyStopping(rounds=5)]), {}, "stops early by itself"),
    (xgboost(booster="dart"), {}, "booster='dart'.*early_stopping_rounds=None"),
]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("estimator", "arguments", "message"), STOPPING, ids=[m[:25] for _, _, m in STOPPING])
def test_early_stopping_given_twice_or_impossible(estimator, arguments, message):
    table = draw(300)
    with pytest.raises(ValueError, match=message):
        search(estimator).fit(table.X, table.y, **arguments)


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
    assert len(rounds) == model.cv_results_["n_rounds_trained"].sum() + model.n_rounds_
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
# What the user sees


def test_progress_bar(capsys):
    table = draw(300)
    search(lightgbm(n_estimators=5), verbose=1).fit(table.X, table.y)
    assert "FocalClassifierCV: 100%" in capsys.readouterr().err


def test_lines_without_tqdm(capsys, monkeypatch):
    table = draw(300)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    search(lightgbm(n_estimators=5), verbose=1).fit(table.X, table.y)
    assert "FocalClassifierCV 1/9 at most: gamma=0, alpha=None, fold 0: -0." in capsys.readouterr().err
    search(lightgbm(n_estimators=5)).fit(table.X, table.y)
    assert capsys.readouterr().err == ""


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


@pytest.mark.data
@each_booster
def test_real_table(make):
    X, y = real("phoneme")
    rows = np.random.default_rng(0).permutation(len(y))[:1500]
    options = {"gammas": (0, 0.5, 1, 2, 5), "cv": 5, "early_stopping_rounds": 20}
    model = search(make(learning_rate=0.5), **options).fit(X[rows], y[rows])
    full = search(make(learning_rate=0.5), racing=False, **options).fit(X[rows], y[rows])
    # Candidates are level on this table: what the race gives up is within the spread of the folds.
    error = full.cv_results_["std_test_score"][full.best_index_] / np.sqrt(5)
    assert model.best_score_ > full.best_score_ - 2 * error
    assert model.cv_results_["n_rounds_trained"].sum() < 0.75 * full.cv_results_["n_rounds_trained"].sum()
    assert isinstance(model.verdict_, str)
    assert "\n" not in model.verdict_
