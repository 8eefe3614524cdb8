"""One run from the run file to the report, on this machine."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console

from kep.artifacts.event import Event
from kep.artifacts.run import RunRecord
from kep.artifacts.verdict import Verdict
from kep.config.notify import NotifyTask
from kep.config.run_file import RunFile
from kep.config.search import LATE
from kep.core.errors import Status, UserError, nearest
from kep.core.extras import need_tensorflow
from kep.core.files import link
from kep.core.location import Location
from kep.core.versions import revision
from kep.data.sources.fingerprint import fingerprint, size
from kep.engines.earlier import named
from kep.engines.local import mirror
from kep.engines.local import runner as local
from kep.engines.local.docker import Containers, image_ids, sources
from kep.engines.local.earlier import resolved
from kep.engines.local.ending import Ending
from kep.engines.local.index import refresh_index
from kep.engines.local.job import Job, Outcome
from kep.engines.local.results import finish, results_table
from kep.engines.preflight import devices, survey
from kep.engines.progress import View, say
from kep.engines.rehearsal import MOST_SURVEYED
from kep.models.needs import check_packages
from kep.models.registry import travelling
from kep.pipelines.images import LOCAL
from kep.pipelines.parameters import (
    arguments,
    check_path,
    codes,
    located,
    notify_config,
    versions,
    whole_code,
    with_champion,
)
from kep.pipelines.steps import STEPS
from kep.runtime.notify import check_here, message, tell
from kep.storage import champions


def run(
    settings: RunFile,
    base: Path,
    runs: Path,
    console: Console,
    again_from: str | None = None,
    force: bool = False,
    runner: str = "subprocess",
    began: float | None = None,
) -> int:
    """Runs the pipeline, shows its progress and ends with a table and the path of the report.

    A run of the same name goes on where an earlier one stopped. Finished steps are reused if their data, settings and
    code are the same; a killed step goes on from its partial work.

    Args:
        settings: The run file.
        base: Its folder.
        runs: Folder of all runs. The finished run of one that is a copy of a folder on gs:// is uploaded there.
        console: Where to write.
        again_from: Step that runs again with all after it, whatever is kept of them.
        force: Promote whatever the comparison with the champion says.
        runner: `subprocess`, or `docker` for steps in containers.
        began: Unix time from which the run's time counts; now when not given.

    Returns:
        Exit status: 0 done and the ensemble serves, 1 a step failed, 2 the user's mistake, 4 done and not promoted, 130
        interrupted.

    Raises:
        UserError: The run can't start.
    """
    from kep.pipelines.compile import compile_training

    began = began or time.time()
    address = mirror.checked_address(runs, settings.name)
    settings = resolved(settings, base, runs)
    if settings.notify.of_runs:
        check_here(settings.notify)
    if runner == "docker" and settings.notify.of_runs:
        raise UserError("notify: containers without a network reach nobody; remove it, or run without --runner docker")
    families = travelling(settings.search.families, base)
    if runner == "subprocess":
        need_tensorflow("kep run")
        if not isinstance(families, str):
            check_packages(families)
    if size(settings.data, base) <= MOST_SURVEYED:
        survey(settings, base)
    devices(settings)
    given = with_champion(arguments(settings, base.absolute(), f"{address or runs.absolute()}/champions"))
    images = image_ids() if runner == "docker" else {}
    # Another image is other code, whatever of it changed; processes and containers don't answer for each other.
    inside = "".join(f"-{id.removeprefix('sha256:')[:12]}" for id in images.values())
    given |= {"source": fingerprint(settings.data, base), "force": force}
    given |= {name: code + inside for name, code in codes(STEPS).items()}
    place = local.RunsFolder(runs / settings.name)
    # Before the champions' folder is made: a refused run leaves nothing.
    check_path(place.root.absolute())
    champion = champions.Champion.of_parameter(str(given["champion"])).folder
    if Location(champion).is_local:
        champions.check_writable(champion)
    _note_champion(settings, base, console)
    try:
        with place.locked():
            if again_from:
                place.forget(again_from)
            else:
                given |= _as_interrupted(place, given)
            folder = new_folder(place.root)
            first = _first(given["notify_config"])
            asked = notify_config(settings, base=str(base.absolute()), run=str(folder.absolute()), first=first)
            given |= {"notify_config": asked}
            record(settings, base, given, images).save(folder)
            containers = _containers(folder, place, settings, base, given) if images else None
            compile_training(folder / "pipeline.yaml", given, LOCAL if images else None)
            with telling(given, folder, console) as failed:
                status = execute(
                    folder, place, given, console, containers=containers, failed=failed.append, began=began
                )
                if not status:
                    verdict = _finish(folder, place, console, began)
                    status = verdict.status
                    if there := mirror.push(folder, runs):
                        console.print(f"uploaded to {there}", soft_wrap=True)
            return status
    finally:
        # The lock is free: this run is under way no more.
        refresh_index(runs, console)


def _as_interrupted(place: local.RunsFolder, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the champion of the last run, where that one was cut short since promote and this is the same run again.

    What it promoted is not compared with itself then: promote says again what it said. The last thing that a run does
    is to become the latest one.
    """
    folders = sorted(path.parent for path in place.root.glob(f"*/{Job.FILE}"))
    if not folders or place.latest.resolve() == folders[-1].resolve():
        return {}
    before = Job.load(folders[-1]).arguments
    # Who is told may be another by now.
    same = dict.fromkeys(("champion", "notify_config"))
    if before | same != {**given} | same:
        return {}
    events = (folders[-1] / local.EVENTS_FILE).read_text(encoding="utf-8")
    return {name: before.get(name, "") for name in same} if '"step": "promote"' in events else {}


