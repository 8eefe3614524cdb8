"""The one look at the test rows: metrics with intervals, the report, and the ensemble as one artifact."""

import json
from pathlib import Path

import numpy as np

from kep.artifacts.trials import TrialStore, merged
from kep.components.evaluate.scores import intervals, paired_difference, pictures, slices
from kep.config.evaluate import EvaluateSettings
from kep.core.errors import UserError, nearest
from kep.core.files import new_folder, read_json, write_file, write_json
from kep.core.seeds import derive
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.models import ensemble as ensembles
from kep.models.ensemble import Ensemble
from kep.report.report import AVERAGE, BASELINE, render
from kep.runtime.step import Step, entry
from kep.stats.metrics import loss
from kep.stats.observed import save_predicted
from kep.stats.pooling import pool
from kep.storage import champions

SAME = 1e-5
"""Largest difference between a reloaded ensemble's predictions and the evaluated ones: float32 rounding."""
FEWEST_UNSEEN = 30
"""Test rows that a champion must not have been trained on for a comparison to mean something."""


@entry("evaluate")
def run(
    step: Step,
    *,
    records: str,
    study: str,
    results: list[str],
    weights: str,
    members: list[str],
    ensemble: str,
    config: str,
    asked: str,
    champion: str,
    seed: int,
) -> dict:
    """Scores on the test rows, writes the ensemble, `evaluation.json`, `predictions.npz`, `report.json` and
    `report.html`.

    Args:
        step: Of this execution.
        records: Folder of the records.
        study: Folder that `tune` wrote.
        results: Folders that `best_epoch` wrote.
        weights: Folder that `weigh` wrote.
        members: Folders that `retrain` wrote.
        ensemble: Where the ensemble goes.
        config: JSON of `EvaluateSettings`.
        asked: JSON of the whole run file, for the report.
        champion: JSON of `Champion`.
        seed: Of the run.

    Returns:
        `metrics` of the ensemble by name, the `classes`, and the `pictures` of the report.

    Raises:
        UserError: A slice column does not exist, or the reloaded ensemble predicts something else than was evaluated.
    """
    settings = EvaluateSettings.model_validate_json(config)
    against = champions.Champion.of_parameter(champion).current
    data = step.open(records)
    manifest, task = data.manifest, data.manifest.label.task
    _check_slices(settings.slices, manifest)
    weighed = read_json(Path(weights) / "weights.json")
    by_id = {read_json(Path(folder) / "member.json")["id"]: Path(folder) for folder in members}
    ordered = {member["id"]: by_id[member["id"]] for member in weighed["members"]}
    with new_folder(ensemble) as folder:
        ensembles.write(folder, ordered, Path(records), _trained_on(results), weighed["pooling"])

    test = data.load("test")
    own = Ensemble(ensemble)
    predictions = dict(zip(ordered, own.predict_members(test), strict=True))
    named = predictions | {
        BASELINE: baseline(manifest, len(test)),
        AVERAGE: np.mean([p.astype(np.float64) for p in predictions.values()], axis=0),
        "ensemble": own.combine(list(predictions.values())),
    }
    difference = _check_reloaded(ensemble, manifest, test, named["ensemble"])
    save_predicted(manifest, named["ensemble"], Path(ensemble))
    step.progress(
        f"ensemble of {len(ordered)} reloaded: raw features give the evaluated predictions within {difference:.1e}"
    )
    if task == "binary":
        step.progress(f"positive class: {manifest.label.classes[1]}")
    scores = {}
    for name, predicted in named.items():
        scores[name] = intervals(task, test.labels, predicted, settings.bootstrap, derive(seed, "bootstrap"))
        step.progress(f"{name}: " + ", ".join(f"{metric} {v['value']:.4f}" for metric, v in scores[name].items()))
    drawn = pictures(manifest, test.labels, named["ensemble"], derive(seed, "pictures"))
    evaluation = {
        "rows": len(test),
        "scores": scores,
        "pictures": drawn,
        "slices": slices(manifest, test, named["ensemble"], settings.slices),
        "against": {
            name: paired_difference(
                task, test.labels, named["ensemble"], predicted, settings.bootstrap, derive(seed, "against")
            )
            for name, predicted in named.items()
            if name != "ensemble"
        },
        "without": without(predictions, own, task, test.labels, settings.bootstrap, derive(seed, "without")),
        "reload_difference": difference,
        "gap": {
            "validation_loss": weighed["validation_loss"],
            "cross_fitted_loss": weighed["methods"][weighed["chosen"]]["loss"],
            "test_loss": scores["ensemble"]["loss"],
        },
        "champion": _against(against, manifest, test, named["ensemble"], settings.bootstrap, seed),
        "ledger": ledger([study, *results, weights, *members], step.ledger),
    }
    for line in evaluation["ledger"]:
        step.progress(f"{line['step']} read {line['rows']} {line['role']} rows ({line['fingerprint'][:12]})")
    write_json(step.out / "evaluation.json", evaluation)
    write_file(
        step.out / "predictions.npz",
        lambda path: np.savez(path, labels=test.labels, ids=test.ids, **named),
    )
    whole = _collect(records, study, results, weights, list(ordered.values()), evaluation, json.loads(asked))
    write_json(step.out / "report.json", whole)
    write_file(step.out / "report.html", lambda path: path.write_text(render(whole)))
    return {
        "metrics": {name: v["value"] for name, v in scores["ensemble"].items()},
        "classes": manifest.label.classes,
        "pictures": drawn,
    }


