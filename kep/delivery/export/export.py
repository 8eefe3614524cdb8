"""A run's ensemble in another format, and what that costs: `kep export`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.export import Export, ExportedMember, Measurement
from kep.artifacts.run import RunRecord
from kep.components.weigh.weigh import limits_of, load_predictions, settle, stack, weighed_apart
from kep.components.weigh.weights import fit
from kep.core.errors import UserError, nearest
from kep.core.files import new_folder, write_json
from kep.core.seeds import derive
from kep.data.records import Records, Rows
from kep.data.schema import Manifest
from kep.data.sealed import unsealed
from kep.data.values import RULES
from kep.delivery.export import browser, edge
from kep.delivery.export import savedmodel as saved
from kep.delivery.export.runtimes import TIMED, predicted
from kep.delivery.models import locate
from kep.engines.local.artifacts import Artifacts, run_of
from kep.models.encode import inputs_of
from kep.models.ensemble import Ensemble, raw_features
from kep.report.page import number
from kep.stats.calibration import Calibration
from kep.stats.metrics import Truth
from kep.stats.operating_point import OperatingPoint

FILE = "export.json"
"""File beside the model: its inputs, its outputs, and the measurements."""
VARIANTS = {"tflite": edge.VARIANTS, "tfjs": browser.VARIANTS}
WHOLE, KERAS = "ensemble", "Keras members"
"""Lines of the table that are no export."""


@dataclass(frozen=True)
class Reference:
    """Predictions that an export is compared with.

    Attributes:
        manifest: Manifest of the records.
        test: The test rows.
        stored: The ensemble's predictions of them, as evaluate stored them.
    """

    manifest: Manifest
    test: Rows
    stored: np.ndarray

    @property
    def metric(self) -> str:
        return "rmse" if self.manifest.label.task == "regression" else "accuracy"

    def measure(self, name: str, bytes: int, ms: float, predictions: np.ndarray) -> Measurement:
        """Compares predictions of the test rows."""
        label, task = self.manifest.label, self.manifest.label.task
        truth = Truth.of(task, self.test, label.threshold)
        score, before = (truth.metric(self.metric, side) for side in (predictions, self.stored))
        lost = score / max(before, 1e-12) - 1 if task == "regression" else before - score
        same = None
        if task != "regression":
            same = float((label.decide(predictions) == label.decide(self.stored)).mean())
        difference = float(np.abs(predictions - self.stored).max())
        return Measurement(
            name=name,
            bytes=bytes,
            ms=ms,
            score=score,
            lost=lost,
            loss=truth.loss(predictions),
            same=same,
            difference=difference,
        )


def export(
    model: str,
    format: str,
    variants: list[str] | None,
    output: Path,
    runs: Path,
    max_loss: float | None,
    keras_only: bool,
    console: Console,
) -> Export | None:
    """Writes an ensemble of Keras networks as a file for other programs, once it has shown there what it loses.

    Args:
        model: A run's name or folder, a folder of champions, or an ensemble's folder.
        format: savedmodel, keras, tflite or tfjs.
        variants: Some of those that the format has in `VARIANTS`, all of them when not given.
        output: The folder to write.
        runs: Folder of all runs.
        max_loss: Largest `Measurement.lost` of anything that is written; what the run file says when not given.
        keras_only: Leave out members that are no Keras networks, and weigh the others again.
        console: Where to print.

    Returns:
        What was measured, as it is written beside the export; None of an ensemble without its run.

    Raises:
        UserError: The format can't hold the ensemble, it loses too much, or the run's records are not there any more.
    """
    wanted = _variants(format, variants)
    folder, _ = locate(model, runs)
    own, run = Ensemble(folder), run_of(folder, runs)
    saved.check_calibration(own, format)
    raw = [column for column in own.manifest.inputs if column.kind in ("date", "text")]
    if raw:
        raise UserError(
            f'--format {format}: column "{raw[0].name}" holds {raw[0].kind}s, which no exported model reads; serve '
            "the ensemble with `kep serve`, or train without it (data.exclude)"
        )
    label = own.manifest.label
    blurred = [label.name] * bool(label.offset) + [column.name for column in own.manifest.numeric if column.offset]
    if blurred:
        raise UserError(
            f'--format {format}: "{blurred[0]}" holds numbers that 32-bit floats can\'t tell apart, and an exported '
            "model has no others; serve the ensemble with `kep serve`, or subtract an offset in the data"
        )
    if run is None:
        if keras_only or format != "savedmodel":
            needs = "--keras-only" if keras_only else f"--format {format}"
            raise UserError(f"{needs}: {folder} is not of a run in {runs}, whose test rows say what an export loses")
        _without_run(own, output, console)
        return None
    if max_loss is None:
        max_loss = Artifacts(run).report.asked.export.max_loss
    artifacts = Artifacts(run)
    records = Records(artifacts.records(), "export")
    reference = Reference(own.manifest, *_tested(artifacts, records))
    rows = [_of_ensemble(WHOLE, own, folder, reference)]
    chosen = _chosen(own, run, format, keras_only)
    if chosen is not own:
        rows.append(_of_ensemble(KERAS, chosen, folder, reference))
    writers: dict[str, Callable[..., Made]]
    writers = {"savedmodel": _savedmodel, "keras": _keras, "tflite": _tflite, "tfjs": _tfjs}
    write = writers[format]
    with new_folder(output) as target:
        described, made = write(chosen, reference.test, target, records, wanted, RunRecord.load(run))
        for name, path, arrays in made:
            done = predicted(format, path, arrays, described)
            rows.append(reference.measure(name, _bytes(path), done.ms, done.predictions))
        console.print(table_of(rows, reference))
        _check(rows, max_loss, reference.metric)
        content = Export(
            format=format,
            run=str(run),
            fingerprint=own.manifest.fingerprint,
            members=[ExportedMember(id=member.id, weight=member.weight) for member in chosen.members],
            classes=own.manifest.label.classes,
            threshold=chosen.manifest.label.threshold,
            metric=reference.metric,
            max_loss=max_loss,
            measured=rows,
            read=records.ledger,
        )
        write_json(target / FILE, content.model_dump(mode="json") | described)
    console.print(f"wrote {output}", soft_wrap=True)
    if content.threshold is not None and format != "savedmodel":
        console.print(
            f'it gives probabilities: predict "{(content.classes or [])[1]}" from {content.threshold:.4g} on, the '
            f"operating point in {FILE}",
            soft_wrap=True,
        )
    return content


def _without_run(own: Ensemble, output: Path, console: Console) -> None:
    """Write a SavedModel of an ensemble whose test rows are not known, compared on rows that are made up."""
    difference = saved.savedmodel(own, output)
    told = f"in a fresh process its predictions differ by at most {difference:.1e} on {saved.ROWS} rows"
    console.print(f"wrote {output}: {told}", soft_wrap=True)


def _variants(format: str, variants: list[str] | None) -> list[str]:
    """Return the variants to write, each once.

    Raises:
        UserError: The format has no such variant.
    """
    known = VARIANTS.get(format, ())
    wanted = list(dict.fromkeys(variants or known))
    for variant in wanted:
        if variant not in known:
            raise UserError(f"--variant: {variant} is not one of {', '.join(known)}{nearest(variant, known)}")
    return wanted


def _tested(artifacts: Artifacts, records: Records) -> tuple[Rows, np.ndarray]:
    """The test rows, and the run's stored predictions of them; the reading lands in the ledger of `records`.

    Raises:
        UserError: The predictions are of other rows.
    """
    with unsealed(artifacts.test(), "export") as folder:
        tested = Records(folder, "export")
        rows = tested.load("test")
    records.ledger += tested.ledger
    stored = artifacts.report.evaluation.stored(artifacts.evaluation())
    if not np.array_equal(rows.ids, stored["ids"]):
        raise UserError(
            f"{artifacts.run}: the stored test predictions are not of the test rows of its records; run it again"
        )
    return rows, stored["ensemble"]


def _chosen(own: Ensemble, run: Path, format: str, keras_only: bool) -> Ensemble:
    """The ensemble to export: as it is, or of its Keras members alone, weighed again."""
    pairs = list(zip(own.members, own.models, strict=True))
    others = [member.id for member, (_, model) in pairs if not isinstance(model, keras.Model)]
    if not others:
        return own
    ids = [member.id for member, _ in pairs if member.id not in others]
    if not ids:
        raise UserError(f"--format {format}: no member of this ensemble is a Keras network; add mlp to search.families")
    if not keras_only:
        raise UserError(
            f"--format {format}: {', '.join(others)} can't be exported, since it holds Keras networks alone; with "
            f"--keras-only it is made of {', '.join(ids)}, weighed again, and the table says what that loses"
        )
    weights, calibration, point = reweigh(ids, run, own.manifest)
    return own.reweighed(weights).settled(calibration, point)


def reweigh(
    ids: list[str], run: Path, manifest: Manifest
) -> tuple[dict[str, float], Calibration | None, OperatingPoint | None]:
    """Weights of some members of a run, by id, their calibration and their operating point.

    All are fitted by the run's own methods on its stored validation predictions of these members alone.
    """
    artifacts = Artifacts(run)
    report, folders = artifacts.report, artifacts.best_epochs()
    settings = report.asked.ensemble.model_copy(update={"pooling": report.weights.pooling})
    found = {id: BestEpoch.load(folders[id]) for id in ids}
    stored = {id: load_predictions(folders[id], id, manifest) for id in ids}
    problem, limits = stack(stored, settings, manifest), limits_of(settings, found)
    seed, method = RunRecord.load(run).run_file.seed, report.weights.method
    weights = fit(method, problem, limits, derive(seed, "weights"))
    by_id = {id: float(weight) for id, weight in zip(ids, weights, strict=True) if weight > 0}
    if report.weights.calibration is None:
        return by_id, None, None
    way = weighed_apart(method, problem, limits, derive(seed, "cross-fit"))
    settings = settings.model_copy(update={"calibration": report.weights.calibration.method})
    choice, point = settle(stored, weights, problem, way, settings)
    return by_id, None if choice is None else choice.fitted, point


def _of_ensemble(name: str, own: Ensemble, folder: Path, reference: Reference) -> Measurement:
    seconds = []
    row = reference.test.take(slice(0, 1))
    predictions = own.combine(own.predict_members(reference.test))
    own.predict_members(row)
    for _ in range(TIMED):
        started = time.perf_counter()
        own.combine(own.predict_members(row))
        seconds.append(time.perf_counter() - started)
    size = sum(_bytes(folder / "members" / member.id) for member in own.members)
    return reference.measure(name, size, float(1000 * np.median(seconds)), predictions)


Made = tuple[dict[str, Any], list[tuple[str, Path, dict[str, np.ndarray]]]]
"""Description of an export, and what was made: name, path and the test rows in its input format."""


def _savedmodel(own: Ensemble, test: Rows, target: Path, *_: object) -> Made:
    saved.write(own, target)
    arrays = saved.tensors(own.manifest, raw_features(own.manifest, test))
    return {"output": saved.output(own.manifest)}, [("SavedModel", target, arrays)]


def _keras(own: Ensemble, test: Rows, target: Path, *_: object) -> Made:
    path = target / "model.keras"
    edge.save_keras(edge.whole(own), path)
    described = {
        "output": saved.output(own.manifest),
        "numeric": [column.name for column in own.manifest.numeric],
        "categorical": {column.name: column.vocabulary for column in own.manifest.categorical},
    }
    return described, [("Keras", path, inputs_of(test))]


def _tflite(own: Ensemble, test: Rows, target: Path, records: Records, variants: list[str], run: RunRecord) -> Made:
    train = records.open("train")
    drawn = np.random.default_rng(derive(run.run_file.seed, "representative"))
    index = np.sort(drawn.permutation(len(train))[: edge.REPRESENTATIVE])
    representative = edge.encoded(own, train.take(index))
    model = edge.of_features(own)

    def write(variant: str) -> Path:
        path = target / f"model_{variant}.tflite"
        path.write_bytes(edge.tflite(model, variant, representative))
        return path

    return _of_features(own, test, variants, write)


def _tfjs(own: Ensemble, test: Rows, target: Path, records: Records, variants: list[str], *_: object) -> Made:
    model = edge.of_features(own)

    def write(variant: str) -> Path:
        browser.save_tfjs(model, variant, target / variant)
        return target / variant

    return _of_features(own, test, variants, write)


def _of_features(own: Ensemble, test: Rows, variants: list[str], write: Callable[[str], Path]) -> Made:
    """Exports of `edge.of_features`, each of which `write` makes and says the path of."""
    manifest = own.manifest
    described = {
        "output": saved.output(manifest),
        "features": edge.features(own),
        "image": manifest.image.name if manifest.image is not None else None,
        "rules": RULES if manifest.categorical else [],
    }
    named = saved.tensors(manifest, raw_features(manifest, test))
    arrays = {column: named[name] for column, name in saved.input_names(manifest).items()}
    return described, [(variant, write(variant), arrays) for variant in variants]


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _check(rows: list[Measurement], max_loss: float, metric: str) -> None:
    """Refuses what loses too much.

    Raises:
        UserError: With the figures of the worst one.
    """
    made = [row for row in rows if row.name not in (WHOLE, KERAS)]
    worst = max(made, key=lambda row: row.lost)
    if worst.lost <= max_loss:
        return
    what = f"accuracy falls by {worst.lost:.2%}" if metric == "accuracy" else f"the error grows by {worst.lost:.1%}"
    kept = [row.name for row in made if row.lost <= max_loss]
    choose = f", or choose {' or '.join(f'--variant {name}' for name in kept)}" if kept else ""
    raise UserError(
        f"--max-loss: {worst.name} loses more than {max_loss:g} ({what}), so nothing is written; allow more{choose}"
    )


def table_of(rows: list[Measurement], reference: Reference) -> Table:
    """The measurements for a terminal."""
    metric, classes = reference.metric, reference.manifest.label.classes is not None
    table = Table(title=f"{len(reference.test)} test rows", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("size", "ms a row", metric, "lost", "loss", *(["same"] if classes else []), "max diff"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        same = [f"{row.same:.1%}"] if classes else []
        cells = [
            f"{row.bytes / 1000:,.0f} kB",
            number(row.ms, 3),
            number(row.score),
            f"{round(row.lost, 4) + 0.0:+.2%}",
        ]
        table.add_row(row.name, *cells, number(row.loss), *same, number(row.difference))
    return table
