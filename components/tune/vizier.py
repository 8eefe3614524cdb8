"""Suggestions of Vertex AI Vizier, from the same search spaces and for the same records as KerasTuner's oracles.

A study holds the trials of one family, each under its number as the client that asked for it. Vizier gives the same
client the same trial, so that a suggestion whose answer was lost, or a search that goes on, gets what it had.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import keras_tuner
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.aiplatform_v1 import Measurement, StudySpec, VizierServiceClient
from google.cloud.aiplatform_v1 import Study as Theirs
from google.cloud.aiplatform_v1 import Trial as TheirTrial
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, Float, HyperParameter, Int

from kep.artifacts.trials import Hyperparameters, Trial
from kep.components.tune.space import active
from kep.components.tune.suggest import No, Suggestion
from kep.core.errors import AwayError, UserError
from kep.google.retries import AGAIN, Call

MOST_VALUES = 1000
"""Maximum length of a parameter that Vizier gets as a list."""
RETRY: Call = {"retry": Retry(predicate=AGAIN, initial=1, maximum=30, timeout=600), "timeout": 60}
"""Patience of every call: each may be done twice."""
SUGGESTED = 600.0
"""Seconds for a suggestion."""
_SCORE = "score"
_Parameter = StudySpec.ParameterSpec
_Conditional = _Parameter.ConditionalParameterSpec

log = logging.getLogger("kep")


class Vizier:
    """The studies of one search.

    Args:
        parent: projects/P/locations/R.
        search: Hash of data, settings, families and seed, which tells this search from others.
        direction: "min" or "max": which scores are better.
    """

    def __init__(self, parent: str, search: str, direction: str) -> None:
        self._parent, self._search, self._direction = parent, search, direction
        self._studies: dict[str, str] = {}

    def suggest(self, family: str, space: keras_tuner.HyperParameters, trials: list[Trial]) -> Suggestion | No:
        """The next configuration of a family.

        Args:
            family: Its name.
            space: Its search space.
            trials: Its trials so far, in order, all of them suggested here.

        Returns:
            A configuration that no trial has had, or why there is none.

        Raises:
            UserError: Vizier can't say the space, refuses, does not answer, or has lost the study.
        """
        free = [hp for hp in space.space if not isinstance(hp, Fixed)]
        if not free:
            return No.MORE if trials else Suggestion({hp.name: hp.value for hp in space.space})
        with _explained():
            study = self._study(family, free)
            known = {trial.client_id: trial for trial in self._client.list_trials(parent=study, **RETRY)}
            for number, trial in enumerate(trials):
                if str(number) not in known:
                    raise UserError(
                        f"search.tuner: the study of {family} in Vizier does not hold {trial.id}; was it deleted? "
                        "Start the search anew, with another seed"
                    )
                self._report(known[str(number)], trial)
            own = str(len(trials))
            theirs = known.get(own) or self._ask(study, own)
        if theirs is None:
            return No.MORE
        found = values(space, {one.parameter_id: one.value for one in theirs.parameters})
        return No.MORE if any(trial.values == found for trial in trials) else Suggestion(found)

    def _study(self, family: str, free: list[HyperParameter]) -> str:
        """Resource name of the family's study, which is made when there is none."""
        if family not in self._studies:
            name = f"kep-{self._search}-{family}"
            asked = Theirs(display_name=name, study_spec=specification(family, free, self._direction))

            def look() -> str:
                return self._client.lookup_study(request={"parent": self._parent, "display_name": name}, **RETRY).name

            try:
                self._studies[family] = look()
            except exceptions.NotFound:
                try:
                    made = self._client.create_study(parent=self._parent, study=asked, **RETRY)
                    self._studies[family] = made.name
                except exceptions.AlreadyExists:  # the first answer was lost
                    self._studies[family] = look()
        return self._studies[family]

    def _ask(self, study: str, client: str) -> TheirTrial | None:
        request = {"parent": study, "suggestion_count": 1, "client_id": client}
        answer = self._client.suggest_trials(request=request, **RETRY).result(timeout=SUGGESTED)
        return answer.trials[0] if answer.trials else None

    def _report(self, theirs: TheirTrial, trial: Trial) -> None:
        """Tells what became of a trial that Vizier still takes for running."""
        if trial.status == "running" or theirs.state in (TheirTrial.State.SUCCEEDED, TheirTrial.State.INFEASIBLE):
            return
        request: dict[str, Any] = {"name": theirs.name}
        if trial.complete:
            metric = Measurement.Metric(metric_id=_SCORE, value=trial.score)
            request["final_measurement"] = Measurement(metrics=[metric])
        else:
            request |= {"trial_infeasible": True, "infeasible_reason": trial.reason[:500]}
        try:
            self._client.complete_trial(request=request, **RETRY)
        except exceptions.FailedPrecondition:  # it was told before
            log.info("Vizier knew of %s", trial.id)

    @cached_property
    def _client(self) -> VizierServiceClient:
        region = self._parent.rpartition("/")[2]
        return VizierServiceClient(client_options={"api_endpoint": f"{region}-aiplatform.googleapis.com"})


