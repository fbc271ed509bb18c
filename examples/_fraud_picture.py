"""The picture of fraud_detection.py: what is found within the budget part by part, money, and reliability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from _data import calibration_bins
from scipy.special import logit
from scipy.stats import beta

MIN_ROWS, SMOOTHED = 10, 7  # rows of a bin of the reliability curve; days of the moving average
# Okabe & Ito's colours, told apart by colour-blind readers, and in grey by line style and marker.
# The curves of gamma 0 would lie on those of focal_boost.
STYLES = {
    "log loss": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "log loss, weighted": {"color": "#009E73", "linestyle": ":", "marker": "^"},
    "textbook focal": {"color": "#777777", "linestyle": "-.", "marker": "v"},
    "focal_boost": {"color": "#D55E00", "linestyle": "--", "marker": "s"},
}


def draw(judged: Any, title: str, budget: int, cost: float, when: str, path: Path) -> None:
    """Draw what a `Judged` holds; `when` is what its parts are called."""
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    figure.suptitle(title, fontsize=14)
    positives = judged.by_part(np.sum, judged.y)
    draw_parts(axes[0, 0], judged, budget, np.full(len(positives), budget), when)
    axes[0, 0].set(title="Precision within the budget", ylabel="share of the alerts that are right")
    draw_parts(axes[0, 1], judged, budget, np.maximum(positives, 1), when)
    axes[0, 1].set(title="Recall within the budget", ylabel="share of the positives that are found")
    draw_sum(axes[1, 0], judged, budget, cost, when)
    draw_reliability(axes[1, 1], judged)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def line(style: dict[str, str]) -> dict[str, Any]:
    return {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 2}


def draw_parts(axes: Any, judged: Any, budget: int, of: np.ndarray, when: str) -> None:
    """Positives found within the budget as a share of `of`: a dot a part, and a moving average if there are many."""
    parts = np.unique(judged.part)
    width = SMOOTHED if len(parts) >= 2 * SMOOTHED else 1
    middle = parts[width // 2 : len(parts) - width // 2]
    for name, style in STYLES.items():
        found = judged.caught(name, budget) / of
        axes.plot(parts, found, style["marker"], color=style["color"], alpha=0.3, markersize=4)
        axes.plot(middle, np.convolve(found, np.full(width, 1 / width), "valid"), label=name, **line(style))
    axes.set(xlabel=f"{when} (lines: mean of {width})" if width > 1 else when, ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", framealpha=1)


def draw_sum(axes: Any, judged: Any, budget: int, cost: float, when: str) -> None:
    """Added up from part to part: money saved where risk decides, or positives found where amounts are not known."""
    parts = np.unique(judged.part)
    for name, style in STYLES.items():
        proba = judged.probas[name]
        each = judged.caught(name, budget) if judged.amount is None else judged.saved(proba, cost)
        axes.plot(parts, np.cumsum(each), label=f"{name}: {each.sum():,.0f}", **line(style))
    if judged.amount is None:
        axes.set(title="Found within the budget", ylabel="positives, added up")
    else:
        axes.set(title=f"Saved by alerts where probability x amount > {cost:g}", ylabel="money, added up")
        axes.axhline(0, color="black", linewidth=1)
    axes.set(xlabel=when)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", framealpha=1)


def draw_reliability(axes: Any, judged: Any) -> None:
    """Bins one unit of log-odds wide; both axes logarithmic where positives are rare."""
    rare = judged.y.mean() < 0.1
    left = bottom = 0.5
    for name, style in STYLES.items():
        proba = judged.probas[name]
        unit = np.floor(logit(proba.clip(1e-9, 1 - 1e-9))).astype(np.int64)
        predicted, positives, rows = calibration_bins(judged.y, proba, unit - unit.min())
        shown = (rows >= MIN_ROWS) & ((positives > 0) | ~np.array(rare))  # no place for 0 on a logarithmic axis
        predicted, positives, rows = predicted[shown], positives[shown], rows[shown]
        low, high = (beta.ppf(level, positives + 0.5, rows - positives + 0.5) for level in (0.025, 0.975))  # Jeffreys
        axes.vlines(predicted, low, high, linewidth=1, color=style["color"])
        axes.plot(predicted, positives / rows, label=name, **style)
        left, bottom = min(left, predicted.min(initial=1)), min(bottom, (positives / rows).min(initial=1))
    left, bottom, top = (left / 2, bottom / 3, 1.3) if rare else (0, 0, 1)
    axes.plot([min(left, bottom), 1], [min(left, bottom), 1], "k:", linewidth=1, label="perfect")
    scale = "log" if rare else "linear"
    axes.set(xlim=(left, top), ylim=(bottom, top), title="Probabilities", xscale=scale, yscale=scale)
    axes.set(xlabel=f"predicted (bins of {MIN_ROWS} rows or more)", ylabel="observed share, 95 % interval")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", framealpha=1)
