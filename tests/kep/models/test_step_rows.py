"""The rows of an optimiser step follow the train rows, in every step that trains."""

from types import SimpleNamespace

import pytest

from kep.artifacts.trials import Order
from kep.components.tune.execute import Executor
from kep.config.run_file import validate
from kep.config.search import SearchTask
from kep.data.records import Records
from kep.models import family as families
from kep.models.boosted_trees import BoostedTrees
from kep.models.placed import placed
from kep.models.registry import family

TREES = {"name": "boosted_trees"}


@pytest.mark.parametrize(
    ("asked", "train_rows", "expected"),
    [(0, 1, 32), (0, 1_499, 32), (0, 1_500, 64), (0, 4_999, 64), (0, 5_000, 128), (0, 10**7, 128), (48, 10, 48)],
)
def test_rows_of_a_step_follow_the_train_rows(asked, train_rows, expected):
    assert families.step_rows(asked, train_rows) == expected


@pytest.mark.parametrize(("search", "expected"), [({}, 64), ({"batch_size": "auto"}, 64), ({"batch_size": 48}, 48)])
def test_trials_and_later_trainings_have_as_many(records, monkeypatch, search, expected):
    monkeypatch.setattr(families, "FEW_ROWS", 100)
    data, seen, fit = Records(records("cancer"), "tune"), [], BoostedTrees.fit

    def watched(self, values, train, validation, settings, monitor):
        seen.append(settings.batch_size)
        return fit(self, values, train, validation, settings, monitor)

    monkeypatch.setattr(BoostedTrees, "fit", watched)
    settings = validate({"name": "demo", "data": {"source": "sklearn:iris"}, "search": search}).search
    task = SearchTask(**settings.model_dump(by_alias=True) | {"max_epochs": 1})
    members, train, validation = (
        {"boosted_trees": family(TREES, data.manifest)},
        data.load("train"),
        data.load("validation"),
    )
    Executor(members, "binary", train, validation, task, 0)(Order(number=0, family="boosted_trees", values={}))
    with placed(SimpleNamespace(name="retrain"), TREES, data.manifest, "{}", settings.asked_batch) as place:
        assert seen == [place.batch_size] == [expected]
