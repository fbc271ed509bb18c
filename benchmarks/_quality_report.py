"""The summary of quality.py: from one line a training to ranks, tests, tables and pictures."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from _report import RESULTS, machine, markdown_table
from scipy import stats

BASE = "built-in"
STABLE_BASE = "built-in, stabilised"
TINY = 0.005  # log losses below it, on tables learned almost exactly, make ratios of their own
GAMMAS = ("0", "0.5", "1", "2")
# What trains unasked.
MAIN = (
    BASE,
    *(f"focal {gamma}" for gamma in GAMMAS),
    "focal 2, paper's margins",
    "built-in, class weights",
    STABLE_BASE,
    *(f"focal {gamma}, stabilised" for gamma in GAMMAS),
)
BySeed = dict[str, dict[str, float]]  # table -> seed -> value
Scores = dict[str, BySeed]  # contender -> table -> seed -> value

LIBRARY_NAMES = {"lightgbm": "LightGBM", "xgboost": "XGBoost", "catboost": "CatBoost"}


def scores(rows: list[dict[str, str]], library: str, metric: str, task: str | None = None) -> Scores:
    """A metric by contender, table and seed; a training that failed is left out."""
    values: Scores = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        binary = row["n_classes"] == "2"
        if row["library"] == library and not row["error"] and task in (None, "binary" if binary else "multiclass"):
            values[row["contender"]][row["table"]][row["seed"]] = float(row[metric])
    return {name: dict(tables) for name, tables in values.items()}


def paired(ours: BySeed, theirs: BySeed) -> dict[str, tuple[float, float]]:
    """Means over the seeds that both have, by table."""
    found = {}
    for table in sorted(ours.keys() & theirs.keys()):
        seeds = ours[table].keys() & theirs[table].keys()
        if seeds:
            a, b = (float(np.mean([values[table][seed] for seed in sorted(seeds)])) for values in (ours, theirs))
            found[table] = a, b
    return found


def geometric_ratio(ours: BySeed, theirs: BySeed) -> float:
    pairs = paired(ours, theirs).values()
    return float(np.exp(np.mean([np.log(a / b) for a, b in pairs]))) if pairs else np.nan


def win_share(ours: BySeed, theirs: BySeed, lower: bool) -> float:
    """Share of tables on which ours is better; ties count half."""
    sign = -1 if lower else 1
    wins = [0.5 + 0.5 * np.sign(sign * (a - b)) for a, b in paired(ours, theirs).values()]
    return float(np.mean(wins)) if wins else np.nan


def mean_difference(ours: BySeed, theirs: BySeed) -> float:
    differences = [a - b for a, b in paired(ours, theirs).values()]
    return float(np.mean(differences)) if differences else np.nan


def wilcoxon(ours: BySeed, theirs: BySeed) -> float:
    differences = np.array([a - b for a, b in paired(ours, theirs).values()])
    return float(stats.wilcoxon(differences).pvalue) if np.any(differences) else 1.0


class Ranks:
    """Mean ranks over the tables that all contenders finished, Friedman's test, Nemenyi's critical difference.

    Demšar 2006 (JMLR 7).
    """

    def __init__(self, table: Scores, names: list[str], lower: bool) -> None:
        self.names = [name for name in names if name in table]
        common = sorted(set.intersection(*(set(table[name]) for name in self.names)))
        seeds = {t: sorted(set.intersection(*(set(table[name][t]) for name in self.names))) for t in common}
        values = np.array(
            [[np.mean([table[name][t][s] for s in seeds[t]]) for name in self.names] for t in common if seeds[t]]
        )
        ranks = stats.rankdata(values if lower else -values, axis=1)
        self.n, k = ranks.shape
        self.mean = dict(zip(self.names, ranks.mean(axis=0), strict=True))
        self.p = float(stats.friedmanchisquare(*ranks.T).pvalue)
        critical = stats.studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2)
        self.difference = float(critical * np.sqrt(k * (k + 1) / (6 * self.n)))


def is_variant(name: str) -> bool:
    """Whether a contender differs from another in one setting that is not gamma."""
    return name.startswith("focal") and name not in MAIN


def ranked_names(rows: list[dict[str, str]], library: str) -> list[str]:
    """What trains unasked, and of the others those that finished every table."""
    log_loss = scores(rows, library, "log_loss_stopped")
    every = log_loss[BASE].keys()
    return [n for n in log_loss if n in MAIN or (log_loss[n].keys() == every and not is_variant(n))]


def ordinary(rows: list[dict[str, str]], library: str, base: str, when: str, values: BySeed) -> BySeed:
    """Without the tables on which a contender diverged, with any seed, or reaches next to no log loss."""
    diverged = scores(rows, library, f"diverged_{when}")[base]
    return {
        table: by_seed
        for table, by_seed in values.items()
        if not any(diverged[table].values()) and np.mean(list(by_seed.values())) >= TINY
    }


def glance(rows: list[dict[str, str]], library: str) -> str:
    """Each gamma against the built-in objective with the same settings, by task and by number of rounds."""
    plain = {f"gamma {gamma}": f"focal {gamma}" for gamma in GAMMAS} | {
        "2, paper's margins": "focal 2, paper's margins",
        "built-in, stabilised": STABLE_BASE,
        "built-in, class weights": "built-in, class weights",
    }
    stable = {f"gamma {gamma}": f"focal {gamma}, stabilised" for gamma in GAMMAS}
    lines = []
    for task in ("multiclass", "binary"):
        for label, when, base, names in (
            ("100 rounds", "fixed", BASE, plain),
            ("early-stopped", "stopped", BASE, plain),
            ("early-stopped, stabilised", "stopped", STABLE_BASE, stable),
        ):
            log_loss = scores(rows, library, f"log_loss_{when}", task)
            precision = scores(rows, library, f"average_precision_{when}", task)
            if base not in log_loss:
                continue
            title, n = f"{task}, {label}", f"{len(log_loss[base])}"
            usable = ordinary(rows, library, base, when, log_loss[base])
            ratios, medians, less, precisions = [], [], [], []
            for column in plain:
                name = names.get(column)
                if name not in log_loss:
                    for cells in (ratios, medians, less, precisions):
                        cells.append("-")
                    continue
                worst = max((a / b for a, b in paired(log_loss[name], usable).values()), default=1)
                ratios.append(f"{geometric_ratio(log_loss[name], log_loss[base]):.3f} ({worst:.3f})")
                medians.append(f"{np.median([a / b for a, b in paired(log_loss[name], log_loss[base]).values()]):.3f}")
                less.append(f"{geometric_ratio(log_loss[name], usable):.3f}")
                share = win_share(precision[name], precision[base], lower=False)
                precisions.append(f"{100 * share:.0f} % ({mean_difference(precision[name], precision[base]):+.4f})")
            lines += [[title, n, "log loss", *ratios], ["", "", "median", *medians]]
            if len(usable) < len(log_loss[base]):
                lines.append(["of these, ordinary tables", f"{len(usable)}", "log loss", *less])
            lines.append(["", "", "AP better", *precisions])
    return markdown_table(["", "tables", "", *plain], lines)


def each_table(rows: list[dict[str, str]], library: str, task: str) -> str:
    """Log loss on every table, after 100 rounds and early-stopped."""
    names = [BASE, *(f"focal {gamma}" for gamma in GAMMAS)]
    fixed, stopped = (scores(rows, library, f"log_loss_{when}", task) for when in ("fixed", "stopped"))
    columns = [(values, name) for values in (fixed, stopped) for name in names if name in values]
    train_rows = {row["table"]: row["train_rows"] for row in rows}
    lines = []
    for table in sorted(stopped[BASE]):
        values = [list(scored[name].get(table, {}).values()) for scored, name in columns]
        lines.append([table, train_rows[table], *(f"{np.mean(v):.4g}" if v else "-" for v in values)])
    short = [name.replace("focal", "gamma") for name in names]
    return markdown_table(["", "rows", *(f"{n}, 100" for n in short), *(f"{n}, stopped" for n in short)], lines)


def choices(rows: list[dict[str, str]], library: str) -> str:
    """Contenders that vary one setting, against the same gamma at the defaults, on the tables that both have."""
    fixed, stopped = (scores(rows, library, f"log_loss_{when}") for when in ("fixed", "stopped"))
    precision = scores(rows, library, "average_precision_stopped")
    lines = []
    for name in stopped:
        base = name.rsplit(", ", 1)[0]
        if not is_variant(name) or base not in stopped:
            continue
        ratios = sorted(a / b for a, b in paired(stopped[name], stopped[base]).values())
        if not ratios:
            continue
        lines.append(
            [
                name,
                f"{len(ratios)}",
                f"{geometric_ratio(fixed[name], fixed[base]):.3f}",
                f"{geometric_ratio(stopped[name], stopped[base]):.3f}",
                f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
                f"{100 * win_share(stopped[name], stopped[base], lower=True):.0f} %",
                f"{mean_difference(precision[name], precision[base]):+.4f}",
            ]
        )
    header = ["", "tables", "log loss, 100 rounds", "early-stopped", "least and largest", "better on", "AP, difference"]
    return markdown_table(header, sorted(lines, key=lambda line: line[0])) if lines else ""


def contender_table(rows: list[dict[str, str]], library: str, when: str) -> str:
    """All contenders against the built-in objective at the library's defaults."""
    get = lambda metric, task=None: scores(rows, library, f"{metric}_{when}", task)  # noqa: E731
    log_loss, brier, ece, f1 = get("log_loss"), get("brier"), get("ece"), get("macro_f1")
    precision, recall_1, recall_5 = (get(m, "binary") for m in ("average_precision", "recall_1", "recall_5"))
    found = list({row["contender"]: None for row in rows if row["library"] == library})
    order = [name for name in MAIN if name in found]
    order += [name for name in found if name not in MAIN and not is_variant(name)]
    of_library = [row for row in rows if row["library"] == library]
    lines = []
    for name in order:
        mine = [row for row in of_library if row["contender"] == name]
        failed = sum(bool(row["error"]) for row in mine)
        diverged = sum(float(row[f"diverged_{when}"]) for row in mine if not row["error"])
        if name not in log_loss:
            lines.append([name, f"{len(mine)}", f"{failed}", *["-"] * 10])
            continue
        lines.append(
            [
                name,
                f"{len(mine)}",
                f"{failed}",
                f"{diverged:.0f}",
                f"{geometric_ratio(log_loss[name], log_loss[BASE]):.3f}",
                f"{wilcoxon(log_loss[name], log_loss[BASE]):.2g}",
                f"{geometric_ratio(brier[name], brier[BASE]):.3f}",
                f"{mean_difference(ece[name], ece[BASE]):+.4f}",
                f"{mean_difference(f1[name], f1[BASE]):+.4f}",
                f"{mean_difference(precision.get(name, {}), precision[BASE]):+.4f}",
                f"{100 * win_share(precision.get(name, {}), precision[BASE], lower=False):.0f} %",
                f"{mean_difference(recall_1.get(name, {}), recall_1[BASE]):+.3f}",
                f"{mean_difference(recall_5.get(name, {}), recall_5[BASE]):+.3f}",
            ]
        )
    header = ["contender", "runs", "failed", "diverged", "log loss, ratio", "p", "Brier, ratio", "ECE", "macro-F1"]
    header += ["AP", "AP better", "recall at 1 %", "recall at 5 %"]
    return markdown_table(header, lines)


