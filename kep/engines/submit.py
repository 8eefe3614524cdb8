"""A run on Vertex AI or Kubeflow: submitted once, followed, looked at, cancelled."""

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import typer
from rich.console import Console

from kep.artifacts.event import Event
from kep.components.ingest.inspect import Inspection
from kep.core.errors import Status, UserError, first_line
from kep.core.location import Location
from kep.data.sources.fingerprint import fingerprint, size
from kep.engines.base import OURS, Engine, Options, Run, Task
from kep.engines.listing import Line
from kep.engines.preflight import survey
from kep.engines.progress import View, say
from kep.engines.rehearsal import MOST_SURVEYED
from kep.engines.template import Template
from kep.pipelines.parameters import kfp_safe
from kep.pipelines.steps import PREDICTION_STEPS, STEPS, step_of
from kep.runtime.notify import left_verdict

POLL = 10.0
"""Seconds between two looks at a run: steps take minutes."""
Seen = dict[int | str, tuple[str, int]]
"""State and attempts of tasks by their ids."""


def parameters(template: Template, options: Options, source: str) -> dict[str, str]:
    """Arguments that the template does not know: the data's fingerprint, and the bucket's folders."""
    if template.predicts:
        return {}
    champion = template.champion
    if options.bucket and not Location(champion.folder).is_cloud:
        champion = champion.model_copy(update={"folder": f"{options.bucket}/champions/{template.name}"})
    given = {"source": source, "champion": kfp_safe(champion.to_json())}
    if options.bucket and not template.data.extract_to and _in_bigquery(template):
        data = template.data.model_copy(update={"extract_to": f"{options.bucket}/extracts"})
        given["data"] = kfp_safe(data.to_json())
    return given


def job_id(template: Template, given: dict[str, str], source: str) -> str:
    """Equal for equal pipelines, images, code, data and bucket: submitting twice makes one run."""
    content = json.dumps([template.digest, given | {"source": source}], sort_keys=True)
    return f"{OURS}{template.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def source_of(template: Template) -> str:
    """Fingerprint of the data; empty for those on a volume, which only the steps can read."""
    return fingerprint(template.data) if template.data_in_reach else ""


def look(template: Template) -> Inspection | None:
    """Reads the data before anything is submitted, as a local run does, so that a mistake in them costs no machine.

    Returns:
        What was seen; None of data that are large, on a volume, to be predicted, or in BigQuery, which only the run
        asks for them.

    Raises:
        UserError: The data can't be used.
    """
    if template.predicts or not template.data_in_reach or size(template.data) > MOST_SURVEYED or _in_bigquery(template):
        return None
    return survey(template.settings, Path())


def _in_bigquery(template: Template) -> bool:
    return any(location.scheme == "bq" for location in template.data.locations.values())


def submit(engine: Engine, template: Template, options: Options, console: Console, again: bool = False) -> str:
    """Submits a run, or finds that it was submitted before.

    Args:
        engine: Where.
        template: What.
        options: How.
        console: Where to say which.
        again: Submit it also when it is done or under way.

    Returns:
        Name of the run.

    Raises:
        UserError: It is refused.
    """
    if note := engine.ready(options):
        say(console, f"note: {note}")
    look(template)
    source = source_of(template)
    given = parameters(template, options, source)
    if not given.get("source"):
        # No step would know whether the data are those of an earlier run, whose steps a cache would answer with.
        options = replace(options, cache=False)
    first = job_id(template, given, source)
    for attempt in count(1):
        name = first if attempt == 1 else f"{first}-{attempt}"
        run, made = engine.get(name), False
        if run is None:
            run, made = engine.create(name, template, options, given)
        if made:
            say(console, f"submitted {name}")
        elif again or run.ending in ("failed", "cancelled"):
            if not again:
                ended = "failed" if run.ending == "failed" else "was cancelled"
                say(console, f"note: {name} {ended}; submitting it again")
            continue
        elif run.ending:
            say(console, f"{name} was submitted before, and is done; nothing is submitted (--again does)")
        else:
            say(console, f"{name} was submitted before, and is under way")
        say(console, run.url)
        if run.curves:
            say(console, f"TensorBoard: {run.curves}")
        return name
    raise AssertionError  # count() has no end


