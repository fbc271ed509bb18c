"""While DaskFocalClassifier trains: metrics, early stopping, what is refused, workers that die."""

from __future__ import annotations

import os

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.utils import get_tags
from tables import draw

from focal_boost import FocalClassifier
from focal_boost._adapter import import_adapter

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from clusters import NAMES, LightGBM, XGBoost, each_library, each_task, sorted_by_class, start_cluster, uneven  # noqa: E402

from focal_boost.dask import DaskFocalClassifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of ports and of pandas


#
# Metrics and early stopping


def rows(y_true, y_proba, sample_weight=None):
    """Not a mean over rows: how many there are where it is called."""
    distributed.get_worker().log_event("rows", len(y_true))
    return float(len(y_true))


def as_lightgbm_metric(function):
    def metric(y_true, y_proba, sample_weight):
        return function.__name__, function(y_true, y_proba, sample_weight), False

    return metric


@each_library
@each_task
def test_early_stopping_is_the_same_on_all_workers(client, place, library, n_classes):
    """One evaluation set lies on one worker, the other unevenly on both; values are those over all rows."""
    table, valid = sorted_by_class(n_classes), draw(600, n_classes=n_classes, seed=1)
    X, y = uneven(place, table.X), uneven(place, NAMES[table.y])
    two = uneven(place, valid.X, (500,), (0, 1)), uneven(place, NAMES[valid.y], (500,), (0, 1))
    weight_two = uneven(place, valid.weight, (500,), (0, 1))
    one = place([(valid.X[:400], 1)]), place([(NAMES[valid.y[:400]], 1)])
    stop = {"early_stopping_rounds": 3} if library is XGBoost else {}
    estimator = library.there(n_estimators=400, learning_rate=0.5, **stop)
    model = DaskFocalClassifier(estimator, client=client, gamma=1.0)
    model.fit(
        X,
        y,
        eval_set=[two, one],
        **{library.weights: [weight_two, da.ones(400, chunks=400)]},
        **library.quiet(**library.stop(3)),
    )
    assert 1 < model.best_iteration_ < 200
    assert list(model.evals_result_) == list(library.names)
    best = model.n_rounds_ - 1
    margins, margins_one = model.decision_function(valid.X), model.decision_function(valid.X[:400])
    log_two, log_one = (model.evals_result_[name] for name in library.names)
    exact = {"rel": 1e-5}
    name = import_adapter("xgboost" if library is XGBoost else "lightgbm").log_loss_name(n_classes)
    assert list(log_two) == list(log_one) == [name]
    assert log_two[name][best] == pytest.approx(model.loss_.log_loss(valid.y, margins, valid.weight), **exact)
    assert log_one[name][best] == pytest.approx(model.loss_.log_loss(valid.y[:400], margins_one), **exact)
    # the library's rule, on these values: one of the sets (XGBoost: the last) had no better round for three
    stops = [np.argmin(log[name]) for log in (log_one, *([log_two] if library is LightGBM else []))]
    assert best in stops
    assert len(log_one[name]) == best + 4


