"""Derivatives of each objective against an arbitrary-precision reference, over margins from -800 to 800.

The reference (tests/reference.py) differentiates the loss with 50 digits and more. Objectives of other packages have
the margins of the paper, which is focal_boost's link "focal", and are those of peers.py; the link "logit" is measured
beside them against its own derivatives. The built-in objectives, which know gamma = 0 only, are read out of trees with
a single leaf. Relative errors are taken where |margin| <= 20; beyond, an objective has to stay finite and keep its
sign. Prints the tables and writes them to results/accuracy.md:

    python benchmarks/accuracy.py
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _report import machine, markdown_table, save
from peers import binary_peers, multiclass_peers, ydf_mean_probability, ydf_step

from focal_boost import BinaryFocalLoss, MulticlassFocalLoss

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

Derivatives = tuple[np.ndarray, np.ndarray]
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
SIZES = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 100.0, 200.0, 400.0, 800.0)
# Numbers that single precision holds too.
MARGINS = np.array([0.0, *SIZES, *(-size for size in SIZES)], np.float32).astype(np.float64)
MODERATE = 20.0
N_CLASSES = 5
# Below, a double has lost digits to underflow.
SMALLEST = 1e-300
FACTORS = {"CatBoost's formula": 0.5}
DOUBLE_ONLY = {"CatBoost's formula"}  # CatBoost itself always works in double precision


@dataclass(frozen=True)
class Errors:
    """What went wrong in one array of derivatives, over all rows and values of gamma."""

    relative: float
    absolute: float
    wrong_sign: int
    not_finite: int

    @classmethod
    def of(cls, values: np.ndarray, truth: np.ndarray, moderate: np.ndarray) -> Errors:
        """Compare with the truth, relatively and absolutely where `moderate` says so."""
        finite, told = np.isfinite(values), np.abs(truth) > SMALLEST
        moderate = moderate & finite
        with np.errstate(all="ignore"):
            error = np.abs(values - truth)
            relative = (error / np.abs(truth))[moderate & told].max(initial=0.0)
        wrong = finite & told & (values != 0) & (np.sign(values) != np.sign(truth))
        return cls(float(relative), float(error[moderate].max(initial=0.0)), int(wrong.sum()), int((~finite).sum()))


# ---------------------------------------------------------------------------------------------------------------------
# Rows and their true derivatives


def binary_rows() -> Derivatives:
    """Labels and margins: each margin with either label."""
    return np.repeat([0.0, 1.0], len(MARGINS)), np.tile(MARGINS, 2)


def binary_truth(gamma: float, link: str) -> Derivatives:
    pairs = []
    for y, z in zip(*binary_rows(), strict=True):
        row = reference.row(link, (0.0, z), (gamma,) * 2, (1.0,) * 2)
        pairs.append([float(table[int(y)][1]) for table in (row.gradient, row.curvature)])
    return np.array(pairs).T


def multiclass_rows() -> Derivatives:
    """Random margins of three sizes, among them differences of hundreds; each class is true in its turn."""
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(0.0, scale, (20, N_CLASSES)) for scale in (1.0, 5.0, 300.0)])
    return np.arange(len(z)) % N_CLASSES * 1.0, z


def multiclass_truth(gamma: float, link: str) -> Derivatives:
    rows = []
    for y, z in zip(*multiclass_rows(), strict=True):
        row = reference.row(link, tuple(z.tolist()), (gamma,) * N_CLASSES, (1.0,) * N_CLASSES)
        rows.append([[float(value) for value in table[int(y)]] for table in (row.gradient, row.curvature)])
    return np.array(rows).swapaxes(0, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Objectives: (labels, margins, gamma) -> derivatives


def ours(link: str) -> Callable[..., Derivatives]:
    options: dict[str, Any] = {"hessian": "exact", "max_step": None, "link": link}

    def objective(y: np.ndarray, z: np.ndarray, gamma: float) -> Derivatives:
        if z.ndim == 1:
            return BinaryFocalLoss(gamma, **options).gradient_hessian(y, z)
        return MulticlassFocalLoss(z.shape[1], gamma, **options).gradient_hessian(y, z)

    return objective


def xgboost_built_in(y: np.ndarray, z: np.ndarray) -> Derivatives:
    """What XGBoost's own log loss says of single rows: sum of curvatures and value of a tree's only leaf."""
    import xgboost as xgb

    params = {"objective": "binary:logistic", "base_score": 0.5, "eta": 1.0, "reg_lambda": 0.0, "min_child_weight": 0.0}
    out = []
    for label, margin in zip(y, z, strict=True):
        data = xgb.DMatrix(np.zeros((1, 1)), [label], base_margin=[margin])
        booster = xgb.train({**params, "nthread": 1, "verbosity": 0}, data, 1)
        tree = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"][0]
        hessian = float(tree["sum_hessian"][0])
        out.append((-float(tree["base_weights"][0]) * hessian, hessian))
    return np.array(out).T


# ---------------------------------------------------------------------------------------------------------------------
# Report


def measure(
    objective: Callable[..., Any], rows: Derivatives, truth: dict[float, Derivatives], factor: float, in_single: bool
) -> list[str]:
    """Errors of gradient and second derivative in double precision, and what is not finite in single precision."""
    y, z = rows
    moderate = np.abs(z) <= MODERATE if z.ndim == 1 else np.repeat(np.ptp(z, axis=1) <= 2 * MODERATE, z.shape[1])
    moderate = np.tile(moderate, len(truth))

    def all_gammas(dtype: type) -> list[np.ndarray]:
        results = [objective(y.astype(dtype), z.astype(dtype), gamma) for gamma in truth]
        return [np.concatenate([np.ravel(result[i]).astype(np.float64) for result in results]) for i in (0, 1)]

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        values = all_gammas(np.float64)
        single = all_gammas(np.float32) if in_single else []
    true = [np.concatenate([np.ravel(pair[i]) for pair in truth.values()]) * factor for i in (0, 1)]
    gradient, second = (Errors.of(value, exact, moderate) for value, exact in zip(values, true, strict=True))
    lost = " / ".join(str(int((~np.isfinite(value)).sum())) for value in single)
    return [
        *(f"{figure:.1e}" for part in (gradient, second) for figure in (part.relative, part.absolute)),
        f"{gradient.wrong_sign} / {second.wrong_sign}",
        f"{gradient.not_finite} / {second.not_finite}",
        lost if single else "-",
    ]


HEADER = [
    "gradient: relative",
    "absolute",
    "second derivative: relative",
    "absolute",
    "wrong sign",
    "not finite",
    "float32: not finite",
]


def table(title: str, objectives: dict[str, Any], rows: Derivatives, truth: dict[float, Derivatives]) -> str:
    lines = [
        [name, *measure(objective, rows, truth, FACTORS.get(name, 1.0), name not in DOUBLE_ONLY)]
        for name, objective in objectives.items()
    ]
    return markdown_table([title, *HEADER], lines)


def rounding(binary: dict[float, Derivatives], link: str) -> str:
    """Largest error of what a booster is given, float32 made of float32 margins, in units of 2**-24 of the value."""
    y, z = binary_rows()
    worst = []
    for i in (0, 1):
        errors = []
        for gamma, truth in binary.items():
            value = ours(link)(y, z.astype(np.float32), gamma)[i].astype(np.float32)
            normal = np.abs(truth[i]) > np.finfo(np.float32).tiny
            errors.append((np.abs(value - truth[i])[normal] / np.abs(truth[i][normal])).max())
        worst.append(max(errors) * 2**24)
    gradient, second = worst
    lost = "; the second has no such bound, since its terms cancel where rows are nearly sure"
    told = f", second within {second:.2f}" if link == "focal" else ""
    return f"In float32, link {link}: gradient within {gradient:.2f}{told} units of 2^-24{'' if told else lost}."


def ydf() -> list[str]:
    """What trees of YDF say of its focal loss; nothing where it is not installed."""
    try:
        lines = []
        for gamma in (1.0, 2.0, 5.0):
            for positives, negatives in ((100, 900), (10, 9_990), (1, 99_999)):
                start, step = ydf_step(gamma, positives, negatives)
                row = reference.row("focal", (0.0, start), (gamma,) * 2, (1.0,) * 2)
                exact = -float(row.gradient[0][1] / row.curvature[0][1])
                lines.append([f"{gamma:g}", f"{start:.2f}", f"{step:.7g}", f"{exact:.7g}", f"{step / exact:.7g}"])
        share, mean = ydf_mean_probability("BINARY_FOCAL_LOSS")
        _, of_log_loss = ydf_mean_probability("BINOMIAL_LOG_LIKELIHOOD")
    except ImportError:
        return []
    return [
        "YDF's `BINARY_FOCAL_LOSS`, whose derivatives can be seen in a leaf alone: its first step for rows with label "
        "0, by the margin from which it starts.",
        markdown_table(["gamma", "margin", "YDF", "- gradient / second derivative", "ratio"], lines),
        f"Mean of its probabilities on 20,000 rows, {share:.3f} of them positive, at its defaults: {mean:.3f}; with "
        f"its log loss {of_log_loss:.3f}.",
    ]


EXPLANATION = """\
Against derivatives with 50 digits and more: gamma {gammas}; margins from -800 to 800; no class weights; {binary} binary
derivatives of each order, {multiclass} with five classes. Relative and absolute: largest error where \
|margin| <= {moderate:g}
(five classes: where the margins of a row differ by at most {spread:g}). \
Wrong sign, not finite (NaN or infinite): number of
gradients / second derivatives, at any margin. float32: margins given in single precision."""


def main() -> None:
    links = ("focal", "logit")
    binary = {link: {gamma: binary_truth(gamma, link) for gamma in GAMMAS} for link in links}
    multiclass = {link: {gamma: multiclass_truth(gamma, link) for gamma in GAMMAS} for link in links}
    n_binary, n_multiclass = len(GAMMAS) * 2 * len(MARGINS), len(GAMMAS) * multiclass_rows()[1].size
    explanation = EXPLANATION.format(
        gammas=", ".join(f"{gamma:g}" for gamma in GAMMAS),
        binary=n_binary,
        multiclass=n_multiclass,
        moderate=MODERATE,
        spread=2 * MODERATE,
    )
    peers = {"focal": (binary_peers(), multiclass_peers(N_CLASSES)), "logit": ({}, {})}
    parts = ["# Accuracy of the derivatives", "Command: `python benchmarks/accuracy.py`.", machine(), explanation]
    for link in links:
        name = f"focal_boost, link {link}"
        of_two, of_many = peers[link]
        parts += [
            table("binary", {name: ours(link), **of_two}, binary_rows(), binary[link]),
            rounding(binary[link], link),
            table(f"K = {N_CLASSES}", {name: ours(link), **of_many}, multiclass_rows(), multiclass[link]),
        ]
    parts += [
        "Log loss only (gamma 0), by the same measure:",
        table(
            "binary, gamma 0",
            {"focal_boost": ours("logit"), "XGBoost, built in": lambda y, z, gamma: xgboost_built_in(y, z)},
            binary_rows(),
            {0.0: binary["logit"][0.0]},
        ),
    ]
    parts += ydf()
    print("\n\n".join(parts))
    save("accuracy", "\n\n".join(parts))


if __name__ == "__main__":
    main()
