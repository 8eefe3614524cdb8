"""`kep export`: each format in its own program predicts the run's test rows; what loses too much is not written."""

import keras
import numpy as np
import pytest
from rich.console import Console

from kep.core.errors import UserError
from kep.core.files import read_json
from kep.data.records import Records
from kep.data.values import RULES
from kep.delivery.export import edge
from kep.delivery.export.browser import VARIANTS as VARIANTS_OF_TFJS
from kep.delivery.export.browser import save_tfjs
from kep.delivery.export.edge import VARIANTS
from kep.delivery.export.export import export, reweigh
from kep.delivery.export.runtimes import predicted
from kep.delivery.export.savedmodel import input_names, tensors
from kep.engines.local.artifacts import Artifacts
from kep.models.encode import inputs_of
from kep.models.ensemble import Ensemble, raw_features


@pytest.fixture
def exported(runs, tmp_path):
    """Function that exports a run's ensemble: the content of export.json by line of the table, and what was printed."""

    def of(source: str, names: tuple, format: str, variants=None, max_loss=0.01, keras_only: bool = False):
        root, console = runs(source, *names), Console(record=True, width=200)
        run = str(root / source / "latest")
        export(run, format, variants, tmp_path / "out", root, max_loss, keras_only, console)
        content = read_json(tmp_path / "out" / "export.json")
        return content, {row["name"]: row for row in content["measured"]}, console.export_text()

    return of


@pytest.mark.parametrize(
    ("source", "names", "metric"),
    [("churn", ("mlp", "mlp"), "accuracy"), ("digits", ("mlp", "cnn"), "accuracy"), ("houses", ("mlp", "mlp"), "rmse")],
)
def test_tensorflow_lite_of_each_task(exported, tmp_path, source, names, metric):
    content, rows, printed = exported(source, names, "tflite", max_loss=1.0)
    assert list(rows) == ["ensemble", *VARIANTS]
    assert content["metric"] == metric
    assert rows["ensemble"]["difference"] < 1e-4 * max(1, rows["ensemble"]["score"])
    # Features by the recipe, in a process without this package.
    assert rows["float32"]["difference"] < 1e-3 * max(1, rows["ensemble"]["score"])
    assert abs(rows["float32"]["lost"]) < 0.001
    assert rows["float32"]["difference"] <= rows["dynamic"]["difference"] < rows["int8"]["difference"]
    if source == "digits":  # the others are so small that nothing but the weights' names has a size
        assert rows["int8"]["bytes"] < rows["float16"]["bytes"] < rows["float32"]["bytes"]
    for variant in VARIANTS:
        assert (tmp_path / "out" / f"model_{variant}.tflite").stat().st_size == rows[variant]["bytes"]
        assert rows[variant]["ms"] > 0
        assert variant in printed
    header = next(line for line in printed.splitlines() if "ms a row" in line)
    assert "max diff" in header
    assert ("same" in header) == (metric == "accuracy")
    assert [line["role"] for line in content["read"]] == ["test", "train"]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("mlp", "mlp"), marks=pytest.mark.slow),
        pytest.param(("mlp", "cnn"), marks=pytest.mark.slow),
        ("tabular", "realmlp"),
    ],
)
def test_one_keras_file_predicts_the_same_without_this_package(exported, tmp_path, names):
    source = "digits" if "cnn" in names else "churn"
    content, rows, _ = exported(source, names, "keras", max_loss=None)
    assert content["max_loss"] == 0.01  # of the run file
    assert rows["Keras"]["difference"] < 1e-5
    assert rows["Keras"]["same"] == 1.0
    assert (tmp_path / "out" / "model.keras").stat().st_size == rows["Keras"]["bytes"]
    if source == "churn":
        assert content["categorical"]["plan"] == ["basic", "plus", "premium"]


