"""notify_failure: tell people of a run in the cloud that has failed; the exit handler of the whole flow."""

from kfp import dsl

from kep.runtime.component import step


@step
def notify_failure(
    notify: str,
    champion: str,
    status: dsl.PipelineTaskFinalStatus,
    job: str = "",
    job_name: str = "",
    job_id: str = "",
) -> None:
    """Tells that the run has failed, unless it has ended well or was cancelled; it never fails itself.

    Args:
        notify: JSON of NotifyTask: who is told.
        champion: JSON: the champion's folder, beside which is marked what was told.
        status: How the flow has ended, as the engine says.
        job: Resource name of the run.
        job_name: Name of the run on its engine.
        job_id: Id of the run on its engine.
    """
    from kep.artifacts.engine_run import EngineRun
    from kep.components.notify_failure.notify_failure import run

    engine = EngineRun(job=job, name=job_name, id=job_id)
    run(notify=notify, champion=champion, engine=engine, state=status.state, reason=status.error_message or "")
