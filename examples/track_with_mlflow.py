"""Log a focal model to MLflow in both flavours: the whole classifier, and the booster that stands alone.

    pip install 'focal_boost[recipes]'
    python examples/track_with_mlflow.py --output demo

Both answer with the same probabilities; the sklearn flavour needs focal_boost where it is loaded, the booster's does
not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mlflow
import numpy as np
from _data import SEED, rare_frauds
from lightgbm import LGBMClassifier
from sklearn.model_selection import train_test_split

from focal_boost import FocalClassifier

SETTINGS = {"n_estimators": 50, "random_state": SEED, "n_jobs": 1, "verbosity": -1}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of the store (default demo)")
    args = parser.parse_args(argv)
    store = args.output.resolve() / "mlflow"
    store.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{store / 'runs.db'}")
    known = mlflow.get_experiment_by_name("focal")  # of an earlier run of this example
    experiment = known.experiment_id if known else mlflow.create_experiment("focal", artifact_location=store.as_uri())
    table = rare_frauds(100)
    X, X_valid, y, y_valid = train_test_split(table.X, table.y, stratify=table.y, random_state=SEED)
    with mlflow.start_run(experiment_id=experiment):
        model = FocalClassifier(LGBMClassifier(**SETTINGS), gamma=1.0)
        model.fit(X, y, eval_set=[(X_valid, y_valid)])
        mlflow.log_params({"gamma": model.gamma, "alpha": model.alpha, **SETTINGS})
        for step, value in enumerate(model.evals_result_["valid_0"]["binary_logloss"]):
            mlflow.log_metric("binary_logloss", value, step=step)
        whole = mlflow.sklearn.log_model(model, name="classifier", serialization_format="cloudpickle")
        booster = mlflow.lightgbm.log_model(model.estimator_, name="booster")
    loaded = mlflow.sklearn.load_model(whole.model_uri)
    proba = model.predict_proba(table.X)
    print(f"classifier: same probabilities: {np.array_equal(loaded.predict_proba(table.X), proba)}")
    alone = mlflow.lightgbm.load_model(booster.model_uri).predict_proba(table.X)
    print(f"booster: probabilities, equal to {np.abs(alone - proba).max():.1e}")


if __name__ == "__main__":
    main()
