"""Two runs side by side: which rows their difference is of, what is better, and what differs."""

import copy
import json

import numpy as np
import pytest

from kep.artifacts.report import Report
from kep.report.comparison import Side, compare, render
from tests.helpers.reports import whole
from tests.kep.report.test_report import Page

ROWS = 300


@pytest.fixture
def told(records):
    """A report.json of churn with labels of its own, which other tests may change."""
    from kep.data.schema import Manifest

    return whole(Manifest.load(records("churn")))


def side(name: str, told: dict, ids=range(ROWS), skill: float = 0.5, seed: int = 0) -> Side:
    """A run whose test rows have these ids; a row's label follows from its id."""
    ids = np.array(list(ids), np.uint64)
    labels = (ids % 3 == 0).astype(np.int64)
    noise = np.random.default_rng(seed).normal(0, 0.05, len(ids))
    right = np.clip(skill + noise, 0.01, 0.99)
    positive = np.where(labels == 1, right, 1 - right)
    stored = {"ids": ids, "labels": labels, "ensemble": np.stack([1 - positive, positive], axis=1)}
    return Side(name, Report.from_json(json.dumps(told)), stored)


def changed(told: dict, role: str = "test", **manifest) -> dict:
    other = copy.deepcopy(told)
    other["manifest"]["roles"][role]["fingerprint"] = "e" * 64
    other["manifest"].update(manifest)
    return other


@pytest.mark.parametrize(
    ("before", "now", "word"),
    [(0.6, 0.8, "better than"), (0.8, 0.6, "worse than"), (0.7, 0.7, "the same as")],
)
def test_the_sentence_says_better_the_same_or_worse_by_the_runs_metric(told, before, now, word):
    compared = compare(side("old", told, skill=before, seed=1), side("new", told, skill=now, seed=2))
    assert compared.sentence.startswith(f"new is {word} old")
    assert f"on {ROWS} test rows (the same rows)" in compared.sentence
    assert compared.rows == f"Both are scored on the same {ROWS} test rows."
    assert compared.paired
    assert compared.metrics[0].own
    assert {line.metric for line in compared.metrics} >= {"loss", "accuracy", "roc_auc", "f1"}


@pytest.mark.parametrize(
    ("ids", "paired", "words"),
    [
        (range(100, 400), True, "200 of 300 and 300 test rows are the same; differences are of these alone."),
        (range(290, 590), False, "Only 10 test rows are shared (300 and 300): differences are not paired"),
        (range(1000, 1300), False, "No test row is shared (300 and 300): differences are not paired"),
        (range(60), True, "60 of 300 and 60 test rows are the same"),
    ],
)
def test_only_rows_that_are_test_rows_in_both_are_paired(told, ids, paired, words):
    compared = compare(side("old", told, skill=0.6), side("new", changed(told), ids, skill=0.8))
    assert compared.rows.startswith(words)
    assert compared.paired == paired
    assert "better than" in compared.sentence
    assert ("not paired" in compared.sentence) != paired
    (loss,) = (line for line in compared.metrics if line.metric == "loss")
    if paired:
        assert loss.difference.rows == len(set(ids) & set(range(ROWS)))


def test_what_is_paired_does_not_depend_on_the_order_of_rows(told):
    one = compare(side("old", told, skill=0.6), side("new", told, skill=0.8))
    other = compare(side("old", told, reversed(range(ROWS)), skill=0.6), side("new", told, skill=0.8))
    values = [[line.difference.value for line in found.metrics] for found in (one, other)]
    assert np.allclose(*values, atol=0.02)


def test_rows_whose_identity_changed_are_not_paired(told):
    identity = {"by": "row", "columns": ["a", "b"]}
    compared = compare(side("old", told), side("new", changed(told, identity=identity)))
    assert not compared.paired
    assert "what makes a row's identity changed; name a key of the rows in data.id" in compared.rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, 'they predict different things: "churned" (binary, 2 classes) and "other" (binary'),
        ({"classes": ["never", "yes"]}, 'they predict different things: the classes of "churned" changed'),
    ],
)
def test_other_labels_can_not_be_compared(told, change, words):
    other = copy.deepcopy(told)
    other["manifest"]["label"].update(change)
    compared = compare(side("old", told), side("new", other))
    assert compared.sentence.startswith(f"It can't be said whether new is better than old: {words}")
    assert {line.word for line in compared.metrics} == {"not known"}


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (None, {"column": None, "by_class": [0.5, 2.0]}, "data.weight changed"),
        ({"column": "w", "mean": 1.0}, {"column": "w", "mean": 2.0}, "the weights of test rows are not stored"),
    ],
)
def test_rows_that_count_differently_are_not_compared(told, one, two, words):
    sides = []
    for name, weighting in (("old", one), ("new", two)):
        other = copy.deepcopy(told)
        other["manifest"] |= {"weighting": weighting} if weighting else {}
        sides.append(side(name, other))
    assert words in compare(*sides).sentence


