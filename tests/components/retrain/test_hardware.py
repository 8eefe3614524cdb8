"""What `hardware.retrain` asks for: the same model on one device, on several, and in several processes."""

import os
import shutil
import signal

import numpy as np
import pytest

from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from tests.helpers.artifacts import candidate
from tests.helpers.retraining import MIRRORED, WAYS, Retraining, checkpoints, kill, same


@pytest.fixture(scope="module")
def retraining(records, tmp_path_factory):
    return Retraining(tmp_path_factory.mktemp("retraining"), records("cancer"))


@pytest.fixture(scope="module")
def trained(retraining):
    """The weights of each way, from processes that ran side by side."""
    running = {way: retraining.start(way, **hardware) for way, hardware in WAYS.items()}
    for way, process in running.items():
        assert process.wait() == 0, retraining.log(way)
    return {way: retraining.weights(way) for way in WAYS}


@pytest.mark.parametrize("way", list(WAYS)[1:])
def test_replicas_end_with_the_weights_of_one_device(trained, way):
    """456 rows make a last batch of 8, whose parts would weigh too much were it filled without weights."""
    for one, other in zip(trained["single"], trained[way], strict=True):
        np.testing.assert_allclose(other, one, atol=2e-6)


@pytest.mark.parametrize("way", list(WAYS))
def test_the_training_says_what_it_ran_on(retraining, trained, way):
    log, hardware = retraining.log(way), retraining.member(way)["hardware"]
    assert hardware["batch_size"] == 32
    assert hardware["devices"] == WAYS[way].get("devices", 1)
    said = {
        "single": "single on CPU: this machine has no GPUs; 32 rows a step, float32",
        "mirrored 2": "mirrored on CPU: 2 logical CPU devices",
        "mirrored 4": "mirrored on CPU: 4 logical CPU devices",
        "2 workers": "multi_worker on CPU: 2 processes on this machine",
    }
    assert said[way] in log


@pytest.mark.slow
def test_replicas_get_their_part_of_each_named_input(retraining):
    ways = {way: WAYS[way] for way in ("single", "mirrored 2", "2 workers")}
    running = {way: retraining.start(f"named {way}", function="named", **how) for way, how in ways.items()}
    for way, process in running.items():
        assert process.wait() == 0, retraining.log(f"named {way}")
    single, *others = (retraining.weights(f"named {way}") for way in ways)
    for weights in others:
        for one, other in zip(single, weights, strict=True):
            np.testing.assert_allclose(other, one, atol=2e-6)


@pytest.mark.slow
def test_a_rate_that_changes_with_each_step_is_the_same_on_replicas(retraining, trained):
    ways = {way: WAYS[way] for way in ("single", "mirrored 2", "2 workers")}
    running = {way: retraining.start(f"cycled {way}", function="cycled", **how) for way, how in ways.items()}
    for way, process in running.items():
        assert process.wait() == 0, retraining.log(f"cycled {way}")
    single, *others = (retraining.weights(f"cycled {way}") for way in ways)
    assert not same(single, trained["single"])
    for weights in others:
        for one, other in zip(single, weights, strict=True):
            np.testing.assert_allclose(other, one, atol=2e-6)


def test_only_the_chief_writes(retraining, trained):
    assert (retraining.folder / "2 workers.events").read_text().count('"kind": "start"') == 1
    assert not list(retraining.folder.rglob("*cluster*"))


