"""Every row of `bad_input`: its error names the value, the problem and the way out, and nothing has happened."""

from __future__ import annotations

import importlib
import pickle
import re

import numpy as np
import pytest
from bad_input import FINE, ROWS, N, codes, estimator, names, numbers

from focal_boost import BinaryFocalLoss, FocalClassifier

PARAMETERS = set(FocalClassifier().get_params(deep=False))


@pytest.fixture
def no_training(monkeypatch):
    """Any training fails the test."""

    def refuse(*args, **params):
        raise AssertionError("training has begun")

    def forbid():
        for module in ("lightgbm", "lightgbm.sklearn", "lightgbm.engine", "xgboost", "xgboost.sklearn"):
            monkeypatch.setattr(importlib.import_module(module), "train", refuse)
        monkeypatch.setattr("lightgbm.Booster.update", refuse)
        monkeypatch.setattr("xgboost.Booster.update", refuse)

    return forbid


def freeze(arguments):
    """Make arrays read-only, and give what they hold."""
    arrays = []
    for value in arguments.values():
        for array in _arrays(value):
            array.flags.writeable = False
            arrays.append((array, array.tobytes() if array.dtype != object else repr(array.tolist())))
    return arrays


def _arrays(value):
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays(item)
    elif isinstance(value, np.ma.MaskedArray):
        yield value.data
    elif isinstance(value, np.ndarray):
        yield value


def assert_untouched(arrays):
    for array, held in arrays:
        assert (array.tobytes() if array.dtype != object else repr(array.tolist())) == held


def assert_refused(row, call):
    with pytest.raises(row.error) as caught:
        call()
    message = str(caught.value)
    for part in row.says:
        assert re.search(part, message, flags=re.DOTALL), f"{part!r} is not in {message!r}"
    assert "Stack trace" not in message
    assert len(message) < 1500


def cases(call):
    return [
        pytest.param(row, library, id=f"{library}-{row.name}")
        for row in ROWS
        if row.call == call
        for library in row.libraries
    ]


def state(model):
    return {name: repr(value) for name, value in model.get_params().items()}


# scikit-learn warns of a column that was a row a moment ago, and of names; neither is what a row is about.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize(("row", "library"), cases("fit"))
def test_fit(row, library, no_training):
    model = FocalClassifier(estimator(library)).fit(numbers(1), names())
    before = pickle.dumps(model.predict_proba(numbers(2)))
    arguments = {"X": numbers(), "y": names(), **row.change(library)}
    model.set_params(**{name: arguments.pop(name) for name in PARAMETERS & set(arguments)})
    parameters, fitted, held = state(model), dict(vars(model)), freeze(arguments)
    no_training()

    assert_refused(row, lambda: model.fit(arguments.pop("X"), arguments.pop("y"), **arguments))

    assert state(model) == parameters
    assert vars(model) == fitted
    assert_untouched(held)
    assert pickle.dumps(model.predict_proba(numbers(2))) == before
    unfitted = {name: value for name, value in fitted.items() if not name.endswith("_")}
    assert {name: value for name, value in vars(model).items() if not name.endswith("_")}.keys() == unfitted.keys()


@pytest.mark.parametrize(("row", "library"), cases("predict"))
def test_predict(row, library):
    arguments = {"train": numbers(), "estimator": estimator(library), **row.change(library)}
    train = arguments.pop("train")
    model = FocalClassifier(arguments.pop("estimator"))
    if train is not None:
        model.fit(train, names())
        before = pickle.dumps(model.predict_proba(train))
    held = freeze(arguments)
    X = arguments.pop("X")
    for method in (model.predict, model.predict_proba, model.decision_function):
        assert_refused(row, lambda method=method: method(X, **arguments))
    assert_untouched(held)
    if train is not None:
        assert pickle.dumps(model.predict_proba(train)) == before


@pytest.mark.parametrize(("row", "library"), cases("objective"))
def test_objective(row, library):
    FocalObjective = importlib.import_module(f"focal_boost.{library}").FocalObjective
    arguments = {
        "loss": BinaryFocalLoss(),
        "intercept": None,
        "n_threads": 1,
        "labels": codes(),
        "margins": np.zeros(N),
        "weights": np.ones(N),
        **row.change(library),
    }
    data = [arguments.pop(name) for name in ("labels", "margins", "weights")]
    held = freeze({"data": data, "intercept": arguments["intercept"]})
    assert_refused(row, lambda: FocalObjective(**arguments)(*data))
    assert_refused(row, lambda: FocalObjective(**arguments).metric(*data))
    assert_untouched(held)


@pytest.mark.parametrize("row", [row for row in ROWS if row.call == "loss"], ids=lambda row: row.name)
def test_loss(row):
    arguments = {"y_true": codes(), "raw_prediction": np.zeros(N), **row.change("")}
    held = [(array, array.tobytes()) for value in arguments.values() for array in _arrays(value)]
    assert_refused(row, lambda: BinaryFocalLoss().gradient_hessian(**arguments))
    assert_untouched(held)


def test_names_are_unique_and_every_row_says_something():
    keys = [(row.call, row.name, library) for row in ROWS for library in row.libraries]
    assert len(set(keys)) == len(keys)
    assert all(row.says for row in ROWS)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_fine(change, library):
    arguments = {"estimator": estimator(library), "X": numbers(), "y": names(), **change(library)}
    model = FocalClassifier(**{name: arguments.pop(name) for name in PARAMETERS & set(arguments)})
    held = freeze(arguments)
    X = arguments.pop("X")
    proba = model.fit(X, arguments.pop("y"), **arguments).predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert_untouched(held)
