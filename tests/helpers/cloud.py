"""How tests submit to the local clouds, and what they read of the answers."""

import re
import time
from types import SimpleNamespace

import pytest
from tensorboard.plugins.hparams import plugin_data_pb2

from kep.engines import submit

PLACE = ("--project", "shop-ml", "--region", "europe-west4")


BUCKET = (*PLACE, "--bucket", "gs://data/team")


ACCOUNT = "steps@shop-ml.iam.gserviceaccount.com"


SUBMIT = ("submit", "churn.yaml", *BUCKET)


def job(vertex, place: int = 0):
    return list(vertex.jobs.values())[place]


def short(name: str) -> str:
    return name.rpartition("/")[2]


def one_sentence(err: str) -> str:
    assert re.fullmatch(r"error: .+\n", err), err
    return err


def steps(out: str) -> list[str]:
    return re.findall(r"^\[ *[\d.]+ s\] (.*)$", out, re.M)


def interrupted(monkeypatch) -> None:
    """Ctrl-C while the first look's pause lasts, and in no pause of another thread."""
    pauses = iter([KeyboardInterrupt])

    def sleep(_: float) -> None:
        for error in pauses:
            raise error

    monkeypatch.setattr(submit, "time", SimpleNamespace(sleep=sleep, time=time.time))


REPOSITORY = "https://europe-west4-kfp.pkg.dev/shop/ml"


PUBLISH = ("publish", "churn.yaml", "--repository", REPOSITORY)


CREATE = ("schedule", "create", "weekly", "churn.yaml", "--cron", "0 4 * * mon", *BUCKET)


INSTANCE = "projects/shop-ml/locations/europe-west4/tensorboards/42"


def assert_sessions(boards, values: dict[str, dict]) -> None:
    """That the hyperparameters plugin finds these values, by run, and the end of each session."""
    for run, wanted in values.items():
        own = {
            one.display_name: one for name, one in boards.series.items() if boards.runs[_run(name)].display_name == run
        }
        start, end = (own[f"_hparams_/session_{when}_info"] for when in ("start", "end"))
        for one in (start, end):
            assert (one.plugin_name, one.value_type.name, list(boards.points[one.name])) == ("hparams", "TENSOR", [0])
        info = plugin_data_pb2.HParamsPluginData.FromString(start.plugin_data).session_start_info
        for name, value in wanted.items():
            told = info.hparams[name]
            kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
            assert getattr(told, kind) == pytest.approx(value)
        assert plugin_data_pb2.HParamsPluginData.FromString(end.plugin_data).session_end_info.status


def _run(series: str) -> str:
    return series.rpartition("/timeSeries/")[0]
