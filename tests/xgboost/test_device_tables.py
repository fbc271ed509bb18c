"""FocalClassifier and its search on tables in the memory of a GPU: as on the same tables in host memory.

Where there is no GPU, the stand-in for CuPy holds the tables, and an XGBClassifier that takes nothing else: it looks at
what it is given, copies it, and trains on the processor.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from lightgbm import LGBMClassifier
from tables import draw

from focal_boost import FocalClassifier, FocalClassifierCV, kernels
from focal_boost.xgboost import rounds

NAMES = np.array(["no", "perhaps", "yes"])
SETTINGS = {"n_estimators": 12, "max_depth": 3, "n_jobs": 1}


class OnDevice(xgb.XGBClassifier):
    """Takes tables on the device alone, and predicts into its memory, as XGBoost does there."""

    def fit(self, X, y, *, eval_set=None, **fit_params):
        pairs = None if eval_set is None else [(to_host(pair[0]), pair[1]) for pair in eval_set]
        return super().fit(to_host(X), y, eval_set=pairs, **fit_params)

    def predict(self, X, **predict_params):
        return kernels.for_gpu().asarray(super().predict(to_host(X), **predict_params))


def to_host(X):
    if isinstance(X, CudfFrame):
        return pd.DataFrame(X)
    assert isinstance(X, kernels.for_gpu().arrays.ndarray)
    return kernels.for_gpu().to_host(X)


class CudfFrame(pd.DataFrame):
    """As much of a data frame of cuDF's as tells that it is one."""

    @property
    def _constructor(self):
        return CudfFrame


class CudfSeries:
    """As much of a series of cuDF's as labels need; NumPy cannot read it."""

    def __init__(self, values):
        self.values = values

    def to_pandas(self):
        return pd.Series(self.values)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a host NumPy array is not allowed")


CudfFrame.__module__ = CudfSeries.__module__ = "cudf.core"


class Foreign:
    """An array of another library, such as PyTorch: memory of a GPU, and nothing that NumPy could use."""

    def __init__(self, array):
        self.array, self.shape, self.ndim = array, array.shape, array.ndim

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__


@pytest.fixture
def estimator(device, monkeypatch):
    """What trains on tables of the device: XGBoost itself where that is a GPU."""
    if device.arrays.__spec__.origin is not None:
        return xgb.XGBClassifier(device="cuda", **SETTINGS)
    monkeypatch.setattr("focal_boost.xgboost.estimator.has_cuda", lambda: True)
    return OnDevice(**SETTINGS)


def host_twin(estimator):
    """The same that trains where the device's one does, from host memory."""
    return xgb.XGBClassifier(**estimator.get_params())


def table(n_classes, n=300, seed=0):
    """Features of few values, so that bins are the same wherever they are made; labels 0 to n_classes - 1."""
    drawn = draw(n, n_classes=n_classes, seed=seed)
    return np.round(drawn.X * 4).astype(np.float32), drawn.y, drawn.weight


def assert_same(device, model, twin, X):
    for method in ("decision_function", "predict_proba"):
        there = getattr(model, method)(device.asarray(X))
        assert isinstance(there, device.arrays.ndarray)
        np.testing.assert_allclose(device.to_host(there), getattr(twin, method)(X), rtol=1e-5, atol=1e-6)
    labels = model.predict(device.asarray(X))
    on_device = model.classes_.dtype.kind in "biuf"
    assert isinstance(labels, device.arrays.ndarray if on_device else np.ndarray)
    np.testing.assert_array_equal(device.to_host(labels) if on_device else labels, twin.predict(X))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", ["array", "foreign", "host labels"])
def test_features_labels_and_weights_may_be_there(device, estimator, n_classes, kind):
    X, y, weight = table(n_classes)
    X_val, y_val, _ = table(n_classes, 100, seed=1)
    to = device.asarray if kind != "foreign" else lambda array: Foreign(device.asarray(array))
    label = (lambda array: NAMES[array]) if kind == "host labels" else to
    model = FocalClassifier(estimator, gamma=2.0)
    model.fit(to(X), label(y), to(weight), eval_set=[(to(X_val), label(y_val))], verbose=False)
    labels = NAMES if kind == "host labels" else np.arange(3)
    twin = FocalClassifier(host_twin(estimator), gamma=2.0)
    twin.fit(X, labels[y], weight, eval_set=[(X_val, labels[y_val])], verbose=False)
    assert_same(device, model, twin, X_val)
    for name, values in twin.evals_result_["validation_0"].items():
        np.testing.assert_allclose(model.evals_result_["validation_0"][name], values, rtol=1e-5)
    score = model.score(to(X_val), label(y_val), to(weight[:100]))
    assert score == pytest.approx(twin.score(X_val, labels[y_val], weight[:100]))


