"""New data against what a run's model was trained on: `kep drift`."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from kep.components.drift.comparison import DriftComparison, check_comparable, check_threshold, compared
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.core.files import write_file
from kep.core.location import Location
from kep.data.records import as_array, encode_table
from kep.delivery.models import opened
from kep.delivery.predict import batches
from kep.delivery.told import tell_drift
from kep.engines.local.artifacts import Artifacts, run_of
from kep.models.ensemble import Ensemble
from kep.stats.observed import Observed, PredictedBins, predicted_bins, travelling


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
        against: A run's name or folder, a folder of champions, or an ensemble's folder, the latter two also on gs://.
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
    check_threshold(threshold)
    with opened(against, runs) as (place, settings):
        comparison = _compare(data, against, place, settings, runs, threshold, console)
        named = against if Location(against).is_cloud else str(place)
        found = comparison.record().model_copy(update={"model": named})
        console.print(table_of(comparison.lines()))
        console.print(comparison.sentence(), soft_wrap=True)
        if record is not None:
            found.write(record)
        if page is not None:
            write_file(page, lambda path: path.write_text(comparison.page(), encoding="utf-8"))
        for path in filter(None, (page, record)):
            console.print(f"wrote {path}", soft_wrap=True)
        tell_drift(found, place, runs, page, console)
    return bool(comparison.drifted)


def _compare(
    data: str, against: str, place: Path, settings: DataSettings, runs: Path, threshold: float, console: Console
) -> DriftComparison:
    ensemble, observed = Ensemble(place), Observed()
    manifest = ensemble.manifest
    check_comparable(manifest, place)
    known = (place / PredictedBins.FILE).is_file()
    stored = None if known else stored_predictions(place, runs)
    bins = travelling(manifest, place) if stored is None else predicted_bins(manifest, stored)
    shown = [TextColumn("{task.completed:,} rows"), SpinnerColumn()]
    with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("")
        for table in batches(data, settings, manifest.inputs):
            arrays = {name: as_array(values, name) for name, values in table.items()}
            rows = encode_table(manifest, arrays)
            observed.add(manifest, bins, arrays, rows, ensemble.combine(ensemble.predict_members(rows)))
            progress.update(task, completed=observed.rows)
    if not observed.rows:
        raise UserError(f"{data}: there are no rows to compare")
    shifts = compared(manifest, bins, observed)
    return DriftComparison(data, against, manifest, observed.rows, shifts, threshold, known or stored is not None)


def stored_predictions(model: Path, runs: Path) -> np.ndarray | None:
    """Return the test predictions of the run that made a model; None where that run is not under `runs`."""
    run = run_of(model, runs)
    if run is None:
        return None
    artifacts = Artifacts(run)
    return artifacts.report.evaluation.stored(artifacts.evaluation())["ensemble"]


def table_of(lines: list[dict[str, Any]]) -> Table:
    """The lines of a comparison for a terminal."""
    table = Table()
    table.add_column("", overflow="fold")
    for name in ("PSI", "by chance", "JS", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unseen", overflow="fold")
    for line in lines:
        cells = [line[key] for key in ("psi", "chance", "js", "missing", "unseen")]
        table.add_row(line["name"], *cells, style="bold red" if line["drifted"] else "")
    return table
