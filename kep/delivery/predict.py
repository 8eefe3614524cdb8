"""Predictions of an ensemble for a file of raw features: read, predicted and written batch by batch, in order."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from kep.components.predict.plan import prediction_columns
from kep.components.predict.predict import as_table
from kep.components.predict.read import chunk_rows, chunks, open_for
from kep.config.data import DataSettings
from kep.core.errors import UserError, nearest
from kep.core.files import scratch_folder, write_file
from kep.core.location import Location
from kep.data.columns import category_codes, plain
from kep.data.schema import Column, Label
from kep.delivery.models import opened
from kep.delivery.remote import Remote
from kep.models.ensemble import Ensemble

if TYPE_CHECKING:
    from kep.delivery.rollout.endpoints import Predictor

_LISTED = 5
ENDINGS = (".csv", ".parquet", ".jsonl")


@dataclass(frozen=True)
class SourceOptions:
    """How a source of rows to predict is read, and its predictions are written.

    Attributes:
        delimiter: Between the columns of a CSV file; that of the run where its folder is known, else a comma.
        keys: Columns that name a row, written before its prediction.
        guard: Whether text that a spreadsheet takes for a formula gets an apostrophe before it in a CSV file.
    """

    delimiter: str | None = None
    keys: Sequence[str] = ()
    guard: bool = False


def predict(
    model: str | None,
    url: str | None,
    data: str,
    output: Path,
    runs: Path,
    console: Console,
    endpoint: "Predictor | None" = None,
    reading: SourceOptions = SourceOptions(),
) -> None:
    """Predicts every row of `data` and writes one row for each, in the same order.

    The file has the key columns, `prediction` (the predicted class, or the number) and for classes
    `probability_CLASS` of each.

    Args:
        model: A run's name or folder, a folder of champions, or an ensemble's folder, the latter two also on gs://.
        url: URL of a model that `kep serve` serves.
        data: A source, as in `data.source`; a label in it is not looked at.
        output: .csv, .parquet or .jsonl; it appears whole or not at all.
        runs: Folder of all runs.
        console: Where to say how far it is.
        endpoint: Endpoint of Vertex AI. Of the three, one is given, and the others are None.
        reading: How to read the source.

    Raises:
        UserError: There is no such model, or the data lack a column or hold something else.
    """
    if sum(one is not None for one in (model, url, endpoint)) != 1:
        raise UserError(
            "give --model with a run, --url with the address of a served model, or --endpoint with one of Vertex AI"
        )
    if output.suffix not in ENDINGS:
        raise UserError(f"--output: {output} must end in {', '.join(ENDINGS)}{nearest(output.suffix, ENDINGS)}")
    with ExitStack() as stack:
        if model is not None:
            own = _local(model, runs, stack)
        else:
            own = _remote(endpoint, endpoint) if endpoint else _remote(Remote(url or ""), url)
        settings = own.settings
        if reading.delimiter is not None:
            settings = settings.model_copy(update={"delimiter": reading.delimiter})
        _check_keys(reading.keys, own.label)
        rows, unknown, named = 0, Unknown([one for one in own.columns if one.vocabulary]), _Keys(reading.keys)
        notes: list[str] = []
        shown = [TextColumn("{task.completed:,} rows"), SpinnerColumn()]
        with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("")

            def predicted() -> Iterator[pa.Table]:
                nonlocal rows
                for table in batches(data, settings, own.columns, own.most, reading.keys, own.beside, notes.append):
                    features = {column.name: table[column.name] for column in own.columns}
                    unknown.add(features)
                    named.add(table)
                    done = as_table(own.label, own.predict(features))
                    for place, key in enumerate(reading.keys):
                        done = done.add_column(place, key, plain(table[key]))
                    yield done
                    rows += done.num_rows
                    progress.update(task, completed=rows)

            # The first rows say of which type the keys are.
            parts = predicted()
            if (first := next(parts, None)) is None:
                raise UserError(f"{data} has no rows; give a source with some")
            tables = chain([first], parts)
            if reading.guard and output.suffix == ".csv":
                tables = chain([first := guarded(first)], map(guarded, parts))
            write_file(output, lambda path: _write(path, output.suffix, first.schema, tables))
    # Loading TensorFlow and the model is most of the time of few rows.
    seconds = time.time() - psutil.Process().create_time()
    for note in [*notes, *unknown.notes(rows), *named.notes(rows)]:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"wrote {output}: {rows:,} rows in {seconds:.1f} s, by {own.name}", soft_wrap=True)


def _check_keys(keys: Sequence[str], label: Label) -> None:
    """Refuse key columns that the predictions would have twice.

    Raises:
        UserError: With the first one.
    """
    for key in keys:
        if key in prediction_columns(label):
            raise UserError(f'--key: the predictions have a column "{key}" of their own; rename it in the source')
    if twice := next((key for key, number in Counter(keys).items() if number > 1), None):
        raise UserError(f'--key: "{twice}" is given twice; give each column once')


MANY_UNKNOWN = 0.05
"""Share of the rows with an unknown category of one column, above which it is told of."""


class Unknown:
    """Rows with a category that the model does not know.

    Args:
        columns: The categorical columns.

    Attributes:
        columns: Their names.
    """

    def __init__(self, columns: list[Column]) -> None:
        self._columns = columns
        self.columns = frozenset(column.name for column in columns)
        self._rows: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, table: dict[str, pa.Array]) -> None:
        """Count those of some rows."""
        for column in self._columns:
            unseen = category_codes(table[column.name], column) == 1
            if unseen.any():
                self._rows[column.name] += int(unseen.sum())
                self._first.setdefault(column.name, str(plain(table[column.name])[int(unseen.argmax())]))

    def notes(self, rows: int) -> list[str]:
        """Return a sentence for each column of which many of the rows have one."""
        return [
            f'column "{name}" has a category that the model does not know in {count:,} of {rows:,} rows, such as '
            f'"{self._first[name]}"'
            for name, count in self._rows.items()
            if count > MANY_UNKNOWN * rows
        ]


class _Keys:
    """Keys of rows: each row has one, and best no other row's.

    Args:
        columns: The key columns.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._seen: set[int] = set()
        self._again = self._empty = 0

    def add(self, table: dict[str, pa.Array]) -> None:
        """Look at those of some rows."""
        columns = [plain(table[name]) for name in self._columns]
        for values in columns:
            empty = pc.or_kleene(pc.is_null(values), pc.equal(values.cast(pa.string()), ""))
            self._empty += pc.sum(empty).as_py() or 0
        for key in zip(*(values.to_pylist() for values in columns), strict=True):
            before = len(self._seen)
            self._seen.add(hash(key))
            self._again += len(self._seen) == before

    def notes(self, rows: int) -> list[str]:
        """Return sentences about rows without a key, and about those with the key of another one."""
        told = [(self._empty, "have no key"), (self._again, "have the key of a row before")]
        return [f"{count:,} of {rows:,} rows {words}" for count, words in told if count]


