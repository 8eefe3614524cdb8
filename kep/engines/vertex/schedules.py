"""Runs of a template again and again, which Vertex AI starts."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from google.api_core import exceptions
from rich.table import Table

from kep.core.errors import UserError, nearest
from kep.engines.base import Options, once
from kep.engines.submit import look, parameters
from kep.engines.template import Template
from kep.engines.vertex.jobs import check_options, job_of, options_of
from kep.google.vertex import CHANGE, CREATE, LOOK, Vertex, unsure

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)


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

    def fields(self, before: str = "") -> dict:
        """Those of Vertex AI's message that are given.

        Args:
            before: What the schedule's cron is now, of which the time zone or the five fields may be kept.

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


def create(vertex: Vertex, name: str, template: Template, options: Options, timing: Timing) -> datetime:
    """Makes a schedule. Its name is its own among those of the project and region.

    Returns:
        When it starts its first run.

    Raises:
        UserError: There is one of that name, or Vertex AI refuses it.
    """
    from google.cloud import aiplatform_v1 as api

    fields = timing.fields()
    vertex.ready(options)
    look(template)
    if _find(vertex, name):
        raise UserError(f"there is a schedule {name} already; `kep schedule update {name}` changes it")
    schedule = api.Schedule(
        display_name=name, create_pipeline_job_request=_request(vertex, template, options), **fields
    )

    def send() -> "api.Schedule":
        return vertex.schedules.create_schedule(parent=vertex.parent, schedule=schedule, **CREATE)

    with vertex.explained(options.service_account):
        return once(send, lambda: _find(vertex, name), CHANGE["retry"], unsure).next_run_time


def update(vertex: Vertex, name: str, template: Template | None, given: dict, timing: Timing) -> "api.Schedule":
    """Changes what is given of a schedule; runs that it started go on.

    Args:
        vertex: Where.
        name: Of the schedule.
        template: What later runs are of; None for what they were of.
        given: Fields of `Options` that differ from those that the schedule was made with.
        timing: What changes of it.

    Raises:
        UserError: There is none of that name, nothing is given, or Vertex AI refuses it.
    """
    from google.cloud import aiplatform_v1 as api
    from google.protobuf.field_mask_pb2 import FieldMask

    if given and template is None:
        raise UserError("options of the runs can't change without FILE, which says what they are of")
    found = get(vertex, name)
    fields = timing.fields(found.cron)
    options = replace(options_of(found.create_pipeline_job_request.pipeline_job), **given)
    if template is not None:
        check_options(options, vertex.region)
        vertex.ready(options)
        look(template)
        fields["create_pipeline_job_request"] = _request(vertex, template, options)
    if not fields:
        raise UserError("nothing to change is given; see kep schedule update --help")
    changed, mask = api.Schedule(name=found.name, **fields), FieldMask(paths=list(fields))
    with vertex.explained(options.service_account):
        return vertex.schedules.update_schedule(schedule=changed, update_mask=mask, **CHANGE)


def pause(vertex: Vertex, name: str) -> None:
    """Starts no more runs until it is resumed."""
    found = get(vertex, name)
    with vertex.explained():
        vertex.schedules.pause_schedule(name=found.name, **CHANGE)


def resume(vertex: Vertex, name: str, catch_up: bool) -> None:
    """Starts runs again, also those that were missed if `catch_up`."""
    found = get(vertex, name)
    request = {"name": found.name, "catch_up": catch_up}
    with vertex.explained():
        vertex.schedules.resume_schedule(request=request, **CHANGE)


def delete(vertex: Vertex, name: str) -> None:
    """Deletes it; runs that it started go on."""
    found = get(vertex, name)
    with vertex.explained():
        try:
            vertex.schedules.delete_schedule(name=found.name, **CHANGE).result()
        except exceptions.NotFound:  # by an attempt whose answer was lost
            return


def get(vertex: Vertex, name: str) -> "api.Schedule":
    """The schedule of a name.

    Raises:
        UserError: There is none.
    """
    found = _find(vertex, name)
    if found is None:
        near = nearest(name, [one.display_name for one in _all(vertex)])
        raise UserError(f"there is no schedule {name} in {vertex.where}{near}")
    return found


def listing(vertex: Vertex) -> Table:
    """All schedules of the project and region."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("schedule", "state", "cron", "time zone", "next run (UTC)", "started", "template"):
        table.add_column(column, justify="right" if column == "started" else "left", no_wrap=True)
    for one in _all(vertex):
        zone, cron = split(one.cron)
        waits = one.next_run_time and one.state.name == "ACTIVE"
        following = one.next_run_time.strftime("%Y-%m-%d %H:%M") if waits else ""
        template = one.create_pipeline_job_request.pipeline_job.labels.get("kep_template", "")
        table.add_row(
            one.display_name, one.state.name.lower(), cron, zone, following, str(one.started_run_count), template
        )
    return table


def check_cron(cron: str) -> None:
    """Raises:
    UserError: It has not five fields, or one holds what can't stand there.
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
            ends = [_number(end, low, words) for end in ([first, last] if dash else [first])]
            fine = span == "*" or all(end is not None and low <= end <= high for end in ends)
            fine = fine and (len(ends) == 1 or ends[0] <= ends[1])
            if not fine or (slash and not (step.isdecimal() and int(step) > 0)):
                raise UserError(f'--cron: "{part}" is no {name}, which goes from {low} to {high}')


def check_zone(zone: str) -> None:
    """Raises:
    UserError: It is no name of the IANA time zone database.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = nearest(zone, available_timezones())
        raise UserError(f'--time-zone: "{zone}" is none{near or ", such as Europe/Berlin"}') from error


def split(cron: str) -> tuple[str, str]:
    """The time zone and the five fields of Vertex AI's cron."""
    match = re.fullmatch(r"(?:(?:CRON_)?TZ=(\S+) )?(.*)", cron)
    return match[1] or "UTC", match[2]


def _number(text: str, low: int, words: list[str]) -> int | None:
    if text.lower() in words:
        return words.index(text.lower()) + low
    return int(text) if text.isdecimal() else None


def _moment(given: datetime, zone: str) -> datetime:
    return given if given.tzinfo else given.replace(tzinfo=ZoneInfo(zone))


def _request(vertex: Vertex, template: Template, options: Options) -> "api.CreatePipelineJobRequest":
    """The data are read anew in every run: at this moment nobody knows their fingerprint at that one, so that a step
    which was answered from a cache could be about other data."""
    from google.cloud import aiplatform_v1 as api

    job = job_of(template, replace(options, cache=False), parameters(template, options, ""))
    return api.CreatePipelineJobRequest(parent=vertex.parent, pipeline_job=job)


def _find(vertex: Vertex, name: str) -> "api.Schedule | None":
    if not re.fullmatch(r"[\w .-]{1,128}", name):
        raise UserError(f"NAME: {name!r} must be letters, digits, dots, dashes, spaces and _, at most 128")
    return next(iter(_all(vertex, f'display_name="{name}"')), None)


def _all(vertex: Vertex, condition: str = "") -> list["api.Schedule"]:
    request = {"parent": vertex.parent, "filter": condition}
    with vertex.explained():
        return list(vertex.schedules.list_schedules(request=request, **LOOK))
