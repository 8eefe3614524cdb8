"""An ensemble in Python, as `kep.load` gives it."""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from kep.artifacts.explanation import Explanation
from kep.artifacts.report import Report
from kep.components.predict.predict import as_table
from kep.components.predict.read import chunk_rows
from kep.core.errors import UserError
from kep.data.data_frames import DataFrame, as_columns
from kep.data.records import as_array
from kep.data.schema import Label
from kep.delivery.models import opened
from kep.delivery.predict import Unknown, batches
from kep.engines.local.artifacts import run_of
from kep.models.ensemble import Ensemble

Data: TypeAlias = DataFrame | pa.Table | Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | Path
"""Rows of raw features, as they stood in the source."""


class Model:
    """A champion, or another ensemble, with what the run that made it knows of it.

    Args:
        model: A run file's name for its champion, a run's folder, a folder of champions, or an ensemble's folder; the
            latter two also on gs://.
        runs: Folder of all runs.

    Attributes:
        name: Name as it was given.
        classes: Names of the classes, in the order of the probabilities; empty for a regression.
        columns: Names of the columns that `predict` needs.

    Raises:
        UserError: There is no such model, or it is damaged.
    """

    def __init__(self, model: str | Path, runs: str | Path = "runs") -> None:
        self.name = str(model)
        with ExitStack() as stack:
            folder, self._reading = stack.enter_context(opened(self.name, Path(runs)))
            self._ensemble = Ensemble(folder)
            self._run = run_of(folder, Path(runs))
        manifest = self._ensemble.manifest
        self.classes: list[bool | int | str] = list(manifest.label.classes or [])
        self.columns = [column.name for column in manifest.inputs]

    def predict(self, data: Data) -> Any:
        """Predict rows.

        Args:
            data: A data frame, a table of Arrow, columns by name, a list of rows, or a path as in `data.source`. A dict
                of single values is one row.

        Returns:
            A row for each row, in the same order: `prediction` (the predicted class, or the number) and for classes a
            `probability_CLASS` each. For a data frame of pandas it is one with the same index, otherwise a table of
            Arrow.

        Warns:
            UserWarning: Many rows have a category that the model does not know.

        Raises:
            UserError: A column is missing, or holds something else than in training; or these are no rows.
        """
        label = self._ensemble.manifest.label
        if isinstance(data, str | Path):
            inputs = self._ensemble.manifest.inputs
            parts = batches(str(data), self._reading, inputs, chunk_rows(inputs))
            tables = [as_table(label, self._predicted(part)) for part in parts]
            return pa.concat_tables([_empty(label), *tables]).combine_chunks()
        manifest = self._ensemble.manifest
        columns = as_columns(_columns(data), [column.name for column in manifest.columns + manifest.inputs])
        empty = bool(columns) and not any(len(values) for values in columns.values())
        found = _empty(label) if empty else as_table(label, self._predicted(columns))
        if type(data).__module__.partition(".")[0] == "pandas":
            pandas = importlib.import_module("pandas")
            return pandas.DataFrame(found.to_pydict(), index=getattr(data, "index", None))
        return found

    def _predicted(self, columns: dict[str, Any]) -> np.ndarray:
        """Predict columns, and warn of what the model does not know."""
        predictions = self._ensemble.predict(columns)
        unknown = Unknown([one for one in self._ensemble.manifest.inputs if one.vocabulary])
        unknown.add({name: as_array(values, name) for name, values in columns.items() if name in unknown.columns})
        for note in unknown.notes(len(predictions)):
            warnings.warn(note, UserWarning, stacklevel=3)
        return predictions

    def explain(self) -> Explanation:
        """Return why the model predicts as it does, as evaluate found it on the test rows.

        That is the importance of each column, partial dependence, the slices that are worse, and the worst rows.

        Raises:
            UserError: The run that made the model is not under the folder of runs, or looked for no reasons.
        """
        found = self.report.evaluation.why
        if found is None:
            raise UserError(f"{self.name}: the run that made this model looked for no reasons; run it again")
        return found

    @property
    def report(self) -> Report:
        """Content of the report of the run that made the model.

        Raises:
            UserError: The run is not under the folder of runs.
        """
        if self._run is None:
            raise UserError(
                f"{self.name}: the run that made this model is not in the folder of runs; name that folder with runs="
            )
        return Report.of_run(self._run)

    def __repr__(self) -> str:
        members = ", ".join(member.id for member in self._ensemble.members)
        return f"<kep model {self.name}: {members}>"


def _empty(label: Label) -> pa.Table:
    return as_table(label, np.empty((0, len(label.classes or [0]))))


def _columns(data: Any) -> Any:
    """Return rows as columns by name, where they are not a table yet."""
    if isinstance(data, Mapping):
        single = not any(
            isinstance(value, list | tuple | np.ndarray | pa.Array | pa.ChunkedArray) for value in data.values()
        )
        return {name: [value] if single else value for name, value in data.items()}
    if isinstance(data, Sequence):
        names = dict.fromkeys(name for row in data for name in row)
        return {name: [row.get(name) for row in data] for name in names}
    return data
