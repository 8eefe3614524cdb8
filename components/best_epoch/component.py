"""best_epoch: how long one candidate should train, and its honest validation predictions."""

from kfp.dsl import Artifact, Dataset, Input, Output

from kep.runtime.component import step


@step
def best_epoch(
    candidate: str,
    families: str,
    config: str,
    batch_size: int,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    result: Output[Artifact],
) -> None:
    """Trains one candidate from several fresh seeds on train rows, watching validation rows.

    Args:
        candidate: JSON of one candidate.
        families: JSON list of families, a user's own with its source.
        config: JSON of the run file's `best_epoch`.
        batch_size: Rows of one optimiser step; 0 lets the number of train rows choose.
        hardware: JSON of the run file's `hardware.best_epoch`.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards.
        result: Best epoch, learning curves and validation predictions of every seed, and the first seed's model.
    """
    from kep.components.best_epoch.best_epoch import run

    run(
        out=result.path,
        records=records.path,
        candidate=candidate,
        families=families,
        config=config,
        batch_size=batch_size,
        hardware=hardware,
        seed=seed,
        code=code,
    )
