"""Predictions of an ensemble for a file of raw features: read, predicted and written batch by batch, in order."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from components.ingest.sources import open_source
from components.shared import champions
from components.shared.errors import UserError, nearest
from components.shared.files import read_json, scratch_folder, write_file
from components.shared.schema import Column, Label
from components.shared.settings import DataSettings
from models.ensemble import Ensemble
from pipelines.remote import Remote
from pipelines.run import RECORD, find

ENDINGS = (".csv", ".parquet", ".jsonl")
ROWS = 1024
"""Rows that are predicted at once. A matrix product's last bits depend on their number: a served model, which gets as
many, predicts to the bit what the same model predicts here."""


def predict(model: str | None, url: str | None, data: str, output: Path, runs: Path, console: Console) -> None:
    """Predicts every row of `data` and writes one row for each, in the same order.

    The file has `prediction` (the most probable class, or the number) and for classes `probability_CLASS` of each.

    Args:
        model: A run's name or folder, a folder of champions, or an ensemble's folder; None where there is a `url`.
        url: Of a model that `kep serve` serves; None where there is a `model`.
        data: A source, as in `data.source`; a label in it is not looked at.
        output: .csv, .parquet or .jsonl; it appears whole or not at all.
        runs: Folder of all runs.
        console: Where to say how far it is.

    Raises:
        UserError: There is no such model, or the data lack a column or hold something else.
    """
    if (model is None) == (url is None):
        raise UserError("give --model with a run, or --url with the address of a served model, not both")
    if output.suffix not in ENDINGS:
        raise UserError(f"--output: {output} must end in {', '.join(ENDINGS)}{nearest(output.suffix, ENDINGS)}")
    if url is not None:
        place, settings, predictor = url, DataSettings(source=""), Remote(url)
        columns, label, most = predictor.columns, predictor.label, min(ROWS, predictor.rows)
    else:
        place, settings = locate(model, runs)
        predictor = Ensemble(place)
        columns, label, most = predictor.manifest.columns, predictor.manifest.label, ROWS
    started, rows = time.perf_counter(), 0
    shown = [TextColumn("{task.completed:,} rows"), SpinnerColumn()]
    with Progress(*shown, console=console, transient=True) as progress:
        task = progress.add_task("")

        def predicted() -> Iterator[pa.Table]:
            nonlocal rows
            for table in batches(data, settings, columns, most):
                done = as_table(label, predictor.predict(table))
                yield done
                rows += done.num_rows
                progress.update(task, completed=rows)

        empty = as_table(label, np.empty((0, len(label.classes or [0]))))
        write_file(output, lambda path: _write(path, output.suffix, empty.schema, predicted()))
    seconds = time.perf_counter() - started
    console.print(f"wrote {output}: {rows:,} rows in {seconds:.1f} s, by {place}", highlight=False, soft_wrap=True)


def batches(
    data: str, settings: DataSettings, columns: list[Column], most: int = ROWS
) -> Iterator[dict[str, pa.Array]]:
    """The raw feature columns of a source by name, at most `most` rows at a time, in order.

    Args:
        data: A source, as in `data.source`.
        settings: How the run that made the model read its data.
        columns: What the model was trained on.
        most: Rows.

    Raises:
        UserError: The source can't be read, or lacks a column.
    """
    with scratch_folder() as scratch:
        source = open_source(data, settings.model_copy(update={"source": data}), Path(), scratch)
        names = [column.name for column in columns]
        absent = next((name for name in names if name not in source.names), None)
        if absent is not None:
            raise UserError(
                f'column "{absent}" is missing in {source.description}{nearest(absent, source.names)}; give every '
                "feature column that the model was trained on"
            )
        for unit in source.units(names):
            for batch in unit.read(*unit.args):
                for start in range(0, batch.num_rows, most):
                    part = batch.slice(start, most)
                    yield {name: part[name] for name in names}


def locate(model: str, runs: Path) -> tuple[Path, DataSettings]:
    """The ensemble's folder, and how the run that made it read its data.

    Raises:
        UserError: There is none.
    """
    for folder in (Path(model), runs / "champions" / model):
        if (champion := champions.read(folder).champion) is not None:
            return Path(champion), DataSettings(source="")
        if (folder / "ensemble.json").is_file():
            return folder, DataSettings(source="")
    run = find(model, runs)
    data = DataSettings.model_validate(read_json(run / RECORD)["run_file"]["data"])
    return run / "ensemble", DataSettings(
        source="", **data.model_dump(exclude={"source", "files", "format", "split", "features", "exclude"})
    )


def as_table(label: Label, predictions: np.ndarray) -> pa.Table:
    """Predictions as columns.

    Args:
        label: What is predicted.
        predictions: Shape [n, classes] or [n].
    """
    if label.classes is None:
        return pa.table({"prediction": predictions.reshape(-1)})
    best = pa.array(label.classes).take(pa.array(predictions.argmax(axis=1)))
    return pa.table({"prediction": best} | {f"probability_{c}": predictions[:, i] for i, c in enumerate(label.classes)})


def _write(path: Path, ending: str, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    if ending == ".jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for table in tables:
                file.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
        return
    writers: dict[str, Callable[[Path, pa.Schema], AbstractContextManager]] = {
        ".csv": pyarrow.csv.CSVWriter,
        ".parquet": pq.ParquetWriter,
    }
    with writers[ending](path, schema) as writer:
        for table in tables:
            writer.write_table(table)
