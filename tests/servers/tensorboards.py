"""TensorBoard instances beside the runs of tests/servers/vertex.py, refusing what Google's documentation says."""

import re
from collections.abc import Iterable

from google.cloud import aiplatform_v1 as api

from tests.servers.vertex import RefusedError, Server, _find, _handler

MOST_MADE, MOST_POINTS, LARGEST_PLUGIN_DATA, LARGEST_WRITE = 1000, 5000, 65_000, 64 * 1024


class Boards:
    """The service; to be made before the server that it is a part of starts.

    Attributes:
        instances: resource names.
        experiments: resource names.
        runs: by resource name.
        series: by resource name.
        points: of each time series, by step.
        writes: how often each step of a time series was written.
    """

    def __init__(self, server: Server):
        methods = {
            "GetTensorboard": (api.GetTensorboardRequest, self.get),
            "CreateTensorboardExperiment": (api.CreateTensorboardExperimentRequest, self.create_experiment),
            "BatchCreateTensorboardRuns": (api.BatchCreateTensorboardRunsRequest, self.create_runs),
            "ListTensorboardRuns": (api.ListTensorboardRunsRequest, self.list_runs),
            "BatchCreateTensorboardTimeSeries": (api.BatchCreateTensorboardTimeSeriesRequest, self.create_series),
            "ListTensorboardTimeSeries": (api.ListTensorboardTimeSeriesRequest, self.list_series),
            "WriteTensorboardExperimentData": (api.WriteTensorboardExperimentDataRequest, self.write),
        }
        server._server.add_generic_rpc_handlers((_handler("Tensorboard", server, methods),))
        self.reset()

    def reset(self, *instances: str) -> None:
        """Forgets everything but these instances."""
        self.instances, self.experiments = set(instances), set()
        self.runs: dict[str, api.TensorboardRun] = {}
        self.series: dict[str, api.TensorboardTimeSeries] = {}
        self.points: dict[str, dict[int, api.TimeSeriesDataPoint]] = {}
        self.writes: dict[str, list[int]] = {}

    def scalars(self, experiment: str) -> dict[str, dict[str, dict[int, float]]]:
        """Values of an experiment by run, tag and step."""
        found: dict[str, dict[str, dict[int, float]]] = {}
        for name, series in self.series.items():
            run = self.runs[name.rpartition("/timeSeries/")[0]]
            if f"/experiments/{experiment}/" in name and series.plugin_name == "scalars":
                values = {step: point.scalar.value for step, point in self.points.get(name, {}).items()}
                found.setdefault(run.display_name, {})[series.display_name] = values
        return found

    # What the methods do.

    def get(self, server: Server, request: api.GetTensorboardRequest) -> api.Tensorboard:
        return api.Tensorboard(name=_known(self.instances, request.name))

    def create_experiment(
        self, server: Server, request: api.CreateTensorboardExperimentRequest
    ) -> api.TensorboardExperiment:
        _known(self.instances, request.parent)
        _check_id(request.tensorboard_experiment_id)
        name = f"{request.parent}/experiments/{request.tensorboard_experiment_id}"
        if name in self.experiments:
            raise RefusedError("ALREADY_EXISTS", f"{name} already exists")
        self.experiments.add(name)
        return api.TensorboardExperiment(name=name)

    def create_runs(
        self, server: Server, request: api.BatchCreateTensorboardRunsRequest
    ) -> api.BatchCreateTensorboardRunsResponse:
        _known(self.experiments, request.parent)
        _check_number(request.requests, MOST_MADE)
        made = {}
        for one in request.requests:
            _check_id(one.tensorboard_run_id)
            name, shown = f"{one.parent}/runs/{one.tensorboard_run_id}", one.tensorboard_run.display_name
            beside = [*self.runs.values(), *made.values()]
            if any(name == run.name or (_beside(name, run.name) and run.display_name == shown) for run in beside):
                raise RefusedError("ALREADY_EXISTS", f"{name} already exists")
            made[name] = api.TensorboardRun(name=name, display_name=shown)
        self.runs |= made
        return api.BatchCreateTensorboardRunsResponse(tensorboard_runs=list(made.values()))

    def list_runs(self, server: Server, request: api.ListTensorboardRunsRequest) -> api.ListTensorboardRunsResponse:
        _known(self.experiments, request.parent)
        page, token = _page(server, self.runs, request)
        return api.ListTensorboardRunsResponse(tensorboard_runs=page, next_page_token=token)

    def create_series(
        self, server: Server, request: api.BatchCreateTensorboardTimeSeriesRequest
    ) -> api.BatchCreateTensorboardTimeSeriesResponse:
        _check_number(request.requests, MOST_MADE)
        made = {}
        for one in request.requests:
            _find(self.runs, one.parent)
            asked = one.tensorboard_time_series
            if not asked.display_name or not asked.value_type or len(asked.plugin_data) > LARGEST_PLUGIN_DATA:
                raise RefusedError("INVALID_ARGUMENT", "Illegal time series")
            name = f"{one.parent}/timeSeries/{5000 + len(self.series) + len(made)}"
            for other in [*self.series.values(), *made.values()]:
                if _beside(name, other.name) and other.display_name == asked.display_name:
                    raise RefusedError("INVALID_ARGUMENT", f"{asked.display_name} already exists in {one.parent}")
            made[name] = api.TensorboardTimeSeries(asked)
            made[name].name = name
        self.series |= made
        return api.BatchCreateTensorboardTimeSeriesResponse(tensorboard_time_series=list(made.values()))

    def list_series(
        self, server: Server, request: api.ListTensorboardTimeSeriesRequest
    ) -> api.ListTensorboardTimeSeriesResponse:
        _find(self.runs, request.parent)
        page, token = _page(server, self.series, request)
        return api.ListTensorboardTimeSeriesResponse(tensorboard_time_series=page, next_page_token=token)

    def write(
        self, server: Server, request: api.WriteTensorboardExperimentDataRequest
    ) -> api.WriteTensorboardExperimentDataResponse:
        _known(self.experiments, request.tensorboard_experiment)
        if type(request).pb(request).ByteSize() > LARGEST_WRITE:
            raise RefusedError("INVALID_ARGUMENT", "The request is larger than what Google's uploader sends.")
        found = []
        for of_run in request.write_run_data_requests:
            _find(self.runs, of_run.tensorboard_run)
            _check_number([point for data in of_run.time_series_data for point in data.values], MOST_POINTS)
            for data in of_run.time_series_data:
                name = f"{of_run.tensorboard_run}/timeSeries/{data.tensorboard_time_series_id}"
                if data.value_type != _find(self.series, name).value_type:
                    raise RefusedError("INVALID_ARGUMENT", f"{name} has points of another type.")
                found += [(name, point) for point in data.values]
        for name, point in found:
            self.points.setdefault(name, {})[point.step] = point
            self.writes.setdefault(name, []).append(point.step)
        return api.WriteTensorboardExperimentDataResponse()


def _known(names: set[str], name: str) -> str:
    return _find(dict.fromkeys(names, name), name)


def _check_id(given: str) -> None:
    if not re.fullmatch(r"[a-z0-9-]{1,128}", given):
        raise RefusedError("INVALID_ARGUMENT", f"Illegal id {given!r}")


def _check_number(given: Iterable, most: int) -> None:
    if not 1 <= len(list(given)) <= most:
        raise RefusedError("INVALID_ARGUMENT", f"A request holds 1 to {most}.")


def _beside(name: str, other: str) -> bool:
    return name.rpartition("/")[0] == other.rpartition("/")[0]


def _page(server: Server, held: dict, request: object) -> tuple[list, str]:
    chosen = [one for name, one in held.items() if name.startswith(f"{request.parent}/")]
    start = int(request.page_token or 0)
    return chosen[start : start + server.page], str(start + server.page) if start + server.page < len(chosen) else ""
