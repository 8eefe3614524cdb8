"""The hints in the report: what in the data may mislead, on the first screen."""

from kep.data.schema import Manifest
from kep.report.sections.words import View

MOST_HINTS = 8
"""Hints that are shown at once; the others are folded away."""


def hints(manifest: Manifest) -> View:
    """Return the content of the section."""
    return {"first": manifest.hints[:MOST_HINTS], "more": manifest.hints[MOST_HINTS:]}
