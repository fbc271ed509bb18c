"""Labels of shape (n, K): K questions, each answered yes or no, in the losses, in XGBoost and in FocalClassifier."""

from __future__ import annotations

import pickle
import warnings

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from libraries import predict_elsewhere
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.multioutput import MultiOutputClassifier

from focal_boost import BinaryFocalLoss, FocalClassifier, FocalClassifierCV, MulticlassFocalLoss
from focal_boost.lightgbm import FocalObjective as LightGBMObjective
from focal_boost.xgboost import FocalObjective
from focal_boost.xgboost import train as train_without_copies

K = 3
STRATEGIES = ["one_output_per_tree", "multi_output_tree"]
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
BASE = {"learning_rate": 0.2, "max_depth": 3, "nthread": 1, "seed": 3, "tree_method": "hist"}


def draw(n=700, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    score = np.stack([X[:, 0] + X[:, 1], X[:, 1] * X[:, 2] + X[:, 3], X[:, 0] - X[:, 4]], axis=1)
    Y = (score + rng.logistic(size=(n, K)) > [1.0, 1.5, 3.5]).astype(int)
    return X, Y, rng.uniform(0.5, 2, n).astype(np.float32)


X, Y, WEIGHT = draw()


def train(loss, strategy, *, weight=None, rounds=12, scale=None, **arguments):
    objective = FocalObjective(loss, loss.fit_intercept_only(Y, weight), scale=scale)
    params = {**BASE, **objective.params, "multi_strategy": strategy}
    data = xgb.DMatrix(X, Y, weight=weight)
    return xgb.train(
        params, data, rounds, obj=objective, custom_metric=objective.metric, verbose_eval=False, **arguments
    )


def margins(booster):
    return booster.predict(xgb.DMatrix(X), output_margin=True)


# ---------------------------------------------------------------------------------------------------------------------
# Losses: each column is what the loss gives for that label alone


LOSSES = [
    BinaryFocalLoss(gamma=2.0),
    BinaryFocalLoss(gamma=1.0, alpha=(1.0, 4.0), hessian="exact", max_step=None),
]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=["expected", "exact"])


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@each_loss
def test_columns_are_binary_losses(kernels, loss, order, soft):
    # The reference in NumPy takes the steps that the worst row of a call needs: the last bits may differ.
    rtol = 1e-13 if getattr(kernels, "__name__", "").endswith(".numpy") else 0.0
    rng = np.random.default_rng(1)
    y = rng.random((50, K)) if soft else rng.integers(0, 2, (50, K))
    z = rng.normal(scale=3, size=(50, 2 * K))[:, ::2]
    z = z if order == "strided" else np.array(z, order=order)
    weight, intercept = rng.uniform(0.5, 2, 50), np.array([0.5, -1.0, 2.0])
    kept = [x.copy() for x in (y, z, weight)]
    for start in (None, 0.25, intercept):
        values = loss.loss(y, z, weight, intercept=start)
        both = loss.gradient_hessian(y, z, weight, hessian_scale=2.0, intercept=start)
        for k in range(K):
            own = None if start is None else np.broadcast_to(start, K)[k]
            alone = loss.loss(y[:, k], z[:, k].copy(), weight, intercept=own)
            np.testing.assert_allclose(values[:, k], alone, rtol=rtol, atol=0)
            alone = loss.gradient_hessian(y[:, k], z[:, k].copy(), weight, hessian_scale=2.0, intercept=own)
            for together, column in zip(both, alone, strict=True):
                np.testing.assert_allclose(together[:, k], column, rtol=rtol, atol=0)
    assert all(np.array_equal(x, copy) for x, copy in zip((y, z, weight), kept, strict=True))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("order", ["C", "F"])
def test_output_arrays_of_any_layout(order):
    loss, z = BinaryFocalLoss(), np.linspace(-4, 4, 4 * K).reshape(4, K)
    out = [np.full((4, K), np.nan, dtype=np.float32, order=order) for _ in range(2)]
    given = loss.gradient_hessian(Y[:4], z, None, *out)
    for array, returned, fresh in zip(out, given, loss.gradient_hessian(Y[:4], z), strict=True):
        assert returned is array
        np.testing.assert_allclose(array, fresh, rtol=1e-6)


