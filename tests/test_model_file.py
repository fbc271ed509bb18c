"""Saved models: the same after loading, whatever the booster, and nothing but a clear error from any other file."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import random
import sys
import warnings
import zipfile

import fresh
import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost as xgb
from classifiers import each_booster, each_estimator, each_task, forest, lightgbm, quiet, xgboost
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from tables import draw

import focal_boost
from focal_boost import FocalClassifier, FocalClassifierCV, _saving

SCHEMA = "schema.json"


def round_trip(model, folder):
    model.save(folder / "model.focal")
    return FocalClassifier.load(folder / "model.focal")


def assert_same(loaded, model, X):
    np.testing.assert_array_equal(loaded.decision_function(X), model.decision_function(X))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.feature_importances_, model.feature_importances_)
    np.testing.assert_array_equal(loaded.estimator_.predict_proba(X), model.estimator_.predict_proba(X))
    assert loaded.classes_.dtype.kind == model.classes_.dtype.kind
    assert loaded.loss_ == model.loss_
    assert loaded.evals_result_ == model.evals_result_
    assert loaded.best_iteration_ == model.best_iteration_
    assert loaded.n_features_in_ == model.n_features_in_
    assert vars(loaded).keys() == vars(model).keys()


#
# There and back


@pytest.mark.filterwarnings("ignore:.*XGBRFClassifier:FutureWarning")  # of whoever builds one, as clone does
@each_estimator
@each_task
def test_loaded_model_is_the_model(make, n_classes, tmp_path):
    table = draw(400, n_classes=n_classes)
    X = np.where(np.abs(table.X) < 0.1, np.nan, table.X)
    model = FocalClassifier(make(max_depth=3), gamma=1.3, alpha="balanced", max_step=None, hessian="exact")
    model.fit(X, table.y, eval_set=[(X, table.y)], **quiet(make))
    loaded = round_trip(model, tmp_path)
    assert_same(loaded, model, X)
    check_is_fitted(loaded)
    assert repr(loaded.get_params()) == repr(model.get_params())
    assert repr(loaded.estimator_.get_params()) == repr(model.estimator_.get_params())
    assert_same(pickle.loads(pickle.dumps(loaded)), model, X)
    assert_same(round_trip(loaded, tmp_path), model, X)
    with pytest.raises(NotFittedError):
        check_is_fitted(clone(loaded))
    np.testing.assert_array_equal(clone(loaded).fit(X, table.y).decision_function(X), model.decision_function(X))
    np.testing.assert_array_equal(loaded.fit(X, table.y).decision_function(X), model.decision_function(X))


LABELS = {
    "int64": [-5, 0, 10**15],
    "int8": np.array([-1, 0, 1], dtype=np.int8),
    "uint64": np.array([0, 1, 2**64 - 1], dtype=np.uint64),
    "float32": np.array([0.1, 0.2, 0.3], dtype=np.float32).round(0) + [0, 1, 2],
    "bool": [False, True],
    "str": ["na\u00efve", "rare \U0001f600", "z\n"],
    "object": np.array(["no", "rare", "some"], dtype=object),
    "dates": np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]"),
}


@each_booster
@pytest.mark.parametrize("kind", LABELS)
def test_labels_keep_values_and_dtype(make, kind, tmp_path):
    labels = np.asarray(LABELS[kind])
    table = draw(200, n_classes=len(labels))
    model = FocalClassifier(make(n_estimators=2)).fit(table.X, labels[table.y])
    loaded = round_trip(model, tmp_path)
    assert loaded.classes_.dtype == model.classes_.dtype
    assert_same(loaded, model, table.X)


@each_booster
@each_task
def test_early_stopping(make, n_classes, tmp_path):
    table, valid = draw(800, n_classes=n_classes), draw(400, n_classes=n_classes, seed=1)
    stop = {} if make is lightgbm else {"early_stopping_rounds": 5}
    callbacks = {"callbacks": [lgb.early_stopping(5, first_metric_only=True, verbose=False)]}
    model = FocalClassifier(make(n_estimators=300, learning_rate=0.5, **stop)).fit(
        table.X, table.y, eval_set=[(valid.X, valid.y)], **(callbacks if make is lightgbm else quiet(make))
    )
    loaded = round_trip(model, tmp_path)
    assert loaded.best_iteration_ is not None
    assert loaded.n_rounds_ == model.n_rounds_ < 290
    assert_same(loaded, model, valid.X)
    rounds = {"num_iteration": 7} if make is lightgbm else {"iteration_range": (0, 7)}
    np.testing.assert_array_equal(
        loaded.decision_function(valid.X, **rounds), model.decision_function(valid.X, **rounds)
    )
    assert loaded.evals_result_
    best = "best_iteration_" if make is lightgbm else "best_iteration"
    assert getattr(loaded.estimator_, best) == getattr(model.estimator_, best)
    assert (loaded.estimator_.best_score_ if make is lightgbm else loaded.estimator_.best_score) == (
        model.estimator_.best_score_ if make is lightgbm else model.estimator_.best_score
    )


CATEGORIES = {
    "strings": ["high", "low", "mid"],  # XGBoost 3.2 re-codes only ASCII
    "integers": [3, 5, 900],
    "floats": [0.5, 1.5, 2.25],
}


@each_booster
@each_task
@pytest.mark.parametrize("kind", CATEGORIES)
def test_data_frames_with_categories(make, n_classes, kind, tmp_path):
    if make is xgboost and kind == "floats":
        pytest.skip("XGBoost takes no categories that are floats")
    table = draw(500, n_classes=n_classes)
    frame = pd.DataFrame(table.X, columns=[f"c {i}" if make is xgboost else f"c{i}" for i in range(8)])
    values = pd.Series(CATEGORIES[kind], dtype=object)
    frame[frame.columns[0]] = pd.Categorical(values.to_numpy()[np.digitize(table.X[:, 0], [-0.5, 0.5])])
    extra = {"enable_categorical": True} if make is xgboost else {}
    model = FocalClassifier(make(**extra)).fit(frame, table.y)
    loaded = round_trip(model, tmp_path)
    assert_same(loaded, model, frame)
    np.testing.assert_array_equal(loaded.feature_names_in_, model.feature_names_in_)
    assert loaded.feature_names_in_.dtype == object
    if make is lightgbm:
        np.testing.assert_array_equal(loaded.estimator_.feature_names_in_, model.estimator_.feature_names_in_)
    # other codes for the same categories
    column = frame.columns[0]
    turned = frame.assign(**{column: frame[column].cat.reorder_categories(CATEGORIES[kind][::-1])})
    np.testing.assert_array_equal(loaded.decision_function(turned), model.decision_function(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[frame.columns[::-1]])


KINDS = [
    xgboost(booster="dart", rate_drop=0.5),
    xgboost(booster="gblinear"),
    xgboost(max_leaves=5),
    xgboost(multi_strategy="multi_output_tree"),
    xgboost(random_state=np.random.RandomState(0), subsample=0.5),
    lightgbm(boosting_type="dart", drop_rate=0.5),
    lightgbm(linear_tree=True),
    lightgbm(data_sample_strategy="goss"),
    lightgbm(random_state=np.random.RandomState(0), subsample=0.5, subsample_freq=1),
]


@each_task
@pytest.mark.parametrize(
    "estimator", KINDS, ids=[" ".join(map(str, kind.get_params().values()))[:30] for kind in KINDS]
)
@pytest.mark.filterwarnings("ignore:.*gblinear.*deprecated:UserWarning")
def test_kinds_of_boosters(estimator, n_classes, tmp_path):
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(estimator).fit(table.X, table.y)
    assert_same(round_trip(model, tmp_path), model, table.X)


@each_booster
def test_what_holds_a_model_is_saved_too(make, tmp_path):
    table = draw(300)
    names = np.array(["no", "yes"])[table.y]
    for model in (
        make_pipeline(StandardScaler(), FocalClassifier(make(n_estimators=5))),
        CalibratedClassifierCV(FocalClassifier(make(n_estimators=5)), cv=2),
        make_pipeline(StandardScaler(), FocalClassifierCV(make(n_estimators=5), cv=2, early_stopping_rounds=None)),
    ):
        model.fit(table.X, names)
        focal_boost.save(model, tmp_path / "model.focal")
        loaded = focal_boost.load(tmp_path / "model.focal")
        np.testing.assert_array_equal(loaded.predict_proba(table.X), model.predict_proba(table.X))
        np.testing.assert_array_equal(loaded.predict(table.X), model.predict(table.X))
        with pytest.raises(ValueError, match=f"holds a {type(model).__name__}, not a FocalClassifier"):
            FocalClassifier.load(tmp_path / "model.focal")


@pytest.mark.filterwarnings("ignore:class_weight=:UserWarning")
@each_booster
def test_parameters_of_all_types(make, tmp_path):
    table = draw(300)
    monotone = (1, 0, 0, 0, 0, 0, 0, -1)
    extra = {"class_weight": {0: 1.0, 1: 2.5}} if make is lightgbm else {"missing": -1.0}
    model = FocalClassifier(make(monotone_constraints=monotone, random_state=np.int64(3), **extra), gamma=np.float32(1))
    model.fit(table.X, table.y)
    loaded = round_trip(model, tmp_path)
    assert loaded.estimator.monotone_constraints == monotone
    assert {name: loaded.estimator.get_params()[name] for name in extra} == extra
    assert_same(loaded, model, table.X)
    for alpha in ({0: 1.0, 1: 3.0}, [1.0, 3.0], (1.0, 3.0), np.array([1.0, 3.0]), 0.3, "balanced", None):
        model = FocalClassifier(make(n_estimators=2), alpha=alpha).fit(table.X, table.y)
        loaded = round_trip(model, tmp_path)
        assert type(loaded.alpha) is type(alpha)
        np.testing.assert_equal(loaded.alpha, alpha)


class Quiet(xgb.callback.TrainingCallback):
    """A callback of the user's own."""


