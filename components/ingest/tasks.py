"""Ingest spread over tasks of the pipeline engine: each reads some of the source's files, in the passes of `ingest`.

scan, keys, count and write run once for each part of the source, roles and join once. Between the passes the tasks
hand on what `ingest` hands on in memory. The records are the same, byte for byte: rows go to roles and shards by their
content, and statistics are those of the finished shards.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pyarrow import fs

from kep.components.ingest import plan as planning
from kep.components.ingest import scan as scanning
from kep.components.ingest.categories import Tally
from kep.components.ingest.encode import Keys
from kep.components.ingest.hints import tell
from kep.components.ingest.ingest import (
    Survey,
    count,
    describe,
    finish,
    identify,
    roles_of,
    scan_source,
    scanned_columns,
    spread,
    target_of,
    vocabularies,
    worker_count,
)
from kep.components.ingest.plan import ColumnPlan
from kep.components.ingest.scan import Scan
from kep.components.ingest.split import Roles
from kep.components.ingest.workers import Workers
from kep.components.ingest.write import check_disk
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.core.json_model import JsonFile, JsonModel
from kep.core.location import Location
from kep.data.schema import Column, Manifest
from kep.data.sources.bigquery import extracted, look
from kep.data.sources.fingerprint import CHANGED_BEFORE, combined, is_fingerprint
from kep.data.sources.open import format_of, is_sklearn, of_format, open_source
from kep.data.sources.unit import Part, Source
from kep.storage.locations import digests, list_files, one_listing, stamps

SPLITTABLE = ("csv", "parquet", "images")
"""Formats whose every file can be read without the others."""
_ROLES_OF_ROWS, _IDS_OF_ROWS = "roles", "ids"
"""Files that lie beside `SavedRoles`."""


class SourceHead(JsonModel):
    """Description of a source without its rows; fields as of `Source`."""

    description: str
    names: list[str]
    typed: bool
    bytes: int
    label: str | None
    images: dict[str, tuple[int, int, int]] | None
    index: list[str]

    @classmethod
    def of(cls, source: Source) -> "SourceHead":
        held = {name: getattr(source, name) for name in cls.model_fields if name != "index"}
        return cls(**held, index=sorted(source.index))

    def source(self) -> Source:
        """Return the source without its units."""
        return Source(**self.model_dump(exclude={"index"}), units=lambda _: iter(()), index=frozenset(self.index))


class ScannedSource(JsonModel):
    """Findings of a task in its part of one location's source."""

    head: SourceHead
    scan: Scan


class ScannedPart(JsonFile):
    """Result of the scan of one task."""

    FILE: ClassVar[str] = "scan.json"
    KIND: ClassVar[str] = "the scan of a part of the source"

    part: int
    """Number of the task, from 0."""
    state: list[Any]
    """Stamps that change with the content of the part, for each location: of files, or the key of a table."""
    digests: list[Any]
    """Digests of the part, for each location: those of its files, or the key of a table."""
    sources: list[ScannedSource | None]
    """By location; None where the part holds no file of it."""


class SavedRoles(JsonFile):
    """`Roles` without their files, which lie beside it."""

    FILE: ClassVar[str] = "roles.json"
    KIND: ClassVar[str] = "the roles of a source"

    counts: list[list[int]]
    extremes: list[list[float]]
    dropped: dict[str, int]
    duplicates: int


def files_of_tasks(settings: DataSettings, base: Path) -> list[list[frozenset[str]]]:
    """Return the files of each location that each task reads: runs of about equal bytes, in the order of the files.

    Raises:
        UserError: the source can't be read in parts.
    """
    listings = [_splittable(location, settings, base) for location in settings.locations.values()]
    flat = [(place, info) for place, infos in enumerate(listings) for info in infos]
    if len(flat) < 2:
        one = next(iter(settings.locations.values()))
        raise UserError(
            f'data.ingest_tasks: "{one}" is one file, and tasks share a source by its files; '
            "write it as several files, or remove data.ingest_tasks"
        )
    tasks: list[list[set[str]]] = [[set() for _ in listings] for _ in range(settings.ingest_tasks)]
    ends = list(accumulate(info.size for _, info in flat))
    for (place, info), end in zip(flat, ends, strict=True):
        middle = (end - info.size / 2) / max(1, ends[-1])
        tasks[int(middle * settings.ingest_tasks)][place].add(info.path)
    return [[frozenset(paths) for paths in task] for task in tasks]


