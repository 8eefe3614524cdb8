"""Vizier beside the runs of tests/servers/vertex.py: studies whose suggestions are random, and within their space."""

import itertools
import random

from google.cloud import aiplatform_v1 as api
from google.longrunning import operations_pb2

from tests.servers.vertex import RefusedError, Server, _find, _handler

State = api.Trial.State


class Studies:
    """The service; to be made before the server that it is a part of starts.

    Attributes:
        studies: by resource name.
        trials: of each study, in order.
        repeats: whether a configuration is suggested again when there is no other.
    """

    def __init__(self, server: Server):
        methods = {
            "LookupStudy": (api.LookupStudyRequest, self.lookup),
            "CreateStudy": (api.CreateStudyRequest, self.create),
            "ListTrials": (api.ListTrialsRequest, self.listing),
            "SuggestTrials": (api.SuggestTrialsRequest, self.suggest),
            "CompleteTrial": (api.CompleteTrialRequest, self.complete),
        }
        server._server.add_generic_rpc_handlers((_handler("Vizier", server, methods),))
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.studies: dict[str, api.Study] = {}
        self.trials: dict[str, list[api.Trial]] = {}
        self.repeats = False
        self._random = random.Random(0)

    def lookup(self, server: Server, request: api.LookupStudyRequest) -> api.Study:
        for study in self.studies.values():
            if study.name.startswith(request.parent) and study.display_name == request.display_name:
                return study
        raise RefusedError("NOT_FOUND", f"There is no study {request.display_name}.")

    def create(self, server: Server, request: api.CreateStudyRequest) -> api.Study:
        study = api.Study(request.study)
        if any(study.display_name == other.display_name for other in self.studies.values()):
            raise RefusedError("ALREADY_EXISTS", f"There is a study {study.display_name}.")
        for spec in _all(study.study_spec.parameters):
            self._check(spec)
        study.name = f"{request.parent}/studies/{100 + len(self.studies)}"
        self.studies[study.name], self.trials[study.name] = study, []
        return study

    def listing(self, server: Server, request: api.ListTrialsRequest) -> api.ListTrialsResponse:
        _find(self.studies, request.parent)
        held, start = self.trials[request.parent], int(request.page_token or 0)
        more = str(start + server.page) if start + server.page < len(held) else ""
        return api.ListTrialsResponse(trials=held[start : start + server.page], next_page_token=more)

    def suggest(self, server: Server, request: api.SuggestTrialsRequest) -> operations_pb2.Operation:
        study, held = _find(self.studies, request.parent), self.trials[request.parent]
        open_ = [one for one in held if one.client_id == request.client_id and one.state == State.ACTIVE]
        if not open_ and (found := self._new(study, held)) is not None:
            name = f"{study.name}/trials/{len(held) + 1}"
            parameters = [api.Trial.Parameter(parameter_id=key, value=value) for key, value in found.items()]
            made = api.Trial(name=name, client_id=request.client_id, state=State.ACTIVE, parameters=parameters)
            held.append(made)
            open_ = [made]
        answer = operations_pb2.Operation(name="operations/1", done=True)
        answer.response.Pack(api.SuggestTrialsResponse.pb(api.SuggestTrialsResponse(trials=open_)))
        return answer

    def complete(self, server: Server, request: api.CompleteTrialRequest) -> api.Trial:
        study = request.name.rpartition("/trials/")[0]
        trial = _find({one.name: one for one in self.trials.get(study, [])}, request.name)
        if trial.state != State.ACTIVE:
            raise RefusedError("FAILED_PRECONDITION", "The trial has ended.")
        trial.state = State.INFEASIBLE if request.trial_infeasible else State.SUCCEEDED
        trial.final_measurement, trial.infeasible_reason = request.final_measurement, request.infeasible_reason
        return trial

    def _new(self, study: api.Study, held: list[api.Trial]) -> dict | None:
        """A configuration that no trial has had, as far as there is one."""
        tried = [{one.parameter_id: one.value for one in trial.parameters} for trial in held]
        for _ in range(200):
            found: dict = {}
            self._draw(study.study_spec.parameters, found)
            if found not in tried:
                return found
        return found if self.repeats else None

    def _draw(self, specs: list, found: dict) -> None:
        for spec in specs:
            kind, held = _kind(spec)
            if kind in ("categorical", "discrete"):
                value = self._random.choice(list(held.values))
            elif kind == "integer":
                value = self._random.randint(held.min_value, held.max_value)
            else:
                value = self._random.uniform(held.min_value, held.max_value)
            found[spec.parameter_id] = value
            self._draw([one.parameter_spec for one in spec.conditional_parameter_specs if value in _wanted(one)], found)

    def _check(self, spec: api.StudySpec.ParameterSpec) -> None:
        kind, held = _kind(spec)
        if kind == "discrete" and list(held.values) != sorted(held.values):
            raise RefusedError("INVALID_ARGUMENT", f"The values of {spec.parameter_id} must increase.")
        for child in spec.conditional_parameter_specs:
            if kind in ("categorical", "discrete") and not set(_wanted(child)) <= set(held.values):
                raise RefusedError("INVALID_ARGUMENT", f"{spec.parameter_id} does not have all of {_wanted(child)}.")


def _all(specs: list) -> list:
    inner = [_all([one.parameter_spec for one in spec.conditional_parameter_specs]) for spec in specs]
    return [*specs, *itertools.chain(*inner)]


def _kind(spec: api.StudySpec.ParameterSpec) -> tuple[str, object]:
    name = type(spec).pb(spec).WhichOneof("parameter_value_spec")
    return name.removesuffix("_value_spec"), getattr(spec, name)


def _wanted(child: object) -> list:
    return list(getattr(child, type(child).pb(child).WhichOneof("parent_value_condition")).values)