def follow(engine: Engine, name: str, console: Console, steps: Iterable[str] = STEPS) -> int:
    """Shows the steps as they change until the run has ended.

    Args:
        engine: Where it runs.
        name: Name of the run.
        console: Where to show them.
        steps: Steps of its pipeline, in order of the flow.

    Returns:
        Exit status: 0 done, 1 failed, 3 cancelled, 4 done and not promoted, 130 left running after Ctrl-C.

    Raises:
        UserError: The engine does not answer for long; the run goes on.
    """
    while True:
        seen: Seen = {}
        try:
            with View(console, steps) as view:
                while True:
                    run = _get(engine, name)
                    for event in events(run, seen):
                        view.show(event)
                    if run.ending:
                        view.end(run.ending == "done")
                        break
                    time.sleep(POLL)
            return _finish(run, view.failure, console)
        except KeyboardInterrupt:
            if not (sys.stdin.isatty() and typer.confirm(f"\ncancel {name}? Otherwise it goes on", default=False)):
                say(console, f"{name} goes on; `kep status {name}` looks at it, `kep cancel {name}` ends it")
                return Status.INTERRUPTED
            engine.cancel(_get(engine, name))
            say(console, f"cancelling {name}")


def status(engine: Engine, run: str, console: Console) -> int:
    """Shows a run's steps as they are now; returns the exit status that following it would end with, 0 before."""
    found = find(engine, run)
    predicts = any(step_of(task.name) in PREDICTION_STEPS for task in found.tasks)
    view = View(console, PREDICTION_STEPS if predicts else STEPS)
    for event in events(found, {}):
        view.take(event)
    view.end(found.ending == "done")
    say(console, f"{found.name}: {found.state}")
    console.print(view.table())
    say(console, found.url)
    if found.curves:
        say(console, f"TensorBoard: {found.curves}")
    return _finish(found, view.failure, console) if found.ending else 0


def cancel(engine: Engine, run: str, console: Console) -> None:
    """Cancels a run; says so where it has ended already."""
    found = find(engine, run)
    if found.ending:
        say(console, f"{found.name} has ended: {found.state}")
        return
    engine.cancel(found)
    say(console, f"cancelling {found.name}; `kep status {found.name}` says when it has ended")


def runs(engine: Engine, where: str, name: str | None, limit: int) -> list[Line]:
    """Return the newest runs that were submitted from here or by a schedule, or those of one name.

    Args:
        engine: Where they are.
        where: Its name in the table.
        name: Name of a run file, or of a schedule; None for all.
        limit: Most runs.
    """
    return [
        Line(
            where=where,
            name=run.schedule or re.sub(r"-[0-9a-f]{12}(-\d+)?$", "", run.name.removeprefix(OURS)),
            run=run.name,
            state=run.state,
            started=run.created,
            seconds=(run.ended - run.created).total_seconds() if run.ended and run.created else None,
        )
        for run in engine.newest(name, limit)
    ]


def find(engine: Engine, run: str) -> Run:
    """A run by its name, or the newest of a run file's or a schedule's name.

    Raises:
        UserError: There is none.
    """
    found = None
    if re.fullmatch(r"[a-z0-9][-a-z0-9]{0,127}", run):
        found = engine.get(run)
        if found is None and (newest := engine.newest(run, 1)):
            found = engine.get(newest[0].name)
    if found is None:
        raise UserError(f"there is no run {run} in {engine.where}; `kep runs` lists them")
    return found


