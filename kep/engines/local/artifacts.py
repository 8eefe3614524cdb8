"""The artifacts of a finished run: steps that were answered from the cache left theirs in folders of earlier runs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kep.core.errors import UserError
from kep.core.files import read_json
from kep.engines.local.run import RECORD


def run_of(model: Path, runs: Path) -> Path | None:
    """The run that made an ensemble, of which a champion is a copy; None where it is not under `runs`."""
    if (model.parent / RECORD).is_file():
        return model.parent
    own = (model / "ensemble.json").read_bytes()
    for path in sorted(runs.glob("*/*/ensemble/ensemble.json")):
        if path.read_bytes() == own and (path.parents[1] / RECORD).is_file():
            return path.parents[1]
    return None


@dataclass(frozen=True)
class Artifacts:
    """Where a run's artifacts lie.

    Args:
        run: Folder of the run.
    """

    run: Path

    @property
    def report(self) -> dict:
        """The content of report.json: what every step found."""
        return read_json(self.run / "report.json")

    def evaluation(self) -> Path:
        """Holds evaluation.json and the stored test predictions."""
        return self._one("evaluation.json", self.report["evaluation"])

    def study(self) -> Path:
        """Holds study.json and the trials."""
        return self._one("study.json", self.report["study"])

    def best_epochs(self) -> dict[str, Path]:
        """The folder of each candidate's best_epoch.json, by candidate id."""
        found = self.report["best_epochs"]
        return {one["candidate"]["id"]: self._one("best_epoch.json", one) for one in found}

    def members(self) -> dict[str, Path]:
        """The folder that retrain wrote for each member, by id: the ensemble's copies have no event files."""

        def is_original(folder: Path) -> bool:
            return folder.parent.name != "members"

        return {one["id"]: self._one("member.json", one, is_original) for one in self.report["members"]}

    def records(self) -> Path:
        """Holds the manifest and the shards."""
        shard = self.report["manifest"]["roles"]["train"]["shards"][0]["file"]
        return self._one("manifest.json", self.report["manifest"], lambda folder: (folder / shard).is_file())

    def _one(self, name: str, content: Any, also: Callable[[Path], bool] = lambda folder: True) -> Path:
        """The folder in the store whose file `name` has this content.

        Raises:
            UserError: There is none any more.
        """
        store, wanted = self.run.resolve().parent / "store", json.dumps(content, sort_keys=True)
        for path in sorted(store.glob(f"**/{name}")):
            if json.dumps(read_json(path), sort_keys=True) == wanted and also(path.parent):
                return path.parent
        raise UserError(f"{self.run}: the {name} of this run is not in {store} any more; run it again")
