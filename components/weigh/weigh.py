"""Members and their weights, fitted on predictions that train-only models made on validation rows."""

import dataclasses
import functools
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kep.artifacts.best_epoch import PREDICTIONS, TRAINED_ON, BestEpoch
from kep.artifacts.weights import CalibrationChoice, Correlation, Member, MethodScore, Weights, WithoutMember
from kep.components.weigh.calibrate import HeldOut, choose_calibration
from kep.components.weigh.operating_point import choose_point
from kep.components.weigh.weights import (
    AVERAGES,
    BEST_SINGLE,
    BOOK,
    METHODS,
    OF_METRICS,
    Folds,
    Limits,
    Problem,
    cross_fitted,
    excess,
    fit,
    relative,
)
from kep.config.ensemble import EnsembleSettings
from kep.config.fit import RetrainTask
from kep.core.errors import UserError
from kep.core.files import tree_digest
from kep.core.seeds import derive
from kep.data.ledger import LedgerLine
from kep.data.schema import Manifest
from kep.runtime.step import Step, entry
from kep.stats.metrics import FLOOR, METRICS, check_defined, directions, problem, problem_of_probabilities, true_class
from kep.stats.operating_point import OperatingPoint

FEW_ROWS = 200
"""Below this many validation rows fitted weights follow noise; a plain average of chosen members does not."""
CLEARLY = 3.0
"""Standard errors of the paired difference beyond which an ensemble is clearly worse than its best candidate alone.

On few rows one candidate often looks the best by luck: with one error the best candidate is taken too often, and costs
more than it saves (docs/explanation/measured-ensembles.md).
"""
FEWEST_CLEAR = 30
"""Rows below which nothing is clear: one candidate may be right on all of them, and very wrong on the next."""
FOLDS = 5
OF_ROWS = {"ids", "labels", "weights"}
"""Stored arrays that are the same for every candidate."""
MOST_PROBABILITIES = 20_000_000
"""With more stored probabilities than this `pooling: auto` doesn't try the geometric pool, which holds them all."""


