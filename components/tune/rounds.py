"""The search as tasks of the pipeline engine: rounds of trials, on as many machines as the engine gives them.

A round's suggestions know the records of all rounds before; each trial is a task of its own. Suggestions, trainings and
records are those of the search on one machine.
"""

from pathlib import Path

import keras_tuner

from kep.artifacts.study import Round, Space
from kep.artifacts.trials import Order, Trial, TrialStore
from kep.components.tune.execute import Executor
from kep.components.tune.objective import load
from kep.components.tune.pool import Pool
from kep.components.tune.search import Plan, check_failures, result, spaces, told
from kep.components.tune.suggest import No
from kep.config.hardware import TrialHardware
from kep.core.errors import UserError
from kep.models.portfolio import portfolio
from kep.models.registry import family, on, spec_of, specs
from kep.runtime.hardware import limit_threads, visible_gpus
from kep.runtime.step import Step, entry
from kep.stats.metrics import check_defined


@entry("tune")
def suggest(
    step: Step, *, records: str, families: str, config: str, searched: str | None, trials: list[str]
) -> list[str]:
    """Gathers the last round's records and suggests the next round's trainings.

    Args:
        step: This execution; its folder gets all records so far.
        records: Folder of the records.
        families: JSON list made by `kep.models.registry.travelling`.
        config: JSON of `SearchSettings`.
        searched: Folder of the round before; None for the first round, which checks the families with one batch.
        trials: Folders of the trials that the round before suggested.

    Returns:
        One JSON string per training, at least one.

    Raises:
        UserError: A family does not fit the data, the objective does not exist, or the trials fail.
    """
    data = step.open(records)
    task = data.manifest.label.task
    settings = load(config, task)
    made = specs(families, data.manifest)
    if searched is None:
        members = {spec["name"]: family(spec, data.manifest) for spec in made}
        train = data.open("train")
        with Pool(Executor(members, task, train, train, settings, step.seed), workers=1) as pool:
            found = spaces(pool, list(members), step)
        orders: list[Order] = []
        ended: list[Trial] = []
    else:
        found = load_spaces(searched)
        orders, ended = gather(searched, trials, step.out)
        for trial in ended[-len(trials) :]:
            step.progress(told(trial, settings.objective.name), len(ended), settings.trainings)
        check_failures(ended, settings.max_failures)
    first = portfolio(made, data.manifest.image is not None)
    plan = Plan(found, settings, step.seed, data.manifest.fingerprint, portfolio=first)
    known = dict(enumerate(ended))
    new: list[Order] = []
    while len(new) < settings.parallel_trials:
        order = plan.next([*orders, *new], known)
        if isinstance(order, No):
            break
        new.append(order)
    if not new:
        raise UserError(f"search: none of {len(ended)} trials was feasible; the last reason: {ended[-1].reason}")
    described = [Space(family=name, config=space.get_config()) for name, space in found.items()]
    Round(orders=[*orders, *new], spaces=described).save(step.out)
    return [order.to_json() for order in new]


@entry("tune")
def trial(step: Step, *, order: str, records: str, families: str, config: str, hardware: str) -> None:
    """Does one training and writes its record.

    A training that kills its process is infeasible, as in the search on one machine.

    Args:
        step: This execution.
        order: JSON of `Order`.
        records: Folder of the records.
        families: JSON list made by `kep.models.registry.travelling`.
        config: JSON of `SearchSettings`.
        hardware: JSON of `TrialHardware`.

    Raises:
        UserError: The objective is undefined on the validation rows.
    """
    device = TrialHardware.model_validate_json(hardware)
    limit_threads(device, not visible_gpus())
    asked = Order.from_json(order, "the parameter order")
    step.label = asked.id
    data = step.open(records)
    manifest = data.manifest
    settings = load(config, manifest.label.task)
    members = {asked.family: family(spec_of(asked.family, families, manifest), manifest, on(device))}
    validation = data.open("validation")
    check_defined("search.objective", settings.objective.name, manifest.label.task, validation.labels)
    executor = Executor(members, manifest.label.task, data.open("train"), validation, settings, step.seed)
    with Pool(executor, 1, settings.trial_minutes and 60 * settings.trial_minutes) as pool:
        pool.submit(0, asked)
        ((_, answer),) = pool.results()
    done, predictions = result(asked, answer, step.seed)
    TrialStore(step.out).save(done, predictions)
    step.progress(told(done, settings.objective.name))


def gather(searched: str, trials: list[str], folder: Path) -> tuple[list[Order], list[Trial]]:
    """Copies all records into `folder`.

    Args:
        searched: Folder that `suggest` wrote.
        trials: Folders of the trials that it suggested, in any order.
        folder: Folder of the study that is to hold all of them.

    Returns:
        All trainings in order, and what became of each.

    Raises:
        UserError: A record is missing or damaged.
    """
    records, damage = {}, list[str]()
    for source in [searched, *trials]:
        study = TrialStore(Path(source))
        for key, one in study.whole(damage.append).items():
            study.copy(one, folder)
            records[key] = one
    orders = Round.load(searched).orders
    missing = [order for order in orders if (order.number, order.execution) not in records]
    if missing:
        reason = f" ({damage[0]})" if damage else ""
        raise UserError(f"tune: {missing[0].id} left no whole record{reason}; run the step again")
    return orders, [records[order.number, order.execution] for order in orders]


def load_spaces(searched: str) -> dict[str, keras_tuner.HyperParameters]:
    """The families' search spaces, in the order of their turns."""
    spaces = Round.load(searched).spaces
    return {space.family: keras_tuner.HyperParameters.from_config(space.config) for space in spaces}
