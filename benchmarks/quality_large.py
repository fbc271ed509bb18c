"""Focal loss and log loss on whole tables of 100,000 rows and more, two classes.

The tables of the data folder that have so many rows and are for scoring, nothing drawn from them; a seed draws the
split and is that of the library. Contenders, split and early stopping are those of quality.py, and so are the columns
of the CSV.

Writes results/quality_large.csv, one line a training (a run that was cut off goes on where it ended), a summary
(results/quality_large.md) and a picture.

    FOCAL_BOOST_DATA=folder python benchmarks/quality_large.py           # some twenty minutes on one core
    python benchmarks/quality_large.py --report                          # only the summary, from the CSV
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import quality
from _quality_report import BASE, LIBRARY_NAMES, STABLE_BASE, scores
from _report import RESULTS, machine, markdown_table, save

LEAST = 100_000  # rows
LEVEL = 0.002  # of average precision
GAMMAS = ("0", "1", "2")
SETTINGS = {"plain": (BASE, ""), "stabilised": (STABLE_BASE, ", stabilised")}
CONTENDERS = [f"focal {gamma}{end}" for _, end in SETTINGS.values() for gamma in GAMMAS]
TABLE = RESULTS / "quality_large.csv"


def large_tables(folder: Path) -> dict[str, dict[str, Any]]:
    """Entries of the index with two classes and rows enough, the smallest first."""
    tables = quality.score_tables(folder)
    chosen = {name: entry for name, entry in tables.items() if entry["n_classes"] == 2 and entry["n"] >= LEAST}
    return dict(sorted(chosen.items(), key=lambda item: item[1]["n"]))


def wanted_tasks(folder: Path, seeds: int) -> list[quality.Task]:
    """Every contender on every table."""
    return [
        quality.Task(table, library, seed, name, entry["n"])
        for seed in range(seeds)
        for table, entry in large_tables(folder).items()
        for library in LIBRARY_NAMES
        if library != "catboost"
        for name in (BASE, STABLE_BASE, *CONTENDERS)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# The summary


def differences(rows: list[dict[str, str]], library: str, metric: str, ours: str, base: str) -> dict[str, np.ndarray]:
    """Contender less the built-in objective by table, one value a seed."""
    values = scores(rows, library, metric)
    return {
        table: np.array([values[ours][table][seed] - of_base for seed, of_base in by_seed.items()])
        for table, by_seed in values[base].items()
    }


def means(rows: list[dict[str, str]], library: str, metric: str, name: str) -> dict[str, float]:
    return {table: float(np.mean(list(seeds.values()))) for table, seeds in scores(rows, library, metric)[name].items()}


def line(rows: list[dict[str, str]], library: str, table: str, settings: str) -> list[str]:
    """Average precision of the built-in objective and what each gamma adds, then log loss likewise."""
    base, end = SETTINGS[settings]
    cells = [table, f"{means(rows, library, 'average_precision_stopped', base)[table]:.4f}"]
    for gamma in GAMMAS:
        gain = differences(rows, library, "average_precision_stopped", f"focal {gamma}{end}", base)[table]
        cells.append(f"{gain.mean():+.4f} ({gain.min():+.4f} to {gain.max():+.4f})")
    log_loss = means(rows, library, "log_loss_stopped", base)[table]
    ours = [means(rows, library, "log_loss_stopped", f"focal {gamma}{end}")[table] for gamma in GAMMAS]
    return [*cells, f"{log_loss:.5f}", *(f"{loss / log_loss:.3f}" for loss in ours)]


def level(rows: list[dict[str, str]], names: list[str]) -> list[str]:
    """For each library and settings, how far gamma 1 is from the log loss, in the mean over seeds."""
    lines = []
    for library in ("lightgbm", "xgboost"):
        for settings, (base, end) in SETTINGS.items():
            found = differences(rows, library, "average_precision_stopped", f"focal 1{end}", base)
            gains = np.array([found[table].mean() for table in names])
            within = int((abs(gains) <= LEVEL).sum())
            lines.append(
                f"- {LIBRARY_NAMES[library]}, {settings}: gamma 1 has {np.median(gains):+.4f} of average precision "
                f"in the median ({gains.min():+.4f} to {gains.max():+.4f}), within {LEVEL} on {within} "
                f"of {len(names)} tables."
            )
    return lines


def picture(rows: list[dict[str, str]], names: list[str], path: Path) -> None:
    """Average precision above that of the log loss: a dot a seed, a bar for their mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colors = {"0": "#777777", "1": "#D55E00", "2": "#0072B2"}
    fig, axes = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, sharey=True, constrained_layout=True)
    for row, library in zip(axes, ("lightgbm", "xgboost"), strict=True):
        for axis, (settings, (base, end)) in zip(row, SETTINGS.items(), strict=True):
            axis.axvspan(-LEVEL, LEVEL, color="#DDDDDD", linewidth=0, zorder=0)
            axis.axvline(0, color="black", linewidth=0.8)
            for offset, gamma in zip((-0.22, 0, 0.22), GAMMAS, strict=True):
                found = differences(rows, library, "average_precision_stopped", f"focal {gamma}{end}", base)
                for place, table in enumerate(names):
                    gains = found[table]
                    axis.plot(
                        gains, np.full(len(gains), place + offset), "o", color=colors[gamma], markersize=3, alpha=0.5
                    )
                    axis.plot(gains.mean(), place + offset, "|", color=colors[gamma], markersize=11, markeredgewidth=2)
            axis.set_title(f"{LIBRARY_NAMES[library]}, {settings}", fontsize=10)
            axis.set_yticks(range(len(names)), names)
            for side in ("left", "right", "top"):
                axis.spines[side].set_visible(False)
    axes[0, 0].invert_yaxis()
    for axis in axes[1]:
        axis.set_xlabel("average precision less that of the log loss", fontsize=9)
    for offset, gamma in zip((0.78, 0.86, 0.94), GAMMAS, strict=True):
        label = f"gamma {gamma}"
        axes[0, 0].text(0.98, 1.1 - offset, label, transform=axes[0, 0].transAxes, ha="right", color=colors[gamma])
    fig.savefig(path, dpi=110)
    plt.close(fig)


