"""Who is told that data have drifted: whoever the run file of the run that made the model names."""

from pathlib import Path

from rich.console import Console

from kep.artifacts.drift import Drift
from kep.artifacts.run import RunRecord
from kep.config.notify import NotifyTask
from kep.core.json_model import FINGERPRINT
from kep.engines.local import mirror
from kep.engines.local.artifacts import run_of
from kep.engines.progress import say
from kep.pipelines.parameters import champions_folder
from kep.runtime.notify import message, tell


def tell_drift(found: Drift, model: Path, runs: Path, page: Path | None, console: Console) -> None:
    """Tell that data have drifted, where the run that made the model is known and asks for it.

    The same comparison of the same data is told once.

    Args:
        found: The comparison.
        model: Folder of the ensemble.
        runs: Folder of all runs.
        page: The comparison as a page; None for none.
        console: Takes a line about each way.
    """
    run = run_of(model, runs) if found.drifted else None
    if run is None:
        return
    record = RunRecord.load(run)
    settings, base, notify = record.run_file, Path(record.base), record.run_file.notify
    if not notify.asks_for("drift"):
        return
    if notify.command and (mirror.address_of(runs) or not base.is_dir()):
        # A record from elsewhere is data, which runs no code here.
        say(console, f"note: notify.command is not run: {run} was made elsewhere")
        notify = notify.model_copy(update={"command": None})
    if not notify.channels:
        return
    task = NotifyTask(**notify.model_dump(), name=settings.name, base=str(base), run=str(run))
    text = f"{found.verdict}; the data are {found.data}"
    told = message(
        task,
        "drift",
        text,
        found.with_fingerprint()[FINGERPRINT],
        str(run.resolve()),
        {"page": str(page.absolute()) if page else ""},
    )
    champions = champions_folder(settings, base, f"{mirror.address_of(runs) or runs.absolute()}/champions")
    tell(task, told, champions, lambda line: say(console, line))