@each_loss
def test_means_are_over_rows_and_labels(loss):
    z = np.random.default_rng(2).normal(size=Y.shape)
    for function in (loss, loss.log_loss):
        columns = [function(Y[:, k], z[:, k], WEIGHT) for k in range(K)]
        assert function(Y, z, WEIGHT) == pytest.approx(np.mean(columns), rel=1e-12)
        columns = [function(Y[:, k], z[:, k]) for k in range(K)]
        assert function(Y, z) == pytest.approx(np.mean(columns), rel=1e-12)


@each_loss
def test_intercept_and_probability_are_those_of_each_label(loss):
    intercept = loss.fit_intercept_only(Y, WEIGHT)
    assert intercept.tolist() == [loss.fit_intercept_only(Y[:, k], WEIGHT) for k in range(K)]
    z = np.broadcast_to(intercept, (2, K))
    share = np.average(Y, axis=0, weights=WEIGHT)
    np.testing.assert_allclose(loss.predict_proba(z), [share, share], rtol=1e-12)
    np.testing.assert_allclose(loss.predict_proba(z), 1 / (1 + np.exp(-z)), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda loss, z: loss.gradient_hessian(Y[:, 0], z), ["(700, 3)", "(700,)", "MulticlassFocalLoss"]),
        (lambda loss, z: loss.gradient_hessian(Y[:, :2], z), ["(700, 3)", "(700, 2)"]),
        (lambda loss, z: loss.gradient_hessian(Y, z[:, :1]), ["(700, 3)", "700 rows"]),
        (lambda loss, z: loss.gradient_hessian(2 * Y, z), ["2"]),
        (lambda loss, z: loss.loss(Y, z, intercept=[1.0, 2.0]), ["has 2 margins", "(700, 3)"]),
        (lambda loss, z: loss.loss(Y[:, 0], z[:, 0], intercept=[1.0, 2.0]), ["has 2 margins", "(700,)"]),
        (lambda loss, z: loss.fit_intercept_only(Y - 0.5), ["-0.5"]),
        (lambda loss, z: loss.gradient_hessian(Y, z, scale=np.ones(2)), ["one factor a label", "(700, 3)"]),
        (lambda loss, z: FocalObjective(loss, np.zeros(K), scale=np.array([1.0, 0.0, 1.0])), ["not a positive"]),
        (lambda loss, z: LightGBMObjective(loss, [0.0, 1.0]), ["LightGBM takes one label", "MultiOutputClassifier"]),
    ],
)
def test_refused(call, parts):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - each part of the message is checked
        call(BinaryFocalLoss(), np.zeros(Y.shape))
    for part in parts:
        assert part in str(error.value)


# ---------------------------------------------------------------------------------------------------------------------
# XGBoost's own train


@each_strategy
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_gamma_0_is_the_built_in_objective(strategy, weight):
    loss = BinaryFocalLoss(gamma=0.0, max_step=None)
    objective = FocalObjective(loss, loss.fit_intercept_only(Y, weight))
    params = {**BASE, **objective.params, "multi_strategy": strategy}
    data, log = xgb.DMatrix(X, Y, weight=weight), {}
    built_in = xgb.train(params, data, 12, evals=[(data, "train")], evals_result=log, verbose_eval=False)
    own_log: dict = {}
    own = train(loss, strategy, weight=weight, evals=[(data, "train")], evals_result=own_log)
    np.testing.assert_allclose(margins(own), margins(built_in), rtol=0, atol=1e-6)
    # What the metric calls the mean is what XGBoost calls the mean.
    np.testing.assert_allclose(own_log["train"]["log_loss"], log["train"]["logloss"], rtol=0, atol=2e-6)


