"""Overview of a search: each family's space, its size, and the model at its defaults."""

import json
from pathlib import Path
from typing import Any

from keras_tuner import HyperParameters
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kep.components.ingest.ingest import outline
from kep.components.tune.space import discover, size
from kep.config.run_file import RunFile
from kep.data.records import made_up
from kep.engines.preflight import survey
from kep.models.registry import family, specs, travelling

BUILDS = 25
"""Random builds of a family that are looked at for what the default one does not declare."""


def show(settings: RunFile, base: Path) -> Group:
    """Builds each family's models for the data, the default one and random ones of the user's own; nothing is written.

    Raises:
        UserError: The data or a family can't be used.
    """
    survey(settings, base)
    manifest = outline(settings.data, settings.seed, base)
    parts: list[RenderableType] = []
    for spec in specs(json.dumps(travelling(settings.search.families, base)), manifest):
        member = family(spec, manifest)
        if "source" not in spec:
            parts += [_table(member.name, member.space(), set())]
        else:
            member.check(made_up(manifest))
            space = member.space()
            whole, failed = discover(member.declared, space, BUILDS, settings.seed)
            parts += [_table(member.name, whole, {hp.name for hp in whole.space[len(space.space) :]})]
            if failed:
                parts += [Text(f"{len(failed)} of {BUILDS} random builds failed; the last reason: {failed[-1]}\n")]
        parts += [Text(member.sample() + "\n")]
    return Group(*parts)


def _table(name: str, space: HyperParameters, late: set[str]) -> Table:
    """Return the table of a space; `late` names what was found in some builds alone."""
    count = size(space)
    counted = f"{count:,} configurations" if count is not None else "more than can be counted"
    table = Table(title=f"{name}: {counted}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for title in ("hyperparameter", "type", "values", "default", "if"):
        table.add_column(title)
    for hp in space.space:
        conditions = [f"{c.name} = {' or '.join(map(str, c.values))}" for c in hp.conditions]
        conditions += ["found in some builds"] * (hp.name in late)
        table.add_row(
            hp.name, type(hp).__name__.lower(), _values(hp.get_config()), f"{hp.default}", ", ".join(conditions)
        )
    return table


def _values(config: dict[str, Any]) -> str:
    """The values that a hyperparameter can take, from its configuration."""
    if "min_value" in config:
        linear = config["sampling"] == "linear"
        word = "step" if linear else "factor"
        step = f", {word} {config['step']:g}" if config["step"] else ""
        scale = "" if linear or config["step"] else f", {config['sampling']}"
        return f"{config['min_value']:g} to {config['max_value']:g}{step}{scale}"
    if "values" in config:
        return ", ".join(map(str, config["values"]))
    return str(config.get("value", "True, False"))
