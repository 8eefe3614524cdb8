"""What a run on Vertex AI would be: its tasks, their machines, and roughly their price."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError
from rich.console import Group
from rich.table import Table
from rich.text import Text

from components.ingest.inspect import Inspection
from components.shared.errors import UserError
from components.shared.settings import Machine
from pipelines.check import guess
from pipelines.config import RunFile
from pipelines.engine import Options
from pipelines.local import STEPS, step_of
from pipelines.submit import job_id, look, parameters, source_of
from pipelines.template import Template


@dataclass(frozen=True)
class Shape:
    """A machine type, as Compute Engine's documentation describes it.

    Attributes:
        cpu: Cores.
        memory_gb: Its memory.
        accelerator: The GPU that it has or takes; empty for none.
        counts: How many of them.
        attached: Whether they are paid for beside the machine.
    """

    cpu: int
    memory_gb: int
    accelerator: str = ""
    counts: tuple[int, ...] = ()
    attached: bool = False

    def fits(self, asked: Machine) -> bool:
        """Whether a task that asks for so much can run on it."""
        if self.accelerator != (asked.accelerator or "") or (
            asked.accelerator and asked.accelerators not in self.counts
        ):
            return False
        return self.cpu >= (asked.cpu or 0) and self.memory_gb >= (asked.memory_gb or 0)


def _n1(cpu: int, memory_gb: int) -> Shape:
    return Shape(cpu, memory_gb, "nvidia-tesla-t4", (1, 2, 4), attached=True)


DEFAULT_MACHINE = "e2-standard-4"
"""Of a task that asks for nothing, says Vertex AI's documentation."""
SHAPES = {
    "e2-standard-4": Shape(4, 16),
    "e2-standard-8": Shape(8, 32),
    "e2-standard-16": Shape(16, 64),
    "e2-standard-32": Shape(32, 128),
    "n1-standard-4": _n1(4, 15),
    "n1-standard-8": _n1(8, 30),
    "n1-highmem-8": _n1(8, 52),
    "n1-standard-16": _n1(16, 60),
    "n1-standard-32": _n1(32, 120),
    "g2-standard-4": Shape(4, 16, "nvidia-l4", (1,)),
    "g2-standard-8": Shape(8, 32, "nvidia-l4", (1,)),
    "g2-standard-12": Shape(12, 48, "nvidia-l4", (1,)),
    "g2-standard-24": Shape(24, 96, "nvidia-l4", (2,)),
    "g2-standard-48": Shape(48, 192, "nvidia-l4", (4,)),
    "a2-highgpu-1g": Shape(12, 85, "nvidia-tesla-a100", (1,)),
    "a2-highgpu-2g": Shape(24, 170, "nvidia-tesla-a100", (2,)),
    "a2-highgpu-4g": Shape(48, 340, "nvidia-tesla-a100", (4,)),
    "a2-highgpu-8g": Shape(96, 680, "nvidia-tesla-a100", (8,)),
}
"""Among these Vertex AI chooses for a task, which names none; it knows more."""


class Prices(BaseModel):
    """A price list.

    Attributes:
        date: When the prices were looked up.
        region: Where they hold.
        currency: Of all of them.
        run: Of one run of a pipeline, beside its machines.
        machine_hours: Of an hour of each machine, with the GPUs that it always has.
        accelerator_hours: Of an hour of each GPU that is attached to a machine.
        query_tib: Of 2**40 bytes that a query of BigQuery reads.
    """

    model_config = ConfigDict(extra="forbid")

    date: datetime.date
    region: str
    currency: str
    run: NonNegativeFloat
    machine_hours: dict[str, NonNegativeFloat]
    accelerator_hours: dict[str, NonNegativeFloat] = {}
    query_tib: NonNegativeFloat | None = None

    def of(self, name: str, asked: Machine) -> float | None:
        """An hour of a machine type with what is attached to it; None without a price."""
        hour = self.machine_hours.get(name)
        if hour is None or not (asked.accelerator and SHAPES[name].attached):
            return hour
        each = self.accelerator_hours.get(asked.accelerator)
        return None if each is None else hour + asked.accelerators * each


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
    def of(cls, executor: dict, prices: Prices) -> "Choice":
        """The cheapest machine type that fits, which is what Vertex AI's "closest match" is taken for."""
        asked = _asked(executor)
        if asked == Machine():
            return cls(DEFAULT_MACHINE, prices.of(DEFAULT_MACHINE, asked))
        fitting = [
            cls(_words(name, asked), prices.of(name, asked)) for name, shape in SHAPES.items() if shape.fits(asked)
        ]
        priced = [choice for choice in fitting if choice.hour is not None]
        if priced:
            return min(priced, key=lambda choice: choice.hour or 0)
        return fitting[0] if fitting else cls(_wish(executor), None)


