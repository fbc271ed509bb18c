"""The objectives inside the libraries: equality with built-in objectives, model files, metrics, robustness."""

from __future__ import annotations

import pickle
import warnings

import fresh
import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from libraries import LIBRARIES, each_library, make_loss, predict_elsewhere
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score, log_loss
from tables import draw, draw_rare

from focal_boost import BinaryFocalLoss, FocalClassifier
from focal_boost.xgboost import train

each_task = pytest.mark.parametrize("n_classes", [2, 4])


def start(library, n_classes, table, **options):
    loss = make_loss(n_classes, **options)
    return loss, library.Objective(loss, loss.fit_intercept_only(table.y, table.weight))


# gamma = 0 is the built-in objective ---------------------------------------------------------------------------------


@each_library
@each_task
@pytest.mark.parametrize("columns", [False, True], ids=["all-columns", "half-the-columns"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("stop", [None, 5], ids=["fixed", "early-stopped"])
def test_gamma_zero_reproduces_the_built_in_objective(library, n_classes, columns, weighted, stop):
    table = draw(n_classes=n_classes)
    table = table._replace(weight=table.weight if weighted else None)
    _, objective = start(library, n_classes, table, gamma=0.0, max_step=None)
    params = library.columns if columns else {}
    valid_table = draw(800, n_classes=n_classes, seed=1)

    def data():
        train = library.data(*table)
        return train, library.data(valid_table.X, valid_table.y, valid_table.weight if weighted else None)

    train, valid = data()
    ours = objective.portable(library.train(objective, train, 60, valid, stop, **params))
    train, valid = data()
    theirs = library.train_built_in(n_classes, train, objective, 60, valid, stop, **params)
    np.testing.assert_allclose(
        library.predict(ours, valid_table.X), library.predict(theirs, valid_table.X), rtol=0, atol=library.tolerance
    )
    assert getattr(ours, "best_iteration", None) == getattr(theirs, "best_iteration", None)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")  # LightGBM 4.6's own
@each_library
@each_task
def test_gamma_zero_classifier_reproduces_the_built_in_classifier(library, n_classes):
    table = draw(n_classes=n_classes)
    estimator = library.classifier(n_estimators=30, **library.quiet)
    ours = FocalClassifier(estimator, gamma=0, max_step=None).fit(*table)
    if library.name == "xgboost":  # whose own estimate of the intercept is another one
        start_of_ours = ours.loss_.fit_intercept_only(table.y, table.weight)
        estimator.set_params(base_score=library.Objective(ours.loss_, start_of_ours).params["base_score"])
    theirs = estimator.fit(table.X, table.y, sample_weight=table.weight)
    np.testing.assert_allclose(
        ours.predict_proba(table.X), theirs.predict_proba(table.X), rtol=0, atol=library.tolerance
    )


#
# One object, everywhere


@each_task
def test_xgboost_train_cv_and_classifier_use_one_object(n_classes):
    table = draw(600, n_classes=n_classes)
    _, objective = start(LIBRARIES[1], n_classes, table)
    base = {"nthread": 1, "learning_rate": 0.1}
    data = xgb.DMatrix(table.X, table.y, weight=table.weight)
    native = xgb.train({**base, **objective.params}, data, 10, obj=objective)
    result = xgb.cv(
        {**base, **objective.params}, data, 5, nfold=3, obj=objective, custom_metric=objective.metric, as_pandas=False
    )
    assert result["test-focal_loss-mean"][-1] < result["test-focal_loss-mean"][0]
    own = xgb.XGBClassifier(
        **{**objective.params, "objective": objective}, n_estimators=10, learning_rate=0.1, n_jobs=1
    )
    own.fit(table.X, table.y, sample_weight=table.weight)
    np.testing.assert_array_equal(own.predict(table.X, output_margin=True), native.predict(data, output_margin=True))


@pytest.fixture
def threads_used(monkeypatch):
    """Numbers of threads that the losses are asked to compute with."""
    used = []
    prepared, mean = BinaryFocalLoss._prepared, BinaryFocalLoss.log_loss

    def see_prepared(self, y, z, weight, gradient, hessian, n_threads, **others):
        used.append(n_threads)
        return prepared(self, y, z, weight, gradient, hessian, n_threads, **others)

    def see_mean(self, y, z, weight=None, n_threads=None, **others):
        used.append(n_threads)
        return mean(self, y, z, weight, n_threads, **others)

    monkeypatch.setattr(BinaryFocalLoss, "_prepared", see_prepared)
    monkeypatch.setattr(BinaryFocalLoss, "log_loss", see_mean)
    return used


XGBOOST_WAYS = {
    "train": lambda params, data, objective: train(params, data, 3, obj=objective),
    "xgb.train": lambda params, data, objective: xgb.train(params, data, 3, obj=objective),
    "metric": lambda params, data, objective: xgb.train(
        params, data, 3, obj=objective, custom_metric=objective.metric, evals=[(data, "train")], verbose_eval=False
    ),
    "wrapped": lambda params, data, objective: xgb.train(params, data, 3, obj=lambda z, dtrain: objective(z, dtrain)),
    "update": lambda params, data, objective: xgb.Booster(params, [data]).update(data, 0, objective),
    "cv": lambda params, data, objective: xgb.cv(params, data, 3, nfold=3, obj=objective),
}


@pytest.mark.parametrize("way", XGBOOST_WAYS)
@pytest.mark.parametrize(
    ("own", "of_booster", "of_data", "expected"),
    [(None, 2, 3, 2), (None, None, 3, 3), (4, 2, 3, 4), (None, 1, None, 1)],
)
def test_xgboost_computes_with_the_threads_of_the_booster(threads_used, way, own, of_booster, of_data, expected):
    table = draw(300)
    data = xgb.DMatrix(table.X, table.y, nthread=of_data)
    objective = LIBRARIES[1].Objective(make_loss(2), n_threads=own)
    threads_used.clear()
    if way == "cv" and of_booster is None:
        expected = -1  # tables of folds know of no threads
    given = {} if of_booster is None else {"nthread": of_booster}
    XGBOOST_WAYS[way]({**objective.params, **given, "verbosity": 0}, data, objective)
    assert threads_used
    assert set(threads_used) == {expected}


def test_an_estimator_of_xgboost_has_the_objective_compute_with_its_threads(threads_used):
    table = draw(300)
    objective = LIBRARIES[1].Objective(make_loss(2))
    threads_used.clear()
    xgb.XGBClassifier(**{**objective.params, "objective": objective}, n_estimators=3, n_jobs=2).fit(table.X, table.y)
    assert threads_used == [2] * 3


@pytest.mark.parametrize(("of_training", "of_data", "expected"), [(2, 3, 2), (None, 3, 3), (None, None, None)])
def test_lightgbm_computes_with_the_threads_of_the_training(threads_used, of_training, of_data, expected):
    table = draw(300)
    data = lgb.Dataset(table.X, table.y, params={} if of_data is None else {"num_threads": of_data})
    objective = LIBRARIES[0].Objective(make_loss(2))
    threads_used.clear()
    given = {} if of_training is None else {"num_threads": of_training}
    lgb.train({**objective.params, **given, "verbosity": -1}, data, 3, feval=objective.metric, valid_sets=[data])
    assert set(threads_used) == {expected}


@pytest.mark.parametrize(("given", "expected"), [(None, None), (2, 2), (-1, 3), (-2, 2), (0, 3)])
def test_lightgbm_counts_n_jobs_as_joblib_does(threads_used, monkeypatch, given, expected):
    monkeypatch.setattr("joblib.effective_n_jobs", lambda n: n if n > 0 else 4 + n)
    table = draw(100)
    FocalClassifier(lgb.LGBMClassifier(n_estimators=2, n_jobs=given, verbosity=-1)).fit(table.X, table.y)
    assert expected in threads_used
    assert set(threads_used) <= {expected, 1}  # scale and start take one


@each_task
def test_lightgbm_train_cv_and_classifier_use_one_object(n_classes):
    table = draw(600, n_classes=n_classes)
    _, objective = start(LIBRARIES[0], n_classes, table)
    base = {"verbosity": -1, "num_threads": 1}
    native = lgb.train({**base, **objective.params}, lgb.Dataset(table.X, table.y, weight=table.weight), 10)
    result = lgb.cv(
        {**base, **objective.params}, lgb.Dataset(table.X, table.y), 5, nfold=3, feval=objective.metric, seed=1
    )
    assert result["valid focal_loss-mean"][-1] < result["valid focal_loss-mean"][0]
    own = lgb.LGBMClassifier(objective=objective, n_estimators=10, n_jobs=1, verbosity=-1, metric="None")
    own.fit(table.X, table.y, sample_weight=table.weight)
    np.testing.assert_array_equal(own.booster_.predict(table.X), native.predict(table.X))


@each_library
@each_task
def test_the_loss_is_scaled_to_the_curvature_of_the_log_loss(library, n_classes):
    """With an L2 penalty, which a factor on the loss does not leave alone."""
    table = draw(n_classes=n_classes)
    loss, scaled = start(library, n_classes, table)
    objective = library.Objective(loss, scaled.intercept, scale=1.0)
    assert scaled.scale == loss.log_loss_scale(scaled.intercept) != 1.0
    assert "scale" in repr(scaled)
    assert "scale" not in repr(objective)
    settings = {"learning_rate": 0.1, "max_depth": 4, "reg_lambda": 5.0}
    own = FocalClassifier(library.classifier(n_estimators=10, **settings, **library.quiet), gamma=2.0).fit(*table)
    margins = []
    for each in (scaled, objective):
        booster = library.train(each, library.data(*table), rounds=10, **settings)
        margins.append(library.margins(each.portable(booster), table.X))
    distance = [np.abs(own.decision_function(table.X) - margin).max() for margin in margins]
    assert distance[0] < 1e-5 < distance[1]


@each_library
@each_task
@pytest.mark.parametrize("start_known", [True, False])
def test_only_ratios_of_alpha_matter(library, n_classes, start_known):
    table = draw(n_classes=n_classes)
    margins = []
    for alpha in (None, 0.5 if n_classes == 2 else [3.0] * n_classes):
        loss = make_loss(n_classes, alpha=alpha)
        objective = library.Objective(loss, loss.fit_intercept_only(table.y) if start_known else None)
        booster = library.train(objective, library.data(*table), 10, reg_lambda=5.0)
        margins.append(library.margins(objective.portable(booster), table.X))
    np.testing.assert_allclose(margins[1], margins[0], rtol=0, atol=1e-5)


@each_library
@each_task
def test_margins_of_the_paper_start_from_their_own_constant(library, n_classes):
    """link="focal": other margins for the same probabilities, in the booster as in the loss."""
    table = draw(n_classes=n_classes)
    shares = np.bincount(table.y, weights=table.weight) / table.weight.sum()
    loss, objective = start(library, n_classes, table, link="focal")
    still = library.train(objective, library.data(*table), 1, learning_rate=1e-9)
    still = library.margins(objective.portable(still), table.X)
    np.testing.assert_allclose(loss.predict_proba(still), np.broadcast_to(shares, (2000, n_classes)), rtol=1e-5)
    booster = objective.portable(library.train(objective, library.data(*table)))
    margins = library.margins(booster, table.X)
    link = expit(margins) if n_classes == 2 else softmax(margins, axis=1)
    np.testing.assert_allclose(library.predict(booster, table.X), link, rtol=0, atol=1e-6)
    proba = loss.predict_proba(margins)[np.arange(2000), table.y]
    assert -np.log(proba).mean() < 0.7 * -(shares @ np.log(shares))


@each_library
@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), "2", True])
def test_a_scale_that_is_no_positive_number_is_refused(library, scale):
    with pytest.raises(ValueError, match="scale=.*positive number"):
        library.Objective(make_loss(2), scale=scale)


