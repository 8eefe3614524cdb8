"""Runs again and again on Kubeflow, where a schedule is a recurring run."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import kfp_server_api
from rich.table import Table

from kep.core.errors import UserError, nearest
from kep.engines.base import Options
from kep.engines.kubeflow.engine import LOOK, MARK, TIMEOUT, Kubeflow, condition, specification, unsure
from kep.engines.submit import look, parameters
from kep.engines.template import Template, uncached, with_payer
from kep.engines.timing import Timing, check_name
from kep.google.once import once


def create(kubeflow: Kubeflow, name: str, template: Template, options: Options, timing: Timing) -> None:
    """Makes a schedule. Its name is its own on that server, or in that namespace.

    Raises:
        UserError: There is one of that name, or Kubeflow refuses it.
    """
    check_name(name)
    fields = timing.fields()
    if timing.zone != "UTC":
        raise UserError(
            "--time-zone: Kubeflow reads --cron in the zone that its controller was installed with (UTC, unless "
            "CRON_SCHEDULE_TIMEZONE says otherwise); leave it out"
        )
    look(template)
    if _named(kubeflow, name):
        raise UserError(f"there is a schedule {name} already; `kep schedule delete {name}` removes it")
    with kubeflow.explained():
        asked = kfp_server_api.V2beta1RecurringRun(
            experiment_id=kubeflow.experiment_id(template.name),
            display_name=name,
            description=f"{MARK}{template.digest[:16]}",
            # The data are read anew in every run: nobody knows their fingerprint at that moment.
            pipeline_spec=specification(with_payer(uncached(template.spec)), template.platform),
            runtime_config=kubeflow.runtime(template, parameters(template, options, "")),
            service_account=options.service_account or None,
            mode=kfp_server_api.RecurringRunMode.ENABLE,
            max_concurrency=str(timing.concurrent or 1),
            no_catchup=not timing.queue,
            trigger=kfp_server_api.V2beta1Trigger(
                cron_schedule=kfp_server_api.V2beta1CronSchedule(
                    cron=f"0 {timing.cron}",  # seconds first
                    start_time=_moment(fields.get("start_time")),
                    end_time=_moment(fields.get("end_time")),
                )
            ),
        )
        once(
            lambda: kubeflow.client.recurring_runs.recurring_run_service_create_recurring_run(asked, **TIMEOUT),
            lambda: _named(kubeflow, name),
            LOOK["retry"],
            unsure,
        )


def pause(kubeflow: Kubeflow, name: str) -> None:
    """Starts no more runs until it is resumed."""
    _act(kubeflow, name, kubeflow.client.recurring_runs.recurring_run_service_disable_recurring_run)


def resume(kubeflow: Kubeflow, name: str, catch_up: bool) -> None:
    """Starts runs again.

    Raises:
        UserError: `catch_up` is asked for, which Kubeflow fixes when a schedule is made.
    """
    if catch_up:
        raise UserError("--catch-up has no meaning on Kubeflow; make the schedule with --queue")
    _act(kubeflow, name, kubeflow.client.recurring_runs.recurring_run_service_enable_recurring_run)


def ending(kubeflow: Kubeflow, name: str) -> list[str]:
    """Return the names of runs under way that deleting a schedule would end: Kubernetes removes what belongs to it."""
    found = _named(kubeflow, name)
    return kubeflow.under_way(found.recurring_run_id) if found else []


def delete(kubeflow: Kubeflow, name: str) -> None:
    """Deletes it, and with it its runs under way."""
    _act(kubeflow, name, kubeflow.client.recurring_runs.recurring_run_service_delete_recurring_run)


def listing(kubeflow: Kubeflow) -> Table:
    """All schedules of the server, or of the namespace."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("schedule", "state", "cron", "template"):
        table.add_column(column, no_wrap=True)
    for one in kubeflow.schedules():
        schedule = one.trigger.cron_schedule if one.trigger else None
        cron = schedule.cron.removeprefix("0 ") if schedule else ""
        template = (one.description or "").removeprefix(MARK)
        table.add_row(one.display_name, "paused" if one.status == "DISABLED" else "active", cron, template)
    return table


def _act(kubeflow: Kubeflow, name: str, call: Callable[..., Any]) -> None:
    found = _named(kubeflow, name)
    if found is None:
        near = nearest(name, [one.display_name for one in kubeflow.schedules()])
        raise UserError(f"there is no schedule {name} in {kubeflow.where}{near}")
    with kubeflow.explained():
        try:
            kubeflow.asked(call, found.recurring_run_id, **TIMEOUT)
        except kfp_server_api.ApiException as error:
            if error.status != 404:  # deleted by an attempt whose answer was lost
                raise


def _named(kubeflow: Kubeflow, name: str) -> kfp_server_api.V2beta1RecurringRun | None:
    return next(iter(kubeflow.schedules(filter=condition("EQUALS", name))), None)


def _moment(given: datetime | None) -> datetime | None:
    return given and given.astimezone(UTC)
