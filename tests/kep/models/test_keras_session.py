"""A process that trains one network after the other holds no more of the earlier ones."""

import gc

import pytest
from tensorflow.python.framework.func_graph import FuncGraph

from kep.data.records import Records
from kep.models.family import Settings
from kep.models.keras_session import clear_session
from kep.models.registry import family
from kep.training.monitor import Monitor
from tests.helpers.families import defaults, made

OWN = """
import keras
def build(hp):
    # The activation has a gradient of its own.
    model = keras.Sequential([keras.layers.Dense(hp.Int("units", 4, 8), "silu"), keras.layers.Dense(1)])
    model.compile("adam", "mean_squared_error")
    return model
"""


def graphs() -> int:
    """Return how many traced functions are alive."""
    clear_session()
    return sum(isinstance(one, FuncGraph) for one in gc.get_objects())


@pytest.mark.parametrize("name", ["mlp", "build"])
def test_the_graphs_of_earlier_networks_are_let_go(name, records, tmp_path):
    data = Records(records("houses"), "tune")
    train, validation = data.load("train"), data.load("validation")
    (tmp_path / "own.py").write_text(OWN)
    before = graphs()
    for seed in range(3):
        member = made(tmp_path, name, data.manifest) if name == "build" else family({"name": name}, data.manifest)
        member.fit(defaults(member), train, validation, Settings(1, 1, 64, seed), Monitor())
        del member
    assert graphs() == before