@each_library
@each_task
def test_calling_conventions_agree_and_weights_multiply(library, n_classes):
    table = draw(300, n_classes=n_classes)
    _, objective = start(library, n_classes, table)
    rng = np.random.default_rng(0)
    shape = (300,) if n_classes == 2 else (300, n_classes)
    margins = np.asarray(rng.normal(size=shape), dtype=np.float64 if library.name == "lightgbm" else np.float32)
    data = library.data(*table)
    if library.name == "lightgbm":
        data.construct()
    native = objective(margins, data)
    sklearn = objective(table.y, margins, table.weight)
    bare = objective(table.y, margins)
    for a, b, c in zip(native, sklearn, bare, strict=True):
        assert a.dtype == np.float32
        assert a.flags.f_contiguous if library.name == "lightgbm" else a.flags.c_contiguous
        np.testing.assert_array_equal(a, b)
        factor = table.weight if n_classes == 2 else table.weight[:, None]
        np.testing.assert_allclose(a, c * factor, rtol=3e-7)


@each_library
@each_task
def test_arrays_of_the_booster_are_not_written_to(library, n_classes):
    table = draw(200, n_classes=n_classes)
    _, objective = start(library, n_classes, table)
    arrays = [table.y.copy(), np.ones((200,) if n_classes == 2 else (200, n_classes)), table.weight.copy()]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    objective(*arrays)
    objective.metric(*arrays)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


