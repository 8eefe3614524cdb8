"""The search of an earlier run, by the name that a run file on this machine calls it."""

from pathlib import Path

from kep.artifacts import earlier
from kep.artifacts.study import Study
from kep.config.run_file import RunFile
from kep.config.search import EarlierSearch
from kep.core.errors import UserError
from kep.core.location import Location
from kep.engines import earlier as searches
from kep.engines.local.artifacts import Artifacts
from kep.engines.local.finding import find


def resolved(settings: RunFile, base: Path, runs: Path) -> RunFile:
    """Return the run file with the studies that its search names; arguments and errors as of `kep.engines.earlier`.

    Args:
        settings: The run file.
        base: Its folder.
        runs: Folder of all runs, which names mean the latest run of.
    """

    def of_name(name: str, where: str) -> EarlierSearch:
        if Location(name).is_cloud:
            return searches.in_cloud(name, where)
        study, run = _study(name, base, runs, where)
        # One path for one study, whatever links lead to it.
        place = study.resolve()
        return earlier.described(place, run, str(place), where)

    return searches.resolved(settings, base, of_name)


def _study(name: str, base: Path, runs: Path, where: str) -> tuple[Path, str]:
    """Return the folder of the study of a run, and the run's name."""
    for folder in (Path(name), base / name):
        if (folder / Study.FILE).is_file():
            return folder, name
    given = base / name
    try:
        run = find(str(given) if (given / "report.html").is_file() else name, runs).resolve()
        return Artifacts(run).study(), f"{run.parent.name}/{run.name}"
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
