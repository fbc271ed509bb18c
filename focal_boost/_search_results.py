"""What a search over gamma and alpha found: the choice by a rule, the table, and the verdict on focal loss.

Scores come as an array of shape (candidates, folds), larger is better; candidates as dicts of gamma and alpha.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata
from scipy.stats import t as student_t

from focal_boost._typing import AnyArray

__all__ = ["choose", "corrected_p_value", "cv_results", "describe", "verdict"]


def choose(scores: AnyArray, candidates: list[dict[str, Any]], rule: str) -> int:
    """Place of the best candidate, or of the one nearest to plain log loss within a standard error of its mean."""
    means = scores.mean(axis=1)
    best = int(np.argmax(means))
    if rule == "best" or scores.shape[1] < 2:
        return best
    error = scores[best].std(ddof=1) / math.sqrt(scores.shape[1])
    near = np.flatnonzero(means >= means[best] - error)
    return int(min(near, key=lambda i: (_largest_gamma(candidates[i]), candidates[i]["alpha"] is not None)))


def _largest_gamma(candidate: dict[str, Any]) -> float:
    gamma = candidate["gamma"]
    return float(np.max(list(gamma.values()) if isinstance(gamma, Mapping) else gamma))


def cv_results(
    candidates: list[dict[str, Any]], rounds: list[int], scores: AnyArray, fit_times: AnyArray, score_times: AnyArray
) -> dict[str, Any]:
    """Table of the search in the form of GridSearchCV."""
    table: dict[str, Any] = {}
    for name, seconds in (("fit_time", fit_times), ("score_time", score_times)):
        table[f"mean_{name}"], table[f"std_{name}"] = seconds.mean(axis=1), seconds.std(axis=1)
    plain = all(isinstance(candidate["gamma"], float) for candidate in candidates)
    for name, dtype in (("gamma", np.float64 if plain else object), ("alpha", object)):
        column = np.ma.masked_all(len(candidates), dtype=dtype)
        for i, candidate in enumerate(candidates):
            column[i] = candidate[name]
        table[f"param_{name}"] = column
    table["params"] = [dict(candidate) for candidate in candidates]
    table |= {f"split{j}_test_score": scores[:, j].copy() for j in range(scores.shape[1])}
    table["mean_test_score"], table["std_test_score"] = scores.mean(axis=1), scores.std(axis=1)
    table["rank_test_score"] = rankdata(-scores.mean(axis=1), method="min").astype(np.int32)
    table["n_rounds"] = np.array(rounds)
    return table


def _reference(candidates: list[dict[str, Any]]) -> int:
    """Place of the plain log loss: gamma = 0 with the first alpha."""
    return [repr(candidate["gamma"]) for candidate in candidates].index("0.0")


def verdict(scores: AnyArray, candidates: list[dict[str, Any]], sizes: AnyArray, scoring: Any) -> str:
    """One line that says whether the best candidate beat the log loss by more than the folds differ."""
    name, sign = _name(scoring)
    reference, best = _reference(candidates), int(np.argmax(scores.mean(axis=1)))
    of_best, of_reference = (sign * scores[i].mean() for i in (best, reference))
    weighted = candidates[reference]["alpha"]
    log_loss_name = "plain log loss" if weighted is None else f"log loss with alpha={weighted!r}"
    if best == reference:
        return f"{log_loss_name} is as good here: no gamma had a better {name} than {of_reference:.4g} at gamma=0"
    won = describe(candidates[best], candidates)
    p = corrected_p_value(scores[best] - scores[reference], sizes)
    wins = int(np.sum(scores[best] > scores[reference]))
    facts = f"{won}: {name} {of_best:.4g} against {of_reference:.4g} at gamma=0, "
    facts += f"better in {wins} of {scores.shape[1]} folds"
    if math.isnan(p):
        return f"{facts} (too few folds for a test)"
    facts += f" (p = {p:.2g})"
    return facts if p < 0.05 else f"{log_loss_name} is as good here; {facts}"


def _name(scoring: Any) -> tuple[str, int]:
    """What a score is called, and its sign where larger was better only by convention."""
    if not isinstance(scoring, str):
        return getattr(scoring, "__name__", "score"), 1
    return (scoring.removeprefix("neg_").replace("_", " "), -1) if scoring.startswith("neg_") else (scoring, 1)


def describe(candidate: dict[str, Any], candidates: list[dict[str, Any]]) -> str:
    value = candidate["gamma"]
    gamma = f"gamma={value:g}" if isinstance(value, float) else f"gamma={value!r}"
    alphas_differ = any(one["alpha"] is not None for one in candidates)
    return f"{gamma}, alpha={candidate['alpha']!r}" if alphas_differ else gamma


def corrected_p_value(differences: np.ndarray, sizes: np.ndarray) -> float:
    """Two-sided p-value of a mean difference over folds whose trainings share rows (Nadeau & Bengio, 2003).

    `sizes` has the number of rows trained on and held out of each fold; of a single fold it is NaN.
    """
    k = len(differences)
    if k < 2:
        return math.nan
    n_train, n_test = sizes.mean(axis=0)
    error = math.sqrt((1 / k + n_test / n_train) * differences.var(ddof=1))
    if error == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    return float(2 * student_t.sf(abs(differences.mean()) / error, k - 1))
