"""Damaged search state is not used: that training runs again, and the log says which and why."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.trials import TrialStore
from kep.core.errors import UserError
from kep.core.files import read_json, write_json
from tests.helpers.files import flip, truncate
from tests.helpers.trials import recorded


def _edit(study: TrialStore) -> None:
    path = study.folder / "trials" / "0001-0.json"
    write_json(path, read_json(path) | {"score": 0.1, "loss": 0.1})


def _store(predictions: np.ndarray) -> Callable[[TrialStore], None]:
    """A record whose digest fits predictions that can't be any."""
    trial = recorded(1, "f", {"x": 1}, 0, "complete", score=1.0)
    return lambda study: study.save(trial, predictions.astype(np.float32))


PREDICTIONS = Path("predictions", "0001-0.npy")
DAMAGE: dict[str, tuple[Callable[[TrialStore], None], str]] = {
    "an edited score": (_edit, "0001-0.json was changed after kep wrote it"),
    "a flipped record": (lambda study: flip(study.folder / "trials" / "0001-0.json"), "0001-0.json "),
    "a torn record": (lambda study: truncate(study.folder / "trials" / "0001-0.json"), "it is not JSON"),
    "a record of another trial": (
        lambda study: shutil.copyfile(study.folder / "trials" / "0000-0.json", study.folder / "trials" / "0001-0.json"),
        "0001-0.json is the record of another training",
    ),
    "flipped predictions": (lambda study: flip(study.folder / PREDICTIONS), "0001-0.npy is damaged"),
    "torn predictions": (lambda study: truncate(study.folder / PREDICTIONS), "0001-0.npy is damaged"),
    "no predictions": (lambda study: (study.folder / PREDICTIONS).unlink(), "0001-0.npy is missing"),
    "predictions of another trial": (
        lambda study: shutil.copyfile(study.folder / "predictions" / "0000-0.npy", study.folder / PREDICTIONS),
        "0001-0.npy is damaged",
    ),
    "fewer rows": (_store(np.full((3, 2), 0.5)), "they have shape [3, 2] instead of [4, 2]"),
    "numbers": (_store(np.full(4, 0.5)), "they have shape [4] instead of [4, 2]"),
    "NaN": (_store(np.full((4, 2), np.nan)), "some are not finite numbers"),
    "no probabilities": (_store(np.full((4, 2), 0.6)), "don't sum to 1"),
    "negative ones": (_store(np.tile([1.5, -0.5], (4, 1))), "don't sum to 1"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_execution_runs_again_and_the_log_says_why(tmp_path, kind):
    study = TrialStore(tmp_path, (4, 2))
    for number in range(3):
        predictions = np.tile(np.float32([0.5 - number / 10, 0.5 + number / 10]), (4, 1))
        study.save(recorded(number, "f", {"x": number}, 0, "complete", score=1.0), predictions)
    damage, words = DAMAGE[kind]
    damage(study)
    told: list[str] = []
    assert set(study.whole(told.append)) == {(0, 0), (2, 0)}
    assert len(told) == 1
    assert words in told[0]
    assert str(tmp_path) in told[0]
    assert told[0].endswith("again")
    if ".json" in told[0]:
        with pytest.raises(UserError, match=r"holds 2 whole records instead of 3 \(.*0001-0\.json.*; run tune again"):
            study.finished(3)
