"""The ensemble that a name means, and how the run that made it read its data."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kep.artifacts.member import EnsembleFile
from kep.artifacts.run import RunRecord
from kep.artifacts.verdict import Verdict
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.core.files import scratch_folder
from kep.core.location import Location
from kep.engines.local.artifacts import run_of
from kep.engines.local.finding import find
from kep.storage import champions

log = logging.getLogger("kep")


@contextmanager
def opened(model: str, runs: Path) -> Iterator[tuple[Path, DataSettings]]:
    """Locate a model, also an ensemble or a folder of champions on gs://, whose local copy is removed at the end.

    Raises:
        UserError: There is none, or it can't be read.
    """
    if not Location(model).is_cloud:
        yield locate(model, runs)
        return
    from kep.google import objects

    def found(folder: str) -> dict[str, Any]:
        prefix = Location(folder).object_name.rstrip("/") + "/"
        return {blob.name.removeprefix(prefix): blob for blob in objects.find(folder, None)}

    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        try:
            blobs = found(model)
            if champions.POINTER in blobs:
                folder = stack.enter_context(champions.opened(champions.read(model).champion or model))
            elif EnsembleFile.FILE in blobs:
                objects.download(blobs, folder)
        except UserError as error:
            raise UserError(str(error).removeprefix("data.source: ")) from error
        if not (folder / EnsembleFile.FILE).is_file():
            raise UserError(f'"{model}" holds no ensemble.json; give the folder of an ensemble or of champions')
        yield folder, _reading(None)


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
        if (ensemble / EnsembleFile.FILE).is_file():
            return folder, _reading(run_of(ensemble, runs))
        if kept := champions.versions(str(folder)):
            raise UserError(
                f"{folder} holds versions ({', '.join(kept)}) and no {champions.POINTER}, which says which one serves; "
                "bring it back, or name the folder of a run"
            )
    run = find(model, runs)
    # Whoever names a run knows what it is.
    if model == Path(model).name and (runs / model).is_dir() and not _serves(run):
        log.warning(
            "note: %s has no champion; this is its newest run, %s, which was not promoted", model, run.resolve().name
        )
    return run / "ensemble", _reading(run)


def _serves(run: Path) -> bool:
    """Return whether a run's ensemble was promoted, as far as its folder says."""
    return not (run / Verdict.FILE).is_file() or Verdict.load(run).serves


def _reading(run: Path | None) -> DataSettings:
    """The run's settings that say how to read a source; the defaults where the run is not known."""
    if run is None:
        return DataSettings(source="")
    data = RunRecord.load(run).run_file.data
    return DataSettings(
        source="", **data.model_dump(exclude={"source", "files", "format", "split", "features", "exclude"})
    )
