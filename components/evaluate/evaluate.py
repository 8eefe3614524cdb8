"""The one look at the test rows: metrics with intervals, the report, and the ensemble as one artifact."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kep.artifacts.best_epoch import PREDICTIONS, TRAINED_ON, BestEpoch
from kep.artifacts.evaluation import (
    AVERAGE,
    BASELINE,
    ENSEMBLE,
    STORED,
    Comparison,
    Difference,
    Evaluation,
    Gap,
    Interval,
    LedgerTotal,
    Pictures,
    WithoutMember,
)
from kep.artifacts.explanation import Explanation
from kep.artifacts.member import TrainedMember, at_point
from kep.artifacts.report import Report
from kep.artifacts.step import StepRecord
from kep.artifacts.study import Study
from kep.artifacts.trials import Trial, TrialStore
from kep.artifacts.weights import Weights
from kep.components.evaluate.decisions import decisions
from kep.components.evaluate.hyperparameters import hyperparameters
from kep.components.evaluate.importance import Drawing
from kep.components.evaluate.scores import pictures
from kep.components.evaluate.slices import slices
from kep.components.evaluate.why import why
from kep.config.evaluate import EvaluateSettings
from kep.config.run_file import RunFile
from kep.core.errors import UserError, nearest
from kep.core.files import new_folder, tree_digest, write_file
from kep.core.seeds import derive
from kep.data.ledger import LedgerLine
from kep.data.records import Rows
from kep.data.schema import Identity, Label, Manifest
from kep.models import ensemble as ensembles
from kep.models.ensemble import Ensemble
from kep.report.charts import number
from kep.report.report import render
from kep.runtime.step import Step, entry
from kep.stats.bootstrap import Bootstrap
from kep.stats.metrics import Truth
from kep.stats.observed import save_predicted
from kep.storage.champions import Champion, content_version, note_opening, opened

SAME = 1e-5
"""Largest difference between a reloaded ensemble's predictions and the evaluated ones: float32 rounding."""
FEWEST_UNSEEN = 30
"""Test rows that a champion must not have been trained on for a comparison to mean something."""


@dataclass(frozen=True)
class Evaluated:
    """Result of the step for the pipeline's page.

    Attributes:
        metrics: The ensemble's test metrics by name, as far as the rows define them.
        classes: Names of the classes; empty for a regression.
        pictures: Numbers behind the report's pictures.
    """

    metrics: dict[str, float]
    classes: list[str]
    pictures: Pictures


@dataclass(frozen=True)
class Inputs:
    """Folders that the steps before wrote.

    Attributes:
        records: Train and validation rows from ingest.
        test: Sealed test rows from ingest, with the whole manifest.
        study: Output of tune.
        results: Outputs of best_epoch, one per candidate, in any order.
        weights: Output of weigh.
        members: Outputs of retrain, one per member, in any order.
    """

    records: Path
    test: Path
    study: Path
    results: Sequence[Path]
    weights: Path
    members: Sequence[Path]

    def ordered(self) -> "Inputs":
        """Return the same folders: results by candidate id, members by weight."""
        results = sorted(self.results, key=lambda folder: BestEpoch.load(folder).candidate.id)
        by_id = {TrainedMember.load(folder).id: folder for folder in self.members}
        members = [by_id[member.id] for member in Weights.load(self.weights).members]
        return replace(self, results=results, members=members)

    def manifest(self) -> Manifest:
        """Return the whole manifest.

        Raises:
            UserError: The test rows are not those of the records.
        """
        manifest = Manifest.load(self.test)
        if manifest.fingerprint != Manifest.load(self.records).fingerprint:
            raise UserError(f"evaluate: the test rows of {self.test} are not those of {self.records}; run ingest again")
        return manifest

    def ledger(self, own: Sequence[LedgerLine]) -> list[LedgerTotal]:
        """Return who read which roles: one line per step and role, in the order of the flow.

        Args:
            own: Ledger of this step.
        """
        folders = [self.study, *self.results, self.weights, *self.members]
        lines = [line for folder in folders for line in StepRecord.load(folder).ledger]
        together: dict[tuple[str, str], list[LedgerLine]] = {}
        for line in [*lines, *own]:
            together.setdefault((line.step, line.role), []).append(line)
        return [LedgerTotal(**dict(same[0]), times=len(same)) for same in together.values()]

    def write_ensemble(self, folder: str) -> None:
        """Write the members with their weights as one ensemble."""
        weights = Weights.load(self.weights)
        by_id = {member.id: place for member, place in zip(weights.members, self.members, strict=True)}
        with new_folder(folder) as new:
            choice = weights.calibration
            ensembles.write(
                new,
                by_id,
                self.records,
                _trained_on(self.results[0]),
                weights.pooling,
                None if choice is None else choice.fitted,
                weights.operating_point,
            )


