"""What ingest would make of a source, and the fingerprint of its content."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from kep.components.ingest.copy import own_manifest
from kep.components.ingest.ingest import Survey, locations, open_sources, survey_source, worker_count
from kep.components.ingest.tasks import files_of_tasks
from kep.components.ingest.workers import Workers
from kep.config.sections import DataSettings
from kep.core.files import scratch_folder
from kep.data.schema import ROLES, Manifest
from kep.data.sources.bigquery import is_bigquery, look
from kep.data.sources.open import is_sklearn
from kep.storage.locations import digests, list_files


@dataclass(frozen=True)
class InspectedColumn:
    """One feature: its type, and how many rows of the whole source have no value."""

    name: str
    kind: str
    missing: int


@dataclass(frozen=True)
class Inspection:
    """What ingest would make of a source.

    Attributes:
        rows: of the source.
        bytes: of its files.
        columns: the features.
        ignored: why each column is left out that is neither feature nor label.
        classes: rows per class, empty for regression.
        roles: rows per role, after `dropped` rows were left out because their features occur in a later role.
        duplicates: rows whose features occur more than once.
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


def inspect(settings: DataSettings, seed: int, base: Path = Path(".")) -> Inspection:
    """Looks at the source as ingest would, and writes nothing.

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
            return _of_survey(survey_source(sources, settings, seed, workers, scratch))


def _of_survey(survey: Survey) -> Inspection:
    plan = survey.plan
    missing = {name: column.missing for name, column in survey.scan.columns.items()}
    return Inspection(
        source=survey.description,
        rows=survey.scan.rows,
        bytes=sum(source.bytes for source in survey.sources),
        columns=[InspectedColumn(one.name, one.kind, missing.get(one.name, 0)) for one in plan.features],
        ignored=plan.ignored,
        label=plan.label.name,
        task=plan.label.task,
        classes=dict(zip(plan.label.classes or [], plan.label_counts, strict=True)),
        roles=dict(zip(ROLES, survey.roles.rows, strict=True)),
        dropped=survey.roles.dropped,
        duplicates=survey.roles.duplicates,
    )


def _of_manifest(manifest: Manifest) -> Inspection:
    """Missing values are those of the train rows: the manifest knows no others."""
    roles = manifest.roles
    counts = np.sum([info.class_counts for info in roles.values()], axis=0)
    return Inspection(
        source=manifest.source,
        rows=sum(info.rows for info in roles.values()) + sum(manifest.dropped.values()),
        bytes=sum(shard.bytes for info in roles.values() for shard in info.shards),
        columns=[InspectedColumn(one.name, one.kind, one.missing) for one in manifest.columns],
        ignored=dict.fromkeys(manifest.ignored, "the records were written without it"),
        label=manifest.label.name,
        task=manifest.label.task,
        classes={name: int(count) for name, count in zip(manifest.label.classes or [], counts, strict=True)},
        roles={name: info.rows for name, info in roles.items()},
        dropped=manifest.dropped,
        duplicates=manifest.duplicates,
    )


def fingerprint(settings: DataSettings, base: Path = Path(".")) -> str:
    """sha256 over the content and the relative names of the source's files, read in blocks.

    For gs:// the objects' sizes and CRC32C stand for their content; for bq:// the time of the tables' last change; for
    a scikit-learn set, its name and the version.

    Raises:
        UserError: the source does not exist.
    """
    total = hashlib.sha256()
    if is_sklearn(settings):
        total.update(f"{settings.source} {version('scikit-learn')}".encode())
        return total.hexdigest()
    for location in locations(settings):
        if is_bigquery(location):
            total.update(look(location).key.encode())
            continue
        for name, digest in digests(location, base):
            total.update(f"{name}\0{digest}\n".encode())
        total.update(b"\n")
    return total.hexdigest()


def size(settings: DataSettings, base: Path = Path(".")) -> int:
    """Bytes of the source's files; for bq:// those that BigQuery reads; 0 for a scikit-learn set.

    Raises:
        UserError: the source does not exist.
    """
    if is_sklearn(settings):
        return 0
    return sum(
        look(location).bytes if is_bigquery(location) else sum(info.size for info in list_files(location, base))
        for location in locations(settings)
    )
