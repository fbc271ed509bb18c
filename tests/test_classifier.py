"""FocalClassifier: labels and features of all kinds, probabilities, real tables."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from classifiers import each_booster, each_estimator, each_task, forest, lightgbm, quiet, xgboost
from scipy.special import expit, softmax
from sklearn.metrics import log_loss
from tables import draw, real

from focal_boost import FocalClassifier

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
# Real tables


@pytest.mark.data
@pytest.mark.parametrize("name", ["thyroid0387", "shuttle7", "avila", "kddcup99_10pct", "smtp_kdd"])
def test_plain_lightgbm_defaults_do_not_diverge(name):
    """The built-in objective ends above the log loss of the class shares on each of these."""
    X, y = real(name)
    rng = np.random.default_rng(0)
    if len(y) > 100_000:  # every row of the rare classes, a tenth of the others
        kept = (np.bincount(y)[y] < 1000) | (rng.random(len(y)) < 1 / 10)
        X, y = X[kept], y[kept]
    test = rng.random(len(y)) < 0.3
    model = FocalClassifier(lgb.LGBMClassifier(verbosity=-1, n_jobs=1)).fit(X[~test], y[~test])
    shares = np.bincount(y[~test]) / np.sum(~test)
    score = log_loss(y[test], model.predict_proba(X[test]), labels=np.arange(len(shares)))
    assert score < 0.5 * -np.log(shares)[y[test]].mean()
