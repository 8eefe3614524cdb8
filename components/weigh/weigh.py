"""Members and their weights, fitted on predictions that train-only models made on validation rows."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np

from kep.components.weigh.weights import AVERAGES, BOOK, METHODS, OF_METRICS, Limits, Problem, cross_fitted, excess, fit
from kep.config.ensemble import EnsembleSettings
from kep.config.fit import RetrainSettings
from kep.core.errors import UserError
from kep.core.files import read_json, write_json
from kep.core.seeds import derive
from kep.data.schema import Manifest
from kep.runtime.step import Step, entry
from kep.stats.metrics import FLOOR, directions, true_class

FEW_ROWS = 200
"""Below this many validation rows fitted weights follow noise; a plain average of chosen members does not."""
FOLDS = 5
MOST_PROBABILITIES = 20_000_000
"""With more stored probabilities than this `pooling: auto` doesn't try the geometric pool, which holds them all."""


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
        UserError: Predictions are not those of this manifest's rows, or come from a model that saw one of them; a
            setting does not fit the label; no candidate is within the latency budget.
    """
    settings = EnsembleSettings.model_validate_json(config)
    manifest = Manifest.load(Path(records))
    check(settings, manifest.label.task)
    folders = {read_json(Path(folder) / "best_epoch.json")["candidate"]["id"]: Path(folder) for folder in results}
    folders = dict(sorted(folders.items()))
    found = {id: read_json(folder / "best_epoch.json") for id, folder in folders.items()}
    limits = limits_of(settings, found)
    problem = stack({id: load_predictions(folder, id, manifest) for id, folder in folders.items()}, settings, manifest)
    step.ledger += stored_rows(manifest, next(iter(found.values()))["folds"])
    seeds = "one seed" if len(problem.a) == 1 else f"{len(problem.a)} seeds"
    step.progress(f"{problem.members} candidates, {problem.rows} held-out rows, each predicted from {seeds}")

    table = compare(problem, settings, limits, derive(seed, "cross-fit"))
    method, reason = choose(table, settings, problem.rows)
    chosen, pooling_reason = method, "as set"
    if settings.pooling == "auto":
        chosen, pooling_reason = choose_pooling(method, problem, table, limits, derive(seed, "cross-fit"))
        problem = problem.with_pooling("arithmetic" if chosen == method else "geometric")
    for name, way in table.items():
        score = f", {settings.metric} {way['score']:.4f}" if "score" in way else ""
        step.progress(
            f"{name}: cross-fitted validation loss {way['loss']:.4f} (standard error {way['error']:.4f}){score}"
        )
    weights = fit(method, problem, limits, derive(seed, "weights"))
    gap = excess(problem, weights) if settings.metric == "loss" else None
    step.progress(f"{method}, {reason}; pooling {problem.pooling}, {pooling_reason}")
    if gap is not None:
        step.progress(f"at most {gap:.1e} above the lowest validation loss that any weights of the candidates reach")

    members = []
    for id, weight in sorted(zip(folders, weights, strict=True), key=lambda pair: (-pair[1], pair[0])):
        if weight > 0:
            own = {key: found[id][key] for key in ("best", "trained_rows")}
            members.append(found[id]["candidate"] | {"weight": float(weight)} | own)
            step.progress(f"{id}: weight {weight:.3f}")
            if not RetrainSettings.model_validate_json(retrain).enabled:
                shutil.copytree(folders[id] / "models" / "0", step.out / "models" / id)
    write_json(
        step.out / "weights.json",
        {
            "method": method,
            "reason": reason,
            "fitted": method not in AVERAGES,
            "metric": settings.metric,
            "pooling": problem.pooling,
            "pooling_reason": pooling_reason,
            "chosen": chosen,
            "methods": {name: {k: v for k, v in way.items() if k != "losses"} for name, way in table.items()},
            "validation_loss": problem.loss(weights),
            "gap": gap,
            "correlation": {"ids": list(folders), "matrix": correlation(problem)},
            "without": without(list(folders), weights, method, problem, limits, table[chosen], seed),
            "latency_ms": None if limits.latency is None else dict(zip(folders, limits.latency.tolist(), strict=True)),
            "weights": {id: float(weight) for id, weight in zip(folders, weights, strict=True)},
            "members": members,
        },
    )
    return [json.dumps(member, sort_keys=True) for member in members]


def stored_rows(manifest: Manifest, folds: int | None) -> list[dict]:
    """What weights are fitted on, for the ledger: predictions of validation rows, with folds of train rows too."""
    roles = {"validation": "validation (stored predictions)"}
    if folds is not None:
        roles = {role: f"{role} (stored out-of-fold predictions)" for role in ("train", "validation")}
    return [
        {
            "step": "weigh",
            "role": name,
            "rows": manifest.roles[role].rows,
            "fingerprint": manifest.roles[role].fingerprint,
        }
        for role, name in roles.items()
    ]


def check(settings: EnsembleSettings, task: str) -> None:
    """Refuses settings that a label of this task has no meaning for.

    Raises:
        UserError: With what the label allows.
    """
    known = directions(task)
    if settings.metric not in known:
        raise UserError(
            f'ensemble.metric: "{settings.metric}" is not a metric of a {task} label; choose from {", ".join(known)}'
        )
    if settings.pooling == "geometric" and task == "regression":
        raise UserError(
            "ensemble.pooling: geometric pools class probabilities, and the label is a number; use arithmetic or auto"
        )


def limits_of(settings: EnsembleSettings, found: dict[str, dict]) -> Limits:
    """The limits of the ensemble.

    Args:
        settings: Of the ensemble.
        found: Contents of best_epoch.json by candidate id.

    Raises:
        UserError: No candidate alone is within the latency budget.
    """
    if settings.max_latency_ms is None:
        return Limits(settings.max_members)
    latency = {id: result["latency_ms"] for id, result in found.items()}
    fastest = min(latency, key=latency.get)
    if latency[fastest] > settings.max_latency_ms:
        raise UserError(
            f"ensemble.max_latency_ms: the fastest candidate, {fastest}, takes {latency[fastest]:.3g} ms for "
            f"{settings.latency_rows} row(s), more than the budget of {settings.max_latency_ms:g} ms"
        )
    return Limits(settings.max_members, np.array(list(latency.values())), settings.max_latency_ms)


def load_predictions(folder: Path, id: str, manifest: Manifest) -> dict[str, np.ndarray]:
    """The stored predictions of a candidate, once their provenance is proven.

    Returns:
        `predictions` [seeds, n, classes] or [seeds, n], `labels` [n], `ids` uint64 [n], `folds` [n].

    Raises:
        UserError: They have no provenance, are not of this manifest's rows, or a model was trained on a row that it
            predicts.
    """
    result, roles = read_json(folder / "best_epoch.json"), manifest.roles
    try:
        stored, trained_on = dict(np.load(folder / "predictions.npz")), dict(np.load(folder / "trained_on.npz"))
    except FileNotFoundError as error:
        raise UserError(
            f"weigh: {id} has no {Path(error.filename).name}, so nothing says which rows made it"
        ) from error
    whole = result["folds"] is None and len(stored["ids"]) != roles["validation"].rows
    if whole or result["fingerprints"] != {role: roles[role].fingerprint for role in ("train", "validation")}:
        raise UserError(f"weigh: the predictions of {id} are not of the rows of these records; run best_epoch again")
    for fold in np.unique(stored["folds"]):
        held = stored["ids"][stored["folds"] == fold]
        leaked = np.intersect1d(held, trained_on[str(fold)])
        if len(leaked):
            raise UserError(
                f"weigh: {id} was trained on {len(leaked)} of the {len(held)} rows that it predicts; weights fitted on "
                "its predictions of them would be leaked"
            )
    return stored


def stack(stored: dict[str, dict[str, np.ndarray]], settings: EnsembleSettings, manifest: Manifest) -> Problem:
    """One problem over all seeds: a seed's predictions are a repeat of each row.

    The weights are for members that are trained once, so they are fitted to the expected loss over seeds, not to the
    loss of an average over seeds that nobody deploys.

    Args:
        stored: What `load_predictions` returned, by candidate id.
        settings: Of the ensemble; they say whether the probabilities of all classes are needed.
        manifest: Of the records.

    Raises:
        UserError: The candidates' predictions are of different rows.
    """
    first = next(iter(stored.values()))
    for id, own in stored.items():
        if not np.array_equal(own["ids"], first["ids"]) or not np.array_equal(own["labels"], first["labels"]):
            raise UserError(f"weigh: the predictions of {id} are of other rows, or in another order, than the others'")
    columns, labels = [own["predictions"] for own in stored.values()], first["labels"]
    if manifest.label.task == "regression":
        return Problem(np.stack(columns, axis=-1).astype(np.float64), labels.astype(np.float64), metric=settings.metric)
    right = np.stack([[true_class(labels, seed) for seed in own] for own in columns], axis=-1)
    pooling = "geometric" if settings.pooling == "geometric" else "arithmetic"
    problem = Problem(np.maximum(right, FLOOR), metric=settings.metric, pooling=pooling)
    tried = settings.pooling == "auto" and sum(own.size for own in columns) <= MOST_PROBABILITIES
    if settings.metric == "loss" and pooling == "arithmetic" and not tried:
        return problem
    full = np.maximum(np.stack(columns, axis=-1).astype(np.float64), FLOOR)
    return dataclasses.replace(problem, y=labels, full=full)


def correlation(problem: Problem) -> list[list[float]]:
    """Pairwise correlation of the candidates' losses over rows, [K][K]; NaN where losses are all equal."""
    losses = problem.losses(np.eye(problem.members)).reshape(-1, problem.members)
    with np.errstate(invalid="ignore"):
        return np.atleast_2d(np.corrcoef(losses.T)).tolist()


