"""What a run on Vertex AI would be: its tasks, their machines, and roughly their price."""

import datetime
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError
from rich.console import Group
from rich.table import Table
from rich.text import Text

from components.ingest.inspect import fingerprint
from components.shared.errors import UserError
from pipelines.check import guess
from pipelines.config import RunFile
from pipelines.local import STEPS, step_of
from pipelines.submit import Options, job_id, look, parameters
from pipelines.template import Template

DEFAULT_MACHINE = "e2-standard-4"
"""Of a task that asks for nothing, says Vertex AI's documentation."""


class Prices(BaseModel):
    """A price list.

    Attributes:
        date: When the prices were looked up.
        region: Where they hold.
        currency: Of all of them.
        run: Of one run of a pipeline, beside its machines.
        machine_hours: Of an hour of each machine.
    """

    model_config = ConfigDict(extra="forbid")

    date: datetime.date
    region: str
    currency: str
    run: NonNegativeFloat
    machine_hours: dict[str, NonNegativeFloat]


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


def machines(template: Template) -> dict[str, str]:
    """Machine of each step; what it asks for where Vertex AI chooses the machine."""
    found = {}
    for label, executor in template.spec["deploymentSpec"]["executors"].items():
        asked = executor.get("container", {}).get("resources")
        words = ", ".join(f"{key} {value}" for key, value in (asked or {}).items())
        found[step_of(label.removeprefix("exec-"))] = words or DEFAULT_MACHINE
    return found


def plan(template: Template, options: Options, prices: Prices) -> Group:
    """What `submit` would make of the same; nothing is sent to Vertex AI.

    Raises:
        UserError: What `submit` would refuse of the data.
    """
    seen = look(template)
    name = job_id(template, parameters(template, options, fingerprint(template.data)))
    counts, kinds = tasks(template.settings), machines(template)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("step", "tasks at most", "machine", f"{prices.currency} an hour"):
        table.add_column(title, justify="left" if title in ("step", "machine") else "right")
    for step, count in counts.items():
        price = prices.machine_hours.get(kinds[step])
        table.add_row(step, str(count), kinds[step], "not in the list" if price is None else f"{price:.3f}")
    where = f"prices of {prices.date}, {prices.region}"
    total = f"{sum(counts.values())} tasks; {prices.run:.2f} {prices.currency} for the run"
    used = {prices.machine_hours.get(machine) for machine in kinds.values()}
    if seen is None:
        total += f", and the machines; the data are too large to guess their hours ({where})"
    elif None in used:
        total += f", and machines that have no price in the list ({where})"
    else:
        hours = guess(template.settings, seen) / 3600
        most = prices.run + hours * max(price for price in used if price is not None)
        guessed = f"{hours:.2g} machine-hours, a guess from rows and trainings without the tasks' start"
        total += f", about {most:.2f} with {guessed} ({where})"
    return Group(Text(f"{name} would be submitted, with {options.bucket}"), table, Text(total))
