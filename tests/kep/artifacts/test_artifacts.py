"""Artifacts: what is written is read back equal, and what does not fit is one sentence."""

import json

import pytest

from kep.artifacts.member import EnsembleFile, TrainedMember
from kep.artifacts.report import Report
from kep.artifacts.run import RunRecord
from kep.artifacts.trials import TrialStore, merge
from kep.artifacts.weights import Member
from kep.core.errors import UserError
from kep.data.schema import Manifest
from tests.helpers.artifacts import best_epoch, candidate, evaluation, member, run_record
from tests.helpers.reports import whole
from tests.helpers.trials import recorded


@pytest.mark.parametrize("source", ["cancer", "digits", "houses"])
def test_a_whole_report_is_read_back_equal(records, tmp_path, source):
    report = Report.from_json(json.dumps(whole(Manifest.load(records(source)))))
    report.save(tmp_path)
    assert Report.load(tmp_path) == report


def test_what_steps_hand_on_is_read_back_equal(tmp_path):
    ensemble = EnsembleFile(members=[member("mlp-000", 0.5), member("mlp-001", 0.5)], pooling="geometric")
    for artifact in (best_epoch(candidate("mlp-000")), ensemble, evaluation(), run_record(), *ensemble.members):
        artifact.save(tmp_path)
        assert type(artifact).load(tmp_path) == artifact


def test_items_of_a_fan_out_are_read_back_equal_with_equal_bytes():
    one = candidate("mlp-004", values={"units": 16, "rate": 0.1, "norm": True, "kind": "a"})
    assert type(one).from_json(one.to_json()) == one
    assert one.to_json() == candidate("mlp-004", values=dict(reversed(one.values.items()))).to_json()
    assert one.number == 4


def test_an_unfit_artifact_is_one_sentence_with_its_path(tmp_path):
    member("mlp-000", 0.5).save(tmp_path)
    file = tmp_path / "member.json"
    file.write_text(file.read_text().replace("0.5", '"half"'))
    with pytest.raises(UserError) as error:
        TrainedMember.load(tmp_path)
    assert str(error.value) == f"{file} does not hold a member (weight: expected a number); run retrain again"
    with pytest.raises(
        UserError, match=r"run.json can't be read \(No such file or directory\); give the folder of a run"
    ):
        RunRecord.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unit": "step"}, "unit: expected 'epoch' or 'round'"),
        ({"colour": "red"}, "colour: is unknown"),
        ({"median_best": 2.5}, "median_best: expected a whole number"),
    ],
)
def test_an_item_that_does_not_fit_says_what_is_wrong(change, words):
    item = json.loads(Member(**dict(candidate("mlp-000")), weight=1, median_best=3, trained_rows=9).to_json())
    with pytest.raises(UserError, match=f"does not hold a member .{words}.; run weigh again"):
        Member.from_json(json.dumps(item | change))


def test_a_member_from_before_the_names_were_split_has_the_median_as_its_best(tmp_path):
    old = member("mlp-000", 1.0, best=7).model_dump(mode="json", exclude={"median_best"})
    (tmp_path / "ensemble.json").write_text(json.dumps({"members": [old]}))
    (read,) = EnsembleFile.load(tmp_path).members
    assert (read.best, read.median_best) == (7, 7)


def test_a_record_of_another_version_is_none_and_runs_again(tmp_path):
    store = TrialStore(tmp_path)
    store.save(recorded(0, "f", {"x": 1}, 0, "complete", score=0.5), None)
    assert set(store.load()) == {(0, 0)}
    file = tmp_path / "trials" / "0000-0.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schedule": {}}))
    assert store.load() == {}


def test_a_metric_that_one_execution_does_not_define_has_no_mean(tmp_path):
    one, other = (
        recorded(0, "f", {}, 0, "complete", score=0.5, execution=n, metrics={"auc": auc, "loss": 0.5})
        for n, auc in enumerate((float("nan"), 0.9))
    )
    assert merge([one, other]).metrics == {"auc": None, "loss": 0.5}