def write(rows: list[dict[str, str]]) -> None:
    sizes = {row["table"]: int(row["max_rows"]) for row in rows}
    names = sorted(sizes, key=sizes.__getitem__)
    seeds = len({row["seed"] for row in rows})
    header = ["", "AP", *(f"gamma {gamma}" for gamma in GAMMAS), "log loss", *(f"{gamma}: ratio" for gamma in GAMMAS)]
    text = [
        "# Large tables",
        f"Command: `python benchmarks/quality_large.py`. Whole tables of two classes, {seeds} seeds, split 60 % train, "
        f"15 % validation, 25 % test; early stopping; {len(rows):,} trainings. "
        "Settings as in [quality](quality.md): plain ones are the library's defaults, stabilised ones have "
        "learning_rate 0.1, min_child_weight 1 and reg_lambda 1, and focal loss is compared with the built-in "
        "objective with the same. One line a training in [quality_large.csv](quality_large.csv).",
        machine(),
        "AP is average precision of the built-in objective, mean over the seeds. Each gamma: AP less that, mean and, "
        "in brackets, the seeds. Then log loss of the built-in objective, and of each gamma as a ratio to it.",
        "Rows: " + ", ".join(f"{table} {sizes[table]:,}" for table in names) + ".",
        "\n".join(level(rows, names)),
    ]
    for library in ("lightgbm", "xgboost"):
        for settings in SETTINGS:
            text.append(f"{LIBRARY_NAMES[library]}, {settings}:")
            text.append(markdown_table(header, [line(rows, library, table, settings) for table in names]))
    picture(rows, names, RESULTS / "quality_large.png")
    text.append("![Average precision of focal loss less that of the log loss](quality_large.png)")
    save("quality_large", "\n\n".join(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    if not options.report:
        folder = quality.data_folder()
        quality.train(wanted_tasks(folder, options.seeds), folder, options.jobs, TABLE)
    write(quality.recorded(TABLE))


if __name__ == "__main__":
    main()
