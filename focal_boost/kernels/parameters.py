"""The block of parameters in which a loss travels to whatever computes it.

A loss describes itself once, by a `Parameters`; every set of kernels takes that block as it is, so that a parameter is
named here and where its formula is, and nowhere between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Operation", "Parameters", "label_error"]

Operation = Literal["loss", "derivatives", "log_odds"]
"""What kernels compute: the loss of each row; gradient and curvature of each margin; or, of margins of the focal link,
the log-odds (binary) or log-probabilities up to a constant a row (multiclass) that they stand for."""


@dataclass(frozen=True)
class Parameters:
    """What a loss is made of.

    Parameters
    ----------
    binary : bool
        One margin a row, the log-odds of class 1, and labels in [0, 1]; else K margins and labels 0 to K - 1.
    logit : bool
        Margins are log-odds of class probabilities (the logit link); else those of the paper, p = softmax(margins).
    gamma : tuple of K floats
        Focusing parameter of each class, >= 0.
    class_weight : tuple of K floats
        Weight of each class, > 0.
    expected : bool
        Curvature averaged over the labels that a margin predicts; else the signed second derivative.
    max_step : float
        Bound of Newton steps; infinite for none.
    """

    binary: bool
    logit: bool
    gamma: tuple[float, ...]
    class_weight: tuple[float, ...]
    expected: bool = True
    max_step: float = math.inf

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.gamma)


def label_error(label: Any, parameters: Parameters) -> ValueError:
    """Say that a label is not allowed; the same words whatever computes.

    Parameters
    ----------
    label : float
    parameters : Parameters

    Returns
    -------
    ValueError
    """
    if parameters.binary:
        allowed = "binary labels must lie in [0, 1] (0 and 1 for classes, values between for soft labels)"
    else:
        n_classes = parameters.n_classes
        allowed = f"the labels of a loss with {n_classes} classes must be the integers 0 to {n_classes - 1}"
    return ValueError(
        f"y_true holds {label:g}, but {allowed}; encode other labels first, or use FocalClassifier, which takes labels "
        "of any kind"
    )
