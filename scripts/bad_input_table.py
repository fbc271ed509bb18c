"""Make docs/bad_input.md: what is refused, with the error it gets, and what looks wrong and is fine.

Every row of tests/bad_input.py is tried and its error written down:

    python scripts/bad_input_table.py
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from bad_input import FINE, GROUPS, N, Row, codes, estimator, names, numbers

from focal_boost import BinaryFocalLoss, FocalClassifier
from focal_boost._adapter import import_adapter

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "bad_input.md"

INTRODUCTION = """# Bad input

Whatever is passed wrongly gets an error that names the value, the problem and the way out, before any training and with
nothing changed: the model is what it was, and no array has been written to. This page is made by
[scripts/bad_input_table.py](../scripts/bad_input_table.py) from [tests/bad_input.py](../tests/bad_input.py), where each
row is a test, too. Rows with the same error but for the value share a line. Errors are `ValueError` unless another name
stands before them. Where one text is shown it is that of both libraries; some come from scikit-learn or from the
libraries themselves, in the words of their version.

Rows are tried on a table of 60 rows and 4 columns with the labels `no` and `yes` (and `zoo`, where there are three),
and on evaluation sets of 20 rows.
"""

ABOUT = {
    "Parameters of FocalClassifier": "Checked by `fit`, as scikit-learn has it; the losses check theirs at once.",
    "Settings of the booster": (
        "What an objective of one's own would silently override or be overridden by, and arguments of `fit`."
    ),
    "Labels": "The `y` of `fit`.",
    "Sample weights": "The `sample_weight` of `fit`.",
    "Start margins": "`init_score` of LightGBM, `base_margin` of XGBoost, and those of evaluation sets.",
    "Features": (
        "The `X` of `fit`. LightGBM sorts infinities into bins as any other number; XGBoost does not take them."
    ),
    "Evaluation sets": "`eval_set` of `fit`, or `eval_X` and `eval_y`, with their weights.",
    "Models to continue": "`init_model` of LightGBM, `xgb_model` of XGBoost.",
    "Predictions": "`predict`, `predict_proba` and `decision_function`.",
    "Losses": "`BinaryFocalLoss().gradient_hessian` with 60 rows.",
    "Objectives": (
        "`FocalObjective(…)(labels, margins, weights)` with 60 rows, as a booster calls it. Labels here are 0 and 1."
    ),
}


def provoke(row: Row, library: str) -> Exception:
    """Do what a row is about, and return its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", FutureWarning)  # what a library only warns of now is refused by a newer one
        try:
            _CALLS[row.call](row, library)
        except Exception as error:
            return error
    raise AssertionError(f"{row} ({library}) was not refused")


def _fit(row: Row, library: str) -> None:
    arguments = {"estimator": estimator(library), "X": numbers(), "y": names(), **row.change(library)}
    parameters = FocalClassifier().get_params(deep=False)
    model = FocalClassifier(**{name: arguments.pop(name) for name in list(arguments) if name in parameters})
    model.fit(arguments.pop("X"), arguments.pop("y"), **arguments)


def _predict(row: Row, library: str) -> None:
    arguments = {"train": numbers(), "estimator": estimator(library), **row.change(library)}
    train = arguments.pop("train")
    model = FocalClassifier(arguments.pop("estimator"))
    if train is not None:
        model.fit(train, names())
    model.predict(arguments.pop("X"), **arguments)


def _loss(row: Row, library: str) -> None:
    BinaryFocalLoss().gradient_hessian(
        **{"y_true": codes(), "raw_prediction": np.zeros(N), **row.change(library)},
    )


def _objective(row: Row, library: str) -> None:
    arguments = {"loss": BinaryFocalLoss(), **row.change(library)}
    defaults = {"labels": codes(), "margins": np.zeros(N), "weights": np.ones(N)}
    data = [arguments.pop(name, default) for name, default in defaults.items()]
    importlib.import_module(f"focal_boost.{library}").FocalObjective(**arguments)(*data)


_CALLS = {"fit": _fit, "predict": _predict, "loss": _loss, "objective": _objective}


def text(error: Exception) -> str:
    """What an error says, on one line, without addresses in memory or NumPy's types, and with long lists cut short."""
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    said = " ".join(str(error).split())
    said = re.sub(r"0x[0-9a-f]{4,}", "0x…", said)
    said = re.sub(r"\b(?:np|numpy)\.\w+\(([^()]*)\)", r"\1", said)
    said = re.sub(r"\((\w+=[^()]*, ){4}[^()]*\)", "(…)", said)
    return kind + re.sub(r"(\[[^][]{40}[^][,]*,)[^][]*\]", r"\1 …]", said)


def of_this_package(error: Exception) -> bool:
    """Whether the words of an error are ours: it was raised here, not in a library."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return Path(trace.tb_frame.f_code.co_filename).is_relative_to(ROOT / "focal_boost")


def escaped(said: str) -> str:
    """Text as Markdown that shows it as it is, in a cell of a table."""
    return re.sub(r"([\\`*_{}\[\]<>|$#~&])", r"\\\1", said)


def shape(said: str) -> str:
    """A text without the value that it begins with: rows that differ in nothing else share a line."""
    return re.sub(r"=.+?(?= (?:is|holds|makes|has) )", "=…", said, count=1)


def lines(rows: list[Row]) -> list[list[Row]]:
    """Rows by the line of the table that they are in."""

    def key(row: Row) -> list[str]:
        return [row.call, *(library + shape(text(provoke(row, library))) for library in row.libraries)]

    return [list(same) for _, same in itertools.groupby(rows, key)]


def cell(row: Row) -> str:
    """The texts of a row: one, or one for each library."""
    said = {library: escaped(text(provoke(row, library))) for library in row.libraries}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "<br>".join(f"{import_adapter(library).title}: {words}" for library, words in said.items())


def title(rows: list[Row]) -> str:
    """What is wrong in the rows of a line, and with which library if it is one of two."""
    names = [row.name.split(" ") for row in rows]
    shared = itertools.takewhile(lambda words: len(set(words)) == 1, zip(*names, strict=False))
    same = len(list(shared)) if len(rows) > 1 else 0
    joined = ", ".join(" ".join(name[same:]) for name in names)
    only = rows[0].call != "loss" and len(rows[0].libraries) == 1
    return escaped(" ".join([*names[0][:same], joined])) + (
        f" ({import_adapter(rows[0].libraries[0]).title})" if only else ""
    )


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for group, rows in GROUPS.items():
        table = [f"| {title(same)} | {cell(same[0])} |" for same in lines(rows)]
        parts.append(
            "\n".join([f"## {group}\n\n{ABOUT[group]}\n", "| what is wrong | error |", "| --- | --- |", *table, ""])
        )
    fine = "\n".join(f"- {escaped(name)}" for name in FINE)
    parts.append(f"## What looks wrong and is fine\n\nEach of these trains, with both libraries:\n\n{fine}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