@each_strategy
def test_rounds_without_copies_give_the_same_model(strategy):
    loss = BinaryFocalLoss(gamma=2.0)
    objective = FocalObjective(loss, loss.fit_intercept_only(Y, WEIGHT))
    params = {**BASE, **objective.params, "multi_strategy": strategy}
    booster = train_without_copies(params, xgb.DMatrix(X, Y, weight=WEIGHT), 12, obj=objective)
    assert np.array_equal(margins(booster), margins(train(loss, strategy, weight=WEIGHT)))


@pytest.mark.parametrize("scale", [1.0, None])
@pytest.mark.parametrize("gamma", [0.5, (2.0, 0.5)])
def test_one_tree_a_label_is_one_model_a_label(gamma, scale):
    loss = BinaryFocalLoss(gamma=gamma, alpha=0.7)
    together = margins(train(loss, "one_output_per_tree", weight=WEIGHT, scale=scale))
    for k in range(K):
        start = loss.fit_intercept_only(Y[:, k], WEIGHT)
        objective = FocalObjective(loss, start, scale=scale)
        alone = xgb.train({**BASE, **objective.params}, xgb.DMatrix(X, Y[:, k], weight=WEIGHT), 12, obj=objective)
        np.testing.assert_allclose(together[:, k], margins(alone), rtol=0, atol=1e-5)


@each_strategy
def test_focal_loss_falls_and_probabilities_beat_the_shares(strategy):
    log: dict = {}
    data = xgb.DMatrix(X, Y)
    loss = BinaryFocalLoss(gamma=2.0)
    booster = train(loss, strategy, evals=[(data, "train")], evals_result=log)
    assert np.all(np.diff(log["train"]["focal_loss"]) < 0)
    proba = loss.predict_proba(margins(booster))
    assert proba.shape == Y.shape
    for k in range(K):
        assert log_loss(Y[:, k], proba[:, k]) < 0.9 * log_loss(Y[:, k], np.full(len(Y), Y[:, k].mean()))
    n_trees = len(booster.get_dump())
    assert n_trees == (12 if strategy == "multi_output_tree" else 12 * K)


@each_strategy
def test_starts_at_the_best_constant_of_each_label(strategy):
    loss = BinaryFocalLoss(gamma=2.0)
    objective = FocalObjective(loss, [-1.0, 0.5, -2.0])
    # A rate of 0 leaves the start.
    params = {**BASE, **objective.params, "multi_strategy": strategy, "learning_rate": 0.0}
    booster = xgb.train(params, xgb.DMatrix(X, Y), 1, obj=objective)
    np.testing.assert_allclose(margins(booster), np.broadcast_to(objective.intercept, Y.shape), rtol=1e-6)


@each_strategy
def test_the_file_stands_alone(strategy, tmp_path):
    class XGBoost:
        loader = "import xgboost; p = xgboost.Booster(model_file=path).predict(xgboost.DMatrix(X))"

    booster = train(BinaryFocalLoss(), strategy)
    booster.save_model(tmp_path / "model.json")
    proba = predict_elsewhere(XGBoost, tmp_path / "model.json", X, tmp_path)
    np.testing.assert_allclose(proba, 1 / (1 + np.exp(-margins(booster).astype(float))), rtol=0, atol=1e-6)


def test_labels_by_the_public_getter_give_the_same(monkeypatch):
    reference = margins(train(BinaryFocalLoss(), "one_output_per_tree", weight=WEIGHT, rounds=3))
    monkeypatch.setattr("focal_boost.xgboost.objective._info", lambda data, field: data.get_float_info(field).ravel())
    assert np.array_equal(margins(train(BinaryFocalLoss(), "one_output_per_tree", weight=WEIGHT, rounds=3)), reference)


def test_softmax_loss_refuses_columns_of_labels():
    loss = MulticlassFocalLoss(K)
    with pytest.raises(ValueError, match=r"y_true has shape \(700, 3\).*one label a row"):
        FocalObjective(loss)(np.zeros(Y.shape, dtype=np.float32), xgb.DMatrix(X, Y))


# ---------------------------------------------------------------------------------------------------------------------
# FocalClassifier


