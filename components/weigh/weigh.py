"""Members and their weights, fitted on predictions that train-only models made on validation rows."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np

from components.shared.errors import UserError
from components.shared.files import read_json, write_json
from components.shared.metrics import true_class
from components.shared.schema import Manifest
from components.shared.seeds import derive
from components.shared.settings import EnsembleSettings, RetrainSettings
from components.shared.step import Step, entry
from components.weigh.weights import METHODS, Problem, cross_fitted, fit

FEW_ROWS = 200
"""Below this many validation rows fitted weights follow noise; the plain average is used."""
FOLDS = 5


@entry("weigh")
def run(step: Step, *, results: list[str], records: str, config: str, retrain: str, seed: int) -> list[str]:
    """Fits the weights and writes `weights.json`; without retraining, the members' train-only models too.

    Args:
        step: Of this execution.
        results: Folders that `best_epoch` wrote, one per candidate, in any order.
        records: Folder of the records; only the manifest is read.
        config: JSON of `EnsembleSettings`.
        retrain: JSON of `RetrainSettings`.
        seed: Of the run.

    Returns:
        One JSON string per member, the heaviest first: the candidate with `weight` and its best epoch `best`.

    Raises:
        UserError: Predictions are not those of this manifest's validation rows, or come from a model that saw one of
            them.
    """
    settings = EnsembleSettings.model_validate_json(config)
    manifest = Manifest.load(Path(records))
    folders = {read_json(Path(folder) / "best_epoch.json")["candidate"]["id"]: Path(folder) for folder in results}
    folders = dict(sorted(folders.items()))
    stored = {id: load_predictions(folder, id, manifest) for id, folder in folders.items()}
    problem, rows = stack(stored, manifest.label.task)
    validation = manifest.roles["validation"]
    step.ledger.append(
        {
            "step": "weigh",
            "role": "validation (stored predictions)",
            "rows": validation.rows,
            "fingerprint": validation.fingerprint,
        }
    )
    step.progress(
        f"{problem.members} candidates, {len(np.unique(rows))} validation rows, {len(problem.a)} predictions each"
    )

    table = compare(problem, rows, settings.max_members, derive(seed, "cross-fit"))
    method, reason = settings.method, "as set"
    if method == "auto":
        method, reason = simplest(table, len(np.unique(rows)))
    for name, entry_ in table.items():
        step.progress(f"{name:14} cross-fitted validation loss {entry_['loss']:.4f} ± {entry_['error']:.4f}")
    weights = fit(method, problem, settings.max_members, derive(seed, "weights"))
    step.progress(
        f"{method} ({reason}); at most {problem.gap(weights):.1e} above the lowest validation loss on the simplex"
    )

    members = []
    for id, weight in sorted(zip(folders, weights, strict=True), key=lambda pair: (-pair[1], pair[0])):
        if weight > 0:
            result = read_json(folders[id] / "best_epoch.json")
            members.append(result["candidate"] | {"weight": float(weight), "best": result["best"]})
            step.progress(f"{id}: weight {weight:.3f}")
            if not RetrainSettings.model_validate_json(retrain).enabled:
                shutil.copytree(folders[id] / "models" / "0", step.out / "models" / id)
    write_json(
        step.out / "weights.json",
        {
            "method": method,
            "reason": reason,
            "methods": {name: {k: v for k, v in e.items() if k != "losses"} for name, e in table.items()},
            "validation_loss": problem.loss(weights),
            "gap": problem.gap(weights),
            "correlation": {"ids": list(folders), "matrix": correlation(problem)},
            "weights": {id: float(weight) for id, weight in zip(folders, weights, strict=True)},
            "members": members,
        },
    )
    return [json.dumps(member, sort_keys=True) for member in members]


def load_predictions(folder: Path, id: str, manifest: Manifest) -> dict[str, np.ndarray]:
    """The stored predictions of a candidate, once their provenance is proven.

    Returns:
        `predictions` [seeds, n, classes] or [seeds, n], `labels` [n], `ids` uint64 [n].

    Raises:
        UserError: They have no provenance, are not of this manifest's validation rows, or the model was trained on
            one of those rows.
    """
    result = read_json(folder / "best_epoch.json")
    validation = manifest.roles["validation"]
    try:
        stored = dict(np.load(folder / "predictions.npz"))
        trained_on = np.load(folder / "train_ids.npy")
    except FileNotFoundError as error:
        raise UserError(
            f"weigh: {id} has no {Path(error.filename).name}, so nothing says which rows made it"
        ) from error
    if result["validation_fingerprint"] != validation.fingerprint or len(stored["ids"]) != validation.rows:
        raise UserError(
            f"weigh: the predictions of {id} are not of the validation rows of these records; run best_epoch again"
        )
    leaked = np.intersect1d(stored["ids"], trained_on)
    if len(leaked):
        raise UserError(
            f"weigh: {id} was trained on {len(leaked)} of the {validation.rows} validation rows; weights fitted on its "
            "predictions of them would be leaked"
        )
    return stored


def stack(stored: dict[str, dict[str, np.ndarray]], task: str) -> tuple[Problem, np.ndarray]:
    """One problem over all seeds: a seed's predictions are a repeat of each row.

    The weights are for members that are trained once, so they are fitted to the expected loss over seeds, not to the
    loss of an average over seeds that nobody deploys.

    Returns:
        The problem with a row per (seed, validation row), and the validation row's number of each.

    Raises:
        UserError: The candidates' predictions are of different rows.
    """
    first = next(iter(stored.values()))
    columns = []
    for id, own in stored.items():
        if not np.array_equal(own["ids"], first["ids"]) or not np.array_equal(own["labels"], first["labels"]):
            raise UserError(f"weigh: the predictions of {id} are of other rows, or in another order, than the others'")
        if task == "regression":
            columns.append(np.concatenate([seed.astype(np.float64) for seed in own["predictions"]]))
        else:
            columns.append(np.concatenate([true_class(own["labels"], seed) for seed in own["predictions"]]))
    seeds = len(first["predictions"])
    labels = np.tile(first["labels"].astype(np.float64), seeds) if task == "regression" else None
    return Problem(np.stack(columns, axis=1), labels), np.tile(np.arange(len(first["ids"])), seeds)


def correlation(problem: Problem) -> list[list[float]]:
    """Pairwise correlation of the candidates' losses over rows, [K][K]; NaN where losses are all equal."""
    losses = np.stack([problem.row_losses(one) for one in np.eye(problem.members)])
    with np.errstate(invalid="ignore"):
        return np.atleast_2d(np.corrcoef(losses)).tolist()


