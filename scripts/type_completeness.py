"""Fail where less of the public interface has known types than is promised.

    python scripts/type_completeness.py

What is missing comes from scikit-learn, whose base classes have no types for those who use this package either.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

LEAST = 0.95
# Base classes of scikit-learn, and what takes or returns an object of a class with such a base.
FOREIGN = re.compile(r"metaclass unknown|base class unknown|Focal\w*Classifier|Saved")


def main() -> None:
    """Ask basedpyright, which must be installed."""
    root = Path(__file__).parent.parent
    # By path: type checkers do not see an editable installation that is made of import hooks.
    result = subprocess.run(
        [
            *(sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable),
            *("--ignoreexternal", "--verifytypes", "focal_boost", "--outputjson"),
        ],
        capture_output=True,
        text=True,
        check=False,  # 1 for a score below 1
        cwd=root / "scripts",
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        report = json.loads(result.stdout)["typeCompleteness"]
    except (ValueError, KeyError):
        sys.exit(f"basedpyright gave no report:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    score = report["completenessScore"]
    print(f"types of {score:.1%} of the public interface are known")
    unknown = [symbol for symbol in report["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    messages = {symbol["name"]: [found["message"] for found in symbol["diagnostics"]] for symbol in unknown}
    own = {name: said for name, said in messages.items() if not all(map(FOREIGN.search, said))}
    for name, said in (own or messages if score < LEAST else own).items():
        print(name, *said, sep="\n    ")
    if own or score < LEAST:
        sys.exit(f"at least {LEAST:.0%} must be, and all but what stems from scikit-learn")


if __name__ == "__main__":
    main()
