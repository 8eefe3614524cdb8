"""Inputs and outputs of a model, as TensorFlow Serving's metadata and as OpenAPI."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from kep.artifacts.member import TrainedMember
from kep.data.schema import Column, Label, Manifest
from kep.delivery.serving.instances import SIGNATURE

_TOLD = {"name", "kind", "vocabulary", "shape", "reading"}
"""Fields of a column that a client needs."""
_JSON = {
    "numeric": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "categorical": {"type": ["string", "null"]},
    "date": {"type": ["string", "null"]},
    "text": {"type": ["string", "null"]},
}


def tensor(column: Column) -> tuple[str, tuple[int, ...]]:
    """The type of a column in the signature, and the shape of one row: those of the model that `kep export` writes."""
    if column.kind == "image":
        return "DT_UINT8", column.shape or ()
    if column.kind in ("categorical", "date", "text"):
        return "DT_STRING", ()
    return ("DT_DOUBLE" if column.offset else "DT_FLOAT"), ()


def metadata(
    manifest: Manifest, name: str, version: int, members: Sequence[TrainedMember], rows: int
) -> dict[str, Any]:
    """TensorFlow Serving's answer about a model's signature, with what only an ensemble has under `ensemble`.

    Args:
        manifest: Manifest of the records that the model was trained on.
        name: Name of the model.
        version: Version of the model.
        members: The ensemble's members.
        rows: Maximum rows of a request.
    """

    def info(kind: str, inner: tuple[int, ...], of: str) -> dict[str, Any]:
        sizes = [{"size": str(size), "name": ""} for size in (-1, *inner)]
        return {"dtype": kind, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": of}

    classes = manifest.label.classes
    outputs: dict[str, tuple[str, tuple[int, ...]]] = {"prediction": ("DT_DOUBLE", ())}
    if classes is not None:
        outputs = {"probabilities": ("DT_DOUBLE", (len(classes),)), "label": ("DT_STRING", ())}
    signature = {
        "inputs": {column.name: info(*tensor(column), column.name) for column in manifest.inputs},
        "outputs": {output: info(kind, shape, output) for output, (kind, shape) in outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {
            "signature_def": {"signature_def": {SIGNATURE: signature}},
            "ensemble": {
                "columns": [
                    column.model_dump(include=_TOLD, exclude_none=True, mode="json") for column in manifest.inputs
                ],
                "label": manifest.label.model_dump(include={"name", "task", "classes", "threshold"}, mode="json"),
                "members": [{"id": member.id, "weight": member.weight} for member in members],
                "fingerprint": manifest.fingerprint,
                "max_rows": rows,
            },
        },
    }


def example(manifest: Manifest) -> dict[str, Any]:
    """One row as a request has it: each number's mean, each vocabulary's first category, an image of the mean shade."""
    row: dict[str, Any] = {}
    for column in manifest.inputs:
        if column.kind == "image" and column.shape is not None:
            pixels = np.broadcast_to(np.round(np.asarray(column.mean)), column.shape).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels[:, :, 0] if column.shape[2] == 1 else pixels).save(file, "PNG")
            row[column.name] = {"b64": base64.b64encode(file.getvalue()).decode()}
        elif column.kind == "text":
            row[column.name] = "some words"
        elif column.kind == "date":
            row[column.name] = _middle(manifest, column)
        elif column.kind == "categorical":
            row[column.name] = column.vocabulary[0] if column.vocabulary else None
        else:
            mean, _ = column.statistics
            row[column.name] = mean >= 0.5 if column.kind == "boolean" else float(f"{mean:.3g}") + column.offset
    return row


def _middle(manifest: Manifest, date: Column) -> str:
    """Return the mean of the train rows' dates."""
    days = next(column for column in manifest.columns if column.of == date.name and column.part == "days")
    return str(np.datetime64(round(days.statistics[0]), "D"))


def request_body(manifest: Manifest, rows: int) -> dict[str, Any]:
    """The body of a prediction's request, as OpenAPI describes it."""
    properties: dict[str, Any] = {}
    for column in manifest.inputs:
        properties[column.name] = _JSON.get(column.kind) or _image(column)
    row = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    lists = {name: {"type": "array", "items": kind, "maxItems": rows} for name, kind in properties.items()}
    schema = {
        "type": "object",
        "description": "Either `instances`, a list of rows, or `inputs`, lists by column.",
        "properties": {
            "instances": {"type": "array", "items": row, "minItems": 1, "maxItems": rows},
            "inputs": {"type": "object", "properties": lists, "required": list(lists), "additionalProperties": False},
            "parameters": {"type": "object", "properties": {"members": {"type": "boolean", "default": False}}},
            "signature_name": {"const": SIGNATURE},
        },
        "additionalProperties": False,
    }
    content = {"schema": schema, "example": {"instances": [example(manifest)]}}
    return {"required": True, "content": {"application/json": content}}


def _image(column: Column) -> dict[str, Any]:
    height, width, channels = column.shape or (0, 0, 0)
    encoded = {"type": "object", "properties": {"b64": {"type": "string", "format": "byte"}}, "required": ["b64"]}
    return {
        "description": f"A PNG or JPEG of {height}x{width} pixels (height x width) in base64, or nested lists of whole "
        f"numbers from 0 to 255 of shape {[height, width, channels]}.",
        "anyOf": [encoded, {"type": "array"}],
    }


def answer(label: Label, pooled: np.ndarray, members: dict[str, np.ndarray] | None, columnar: bool) -> dict[str, Any]:
    """Predictions as the JSON of an answer.

    Args:
        label: Label to predict.
        pooled: The ensemble's, [n, classes] or [n].
        members: Each member's by its id, of the same shape; None where they were not asked for.
        columnar: By output, under `outputs`, as TensorFlow Serving answers `inputs`; else a list under `predictions`.
    """
    if label.classes is None:
        outputs: dict[str, Any] = {"prediction": pooled.tolist()}
    else:
        names = [label.classes[best] for best in label.decide(pooled)]
        outputs = {"probabilities": pooled.tolist(), "label": names}
    by_member = {id: values.tolist() for id, values in (members or {}).items()}
    if columnar:
        return {"outputs": outputs | ({"members": by_member} if members else {})}
    rows = [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]
    for index, row in enumerate(rows):
        if members:
            row["members"] = {id: values[index] for id, values in by_member.items()}
    return {"predictions": rows}
