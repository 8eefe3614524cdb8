"""Slices that hold every row once, and worse slices at the stated rate."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind

from kep.artifacts.evaluation import Slice
from kep.components.evaluate.importance import Drawing
from kep.components.evaluate.slices import slices, worse
from kep.data.records import Records
from kep.data.schema import Column
from kep.stats.means import Mean, above
from kep.stats.metrics import metrics

DRAWING = Drawing(100, 0)


@pytest.fixture
def churn(records):
    """Manifest, test rows and predictions of random confidence."""
    data = Records(records("churn"), "evaluate")
    rows = data.load("test")
    positive = np.random.default_rng(0).uniform(0.05, 0.95, len(rows))
    return data.manifest, rows, np.stack([1 - positive, positive], axis=1)


def by_value(parts: list[Slice]) -> dict[str, int]:
    return {part.value: part.rows for part in parts}


def test_slices_by_category_are_its_values(churn):
    manifest, rows, predictions = churn
    parts = slices(manifest, rows, predictions, ["region"], DRAWING)["region"]
    names = [column.name for column in manifest.categorical]
    codes = rows.categorical[:, names.index("region")]
    words = ["missing", "other", *manifest.categorical[names.index("region")].vocabulary]
    assert by_value(parts) == {words[code]: int((codes == code).sum()) for code in np.unique(codes)}
    assert "missing" in by_value(parts)
    south = codes == words.index("south")
    part = next(part for part in parts if part.value == "south")
    expected = metrics("binary", rows.labels[south], predictions[south])
    assert {name: part.figure(name) for name in part.metrics} == pytest.approx(expected, nan_ok=True)
    assert part.figure("unknown") is None
    assert all(one.low <= one.value <= one.high for one in part.metrics.values() if one.low is not None)


def column(manifest, name: str) -> int:
    return [column.name for column in manifest.numeric].index(name)


def test_slices_by_boolean_are_false_true_and_missing(churn):
    manifest, rows, predictions = churn
    values = rows.numeric[:, column(manifest, "paperless")]
    values[:5] = np.nan
    parts = slices(manifest, rows, predictions, ["paperless"], DRAWING)["paperless"]
    assert by_value(parts) == {"missing": 5, "false": int((values == 0).sum()), "true": int((values == 1).sum())}


def test_slices_by_number_are_quartiles_and_missing(churn):
    manifest, rows, predictions = churn
    values = rows.numeric[:, column(manifest, "monthly_charge")]
    gaps = int(np.isnan(values).sum())
    assert gaps
    parts = slices(manifest, rows, predictions, ["monthly_charge"], DRAWING)["monthly_charge"]
    assert parts[0].value == "missing"
    assert parts[0].rows == gaps
    assert len(parts) == 5
    assert sum(part.rows for part in parts) == len(rows)
    quarter = (len(rows) - gaps) / 4
    assert all(abs(part.rows - quarter) <= 2 for part in parts[1:])
    assert parts[1].value.startswith(f"{np.nanmin(values):g} to under ")
    assert parts[4].value.endswith(f" to {np.nanmax(values):g}")
    ends = [part.value.split(" to under ") for part in parts[1:4]]
    assert [high for _, high in ends] == [low for low, _ in ends[1:]] + [parts[4].value.split(" to ")[0]]


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0, 0.0, 0.0, 0.0, 7.0], [1.0, 2.0], [np.nan], [np.nan, 4.0]])
def test_slices_of_few_different_numbers_hold_every_row_once(churn, values):
    manifest, rows, predictions = churn
    rows.numeric[:, column(manifest, "months")] = np.resize(values, len(rows))
    parts = slices(manifest, rows, predictions, ["months"], DRAWING)["months"]
    assert sum(part.rows for part in parts) == len(rows)
    assert all(part.rows for part in parts)


def test_a_slice_of_before_there_were_intervals_is_read():
    old = Slice.from_json('{"value": "south", "rows": 3, "metrics": {"loss": 0.5, "roc_auc": null}}')
    assert (old.figure("loss"), old.figure("roc_auc")) == (0.5, None)
    assert old.metrics["loss"].low is None


def test_a_date_is_sliced_by_its_days_as_dates(churn):
    manifest, rows, _ = churn
    place = column(manifest, "months")
    days = Column(name="since (days)", kind="numeric", of="since", part="days", offset=19000.0)
    columns = [days if one.name == "months" else one for one in manifest.columns]
    rows.numeric[:, place] = np.resize([0.0, 1.0, 2.0, 3.0], len(rows))
    found = worse(manifest.model_copy(update={"columns": columns}), rows, rows.numeric[:, place])
    assert (found.slices[0].column, found.slices[0].value) == ("since", "2022-01-10 to 2022-01-11")


def test_the_test_of_two_means_is_welchs():
    rng = np.random.default_rng(0)
    one, other = rng.exponential(1.5, 40), rng.exponential(1, 200)
    found, theirs = above(Mean.of(one), Mean.of(other)), ttest_ind(one, other, equal_var=False, alternative="greater")
    assert found.p == pytest.approx(theirs.pvalue)
    low, high = ttest_ind(one, other, equal_var=False).confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))


@pytest.mark.parametrize(("one", "other"), [([1.0] * 5, [0.0] * 5), ([], [1.0, 2.0]), ([3.0], [1.0, 2.0])])
def test_means_without_a_spread_prove_nothing(one, other):
    assert above(Mean.of(np.array(one)), Mean.of(np.array(other))).p == 1.0


def test_weights_of_a_mean_count_as_rows_do_and_zeros_do_not():
    values = np.random.default_rng(0).normal(size=50)
    half = (np.arange(50) < 25).astype(np.float32)
    assert Mean.of(values, half) == Mean.of(values[:25])
    assert Mean.of(values, np.full(50, 3.0)).variance == pytest.approx(values.var(ddof=1) / 50)


@pytest.fixture
def many(churn):
    """Manifest and 2,000 rows drawn from the test rows."""
    manifest, rows, _ = churn
    return manifest, rows.take(np.random.default_rng(0).integers(0, len(rows), 2000))


def test_a_planted_slice_is_found_and_no_other(many):
    manifest, rows = many
    places = [column.name for column in manifest.categorical]
    south = rows.categorical[:, places.index("region")] == 2 + manifest.categorical[
        places.index("region")
    ].vocabulary.index("south")
    losses = np.random.default_rng(1).exponential(0.3, len(rows)) * np.where(south, 2, 1)
    found = worse(manifest, rows, losses)
    first = found.slices[0]
    assert (first.column, first.value, first.rows) == ("region", "south", south.sum())
    assert first.loss.low < 0.6 < first.loss.high
    assert first.rest == pytest.approx(losses[~south].mean())
    assert first.difference.low > 0
    assert first.p <= 0.05 < found.looked
    weighted = replace(rows, weights=np.where(south, 0, 1).astype(np.float32))
    assert "south" not in [one.value for one in worse(manifest, weighted, losses).slices]


def test_missing_values_are_a_slice(many):
    manifest, rows = many
    missing = np.isnan(rows.numeric[:, column(manifest, "monthly_charge")])
    losses = np.random.default_rng(1).exponential(0.3, len(rows)) * np.where(missing, 3, 1)
    assert ("monthly_charge", "missing") in [(one.column, one.value) for one in worse(manifest, rows, losses).slices]


@pytest.mark.parametrize("rare", [False, True])
def test_where_no_slice_is_worse_at_most_one_run_in_twenty_shows_one(many, rare):
    manifest, rows = many
    shown = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        # A log-loss of a rare class: mostly small, sometimes very large.
        losses = -np.log(np.where(rng.uniform(size=400) < 0.05, 0.05, 0.95)) if rare else rng.exponential(1, 400)
        shown += bool(worse(manifest, rows.take(rng.integers(0, len(rows), 400)), losses).slices)
    assert shown / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_few_rows_are_not_tested(churn):
    manifest, rows, _ = churn
    found = worse(manifest, rows.take(np.arange(30)), np.ones(30))
    assert (found.looked, found.slices) == (0, [])