@each_library
def test_objective_is_picklable_and_says_what_it_is(library):
    objective = library.Objective(make_loss(3), [0.1, 0.2, -0.3])
    copy = pickle.loads(pickle.dumps(objective))
    assert copy.loss == objective.loss
    np.testing.assert_array_equal(copy.intercept, objective.intercept)
    assert "MulticlassFocalLoss" in repr(objective)


@each_library
def test_objective_refuses_what_is_no_loss_or_no_intercept(library):
    with pytest.raises(TypeError, match="neither a BinaryFocalLoss nor"):
        library.Objective("focal")
    with pytest.raises(ValueError, match=r"shape \(1, 2\).*fit_intercept_only"):
        library.Objective(make_loss(2), [[0.0, 1.0]])
    with pytest.raises(ValueError, match="not finite"):
        library.Objective(make_loss(2), np.nan)


def test_xgboost_labels_are_read_in_place_and_never_stale(monkeypatch):
    if not hasattr(xgb.core._LIB, "XGDMatrixGetFloatInfo"):
        pytest.skip("this version of XGBoost hands out copies alone")
    table = draw(300)
    _, objective = start(LIBRARIES[1], 2, table)
    data = xgb.DMatrix(table.X, table.y, weight=table.weight)
    margins = np.zeros(300, dtype=np.float32)

    def refuse(self, *args):
        raise AssertionError("copied")

    with monkeypatch.context() as patch:
        for getter in ("get_label", "get_weight", "get_float_info"):
            patch.setattr(xgb.DMatrix, getter, refuse)
        first, _ = objective(margins, data)
    data.set_label(1 - table.y)
    second, _ = objective(margins, data)
    np.testing.assert_array_equal(np.sign(second), -np.sign(first))


