"""New data against what a run's model was trained on: `kep drift`."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from components.ingest.statistics import binned, brightness, quantile_edges
from components.shared import columns
from components.shared.charts import beside
from components.shared.drift import LEVEL, Shift, compare, labelled
from components.shared.errors import UserError
from components.shared.files import write_file, write_json
from components.shared.page import number, render_page
from components.shared.records import Rows, as_array, encode_table
from components.shared.schema import Column, Manifest
from models.ensemble import Ensemble
from pipelines.artifacts import Artifacts, run_of
from pipelines.predict import batches, locate

SHOWN = 12
"""Columns of which the page draws a chart: the most shifted ones."""
EXAMPLES = 3
"""Unseen categories that are named."""
HELD = 10_000
"""Distinct unseen categories of a column that are counted."""


@dataclass
class Known:
    """What a model knows of its data.

    Attributes:
        model: Its folder.
        manifest: Of the records that it was trained on.
        predictions: Its predictions of the test rows, [n, classes] or [n]; None where they are not stored.
    """

    model: Path
    manifest: Manifest
    predictions: np.ndarray | None


@dataclass
class Seen:
    """Counts of the new rows, filled batch by batch.

    Attributes:
        manifest: Says which columns and bins there are.
        rows: So far.
        counts: Rows of each bin by column name; of a categorical column by code.
        missing: Rows without a value by column name.
        unseen: Categories outside the vocabulary by column name.
        predictions: Of all new rows.
    """

    manifest: Manifest
    rows: int = 0
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    missing: Counter = field(default_factory=Counter)
    unseen: dict[str, Counter] = field(default_factory=dict)
    predictions: list[np.ndarray] = field(default_factory=list)

    def add(self, table: dict[str, pa.Array], rows: Rows, predictions: np.ndarray) -> None:
        """Takes in a batch: its raw columns, the same encoded, and what the model predicts of it."""
        self.rows += len(rows)
        self.predictions.append(predictions)
        for place, column in enumerate(self.manifest.numeric):
            self._count(column, binned(rows.numeric[:, place], np.array(column.edges)))
            self.missing[column.name] += int(np.isnan(rows.numeric[:, place]).sum())
        for place, column in enumerate(self.manifest.categorical):
            codes = rows.categorical[:, place]
            self._count(column, np.bincount(codes, minlength=len(column.counts)))
            self.missing[column.name] += int((codes == 0).sum())
            if (codes == 1).any():
                self._name(column.name, table[column.name].filter(pa.array(codes == 1)))
        if self.manifest.image is not None:
            self._count(self.manifest.image, binned(brightness(rows.image)[:, 0], np.array(self.manifest.image.edges)))

    def _count(self, column: Column, counts: np.ndarray) -> None:
        self.counts[column.name] = self.counts.get(column.name, 0) + counts

    def _name(self, column: str, values: pa.Array) -> None:
        indices, texts = columns.texts(values, column)
        counter = self.unseen.setdefault(column, Counter())
        for text, rows in zip(texts, np.bincount(indices, minlength=len(texts)).tolist(), strict=True):
            if text in counter or len(counter) < HELD:
                counter[text] += rows


def drift(
    data: str,
    against: str,
    runs: Path,
    threshold: float,
    console: Console,
    page: Path | None = None,
    record: Path | None = None,
) -> bool:
    """Compares new data with what a model was trained on, and prints the columns, the most shifted first.

    Args:
        data: A source, as in `data.source`.
        against: A run's name or folder, a folder of champions, or an ensemble's folder.
        runs: Folder of all runs.
        threshold: Population stability index beyond which a column has drifted.
        console: Where to print.
        page: HTML to write; None for none.
        record: JSON to write; None for none.

    Returns:
        Whether anything has drifted.

    Raises:
        UserError: There is no such model, it does not know how its data were distributed, or the new data lack a
            column or hold something else.
    """
    if threshold <= 0:
        raise UserError(f"--threshold: {threshold:g} is not above 0; 0.1 is a small shift, 0.25 a large one")
    place, settings = locate(against, runs)
    known = Known(place, Manifest.load(place), stored_predictions(place, runs))
    if any(column.counts is None for column in known.manifest.columns):
        raise UserError(
            f"{place}: this model's manifest has version {known.manifest.version} and does not hold how its train rows "
            "were distributed; run it again to compare data with it"
        )
    ensemble, seen = Ensemble(place), Seen(known.manifest)
    shown = [TextColumn("{task.completed:,} rows"), SpinnerColumn()]
    with Progress(*shown, console=console, transient=True) as progress:
        task = progress.add_task("")
        for table in batches(data, settings, known.manifest.columns):
            arrays = {name: as_array(values, name) for name, values in table.items()}
            rows = encode_table(known.manifest, arrays)
            seen.add(arrays, rows, ensemble.combine(ensemble.predict_members(rows)))
            progress.update(task, completed=seen.rows)
    if not seen.rows:
        raise UserError(f"{data}: there are no rows to compare")
    shifts = compared(known, seen)
    drifted = [shift.name for shift in shifts if shift.beyond(threshold)]
    verdict = sentence(seen.rows, known.manifest.roles["train"].rows, shifts, threshold)
    console.print(table_of(shifts, threshold))
    console.print(verdict, highlight=False, soft_wrap=True)
    if record is not None:
        whole = {
            "data": data,
            "model": str(place),
            "fingerprint": known.manifest.fingerprint,
            "rows": seen.rows,
            "train_rows": known.manifest.roles["train"].rows,
            "threshold": threshold,
            "drifted": drifted,
            "shifts": [shift.as_json(threshold) for shift in shifts],
        }
        write_json(record, whole)
    if page is not None:
        text = as_page(data, against, verdict, shifts, threshold, known.predictions is not None)
        write_file(page, lambda path: path.write_text(text, encoding="utf-8"))
    for path in filter(None, (page, record)):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    return bool(drifted)


def stored_predictions(model: Path, runs: Path) -> np.ndarray | None:
    """What the run that made a model predicts of its test rows; None where that run is not under `runs`."""
    run = run_of(model, runs)
    return None if run is None else np.load(Artifacts(run).evaluation() / "predictions.npz")["ensemble"]


def compared(known: Known, seen: Seen) -> list[Shift]:
    """Every column and the predictions, the most shifted first."""
    manifest, total = known.manifest, known.manifest.roles["train"].rows
    predicted = _predicted(known, np.concatenate(seen.predictions))
    many = len(manifest.columns) + len(predicted)
    shifts = [compare(*one, many) for one in predicted]
    for column in manifest.columns:
        before, after = np.array(column.counts), seen.counts[column.name]
        more: dict = {}
        if column.kind == "categorical":
            bins = ["missing", "outside the vocabulary", *column.vocabulary]
            examples = seen.unseen.get(column.name, Counter()).most_common(EXAMPLES)
            more["unseen"] = (float(before[1] / total), float(after[1] / seen.rows))
            more["examples"] = tuple(text for text, _ in examples)
        else:
            bins = [*labelled(column.edges), "missing"]
            before = np.append(before, column.missing)
            after = np.append(after, seen.missing[column.name])
        if column.kind != "image":
            more["missing"] = (column.missing / total, seen.missing[column.name] / seen.rows)
        shifts.append(compare(column.name, column.kind, bins, before, after, many, **more))
    return sorted(shifts, key=lambda shift: (-shift.psi, shift.name))


def _predicted(known: Known, new: np.ndarray) -> list[tuple]:
    """What is predicted, before and after: against test predictions, or without them against the train labels."""
    label, old = known.manifest.label, known.predictions
    if label.classes is None:
        edges = np.array(label.edges) if old is None else quantile_edges(old.astype(np.float32))
        before = np.array(label.counts) if old is None else binned(old.astype(np.float32), edges)
        after = binned(new.astype(np.float32), edges)
        return [(f"predicted {label.name}", "prediction", labelled(edges.tolist()), before, after)]
    names, size = [str(name) for name in label.classes], len(label.classes)
    shares = np.array(known.manifest.roles["train"].class_counts)
    before = shares if old is None else np.bincount(old.argmax(axis=1), minlength=size)
    pairs = [(f"predicted {label.name}", "prediction", names, before, np.bincount(new.argmax(axis=1), minlength=size))]
    if old is not None:
        edges = quantile_edges(old.max(axis=1).astype(np.float32))
        sides = [binned(side.max(axis=1).astype(np.float32), edges) for side in (old, new)]
        pairs.append(("probability of the predicted class", "prediction", labelled(edges.tolist()), *sides))
    return pairs


def sentence(rows: int, train: int, shifts: list[Shift], threshold: float) -> str:
    """The verdict."""
    drifted = [shift.name for shift in shifts if shift.beyond(threshold)]
    compared_ = f"{rows:,} new rows against {train:,} train rows"
    if drifted:
        names = ", ".join(drifted[:5]) + (f" and {len(drifted) - 5} more" if len(drifted) > 5 else "")
        return f"drift beyond {threshold:g} in {len(drifted)} of {len(shifts)} comparisons ({names}): {compared_}"
    hidden = sum(shift.chance > threshold for shift in shifts)
    few = f"; for {hidden} of them these rows are too few to see a shift of {threshold:g}" if hidden else ""
    return f"no drift beyond {threshold:g} in {len(shifts)} comparisons: {compared_}{few}"


def table_of(shifts: list[Shift], threshold: float) -> Table:
    """The shifts for a terminal."""
    table = Table()
    table.add_column("", overflow="fold")
    for name in ("PSI", "by chance", "JS", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unseen", overflow="fold")
    for row in _rows(shifts, threshold):
        cells = [row[key] for key in ("psi", "chance", "js", "missing", "unseen")]
        table.add_row(row["name"], *cells, style="bold red" if row["drifted"] else "")
    return table


def as_page(data: str, against: str, verdict: str, shifts: list[Shift], threshold: float, stored: bool) -> str:
    """The shifts as an HTML page."""
    drawn = [shift for shift in shifts if shift.beyond(threshold)][:SHOWN] or shifts[:SHOWN]
    return render_page(
        "shared/drift.html.j2",
        data=data,
        against=against,
        verdict=verdict,
        drifted=any(shift.beyond(threshold) for shift in shifts),
        threshold=threshold,
        level=LEVEL,
        stored=stored,
        rows=_rows(shifts, threshold),
        charts=[(shift.name, _chart(place, shift, stored)) for place, shift in enumerate(drawn)],
    )


def _rows(shifts: list[Shift], threshold: float) -> list[dict]:
    return [
        {
            "name": shift.name,
            "drifted": shift.beyond(threshold),
            "psi": number(shift.psi, 3),
            "chance": number(shift.chance, 3),
            "js": number(shift.js, 3),
            "missing": _change(shift.missing),
            "unseen": _change(shift.unseen) + (f" ({', '.join(shift.examples)})" if shift.examples else ""),
        }
        for shift in shifts
    ]


def _change(shares: tuple[float, float] | None) -> str:
    if shares is None or not any(shares):
        return ""
    return " → ".join(f"{share:.1%}" for share in shares)


def _chart(place: int, shift: Shift, stored: bool):
    """The most frequent bins of a shift, both sides; the others together."""
    order = np.arange(len(shift.bins))
    if shift.kind == "categorical" and len(order) > SHOWN:
        order = np.sort(np.argsort(-(shift.before / shift.before.sum() + shift.after / shift.after.sum()))[:SHOWN])
    filled = [i for i in order if shift.before[i] + shift.after[i]]
    sides = {
        "test" if shift.kind == "prediction" and stored else "train": shift.before / max(shift.before.sum(), 1),
        "new": shift.after / max(shift.after.sum(), 1),
    }
    return beside(
        f"drift-{place}",
        f"Share of rows by {shift.name}, {' and '.join(sides)}",
        [shift.bins[i] for i in filled],
        {name: [float(shares[i]) for i in filled] for name, shares in sides.items()},
    )
