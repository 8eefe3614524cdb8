"""Settings of the documentation's site, which Sphinx reads: `make docs`."""

from importlib import metadata

project = "Keras Ensemble Pipelines"
release = metadata.version("keras-ensemble-pipelines")
extensions = ["myst_parser"]
exclude_patterns = ["**/__pycache__"]
nitpicky = True  # a reference that leads nowhere is a warning, and `make docs` takes warnings for errors

myst_heading_anchors = 4  # headings down to this level are targets of links, by GitHub's rule

html_theme = "furo"
html_title = project
html_copy_source = False
