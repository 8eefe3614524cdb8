"""What a server answers is what the ensemble predicts, in every form that a client may ask in."""

import base64
import io
import json

import numpy as np
import pytest
import requests
from PIL import Image
from tensorflow.core.framework import types_pb2

from kep.delivery.export.savedmodel import drawn, signature


def rows_of(table: dict, count: int = 8) -> list[dict]:
    """The first rows of a table as instances of a request."""
    lists = {
        name: values[:count].tolist() if isinstance(values, np.ndarray) else values[:count]
        for name, values in table.items()
    }
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def close(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source", ["churn", "digits", "shapes", "houses"])
def test_predictions_are_the_ensembles_own(served, source):
    """Binary, multiclass, images and numbers; missing values and categories that no train row had among them."""
    server = served(source)
    table = drawn(server.model.manifest)
    rows = rows_of(table)
    expected = server.ensemble.predict(table)[: len(rows)]
    by_row = server.post({"instances": rows, "parameters": {"members": True}})
    assert by_row.status_code == 200, by_row.text
    predictions = by_row.json()["predictions"]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    by_column = server.post({"inputs": columns, "signature_name": "serving_default"}).json()["outputs"]
    classes = server.model.manifest.label.classes
    output = "prediction" if classes is None else "probabilities"
    close([row[output] for row in predictions], expected)
    close(by_column[output], expected)
    if classes is not None:
        labels = [classes[best] for best in expected.argmax(axis=1)]
        assert [row["label"] for row in predictions] == by_column["label"] == labels
    members = [[row["members"][m.id] for row in predictions] for m in server.ensemble.members]
    close(server.ensemble.combine([np.array(values) for values in members]), expected)
    assert "members" not in by_column


def test_every_path_answers(served):
    server = served("churn")
    body = {"instances": rows_of(drawn(server.model.manifest), 1)}
    answers = [server.post(body, path).json() for path in (None, "/predict", "/v1/models/tested/versions/3:predict")]
    assert answers[0] == answers[1] == answers[2]
    for path in ("/v1/models/tested", "/v1/models/tested/versions/3"):
        (state,) = server.get(path).json()["model_version_status"]
        assert state == {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/other:predict", "/v1/models/tested/versions/4:predict"):
        missing = server.post(body, path)
        assert missing.status_code == 404
        assert "the model is at /v1/models/tested:predict" in missing.json()["error"]
    assert server.get("/v1/models/tested:predict").status_code == 405
    assert server.get("/docs").status_code == 200


@pytest.mark.parametrize("source", ["churn", "shapes"])
def test_the_metadata_name_the_inputs_of_the_exported_model(served, source):
    server = served(source)
    metadata = server.get("/v1/models/tested/metadata").json()
    assert metadata["model_spec"] == {"name": "tested", "signature_name": "", "version": "3"}
    inputs = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    expected = signature(server.model.manifest)
    assert set(inputs) == set(expected)
    for name, spec in expected.items():
        assert types_pb2.DataType.Value(inputs[name]["dtype"]) == spec.dtype.as_datatype_enum
        sizes = [int(dim["size"]) for dim in inputs[name]["tensor_shape"]["dim"]]
        assert sizes == [-1 if size is None else size for size in spec.shape]


def test_openapi_has_an_example_that_is_answered(served):
    for source in ("churn", "shapes"):
        server = served(source)
        operation = server.get("/openapi.json").json()["paths"]["/v1/models/tested:predict"]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert server.post(example).status_code == 200


def encoded(pixels: np.ndarray, kind: str) -> dict:
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0]).save(file, kind)
    return {"b64": base64.b64encode(file.getvalue()).decode()}


def test_an_image_may_be_a_file_lists_or_have_no_name(served):
    server = served("shapes")
    pixels = drawn(server.model.manifest)["image"][0]
    png = encoded(pixels, "PNG")
    forms = [png, {"image": png}, pixels.tolist(), {"image": pixels.tolist()}, pixels[:, :, 0].tolist()]
    predictions = server.post({"instances": forms}).json()["predictions"]
    for other in predictions[1:]:
        close(other["probabilities"], predictions[0]["probabilities"])
    assert server.post({"inputs": [png]}).json()["outputs"]["label"] == [predictions[0]["label"]]
    jpeg = encoded(pixels, "JPEG")
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg["b64"]))))
    close(
        server.post({"instances": [jpeg]}).json()["predictions"][0]["probabilities"],
        server.post({"instances": [decoded.tolist()]}).json()["predictions"][0]["probabilities"],
    )


ROW = {"months": 3, "plan": "basic", "monthly_charge": 20.5, "paperless": True, "support_calls": 1, "region": "east"}