def test_lightgbm_stops_by_an_area_over_all_rows_and_callbacks_keep_what_they_see(client, place):
    """An area under a curve is no mean over rows; the training set is told apart and decides nothing."""
    table, valid = sorted_by_class(2), draw(600, seed=1)
    X, y = uneven(place, table.X), uneven(place, table.y)
    pair = uneven(place, valid.X, (500,), (0, 1)), uneven(place, valid.y, (500,), (0, 1))
    weight = uneven(place, valid.weight, (500,), (0, 1))

    def auc(y_true, y_proba, sample_weight):
        return "auc", roc_auc_score(y_true, y_proba, sample_weight=sample_weight), True

    log: dict = {}
    client_process, rounds = os.getpid(), []

    def plain(env):
        if os.getpid() != client_process:
            raise AssertionError("called on a worker, after a round that has no scores yet")
        rounds.append(env.iteration)

    callbacks = [lgb.early_stopping(3, verbose=False), lgb.record_evaluation(log), plain]
    # Where a worker fails the others wait for it, a minute instead of two hours.
    estimator = LightGBM.there(n_estimators=60, learning_rate=0.5, metric="None", time_out=1)
    model = DaskFocalClassifier(estimator, client=client)
    model.fit(
        X,
        y,
        eval_set=[(X, y), pair],
        eval_sample_weight=[None, weight],
        eval_metric=auc,
        callbacks=callbacks,
    )
    scores = model.evals_result_["valid_1"]["auc"]
    assert log == model.evals_result_
    assert list(log) == ["training", "valid_1"]
    assert model.best_iteration_ == np.argmax(scores) + 1 == len(scores) - 3
    assert rounds[: len(scores) - 1] == list(range(len(scores) - 1))
    assert model.estimator_.best_score_["valid_1"] == {"auc": max(scores)}
    found = model.predict_proba(valid.X)[:, 1]
    assert max(scores) == pytest.approx(roc_auc_score(valid.y, found, sample_weight=valid.weight), rel=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_lightgbm_start_margins_of_rows_count_in_scores(client, place, n_classes):
    table, valid = sorted_by_class(n_classes), draw(600, n_classes=n_classes, seed=1)
    shape = (1,) if n_classes == 2 else (1, n_classes)
    starts = [np.squeeze(one.X[:, :1] * np.linspace(-0.5, 1.0, n_classes)[-shape[-1] :]) for one in (table, valid)]
    X, y, start = (uneven(place, values) for values in (table.X, table.y, starts[0]))
    others = [uneven(place, values, (500,), (0, 1)) for values in (valid.X, valid.y, starts[1])]
    model = DaskFocalClassifier(LightGBM.there(n_estimators=4), client=client)
    model.fit(X, y, init_score=start, eval_set=[others[:2]], eval_init_score=[others[2]])
    ((scores,),) = (log.values() for log in model.evals_result_.values())
    margins = model.estimator_.booster_.predict(valid.X, raw_score=True) + starts[1]
    assert scores[-1] == pytest.approx(model.loss_.log_loss(valid.y, margins), rel=1e-9)
    assert abs(scores[-1] - model.loss_.log_loss(valid.y, margins - starts[1])) > 1e-3


def test_lightgbm_sets_that_share_half_of_the_training_data_are_not_the_training_set(client, place):
    """Nor are its features with other labels, or its labels with other features."""
    table = sorted_by_class(2)
    X, other, y = (uneven(place, values) for values in (table.X, table.X[:, ::-1].copy(), table.y))
    model = DaskFocalClassifier(LightGBM.there(n_estimators=4), client=client)
    model.fit(X, y, eval_set=[(X, 1 - y), (other, y), (X, y)])
    assert list(model.evals_result_) == ["valid_0", "valid_1", "training"]
    first, second, training = (log["binary_logloss"][-1] for log in model.evals_result_.values())
    assert training < second < first


def test_lightgbm_sets_without_a_metric_are_no_obstacle(client, place):
    """As on one machine: there is nothing to report, of a training that goes on from another, too."""
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)
    model = DaskFocalClassifier(LightGBM.there(n_estimators=3, metric="None"), client=client)
    plain = model.fit(X, y, eval_set=[(X, y)])
    assert plain.evals_result_ == {}
    more = clone(model).fit(X, y, eval_set=[(X, y)], init_model=plain)
    assert more.evals_result_ == {}
    assert more.n_rounds_ == 6


@each_library
def test_several_labels_a_row_are_not_promised(library):
    assert not get_tags(DaskFocalClassifier(library.there())).classifier_tags.multi_label


