"""Runs of a template again and again, which Vertex AI starts."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from rich.table import Table

from kep.core.errors import UserError, nearest
from kep.engines.base import Options
from kep.engines.submit import look, parameters
from kep.engines.template import Template
from kep.engines.timing import Timing, check_name, split
from kep.engines.vertex.engine import VertexEngine
from kep.engines.vertex.jobs import check_options, job_of, options_of
from kep.google.once import once
from kep.google.vertex import CHANGE, CREATE, LOOK, moment, unsure

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api


def create(vertex: VertexEngine, name: str, template: Template, options: Options, timing: Timing) -> datetime | None:
    """Makes a schedule. Its name is its own among those of the project and region.

    Returns:
        When it starts its first run.

    Raises:
        UserError: There is one of that name, or Vertex AI refuses it.
    """
    from google.cloud import aiplatform_v1 as api

    fields = timing.fields()
    look(template)
    if _find(vertex, name):
        raise UserError(f"there is a schedule {name} already; `kep schedule update {name}` changes it")
    schedule = api.Schedule(
        display_name=name, create_pipeline_job_request=_request(vertex, template, options), **fields
    )

    def send() -> "api.Schedule":
        return vertex.schedules.create_schedule(parent=vertex.parent, schedule=schedule, **CREATE)

    with vertex.explained(options.service_account):
        made = once(send, lambda: _find(vertex, name), CHANGE["retry"], unsure)
    return moment(made.next_run_time)


def update(
    vertex: VertexEngine, name: str, template: Template | None, given: dict[str, Any], timing: Timing
) -> "api.Schedule":
    """Changes what is given of a schedule; runs that it started go on.

    Args:
        vertex: Where.
        name: Name of the schedule.
        template: New template of later runs; None to keep the old one.
        given: Fields of `Options` that differ from those that the schedule was made with.
        timing: Changed times.

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


def pause(vertex: VertexEngine, name: str) -> None:
    """Starts no more runs until it is resumed."""
    found = get(vertex, name)
    with vertex.explained():
        vertex.schedules.pause_schedule(name=found.name, **CHANGE)


def resume(vertex: VertexEngine, name: str, catch_up: bool) -> None:
    """Starts runs again, also those that were missed if `catch_up`."""
    found = get(vertex, name)
    request = {"name": found.name, "catch_up": catch_up}
    with vertex.explained():
        vertex.schedules.resume_schedule(request=request, **CHANGE)


def ending(vertex: VertexEngine, name: str) -> list[str]:
    """Return the names of runs under way that deleting a schedule would end: none on Vertex AI."""
    return []


def delete(vertex: VertexEngine, name: str) -> None:
    """Deletes it; runs that it started go on."""
    found = get(vertex, name)
    with vertex.explained():
        try:
            vertex.schedules.delete_schedule(name=found.name, **CHANGE).result()
        except exceptions.NotFound:  # by an attempt whose answer was lost
            return


def get(vertex: VertexEngine, name: str) -> "api.Schedule":
    """The schedule of a name.

    Raises:
        UserError: There is none.
    """
    found = _find(vertex, name)
    if found is None:
        near = nearest(name, [one.display_name for one in _all(vertex)])
        raise UserError(f"there is no schedule {name} in {vertex.where}{near}")
    return found


def listing(vertex: VertexEngine) -> Table:
    """All schedules of the project and region."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("schedule", "state", "cron", "time zone", "next run (UTC)", "started", "template"):
        table.add_column(column, justify="right" if column == "started" else "left", no_wrap=True)
    for one in _all(vertex):
        zone, cron = split(one.cron)
        following = moment(one.next_run_time) if one.state.name == "ACTIVE" else None
        shown = following.strftime("%Y-%m-%d %H:%M") if following else ""
        template = one.create_pipeline_job_request.pipeline_job.labels.get("kep_template", "")
        table.add_row(one.display_name, one.state.name.lower(), cron, zone, shown, str(one.started_run_count), template)
    return table


def _request(vertex: VertexEngine, template: Template, options: Options) -> "api.CreatePipelineJobRequest":
    """Return the request that starts a run of the schedule, without a cache.

    The data are read anew in every run: their fingerprint at that time is not known now, so that a cached step could
    be about other data.
    """
    from google.cloud import aiplatform_v1 as api

    job = job_of(template, replace(options, cache=False), parameters(template, options, ""), vertex.project)
    return api.CreatePipelineJobRequest(parent=vertex.parent, pipeline_job=job)


def _find(vertex: VertexEngine, name: str) -> "api.Schedule | None":
    check_name(name)
    return next(iter(_all(vertex, f'display_name="{name}"')), None)


def _all(vertex: VertexEngine, condition: str = "") -> list["api.Schedule"]:
    request = {"parent": vertex.parent, "filter": condition}
    with vertex.explained():
        return list(vertex.schedules.list_schedules(request=request, **LOOK))