def classifier(strategy="one_output_per_tree", gamma=2.0, max_step=8.0, **options):
    inner = xgb.XGBClassifier(
        n_estimators=12, learning_rate=0.2, max_depth=3, n_jobs=1, random_state=3, multi_strategy=strategy, **options
    )
    return FocalClassifier(inner, gamma=gamma, max_step=max_step)


@each_strategy
def test_classifier_is_the_native_model(strategy):
    model = classifier(strategy, gamma=2.0).fit(X, Y, sample_weight=WEIGHT)
    booster = train(BinaryFocalLoss(gamma=2.0), strategy, weight=WEIGHT)
    np.testing.assert_allclose(model.decision_function(X), margins(booster), rtol=0, atol=1e-6)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba, BinaryFocalLoss().predict_proba(margins(booster)), rtol=0, atol=1e-6)
    assert np.array_equal(model.predict(X), proba > 0.5)
    assert model.predict(X).dtype.kind == "i"
    assert [classes.tolist() for classes in model.classes_] == [[0, 1]] * K
    assert model.score(X, Y) == pytest.approx(np.mean((model.predict(X) == Y).all(axis=1)))
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), proba)


def test_a_start_of_the_users_own():
    start = [0.3, 0.2, 0.1]
    model = classifier(base_score=start).fit(X, Y)
    margin = np.broadcast_to(np.log(start) - np.log1p(np.negative(start)), Y.shape)
    same = classifier(base_score=0.5).fit(X, Y, base_margin=margin)
    expected = same.decision_function(X, base_margin=margin)
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="base_score"):
        classifier(base_score=[0.3, 0.2]).fit(X, Y)
    with pytest.raises(ValueError, match=r"base_margin has shape \(700,\).*\(700, 3\)"):
        classifier().fit(X, Y, base_margin=margin[:, 0])


def test_weights_must_leave_both_answers():
    with pytest.raises(ValueError, match="only one class"):
        classifier().fit(X, Y, sample_weight=(Y.sum(axis=1) == 0).astype(float))


def test_continuing_and_saving(tmp_path):
    model = classifier().fit(X, Y)
    once = classifier().set_params(estimator__n_estimators=24).fit(X, Y)
    more = classifier().fit(X, Y, xgb_model=model)
    np.testing.assert_allclose(more.decision_function(X), once.decision_function(X), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"classes_ \[\[0, 1\], \[0, 1\], \[0, 1\]\], but this one has \[0, 1\]"):
        classifier().fit(X, Y[:, 0], xgb_model=model)
    model.save(tmp_path / "model.focal")
    loaded = FocalClassifier.load(tmp_path / "model.focal")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@each_strategy
def test_classifier_of_gamma_0_is_the_built_in_objective(strategy):
    model = classifier(strategy, gamma=0.0, max_step=None).fit(X, Y)
    built_in = classifier(strategy).estimator.set_params(base_score=Y.mean(axis=0).tolist()).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(X), built_in.predict_proba(X), rtol=0, atol=1e-6)


def test_early_stopping_follows_the_log_loss_of_all_labels():
    valid_X, valid_Y, _ = draw(300, seed=1)
    model = classifier(early_stopping_rounds=4).set_params(estimator__n_estimators=300)
    model.fit(X, Y, eval_set=[(valid_X, valid_Y)], verbose=False)
    log = model.evals_result_["validation_0"]["logloss"]
    assert model.best_iteration_ == int(np.argmin(log)) < len(log) - 1
    proba = model.predict_proba(valid_X)
    costs = [log_loss(valid_Y[:, k], proba[:, k].astype(float)) for k in range(K)]
    assert min(log) == pytest.approx(np.mean(costs), rel=1e-5)


