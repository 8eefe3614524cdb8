"""The artifacts of a finished run: steps that were answered from the cache left theirs in folders of earlier runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kep.artifacts.member import EnsembleFile
from kep.artifacts.report import Report
from kep.artifacts.run import RunRecord
from kep.core.errors import UserError
from kep.core.json_model import JsonFile
from kep.data.schema import FILE, Manifest
from kep.data.sealed import ENDING


def run_of(model: Path, runs: Path) -> Path | None:
    """Return the run that made an ensemble, of which a champion is a copy; None where it is not under `runs`."""
    if (model.parent / RunRecord.FILE).is_file():
        return model.parent
    own = (model / EnsembleFile.FILE).read_bytes()
    for path in sorted(runs.glob(f"*/*/ensemble/{EnsembleFile.FILE}")):
        if path.read_bytes() == own and (path.parents[1] / RunRecord.FILE).is_file():
            return path.parents[1]
    return None


@dataclass(frozen=True)
class Artifacts:
    """Folders of a run's artifacts.

    Attributes:
        run: Folder of the run.
    """

    run: Path

    @cached_property
    def report(self) -> Report:
        """Content of the run's report."""
        return Report.of_run(self.run)

    def evaluation(self) -> Path:
        """Return the folder of evaluation.json and the stored test predictions."""
        return self._one(self.report.evaluation)

    def study(self) -> Path:
        """Return the folder of study.json and the trials."""
        return self._one(self.report.study)

    def best_epochs(self) -> dict[str, Path]:
        """Return the folder of each candidate's best_epoch.json, by candidate id."""
        return {result.candidate.id: self._one(result) for result in self.report.best_epochs}

    def members(self) -> dict[str, Path]:
        """Return the folder that retrain wrote for each member, by id: the ensemble's copies have no event files."""

        def is_original(folder: Path) -> bool:
            return folder.parent.name != "members"

        return {member.id: self._one(member, is_original) for member in self.report.members}

    def records(self) -> Path:
        """Return the folder of the manifest and the shards of train and validation rows."""
        return self._rows("train", "")

    def test(self) -> Path:
        """Return the folder of the sealed test rows."""
        return self._rows("test", ENDING)

    def _rows(self, role: str, ending: str) -> Path:
        """Return the folder in the store with this run's rows of a role, in shards with an ending.

        Raises:
            UserError: There is none any more.
        """
        store, wanted = self.run.resolve().parent / "store", self.report.manifest.fingerprint
        for path in sorted(store.glob(f"**/{FILE}")):
            try:
                manifest = Manifest.load(path.parent)
            except UserError:  # It is of another version, or damaged: not this run's.
                continue
            shards = manifest.roles[role].shards
            if manifest.fingerprint == wanted and shards and (path.parent / f"{shards[0].file}{ending}").is_file():
                return path.parent
        raise UserError(f"{self.run}: the {role} rows of this run are not in {store} any more; run it again")

    def _one(self, content: JsonFile, also: Callable[[Path], bool] = lambda folder: True) -> Path:
        """Return the folder in the store whose file holds this content.

        Raises:
            UserError: There is none any more.
        """
        store = self.run.resolve().parent / "store"
        for path in sorted(store.glob(f"**/{content.FILE}")):
            if _holds(path, content) and also(path.parent):
                return path.parent
        raise UserError(f"{self.run}: the {content.FILE} of this run is not in {store} any more; run it again")


def _holds(path: Path, content: JsonFile) -> bool:
    """Return whether a file holds this content; damaged files hold none."""
    try:
        return type(content).read(path) == content
    except UserError:
        return False
