"""Between two rounds: records are gathered by name, whatever the order in which the engine collected them."""

import numpy as np
import pytest

from kep.artifacts.study import Round
from kep.artifacts.trials import TrialStore
from kep.components.tune.rounds import gather
from kep.core.errors import UserError
from tests.helpers.trials import asked


@pytest.fixture
def last_round(tmp_path):
    """The folder of a round with one record, and the folders of the two trials that it suggested."""
    orders = [asked(0, "f", {"x": 0}), asked(1, "f", {"x": 1}), asked(1, "f", {"x": 1}, execution=1)]
    searched, trials = tmp_path / "searched", [tmp_path / "a", tmp_path / "b"]
    for folder, order in zip([searched, *trials], orders, strict=True):
        folder.mkdir()
        TrialStore(folder).save(order.trial("complete"), np.full((2, 2), order.number, np.float32))
    Round(orders=orders, spaces=[]).save(searched)
    return str(searched), [str(folder) for folder in trials], orders


@pytest.mark.parametrize("step", [1, -1])
def test_records_are_bound_to_their_trial_not_to_their_place(last_round, tmp_path, step):
    searched, trials, orders = last_round
    found, ended = gather(searched, trials[::step], tmp_path / "out")
    assert found == orders
    assert [(trial.number, trial.execution) for trial in ended] == [(0, 0), (1, 0), (1, 1)]
    assert set(TrialStore(tmp_path / "out").load()) == {(0, 0), (1, 0), (1, 1)}
    assert (TrialStore(tmp_path / "out").predictions(ended[2]) == 1).all()


def test_a_trial_without_a_record_is_named(last_round, tmp_path):
    searched, trials, _ = last_round
    with pytest.raises(UserError, match="f-001 left no whole record"):
        gather(searched, trials[:1], tmp_path / "out")
