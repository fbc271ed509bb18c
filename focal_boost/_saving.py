"""Saved models: skops with a fixed list of types, and boosters as the files of their own libraries.

A file is what skops writes: values as JSON, arrays in NumPy's format, boosters as bytes that only their library parses.
skops builds no type and calls no function but its own defaults (plain data, NumPy, scikit-learn's estimators) and those
of `TRUSTED`.
"""

from __future__ import annotations

import copy
import json
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from focal_boost._adapter import library_of

__all__ = ["TRUSTED", "Saved", "load", "save", "with_booster", "without_booster"]

TRUSTED = (
    "focal_boost.classifier.FocalClassifier",
    "focal_boost.losses.BinaryFocalLoss",
    "focal_boost.losses.MulticlassFocalLoss",
    "focal_boost.model_selection.FocalClassifierCV",
    "lightgbm.sklearn.LGBMClassifier",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier",
    "collections.OrderedDict",  # histories of metrics
    "sklearn.calibration._CalibratedClassifier",  # parts of CalibratedClassifierCV
    "sklearn.calibration._SigmoidCalibration",
    *(
        f"sklearn.model_selection._split.{splitter}"
        for splitter in (
            *("GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeavePGroupsOut", "PredefinedSplit"),
            *("RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold", "StratifiedKFold"),
            *("StratifiedShuffleSplit", "TimeSeriesSplit"),
        )
    ),
)


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to a file that `load` reads without pickle.

    Parameters
    ----------
    model : FocalClassifier, FocalClassifierCV, or an estimator of scikit-learn that holds one, such as a Pipeline
    path : str or PathLike
        Overwritten if it exists, in one step: whoever reads it meets the old file or the new one, never a part.

    Raises
    ------
    ValueError
        If the model holds something that `load` would refuse: callbacks, functions, classes of one's own.
    ImportError
        If skops is not installed.
    OSError
        If the file cannot be written.
    """
    io = _import_skops()
    try:
        content = io.dumps(model, compression=zipfile.ZIP_DEFLATED)
    except Exception as error:  # what skops raises at objects that it has no form for is not documented
        raise ValueError(f"the model holds something that skops has no form for: {error}; use pickle") from error
    refused = sorted(set(io.get_untrusted_types(data=content)) - set(TRUSTED))
    if refused:
        raise ValueError(
            f"the model holds {', '.join(refused)}, which load would not trust: take callbacks and functions out of it "
            "by set_params, of the estimator that was passed and of estimator_, or use pickle"
        )
    if any(_loses_keys(node) for node in _nodes(json.loads(zipfile.ZipFile(BytesIO(content)).read("schema.json")))):
        raise ValueError(
            "a mapping of the model has True, False or None among its keys, which skops does not keep: give gamma and "
            "alpha as sequences in the order of the classes, or use pickle"
        )
    _write(path, content)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote: fitted, and ready to be trained again.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    object
        What was saved, with the same margins and probabilities.

    Raises
    ------
    ValueError
        If the file is not one that `save` wrote, is damaged, holds a type that is not trusted, or comes from
        focal_boost 0.1.0.
    ImportError
        If skops or the library of a booster is not installed.
    OSError
        If the file cannot be read.

    Notes
    -----
    No code is run that is not on a fixed list: NumPy's and scikit-learn's types as skops trusts them, the classes of
    this package, and the estimators of the two libraries, which parse their boosters themselves, in C++.
    """
    io = _import_skops()
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if "focal_boost.json" in archive.namelist():
                    raise ValueError(
                        "it was written by focal_boost 0.1.0, whose margins mean something else: train the model "
                        "again, or load it with focal_boost==0.1.0"
                    )
            return io.load(file, trusted=TRUSTED)
        except ImportError as error:
            needed = str(error.name).partition(".")[0]
            raise ImportError(
                f"{name!r} holds a model that needs {needed}, which is not installed: pip install {needed}"
            ) from error
        except Exception as error:  # of zipfile, json, NumPy, skops and both libraries, at a file from anywhere
            raise ValueError(f"{name!r} is no model that focal_boost.save wrote, or it is damaged: {error}") from error


