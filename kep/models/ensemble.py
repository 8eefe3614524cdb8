"""An ensemble as one folder: members in their families' formats, their weights, and what raw features mean."""

import copy
import functools
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kep.artifacts.member import EnsembleFile, TrainedMember, at_point
from kep.artifacts.step import StepRecord
from kep.artifacts.weights import Pooling
from kep.core.errors import UserError
from kep.core.files import file_digests, write_file
from kep.data.data_frames import DataFrame
from kep.data.records import Rows, encode_table
from kep.data.schema import Manifest
from kep.models.family import Family
from kep.models.registry import family, is_trees
from kep.stats.calibration import Calibration
from kep.stats.operating_point import OperatingPoint
from kep.stats.pooling import pool

_LEFT_OUT = (EnsembleFile.FILE, StepRecord.FILE)
"""Names of files without a fingerprint in `EnsembleFile.files`: its own, and times, in which equal ensembles differ."""
FEW = 64
"""Most rows whose networks are predicted together. Of more the calls cost little, and memory is for one at a time."""
_ROUNDING = 1e-6
log = logging.getLogger("kep")


class Ensemble:
    """Members whose predictions are pooled with weights.

    Args:
        folder: Folder that `write` wrote; every file is verified before a library loads it.
        devices: Names of TensorFlow's devices that members are laid on in turn, and predict on side by side; none for
            TensorFlow's own choice.

    Attributes:
        manifest: Manifest of the records that the members were trained on; its label decides at the operating point.
        members: The members.
        models: The members' families and models, in the same order.
        pooling: Way of `kep.stats.pooling.pool` to make one prediction of theirs.
        calibration: Map of the pooled probabilities; None for none.
        train_ids: uint64, sorted ids of the rows that some member was trained on.

    Raises:
        UserError: A file is missing or damaged, or the weights are none.
    """

    def __init__(self, folder: str | Path, devices: tuple[str, ...] = ()) -> None:
        folder, self._devices = Path(folder), devices
        described = verified(folder)
        self.manifest = described.deciding(Manifest.load(folder))
        self.members, self.pooling = described.members, described.pooling
        self.calibration = described.calibration
        self.train_ids: np.ndarray = np.load(folder / "train_ids.npy")
        self.models: list[tuple[Family, Any]] = []
        self._together: tuple[list[Any], Callable[[Rows], list[np.ndarray]]] | None = None
        for place, member in enumerate(self.members):
            own = family(member.spec, self.manifest)
            with self._on(place):
                self.models.append((own, own.load(folder / "members" / member.id)))

    def predict(self, table: pa.Table | pa.RecordBatch | DataFrame | dict[str, Any]) -> np.ndarray:
        """Predicts from raw features, as they stood in the source.

        Args:
            table: Columns by name, or a data frame; an image column holds uint8 pixels.

        Returns:
            Class probabilities in the order of `manifest.label.classes`, float64 [n, classes]; or [n] for a regression.

        Raises:
            UserError: A column is missing, unknown, or of a wrong type.
        """
        return self.manifest.label.restored(self.combine(self.predict_members(encode_table(self.manifest, table))))

    def reweighed(self, weights: dict[str, float]) -> "Ensemble":
        """Return the ensemble of the members that `weights` names, by id, with these weights."""
        chosen = copy.copy(self)
        pairs = [pair for pair in zip(self.members, self.models, strict=True) if pair[0].id in weights]
        chosen.members = [member.model_copy(update={"weight": weights[member.id]}) for member, _ in pairs]
        chosen.models = [model for _, model in pairs]
        return chosen

    def settled(self, calibration: Calibration | None, point: OperatingPoint | None) -> "Ensemble":
        """Return the ensemble with another map of its probabilities and another operating point."""
        chosen = copy.copy(self)
        chosen.calibration, chosen.manifest = calibration, at_point(self.manifest, point)
        return chosen

    def predict_members(self, rows: Rows) -> list[np.ndarray]:
        """Return each member's predictions, in order of `members`."""

        def predicted(place: int) -> np.ndarray:
            own, model = self.models[place]
            with self._on(place):
                return own.predict(model, rows)

        if len(self._devices) < 2:
            together = self._fused(rows) if len(rows) <= FEW else {}
            return [together[place] if place in together else predicted(place) for place in range(len(self.models))]
        with ThreadPoolExecutor(len(self._devices)) as threads:
            return list(threads.map(predicted, range(len(self.models))))

    def _fused(self, rows: Rows) -> dict[int, np.ndarray]:
        """Return the predictions of all networks from one compiled function, by place; none for fewer than two."""
        places = [place for place, member in enumerate(self.members) if not is_trees(member.spec)]
        if len(places) < 2:
            return {}
        models = [self.models[place][1] for place in places]
        if self._together is None or self._together[0] != models:
            from kep.models.keras_family import predict_together

            families: list[Any] = [self.models[place][0] for place in places]
            self._together = models, predict_together(families, models)
        return dict(zip(places, self._together[1](rows), strict=True))

    def _on(self, place: int) -> AbstractContextManager[Any]:
        """Return the device of a member."""
        if not self._devices:
            return nullcontext()
        import tensorflow as tf

        device: AbstractContextManager[Any] = tf.device(self._devices[place % len(self._devices)])
        return device

    def combine(self, predictions: list[np.ndarray]) -> np.ndarray:
        """Pool the members' predictions, in order of `members`, and calibrate.

        Returns:
            float64, in the records' units (`Label.offset`).
        """
        pooled = self.pool(predictions)
        return pooled if self.calibration is None else self.calibration.apply(pooled)

    def pool(self, predictions: list[np.ndarray]) -> np.ndarray:
        """Pool the members' predictions without calibration; arguments and result as of `combine`."""
        return pool(predictions, [member.weight for member in self.members], self.pooling)


