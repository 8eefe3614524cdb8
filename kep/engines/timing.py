"""When the runs of a schedule start."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from kep.core.errors import UserError, nearest

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)


LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days of each month; of February those of a leap year."""


@dataclass(frozen=True)
class Timing:
    """When a schedule starts runs. What is None is left as it is, or to Vertex AI.

    Attributes:
        cron: Five fields.
        zone: IANA name of the time zone that they are in.
        concurrent: Runs that may be under way at once.
        queue: Whether a run that may not start yet waits; else it is left out.
        start: First moment.
        end: Last moment.
    """

    cron: str | None = None
    zone: str | None = None
    concurrent: int | None = None
    queue: bool | None = None
    start: datetime | None = None
    end: datetime | None = None

    def fields(self, before: str = "") -> dict[str, Any]:
        """Those of Vertex AI's message that are given.

        Args:
            before: Current cron of the schedule, whose time zone or five fields may be kept.

        Raises:
            UserError: A value can't be what it stands for.
        """
        zone_before, cron_before = split(before)
        cron, zone = self.cron or cron_before, self.zone or zone_before
        if self.cron is not None:
            check_cron(self.cron)
        if self.zone is not None:
            check_zone(self.zone)
        if self.start and self.end and _moment(self.start, zone) >= _moment(self.end, zone):
            raise UserError("--end: it is not after --start")
        fields = {
            "cron": f"TZ={zone} {cron}" if self.cron or self.zone else None,
            "max_concurrent_run_count": self.concurrent,
            "allow_queueing": self.queue,
            "start_time": self.start and _moment(self.start, zone),
            "end_time": self.end and _moment(self.end, zone),
        }
        return {name: value for name, value in fields.items() if value is not None}


def check_cron(cron: str) -> None:
    """Refuse a cron expression that is not valid.

    Raises:
        UserError: It has not five fields, or one of them is invalid.
    """
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        raise UserError(
            f'--cron: "{cron}" has {len(fields)} fields, not 5: minute, hour, day of the month, month, day of the '
            'week, such as "0 4 * * mon"'
        )
    for text, (name, low, high, words) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            span, slash, step = part.partition("/")
            first, dash, last = span.partition("-")
            given = [_number(end, low, words) for end in ([first, last] if dash else [first])]
            ends = [end for end in given if end is not None and low <= end <= high]
            fine = span == "*" or (len(ends) == len(given) and ends == sorted(ends))
            if not fine or (slash and not (step.isdecimal() and int(step) > 0)):
                raise UserError(f'--cron: "{part}" is no {name}, which goes from {low} to {high}')
    _check_day(cron, *fields[2:])


def _check_day(cron: str, days: str, months: str, weekdays: str) -> None:
    """Refuse days that no year has, so that no run would ever start.

    Raises:
        UserError: With the longest of the months.
    """
    # With a day of the week, too, either of the two is enough.
    if "*" in (days[:1], months[:1]) or weekdays[:1] != "*":
        return
    first = min(_number(part.partition("/")[0].partition("-")[0], 1, []) or 1 for part in days.split(","))
    longest = max(LONGEST_MONTHS[month - 1] for month in _months(months))
    if first > longest:
        raise UserError(f'--cron: "{cron}" never comes: month {months} has at most {longest} days, not {first}')


def _months(text: str) -> Iterator[int]:
    """Yield the months of a field without a star."""
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        begin = _number(first, 1, _MONTHS) or 1
        end = (_number(last, 1, _MONTHS) or 12) if dash else 12 if step else begin
        yield from range(begin, end + 1, int(step or 1))


def check_name(name: str) -> None:
    """Refuse what a schedule can't be called.

    Raises:
        UserError: With what a name may hold.
    """
    if not re.fullmatch(r"[\w .-]{1,128}", name) or not name.strip():
        raise UserError(f"NAME: {name!r} must be letters, digits, dots, dashes, spaces and _, at most 128")


def check_zone(zone: str) -> None:
    """Refuse an unknown time zone.

    Raises:
        UserError: It is not a name of the IANA time zone database.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = nearest(zone, available_timezones())
        raise UserError(f'--time-zone: "{zone}" is not a time zone{near or ", such as Europe/Berlin"}') from error


def split(cron: str) -> tuple[str, str]:
    """The time zone and the five fields of Vertex AI's cron."""
    match = re.fullmatch(r"(?:(?:CRON_)?TZ=(\S+) )?(.*)", cron)
    return (match[1] or "UTC", match[2]) if match else ("UTC", cron)


def _number(text: str, low: int, words: list[str]) -> int | None:
    if text.lower() in words:
        return words.index(text.lower()) + low
    return int(text) if text.isdecimal() else None


def _moment(given: datetime, zone: str) -> datetime:
    return given if given.tzinfo else given.replace(tzinfo=ZoneInfo(zone))