class Mine(lgb.LGBMClassifier):
    """An estimator of the user's own."""


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (xgboost(callbacks=[Quiet()], n_estimators=2), "test_model_file.Quiet"),
        (xgboost(eval_metric=sorted, n_estimators=2), "builtins.sorted"),
        (Mine(n_estimators=2, verbosity=-1, n_jobs=1), "test_model_file.Mine"),
    ],
)
def test_what_load_would_not_trust_is_not_written(estimator, named, tmp_path):
    table = draw(200)
    model = FocalClassifier(estimator).fit(table.X, table.y)
    with pytest.raises(ValueError, match=f"the model holds .*{named}.*, which load would not trust: take callbacks"):
        model.save(tmp_path / "model.focal")
    assert not list(tmp_path.iterdir())
    if isinstance(estimator, xgb.XGBClassifier):  # as the message says
        model.set_params(estimator__callbacks=None, estimator__eval_metric=None)
        model.estimator_.set_params(callbacks=None, eval_metric=None)
        assert_same(round_trip(model, tmp_path), model, table.X)


@pytest.mark.filterwarnings("ignore:class_weight=:UserWarning")
@pytest.mark.parametrize("labels", [np.array([False, True]), np.array([0, 1]), np.array(["no", "yes"])], ids=str)
def test_keys_that_skops_would_lose_are_refused(labels, tmp_path):
    table = draw(200)
    weights = dict(zip(labels.tolist(), (1.0, 3.0), strict=True))
    for model in (
        FocalClassifier(xgboost(n_estimators=2), alpha=weights),
        FocalClassifier(lightgbm(n_estimators=2, class_weight=weights)),
    ):
        model.fit(table.X, labels[table.y])
        if labels.dtype == bool:
            with pytest.raises(ValueError, match="True, False or None among its keys"):
                model.save(tmp_path / "model.focal")
        else:
            loaded = round_trip(model, tmp_path)
            assert (loaded.alpha, loaded.estimator.get_params()) == (model.alpha, model.estimator.get_params()) or (
                repr(loaded.get_params()) == repr(model.get_params())
            )