def changed(**values) -> dict:
    return {"instances": [ROW, ROW | values]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (changed(months="3"), 'instances[1].months: the text "3" given; give a number'),
        (changed(months=True), "instances[1].months: true given; give a number"),
        (changed(months=[3]), "instances[1].months: a list given; give a number"),
        (changed(months=1e39), "instances[1].months: infinite or beyond 32-bit floats"),
        (changed(months=float("inf")), "instances[1].months: infinite or beyond 32-bit floats"),
        (changed(months=10**400), "instances[1].months: infinite or beyond 32-bit floats"),
        (changed(paperless="true"), 'instances[1].paperless: the text "true" given; give true or false'),
        (changed(paperless=2), "instances[1].paperless: 2 given; give true or false"),
        (changed(plan=["basic"]), "instances[1].plan: a list given; give a text"),
        (changed(plan={"b64": "?"}), "instances[1].plan: b64 is not base64"),
        (changed(plan={"b64": "/w=="}), "instances[1].plan: the bytes are not a text in UTF-8"),
        (changed(mnths=3), 'instances[1]: "mnths" is unknown; the columns are months'),
        ({"instances": [ROW, {}]}, 'instances[1]: "months" is missing'),
        ({"instances": [{"mnths": 3}]}, '"months" is missing; did you mean "mnths"?'),
        ({"instances": [ROW, 3]}, "instances[1]: a number given; give an object"),
        ({"instances": []}, "instances: give a list of at least one row"),
        ({"instances": [ROW] * 1025}, "instances: 1025 rows given, at most 1024 a request"),
        ({"inputs": {name: [value] for name, value in ROW.items()} | {"plan": []}}, "inputs.plan: give a list"),
        ({"inputs": {name: [value] for name, value in ROW.items()} | {"plan": ["a", "b"]}}, "inputs.plan: 2 values"),
        ({"inputs": {name: [value] for name, value in ROW.items()} | {"months": ["a"]}}, "inputs.months[0]: the text"),
        ({"inputs": [1]}, "inputs: a list given; give an object"),
        ({"instances": [ROW], "inputs": {}}, 'give either "instances"'),
        ({"instnces": [ROW]}, '"instnces" is not a key of a request; did you mean "instances"?'),
        ({"instances": [ROW], "parameters": {"member": True}}, 'parameters: "member" is unknown; did you mean'),
        ({"instances": [ROW], "parameters": {"members": "yes"}}, "parameters.members: a text given"),
        ({"instances": [ROW], "parameters": [1]}, "parameters: a list given"),
        ({"instances": [ROW], "signature_name": "other"}, 'the one signature is "serving_default"'),
        ([ROW], "the body is a list"),
        ("{", "the body is not JSON"),
        ("", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        ("[" * 100_000, "the body is not JSON"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(served, body, message):
    answer = served("churn").post(body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_a_file_is_turned_as_at_ingest(served):
    server = served("shapes")
    pixels = drawn(server.model.manifest)["image"][0][:, :, 0]
    file, note = io.BytesIO(), Image.Exif()
    note[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1])).save(file, "PNG", exif=note)
    turned = {"b64": base64.b64encode(file.getvalue()).decode()}
    predictions = server.post({"instances": [turned, pixels.tolist()]}).json()["predictions"]
    close(predictions[0]["probabilities"], predictions[1]["probabilities"])


def picture(size: tuple[int, int], mode: str = "L", kind: str = "PNG") -> dict:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return {"b64": base64.b64encode(file.getvalue()).decode()}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([[1, 2], [3]], "its lists differ in length"),
        ([[1]], "shape [1, 1] given; give [height, width, channels] = [12, 12, 1]"),
        ([["a"] * 12] * 12, "its values are not all numbers"),
        ([[True] * 12] * 12, "its values are not all numbers"),
        ([[0.5] * 12] * 12, "its values are not all whole numbers from 0 to 255"),
        ([[256] * 12] * 12, "its values are not all whole numbers from 0 to 255"),
        ([[float("nan")] * 12] * 12, "its values are not all whole numbers from 0 to 255"),
        (7, "instances[0].image: 7 given"),
        (None, "instances[0].image: null given"),
        ({"b64": "!"}, "instances[0].image: b64 is not base64"),
        ({"b64": "aGVsbG8="}, "instances[0].image: the bytes are not a PNG or JPEG image"),
        (picture((12, 12), kind="GIF"), "the bytes are not a PNG or JPEG image"),
        (picture((12, 13)), "an image of 13x12 pixels (height x width) given; the model takes 12x12"),
        (picture((12, 12), "RGB"), "an image with colours given"),
        ({"b64": picture((12, 12))["b64"][:60]}, "the image is damaged"),
    ],
)
def test_what_is_wrong_with_an_image_is_named(served, image, message):
    answer = served("shapes").post({"instances": [{"image": image}]})
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_missing_values_are_what_they_are_in_training(served):
    """null and NaN for numbers, null and the texts for missing for categories; any other category is unknown."""
    server = served("churn")
    body = b'{"instances": [%s]}'

    def predicted(**values) -> list:
        return server.post(body % json.dumps(ROW | values).encode()).json()["predictions"][0]["probabilities"]

    close(predicted(months=float("nan")), predicted(months=None))
    close(predicted(region=""), predicted(region=None))
    close(predicted(region=" N/A "), predicted(region=None))
    close(predicted(region="atlantis"), predicted(region=10**40))
    close(predicted(paperless=1), predicted(paperless=True))
    close(predicted(plan={"b64": base64.b64encode(b"basic").decode()}), predicted(plan="basic"))
    missing = dict.fromkeys(ROW) | {"months": 5}
    expected = server.ensemble.predict({name: [value] for name, value in missing.items()})[0]
    close(predicted(**missing), expected)


def test_requests_without_a_type_and_in_chunks_are_answered(served):
    server = served("churn")
    answer = requests.post(server.url, data=iter([json.dumps({"instances": [ROW]}).encode()]), timeout=60)
    assert answer.status_code == 200
