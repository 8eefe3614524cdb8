"""Ingest in one task, or spread over several that share the source (components/ingest/tasks.py)."""

from typing import Any, List

from kfp import dsl
from kfp.dsl import Artifact, Input

from kep.artifacts.ingest import IngestPart
from kep.components.ingest.component import (
    ingest,
    ingest_count,
    ingest_join,
    ingest_keys,
    ingest_roles,
    ingest_scan,
    ingest_write,
)

# Each loop lives alone in a pipeline of its own, for the reason that pipelines/training.py gives.


@dsl.pipeline(name="ingest-scans")
def scans(parts: List[str], config: str, source: str, code: str) -> List[Artifact]:
    """One task per part."""
    with dsl.ParallelFor(parts) as part:
        one = ingest_scan(part=part, config=config, source=source, code=code)
    return dsl.Collected(one.outputs["scanned"])


@dsl.pipeline(name="ingest-keys-of-parts")
def keys(parts: List[str], config: str, source: str, code: str, scans: Input[List[Artifact]]) -> List[Artifact]:
    """One task per part."""
    with dsl.ParallelFor(parts) as part:
        one = ingest_keys(part=part, config=config, source=source, code=code, scans=scans)
    return dsl.Collected(one.outputs["read"])


@dsl.pipeline(name="ingest-counts")
def counts(
    parts: List[str], config: str, source: str, code: str, scans: Input[List[Artifact]], roles: Input[Artifact]
) -> List[Artifact]:
    """One task per part."""
    with dsl.ParallelFor(parts) as part:
        one = ingest_count(part=part, config=config, source=source, code=code, scans=scans, roles=roles)
    return dsl.Collected(one.outputs["counted"])


@dsl.pipeline(name="ingest-pieces")
def pieces(
    parts: List[str],
    config: str,
    source: str,
    seed: int,
    code: str,
    scans: Input[List[Artifact]],
    roles: Input[Artifact],
    counts: Input[List[Artifact]],
) -> List[Artifact]:
    """One task per part."""
    with dsl.ParallelFor(parts) as part:
        one = ingest_write(
            part=part, config=config, source=source, seed=seed, code=code, scans=scans, roles=roles, counts=counts
        )
    return dsl.Collected(one.outputs["written"])


def ingested(tasks: int, config: Any, source: Any, seed: Any, code: Any) -> Any:
    """The task that gives records and sealed test rows: the one, or the last after passes of `tasks` tasks each."""
    if tasks == 1:
        return ingest(config=config, source=source, seed=seed, code=code)
    reading = {"parts": [IngestPart(part=part).to_json() for part in range(tasks)], "config": config, "source": source}
    scanned = scans(**reading, code=code).output
    read = keys(**reading, code=code, scans=scanned).output
    roles = ingest_roles(config=config, source=source, seed=seed, code=code, scans=scanned, keys=read).outputs["given"]
    counted = counts(**reading, code=code, scans=scanned, roles=roles).output
    known = {"scans": scanned, "roles": roles, "counts": counted}
    written = pieces(**reading, seed=seed, code=code, **known).output
    return ingest_join(config=config, seed=seed, code=code, pieces=written, **known)
