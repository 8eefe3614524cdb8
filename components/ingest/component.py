"""ingest: the source becomes records, each row with its role; `ingest_…` do it in tasks that share the source."""

from typing import List

from kfp.dsl import Artifact, Dataset, Input, Output

from kep.runtime.component import step


@step
def ingest(config: str, source: str, seed: int, code: str, records: Output[Dataset], test: Output[Dataset]) -> None:
    """Reads the source, gives each row its role, and writes TFRecord shards with their manifest.

    Args:
        config: JSON of the run file's `data`, with absolute paths.
        source: Fingerprint of the source's content, part of the cache key.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards of train and validation rows.
        test: Folder with manifest.json and the test rows, sealed for evaluate.
    """
    from kep.components.ingest.run import run

    run(out=records.path, config=config, source=source, seed=seed, code=code, test=test.path)


@step
def ingest_scan(
    part: str,
    config: str,
    source: str,
    code: str,
    scanned: Output[Artifact],
) -> None:
    """Looks at what the columns of one part of the source hold.

    Args:
        part: Part of the source: JSON with its number, from 0.
        config: JSON of the run file's `data`, with absolute paths.
        source: Fingerprint of the source's content, part of the cache key.
        code: Hash of the code that runs, part of the cache key.
        scanned: Result of the scan.
    """
    from kep.components.ingest.run import scan

    scan(
        out=scanned.path,
        part=part,
        config=config,
        source=source,
        code=code,
    )


@step
def ingest_keys(
    part: str,
    config: str,
    source: str,
    code: str,
    scans: Input[List[Artifact]],
    read: Output[Artifact],
) -> None:
    """Reads ids, labels and what the split goes by of one part's rows.

    Args:
        part: Part of the source: JSON with its number, from 0.
        config: JSON of the run file's `data`, with absolute paths.
        source: Fingerprint of the source's content, part of the cache key.
        code: Hash of the code that runs, part of the cache key.
        scans: Scans of all parts.
        read: An Arrow stream.
    """
    from kep.components.ingest.run import keys

    keys(
        out=read.path,
        part=part,
        config=config,
        source=source,
        scans=[one.path for one in scans],
        code=code,
    )


@step
def ingest_roles(
    config: str,
    source: str,
    seed: int,
    code: str,
    scans: Input[List[Artifact]],
    keys: Input[List[Artifact]],
    given: Output[Artifact],
) -> None:
    """Gives each row of the source its role.

    Args:
        config: JSON of the run file's `data`, with absolute paths.
        source: Fingerprint of the source's content, part of the cache key.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        scans: Scans of all parts.
        keys: Keys of all parts.
        given: A byte for each row, and how many have each role.
    """
    from kep.components.ingest.run import roles

    roles(
        out=given.path,
        config=config,
        source=source,
        seed=seed,
        scans=[one.path for one in scans],
        keys=[one.path for one in keys],
        code=code,
    )


@step
def ingest_count(
    part: str,
    config: str,
    source: str,
    code: str,
    scans: Input[List[Artifact]],
    roles: Input[Artifact],
    counted: Output[Artifact],
) -> None:
    """Counts the categories of one part's train rows.

    Args:
        part: Part of the source: JSON with its number, from 0.
        config: JSON of the run file's `data`, with absolute paths.
        source: Fingerprint of the source's content, part of the cache key.
        code: Hash of the code that runs, part of the cache key.
        scans: Scans of all parts.
        roles: Roles of all rows.
        counted: Rows by category of each column.
    """
    from kep.components.ingest.run import count

    count(
        out=counted.path,
        part=part,
        config=config,
        source=source,
        scans=[one.path for one in scans],
        roles=roles.path,
        code=code,
    )


@step
def ingest_write(
    part: str,
    config: str,
    source: str,
    seed: int,
    code: str,
    scans: Input[List[Artifact]],
    roles: Input[Artifact],
    counts: Input[List[Artifact]],
    written: Output[Artifact],
) -> None:
    """Writes one part's rows as unsorted pieces of the shards.

    Args:
        part: Part of the source: JSON with its number, from 0.
        config: JSON of the run file's `data`, with absolute paths.
        source: Fingerprint of the source's content, part of the cache key.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        scans: Scans of all parts.
        roles: Roles of all rows.
        counts: Counts of all parts.
        written: The pieces.
    """
    from kep.components.ingest.run import write

    write(
        out=written.path,
        part=part,
        config=config,
        source=source,
        seed=seed,
        scans=[one.path for one in scans],
        roles=roles.path,
        counts=[one.path for one in counts],
        code=code,
    )


@step
def ingest_join(
    config: str,
    seed: int,
    code: str,
    scans: Input[List[Artifact]],
    roles: Input[Artifact],
    counts: Input[List[Artifact]],
    pieces: Input[List[Artifact]],
    records: Output[Dataset],
    test: Output[Dataset],
) -> None:
    """Makes the records of the pieces of all parts.

    Args:
        config: JSON of the run file's `data`, with absolute paths.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        scans: Scans of all parts.
        roles: Roles of all rows.
        counts: Counts of all parts.
        pieces: Pieces of all parts.
        records: Folder with manifest.json and the shards of train and validation rows.
        test: Folder with manifest.json and the test rows, sealed for evaluate.
    """
    from kep.components.ingest.run import join

    join(
        out=records.path,
        config=config,
        seed=seed,
        scans=[one.path for one in scans],
        roles=roles.path,
        counts=[one.path for one in counts],
        pieces=[one.path for one in pieces],
        code=code,
        test=test.path,
    )
