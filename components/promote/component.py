"""promote: compare with the champion, and replace it on a win."""

from kfp.dsl import Artifact, Input, Model, Output

from kep.runtime.component import step


@step
def promote(
    config: str,
    champion: str,
    force: bool,
    code: str,
    ensemble: Input[Model],
    evaluation: Input[Artifact],
    verdict: Output[Artifact],
    server_image: str = "",
    job: str = "",
) -> None:
    """Moves the champion pointer to the new ensemble if its test loss is surely lower than the champion's.

    Args:
        config: JSON of the run file's `promote`.
        champion: JSON: the champion's folder, the version that evaluate compared with or null.
        force: Promote whatever the comparison says; recorded in the verdict.
        code: Hash of the code that runs.
        ensemble: The challenger.
        evaluation: What evaluate wrote; its stored predictions are the comparison.
        verdict: The decision with its reason.
        server_image: Image by digest that serves the winner, where the Model Registry is to have it.
        job: Resource name of the run, where Vertex AI's Model Registry is to have the winner.
    """
    from kep.components.promote.promote import run

    run(
        out=verdict.path,
        ensemble=ensemble.path,
        evaluation=evaluation.path,
        config=config,
        champion=champion,
        force=force,
        server_image=server_image,
        job=job,
        code=code,
    )