def _splittable(location: Location, settings: DataSettings, base: Path) -> list[fs.FileInfo]:
    """The files of a location whose format lets tasks share them."""
    kind, files = "sklearn", []
    if not is_sklearn(settings):
        files = list_files(extracted(location, settings), base)
        kind = format_of(location, files, settings)
    if kind not in SPLITTABLE:
        raise UserError(
            f'data.ingest_tasks: "{location}" is {kind}, which one task reads; several tasks can share '
            f"{', '.join(SPLITTABLE)}; convert it, or remove data.ingest_tasks"
        )
    return of_format(kind, files)


@dataclass(frozen=True)
class IngestTask:
    """One task over a part of the source.

    Attributes:
        settings: the data section of the run file.
        part: which part it reads, from 0.
        base: what local paths are relative to.
        scratch: folder for objects.
    """

    settings: DataSettings
    part: int
    base: Path
    scratch: Path

    def sources(self, shape: tuple[int, int, int] | None = None) -> list[Source | None]:
        """The task's part of each location's source, None where it has no file of it."""
        files = files_of_tasks(self.settings, self.base)[self.part]
        return [
            open_source(location, self.settings, self.base, self.scratch, Part(paths, shape)) if paths else None
            for location, paths in zip(self.settings.locations.values(), files, strict=True)
        ]

    def files(self) -> list[frozenset[str]]:
        """Paths of the files that the task answers for, of each location.

        The first task also answers for the files that no task reads, such as a README beside the data.
        """
        if self.part:
            return [*files_of_tasks(self.settings, self.base)[self.part]]
        others = {path for task in files_of_tasks(self.settings, self.base)[1:] for paths in task for path in paths}
        return [
            frozenset(info.path for info in list_files(extracted(location, self.settings), self.base)) - others
            for location in self.settings.locations.values()
        ]

    def state(self) -> list[Any]:
        """Stamps that change with the content of these files, for each location, without reading it."""
        return [
            look(location).key if location.scheme == "bq" else stamps(location, self.base, paths)
            for location, paths in zip(self.settings.locations.values(), self.files(), strict=True)
        ]

    def digests(self) -> list[Any]:
        """Path, relative name and digest of these files, for each location; what BigQuery says of a table."""
        return [
            look(location).key
            if location.scheme == "bq"
            else [[path, *one] for path, one in zip(sorted(paths), digests(location, self.base, paths), strict=True)]
            for location, paths in zip(self.settings.locations.values(), self.files(), strict=True)
        ]

    @contextmanager
    def reading(self, before: list[Any] | None = None) -> Iterator[list[Any]]:
        """Read the task's part in the block; yields its state.

        Args:
            before: the state when the part was scanned.

        Raises:
            UserError: the part was changed.
        """
        with one_listing():
            now = self.state()
            if before is not None and now != before:
                raise UserError("data.source: the source was changed between two passes over it; start the run again")
            yield now
        if self.state() != now:
            raise UserError("data.source: the source was changed while ingest read it; start the run again")

    def workers(self, sources: list[Source]) -> Workers:
        return Workers(worker_count(self.settings, sources))