@dataclass(frozen=True)
class _Tested:
    """Predictions of the test rows.

    Attributes:
        ensemble: The ensemble, loaded.
        rows: The test rows.
        members: Predictions of each member by id, in order of weight.
        named: Those, and the predictions of the baseline, the plain average and the ensemble.
        uncalibrated: Pooled probabilities of the ensemble; None where it is not calibrated.
    """

    ensemble: Ensemble
    rows: Rows
    members: dict[str, np.ndarray]
    named: dict[str, np.ndarray]
    uncalibrated: np.ndarray | None

    @property
    def truth(self) -> Truth:
        """Labels and weights of the rows."""
        label = self.ensemble.manifest.label
        return Truth.of(label.task, self.rows, label.threshold)

    @property
    def pooled(self) -> np.ndarray:
        """Predictions of the ensemble."""
        return self.named[ENSEMBLE]


@entry("evaluate")
def run(
    step: Step,
    *,
    inputs: Inputs,
    ensemble: str,
    config: str,
    asked: str,
    champion: str,
) -> Evaluated:
    """Score on the test rows; write the ensemble, `evaluation.json`, `predictions.npz` and the report.

    Args:
        step: This execution.
        inputs: Folders that the steps before wrote.
        ensemble: Where the ensemble goes.
        config: JSON of `EvaluateSettings`.
        asked: JSON of the whole run file, for the report.
        champion: JSON of `Champion`.

    Raises:
        UserError: A slice column does not exist, or the reloaded ensemble predicts something else than was evaluated.
    """
    settings = EvaluateSettings.model_validate_json(config)
    place = Champion.of_parameter(champion)
    place.check_lasting()
    against = place.current
    manifest = inputs.manifest()
    _check_slices(settings.slices, manifest)
    inputs = inputs.ordered()
    study = Study.load(inputs.study)
    trials = TrialStore(inputs.study).finished(study.executions)
    inputs.write_ensemble(ensemble)
    with step.open_test(inputs.test) as data:
        tested = _test(Ensemble(ensemble), data.load("test"))
    version, ids = content_version(Path(ensemble)), tested.rows.ids.tolist()
    looks = note_opening(place.folder, manifest.roles["test"].fingerprint, version, ids)
    step.progress(
        f"these test rows have been opened in {looks.ensembles} run{'s' * (looks.ensembles > 1)}"
        + f", and {looks.before:.0%} of them among other test rows before" * (looks.before > 0)
    )
    difference = _check_reloaded(ensemble, manifest, tested.rows, tested.pooled)
    save_predicted(tested.ensemble.manifest, tested.pooled, Path(ensemble))
    step.progress(
        f"ensemble of {len(tested.members)} reloaded: raw features give the evaluated predictions within "
        f"{difference:.1e}"
    )
    arrays: dict[str, Any] = {"labels": tested.rows.labels, "ids": tested.rows.ids} | tested.named
    if tested.rows.weights is not None:
        arrays["weights"] = tested.rows.weights
    write_file(step.out / STORED, lambda path: np.savez(path, **arrays))
    evaluation = Evaluation(
        **_measured(step, tested, Weights.load(inputs.weights), settings),
        reload_difference=difference,
        champion=_against(against, tested, settings.bootstrap, step.seed),
        why=_explained(step, tested, RunFile.model_validate_json(asked).judged_by, settings).model_copy(
            update={"hyperparameters": hyperparameters(study, trials, derive(step.seed, "hyperparameters"))}
        ),
        ledger=inputs.ledger(step.ledger),
        openings=looks.ensembles,
        opened_before=looks.before,
        files={STORED: tree_digest(step.out / STORED)},
    )
    for line in evaluation.ledger:
        step.progress(f"{line.step} read {line.rows} {line.role} rows ({line.fingerprint[:12]})")
    evaluation.save(step.out)
    _report(inputs, study, trials, evaluation, asked, step.out)
    return Evaluated(
        metrics={name: score.value for name, score in evaluation.ensemble.items() if score.value is not None},
        classes=[str(name) for name in manifest.label.classes or []],
        pictures=evaluation.pictures,
    )


def _explained(step: Step, tested: _Tested, metric: str, settings: EvaluateSettings) -> Explanation:
    """Return why the ensemble predicts as it does, and log what was left out."""
    own, started = tested.ensemble, time.monotonic()
    found = why(
        own.manifest,
        tested.rows,
        tested.pooled,
        lambda rows: own.combine(own.predict_members(rows)),
        metric,
        settings,
        derive(step.seed, "why"),
    )
    step.progress(f"explained in {time.monotonic() - started:.1f} s")
    if found.importance is not None and found.importance.skipped:
        step.progress(
            f"{len(found.importance.skipped)} columns have no importance: evaluate.why_seconds, "
            f"{settings.why_seconds:g}, was up; raise it"
        )
    return found


