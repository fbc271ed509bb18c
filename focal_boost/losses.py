"""Binary and multiclass focal loss: parameters, derivatives, intercept, probabilities.

A loss is an immutable value that knows no booster: it can be shared between threads, compared and pickled.
The arithmetic is in `focal_boost.kernels`.
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from focal_boost._checks import (
    check_choice,
    check_no_mask,
    check_overlap,
    class_weight_values,
    code_array,
    gamma_values,
    margin_array,
    output_array,
    step_bound,
    thread_count,
    total_weight,
    weight_array,
)
from focal_boost._typing import FloatArray, Hessian, Link
from focal_boost.kernels import active as kernels
from focal_boost.kernels import for_gpu, is_compiled, is_device_array
from focal_boost.kernels.numpy import Posteriors
from focal_boost.kernels.parameters import Operation, Parameters

__all__ = ["BinaryFocalLoss", "MulticlassFocalLoss"]

# Class shares are kept this far from 0 and 1, so that the best constant of a class without rows is a finite margin.
_SHARE_FLOOR = float(np.finfo(np.float64).eps)

# A smaller gamma is 0 to the kernels: quotients of it and of a complement as small would overflow.
_SMALLEST_GAMMA = 1e-300


def _kernels_for(*arrays: Any) -> Any:
    """The kernels that compute where the arrays lie: on a GPU if one of them does."""
    return for_gpu() if any(map(is_device_array, arrays)) else kernels


_SLOW_ELEMENTS = 1_000_000


@functools.cache
def _warn_of_numpy() -> None:
    """Say once in the life of a process that compiled kernels would be many times as fast."""
    warnings.warn(
        f"gradients of more than {_SLOW_ELEMENTS:,} elements are computed by NumPy, since focal_boost was installed "
        "without its compiled kernels, which are many times as fast; install it again where a C++ compiler is found "
        "(or from a wheel for this platform), or set FOCAL_BOOST_KERNELS=numpy to silence this",
        UserWarning,
        stacklevel=4,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Losses


_NO_OBJECTIVE = (
    "a loss is no objective of a booster, which wants gradient and curvature: pass FocalObjective(loss) of "
    "focal_boost.xgboost or focal_boost.lightgbm"
)


class _MeanLoss(float):
    """A number, with words for a booster that was given a loss for an objective and unpacks what it returns."""

    def __getitem__(self, index: int) -> float:
        raise TypeError(_NO_OBJECTIVE)


class _FocalLoss:
    """What both losses share. Subclasses give the parameters."""

    gamma: float | Sequence[float]
    alpha: float | Sequence[float] | None
    hessian: Hessian
    max_step: float | None
    link: Link
    n_classes: int
    n_outputs: int
    _parameters: Parameters

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Checked as when it was made: what kernels are given is never read from a file.
        if not state.keys() <= {one.name for one in fields(self)}:  # type: ignore[arg-type]
            raise ValueError(
                "the pickle was written by focal_boost 0.1.0, whose margins mean something else: train the model "
                "again, or load it with focal_boost==0.1.0"
            )
        self.__init__(**state)  # type: ignore[misc]

    def __call__(
        self,
        y_true: ArrayLike,
        raw_prediction: ArrayLike,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = 1,
    ) -> float:
        """Return the weighted mean of the focal loss.

        Parameters
        ----------
        y_true : array-like of shape (n,), or (n, K) for the binary loss of K labels
            Classes 0 to K - 1; for the binary loss also soft labels in [0, 1].
        raw_prediction : array-like of shape (n,), or (n, K) for the multiclass loss or K labels
            Margins, float32 or float64, any strides.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0, not all zero.
        n_threads : int or None, default=1
            Threads, where the kernels are compiled; None and numbers below 1 are all processors.

        Returns
        -------
        float
            ``sum(w * loss) / sum(w)``, accumulated in double precision; of K labels the mean.

        Raises
        ------
        ValueError
            If shapes disagree, a label or weight is not allowed, there are no rows, or all weights are zero.
        """
        if hasattr(raw_prediction, "get_label"):  # a booster's table in the place of margins
            raise TypeError(_NO_OBJECTIVE)
        return _MeanLoss(self._mean(y_true, raw_prediction, sample_weight, n_threads))

    def _mean(
        self, y_true: Any, raw_prediction: Any, sample_weight: Any, n_threads: int | None, intercept: Any = None
    ) -> float:
        kind = _kernels_for(y_true, raw_prediction, sample_weight)
        z = margin_array(raw_prediction, self.n_outputs, kind)
        if not len(z):
            raise ValueError("raw_prediction has no rows, and the mean loss of nothing is not defined")
        weight = weight_array(sample_weight, len(z), kind=kind)
        losses = self.loss(y_true, z, weight, kind.arrays.empty(self._label_shape(z)), n_threads, intercept=intercept)
        total = len(z) if weight is None else total_weight(weight)
        return float(losses.sum() / (total * (losses.size // len(z))))

    def loss(
        self,
        y_true: ArrayLike,
        raw_prediction: ArrayLike,
        sample_weight: ArrayLike | None = None,
        loss_out: FloatArray | None = None,
        n_threads: int | None = 1,
        *,
        intercept: ArrayLike | None = None,
    ) -> FloatArray:
        """Focal loss of each row, times its weight.

        Parameters
        ----------
        y_true : array-like of shape (n,), or (n, K) for the binary loss of K labels
            Classes 0 to K - 1; for the binary loss also soft labels in [0, 1].
        raw_prediction : array-like of shape (n,), or (n, K) for the multiclass loss or K labels
            Margins, float32 or float64, any strides.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0.
        loss_out : ndarray of the shape of `y_true`, default=None
            Written to and returned, if given: float32 or float64.
        n_threads : int or None, default=1
            Threads, where the kernels are compiled; None and numbers below 1 are all processors. Results do not depend
            on it.
        intercept : float, or array-like of shape (K,) for the multiclass loss or K labels, default=None
            Added to the margins of each row.

        Returns
        -------
        ndarray of the shape of `y_true`
            One value a row (and label), in the dtype of the margins unless `loss_out` is given.

        Raises
        ------
        ValueError
            If shapes disagree or a label or weight is not allowed.
        """
        kind = _kernels_for(y_true, raw_prediction, sample_weight, loss_out)
        z = margin_array(raw_prediction, self.n_outputs, kind)
        y = code_array(y_true, self._label_shape(z), kind)
        weight = weight_array(sample_weight, len(z), kind=kind, in_kernel=True)
        shape = self._label_shape(z)
        out: FloatArray = kind.arrays.empty(shape, dtype=z.dtype) if loss_out is None else loss_out
        out = output_array(out, "loss_out", np.broadcast_to(np.float32(0), shape), kind)
        if loss_out is not None and kind.arrays is np:
            check_overlap({"loss_out": out}, {"raw_prediction": z, "y_true": y, "sample_weight": weight})
        z, offset = self._offset(intercept, z, kind)
        self._run(kind, "loss", self._parameters, (y, z, weight), (out,), n_threads, offset)
        return out

    def gradient_hessian(
        self,
        y_true: ArrayLike,
        raw_prediction: ArrayLike,
        sample_weight: ArrayLike | None = None,
        gradient_out: FloatArray | None = None,
        hessian_out: FloatArray | None = None,
        n_threads: int | None = 1,
        *,
        hessian_scale: float = 1.0,
        intercept: ArrayLike | None = None,
        scale: ArrayLike = 1.0,
    ) -> tuple[FloatArray, FloatArray]:
        """First and second derivative of each row's loss with respect to its margins, times its weight.

        Parameters
        ----------
        y_true : array-like of shape (n,), or (n, K) for the binary loss of K labels
            Classes 0 to K - 1; for the binary loss also soft labels in [0, 1].
        raw_prediction : array-like of shape (n,), or (n, K) for the multiclass loss or K labels
            Margins, float32 or float64, any strides; never written to.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0.
        gradient_out, hessian_out : ndarray of the shape of `raw_prediction`, default=None
            Written to and returned, if given: float32 or float64, any strides.
        n_threads : int or None, default=1
            Threads, where the kernels are compiled; None and numbers below 1 are all processors. Results do not depend
            on it.
        hessian_scale : float, default=1.0
            Factor on the curvature, applied in double precision after the step bound. Boosters that take the diagonal
            of the softmax curvature for the whole matrix each need their own.
        intercept : float, or array-like of shape (K,) for the multiclass loss or K labels, default=None
            Added to the margins of each row, without a copy of them.
        scale : float, or array-like of shape (K,) for K labels, default=1.0
            Factor on both derivatives, that is, on the loss; see `log_loss_scale`.

        Returns
        -------
        gradient, hessian : ndarray of the shape of `raw_prediction`
            In the dtype and memory order of the margins unless output arrays are given. The hessian is the diagonal
            of the matrix of second derivatives: exact and signed for ``hessian="exact"``; averaged over the labels
            that the margin itself predicts, hence positive, for ``hessian="expected"``; and not less than
            ``|gradient| / max_step`` unless `max_step` is None.

        Raises
        ------
        ValueError
            If shapes disagree, a label or weight is not allowed, or an output array is read-only.
        """
        gradient, hessian, fill = self._prepared(
            y_true,
            raw_prediction,
            sample_weight,
            gradient_out,
            hessian_out,
            n_threads,
            hessian_scale=hessian_scale,
            intercept=intercept,
            scale=scale,
        )
        fill(raw_prediction)
        return gradient, hessian

    def _prepared(
        self,
        y_true: Any,
        raw_prediction: Any,
        sample_weight: Any,
        gradient_out: Any,
        hessian_out: Any,
        n_threads: int | None,
        *,
        hessian_scale: float,
        intercept: Any = None,
        scale: Any = 1.0,
        team: int = 0,
    ) -> tuple[Any, Any, Callable[[Any], None]]:
        """Check the arguments of `gradient_hessian`; for `team` see `focal_boost.kernels.numpy.run`.

        Returns
        -------
        gradient, hessian : ndarray
            Arrays for the results.
        fill : callable
            Computes them from margins of the same kind. A training calls it in each round: its labels and weights
            stay, and are checked and converted once.
        """
        kind = _kernels_for(y_true, raw_prediction, sample_weight, gradient_out, hessian_out)
        z = margin_array(raw_prediction, self.n_outputs, kind)
        y = code_array(y_true, self._label_shape(z), kind)
        weight = weight_array(sample_weight, len(z), kind=kind, in_kernel=True)
        gradient = output_array(gradient_out, "gradient_out", z, kind)
        hessian = output_array(hessian_out, "hessian_out", z, kind)
        if kind.arrays is np and (gradient_out is not None or hessian_out is not None):
            check_overlap(
                {"gradient_out": gradient, "hessian_out": hessian},
                {"raw_prediction": z, "y_true": y, "sample_weight": weight},
            )
        if (
            kind.arrays is np
            and z.size > _SLOW_ELEMENTS
            and not is_compiled()
            and "FOCAL_BOOST_KERNELS" not in os.environ
        ):
            _warn_of_numpy()
        if np.ndim(scale):
            weight = self._weights_of_labels(weight, scale, z, kind)
            parameters = self._parameters
        else:
            parameters = _scaled(self._parameters, float(scale))
        outputs, curvature = (gradient, hessian), float(hessian_scale)

        checked = False

        def fill(raw_prediction: Any) -> None:
            nonlocal checked
            margins, offset = self._offset(intercept, margin_array(raw_prediction, self.n_outputs, kind), kind)
            inputs = (y, margins, weight)
            self._run(kind, "derivatives", parameters, inputs, outputs, n_threads, offset, curvature, checked, team)
            checked = True

        return gradient, hessian, fill

    @overload
    def log_loss_scale(self, intercept: float | None = None) -> float: ...

    @overload
    def log_loss_scale(self, intercept: ArrayLike) -> Any: ...  # of one margin a float, of several an array

    def log_loss_scale(self, intercept: Any = None) -> float | NDArray[np.float64]:
        """Factor on the loss that gives a constant model the curvature which the log loss has for it.

        Boosters compare sums of derivatives with absolute numbers: the L2 penalty of leaves, the least curvature of a
        leaf, the least gain of a split. Those settings, and their defaults, are made for the log loss. A constant
        factor changes neither the minimiser nor unpenalised Newton steps, so it may be chosen to make them mean the
        same: with it the sum of the expected curvature is, where boosting starts, that of the log loss with the same
        class weights, these with a mean of 1 over the rows. So only ratios of class weights matter.

        Parameters
        ----------
        intercept : float, or array-like of shape (K,) for the multiclass loss or K labels, default=None
            The constant margin, ``fit_intercept_only(y, sample_weight)``; None is 0, where boosting starts if it is
            told nothing.

        Returns
        -------
        float, or ndarray of shape (K,) for K labels
            ``sum_k h_k(log loss) / sum_k h_k(this loss)`` at the same class probabilities, over the mean class weight
            under them; 1 for gamma = 0 without class weights.
        """
        if self.n_outputs == 1 and np.ndim(intercept) and np.size(intercept) > 1:
            return np.array([self.log_loss_scale(margin) for margin in intercept])
        if not any(self._parameters.gamma) and self.alpha is None:
            return 1.0
        margin = np.atleast_1d(self.check_intercept(intercept))
        margin = margin if self.n_outputs == 1 else margin[np.newaxis]
        # At the same probabilities: in log-odds, which mean the same to every gamma.
        logits = margin.astype(np.float64) if self.link == "logit" else self._log_odds(margin)
        settings: dict[str, Any] = {"alpha": self.alpha, "hessian": "expected", "max_step": None}
        this = self._plain(gamma=self.gamma, link=self.link, **settings)
        log_loss = self._plain(gamma=0.0, link="logit", **settings)
        own = this.gradient_hessian(np.zeros(1), margin)[1].sum()
        other = log_loss.gradient_hessian(np.zeros(1), logits)[1].sum()
        weights = np.array(self._parameters.class_weight)
        return float(other / own / (log_loss.predict_proba(logits)[0] @ weights))

    def log_loss(
        self,
        y_true: ArrayLike,
        raw_prediction: ArrayLike,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = 1,
        *,
        intercept: ArrayLike | None = None,
    ) -> float:
        """Weighted mean log loss of the class probabilities: comparable between different gamma and alpha.

        Parameters
        ----------
        y_true : array-like of shape (n,), or (n, K) for the binary loss of K labels
            Classes 0 to K - 1; for the binary loss also soft labels in [0, 1].
        raw_prediction : array-like of shape (n,), or (n, K) for the multiclass loss or K labels
            Margins, float32 or float64, any strides.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0, not all zero.
        n_threads : int or None, default=1
            Threads, where the kernels are compiled; None and numbers below 1 are all processors.
        intercept : float, or array-like of shape (K,) for the multiclass loss or K labels, default=None
            Added to the margins of each row.

        Returns
        -------
        float
            Accumulated in double precision; of K labels the mean.

        Raises
        ------
        ValueError
            If shapes disagree, a label or weight is not allowed, there are no rows, or all weights are zero.
        """
        if self.link == "focal":
            z = margin_array(raw_prediction, self.n_outputs, _kernels_for(y_true, raw_prediction, sample_weight))
            raw_prediction, intercept = self._log_odds(z, n_threads, intercept), None
        # At gamma 0 both links are the same; the paper's needs no inverse.
        log_loss = self._plain(gamma=0.0, link="focal")
        return log_loss._mean(y_true, raw_prediction, sample_weight, n_threads, intercept)

    def _log_odds(self, z: Any, n_threads: int | None = 1, intercept: Any = None) -> Any:
        """Margins of the focal link as those of the logit link, float64: what they say of the class probabilities."""
        kind = _kernels_for(z)
        out = kind.arrays.empty_like(z, dtype=np.float64)
        z, offset = self._offset(intercept, z, kind)
        self._run(kind, "log_odds", self._parameters, (None, z, None), (out,), n_threads, offset)
        return out

    def _plain(self, **parameters: Any) -> BinaryFocalLoss | MulticlassFocalLoss:
        """Make a focal loss for the same labels, whatever class this one is derived of it."""
        if self.n_outputs == 1:
            return BinaryFocalLoss(**parameters)
        return MulticlassFocalLoss(self.n_classes, **parameters)

    def check_intercept(self, intercept: Any = None) -> Any:
        """Return a start margin in its canonical form.

        Parameters
        ----------
        intercept : float, array-like of shape (K,) for the multiclass loss or K labels, or None
            None is 0 for every output.

        Returns
        -------
        float, or read-only ndarray of shape (K,)

        Raises
        ------
        ValueError
            If it has another shape or is not finite.
        """
        shape = () if self.n_outputs == 1 else (self.n_outputs,)
        check_no_mask(intercept, "intercept")
        try:
            margin = np.zeros(shape) if intercept is None else np.array(intercept, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"intercept={intercept!r} is not a margin: it must be real; loss.fit_intercept_only(y) gives one"
            ) from None
        per_label = self.n_outputs == 1 and margin.ndim == 1 and margin.size > 1
        if margin.shape != shape and not per_label:
            raise ValueError(
                f"intercept={intercept!r} has shape {margin.shape}, but the loss starts from shape {shape}; "
                "loss.fit_intercept_only(y) gives them"
            )
        if not np.all(np.isfinite(margin)):
            raise ValueError(f"intercept={intercept!r} is not finite; loss.fit_intercept_only(y) always is")
        if not margin.ndim:
            return float(margin)
        margin.flags.writeable = False
        return margin

    def _label_shape(self, z: Any) -> tuple[int, ...]:
        """Shape of labels and losses for these margins."""
        shape: tuple[int, ...] = z.shape
        return shape if self.n_outputs == 1 else shape[:1]

    def _offset(self, intercept: Any, z: Any, kind: Any) -> tuple[Any, Any]:
        """Margins and intercept as the kernels take them: None where there is nothing to add."""
        if intercept is None:
            return z, None
        margin = self.check_intercept(intercept)
        if self.n_outputs > 1 or not np.ndim(margin):
            return z, margin
        if margin.shape != z.shape[1:]:
            raise ValueError(
                f"intercept={intercept!r} has {margin.size} margins, but raw_prediction has shape {z.shape}: "
                "loss.fit_intercept_only(y) gives one for each column of y"
            )
        # The binary kernels add one number.
        return z + kind.asarray(margin), None

    def _weights_of_labels(self, weight: Any, scale: Any, z: Any, kind: Any) -> Any:
        """Factors on the loss of each label, as weights of entries."""
        if z.ndim != 2 or self.n_outputs > 1 or np.shape(scale) != z.shape[1:]:
            raise ValueError(f"scale={scale!r} has one factor a label, but raw_prediction has shape {z.shape}")
        rows = kind.arrays.ones(len(z)) if weight is None else weight
        return rows[:, np.newaxis] * kind.asarray(np.asarray(scale, dtype=np.float64))

    def _run(
        self,
        kind: Any,
        operation: Operation,
        parameters: Parameters,
        inputs: tuple[Any, ...],
        outputs: tuple[Any, ...],
        n_threads: int | None,
        offset: Any,
        hessian_scale: float = 1.0,
        checked: bool = False,
        team: int = 0,
    ) -> None:
        """Call the kernels. To those of the binary loss each of (n, K) labels is a row of its own."""
        flat = outputs
        if self.n_outputs == 1 and outputs[0].ndim == 2:
            n_labels = outputs[0].shape[1]
            inputs = tuple(
                x if x is None else x.reshape(-1) if x.ndim == 2 else kind.arrays.repeat(x, n_labels) for x in inputs
            )
            flat = tuple(out.reshape(-1) for out in outputs)
        if parameters.logit and not any(parameters.gamma):
            # The log loss: p is softmax(f + log w), in closed form.
            parameters, shift = _log_loss(parameters)
            offset = offset if shift is None else shift if offset is None else shift + offset
        kind.run(operation, parameters, *inputs, flat, thread_count(n_threads), offset, hessian_scale, checked, team)
        for out, values in zip(outputs, flat, strict=True):
            if out is not values and not out.flags.c_contiguous:  # then `values` is no view
                out[...] = values.reshape(out.shape)


@functools.lru_cache(maxsize=256)
def _scaled(parameters: Parameters, scale: float) -> Parameters:
    """A loss times a factor."""
    if scale == 1.0:
        return parameters
    return replace(parameters, class_weight=tuple(weight * scale for weight in parameters.class_weight))


@functools.lru_cache(maxsize=256)
def _log_loss(parameters: Parameters) -> tuple[Parameters, Any]:
    """A loss with gamma 0 in the paper's margins, and what takes those of the logit link there; None for nothing."""
    log_weight = np.log(np.array(parameters.class_weight))
    log_weight -= log_weight[0]
    shift = log_weight[1] if parameters.binary else log_weight
    return replace(parameters, logit=False), shift if log_weight.any() else None


