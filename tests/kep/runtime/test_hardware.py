"""What a machine and the run file mean for a family that only one device can train."""

import pytest

from kep.config.hardware import StepHardware, TrialHardware
from kep.core.errors import UserError
from kep.runtime.hardware import DevicePlan, one_device

TPU = {"accelerator": "tpu-v5-lite-podslice", "topology": "2x4", "accelerators": 4, "machines": 1}

TPU = {"accelerator": "tpu-v5-lite-podslice", "accelerators": 8, "topology": "2x4"}


def test_a_fit_of_ones_own_takes_the_first_of_several_gpus():
    chosen = DevicePlan("mirrored", "gpu", 4, "4 GPUs")
    plan = one_device("hardware.retrain", StepHardware(), "own", chosen)
    assert (plan.strategy, plan.device, plan.devices) == ("single", "gpu", 1)
    assert one_device("hardware.tune", TrialHardware(), "own").strategy == "single"


@pytest.mark.parametrize(
    ("asked", "chosen", "words"),
    [
        ({"strategy": "mirrored"}, None, r"hardware\.retrain\.strategy: mirrored can't be had for own, whose own fit"),
        ({"strategy": "tpu"}, None, r"strategy: tpu can't be had for own"),
        ({"devices": 2}, None, r"devices: 2 can't be had for own"),
        ({"steps_per_execution": 4}, None, r"steps_per_execution: 4 can't be had for own"),
        ({"machine": TPU}, None, r"machine\.accelerator: tpu-v5-lite-podslice can't be had for own"),
        ({}, DevicePlan("multi_worker", "cpu", 2, ""), r"strategy: multi_worker can't be had for own"),
        ({}, DevicePlan("tpu", "tpu", 0, ""), r"strategy: tpu can't be had for own"),
    ],
)
def test_what_only_several_devices_can_do_is_refused(asked, chosen, words):
    with pytest.raises(UserError, match=words):
        one_device("hardware.retrain", StepHardware.model_validate(asked), "own", chosen)
