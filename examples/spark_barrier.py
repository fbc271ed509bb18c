"""Focal loss with XGBoost on a Spark cluster, and predictions on Spark.

    python examples/spark_barrier.py
    python examples/spark_barrier.py --workers 4

The estimators of ``xgboost.spark`` take no objective of one's own. What they do underneath is open to everyone: a stage
in barrier mode, whose tasks all run at the same time, one XGBoost worker in each, joined by XGBoost's own tracker. This
example writes those few lines and passes ``obj=``. The class shares are counted by Spark before, over all rows. For
prediction each task loads the fitted model and maps its batches of rows.

Needs pyspark 3.5 or newer and a Java that it supports; each executor needs focal_boost and xgboost. A stage in barrier
mode waits until all its tasks fit into the cluster at once, and a task that is lost restarts the whole stage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from _cluster import ROUNDS, XGBOOST, compare, find_frame, margins, objective_of_shares, train_here
from pyspark import BarrierTaskContext
from pyspark.sql import DataFrame, SparkSession

from focal_boost import BinaryFocalLoss, FocalClassifier


def train_on_spark(rows: DataFrame, params: dict[str, Any], rounds: int, objective: Any, n_workers: int) -> xgb.Booster:
    """Train on all rows of a Spark data frame, whose column `label` is the class; objective None is XGBoost's own."""

    def work(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        from xgboost.collective import CommunicatorContext
        from xgboost.tracker import RabitTracker

        task = BarrierTaskContext.get()
        # Every task must take part, also one that got no rows; the features are then those of no row.
        parts = list(batches)
        part = pd.concat(parts) if parts else pd.DataFrame(columns=columns, dtype=float)
        contact, tracker = "", None
        if task.partitionId() == 0:
            host = task.getTaskInfos()[0].address.partition(":")[0]
            tracker = RabitTracker(n_workers=n_workers, host_ip=host, sortby="task")
            tracker.start()
            contact = repr(tracker.worker_args())
        arguments = ast.literal_eval(task.allGather(contact)[0])
        with CommunicatorContext(**arguments, dmlc_task_id=f"{task.partitionId():08}"):
            data = xgb.DMatrix(part.drop(columns="label"), part["label"])
            booster = xgb.train(params, data, rounds, obj=objective)
        if tracker is not None:
            tracker.wait_for()
            yield pd.DataFrame({"model": [bytes(booster.save_raw("ubj"))]})

    import ast

    columns = rows.columns
    model = rows.repartition(n_workers).mapInPandas(work, "model binary", barrier=True).collect()
    return xgb.Booster(model_file=bytearray(model[0]["model"]))


def predict_on_spark(rows: DataFrame, model: FocalClassifier) -> DataFrame:
    """Probability of the positive class for each row, computed where the rows are."""

    def work(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            features = batch.drop(columns=["row", "label"])
            yield pd.DataFrame({"row": batch["row"], "probability": model.predict_proba(features)[:, 1]})

    return rows.mapInPandas(work, "row long, probability double")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gamma", type=float, default=1.0, help="focusing parameter (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="XGBoost workers (default 2)")
    args = parser.parse_args(argv)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    table, frame = find_frame()
    print(table.describe() + "\n")
    builder = SparkSession.builder.master(f"local[{args.workers}]").config("spark.ui.showConsoleProgress", "false")
    spark = builder.config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        rows = spark.createDataFrame(frame)
        counts = {row["label"]: row["count"] for row in rows.groupBy("label").count().collect()}
        print(f"Rows of each label, counted by Spark: {dict(sorted(counts.items()))}")
        loss = BinaryFocalLoss(gamma=args.gamma)
        objective = objective_of_shares(loss, counts)
        params = {**XGBOOST, **objective.params}
        for name, own in (("focal loss", objective), ("built-in log loss", None)):
            booster = train_on_spark(rows, params, ROUNDS, own, args.workers)
            print(compare(margins(train_here(frame, params, own), frame), margins(booster, frame), name))

        model = FocalClassifier(xgb.XGBClassifier(n_estimators=ROUNDS, n_jobs=1), gamma=args.gamma)
        features = frame.drop(columns="label")
        model.fit(features, frame["label"])
        numbered = spark.createDataFrame(frame.assign(row=np.arange(len(frame))))
        there = predict_on_spark(numbered, model).toPandas().sort_values("row")["probability"].to_numpy()
        if not np.array_equal(there, model.predict_proba(features)[:, 1].astype(float)):
            raise RuntimeError("probabilities that Spark computed are not those of the model here")
        print(f"FocalClassifier on Spark: the same {len(there):,} probabilities as here")
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
