"""`kep tensorboard`: what it lays out is what TensorBoard's own readers and its server see."""

import re
import signal
import subprocess

import pytest
import requests
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from kep.core.errors import UserError
from kep.delivery.tensorboard import collect
from tests.helpers.boards import NAMES
from tests.helpers.commands import command, environment, heed_interrupts, kep

TRAININGS = (("best_epoch/mlp", "seed-0"), ("retrain/mlp", "training"))


def test_curves_of_trainings_are_read(run_folder, tmp_path):
    assert collect(run_folder("churn", *NAMES), tmp_path) == (4, 3)
    retrained = EventAccumulator(str(tmp_path / "retrain" / "mlp-1" / "training")).Reload()
    assert [(event.step, event.value) for event in retrained.Scalars("loss")] == [(1, 0.5)]
    events = EventAccumulator(str(tmp_path / "best_epoch" / "mlp-0" / "seed-0")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("val_loss")] == [
        (1, 2.0),
        (2, 1.0),
        (3, pytest.approx(2 / 3)),
    ]


def test_trials_are_what_the_hyperparameters_plugin_reads(run_folder, tmp_path):
    collect(run_folder("churn", *NAMES), tmp_path)
    events = EventAccumulator(str(tmp_path / "trials" / "mlp-001")).Reload()
    assert [event.value for event in events.Scalars("validation loss")] == pytest.approx([0.4])
    assert [event.step for event in events.Scalars("val_loss")] == [1, 2]

    def content(trial: str, tag: str) -> plugin_data_pb2.HParamsPluginData:
        own = EventAccumulator(str(tmp_path / "trials" / trial)).Reload().summary_metadata[tag]
        return plugin_data_pb2.HParamsPluginData.FromString(own.plugin_data.content)

    start = content("mlp-001", "_hparams_/session_start_info").session_start_info
    assert start.hparams["units"].number_value == 64
    assert start.hparams["activation"].string_value == "relu"
    assert start.group_name == "mlp-001"
    ends = [content(trial, "_hparams_/session_end_info").session_end_info.status for trial in ("mlp-001", "mlp-002")]
    assert ends == [1, 2]


def test_the_command_serves_scalars_and_hyperparameters_until_it_is_interrupted(runs):
    serve = command("tensorboard", "churn", "--runs", runs("churn", *NAMES), "--port", "0")
    process = subprocess.Popen(
        serve,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=heed_interrupts,
    )
    try:
        line = next(line for line in iter(process.stdout.readline, "") if "http" in line)
        assert line.startswith("4 trainings with learning curves, 3 trials: ")
        url = re.search(r"http://[^ ]*:\d+/", line)[0]
        seen: set = set()
        for _ in range(600):  # until its reader has gone through the files
            seen = set(requests.get(f"{url}data/runs", timeout=60).json())
            if len(seen) == 7:
                break
        trainings = {f"{name}-{n}/{seed}" for n in (0, 1) for name, seed in TRAININGS}
        assert seen == trainings | {f"trials/mlp-00{n}" for n in range(3)}
        asked = {"experimentName": "", "sliceSize": 10, "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE"]}
        groups = requests.post(f"{url}data/plugin/hparams/session_groups", json=asked, timeout=60).json()
        assert groups["totalSize"] == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_mistakes_are_one_sentence(runs, tmp_path):
    done = kep("tensorboard", "chrn", "--runs", tmp_path)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith("error: no finished run chrn in")
    root = runs("churn", *NAMES)
    study = next((root / "churn" / "store").glob("**/study.json"))
    kept = study.read_text()
    study.write_text("{}")
    try:
        with pytest.raises(UserError, match=r"the study\.json of this run is not in .* any more; run it again"):
            collect(root / "churn" / "latest", tmp_path / "board")
    finally:
        study.write_text(kept)
