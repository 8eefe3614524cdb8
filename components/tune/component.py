"""tune: search the families' hyperparameters and hand on the candidates."""

from typing import List

from kfp.dsl import Artifact, Dataset, Input, Output

from components.shared.component import step


@step
def tune(
    families: str,
    config: str,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    study: Output[Artifact],
) -> List[str]:
    """Trains trials on train rows, scores them on validation rows, and chooses candidates.

    Args:
        families: JSON list of families, a user's own with its source.
        config: JSON of the run file's `search`.
        hardware: JSON of the run file's `hardware`.
        seed: Of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards.
        study: Trials with their validation predictions, and an HTML summary of the search.

    Returns:
        One JSON string per candidate.
    """
    from components.tune.tune import run

    return run(
        out=study.path,
        records=records.path,
        families=families,
        config=config,
        hardware=hardware,
        seed=seed,
        code=code,
    )
