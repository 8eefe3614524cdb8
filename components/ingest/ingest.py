"""A source becomes a records folder: scan, give each row its role, count the categories, write."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.ingest import plan as planning
from components.ingest import scan as scanning
from components.ingest import split as splitting
from components.ingest.copy import copy_records, own_manifest
from components.ingest.encode import Keys, count_categories, read_keys, vocabulary
from components.ingest.plan import Plan
from components.ingest.scan import Scan
from components.ingest.sources import open_source
from components.ingest.statistics import with_statistics
from components.ingest.unit import Source, Unit
from components.ingest.workers import Workers
from components.ingest.write import Target, check_disk, finish_shard, shard_counts, write_pieces
from components.shared.errors import UserError
from components.shared.files import new_folder, scratch_folder
from components.shared.schema import ROLES, Column, Manifest, RecordLayout, RoleInfo, SplitInfo
from components.shared.settings import DataSettings

log = logging.getLogger("kep.ingest")

_WORTH_A_WORKER = 16 << 20
"""Bytes of source below which a process takes longer to start than to do its share."""


@dataclass
class Survey:
    """What is known of a source before anything is written; arrays are in the order of its rows."""

    sources: list[Source]
    scan: Scan
    plan: Plan
    labels: np.ndarray
    roles: np.ndarray
    dropped: dict[str, int]
    duplicates: int

    def units(self, columns: list[str]) -> Iterator[tuple[Unit, np.ndarray]]:
        """The units with the roles of their rows."""
        start = 0
        units = (unit for source in self.sources for unit in source.units(columns))
        for unit, rows in zip(units, self.scan.unit_rows, strict=True):
            yield unit, self.roles[start : start + rows]
            start += rows


def ingest(
    settings: DataSettings, seed: int, out: Path, base: Path = Path("."), scratch: Path | None = None
) -> Manifest:
    """Writes the source's rows as records under `out`.

    Args:
        settings: the data section of the run file.
        seed: decides roles and the order of rows, with the rows' content and nothing else.
        out: the records folder; it appears whole or, on an error, not at all.
        base: what local paths of the settings are relative to.
        scratch: folder that keeps objects of gs:// between attempts; a temporary one when not given.

    Returns:
        the manifest, also written to `out`/manifest.json.

    Raises:
        UserError: the settings or the data can't be used as they are.
    """
    with scratch_folder(scratch) as scratch:
        manifest = own_manifest(settings, base, scratch)
        if manifest is not None:
            with new_folder(out) as folder:
                copy_records(settings, base, scratch, manifest, folder)
                manifest.save(folder)
            return manifest
        sources = open_sources(settings, base, scratch)
        with Workers(worker_count(settings, sources)) as workers:
            survey = survey_source(sources, settings, seed, workers)
            with new_folder(out) as folder:
                manifest = _write(survey, settings, seed, folder, workers)
                manifest.save(folder)
    counts = ", ".join(f"{info.rows:,} {role}" for role, info in manifest.roles.items())
    size = sum(shard.bytes for info in manifest.roles.values() for shard in info.shards)
    log.info("wrote %s rows, %.1f MB", counts, size / 1e6)
    return manifest


def worker_count(settings: DataSettings, sources: list[Source]) -> int:
    """The processes asked for; `auto` is one per core, but none for what one process reads in a moment."""
    if settings.workers != "auto":
        return settings.workers
    total = sum(source.bytes for source in sources)
    return max(1, min(len(os.sched_getaffinity(0)), total // _WORTH_A_WORKER))


def open_sources(settings: DataSettings, base: Path, scratch: Path) -> list[Source]:
    """The one source, or one per role for split by: files; objects are downloaded to `scratch`."""
    if settings.files is None:
        return [open_source(settings.source, settings, base, scratch)]
    return [open_source(getattr(settings.files, role), settings, base, scratch) for role in ROLES]


def survey_source(sources: list[Source], settings: DataSettings, seed: int, workers: Workers) -> Survey:
    """The first two passes: scan, then ids, labels and roles of all rows.

    Raises:
        UserError: the settings or the data can't be used as they are.
    """
    first = sources[0]
    names, label = planning.columns_to_read(first, settings)
    wanted = list(dict.fromkeys([*names, label, *([settings.split.column] if settings.split.column else [])]))
    per_source = []
    for source in sources:
        absent = sorted(set(wanted) - set(source.names))
        if absent:
            raise UserError(f'data.files: column "{absent[0]}" is not in {source.description}; give the same columns')
        scanned = [name for name in wanted if name not in (source.images or {})]
        calls = ((unit, scanned, label, source.typed, settings.types) for unit in source.units(scanned))
        per_source.append(list(workers.each(scanning.scan_unit, calls)))
    rows = [sum(scan.rows for scan in scans) for scans in per_source]
    scan = scanning.merge_scans(scan for scans in per_source for scan in scans)
    total = sum(source.bytes for source in sources)
    log.info("scanned %s rows, %d columns, %.1f MB", f"{scan.rows:,}", len(wanted), total / 1e6)
    plan = planning.make_plan(scan, first, settings)
    columns = read_columns(plan)
    calls = ((unit, plan, settings.split) for source in sources for unit in source.units(columns))
    keys = list(workers.each(read_keys, calls))
    survey = _with_roles(sources, scan, plan, keys, rows, settings, seed)
    splitting.check_roles(survey.roles, survey.labels, plan.label.classes)
    return survey


def read_columns(plan: Plan) -> list[str]:
    """The columns that the later passes read."""
    names = [column.name for column in plan.features] + [plan.label.name]
    return list(dict.fromkeys(names + ([plan.key] if plan.key else [])))


def _with_roles(
    sources: list[Source],
    scan: Scan,
    plan: Plan,
    keys: list[Keys],
    rows: list[int],
    settings: DataSettings,
    seed: int,
) -> Survey:
    ids = np.concatenate([part.ids for part in keys])
    labels = np.concatenate([part.labels for part in keys])
    by = settings.split.by
    if by == "random":
        roles = splitting.random_roles(ids, labels, plan.label.classes, settings.split, seed)
    elif by == "files":
        roles = np.repeat(np.arange(len(ROLES), dtype=np.int8), rows)
    else:
        key = np.concatenate([part.split for part in keys])
        if by == "group":
            roles = splitting.group_roles(key, settings.split, seed)
        elif by == "time":
            roles = splitting.time_roles(key, settings.split)
        else:
            roles = key.astype(np.int8)
    roles, dropped, duplicates = splitting.drop_repeats(ids, roles)
    return Survey(sources, scan, plan, labels, roles, dropped, duplicates)


def _write(survey: Survey, settings: DataSettings, seed: int, folder: Path, workers: Workers) -> Manifest:
    features = _with_vocabularies(survey, settings, workers)
    plan = replace(survey.plan, features=features)
    target = Target(folder, plan, settings.split, seed, (0, 0, 0))
    blank, record = target.template
    counts = [int((survey.roles == role).sum()) for role in range(len(ROLES))]
    check_disk(folder, sum(counts), len(blank))
    target = replace(target, shards=shard_counts(counts, len(blank), settings.shard_mb))
    target.pieces.mkdir()
    calls = ((unit, roles, target) for unit, roles in survey.units(read_columns(survey.plan)))
    for _ in workers.each(write_pieces, calls):
        pass
    shards = [(target, role, index) for role in range(len(ROLES)) for index in range(target.shards[role])]
    finished = list(workers.each(finish_shard, shards))
    target.pieces.rmdir()
    roles = {}
    for role, name in enumerate(ROLES):
        mine = [done for (_, of, _), done in zip(shards, finished, strict=True) if of == role]
        roles[name] = RoleInfo(
            rows=counts[role],
            class_counts=_class_counts(survey, role),
            shards=[shard for shard, _ in mine],
            fingerprint=hashlib.sha256("".join(digest for _, digest in mine).encode()).hexdigest(),
        )
    return with_fingerprint(with_statistics(_manifest(survey, settings, seed, features, record, roles), folder))


def _manifest(
    survey: Survey,
    settings: DataSettings,
    seed: int,
    features: list[Column],
    record: RecordLayout,
    roles: dict[str, RoleInfo],
) -> Manifest:
    """The manifest without what is learned from written rows: statistics and the fingerprint."""
    split = settings.split
    return Manifest(
        columns=features,
        label=survey.plan.label,
        roles=roles,
        split=SplitInfo(
            rule=split.by,
            seed=seed,
            columns=[split.column] if split.column else [],
            validation=split.validation,
            test=split.test,
        ),
        fingerprint="",
        source=", ".join(source.description for source in survey.sources),
        ignored=survey.plan.ignored,
        duplicates=survey.duplicates,
        dropped=survey.dropped,
        record=record,
    )


def outline(settings: DataSettings, seed: int, base: Path = Path(".")) -> Manifest:
    """The manifest that `ingest` would write, without shards, statistics and fingerprint: what shapes a model.

    Raises:
        UserError: the settings or the data can't be used as they are.
    """
    with scratch_folder() as scratch:
        manifest = own_manifest(settings, base, scratch)
        if manifest is not None:
            return manifest
        sources = open_sources(settings, base, scratch)
        with Workers(worker_count(settings, sources)) as workers:
            survey = survey_source(sources, settings, seed, workers)
            features = _with_vocabularies(survey, settings, workers)
    missing = {name: column.missing for name, column in survey.scan.columns.items()}
    features = [_neutral(column, missing.get(column.name, 0)) for column in features]
    roles = {
        name: RoleInfo(rows=int((survey.roles == role).sum()), class_counts=[], shards=[], fingerprint="")
        for role, name in enumerate(ROLES)
    }
    plan = replace(survey.plan, features=features)
    record = Target(Path(), plan, settings.split, seed, (0, 0, 0)).template[1]
    manifest = _manifest(survey, settings, seed, features, record, roles)
    return manifest.model_copy(update={"label": manifest.label.model_copy(update={"mean": 0.0, "std": 1.0})})


def _neutral(column: Column, missing: int) -> Column:
    """The column with statistics that change nothing."""
    if column.kind == "categorical":
        return column
    channels = column.shape[-1] if column.shape else None
    mean, std = ([0.0] * channels, [1.0] * channels) if channels else (0.0, 1.0)
    return column.model_copy(update={"missing": missing, "mean": mean, "std": std})


def with_fingerprint(manifest: Manifest) -> Manifest:
    """The manifest with the sha256 over everything in it that a reader of rows depends on."""
    content = manifest.model_dump(mode="json", exclude={"fingerprint", "source", "ignored", "duplicates", "dropped"})
    text = json.dumps(content, sort_keys=True)
    return manifest.model_copy(update={"fingerprint": hashlib.sha256(text.encode()).hexdigest()})


def _class_counts(survey: Survey, role: int) -> list[int]:
    classes = survey.plan.label.classes
    if classes is None:
        return []
    return np.bincount(survey.labels[survey.roles == role], minlength=len(classes)).tolist()


def _with_vocabularies(survey: Survey, settings: DataSettings, workers: Workers) -> list[Column]:
    """The features, categorical ones with the vocabulary of the train rows."""
    names = [column.name for column in survey.plan.features if column.kind == "categorical"]
    if not names:
        return survey.plan.features
    totals: dict[str, Counter] = {name: Counter() for name in names}
    calls = ((unit, roles, names) for unit, roles in survey.units(names))
    for counts in workers.each(count_categories, calls):
        for name in names:
            totals[name].update(counts[name])
    return [
        column.model_copy(update={"vocabulary": vocabulary(totals[column.name], settings.max_categories)})
        if column.kind == "categorical"
        else column
        for column in survey.plan.features
    ]
