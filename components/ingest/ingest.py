"""A source becomes a records folder: scan, give each row its role, count the categories, write."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kep.components.ingest import plan as planning
from kep.components.ingest import scan as scanning
from kep.components.ingest.categories import Tally
from kep.components.ingest.copy import copy_records, own_manifest
from kep.components.ingest.encode import Keys, count_categories, read_keys
from kep.components.ingest.forms import missing_reading
from kep.components.ingest.hints import find_hints, tell
from kep.components.ingest.plan import ColumnPlan
from kep.components.ingest.scan import Scan, Wanted
from kep.components.ingest.split import Roles, assign
from kep.components.ingest.statistics import with_statistics
from kep.components.ingest.weighting import weight_column, weighted
from kep.components.ingest.workers import Workers
from kep.components.ingest.write import Target, check_disk, finish_shard, shard_counts, write_pieces
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.core.files import new_folder, scratch_folder
from kep.data.schema import ROLES, Column, Manifest, RecordLayout, RoleInfo, SplitInfo, Weighting, inputs
from kep.data.sources.open import open_source
from kep.data.sources.unit import Source, Unit

log = logging.getLogger("kep.ingest")

_WORTH_A_WORKER = 16 << 20
"""Bytes of source below which a process takes longer to start than to do its share."""
_KNOWN = 25
"""As the length of a row, what `check_disk` makes of the files behind the roles: 66 bytes a row."""


@dataclass
class Survey:
    """Knowledge of a source before anything is written.

    Attributes:
        sources: what is read here: all of the source, or one task's part of it.
        unit_rows: rows of each unit of `sources`.
        first: number of their first row among all rows.
        description: of the source, for people.
        scan: of all rows.
        plan: what the scan means.
        roles: of all rows.
    """

    sources: list[Source]
    unit_rows: list[int]
    first: int
    description: str
    scan: Scan
    plan: ColumnPlan
    roles: Roles

    def units(self, columns: list[str]) -> Iterator[tuple[Unit, np.ndarray, np.ndarray]]:
        """The units of `sources` with the roles and the identities of their rows."""
        units = (unit for source in self.sources for unit in source.units(columns))
        with open(self.roles.file, "rb") as roles, open(self.roles.ids, "rb") as ids:
            roles.seek(self.first)
            ids.seek(8 * self.first)
            for unit, rows in zip(units, self.unit_rows, strict=True):
                yield unit, np.fromfile(roles, np.int8, rows), np.fromfile(ids, np.uint64, rows)


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
                manifest = manifest.with_fingerprint()
                manifest.save(folder)
            tell(manifest.hints)
            return manifest
        sources = open_sources(settings, base, scratch)
        with Workers(worker_count(settings, sources)) as workers:
            survey = survey_source(sources, settings, seed, workers, scratch)
            with new_folder(out) as folder:
                manifest = write_records(survey, settings, seed, folder, workers)
    tell(manifest.hints)
    return manifest


def worker_count(settings: DataSettings, sources: list[Source]) -> int:
    """The processes asked for; `auto` is one per core, but none for what one process reads in a moment."""
    if settings.workers != "auto":
        return settings.workers
    total = sum(source.bytes for source in sources)
    return max(1, min(len(os.sched_getaffinity(0)), total // _WORTH_A_WORKER))


def open_sources(settings: DataSettings, base: Path, scratch: Path) -> list[Source]:
    """The one source, or one per role for split by: files; objects are downloaded to `scratch`."""
    return [open_source(location, settings, base, scratch) for location in settings.locations.values()]


def survey_source(sources: list[Source], settings: DataSettings, seed: int, workers: Workers, scratch: Path) -> Survey:
    """The first two passes: scan, then the roles of all rows, in a file under `scratch`.

    Raises:
        UserError: the settings or the data can't be used as they are.
    """
    scans = [scan_source(source, sources[0], settings, workers) for source in sources]
    rows = [scan.rows for scan in scans]
    scan = scanning.merge_scans(scans)
    plan = planning.make_plan(scan, sources[0], settings)
    roles = roles_of(identify(sources, plan, settings, workers), rows, plan, settings, seed, scratch)
    return Survey(sources, scan.unit_rows, 0, describe(sources), scan, plan, roles)


def scan_source(source: Source, first: Source, settings: DataSettings, workers: Workers) -> Scan:
    """The first pass over one source, for what is asked of the first one.

    Raises:
        UserError: the settings or the data can't be used as they are.
    """
    wanted, label = scanned_columns(source, first, settings)
    scanned = [name for name in wanted if name not in (source.images or {})]
    how = {name: Wanted(settings.types.get(name), missing_reading(settings, name)) for name in scanned}
    calls = ((unit, how, label, source.typed) for unit in source.units(scanned))
    scan = scanning.merge_scans(workers.each(scanning.scan_unit, calls))
    log.info("scanned %s rows, %d columns, %.1f MB", f"{scan.rows:,}", len(wanted), source.bytes / 1e6)
    return scan


def scanned_columns(source: Source, first: Source, settings: DataSettings) -> tuple[list[str], str]:
    """The columns to scan, which are what is asked of the first source, and the label's name.

    Raises:
        UserError: the settings name a column that is not there, or the source lacks one.
    """
    names, label = planning.columns_to_read(first, settings)
    others = filter(None, (settings.split.column, weight_column(settings)))
    wanted = list(dict.fromkeys([*names, label, *others]))
    absent = sorted(set(wanted) - set(source.names))
    if absent:
        raise UserError(f'data.files: column "{absent[0]}" is not in {source.description}; give the same columns')
    return wanted, label


def identify(sources: list[Source], plan: ColumnPlan, settings: DataSettings, workers: Workers) -> Iterator[Keys]:
    """The second pass: ids, labels and split keys of each unit's rows."""
    columns = list(dict.fromkeys([*read_columns(plan), *plan.identified_by]))
    return workers.each(
        read_keys, ((unit, plan, settings.split) for source in sources for unit in source.units(columns))
    )


