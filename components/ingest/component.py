"""ingest: the source becomes records, each row with its role."""

from kfp.dsl import Dataset, Output

from components.shared.component import step


@step
def ingest(config: str, source: str, seed: int, code: str, records: Output[Dataset]):
    """Reads the source, gives each row its role, and writes TFRecord shards with their manifest.

    Args:
        config: JSON of the run file's `data`, with absolute paths.
        source: Fingerprint of the source's content, part of the cache key.
        seed: Of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards.
    """
    from components.ingest.run import run

    run(out=records.path, config=config, source=source, seed=seed, code=code)
