"""Focal loss on a Dask cluster: here two processes of this machine, in earnest as many machines as there are.

    python examples/dask_cluster.py

What to remember: give X and y as Dask collections cut into rows alike. Class shares, the start margin and the metrics
that early stopping follows are those of all workers, one without any positive included; predictions stay lazy; and
``to_local()`` is an ordinary FocalClassifier that needs no cluster.
"""

from __future__ import annotations

import pickle
from itertools import pairwise

import dask.array as da
import lightgbm as lgb
import numpy as np
from _data import all_payments
from distributed import Client, LocalCluster
from sklearn.metrics import average_precision_score, log_loss

from focal_boost.dask import DaskFocalClassifier

PAYMENTS, DAYS, ROWS_AT_ONCE, N_WORKERS = 100_000, (30, 80, 100, 130), 5_000, 2
ROUNDS, PATIENCE = 300, 20


def find_rows() -> list[tuple[da.Array, da.Array]]:
    """Payments to train on, to stop early on and to test on, by days and in chunks, as a cluster would read them."""
    table = all_payments(PAYMENTS)[0]
    X, y = table.X.to_numpy(), np.where(table.y == 1, "fraud", "fine")
    parts = [np.flatnonzero((table.day >= start) & (table.day < end)) for start, end in pairwise(DAYS)]
    return [(da.from_array(X[part], (ROWS_AT_ONCE, -1)), da.from_array(y[part], ROWS_AT_ONCE)) for part in parts]


def main() -> None:
    with (
        LocalCluster(n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        (X, y), valid, test = [tuple(part.persist() for part in rows) for rows in find_rows()]
        share = float((y == "fraud").mean().compute())
        print(f"{len(X):,} rows in {X.npartitions} chunks on {N_WORKERS} workers, {share:.2%} fraud")

        estimator = lgb.DaskLGBMClassifier(n_estimators=ROUNDS, learning_rate=0.1, num_leaves=15, verbosity=-1)
        model = DaskFocalClassifier(estimator, gamma=1.0, client=client)
        stopping = lgb.early_stopping(PATIENCE, first_metric_only=True, verbose=False)
        model.fit(X, y, eval_set=[valid], callbacks=[stopping])
        scores = model.evals_result_["valid_0"]["binary_logloss"]
        best = model.n_rounds_
        print(
            f"stopped after {len(scores)} rounds, best {best}: log loss of all validation rows {scores[best - 1]:.5f}"
        )

        lazy = model.predict_proba(test[0])
        print(f"predict_proba is lazy: {lazy}")
        column = model.classes_.tolist().index("fraud")
        proba, labels, rows = lazy[:, column].compute(), test[1].compute(), test[0].compute()
    fraud = labels == "fraud"
    precision = average_precision_score(fraud, proba)
    print(f"test rows: log loss {log_loss(fraud, proba):.5f}, average precision {precision:.3f}")

    local = pickle.loads(pickle.dumps(model.to_local()))
    difference = np.abs(local.predict_proba(rows)[:, column] - proba).max()
    print(f"without the cluster: a {type(local).__name__}, whose probabilities differ by {difference:.1g}")


if __name__ == "__main__":
    main()
