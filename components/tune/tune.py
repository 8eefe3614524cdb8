"""The hyperparameter search as a step: check the families, search, choose the candidates, write the study."""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras_tuner

from kep.artifacts.step import StepRecord
from kep.artifacts.study import Candidate, Goal, SearchedData, Study
from kep.artifacts.trials import Hyperparameter, Hyperparameters, Trial, TrialStore, merged
from kep.components.tune import candidates
from kep.components.tune.execute import Executor
from kep.components.tune.objective import load
from kep.components.tune.pool import Pool
from kep.components.tune.rounds import gather, load_spaces
from kep.components.tune.search import Plan, Search, spaces
from kep.components.tune.summary import write_summary
from kep.components.tune.taken import take
from kep.components.tune.time_plan import TimePlan
from kep.components.tune.warm import code_of, warmed
from kep.config.hardware import TrialHardware
from kep.config.search import SearchSettings
from kep.core.environment import BEGUN
from kep.core.errors import UserError
from kep.core.seeds import derive
from kep.data.few import for_rows
from kep.models.declared import grown
from kep.models.portfolio import portfolio
from kep.models.registry import family, is_trees, on, specs
from kep.runtime.hardware import Share
from kep.runtime.step import Step, entry
from kep.stats.metrics import Truth, check_defined


@dataclass(frozen=True)
class _Searched:
    """A finished search.

    Attributes:
        store: Holds the validation predictions.
        executions: All trainings, in order.
        spaces: Search space by family.
        plan: Time of the run; None without a time budget.
    """

    store: TrialStore
    executions: list[Trial]
    spaces: dict[str, keras_tuner.HyperParameters]
    plan: TimePlan | None = None


@entry("tune")
def run(
    step: Step,
    *,
    records: str,
    families: str,
    config: str,
    hardware: str,
    searched: str | None = None,
    trials: list[str] | None = None,
) -> list[str]:
    """Search and write the study; a search that was killed goes on from its records.

    Args:
        step: This execution.
        records: Folder of the records.
        families: JSON list made by `kep.models.registry.travelling`.
        config: JSON of `SearchTask`.
        hardware: JSON of `TrialHardware`.
        searched: Folder of the last round, when the trials were tasks of their own (`rounds`): then nothing is left to
            search.
        trials: Folders of that round's trials.

    Returns:
        JSON of one `Candidate` each.

    Raises:
        UserError: A family does not fit the data, the objective does not exist or is undefined on the validation rows,
            or too many trials in a row failed.
    """
    data = step.open(records)
    label = data.manifest.label
    settings = load(config, label.task)
    if settings.time is not None:
        later = settings.time.model_copy(update={"best_epoch": for_rows(settings.time.best_epoch, data.manifest)})
        settings = settings.model_copy(update={"time": later})
    made = specs(families, data.manifest)
    if settings.from_run is not None:
        return take(step, settings.from_run, data.manifest, [spec["name"] for spec in made])
    about = SearchedData.of(data.manifest, code_of(made))
    train, validation = data.open("train"), data.open("validation")
    check_defined("search.objective", settings.objective.name, label.task, validation.labels)
    device = TrialHardware.model_validate_json(hardware)
    share = Share.of_machine(settings.workers, device)
    identity = _identity(step, settings, share.workers, device, families, data.manifest.fingerprint)
    if searched:
        _, executions = gather(searched, trials or [], step.out)
        done = _Searched(TrialStore(step.out), executions, load_spaces(searched))
    else:
        # Trees have the first turn where time counts: with many rows one training of a network may take all of it.
        turns = made if settings.time is None else sorted(made, key=lambda spec: not is_trees(spec))
        members = {spec["name"]: family(spec, data.manifest, on(device)) for spec in turns}
        executor = Executor(members, label.task, train, validation, settings, step.seed)
        # A search with a larger budget goes on from these records.
        shape = (len(validation), len(label.classes)) if label.classes else (len(validation),)
        store = TrialStore(step.work(identity, keep=True), shape)
        first = portfolio(made, data.manifest.image is not None)
        done = _search(step, store, executor, share, about, records, first)
    whole = merged(done.executions)
    _send(step, whole, settings.objective.name)
    step.progress(
        f"{len(whole)} trials: {_distinct(whole)} distinct configurations, {len(done.executions) - len(whole)} "
        f"replicates, {_infeasible(whole)} infeasible"
    )
    truth = Truth.of(label.task, validation)
    able = whole
    if done.plan is not None:
        settings = settings.model_copy(update={"top_n": done.plan.later(whole).candidates})
        able = done.plan.affordable(whole)
        if long := [trial.id for trial in whole if trial.complete and trial not in able]:
            step.progress(f"no candidate, since training it again would take too long: {', '.join(long)}")
    chosen = _chosen(step, done.store, able, truth, settings)
    fresh = derive(step.seed, "corrected")
    corrected = candidates.corrected_loss(done.store, whole, truth, fresh)
    study = _study(identity, settings, done, whole, corrected, chosen)
    study = study.model_copy(update={"data": about, "warm": settings.warm_start})
    study.save(step.out)
    write_summary(step.out)
    return [candidate.to_json() for candidate in study.candidates]


