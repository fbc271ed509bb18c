"""Links of a page to files of the repository that are no pages, and pages that are files from elsewhere in it.

On GitHub, and in an editor, `[text](../focal_boost/losses.py#L10-L20)` is a link to a file beside docs/. On the site it
becomes a link to a page that shows the file, with an anchor for each line. A page that consists of a MyST `{include}`
of a Markdown file outside docs/ takes its place: links to the file become links to that page, and relative links and
pictures in the file are those of its own folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.util import logging

logger = logging.getLogger(__name__)

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent

_SCHEME = "repository"
_DATA = (".png", ".csv")
_SOURCES = (".py", ".hpp", ".cpp", ".cuh", ".sh")
_INCLUDE = re.compile(r"^```\{include\} (\S+\.md)\n```$", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
_CODE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)


def setup(app: Any) -> dict[str, Any]:
    """Rewrite sources as they are read, and add a page for each file that was linked."""
    app.connect("config-inited", allow_scheme)
    app.connect("builder-inited", find_pages)
    app.connect("source-read", rewrite)
    app.connect("html-collect-pages", file_pages)
    return {"parallel_read_safe": False, "parallel_write_safe": True}


def allow_scheme(app: Any, config: Any) -> None:
    """Let MyST take links to pages of files as they are."""
    config.myst_url_schemes = {
        "http": None,
        "https": None,
        "mailto": None,
        _SCHEME: {"url": "{{path}}#{{fragment}}"},
    }


def find_pages(app: Any) -> None:
    """Remember which page stands for which file outside docs/."""
    app.env.page_of_file = {ROOT / "README.md": DOCS / "index.md"}
    for page in DOCS.rglob("*.md"):
        for included in _INCLUDE.findall(page.read_text(encoding="utf-8")):
            app.env.page_of_file[(page.parent / included).resolve()] = page
    if not hasattr(app.env, "linked_files"):
        app.env.linked_files = set()


def rewrite(app: Any, docname: str, source: list[str]) -> None:
    """Put in what is included, and turn relative links into those of the site."""
    page = DOCS / f"{docname}.md"
    text = _links(app, source[0], page, page.parent)
    included = _INCLUDE.search(text)
    if included:
        file = (page.parent / included[1]).resolve()
        app.env.note_dependency(str(file))
        content = _links(app, file.read_text(encoding="utf-8"), page, file.parent)
        text = text[: included.start()] + content + text[included.end() :]
    source[0] = text


def _links(app: Any, text: str, page: Path, folder: Path) -> str:
    def new(match: re.Match[str]) -> str:
        return _new_link(app, page, folder / match[1], match[2] or "")

    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_LINK.sub(new, text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _LINK.sub(new, text[end:])])


def _new_link(app: Any, page: Path, target: Path, fragment: str) -> str:
    target = target.resolve()
    target = app.env.page_of_file.get(target, target)
    local = os.path.relpath(target, page.parent).replace(os.sep, "/")
    if target.suffix in _DATA or target.is_relative_to(DOCS) or not target.exists():
        return local + fragment  # MyST copies data, and warns of what is not there
    app.env.linked_files.add(target)
    if target.is_dir():
        app.env.linked_files |= {file for file in target.iterdir() if file.suffix in _SOURCES}
    shown = os.path.relpath(DOCS / _page_name(target), page.parent).replace(os.sep, "/")
    line = re.match(r"#L(\d+)", fragment)
    return f"{_SCHEME}:{shown}.html" + (f"#L-{line[1]}" if line else "")


def _page_name(file: Path) -> str:
    return f"files/{file.relative_to(ROOT).as_posix()}"


def file_pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Pages that show the linked files; of a folder, what is in it."""
    for file in sorted(app.env.linked_files):
        title = file.relative_to(ROOT).as_posix()
        body = _folder(file, app.env.linked_files) if file.is_dir() else _code(file)
        yield _page_name(file), {"title": title, "body": f"<h1>{escape(title)}</h1>{body}"}, "page.html"


def _folder(folder: Path, shown: set[Path]) -> str:
    items = []
    for path in sorted(folder.iterdir()):
        name = f"<code>{escape(path.name)}</code>"
        if path in shown:
            name = f'<a href="{escape(folder.name)}/{escape(path.name)}.html">{name}</a>'
        if not path.name.startswith((".", "__")):
            items.append(f"<li>{name}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _code(file: Path) -> str:
    try:
        lexer = get_lexer_for_filename(file.name)
    except ClassNotFound:
        lexer = TextLexer()
    lexer.stripnl = False
    text = file.read_text(encoding="utf-8")
    return highlight(text, lexer, HtmlFormatter(lineanchors="L", anchorlinenos=True, linenos="inline"))
