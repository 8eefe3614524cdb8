"""The final training: how long, on which rows, and what happens when it is off."""

import json
from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.member import TrainedMember
from kep.artifacts.weights import Member, Weights
from kep.components.retrain.retrain import length, run, schedule_share
from kep.core.files import tree_digest
from kep.core.seeds import derive
from kep.data.records import Records, Rows
from kep.models.boosted_trees import BoostedTrees
from kep.models.family import Settings
from kep.training.monitor import Monitor
from tests.helpers.files import flip
from tests.helpers.reports import whole

MEMBER = Member(
    id="boosted_trees-002",
    family="boosted_trees",
    values={"learning_rate": 0.1, "num_leaves": 8, "bagging_fraction": 0.7},
    loss=0.1,
    best=9,
    median_best=7,
    trained_rows=300,
    unit="round",
    weight=0.25,
)


@pytest.mark.parametrize(
    ("rule", "best", "share", "units"),
    [
        ("book", 1, 0.75, 1),
        ("book", 4, 0.75, 4),
        ("book", 5, 0.75, 6),
        ("book", 14, 0.75, 16),
        ("same", 14, 0.75, 14),
        ("steps", 14, 0.75, 10.5),
        ("steps", 1, 0.75, 0.75),
        ("steps", 14, 1.0, 14),
    ],
)
def test_the_length_follows_the_rule(rule, best, share, units):
    assert length(rule, best, share) == units


@pytest.mark.parametrize(
    ("horizon", "best", "share"), [(None, 7, 1.0), (7, 7, 1.0), (28, 7, 0.25), (16, 1, 1 / 16), (5, 7, 1.0)]
)
def test_a_schedule_ends_at_the_share_that_was_best(horizon, best, share):
    assert schedule_share(MEMBER.model_copy(update={"horizon": horizon, "median_best": best})) == share


def test_a_network_is_retrained_over_the_same_share_of_its_schedule(records, tmp_path, monkeypatch):
    asked = []

    class Scheduled(BoostedTrees):
        def refit(self, values, rows, best, settings, progress):
            asked.append(settings.share)
            return super().refit(values, rows, 1, settings, progress)

    monkeypatch.setattr("kep.models.boosted_trees.BoostedTrees", Scheduled)
    for place, horizon in enumerate([None, 28]):
        member = MEMBER.model_copy(update={"horizon": horizon})
        retrain(records("cancer"), tmp_path, tmp_path / f"out{place}", member=member)
    assert asked == [1.0, 0.25]


