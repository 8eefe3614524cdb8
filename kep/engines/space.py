"""What a search can try: each family's space, its size, and the model at its defaults."""

import json
from pathlib import Path
from typing import Any

from keras_tuner import HyperParameters
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kep.components.ingest.ingest import outline
from kep.components.tune.space import size
from kep.config.run_file import RunFile
from kep.engines.preflight import survey
from kep.models.registry import family, specs, travelling


def show(settings: RunFile, base: Path) -> Group:
    """Builds each family's default model for the data; nothing is trained and nothing is written.

    Raises:
        UserError: The data or a family can't be used.
    """
    survey(settings, base)
    manifest = outline(settings.data, settings.seed, base)
    parts: list[RenderableType] = []
    for spec in specs(json.dumps(travelling(settings.search.families, base)), manifest):
        member = family(spec, manifest)
        space = member.space()
        parts += [_table(member.name, space), Text(member.sample() + "\n")]
    return Group(*parts)


def _table(name: str, space: HyperParameters) -> Table:
    count = size(space)
    counted = f"{count:,} configurations" if count is not None else "more than can be counted"
    table = Table(title=f"{name}: {counted}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for title in ("hyperparameter", "type", "values", "default", "if"):
        table.add_column(title)
    for hp in space.space:
        conditions = (f"{c.name} = {' or '.join(map(str, c.values))}" for c in hp.conditions)
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