def _first(config: str) -> str:
    """Return the folder of the first run that this one goes on with, by the argument of the last; empty for none."""
    task = NotifyTask.model_validate_json(config) if config else None
    return (task.first or task.run) if task else ""


@contextmanager
def telling(given: Mapping[str, Any], folder: Path, console: Console) -> Iterator[list[str]]:
    """Tell people of a run that fails in the block; the list takes the reasons.

    What ends a run that was decided already, such as a full disk under its report, is a failure, too.
    """
    failed: list[str] = []
    try:
        yield failed
    except Exception as error:
        failed.append(str(error))
        raise
    finally:
        if failed and given["notify_config"]:
            task, champion = NotifyTask.model_validate_json(given["notify_config"]), given["champion"]
            told = message(
                task, "failed", f"failed: {failed[0]}", task.run, task.run, {"log": str(folder.absolute() / "log.txt")}
            )
            tell(task, told, champions.Champion.of_parameter(champion).folder, partial(say, console))


def execute(
    folder: Path,
    place: local.RunsFolder,
    given: Mapping[str, Any],
    console: Console,
    steps: Iterable[str] = STEPS,
    containers: Containers | None = None,
    failed: Callable[[str], object] | None = None,
    began: float | None = None,
) -> int:
    """Runs `pipeline.yaml` of a run's folder, shows its progress, and says so if it fails or is interrupted.

    Args:
        folder: Folder of the run.
        place: Folder of the runs of the same name; its lock is held.
        given: Arguments of the pipeline.
        console: Where to write.
        steps: Steps of the pipeline, in order of the flow.
        containers: Containers of the steps; None for processes.
        failed: Takes the reason of a failure.
        began: Unix time from which the run's time counts; now when not given.

    Returns:
        Exit status, as `run`.
    """
    console.print(f"run {folder}")
    began = began or time.time()
    with place.scratch() as scratch, View(console, steps, began) as view:
        ending = Ending(place.store, scratch)

        def show(event: Event) -> None:
            if event.kind == "signal":
                ending.signals.append(event.number)
            else:
                view.show(event)

        process = local.start(folder, place, given, scratch, containers, began)
        try:
            status = local.follow(process, folder, show)
            # kfp.local takes a container that is gone before it was asked for its status for a success.
            cause = ending.cause() if status and not view.failure else None
        except KeyboardInterrupt:
            local.stop(process)
            status, cause = Status.INTERRUPTED, None
        finally:
            local.stop(process)
            if containers:
                containers.stop()
    if status == Status.INTERRUPTED:
        console.print(f"stopped; the same command goes on where this run stopped (log: {folder / 'log.txt'})")
        return status
    if not status and not view.failure:
        return Status.DONE
    reason = _reason(view.failure, cause)
    log = folder / "log.txt"
    console.print(f"error: {reason}" + (f" (log: {log})" if view.failure else f"; see {log}"), soft_wrap=True)
    if failed:
        failed(reason)
    return Status.MISTAKE if view.failure and view.failure.user else Status.FAILED


