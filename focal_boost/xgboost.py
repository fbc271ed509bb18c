"""Focal loss as an objective and a metric of XGBoost."""

from __future__ import annotations

import ctypes
import json
import math
from typing import Any

import numpy as np
import xgboost
from scipy.special import expit

from focal_boost.losses import BinaryFocalLoss, MulticlassFocalLoss

__all__ = ["FocalObjective"]

# XGBoost's built-in softmax takes twice the diagonal of the curvature, an upper bound of the whole matrix for K = 2.
_SOFTMAX_HESSIAN_SCALE = 2.0

# base_score is stored as a float32 probability: the margins beyond which it would be rounded to 0 or 1.
_MARGIN_LIMIT = 16.0


class FocalObjective:
    """A focal loss as XGBoost wants it: the same object for train, cv, XGBClassifier and Dask.

    Parameters
    ----------
    loss : BinaryFocalLoss or MulticlassFocalLoss
        What to minimise.
    intercept : float, or array-like of shape (K,) for the multiclass loss, default=None
        Margin from which boosting starts, usually ``loss.fit_intercept_only(y, sample_weight)``. None is 0. XGBoost
        never estimates it for an objective of one's own; it reaches the booster through `params`.
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
    to. Row weights of the DMatrix are applied in gradients and metrics.

    A callable objective together with the objective string in `params` makes a model file that needs no Python code:
    the file names XGBoost's own logistic or softmax link, and ``predict`` gives sigma(margin) or softmax(margin).
    The class posterior is ``loss.predict_proba(booster.predict(data, output_margin=True))``.

    Examples
    --------
    >>> import numpy as np, xgboost as xgb
    >>> from focal_boost import BinaryFocalLoss
    >>> from focal_boost.xgboost import FocalObjective
    >>> X, y = np.random.default_rng(0).normal(size=(200, 3)), np.repeat([0, 1], [180, 20])
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> objective = FocalObjective(loss, intercept=loss.fit_intercept_only(y))
    >>> dtrain = xgb.DMatrix(X, y)
    >>> booster = xgb.train(objective.params, dtrain, 5, obj=objective, custom_metric=objective.metric)
    >>> loss.predict_proba(booster.predict(dtrain, output_margin=True)).shape
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
        """What the booster must be told besides: the objective string (its link), base_score, and num_class."""
        if self.loss.n_outputs == 1:
            probability = float(expit(np.clip(self.intercept, -_MARGIN_LIMIT, _MARGIN_LIMIT)))
            return {"objective": "binary:logistic", "base_score": probability}
        return {
            "objective": "multi:softprob",
            "num_class": self.loss.n_classes,
            "base_score": [float(margin) for margin in self.intercept],
        }

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and curvature of each row, weights applied.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            Either XGBoost's own form, ``(margins, DMatrix)``, or the one of its scikit-learn estimators,
            ``(labels, margins, sample_weight)``.

        Returns
        -------
        gradient, hessian : ndarray of shape (n,) or (n, K), float32
        """
        if isinstance(y_pred, xgboost.DMatrix):
            margins = np.asarray(y_true)
            labels, weights = _labels_and_weights(y_pred)
        else:
            margins, labels, weights = np.asarray(y_pred), y_true, sample_weight
        return self.loss.gradient_hessian(
            labels,
            margins,
            weights,
            np.empty(margins.shape, dtype=np.float32),
            np.empty(margins.shape, dtype=np.float32),
            self.n_threads,
            hessian_scale=1.0 if self.loss.n_outputs == 1 else _SOFTMAX_HESSIAN_SCALE,
        )

    def metric(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Weighted posterior log loss and focal loss on margins, for `custom_metric` or ``eval_metric=``.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            As in calling the objective.

        Returns
        -------
        list of (str, float), or float
            For XGBoost's own form ``posterior_log_loss``, ``focal_loss`` and ``log_focal_loss``; for its scikit-learn
            estimators, which take one number, the focal loss.

        Notes
        -----
        XGBoost hands values of its own metrics functions on with six decimals, so that a focal loss of 3e-7 would be
        read as 0 and end early stopping. The natural logarithm of the focal loss comes last, the place that early
        stopping follows, and keeps a relative precision of 1e-6 however small the loss is.
        """
        if isinstance(y_pred, xgboost.DMatrix):
            margins = y_true
            labels, weights = _labels_and_weights(y_pred)
            focal = self.loss(labels, margins, weights)
            return [
                ("posterior_log_loss", self.loss.posterior_log_loss(labels, margins, weights)),
                ("focal_loss", focal),
                ("log_focal_loss", math.log(focal) if focal > 0 else -math.inf),
            ]
        return self.loss(y_true, y_pred, sample_weight)

    def portable(self, booster: xgboost.Booster) -> xgboost.Booster:
        """Return the booster as it is: a model trained with `params` stands alone.

        The counterpart of the method of the same name for LightGBM, so that code for both libraries reads the same.

        Parameters
        ----------
        booster : xgboost.Booster

        Returns
        -------
        xgboost.Booster
        """
        return booster


def _labels_and_weights(data: xgboost.DMatrix) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels and weights where the DMatrix keeps them: not copied each round, and never stale."""
    labels = _info(data, "label")
    weights = _info(data, "weight")
    return labels, weights if weights.size else None


def _info(data: xgboost.DMatrix, field: str) -> np.ndarray:
    """View of a float field inside a DMatrix that is alive for as long as the caller holds the DMatrix.

    The public getters copy at each call. The view is read through the C interface behind them; where that is not as
    expected (a later version, memory of a GPU), the getters serve.
    """
    try:
        interface_json = ctypes.c_char_p()
        status = xgboost.core._LIB.XGDMatrixGetInfoRef(data.handle, field.encode(), ctypes.byref(interface_json))
        interface = json.loads(interface_json.value or b"{}") if status == 0 else {}
    except AttributeError:
        interface = {}
    if interface.get("typestr") != "<f4" or "stream" in interface:
        return data.get_float_info(field)
    (address, _), shape = interface["data"], tuple(interface["shape"])
    size = math.prod(shape)
    if size == 0:
        return np.empty(0, dtype=np.float32)
    view = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape=(size,))
    view.flags.writeable = False
    return view.reshape(shape)