def test_rows_that_count_by_a_column_are_compared_with_their_stored_weights(told):
    """A row of weight 0 is as if it were not there."""
    other = copy.deepcopy(told)
    other["manifest"]["weighting"] = {"column": "w", "mean": 1.0}
    sides = [side("old", other, skill=0.6, seed=1), side("new", other, skill=0.7, seed=2)]
    for one in sides:
        one.stored["weights"] = (one.stored["ids"] < 100).astype(np.float32)
    plain = compare(side("old", told, range(100), 0.6, 1), side("new", told, range(100), 0.7, 2))
    weighted = compare(*sides)
    assert weighted.paired
    assert "better than" in weighted.sentence
    assert {line.metric for line in weighted.metrics} == {line.metric for line in plain.metrics}


def test_a_positive_class_that_changed_places_is_no_difference(told):
    other = copy.deepcopy(told)
    other["manifest"]["label"]["classes"].reverse()
    new = side("new", other)
    flipped = {"labels": 1 - new.stored["labels"], "ensemble": new.stored["ensemble"][:, ::-1]}
    compared = compare(side("old", told), Side("new", new.report, {**new.stored, **flipped}))
    (loss,) = (line for line in compared.metrics if line.metric == "loss")
    assert loss.difference.value == 0


@pytest.mark.parametrize("reverse", [False, True])
def test_each_run_decides_at_its_own_operating_point(told, reverse):
    """An equal ensemble that decides late gets the positive rows wrong."""
    late, early = copy.deepcopy(told), copy.deepcopy(told)
    late["manifest"]["label"]["threshold"], early["manifest"]["label"]["threshold"] = 0.9, 0.4
    old, new = side("old", late, skill=0.7), side("new", early, skill=0.7)
    if reverse:  # the threshold is then of the other class: 0.9 of one is 0.1 of the other
        late["manifest"]["label"] |= {"classes": late["manifest"]["label"]["classes"][::-1], "threshold": 0.1}
        flipped = {"labels": 1 - old.stored["labels"], "ensemble": old.stored["ensemble"][:, ::-1]}
        old = Side("old", Report.from_json(json.dumps(late)), {**old.stored, **flipped})
    (line,) = (line for line in compare(old, new).metrics if line.metric == "accuracy")
    assert line.difference.value == pytest.approx(1 / 3, abs=0.03)
    assert line.name == "accuracy at each run's operating point"
    (same,) = (line for line in compare(new, new).metrics if line.metric == "accuracy")
    assert (same.name, same.difference.value) == ("accuracy at p ≥ 0.400", 0)


def test_settings_and_data_that_differ_are_listed(told):
    other = changed(told, "train")
    other["asked"]["search"]["max_trials"] = 7
    other["manifest"]["roles"]["train"]["rows"] += 5
    columns = {column["name"]: column for column in other["manifest"]["columns"]}
    numeric = next(column for column in columns.values() if isinstance(column["mean"], float) and column["std"])
    numeric["mean"] += numeric["std"]
    categorical = next(column for column in columns.values() if column["vocabulary"])
    categorical["vocabulary"] = [*categorical["vocabulary"][1:], "brand new"]
    gone = next(name for name in columns if name not in (numeric["name"], categorical["name"]))
    other["manifest"]["columns"] = [column for name, column in columns.items() if name != gone]
    compared = compare(side("old", told), side("new", other))
    assert [(one.name, one.old, one.new) for one in compared.settings] == [("search.max_trials", "30", "7")]
    found = {one.name: (one.old, one.new) for one in compared.data}
    assert found["train"][1].startswith(f"{other['manifest']['roles']['train']['rows']:,} rows, eeee")
    assert found[f'column "{gone}"'][1] == "not there"
    assert f'column "{numeric["name"]}", mean ± deviation' in found
    assert found[f'column "{categorical["name"]}", categories'][1] == "new: brand new"
    assert compare(side("old", told), side("new", told)).data == []


def test_the_page_is_whole_offline_and_escaped(told):
    other = copy.deepcopy(told)
    other["members"][0]["values"] = other["weights"]["members"][0]["values"] = {"a": "<b>"}
    page = render(compare(side("old", told, skill=0.6), side("<i>new</i>", other, skill=0.8)))
    read = Page(page)
    assert all(reference.startswith("#") for reference in read.references)
    assert {"i", "script"}.isdisjoint(read.tags)
    assert "<i>new</i> is better than old" in "".join(read.text)