def test_what_skops_has_no_form_for(tmp_path):
    model = FocalClassifier(lightgbm(n_estimators=2)).fit(*draw(200)[:2])
    model.evals_result_ = (x for x in "ab")
    with pytest.raises(ValueError, match="no form for: .*generator.*use pickle"):
        model.save(tmp_path / "model.focal")
    with pytest.raises(NotFittedError):
        FocalClassifier().save(tmp_path / "model.focal")
    assert not list(tmp_path.iterdir())


@each_booster
@pytest.mark.parametrize("gamma", [(0.5, 2.0), {"yes": 2.0, "no": 0.5}, np.array([0.5, 2.0])], ids=repr)
def test_gamma_of_each_class_comes_back(make, gamma, tmp_path):
    table = draw(300)
    model = FocalClassifier(make(), gamma=gamma).fit(table.X, np.array(["no", "yes"])[table.y])
    model.save(tmp_path / "model.focal")
    loaded = FocalClassifier.load(tmp_path / "model.focal")
    assert repr(loaded.gamma) == repr(gamma)
    assert loaded.loss_ == model.loss_
    assert loaded.loss_.gamma == (0.5, 2.0)
    np.testing.assert_array_equal(loaded.predict_proba(table.X), model.predict_proba(table.X))


@each_booster
@each_task
def test_the_boosters_own_file_carries_the_probabilities(make, n_classes, tmp_path):
    """The other way: no focal_boost where the model is used."""
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(make(), alpha="balanced").fit(table.X, np.array(["no", "rare", "some"])[table.y])
    np.save(tmp_path / "X.npy", table.X)
    if make is lightgbm:
        model.estimator_.booster_.save_model(tmp_path / "model.txt")
        found = "import lightgbm; p = lightgbm.Booster(model_file='model.txt').predict(X)"
    else:
        model.estimator_.save_model(tmp_path / "model.ubj")
        found = "import xgboost; m = xgboost.XGBClassifier(); m.load_model('model.ubj'); p = m.predict_proba(X)"
    script = f"""
        import sys
        sys.modules["focal_boost"] = None
        import numpy
        X = numpy.load("X.npy")
        {found}
        numpy.save("p.npy", p)
    """
    fresh.run(script, imported=fresh.BOOSTERS, cwd=tmp_path)
    proba = np.load(tmp_path / "p.npy")
    expected = model.predict_proba(table.X)
    # XGBoost subtracts from 1 in single precision.
    np.testing.assert_allclose(proba, expected[:, 1] if proba.ndim == 1 else expected, rtol=1e-6, atol=1e-7)


