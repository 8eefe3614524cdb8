"""Numbers that 32-bit floats can't tell apart are counted from an offset, and come back as the source has them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kep.components.evaluate.scores import pictures
from kep.components.evaluate.slices import Drawing, slices
from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.records import Records, encode_table
from kep.delivery.remote import as_json
from kep.delivery.serving.describe import example, tensor
from kep.delivery.serving.instances import encode
from kep.models import ensemble
from kep.models.ensemble import Ensemble, raw_features
from kep.models.family import Settings
from kep.models.registry import family
from kep.report.sections.data import _column
from kep.stats.metrics import Truth
from kep.stats.observed import Observed, predicted_bins
from kep.training.monitor import Monitor
from tests.helpers.artifacts import member

START = 1_700_000_000_000
ROWS = 300


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    ms = START + rng.integers(0, 86_400_000, ROWS)
    return pa.table({"x": x, "ms": ms, "label": 1_700_000_000 + 20 * x + (ms - START) / 8_640_000})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An ensemble of trees and a network on these rows."""
    place = tmp_path_factory.mktemp("offset")
    pq.write_table(table(), place / "rows.parquet")
    manifest = ingest(DataSettings(source=str(place / "rows.parquet"), label="label"), 0, place / "records")
    data = Records(place / "records", "tune")
    train, validation, members = data.load("train"), data.load("validation"), {}
    for name, weight in (("mlp", 0.5), ("boosted_trees", 0.5)):
        own = family({"name": name}, manifest)
        fit = own.fit(own.space().values, train, validation, Settings(40, 40, 32, 0), Monitor())
        members[name] = place / name
        members[name].mkdir()
        own.save(fit.model(), members[name])
        unit = "round" if name == "boosted_trees" else "epoch"
        member(name, weight, family=name, unit=unit, spec={"name": name}).save(members[name])
    (place / "ensemble").mkdir()
    ensemble.write(place / "ensemble", members, place / "records", train.ids, "arithmetic")
    return place


def test_a_label_far_from_zero_is_learnt_and_predicted(folder):
    own, given = Ensemble(folder / "ensemble"), table()
    assert own.manifest.label.offset == pytest.approx(min(given["label"].to_pylist()))
    predicted, exact = own.predict(given.drop(["label"])), given["label"].to_numpy()
    assert predicted.dtype == np.float64
    share = np.square(predicted - exact).mean() / np.var(exact)
    assert share < 0.2
    # The feature in milliseconds is worth something: a day of it moves the label by 10.
    late = given.set_column(1, "ms", pa.array(np.full(ROWS, START + 80_000_000)))
    early = given.set_column(1, "ms", pa.array(np.full(ROWS, START + 4_000_000)))
    assert (own.predict(late) - own.predict(early)).mean() > 4


def test_raw_features_come_back(folder):
    own, test = Ensemble(folder / "ensemble"), Records(folder / "records", "evaluate").load("test")
    again = encode_table(own.manifest, raw_features(own.manifest, test))
    np.testing.assert_array_equal(again.numeric, test.numeric)


def test_requests_are_read_alike(folder):
    manifest, given = Ensemble(folder / "ensemble").manifest, table()
    asked = {name: given[name].to_pylist() for name in ("x", "ms")}
    found = encode(asked, manifest, lambda index, name: name)
    np.testing.assert_array_equal(found.numeric, encode_table(manifest, given).numeric)
    sent = {column.name: as_json(given[column.name], column) for column in manifest.inputs}
    assert sent["ms"] == asked["ms"]
    kinds = {column.name: tensor(column)[0] for column in manifest.columns}
    assert kinds == {"x": "DT_FLOAT", "ms": "DT_DOUBLE"}
    assert START <= example(manifest)["ms"] <= START + 86_400_000


def test_people_see_the_source_s_numbers(folder):
    own, test = Ensemble(folder / "ensemble"), Records(folder / "records", "evaluate").load("test")
    predicted = own.combine(own.predict_members(test))
    drawn = pictures(own.manifest, Truth("regression", test.labels), predicted, 0)
    assert all(abs(number - 1_700_000_000) < 200 for pair in drawn.residuals for number in pair)
    for part in slices(own.manifest, test, predicted, ["ms"], Drawing(100, 0))["ms"]:
        assert part.value.startswith("17000")
    (bins,) = predicted_bins(own.manifest, predicted)
    assert bins.bins[0].startswith("up to 16999999")
    observed = Observed()
    observed.add(own.manifest, [bins], {}, test, predicted)
    assert observed.predicted[bins.name].sum() == len(test)
    columns = {column.name: _column(column) for column in own.manifest.columns}
    assert columns["ms"]["mean"].startswith("17000")


def test_an_export_that_would_blur_them_is_refused(folder, tmp_path):
    from rich.console import Console

    from kep.delivery.export.export import export

    with pytest.raises(UserError, match='"label" holds numbers that 32-bit floats can\'t tell apart'):
        export(str(folder / "ensemble"), "savedmodel", None, tmp_path / "out", tmp_path, None, False, Console())


@pytest.mark.parametrize(
    ("values", "offset"),
    [
        (START + 40 * np.arange(ROWS), START),
        (np.arange(ROWS) * 0.1, 0),
        (1e6 + np.arange(ROWS) * 1.0, 0),
        (np.arange(ROWS) % 2 * 1e12, 0),
    ],
)
def test_only_what_floats_would_merge_gets_an_offset(tmp_path, values, offset):
    given = pa.table({"a": values, "b": np.arange(ROWS) % 7, "label": np.arange(ROWS) % 2 == 0})
    pq.write_table(given, tmp_path / "rows.parquet")
    manifest = ingest(DataSettings(source=str(tmp_path / "rows.parquet"), label="label"), 0, tmp_path / "out")
    assert manifest.columns[0].offset == offset
    # Manifests of before stay what they were.
    stored = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert ("offset" in stored["columns"][0]) == bool(offset)
