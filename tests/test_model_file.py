"""Saved models: the same after loading, and nothing but a clear error from any other file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from tables import draw
from test_classifier import each_booster, each_estimator, each_task, forest, lightgbm, quiet, xgboost

from focal_boost import FocalClassifier, _container
from focal_boost._plain import decode, encode

DESCRIPTION = "focal_boost.json"


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


def test_labels_without_a_form_are_refused_before_anything_is_written(tmp_path):
    table = draw(200)
    model = FocalClassifier(lightgbm(n_estimators=2)).fit(table.X, table.y)
    model.classes_ = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")
    with pytest.raises(ValueError, match="labels have dtype datetime64"):
        model.save(tmp_path / "model.focal")
    model.classes_ = np.array([b"no", b"yes"])
    with pytest.raises(ValueError, match="labels have dtype"):
        model.save(tmp_path / "model.focal")
    assert not list(tmp_path.iterdir())


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


@each_task
@pytest.mark.parametrize("params", [{"booster": "dart", "rate_drop": 0.5}, {"booster": "gblinear"}, {"max_leaves": 5}])
@pytest.mark.filterwarnings("ignore:.*gblinear.*deprecated:UserWarning")
def test_kinds_of_xgboost(params, n_classes, tmp_path):
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(xgboost(**params)).fit(table.X, table.y)
    loaded = round_trip(model, tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(table.X), model.predict_proba(table.X))


@each_task
@pytest.mark.parametrize(
    "params", [{"boosting_type": "dart", "drop_rate": 0.5}, {"linear_tree": True}, {"data_sample_strategy": "goss"}]
)
def test_kinds_of_lightgbm(params, n_classes, tmp_path):
    table = draw(300, n_classes=n_classes)
    model = FocalClassifier(lightgbm(**params)).fit(table.X, table.y)
    assert_same(round_trip(model, tmp_path), model, table.X)


@pytest.mark.filterwarnings("ignore:class_weight=:UserWarning")
@each_booster
def test_parameters_that_plain_json_would_change(make, tmp_path):
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


def test_what_is_no_plain_data_is_left_out_and_said(tmp_path):
    class Quiet(xgb.callback.TrainingCallback):
        pass

    table = draw(300)
    model = FocalClassifier(xgboost(callbacks=[Quiet()], n_estimators=5)).fit(table.X, table.y)
    with pytest.warns(UserWarning, match=r"not the parameters \['callbacks'\]"):
        model.save(tmp_path / "model.focal")
    loaded = FocalClassifier.load(tmp_path / "model.focal")
    assert_same(loaded, model, table.X)
    assert loaded.estimator.callbacks is None
    assert loaded.estimator.n_estimators == 5


def test_only_the_libraries_own_estimators(tmp_path):
    class Mine(lgb.LGBMClassifier):
        pass

    table = draw(200)
    model = FocalClassifier(Mine(n_estimators=2, verbosity=-1, n_jobs=1)).fit(table.X, table.y)
    with pytest.raises(ValueError, match=r"not classes derived from them"):
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
def test_the_library_reads_the_booster_by_itself(make, tmp_path):
    table = draw(300)
    model = FocalClassifier(make()).fit(table.X, table.y)
    model.save(tmp_path / "model.focal")
    with zipfile.ZipFile(tmp_path / "model.focal") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    expected = model.predict_proba(table.X)[:, 1]
    if make is lightgbm:
        found = lgb.Booster(model_file=str(tmp_path / "booster.txt")).predict(table.X)
    else:
        found = xgb.Booster(model_file=str(tmp_path / "booster.ubj")).predict(xgb.DMatrix(table.X))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


#
# Writing


@pytest.fixture(scope="module", params=[lightgbm, xgboost, forest], ids=lambda make: make.__name__)
def saved(request, tmp_path_factory):
    table = draw(200, n_classes=3)
    model = FocalClassifier(request.param(n_estimators=3, max_depth=2)).fit(table.X, np.array(["a", "b", "c"])[table.y])
    path = tmp_path_factory.mktemp("saved") / "model.focal"
    model.save(path)
    return model, table.X, path.read_bytes()


def test_the_same_model_gives_the_same_bytes(saved, tmp_path):
    model, _, content = saved
    model.save(str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == content


def test_overwriting_keeps_permissions_and_follows_links(saved, tmp_path):
    model, _, content = saved
    path, link = tmp_path / "model.focal", tmp_path / "link"
    path.write_bytes(b"before")
    path.chmod(0o640)
    link.symlink_to(path)
    model.save(link)
    assert link.is_symlink()
    assert path.read_bytes() == content
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
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (_container.Path, "replace")), interrupt)
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


def test_more_than_would_be_read_again_is_not_written(saved, tmp_path, monkeypatch):
    model, _, _ = saved
    for name in ("MAX_DESCRIPTION", "MAX_ITEMS", "MAX_BOOSTER"):
        with monkeypatch.context() as patch, pytest.raises(ValueError, match="would be read again"):
            patch.setattr(_container, name, 20)
            model.save(tmp_path / "model.focal")
    assert not list(tmp_path.iterdir())


#
# Reading what is none

BOOSTER = {"booster.txt", "booster.ubj"}


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(parts, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in parts.items() if isinstance(parts, dict) else parts:
            archive.writestr(name, content)
    return out.getvalue()


def described(content, change):
    """The file with a description that was changed, checksums of the archive right."""
    parts = members(content)
    description = json.loads(parts[DESCRIPTION])
    change(description)
    return pack({**parts, DESCRIPTION: json.dumps(description)})


def with_booster(content, booster):
    """The file with another booster whose checksum is right: what only malice makes."""
    parts = members(content)
    (member,) = BOOSTER & set(parts)
    description = json.loads(parts[DESCRIPTION])
    description["booster"].update(size=len(booster), sha256=hashlib.sha256(booster).hexdigest())
    return pack({DESCRIPTION: json.dumps(description), member: booster})


def refusal(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        FocalClassifier.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"PK\x05\x06" + bytes(18),
        b"tree\nversion=v4\n" * 10,
        b"{}" * 50,
        pickle.dumps(list(range(50))),
        bytes(500),
        b"PK\x03\x04" + bytes(500),
    ],
)
def test_other_files_are_named(content, tmp_path):
    assert "FocalClassifier" in refusal(tmp_path, content)


def test_other_things_than_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        FocalClassifier.load(tmp_path / "none")
    with pytest.raises(ValueError, match="is not a file"):
        FocalClassifier.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is not a file"):
        FocalClassifier.load(tmp_path / "pipe")


def test_archives_that_were_not_written_here(saved, tmp_path):
    content = saved[2]
    parts = members(content)
    (member,) = BOOSTER & set(parts)
    wrong = {
        "other names": {"a": b"", "b": b""},
        "the other order": dict(reversed(parts.items())),
        "one more": {**parts, "more": b""},
        "one less": {DESCRIPTION: parts[DESCRIPTION]},
        "a way out": {DESCRIPTION: parts[DESCRIPTION], "../booster.txt": parts[member]},
        "a root": {"/" + DESCRIPTION: parts[DESCRIPTION], member: parts[member]},
        "pickle": {DESCRIPTION: parts[DESCRIPTION], "booster.pkl": parts[member]},
    }
    for name, other in wrong.items():
        assert "not a saved FocalClassifier" in refusal(tmp_path, pack(other)), name
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = pack([(DESCRIPTION, parts[DESCRIPTION])] * 2)
    assert "not a saved FocalClassifier" in refusal(tmp_path, twice)


def test_a_bomb_is_refused_before_it_expands(saved, tmp_path):
    parts = members(saved[2])
    (member,) = BOOSTER & set(parts)
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        bomb = pack({DESCRIPTION: bytes(50_000_000), member: b""}, compression)
        tracemalloc.start()
        assert "compressed" in refusal(tmp_path, bomb)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()


def test_a_directory_of_a_million_entries_is_not_read(tmp_path):
    entries = 50_000
    entry = b"PK\x01\x02" + bytes(42)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, len(entry) * entries, 4, 0)
    content = b"PK\x03\x04" + entry * entries + end
    tracemalloc.start()
    assert "not a saved FocalClassifier" in refusal(tmp_path, content)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    # the same behind the larger end of zip64, which zipfile would follow
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, len(entry) * entries, 4)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 4 + len(entry) * entries, 1)
    small = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, 92, len(content), 0)
    assert "cut off" in refusal(tmp_path, content[: -len(end)] + end64 + locator + small)


def test_declared_sizes_are_bounded(saved, tmp_path):
    content = bytearray(saved[2])
    directory = content.index(b"PK\x01\x02")
    content[directory + 20 : directory + 28] = struct.pack("<2L", 2**31, 2**31)
    assert "the most there can be" in refusal(tmp_path, bytes(content))
    content[directory + 20 : directory + 28] = struct.pack("<2L", 2**25, 2**25)
    refusal(tmp_path, bytes(content))


def test_descriptions_that_are_no_json_of_ours(saved, tmp_path):
    parts = members(saved[2])
    start = b'{"format": "focal_boost model", "version": 1, "more": '
    for text, reason in {
        b"[" * 100_000 + b"]" * 100_000: "nested too deeply",
        start + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deeply",
        b"[" + b"0," * 5_000_000 + b"0]": "items",
        start + b"NaN}": "NaN is not JSON",
        start + b"-Infinity}": "-Infinity is not JSON",
        start + b"9" * 1_000_000 + b"}": "digits",
        start + b'0, "version": 1}': "occurs twice",
        "{\u00ef}".encode(): "not the JSON",
        b"\xff\xfe": "not the JSON",
        b"": "not the JSON",
        b"null": "not of a FocalClassifier",
        b'"focal_boost model"': "not of a FocalClassifier",
        b'{"format": "other"}': "not of a FocalClassifier",
    }.items():
        tracemalloc.start()
        assert reason in refusal(tmp_path, pack({**parts, DESCRIPTION: text}))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (1, "written by focal_boost 0.1.0, whose margins mean something else: train the model again"),
        (3, "newer focal_boost"),
        (10**9, "newer focal_boost"),
        (0, "does not exist"),
        (True, "exist"),
        ("2", "exist"),
    ],
)
def test_other_versions(saved, tmp_path, version, reason):
    assert reason in refusal(tmp_path, described(saved[2], lambda found: found.update(version=version)))


def test_damage_to_the_booster_is_found(saved, tmp_path):
    parts = members(saved[2])
    (member,) = BOOSTER & set(parts)
    damaged = bytearray(parts[member])
    damaged[len(damaged) // 2] ^= 1
    assert "damaged" in refusal(tmp_path, pack({**parts, member: bytes(damaged)}))
    at = saved[2].index(parts[member]) + 50
    flipped = bytearray(saved[2])
    flipped[at] ^= 1
    assert "damaged" in refusal(tmp_path, bytes(flipped))


def test_every_truncation_is_found(saved, tmp_path):
    content = saved[2]
    for end in [*range(0, len(content), 97), *range(len(content) - 50, len(content))]:
        assert "FocalClassifier" in refusal(tmp_path, content[:end]) or "cut off" in refusal(tmp_path, content[:end])


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_any_value_of_a_description_replaced_by_another_is_refused_or_loads(saved, tmp_path):
    values = [
        None,
        True,
        -1,
        0,
        3,
        2**40,
        1e308,
        "",
        "x",
        [],
        [[]],
        {},
        {"float": "nan"},
        {"tuple": []},
        {"dict": [[1]]},
    ]
    values += [
        {"dict": [["x", 1]]},
        {"array": [1, "a"]},
        {"float": "1"},
        {"x": 1, "y": 2},
        ["a", "b", "c"],
        [1.5, "a", 2],
    ]

    def places(node, path=()):
        yield path
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            yield from places(node[key], (*path, key))

    content = saved[2]
    parts = members(content)
    description = json.loads(parts[DESCRIPTION])
    everywhere = [place for place in places(description) if place]
    rng = random.Random(0)
    loads = refused = 0
    for place in everywhere:
        for value in rng.sample(values, 4):

            def change(found, place=place, value=value):
                for key in place[:-1]:
                    found = found[key]
                found[place[-1]] = value

            path = tmp_path / "file"
            path.write_bytes(described(content, change))
            try:
                FocalClassifier.load(path)
            except ValueError as error:
                assert str(path) in str(error)
                refused += 1
            else:
                loads += 1
    assert loads
    assert refused > loads / 4


def test_names_that_would_hide_a_method_are_no_parameters(saved, tmp_path):
    for name in ("fit", "get_params", "_Booster", "__class__", "__dict__", "feature_importances_", "a b", ""):

        def change(found, name=name):
            found["fitted_estimator"]["params"][name] = 1

        assert "is not a parameter of" in refusal(tmp_path, described(saved[2], change))
    assert "unexpected keyword" in refusal(tmp_path, described(saved[2], lambda found: found["params"].update(speed=1)))


def test_boosters_of_another_library_or_shape(tmp_path):
    table = draw(200)
    files = {}
    for make in (lightgbm, xgboost):
        for n_classes in (2, 3):
            three = draw(200, n_classes=n_classes)
            FocalClassifier(make(n_estimators=2)).fit(three.X, three.y).save(tmp_path / "model.focal")
            files[make, n_classes] = (tmp_path / "model.focal").read_bytes()
    boosters = {
        key: next(part for name, part in members(content).items() if name in BOOSTER) for key, content in files.items()
    }
    refusal(tmp_path, with_booster(files[lightgbm, 2], b"tree\n" * 9))
    refusal(tmp_path, with_booster(files[lightgbm, 2], b'{"learner": 1}'))
    for make in (lightgbm, xgboost):
        assert "outputs" in refusal(tmp_path, with_booster(files[make, 2], boosters[make, 3]))
        assert "outputs" in refusal(tmp_path, with_booster(files[make, 3], boosters[make, 2]))
        FocalClassifier(make(n_estimators=2)).fit(table.X[:, :3], table.y).save(tmp_path / "model.focal")
        narrow = members((tmp_path / "model.focal").read_bytes())
        booster = next(part for name, part in narrow.items() if name in BOOSTER)
        assert "has 3 features, not 8" in refusal(tmp_path, with_booster(files[make, 2], booster))
    other = files[lightgbm, 2]
    assert refusal(tmp_path, described(other, lambda found: found.update(library="xgboost")))
    assert "neither" in refusal(tmp_path, described(other, lambda found: found.update(library="os")))
    for text in (b"", b"{}", b"{" * 1000, b"null", b"{L\x00", bytes(100)):
        refusal(tmp_path, with_booster(files[xgboost, 2], text))
    plain = lgb.train({"verbosity": -1, "num_threads": 1}, lgb.Dataset(table.X, table.y), 2)
    text = plain.model_to_string().encode()
    assert "objective 'binary'" in refusal(tmp_path, with_booster(files[lightgbm, 2], text))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_thousands_of_mutations(saved, tmp_path):
    """Bytes flipped, cut out, doubled and inserted anywhere but in the booster."""
    content = saved[2]
    parts = members(content)
    (member,) = BOOSTER & set(parts)
    start = content.index(parts[member])
    stop = start + len(parts[member])
    rng = random.Random(1)
    path = tmp_path / "file"
    same = 0
    for _ in range(3000):
        data = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.choice([rng.randrange(start), rng.randrange(stop, len(content)), rng.randrange(len(content))])
            kind = rng.randrange(4)
            at = min(at, len(data) - 1)
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
        else:
            same += 1  # bytes without a meaning, such as dates in the archive
    assert same < 600


def test_missing_library_names_the_extra(tmp_path, monkeypatch):
    table = draw(200)
    FocalClassifier(lightgbm(n_estimators=2)).fit(table.X, table.y).save(tmp_path / "model.focal")
    monkeypatch.setitem(__import__("sys").modules, "focal_boost.lightgbm", None)
    with pytest.raises(ImportError, match=r"focal_boost\[lightgbm\]"):
        FocalClassifier.load(tmp_path / "model.focal")


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**63), 2**64 - 1, 0.1, 5e-324, -0.0, float("inf"), "", "\ud800\x00\u00ef", [], [1, [2.0]], (),
        (1, (None,)), {}, {1: {"a": (2,)}, None: 1, "1": 2, 1.5: []},
    ],
)  # fmt: skip
def test_plain_data_round_trip(value):
    again = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert again == value
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    "value", [b"", {1, 2}, object(), len, 1j, 2**70, np.longdouble(1), np.zeros((2, 2)), [np.datetime64("2020")]]
)
def test_other_data_has_no_form(value):
    with pytest.raises(TypeError):
        encode(value)
