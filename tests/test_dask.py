"""The objectives on a Dask cluster, through the libraries' own Dask interfaces."""

from __future__ import annotations

import numpy as np
import pytest
from libraries import make_loss
from tables import draw

from focal_boost.lightgbm import FocalObjective as LightGBMObjective
from focal_boost.xgboost import FocalObjective as XGBoostObjective

da = pytest.importorskip("dask.array", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of ports and of pandas


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("n_classes", [2, 3])
def test_xgboost(client, n_classes):
    import xgboost as xgb
    from xgboost import dask as xgb_dask

    table = draw(2000, n_classes=n_classes)
    X, y = da.from_array(table.X, chunks=(500, 8)), da.from_array(table.y, chunks=500)
    loss = make_loss(n_classes)
    objective = XGBoostObjective(loss, loss.fit_intercept_only(table.y))
    params = {"nthread": 1, "max_depth": 3, **objective.params}
    data = xgb_dask.DaskDMatrix(client, X, y)
    there = xgb_dask.train(
        client, params, data, 10, obj=objective, custom_metric=objective.metric, evals=[(data, "train")]
    )
    here = xgb.train(params, xgb.QuantileDMatrix(table.X, table.y), 10, obj=objective)
    scores = [
        loss(table.y, booster.predict(xgb.DMatrix(table.X), output_margin=True)) for booster in (there["booster"], here)
    ]
    # not the same trees: the workers find the bins of the features together, from other samples than one machine
    assert scores[0] == pytest.approx(scores[1], rel=0.05)
    # XGBoost averages what each worker reports, however many rows it holds
    history = there["history"]["train"]["focal_loss"]
    assert history[-1] < history[0]
    assert history[-1] == pytest.approx(scores[0], rel=0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_lightgbm(client, n_classes):
    import lightgbm as lgb

    table = draw(2000, n_classes=n_classes)
    X, y = da.from_array(table.X, chunks=(500, 8)), da.from_array(table.y, chunks=500)
    loss = make_loss(n_classes)
    objective = LightGBMObjective(loss, loss.fit_intercept_only(table.y))
    options = {"objective": objective, "n_estimators": 10, "verbosity": -1, "metric": "None"}
    there = lgb.DaskLGBMClassifier(client=client, **options).fit(X, y)
    here = lgb.LGBMClassifier(n_jobs=1, **options).fit(table.X, table.y)
    scores = [
        loss(table.y, objective.portable(model.booster_).predict(table.X, raw_score=True)) for model in (there, here)
    ]
    # not the same trees: the workers find the bins of the features together, from other samples than one machine
    assert scores[0] == pytest.approx(scores[1], rel=0.05)
    assert np.isfinite(scores).all()
