"""SHAP values of a focal model: they add up to its margins, the log-odds of what it predicts.

pip install 'focal_boost[recipes]'
python examples/explain.py
"""

from __future__ import annotations

import argparse

import numpy as np
import shap
from _data import SEED, rare_frauds
from lightgbm import LGBMClassifier

from focal_boost import FocalClassifier

SETTINGS = {"n_estimators": 50, "random_state": SEED, "n_jobs": 1, "verbosity": -1}


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    table = rare_frauds(100)
    model = FocalClassifier(LGBMClassifier(**SETTINGS), gamma=1.0).fit(table.X, table.y)
    explanation = shap.TreeExplainer(model.estimator_)(table.X)
    margins = model.decision_function(table.X)
    total = explanation.values.sum(axis=1) + explanation.base_values
    print(f"contributions add up to the margins, to {np.abs(total - margins).max():.1e}")
    row = int(np.argmax(margins))
    probability = model.predict_proba(table.X[row : row + 1])[0, 1]
    print(f"row {row}: log-odds {margins[row]:+.2f}, probability {probability:.3f}; largest contributions:")
    for feature in np.argsort(-np.abs(explanation.values[row]))[:5]:
        name, value = table.X.columns[feature], table.X.iloc[row, feature]
        print(f"  {name:<24} = {value:>8.4g}   {explanation.values[row, feature]:+.3f}")


if __name__ == "__main__":
    main()
