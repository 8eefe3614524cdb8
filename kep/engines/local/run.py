"""One run from the run file to the report, on this machine."""

import platform
import shlex
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kep.config.run_file import RunFile, validate
from kep.core.errors import UserError, nearest
from kep.core.files import link, read_json, write_file, write_json
from kep.core.versions import revision
from kep.data.sources.fingerprint import fingerprint, size
from kep.engines.local import mirror
from kep.engines.local import runner as local
from kep.engines.local.docker import Containers, image_ids, sources
from kep.engines.preflight import MOST_SURVEYED, devices, survey
from kep.engines.progress import View
from kep.pipelines.images import LOCAL
from kep.pipelines.parameters import arguments, codes, located, versions, whole_code, with_champion
from kep.pipelines.steps import STEPS
from kep.storage import champions

TELLING = {"binary": ("accuracy", "roc_auc"), "multiclass": ("accuracy", "f1"), "regression": ("rmse", "r2")}
"""Metrics of the table at the end of a run, which is to fit on 80 columns; the report has them all."""
RECORD = "run.json"
"""File in a run's folder that holds what is needed to do the run again."""


def run(
    settings: RunFile,
    base: Path,
    runs: Path,
    console: Console,
    again_from: str | None = None,
    force: bool = False,
    runner: str = "subprocess",
) -> int:
    """Runs the pipeline, shows its progress and ends with a table and the path of the report.

    A run of the same name goes on where an earlier one stopped: finished steps are reused if their data, settings
    and code are the same, and a step that was killed goes on from its partial work.

    Args:
        settings: The run file.
        base: Its folder.
        runs: Folder of all runs. The finished run of one that is a copy of a folder on gs:// is uploaded there.
        console: Where to write.
        again_from: Step that runs again with all after it, whatever is kept of them.
        force: Promote whatever the comparison with the champion says.
        runner: What a step runs as: `subprocess`, or `docker` for a container.

    Returns:
        Exit status: 0 done, 1 a step failed, 2 the user's mistake, 130 interrupted.

    Raises:
        UserError: The run can't start.
    """
    from kep.pipelines.compile import compile_training

    address = mirror.checked_address(runs, settings.name)
    if size(settings.data, base) <= MOST_SURVEYED:
        survey(settings, base)
    devices(settings)
    given = with_champion(arguments(settings, base, f"{address or runs.absolute()}/champions"))
    images = image_ids() if runner == "docker" else {}
    # Another image is other code, whatever of it changed; processes and containers don't answer for each other.
    inside = "".join(f"-{id.removeprefix('sha256:')[:12]}" for id in images.values())
    given |= {"source": fingerprint(settings.data, base), "force": force}
    given |= {name: code + inside for name, code in codes(STEPS).items()}
    place = local.RunsFolder(runs / settings.name)
    _note_champion(settings, base, console)
    with place.locked():
        if again_from:
            place.forget(again_from)
        folder = new_folder(place.root)
        write_json(folder / RECORD, record(settings, base, given, images))
        containers = _containers(folder, place, settings, base, given) if images else None
        compile_training(folder / "pipeline.yaml", given, LOCAL if images else None)
        started = time.time()
        status = execute(folder, place, given, console, containers=containers)
        if not status:
            _finish(folder, place, console, time.time() - started)
            if there := mirror.push(folder, runs):
                console.print(f"uploaded to {there}", highlight=False, soft_wrap=True)
        return status