@pytest.mark.tfjs
@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("churn", ("mlp", "mlp")),
        ("digits", ("mlp", "cnn")),
        ("houses", ("mlp", "mlp")),
        ("churn", ("realmlp", "tabular")),
        ("houses", ("realmlp", "tabular")),
    ],
)
def test_tensorflow_js_of_each_task(exported, tmp_path, source, names):
    """In Node.js, with features by the recipe that travels with the file."""
    content, rows, _ = exported(source, names, "tfjs", max_loss=1.0)
    assert list(rows) == ["ensemble", *VARIANTS_OF_TFJS]
    scale = max(1, rows["ensemble"]["score"])
    assert rows["float32"]["difference"] < 1e-3 * scale
    assert rows["float32"]["difference"] <= rows["float16"]["difference"] <= rows["uint8"]["difference"] < 0.2 * scale
    for variant in VARIANTS_OF_TFJS:
        weights = (tmp_path / "out" / variant / "group1-shard1of1.bin").stat().st_size
        assert 0 < weights < rows[variant]["bytes"]
    if source == "digits":
        assert rows["uint8"]["bytes"] < rows["float16"]["bytes"] < rows["float32"]["bytes"]
    assert [line["role"] for line in content["read"]] == ["test"]


@pytest.mark.parametrize("source", ["churn", "digits"])
def test_every_format_carries_the_temperature(ensembles, calibrated, records, source):
    own = Ensemble(calibrated(ensembles(source, "mlp", "mlp"), temperature=2.5))
    rows = Records(records(source), "evaluate").load("test").take(slice(0, 40))
    expected = own.combine(own.predict_members(rows))
    assert np.abs(expected - own.pool(own.predict_members(rows))).max() > 0.01
    given = edge.whole(own).predict(inputs_of(rows), verbose=0)["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-5)
    # TensorFlow Lite and TensorFlow.js are made of this one.
    given = edge.of_features(own).predict(edge.encoded(own, rows), verbose=0)["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("format", "variant", "tolerance"),
    [
        ("tflite", "float32", 1e-3),
        ("tflite", "float16", 0.01),
        ("tflite", "int8", 0.05),
        pytest.param("tfjs", "float32", 1e-3, marks=pytest.mark.tfjs),
    ],
)
def test_what_is_converted_carries_the_temperature(
    ensembles, calibrated, records, tmp_path, format, variant, tolerance
):
    own = Ensemble(calibrated(ensembles("churn", "mlp", "mlp"), temperature=2.5))
    rows = Records(records("churn"), "evaluate").load("test")
    model, path = edge.of_features(own), tmp_path / "model"
    if format == "tfjs":
        save_tfjs(model, variant, path)
    else:
        path.write_bytes(edge.tflite(model, variant, edge.encoded(own, rows)))
    described = {"output": "probabilities", "features": edge.features(own), "image": None, "rules": RULES}
    named = tensors(own.manifest, raw_features(own.manifest, rows))
    arrays = {column: named[name] for column, name in input_names(own.manifest).items()}
    members = own.predict_members(rows)
    difference = np.abs(predicted(format, path, arrays, described).predictions - own.combine(members)).max()
    assert difference < tolerance < np.abs(own.pool(members) - own.combine(members)).max()


@pytest.mark.parametrize("format", ["savedmodel", "keras", "tflite", "tfjs"])
def test_an_isotonic_map_is_refused_by_name(ensembles, calibrated, tmp_path, format):
    folder = calibrated(ensembles("churn", "mlp"), isotonic=[[0.1, 0.2], [0.9, 0.7]])
    with pytest.raises(UserError, match=f"--format {format}: the ensemble is calibrated by an isotonic map"):
        export(str(folder), format, None, tmp_path / "out", tmp_path, None, False, Console())


def test_geometric_pooling_is_that_of_the_ensemble(ensembles, records):
    own = Ensemble(ensembles("digits", "mlp", "cnn", pooling="geometric"))
    rows = Records(records("digits"), "evaluate").load("test")
    given = edge.whole(own).predict(inputs_of(rows), verbose=0)["probabilities"]
    np.testing.assert_allclose(given, own.combine(own.predict_members(rows)), atol=1e-6)


@pytest.mark.slow
def test_a_saved_model_is_measured_too(exported, tmp_path):
    _, rows, _ = exported("churn", ("mlp", "mlp"), "savedmodel")
    assert rows["SavedModel"]["difference"] < 1e-5
    assert (tmp_path / "out" / "saved_model.pb").is_file()


def test_what_loses_too_much_is_not_written(exported, tmp_path):
    with pytest.raises(UserError, match=r"int8 loses more than -1 \(accuracy falls by .*, so nothing is written"):
        exported("churn", ("mlp", "mlp"), "tflite", ["int8"], max_loss=-1)
    assert list(tmp_path.iterdir()) == []


def test_trees_are_named_and_left_out_when_asked(exported, run_folder, tmp_path):
    names = ("mlp", "boosted_trees")
    with pytest.raises(
        UserError, match=r"boosted_trees-1 can't be exported, since .*with --keras-only it is made of mlp-0"
    ):
        exported("churn", names, "tflite")
    content, rows, _ = exported("churn", names, "tflite", ["float32"], 1.0, keras_only=True)
    assert content["members"] == [{"id": "mlp-0", "weight": 1.0}]
    # Both are measured against what the whole ensemble predicts.
    assert rows["Keras members"]["difference"] == pytest.approx(rows["float32"]["difference"], rel=1e-3)
    assert rows["Keras members"]["difference"] > 1e-3
    with pytest.raises(UserError, match="no member of this ensemble is a Keras network"):
        exported("churn", ("boosted_trees",), "tflite", keras_only=True)


def test_weights_are_fitted_on_stored_validation_predictions(run_folder):
    run = run_folder("churn", "mlp", "mlp")
    own = Ensemble(run / "ensemble")
    weights, *settled = reweigh([member.id for member in own.members], run, own.manifest)
    assert settled == [None, None]  # as in the run, of before there was any
    assert sum(weights.values()) == pytest.approx(1)
    folders = Artifacts(run).best_epochs()
    stored = {id: np.load(folders[id] / "predictions.npz") for id in weights}

    def loss(shares: dict[str, float]) -> float:
        labels = next(iter(stored.values()))["labels"]
        pooled = sum(shares[id] * stored[id]["predictions"][0] for id in shares)
        return float(-np.log(pooled[np.arange(len(labels)), labels]).mean())

    assert loss(weights) <= min(loss({id: 1.0}) for id in weights) + 1e-6


def test_operations_that_tensorflow_lite_lacks_are_named(tmp_path):
    given = keras.Input((4,), dtype="float32")

    class Erfinv(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.erfinv(inputs)

    model = keras.Model(given, Erfinv()(given))
    with pytest.raises(UserError, match="can't hold this ensemble as float32: it has no Erfinv;"):
        edge.tflite(model, "float32", np.zeros((2, 4), np.float32))
    with pytest.raises(UserError, match="Erfinv is a layer of your own, which Keras can't load without your code"):
        edge.save_keras(model, tmp_path / "model.keras")


def test_mistakes_are_one_sentence(runs, ensembles, tmp_path):
    root, console = runs("churn", "mlp", "mlp"), Console(quiet=True)
    run, out = str(root / "churn" / "latest"), tmp_path / "out"
    with pytest.raises(UserError, match=r'--variant: int4 is not one of float32, .*did you mean "int8"'):
        export(run, "tflite", ["int4"], out, root, 0.01, False, console)
    alone = str(ensembles("churn", "mlp", "mlp"))
    with pytest.raises(UserError, match=r"is not of a run in .*, whose test rows say what an export loses"):
        export(alone, "keras", None, out, tmp_path, 0.01, False, console)
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    described = {"output": "prediction", "features": [], "image": "x", "rules": []}
    with pytest.raises(UserError, match=r"--format tflite: a fresh process can't run bad\.tflite"):
        predicted("tflite", tmp_path / "bad.tflite", {"x": np.zeros((1, 2), np.float32)}, described)
    assert not out.exists()


@pytest.mark.slow
def test_an_ensemble_without_a_run_is_still_a_saved_model(ensembles, tmp_path):
    console = Console(record=True, width=200)
    export(str(ensembles("churn", "mlp", "mlp")), "savedmodel", None, tmp_path / "out", tmp_path, 0.01, False, console)
    assert "in a fresh process its predictions differ by at most" in console.export_text()
    assert (tmp_path / "out" / "saved_model.pb").is_file()
