"""FocalClassifierCV: candidates, folds, rounds of the mean, results in scikit-learn's form, the rule, the verdict."""

from __future__ import annotations

import time
import warnings
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import xgboost as xgb
from scipy import stats
from searches import each_booster, each_task, lightgbm, search, xgboost
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score, log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit, StratifiedKFold
from tables import draw

from focal_boost import FocalClassifier, FocalClassifierCV
from focal_boost import _search_results as results
from focal_boost import model_selection as module

# Most searches here are short; a test of its own is for what is said then.
pytestmark = pytest.mark.filterwarnings("ignore:the mean log loss was lowest in the last")


#
# What is found


def folds_by_hand(make, table, gamma, n_splits=3, **params):
    """Log losses of the rows held out, (folds, rounds), and the models."""
    losses, models = [], []
    for train, test in StratifiedKFold(n_splits).split(table.X, table.y):
        model = FocalClassifier(make(**params), gamma=gamma)
        verbose = {} if make is lightgbm else {"verbose": False}
        model.fit(table.X[train], table.y[train], eval_set=[(table.X[test], table.y[test])], **verbose)
        ((log,),) = (one.values() for one in model.evals_result_.values())
        losses.append(log)
        models.append((model, test))
    return np.array(losses), models


def first_best(losses, patience):
    """Rounds up to the lowest loss before none lower came for `patience` rounds."""
    for i in range(len(losses)):
        best = int(np.argmin(losses[: i + 1]))
        if i - best >= patience:
            break
    return best + 1


@each_booster
@each_task
@pytest.mark.parametrize("patience", [1, 2, 10])
def test_search_is_what_one_would_do_by_hand(make, n_classes, patience):
    """A fold may reach its best round long before the mean of the folds does: it goes on till then."""
    table = draw(500, n_classes=n_classes)
    start = time.perf_counter()
    model = search(make(), early_stopping_rounds=patience).fit(table.X, table.y)
    elapsed = time.perf_counter() - start
    found = model.cv_results_
    for times in (model.refit_time_, found["mean_fit_time"], found["mean_score_time"]):
        assert np.all((times > 0) & (times < elapsed))
    for i, gamma in enumerate((0.0, 1.0, 2.0)):
        losses, fitted = folds_by_hand(make, table, gamma)
        rounds = first_best(losses.mean(axis=0), patience)
        assert found["n_rounds"][i] == rounds
        name = "num_iteration" if make is lightgbm else "iteration_range"
        for j, (fold, test) in enumerate(fitted):
            proba = fold.predict_proba(table.X[test], **{name: rounds if make is lightgbm else (0, rounds)})
            expected = -log_loss(table.y[test], proba, labels=np.arange(n_classes))
            assert found[f"split{j}_test_score"][i] == pytest.approx(expected, rel=1e-6)
            assert expected == pytest.approx(-losses[j, rounds - 1], rel=2e-5)
    assert model.best_index_ == np.argmax(found["mean_test_score"])
    assert model.best_params_ == found["params"][model.best_index_]
    assert model.n_rounds_ == found["n_rounds"][model.best_index_]
    again = FocalClassifier(make(n_estimators=model.n_rounds_), **model.best_params_).fit(table.X, table.y)
    np.testing.assert_array_equal(model.predict_proba(table.X), again.predict_proba(table.X))
    np.testing.assert_array_equal(model.predict(table.X), again.predict(table.X))
    np.testing.assert_array_equal(model.decision_function(table.X), again.decision_function(table.X))
    assert model.score(table.X, table.y) == pytest.approx(-log_loss(table.y, again.predict_proba(table.X)))
    np.testing.assert_array_equal(model.feature_importances_, again.feature_importances_)


@pytest.mark.parametrize("patience", [3, 10, 25])
def test_rounds_are_those_of_a_librarys_own_cross_validation(patience):
    table = draw(400)
    params = {"max_depth": 3, "learning_rate": 0.3, "nthread": 1}
    losses = xgb.cv(
        {"objective": "binary:logistic", "eval_metric": "logloss", **params},
        xgb.DMatrix(table.X, table.y),
        150,
        folds=list(StratifiedKFold(3).split(table.X, table.y)),
        early_stopping_rounds=patience,
        as_pandas=False,
    )["test-logloss-mean"]
    estimator = xgboost(n_estimators=150, learning_rate=0.3)
    model = search(estimator, gammas=(0,), early_stopping_rounds=patience, max_step=None).fit(table.X, table.y)
    assert model.n_rounds_ == len(losses) < 120
    assert model.best_score_ == pytest.approx(-losses[-1], rel=1e-4)


