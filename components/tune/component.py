"""tune: search the families' hyperparameters and hand on the candidates; `suggest` and `trial` do it in rounds."""

from typing import List

from kfp.dsl import Artifact, Dataset, Input, Output

from kep.runtime.component import step


@step
def tune(
    families: str,
    config: str,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    study: Output[Artifact],
    searched: Input[Artifact] = None,
    trials: Input[List[Artifact]] = None,
) -> List[str]:
    """Trains trials on train rows, scores them on validation rows, and chooses candidates.

    Args:
        families: JSON list of families, a user's own with its source.
        config: JSON of the run file's `search`.
        hardware: JSON of the run file's `hardware.tune`.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards.
        study: Trials with their validation predictions, and an HTML summary of the search.
        searched: The last round, when the trials were tasks of their own.
        trials: Trials of that round.

    Returns:
        One JSON string per candidate.
    """
    from kep.components.tune.tune import run

    return run(
        out=study.path,
        records=records.path,
        families=families,
        config=config,
        hardware=hardware,
        seed=seed,
        code=code,
        searched=searched.path if searched else None,
        trials=[one.path for one in trials or []],
    )


@step
def suggest(
    families: str,
    config: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    search: Output[Artifact],
    searched: Input[Artifact] = None,
    trials: Input[List[Artifact]] = None,
) -> List[str]:
    """Suggests a round of trials from the records of the rounds before.

    Args:
        families: JSON list of families, a user's own with its source.
        config: JSON of the run file's `search`.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards.
        search: All records so far, and what this round is to train.
        searched: The round before; none for the first.
        trials: The trials of the round before.

    Returns:
        One JSON string per trial.
    """
    from kep.components.tune.rounds import suggest

    return suggest(
        out=search.path,
        records=records.path,
        families=families,
        config=config,
        seed=seed,
        searched=searched.path if searched else None,
        trials=[one.path for one in trials or []],
        code=code,
    )


@step
def trial(
    order: str,
    families: str,
    config: str,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    record: Output[Artifact],
) -> None:
    """Trains one configuration once on train rows and scores it on validation rows.

    Args:
        order: JSON of what to train.
        families: JSON list of families, a user's own with its source.
        config: JSON of the run file's `search`.
        hardware: JSON of the run file's `hardware.tune`.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards.
        record: The trial with its validation predictions.
    """
    from kep.components.tune.rounds import trial

    trial(
        out=record.path,
        records=records.path,
        order=order,
        families=families,
        config=config,
        hardware=hardware,
        seed=seed,
        code=code,
    )