def _measured(step: Step, tested: _Tested, weighed: Weights, settings: EvaluateSettings) -> dict[str, Any]:
    """Return the fields of `Evaluation` that follow from the predictions of the test rows."""
    manifest, seed, resamples = tested.ensemble.manifest, step.seed, settings.bootstrap
    by_slice = Drawing(resamples, derive(seed, "slices"))
    drawn = {
        name: Bootstrap.of(tested.truth, predicted, resamples, derive(seed, "bootstrap"))
        for name, predicted in tested.named.items()
    }
    scores = _scores(step, drawn, manifest.label)
    return {
        "rows": len(tested.rows),
        "scores": scores,
        "pictures": pictures(manifest, tested.truth, tested.pooled, derive(seed, "pictures"), tested.uncalibrated),
        "decisions": decisions(
            tested.truth, tested.pooled, weighed.operating_point, Drawing(resamples, derive(seed, "decisions"))
        ),
        "calibration": _gained(tested, resamples, derive(seed, "calibration")),
        "slices": slices(manifest, tested.rows, tested.pooled, settings.slices, by_slice),
        "against": {
            name: Difference.between(drawn[ENSEMBLE], other) for name, other in drawn.items() if name != ENSEMBLE
        },
        "without": without(tested.members, tested.ensemble, tested.truth, resamples, derive(seed, "without")),
        "gap": Gap(
            validation_loss=weighed.calibrated_losses[0],
            cross_fitted_loss=weighed.calibrated_losses[1],
            test_loss=scores[ENSEMBLE]["loss"],
        ),
    }


def _gained(tested: _Tested, resamples: int, seed: int) -> dict[str, Difference]:
    """Return what calibration changes on the test rows, by metric; empty where there is none."""
    if tested.uncalibrated is None:
        return {}
    after, before = (
        Bootstrap.of(tested.truth, predicted, resamples, seed, ["loss", "calibration_error"])
        for predicted in (tested.pooled, tested.uncalibrated)
    )
    return Difference.between(after, before)


def _test(own: Ensemble, test: Rows) -> _Tested:
    """Predict the test rows by every member and by all of them together."""
    predictions = dict(zip([member.id for member in own.members], own.predict_members(test), strict=True))
    named = predictions | {
        BASELINE: baseline(own.manifest, len(test)),
        AVERAGE: np.mean([p.astype(np.float64) for p in predictions.values()], axis=0),
        ENSEMBLE: own.combine(list(predictions.values())),
    }
    uncalibrated = None if own.calibration is None else own.pool(list(predictions.values()))
    return _Tested(own, test, predictions, named, uncalibrated)


def _scores(step: Step, drawn: dict[str, Bootstrap], label: Label) -> dict[str, dict[str, Interval]]:
    """Return the metrics of every model with their intervals, and log them."""
    if label.task == "binary" and label.classes:
        step.progress(f"positive class: {label.classes[1]}")
    scores = {}
    for name, own in drawn.items():
        scores[name] = {metric: Interval.of(found) for metric, found in own.intervals().items()}
        told = ", ".join(f"{metric} {number(score.value):.4f}" for metric, score in scores[name].items())
        step.progress(f"{name}: {told}")
    return scores


def baseline(manifest: Manifest, rows: int) -> np.ndarray:
    """Return the predictions without a model: the class shares of the train rows, or their mean label, by weight."""
    weighting = manifest.weighting
    if manifest.label.classes is None:
        return np.full(rows, manifest.label.mean if weighting is None else weighting.label_mean)
    if weighting is not None:
        return np.tile(np.array(weighting.shares), (rows, 1))
    counts = np.array(manifest.roles["train"].class_counts, np.float64)
    return np.tile(counts / counts.sum(), (rows, 1))


def without(
    predictions: dict[str, np.ndarray], own: Ensemble, truth: Truth, resamples: int, seed: int
) -> dict[str, WithoutMember]:
    """Return the loss on test rows without each member, by id, the others' weights renormalised.

    It is empty for an ensemble of one.
    """
    weights = {member.id: member.weight for member in own.members}
    whole, left_out = Bootstrap.of(truth, own.combine(list(predictions.values())), resamples, seed, ["loss"]), {}
    for id in weights if len(weights) > 1 else []:
        rest = {other: weight / (1 - weights[id]) for other, weight in weights.items() if other != id}
        fewer = own.reweighed(rest).combine([predictions[other] for other in rest])
        without_it = Bootstrap.of(truth, fewer, resamples, seed, ["loss"])
        difference = Difference.between(without_it, whole)["loss"]
        left_out[id] = WithoutMember(**dict(difference), loss=without_it.values["loss"])
    return left_out


