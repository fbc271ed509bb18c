"""Focal loss with Ray Train: XGBoost and LightGBM on several workers.

    python examples/ray_train.py
    python examples/ray_train.py --workers 4

The objective is passed to ``xgboost.train`` inside the train loop, as on one machine. What must be known of all rows,
the class shares behind the start margin, is counted by Ray before the workers start. LightGBM needs besides the network
parameters that Ray hands out.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb
from _cluster import ROUNDS, XGBOOST, compare, find_frame, margins, objective_of_shares, train_here
from _data import SEED, row_log_loss
from scipy.special import expit

import focal_boost.lightgbm
from focal_boost import BinaryFocalLoss

# Before Ray is imported, which would otherwise report its use.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import ray.train.lightgbm
import ray.train.xgboost
from ray.train import RunConfig, ScalingConfig

LIGHTGBM = {"learning_rate": 0.1, "num_leaves": 15, "num_threads": 1, "seed": SEED, "verbosity": -1}


def xgboost_loop(config: dict[str, Any]) -> None:
    """Train on this worker's share of the rows."""
    part = ray.train.get_dataset_shard("train").materialize().to_pandas()
    data = xgb.DMatrix(part.drop(columns="label"), part["label"])
    report(xgb.train(config["params"], data, config["rounds"], obj=config["objective"]), ray.train.xgboost)


def lightgbm_loop(config: dict[str, Any]) -> None:
    """Train on this worker's share of the rows; the objective travels in the parameters."""
    part = ray.train.get_dataset_shard("train").materialize().to_pandas()
    params = {**config["params"], **ray.train.lightgbm.get_network_params(), "tree_learner": "data"}
    data = lgb.Dataset(part.drop(columns="label"), part["label"])
    report(lgb.train(params, data, config["rounds"]), ray.train.lightgbm)


def report(booster: Any, library: Any) -> None:
    """Hand the model to Ray once, from the first worker; as a callback, Ray's own class would do so in each round."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            booster.save_model(str(Path(folder, library.RayTrainReportCallback.CHECKPOINT_NAME)))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({}, checkpoint=checkpoint)


def fit(library: Any, trainer: type, loop: Any, rows: Any, n_workers: int, folder: str, config: dict[str, Any]) -> Any:
    """Run one of the loops on the workers and return its booster."""
    result = trainer(
        loop,
        train_loop_config={**config, "rounds": ROUNDS},
        scaling_config=ScalingConfig(num_workers=n_workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=folder),
        datasets={"train": rows},
    ).fit()
    return library.RayTrainReportCallback.get_model(result.checkpoint)


def with_xgboost(frame: pd.DataFrame, counts: dict[int, int], loss: BinaryFocalLoss, *where: Any) -> None:
    objective = objective_of_shares(loss, counts)
    params = {**XGBOOST, **objective.params}
    for name, own in (("XGBoost, focal loss", objective), ("XGBoost, built-in log loss", None)):
        config = {"params": params, "objective": own}
        booster = fit(ray.train.xgboost, ray.train.xgboost.XGBoostTrainer, xgboost_loop, *where, config)
        print(compare(margins(train_here(frame, params, own), frame), margins(booster, frame), name))


def with_lightgbm(frame: pd.DataFrame, counts: dict[int, int], loss: BinaryFocalLoss, *where: Any) -> None:
    """Workers of LightGBM find the bins of some features each, from their own rows: no two numbers of workers agree."""
    X, y = frame.drop(columns="label"), frame["label"].to_numpy()
    objective = focal_boost.lightgbm.FocalObjective(loss, objective_of_shares(loss, counts).intercept)
    focal = {**LIGHTGBM, **objective.params}
    for name, params in (("focal loss", focal), ("built-in log loss", {**LIGHTGBM, "objective": "binary"})):
        there = fit(ray.train.lightgbm, ray.train.lightgbm.LightGBMTrainer, lightgbm_loop, *where, {"params": params})
        here = lgb.train(params, lgb.Dataset(X, y), ROUNDS)
        scores = [booster.predict(X, raw_score=True) for booster in (there, here)]
        if params is focal:  # the intercept is in the trees only after objective.portable
            probas = [loss.predict_proba(score + objective.intercept)[:, 1] for score in scores]
        else:
            probas = [expit(score) for score in scores]
        difference = float(np.abs(probas[0] - probas[1]).mean())
        if not difference <= 0.02:
            raise RuntimeError(
                f"LightGBM, {name}: probabilities of the cluster's model differ by {difference:.3f} in the mean"
            )
        losses = [row_log_loss(y, proba).mean() for proba in probas]
        print(
            f"LightGBM, {name}: mean difference of probabilities {difference:.4f}; log loss of these rows "
            f"{losses[0]:.4f} on the cluster, {losses[1]:.4f} on one machine"
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="workers with a processor each (default 2)")
    args = parser.parse_args(argv)
    table, frame = find_frame()
    print(table.describe() + "\n")
    # Ray gives every worker equally many rows and drops the few that are left over.
    frame = frame.iloc[: len(frame) // args.workers * args.workers]
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.init(num_cpus=args.workers + 2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        rows = ray.data.from_pandas(frame).repartition(args.workers)
        by_label = rows.groupby("label", num_partitions=args.workers).count().take_all()
        counts = {row["label"]: row["count()"] for row in by_label}
        print(f"Rows of each label, counted by Ray: {dict(sorted(counts.items()))}")
        loss = BinaryFocalLoss(gamma=args.gamma)
        with tempfile.TemporaryDirectory() as folder:
            with_xgboost(frame, counts, loss, rows, args.workers, folder)
            with_lightgbm(frame, counts, loss, rows, args.workers, folder)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
