"""What gamma and alpha do to one row: the loss, its gradient and its curvature, and the probability that is reported.

    python examples/loss_shapes.py
    python examples/loss_shapes.py --gammas 0 1 3 --output demo

p_t is the probability that the model gives to the row's true class by the sigmoid of its margin. Every number comes
from the package's own BinaryFocalLoss; no table is needed. Writes a picture with six panels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit, logit

from focal_boost import BinaryFocalLoss

EASY, HARD = 0.9, 0.1
# Okabe & Ito's colours and line styles, told apart by colour-blind readers and in grey.
COLOURS = ("#000000", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))


def of_positives(loss: BinaryFocalLoss, p_t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss, gradient and curvature with respect to the margin of rows of class 1 with sigmoid p_t."""
    y = np.ones(len(p_t))
    margins = logit(p_t)
    return loss.loss(y, margins), *loss.gradient_hessian(y, margins)


def report(gammas: list[float]) -> str:
    """The figures behind the picture, for an easy and a hard row."""
    p_t = np.array([EASY, HARD])
    cross_entropy = of_positives(BinaryFocalLoss(gamma=0.0), p_t)[0]
    lines = [f"{'gamma':>5}  {f'loss at p_t = {EASY}':>18}  {'of cross-entropy':>16}  {'at p_t = ' + str(HARD):>16}"]
    for gamma in gammas:
        losses = of_positives(BinaryFocalLoss(gamma=gamma), p_t)[0]
        easy, hard = losses / cross_entropy
        lines.append(f"{gamma:>5g}  {losses[0]:>18.6f}  {'1/' + format(1 / easy, ',.1f'):>16}  {hard:>16.3f}")
    two = of_positives(BinaryFocalLoss(gamma=2.0), p_t)[0] / cross_entropy
    lines += [
        "",
        f"At gamma = 2 an easy row (p_t = {EASY}) costs {two[0]:.4f} of its cross-entropy, a hard one (p_t = {HARD}) "
        f"{two[1]:.2f}: the hard row counts {two[1] / two[0]:.0f} times as much against it as in log loss.",
    ]
    loss, margin = BinaryFocalLoss(gamma=2.0), np.array([logit(0.7)])
    weighted = BinaryFocalLoss(gamma=2.0, alpha=0.75)
    lines.append(
        f"At gamma = 2 the sigmoid 0.70 stands for the posterior {loss.predict_proba(margin)[0, 1]:.3f}; had alpha = "
        f"0.75 weighed the positives three times as much as the rest, for {weighted.predict_proba(margin)[0, 1]:.3f}."
    )
    return "\n".join(lines)


def draw_derivatives(axes: np.ndarray, gammas: list[float]) -> None:
    p_t = np.linspace(0.002, 0.998, 999)
    for gamma, colour, line in zip(gammas, COLOURS, LINES, strict=False):
        style = {"color": colour, "linestyle": line, "label": f"gamma {gamma:g}"}
        loss, gradient, curvature = of_positives(BinaryFocalLoss(gamma=gamma, max_step=None), p_t)
        exact = of_positives(BinaryFocalLoss(gamma=gamma, hessian="exact", max_step=None), p_t)[2]
        axes[0].plot(p_t, loss, **style)
        axes[1].plot(p_t, -gradient, **style)
        axes[2].plot(p_t, curvature, **style)
        axes[2].plot(p_t, exact, color=colour, linewidth=0.6, alpha=0.7)
    axes[0].set(ylim=(0, 4), title="loss of a row", ylabel="loss")
    axes[1].set(title="pull towards its class", ylabel="-gradient with respect to the margin")
    axes[2].set(title="curvature: expected, and exact (thin)", ylabel="second derivative")
    axes[2].axhline(0, color="#999999", linewidth=0.8)
    axes[0].legend(frameon=False)
    for axis in axes:
        axis.set(xlabel="p_t", xlim=(0, 1))


def draw_alpha(axis: plt.Axes) -> None:
    p = np.linspace(0.002, 0.998, 999)
    for alpha, line in ((None, "-"), (0.75, "--"), (0.9, ":")):
        loss = BinaryFocalLoss(gamma=2.0, alpha=alpha)
        for label, colour, name in ((1, "#D55E00", "positive"), (0, "#0072B2", "negative")):
            gradient, _ = loss.gradient_hessian(np.full(len(p), label), logit(p))
            axis.plot(p, np.abs(gradient), color=colour, linestyle=line, label=f"{name}, alpha {alpha}")
    axis.set(xlim=(0, 1), xlabel="sigmoid of the margin", ylabel="|gradient|", title="alpha weighs classes (gamma 2)")
    axis.legend(frameon=False, fontsize=8)


def draw_posterior(axis: plt.Axes, gammas: list[float]) -> None:
    margins = np.linspace(-5, 5, 501)
    for gamma, colour, line in zip(gammas, COLOURS, LINES, strict=False):
        posterior = BinaryFocalLoss(gamma=gamma).predict_proba(margins)[:, 1]
        axis.plot(expit(margins), posterior, color=colour, linestyle=line, label=f"gamma {gamma:g}")
    axis.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="sigmoid of the margin",
        ylabel="posterior",
        title="what the margin stands for",
        aspect="equal",
    )


def draw_share(axis: plt.Axes, gammas: list[float]) -> None:
    """Loss of a constant against its sigmoid, for a rare class: the minimum is not at the share, the posterior is."""
    share, margins = 0.05, np.linspace(-6, 1.5, 601)
    for gamma, colour, line in zip(gammas, COLOURS, LINES, strict=False):
        loss = BinaryFocalLoss(gamma=gamma)
        soft = np.full(len(margins), share)  # five of a hundred rows are positive
        losses = loss.loss(soft, margins)
        axis.plot(expit(margins), losses / losses.min(), color=colour, linestyle=line)
        start = loss.fit_intercept_only(np.repeat([0, 1], [95, 5]))
        axis.plot(expit(start), 1, color=colour, marker="o", clip_on=False)
    axis.axvline(share, color="#999999", linewidth=0.8)
    axis.set(
        xlim=(0, 0.5),
        ylim=(0.98, 1.6),
        xlabel="sigmoid of a constant margin",
        ylabel="mean loss / its minimum",
        title="best constant for a share of 5 % (grey)",
    )


def picture(gammas: list[float], path: Path) -> None:
    fig, axes = plt.subplots(2, 3, figsize=(13, 8), constrained_layout=True)
    draw_derivatives(axes[0], gammas)
    draw_alpha(axes[1, 0])
    draw_posterior(axes[1, 1], gammas)
    draw_share(axes[1, 2], gammas)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--gammas",
        type=float,
        nargs="+",
        default=[0, 0.5, 1, 2, 5],
        help=f"at most {len(COLOURS)} (default 0 .5 1 2 5)",
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the picture (default demo)")
    args = parser.parse_args(argv)
    if len(args.gammas) > len(COLOURS):
        parser.error(f"--gammas: {len(args.gammas)} curves cannot be told apart; give at most {len(COLOURS)}")
    try:
        print(report(args.gammas))
    except ValueError as error:
        parser.error(str(error))
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "loss_shapes.png"
    picture(args.gammas, path)
    print(f"\n{path}")


if __name__ == "__main__":
    main()
