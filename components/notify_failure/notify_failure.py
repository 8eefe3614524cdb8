"""Exit handler of a run in the cloud: find out whether it failed, and notify."""

import traceback

from kep.artifacts.engine_run import EngineRun
from kep.config.notify import NotifyTask
from kep.core.errors import UserError
from kep.runtime.notify import has_ended, message, run_links, tell
from kep.storage.champions import Champion

_WELL = ("SUCCEEDED", "COMPLETE", "CACHED", "SKIPPED")
"""States of a flow that has ended well: Vertex AI's word, and those of Kubeflow."""
_CANCELLED = ("CANCELLED", "CANCELED", "CANCELLING", "CANCELING")


def run(*, notify: str, champion: str, engine: EngineRun, state: str, reason: str) -> None:
    """Tell of a failure, once for a run. Whatever goes wrong is said in the log: a failure here would tell nobody more.

    Args:
        notify: JSON of `NotifyTask`.
        champion: JSON of `Champion`.
        engine: The run.
        state: State of the flow, as its engine calls it.
        reason: Why it failed, as far as the engine says.
    """
    print(f"the flow has ended as {state}", flush=True)
    try:
        task, folder = NotifyTask.model_validate_json(notify), Champion.of_parameter(champion).folder
        if state in (*_WELL, *_CANCELLED) or _ended(folder, engine.job):
            return
        why = (reason.strip().splitlines() or ["the page of the run says why"])[0].strip()
        told = message(task, "failed", f"failed: {why}", engine.job, engine.name, run_links(task, engine))
        tell(task, told, folder, lambda text: print(text, flush=True))
    except Exception:
        print(f"WARNING: notify: nobody was told of the failure\n{traceback.format_exc()}", flush=True)


def _ended(folder: str, job: str) -> bool:
    """Return whether the last task has left word that all went well; False where that can't be read."""
    try:
        return bool(job) and has_ended(folder, job)
    except (UserError, OSError) as error:
        print(f"WARNING: notify: whether the last task has ended well is not known ({error})", flush=True)
        return False