@dataclass(frozen=True)
class Known:
    """Result of the scans of all tasks.

    Attributes:
        heads: the source of each location, without its units.
        scans: by task and location.
        scan: of all rows.
        plan: what that means.
        states: of each task's part when it was scanned.
        digests: of each task's part.
    """

    heads: list[Source]
    scans: list[list[Scan]]
    scan: Scan
    plan: ColumnPlan
    states: list[Any]
    digests: list[Any]

    def check(self, given: str) -> None:
        """Refuse a source that is not the one of the fingerprint that the run was started with.

        Raises:
            UserError: It is another.
        """
        parts = [
            of_one[0] if isinstance(of_one[0], str) else [one[1:] for one in sorted(chain(*of_one))]
            for of_one in zip(*self.digests, strict=True)
        ]
        if is_fingerprint(given) and combined(parts) != given:
            raise UserError(CHANGED_BEFORE)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Shape of all images."""
        return next(iter((self.heads[0].images or {}).values()), None)

    def rows(self) -> list[int]:
        """Rows of each location."""
        return [sum(scan.rows for scan in of_one) for of_one in zip(*self.scans, strict=True)]

    def survey(self, roles: Roles, sources: list[Source], part: int) -> Survey:
        """The survey of one task, or of no part of the source."""
        first = sum(scan.rows for scans in self.scans[:part] for scan in scans)
        unit_rows = [rows for scan in self.scans[part] for rows in scan.unit_rows] if sources else []
        return Survey(sources, unit_rows, first, describe(self.heads), self.scan, self.plan, roles)


def scan(task: IngestTask, out: Path) -> None:
    """The first pass over one part."""
    with task.reading() as state:
        part = ScannedPart(part=task.part, state=state, digests=task.digests(), sources=_scanned(task))
    part.save(out)


def _scanned(task: IngestTask) -> list[ScannedSource | None]:
    """Return the findings in the part of each location."""
    sources = task.sources()
    present = [source for source in sources if source]
    found: list[ScannedSource | None] = []
    with task.workers(present) as workers:
        for source in sources:
            if source is None:
                found.append(None)
                continue
            mine = scan_source(source, present[0], task.settings, workers)
            found.append(ScannedSource(head=SourceHead.of(source), scan=mine))
    return found


def known(folders: list[Path], settings: DataSettings) -> Known:
    """Puts the scans of all tasks together.

    Raises:
        UserError: the files differ in their columns or images, or the data can't be used as they are.
    """
    found = sorted((ScannedPart.load(folder) for folder in folders), key=lambda one: one.part)
    known_heads: dict[int, Source] = {}
    scans: list[list[Scan]] = []
    for one in found:
        scans.append([])
        for place, source in enumerate(one.sources):
            scans[-1].append(source.scan if source else scanning.nothing())
            if source:
                head = source.head.source()
                known_heads[place] = _joined(known_heads[place], head) if place in known_heads else head
    heads = [known_heads[place] for place in range(len(settings.locations))]
    for head in heads:
        scanned_columns(head, heads[0], settings)
    merged = scanning.merge_scans(scan for of_one in zip(*scans, strict=True) for scan in of_one)
    plan = planning.make_plan(merged, heads[0], settings)
    return Known(heads, scans, merged, plan, [one.state for one in found], [one.digests for one in found])


def _joined(one: Source, other: Source) -> Source:
    """The heads of two parts of one source as one."""
    differing = sorted(set(one.names) ^ set(other.names))
    if differing:
        raise UserError(
            f'data.source: column "{differing[0]}" is in some files of {one.description} but not in others; give files '
            "with the same columns"
        )
    images = dict(one.images or {})
    for name, (height, width, channels) in images.items():
        *size, others = (other.images or {})[name]
        if [height, width] != size:
            raise UserError(
                f"data.image_size: the images differ in size ({width}x{height} and {size[1]}x{size[0]} pixels); set "
                "data.image_size: [height, width]"
            )
        images[name] = (height, width, max(channels, others))
    return replace(one, bytes=one.bytes + other.bytes, images=images or None, index=one.index | other.index)


def keys(task: IngestTask, found: Known, out: Path) -> None:
    """The second pass over one part: what decides about each row's role, as an Arrow stream."""
    sources = [source for source in task.sources(found.shape) if source]
    writer = None
    with task.workers(sources) as workers, pa.OSFile(str(out / f"{task.part:06d}.arrow"), "wb") as file:
        for unit in identify(sources, found.plan, task.settings, workers):
            columns = {"ids": unit.ids, "same": unit.same, "labels": unit.labels}
            columns |= {} if unit.split is None else {"split": unit.split}
            batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
            writer = writer or pa.ipc.new_stream(file, batch.schema)
            writer.write_batch(batch)
        if writer:
            writer.close()


