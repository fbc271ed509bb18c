"""What gamma and alpha do to one row: its weight, its loss, the pull on the trees and the curvature.

    python examples/loss_shapes.py
    python examples/loss_shapes.py --gammas 0 1 3 --output demo

With two classes the gradient of focal loss is that of the log loss times a weight v, which depends on what the model
says of the row, and not on its label. Every number comes from the package's own BinaryFocalLoss; no table is needed.
Writes two pictures: row_weight.png, of that weight alone, and loss_shapes.png with six panels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit, logit

from focal_boost import BinaryFocalLoss

# Okabe & Ito's colours and line styles, told apart by colour-blind readers and in grey.
COLOURS = ("#000000", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
PROBABILITIES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def row_weight(loss: BinaryFocalLoss, log_odds: np.ndarray) -> np.ndarray:
    """Gradient of focal loss over that of the log loss, eta - y: the same for both labels."""
    gradient, _ = loss.gradient_hessian(np.zeros(len(log_odds)), log_odds)
    return gradient / loss.predict_proba(log_odds)[:, 1]


def styles(gammas: list[float]) -> list[tuple[float, dict[str, Any]]]:
    looks = zip(gammas, COLOURS, LINES, strict=False)
    return [(gamma, {"color": colour, "linestyle": line, "label": f"gamma {gamma:g}"}) for gamma, colour, line in looks]


def report(gammas: list[float]) -> str:
    """The figures behind the picture of the weight."""
    says = np.array([0.5, 0.9, 0.99, 0.999])
    lines = [
        "Weight of a row, times 1 + gamma, by the probability that the model gives to either class:",
        f"{'gamma':>5}" + "".join(f"{p:>9g}" for p in says) + f"{'largest / smallest':>22}",
    ]
    everywhere = np.linspace(-30, 30, 6001)
    for gamma in gammas:
        loss = BinaryFocalLoss(gamma=gamma)
        weights, all_weights = ((1 + gamma) * row_weight(loss, x) for x in (logit(says), everywhere))
        ratio = all_weights.max() / all_weights.min()
        lines.append(f"{gamma:>5g}" + "".join(f"{weight:>9.3f}" for weight in weights) + f"{ratio:>22.2f}")
    curvature = says * (1 - says)
    lines.append(f"The curvature of the log loss falls by {curvature[0] / curvature[-1]:.0f} from 0.5 to 0.999.")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------


def draw_weight(axis: plt.Axes, gammas: list[float]) -> None:
    log_odds = np.linspace(-10, 10, 801)
    for gamma, style in styles(gammas):
        axis.plot(log_odds, (1 + gamma) * row_weight(BinaryFocalLoss(gamma=gamma), log_odds), **style)
    axis.set(xlim=(-10, 10), ylim=(0, None), xlabel="log-odds f that the model gives", ylabel="(1 + gamma) v(f)")
    axis.set_xticks(range(-10, 11, 5))
    axis.grid(alpha=0.25)


def draw_tilted(axis: plt.Axes) -> None:
    log_odds = np.linspace(-10, 10, 801)
    for line, colour, (name, settings) in zip(
        LINES,
        COLOURS,
        {
            "gamma 2": {},
            "gamma 2, alpha (1, 3)": {"alpha": (1, 3)},
            "gamma (1, 4)": {"gamma": (1, 4)},
            "gamma (4, 1)": {"gamma": (4, 1)},
        }.items(),
        strict=False,
    ):
        axis.plot(log_odds, row_weight(BinaryFocalLoss(**settings), log_odds), linestyle=line, color=colour, label=name)
    axis.set(xlim=(-10, 10), ylim=(0, None), xlabel="log-odds f", ylabel="v(f)", title="alpha, and a gamma per class")
    axis.legend(frameon=False, fontsize=8)


def draw_derivatives(axes: np.ndarray, gammas: list[float]) -> None:
    """Of rows of class 1, against the probability that the model gives to it."""
    eta = np.linspace(0.002, 0.998, 999)
    y = np.ones(len(eta))
    for gamma, style in styles(gammas):
        scale = 1 + gamma
        loss = BinaryFocalLoss(gamma=gamma, max_step=None)
        gradient, curvature = loss.gradient_hessian(y, logit(eta))
        exact = BinaryFocalLoss(gamma=gamma, hessian="exact", max_step=None).gradient_hessian(y, logit(eta))[1]
        axes[0].plot(eta, scale * loss.loss(y, logit(eta)), **style)
        axes[1].plot(eta, -scale * gradient, **style)
        axes[2].plot(eta, scale * curvature, **style)
        axes[2].plot(eta, scale * exact, color=style["color"], linewidth=0.6, alpha=0.7)
    axes[0].set(ylim=(0, 5), title="loss of a row", ylabel="(1 + gamma) loss")
    axes[1].set(title="pull towards its class", ylabel="-(1 + gamma) gradient")
    axes[2].set(title="curvature: expected, and exact (thin)", ylabel="(1 + gamma) second derivative")
    axes[2].axhline(0, color="#999999", linewidth=0.8)
    axes[0].legend(frameon=False)
    for axis in axes:
        axis.set(xlabel="predicted probability of its class", xlim=(0, 1))


def draw_inside(axis: plt.Axes, gammas: list[float]) -> None:
    margins = np.linspace(-8, 8, 801)
    for gamma, style in styles(gammas):
        eta = BinaryFocalLoss(gamma=gamma, link="focal").predict_proba(margins)[:, 1]
        axis.plot(eta, expit(margins), **style)
    axis.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="probability that the model predicts",
        ylabel="p that goes into the loss",
        title="where the loss is taken",
        aspect="equal",
    )


def weight_picture(gammas: list[float], path: Path) -> None:
    fig, axis = plt.subplots(figsize=(8.4, 4.2), constrained_layout=True)
    draw_weight(axis, gammas)
    axis.set_title("Focal boosting is logistic boosting with a weight for each row", pad=10)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.text(0, 0.04, "undecided", ha="center")
    axis.text(-9.8, 0.04, "surely class 0")
    axis.text(9.8, 0.04, "surely class 1", ha="right")
    below = axis.secondary_xaxis(-0.2)
    below.set_xticks(logit(PROBABILITIES), [f"{p:g}" for p in PROBABILITIES])
    below.set_xlabel("the same as a probability of class 1")
    fig.savefig(path, dpi=100)
    plt.close(fig)


def picture(gammas: list[float], path: Path) -> None:
    fig, axes = plt.subplots(2, 3, figsize=(13, 8), constrained_layout=True)
    draw_weight(axes[0, 0], gammas)
    axes[0, 0].set_title("weight of a row, whatever its label")
    draw_tilted(axes[0, 1])
    draw_inside(axes[0, 2], gammas)
    draw_derivatives(axes[1], gammas)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--gammas",
        type=float,
        nargs="+",
        default=[0, 0.5, 1, 2, 3, 5],
        help=f"at most {len(COLOURS)} (default 0 .5 1 2 3 5)",
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the pictures (default demo)")
    args = parser.parse_args(argv)
    if len(args.gammas) > len(COLOURS):
        parser.error(f"--gammas: {len(args.gammas)} curves cannot be told apart; give at most {len(COLOURS)}")
    try:
        print(report(args.gammas))
    except ValueError as error:
        parser.error(str(error))
    args.output.mkdir(parents=True, exist_ok=True)
    for draw, name in ((weight_picture, "row_weight.png"), (picture, "loss_shapes.png")):
        draw(args.gammas, args.output / name)
        print(args.output / name)


if __name__ == "__main__":
    main()