def test_xgboost_labels_come_from_the_getters_where_the_interface_is_missing(monkeypatch):
    table = draw(300)
    _, objective = start(LIBRARIES[1], 2, table)
    data = xgb.DMatrix(table.X, table.y, weight=table.weight)
    margins = np.zeros(300, dtype=np.float32)
    expected = objective(margins, data)
    fields = {"label": table.y.astype(np.float32), "weight": table.weight.astype(np.float32)}
    library = xgb.core._LIB

    class Older:
        def __getattr__(self, name):
            if name == "XGDMatrixGetFloatInfo":
                raise AttributeError(name)
            return getattr(library, name)

    monkeypatch.setattr(xgb.core, "_LIB", Older())
    monkeypatch.setattr(xgb.DMatrix, "get_float_info", lambda self, name: fields[name])
    for ours, theirs in zip(objective(margins, data), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_lightgbm_labels_are_copied_once_per_data_set(monkeypatch):
    table = draw(300)
    _, objective = start(LIBRARIES[0], 2, table)
    calls = []
    get_field = lgb.Dataset.get_field
    monkeypatch.setattr(lgb.Dataset, "get_field", lambda self, name: calls.append(name) or get_field(self, name))
    LIBRARIES[0].train(objective, lgb.Dataset(table.X, table.y, weight=table.weight), 20)
    assert len(calls) <= 4


#
# LightGBM's own traps


def test_lightgbm_trains_on_a_table_that_cannot_be_split():
    y = np.repeat([0, 1], [90, 10])
    loss = BinaryFocalLoss()
    objective = LIBRARIES[0].Objective(loss, loss.fit_intercept_only(y))
    booster = LIBRARIES[0].train(objective, lgb.Dataset(np.zeros((100, 2)), y), 3)
    proba = loss.predict_proba(objective.portable(booster).predict(np.zeros((1, 2)), raw_score=True))
    np.testing.assert_allclose(proba, [[0.9, 0.1]], rtol=1e-12)


def test_lightgbm_leaves_other_objectives_alone():
    table = draw(300)
    reset = []

    class Booster(lgb.Booster):
        def reset_parameter(self, params):
            reset.append(params)
            return super().reset_parameter(params)

    def logistic(scores, data):
        p = expit(scores)
        return p - data.get_label(), p * (1 - p)

    booster = Booster({"verbosity": -1, "objective": "none"}, lgb.Dataset(table.X, table.y))
    booster.update(fobj=logistic)
    assert reset == [{"objective": "none"}]


def test_portable_is_a_copy_and_may_be_repeated():
    table = draw(n_classes=3)
    _, objective = start(LIBRARIES[0], 3, table)
    booster = LIBRARIES[0].train(objective, LIBRARIES[0].data(*table), 5)
    before = booster.model_to_string()
    once = objective.portable(booster)
    assert booster.model_to_string() == before
    assert objective.portable(once) is once
    np.testing.assert_allclose(
        once.predict(table.X, raw_score=True),
        booster.predict(table.X, raw_score=True) + objective.intercept,
        atol=1e-12,
    )


def test_portable_refuses_a_booster_of_another_task():
    table = draw(n_classes=3)
    _, objective = start(LIBRARIES[0], 3, table)
    booster = LIBRARIES[0].train(objective, LIBRARIES[0].data(*table), 5)
    with pytest.raises(ValueError, match="3 outputs a row"):
        LIBRARIES[0].Objective(make_loss(2)).portable(booster)


def test_portable_contributions_add_up_to_the_margin():
    table = draw()
    _, objective = start(LIBRARIES[0], 2, table)
    booster = objective.portable(LIBRARIES[0].train(objective, LIBRARIES[0].data(*table), 20))
    np.testing.assert_allclose(
        booster.predict(table.X, pred_contrib=True).sum(axis=1), booster.predict(table.X, raw_score=True), atol=1e-9
    )


#
# Model files

MODES = {
    "lightgbm": [{}, {"boosting": "dart"}, {"linear_tree": True}, {"data_sample_strategy": "goss"}],
    "xgboost": [{}, {"booster": "dart", "rate_drop": 0.2}],
}


@each_task
@pytest.mark.parametrize(
    ("library", "mode", "stop"),
    [(library, mode, stop) for library in LIBRARIES for mode in MODES[library.name] for stop in (None, 3)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_saved_model_stands_alone(library, mode, stop, n_classes, tmp_path):
    if stop and mode.get("boosting") == "dart":
        pytest.skip("LightGBM has no early stopping for dart")
    table, valid = draw(n_classes=n_classes), draw(500, n_classes=n_classes, seed=1)
    loss, objective = start(library, n_classes, table)
    booster = library.train(
        objective, library.data(*table), 200 if stop else 20, library.data(*valid), stop, learning_rate=0.5, **mode
    )
    logged, booster = booster.log, objective.portable(booster)
    if stop:
        assert booster.best_iteration < 190
    path = tmp_path / ("model.txt" if library.name == "lightgbm" else "model.json")
    library.save(booster, path)
    margins = library.margins(booster, valid.X)
    link = expit(margins) if n_classes == 2 else softmax(margins, axis=1)
    np.testing.assert_allclose(predict_elsewhere(library, path, valid.X, tmp_path), link, rtol=0, atol=1e-6)
    # and the margins are the ones that the objective trained on
    score = loss(valid.y, margins, valid.weight)
    index = booster.best_iteration - (library.name == "lightgbm") if stop else -1
    if "dart" not in mode.values():  # whose trees shrink after they were scored
        assert score == pytest.approx(logged["focal_loss"][index], abs=2e-6)


@each_task
@pytest.mark.parametrize("alpha", [None, "balanced"])
@pytest.mark.parametrize("gamma", [2.0, "of classes"])
@pytest.mark.parametrize(
    ("library", "mode", "stop", "ending"),
    [
        (LIBRARIES[0], {}, None, "txt"),
        (LIBRARIES[0], {}, 5, "txt"),
        (LIBRARIES[0], {"boosting_type": "dart"}, None, "txt"),
        (LIBRARIES[1], {}, None, "json"),
        (LIBRARIES[1], {}, 5, "ubj"),
        (LIBRARIES[1], {"booster": "dart", "rate_drop": 0.2}, None, "ubj"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_file_of_the_classifiers_booster_gives_its_probabilities(
    library, mode, stop, ending, n_classes, alpha, gamma, tmp_path
):
    table, valid = draw(600, n_classes=n_classes), draw(400, n_classes=n_classes, seed=1)
    name = "early_stopping_rounds" if library.name == "xgboost" else "early_stopping_round"
    options = {"n_estimators": 300 if stop else 20, "learning_rate": 0.3, **mode, **({name: stop} if stop else {})}
    gamma = list(np.arange(n_classes) + 0.5) if gamma == "of classes" else gamma
    model = FocalClassifier(library.classifier(**options, **library.quiet), gamma=gamma, alpha=alpha)
    silent = {"verbose": False} if library.name == "xgboost" else {}
    model.fit(*table, eval_set=[(valid.X, valid.y)], **silent)
    assert (model.n_rounds_ < 290) == (stop is not None) or model.n_rounds_ == 20
    path = tmp_path / f"model.{ending}"
    library.save(model.estimator_._Booster, path)
    proba = model.predict_proba(valid.X)
    found = predict_elsewhere(library, path, valid.X, tmp_path)
    np.testing.assert_allclose(found, proba[:, 1] if n_classes == 2 else proba, rtol=0, atol=1e-6)


#
# Metrics


@each_library
@each_task
def test_metric_is_the_weighted_loss_on_margins(library, n_classes):
    table, valid = draw(n_classes=n_classes), draw(500, n_classes=n_classes, seed=1)
    loss, objective = start(library, n_classes, table)
    booster = library.train(objective, library.data(*table), 10, library.data(*valid))
    margins = library.margins(objective.portable(booster), valid.X)
    assert booster.log["focal_loss"][-1] == pytest.approx(loss(valid.y, margins, valid.weight), abs=2e-6)
    proba = loss.predict_proba(margins)[np.arange(500), valid.y]
    expected = np.average(-np.log(proba), weights=valid.weight)
    assert booster.log["log_loss"][-1] == pytest.approx(expected, abs=2e-6)
    # The place that early stopping follows; the less the better.
    assert list(booster.log)[0 if library.name == "lightgbm" else -1] == "log_loss"
    if library.name == "lightgbm":
        start_margins = np.zeros((len(table.y), n_classes))[:, : loss.n_outputs].squeeze()
        names, _, greater = zip(*objective.metric(start_margins, library.data(*table)), strict=True)
        assert (names, greater) == (("log_loss", "focal_loss"), (False, False))
    if library.name == "xgboost":  # whose own is the same
        assert booster.log["logloss" if n_classes == 2 else "mlogloss"][-1] == pytest.approx(expected, rel=1e-6)


def test_lightgbm_early_stopping_works_however_small_the_loss():
    """Easy rows at gamma = 5 have a focal loss far below six decimals."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2))
    y = (X[:, 0] > 0).astype(int)
    loss = BinaryFocalLoss(gamma=5.0)
    library = LIBRARIES[0]
    objective = library.Objective(loss, loss.fit_intercept_only(y))
    booster = library.train(
        objective, library.data(X, y), 60, library.data(X[:500], y[:500]), 10, learning_rate=0.5,
        min_sum_hessian_in_leaf=0,
    )  # fmt: skip
    vanished = np.flatnonzero(np.array(booster.log["focal_loss"]) < 5e-7)[0]
    assert booster.best_iteration > vanished + 10


#
# Learning from a rare class


@each_library
def test_learns_at_a_share_of_one_in_a_thousand(library):
    X, y = draw_rare(60_000, 60)
    X_test, y_test = draw_rare(60_000, 60, seed=1)
    precision = {}
    for gamma in (0.0, 2.0):
        loss = BinaryFocalLoss(gamma=gamma)
        objective = library.Objective(loss, loss.fit_intercept_only(y))
        assert expit(objective.intercept) < 0.1
        booster = objective.portable(library.train(objective, library.data(X, y), 50))
        precision[gamma] = average_precision_score(y_test, library.margins(booster, X_test))
    assert precision[0.0] > 0.2
    assert precision[2.0] >= 0.9 * precision[0.0]


@each_library
@pytest.mark.parametrize("hessian", ["expected", "exact"])
@pytest.mark.parametrize("max_step", [0.5, 8.0])
def test_no_leaf_exceeds_max_step(library, hessian, max_step):
    X, y = draw_rare(5000, 15)
    loss = BinaryFocalLoss(gamma=2.0, hessian=hessian, max_step=max_step)
    objective = library.Objective(loss, loss.fit_intercept_only(y))
    loose = (
        # Zero would let LightGBM, which estimates rows from curvature, make leaves without any.
        {"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 1e-9}
        if library.name == "lightgbm"
        else {"min_child_weight": 0, "reg_lambda": 0}
    )
    booster = library.train(objective, library.data(X, y), 20, **loose)
    leaves = np.abs(library.leaves(booster))
    assert leaves.max() <= max_step * (1 + 1e-5)
    assert leaves.max() > 0.2 * max_step


@each_library
def test_training_raises_no_warning(library):
    table = draw(300)
    _, objective = start(library, 2, table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library.train(objective, library.data(*table), 3, library.data(*draw(100, seed=1)))


@each_library
def test_labels_that_are_no_classes_are_refused_before_any_tree(library):
    table = draw(300)
    _, objective = start(library, 2, table)
    with pytest.raises(ValueError, match=r"y_true holds 2.*\[0, 1\]"):
        library.train(objective, library.data(table.X, table.y * 2), 3)


#
# What is passed for an objective or a metric by mistake, and what is not ours


def test_importing_the_room_changes_nothing_in_lightgbm():
    script = (
        "import lightgbm; before = dict(vars(lightgbm.Booster)); import focal_boost.lightgbm;"
        "assert dict(vars(lightgbm.Booster)) == before"
    )
    fresh.run(script, imported=fresh.BOOSTERS)


def test_labels_and_weights_set_in_a_lightgbm_dataset_are_seen():
    rng = np.random.default_rng(0)
    X, y, weight = rng.normal(size=(200, 3)), np.arange(200) % 2, rng.random(200)
    objective = LIBRARIES[0].Objective(make_loss(2), n_threads=1)
    data = lgb.Dataset(X, y, weight=weight).construct()
    objective(np.zeros(200), data)
    data.set_field("label", 1 - y).set_field("weight", 2 * weight)
    for found, expected in zip(
        objective(np.zeros(200), data), objective(1 - y, np.zeros(200), (2 * weight).astype(np.float32)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_a_loss_or_the_other_librarys_objective_is_refused(library):
    X, y = np.random.default_rng(0).normal(size=(100, 3)), np.arange(100) % 2
    loss = make_loss(2)
    (other,) = (one for one in LIBRARIES if one is not library)
    native = {
        "xgboost": lambda objective: xgb.train({}, xgb.DMatrix(X, y), 2, obj=objective),
        "lightgbm": lambda objective: lgb.train({"objective": objective, "verbosity": -1}, lgb.Dataset(X, y), 2),
    }[library.name]
    with pytest.raises(TypeError, match=r"a loss is no objective.*FocalObjective\(loss\)"):
        native(loss)
    with pytest.raises(TypeError, match=r"a loss is no objective.*FocalObjective\(loss\)"):
        library.classifier(objective=loss, **library.quiet).fit(X, y)
    with pytest.raises(TypeError, match=rf"another library's: pass focal_boost.{library.name}.FocalObjective"):
        native(other.Objective(loss))


def positive_share(y_true, y_proba):
    """Greater is better, but the name does not say so; it falls from round to round."""
    positive_share.calls += 1
    return float(positive_share.calls)


def test_xgboost_stops_at_the_largest_score_and_warns_where_it_minimised_in_vain():
    table, valid = draw(600), draw(300, seed=1)
    pair = {"eval_set": [(valid.X, valid.y)], "verbose": False}
    rounds = {}
    for metric in (average_precision_score, "aucpr"):
        estimator = xgb.XGBClassifier(n_estimators=60, early_stopping_rounds=5, eval_metric=metric, n_jobs=1)
        model = FocalClassifier(estimator).fit(table.X, table.y, **pair)
        assert model.estimator_.early_stopping_rounds == 5
        rounds[metric] = model.n_rounds_
        scores = list(model.evals_result_["validation_0"].values())[-1]
        assert model.n_rounds_ == np.argmax(scores) + 1
    assert rounds[average_precision_score] > 1
    positive_share.calls = 0
    estimator = xgb.XGBClassifier(n_estimators=20, early_stopping_rounds=3, eval_metric=positive_share, n_jobs=1)
    with pytest.warns(UserWarning, match="lowest value of positive_share.*maximize=True"):
        FocalClassifier(estimator).fit(table.X, table.y, **pair)


def test_metrics_of_the_wrong_kind_say_what_is_wanted():
    table = draw(200)
    pair = {"eval_set": [(table.X, table.y)]}
    light = FocalClassifier(LIBRARIES[0].classifier(n_estimators=2, **LIBRARIES[0].quiet))
    with pytest.raises(TypeError, match=r"eval_metric=log_loss takes \d arguments.*\(name, value, whether larger"):
        light.fit(table.X, table.y, **pair, eval_metric=log_loss)
    with pytest.raises(TypeError, match=r"returned 0.5, but it has to return \(name, value"):
        light.fit(table.X, table.y, **pair, eval_metric=lambda y, p: 0.5)
    for metric, error, what in [
        (lambda y, p: ("name", 0.5), TypeError, "has to return one number"),
        ("posterior_log_loss", ValueError, "names a metric that XGBoost does not have"),
    ]:
        with pytest.raises(error, match=what):
            FocalClassifier(xgb.XGBClassifier(n_estimators=2, eval_metric=metric)).fit(
                table.X, table.y, **pair, verbose=False
            )
    with pytest.raises(TypeError, match=r"early_stopping_rounds.*pass XGBClassifier\(early_stopping_rounds=...\)"):
        FocalClassifier(xgb.XGBClassifier()).fit(table.X, table.y, **pair, early_stopping_rounds=5)