def roles_of(
    keys: Iterable[Keys], rows: list[int], plan: ColumnPlan, settings: DataSettings, seed: int, scratch: Path
) -> Roles:
    """The roles of all rows, in a file under `scratch`; `rows` are those of each source.

    Raises:
        UserError: the split leaves a role without rows, or a class without train rows.
    """
    # No bucket's name begins with a dot, so this is no folder of downloads.
    folder = scratch / ".rows"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    check_disk(folder, sum(rows), _KNOWN)
    return assign(keys, rows, plan.label.classes, settings.split, seed, folder, plan.identity.by == "id")


def describe(sources: list[Source]) -> str:
    """Where the rows came from, for people."""
    return ", ".join(source.description for source in sources)


def read_columns(plan: ColumnPlan) -> list[str]:
    """The columns that the later passes read."""
    names = [column.name for column in inputs(plan.features)] + [plan.label.name]
    return list(dict.fromkeys([*names, *filter(None, (plan.key, plan.weight))]))


def write_records(survey: Survey, settings: DataSettings, seed: int, folder: Path, workers: Workers) -> Manifest:
    """The passes after the survey: the rows as records in `folder`, and their manifest."""
    target = target_of(survey, with_vocabularies(survey, settings, workers), settings, seed, folder)
    check_disk(folder, sum(survey.roles.rows), target.template[1].length)
    spread(survey, target, workers)
    manifest = finish(survey, target, settings, workers, [target.pieces])
    shutil.rmtree(target.pieces)
    return manifest


def target_of(survey: Survey, features: list[Column], settings: DataSettings, seed: int, folder: Path) -> Target:
    """Where rows with the given features go under `folder`."""
    plan = replace(survey.plan, features=features)
    target = Target(folder, plan, settings.split, seed, (0, 0, 0))
    return replace(target, shards=shard_counts(survey.roles.rows, target.template[1].length, settings.shard_mb))


def spread(survey: Survey, target: Target, workers: Workers) -> None:
    """The last pass over the source: its rows into unsorted pieces of the shards."""
    target.pieces.mkdir()
    calls = ((unit, roles, ids, target) for unit, roles, ids in survey.units(read_columns(survey.plan)))
    for _ in workers.each(write_pieces, calls):
        pass


