"""`kep tensorboard --upload`: what TensorBoard would show of a run of this machine, in an instance."""

import pytest
from tensorboard.plugins.hparams import plugin_data_pb2

from kep.engines.local.runner import ENTERED
from tests.helpers.boards import NAMES
from tests.helpers.cloud import INSTANCE, assert_sessions, one_sentence

EXPERIMENT = "kep-churn-20260101-000000"


@pytest.fixture
def upload(boards, kep, runs, monkeypatch):
    """Function that uploads the run to an instance."""
    monkeypatch.setenv(ENTERED, "1")

    def of(instance: str = INSTANCE, run: str = "churn") -> tuple[int, str, str]:
        return kep("tensorboard", run, "--runs", str(runs("churn", *NAMES)), "--upload", instance)

    return of


def test_curves_and_trials_are_there_once(boards, upload):
    for attempt in (1, 2):
        code, out, err = upload()
        assert (code, err) == (0, ""), attempt
        place = "https://europe-west4.tensorboard.googleusercontent.com/experiment/"
        name = f"{INSTANCE}/experiments/{EXPERIMENT}".replace("/", "+")
        assert out == f"4 trainings with learning curves, 3 trials: {place}{name}\n"
        found = boards.scalars(EXPERIMENT)
        curves, trials = {f"best_epoch/mlp-{n}/seed-0" for n in (0, 1)}, {f"trials/mlp-00{n}" for n in range(3)}
        retrained = {f"retrain/mlp-{n}/training" for n in (0, 1)}
        assert found.keys() == curves | retrained | {"trials/mlp-000", "trials/mlp-001"}
        assert all(found[run] == {"loss": {1: 0.5}} for run in retrained)
        for run in curves:
            assert found[run]["val_loss"] == pytest.approx({1: 2.0, 2: 1.0, 3: 2 / 3})
            assert found[run]["loss"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
        assert found["trials/mlp-001"] == {
            "val_loss": pytest.approx({1: 0.7, 2: 0.4}),
            "validation loss": pytest.approx({2: 0.4}),
        }
        assert {run.display_name for run in boards.runs.values()} == curves | retrained | trials
        values = {
            "trials/mlp-001": {"units": 64, "activation": "relu", "family": "mlp"},
            "trials/mlp-002": {"units": 8},
        }
        assert_sessions(boards, values)
    ends = [one for one in boards.series.values() if one.display_name == "_hparams_/session_end_info"]
    status = [plugin_data_pb2.HParamsPluginData.FromString(one.plugin_data).session_end_info.status for one in ends]
    assert sorted(status) == [1, 1, 2]


@pytest.mark.parametrize("method", ["BatchCreateTensorboardRuns", "WriteTensorboardExperimentData"])
def test_an_answer_that_is_lost_changes_nothing(boards, vertex, upload, method):
    fault = vertex.fault(method, "UNAVAILABLE", lose=True)
    assert upload()[0] == 0
    assert (fault.hits, len(boards.runs), len(boards.scalars(EXPERIMENT))) == (1, 7, 6)


def test_mistakes_are_one_sentence(vertex, tunnel, upload):
    code, _, err = upload("projects/shop-ml/tensorboards/42")
    assert code == 2
    assert '--upload: "projects/shop-ml/tensorboards/42" is no TensorBoard instance' in one_sentence(err)
    code, _, err = upload(INSTANCE.replace("42", "43"))
    assert code == 2
    assert "tensorboards/43 does not exist, or its experiment was deleted" in one_sentence(err)
    code, _, err = upload(run="chrn")
    assert code == 2
    assert "no finished run chrn in" in one_sentence(err)
    vertex.fault("WriteTensorboardExperimentData", "UNAVAILABLE", "no route to host", times=float("inf"))
    code, _, err = upload()
    assert code == 2
    assert f"{INSTANCE} does not answer (503 no route to host)" in one_sentence(err)
    tunnel.revoked = True
    code, _, err = upload()
    assert code == 2
    assert "the Google Cloud login is no longer accepted" in one_sentence(err)
