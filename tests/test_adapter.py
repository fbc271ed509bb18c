"""Each library's adapter against what `focal_boost._adapter` asks of one, and its words against the library's own."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from libraries import LIBRARIES as UNDER_TEST
from libraries import each_library

from focal_boost import BinaryFocalLoss, FocalClassifier, MulticlassFocalLoss, _adapter

each_adapter = pytest.mark.parametrize("name", _adapter.LIBRARIES)

FUNCTIONS = {name: one for name, one in vars(_adapter.Adapter).items() if inspect.isfunction(one) and name[0] != "_"}
CONSTANTS = set(inspect.get_annotations(_adapter.Adapter)) - {"__name__"}


def test_every_library_is_under_test():
    assert {library.name for library in UNDER_TEST} == set(_adapter.LIBRARIES)


@each_adapter
def test_constants(name):
    adapter = _adapter.import_adapter(name)
    assert {"MULTILABEL", "MARGIN_DTYPE", "FocalObjective"} == CONSTANTS
    assert isinstance(adapter.MULTILABEL, bool)
    assert adapter.MARGIN_DTYPE in (np.float32, np.float64)


@each_adapter
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions(name, function):
    """Callable as the seam says, by position and by name; more is the adapter's own affair if it has a default."""
    wanted = list(inspect.signature(FUNCTIONS[function]).parameters.values())[1:]
    given = inspect.signature(getattr(_adapter.import_adapter(name), function)).parameters
    assert [(one.name, one.kind, one.default) for one in wanted] == [
        (one.name, one.kind, one.default) for one in list(given.values())[: len(wanted)]
    ]
    assert all(one.default is not inspect.Parameter.empty for one in list(given.values())[len(wanted) :])


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
    row = _adapter.LIBRARIES[library.name]
    module = sys.modules[library.name]
    assert library.classifier.__name__ in row.estimators
    for kind in row.estimators:
        estimator = getattr(module, kind)
        assert estimator.__module__.partition(".")[0] == library.name
        fit = inspect.signature(estimator.fit).parameters
        assert {row.earlier, row.start_margins, row.eval_start_margins, row.eval_weights} <= set(fit)
        known = inspect.signature(estimator.predict).parameters
        passed_on = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
        assert passed_on or set(row.other_predictions) <= set(known)


@each_library
def test_dtype_of_margins(library):
    X, y = np.arange(40.0)[:, None], np.repeat([0, 1], 20)
    model = FocalClassifier(library.classifier(n_estimators=2, **library.quiet)).fit(X, y)
    assert model.decision_function(X).dtype == _adapter.import_adapter(library.name).MARGIN_DTYPE


def test_derived_estimator_of_the_user():
    class Mine(UNDER_TEST[1].classifier):
        pass

    assert _adapter.library_of(Mine()) is _adapter.import_adapter(UNDER_TEST[1].name)


def test_estimator_of_no_library():
    with pytest.raises(TypeError, match="is not an XGBClassifier, XGBRFClassifier or LGBMClassifier; pass an instance"):
        _adapter.library_of(object())


def test_the_seam_imports_no_library():
    script = "import sys, focal_boost._adapter as seam; assert not set(seam.LIBRARIES) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
