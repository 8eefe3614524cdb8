"""Folds follow the rule of the split, and no fold predicts what it has seen."""

from itertools import pairwise

import numpy as np
import pytest

from kep.components.best_epoch.folds import folds
from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings, Split
from kep.core.errors import UserError
from kep.data.records import Records, Rows


def pooled(folder) -> tuple[Rows, Rows, Records]:
    data = Records(folder, "best_epoch")
    return data.load("train"), data.load("validation"), data


def table(tmp_path, by: str, rows: int = 300, label=None, **columns) -> tuple[Rows, Rows, Records]:
    """Records of a table with a column `when` to split by."""
    rng = np.random.default_rng(0)
    lines = ["x,y,when"]
    when = columns.get("when", rng.integers(0, 40, rows))
    x = columns.get("x", rng.normal(size=rows))
    labels = rng.integers(0, 2, rows) if label is None else label
    lines += [f"{a},{b},{c}" for a, b, c in zip(x, labels, when, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    split = Split(by=by, column="when")
    ingest(DataSettings(source=str(tmp_path / "t.csv"), label="y", split=split), 0, tmp_path / "records")
    return pooled(tmp_path / "records")


def test_without_a_count_the_roles_are_the_one_fold(records):
    train, validation, data = pooled(records("cancer"))
    (one,) = folds(train, validation, data.manifest, None, 0)
    assert one.train is train
    assert one.held is validation


@pytest.mark.parametrize("source", ["cancer", "digits", "houses"])
def test_every_row_is_held_out_once_and_classes_are_spread(records, source):
    train, validation, data = pooled(records(source))
    parts = folds(train, validation, data.manifest, 4, 0)
    rows = Rows.concat([train, validation])
    assert sorted(np.concatenate([part.held.ids for part in parts])) == sorted(rows.ids)
    for part in parts:
        assert not np.isin(part.held.ids, part.train.ids).any()
        assert len(part.held) + len(part.train) == len(rows)
        if data.manifest.label.classes:
            shares = [np.bincount(some.labels, minlength=2)[1] / len(some) for some in (part.held, rows)]
            assert abs(shares[0] - shares[1]) < 0.02
    again, other = (folds(train, validation, data.manifest, 4, seed) for seed in (0, 1))
    np.testing.assert_array_equal(again[0].held.ids, parts[0].held.ids)
    assert set(other[0].held.ids) != set(parts[0].held.ids)


def test_groups_stay_whole(tmp_path):
    train, validation, data = table(tmp_path, "group")
    parts = folds(train, validation, data.manifest, 3, 0)
    assert sum(len(part.held) for part in parts) == len(train) + len(validation)
    for part in parts:
        assert not np.isin(part.held.groups, part.train.groups).any()


@pytest.mark.parametrize("scale", [1, -0.5, 1e9])
def test_folds_go_forward_in_time(tmp_path, scale):
    when = np.random.default_rng(1).integers(-30, 30, 400) * scale
    train, validation, data = table(tmp_path, "time", rows=400, when=when, x=np.arange(400.0))
    parts = folds(train, validation, data.manifest, 3, 0)
    assert len(parts) == 3
    for earlier, later in pairwise(parts):
        assert len(earlier.train) < len(later.train)
    times = dict(zip(range(400), when, strict=True))
    for part in parts:
        known = [times[int(x)] for x in part.train.numeric[:, 0]]
        asked = [times[int(x)] for x in part.held.numeric[:, 0]]
        assert max(known) < min(asked)
    sizes = [len(part.held) for part in parts]
    assert min(sizes) > 0.5 * max(sizes)


def test_dates_keep_their_order(tmp_path):
    days = [f"19{60 + n % 40}-03-{1 + n % 28:02d}" for n in range(300)]
    train, validation, data = table(tmp_path, "time", when=days, x=np.arange(300.0))
    for part in folds(train, validation, data.manifest, 2, 0):
        assert max(days[int(x)] for x in part.train.numeric[:, 0]) < min(days[int(x)] for x in part.held.numeric[:, 0])


def test_equal_features_in_two_groups_are_not_learnt_from(tmp_path):
    x = np.repeat(np.arange(100.0), 3)
    train, validation, data = table(tmp_path, "group", x=x, when=np.arange(300) % 40)
    for part in folds(train, validation, data.manifest, 3, 0):
        assert not np.isin(part.held.ids, part.train.ids).any()


def test_too_many_folds_are_refused(tmp_path, records):
    train, validation, data = pooled(records("cancer"))
    few = np.flatnonzero(train.labels == 0)[:3]
    small = Rows.concat([train.take(few), train.take(train.labels == 1)])
    with pytest.raises(UserError, match="has 3 train and validation rows, fewer than 5 folds"):
        folds(small, small.take(np.arange(0)), data.manifest, 5, 0)
    train, validation, data = table(tmp_path, "time", when=np.arange(300) // 60)
    with pytest.raises(UserError, match="4 folds forward in time need more than"):
        folds(train, validation, data.manifest, 4, 0)