def _keys(folders: list[Path]) -> Iterator[Keys]:
    """Keys of all rows, in their order."""
    for path in sorted((path for folder in folders for path in folder.glob("*.arrow")), key=lambda path: path.name):
        if not path.stat().st_size:
            continue  # of a task without rows
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                columns = {name: batch[name].to_numpy() for name in batch.schema.names}
                yield Keys(columns["ids"], columns["same"], columns["labels"], columns.get("split"))


def roles(found: Known, folders: list[Path], settings: DataSettings, seed: int, scratch: Path, out: Path) -> None:
    """The roles of all rows; `folders` hold the keys."""
    given = roles_of(_keys(folders), found.rows(), found.plan, settings, seed, scratch)
    shutil.move(given.file, out / _ROLES_OF_ROWS)
    shutil.move(given.ids, out / _IDS_OF_ROWS)
    SavedRoles(
        counts=given.counts.tolist(),
        extremes=given.extremes.tolist(),
        dropped=given.dropped,
        duplicates=given.duplicates,
    ).save(out)


def read_roles(folder: Path) -> Roles:
    """Return the roles that `roles` wrote."""
    saved = SavedRoles.load(folder)
    return Roles(
        file=folder / _ROLES_OF_ROWS,
        ids=folder / _IDS_OF_ROWS,
        counts=np.array(saved.counts, np.int64),
        extremes=np.array(saved.extremes),
        dropped=saved.dropped,
        duplicates=saved.duplicates,
    )


def count_part(task: IngestTask, found: Known, given: Roles, out: Path) -> None:
    """The third pass over one part: its train rows by category."""
    sources = [source for source in task.sources(found.shape) if source] if found.plan.categorical else []
    with task.workers(sources) as workers:
        for tally in count(found.survey(given, sources, task.part), out, workers).values():
            tally.spill()


def counted(found: Known, folders: list[Path], settings: DataSettings) -> list[Column]:
    """The features with the vocabularies of what all tasks counted."""
    tallies = {}
    for place, name in enumerate(column.name for column in found.plan.categorical):
        runs = [run for folder in folders for run in folder.glob(f"categories-{place}-*")]
        tallies[name] = Tally(Path(), runs)
    return vocabularies(found.plan, tallies, settings)


def write(task: IngestTask, found: Known, given: Roles, features: list[Column], seed: int, out: Path) -> None:
    """The last pass over one part: its rows into unsorted pieces of the shards."""
    sources = [source for source in task.sources(found.shape) if source]
    survey = found.survey(given, sources, task.part)
    target = target_of(survey, features, task.settings, seed, out)
    check_disk(out, sum(survey.unit_rows), target.template[1].length)
    with task.workers(sources) as workers:
        spread(survey, target, workers)


def join(
    found: Known,
    given: Roles,
    features: list[Column],
    folders: list[Path],
    settings: DataSettings,
    seed: int,
    out: Path,
) -> Manifest:
    """The shards from the pieces of all tasks, and their manifest; `folders` hold the pieces."""
    survey = found.survey(given, [], 0)
    target = target_of(survey, features, settings, seed, out)
    check_disk(out, sum(given.rows), target.template[1].length)
    with Workers(worker_count(settings, found.heads)) as workers:
        manifest = finish(survey, target, settings, workers, [folder / target.pieces.name for folder in folders])
    tell(manifest.hints)
    return manifest