class Losses:
    """Stands for a training whose log losses are known; it stops as libraries do."""

    def __init__(self, losses):
        self.losses, self.waits = losses, []

    def train(self, wait):
        self.waits.append(wait)
        best = 0
        for i, loss in enumerate(self.losses):
            best = i if loss < self.losses[best] else best
            if i - best >= wait:
                break
        return module._Fold(None, self.losses[: i + 1], wait, 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_folds_go_on_until_the_mean_says_where_to_stop(seed, monkeypatch):
    """Folds whose own best rounds are far apart: the result is that of folds that all train to the end."""
    rng = np.random.default_rng(seed)
    best = rng.integers(1, 150, size=4)
    curves = np.abs(np.arange(200) - best[:, None]) / best[:, None] + 0.1 * rng.normal(size=(4, 200))
    folds = [Losses(curve.tolist()) for curve in curves]
    monkeypatch.setattr(module, "_train_fold", lambda model, data, train, test, wait: folds[train].train(wait))
    monkeypatch.setattr(FocalClassifierCV, "_model", lambda self, candidate: None)
    (trained,) = FocalClassifierCV()._train([{}], None, [(j, j) for j in range(4)], 10)
    assert module._best_round(module._mean_losses(trained), 10) == first_best(curves.mean(axis=0), 10)
    assert all(fold.waits == [20 * 2**i for i in range(len(fold.waits))] for fold in folds)
    if seed == 0:
        assert max(len(fold.waits) for fold in folds) > 1


@each_booster
def test_all_rounds_without_early_stopping(make):
    table = draw(300)
    model = search(make(n_estimators=12), early_stopping_rounds=None).fit(table.X, table.y)
    assert model.n_rounds_ == 12
    assert set(model.cv_results_["n_rounds"]) == {12}
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
    model = search(lightgbm(), gammas=np.array([2, 1, 2.0])).fit(table.X, table.y)
    assert model.cv_results_["param_gamma"].tolist() == [0.0, 2.0, 1.0]


@each_booster
def test_gamma_of_each_class_is_a_candidate_too(make):
    table = draw(400)
    names = np.array(["no", "yes"])[table.y]
    gammas = [0, 2, (0.5, 2.0), {"no": 2.0, "yes": 0.5}, (0.5, 2.0), np.array([2.0, 1.0])]
    model = search(make(n_estimators=10), gammas=gammas).fit(table.X, names)
    kept = [params["gamma"] for params in model.cv_results_["params"]]
    assert kept[:4] == [0.0, 2.0, (0.5, 2.0), {"no": 2.0, "yes": 0.5}]
    assert kept[4] is gammas[5]
    assert len(kept) == 5
    assert repr(model.best_estimator_.gamma) == repr(model.best_params_["gamma"])
    scores = model.cv_results_["mean_test_score"]
    assert len(set(scores)) == 5
    alone = search(make(n_estimators=10), gammas=[{"no": 2.0, "yes": 0.5}]).fit(table.X, names)
    assert alone.cv_results_["mean_test_score"][1] == scores[3]


@each_booster
def test_metrics_and_their_order_in_the_estimator_change_no_fold(make):
    """What the estimator reports besides is not what a fold stops by."""
    table = draw(400)
    metric = {"metric": "auc"} if make is lightgbm else {"eval_metric": ["logloss", "auc"]}
    plain, other = (search(make(**extra)).fit(table.X, table.y) for extra in ({}, metric))
    np.testing.assert_array_equal(other.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    assert other.n_rounds_ == plain.n_rounds_
    kept = other.best_estimator_.estimator_.get_params()
    assert {name: kept[name] for name in metric} == metric


def test_every_pair_of_gamma_and_alpha_in_all_forms():
    table = draw(400)
    names = np.array(["no", "yes"])[table.y]
    alphas = [None, "balanced", (1.0, 2.0), np.array([1.0, 3.0]), {"no": 1.0, "yes": 4.0}]
    model = search(lightgbm(n_estimators=10), gammas=(0, 2), alphas=alphas).fit(table.X, names)
    found = model.cv_results_
    assert found["param_gamma"].tolist() == [0.0] * 5 + [2.0] * 5
    assert all(given is kept for given, kept in zip(alphas * 2, found["param_alpha"], strict=True))
    assert list(model.classes_) == ["no", "yes"]
    assert set(model.predict(table.X)) <= {"no", "yes"}


@each_booster
@pytest.mark.parametrize("kind", ["array", "list"])
def test_weights_are_sliced_and_used_in_training_stopping_and_scoring(make, kind):
    table = draw(400)
    table = table._replace(weight=table.weight ** {lightgbm: 2.5, xgboost: 4}[make])  # without them rounds are others
    weight = table.weight if kind == "array" else table.weight.tolist()
    model = search(make(), gammas=(0, 2)).fit(table.X, table.y, weight)
    name = "eval_sample_weight" if make is lightgbm else "sample_weight_eval_set"
    verbose = {} if make is lightgbm else {"verbose": False}
    losses, unweighted_losses = [], []
    for train, test in StratifiedKFold(3).split(table.X, table.y):
        for weighted, logs in (({name: [table.weight[test]]}, losses), ({}, unweighted_losses)):
            fold = FocalClassifier(make(), gamma=2.0).fit(
                table.X[train],
                table.y[train],
                table.weight[train],
                eval_set=[(table.X[test], table.y[test])],
                **weighted,
                **verbose,
            )
            ((log,),) = (one.values() for one in fold.evals_result_.values())
            logs.append(log)
    rounds = first_best(np.mean(losses, axis=0), 10)
    assert model.cv_results_["n_rounds"][1] == rounds < 50
    assert rounds != first_best(np.mean(unweighted_losses, axis=0), 10)
    scores = [model.cv_results_[f"split{j}_test_score"][1] for j in range(3)]
    np.testing.assert_allclose(scores, -np.array(losses)[:, rounds - 1], rtol=2e-5)
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
    assert model.best_score_ == model.cv_results_["mean_test_score"].max()
    assert model.cv_results_["rank_test_score"][model.best_index_] == 1
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


@pytest.mark.parametrize("container", [np.asarray, pd.Series, list])
def test_groups_reach_the_splitter(container):
    table = draw(400)
    groups = np.arange(400) // 40
    seen = []

    def spy(estimator, X, y):
        seen.append({tuple(row) for row in X})
        return 0.0

    search(lightgbm(n_estimators=5), gammas=(0,), cv=GroupKFold(3), scoring=spy, early_stopping_rounds=None).fit(
        table.X, table.y, groups=container(groups)
    )
    assert len(seen) == 3
    for held in seen:
        of_rows = {group: [tuple(row) in held for row in table.X[groups == group]] for group in range(10)}
        assert all(len(set(inside)) == 1 for inside in of_rows.values())
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        search(lightgbm(), cv=GroupKFold(3)).fit(table.X, table.y)


#
# Rounds, rule, and what is kept


@each_booster
def test_too_few_rounds_are_told(make):
    table = draw(400)
    told = r"lowest in the last of 5 rounds for gamma=0; gamma=1: raise n_est"
    with pytest.warns(ConvergenceWarning, match=told) as warned:
        search(make(n_estimators=5), gammas=(0, 1)).fit(table.X, table.y)
    assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(make(n_estimators=150, learning_rate=0.5), gammas=(0, 1)).fit(table.X, table.y)
        search(make(n_estimators=5), gammas=(0, 1), early_stopping_rounds=None).fit(table.X, table.y)


def test_the_simplest_within_one_standard_error():
    gammas = (0.0, 0.5, (0.5, 3.0), 5.0)
    candidates = [{"gamma": gamma, "alpha": alpha} for gamma in gammas for alpha in (None, "balanced")]
    base = np.array([-0.6, -0.5, -0.4, -0.5])
    error = base.std(ddof=1) / 2
    far, near = -1.01 * error, -0.99 * error

    def choose(levels, rule="simplest"):
        return results.choose(base + np.array(levels)[:, None], candidates, rule)

    assert choose([far, far, near, near, near, near, near, 0.0]) == 2
    assert choose([far, far, far, near, near, near, near, 0.0]) == 3
    assert choose([far, far, far, far, far, far, near, 0.0]) == 6
    assert choose([far, far, far, far, near, far, near, 0.0]) == 4
    assert choose([far, near, far, far, near, far, near, 0.0]) == 1
    assert choose([near] * 7 + [0.0], rule="best") == 7
    assert results.choose(np.array([[0.0], [1.0]]), candidates[:2], "simplest") == 1


def the_more_gamma_the_better(estimator, X, y):
    return 0.001 * estimator.gamma + y.mean()


def test_the_rule_decides_what_is_trained_again():
    table = draw(401)  # so that the folds differ a little
    options = {"scoring": the_more_gamma_the_better, "gammas": (0, 1), "early_stopping_rounds": None}
    best, simplest = (
        search(lightgbm(n_estimators=5), rule=rule, **options).fit(table.X, table.y) for rule in ("best", "simplest")
    )
    assert (best.best_params_["gamma"], simplest.best_params_["gamma"]) == (1.0, 0.0)
    assert simplest.best_score_ == best.cv_results_["mean_test_score"][0]
    assert simplest.best_estimator_.loss_.gamma == 0
    assert simplest.verdict_ == best.verdict_


def test_nothing_of_an_earlier_fit_is_left():
    table, other = draw(300), draw(300, n_classes=3)
    frame = pd.DataFrame(table.X[:, :5]).add_prefix("c")
    options = {"gammas": (0, 1), "early_stopping_rounds": None}
    model = search(lightgbm(n_estimators=3), cv=4, **options).fit(frame, np.array(["no", "yes"])[table.y])
    assert (model.n_features_in_, list(model.classes_), list(model.feature_names_in_)) == (
        5,
        ["no", "yes"],
        list(frame),
    )
    model.set_params(cv=2, gammas=(0,)).fit(other.X, other.y)
    fresh = search(lightgbm(n_estimators=3), cv=2, **(options | {"gammas": (0,)})).fit(other.X, other.y)
    assert vars(model).keys() == vars(fresh).keys()
    assert model.cv_results_.keys() == fresh.cv_results_.keys()
    assert (model.n_features_in_, list(model.classes_), model.n_splits_) == (8, [0, 1, 2], 2)
    assert not hasattr(model, "feature_names_in_")


@each_booster
def test_what_a_classifier_can_a_search_can(make, tmp_path):
    """Its attributes, saving, ONNX, going on from it, SHAP: it is a FocalClassifier."""
    table = draw(300)
    X = table.X.astype(np.float32)
    names = np.array(["no", "yes"])[table.y]
    alphas = (None, "balanced", {"no": 1.0, "yes": 2.0})
    options = {"gammas": (0, (0.5, 2.0)), "alphas": alphas, "cv": StratifiedKFold(3, shuffle=True, random_state=0)}
    model = search(make(n_estimators=150, learning_rate=0.5), **options).fit(X, names)
    best = model.best_estimator_
    assert isinstance(model, FocalClassifier)
    for name in ("estimator_", "loss_", "evals_result_", "best_iteration_", "n_rounds_", "classes_"):
        assert getattr(model, name) is getattr(best, name) or getattr(model, name) == getattr(best, name)
    model.save(tmp_path / "model.focal")
    loaded = FocalClassifierCV.load(tmp_path / "model.focal")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.verdict_ == model.verdict_
    assert repr(loaded.get_params()) == repr(model.get_params())
    assert loaded.score(X, names) == model.score(X, names)
    assert loaded.cv_results_.keys() == model.cv_results_.keys()
    for name in ("mean_test_score", "n_rounds", "param_gamma"):
        np.testing.assert_array_equal(loaded.cv_results_[name], model.cv_results_[name])
    assert loaded.cv_results_["params"] == model.cv_results_["params"]
    assert sum(name.endswith(".bin") for name in zipfile.ZipFile(tmp_path / "model.focal").namelist()) == 1  # booster
    name = "init_model" if make is lightgbm else "xgb_model"
    more = [FocalClassifier(make(n_estimators=5)).fit(X, names, **{name: one}) for one in (model, best)]
    assert more[0].n_rounds_ == model.n_rounds_ + 5
    np.testing.assert_array_equal(more[0].predict_proba(X), more[1].predict_proba(X))


def test_onnx_of_a_search():
    pytest.importorskip("onnxmltools", reason="onnxmltools is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from focal_boost.onnx import to_onnx

    table = draw(300)
    X = table.X.astype(np.float32)
    model = search(lightgbm(n_estimators=5), early_stopping_rounds=None).fit(X, table.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters
        content = to_onnx(model).SerializeToString()
    _, proba = runtime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"X": X})
    np.testing.assert_allclose(proba, model.predict_proba(X), rtol=0, atol=2e-6)


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
    return results.verdict(scores, candidates, SIZES[: len(differences)], scoring)


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
    assert results.corrected_p_value(d, SIZES) == pytest.approx(2 * stats.t.sf(t, 4))
    assert results.corrected_p_value(d, SIZES) > stats.ttest_1samp(d, 0).pvalue
    assert results.corrected_p_value(np.zeros(5), SIZES) == 1
    assert results.corrected_p_value(np.ones(5), SIZES) == 0