def baseline(manifest: Manifest, rows: int) -> np.ndarray:
    """What one predicts without a model: the class shares of the train rows, or their mean label."""
    label = manifest.label
    if label.task == "regression":
        return np.full(rows, label.mean)
    counts = np.array(manifest.roles["train"].class_counts, np.float64)
    return np.tile(counts / counts.sum(), (rows, 1))


def without(
    predictions: dict[str, np.ndarray], own: Ensemble, task: str, labels: np.ndarray, resamples: int, seed: int
) -> dict[str, dict]:
    """What each member adds on test rows: the ensemble without it, the others' weights renormalised.

    Returns:
        By member id, the loss without it as `loss`, and that loss minus the whole ensemble's, paired by row, as
        `value`, `low`, `high` (above 0: the member helps); empty for an ensemble of one.
    """
    weights = {member["id"]: member["weight"] for member in own.members}
    whole, left_out = own.combine(list(predictions.values())), {}
    for id in weights if len(weights) > 1 else []:
        rest = {other: weight / (1 - weights[id]) for other, weight in weights.items() if other != id}
        fewer = pool([predictions[other] for other in rest], list(rest.values()), own.pooling)
        difference = paired_difference(task, labels, fewer, whole, resamples, seed)
        left_out[id] = {"loss": loss(task, labels, fewer)} | difference
    return left_out


def ledger(folders: list[str], own: list[dict]) -> list[dict]:
    """Who read which roles: one line per step and role, with the number of its executions.

    Args:
        folders: Of the steps' outputs, each with a step.json.
        own: The ledger of this step.

    Returns:
        Dictionaries with `step`, `role`, `rows`, `fingerprint`, `times`, in the order of the flow.
    """
    lines = [line for folder in folders for line in read_json(Path(folder) / "step.json")["ledger"]]
    table: dict[tuple, dict] = {}
    for line in lines + own:
        key = (line["step"], line["role"])
        table.setdefault(key, line | {"times": 0})["times"] += 1
    return list(table.values())


def _check_slices(columns: list[str], manifest: Manifest) -> None:
    known = [column.name for column in manifest.columns if column.kind != "image"]
    for name in columns:
        if name not in known:
            raise UserError(f'evaluate.slices: "{name}" is not a feature column{nearest(name, known)}')


def _trained_on(results: list[str]) -> np.ndarray:
    """Ids of the train and validation rows: what a retrained member may have seen."""
    first = Path(results[0])
    return np.concatenate([*np.load(first / "trained_on.npz").values(), np.load(first / "predictions.npz")["ids"]])


def _check_reloaded(folder: str, manifest: Manifest, test: Rows, evaluated: np.ndarray) -> float:
    """Largest absolute difference of a reloaded ensemble's predictions from raw features."""
    again = Ensemble(folder).predict(ensembles.raw_features(manifest, test))
    difference = float(np.abs(again - evaluated).max())
    scale = max(1.0, float(np.abs(evaluated).max()))
    if not difference <= SAME * scale:
        raise UserError(
            f"evaluate: the reloaded ensemble predicts something else than was evaluated, by {difference:.1e}"
        )
    return difference


def _against(
    champion: str | None, manifest: Manifest, test: Rows, ours: np.ndarray, resamples: int, seed: int
) -> dict | None:
    """Re-scores the champion on this run's test rows that it was not trained on.

    Returns:
        `folder`, `unseen` (rows), and either `difference` (our loss minus the champion's, paired by row) or the
        `problem` that makes a comparison impossible; None without a champion.
    """
    if champion is None:
        return None
    result: dict = {"folder": champion, "unseen": 0}
    try:
        with champions.opened(champion) as folder:
            theirs = Ensemble(folder)
            label = theirs.manifest.label
            if (label.task, label.classes) != (manifest.label.task, manifest.label.classes):
                return result | {"problem": "the champion predicts another label"}
            unseen = ~np.isin(test.ids, theirs.train_ids)
            result["unseen"] = int(unseen.sum())
            if result["unseen"] < min(FEWEST_UNSEEN, len(test)):
                return result | {
                    "problem": f"the champion was trained on all but {result['unseen']} of {len(test)} test rows"
                }
            rows = test.take(unseen)
            predicted = theirs.predict(ensembles.raw_features(manifest, rows))
    except UserError as error:
        return result | {"problem": f"the champion can't predict these rows: {error}"}
    difference = paired_difference(
        label.task, rows.labels, ours[unseen], predicted, resamples, derive(seed, "champion")
    )
    return result | {"difference": difference}


def _collect(
    records: str,
    study: str,
    results: list[str],
    weights: str,
    members: list[Path],
    evaluation: dict,
    asked: dict,
) -> dict:
    """Everything that the report shows, as one JSON value."""
    results = sorted(results, key=lambda folder: read_json(Path(folder) / "best_epoch.json")["candidate"]["id"])
    steps = [records, study, *results, weights, *members]
    return {
        "asked": asked,
        "manifest": read_json(Path(records) / "manifest.json"),
        "study": read_json(Path(study) / "study.json"),
        "trials": [one.model_dump(mode="json") for one in merged(TrialStore(Path(study)).load().values())],
        "best_epochs": [read_json(Path(folder) / "best_epoch.json") for folder in results],
        "weights": read_json(Path(weights) / "weights.json"),
        "members": [read_json(folder / "member.json") for folder in members],
        "evaluation": evaluation,
        "steps": [read_json(Path(folder) / "step.json") for folder in steps],
    }