def events(run: Run, seen: Seen) -> Iterator[Event]:
    """Yield the changes since an earlier look, as the events that a local run's steps write.

    Args:
        run: As it is now.
        seen: State and attempts of each task by its id at the last look; brought up to date.
    """
    numbers: dict[str, int] = {}
    for task in run.tasks:
        step = step_of(task.name)
        if step not in (*STEPS, *PREDICTION_STEPS):  # a loop, or the pipeline in it
            continue
        numbers[step] = numbers.get(step, 0) + 1
        label = (str(numbers[step]) if numbers[step] > 1 else "") if task.label is None else task.label
        before, attempts = seen.get(task.id, ("PENDING", 1))
        if task.state not in ("RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"):
            continue
        seen[task.id] = task.state, task.attempts
        # Of a task whose begin nobody wrote down, the end is the nearest that is known.
        known = task.begun or task.ended
        begun = known.timestamp() if known else time.time()
        if before == "PENDING" and task.state != "SKIPPED":
            yield Event(kind="start", step=step, label=label, time=begun)
        if task.attempts > attempts:
            yield Event(kind="progress", step=step, label=label, text=f"tried again (attempt {task.attempts})")
        if task.state != before:
            yield from _ending(task, begun, step, label)


def _ending(task: Task, begun: float, step: str, label: str) -> Iterator[Event]:
    """How a task has ended, if it has."""
    ended = task.ended.timestamp() if task.ended else time.time()
    if task.state == "SKIPPED":
        yield Event(kind="reused", step=step, label=label, time=begun)
    elif task.state == "SUCCEEDED":
        yield Event(kind="done", step=step, label=label, time=ended, seconds=max(ended - begun, 0.0))
    elif task.state in ("FAILED", "CANCELLED"):
        message = "cancelled" if task.state == "CANCELLED" else first_line(task.message) or "without a message"
        yield Event(kind="failed", step=step, label=label, time=ended, message=message)


def _finish(run: Run, failure: Event | None, console: Console) -> int:
    if run.ending == "done":
        if not any(step_of(task.name) in (*STEPS, *PREDICTION_STEPS) for task in run.tasks):
            say(console, "note: the server lists no task of its steps; the run has done them all the same")
        elif untold := _untold(run):
            say(console, f"note: the server lists no task of {', '.join(untold)}; the run has done them all the same")
        took = f" in {run.took}" if run.took else ""
        where = f", artifacts under {run.artifacts}" if run.artifacts else ""
        say(console, f"done{took}{where}")
        return _decision(run, console)
    if run.ending == "cancelled":
        say(console, f"error: {run.name} was cancelled{f': {run.message}' if run.message else ''}")
        return Status.CANCELLED
    task = failure.name if failure else run.name
    message = failure.message if failure else first_line(run.message) or "without a message"
    say(console, f"error: {task} failed: {message} (logs: {run.url})")
    return Status.FAILED


def _decision(run: Run, console: Console) -> int:
    """Say whether the ensemble of a run that is done was promoted; returns the exit status."""
    if not run.champions:
        return 0
    if run.decision:
        status, sentence = run.decision
        say(console, sentence)
        return status
    if not Location(run.champions).is_cloud:
        say(console, f"note: whether its ensemble was promoted is known on the volume of {run.champions} alone")
        return 0
    try:
        verdict = left_verdict(run.champions, run.name)
    except UserError as error:
        # Whoever submits needs no right to the bucket.
        say(console, f"note: whether its ensemble was promoted can't be read: {error}")
        return 0
    if verdict is None:
        say(console, f"note: whether its ensemble was promoted is not known; {run.champions} has no decision of it")
        return 0
    say(console, verdict.sentence)
    return verdict.status


def _untold(run: Run) -> list[str]:
    """Steps without a task after one that had some: an engine's list of tasks may end before the run does."""
    told = [place for place, step in enumerate(STEPS) if any(step_of(task.name) == step for task in run.tasks)]
    return [] if not told else list(STEPS[max(told) + 1 :])


def _get(engine: Engine, name: str) -> Run:
    run = engine.get(name, patient=True)
    if run is None:
        raise UserError(f"{name} was deleted")
    return run
