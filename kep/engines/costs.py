"""Plan of a run on Vertex AI: its tasks, their machines, and their approximate price."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from kep.artifacts.report import Report
from kep.components.ingest.inspect import Inspection
from kep.config.machine import Machine
from kep.config.run_file import RunFile
from kep.core.errors import UserError
from kep.engines.base import Options
from kep.engines.preflight import guess
from kep.engines.prices import Prices
from kep.engines.submit import job_id, look, parameters, source_of
from kep.engines.template import Template
from kep.google.custom_jobs import job_of
from kep.google.machine_types import DEFAULT_MACHINE, SHAPES
from kep.pipelines.machines import asked_of, on_kubernetes
from kep.pipelines.steps import STEPS, step_of


@dataclass(frozen=True)
class Choice:
    """The machine of a step's tasks.

    Attributes:
        words: Which, for people.
        hour: Price of an hour; None without one.
    """

    words: str
    hour: float | None

    @classmethod
    def of(cls, executor: dict[str, Any], asked: dict[str, str], prices: Prices) -> "Choice":
        """The cheapest machine type that fits, which is what Vertex AI's "closest match" is taken for.

        Of a step that a custom job runs, the dearest of its places, and the task's own machine, which waits for it.

        Args:
            executor: Executor of the compiled pipeline.
            asked: Its request, as of `asked_of`.
            prices: Prices of machines.
        """
        if job := job_of(executor):
            waiting, each = prices.of(DEFAULT_MACHINE, None, 0), [prices.of_place(place) for place in job.places]
            words = "; or ".join(place.words for place in job.places)
            known = [hour for hour in each if hour is not None]
            return cls(words, None if waiting is None or len(known) < len(each) else waiting + max(known))
        if not asked:
            return cls(DEFAULT_MACHINE, prices.of(DEFAULT_MACHINE, None, 0))
        return cls.fitting(_machine(asked), prices) or cls(_wish(asked), None)

    @classmethod
    def fitting(cls, machine: Machine, prices: Prices) -> "Choice | None":
        """The cheapest machine type that fits, or the first that does where none has a price; None where none fits."""
        fitting = [
            cls(_words(name, machine), prices.of(name, machine.accelerator, machine.accelerators))
            for name, shape in SHAPES.items()
            if shape.fits(machine)
        ]
        priced = [choice for choice in fitting if choice.hour is not None]
        return min(priced, key=lambda choice: choice.hour or 0) if priced else next(iter(fitting), None)


def spent(report: Report, prices: Prices) -> float | None:
    """Return the price of a run's steps on the machines that its run file requests, whatever they ran on.

    Args:
        report: Report of the run.
        prices: Prices of machines.

    Returns:
        Their hours at the prices, without the tasks' start; None where a machine has no price.
    """
    asked, total = report.asked.hardware.machines, prices.run
    for step in report.steps:
        if (hour := _hour(asked.get(step.step), prices)) is None:
            return None
        total += step.seconds / 3600 * hour
    return total


def _hour(machine: Machine | None, prices: Prices) -> float | None:
    """Return the price of an hour of what a step asks for."""
    if machine is None:
        return prices.of(DEFAULT_MACHINE, None, 0)
    if machine.type:
        hour = prices.of(machine.type, machine.accelerator, machine.accelerators)
    else:
        hour = choice.hour if (choice := Choice.fitting(machine, prices)) else None
    return None if hour is None else machine.machines * hour


def tasks(settings: RunFile) -> dict[str, int]:
    """Tasks of each step, at most."""
    search = settings.search
    candidates = min(search.top_n, search.max_trials)
    loops = {
        # In rounds each is a suggestion and its trials, and one task gathers them.
        "tune": 1 + (search.rounds + search.max_trials if search.rounds else 0),
        "best_epoch": candidates,
        "retrain": min(candidates, settings.ensemble.max_members),
    }
    return {step: loops.get(step, 1) for step in STEPS}


def machines(template: Template, prices: Prices) -> dict[str, Choice]:
    """Machine of each step; of a step whose tasks differ, the dearest."""
    found: dict[str, Choice] = {}
    asked = asked_of(template.spec, {})
    for label, executor in template.spec["deploymentSpec"]["executors"].items():
        step, choice = step_of(label.removeprefix("exec-")), Choice.of(executor, asked[label], prices)
        if step not in found or (choice.hour or 0) > (found[step].hour or 0):
            found[step] = choice
    return found


def check(template: Template, prices: Prices) -> None:
    """Holds a run against `hardware.max_cost`.

    Raises:
        UserError: It would cost more, or nobody can tell.
    """
    most = None if template.predicts else template.settings.hardware.max_cost
    if most is None:
        return
    cost, _ = _cost(template, look(template), prices)
    if cost is None:
        raise UserError(
            f"hardware.max_cost: what this run costs can't be guessed, and may be more than {most:g} USD; --dry-run "
            "says why, --yes submits it all the same"
        )
    if prices.currency != "USD":
        raise UserError(
            f"hardware.max_cost: it is in USD, and --prices in {prices.currency}; --yes submits it all the same"
        )
    if cost > most:
        raise UserError(
            f"hardware.max_cost: this run would cost about {cost:.2f} USD by the prices of {prices.date}, more than "
            f"{most:g}; --dry-run says of what, --yes submits it all the same"
        )


def plan(template: Template, options: Options, prices: Prices | None) -> Group:
    """Describe what `submit` would do with the same arguments; nothing is sent anywhere.

    Args:
        template: What.
        options: How.
        prices: Prices of Vertex AI; None for Kubeflow, whose machines are the user's own.

    Raises:
        UserError: `submit` would refuse the data.
    """
    seen, source = look(template), source_of(template)
    name = job_id(template, parameters(template, options, source), source)
    if template.predicts:
        return Group(Text(f"{name} would be submitted; nobody can guess what predictions cost"))
    counts = tasks(template.settings)
    if prices is None:
        return _unpriced(template, name, counts)
    kinds = machines(template, prices)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("step", "tasks at most", "machine", f"{prices.currency} an hour"):
        table.add_column(title, justify="left" if title in ("step", "machine") else "right")
    for step, count in counts.items():
        kind = kinds[step]
        table.add_row(step, str(count), kind.words, "not in the list" if kind.hour is None else f"{kind.hour:.3f}")
    where = f"prices of {prices.date}, {prices.region}"
    if any(word in kind.words for kind in kinds.values() for word in ("Spot", "Flex-Start")):
        where += ", Spot and Flex-Start at the full price"
    total = f"{sum(counts.values())} tasks; {prices.run:.2f} {prices.currency} for the run"
    cost, hours = _cost(template, seen, prices)
    if seen is None:
        total += f", and the machines; the data are too large to guess their hours ({where})"
    elif cost is None:
        total += f", and machines that have no price in the list ({where})"
    else:
        guessed = f"{hours:.2g} machine-hours, a guess from rows and trainings without the tasks' start"
        total += f", about {cost:.2f} with {guessed} ({where})"
    return Group(Text(f"{name} would be submitted, with {options.bucket}"), table, Text(total))


def _unpriced(template: Template, name: str, counts: dict[str, int]) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("step", "tasks at most", "asks for"):
        table.add_column(title, justify="right" if title == "tasks at most" else "left")
    wishes: dict[str, str] = {}
    kubernetes = template.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {"executors": {}})
    for label, asked in asked_of(template.spec, on_kubernetes(template.spec)).items():
        labels = kubernetes["executors"].get(label, {}).get("nodeSelector", {}).get("labels", {})
        step, words = step_of(label.removeprefix("exec-")), _wish(asked, labels)
        wishes[step] = max(wishes.get(step, ""), words, key=len)  # of a step whose tasks differ, who asks for more
    for step, count in counts.items():
        table.add_row(step, str(count), wishes[step])
    return Group(Text(f"{name} would be submitted"), table, Text(f"{sum(counts.values())} tasks"))


def _cost(template: Template, seen: Inspection | None, prices: Prices) -> tuple[float | None, float]:
    """Return the cost of a run and its machine-hours; None where the data are large or a machine has no price."""
    if seen is None:
        return None, 0.0
    kinds = machines(template, prices)
    hours = {step: seconds / 3600 for step, seconds in guess(template.settings, seen).items()}
    each = [kinds[step].hour for step in hours]
    if None in each:
        return None, sum(hours.values())
    spent = sum(hour * price for hour, price in zip(hours.values(), each, strict=True) if price is not None)
    return prices.run + spent, sum(hours.values())


def _machine(asked: dict[str, str]) -> Machine:
    """Return the machine that a task requests from Vertex AI, in the terms of the run file."""
    fields: dict[str, str | int] = {"cpu": int(asked["cpu_limit"])} if "cpu_limit" in asked else {}
    if "memory_limit" in asked:
        fields["memory_gb"] = int(asked["memory_limit"].removesuffix("G"))
    if "accelerator_type" in asked:
        fields["accelerator"] = asked["accelerator_type"].lower().replace("_", "-")
        fields["accelerators"] = int(asked["accelerator_count"])
    return Machine.model_validate(fields)


def _words(name: str, asked: Machine) -> str:
    shape = SHAPES[name]
    return f"{name} with {asked.accelerators} {asked.accelerator}" if shape.attached else name


def _wish(asked: dict[str, str], labels: Mapping[str, str] | None = None) -> str:
    """Return the machine and the nodes that a task requests, for people."""
    parts = [f"{asked['cpu_limit']} cores"] if "cpu_limit" in asked else []
    parts += [f"{asked['memory_limit'].removesuffix('G')} GB"] if "memory_limit" in asked else []
    parts += [f"{asked['accelerator_count']} {asked['accelerator_type']}"] if "accelerator_type" in asked else []
    parts += [f"{label.rpartition('/')[2]}={value}" for label, value in (labels or {}).items()]
    return ", ".join(parts)