@each_library
def test_metric_functions_see_probabilities_of_all_rows(client, place, library):
    """XGBoost has means over the rows of workers, LightGBM calls them with all rows."""
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)

    def squared(y_true, y_proba, sample_weight=None):
        return float(np.average((y_true - y_proba) ** 2, weights=sample_weight))

    def train(metric):
        if library is XGBoost:  # which takes one function
            estimator, options = library.there(eval_metric=["auc", metric]), {"verbose": False}
        else:
            estimator, options = library.there(), {"eval_metric": [as_lightgbm_metric(metric)]}
        model = DaskFocalClassifier(estimator, client=client).fit(X, y, eval_set=[(X, y)], **options)
        return model, model.evals_result_[library.training][metric.__name__][-1]

    model, found = train(squared)
    assert found == pytest.approx(squared(table.y, model.predict_proba(table.X)[:, 1]), rel=1e-5)
    before = len(client.get_events("rows"))
    _, found = train(rows)
    seen = {int(event) for _, event in client.get_events("rows")[before:]}
    assert sum(seen) == 2000
    if library is LightGBM:
        assert found == 2000
        return
    # 1500 rows on one worker and 500 on the other, unless the scheduler has moved a chunk
    assert len(seen) == 2
    assert found == pytest.approx(sum(rows**2 for rows in seen) / 2000)


@each_library
def test_a_metric_that_fails_ends_training(client, place, library):
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)

    def failing(y_true, y_proba, sample_weight=None):
        if library is LightGBM or distributed.get_worker().name == 0:
            raise ZeroDivisionError("broken metric")
        return 0.0

    estimator = library.there(**({"eval_metric": failing} if library is XGBoost else {}))
    options = {"verbose": False} if library is XGBoost else {"eval_metric": as_lightgbm_metric(failing)}
    with pytest.raises((ZeroDivisionError, library.error)):
        DaskFocalClassifier(estimator, client=client).fit(X, y, eval_set=[(X, y)], **options)
    again = DaskFocalClassifier(library.there(n_estimators=2), client=client).fit(X, y, **library.quiet())
    assert again.predict(X).compute().shape == (2000,)


#
# What is refused


@each_library
def test_what_cannot_be_trained_is_refused_and_changes_nothing(client, place, library):
    table = sorted_by_class(2)
    X, y = uneven(place, table.X), uneven(place, table.y)
    model = DaskFocalClassifier(library.there(n_estimators=2), client=client).fit(X, y, **library.quiet())
    before = model.predict_proba(table.X)

    def refused(error, match, *data, **options):
        with pytest.raises(error, match=match):
            model.fit(*data, **options)
        np.testing.assert_array_equal(model.predict_proba(table.X), before)

    half = place([(table.y[:1000], 0)])
    refused(TypeError, "X is a ndarray, not a Dask array or data frame", table.X, y)
    refused(TypeError, "y of the training data is a ndarray", X, table.y)
    refused(ValueError, "y to be passed", X, None)
    refused(ValueError, "4 partitions, but y has 1", X, half)
    refused(ValueError, "partition 0 of y|partition 0 of X", X, uneven(place, table.y, (600, 750, 1500)))
    refused(ValueError, "only one class, \\[0\\]", X, y * 0)
    refused(ValueError, "sample_weight holds -1", X, y, y * 0 - 1)
    refused(ValueError, "zero in every row", X, y, y * 0)
    refused(ValueError, "eval_set\\[0\\] hold \\[7\\]", X, y, eval_set=[(X, y * 7)])
    refused(ValueError, "weights of eval_set\\[0\\] are zero", X, y, eval_set=[(X, y)], **{library.weights: [y * 0]})
    refused(ValueError, "has 1 entries, but there are 2", X, y, eval_set=[(X, y)] * 2, **{library.weights: [y]})
    refused(ValueError, "rows of only one class, \\[0\\]", X, y, 1 - y)
    refused(ValueError, "y holds None in row", X, uneven(place, np.where(table.y == 1, None, "a")))
    refused(ValueError, "2 dimensions, not one: pass one value a row", X, X)
    other = FocalClassifier(library.here(n_estimators=2)).fit(table.X, NAMES[table.y])
    earlier = library.earlier
    refused(ValueError, f"{earlier} is a model with classes_", X, y, **{earlier: other})
    other = FocalClassifier(library.here(n_estimators=2)).fit(table.X[:, 1:], table.y)
    refused(ValueError, f"{earlier} is a model with n_features_in_ 7", X, y, **{earlier: other})
    if library is LightGBM:
        evaluated = {"eval_set": [(X, y)]}
        refused(ValueError, "not 2 different names", X, y, eval_set=[(X, y)] * 2, eval_names=["a", "a"])
        refused(TypeError, "pass eval_sample_weight", X, y, **evaluated, eval_class_weight=["balanced"])
        refused(ValueError, "'auc' is not computed.*roc_auc_score", X, y, **evaluated, eval_metric="auc")
        refused(ValueError, "no eval_set to judge by", X, y, callbacks=[lgb.early_stopping(3)])
        refused(TypeError, "not a list of functions", X, y, callbacks=lgb.early_stopping(3), **evaluated)
    refused(ValueError, "is not a pair", X, y, eval_set=[X])
    refused(TypeError, "unexpected keyword argument 'feval'", X, y, feval=None)
    refused(ValueError, "NaN", X, uneven(place, np.where(table.y == 1, np.nan, 0.0)))
    model.set_params(gamma=-1)
    refused(ValueError, "gamma=-1", X, y)
    model.set_params(gamma=2.0, estimator=library.here())
    refused(TypeError, "FocalClassifier takes those for one machine", X, y)
    model.set_params(estimator=library.there(scale_pos_weight=3))
    refused(ValueError, "scale_pos_weight=3", X, y)
    if library is LightGBM:
        model.set_params(estimator=library.there(class_weight={"spam": 2.0}))
        refused(ValueError, "not in class_weight", X, y)


