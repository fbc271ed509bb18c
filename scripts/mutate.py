"""How many small faults the tests notice: mutants of the package, drawn at random, against the tests of their modules.

    python scripts/mutate.py --mutants 150 --jobs 2 [--seed 0] [--only losses]

A mutant is the package with one change: a comparison, a condition or an arithmetic operator turned, a number raised, a
call, a result or an error left out. It dies if a test fails or runs out of time. Those that live are printed: each
wants a test, or a reason why nobody could tell.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Values from a real table take long and tell no more; of the compiled kernels one set is enough here.
SELECTED = ["-m", "not data", "-k", "not (baseline or avx2 or cuda or scikit_learn_checks)"]
PRELOADED = ["lightgbm", "pandas", "polars", "pytest", "sklearn.ensemble", "xgboost"]
CLASSIFIER = ["test_classifier", "test_classifier_parameters", "test_classifier_fit", "test_classifier_sklearn"]
SEARCH = ["test_model_selection", "test_model_selection_sklearn"]
DASK = ["test_dask", "test_dask_training"]
ROOM = ["test_adapter", "test_objectives", *CLASSIFIER, "test_continue", "test_bad_input", "test_model_file"]
TESTS = {
    "losses": ["test_loss_parameters", "test_losses", "test_loss_arrays", "test_multilabel", "test_package"],
    "classifier": [*CLASSIFIER, "test_bad_input", "test_ecosystem", "test_model_file"],
    "model_selection": SEARCH,
    "xgboost/": [*ROOM, "xgboost/test_rounds", "xgboost/test_device_tables", "test_multilabel"],
    "lightgbm/": ROOM,
    "lightgbm/estimator": [*ROOM, "lightgbm/test_gpu", *SEARCH],
    "xgboost/estimator": [*ROOM, "xgboost/test_device_tables", *SEARCH],
    "xgboost/objective": [*ROOM, "xgboost/test_workers", "xgboost/test_rounds", "test_multilabel", *DASK],
    "xgboost/onnx": ["test_onnx"],
    "lightgbm/onnx": ["test_onnx"],
    "xgboost/dask": DASK,
    "lightgbm/dask": DASK,
}
COMPARISONS = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
COMPARISONS |= {ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}
ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.Pow: "*", ast.FloorDiv: "*", ast.Mod: "*"}


def code(node: ast.AST) -> str:
    """Python for a part of the program."""
    return ast.unparse(node)


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """What may be put in place of a part of the program."""
    match node:
        case ast.Compare(left, [operator], [right]):
            yield node, f"({code(left)} {COMPARISONS[type(operator)]} {code(right)})"
        case ast.BoolOp(operator, values):
            other = " or " if isinstance(operator, ast.And) else " and "
            yield node, "(" + other.join(f"({code(value)})" for value in values) + ")"
        case ast.UnaryOp(ast.Not(), operand):
            yield node, f"({code(operand)})"
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
            yield node, f"(({code(left)}) {ARITHMETIC[type(operator)]} ({code(right)}))"
        case ast.Constant(bool(value)):
            yield node, str(not value)
        case ast.Constant(int(value) | float(value)) if value + 1 != value:
            yield node, repr(value + 1)
        case ast.If(test) | ast.IfExp(test) | ast.While(test):
            yield test, f"(not ({code(test)}))"
        case ast.Return(ast.expr()):
            yield node, "return None"
        case ast.Raise() | ast.Expr(ast.Call()):
            yield node, "pass"


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """All of a program but types, decorators and the text of messages."""
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list") and not isinstance(node, ast.JoinedStr):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from parts(child)


def mutants(file: Path) -> Iterator[tuple[Path, bytes, str]]:
    """The file, its text with one change, and what was changed."""
    text = file.read_bytes()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in parts(ast.parse(text)):
        for place, new in changes(node):
            if new == ast.get_source_segment(text.decode(), place):
                continue
            start = starts[place.lineno - 1] + place.col_offset
            stop = starts[place.end_lineno - 1] + place.end_col_offset
            before = " ".join(text[start:stop].decode().split())
            label = f"{file.relative_to(ROOT)}:{place.lineno}: {before[:70]} -> {new[:70]}"
            yield file, text[:start] + new.encode() + text[stop:], label


def tests(file: Path) -> list[str]:
    """The longest name in TESTS with which the module's begins says where its tests are."""
    module = file.relative_to(ROOT / "focal_boost").with_suffix("").as_posix()
    names = TESTS[max((name for name in TESTS if module.startswith(name)), key=len)]
    paths = [ROOT / "tests" / f"{name}.py" for name in names]
    return [str(path) for path in paths if path.exists()]


def start(file: Path, text: bytes) -> int:
    """Test a mutant in a child, which has what the tests import already; its id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    folder = tempfile.mkdtemp()
    status = 1
    try:
        shutil.copytree(ROOT / "focal_boost", Path(folder, "focal_boost"), ignore=shutil.ignore_patterns("__pycache__"))
        Path(folder, file.relative_to(ROOT)).write_bytes(text)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        # An editable installation finds the package before the path does.
        sys.meta_path[:] = [finder for finder in sys.meta_path if "focal_boost" not in type(finder).__module__]
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        import pytest

        options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT), *SELECTED]
        status = int(pytest.main([*options, *tests(file)]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(status)


def main() -> None:
    """Draw, test, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="places that begin so: losses, xgboost/, lightgbm/dask.py:95")
    parser.add_argument("--timeout", type=int, default=300, help="seconds after which a mutant is dead")
    args = parser.parse_args()
    package = ROOT / "focal_boost"
    files = [package / f"{name}.py" for name in ("losses", "classifier", "model_selection")]
    files += [*sorted((package / "xgboost").glob("*.py")), *sorted((package / "lightgbm").glob("*.py"))]
    every = [mutant for file in files for mutant in mutants(file)]
    every = [mutant for mutant in every if mutant[2].removeprefix("focal_boost/").startswith(args.only)]
    files = sorted({file for file, *_ in every})
    unchanged = {tuple(tests(file)): (file, file.read_bytes(), f"{file.relative_to(ROOT)} as it is") for file in files}
    drawn = random.Random(args.seed).sample(every, min(args.mutants, len(every)))
    print(f"{len(drawn)} of {len(every)} mutants of {len(files)} files", flush=True)
    # As in tests/conftest.py, which comes too late for what is imported here.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for name in PRELOADED:
        importlib.import_module(name)

    # First the package as it is, which has to pass.
    drawn += unchanged.values()
    running: dict[int, tuple[str, float]] = {}
    lived: list[str] = []
    died = 0
    while drawn or running:
        while drawn and len(running) < args.jobs:
            file, text, label = drawn.pop()
            running[start(file, text)] = label, time.monotonic()
        time.sleep(0.05)
        for child, (label, since) in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            late = not done and time.monotonic() - since > args.timeout
            if late:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            if done or late:
                del running[child]
                lives = bool(done) and status == 0
                print("lives" if lives else "late" if late else "dies", label, flush=True)
                if not label.endswith("as it is"):
                    died += not lives
                    lived += [label] * lives
                elif not lives:
                    sys.exit("the tests fail without a change, too")
    print(f"{died} of {died + len(lived)} died: {died / (died + len(lived)):.0%}. Alive:", *sorted(lived), sep="\n  ")


if __name__ == "__main__":
    main()
