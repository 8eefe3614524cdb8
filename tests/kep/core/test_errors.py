"""What other programs say stands in a sentence of ours: one line, with a bound."""

import pytest

from kep.core.errors import LONGEST, first_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Quota exceeded.\nmore", "Quota exceeded"),
        ("  \n", ""),
        ("x" * LONGEST, "x" * LONGEST),
        ("<html>" + "x" * 10_000, "<html>" + "x" * (LONGEST - 6) + "…"),
    ],
)
def test_it_is_one_line_with_a_bound(text, line):
    assert first_line(text) == line
