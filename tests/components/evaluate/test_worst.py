"""The rows that the ensemble gets most wrong."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kep.components.evaluate.worst import MOST_COLUMNS, SIDE, small_picture, worst
from kep.data.records import Records
from kep.models.ensemble import raw_features
from kep.stats.metrics import row_losses


def opened(records, source: str):
    data = Records(records(source), "evaluate")
    rows, manifest = data.load("test"), data.manifest
    rng, classes = np.random.default_rng(0), manifest.label.class_count
    predictions = rng.dirichlet(np.ones(classes), len(rows)) if classes else rows.labels + rng.normal(0, 5, len(rows))
    return manifest, rows, predictions


@pytest.mark.parametrize("source", ["churn", "digits", "houses"])
def test_they_are_those_of_the_greatest_loss(records, source):
    manifest, rows, predictions = opened(records, source)
    losses = row_losses(manifest.label.task, rows.labels, predictions)
    found = worst(manifest, rows, predictions, [], 5)
    order = np.argsort(-losses, kind="stable")[:5]
    assert [one.id for one in found.loss] == [str(id) for id in rows.ids[order]]
    assert [one.loss for one in found.loss] == pytest.approx(losses[order])
    if manifest.label.classes is not None:
        names = [str(name) for name in manifest.label.classes]
        assert [one.label for one in found.loss] == [names[rows.labels[row]] for row in order]
        for one, row in zip(found.loss, order, strict=True):
            assert one.prediction == names[predictions[row].argmax()]
            assert dict(one.probabilities)[one.label] == pytest.approx(predictions[row, rows.labels[row]])
    assert (found.loss[0].image is not None) == (source == "digits")


def test_the_most_confidently_wrong_of_several_classes_are_wrong(records):
    manifest, rows, predictions = opened(records, "digits")
    found = worst(manifest, rows, predictions, [], 5).confident
    wrong = predictions.argmax(axis=1) != rows.labels
    assert dict(found[0].probabilities)[found[0].prediction] == pytest.approx(predictions[wrong].max())
    assert all(one.label != one.prediction for one in found)
    assert worst(*opened(records, "churn"), [], 5).confident == []


def test_values_are_those_of_the_source_the_important_columns_first(records):
    manifest, rows, predictions = opened(records, "churn")
    names = [column.name for column in manifest.inputs]
    one = worst(manifest, rows, predictions, [names[-1]], 1).loss[0]
    assert one.values[0][0] == names[-1]
    assert len(one.values) == min(len(names), MOST_COLUMNS)
    raw, row = raw_features(manifest, rows), int(np.flatnonzero(rows.ids == np.uint64(one.id))[0])
    for name, value in one.values:
        expected = raw[name][row]
        if isinstance(expected, float):
            assert float(value) == pytest.approx(expected, rel=1e-3)
        else:
            assert value == (expected if expected is None or isinstance(expected, str) else str(expected).lower())


def test_rows_that_do_not_count_are_not_shown(records):
    manifest, rows, predictions = opened(records, "churn")
    first = worst(manifest, rows, predictions, [], 1).loss[0]
    weights = np.where(rows.ids == np.uint64(first.id), 0, 2).astype(np.float32)
    found = worst(manifest, replace(rows, weights=weights), predictions, [], 1).loss[0]
    assert found.id != first.id
    assert found.weight == 2


@pytest.mark.parametrize("shape", [(8, 8, 1), (300, 200, 3)])
def test_pictures_are_small(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    uri = small_picture(pixels)
    read = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    assert max(read.size) == min(SIDE, shape[0])
    assert len(uri) < 20_000
    if shape[2] == 1:
        dark = small_picture(pixels // 16, 15)
        read_dark = Image.open(io.BytesIO(base64.b64decode(dark.removeprefix("data:image/png;base64,"))))
        np.testing.assert_array_equal(np.asarray(read_dark), pixels[:, :, 0] // 16 * 17)
        np.testing.assert_array_equal(np.asarray(read), pixels[:, :, 0])