#
# Writing


@pytest.fixture(scope="module", params=[lightgbm, xgboost, forest], ids=lambda make: make.__name__)
def saved(request, tmp_path_factory):
    table = draw(200, n_classes=3)
    model = FocalClassifier(request.param(n_estimators=3, max_depth=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # forests are deprecated in XGBoost 3.4
        model.fit(table.X, np.array(["a", "b", "c"])[table.y])
    path = tmp_path_factory.mktemp("saved") / "model.focal"
    model.save(path)
    return model, table.X, path.read_bytes()


def test_overwriting_keeps_permissions_and_follows_links(saved, tmp_path):
    model, X, _ = saved
    path, link = tmp_path / "model.focal", tmp_path / "link"
    path.write_bytes(b"before")
    path.chmod(0o640)
    link.symlink_to(path)
    model.save(link)
    assert link.is_symlink()
    np.testing.assert_array_equal(FocalClassifier.load(path).predict_proba(X), model.predict_proba(X))
    assert path.stat().st_mode & 0o777 == 0o640
    (tmp_path / "plain").write_bytes(b"")
    model.save(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(saved, tmp_path, monkeypatch, step):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    model, _, _ = saved
    path = tmp_path / "model.focal"
    path.write_bytes(b"before")
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (_saving.Path, "replace")), interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.save(path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(saved, tmp_path):
    model, _, _ = saved
    with pytest.raises(IsADirectoryError, match="is a folder"):
        model.save(tmp_path)
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "none" / "model.focal")
    assert not list(tmp_path.iterdir())


#
# Reading what is none


def refusal(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is no model that focal_boost\.save wrote, or it is damaged") as error:
        FocalClassifier.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


def changed(content, change):
    """The file with another schema, checksums of the archive right: what only malice makes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[SCHEMA] = change(parts[SCHEMA].decode()).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"PK", b"PK\x05\x06" + bytes(18), b"tree\nversion=v4\n" * 10, b"{}" * 50, bytes(500)),
        *(pickle.dumps(list(range(50))), b"PK\x03\x04" + bytes(500)),
    ],
)
def test_other_files_are_named(content, tmp_path):
    refusal(tmp_path, content)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        FocalClassifier.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        FocalClassifier.load(tmp_path)


def test_a_file_of_0_1_0_is_named(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("focal_boost.json", json.dumps({"format": "focal_boost model", "version": 1}))
        archive.writestr("booster.txt", "tree")
    assert "written by focal_boost 0.1.0, whose margins mean something else: train the model" in refusal(
        tmp_path, out.getvalue()
    )


class Marker:
    """Runs when it is built, if anybody lets it."""

    built: list[int] = []

    def __new__(cls):
        cls.built.append(1)
        return super().__new__(cls)

    def __setstate__(self, state):
        self.built.append(1)


@pytest.mark.parametrize("where", ["gamma", "evals_result_", "classes_"])
def test_nothing_is_built_that_is_not_on_the_list(where, tmp_path):
    model = FocalClassifier(lightgbm(n_estimators=2)).fit(*draw(200)[:2])
    for foreign, name in [(Marker(), "test_model_file.Marker"), (os.system, "posix.system"), (exec, "builtins.exec")]:
        setattr(model, where, foreign)
        Marker.built.clear()
        assert name in refusal(tmp_path, skops.io.dumps(model))
        assert not Marker.built


def test_a_method_is_not_called_either(tmp_path):
    model = FocalClassifier(lightgbm(n_estimators=2)).fit(*draw(200)[:2])
    model.gamma = FocalClassifier(lightgbm()).predict
    assert "FocalClassifier.predict" in refusal(tmp_path, skops.io.dumps(model))


def test_a_booster_is_bytes_and_no_path(saved, tmp_path):
    """As a str a library would open the file of that name."""
    model, _, _ = saved
    bare = pickle.loads(pickle.dumps(model))
    state = bare.__getstate__()
    for booster in ("/etc/passwd", 10**12, None):
        with pytest.raises(ValueError, match="not bytes"):
            bare.__setstate__({**state, "estimator_": {**state["estimator_"], "booster": booster}})


def test_a_loss_is_made_anew_by_its_constructor(saved, tmp_path):
    """What kernels are given as a block of memory is never read from a file."""

    def change(schema):
        assert '"_parameters"' not in schema
        return schema.replace('"8.0"', '"-1.0"')

    assert "max_step=-1" in refusal(tmp_path, changed(saved[2], change))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_hundreds_of_mutations(saved, tmp_path):
    """Bytes flipped, cut out, doubled and inserted anywhere: the archive's checksums, skops or the class say so."""
    content = saved[2]
    rng = random.Random(1)
    path = tmp_path / "file"
    outcomes = collections.Counter()
    for _ in range(500):
        data = bytearray(content)
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 30)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 30)]
        else:
            data[at] = rng.choice(b'\x00\xff[]{}",:0-')
        path.write_bytes(data)
        try:
            FocalClassifier.load(path)
        except ValueError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
        else:
            outcomes["same"] += 1  # bytes without a meaning, such as dates in the archive
    assert outcomes["refused"] > 400


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    table = draw(200)
    FocalClassifier(lightgbm(n_estimators=2)).fit(table.X, table.y).save(tmp_path / "model.focal")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lightgbm.sklearn", None)
        with pytest.raises(ImportError, match="needs lightgbm, which is not installed: pip install lightgbm"):
            FocalClassifier.load(tmp_path / "model.focal")
    monkeypatch.setitem(sys.modules, "skops.io", None)
    for call in (lambda: FocalClassifier.load(tmp_path / "model.focal"), lambda: focal_boost.save(3, tmp_path / "x")):
        with pytest.raises(ImportError, match=r"skops, which is not installed: pip install 'focal_boost\[save\]'"):
            call()
