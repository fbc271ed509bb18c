"""`focal_boost.xgboost.train` against ``xgboost.train``: the same model to the byte, the same log, each way there.

Two ways: on the processor margins are read in place; on a GPU they go there through memory that is registered with the
driver, with a stand-in for CuPy, behind which kernels for a GPU run, and XGBoost, which has no GPU here, is handed host
copies.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import pickle
import sys
import threading
import warnings
from types import SimpleNamespace

import fake_cupy
import fresh
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from libraries import make_loss
from tables import draw

from focal_boost import FocalClassifier, kernels
from focal_boost.xgboost import FocalObjective, rounds, train

BASE = {"nthread": 1, "max_depth": 4, "learning_rate": 0.3, "seed": 3, "verbosity": 1}

each_task = pytest.mark.parametrize("n_classes", [2, 4])


@pytest.fixture(params=["processor", "gpu"])
def way(request):
    if request.param == "gpu":
        request.getfixturevalue("gpu")
    return request.param


@pytest.fixture
def gpu(monkeypatch):
    """XGBoost as if it trained on a GPU: kernels run behind the stand-in for CuPy, XGBoost is handed host copies."""
    if not fake_cupy.COMPILER:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(rounds, "has_cuda", lambda: True)
    place = rounds._place  # which configures the booster, and draws its seed, in the thread that asks
    monkeypatch.setattr(rounds, "_place", lambda booster: ("cuda:0", place(booster)[1]))
    boost = xgb.Booster.boost
    seen = SimpleNamespace(boost=[], streams=[])

    def boost_from_device(self, dtrain, iteration, *, grad=None, hess=None, fobj=None):
        if fobj is None:
            seen.boost.append(type(grad))
            seen.streams += fake_cupy.streams
            grad, hess = fake_cupy.bare(grad), fake_cupy.bare(hess)
        else:
            grad, hess = fobj(self.predict(dtrain, output_margin=True, training=True), dtrain)
            seen.boost.append(type(grad))
            return boost(self, dtrain, iteration, grad=fake_cupy.bare(grad), hess=fake_cupy.bare(hess))
        return boost(self, dtrain, iteration, grad=grad, hess=hess)

    monkeypatch.setattr(xgb.Booster, "boost", boost_from_device)
    # What was found out about another CuPy says nothing of this one.
    rounds._failure.cache_clear()
    with fake_cupy.installed():
        yield seen
    assert not fake_cupy.registered
    rounds._failure.cache_clear()


def task(n_classes, n=700, **data):
    table, valid = draw(n, n_classes=n_classes), draw(300, n_classes=n_classes, seed=1)
    loss = make_loss(n_classes)
    objective = FocalObjective(loss, loss.fit_intercept_only(table.y, table.weight))
    return objective, table, valid, xgb.DMatrix(table.X, table.y, weight=table.weight, **data)


def both(params, objective, dtrain, n=15, **options):
    """Boosters and logs of both functions."""
    results = []
    for function in (xgb.train, train):
        log = {}
        copied = {name: value() if name == "callbacks" else value for name, value in options.items()}
        booster = function(
            {**BASE, **params, **objective.params}, dtrain, n, obj=objective, evals_result=log, verbose_eval=False,
            **copied
        )  # fmt: skip
        results.append((booster, log))
    return results


def assert_same(results):
    (theirs, their_log), (ours, our_log) = results
    assert ours.save_raw("json") == theirs.save_raw("json")
    assert our_log == their_log
    assert ours.attributes() == theirs.attributes()
    assert type(ours) is xgb.Booster
    assert "update" not in vars(ours)


SETTINGS = {
    "plain": {},
    "sampled": {"subsample": 0.6, "colsample_bytree": 0.5, "colsample_bylevel": 0.7},
    "exact": {"tree_method": "exact"},
    "lossguide": {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
    "forest": {"num_parallel_tree": 3, "subsample": 0.5},
    "dart": {"booster": "dart", "rate_drop": 0.3},
    "linear": {"booster": "gblinear", "updater": "coord_descent", "verbosity": 0},  # which knows no max_depth
    "vector leaf": {"multi_strategy": "multi_output_tree", "tree_method": "hist"},
}


@each_task
@pytest.mark.parametrize("setting", SETTINGS)
def test_models_are_the_same_to_the_byte(way, setting, n_classes):
    if setting == "vector leaf" and n_classes == 2:
        pytest.skip("for several outputs")
    objective, _table, _, dtrain = task(n_classes)
    assert_same(both(SETTINGS[setting], objective, dtrain))


@each_task
def test_evaluation_and_early_stopping_are_the_same(way, n_classes):
    objective, _table, valid, dtrain = task(n_classes)
    dvalid = xgb.DMatrix(valid.X, valid.y, weight=valid.weight)
    results = both(
        {},
        objective,
        dtrain,
        200,
        evals=[(dtrain, "train"), (dvalid, "valid")],
        custom_metric=objective.metric,
        early_stopping_rounds=5,
    )
    assert_same(results)
    assert results[1][0].best_iteration == results[0][0].best_iteration < 190


@each_task
def test_callbacks_are_the_same(way, n_classes, tmp_path):
    objective, _table, valid, dtrain = task(n_classes)
    dvalid = xgb.DMatrix(valid.X, valid.y)

    def callbacks():
        return [
            xgb.callback.LearningRateScheduler(lambda i: 0.5 * 0.9**i),
            xgb.callback.TrainingCheckPoint(tmp_path, as_pickle=True, interval=3),
            xgb.callback.EarlyStopping(rounds=4, save_best=True),
        ]

    results = both(
        {},
        objective,
        dtrain,
        100,
        evals=[(dvalid, "v")],
        custom_metric=objective.metric,
        callbacks=callbacks,
    )
    assert_same(results)
    # What a callback pickles in the middle of training is a plain booster.
    with next(tmp_path.glob("*.pkl")).open("rb") as file:
        pickle.load(file).predict(dvalid)


@each_task
def test_continued_training_is_the_same(way, n_classes):
    objective, _table, _, dtrain = task(n_classes)
    first = xgb.train({**BASE, **objective.params}, dtrain, 4, obj=objective)
    assert_same(both({}, objective, dtrain, 5, xgb_model=first))


@each_task
@pytest.mark.parametrize("missing", [np.nan, -1.0])
def test_missing_values_and_start_margins_are_the_same(way, n_classes, missing):
    objective, table, _, _ = task(n_classes)
    rng = np.random.default_rng(0)
    X = np.where(rng.random(table.X.shape) < 0.2, missing, table.X)
    start = rng.normal(size=(len(X),) if n_classes == 2 else (len(X), n_classes))
    for kind in (xgb.DMatrix, xgb.QuantileDMatrix):
        assert_same(both({}, objective, kind(X, table.y, missing=missing, base_margin=start)))


@each_task
def test_categories_are_the_same(way, n_classes):
    objective, table, _, _ = task(n_classes)
    frame = pd.DataFrame(table.X)
    frame["category"] = pd.Categorical(np.random.default_rng(0).integers(0, 6, len(frame)))
    assert_same(both({}, objective, xgb.DMatrix(frame, table.y, enable_categorical=True)))


def reasons(caplog):
    return [record.message for record in caplog.records if record.name == "focal_boost"]


def test_other_objectives_are_left_to_xgboost(caplog):
    objective, _table, _, dtrain = task(2)

    def squared(margins, data):
        return margins - data.get_label(), np.ones_like(margins)

    with caplog.at_level(logging.DEBUG, "focal_boost"):
        ours, theirs = (f({**BASE, **objective.params}, dtrain, 3, obj=squared) for f in (train, xgb.train))
    assert ours.save_raw() == theirs.save_raw()
    assert "no FocalObjective" in reasons(caplog)[0]


def test_margins_come_from_predict_where_the_interface_is_missing(monkeypatch):
    objective, _table, _, dtrain = task(2)

    def missing(booster, data):
        raise AttributeError("XGBoosterPredictFromDMatrix")

    monkeypatch.setattr(rounds, "_read_margins", missing)
    assert_same(both({}, objective, dtrain))


def test_margins_and_gradients_are_not_copied(monkeypatch):
    objective, _table, _, dtrain = task(4)
    rounds_seen, preparations = [], []
    prepared = FocalObjective._prepared

    def spy(self, *args, **options):
        gradient, hessian, fill = prepared(self, *args, **options)
        preparations.append((gradient, hessian))

        def seen(margins):
            assert not margins.flags.owndata
            assert not margins.flags.writeable
            rounds_seen.append(margins.shape)
            fill(margins)

        return gradient, hessian, seen

    monkeypatch.setattr(FocalObjective, "_prepared", spy)
    monkeypatch.setattr(xgb.Booster, "predict", None)
    train({**BASE, **objective.params}, dtrain, 4, obj=objective)
    assert len(rounds_seen) == 4
    assert len(preparations) == 1  # one pair of arrays, labels and weights checked once


# ---------------------------------------------------------------------------------------------------------------------
# As if on a GPU


@each_task
def test_margins_go_to_the_device_from_registered_memory(gpu, n_classes, monkeypatch):
    objective, _table, _valid, dtrain = task(n_classes)
    threads, known, registrations = [], [], []
    read = rounds._read_margins
    runtime = kernels.for_gpu().arrays.cuda.runtime
    register = runtime.hostRegister
    monkeypatch.setattr(runtime, "hostRegister", lambda *of: (registrations.append(of), register(*of)))

    def seen(*args):
        threads.append(threading.current_thread())
        view = read(*args)
        known.append(dict(fake_cupy.registered))
        return view

    monkeypatch.setattr(rounds, "_read_margins", seen)
    params = {**BASE, **objective.params}
    ours = train(params, dtrain, 12, obj=objective)
    assert set(gpu.boost) == {fake_cupy.Array}
    assert gpu.streams == [fake_cupy.Stream.null] * 12  # the one that waits for XGBoost's
    # One thread of its own, in which the buffer never moves: registered after the first round, and once.
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    assert [len(places) for places in known] == [0] + [1] * 11
    assert all(places == known[1] for places in known[2:])
    assert len(registrations) == 1
    assert list(known[1].values()) == [4 * dtrain.num_row() * objective.loss.n_outputs]
    assert not threads[0].is_alive()
    gpu.boost.clear()
    plain = xgb.train(params, dtrain, 12, obj=objective)  # the objective finds the booster that calls it
    assert set(gpu.boost) == {fake_cupy.Array}
    assert ours.save_raw() == plain.save_raw()


@pytest.mark.parametrize("function", ["train", "classifier"])
def test_memory_is_let_go_whatever_ends_the_training(gpu, function):
    objective, table, _valid, dtrain = task(2)

    class Stop(xgb.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            assert fake_cupy.registered
            if epoch == 2:
                raise KeyboardInterrupt

    inner = xgb.XGBClassifier(n_estimators=9, n_jobs=1, callbacks=[Stop()])
    run = {
        "train": lambda: train({**BASE, **objective.params}, dtrain, 9, obj=objective, callbacks=[Stop()]),
        "classifier": lambda: FocalClassifier(inner).fit(table.X, table.y),
    }[function]
    with pytest.raises(KeyboardInterrupt) as caught:
        run()
    # While the error holds what it passed through: nothing waits for the garbage collector.
    assert caught.traceback
    assert not fake_cupy.registered


def test_memory_is_let_go_before_the_users_callbacks_see_the_end(gpu):
    objective, _table, _valid, dtrain = task(2)
    held = []

    class Look(xgb.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            held.append(len(fake_cupy.registered))
            return False

        def after_training(self, model):
            held.append(len(fake_cupy.registered))
            assert "update" not in vars(model)
            return model

    train({**BASE, **objective.params}, dtrain, 3, obj=objective, callbacks=[Look()])
    assert held == [1, 1, 1, 0]


def test_a_driver_that_registers_nothing_is_no_obstacle(gpu, monkeypatch):
    objective, _table, _valid, dtrain = task(2)

    def refuse(*args):
        raise RuntimeError("cudaErrorNotSupported")

    monkeypatch.setattr(kernels.for_gpu().arrays.cuda.runtime, "hostRegister", refuse)
    assert_same(both({}, objective, dtrain))


def test_labels_and_weights_are_looked_at_once(gpu, monkeypatch):
    objective, _table, _valid, dtrain = task(3)
    calls = []
    run = kernels.for_gpu().run

    def seen(*args):
        calls.append(args[-2])
        run(*args)

    monkeypatch.setattr(kernels.for_gpu(), "run", seen)
    train({**BASE, **objective.params}, dtrain, 4, obj=objective)
    assert calls[-4:] == [False, True, True, True]


def test_arguments_are_those_of_xgboost():
    theirs = inspect.signature(xgb.train).parameters
    ours = inspect.signature(train).parameters
    assert list(ours) == list(theirs)
    assert [one.default for one in ours.values()] == [one.default for one in theirs.values()]


def test_the_classifier_uses_it(gpu):
    table, valid = draw(500, n_classes=3), draw(200, n_classes=3, seed=1)
    inner = xgb.XGBClassifier(n_estimators=30, n_jobs=1, early_stopping_rounds=5)
    model = FocalClassifier(inner).fit(table.X, table.y, table.weight, eval_set=[(valid.X, valid.y)], verbose=False)
    assert len(gpu.boost) > 5
    assert set(gpu.boost) == {fake_cupy.Array}
    assert model.predict_proba(valid.X).shape == (200, 3)


def test_an_estimator_with_the_objective_computes_on_the_device(gpu):
    objective, table, _, _ = task(2)
    xgb.XGBClassifier(**{**objective.params, "objective": objective}, n_estimators=3, n_jobs=1).fit(table.X, table.y)
    assert gpu.boost == [fake_cupy.Array] * 3


def test_whoever_calls_an_objective_without_a_booster_gets_arrays_of_the_processor(gpu):
    objective, table, _, dtrain = task(2)
    margins = np.linspace(-2, 2, len(table.y), dtype=np.float32)
    found = objective(margins, dtrain)
    assert [type(one) for one in found] == [np.ndarray] * 2
    expected = objective.loss.gradient_hessian(table.y, margins, table.weight, scale=objective.scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_without_cupy_the_processor_computes_and_one_warning_names_the_extra(gpu):
    objective, _table, _, dtrain = task(2)
    rounds._warn_of_cupy.cache_clear()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned:
        # undone before the stand-in is taken away
        patch.setitem(sys.modules, "cupy", None)
        patch.delitem(sys.modules, "focal_boost.kernels.cuda", raising=False)
        patch.delattr(kernels, "cuda", raising=False)
        warnings.simplefilter("always")
        train({**BASE, **objective.params}, dtrain, 3, obj=objective)
        xgb.train({**BASE, **objective.params}, dtrain, 3, obj=objective)
    assert len([w for w in warned if "focal_boost[cuda]" in str(w.message)]) == 1
    assert set(gpu.boost) == {np.ndarray}


@pytest.mark.parametrize("error", [RuntimeError("CuPy failed to load libnvrtc.so.13\nsecond line"), MemoryError()])
@each_task
def test_a_cupy_that_does_not_work_means_the_processor_and_one_warning(gpu, monkeypatch, n_classes, error):
    objective, _table, _, dtrain = task(n_classes)
    rounds._warn_of_cupy.cache_clear()
    rounds._failure.cache_clear()

    def fail(**options):
        raise error

    monkeypatch.setattr(kernels.for_gpu().arrays, "RawModule", fail)
    kernels.for_gpu()._kernel.cache_clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert_same(both({}, objective, dtrain, 3))
    rounds._failure.cache_clear()
    (message,) = [str(w.message) for w in warned if "focal_boost[cuda]" in str(w.message)]
    assert f"{type(error).__name__}: {str(error).partition(chr(10))[0]})" in message
    assert set(gpu.boost) == {np.ndarray}


@pytest.mark.parametrize(("device", "ordinal"), [("cuda:1", 1), ("cuda", 0)], ids=["second", "first"])
def test_each_gpu_is_used_by_the_boosters_on_it(gpu, monkeypatch, device, ordinal):
    objective, _table, _, dtrain = task(2)
    monkeypatch.setattr(rounds, "_place", lambda booster: (device, 1))
    entered = []

    class Device(contextlib.nullcontext):
        def __init__(self, ordinal):
            super().__init__(entered.append(ordinal))

    monkeypatch.setattr(kernels.for_gpu().arrays.cuda, "Device", Device)
    both({}, objective, dtrain, 3)
    assert len(entered) >= 6
    assert set(entered) == {ordinal}


# ---------------------------------------------------------------------------------------------------------------------
# A GPU that is asked for and not there


def test_a_gpu_that_is_not_there_means_the_processor_and_no_cupy():
    """In a process of its own: that nothing is imported, and the warnings of XGBoost, which comes once in a process."""
    script = """
        import sys, warnings
        import numpy as np, xgboost as xgb
        from focal_boost import BinaryFocalLoss, FocalClassifier
        from focal_boost.xgboost import FocalObjective, train
        X = np.random.default_rng(0).normal(size=(300, 4)); y = (X[:, 0] > 1).astype(int)
        loss = BinaryFocalLoss()
        objective = FocalObjective(loss, loss.fit_intercept_only(y))
        models = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for device in ("cpu", "cuda"):
                params = {**objective.params, "nthread": 1, "device": device}
                data = xgb.DMatrix(X, y)
                for function in (xgb.train, train):
                    booster = function(params, data, 5, obj=objective)
                    models.append(booster.predict(data, output_margin=True).tobytes())
                FocalClassifier(xgb.XGBClassifier(n_estimators=3, n_jobs=1, device=device)).fit(X, y).predict(X)
        assert len(set(models)) == 1, "other models"
        assert all("focal_boost" not in str(w.message) for w in caught), [str(w.message) for w in caught]
        assert "cupy" not in sys.modules
    """
    fresh.run(script, imported=fresh.BOOSTERS, CUDA_VISIBLE_DEVICES="")


# ---------------------------------------------------------------------------------------------------------------------
# On a GPU


@pytest.mark.gpu
@each_task
def test_on_a_gpu_all_ways_lead_to_the_same_model(n_classes):
    if not rounds.has_cuda():
        pytest.skip("needs XGBoost with CUDA: pip install xgboost, not xgboost-cpu")
    objective, _table, valid, dtrain = task(n_classes, 20_000)
    dvalid = xgb.DMatrix(valid.X, valid.y)
    watched = {"evals": [(dvalid, "v")], "custom_metric": objective.metric, "early_stopping_rounds": 5}
    results = both({"device": "cuda"}, objective, dtrain, 50, **watched)
    assert_same(results)
    # Not stopped by themselves, which might be a round earlier or later.
    n = results[0][0].num_boosted_rounds()
    cpu = xgb.train({**BASE, **objective.params}, dtrain, n, obj=objective)
    difference = cpu.predict(dvalid, output_margin=True) - results[0][0].predict(dvalid, output_margin=True)
    built_in = [xgb.train({**BASE, **objective.params, "device": d}, dtrain, n) for d in ("cpu", "cuda")]
    theirs = np.subtract(*(b.predict(dvalid, output_margin=True) for b in built_in))
    assert np.abs(difference).mean() <= 2 * np.abs(theirs).mean() + 1e-5


@pytest.mark.parametrize("function", ["train", "xgb.train", "classifier"])
def test_the_threads_of_xgboost_compute(function, monkeypatch):
    """Threads of ours would have to share the processors with XGBoost's, which wait for more work without rest."""
    objective, table, _valid, dtrain = task(2)
    run, teams = kernels.active.run, []

    def seen(*args):
        teams.append(args[-1] if args[0] == "derivatives" and len(args[3]) == len(table.y) else FocalObjective._team)
        run(*args)

    monkeypatch.setattr(kernels.active, "run", seen)
    if function == "classifier":
        FocalClassifier(xgb.XGBClassifier(n_estimators=4, n_jobs=1)).fit(table.X, table.y)
    else:
        {"train": train, "xgb.train": xgb.train}[function]({**BASE, **objective.params}, dtrain, 4, obj=objective)
    assert set(teams) == {FocalObjective._team}
    assert len(teams) >= 4
    teams.clear()
    objective(table.y, np.zeros(len(table.y)))
    assert teams == [0]  # called by anybody else, perhaps in a process that was forked
