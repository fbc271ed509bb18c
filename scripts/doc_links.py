"""Lines that the documentation links to: found by the name of what they define, and put right.

A link such as ``[`_Side.slopes`](../focal_boost/kernels/numpy.py#L1-L2)`` names what it leads to: a function, class,
struct or method. The line numbers follow from the name, so they are not written by hand:

    python scripts/doc_links.py            # rewrites README.md, CONTRIBUTING.md and docs/
    python scripts/doc_links.py --check    # says what would change, and fails if anything would
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[`(?P<name>[\w.:]+)`\]\((?P<path>[^)#\s]+\.(?:py|hpp))(?:#L\d+-L\d+)?\)")


def pages() -> list[Path]:
    """Markdown files whose links are looked after."""
    written = [page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(written)]


def definition(file: Path, name: str) -> tuple[int, int] | None:
    """First and last line of what defines a name in a file, both counted from 1; None if nothing or more does."""
    text = file.read_text(encoding="utf-8")
    found = list(_in_python(text, name) if file.suffix == ".py" else _in_cpp(text, name))
    return found[0] if len(found) == 1 else None


def _in_python(text: str, name: str) -> Iterator[tuple[int, int]]:
    scope: list[ast.AST] = [ast.parse(text)]
    for part in name.split("."):
        scope = [
            node
            for outer in scope
            for node in ast.iter_child_nodes(outer)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == part and not _is_overload(node)
        ]
    for node in scope:
        assert isinstance(node, (ast.FunctionDef, ast.ClassDef))
        yield min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]), node.end_lineno or 0


def _is_overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether this is one of the signatures for type checkers, without a body."""
    return any(isinstance(decorator, ast.Name) and decorator.id == "overload" for decorator in node.decorator_list)


def _in_cpp(text: str, name: str) -> Iterator[tuple[int, int]]:
    """Structs and functions with a body, by matching braces; `Struct::method` is looked for within the struct."""
    outer, _, inner = name.rpartition("::")
    start, end = 0, len(text)
    if outer:
        (begin, stop), *_ = _bodies(text, rf"^struct {outer}\b")
        start, end = begin, stop
    pattern = rf"^struct {inner}\b" if not outer else rf"^ +FOCAL_INLINE [\w ]*\b{inner}\("
    function = rf"^FOCAL_INLINE [\w ]*\b{inner}\("
    for expression in {pattern, *(() if outer else (function,))}:
        for begin, stop in _bodies(text, expression):
            if start <= begin and stop <= end:
                yield text.count("\n", 0, begin) + 1, text.count("\n", 0, stop) + 1


def _bodies(text: str, expression: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(expression, text, re.MULTILINE):
        position = text.index("{", match.end())
        if ";" in text[match.end() : position]:
            continue  # a declaration
        depth = 0
        for brace in re.finditer(r"[{}]", text[position:]):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                yield match.start(), position + brace.start()
                break


def corrected(page: Path, text: str) -> tuple[str, list[str]]:
    """The text of a page with the right lines, and what could not be found."""
    lost: list[str] = []

    def new(match: re.Match[str]) -> str:
        file = (page.parent / match["path"]).resolve()
        lines = definition(file, match["name"]) if file.is_file() else None
        if lines is None:
            lost.append(f"{page.relative_to(ROOT)}: {match['name']} is not defined, or not once, in {match['path']}")
            return match[0]
        return f"[`{match['name']}`]({match['path']}#L{lines[0]}-L{lines[1]})"

    return LINK.sub(new, text), lost


def main() -> int:
    """Put the links right, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something would change")
    check = parser.parse_args().check
    problems = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new, lost = corrected(page, text)
        problems += lost
        if new != text:
            if check:
                problems.append(f"{page.relative_to(ROOT)}: lines have moved; run python scripts/doc_links.py")
            else:
                page.write_text(new, encoding="utf-8")
    print("\n".join(problems) or "links are right")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