@dataclass(frozen=True)
class Way:
    """Cross-fitted result of a way to weigh.

    Attributes:
        losses: Loss of each row under weights that were fitted without it, times how much it counts, shape [n].
        score: Value of the metric; None where that is the loss.
        folds: Folds and their weights.
    """

    losses: np.ndarray
    score: float | None = None
    folds: Folds | None = None

    @property
    def loss(self) -> float:
        """Mean loss."""
        return float(self.losses.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean loss."""
        return _error(self.losses)

    def record(self) -> MethodScore:
        """Return the figures without the rows'."""
        return MethodScore(loss=self.loss, error=self.error, score=self.score)


@dataclass(frozen=True)
class Choice:
    """Chosen way to weigh.

    Attributes:
        method: Name of the method.
        reason: Why it was chosen.
        problem: The problem, with the chosen pooling.
        name: Key in the table of the method with its pooling.
        pooling_reason: Why the pooling was chosen.
    """

    method: str
    reason: str
    problem: Problem
    name: str
    pooling_reason: str


@entry("weigh")
def run(step: Step, *, results: list[str], records: str, config: str, retrain: str) -> list[str]:
    """Fit the weights and write `weights.json`; without retraining, the members' train-only models too.

    Args:
        step: This execution.
        results: Folders that `best_epoch` wrote, one per candidate, in any order.
        records: Folder of the records; only the manifest is read.
        config: JSON of `EnsembleSettings`.
        retrain: JSON of `RetrainTask`.

    Returns:
        JSON of one `Member` each, the heaviest first.

    Raises:
        UserError: Predictions are of other rows, or of a model that saw one of them. Or a setting does not fit the
            label, or no candidate is within the latency budget.
    """
    settings = EnsembleSettings.model_validate_json(config)
    manifest = Manifest.load(Path(records))
    check(settings, manifest.label.task)
    loaded = [(BestEpoch.load(folder), Path(folder)) for folder in results]
    loaded.sort(key=lambda pair: pair[0].candidate.id)
    found = {result.candidate.id: result for result, _ in loaded}
    if twice := [id for id, number in Counter(result.candidate.id for result, _ in loaded).items() if number > 1]:
        raise UserError(f"weigh: {twice[0]} is given more than once; give each candidate's result once")
    folders = {result.candidate.id: folder for result, folder in loaded}
    limits = limits_of(settings, found)
    stored = {id: load_predictions(folder, id, manifest) for id, folder in folders.items()}
    problem = stack(stored, settings, manifest)
    step.ledger += stored_rows(manifest, next(iter(found.values())).folds)
    seeds = "one seed" if len(problem.a) == 1 else f"{len(problem.a)} seeds"
    step.progress(f"{problem.members} candidates, {problem.rows} held-out rows, each predicted from {seeds}")

    table = compare(problem, settings, limits, derive(step.seed, "cross-fit"))
    choice = _choose(table, settings, problem, limits, derive(step.seed, "cross-fit"))
    _tell(step, table, choice, settings.metric)
    weights = fit(choice.method, choice.problem, limits, derive(step.seed, "weights"))
    gap = excess(choice.problem, weights) if settings.metric == "loss" else None
    if gap is not None:
        step.progress(f"at most {gap:.1e} above the lowest validation loss that any weights of the candidates reach")
    calibration, point = settle(stored, weights, choice.problem, table[choice.name], settings)
    if calibration is not None:
        step.progress(f"calibration {calibration.method}, {calibration.reason}")
    if point is not None:
        step.progress(f"operating point: positive from a probability of {point.threshold:.4g} on, {point.chosen_by}")
    by_id = {id: float(weight) for id, weight in zip(folders, weights, strict=True)}
    members = members_of(found, by_id)
    for member in members:
        step.progress(f"{member.id}: weight {member.weight:.3f}")
        if not RetrainTask.model_validate_json(retrain).enabled:
            found[member.id].check(folders[member.id], "models/0")
            shutil.copytree(folders[member.id] / "models" / "0", step.out / "models" / member.id)
    left_out = without(list(folders), weights, choice, limits, table[choice.name], step.seed)
    Weights(
        method=choice.method,
        reason=choice.reason,
        fitted=choice.method not in (*AVERAGES, BEST_SINGLE),
        metric=settings.metric,
        pooling=choice.problem.pooling,
        pooling_reason=choice.pooling_reason,
        chosen=choice.name,
        methods={name: way.record() for name, way in table.items()},
        validation_loss=choice.problem.loss(weights),
        gap=gap,
        correlation=Correlation(ids=list(folders), matrix=correlation(choice.problem)),
        without=left_out,
        latency_ms=None if limits.latency is None else dict(zip(folders, limits.latency.tolist(), strict=True)),
        weights=by_id,
        members=members,
        calibration=calibration,
        operating_point=point,
        files={f"models/{path.name}": tree_digest(path) for path in sorted((step.out / "models").glob("*"))},
    ).save(step.out)
    return [member.to_json() for member in members]


def settle(
    stored: Mapping[str, Mapping[str, np.ndarray]],
    weights: np.ndarray,
    problem: Problem,
    way: Way,
    settings: EnsembleSettings,
) -> tuple[CalibrationChoice | None, OperatingPoint | None]:
    """Choose the calibration of an ensemble, and then its operating point; neither for a regression.

    Args:
        stored: Results of `load_predictions` by candidate id.
        weights: Weights of the ensemble, shape [K].
        problem: Problem that they solve.
        way: Cross-fitted result of the way to weigh.
        settings: Settings of the ensemble.

    Raises:
        UserError: No threshold reaches what `operating_point` asks for.
    """
    if way.folds is None or problem.regression:
        return None, None
    alone = Folds(np.zeros(problem.rows, int), weights[None], problem.counts)
    held, whole = (HeldOut.of(stored, folds, problem.pooling) for folds in (way.folds, alone))
    choice, made = choose_calibration(held, whole, settings.calibration)
    return choice, None if settings.operating_point is None else choose_point(made, settings.operating_point)


def members_of(found: Mapping[str, BestEpoch], weights: Mapping[str, float]) -> list[Member]:
    """Return the candidates with weight, the heaviest first."""
    ordered = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
    return [
        Member(
            **dict(found[id].candidate),
            weight=weight,
            median_best=found[id].median_best,
            horizon=found[id].horizon,
            trained_rows=found[id].trained_rows,
        )
        for id, weight in ordered
        if weight > 0
    ]


def _tell(step: Step, table: Mapping[str, Way], choice: Choice, metric: str) -> None:
    """Log the comparison and the choice."""
    for name, way in table.items():
        score = f", {metric} {way.score:.4f}" if way.score is not None else ""
        step.progress(f"{name}: cross-fitted validation loss {way.loss:.4f} (standard error {way.error:.4f}){score}")
    step.progress(f"{choice.method}, {choice.reason}; pooling {choice.problem.pooling}, {choice.pooling_reason}")


def stored_rows(manifest: Manifest, folds: int | None) -> list[LedgerLine]:
    """Return the ledger of the weights: predictions of validation rows, with folds of train rows too."""
    roles = {"validation": "validation (stored predictions)"}
    if folds is not None:
        roles = {role: f"{role} (stored out-of-fold predictions)" for role in ("train", "validation")}
    return [
        LedgerLine(
            step="weigh", role=name, rows=manifest.roles[role].rows, fingerprint=manifest.roles[role].fingerprint
        )
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
    if settings.operating_point is not None and task != "binary":
        what = "the label is a number" if task == "regression" else "the label has more"
        raise UserError(f"ensemble.operating_point: it is the probability of one class of two, and {what}; remove it")
    if settings.calibration in ("temperature", "isotonic") and task == "regression":
        raise UserError(
            f"ensemble.calibration: {settings.calibration} calibrates class probabilities, and the label is a number; "
            "use off or auto"
        )
    if settings.calibration == "isotonic" and task == "multiclass":
        raise UserError(
            "ensemble.calibration: isotonic calibrates the probability of one class of two, and the label has more; "
            "use temperature, off or auto"
        )


def limits_of(settings: EnsembleSettings, found: Mapping[str, BestEpoch]) -> Limits:
    """Return the limits of the ensemble.

    Args:
        settings: Settings of the ensemble.
        found: Results of best_epoch by candidate id.

    Raises:
        UserError: No candidate alone is within the latency budget, or the time of one was not measured.
    """
    if settings.max_latency_ms is None:
        return Limits(settings.max_members)
    latency = {id: result.latency_ms for id, result in found.items() if result.latency_ms is not None}
    if missing := [id for id in found if id not in latency]:
        raise UserError(f"ensemble.max_latency_ms: the latency of {missing[0]} was not measured; run best_epoch again")
    fastest = min(latency, key=lambda id: latency[id])
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
        UserError: They have no provenance, are damaged, are not of this manifest's rows, can't be predictions, or a
            model was trained on a row that it predicts.
    """
    result, roles = BestEpoch.load(folder), manifest.roles
    for name in (PREDICTIONS, TRAINED_ON):
        if not (folder / name).is_file():
            raise UserError(
                f"weigh: {id} has no {name} in {folder}, so nothing says which rows made it; run best_epoch again"
            )
    result.check(folder, PREDICTIONS, TRAINED_ON)
    stored, trained_on = dict(np.load(folder / PREDICTIONS)), dict(np.load(folder / TRAINED_ON))
    other = result.folds is None and len(stored["ids"]) != roles["validation"].rows
    if other or result.fingerprints != {role: roles[role].fingerprint for role in ("train", "validation")}:
        raise UserError(f"weigh: the predictions of {id} are not of the rows of these records; run best_epoch again")
    if wrong := _problem(stored, result, manifest):
        raise UserError(
            f"weigh: {folder / PREDICTIONS} can't be the predictions of {id}: {wrong}; run best_epoch again"
        )
    for fold in np.unique(stored["folds"]):
        held = stored["ids"][stored["folds"] == fold]
        if not len(trained_on.get(str(fold), ())):
            raise UserError(
                f"weigh: {folder / TRAINED_ON} names no row that {id} was trained on, so nothing says which rows made "
                "it; run best_epoch again"
            )
        leaked = np.intersect1d(held, trained_on[str(fold)])
        if len(leaked):
            raise UserError(
                f"weigh: {id} was trained on {len(leaked)} of the {len(held)} rows that it predicts; weights fitted on "
                "its predictions of them would be leaked"
            )
    return stored


def _problem(stored: Mapping[str, np.ndarray], result: BestEpoch, manifest: Manifest) -> str | None:
    """Return why arrays can't be predictions of the held-out rows, in words; None where they can."""
    classes, labels, ids = manifest.label.classes, stored["labels"], stored["ids"]
    # Folds forward in time can be fewer than were asked for.
    runs = len(result.seeds) // max(1, len(np.unique(stored["folds"])))
    shape = (runs, len(ids)) if classes is None else (runs, len(ids), len(classes))
    if wrong := problem(stored["predictions"], shape):
        return wrong
    # Rows that are equal in all that the source holds have one id, and each of them counts.
    if len(labels) != len(ids):
        return "some rows have no label"
    if ("weights" in stored) != (manifest.weighting is not None):
        return "their weights are not those of data.weight"
    if "weights" in stored and (stored["weights"].shape != ids.shape or not (stored["weights"] >= 0).all()):
        return "some rows have no weight"
    if classes is None:
        return None if np.isfinite(labels).all() else "some labels are not finite numbers"
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    if result.folds is None and counts != manifest.roles["validation"].class_counts:
        return "their labels are not those of the validation rows"
    return problem_of_probabilities(stored["predictions"])


def stack(stored: dict[str, dict[str, np.ndarray]], settings: EnsembleSettings, manifest: Manifest) -> Problem:
    """One problem over all seeds: a seed's predictions are a repeat of each row.

    Members are trained once, so weights are fitted to the expected loss over seeds, not to the loss of an average over
    seeds that nobody deploys.

    Args:
        stored: Results of `load_predictions` by candidate id.
        settings: Settings of the ensemble, which say whether the probabilities of all classes are needed.
        manifest: Manifest of the records.

    Raises:
        UserError: The candidates' predictions are of different rows, or these don't define the metric.
    """
    first = next(iter(stored.values()))
    for id, own in stored.items():
        same = own.keys() == first.keys()
        if not same or not all(np.array_equal(own[name], first[name]) for name in OF_ROWS & own.keys()):
            raise UserError(f"weigh: the predictions of {id} are of other rows, or in another order, than the others'")
    check_defined("ensemble.metric", settings.metric, manifest.label.task, first["labels"])
    columns, labels = [own["predictions"] for own in stored.values()], first["labels"]
    counts = relative(first["weights"]) if "weights" in first else None
    if manifest.label.task == "regression":
        a = np.stack(columns, axis=-1).astype(np.float64)
        return Problem(a, labels.astype(np.float64), metric=settings.metric, counts=counts)
    right = np.stack([[true_class(labels, seed) for seed in own] for own in columns], axis=-1)
    pooling = "geometric" if settings.pooling == "geometric" else "arithmetic"
    problem = Problem(np.maximum(right, FLOOR), metric=settings.metric, pooling=pooling, counts=counts)
    tried = settings.pooling == "auto" and sum(own.size for own in columns) <= MOST_PROBABILITIES
    if settings.metric == "loss" and pooling == "arithmetic" and not tried:
        return problem
    full = np.maximum(np.stack(columns, axis=-1).astype(np.float64), FLOOR)
    return dataclasses.replace(problem, y=labels, full=full)


def correlation(problem: Problem) -> list[list[float]]:
    """Pairwise correlation of the candidates' losses over rows, [K][K]; NaN where losses are all equal."""
    losses = problem.losses(np.eye(problem.members)).reshape(-1, problem.members)
    with np.errstate(invalid="ignore"):
        matrix: list[list[float]] = np.atleast_2d(np.corrcoef(losses.T)).tolist()
    return matrix


def compare(problem: Problem, settings: EnsembleSettings, limits: Limits, seed: int) -> dict[str, Way]:
    """Return the cross-fitted results of the best single candidate and of every method, by name."""
    names = set(METHODS) if settings.metric == "loss" else {*OF_METRICS, settings.method} - {"auto"}
    table = {BEST_SINGLE: weighed_apart(BEST_SINGLE, problem, limits, seed)}
    for name in METHODS:
        if name in names:
            table[name] = weighed_apart(name, problem, limits, seed)
    return table


def _choose(table: dict[str, Way], settings: EnsembleSettings, problem: Problem, limits: Limits, seed: int) -> Choice:
    """Choose the method and its pooling; the geometric pool is added to the table where it was tried."""
    method, reason = choose(table, settings, problem.rows)
    if settings.pooling != "auto":
        return Choice(method, reason, problem, method, "as set")
    name, told = choose_pooling(method, problem, table, limits, seed)
    pooled = problem.with_pooling("arithmetic" if name == method else "geometric")
    return Choice(method, reason, pooled, name, told)


def choose(table: Mapping[str, Way], settings: EnsembleSettings, rows: int) -> tuple[str, str]:
    """Return the method, and why.

    `auto` never takes an ensemble that is clearly worse than its best single candidate.

    Args:
        table: Result of `compare`.
        settings: Settings of the ensemble.
        rows: Number of validation rows.
    """
    if settings.method != "auto":
        return settings.method, "as set"
    method, reason = of_several(table, settings, rows)
    if not _clearly_worse(table[method], table[BEST_SINGLE], settings.metric):
        return method, reason
    losses = f"{table[method].loss:.4f} against {table[BEST_SINGLE].loss:.4f}"
    return BEST_SINGLE, f"the cross-fitted loss of {method} is clearly above that of the best candidate alone, {losses}"


def of_several(table: Mapping[str, Way], settings: EnsembleSettings, rows: int) -> tuple[str, str]:
    """Return the method that `auto` takes among those of several members, and why."""
    if rows < FEW_ROWS:
        return "greedy_uniform", f"{rows} validation rows are too few to fit weights"
    if settings.metric != "loss":
        return "greedy_bagged", f"{settings.metric} is not convex in the weights"
    return simplest(table)


def _clearly_worse(way: Way, single: Way, metric: str) -> bool:
    """Return whether an ensemble is worse than one candidate beyond doubt, by the metric that it is for, too."""
    if len(way.losses) < FEWEST_CLEAR:
        return False
    if way.score is not None and single.score is not None and not np.isnan([way.score, single.score]).any():
        less = METRICS[metric].direction == "min"
        if (way.score <= single.score) if less else (way.score >= single.score):
            return False
    return _surely_above(way, single, CLEARLY)


def simplest(table: Mapping[str, Way]) -> tuple[str, str]:
    """Return the simplest method that is not worse than the best by more than a standard error of their difference.

    The one-standard-error rule of Breiman et al. 1984, on paired row losses.

    Returns:
        The method, and why.
    """
    names = [name for name in METHODS if name not in BOOK]
    best = min(names, key=lambda name: table[name].loss)
    name = next(name for name in names if not _surely_above(table[name], table[best]))
    return name, f"the simplest within one standard error of the lowest cross-fitted loss ({best})"


def choose_pooling(method: str, problem: Problem, table: dict[str, Way], limits: Limits, seed: int) -> tuple[str, str]:
    """Choose the geometric pool where it is surely better for the chosen method.

    Args:
        method: The chosen method.
        problem: Problem with arithmetic pooling.
        table: Result of `compare`; the geometric pool is added where it was tried.
        limits: Limits of the members.
        seed: Seed of the assignment to folds, the same as the table's.

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
    table[name] = weighed_apart(method, problem.with_pooling("geometric"), limits, seed)
    difference = table[name].losses - table[method].losses
    told = f"geometric minus arithmetic {difference.mean():+.4f}, standard error {_error(difference):.4f}"
    # Of one member both pools are the same up to rounding.
    return (name if difference.mean() < -max(_error(difference), 1e-9) else method), told


def without(
    ids: Sequence[str], weights: np.ndarray, choice: Choice, limits: Limits, whole: Way, seed: int
) -> dict[str, WithoutMember]:
    """Return the result without each member, by id: the chosen method weighs all other candidates again.

    It is empty for a single candidate, and for another metric than the loss, whose fits would take too long.

    Args:
        ids: Ids of the candidates.
        weights: Their weights, shape [K].
        choice: The chosen way to weigh.
        limits: Limits of the members.
        whole: Result of the chosen way with all candidates.
        seed: Seed of the run.
    """
    left_out: dict[str, WithoutMember] = {}
    problem, folds = choice.problem, derive(seed, "cross-fit")
    if problem.members == 1 or problem.metric != "loss":
        return left_out
    for number in np.flatnonzero(weights > 0).tolist():
        rest = problem.only(np.delete(np.arange(problem.members), number))
        own = limits.without(number)
        if not any(own.allow(one > 0) for one in np.eye(rest.members)):
            continue
        way = weighed_apart(choice.method, rest, own, folds)
        difference = way.losses - whole.losses
        left_out[ids[number]] = WithoutMember(
            loss=way.loss, difference=float(difference.mean()), error=_error(difference)
        )
    return left_out


def weighed_apart(method: str, problem: Problem, limits: Limits, seed: int) -> Way:
    """Return the cross-fitted result of a method."""
    fit_on = functools.partial(fit, method, limits=limits, seed=seed)
    return Way(*cross_fitted(fit_on, problem, min(FOLDS, problem.rows), seed))


def _surely_above(one: Way, other: Way, errors: float = 1.0) -> bool:
    """Return whether a loss is above another one by more than so many standard errors of their difference."""
    difference = one.losses - other.losses
    return bool(difference.mean() > errors * _error(difference))


def _error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
