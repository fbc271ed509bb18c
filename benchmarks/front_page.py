"""The picture of README: what `make demo` prints and draws, kept as results/front_page.md and results/front_page.png.

python benchmarks/front_page.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from _report import RESULTS, machine, save

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import fraud_detection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--library", choices=tuple(fraud_detection.LIBRARIES), default="lightgbm", help="of the picture"
    )
    library = parser.parse_args().library
    with TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            fraud_detection.main(["--output", folder])
        text = printed.getvalue().replace(folder, "demo")
        shutil.copy(Path(folder, f"report_{library}.png"), RESULTS / "front_page.png")
    print(text)
    save(
        "front_page",
        f"# A month of payments\n\nCommand: `python benchmarks/front_page.py`.\n\n{machine()}\n\n"
        f"```text\n{text}```\n\n![alerts, money and probabilities](front_page.png)",
    )


if __name__ == "__main__":
    main()
