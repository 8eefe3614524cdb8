"""Preview of what ingest would make of a source, and the fingerprint of its content."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kep.components.ingest.copy import own_manifest
from kep.components.ingest.ingest import Survey, open_sources, survey_source, target_of, worker_count, write_records
from kep.components.ingest.tasks import files_of_tasks
from kep.components.ingest.workers import Workers
from kep.components.ingest.write import disk_needed
from kep.config.data import DataSettings
from kep.core.files import scratch_folder
from kep.data.schema import ROLES, Column, Manifest, inputs

_MOST_WRITTEN = 2e9
"""Bytes that are written to find hints, at most."""


@dataclass(frozen=True)
class InspectedColumn:
    """One feature: its type, how many rows of the whole source have no value, and how its texts are read."""

    name: str
    kind: str
    missing: int
    reading: str = ""


@dataclass(frozen=True)
class Inspection:
    """Preview of what ingest would make of a source.

    Attributes:
        rows: of the source.
        bytes: of its files.
        columns: the features.
        ignored: why each column is left out that is neither feature nor label.
        classes: rows per class, empty for regression.
        roles: rows per role, after `dropped` rows were left out because their features occur in a later role.
        duplicates: rows whose features occur more than once.
        validation_labels: lowest and highest label of the validation rows, as class indices or numbers; None where it
            is not known.
        hints: what in the data may mislead; None where it was not looked for.
    """

    source: str
    rows: int
    bytes: int
    columns: list[InspectedColumn]
    ignored: dict[str, str]
    label: str
    task: str
    classes: dict[bool | int | str, int]
    roles: dict[str, int]
    dropped: dict[str, int]
    duplicates: int
    validation_labels: np.ndarray | None
    hints: list[str] | None = None


def inspect(settings: DataSettings, seed: int, base: Path = Path("."), most: float = 0) -> Inspection:
    """Looks at the source as ingest would; what it writes is gone when it returns.

    Args:
        settings: the data section of the run file.
        seed: decides roles.
        base: what local paths of the settings are relative to.
        most: bytes of a source below which hints are looked for, which takes about as long as ingest.

    Raises:
        UserError: what ingest would refuse.
    """
    if settings.ingest_tasks > 1:
        files_of_tasks(settings, base)
    with scratch_folder() as scratch:
        manifest = own_manifest(settings, base, scratch)
        if manifest is not None:
            return _of_manifest(manifest)
        sources = open_sources(settings, base, scratch)
        with Workers(worker_count(settings, sources)) as workers:
            survey = survey_source(sources, settings, seed, workers, scratch)
            seen = _of_survey(survey)
            length = target_of(survey, survey.plan.features, settings, seed, scratch).template[1].length
            needed = disk_needed(sum(survey.roles.rows), length)
            # A few megabytes of images may be gigabytes of pixels.
            if seen.bytes >= most or needed > min(_MOST_WRITTEN, shutil.disk_usage(scratch).free):
                return seen
            folder = scratch / ".records"  # no bucket's name begins with a dot
            folder.mkdir()
            return replace(seen, hints=write_records(survey, settings, seed, folder, workers).hints)


def _inspected(column: Column, missing: int) -> InspectedColumn:
    return InspectedColumn(column.name, column.kind, missing, str(column.reading))


def _of_survey(survey: Survey) -> Inspection:
    plan = survey.plan
    missing = {name: column.missing for name, column in survey.scan.columns.items()}
    return Inspection(
        source=survey.description,
        rows=survey.scan.rows,
        bytes=sum(source.bytes for source in survey.sources),
        columns=[_inspected(one, missing.get(one.name, 0)) for one in inputs(plan.features)],
        ignored=plan.ignored,
        label=plan.label.name,
        task=plan.label.task,
        classes=dict(zip(plan.label.classes or [], plan.label_counts, strict=True)),
        roles=dict(zip(ROLES, survey.roles.rows, strict=True)),
        dropped=survey.roles.dropped,
        duplicates=survey.roles.duplicates,
        validation_labels=survey.roles.extremes[ROLES.index("validation")],
    )


def _of_manifest(manifest: Manifest) -> Inspection:
    """Missing values are those of the train rows: the manifest knows no others."""
    roles = manifest.roles
    counts = np.sum([info.class_counts for info in roles.values()], axis=0)
    return Inspection(
        source=manifest.source,
        rows=sum(info.rows for info in roles.values()) + sum(manifest.dropped.values()),
        bytes=sum(shard.bytes for info in roles.values() for shard in info.shards),
        columns=[_inspected(one, one.missing) for one in manifest.inputs],
        ignored=dict.fromkeys(manifest.ignored, "the records were written without it"),
        label=manifest.label.name,
        task=manifest.label.task,
        classes={name: int(count) for name, count in zip(manifest.label.classes or [], counts, strict=True)},
        roles={name: info.rows for name, info in roles.items()},
        dropped=manifest.dropped,
        duplicates=manifest.duplicates,
        validation_labels=np.flatnonzero(roles["validation"].class_counts) if manifest.label.classes else None,
        hints=manifest.hints,
    )
