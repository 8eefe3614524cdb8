"""How numbers are written on pages."""

import pytest

from kep.artifacts.evaluation import Interval
from kep.report.page import decimals, interval, loss, number, seconds
from kep.report.sections.words import places


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (None, None, "–"),
        (float("nan"), 3, "–"),
        (float("-inf"), None, "−∞"),
        (1797, None, "1,797"),
        (0.30000000000000004, None, "0.3"),
        (201345.2, None, "201,345"),
        (1.2345678e9, None, "1.235e9"),
        (1.234e9, 0, "1.234e9"),
        (1e-7, 3, "1e-7"),
        (0.0027, 2, "0.0027"),
        (-0.0818, 3, "−0.082"),
        ("relu", None, "relu"),
        (True, None, "True"),
        (0.0, 3, "0.000"),
    ],
)
def test_numbers(value, places, text):
    assert number(value, places) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0.0000"), (0.09370, "0.0937"), (136.2345, "136.23"), (33948.2, "33,948")]
)
def test_losses_have_no_more_digits_than_mean_something(value, text):
    assert loss(value) == text


def test_an_interval_shows_two_digits_of_its_half_width():
    assert decimals(0.055) == 3
    assert decimals(4800) == 0
    assert decimals(None) == 4
    assert interval(Interval(value=0.09, low=0.03646, high=0.14717), 3) == "0.036 to 0.147"
    assert interval(Interval(value=0.09, low=None, high=None), 3) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0289, "0.03 s"), (18.52, "18.5 s"), (59.99, "1 min 00 s"), (107.07, "1 min 47 s"), (3599.7, "1 h 00 min")],
)
def test_durations(value, text):
    assert seconds(value) == text


def test_an_interval_that_is_nothing_but_rounding_needs_no_places():
    baseline, own = Interval(value=0.5, low=0.5 - 1e-16, high=0.5 + 1e-16), Interval(value=0.75, low=0.66, high=0.83)
    assert places([own]) == places([own, baseline]) == 3
    assert places([baseline]) == 4
