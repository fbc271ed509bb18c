"""Python in a process of its own that has imported nothing of focal_boost, without the seconds that a start takes.

A server imports the libraries once and forks for each program. Where there is no fork, each has a start of its own.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import textwrap

PLAIN = ("joblib", "scipy.optimize", "scipy.sparse", "sklearn.model_selection", "sklearn.metrics")
# Imported and not used, so that OpenMP has no threads yet, which a fork would lose.
BOOSTERS = (*PLAIN, "pandas", "lightgbm", "xgboost")

SERVER = """
import importlib, json, os, sys, tempfile, traceback, warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in sys.argv[1:]:
        importlib.import_module(name)


def run(code, arguments, environment, folder, files):
    status = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["-c", *arguments]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if status and not isinstance(stop.code, int):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


for line in sys.stdin:
    code, arguments, environment, folder = json.loads(line)
    files = [tempfile.TemporaryFile() for _ in range(2)]
    child = os.fork()
    if not child:
        run(code, arguments, environment, folder, files)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for file in files:
        file.seek(0)
    print(json.dumps([status, *(file.read().decode() for file in files)]), flush=True)
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@functools.cache
def _server(imported: tuple[str, ...]) -> subprocess.Popen:
    command = [sys.executable, "-c", SERVER, *imported]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=_environment(), text=True, bufsize=1, **pipes)
    atexit.register(process.kill)
    return process


def run(code, *arguments, imported=PLAIN, check=True, cwd=None, without=(), **environment):
    """What `subprocess.run` gives for a program of Python with captured output.

    `imported` is there already; `environment` is added to that of this process, less the names in `without`.
    """
    code, arguments = textwrap.dedent(code), [str(one) for one in arguments]
    environment = {name: value for name, value in _environment().items() if name not in without} | environment
    if not hasattr(os, "fork"):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=check)
    server = _server(imported)
    server.stdin.write(json.dumps([code, arguments, environment, str(cwd or os.getcwd())]) + "\n")
    status, out, error = json.loads(server.stdout.readline())
    assert not check or not status, error
    return subprocess.CompletedProcess(code, status, out, error)