def test_metric_functions_see_one_probability_a_label():
    seen = []

    def auc(y_true, y_score):
        seen.append(y_score.shape)
        return roc_auc_score(y_true, y_score)

    model = classifier(eval_metric=auc).fit(X, Y, eval_set=[(X, Y)], verbose=False)
    assert set(seen) == {Y.shape}
    assert model.evals_result_["validation_0"]["auc"][-1] == pytest.approx(roc_auc_score(Y, model.predict_proba(X)))


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision", "f1_micro", "accuracy"])
def test_scorers(n_labels, scoring):
    # Two labels are told apart from two classes.
    scores = cross_val_score(classifier(), X, Y[:, :n_labels], cv=2, scoring=scoring, error_score="raise")
    assert np.all(scores > 0.3)


def test_frames_sparse_labels_and_a_label_without_positives():
    pd = pytest.importorskip("pandas")
    from scipy.sparse import csr_matrix

    proba = classifier().fit(X, Y).predict_proba(X)
    assert np.array_equal(classifier().fit(X, pd.DataFrame(Y)).predict_proba(X), proba)
    assert np.array_equal(classifier().fit(X, csr_matrix(Y)).predict_proba(X), proba)
    assert np.array_equal(classifier().fit(X, Y.astype(bool)).predict_proba(X), proba)
    empty = np.column_stack([Y, np.zeros(len(Y), dtype=int)])
    assert np.all(classifier().fit(X, empty).predict_proba(X)[:, -1] < 1e-6)


def test_random_forest_of_labels():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated in XGBoost 3.4
        forest = xgb.XGBRFClassifier(n_estimators=5, max_depth=3, n_jobs=1, random_state=0)
    model = FocalClassifier(forest).fit(X, Y)
    assert roc_auc_score(Y, model.predict_proba(X)) > 0.7


@pytest.mark.parametrize(
    ("fit", "parts"),
    [
        (lambda: FocalClassifier(lgb.LGBMClassifier()).fit(X, Y), ["(700, 3)", "LightGBM", "MultiOutputClassifier"]),
        (lambda: FocalClassifier(xgb.XGBClassifier(), alpha="balanced").fit(X, Y), ["'balanced'", "pair (no, yes)"]),
        (lambda: FocalClassifier(xgb.XGBClassifier(), alpha={0: 1, 1: 2}).fit(X, Y), ["{0: 1, 1: 2}", "pair"]),
        (lambda: FocalClassifier(xgb.XGBClassifier()).fit(X, Y + np.arange(K)), ["y should be a 1d array"]),
        (lambda: FocalClassifierCV(xgb.XGBClassifier()).fit(X, Y), ["y should be a 1d array"]),
        (lambda: FocalClassifier(xgb.XGBClassifier()).fit(X, 2 * Y - 1), ["holds [-1, 1]", "MultiLabelBinarizer"]),
        (lambda: FocalClassifier(xgb.XGBClassifier()).fit(X, 0 * Y), ["only one class, [0]"]),
        (lambda: FocalClassifier(xgb.XGBClassifier()).fit(X, Y, eval_set=[(X, Y[:, :2])]), ["eval_set[0]", "(700, 2)"]),
        (lambda: FocalClassifier(xgb.XGBClassifier()).fit(X, Y, eval_set=[(X, Y[:, 0])]), ["eval_set[0]", "(700,)"]),
        (lambda: FocalClassifier(xgb.XGBClassifier()).fit(X, Y[:, 0], eval_set=[(X, Y)]), ["eval_set[0]", "(700, 3)"]),
    ],
)
def test_refused_by_the_classifier(fit, parts):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - each part of the message is checked
        fit()
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    "inner",
    [
        lgb.LGBMClassifier(n_estimators=5, num_leaves=7, n_jobs=1, verbosity=-1),
        xgb.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1),
    ],
    ids=["lightgbm", "xgboost"],
)
def test_one_model_a_label_by_scikit_learn(inner):
    model = MultiOutputClassifier(FocalClassifier(inner, alpha="balanced")).fit(X, Y)
    for k, proba in enumerate(model.predict_proba(X)):
        alone = FocalClassifier(inner, alpha="balanced").fit(X, Y[:, k]).predict_proba(X)
        assert np.array_equal(proba, alone)
    assert model.predict(X).shape == Y.shape