@dataclass(frozen=True)
class _Predictor:
    """A model that predicts raw features, on this machine or elsewhere.

    Attributes:
        predict: From columns by name to predictions, [n, classes] or [n].
        columns: Columns that it takes.
        label: Label that it predicts.
        settings: How the run that made it read its data.
        most: Rows at a time; None for as many as `kep batch` predicts at once.
        name: For people.
        beside: Names of columns that a source may have beside those, and that nobody has to be told of.
    """

    predict: Callable[[dict[str, pa.Array]], np.ndarray]
    columns: list[Column]
    label: Label
    settings: DataSettings
    most: int | None
    name: object
    beside: frozenset[str]


def _local(model: str, runs: Path, stack: ExitStack) -> _Predictor:
    folder, settings = stack.enter_context(opened(model, runs))
    ensemble = Ensemble(folder)
    name = model if Location(model).is_cloud else folder
    manifest = ensemble.manifest
    beside = frozenset([*manifest.ignored, manifest.label.name])
    return _Predictor(ensemble.predict, manifest.inputs, manifest.label, settings, None, name, beside)


def _remote(served: "Remote | Predictor", name: object) -> _Predictor:
    most = min(chunk_rows(served.columns), served.rows)
    beside = frozenset([served.label.name])
    return _Predictor(served.predict, served.columns, served.label, DataSettings(source=""), most, name, beside)


def batches(
    data: str,
    settings: DataSettings,
    columns: list[Column],
    most: int | None = None,
    keys: Sequence[str] = (),
    beside: Collection[str] = (),
    note: Callable[[str], object] = lambda note: None,
) -> Iterator[dict[str, pa.Array]]:
    """The raw feature columns of a source by name, some rows at a time, in order.

    Args:
        data: A source, as in `data.source`.
        settings: How the run that made the model read its data.
        columns: Columns that the model was trained on.
        most: Rows at a time; as many as `kep batch` predicts at once when not given.
        keys: Further columns.
        beside: Columns that the source may have, too.
        note: Takes a sentence about any others.

    Raises:
        UserError: The source can't be read, or lacks a column.
    """
    with scratch_folder() as scratch:
        source = open_for(columns, settings.model_copy(update={"source": data}), scratch)
        for key in keys:
            if key not in source.names or key in (source.images or {}):
                raise UserError(f'--key: column "{key}" is not in {source.description}{nearest(key, source.names)}')
        names = dict.fromkeys([*(column.name for column in columns), *keys])
        if others := [name for name in source.names if name not in {*names, *beside, *source.all_index}]:
            more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
            note(f"columns that the model does not know are left out: {', '.join(others[:_LISTED])}{more}")
        yield from chunks(source, list(names), most or chunk_rows(columns))


_FORMULA = r"^[=+\-@\t\r]"
"""How text begins that a spreadsheet takes for a formula, and may run."""


def guarded(table: pa.Table) -> pa.Table:
    """Return a table whose texts, and names of columns, are no formulas: those get an apostrophe before them."""
    columns = []
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            quoted = pc.replace_substring_regex(column, r"\A", "'")
            column = pc.if_else(pc.match_substring_regex(column, _FORMULA), quoted, column)
        columns.append(column)
    names = [f"'{name}" if re.match(_FORMULA, name) else name for name in table.column_names]
    return pa.table(columns, names=names)


def _write(path: Path, ending: str, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    if ending == ".jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for table in tables:
                file.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
        return
    writers: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[Any]]] = {
        ".csv": pyarrow.csv.CSVWriter,
        ".parquet": pq.ParquetWriter,
    }
    with writers[ending](path, schema) as writer:
        for table in tables:
            writer.write_table(table)
