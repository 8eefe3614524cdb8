"""Summary of what a run would do, on one screen."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Group
from rich.table import Table

from kep.artifacts.report import Report
from kep.components.ingest.inspect import Inspection, inspect
from kep.components.tune.objective import resolve
from kep.components.weigh import weigh as ensembling
from kep.config.fit import CURVE_SHARES
from kep.config.notify import NotifySettings
from kep.config.promote import PromoteSettings
from kep.config.run_file import RunFile
from kep.config.search import FEWEST, EarlierSearch
from kep.core.errors import Mistakes, UserError, nearest
from kep.engines.earlier import check_data
from kep.engines.rehearsal import MOST_SURVEYED, rehearse
from kep.models.family import MANY_ROWS, step_rows
from kep.models.needs import check_packages
from kep.models.registry import TREES, automatic, check_fit, travelling
from kep.pipelines.steps import STEPS
from kep.runtime.hardware import global_batch, plan
from kep.stats.metrics import check_defined, directions

MOST_COLUMNS = 20
"""Columns that the screen has room for."""
MOST_HINTS = 5
"""Hints that the screen has room for."""


def check(settings: RunFile, base: Path, runs: Path) -> Group:
    """Looks at the data, tries the user's own families and counts the trainings; nothing is left behind.

    Raises:
        UserError: A run would refuse this before it trains; all mistakes together.
    """
    mistakes = Mistakes()
    with mistakes.noted():
        travelled = travelling(settings.search.families, base)
        check_packages([] if isinstance(travelled, str) else travelled)
    with mistakes.noted():
        seen = survey(settings, base, MOST_SURVEYED)
    with mistakes.noted():
        rehearse(settings, base)
    mistakes.tell()
    families = automatic(_images(seen)) if isinstance(travelled, str) else travelled
    return Group(_data(seen), _columns(seen), _work(settings, seen, [family["name"] for family in families], runs))


def survey(settings: RunFile, base: Path, hints_below: float = 0) -> Inspection:
    """Reads the source and holds the run file against it, before anything is trained.

    Args:
        settings: The run file.
        base: Folder that local paths are relative to.
        hints_below: Bytes of a source below which hints are looked for too.

    Raises:
        UserError: The data can't be used, or a setting names what they don't have.
    """
    seen, mistakes = inspect(settings.data, settings.seed, base, hints_below), Mistakes()
    with mistakes.noted():
        resolve(settings.search.objective, seen.task)
        if seen.validation_labels is not None:
            check_defined("search.objective", settings.search.objective.name, seen.task, seen.validation_labels)
    with mistakes.noted():
        ensembling.check(settings.ensemble, seen.task)
        # With folds, train rows are held out as well.
        if seen.validation_labels is not None and not settings.best_epoch.folds:
            check_defined("ensemble.metric", settings.ensemble.metric, seen.task, seen.validation_labels)
    with mistakes.noted():
        check_fit(settings.search.families, _images(seen), seen.task)
    with mistakes.noted():
        check_data(settings, seen.task, seen.classes, _images(seen))
    with mistakes.noted():
        _check_folds(settings, seen)
    for name in settings.evaluate.slices:
        with mistakes.noted():
            _check_slice(name, seen)
    for rule, metric in _metrics(settings.promote):
        with mistakes.noted():
            _check_metric(rule, metric, seen.task)
    mistakes.tell()
    return seen


def _check_folds(settings: RunFile, seen: Inspection) -> None:
    pooled, folds = seen.roles["train"] + seen.roles["validation"], settings.best_epoch.folds or 0
    if 2 * folds > pooled:
        raise UserError(
            f"best_epoch.folds: {folds} folds of {pooled} train and validation rows are below 2 rows each; ask for at "
            f"most {pooled // 2}"
        )


def _check_slice(name: str, seen: Inspection) -> None:
    columns = [column.name for column in seen.columns if column.kind not in ("image", "date", "text")]
    if name in seen.ignored:
        raise UserError(f'evaluate.slices: column "{name}" is left out ({seen.ignored[name]}); name a feature column')
    if name not in columns:
        raise UserError(f'evaluate.slices: "{name}" is not a feature column{nearest(name, columns)}')


def _metrics(rules: PromoteSettings) -> Iterator[tuple[str, str]]:
    """Yield each rule of `promote` that names a metric, with the metric."""
    if rules.metric is not None:
        yield "promote.metric", rules.metric
    for name in rules.require.bounds:
        yield f"promote.require.{name}", name
    for column, bounds in rules.require.slices.items():
        for name in bounds:
            yield f"promote.require.slices.{column}", name


def _check_metric(rule: str, metric: str, task: str) -> None:
    known = directions(task)
    if metric not in known:
        raise UserError(f"{rule}: {metric} is not a metric of a {task} label; choose from {', '.join(known)}")


def devices(settings: RunFile, train_rows: int | None = None) -> dict[str, str]:
    """Return the devices of each step's trainings, if this machine runs them.

    Args:
        settings: The run file.
        train_rows: Number of train rows, where it is known.

    Raises:
        UserError: This machine can't do what `hardware` asks for.
    """
    told = {}
    for step in ("best_epoch", "retrain"):
        where, asked = f"hardware.{step}", getattr(settings.hardware, step)
        chosen = plan(where, asked)
        searched = step_rows(settings.search.asked_batch, MANY_ROWS if train_rows is None else train_rows)
        batch, _ = global_batch(where, asked, searched, chosen.devices)
        known = asked.batch_size or settings.search.asked_batch or train_rows is not None
        rows = f"{batch} rows a step" if known else "rows a step by the number of train rows"
        told[step] = f"{chosen.strategy} ({chosen.reason}), {rows}"
    return told


def trainings(settings: RunFile) -> dict[str, int]:
    """Trainings of each step, at most."""
    candidates = min(settings.search.top_n, settings.search.max_trials)  # of an earlier run, as a guess
    curve = len(CURVE_SHARES) if settings.evaluate.learning_curve else 0
    return {
        "tune": settings.search.trainings,
        "best_epoch": candidates * settings.best_epoch.seeds * (settings.best_epoch.folds or 1),
        "retrain": (min(candidates, settings.ensemble.max_members) + curve) if settings.retrain.enabled else 0,
    }


def estimate(settings: RunFile, seen: Inspection, runs: Path) -> str:
    """Roughly how long a run takes, and where the figure comes from."""
    if settings.minutes is not None:
        found = guess(settings, seen)
        search = found["tune"]
        later = f"{sum(found.values()) - search:.0f} s for the other steps (a guess)"
        if search <= 0:
            return f"minutes: {settings.minutes:g} may not be met: {later}, before any trial"
        return f"{60 * settings.minutes:.0f} s, as minutes says: about {search:.0f} s of search, {later}"
    if (seconds := _as_last_time(settings, seen, runs / settings.name / "latest")) is not None:
        return f"{_minutes(seconds)} (from the steps of the last run of {settings.name}; none reused)"
    seconds = sum(guess(settings, seen).values())
    return f"{_minutes(seconds)} (a guess from rows and trainings; GPUs and wide data differ)"


def guess(settings: RunFile, seen: Inspection) -> dict[str, float]:
    """Seconds of each step, one training after the other, from rows and trainings; the search's from `minutes`."""
    epochs = {"tune": settings.search.max_epochs, "best_epoch": settings.best_epoch.max_epochs}
    seconds = dict.fromkeys(STEPS, 24 / len(STEPS))  # to start
    for step, count in trainings(settings).items():
        # A second to compile, and some microseconds a row and epoch for a network of the default spaces; about half
        # of the epochs are trained before a training stops early.
        seconds[step] += count * (1 + 0.5 * epochs.get(step, 30) * seen.roles["train"] * 2e-5)
    if settings.minutes is not None:
        fewest = min(FEWEST, settings.search.top_n) / settings.search.top_n
        seconds |= {step: seconds[step] * fewest for step in ("best_epoch", "retrain")}
        later = sum(took for step, took in seconds.items() if step != "tune")
        seconds["tune"] = max(0.0, 60 * settings.minutes - later)
    return seconds