def _import_skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            "models are saved and loaded by skops, which is not installed: pip install 'focal_boost[save]'"
        ) from error
    return skops.io


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects in the JSON of a file of skops."""
    if isinstance(schema, dict):
        yield schema
    if isinstance(schema, (dict, list)):
        for item in schema.values() if isinstance(schema, dict) else schema:
            yield from _nodes(item)


def _loses_keys(node: dict[str, Any]) -> bool:
    """Whether skops makes keys of text by a type that reads "false" as True, or "null" not at all."""
    return node.get("__loader__") == "TypeNode" and node["__class__"] in ("bool", "bool_", "NoneType")


def _write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all; a link is followed, the permissions of a file that is there are kept."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; name the file that the model shall be written to")
    # In the same folder, so that the last step is a rename within one file system.
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def without_booster(estimator: Any) -> dict[str, Any]:
    """Take a fitted estimator of a library apart, for what is stored of it, by pickle or skops.

    Parameters
    ----------
    estimator : XGBClassifier, XGBRFClassifier or LGBMClassifier

    Returns
    -------
    dict
        ``estimator``, a copy without its booster; ``booster``, the library's own file as bytes, which later versions
        of the library read; and plain data that the file does not hold.
    """
    bare = copy.copy(estimator)
    bare._Booster = None
    return {"estimator": bare, **library_of(estimator).booster_state(estimator)}


def with_booster(stored: dict[str, Any]) -> Any:
    """Put together what `without_booster` took apart.

    Parameters
    ----------
    stored : dict

    Returns
    -------
    XGBClassifier, XGBRFClassifier or LGBMClassifier
    """
    estimator, booster = stored["estimator"], stored["booster"]
    if not isinstance(booster, bytes):  # a library would take a str for the path of a file
        raise ValueError(f"the booster of a stored model is a {type(booster).__name__}, not bytes")
    library_of(estimator).restore_booster(estimator, stored)
    return estimator


class Saved(BaseEstimator):
    """The part of an estimator that is about files and pickles: its booster is stored as the library's own file."""

    estimator_: Any

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that `load` reads without pickle, by the extra ``save`` (skops).

        Parameters
        ----------
        path : str or PathLike
            Overwritten if it exists, in one step: whoever reads it meets the old file or the new one, never a part.

        Raises
        ------
        ValueError
            If the model holds something that `load` would refuse: callbacks, functions, classes of one's own.
        ImportError
            If skops is not installed.
        OSError
            If the file cannot be written.

        See Also
        --------
        focal_boost.save : The same for a Pipeline or another estimator with such a model in it.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from lightgbm import LGBMClassifier
        >>> from focal_boost import FocalClassifier
        >>> X, y = np.arange(100.0)[:, None], np.repeat(["no", "yes"], 50)
        >>> model = FocalClassifier(LGBMClassifier(n_estimators=5, verbosity=-1)).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(Path(folder, "model.focal"))
        ...     loaded = FocalClassifier.load(Path(folder, "model.focal"))
        >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
        True
        """
        check_is_fitted(self)
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that `save` wrote: fitted, and ready to be trained again.

        Parameters
        ----------
        path : str or PathLike

        Returns
        -------
        FocalClassifier
            With the same margins and probabilities, bit for bit.

        Raises
        ------
        ValueError
            If the file is not one that `save` wrote, is damaged, holds a type that is not trusted or a model of
            another class, or comes from focal_boost 0.1.0.
        ImportError
            If skops or the library of its booster is not installed.
        OSError
            If the file cannot be read.

        See Also
        --------
        focal_boost.load : Reads what `focal_boost.save` wrote, whatever it is; what a file can do stands there.
        """
        model = load(path)
        if not isinstance(model, cls):
            raise ValueError(
                f"{os.fspath(path)!r} holds a {type(model).__name__}, not a {cls.__name__}: use focal_boost.load"
            )
        return model

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "estimator_" in state:
            state["estimator_"] = without_booster(self.estimator_)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "estimator_" in state:
            state = {**state, "estimator_": with_booster(state["estimator_"])}
        super().__setstate__(state)
