"""The code of README and of the documentation runs, and prints what the pages say it prints.

All ``python`` blocks of a page are run in order, in one namespace and in a scratch folder, with warnings as errors. A
``text`` block right after one is what it prints: words must be the same, numbers within 2 % or a unit of their last
decimal, since they depend a little on the versions of the libraries. A block that cannot run here has
``<!-- not run: why -->`` on the line before it, and is compiled only. Names that a page takes for granted are those of
`given`. A page is skipped where a package of `OPTIONAL` is missing that one of its blocks imports.

Pictures that a page shows from docs/_static/guides are drawn by its blocks, and look like those of the repository;
``python scripts/guide_pictures.py`` draws them anew.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import sys
import tomllib
from importlib.util import find_spec

import numpy as np
import pytest
from mpmath import mp
from repository import ROOT, script
from tables import draw

PAGES = script("doc_links").pages()
guide_pictures = script("guide_pictures")
BLOCK = guide_pictures.BLOCK
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?%?$")
TOLERANCE = 0.02
# Anything else that a page imports must be there. A module of focal_boost named after a library needs that library.
OPTIONAL = {
    *("cupy", "dask", "distributed", "imblearn", "lightgbm", "matplotlib", "onnx", "onnxruntime", "optuna", "pandas"),
    *("polars", "pyarrow", "shap", "treelite", "xgboost"),
}


def named(page):
    return str(page.relative_to(ROOT))


def given():
    """What README does not make itself: a table in parts."""
    train, valid, test = (draw(400, seed=seed) for seed in range(3))
    return {
        "X": train.X,
        "y": train.y,
        "weight": train.weight,
        "X_val": valid.X,
        "y_val": valid.y,
        "X_test": test.X,
    }


def same(token, other):
    if token == other:
        return True
    a, b = token.strip("()[],:;"), other.strip("()[],:;")
    if not (NUMBER.match(a) and NUMBER.match(b)):
        return False
    mantissa, _, exponent = b.rstrip("%").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])) if "." in mantissa else 0.0
    a, b = (float(text.replace(",", "").rstrip("%")) for text in (a, b))
    return abs(a - b) <= max(TOLERANCE * max(abs(a), abs(b)), 1.001 * unit)


def differences(printed, shown):
    """Pairs of tokens that are not the same; the whole texts if they have different numbers of them."""
    ours, theirs = printed.split(), shown.split()
    if len(ours) != len(theirs):
        return [(printed, shown)]
    return [pair for pair in zip(ours, theirs, strict=True) if not same(*pair)]


def imported(code):
    """Packages that a block imports, as `find_spec` knows them."""
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            first, _, rest = name.partition(".")
            yield rest.partition(".")[0] if first == "focal_boost" and rest else first


@pytest.fixture
def left_as_it_was():
    """Undo what pages set for the whole process, and close the figures that they leave open."""
    digits, level = mp.dps, logging.getLogger("focal_boost").level
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    mp.dps = digits
    logging.getLogger("focal_boost").setLevel(level)


@pytest.mark.usefixtures("left_as_it_was")
@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text()], ids=named)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.syspath_prepend(guide_pictures.EXAMPLES)
    text = page.read_text()
    namespace = {"__name__": "page", **(given() if page.name == "README.md" else {})}
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == len(re.findall(r"^```python", text, re.MULTILINE)), "a block that is not understood"
    needed = {name for block in blocks if block["mark"] is None for name in imported(block["code"])}
    for name in sorted(needed & OPTIONAL):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed, which a block imports")
    for block in blocks:
        line = text.count("\n", 0, block.start("code")) + 1
        code = guide_pictures.compiled(page, text, block)
        if block["mark"] is not None:
            assert re.fullmatch(r" not run: \S.{5,} ", block["mark"]), block["mark"]
            continue
        out = io.StringIO()
        np.random.seed(0)  # noqa: NPY002 - pages are to use their own seeds; this holds those that forget
        with contextlib.redirect_stdout(out):
            exec(code, namespace)
        if block["out"] is not None:
            assert not differences(out.getvalue(), block["out"]), f"line {line}:\n{out.getvalue()}"
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == sorted(guide_pictures.shown(text)), "pictures that are drawn, and those that are shown"
    for name in drawn:
        assert look_alike(tmp_path / name, guide_pictures.PICTURES / name), f"{name}: run scripts/guide_pictures.py"


def look_alike(path, other):
    """Whether two pictures are of one size, and as grey as each other wherever one looks."""
    from matplotlib.image import imread

    a, b = (imread(file)[..., :3].mean(axis=-1) for file in (path, other))
    if a.shape != b.shape:
        return False
    # Letters and lines move a little between versions of matplotlib and of the libraries: means of 40 x 40 pixels.
    rows, columns = (size // 40 * 40 for size in a.shape)
    difference = (a - b)[:rows, :columns].reshape(rows // 40, 40, columns // 40, 40).mean(axis=(1, 3))
    return np.abs(difference).max() < 0.1


def test_every_picture_of_a_page_is_shown_and_small():
    shown = [name for page in PAGES for name in guide_pictures.shown(page.read_text())]
    pictures = {path.name: path.stat().st_size for path in guide_pictures.PICTURES.iterdir()}
    assert sorted(shown) == sorted(pictures)
    assert max(pictures.values()) <= 60_000


def test_a_page_that_says_something_else_is_noticed():
    assert differences("gamma 1: 0.40 of 1,000\n", "gamma 1: 0.42 of 1,000\n") == [("0.40", "0.42")]
    assert differences("0.40, 3 rows", "0.41, 4 rows") == [("3", "4")]
    assert differences("loss 0.4000\n", "loss 0.4001\n") == []
    assert differences("loss 0.4\n", "cost 0.4\n")
    assert differences("step 3.4e-18", "step 3.0e-18")
    assert differences("loss 0.4 more\n", "loss 0.4\n")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist(page):
    """Targets of make, and programs of this repository, wherever a page names them as commands."""
    text = "\n".join(re.findall(r"^```\w*\n.*?^```|`[^`\n]+`", page.read_text(), re.MULTILINE | re.DOTALL))
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?<![\w-])make ([a-z][\w-]*)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for program in re.findall(r"python (?:-\w+ )*((?:examples|benchmarks|scripts|tests)/\w+\.py)", text):
        assert (ROOT / program).is_file(), program
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named_extras in re.findall(r"(?:\.|focal[_-]boost)\[([\w,]+)\]", text):
        assert set(named_extras.split(",")) <= set(extras), named_extras


def test_what_a_block_imports():
    code = (
        "import numpy as np, xgboost.dask\nfrom focal_boost.lightgbm import FocalObjective\nfrom focal_boost import x"
    )
    assert {*imported(code)} == {"numpy", "xgboost", "lightgbm", "focal_boost"}


def test_every_guide_is_in_the_index():
    """In the table that people read, and in the list that the site is made from."""
    folder = ROOT / "docs" / "guides"
    index = (folder / "index.md").read_text()
    listed = index.partition("```{toctree}")[2].partition("```")[0].split()
    for guide in {page.stem for page in folder.glob("*.md")} - {"index"}:
        assert guide in listed
        assert f"]({guide}.md)" in index
