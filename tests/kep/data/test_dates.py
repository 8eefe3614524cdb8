"""Dates by tables: how they are spelled, and what numbers they become."""

from datetime import datetime

import numpy as np
import pytest

from kep.data.dates import DATE_FORMS, LIKE_DATES, PARTS, part_of, read_date


@pytest.mark.parametrize(
    ("text", "form", "when"),
    [
        ("2024-01-05", "iso", datetime(2024, 1, 5)),
        (" 2024-01-05T07:30 ", "iso", datetime(2024, 1, 5, 7, 30)),
        ("2024-01-05 07:30:01.5", "iso", datetime(2024, 1, 5, 7, 30, 1, 500000)),
        ("2024-01-05T00:30+01:00", "iso", datetime(2024, 1, 4, 23, 30)),
        ("2024-01-05T00:30:00-0530", "iso", datetime(2024, 1, 5, 6)),
        ("2024-01-05T00:30Z", "iso", datetime(2024, 1, 5, 0, 30)),
        ("2024-01-05 00:30 UTC", "iso", datetime(2024, 1, 5, 0, 30)),
        ("2024/1/5", "year first", datetime(2024, 1, 5)),
        ("05/01/2024", "day first", datetime(2024, 1, 5)),
        ("5.1.2024", "day first", datetime(2024, 1, 5)),
        ("5-1-2024 7:30", "day first", datetime(2024, 1, 5, 7, 30)),
        ("01/05/2024", "month first", datetime(2024, 1, 5)),
        ("1/5/2024, 12:30 AM", "month first", datetime(2024, 1, 5, 0, 30)),
        ("1/5/2024 1:30:05pm", "month first", datetime(2024, 1, 5, 13, 30, 5)),
        ("Jan 5, 2024", "month by name", datetime(2024, 1, 5)),
        ("september 5 2024", "month by name", datetime(2024, 9, 5)),
        ("5 Sept. 2024", "month by name", datetime(2024, 9, 5)),
        ("05-Jan-2024", "month by name", datetime(2024, 1, 5)),
        ("20240105", "digits", datetime(2024, 1, 5)),
        # No dates.
        ("2024-02-30", "iso", None),
        ("2024-1-5", "iso", None),
        ("2024-01-05T25:00", "iso", None),
        ("13/13/2024", "day first", None),
        ("1.13.2024", "month first", None),
        ("05/01-2024", "day first", None),
        ("05/01/24", "day first", None),
        ("1/5/2024 13:30 PM", "month first", None),
        ("May 2024", "month by name", None),
        ("2024", "iso", None),
        ("12.5", "day first", None),
    ],
)
def test_a_date_is_read_in_its_form(text, form, when):
    assert read_date(text, form) == when


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("2024-01-05", {"iso"}),
        ("05/01/2024", {"day first", "month first"}),
        ("13/01/2024", {"day first"}),
        ("01/13/2024", {"month first"}),
        ("05.01.2024", {"day first"}),
        ("Jan 5, 2024", {"month by name"}),
        ("1.2.3", set()),
    ],
)
def test_a_form_is_known_but_for_day_and_month(text, forms):
    assert {form for form in DATE_FORMS if read_date(text, form)} == forms


def test_the_numbers_of_a_date():
    times = np.array(["1970-01-01", "2024-12-31T18:00", "NaT", "1969-12-31T06:00"], "datetime64[us]")
    found = {part: part_of(times, part) for part in PARTS}
    np.testing.assert_allclose(found["days"], [0, 20088.75, np.nan, -0.75])
    np.testing.assert_allclose(found["year"], [1970, 2024, np.nan, 1969])
    # December, and Tuesday (1); a Thursday is 3 and a Wednesday 2.
    angles = {"month": [0, 11 / 12, np.nan, 11 / 12], "weekday": [3 / 7, 1 / 7, np.nan, 2 / 7]}
    angles["time of day"] = [0, 0.75, np.nan, 0.25]
    for name, share in angles.items():
        turn = 2 * np.pi * np.array(share)
        np.testing.assert_allclose(found[f"{name} sine"], np.sin(turn), atol=1e-9)
        np.testing.assert_allclose(found[f"{name} cosine"], np.cos(turn), atol=1e-9)


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("08/03/24", True),
        ("05-Jan-24", True),
        ("5. Januar 2024", True),
        ("Fri, 05 Jan 2024 07:30:00 GMT", True),
        ("2024-01-05x", True),
        ("1.2", False),
        ("premium", False),
        ("10-20", False),
        ("12 months", False),
    ],
)
def test_what_a_person_takes_for_a_date(text, like):
    assert bool(LIKE_DATES.fullmatch(text)) == like
