"""The hyperparameter search as a step: check the families, search, choose the candidates, write the study."""

import hashlib
import json

from kep.artifacts.study import Candidate, Goal, Hyperparameter, Study
from kep.artifacts.trials import TrialStore, merged
from kep.components.tune import candidates
from kep.components.tune.execute import Executor
from kep.components.tune.objective import load
from kep.components.tune.pool import Pool
from kep.components.tune.rounds import gather, load_spaces
from kep.components.tune.search import Plan, Search, spaces
from kep.components.tune.summary import write_summary
from kep.config.hardware import TrialHardware
from kep.config.search import SearchSettings
from kep.core.errors import UserError
from kep.core.seeds import derive
from kep.models.registry import family, on, specs
from kep.runtime.hardware import Share
from kep.runtime.step import Step, entry


@entry("tune")
def run(
    step: Step,
    *,
    records: str,
    families: str,
    config: str,
    hardware: str,
    seed: int,
    code: str,
    searched: str | None = None,
    trials: list[str] | None = None,
) -> list[str]:
    """Searches and writes the study; a search that was killed goes on from its records.

    Args:
        step: Of this execution.
        records: Folder of the records.
        families: JSON list made by `kep.models.registry.travelling`.
        config: JSON of `SearchSettings`.
        hardware: JSON of `TrialHardware`.
        seed: Of the run.
        code: Hash of the code, part of the study's identity.
        searched: Folder of the last round, when the trials were tasks of their own (`rounds`): then nothing is left to
            search.
        trials: Folders of that round's trials.

    Returns:
        JSON of one `Candidate` each.

    Raises:
        UserError: A family does not fit the data, the objective does not exist, or too many trials in a row failed.
    """
    data = step.open(records)
    label = data.manifest.label
    settings = load(config, label.task)
    train, validation = data.open("train"), data.open("validation")
    device = TrialHardware.model_validate_json(hardware)
    share = Share.of_machine(settings.workers, device)
    identity = _identity(settings, share.workers, device, families, data.manifest.fingerprint, seed, code)
    if searched:
        study, found = TrialStore(step.out), load_spaces(searched)
        _, executions = gather(searched, trials or [], step.out)
    else:
        step.progress(f"{share.workers} workers: {share.reason}")
        # A search with a larger budget goes on from these records.
        study = TrialStore(step.work(identity, keep=True))
        members = {spec["name"]: family(spec, data.manifest, on(device)) for spec in specs(families, data.manifest)}
        executor = Executor(members, label.task, train, validation, settings, seed)
        limit = settings.trial_minutes and 60 * settings.trial_minutes
        with Pool(executor, share.workers, limit, share.take) as pool:
            found = spaces(pool, list(members), step)
            executions = Search(step, study, Plan(found, settings, seed), settings, seed, pool).run()
        for execution in executions:
            study.copy(execution, step.out)
    whole = merged(executions)
    if step.sender is not None:
        # Which imports TensorFlow.
        from kep.components.tune.sessions import name_of, session

        for trial in whole:
            step.sender.add(name_of(trial), *session(trial, settings.objective.name))
    distinct, infeasible = len({trial.configuration for trial in whole}), sum(not trial.complete for trial in whole)
    step.progress(
        f"{len(whole)} trials: {distinct} distinct configurations, {len(executions) - len(whole)} replicates, "
        f"{infeasible} infeasible"
    )
    chosen = candidates.choose(study, whole, validation.labels, label.task, settings.top_n, settings.max_per_family)
    if not chosen:
        reason = f"; the last reason: {whole[-1].reason}" if whole else ""
        raise UserError(f"search: none of {len(whole)} trials was feasible, so there is no candidate{reason}")
    if len(chosen) < settings.top_n:
        few = "no more configurations were feasible" if settings.max_per_family is None else "no more may be taken"
        step.progress(f"{len(chosen)} candidates, fewer than top_n ({settings.top_n}): {few}")
    items = [
        Candidate(id=t.id, family=t.family, values=t.values, loss=t.scores.loss, best=t.best, unit=t.unit)
        for t in chosen
    ]
    corrected = candidates.corrected_loss(study, whole, validation.labels, label.task, derive(seed, "corrected"))
    Study(
        identity=identity,
        objective=Goal(**settings.objective.model_dump()),
        tuner=settings.tuner,
        spaces={name: [Hyperparameter(**one) for one in space.get_config()["space"]] for name, space in found.items()},
        trials=len(whole),
        executions=len(executions),
        distinct=distinct,
        infeasible=infeasible,
        lowest_loss=min(trial.scores.loss for trial in whole if trial.complete),
        corrected_loss=corrected,
        candidates=items,
    ).save(step.out)
    write_summary(step.out)
    return [item.to_json() for item in items]


def _identity(
    settings: SearchSettings,
    workers: int,
    device: TrialHardware,
    families: str,
    fingerprint: str,
    seed: int,
    code: str,
) -> str:
    """Of everything that a trial depends on: a search with a larger budget goes on with the same trials."""
    budget = {"max_trials", "max_minutes", "top_n", "max_per_family", "max_failures", "trial_minutes"}
    budget |= {"families", "workers"}
    own = settings.model_dump(mode="json", exclude=budget)
    arithmetic = device.model_dump(include={"precision", "jit"})
    parts = json.dumps([own, workers, arithmetic, families, fingerprint, seed, code], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