def test_rows_are_held_out_there(device, estimator):
    X, y, weight = table(2)
    groups = np.arange(len(y)) // 3
    for given in ({}, {"groups": groups}):
        model = FocalClassifier(estimator, gamma=2.0, validation_fraction=0.2)
        there = {name: device.asarray(value) for name, value in given.items()}
        model.fit(device.asarray(X), device.asarray(y), device.asarray(weight), **there)
        twin = FocalClassifier(host_twin(estimator), gamma=2.0, validation_fraction=0.2).fit(X, y, weight, **given)
        assert model.n_rounds_ == twin.n_rounds_
        assert_same(device, model, twin, X)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "average_precision", "accuracy"])
def test_the_search_scores_there(device, estimator, scoring):
    X, y, weight = table(2)
    search = functools.partial(FocalClassifierCV, gammas=(0, 2), cv=2, early_stopping_rounds=3, scoring=scoring)
    model = search(estimator).fit(device.asarray(X), device.asarray(y), device.asarray(weight))
    twin = search(host_twin(estimator)).fit(X, y, weight)
    assert model.best_params_ == twin.best_params_
    np.testing.assert_allclose(
        model.cv_results_["mean_test_score"], twin.cv_results_["mean_test_score"], rtol=1e-4, atol=1e-6
    )
    assert model.score(device.asarray(X), device.asarray(y)) == pytest.approx(twin.score(X, y), rel=1e-4)
    assert_same(device, model, twin, X)


def test_a_frame_of_cudf_stays_one(device, estimator):
    if not isinstance(estimator, OnDevice):
        pytest.skip("of a stand-in for cuDF")
    X, y, _ = table(2)
    names = [f"f{i}" for i in range(X.shape[1])]
    frame = CudfFrame(X, columns=names)
    model = FocalClassifier(estimator, gamma=2.0, validation_fraction=0.2).fit(frame, CudfSeries(NAMES[y]))
    twin = FocalClassifier(host_twin(estimator), gamma=2.0, validation_fraction=0.2)
    twin.fit(pd.DataFrame(X, columns=names), NAMES[y])
    np.testing.assert_array_equal(device.to_host(model.predict_proba(frame)), twin.predict_proba(pd.DataFrame(frame)))
    assert model.score(frame, CudfSeries(NAMES[y])) == twin.score(pd.DataFrame(frame), NAMES[y])
    assert list(model.feature_names_in_) == names


def test_columns_of_labels_there(device, estimator):
    X, y, _ = table(3)
    labels = np.eye(3, dtype=np.int64)[y]
    model = FocalClassifier(estimator).fit(device.asarray(X), device.asarray(labels))
    twin = FocalClassifier(host_twin(estimator)).fit(X, labels)
    np.testing.assert_array_equal(device.to_host(model.predict(device.asarray(X))), twin.predict(X))


def test_what_is_wrong_with_such_a_table(device, estimator):
    X, y, _ = table(2)
    there = device.asarray(X)
    model = FocalClassifier(estimator)
    with pytest.raises(ValueError, match=r"Expected 2D array, got 1D array instead: X is a "):
        model.fit(there[:, 0], y)
    with pytest.raises(ValueError, match="y has 10 labels, but X has 300 rows"):
        model.fit(there, device.asarray(y[:10]))
    with pytest.raises(ValueError, match="only one class"):
        model.fit(there, device.asarray(np.zeros(300)))
    with pytest.raises(ValueError, match="sample_weight holds"):
        model.fit(there, y, device.asarray(np.full(300, -1.0)))
    model.fit(there, y)
    with pytest.raises(ValueError, match=f"X has 2 features, but FocalClassifier is expecting {X.shape[1]}"):
        model.predict(there[:, :2])
    with pytest.raises(TypeError, match=r"X is a .* in the memory of a GPU, but LightGBM reads host memory.*X\.get"):
        FocalClassifier(LGBMClassifier()).fit(there, y)


def test_an_xgboost_without_cuda_says_so(device, monkeypatch):
    monkeypatch.setattr("focal_boost.xgboost.estimator.has_cuda", lambda: False)
    X, y, _ = table(2)
    with pytest.raises(TypeError, match=r"built for processors alone: install xgboost .*or pass X\.get\(\)"):
        FocalClassifier(xgb.XGBClassifier()).fit(device.asarray(X), y)
    assert rounds.has_cuda() == bool(xgb.build_info().get("USE_CUDA"))