def specification(family: str, free: list[HyperParameter], direction: str) -> StudySpec:
    """A search space in Vizier's words.

    Args:
        family: Whose it is, for messages.
        free: Its hyperparameters, each after those that its conditions name.
        direction: "min" or "max".

    Raises:
        UserError: Vizier can't say it.
    """
    goal = StudySpec.MetricSpec.GoalType
    roots: list[_Parameter] = []
    placed: list[tuple[HyperParameter, _Parameter]] = []
    for hp in free:
        spec = _parameter(family, hp)
        if any(one.name == hp.name and not _apart(one, hp) for one, _ in placed):
            raise UserError(
                f"search.tuner: {family}: {hp.name} is defined at several places that can be active together, which "
                "Vizier can't say; use tuner: bayesian"
            )
        if hp.conditions:
            *above, nearest = hp.conditions
            parents = [
                (one, theirs)
                for one, theirs in placed
                if one.name == nearest.name and one.conditions == above and "double_value_spec" not in theirs
            ]
            if not parents:
                raise UserError(
                    f"search.tuner: {family}: {hp.name} depends on {nearest.name}, which has no list of values, so "
                    "that Vizier can't say when it is active; use tuner: bayesian"
                )
            parent, theirs = parents[-1]
            child = _Conditional(parameter_spec=spec, **_condition(parent, theirs, nearest.values))
            theirs.conditional_parameter_specs.append(child)
            # The one that later hyperparameters are hung below: what was appended is a copy.
            spec = theirs.conditional_parameter_specs[-1].parameter_spec
        else:
            roots.append(spec)
        placed.append((hp, spec))
    return StudySpec(
        metrics=[StudySpec.MetricSpec(metric_id=_SCORE, goal=goal.MINIMIZE if direction == "min" else goal.MAXIMIZE)],
        parameters=roots,
        observation_noise=StudySpec.ObservationNoise.LOW,
    )


def values(space: keras_tuner.HyperParameters, theirs: Mapping[str, Any]) -> Hyperparameters:
    """Vizier's values as those of the space; what they leave inactive is left out."""
    found: Hyperparameters = {}
    for hp in space.space:
        if hp.name in found or not active(hp, found):
            continue
        if isinstance(hp, Fixed):
            found[hp.name] = hp.value
        elif hp.name in theirs:
            found[hp.name] = _value(hp, theirs[hp.name])
    return found


def _value(hp: HyperParameter, value: Any) -> Any:
    if isinstance(hp, Boolean | Choice):
        return next(one for one in hp.values if str(one) == value)
    if hp.step is not None:
        value = min(hp.values, key=lambda one: abs(one - value))
    # KerasTuner lists integers on a log scale as floats.
    return round(value) if isinstance(hp, Int) else float(value)


def _apart(one: HyperParameter, other: HyperParameter) -> bool:
    """Return whether two hyperparameters can't be active together: they hang below different values of one parent."""
    if not (one.conditions and other.conditions) or one.conditions[:-1] != other.conditions[:-1]:
        return False
    last, mine = one.conditions[-1], other.conditions[-1]
    return last.name == mine.name and not set(last.values) & set(mine.values)


def _parameter(family: str, hp: HyperParameter) -> _Parameter:
    if any(letter.isspace() for letter in hp.name):
        raise UserError(f'search.tuner: {family}: Vizier takes no name with a space, such as "{hp.name}"; rename it')
    spec = _Parameter(parameter_id=hp.name)
    if isinstance(hp, Boolean | Choice):
        spec.categorical_value_spec.values = [str(value) for value in hp.values]
        return spec
    if not isinstance(hp, Int | Float):
        raise UserError(f"search.tuner: {family}: Vizier can't say {hp.name}, a {type(hp).__name__}")
    scale = _Parameter.ScaleType
    scales = {"log": scale.UNIT_LOG_SCALE, "reverse_log": scale.UNIT_REVERSE_LOG_SCALE}
    spec.scale_type = scale(scales.get(hp.sampling, scale.UNIT_LINEAR_SCALE))
    if hp.step is not None:
        listed = [float(value) for value in hp.values]
        if len(listed) > MOST_VALUES:
            raise UserError(
                f"search.tuner: {family}: {hp.name} has {len(listed)} values, and Vizier takes lists of {MOST_VALUES}; "
                "give it a larger step"
            )
        spec.discrete_value_spec.values = listed
    elif isinstance(hp, Int):
        spec.integer_value_spec = _Parameter.IntegerValueSpec(min_value=hp.min_value, max_value=hp.max_value)
    else:
        spec.double_value_spec = _Parameter.DoubleValueSpec(min_value=hp.min_value, max_value=hp.max_value)
    return spec


def _condition(parent: HyperParameter, theirs: _Parameter, wanted: list[Any]) -> dict[str, Any]:
    """The values of its parent that make a parameter active."""
    if isinstance(parent, Boolean | Choice):
        return {"parent_categorical_values": _Conditional.CategoricalValueCondition(values=[str(v) for v in wanted])}
    if parent.step is not None:
        return {"parent_discrete_values": _Conditional.DiscreteValueCondition(values=[float(v) for v in wanted])}
    return {"parent_int_values": _Conditional.IntValueCondition(values=[int(v) for v in wanted])}


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except GoogleAuthError as error:
        raise UserError("search.vizier: there is no usable Google Cloud login where the search runs") from error
    except exceptions.RetryError as error:
        raise AwayError(f"search.vizier: Vizier does not answer ({error.cause}); run it again, it goes on") from error
    except exceptions.Forbidden as error:
        raise UserError(
            f"search.vizier: whoever runs the search may not use Vizier; grant roles/aiplatform.user ({error.message})"
        ) from error
    except exceptions.GoogleAPICallError as error:
        raise UserError(f"search.vizier: Vizier refuses it: {error.message}") from error