def test_a_fifth_more_is_rounded_down_exactly():
    assert all(length("book", best, 1.0) == max(1, best * 6 // 5) for best in range(1, 2000))


@pytest.fixture
def weights(records, tmp_path) -> Path:
    """What weigh hands on of a candidate's model, trained on train rows."""
    data = Records(records("cancer"), "best_epoch")
    member = BoostedTrees(data.manifest)
    fit = member.fit(MEMBER.values, data.load("train"), data.load("validation"), Settings(1, 1, 32, 5), Monitor())
    folder = tmp_path / "weights" / "models" / MEMBER.id
    folder.mkdir(parents=True)
    member.save(fit.model(), folder)
    told = Weights.from_json(json.dumps(whole(data.manifest)["weights"]))
    files = {f"models/{MEMBER.id}": tree_digest(folder)}
    told.model_copy(update={"files": files}).save(tmp_path / "weights")
    return tmp_path / "weights"


def retrain(records: Path, weights: Path, out: Path, seed: int = 0, member: Member = MEMBER, **config) -> TrainedMember:
    run(
        out=str(out),
        member=member.to_json(),
        records=str(records),
        weights=str(weights),
        families='[{"name": "boosted_trees"}]',
        config=json.dumps(config),
        batch_size=32,
        hardware="{}",
        seed=seed,
        code="c",
    )
    return TrainedMember.load(out)


@pytest.mark.parametrize(("rule", "rounds"), [("book", 8), ("same", 7), ("steps", 7)])
def test_a_member_is_trained_on_train_and_validation_rows_as_long_as_the_rule_says(
    records, weights, tmp_path, rule, rounds
):
    member = retrain(records("cancer"), weights, tmp_path / "out", epochs=rule)
    data = Records(records("cancer"), "retrain")
    rows = Rows.concat([data.load("train"), data.load("validation")])
    assert dict(MEMBER).items() <= dict(member).items()
    assert (member.rule, member.trained_units) == (rule, rounds)
    assert (member.roles, member.rows) == (["train", "validation"], len(rows))
    assert member.seed == derive(0, "retrain", MEMBER.id)
    assert member.spec == {"name": "boosted_trees"}
    ledger = json.loads((tmp_path / "out" / "step.json").read_text())["ledger"]
    assert [line["role"] for line in ledger] == ["train", "validation"]

    own = BoostedTrees(data.manifest)
    expected = own.refit(MEMBER.values, rows, rounds, Settings(0, 0, 32, member.seed), Monitor())
    model = own.load(tmp_path / "out")
    assert model.num_trees() == rounds
    np.testing.assert_array_equal(own.predict(model, rows), own.predict(expected, rows))


def test_a_retrained_model_is_the_same_twice_and_another_with_another_seed(records, weights, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        retrain(records("cancer"), weights, tmp_path / name, seed)
    models = {name: (tmp_path / name / "model.txt").read_bytes() for name in "abc"}
    assert models["a"] == models["b"]
    assert models["a"] != models["c"]


def test_steps_of_a_network_are_fewer_epochs_on_more_rows(records, tmp_path, monkeypatch):
    """A network sees each of the train and validation rows less often, for the same number of optimiser steps."""
    asked = []

    class Epochs(BoostedTrees):
        unit, looped = "epoch", True

        def refit(self, values, rows, best, settings, progress):
            asked.append((best, len(rows)))
            return super().refit(values, rows, 1, settings, progress)

    monkeypatch.setattr("kep.models.boosted_trees.BoostedTrees", Epochs)
    member = retrain(records("cancer"), tmp_path, tmp_path / "out", epochs="steps")
    assert asked == [(pytest.approx(7 * MEMBER.trained_rows / member.rows), member.rows)]


def test_without_retraining_the_train_only_model_is_used_as_it_is(records, weights, tmp_path):
    member = retrain(records("cancer"), weights, tmp_path / "out", enabled=False)
    copied = (tmp_path / "out" / "model.txt").read_bytes()
    assert copied == (weights / "models" / MEMBER.id / "model.txt").read_bytes()
    train = Records(records("cancer"), "retrain").manifest.roles["train"].rows
    assert (member.rule, member.roles, member.rows) == ("off", ["train"], train)
    assert member.trained_units == MEMBER.median_best
    assert json.loads((tmp_path / "out" / "step.json").read_text())["ledger"] == []
    TrainedMember.load(tmp_path / "out").check(tmp_path / "out", "model.txt")


def test_a_damaged_train_only_model_is_refused(records, weights, tmp_path, capsys):
    flip(weights / "models" / MEMBER.id / "model.txt")
    with pytest.raises(SystemExit):
        retrain(records("cancer"), weights, tmp_path / "out", enabled=False)
    assert f"models/{MEMBER.id} is damaged" in capsys.readouterr().out


CURVE = {"curve": {"max_epochs": 5, "patience": 2, "bootstrap": 50}}


@pytest.mark.parametrize("id", [MEMBER.id, "mlp-000"])
def test_the_heaviest_member_gets_a_learning_curve_and_the_same_model(id, records, tmp_path):
    """`mlp-000` is the heaviest; a member that is not gets no curve."""
    told = Weights.from_json(json.dumps(whole(Records(records("cancer"), "best_epoch").manifest)["weights"]))
    heaviest = told.members[0].model_copy(update={"id": id})
    told.model_copy(update={"members": [heaviest]}).save(tmp_path / "weights")
    for name, config in (("plain", {}), ("curve", CURVE)):
        retrain(records("cancer"), tmp_path / "weights", tmp_path / name, **config)
    plain, curved = (TrainedMember.load(tmp_path / name) for name in ("plain", "curve"))
    assert curved.files == plain.files
    assert plain.learning_curve == []
    train = Records(records("cancer"), "retrain").manifest.roles["train"].rows
    if id == MEMBER.id:
        rows = [point.rows for point in curved.learning_curve]
        assert rows == [round(train * share) for share in (0.125, 0.25, 0.5, 1)]
        # Eight times the rows are worth something on these data.
        assert curved.learning_curve[-1].loss.value < curved.learning_curve[0].loss.value
    else:
        assert curved.learning_curve == []