def execute(
    folder: Path,
    place: local.RunsFolder,
    given: dict,
    console: Console,
    steps: Iterable[str] = STEPS,
    containers: Containers | None = None,
) -> int:
    """Runs `pipeline.yaml` of a run's folder, shows its progress, and says so if it fails or is interrupted.

    Args:
        folder: Of the run.
        place: Of the runs of the same name; its lock is held.
        given: Arguments of the pipeline.
        console: Where to write.
        steps: Of the pipeline, in order of the flow.
        containers: What the steps see as containers; None for processes.

    Returns:
        Exit status, as `run`.
    """
    console.print(f"run {folder}", highlight=False)
    process = local.start(folder, place, folder / "pipeline.yaml", given, containers)
    try:
        with View(console, steps) as view:
            status = local.follow(process, folder, view.show)
    except KeyboardInterrupt:
        local.stop(process)
        console.print(f"stopped; the same command goes on where this run stopped (log: {folder / 'log.txt'})")
        return 130
    finally:
        local.stop(process)
        if containers:
            containers.stop()
    # kfp.local takes a container that is gone before it was asked for its status for a success.
    return _explain(view.failure, folder, console) if status or view.failure else 0


def _containers(folder: Path, place: local.RunsFolder, settings: RunFile, base: Path, given: dict) -> Containers:
    champion = champions.Champion.of_parameter(given["champion"]).folder
    if champion.startswith("gs://"):
        raise UserError(
            f"promote.champion: {champion} can't be reached from containers without a network; use a folder"
        )
    containers = Containers(
        run=str(folder.absolute()),
        events=str((folder / local.EVENTS_FILE).absolute()),
        store=str(place.store.absolute()),
        writable=[str(place.work.absolute()), str(Path(champion).absolute())],
        readable=sources(located(settings.data, base)),
    )
    containers.prepare()
    return containers