def compare(problem: Problem, rows: np.ndarray, max_members: int, seed: int) -> dict[str, dict]:
    """Cross-fitted loss of the best single candidate and of every method.

    Returns:
        By name: `loss`, its standard `error`, and `losses` of the rows.
    """

    def single(part: Problem) -> np.ndarray:
        return np.eye(part.members)[np.argmin([part.loss(one) for one in np.eye(part.members)])]

    folds = min(FOLDS, len(np.unique(rows)))
    ways = {"best single": single}
    for name in METHODS:
        ways[name] = functools.partial(lambda name, part: fit(name, part, max_members, seed), name)
    table = {}
    for name, way in ways.items():
        losses = cross_fitted(way, problem, rows, folds, seed)
        error = float(losses.std(ddof=1) / np.sqrt(len(losses)))
        table[name] = {"loss": float(losses.mean()), "error": error, "losses": losses}
    return table


def simplest(table: dict[str, dict], rows: int) -> tuple[str, str]:
    """The simplest method that is not worse than the best by more than a standard error of their difference.

    The one-standard-error rule of Breiman et al. 1984, on paired row losses.

    Returns:
        The method and why.
    """
    if rows < FEW_ROWS:
        return "uniform", f"{rows} validation rows are too few to fit weights"
    best = min(METHODS, key=lambda name: table[name]["loss"])
    for name in METHODS:
        difference = table[name]["losses"] - table[best]["losses"]
        if difference.mean() <= difference.std(ddof=1) / np.sqrt(rows):
            break
    return name, f"the simplest within one standard error of the lowest cross-fitted loss ({best})"
