"""An example run file for a data set: its settings, with defaults and meanings as comments."""

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from kep.config.data import DataSettings
from kep.config.run_file import RESERVED, RunFile
from kep.config.section import Section
from kep.core.errors import UserError
from kep.core.location import Location

LABELS = ("label", "target", "class", "y", "outcome")
"""Names that a label column often has."""
EVERYDAY = (
    "name",
    "data.source",
    "data.label",
    "data.id",
    "data.exclude",
    "data.split.by",
    "data.split.column",
    "search.families",
    "search.max_trials",
    "search.max_minutes",
    "ensemble.metric",
    "evaluate.slices",
    "notify.webhook",
)
"""Settings that most people change."""


def example(source: str, label: str | None, base: Path, folder: Path | None = None, full: bool = False) -> str:
    """Return the text of a run file for `source`.

    Args:
        source: As in `data.source`.
        label: The column to predict; guessed from the columns of a CSV or Parquet file when not given.
        base: Folder that a relative `source` starts from.
        folder: Folder of the run file, which a relative `source` in it starts from; `base` when not given.
        full: Write every setting, not only those of `EVERYDAY`.

    Raises:
        UserError: The source does not exist, can't be read or has no rows, or the label is not in it.
    """
    columns, delimiter = _columns(source, label, base)
    if label is None and columns:
        lower = {column.lower(): column for column in columns}
        label = next((lower[name] for name in LABELS if name in lower), columns[-1])
    stem = Path(source.rstrip("/").rpartition(":")[2]).name.split(".")[0]
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:50].strip("-") or "run"
    given = {
        "name": f"{name}-run" if name in RESERVED else name,
        "data": {"source": _seen_from(folder or base, source, base)}
        | ({"label": label} if label else {})
        | ({"delimiter": delimiter} if delimiter != "," else {}),
    }
    more = [] if full else ["# Every other setting has a default: `kep init --full` writes them all."]
    lines = ["# A run file: `kep check FILE` says what it would do, `kep run FILE` does it.", *more, ""]
    for key, field in RunFile.model_fields.items():
        lines += _field(key, field, given.get(key), "", None if full else EVERYDAY)
    return "\n".join(lines) + "\n"


def _seen_from(folder: Path, source: str, base: Path) -> str:
    """Return a relative path that starts from `base` as one that starts from `folder`; other sources as they are."""
    if not Location(source).is_local or source.startswith("~") or Path(source).is_absolute():
        return source
    # The folder without symbolic links: ".." leads up from where it really lies.
    return os.path.relpath((base / source).absolute(), folder.resolve())


def _columns(source: str, label: str | None, base: Path) -> tuple[list[str], str]:
    """Return the columns of the first CSV or Parquet file, which needs a named label, and the delimiter of a CSV file.

    The index of a data frame, which Parquet has last, is none of them.
    """
    from kep.components.ingest.plan import columns_to_read
    from kep.core.files import scratch_folder
    from kep.data.sources import arrays, tables
    from kep.data.sources.open import format_of, is_sklearn, of_format
    from kep.storage.locations import fetch, folder_of, list_files

    given, settings = Location(source), DataSettings(source=source, label=label)
    if is_sklearn(settings):
        columns_to_read(arrays.sklearn_source(given.path), settings)
        return [], ","
    files = list_files(given, base)
    kind = format_of(given, files, settings)
    if kind not in ("csv", "parquet"):
        return [], ","
    files = of_format(kind, files)
    location = Location.in_cloud(files[0].path) if given.is_cloud else Location(files[0].path)
    with scratch_folder() as scratch:
        system, first = fetch(location, base, scratch)
        if kind == "csv":
            settings = settings.model_copy(update={"delimiter": tables.find_delimiter(system, first[0])})
            found = tables.csv_source(source, system, first, settings)
        else:
            found = tables.parquet_source(source, folder_of(given, base), system, first)
        if label is not None:
            columns_to_read(found, settings)
        rows = any(batch.num_rows for unit in found.units(found.names) for batch in unit.read(*unit.args))
    if not rows and len(files) == 1:
        raise UserError(f"data.source: {source} has no rows; give at least a few per class")
    return [name for name in found.names if name not in found.all_index], settings.delimiter


def _field(path: str, field: FieldInfo, given: Any, indent: str, wanted: tuple[str, ...] | None) -> list[str]:
    """Return the lines of a setting or a section.

    Args:
        path: Keys that lead to it, joined by dots.
        field: Its description.
        given: Its value in the file; None for one that stays a comment.
        indent: Beginning of its lines.
        wanted: Paths of the settings to write, beside those that are given; None for all.
    """
    if wanted is not None and given is None and not any(f"{one}.".startswith(f"{path}.") for one in wanted):
        return []
    key = path.rpartition(".")[2]
    section = field.annotation if isinstance(field.annotation, type) and issubclass(field.annotation, Section) else None
    if section is not None:
        # A section without a given setting is a comment as a whole: an empty one is no valid YAML mapping.
        prefix = indent if given is not None or "#" in indent else indent + "# "
        doc = field.description or (section.__doc__ or "").split("\n")[0]
        lines = ["", *_comment(doc, indent), f"{prefix}{key}:"]
        inner = prefix + "  "
        for name, inner_field in section.model_fields.items():
            at = f"{path}.{inner_field.alias or name}"
            lines += _field(at, inner_field, (given or {}).get(name), inner, wanted)
        return lines
    lines = _comment(field.description or "", indent)
    if given is not None:
        return [*lines, f"{indent}{key}: {_yaml(given)}"]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return [*lines, f"{indent if '#' in indent else indent + '# '}{key}: {_yaml(default)}"]


def _comment(text: str, indent: str) -> list[str]:
    lead = indent if "#" in indent else indent + "# "
    return [lead + ("# " if "#" in indent else "") + line for line in textwrap.wrap(" ".join(text.split()), 100)]


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()


def write(path: Path, text: str, force: bool) -> None:
    """Write a new run file.

    Raises:
        UserError: There is one already and `force` is not given.
    """
    if path.exists() and not force:
        raise UserError(f"{path} exists already; give another name with -o, or --force to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
