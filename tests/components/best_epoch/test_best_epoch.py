"""The best epoch is a median over fresh seeds, and a killed step goes on after the seeds that were finished."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.best_epoch import BestEpoch
from kep.components.best_epoch.best_epoch import median
from kep.components.weigh.weigh import load_predictions
from kep.core.environment import WORK
from kep.core.errors import UserError
from kep.core.files import read_json, write_json
from kep.core.seeds import derive
from kep.data.records import Records, Rows
from kep.models.boosted_trees import ROUNDS_PER_EPOCH, BoostedTrees
from kep.stats.metrics import loss, metrics
from tests.helpers.artifacts import training, vouch
from tests.helpers.best_epochs import CANDIDATE, best_epoch
from tests.helpers.files import flip, truncate


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv(WORK, str(tmp_path / "work"))


@pytest.fixture
def seen(monkeypatch) -> list[int]:
    """Seeds of the trainings so far; a test may replace what happens in one."""
    seeds, fit = [], BoostedTrees.fit

    def counted(self, values, train, validation, settings, progress):
        seeds.append(settings.seed)
        return fit(self, values, train, validation, settings, progress)

    monkeypatch.setattr(BoostedTrees, "fit", counted)
    return seeds


@pytest.mark.parametrize(
    ("bests", "expected"), [([9], 9), ([9, 1, 4], 4), ([7, 3], 5), ([8, 3, 6, 4], 5), ([8, 2, 7, 4], 6), ([5, 5, 1], 5)]
)
def test_the_median_of_an_even_number_is_rounded_up(bests, expected):
    assert median([training(best=best) for best in bests]) == expected


@pytest.mark.parametrize(("bests", "expected"), [([13, 30, 13], 13), ([30, 13], 13), ([4, 13, 30, 64], 13)])
def test_the_median_of_a_schedule_is_one_of_its_ends(bests, expected):
    assert median([training(best=best, horizon=64) for best in bests]) == expected


def test_the_best_unit_is_the_median_of_the_seeds_lowest_losses(records, tmp_path, seen):
    result = best_epoch(records("cancer"), tmp_path / "out")
    lowest = [int(np.argmin(fit.validation_curve)) + 1 for fit in result.seeds]
    assert [fit.best for fit in result.seeds] == lowest
    assert len(set(lowest)) > 1
    assert result.median_best == sorted(lowest)[1]
    assert (result.unit, result.candidate) == ("round", CANDIDATE)
    assert [fit.seed for fit in result.seeds] == seen
    assert seen == [derive(0, "best_epoch", CANDIDATE.id, number) for number in range(3)]


def test_predictions_and_provenance_are_of_the_validation_rows_in_order(records, tmp_path):
    result = best_epoch(records("cancer"), tmp_path / "out")
    data = Records(records("cancer"), "best_epoch")
    train, validation = data.load("train"), data.load("validation")
    stored = np.load(tmp_path / "out" / "predictions.npz")
    assert stored["predictions"].shape == (3, len(validation), 2)
    np.testing.assert_array_equal(stored["ids"], validation.ids)
    np.testing.assert_array_equal(stored["labels"], validation.labels)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "trained_on.npz")["0"], train.ids)
    roles = data.manifest.roles
    assert result.fingerprints == {role: roles[role].fingerprint for role in ("train", "validation")}
    assert (result.folds, result.trained_rows) == (None, len(train))
    for fit, predictions in zip(result.seeds, stored["predictions"], strict=True):
        assert fit.metrics == pytest.approx(metrics("binary", validation.labels, predictions))
        assert fit.metrics["loss"] == pytest.approx(min(fit.validation_curve), rel=1e-5)


def test_the_model_is_the_first_seeds_at_its_best_round(records, tmp_path):
    result = best_epoch(records("cancer"), tmp_path / "out")
    data = Records(records("cancer"), "best_epoch")
    member = BoostedTrees(data.manifest)
    model = member.load(tmp_path / "out" / "models" / "0")
    assert model.num_trees() == result.seeds[0].best
    stored = np.load(tmp_path / "out" / "predictions.npz")["predictions"]
    np.testing.assert_array_equal(member.predict(model, data.load("validation")), stored[0])


def test_it_reads_train_and_validation_rows_once(records, tmp_path):
    best_epoch(records("cancer"), tmp_path / "out")
    step = json.loads((tmp_path / "out" / "step.json").read_text())
    assert [line["role"] for line in step["ledger"]] == ["train", "validation"]
    assert step["label"] == CANDIDATE.id


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _edit(path: Path) -> None:
    write_json(path, read_json(path) | {"best": 1})


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("fit.json", _edit, "fit.json was changed after kep wrote it"),
        ("fit.json", truncate, "fit.json does not hold a training"),
        ("fit.json", Path.unlink, "fit.json can't be read"),
        ("predictions.npy", flip, "predictions.npy is damaged"),
        ("predictions.npy", truncate, "predictions.npy is damaged"),
        ("predictions.npy", Path.unlink, "predictions.npy is missing"),
        ("model/model.txt", flip, "model is damaged"),
        ("model/model.txt", truncate, "model is damaged"),
    ],
)
def test_a_damaged_training_of_an_earlier_attempt_runs_again(
    records, tmp_path, capsys, monkeypatch, name, damage, words
):
    whole = best_epoch(records("cancer"), tmp_path / "whole")
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    trained, fit = [], BoostedTrees.fit

    def counted(self, *arguments):
        trained.append(arguments)
        return fit(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(BestEpoch, "save", _killed)
        with pytest.raises(KeyboardInterrupt):
            best_epoch(records("cancer"), tmp_path / "out")
    (work,) = (tmp_path / "work" / "best_epoch").iterdir()
    damage(work / "1-0" / name)
    monkeypatch.setattr(BoostedTrees, "fit", counted)
    assert best_epoch(records("cancer"), tmp_path / "out") == whole
    assert len(trained) == 1
    assert words in capsys.readouterr().out


def test_latency_is_measured_only_where_a_budget_asks_for_it(records, tmp_path, monkeypatch):
    assert best_epoch(records("cancer"), tmp_path / "none").latency_ms is None
    predict, sizes = BoostedTrees.predict, []

    def counted(self, model, rows):
        sizes.append(len(rows))
        return predict(self, model, rows)

    monkeypatch.setattr(BoostedTrees, "predict", counted)
    result = best_epoch(records("cancer"), tmp_path / "timed", latency_rows=500)
    assert 0 < result.latency_ms < 1000
    # One call before the timed ones; more rows than the validation set has are its rows again.
    assert sizes == [500] * 101


@pytest.mark.parametrize(("max_epochs", "at_cap"), [(1, True), (20, False)])
def test_a_best_round_at_the_cap_is_flagged(records, tmp_path, max_epochs, at_cap, capsys):
    result = best_epoch(records("cancer"), tmp_path / "out", max_epochs=max_epochs)
    assert result.at_cap is at_cap
    assert any(fit.best == max_epochs * ROUNDS_PER_EPOCH for fit in result.seeds) is at_cap
    assert ("raise best_epoch.max_epochs" in capsys.readouterr().out) is at_cap


@pytest.fixture
def killed(records, tmp_path, seen, monkeypatch) -> None:
    """A step that was killed in its second seed."""
    fit = BoostedTrees.fit

    def dies(self, *arguments):
        if len(seen) == 1:
            raise RuntimeError("killed")
        return fit(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(BoostedTrees, "fit", dies)
        with pytest.raises(RuntimeError, match="killed"):
            best_epoch(records("cancer"), tmp_path / "out")
    assert len(seen) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("killed")
def test_a_killed_step_goes_on_after_the_finished_seeds_with_the_same_result(records, tmp_path, seen, monkeypatch):
    resumed = best_epoch(records("cancer"), tmp_path / "out")
    assert len(seen) == len(set(seen)) == 3
    monkeypatch.setenv(WORK, str(tmp_path / "other work"))
    assert best_epoch(records("cancer"), tmp_path / "whole") == resumed
    assert len(seen) == 6
    for file in ("predictions.npz", "trained_on.npz", "models/0/model.txt"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize("change", [{"seed": 1}, {"code": "d"}, {"patience": 2}])
def test_partial_work_of_something_else_is_not_used(records, tmp_path, seen, change):
    best_epoch(records("cancer"), tmp_path / "b", **change)
    assert len(seen) == 4


@pytest.mark.usefixtures("killed")
def test_partial_work_on_other_records_is_not_used(records, tmp_path, seen):
    best_epoch(records("churn"), tmp_path / "b")
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": float("nan")}, "the validation loss is not a finite number"),
        ({"predictions": np.full((113, 2), 0.6, np.float32)}, "the probabilities of some rows don't sum to 1"),
    ],
)
def test_a_training_of_no_use_ends_the_step_with_a_sentence(records, tmp_path, monkeypatch, capsys, change, words):
    fit = BoostedTrees.fit

    def diverges(self, *arguments):
        return replace(fit(self, *arguments), **change)

    monkeypatch.setattr(BoostedTrees, "fit", diverges)
    with pytest.raises(SystemExit) as error:
        best_epoch(records("cancer"), tmp_path / "out")
    assert error.value.code == 1
    said = capsys.readouterr().out
    assert "boosted_trees-004 can't be used: with seed" in said
    assert words in said
    assert not (tmp_path / "out").exists()


def test_folds_predict_every_train_and_validation_row_by_models_that_did_not_see_it(records, tmp_path):
    result = best_epoch(records("cancer"), tmp_path / "out", folds=3, seeds=2)
    data = Records(records("cancer"), "best_epoch")
    rows = Rows.concat([data.load("train"), data.load("validation")])
    stored, seen = np.load(tmp_path / "out" / "predictions.npz"), np.load(tmp_path / "out" / "trained_on.npz")
    assert sorted(stored["ids"]) == sorted(rows.ids)
    assert stored["predictions"].shape == (2, len(rows), 2)
    labels = dict(zip(rows.ids, rows.labels, strict=True))
    np.testing.assert_array_equal(stored["labels"], [labels[id] for id in stored["ids"]])
    for fold in range(3):
        held = stored["ids"][stored["folds"] == fold]
        assert not np.isin(held, seen[str(fold)]).any()
        assert len(held) + len(seen[str(fold)]) == len(rows)
    assert [fit.fold for fit in result.seeds] == [0, 1, 2] * 2
    assert len({fit.seed for fit in result.seeds}) == 6
    # Each stored prediction is as good as its training said.
    for place, fit in enumerate(result.seeds):
        own = stored["folds"] == fit.fold
        assert loss("binary", stored["labels"][own], stored["predictions"][place // 3][own]) == pytest.approx(fit.loss)
    # weigh takes them, and would notice a row that its fold had seen.
    manifest = data.manifest
    assert len(load_predictions(tmp_path / "out", "x", manifest)["ids"]) == len(rows)
    leaked = {name: seen[name].copy() for name in seen.files}
    leaked["1"][0] = stored["ids"][stored["folds"] == 1][0]
    np.savez(tmp_path / "out" / "trained_on.npz", **leaked)
    vouch(tmp_path / "out")
    with pytest.raises(UserError, match="x was trained on 1 of the"):
        load_predictions(tmp_path / "out", "x", manifest)