def versus(rows: list[dict[str, str]], library: str, ours: str, others: list[str]) -> str:
    """One contender against others, early-stopped: on how many tables it is better."""
    log_loss = scores(rows, library, "log_loss_stopped")
    precision = scores(rows, library, "average_precision_stopped")
    if library != "catboost" and any(row["library"] == "catboost" for row in rows):
        for metric, table in (("log_loss", log_loss), ("average_precision", precision)):
            table |= scores(rows, "catboost", f"{metric}_stopped")
    lines = [
        [
            name,
            f"{len(paired(log_loss[ours], log_loss[name]))}",
            f"{100 * win_share(precision[ours], precision[name], lower=False):.0f} %",
            f"{mean_difference(precision[ours], precision[name]):+.4f}",
            f"{100 * win_share(log_loss[ours], log_loss[name], lower=True):.0f} %",
            f"{geometric_ratio(log_loss[ours], log_loss[name]):.3f}",
        ]
        for name in others
        if name in log_loss
    ]
    header = [f"{ours} against", "tables", "AP better on", "AP, difference", "log loss better on", "log loss, ratio"]
    return markdown_table(header, lines)


def rank_picture(all_ranks: dict[str, dict[str, Ranks]], path: Path) -> None:
    """Mean ranks with Nemenyi's critical difference, one panel per library and metric."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    metrics = list(next(iter(all_ranks.values())))
    most = max(len(ranks.names) for by_metric in all_ranks.values() for ranks in by_metric.values())
    fig, axes = plt.subplots(
        len(all_ranks),
        len(metrics),
        figsize=(6.4 * len(metrics), 0.36 * most * len(all_ranks) + 1.6),
        squeeze=False,
        constrained_layout=True,
    )
    for line, (library, by_metric) in zip(axes, all_ranks.items(), strict=True):
        for axis, (metric, ranks) in zip(line, by_metric.items(), strict=True):
            names = sorted(ranks.names, key=ranks.mean.__getitem__)
            best = ranks.mean[names[0]]
            for place, name in enumerate(names):
                focal = name.startswith(("focal", "FocalClassifierCV"))
                color = "#0072B2" if focal else "#D55E00" if name.startswith("built-in") else "#777777"
                axis.plot(ranks.mean[name], place, "o", color=color)
                axis.text(ranks.mean[name] + 0.12, place, name, va="center", fontsize=8, color=color)
            axis.axvspan(best, best + ranks.difference, color="#DDDDDD", zorder=0, linewidth=0)
            axis.set_yticks([])
            axis.invert_yaxis()
            axis.set_xlim(best - 0.4, max(ranks.mean.values()) + 3.2)
            axis.set_title(f"{LIBRARY_NAMES[library]}: {metric} ({ranks.n} tables)", fontsize=10)
            axis.set_xlabel("mean rank; grey: not told apart from the best (Nemenyi, 5 %)", fontsize=8)
            for side in ("left", "right", "top"):
                axis.spines[side].set_visible(False)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def reliability_picture(curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]], path: Path) -> None:
    """Observed shares over predicted probabilities: margins that are log-odds, the paper's, and the built-in loss."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(curves), figsize=(3.6 * len(curves), 3.9), constrained_layout=True, squeeze=False)
    colors = {
        "sigmoid of the paper's margin": "#D55E00",
        "margins that are log-odds": "#0072B2",
        "built-in log loss": "#777777",
    }
    for axis, (table, by_kind) in zip(axes[0], curves.items(), strict=True):
        axis.plot([1e-4, 1], [1e-4, 1], color="black", linewidth=0.8)
        for kind, (predicted, observed) in by_kind.items():
            predicted, observed = predicted[observed > 0], observed[observed > 0]
            axis.plot(predicted, observed, "o-", color=colors[kind], markersize=4, linewidth=1.2, label=kind)
        axis.set(title=table, xlabel="predicted probability")
        axis.set_xscale("logit", nonpositive="clip")
        axis.set_yscale("logit", nonpositive="clip")
        axis.set_xlim(5e-4, 0.9995)
        axis.set_ylim(5e-4, 0.9995)
        axis.minorticks_off()
    axes[0, 0].set_ylabel("observed share of the rare class")
    axes[0, -1].legend(frameon=False, fontsize=8, loc="upper left")
    fig.savefig(path, dpi=130)
    plt.close(fig)


