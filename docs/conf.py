"""How Sphinx builds the site of the docs: `make docs-site`."""

from __future__ import annotations

from otel_sentry import __version__

project = "otel-sentry"
author = "The otel-sentry authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [
    # Types of other projects: no inventory is fetched, the site is built without a network.
    (r"py:.*", r"(?!otel_sentry\.).*"),
    # Private names in the signatures of public ones.
    (r"py:class", r"otel_sentry\.(settings\.Settings|sampling\.rules\.Rule)"),
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "otel-sentry"
html_copy_source = False
html_show_sphinx = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
