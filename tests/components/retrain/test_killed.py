"""A training that is killed again and again ends with the bits of one that was not."""

import random
import subprocess
from contextlib import suppress

import pytest

from tests.helpers.retraining import WAYS, Retraining, checkpoints, kill, same

KILLS = 10
LONG = {"epochs": 60, "steps_per_execution": 1, "checkpoint_minutes": 1e-9}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["single", "mirrored 2", "2 workers"])
def test_a_training_killed_ten_times_has_the_bits_of_one_that_was_not(records, tmp_path, way):
    """Each run is killed after a random number of further checkpoints; dropout, Adam and moving averages go on."""
    retraining, random_ = Retraining(tmp_path, records("cancer")), random.Random(way)
    how = {**LONG, "function": "noisy", **WAYS[way]}
    whole = retraining.start("whole", **how)
    seen = 0
    for number in range(KILLS):
        process = retraining.start(f"killed {number}", work="work", **how)
        target = seen + random_.randint(1, 70)
        while newest(tmp_path / "work") < target:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                raise AssertionError(retraining.log(f"killed {number}"))
        kill(process)
        seen = newest(tmp_path / "work")
        assert not (tmp_path / f"killed {number}").exists()
        # The newest and the one before, of each process, and what was being written.
        assert len(list((tmp_path / "work").rglob("*.npz"))) <= 2 * 3
    assert retraining.run("ended", work="work", **how) == 0, retraining.log("ended")
    assert whole.wait() == 0, retraining.log("whole")
    assert same(retraining.weights("ended"), retraining.weights("whole"))
    assert not checkpoints(tmp_path / "work")


def newest(work) -> int:
    return max((int(path.stem) for path in work.rglob("[0-9]*.npz")), default=0)
