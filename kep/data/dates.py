"""Dates: their spellings, and the numbers that a model gets of them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from kep.data.schema import Column

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?"
)
_Y, _M, _D = "(?P<year>[0-9]{4})", "(?P<month>[0-9]{1,2})", "(?P<day>[0-9]{1,2})"
_TIME = (
    "(?:(?:T|,? )(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?P<fraction>[.][0-9]+)?)?"
    "(?: ?(?P<half>[AaPp][Mm]))?(?: ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
_PATTERNS = {
    "iso": rf"{_Y}-(?P<month>[0-9]{{2}})-(?P<day>[0-9]{{2}})",
    "year first": rf"{_Y}(?P<mark>[/.]){_M}(?P=mark){_D}",
    # Whoever writes points begins with the day.
    "day first": rf"{_D}(?P<mark>[/.-]){_M}(?P=mark){_Y}",
    "month first": rf"{_M}(?P<mark>[/-]){_D}(?P=mark){_Y}",
    "month by name": rf"(?:{_D}(?P<mark>[ -])(?P<name>{_NAMED})\.?(?P=mark){_Y}|"
    rf"(?P<name2>{_NAMED})\.? (?P<day2>[0-9]{{1,2}}),? (?P<year2>[0-9]{{4}}))",
    "digits": "(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})",
}
_COMPILED = {form: re.compile(pattern + _TIME, re.IGNORECASE) for form, pattern in _PATTERNS.items()}
DATE_FORMS = ("iso", "year first", "day first", "month first", "month by name")
"""Ways to read a date, of which ISO 8601 is read in any column of dates. 20240105, "digits", is a number unless the
settings say otherwise."""


LIKE_DATES = re.compile(
    rf"(?:[0-9]{{1,2}}[/.-][0-9]{{1,2}}[/.-][0-9]{{2,4}}|[0-9]{{1,2}}\.?[ -](?:{_NAMED})[a-zäöü]*\.?[ -][0-9]{{2,4}}|"
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*, [0-9]).*",
    re.IGNORECASE,
)
"""Texts that a person takes for a date, whether a form reads them or not."""


def read_date(text: str, form: str) -> datetime | None:
    """Return the time that a text is in one form, in UTC; None where it is none, or no day of the calendar."""
    match = _COMPILED[form].fullmatch(text.strip())
    if match is None:
        return None
    found = {name: value for name, value in match.groupdict().items() if value}
    name = found.get("name") or found.get("name2")
    month = _MONTHS.index(name[:3].lower()) + 1 if name else int(found["month"])
    year, day = (int(found.get(part) or found[f"{part}2"]) for part in ("year", "day"))
    hour, half = int(found.get("hour", 0)), found.get("half", "").lower()
    if half and not 1 <= hour <= 12:
        return None
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    micro = round(float(found.get("fraction", 0)) * 1e6)
    try:
        when = datetime(year, month, day, hour, int(found.get("minute", 0)), int(found.get("second", 0)))
        when += timedelta(microseconds=micro)
        return when if "zone" not in found else _utc(when, found["zone"])
    except (ValueError, OverflowError):
        return None


def _utc(when: datetime, zone: str) -> datetime:
    if zone.upper() in ("Z", "UTC", "GMT"):
        return when
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return when.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset)).astimezone(UTC).replace(tzinfo=None)


def _turns(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sine and cosine of shares of a circle, so that December lies beside January."""
    return np.sin(2 * np.pi * share), np.cos(2 * np.pi * share)


def _days(times: np.ndarray) -> np.ndarray:
    """Return days since 1970-01-01, with their fraction."""
    days: np.ndarray = times.astype("datetime64[us]").astype(np.int64) / 86_400e6
    return days


def _share(times: np.ndarray, of: str) -> np.ndarray:
    """Return how much of the year, the week or the day is over."""
    days = _days(times)
    shares: dict[str, np.ndarray] = {
        "month": times.astype("datetime64[M]").astype(np.int64) % 12 / 12,
        "weekday": np.floor(days + 3) % 7 / 7,  # 1970-01-01 was a Thursday
        "time of day": days - np.floor(days),
    }
    return shares[of]


PARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "days": _days,
    "year": lambda times: times.astype("datetime64[Y]").astype(np.int64) + 1970.0,
    "month sine": lambda times: _turns(_share(times, "month"))[0],
    "month cosine": lambda times: _turns(_share(times, "month"))[1],
    "weekday sine": lambda times: _turns(_share(times, "weekday"))[0],
    "weekday cosine": lambda times: _turns(_share(times, "weekday"))[1],
    "time of day sine": lambda times: _turns(_share(times, "time of day"))[0],
    "time of day cosine": lambda times: _turns(_share(times, "time of day"))[1],
}
"""Numbers of a date, float64 [n] of datetime64 [n]. Those of the time of day only where some date has one."""


def part_of(times: np.ndarray, part: str) -> np.ndarray:
    """Return one of `PARTS` of datetime64 [n] as float64 [n], NaN where there is no date."""
    missing = np.isnat(times)
    values: np.ndarray = PARTS[part](np.where(missing, np.datetime64(0, "us"), times))
    return np.where(missing, np.nan, values)


def parts(date: Column, timed: bool) -> list[Column]:
    """Return the numeric columns that a column of dates becomes."""
    return [
        Column(name=f"{date.name} ({part})", kind="numeric", of=date.name, part=part, reading=date.reading)
        for part in PARTS
        if timed or not part.startswith("time")
    ]