def _check_slices(columns: list[str], manifest: Manifest) -> None:
    known = [column.name for column in manifest.columns if column.kind != "image"]
    for name in columns:
        if name not in known:
            raise UserError(f'evaluate.slices: "{name}" is not a feature column{nearest(name, known)}')


def _trained_on(result: Path) -> np.ndarray:
    """Return the ids of the train and validation rows, which a retrained member may have seen."""
    BestEpoch.load(result).check(result, PREDICTIONS, TRAINED_ON)
    return np.concatenate([*np.load(result / TRAINED_ON).values(), np.load(result / PREDICTIONS)["ids"]])


def _check_reloaded(folder: str, manifest: Manifest, test: Rows, evaluated: np.ndarray) -> float:
    """Return the largest absolute difference of a reloaded ensemble's predictions from raw features."""
    again = Ensemble(folder).predict(ensembles.raw_features(manifest, test)) - manifest.label.offset
    difference = float(np.abs(again - evaluated).max())
    scale = max(1.0, float(np.abs(evaluated).max()))
    # Beside a large offset 64-bit floats are coarse, too.
    if not difference <= SAME * scale + 2 * np.spacing(abs(manifest.label.offset)):
        raise UserError(
            f"evaluate: the reloaded ensemble predicts something else than was evaluated, by {difference:.1e}"
        )
    return difference


def _other_identity(theirs: Identity | None, ours: Identity | None) -> str:
    """Return why nobody can tell which of these rows the champion was trained on."""
    if theirs is None:
        return "the champion is of a version without identities of rows: its train rows can't be told from these"
    if ours and (theirs.by, ours.by) == ("row", "row"):
        changed = sorted(set(theirs.columns) ^ set(ours.columns))
        return (
            f"the source's columns changed (\"{changed[0]}\"), so the champion's train rows can't be told from these; "
            "name a key of the rows in data.id"
        )
    return "data.id changed, so the champion's train rows can't be told from these"


def _against(champion: str | None, tested: _Tested, resamples: int, seed: int) -> Comparison | None:
    """Score the champion on this run's test rows that it was not trained on; None without a champion."""
    if champion is None:
        return None
    manifest = tested.ensemble.manifest
    label, test = manifest.label, tested.rows
    unseen = np.zeros(len(test), bool)

    def problem(words: str, changed: bool = True) -> Comparison:
        return Comparison(champion=champion, unseen=int(unseen.sum()), problem=words, changed=changed)

    with ExitStack() as stack:
        try:
            theirs = Ensemble(stack.enter_context(opened(champion)))
        except UserError as error:
            return problem(f"the champion can't be read: {error}", changed=False)
        own = theirs.manifest.label
        if (own.task, own.sorted_classes) != (label.task, label.sorted_classes):
            return problem("the champion predicts another label")
        if theirs.manifest.identity != manifest.identity:
            return problem(_other_identity(theirs.manifest.identity, manifest.identity))
        unseen = ~np.isin(test.ids, theirs.train_ids)
        if unseen.sum() < min(FEWEST_UNSEEN, len(test)):
            return problem(f"the champion was trained on all but {unseen.sum()} of {len(test)} test rows")
        rows = test.take(unseen)
        try:
            predicted = theirs.predict(ensembles.raw_features(manifest, rows)) - label.offset
        except UserError as error:
            return problem(f"the champion can't predict these rows: {error}")
        if own.classes != label.classes:  # `data.positive` has changed
            predicted = predicted[:, [(own.classes or []).index(name) for name in label.classes or []]]
    truth = tested.truth.take(unseen)
    # Each decides at its own operating point.
    ours, champions = (
        Bootstrap.of(own_truth, one, resamples, derive(seed, "champion"))
        for own_truth, one in (
            (truth, tested.pooled[unseen]),
            (replace(truth, threshold=own.threshold_of(label)), predicted),
        )
    )
    return Comparison(
        champion=champion,
        unseen=int(unseen.sum()),
        scores={metric: Interval.of(found) for metric, found in champions.intervals().items()},
        differences=Difference.between(ours, champions),
    )


def _report(inputs: Inputs, study: Study, trials: list[Trial], evaluation: Evaluation, asked: str, out: Path) -> None:
    """Write `report.json` and `report.html`."""
    steps = [inputs.records, inputs.study, *inputs.results, inputs.weights, *inputs.members]
    weights = Weights.load(inputs.weights)
    report = Report(
        asked=RunFile.model_validate_json(asked),
        manifest=at_point(Manifest.load(inputs.test), weights.operating_point),
        study=study,
        trials=trials,
        best_epochs=[BestEpoch.load(folder) for folder in inputs.results],
        weights=weights,
        members=[TrainedMember.load(folder) for folder in inputs.members],
        evaluation=evaluation,
        steps=[StepRecord.load(folder) for folder in steps],
    )
    report.save(out)
    write_file(out / "report.html", lambda path: path.write_text(render(report), encoding="utf-8"))
