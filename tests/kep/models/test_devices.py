"""Members on devices of their own, tried on two logical CPU devices: those of a process are fixed when it starts."""

import subprocess
import sys

import numpy as np
import pytest

from kep.data.records import Records
from kep.models.ensemble import Ensemble

PROGRAM = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kep.data.records import Records
from kep.models.ensemble import Ensemble
folder, records, out = sys.argv[1:]
ensemble = Ensemble(folder, ("CPU:0", "CPU:1"))
devices = [model.trainable_variables[0].value.device[-5:] for _, model in ensemble.models]
predictions = ensemble.predict_members(Records(records, "evaluate").load("test"))
np.savez(out, *predictions, devices=devices)
"""


@pytest.mark.slow
def test_members_lie_on_devices_in_turn_and_predict_the_same(ensembles, records, tmp_path):
    folder = ensembles("churn", "mlp", "mlp")
    command = [sys.executable, "-c", PROGRAM, folder, records("churn"), tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    assert list(found["devices"]) == ["CPU:0", "CPU:1"]
    expected = Ensemble(folder).predict_members(Records(records("churn"), "evaluate").load("test"))
    for place, one in enumerate(expected):
        np.testing.assert_allclose(found[f"arr_{place}"], one, atol=1e-6)
