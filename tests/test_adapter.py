"""Each library's adapter against `focal_boost._adapter.Adapter`, and its words against the library's own."""

from __future__ import annotations

import inspect
import pickle
import sys

import fresh
import numpy as np
import pytest
from libraries import LIBRARIES as UNDER_TEST
from libraries import each_library
from tables import draw

from focal_boost import BinaryFocalLoss, FocalClassifier, MulticlassFocalLoss, _adapter

METHODS = {name: one for name, one in vars(_adapter.Adapter).items() if inspect.isfunction(one) and name[0] != "_"}
WORDS = [name for name in inspect.get_annotations(_adapter.Adapter) if name[0] != "_"]


def test_every_library_is_under_test():
    assert {library.name for library in UNDER_TEST} == set(_adapter.LIBRARIES)


@each_library
def test_an_adapter_lacks_nothing(library):
    """All words, and all methods with the parameters of the base class: one that lacks a method cannot be built."""
    adapter = _adapter.import_adapter(library.name)
    assert not type(adapter).__abstractmethods__
    assert {name: hasattr(adapter, name) for name in WORDS} == dict.fromkeys(WORDS, True)
    for name, method in METHODS.items():
        own = inspect.signature(getattr(type(adapter), name))
        assert list(own.parameters.items()) == list(inspect.signature(method).parameters.items()), name
    assert adapter.margin_dtype in (np.float32, np.float64)
    assert isinstance(adapter.takes_label_columns, bool)


@each_library
def test_the_rooms_have_the_same_files(library):
    room = __import__(f"focal_boost.{library.name}", fromlist=["objective"])
    for name in ("objective", "estimator", "dask", "onnx"):
        assert importable(f"focal_boost.{library.name}.{name}")
    assert room.FocalObjective is library.Objective
    assert issubclass(room.FocalObjective, _adapter.Objective)


def importable(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


@each_library
def test_objective(library):
    """What a native user calls, and what the libraries do with it: pickles, threads, both calling conventions."""
    names = ["y_true", "y_pred", "sample_weight"]
    for function in (library.Objective.__call__, library.Objective.metric):
        assert list(inspect.signature(function).parameters)[1:] == names
    assert list(inspect.signature(library.Objective).parameters) == ["loss", "intercept", "n_threads", "scale"]
    for loss, z in ((BinaryFocalLoss(), np.zeros(4)), (MulticlassFocalLoss(3), np.zeros((4, 3)))):
        objective = library.Objective(loss, n_threads=1, scale=0.5)
        assert isinstance(objective.params, dict)
        again = pickle.loads(pickle.dumps(objective))
        assert repr(again) == repr(objective)
        for found in zip(objective(np.arange(4) % 2, z), again(np.arange(4) % 2, z), strict=True):
            np.testing.assert_array_equal(*found)


@each_library
def test_words_of_the_library(library):
    adapter = _adapter.import_adapter(library.name)
    module = sys.modules[library.name]
    assert library.classifier.__name__ in _adapter.LIBRARIES[library.name]
    assert adapter.title.lower() == library.name
    for kind in _adapter.LIBRARIES[library.name]:
        estimator = getattr(module, kind)
        assert estimator.__module__.partition(".")[0] == library.name
        fit = inspect.signature(estimator.fit).parameters
        words = {name for name in WORDS if name.endswith("_argument")}
        assert len(words) == 4
        assert {getattr(adapter, name) for name in words} <= set(fit)
        known = inspect.signature(estimator.predict).parameters
        passed_on = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
        assert passed_on or adapter.prediction_arguments <= set(known)


@each_library
def test_dtype_of_margins(library):
    X, y = np.arange(40.0)[:, None], np.repeat([0, 1], 20)
    model = FocalClassifier(library.classifier(n_estimators=2, **library.quiet)).fit(X, y)
    assert model.decision_function(X).dtype == _adapter.import_adapter(library.name).margin_dtype


def test_derived_estimator_of_the_user():
    class Mine(UNDER_TEST[1].classifier):
        pass

    assert _adapter.library_of(Mine()) is _adapter.import_adapter(UNDER_TEST[1].name)


def test_estimator_of_no_library():
    with pytest.raises(TypeError, match="is not an XGBClassifier, XGBRFClassifier or LGBMClassifier; pass an instance"):
        _adapter.library_of(object())


def test_the_seam_imports_no_library():
    script = "import sys, focal_boost._adapter as seam; assert not set(seam.LIBRARIES) & set(sys.modules)"
    fresh.run(script)


def test_nothing_outside_the_rooms_asks_for_a_library():
    """Imports of the libraries, and comparisons with their names, are in their rooms."""
    import ast
    from pathlib import Path

    package = Path(_adapter.__file__).parent
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                words = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                # The checker of inputs may recognise a DMatrix or Dataset that was passed for a table.
                assert path.name == "_checks.py" or not words & set(_adapter.LIBRARIES), f"{path.name}:{node.lineno}"


@each_library
@pytest.mark.parametrize("patience", [1, 4])
def test_a_fold_trains_on_for_as_many_rounds_as_it_waits(library, patience):
    """And keeps them: the mean over folds may be lowest among them."""
    adapter = _adapter.import_adapter(library.name)
    table, valid = draw(200), draw(200, seed=1)
    estimator = library.classifier(n_estimators=80, learning_rate=0.5, **library.quiet)
    loss = BinaryFocalLoss()
    arguments = adapter.fold_arguments(estimator, 2, valid.weight, patience)
    pair = (valid.X, valid.y)
    adapter.fit_estimator(estimator, loss, table.X, table.y, table.weight, [pair], arguments)
    ((losses,),) = (log.values() for log in adapter.evals_result(estimator).values())
    assert len(losses) == np.argmin(losses) + 1 + patience < 80
    adapter.stop_at(estimator, len(losses))
    assert adapter.n_rounds(estimator) == len(losses)
    margins = adapter.predict_margins(estimator, valid.X, {})
    assert losses[-1] == pytest.approx(loss.log_loss(valid.y, margins, valid.weight), rel=1e-5)
