"""The steps around the comparison."""

from pathlib import Path

from kep.artifacts.drift import Drift
from kep.artifacts.predictions import PredictionSet
from kep.components.drift.comparison import DriftComparison, check_comparable, compared
from kep.config.prediction import DriftSettings
from kep.core.errors import RunError
from kep.core.files import write_file, write_json
from kep.data.schema import Manifest
from kep.runtime.step import Step, entry
from kep.stats.observed import ObservedCounts, PredictedBins, travelling

PAGE = "drift.html"


@entry("drift")
def run(step: Step, *, model: str, predictions: str, config: str) -> dict[str, float]:
    """Compares the rows that were predicted with the train rows; writes `drift.json` and `drift.html`.

    Args:
        step: Step of this execution.
        model: Folder of an ensemble, or of champions.
        predictions: Folder that `predict_join` wrote.
        config: JSON of `DriftSettings`.

    Returns:
        Metrics by name.

    Raises:
        UserError: The model does not know how its train rows were distributed.
    """
    settings = DriftSettings.model_validate_json(config)
    told = PredictionSet.load(predictions)
    folder = Path(model) / told.model.folder
    manifest = Manifest.load(folder)
    check_comparable(manifest, folder)
    observed, bins = ObservedCounts.load(predictions).observed(), travelling(manifest, folder)
    shifts = compared(manifest, bins, observed)
    version = f"model {told.model.version}"
    stored = (folder / PredictedBins.FILE).is_file()
    comparison = DriftComparison(told.data, version, manifest, observed.rows, shifts, settings.threshold, stored)
    comparison.record().save(step.out)
    write_file(step.out / PAGE, lambda path: path.write_text(comparison.page(), encoding="utf-8"))
    step.progress(comparison.sentence())
    predicted = {one.name for one in bins}
    return {
        "rows": observed.rows,
        "drifted": len(comparison.drifted),
        "largest_psi_of_a_column": max(shift.psi for shift in shifts if shift.name not in predicted),
        "largest_psi_of_predictions": max(shift.psi for shift in shifts if shift.name in predicted),
    }


@entry("drift")
def gate(step: Step, *, comparison: str, config: str) -> None:
    """Fails if something has drifted, and drift is to fail the run.

    Raises:
        RunError: So it is.
    """
    step.label = "gate"
    found = Drift.load(comparison)
    if found.drifted and DriftSettings.model_validate_json(config).fail:
        raise RunError(found.verdict)
    write_json(step.out / "verdict.json", {"drifted": found.drifted, "verdict": found.verdict})
