"""The documentation site: `make docs` builds it into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import focal_boost

project = "focal_boost"
author = "The focal_boost developers"
copyright = author
version = release = focal_boost.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "mathml",
    "repository_files",
]
exclude_patterns = ["_build"]
nitpicky = True
default_role = "literal"
smartquotes = False  # error messages and values are quoted as they are

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_fence_as_directive = ["math"]  # ```math is what GitHub takes for a formula of its own
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Types, shapes and defaults are in the docstrings, which say more than annotations do.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"focal_boost {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def setup(app):
    """Leave out what scikit-learn adds to each estimator: the routing of metadata, documented there."""
    app.connect(
        "autodoc-skip-member",
        lambda app, what, name, obj, skip, options: skip or (name.startswith("set_") and name.endswith("_request")),
    )
