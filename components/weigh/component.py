"""weigh: which candidates become members of the ensemble, and with what weights."""

from typing import List

from kfp.dsl import Artifact, Dataset, Input, Output

from kep.runtime.component import step


@step
def weigh(
    config: str,
    retrain: str,
    seed: int,
    code: str,
    results: Input[List[Artifact]],
    records: Input[Dataset],
    weights: Output[Artifact],
) -> List[str]:
    """Fits the weights on the candidates' stored validation predictions.

    Args:
        config: JSON of the run file's `ensemble`.
        retrain: JSON of the run file's `retrain`: without retraining the train-only models go along.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        results: Outputs of best_epoch, one folder per candidate.
        records: Folder with manifest.json; the shards are not read.
        weights: Weights by member id, and the cross-fitted loss of every method.

    Returns:
        One JSON string per member.
    """
    from kep.components.weigh.weigh import run

    return run(
        out=weights.path,
        results=[result.path for result in results],
        records=records.path,
        config=config,
        retrain=retrain,
        seed=seed,
        code=code,
    )