def compare(problem: Problem, settings: EnsembleSettings, limits: Limits, seed: int) -> dict[str, dict]:
    """Cross-fitted loss of the best single candidate and of every method.

    Returns:
        By name: `loss`, its standard `error`, `losses` of the rows, and the `score` where the metric is not the loss.
    """

    def single(part: Problem) -> np.ndarray:
        alone = np.eye(part.members)
        return alone[min(np.flatnonzero([limits.allow(one > 0) for one in alone]), key=part.values(alone).__getitem__)]

    names = METHODS if settings.metric == "loss" else {*OF_METRICS, settings.method} - {"auto"}
    table = {"best single": _entry(single, problem, seed)}
    for name in METHODS:
        if name in names:
            table[name] = _entry(_way(name, limits, seed), problem, seed)
    return table


def choose(table: dict[str, dict], settings: EnsembleSettings, rows: int) -> tuple[str, str]:
    """The method and why.

    Args:
        table: From `compare`.
        settings: Of the ensemble.
        rows: Of the validation set.
    """
    if settings.method != "auto":
        return settings.method, "as set"
    if rows < FEW_ROWS:
        return "greedy_uniform", f"{rows} validation rows are too few to fit weights"
    if settings.metric != "loss":
        return "greedy_bagged", f"{settings.metric} is not convex in the weights"
    return simplest(table)