def _containers(
    folder: Path, place: local.RunsFolder, settings: RunFile, base: Path, given: Mapping[str, Any]
) -> Containers:
    champion = champions.Champion.of_parameter(given["champion"]).folder
    if Location(champion).is_cloud:
        raise UserError(
            f"promote.champion: {champion} can't be reached from containers without a network; use a folder"
        )
    containers = Containers(
        run=str(folder.absolute()),
        events=str((folder / local.EVENTS_FILE).absolute()),
        store=str(place.store.absolute()),
        writable=[str(place.work.absolute()), str(Path(champion).absolute())],
        readable=[*sources(located(settings.data, base)), *_studies(settings)],
    )
    containers.prepare()
    return containers


def _studies(settings: RunFile) -> list[str]:
    """Return the folders of the earlier searches that the run uses, for containers.

    Raises:
        UserError: One is on gs://, which containers without a network don't reach.
    """
    for where, given in named(settings).items():
        if Location(given.study).is_cloud:
            raise UserError(f"{where}: {given.study} can't be read by containers without a network; copy it here first")
    return [given.study for given in named(settings).values()]


def _note_champion(settings: RunFile, base: Path, console: Console) -> None:
    """Says so where the run file names a champion's folder that holds none: a misspelt path would promote anything."""
    if settings.promote.champion is None or Location(settings.promote.champion).is_cloud:
        return
    folder = base / settings.promote.champion
    if champions.read(folder).version is None:
        siblings = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        hint = nearest(folder.name, [name for name in siblings if name != folder.name])
        console.print(
            f"note: promote.champion: {folder} holds no champion{hint}; this run's ensemble will be the first",
            soft_wrap=True,
        )


def new_folder(root: Path) -> Path:
    """A folder named after the second; the second run of one second gets a number."""
    folder = first = root / datetime.now().strftime("%Y%m%d-%H%M%S")
    numbers = count(2)
    while folder.exists():
        folder = first.with_name(f"{first.name}-{next(numbers)}")
    folder.mkdir(parents=True)
    return folder


def record(settings: RunFile, base: Path, given: Mapping[str, Any], images: dict[str, str]) -> RunRecord:
    """Return the record of a run; `images` are the ids of those that its steps run in, by name."""
    return RunRecord(
        run_file=settings,
        base=str(base.absolute()),
        command=shlex.join(["kep", *sys.argv[1:]]),
        source=given["source"],
        code=whole_code(codes(STEPS)),
        images=images,
        revision=revision(),
        versions={"python": platform.python_version()} | versions(STEPS),
        platform=platform.platform(),
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
    )


def like(folder: Path, console: Console) -> tuple[RunFile, Path]:
    """The run file and its folder of an earlier run; says what has changed since.

    Raises:
        UserError: The folder is not of a run, or its run file is not valid any more.
    """
    if not (folder / RunRecord.FILE).is_file():
        raise UserError(f"--like: {folder} has no {RunRecord.FILE}; {RunRecord.REMEDY}")
    earlier = RunRecord.load(folder)
    settings, base = earlier.run_file, Path(earlier.base)
    for before, now, words in (
        (earlier.code, whole_code(codes(STEPS)), "the code"),
        (earlier.source, fingerprint(settings.data, base), "the data"),
    ):
        if before != now:
            console.print(f"note: {words} changed since {folder.name}; the results can differ")
    return settings, base


def _reason(failure: Event | None, cause: str | None) -> str:
    if failure is None:
        return cause or "a step ended without an error message"
    return f"{failure.name} failed: {failure.message}"


def _finish(folder: Path, place: local.RunsFolder, console: Console, began: float) -> Verdict:
    """Write the report, show the results, and return the decision."""
    from kep.report.summary import sentence  # matplotlib, which takes a second to import

    outcome = Outcome.load(folder).folders
    report, verdict = finish(folder, outcome, time.time() - began)
    # Relative, so that a copy of the runs is whole by itself.
    link(folder / "ensemble", Path(os.path.relpath(outcome["ensemble"].absolute(), folder.absolute())))
    link(place.latest, Path(folder.name))
    metric = report.asked.judged_by
    console.print(results_table(report.manifest.label, report.evaluation, report.weights, metric))
    console.print(sentence(report, verdict), soft_wrap=True)
    asked, seconds = report.asked.minutes, time.time() - began
    late = "" if asked is None or seconds <= (1 + LATE) * 60 * asked else f" instead of {60 * asked:.0f}"
    console.print(f"done in {seconds:.0f} s{late}, report: {folder / 'report.html'}", soft_wrap=True)
    return verdict
