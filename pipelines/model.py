"""Which ensemble a name means, and how the run that made it read its data."""

from pathlib import Path

from components.shared import champions
from components.shared.files import read_json
from components.shared.settings import DataSettings
from pipelines.artifacts import run_of
from pipelines.run import RECORD, find


def locate(model: str, runs: Path) -> tuple[Path, DataSettings]:
    """The ensemble's folder, and how the run that made it read its data.

    Raises:
        UserError: There is none.
    """
    folder, settings = named(model, runs)
    return champions.serving(folder), settings


def named(model: str, runs: Path) -> tuple[Path, DataSettings]:
    """The folder of an ensemble, or of champions of which one is, and how the run that made that one read its data.

    Args:
        model: A run's name or folder, a folder of champions, or an ensemble's folder.
        runs: Folder of all runs.

    Raises:
        UserError: There is none.
    """
    for folder in (Path(model), runs / "champions" / model):
        ensemble = champions.serving(folder)
        if (ensemble / "ensemble.json").is_file():
            return folder, _reading(run_of(ensemble, runs))
    run = find(model, runs)
    return run / "ensemble", _reading(run)


def _reading(run: Path | None) -> DataSettings:
    """The run's settings that say how to read a source; the defaults where the run is not known."""
    if run is None:
        return DataSettings(source="")
    data = DataSettings.model_validate(read_json(run / RECORD)["run_file"]["data"])
    return DataSettings(
        source="", **data.model_dump(exclude={"source", "files", "format", "split", "features", "exclude"})
    )
