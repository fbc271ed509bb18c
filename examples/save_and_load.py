"""Save a model without pickle, load it where it is needed; and what skops must be told to trust.

python examples/save_and_load.py
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np
from _data import SEED, rare_eights
from lightgbm import LGBMClassifier

from focal_boost import FocalClassifier

SETTINGS = {"n_estimators": 50, "random_state": SEED, "n_jobs": 1, "verbosity": -1}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the model (default demo)")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    table = rare_eights(40)
    model = FocalClassifier(LGBMClassifier(**SETTINGS), gamma=2.0).fit(table.X, np.array(["other", "eight"])[table.y])

    path = args.output / "model.focal"
    model.save(path)
    loaded = FocalClassifier.load(path)
    same = bool((loaded.predict_proba(table.X) == model.predict_proba(table.X)).all())
    print(f"{path}: {path.stat().st_size:,} bytes, labels {loaded.classes_.tolist()}, same probabilities: {same}")
    for member in zipfile.ZipFile(path).infolist():
        print(f"  {member.filename:<18}{member.file_size:>9,} bytes")

    try:
        import skops.io
    except ImportError:
        print("skops is not installed: pip install 'focal_boost[recipes]'")
        return
    content = skops.io.dumps(model)
    # Look at them before trusting them: classes of focal_boost and the booster's library, nothing else.
    types = skops.io.get_untrusted_types(data=content)
    print("skops must be told to trust: " + ", ".join(types))
    skops.io.loads(content, trusted=types)


if __name__ == "__main__":
    main()
