"""Focal loss as an objective and a metric of LightGBM."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np

from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["FocalObjective"]


class FocalObjective:
    """A focal loss as LightGBM wants it: the same object for train, cv, LGBMClassifier and Dask.

    Parameters
    ----------
    loss : BinaryFocalLoss or MulticlassFocalLoss
        What to minimise.
    intercept : float, or array-like of shape (K,) for the multiclass loss, default=None
        Margin from which boosting starts, usually ``loss.fit_intercept_only(y, sample_weight)``. None is 0. LightGBM
        does not estimate it for an objective of one's own, so it is added to the raw scores inside the objective and
        the metric, and becomes part of the trees in `portable`.
    n_threads : int, default=1
        Threads for the gradients, where the kernels are compiled.

    Raises
    ------
    TypeError
        If `loss` is not one of the two losses.
    ValueError
        If the intercept is not finite or has the wrong shape.

    Notes
    -----
    Stateless apart from its parameters, hence picklable and safe in threads; no array that is passed in is written
    to. Row weights of the Dataset are applied in gradients and metrics.

    LightGBM resets the parameters of a booster at the first update with an objective of one's own, which draws the
    columns of the first tree anew (issue 6053) and refuses tables without a splittable feature (issue 5667). Importing
    this module keeps boosters that train a FocalObjective from doing so; all others behave as before.

    Examples
    --------
    >>> import numpy as np, lightgbm as lgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.lightgbm import FocalObjective
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> objective = FocalObjective(loss, intercept=loss.fit_intercept_only(y))
    >>> booster = lgb.train({"verbosity": -1, **objective.params}, lgb.Dataset(X, y), 5)
    >>> booster = objective.portable(booster)
    >>> loss.predict_proba(booster.predict(X, raw_score=True)).shape
    (200, 2)
    """

    def __init__(self, loss: BinaryFocalLoss | MulticlassFocalLoss, intercept: Any = None, n_threads: int = 1) -> None:
        if not isinstance(loss, (BinaryFocalLoss, MulticlassFocalLoss)):
            raise TypeError(f"loss={loss!r} is neither a BinaryFocalLoss nor a MulticlassFocalLoss")
        self.loss = loss
        self.intercept = loss.check_intercept(intercept)
        self.n_threads = n_threads

    def __repr__(self) -> str:
        return f"FocalObjective({self.loss!r}, intercept={self.intercept!r})"

    @property
    def params(self) -> dict[str, Any]:
        """What the booster must be told besides: the objective itself, and num_class."""
        if self.loss.n_outputs == 1:
            return {"objective": self}
        return {"objective": self, "num_class": self.loss.n_classes}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and curvature of each row, weights applied.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            Either LightGBM's own form, ``(raw_scores, Dataset)``, or the one of its scikit-learn estimators,
            ``(labels, raw_scores, sample_weight)``.

        Returns
        -------
        gradient, hessian : ndarray of shape (n,), or (n, K) in Fortran order, float32
            The layout that LightGBM takes without a copy.
        """
        labels, margins, weights = self._arguments(y_true, y_pred, sample_weight)
        return self.loss.gradient_hessian(
            labels,
            margins,
            weights,
            np.empty(margins.shape, dtype=np.float32, order="F"),
            np.empty(margins.shape, dtype=np.float32, order="F"),
            self.n_threads,
            hessian_scale=self._hessian_scale,
        )

    def metric(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> list[tuple[str, float, bool]]:
        """Weighted focal loss and posterior log loss, for `feval` or ``eval_metric=``.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            As in calling the objective.

        Returns
        -------
        list of (str, float, bool)
            ``("focal_loss", value, False)`` and ``("posterior_log_loss", value, False)``: smaller is better.

        Notes
        -----
        LightGBM stops early as soon as any metric stops improving; ``first_metric_only=True`` makes it follow the
        focal loss alone.
        """
        labels, margins, weights = self._arguments(y_true, y_pred, sample_weight)
        return [
            ("focal_loss", self.loss(labels, margins, weights), False),
            ("posterior_log_loss", self.loss.posterior_log_loss(labels, margins, weights), False),
        ]

    def portable(self, booster: lightgbm.Booster) -> lightgbm.Booster:
        """Return a copy of a trained booster that stands alone: intercept in the trees, link named in its file.

        Parameters
        ----------
        booster : lightgbm.Booster
            Trained with this objective. It is not changed.

        Returns
        -------
        lightgbm.Booster
            Its ``predict`` gives sigma(margin) or softmax(margin), with ``raw_score=True`` the margins, here and
            after saving and loading where focal_boost is not installed. A booster whose file names its link already
            is returned as it is, so a second call changes nothing.

        Raises
        ------
        ValueError
            If the booster has another number of outputs than the loss, or no trees.
        """
        text = booster.model_to_string(num_iteration=-1)
        header, trees, rest = _split_model(text)
        if re.search(r"^objective=", header, flags=re.MULTILINE):
            return booster
        outputs = booster.num_model_per_iteration()
        if outputs != self.loss.n_outputs:
            raise ValueError(
                f"the booster has {outputs} outputs a row, but {self.loss!r} has {self.loss.n_outputs}: "
                "call portable of the objective that trained it"
            )
        if len(trees) < outputs:
            raise ValueError("the booster has no trees that could carry the intercept: train it first")
        for output, margin in enumerate(np.atleast_1d(self.intercept)):
            trees[output] = _shift_tree(trees[output], float(margin))
        link = "binary sigmoid:1" if outputs == 1 else f"multiclass num_class:{outputs}"
        header = header.replace("\nfeature_names=", f"\nobjective={link}\nfeature_names=", 1)
        # Offsets of the trees in the text, wrong after an edit and not needed to load it.
        header = re.sub(r"^tree_sizes=.*\n", "", header, flags=re.MULTILINE)
        rest = rest.replace("[objective: custom]", f"[objective: {link.split()[0]}]", 1)
        alone = lightgbm.Booster(model_str=header + "".join(trees) + rest)
        alone.params = {**booster.params, "objective": link.split()[0]}
        alone.best_iteration = booster.best_iteration
        alone.best_score = booster.best_score
        alone.pandas_categorical = booster.pandas_categorical
        return alone

    @property
    def _hessian_scale(self) -> float:
        """Factor of LightGBM's own softmax objective on the diagonal of the curvature."""
        return 1.0 if self.loss.n_outputs == 1 else self.loss.n_classes / (self.loss.n_classes - 1.0)

    def _arguments(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, np.ndarray, Any]:
        """Labels, margins with the intercept, and weights from either calling convention."""
        if isinstance(y_pred, lightgbm.Dataset):
            # Both are kept by a constructed Dataset; weights that are all one are None.
            y_true, y_pred, sample_weight = y_pred.get_label(), y_true, y_pred.get_weight()
        scores = np.asarray(y_pred)
        # LightGBM's own buffer, reused every round: never in place.
        margins = scores + self.intercept if np.any(self.intercept) else scores
        return y_true, margins, sample_weight


def _split_model(text: str) -> tuple[str, list[str], str]:
    """Header, trees and the rest of LightGBM's model text; joined again they give the text."""
    starts = [match.start() for match in re.finditer(r"^Tree=\d+$", text, flags=re.MULTILINE)]
    end = text.index("end of trees")
    if not starts:
        return text[:end], [], text[end:]
    stops = [*starts[1:], end]
    return text[: starts[0]], [text[i:j] for i, j in zip(starts, stops, strict=True)], text[end:]


# Every number of a tree that is an output: of leaves, of leaves with a linear model, of inner nodes (for SHAP's sake).
_OUTPUT_LINES = re.compile(r"^(leaf_value|leaf_const|internal_value)=(.*)$", flags=re.MULTILINE)


def _shift_tree(tree: str, margin: float) -> str:
    """Add a margin to all outputs of a tree."""

    def shifted(match: re.Match[str]) -> str:
        values = (repr(float(value) + margin) for value in match[2].split())
        return f"{match[1]}={' '.join(values)}"

    return _OUTPUT_LINES.sub(shifted, tree)


def _keep_parameters(update: Callable[..., bool]) -> Callable[..., bool]:
    """Let Booster.update skip the reset of parameters where the objective is a FocalObjective."""

    @functools.wraps(update)
    def wrapper(self: lightgbm.Booster, train_set: Any = None, fobj: Any = None) -> bool:
        # The scikit-learn estimators of LightGBM wrap the objective in an object with the attribute func.
        if isinstance(getattr(fobj, "func", fobj), FocalObjective):
            # The booster was built without an objective, so there is nothing that the reset could be needed for.
            self._Booster__set_objective_to_none = True
        return update(self, train_set, fobj)

    wrapper._focal_boost = True  # type: ignore[attr-defined]
    return wrapper


if not hasattr(lightgbm.Booster.update, "_focal_boost"):
    lightgbm.Booster.update = _keep_parameters(lightgbm.Booster.update)