def _search(
    step: Step,
    store: TrialStore,
    executor: Executor,
    share: Share,
    about: SearchedData,
    records: str,
    first: Mapping[str, Sequence[Hyperparameters]],
) -> _Searched:
    """Search on this machine, and copy the trials into the step's output."""
    step.progress(f"{share.workers} workers: {share.reason}")
    settings, seed = executor.settings, executor.seed
    limit = settings.trial_minutes and 60 * settings.trial_minutes
    with Pool(executor, share.workers, limit, share.take) as pool:
        begun = time.monotonic()
        found = spaces(pool, list(executor.members), step)
        took = time.monotonic() - begun
        plan = None
        if settings.time is not None:
            spent = time.time() - _began(step, records)
            a_check = took * min(share.workers, len(found)) / len(found)
            plan = TimePlan(settings, settings.time, spent, a_check)
        with warmed(settings.warm_start, about, settings, found, store.folder) as warm:
            if warm.begun:
                step.progress(f"beginning with {len(warm.begun)} trainings on the same rows, which count as they are")
            if warm.known:
                step.progress(
                    f"beginning with {len(warm.known)} trials on other rows: the best {len(warm.first)} are trained "
                    "first, and all inform the suggestions"
                )
            turns = Plan(found, settings, seed, warm=warm, portfolio=first)
            search = Search(step, store, turns, settings, seed, pool, plan)
            executions = search.run()
    for execution in executions:
        store.copy(execution, step.out)
    return _Searched(store, executions, found, plan)


def _began(step: Step, records: str) -> float:
    """Return the Unix time from which the run's `minutes` count.

    An engine's own time between two tasks does not count. Nor does a step's that was reused, on this machine.
    """
    if begun := os.environ.get(BEGUN):
        return float(begun)
    return step.started - StepRecord.load(Path(records)).seconds


def _send(step: Step, trials: Sequence[Trial], objective: str) -> None:
    """Send the trials to TensorBoard, where an instance is given."""
    if step.sender is None:
        return
    from kep.components.tune.sessions import name_of, session  # TensorFlow, which no other search needs here

    for trial in trials:
        step.sender.add(name_of(trial), *session(trial, objective))


def _chosen(step: Step, store: TrialStore, trials: list[Trial], truth: Truth, settings: SearchSettings) -> list[Trial]:
    """Return the trials that become candidates.

    Raises:
        UserError: No trial was feasible.
    """
    chosen = candidates.choose(store, trials, truth, settings.top_n, settings.max_per_family)
    if not chosen:
        reason = f"; the last reason: {trials[-1].reason}" if trials else ""
        raise UserError(f"search: none of {len(trials)} trials was feasible, so there is no candidate{reason}")
    if len(chosen) < settings.top_n:
        few = "no more configurations were feasible" if settings.max_per_family is None else "no more may be taken"
        step.progress(f"{len(chosen)} candidates, fewer than top_n ({settings.top_n}): {few}")
    return chosen


def _study(
    identity: str,
    settings: SearchSettings,
    done: _Searched,
    trials: Sequence[Trial],
    corrected: float | None,
    chosen: Sequence[Trial],
) -> Study:
    """Return the result of the search."""
    declared = {name: [one for t in trials if t.family == name for one in t.declared] for name in done.spaces}
    spaces = {name: grown(space, declared[name]).get_config()["space"] for name, space in done.spaces.items()}
    return Study(
        identity=identity,
        objective=Goal(**settings.objective.model_dump()),
        tuner=settings.tuner,
        spaces={name: [Hyperparameter(**entry) for entry in space] for name, space in spaces.items()},
        trials=len(trials),
        executions=len(done.executions),
        distinct=_distinct(trials),
        infeasible=_infeasible(trials),
        lowest_loss=min(trial.scores.loss for trial in trials if trial.complete),
        corrected_loss=corrected,
        candidates=[
            Candidate(
                id=t.id,
                family=t.family,
                values=t.used,
                loss=t.scores.loss,
                best=t.best,
                unit=t.unit,
                seeds=done.plan.fewer_seeds(trials) if done.plan else None,
            )
            for t in chosen
        ],
    )


def _distinct(trials: Sequence[Trial]) -> int:
    return len({trial.configuration for trial in trials})


def _infeasible(trials: Sequence[Trial]) -> int:
    return sum(not trial.complete for trial in trials)


def _identity(
    step: Step, settings: SearchSettings, workers: int, device: TrialHardware, families: str, fingerprint: str
) -> str:
    """Return the hash of everything that a trial depends on.

    The budget is not part of it: a search with a larger one goes on with the same trials.
    """
    budget = {"max_trials", "max_minutes", "top_n", "max_per_family", "max_failures", "trial_minutes"}
    budget |= {"families", "workers"}
    own = settings.model_dump(mode="json", exclude=budget | {"time"})
    arithmetic = device.model_dump(include={"precision", "jit"})
    parts = json.dumps([own, workers, arithmetic, families, fingerprint, step.seed, step.code], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