def load(path: Path) -> Prices:
    """Reads a price list.

    Raises:
        UserError: It is none.
    """
    try:
        return Prices.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--prices: {path} can't be read as YAML; copy pipelines/prices.yaml and edit it") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"--prices: {path}: {key}: {first['msg'].lower()}; see pipelines/prices.yaml") from error


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
    for label, executor in template.spec["deploymentSpec"]["executors"].items():
        step, choice = step_of(label.removeprefix("exec-")), Choice.of(executor, prices)
        if step not in found or (choice.hour or 0) > (found[step].hour or 0):
            found[step] = choice
    return found


def check(template: Template, prices: Prices) -> None:
    """Holds a run against `hardware.max_cost`.

    Raises:
        UserError: It would cost more, or nobody can tell.
    """
    most = template.settings.hardware.max_cost
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
            f"hardware.max_cost: this run would cost about {cost:.2f} USD, more than {most:g}; --dry-run says of what, "
            "--yes submits it all the same"
        )


def plan(template: Template, options: Options, prices: Prices | None) -> Group:
    """What `submit` would make of the same; nothing is sent anywhere.

    Args:
        template: What.
        options: How.
        prices: Of Vertex AI; None for Kubeflow, whose machines are the user's own.

    Raises:
        UserError: What `submit` would refuse of the data.
    """
    seen = look(template)
    name = job_id(template, parameters(template, options, source_of(template)))
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
    asked: dict[str, str] = {}
    for label, executor in template.spec["deploymentSpec"]["executors"].items():
        step, words = step_of(label.removeprefix("exec-")), _wish(executor)
        asked[step] = max(
            asked.get(step, ""), words, key=len
        )  # of a step whose tasks differ, the one that asks for more
    for step, count in counts.items():
        table.add_row(step, str(count), asked[step])
    return Group(Text(f"{name} would be submitted"), table, Text(f"{sum(counts.values())} tasks"))


def _cost(template: Template, seen: Inspection | None, prices: Prices) -> tuple[float | None, float]:
    """What a run costs, and its machine-hours; None where the data are large or a machine has no price."""
    if seen is None:
        return None, 0.0
    kinds = machines(template, prices)
    hours = {step: seconds / 3600 for step, seconds in guess(template.settings, seen).items()}
    each = [kinds[step].hour for step in hours]
    if None in each:
        return None, sum(hours.values())
    spent = sum(hour * price for hour, price in zip(hours.values(), each, strict=True) if price is not None)
    return prices.run + spent, sum(hours.values())


def _asked(executor: dict) -> Machine:
    """What a compiled task asks Vertex AI for: the opposite of `pipelines.machines.place`."""
    resources = executor.get("container", {}).get("resources", {})
    accelerator = resources.get("accelerator")
    fields = {"cpu": resources.get("cpuLimit"), "memory_gb": resources.get("memoryLimit")}
    if accelerator:
        fields["accelerator"] = accelerator["type"].lower().replace("_", "-")
        fields["accelerators"] = int(accelerator["count"])
    return Machine.model_validate({key: value for key, value in fields.items() if value is not None})


def _words(name: str, asked: Machine) -> str:
    shape = SHAPES[name]
    return f"{name} with {asked.accelerators} {asked.accelerator}" if shape.attached else name


def _wish(executor: dict) -> str:
    """What a compiled task asks for, for people."""
    asked = executor.get("container", {}).get("resources", {})
    parts = [f"{asked['resourceCpuLimit']} cores"] if "cpuLimit" in asked else []
    parts += [f"{asked['memoryLimit']:g} GB"] if "memoryLimit" in asked else []
    if accelerator := asked.get("accelerator"):
        parts.append(f"{accelerator['count']} {accelerator['type']}")
    return ", ".join(parts)
