"""Checkpoints of one training: written atomically, read back by the training that goes on from them."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kep.core.errors import RunError
from kep.core.files import write_file
from kep.core.json_model import JsonModel

KEPT = 2
"""Checkpoints kept: the newest, and one before, should processes of one training not have the same newest."""
log = logging.getLogger("kep")

TrainingState = tuple[dict[str, Any], dict[str, np.ndarray]]
"""State of a training: its JSON values, and its arrays by name."""


class _Description(JsonModel):
    """JSON file beside the arrays of a checkpoint."""

    identity: str
    state: dict[str, Any]
    digest: str
    """sha256 over the state and the arrays."""


class Checkpoints:
    """The checkpoints of one training in a folder of their own, `<step>.npz`, numbered by optimiser steps.

    Args:
        folder: Made when the first checkpoint is written.
        identity: Identity of the training; a checkpoint with another one is passed over.
        minutes: Time between two.
    """

    def __init__(self, folder: Path, identity: str, minutes: float) -> None:
        self.folder = folder
        self._identity, self._seconds = identity, 60 * minutes
        self._last = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time for the next one."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, number: int, state: TrainingState) -> None:
        """Writes a checkpoint whole or not at all, and removes those before the last `KEPT`.

        Raises:
            OSError: It could not be written, such as for want of disk; the earlier ones are as they were.
        """
        kept, arrays = state
        told = _Description(identity=self._identity, state=kept, digest=_digest(kept, arrays))
        described = np.frombuffer(json.dumps(told.model_dump()).encode(), np.uint8)
        content: dict[str, Any] = {"__state__": described, **arrays}
        write_file(self.folder / f"{number:012d}.npz", lambda path: np.savez(path, **content))
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)
        self._last = time.monotonic()

    def numbers(self) -> list[int]:
        """Numbers of the checkpoints that can be read, the newest first; the others are said and passed over."""
        for unfinished in self.folder.glob(".*.npz"):  # of a process that was killed while it wrote
            unfinished.unlink()
        return [int(path.stem) for path in reversed(self._files()) if self._read(path) is not None]

    def load(self, number: int) -> TrainingState:
        """Return the checkpoint with a number that `numbers` gave.

        Raises:
            RunError: It can no longer be read.
        """
        path = self.folder / f"{number:012d}.npz"
        state = self._read(path)
        if state is None:
            raise RunError(f"checkpoint {path} can no longer be read; start the training again")
        return state

    def remove(self) -> None:
        """Removes all of them: the training has ended well."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"))

    def _read(self, path: Path) -> TrainingState | None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            described = _Description.from_json(arrays.pop("__state__").tobytes())
            whole = described.digest == _digest(described.state, arrays)
        except Exception as error:  # a flipped bit of an archive can be any of a dozen errors
            log.warning("checkpoint %s is passed over: it is torn (%s)", path, error)
            return None
        if not whole:
            log.warning("checkpoint %s is passed over: it is not what was written there", path)
            return None
        if described.identity != self._identity:
            log.warning("checkpoint %s is passed over: it is of another training", path)
            return None
        return described.state, arrays


def _digest(kept: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 over a state."""
    total = hashlib.sha256(json.dumps(kept).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        total.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.tobytes())
    return total.hexdigest()
