"""retrain: the final training of one member on train and validation rows."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from kep.runtime.component import step


@step
def retrain(
    member: str,
    families: str,
    config: str,
    batch_size: int,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    weights: Input[Artifact],
    model: Output[Model],
) -> None:
    """Trains one member on train and validation rows, without early stopping.

    Args:
        member: JSON of one member.
        families: JSON list of families, a user's own with its source.
        config: JSON of the run file's `retrain`.
        batch_size: Rows of one optimiser step; 0 lets the number of train rows choose.
        hardware: JSON of the run file's `hardware.retrain`.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key and of the identity of partial work.
        records: Folder with manifest.json and the shards.
        weights: Output of weigh; holds the train-only models when retraining is off.
        model: The member in its family's format, and member.json.
    """
    from kep.components.retrain.retrain import run

    run(
        out=model.path,
        records=records.path,
        weights=weights.path,
        member=member,
        families=families,
        config=config,
        batch_size=batch_size,
        hardware=hardware,
        seed=seed,
        code=code,
    )