def test_unknown_categories_are_refused(client):
    frame = dd.from_pandas(pd.DataFrame({"kind": list("xyxy"), "p": [1.0, 2, 3, 4]}), npartitions=2)
    frame["kind"] = frame["kind"].astype("category")
    with pytest.raises(ValueError, match="categories of column 'kind' of X are not known"):
        DaskFocalClassifier(client=client).fit(frame, frame["p"])


#
# A worker dies


class Die(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        die(epoch)
        return False


def die(iteration):
    if iteration == 2 and distributed.get_worker().name == 1:
        os._exit(1)


def die_in_lightgbm(env):
    die(env.iteration)


die_in_lightgbm.before_iteration = True  # those that come after a round are called by the client


@pytest.fixture
def mortal():
    """A cluster of its own, whose workers die."""
    with start_cluster() as cluster, distributed.Client(cluster) as client:
        yield client


@each_library
def test_a_killed_worker_ends_training_as_it_does_for_the_built_in_objective(mortal, library):
    table = draw(800)
    callbacks = {} if library is XGBoost else {"callbacks": [die_in_lightgbm]}
    # LightGBM's survivor may wait for the dead one, two hours if it is not told otherwise; these are minutes.
    own = {"callbacks": [Die()]} if library is XGBoost else {"time_out": 1}
    endings = []
    for focal in (False, True):
        mortal.wait_for_workers(2, timeout=60)
        # So many chunks that either worker gets some of them.
        X, y = da.from_array(table.X, chunks=(50, 8)), da.from_array(table.y, chunks=50)
        model = library.there(n_estimators=3000, **own)
        model.client = mortal
        options = library.quiet(**callbacks)
        if focal:
            model = DaskFocalClassifier(model, client=mortal)
        with pytest.raises(library.error) as error:
            model.fit(X, y, **options)
        endings.append(error.value)
        assert mortal.submit(sum, [1, 2], pure=False).result(timeout=60) == 3
    assert type(endings[0]) is type(endings[1])
    assert "Workers left the cluster during training" in endings[1].__notes__[0]
