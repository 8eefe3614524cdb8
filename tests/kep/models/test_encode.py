"""What networks see: numbers on one scale that outliers do not move, and predictions near the train labels."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.data.histograms import binned, quantile_edges
from kep.data.records import Records
from kep.data.schema import Column
from kep.delivery.export.edge import whole
from kep.models.encode import BOUND, Encode, EncodeByName, encoding, inputs_of
from kep.models.family import Settings
from kep.models.outputs import REACH
from kep.models.registry import family
from kep.models.wrapped import network_of
from kep.training.monitor import Monitor
from tests.helpers.families import Alone, defaults


def test_encode_scales_by_the_train_rows_median_and_deciles(records):
    data = Records(records("churn"), "tune")
    train = data.load("train")
    encoded = np.asarray(Encode(**encoding(data.manifest))(inputs_of(train)))
    numeric = train.numeric
    low, median, high = np.nanquantile(numeric, [0.2, 0.5, 0.8], axis=0, method="inverted_cdf")
    width = numeric.shape[1]
    scaled = np.nan_to_num((numeric - median) / (high - low) * 1.6832)
    np.testing.assert_allclose(encoded[:, :width], scaled / np.sqrt(1 + (scaled / BOUND) ** 2), atol=1e-4)
    gaps = np.isnan(numeric).any(axis=0)
    assert gaps.any()
    np.testing.assert_array_equal(encoded[:, width : width + gaps.sum()], np.isnan(numeric)[:, gaps])
    sizes = [len(column.vocabulary) + 2 for column in data.manifest.categorical]
    one_hot = encoded[:, width + gaps.sum() :]
    assert one_hot.shape[1] == sum(sizes)
    np.testing.assert_array_equal(one_hot[:, : sizes[0]].argmax(axis=1), train.categorical[:, 0])
    np.testing.assert_array_equal(one_hot.sum(axis=1), len(sizes))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_raw_numbers_are_standardised_before_they_are_rounded(policy, records):
    data = Records(records("houses"), "tune")
    given, steps = inputs_of(data.load("train")), encoding(data.manifest)
    names = {column.name: ["numeric", place] for place, column in enumerate(data.manifest.numeric)}
    for plain, half in (
        (Encode(**steps), Encode(**steps, dtype=policy)),
        (EncodeByName(names, False, **steps), EncodeByName(names, False, **steps, dtype=policy)),
    ):
        for one, other in zip(keras.tree.flatten(plain(given)), keras.tree.flatten(half(given)), strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_a_hashed_text_keeps_its_length(tmp_path):
    rows = [f'"{"late rude broken" if i % 3 else "fine"} box",{i},{i % 2}' for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["note,a,y", *rows]) + "\n")
    settings = DataSettings(source=str(tmp_path / "rows.csv"), label="y", types={"note": "text"})
    manifest = ingest(settings, 0, tmp_path / "out")
    train = Records(tmp_path / "out", "tune").load("train")
    encoded = np.asarray(Encode(**encoding(manifest))(inputs_of(train)))
    np.testing.assert_allclose(np.linalg.norm(encoded[:, :256], axis=1), 1, atol=1e-2)
    assert 0.7 < encoded[:, 256].std() < 1.1


def column(values: list[float]) -> Column:
    rows = np.array(values, np.float32)
    edges = quantile_edges(rows)
    found = {"mean": float(np.nanmean(rows)), "std": float(np.nanstd(rows))}
    return Column(name="a", kind="numeric", edges=edges.tolist(), counts=binned(rows, edges).tolist(), **found)


SPREAD = {
    "normal": (np.random.default_rng(0).normal(5, 2, 4000).tolist(), 5, 2),
    "a few outliers": ([*np.random.default_rng(0).normal(5, 2, 4000), 1e9, -1e12, 3e38], 5, 2),
    "missing": ([*[np.nan] * 500, *np.random.default_rng(0).normal(5, 2, 4000)], 5, 2),
    "mostly one value": ([0.0] * 90 + [100.0] * 10, 10, 30),
    "flags, a quarter of them 0": ([0.0] * 25 + [1.0] * 75, 1, 1 / 1.6832),
    "close to each other": ([-3.0] * 15 + [0.99] * 15 + [1.0] * 70, 1, 0.01 / 1.6832),
    "two values": ([0.0, 1.0] * 50, 0, 1 / 1.6832),
    "constant": ([7.0] * 20, 7, 1),
    "one row": ([7.0], 7, 1),
}


@pytest.mark.parametrize("case", SPREAD)
def test_outliers_do_not_move_the_scale(case):
    values, centre, scale = SPREAD[case]
    steps = encoding(SimpleNamespace(image=None, numeric=[column(values)], categorical=[]))
    assert steps["mean"] == pytest.approx([centre], rel=0.03, abs=1e-3)
    assert steps["std"] == pytest.approx([scale], rel=0.03, abs=1e-3)


def test_columns_without_deciles_are_standardised():
    old = Column(name="a", kind="numeric", mean=3.0, std=2.0)
    steps = encoding(SimpleNamespace(image=None, numeric=[old], categorical=[]))
    assert (steps["mean"], steps["std"]) == ([3.0], [2.0])


@pytest.mark.parametrize("value", [1e3, 1e9, 3.4e38, np.inf])
def test_no_number_is_encoded_beyond_the_bound(value):
    layer = Encode([0.0], [0.5], [], [], BOUND)
    rows = np.array([[value], [-value], [0.5], [np.nan]], np.float32)
    found = np.asarray(layer({"numeric": rows}))[:, 0]
    assert BOUND * 0.99 < found[0] <= BOUND
    assert -BOUND <= found[1] < -BOUND * 0.99
    assert found[2] == pytest.approx(1, abs=0.01)
    assert found[3] == 0


def test_a_layer_of_an_earlier_version_gives_what_it_gave():
    kept = {"mean": [1.0], "std": [2.0], "indicators": [], "sizes": []}
    rows = np.array([[1001.0], [3.0]], np.float32)
    assert np.asarray(Encode.from_config(kept)({"numeric": rows}))[:, 0].tolist() == [500, 1]


def test_an_outlier_row_is_not_predicted_far_beyond_the_labels(records, tmp_path):
    data = Records(records("houses"), "tune")
    train, label = data.load("train"), data.manifest.label
    member = family({"name": "mlp"}, data.manifest)
    model = member.refit(defaults(member) | {"learning_rate": 0.01}, train, 3, Settings(3, 3, 32, 1), Monitor())
    # A network of large weights, such as a long training with a high rate leaves.
    network_of(model).set_weights([5 * weight for weight in network_of(model).get_weights()])
    far = train.take(slice(0, 20))
    far.numeric[:] *= np.float32(1e6)
    found = member.predict(model, far)
    beyond = REACH * (label.high - label.low) * 1.001
    assert (label.low, label.high) == (train.labels.min(), train.labels.max())
    assert label.low - beyond <= found.min() <= found.max() <= label.high + beyond
    assert found.max() > label.high or found.min() < label.low  # else the limits have not been tried
    member.save(model, tmp_path)
    np.testing.assert_array_equal(member.predict(member.load(tmp_path), far), found)
    given = np.asarray(whole(Alone(data.manifest, model))(inputs_of(far))["prediction"])[:, 0]
    np.testing.assert_allclose(given, found, rtol=1e-4)
