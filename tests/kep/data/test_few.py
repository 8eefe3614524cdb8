"""Where rows are few, candidates are trained in folds."""

import pytest

from kep.config.fit import BestEpochTask
from kep.config.run_file import RunFile
from kep.data.few import FEW, FOLDS, for_rows
from kep.data.records import Records

DATA = {"name": "x", "data": {"source": "rows.csv", "label": "y"}}


@pytest.fixture
def manifest(records):
    return Records(records("churn"), "tune").manifest


def of(manifest, rule: str, train: list[int], validation: list[int], rows: int):
    roles = dict(manifest.roles)
    for role, counts in (("train", train), ("validation", validation)):
        update = {"class_counts": counts, "rows": sum(counts) or rows}
        roles[role] = roles[role].model_copy(update=update)
    split = manifest.split.model_copy(update={"rule": rule})
    return manifest.model_copy(update={"roles": roles, "split": split})


@pytest.mark.parametrize(
    ("change", "in_folds"),
    [
        ({}, True),
        ({"validation": [60, 39]}, True),
        ({"validation": [60, FEW - 60]}, False),
        ({"train": [], "validation": [], "rows": 30}, True),
        ({"train": [], "validation": [], "rows": FEW}, False),
        ({"train": [], "validation": [], "rows": 4}, False),
        ({"train": [40, 2], "validation": [40, 2]}, False),
        ({"train": [40, 3], "validation": [40, 2]}, True),
        ({"rule": "group"}, False),
        ({"rule": "time"}, False),
        ({"rule": "column"}, True),
    ],
)
def test_few_rows_are_cross_validated(manifest, change, in_folds):
    given = {"rule": "random", "train": [60, 40], "validation": [20, 10], "rows": 30} | change
    asked = BestEpochTask(adapts=True, max_epochs=7)
    found = for_rows(asked, of(manifest, **given))
    expected = asked.model_copy(update={"folds": FOLDS, "seeds": 1}) if in_folds else asked
    assert found == expected
    assert for_rows(BestEpochTask(), of(manifest, **given)) == BestEpochTask()


@pytest.mark.parametrize(
    ("more", "adapts"),
    [
        ({"minutes": 1}, True),
        ({}, False),
        ({"minutes": 1, "best_epoch": {"seeds": 2}}, False),
        ({"minutes": 1, "best_epoch": {"folds": 3}}, False),
        ({"minutes": 1, "best_epoch": {"patience": 3}}, True),
        ({"minutes": 1, "retrain": {"enabled": False}}, False),
    ],
)
def test_a_time_and_no_number_of_trainings_allow_folds(more, adapts):
    settings = RunFile(**DATA | more)
    assert settings.best_epoch_task.adapts is adapts
    again = RunFile.model_validate_json(settings.model_dump_json(by_alias=True))
    assert again.best_epoch_task == settings.best_epoch_task
