"""The picture of README: one real table, built-in log loss and focal loss side by side.

What examples/fraud_detection.py reports and draws, with a booster and a table named here; every row is judged by models
that never saw it. Reads ``<table>.npz`` from the folder that FOCAL_BOOST_DATA names, and writes results/front_page.md
and results/front_page.png:

    FOCAL_BOOST_DATA=folder python benchmarks/front_page.py
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from _report import RESULTS, machine, save

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from _data import read_table
from fraud_detection import draw, judge, make_booster, report

from focal_boost import FocalClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="givemesomecredit", help="name of a table (default: %(default)s)")
    parser.add_argument("--library", choices=("lightgbm", "xgboost"), default="lightgbm")
    parser.add_argument("--gamma", type=float, default=2.0)
    args = parser.parse_args()
    folder = os.environ.get("FOCAL_BOOST_DATA")
    if not folder:
        parser.error("set FOCAL_BOOST_DATA to the folder of the tables (<name>.npz with arrays X and y)")
    table = read_table(Path(folder) / f"{args.table}.npz", None)
    focal = FocalClassifier(make_booster(args.library), gamma=args.gamma)
    probas = judge(table, args.library, focal)
    text = report(table, args.library, focal, probas)
    print(text)
    title = f"{args.table}: {table.y.sum():,} of {len(table.y):,} rows positive ({args.library}, gamma {args.gamma:g})"
    draw(table, title, probas, RESULTS / "front_page.png")
    options = "".join(f" --{name} {value}" for name, value in vars(args).items() if value != parser.get_default(name))
    save(
        "front_page",
        f"# One table\n\nCommand: `python benchmarks/front_page.py{options}`.\n\n{machine()}\n\n"
        f"```text\n{text}\n```\n\n![ranking and probabilities](front_page.png)",
    )


if __name__ == "__main__":
    main()
