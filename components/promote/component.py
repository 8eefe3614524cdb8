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
    notify: str = "",
    job: str = "",
    job_name: str = "",
    job_id: str = "",
) -> None:
    """Moves the champion pointer to the new ensemble if its test loss is surely lower than the champion's.

    Args:
        config: JSON of the run file's `promote`.
        champion: JSON: the champion's folder, the version that evaluate compared with or null.
        force: Promote whatever the comparison says; recorded in the verdict.
        code: Hash of the code that runs.
        ensemble: The challenger.
        evaluation: Output of evaluate; its stored predictions are the comparison.
        verdict: The decision with its reason.
        server_image: Image by digest that serves the winner, where the Model Registry is to have it.
        notify: JSON of NotifyTask: who is told of the decision; nobody when empty.
        job: Resource name of the run, where Vertex AI's Model Registry is to have the winner, or somebody is told.
        job_name: Name of the run on its engine, where somebody is told.
        job_id: Id of the run on its engine, where somebody is told.
    """
    from kep.artifacts.engine_run import EngineRun
    from kep.components.promote.promote import run

    run(
        out=verdict.path,
        ensemble=ensemble.path,
        evaluation=evaluation.path,
        config=config,
        champion=champion,
        force=force,
        engine=EngineRun(job=job, name=job_name, id=job_id, server_image=server_image),
        notify=notify,
        code=code,
    )