def _as_last_time(settings: RunFile, seen: Inspection, latest: Path) -> float | None:
    """Seconds from what each training took in an earlier run; None where there is none, or it trained otherwise.

    The seconds of a step are its own, also where the earlier run reused it.
    """
    try:
        last = Report.load(latest)
    except UserError:  # There is none, or an earlier version wrote it.
        return None
    number = {"max_trials", "rounds", "parallel_trials", "executions_per_trial", "top_n", "max_per_family"}
    for section, counts in (("search", number), ("best_epoch", {"seeds", "folds"}), ("hardware", {"max_cost"})):
        ours, theirs = (getattr(one, section).model_dump(exclude=counts) for one in (settings, last.asked))
        if ours != theirs:
            return None
    done = {
        "tune": last.study.executions,
        "best_epoch": sum(len(one.seeds) for one in last.best_epochs),
        "retrain": len(last.members),
    }
    rows = seen.roles["train"] / last.manifest.roles["train"].rows
    wanted, seconds = trainings(settings), 0.0
    for step in {entry.step for entry in last.steps}:
        took = [entry.seconds for entry in last.steps if entry.step == step]
        more = rows * wanted[step] / max(1, done[step]) if step in done else rows
        # Two tasks of a loop run at a time, and each task takes some seconds to start.
        seconds += sum(took) * more / min(2, len(took)) + 4 * -(-len(took) // 2)
    return seconds


def _minutes(seconds: float) -> str:
    return f"about {math.ceil(seconds / 60)} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"


def _images(seen: Inspection) -> bool:
    return any(column.kind == "image" for column in seen.columns)


def _data(seen: Inspection) -> Table:
    table = _plain()
    size = f"{seen.bytes / 1e6:,.1f} MB" if seen.bytes >= 1e5 else f"{seen.bytes / 1e3:,.1f} kB" if seen.bytes else ""
    table.add_row("source", f"{seen.source}  {seen.rows:,} rows  {size}")
    positive = ""
    if seen.task == "binary":
        positive = f", positive class: {list(seen.classes)[1]}; data.positive can name the other"
    table.add_row("label", f"{seen.label}  ({seen.task}{positive})")
    if seen.classes:
        shown = [f"{name} {count:,}" for name, count in list(seen.classes.items())[:12]]
        more = f" and {len(seen.classes) - 12} more" if len(seen.classes) > 12 else ""
        table.add_row("classes", ", ".join(shown) + more)
    table.add_row("rows", ", ".join(f"{role} {rows:,}" for role, rows in seen.roles.items()))
    if seen.duplicates:
        table.add_row(
            "duplicates", f"{seen.duplicates:,} rows share their features with another; they stay in one role"
        )
    for role, rows in seen.dropped.items():
        if rows:
            table.add_row("dropped", f"{rows:,} {role} rows whose features occur in a later role")
    if seen.ignored:
        for name, reason in list(seen.ignored.items())[:MOST_COLUMNS]:
            table.add_row("left out", f"{name}: {reason}")
        if len(seen.ignored) > MOST_COLUMNS:
            table.add_row("left out", f"{len(seen.ignored) - MOST_COLUMNS} more")
    if seen.hints is None:
        table.add_row("hints", f"ingest will look for them: the data are too large for here ({size})")
        return table
    for hint in seen.hints[:MOST_HINTS]:
        table.add_row("hint", hint)
    if len(seen.hints) > MOST_HINTS:
        table.add_row("hints", f"{len(seen.hints) - MOST_HINTS} more; ingest's log lists them all")
    return table


def _columns(seen: Inspection) -> Table:
    title = f"{len(seen.columns)} feature{'s' if len(seen.columns) != 1 else ''}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("column", "type", "missing"):
        table.add_column(name, justify="right" if name == "missing" else "left")
    for column in seen.columns[:MOST_COLUMNS]:
        kind = f"{column.kind} ({column.reading})" if column.reading else column.kind
        table.add_row(column.name, kind, f"{column.missing:,}" if column.missing else "")
    if len(seen.columns) > MOST_COLUMNS:
        table.add_row(f"… {len(seen.columns) - MOST_COLUMNS} more")
    return table


def _work(settings: RunFile, seen: Inspection, families: list[str], runs: Path) -> Table:
    table = _plain()
    counts = trainings(settings)
    table.add_row("families", ", ".join(families))
    words = f"at most {sum(counts.values())} ({', '.join(f'{step} {count}' for step, count in counts.items())})"
    if settings.minutes is not None:
        words = f"as many as the time allows, for at most {settings.search.top_n} candidates"
    if isinstance(earlier := settings.search.from_run, EarlierSearch):
        table.add_row("candidates", f"those of {earlier.run}; no trial is trained (study {earlier.digest[:12]})")
    if isinstance(earlier := settings.search.warm_start, EarlierSearch):
        table.add_row("search", f"begins with the trials of {earlier.run} (study {earlier.digest[:12]})")
    table.add_row("trainings", words)
    for step, words in devices(settings, seen.roles["train"]).items():
        trees = "" if words.startswith("single") else "".join(f"; {one}: single" for one in TREES if one in families)
        table.add_row(step, words + trees)
    table.add_row("time", estimate(settings, seen, runs))
    if told := _told(settings.notify):
        table.add_row("told", told)
    return table


def _told(settings: NotifySettings) -> str:
    """Return who will be told what, for people; empty for nobody."""
    shown = settings.channels
    if settings.variable is not None:
        shown["webhook"] += "" if settings.variable in os.environ else ", which is not set here"
    elif settings.webhook:
        # The rest of an address may be a secret.
        shown["webhook"] = str(urlsplit(settings.webhook).hostname)
    ways = "; ".join(f"{name} {value}" for name, value in shown.items())
    return f"{', '.join(settings.on)}, by {ways}" if ways else ""


def _plain() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    return table