def verified(folder: Path) -> EnsembleFile:
    """Return the description of an ensemble, once its files are what `write` wrote.

    An ensemble of before there were fingerprints is verified as far as its description goes.

    Raises:
        UserError: A file is missing or damaged, or the weights are not those of an ensemble.
    """
    described = EnsembleFile.load(folder)
    if described.files:
        described.check(folder)
    else:
        _note_unverified(folder)
    weights = [member.weight for member in described.members]
    if not (np.isfinite(weights).all() and min(weights, default=0.0) >= 0 and abs(sum(weights) - 1) <= _ROUNDING):
        raise UserError(
            f"{folder / described.FILE}: the members' weights are {weights}, which don't sum to 1; {described.REMEDY}"
        )
    for name in ["train_ids.npy", *(f"members/{member.id}" for member in described.members)]:
        if not (folder / name).exists():
            raise UserError(f"{folder / name} is missing; {described.REMEDY}")
    return described


@functools.cache
def _note_unverified(folder: Path) -> None:
    """Say once that an ensemble has no fingerprints."""
    log.warning(
        "note: %s has no fingerprints of its files, so damage to them would not be noticed; a new run writes them",
        folder / EnsembleFile.FILE,
    )


def write(
    folder: Path,
    members: dict[str, Path],
    records: Path,
    train_ids: np.ndarray,
    pooling: Pooling,
    calibration: Calibration | None = None,
    point: OperatingPoint | None = None,
) -> None:
    """Writes an ensemble into the empty `folder`.

    Args:
        folder: The folder.
        members: Folder of each member by id, in order of weight.
        records: Holds the manifest of the records.
        train_ids: uint64 ids of all rows that members were trained on.
        pooling: `arithmetic` or `geometric`.
        calibration: Map of the pooled probabilities; None for none.
        point: Operating point; None to predict the most probable class.

    Raises:
        UserError: A file of a member is missing or damaged.
    """
    described = []
    for id, source in members.items():
        # Curves for TensorBoard bear the time in their names, and nothing that predicts needs them.
        shutil.copytree(source, folder / "members" / id, ignore=shutil.ignore_patterns("tensorboard"))
        member = TrainedMember.load(source)
        member.check(source)
        described.append(member.model_copy(update={"files": {}}))
    Manifest.load(records).save(folder)
    write_file(folder / "train_ids.npy", lambda path: np.save(path, np.unique(train_ids)))
    files = file_digests(folder, leave=_LEFT_OUT)
    EnsembleFile(members=described, pooling=pooling, calibration=calibration, operating_point=point, files=files).save(
        folder
    )


def raw_features(manifest: Manifest, rows: Rows) -> dict[str, Any]:
    """Return `rows` as raw features, the inverse of `encode_table` up to categories outside the vocabulary.

    Returns:
        Columns by name, for `Ensemble.predict`.
    """
    table: dict[str, Any] = {}
    if manifest.image is not None:
        table[manifest.image.name] = rows.image
    for i, column in enumerate(manifest.numeric):
        values = [None if np.isnan(value) else float(value) + column.offset for value in rows.numeric[:, i]]
        if column.kind == "boolean":
            values = [None if value is None else bool(value) for value in values]
        table[column.name] = values
    for i, column in enumerate(manifest.categorical):
        # Any text outside the vocabulary has code 1; this one can't be in it by accident.
        names = [None, "\N{REPLACEMENT CHARACTER} not in the vocabulary", *(column.vocabulary or [])]
        table[column.name] = [names[code] for code in rows.categorical[:, i]]
    return table