def finish(survey: Survey, target: Target, settings: DataSettings, workers: Workers, folders: list[Path]) -> Manifest:
    """The shards from the pieces in `folders`, and their manifest."""
    shards = [(target, role, index, folders) for role in range(len(ROLES)) for index in range(target.shards[role])]
    finished = list(workers.each(finish_shard, shards))
    roles = {}
    for role, name in enumerate(ROLES):
        mine = [done for (_, of, *_), done in zip(shards, finished, strict=True) if of == role]
        roles[name] = RoleInfo(
            rows=survey.roles.rows[role],
            class_counts=[] if target.label.classes is None else survey.roles.counts[role].tolist(),
            shards=[shard for shard, _ in mine],
            fingerprint=hashlib.sha256("".join(digest for _, digest in mine).encode()).hexdigest(),
        )
    manifest = _manifest(survey, settings, target.seed, target.features, target.template[1], roles)
    manifest = weighted(with_statistics(manifest, target.folder), target.folder)
    hints = find_hints(manifest, target.folder, survey.scan, survey.plan, settings)
    manifest = manifest.model_copy(update={"hints": hints}).with_fingerprint()
    manifest.save(target.folder)
    counts = ", ".join(f"{info.rows:,} {role}" for role, info in manifest.roles.items())
    size = sum(shard.bytes for info in manifest.roles.values() for shard in info.shards)
    log.info("wrote %s rows, %.1f MB", counts, size / 1e6)
    return manifest


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
        source=survey.description,
        ignored=list(survey.plan.ignored),
        duplicates=survey.roles.duplicates,
        dropped=survey.roles.dropped,
        record=record,
        identity=survey.plan.identity,
        weighting=None if settings.weight is None else Weighting(column=survey.plan.weight),
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
            survey = survey_source(sources, settings, seed, workers, scratch)
            features = with_vocabularies(survey, settings, workers)
    missing = {name: column.missing for name, column in survey.scan.columns.items()}
    features = [_neutral(column, missing.get(column.of or column.name, 0)) for column in features]
    roles = {
        name: RoleInfo(rows=rows, class_counts=[], shards=[], fingerprint="")
        for name, rows in zip(ROLES, survey.roles.rows, strict=True)
    }
    record = target_of(survey, features, settings, seed, Path()).template[1]
    manifest = _manifest(survey, settings, seed, features, record, roles)
    return manifest.model_copy(update={"label": manifest.label.model_copy(update={"mean": 0.0, "std": 1.0})})


def _neutral(column: Column, missing: int) -> Column:
    """The column with statistics that change nothing."""
    if column.kind == "categorical":
        return column
    channels = column.shape[-1] if column.shape else None
    mean, std = ([0.0] * channels, [1.0] * channels) if channels else (0.0, 1.0)
    return column.model_copy(update={"missing": missing, "mean": mean, "std": std})


def with_vocabularies(survey: Survey, settings: DataSettings, workers: Workers) -> list[Column]:
    """The features, categorical ones with the vocabulary of the train rows."""
    return vocabularies(survey.plan, count(survey, survey.roles.file.parent, workers), settings)


def count(survey: Survey, folder: Path, workers: Workers) -> dict[str, Tally]:
    """The third pass, where a feature is categorical: train rows by category; counts beyond memory lie in `folder`."""
    categorical = survey.plan.categorical
    names = [column.name for column in categorical]
    tallies = {name: Tally(folder / f"categories-{place}") for place, name in enumerate(names)}
    calls = ((unit, roles, categorical) for unit, roles, _ in survey.units(names)) if names else ()
    for counts in workers.each(count_categories, calls):
        for name in names:
            tallies[name].add(counts[name])
    return tallies


def vocabularies(plan: ColumnPlan, tallies: dict[str, Tally], settings: DataSettings) -> list[Column]:
    """The features of the plan, categorical ones with the categories that were counted most."""
    return [
        column.model_copy(update={"vocabulary": tallies[column.name].vocabulary(settings.max_categories)})
        if column.kind == "categorical"
        else column
        for column in plan.features
    ]