def fewer_seeds(rows: list[dict[str, str]], most: int) -> list[tuple[str, int]]:
    """Tables on which some contender that trains unasked has not seen all seeds, and how many it has."""
    seen: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        if row["contender"] in MAIN:
            seen[row["table"]][row["library"], row["contender"]].add(row["seed"])
    counts = {table: min(map(len, by_contender.values())) for table, by_contender in seen.items()}
    return sorted((table, count) for table, count in counts.items() if count < most)


def write(rows: list[dict[str, str]]) -> Path:
    """Write results/quality.md and the picture of ranks."""
    libraries = [name for name in ("lightgbm", "xgboost") if any(row["library"] == name for row in rows)]
    tables, seeds = {row["table"] for row in rows}, {row["seed"] for row in rows}
    most = sorted({int(row["max_rows"]) for row in rows})
    large = {row["table"] for row in rows if int(row["max_rows"]) == most[-1]} if len(most) > 1 else set()
    taken = f"at most {most[0]:,} rows of each" + (f", {most[-1]:,} of {len(large)} large ones" if large else "")
    variants = sorted({row["contender"] for row in rows if is_variant(row["contender"])})
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    counted = f"{len(tables)} tables, {len(seeds)} seeds" if len(seeds) > 1 else f"{len(tables)} tables, one seed"
    if fewer := [f"{table} {count}" for table, count in fewer_seeds(rows, len(seeds))]:
        counted += f" (fewer: {', '.join(fewer)})"
    tiny = sorted(
        table
        for table in tables
        if any(
            np.mean(list(scores(rows, library, "log_loss_stopped")[BASE].get(table, {"": 1.0}).values())) < TINY
            for library in libraries
        )
    )
    text: list[Any] = [
        "# Focal boosting on real tables",
        f"Command: `python benchmarks/quality.py`. {counted}, {taken}; 60 % train, 15 % validation, 25 % "
        f"test; {len(rows):,} trainings, {hours:.1f} hours of one core. Plain settings are the library's defaults; "
        "stabilised ones have learning_rate 0.1, min_child_weight 1 and reg_lambda 1. Early stopping: the round of the "
        "lowest log loss on the validation rows, patience 50, at most 1,000 rounds. One line a training in "
        "[quality.csv](quality.csv).",
        machine(),
        "Ratios are geometric means over tables, differences means over tables; p is Wilcoxon's signed-rank test of "
        "the log loss over tables. AP is average precision (of several classes their mean), and recalls, on binary "
        "tables, are at a share of rows looked at. A run has diverged where its log loss is more than 15 % above that "
        "of always answering the class shares: by instability, or by overfitting of all 100 rounds. "
        '"Paper\'s margins" is `link="focal"`, whose probabilities are the loss\'s `predict_proba`.',
        "## At a glance",
        "Each gamma against the built-in objective with the same settings. Log loss as a ratio, in brackets the "
        "largest of an ordinary table, then the median over all; average precision by the share of tables on which it "
        "is better, in brackets the mean difference. "
        f"Ordinary tables, of which the largest ratio is taken, are those where the log loss of the built-in objective "
        f"is {TINY} or more and it did not diverge"
        + (f" (less than {TINY}, with one library or both: {', '.join(tiny)})." if tiny else "."),
    ]
    for library in libraries:
        text += [f"{LIBRARY_NAMES[library]}:", glance(rows, library)]
    all_ranks = {}
    for library in libraries:
        text += [f"## {LIBRARY_NAMES[library]}", "All contenders against the built-in objective at the defaults."]
        text += ["After 100 rounds:", contender_table(rows, library, "fixed")]
        text += ["Early-stopped:", contender_table(rows, library, "stopped")]
        names = ranked_names(rows, library)
        by_metric = {
            "log loss": Ranks(scores(rows, library, "log_loss_stopped"), names, lower=True),
            "average precision": Ranks(scores(rows, library, "average_precision_stopped"), names, lower=False),
        }
        all_ranks[library] = by_metric
        for metric, ranks in by_metric.items():
            order = sorted(ranks.names, key=ranks.mean.__getitem__)
            listed = ", ".join(f"{name} {ranks.mean[name]:.2f}" for name in order)
            text.append(
                f"Mean ranks of {metric}, early-stopped ({ranks.n} tables, Friedman p = {ranks.p:.2g}, critical "
                f"difference {ranks.difference:.2f}): {listed}."
            )
        peers = [n for n in scores(rows, library, "log_loss_stopped") if n not in MAIN and not is_variant(n)]
        if peers:
            text += [versus(rows, library, name, peers) for name in ("focal 1", "focal 2")]
        text += ["Log loss by table:"]
        text += [each_table(rows, library, task) for task in ("multiclass", "binary")]
    if variants:
        text += [
            "## One setting at a time",
            "Against the same contender at the defaults (automatic scale, expected curvature, step bound 8), on "
            "fewer tables. `--contenders` with the names, `--tables` with those in the CSV.",
        ]
        for library in libraries:
            if table := choices(rows, library):
                text += [f"{LIBRARY_NAMES[library]}:", table]
    rank_picture(all_ranks, RESULTS / "quality_ranks.png")
    text += ["![ranks](quality_ranks.png)", "![reliability](quality_reliability.png)"]
    path = RESULTS / "quality.md"
    path.write_text("\n\n".join(text) + "\n")
    return path