@pytest.mark.slow
def test_layers_with_state_train_on_replicas(retraining):
    """Moving averages differ between replicas; what is saved is their mean."""
    ways = {way: WAYS[way] for way in ("single", "mirrored 2", "2 workers")}
    running = {way: retraining.start(f"noisy {way}", function="noisy", **how) for way, how in ways.items()}
    for way, process in running.items():
        assert process.wait() == 0, retraining.log(f"noisy {way}")
    single, mirrored, workers = (retraining.weights(f"noisy {way}") for way in ways)
    assert [w.shape for w in single] == [w.shape for w in mirrored] == [w.shape for w in workers]
    # A replica normalises its half of the batch, so the networks differ; both ways of two replicas do the same.
    for one, other in zip(mirrored, workers, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    variances = [w for w in mirrored if (w > 0).all() and w.shape == (8,)]
    assert variances


@pytest.mark.slow
def test_three_processes_end_with_the_weights_of_one(retraining):
    one = retraining.start("one of 48", batch_size=48)
    assert retraining.run("3 workers", batch_size=48, strategy="multi_worker", devices=3) == 0
    assert one.wait() == 0
    assert retraining.member("3 workers")["hardware"]["devices"] == 3
    for a, b in zip(retraining.weights("one of 48"), retraining.weights("3 workers"), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-6)


def test_bits_do_not_depend_on_the_steps_of_a_call(retraining, trained):
    assert retraining.run("few steps", steps_per_execution=2) == 0
    assert same(retraining.weights("few steps"), trained["single"])


@pytest.mark.slow
def test_xla_trains_the_same_model(retraining, trained):
    assert retraining.run("jit", jit="on") == 0, retraining.log("jit")
    for one, other in zip(trained["single"], retraining.weights("jit"), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.slow
def test_rows_count_alike_on_replicas_and_under_xla(retraining, trained, tmp_path):
    """Each class counts the same, in a last batch that is filled with rows of weight 0, too."""
    records = tmp_path / "balanced"
    ingest(DataSettings(source="sklearn:breast_cancer", weight="balanced"), 0, records)
    ways = {"balanced": {}, "balanced 2": MIRRORED | {"devices": 2}, "balanced jit": {"jit": "on"}}
    running = {way: retraining.start(way, records=records, **hardware) for way, hardware in ways.items()}
    for way, process in running.items():
        assert process.wait() == 0, retraining.log(way)
        for one, other in zip(retraining.weights("balanced"), retraining.weights(way), strict=True):
            np.testing.assert_allclose(other, one, atol=1e-5)
    assert (
        max(np.abs(a - b).max() for a, b in zip(trained["single"], retraining.weights("balanced"), strict=True)) > 0.01
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_near(retraining, trained, precision):
    """Weights are float32 and within 0.05 of those of a training in float32; float16 comes with loss scaling."""
    assert retraining.run(precision, precision=precision) == 0, retraining.log(precision)
    for one, other in zip(trained["single"], retraining.weights(precision), strict=True):
        assert other.dtype == np.float32
        np.testing.assert_allclose(other, one, atol=0.05)
    assert not same(retraining.weights(precision), trained["single"])


def test_a_loss_that_is_no_number_ends_the_training(retraining):
    assert retraining.run("diverging", function="diverging") == 1
    log = retraining.log("diverging")
    assert "error: own_diverging: the training loss is not a finite number in epoch" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("damage", [pytest.param("missing", marks=pytest.mark.slow), "corrupt"])
def test_a_bad_shard_is_named_and_the_checkpoints_stay(retraining, tmp_path, damage):
    how = {"epochs": 100_000, "steps_per_execution": 1, "checkpoint_minutes": 1e-9}
    process = retraining.start(f"before {damage}", work=f"{damage} work", **how)
    retraining.wait_for("epoch 10:", f"before {damage}", process)
    kill(process)
    kept = checkpoints(retraining.folder / f"{damage} work")
    assert kept
    shutil.copytree(retraining.records, tmp_path / "records")
    shard = next((tmp_path / "records").rglob("*train*.tfrecord"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.unlink() if damage == "missing" else shard.write_bytes(content)
    assert retraining.run(damage, work=f"{damage} work", records=tmp_path / "records", **how) == 1
    assert f"error: records: shard {shard} " in retraining.log(damage)
    assert "Traceback" not in retraining.log(damage)
    assert checkpoints(retraining.folder / f"{damage} work") == kept


def test_memory_that_runs_out_is_a_sentence(records, tmp_path, monkeypatch, capsys):
    import tensorflow as tf

    from kep.artifacts.weights import Member
    from kep.components.retrain.retrain import run
    from kep.models.keras_family import KerasFamily

    def too_large(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8192,8192]")

    monkeypatch.setattr(KerasFamily, "refit", too_large)
    member = Member(**dict(candidate("mlp-001")), median_best=1, trained_rows=1, weight=1.0)
    sections = {"families": '[{"name": "mlp"}]', "config": "{}", "hardware": "{}", "weights": "", "code": "c"}
    with pytest.raises(SystemExit) as ended:
        run(
            out=str(tmp_path / "out"),
            member=member.to_json(),
            records=str(records("cancer")),
            batch_size=32,
            seed=0,
            **sections,
        )
    assert ended.value.code == 1
    assert "error: mlp-001: the memory of the device ran out; use a smaller batch_size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"strategy": "mirrored"}, "hardware.retrain.strategy: mirrored needs GPUs, and this machine has no GPUs"),
        ({"device": "gpu"}, "hardware.retrain.device: gpu was asked for, and this machine has no GPUs"),
        ({"strategy": "tpu"}, 'hardware.retrain.strategy: tpu "local" was asked for, and this machine has no TPU'),
        ({"strategy": "multi_worker"}, "multi_worker needs TF_CONFIG with several workers, or devices: N"),
        (MIRRORED | {"devices": 3}, "32 rows can't be divided among 3 replicas; give a multiple of 3, such as 33"),
        (MIRRORED | {"devices": 2, "jit": "on"}, "jit: on can't be had with strategy: mirrored on CPUs"),
        (MIRRORED | {"devices": 2, "function": "stepping"}, "has a train_step of its own"),
    ],
)
def test_what_the_machine_lacks_is_one_sentence(retraining, how, sentence):
    assert retraining.run("refused", **how) == 2
    log = retraining.log("refused")
    assert sentence in log
    assert "Traceback" not in log
    assert not (retraining.folder / "refused").exists()


@pytest.mark.slow
def test_a_larger_batch_scales_the_learning_rate(retraining):
    linear = retraining.start("linear", batch_size=64, scale_learning_rate="linear", epochs=1)
    assert retraining.run("none", batch_size=64, epochs=1) == 0
    assert linear.wait() == 0
    assert retraining.member("linear")["hardware"]["batch_size"] == 64
    assert not same(retraining.weights("linear"), retraining.weights("none"))


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_that_the_next_run_goes_on_from(retraining):
    long = {"epochs": 120, "steps_per_execution": 1, "checkpoint_minutes": 60}
    process = retraining.start("stopped", work="stopped work", **long)
    retraining.wait_for("epoch 10:", "stopped", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 1
    assert "told to end: stopped after" in retraining.log("stopped")
    assert "Traceback" not in retraining.log("stopped")
    assert len(checkpoints(retraining.folder / "stopped work")) == 1
    whole = retraining.start("whole", **long)
    assert retraining.run("stopped", work="stopped work", **long) == 0
    assert "epoch 10:" not in retraining.log("stopped")
    assert "going on from a checkpoint: epoch " in retraining.log("stopped")
    assert whole.wait() == 0
    assert same(retraining.weights("stopped"), retraining.weights("whole"))
    assert not checkpoints(retraining.folder / "stopped work")


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_training_with_a_sentence(retraining):
    process = retraining.start("bereft", epochs=100_000, **WAYS["2 workers"])
    retraining.wait_for("epoch 10:", "bereft", process)
    (worker,) = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == process.pid]
    os.kill(worker, signal.SIGKILL)
    assert process.wait() == 1
    # Whoever notices first says it: the process that started the worker, or TensorFlow's collective.
    said = retraining.log("bereft").splitlines()[-1]
    assert "worker 1 of 2 was killed by signal 9" in said or "another process of the training was lost" in said


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return -1