def simplest(table: dict[str, dict]) -> tuple[str, str]:
    """The simplest method that is not worse than the best by more than a standard error of their difference.

    The one-standard-error rule of Breiman et al. 1984, on paired row losses.

    Returns:
        The method and why.
    """
    names = [name for name in METHODS if name not in BOOK]
    best = min(names, key=lambda name: table[name]["loss"])
    for name in names:
        difference = table[name]["losses"] - table[best]["losses"]
        if difference.mean() <= _error(difference):
            break
    return name, f"the simplest within one standard error of the lowest cross-fitted loss ({best})"


def choose_pooling(method: str, problem: Problem, table: dict[str, dict], limits: Limits, seed: int) -> tuple[str, str]:
    """Whether the geometric pool is surely better for the chosen method.

    Args:
        method: The chosen one.
        problem: With arithmetic pooling.
        table: From `compare`; the geometric pool is added where it was tried.
        limits: What the members may cost.
        seed: Of the assignment to folds, the same as the table's.

    Returns:
        The key in the table of the method with its pooling, and why.
    """
    if problem.metric != "loss":
        return method, f"geometric is tried for the loss alone, and the metric is {problem.metric}"
    if problem.full is None:
        return method, "geometric is not tried for a regression or very many probabilities"
    if problem.rows < FEW_ROWS:
        return method, f"geometric is not tried on {problem.rows} validation rows, too few to tell"
    name = f"{method}, geometric"
    table[name] = _entry(_way(method, limits, seed), problem.with_pooling("geometric"), seed)
    difference = table[name]["losses"] - table[method]["losses"]
    told = f"geometric minus arithmetic {difference.mean():+.4f}, standard error {_error(difference):.4f}"
    # Of one member both pools are the same up to rounding.
    return (name if difference.mean() < -max(_error(difference), 1e-9) else method), told


def without(
    ids: list[str], weights: np.ndarray, method: str, problem: Problem, limits: Limits, whole: dict, seed: int
) -> dict[str, dict]:
    """What each member adds: the cross-fitted loss when the method does without it, weights fitted again.

    Returns:
        By member id `loss`, `difference` from the whole ensemble's (above 0: the member helps) and its standard
        `error`, paired by row; empty for a single candidate, and for another metric, whose fits would take too long.
    """
    left_out = {}
    if problem.members == 1 or problem.metric != "loss":
        return left_out
    for number in np.flatnonzero(weights > 0):
        rest = problem.only(np.delete(np.arange(problem.members), number))
        own = limits.without(number)
        if not any(own.allow(one > 0) for one in np.eye(rest.members)):
            continue
        entry_ = _entry(_way(method, own, derive(seed, "cross-fit")), rest, derive(seed, "cross-fit"))
        difference = entry_["losses"] - whole["losses"]
        left_out[ids[number]] = {
            "loss": entry_["loss"],
            "difference": float(difference.mean()),
            "error": _error(difference),
        }
    return left_out


def _way(method: str, limits: Limits, seed: int) -> functools.partial:
    return functools.partial(fit, method, limits=limits, seed=seed)


def _entry(way, problem: Problem, seed: int) -> dict:
    losses, score = cross_fitted(way, problem, min(FOLDS, problem.rows), seed)
    entry_ = {"loss": float(losses.mean()), "error": _error(losses), "losses": losses}
    return entry_ if score is None else entry_ | {"score": score}


def _error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
