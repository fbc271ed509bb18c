"""The package opens no socket, starts no process and executes no text."""

from __future__ import annotations

import ast
from pathlib import Path

import fresh
import pytest

import focal_boost

SOURCES = sorted(Path(focal_boost.__file__).parent.rglob("*.py"))
FORBIDDEN_MODULES = {
    *("pickle", "marshal", "shelve", "dill", "cloudpickle", "subprocess", "socket", "ssl", "urllib", "http"),
    *("requests", "ftplib", "pty", "code", "runpy", "multiprocessing"),
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "fork", "execv", "spawnv"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_imports_or_calls_what_executes_or_talks(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {name.name.partition(".")[0] for name in node.names} & FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in FORBIDDEN_MODULES
        elif isinstance(node, ast.Call):
            # re.compile is no compile
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
            owner = getattr(getattr(node.func, "value", None), "id", None)
            assert called not in FORBIDDEN_CALLS or (owner, called) == ("re", "compile"), called


@pytest.mark.parametrize("library", ["lightgbm.LGBMClassifier", "xgboost.XGBClassifier"])
def test_training_saving_and_loading_open_no_socket_and_start_no_process(library, tmp_path):
    module = library.partition(".")[0]
    script = f"""
        import sys
        import numpy, sklearn, scipy.optimize, skops.io, {module}
        events = []
        def refuse(event, args):
            names = ("os.system", "os.exec", "os.fork", "pickle.find_class")
            if event.split(".")[0] in ("socket", "subprocess") or event in names:
                events.append(event)
                raise RuntimeError(event)
        sys.addaudithook(refuse)
        import socket
        def closed(*args, **kwargs):
            raise RuntimeError("a socket was asked for")
        socket.socket = closed
        from focal_boost import FocalClassifier
        X = numpy.random.default_rng(0).normal(size=(200, 3))
        y = (X[:, 0] > 0.5).astype(int)
        quiet = dict(verbosity=-1) if {module!r} == "lightgbm" else {{}}
        model = FocalClassifier({library}(n_estimators=3, n_jobs=1, **quiet)).fit(X, y, eval_set=[(X, y)])
        model.save({str(tmp_path / "model.focal")!r})
        loaded = FocalClassifier.load({str(tmp_path / "model.focal")!r})
        assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
        assert not events
        print("done")
    """
    result = fresh.run(script, imported=fresh.BOOSTERS)
    assert result.stdout.endswith("done\n")
