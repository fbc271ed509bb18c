"""Pictures of the documentation, drawn by the code that its pages show.

A page that shows a picture of docs/_static/guides/ draws it in one of its ``python`` blocks, which saves it under the
same name in the working folder. The blocks of such pages are run in full, each page in a folder of its own, and what
they drew is put into docs/_static/guides/:

    python scripts/guide_pictures.py                 # all of them
    python scripts/guide_pictures.py fraud           # of the pages with these names
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "_static" / "guides"
EXAMPLES = ROOT / "examples"  # whose simulator a page may import
BLOCK = re.compile(
    r"(?:^<!--(?P<mark>[^\n]*)-->\n)?^```python\n(?P<code>.*?)^```\n(?:\n*^```text\n(?P<out>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
SHOWN = re.compile(r"^!\[[^\]\n]+\]\((?:\.\./)?_static/guides/(?P<name>\w+\.png)\)$", re.MULTILINE)


def compiled(page: Path, text: str, block: re.Match[str]) -> Any:
    """Code of a block; lines of a traceback are those of the page."""
    line = text.count("\n", 0, block.start("code"))
    return compile("\n" * line + block["code"], str(page), "exec")


def shown(text: str) -> list[str]:
    """Names of the pictures of a page that its code draws."""
    return [match["name"] for match in SHOWN.finditer(text)]


def draw(page: Path) -> list[Path]:
    """Run a page and keep the pictures that it shows."""
    import matplotlib
    from PIL import Image

    matplotlib.use("Agg")
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "page"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in BLOCK.finditer(text):
            if block["mark"] is None:
                exec(compiled(page, text, block), namespace)
        PICTURES.mkdir(parents=True, exist_ok=True)
        for name in shown(text):
            # A third of the bytes, and no difference to the eye.
            Image.open(name).convert("RGB").quantize(64).save(PICTURES / name, optimize=True)
        return [PICTURES / name for name in shown(text)]


def main() -> None:
    """Draw the pictures of the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", help="names of pages, without .md (default: all that show such pictures)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(EXAMPLES))
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if (options.pages and page.stem not in options.pages) or not shown(page.read_text(encoding="utf-8")):
            continue
        for picture in draw(page):
            print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
