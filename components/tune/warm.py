"""A search that begins with the records of an earlier one."""

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import keras_tuner

from kep.artifacts import earlier
from kep.artifacts.study import Goal, SearchedData, Study
from kep.artifacts.trials import Order, Trial, TrialStore, merged
from kep.config.search import EarlierSearch, SearchSettings
from kep.core.errors import UserError

_WHERE = "search.warm_start"


@dataclass(frozen=True)
class Warm:
    """Records of an earlier search, as far as this one may use them.

    Scores on other rows inform the suggestions, moved by how much the repeated configurations changed. They are no
    trials of this search: only what is trained on today's rows becomes a candidate.

    Attributes:
        known: Earlier trials on other rows, which inform the suggestions.
        first: Those of them that are trained first, the best ones.
        begun: Earlier executions on the same rows, which count as they are.
    """

    known: list[Trial] = field(default_factory=list)
    first: list[Trial] = field(default_factory=list)
    begun: list[Trial] = field(default_factory=list)

    def informing(self, family: str, trials: list[Trial]) -> list[Trial]:
        """Return earlier trials of a family that were not repeated, their scores brought to the level of today's.

        Args:
            family: Name of the family.
            trials: Trials of today, of all families.
        """
        today = {trial.configuration: trial.scores.score for trial in trials if trial.complete}
        repeated = {trial.configuration for trial in trials}
        moved = [
            today[trial.configuration] - trial.scores.score
            for trial in self.known
            if trial.complete and trial.configuration in today
        ]
        shift = statistics.median(moved) if moved else 0.0
        return [
            trial.model_copy(update={"score": trial.scores.score + shift}) if trial.complete else trial
            for trial in self.known
            if trial.family == family and trial.configuration not in repeated
        ]

    @property
    def orders(self) -> list[Order]:
        """Orders of the executions that count as they are."""
        return [Order(**{name: getattr(one, name) for name in Order.model_fields}) for one in self.begun]


@contextmanager
def warmed(
    given: EarlierSearch | str | None,
    data: SearchedData,
    settings: SearchSettings,
    spaces: Mapping[str, keras_tuner.HyperParameters],
    store: Path,
) -> Iterator[Warm]:
    """Open the earlier search, check that it fits, and copy the records that count into today's store.

    Args:
        given: The earlier search; None for none.
        data: Data of today's search.
        settings: Settings of the search, the objective with its direction.
        spaces: Today's search spaces by family.
        store: Folder of today's search.

    Raises:
        UserError: It does not fit, is damaged, or was not looked for.
    """
    if given is None:
        yield Warm()
        return
    if isinstance(given, str):
        raise UserError(f'{_WHERE}: "{given}" was not looked for when the pipeline was compiled; use kep run or submit')
    earlier.check_label(given, data.task, data.classes, _WHERE)
    earlier.check_families(given, list(spaces), _WHERE)
    with earlier.opened(given.study, _WHERE) as folder:
        study = earlier.check(folder, given, _WHERE)
        if data.split is not None:
            earlier.check_roles(study, given.run, data.split, _WHERE)
        _check(study, given.run, data, settings, spaces)
        trials = TrialStore(folder)
        if study.data is not None and study.data.records == data.records:
            records = trials.whole()
            if len(records) != study.executions:
                raise UserError(f"{_WHERE}: records of {given.run} are missing or damaged; name another run")
            ordered = [records[key] for key in sorted(records)]
            for one in ordered:
                trials.copy(one, store)
            yield Warm(begun=ordered)
            return
        known = merged(trials.load().values())
        chosen = sorted((t for t in known if t.complete), key=lambda t: (t.number not in study.chosen, _rank(t, study)))
        first = list({trial.configuration: trial for trial in reversed(chosen)}.values())[::-1]
        yield Warm(known=known, first=first[: min(settings.top_n, -(-settings.max_trials // 2))])


def code_of(specs: list[dict[str, object]]) -> dict[str, str]:
    """Return a hash of what each family is made from: its name, or its source with what travels beside it."""
    return {
        str(spec["name"]): hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16] for spec in specs
    }


def _rank(trial: Trial, study: Study) -> float:
    return trial.scores.score if study.objective.direction == "min" else -trial.scores.score


def _check(
    study: Study,
    run: str,
    data: SearchedData,
    settings: SearchSettings,
    spaces: Mapping[str, keras_tuner.HyperParameters],
) -> None:
    """Refuse records that mean something else than today's would.

    Raises:
        UserError: The objective, or a family's code or space, is another one.
    """
    if study.objective != Goal(**settings.objective.model_dump()):
        raise UserError(
            f"{_WHERE}: {run} searched for {study.objective.name}, and this search is for {settings.objective.name}; "
            "name another run, or search.from, which takes its candidates"
        )
    for name in study.spaces:
        if study.data is not None and study.data.code.get(name) != data.code.get(name):
            raise UserError(f"{_WHERE}: the code of {name} changed since {run}; name another run, or search anew")
        today = spaces[name].get_config()["space"]
        before = [entry.model_dump() for entry in study.spaces[name]][: len(today)]
        if json.dumps(today, sort_keys=True) != json.dumps(before, sort_keys=True):
            raise UserError(f"{_WHERE}: the space of {name} changed since {run}; name another run, or search anew")
