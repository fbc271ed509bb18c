"""Formulas as MathML, which browsers set by themselves: no script, no font and no network is needed to read a page.

Docutils converts the LaTeX; what it does not know is a warning with the place of the formula.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)

# TeX puts a thin space between log and what it is taken of, unless that is in parentheses; browsers put none.
_SPACELESS = re.compile(r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>\()")
_SPACED = '<mo lspace="0" rspace="0.1667em">&ApplyFunction;</mo>'


def setup(app: Any) -> dict[str, Any]:
    """Make this the renderer of formulas in HTML."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("config-inited", choose)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def choose(app: Any, config: Any) -> None:
    """Prefer this renderer to MathJax, which Sphinx always loads."""
    config.html_math_renderer = "mathml"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Formula within a line."""
    translator.body.append(f'<span class="math">{_mathml(node, as_block=False)}</span>')
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Formula of its own; one that is wider than the screen scrolls by itself."""
    translator.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, *, as_block: bool) -> str:
    latex = node.astext().strip()
    try:
        return _SPACELESS.sub(_SPACED, latex2mathml.tex2mathml(latex, as_block=as_block))
    except MathError as error:
        logger.warning("formula %r: %s", latex, error, location=node)
        return f"<code>{latex}</code>"
