"""Who is told of a decision, and that a run in the cloud has come to its end."""

from collections.abc import Callable
from pathlib import Path

from kep.artifacts.engine_run import EngineRun
from kep.artifacts.verdict import Verdict
from kep.config.notify import Kind, NotifyTask
from kep.runtime import notify


def tell_verdict(
    task: NotifyTask,
    verdict: Verdict,
    against: str | None,
    engine: EngineRun,
    evaluation: Path,
    say: Callable[[str], object],
) -> None:
    """Tell a decision, unless all stays as it was.

    Args:
        task: Who is told, and how.
        verdict: The decision.
        against: Folder of the champion that the ensemble was compared with.
        engine: The run on Vertex AI or Kubeflow.
        evaluation: Folder that `evaluate` wrote.
        say: Takes sentences for the log.
    """
    if not verdict.unchanged:
        # A run that is gone on with, or a task that is repeated, decides the same about the same.
        basis = f"{engine.job or task.first or task.run} {verdict.version} against {against}"
        kind: Kind = "promoted" if verdict.promoted else "not_promoted"
        links = notify.run_links(task, engine) | {"report": _report(task, evaluation)}
        run = task.run or engine.name
        notify.tell(task, notify.message(task, kind, verdict.sentence, basis, run, links), verdict.folder, say)
    notify.mark_ended(verdict.folder, engine, say)


def _report(task: NotifyTask, evaluation: Path) -> str:
    """Return the path or address of the run's report; empty where nobody could open it."""
    if task.run:
        return f"{task.run}/report.html"
    return notify.object_page(str(evaluation.parent / "report"))