def _note_champion(settings: RunFile, base: Path, console: Console) -> None:
    """Says so where the run file names a champion's folder that holds none: a misspelt path would promote anything."""
    if settings.promote.champion is None or settings.promote.champion.startswith("gs://"):
        return
    folder = base / settings.promote.champion
    if champions.read(folder).version is None:
        siblings = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        hint = nearest(folder.name, siblings)
        console.print(
            f"note: promote.champion: {folder} holds no champion{hint}; this run's ensemble will be the first",
            highlight=False,
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


def record(settings: RunFile, base: Path, given: dict, images: dict[str, str]) -> dict:
    """What is needed to do a run again, and what it ran on; `images` are the ids of those that its steps ran in."""
    return {
        "run_file": settings.model_dump(mode="json"),
        "base": str(base.absolute()),
        "command": shlex.join(["kep", *sys.argv[1:]]),
        "source": given["source"],
        "code": whole_code(codes(STEPS)),
        "images": images,
        "revision": revision(),
        "versions": {"python": platform.python_version()} | versions(STEPS),
        "platform": platform.platform(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def like(folder: Path, console: Console) -> tuple[RunFile, Path]:
    """The run file and its folder of an earlier run; says what has changed since.

    Raises:
        UserError: The folder is not of a run, or its run file is not valid any more.
    """
    if not (folder / RECORD).is_file():
        raise UserError(
            f"--like: {folder} has no {RECORD}; give the folder of a run, such as runs/NAME/20260131-120000"
        )
    earlier = read_json(folder / RECORD)
    settings, base = validate(earlier["run_file"]), Path(earlier["base"])
    now = {"code": whole_code(codes(STEPS)), "source": fingerprint(settings.data, base)}
    for what, words in (("code", "the code"), ("source", "the data")):
        if earlier[what] != now[what]:
            console.print(f"note: {words} changed since {folder.name}; the results can differ", highlight=False)
    return settings, base


def find(name: str, runs: Path) -> Path:
    """The folder of a finished run: a path, or the name of a run file for its latest run.

    Raises:
        UserError: There is no such run.
    """
    if not (Path(name) / "report.html").is_file():
        mirror.pull(name, runs)
    for folder in (Path(name), runs / name / "latest", runs / name):
        if (folder / "report.html").is_file():
            return folder
    for folder in (Path(name), runs / name):
        logs = sorted([*folder.glob("log.txt"), *folder.glob("*/log.txt")])
        if logs:
            raise UserError(f"{logs[-1].parent} has not finished, so it has no report; its log is {logs[-1]}")
    known = sorted(path.parent.name for path in runs.glob("*/latest")) if runs.is_dir() else []
    finished = f"; finished runs: {', '.join(known)}" if known else "; no run has finished yet"
    raise UserError(f"no finished run {name} in {runs}{finished}")


def _explain(failure: dict | None, folder: Path, console: Console) -> int:
    log = folder / "log.txt"
    if failure is None:
        console.print(f"error: a step ended without a word, perhaps killed for want of memory; its log is {log}")
        return 1
    task = f"{failure['step']} {failure['label']}".strip()
    console.print(f"error: {task} failed: {failure['message']} (log: {log})", highlight=False, soft_wrap=True)
    return 2 if failure["user"] else 1


def report_export(folder: Path, measured: dict) -> None:
    """Adds what an export measured to a run's report, in the place of an earlier one in that format."""
    whole = read_json(folder / "report.json")
    others = [export for export in whole.get("exports", []) if export["format"] != measured["format"]]
    _write_report(folder, whole | {"exports": [*others, measured]})


def _write_report(folder: Path, whole: dict) -> None:
    from kep.report.report import render

    page = render(whole, read_json(folder / "verdict.json"))
    write_json(folder / "report.json", whole)
    write_file(folder / "report.html", lambda path: path.write_text(page))


def _finish(folder: Path, place: local.RunsFolder, console: Console, seconds: float) -> None:
    outcome = {name: Path(path) for name, path in read_json(folder / "outcome.json").items()}
    whole = read_json(outcome["evaluation"] / "report.json")
    verdict = read_json(outcome["verdict"] / "verdict.json")
    whole["steps"] += [read_json(outcome[name] / "step.json") for name in ("evaluation", "verdict")]
    whole["run"] = read_json(folder / RECORD) | {"folder": str(folder), "seconds": seconds}
    write_json(folder / "verdict.json", verdict)
    _write_report(folder, whole)
    link(folder / "ensemble", outcome["ensemble"].absolute())
    link(place.root / "latest", Path(folder.name))
    console.print(results_table(whole))
    console.print(f"{'promoted' if verdict['promoted'] else 'not promoted'}: {verdict['reason']}", highlight=False)
    console.print(f"done in {seconds:.0f} s, report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def results_table(whole: dict) -> Table:
    """The telling test metrics of every member and of the ensemble; the loss with its interval."""
    from kep.report.report import AVERAGE, BASELINE

    scores = whole["evaluation"]["scores"]
    weights = whole["weights"]["weights"]
    label = whole["manifest"]["label"]
    positive = f", positive class: {label['classes'][1]}" if label["task"] == "binary" else ""
    table = Table(title=f"{whole['evaluation']['rows']} test rows{positive}", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("weight", justify="right")
    names = ["loss", *TELLING[label["task"]]]
    for name in names:
        table.add_column("loss (95 % interval)" if name == "loss" else name, justify="right", no_wrap=True)
    for model in [BASELINE, *(member["id"] for member in whole["weights"]["members"]), AVERAGE, "ensemble"]:
        values = scores[model]
        weight = f"{weights[model]:.3f}" if model in weights else ""
        cells = [_cell(name, values[name]) for name in names]
        table.add_row(model, weight, *cells, style="bold" if model == "ensemble" else "")
    return table


def _cell(name: str, score: dict) -> str:
    if score["value"] is None:
        return "–"
    if name == "loss" and score["low"] is not None:
        return f"{_short(score['value'], 3)} ({_short(score['low'], 2)} to {_short(score['high'], 2)})"
    return _short(score["value"], 3)


def _short(value: float, digits: int) -> str:
    """A number with so many significant digits, and without an exponent where it is large: 0.0316, 351, 1,070."""
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) < 1:
        return f"{rounded:.{digits}g}"
    return f"{rounded:,.{max(0, digits - len(str(abs(int(rounded)))))}f}"