def _labels_and_weights(y_true: Any, sample_weight: Any, kind: Any) -> tuple[Any, Any]:
    """Encoded labels of at least one row, and weights in double precision that are not all zero, or None."""
    y = code_array(y_true, None, kind)
    if not y.size:
        raise ValueError("y_true has no rows: there is nothing to fit an intercept to")
    if not y.ndim:
        raise ValueError(f"y_true={y_true!r} is one label: pass an array of them, one a row")
    weight = weight_array(sample_weight, len(y), kind=kind)
    if weight is None:
        return y, None
    total_weight(weight)
    return y, weight.astype(np.float64)


def _class_shares(y: Any, weight: Any, n_classes: int, kind: Any) -> NDArray[np.float64]:
    counts: NDArray[Any] = kind.to_host(kind.arrays.bincount(y.astype(np.int64), weights=weight, minlength=n_classes))
    return counts / float(counts.sum())


@dataclass(frozen=True)
class BinaryFocalLoss(_FocalLoss):
    r"""Binary focal loss.

    .. math:: FL(p, 1) = -w_1 (1 - p)^{\gamma_1} \log p, \qquad FL(p, 0) = -w_0\, p^{\gamma_0} \log(1 - p)

    and for a soft label t in [0, 1] the mixture t FL(p, 1) + (1 - t) FL(p, 0).

    With ``link="logit"`` the margin f is the log-odds of the probability of class 1, eta = sigma(f), and p is what
    makes the expected loss under eta least. Then the gradient is ``(eta - y) v(f)``: logistic boosting with a row
    weight that does not depend on the label. With ``link="focal"`` the margin is that of the paper, p = sigma(z).

    Labels and margins of shape (n, K) are K questions that are each answered yes or no (multi-label): the loss, its
    derivatives and the probabilities are those of each entry, and a row's weight counts for all its entries.

    Parameters
    ----------
    gamma : float or sequence of two floats, default=1.0
        Focusing parameter, >= 0, or one for class 0 and one for class 1. At 0 the loss is the log loss.
    alpha : float, sequence of two floats or None, default=None
        Class weights: a float in (0, 1) weighs the positive class with alpha and the other with 1 - alpha; a sequence
        gives ``(w_0, w_1)``; None is ``(1, 1)``.
    hessian : {"expected", "exact"}, default="expected"
        Curvature: expected over the label, always positive (Fisher scoring on the posterior), or the signed second
        derivative.
    max_step : float or None, default=8.0
        Raises the curvature to at least ``|gradient| / max_step``, so that no leaf of a Newton booster exceeds it.
    link : {"logit", "focal"}, default="logit"
        What margins mean: log-odds of the class probabilities, or the paper's.

    Raises
    ------
    ValueError
        If a parameter is out of its domain.

    References
    ----------
    .. [1] Lin, Goyal, Girshick, He & Dollar, "Focal Loss for Dense Object Detection", ICCV 2017, arXiv 1708.02002.
    .. [2] Charoenphakdee et al., "On Focal Loss for Class-Posterior Probability Estimation", CVPR 2021,
       arXiv 2011.09172.

    Examples
    --------
    >>> import numpy as np
    >>> from focal_boost import BinaryFocalLoss
    >>> loss = BinaryFocalLoss(gamma=2.0)
    >>> gradient, hessian = loss.gradient_hessian(np.array([0, 1]), np.array([0.0, 3.0]))
    >>> bool((hessian > 0).all())
    True
    >>> loss.predict_proba(np.array([0.0]))
    array([[0.5, 0.5]])
    """

    gamma: float | Sequence[float] = 1.0
    alpha: float | Sequence[float] | None = None
    hessian: Hessian = "expected"
    max_step: float | None = 8.0
    link: Link = "logit"
    n_classes: int = field(default=2, init=False, repr=False)
    n_outputs: int = field(default=1, init=False, repr=False)
    _parameters: Parameters = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _freeze(self, 2)

    def fit_intercept_only(self, y_true: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Margin of the constant that minimises the weighted mean loss: where boosting should start.

        Parameters
        ----------
        y_true : array-like of shape (n,) or (n, K)
            Labels in [0, 1].
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0, not all zero.

        Returns
        -------
        float, or ndarray of shape (K,) for K columns of labels
            The margin whose class probabilities are the weighted class shares: with the logit link the log-odds of the
            share, whatever gamma and alpha. The share is kept within float64 eps of 0 and 1, so the result is finite
            if one class has no rows.

        Raises
        ------
        ValueError
            If there are no rows, a label or weight is not allowed, or all weights are zero.
        """
        kind = _kernels_for(y_true, sample_weight)
        y, weight = _labels_and_weights(y_true, sample_weight, kind)
        if y.ndim == 2:
            return np.array([self.fit_intercept_only(label, sample_weight) for label in y.T])
        if not (y.min() >= 0 and y.max() <= 1):
            raise ValueError(f"y_true ranges from {y.min()} to {y.max()}, but binary labels must lie in [0, 1]")
        share = float(kind.arrays.average(y.astype(np.float64), weights=weight))
        share = min(max(share, _SHARE_FLOOR), 1.0 - _SHARE_FLOOR)
        log_odds = math.log(share) - math.log1p(-share)
        if self.link == "logit":
            return log_odds
        return float(Posteriors(np.array([[0.0], [log_odds]]), self._parameters).logit.t[1, 0])

    def predict_proba(self, raw_prediction: ArrayLike) -> FloatArray:
        """Class probabilities that margins stand for.

        Parameters
        ----------
        raw_prediction : array-like of shape (n,) or (n, K)
            Margins, float32 or float64.

        Returns
        -------
        ndarray of shape (n, 2) or (n, K), in the dtype of the margins
            For one margin a row, columns for class 0 and class 1; for margins of K labels, the probability of each.
            With the logit link sigma(f); with the focal link the probabilities for which the margins are best, which
            undoes gamma and alpha (Charoenphakdee et al., 2021).
        """
        kind = _kernels_for(raw_prediction)
        z = margin_array(raw_prediction, 1, kind)
        logit = self._log_odds(z) if self.link == "focal" else z.astype(np.float64)
        if z.ndim == 2:
            of_labels: FloatArray = kind.sigmoid(logit).astype(z.dtype, copy=False)
            return of_labels
        proba: FloatArray = kind.arrays.empty((len(z), 2), dtype=z.dtype)
        proba[:, 0] = kind.sigmoid(-logit)
        proba[:, 1] = kind.sigmoid(logit)
        return proba


@dataclass(frozen=True)
class MulticlassFocalLoss(_FocalLoss):
    r"""Focal loss of K classes that exclude each other, t being the true one.

    .. math:: FL(p, t) = -w_t (1 - p_t)^{\gamma_t} \log p_t

    With ``link="logit"`` the margins f are log-odds, eta = softmax(f) are the class probabilities, and p is what makes
    the expected loss under eta least. With ``link="focal"`` the margins are those of the paper, p = softmax(z).

    Parameters
    ----------
    n_classes : int
        Number of classes K, at least 2.
    gamma : float or sequence of K floats, default=1.0
        Focusing parameter, >= 0, or one for each class. At 0 the loss is the log loss.
    alpha : sequence of K floats or None, default=None
        One positive weight per class; None is 1 for all.
    hessian : {"expected", "exact"}, default="expected"
        Diagonal curvature: expected over the label, always positive, or the signed second derivative.
    max_step : float or None, default=8.0
        Raises each entry of the curvature to at least ``|gradient| / max_step``.
    link : {"logit", "focal"}, default="logit"
        What margins mean: log-odds of the class probabilities, or the paper's.

    Raises
    ------
    ValueError
        If a parameter is out of its domain.

    References
    ----------
    .. [1] Lin, Goyal, Girshick, He & Dollar, "Focal Loss for Dense Object Detection", ICCV 2017, arXiv 1708.02002.
    .. [2] Charoenphakdee et al., "On Focal Loss for Class-Posterior Probability Estimation", CVPR 2021,
       arXiv 2011.09172.

    Examples
    --------
    >>> import numpy as np
    >>> from focal_boost import MulticlassFocalLoss
    >>> loss = MulticlassFocalLoss(3, gamma=2.0)
    >>> gradient, hessian = loss.gradient_hessian(np.array([0, 2]), np.zeros((2, 3)))
    >>> bool(np.allclose(gradient.sum(axis=1), 0))
    True
    """

    n_classes: int
    gamma: float | Sequence[float] = 1.0
    alpha: Sequence[float] | None = None
    hessian: Hessian = field(default="expected", kw_only=True)
    max_step: float | None = field(default=8.0, kw_only=True)
    link: Link = field(default="logit", kw_only=True)
    n_outputs: int = field(init=False, repr=False, compare=False)
    _parameters: Parameters = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        k = self.n_classes
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 2:
            raise ValueError(f"n_classes={k!r} is not an integer >= 2; pass the number of classes")
        _freeze(self, int(k), n_outputs=int(k))

    def fit_intercept_only(self, y_true: ArrayLike, sample_weight: ArrayLike | None = None) -> NDArray[np.float64]:
        """Margins of the constant that minimises the weighted mean loss: where boosting should start.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            Classes 0 to K - 1.
        sample_weight : array-like of shape (n,), default=None
            Finite weights >= 0, not all zero.

        Returns
        -------
        ndarray of shape (K,)
            Margins with mean 0 whose class probabilities are the weighted class shares: with the logit link the
            logarithms of the shares up to a constant, whatever gamma and alpha. Shares are kept above float64 eps, so
            the margin of a class without rows is finite.

        Raises
        ------
        ValueError
            If there are no rows, a label or weight is not allowed, or all weights are zero.
        """
        kind = _kernels_for(y_true, sample_weight)
        y, weight = _labels_and_weights(y_true, sample_weight, kind)
        # The kernels refuse labels that are no classes; a constant margin makes that one cheap pass.
        log_loss = MulticlassFocalLoss(self.n_classes, gamma=0.0, link="focal")
        log_loss.loss(y, kind.arrays.broadcast_to(kind.arrays.zeros(1), (len(y), self.n_classes)))
        shares = np.maximum(_class_shares(y, weight, self.n_classes, kind), _SHARE_FLOOR)
        margins: NDArray[np.float64] = np.log(shares)
        if self.link == "focal":
            margins = -Posteriors(margins[:, np.newaxis], self._parameters).logit.a[:, 0]
        centred: NDArray[np.float64] = margins - margins.mean()
        return centred

    def predict_proba(self, raw_prediction: ArrayLike) -> FloatArray:
        """Class probabilities that margins stand for.

        Parameters
        ----------
        raw_prediction : array-like of shape (n, K)
            Margins, float32 or float64.

        Returns
        -------
        ndarray of shape (n, K)
            In the dtype of the margins; rows sum to 1. With the logit link softmax(f); with the focal link the
            probabilities for which the margins are best, which undoes gamma and alpha (Charoenphakdee et al., 2021).
        """
        kind = _kernels_for(raw_prediction)
        z = margin_array(raw_prediction, self.n_outputs, kind)
        logits = self._log_odds(z) if self.link == "focal" else z.astype(np.float64).clip(-1e300, 1e300)
        proba: FloatArray = kind.softmax(logits).astype(z.dtype, copy=False)
        return proba


def make_loss(n_classes: int, **parameters: Any) -> BinaryFocalLoss | MulticlassFocalLoss:
    """Make the loss for a number of classes.

    Parameters
    ----------
    n_classes : int
    **parameters
        Those of the constructors.

    Returns
    -------
    BinaryFocalLoss or MulticlassFocalLoss

    Raises
    ------
    ValueError
        If a parameter is out of its domain.
    """
    return BinaryFocalLoss(**parameters) if n_classes == 2 else MulticlassFocalLoss(n_classes, **parameters)


_LINKS = {"logit": "margins are log-odds", "focal": "margins are those of the paper"}
_HESSIANS = {"expected": "always positive", "exact": "signed"}


def _freeze(loss: Any, n_classes: int, **others: Any) -> None:
    """Check the parameters that both losses have, and store all of them in a frozen dataclass."""
    is_binary = isinstance(loss, BinaryFocalLoss)
    gamma, max_step = gamma_values(loss.gamma, n_classes), step_bound(loss.max_step)
    alpha, class_weight = class_weight_values(loss.alpha, n_classes, binary=is_binary)
    check_choice("hessian", loss.hessian, _HESSIANS)
    check_choice("link", loss.link, _LINKS)
    of_each = gamma if isinstance(gamma, tuple) else (gamma,) * n_classes
    parameters = Parameters(
        binary=is_binary,
        logit=loss.link == "logit",
        gamma=tuple(value if value >= _SMALLEST_GAMMA else 0.0 for value in of_each),
        class_weight=class_weight,
        expected=loss.hessian == "expected",
        max_step=math.inf if max_step is None else max_step,
    )
    checked = {"gamma": gamma, "alpha": alpha, "max_step": max_step}
    for name, value in {**checked, "n_classes": n_classes, "_parameters": parameters, **others}.items():
        object.__setattr__(loss, name, value)
