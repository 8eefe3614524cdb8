"""Exported files in the programs that will run them: fresh processes that import nothing of this package.

Each is a script of its own, so that what it reads of a file is all that a user's program has to know.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kep.core.errors import UserError

BATCH = 256
"""Rows that are predicted at once, where speed is not measured."""
TIMED = 100
"""Calls of one row each, of which the latency is the median."""

_AROUND = """
import json, re, sys, time
import numpy as np
path, data, described, out = sys.argv[1:]
described = json.load(open(described))
stored = np.load(data)
arrays = {{name: stored[str(place)] for place, name in enumerate(described["arrays"])}}
{0}
rows = len(next(iter(arrays.values())))
part = lambda start, stop: {{name: array[start:stop] for name, array in arrays.items()}}
predictions = np.concatenate([predict(part(start, start + {1})) for start in range(0, rows, {1})])
seconds = []
for turn in range({2}):
    row = part(turn % rows, turn % rows + 1)
    started = time.perf_counter()
    predict(row)
    seconds.append(time.perf_counter() - started)
np.savez(out, predictions=predictions, ms=1000 * np.median(seconds))
"""

_FEATURES = """
def one_form(text):
    text = text.strip()
    for pattern, replacement in described["rules"]:
        text = re.sub(pattern, replacement, text)
    return text
def features(columns):
    if not described["features"]:
        return columns[described["image"]].astype(np.float32)
    known = {}
    for one in described["features"]:
        known.setdefault(one["column"], [""]).extend([one["value"]] if one["kind"] == "category" else [])
    made = []
    for one in described["features"]:
        values = columns[one["column"]]
        if values.dtype.kind == "U":
            values = np.array([one_form(text) for text in values])
        missing = values == "" if values.dtype.kind == "U" else np.isnan(values)
        if one["kind"] == "number":
            scaled = (values - one["mean"]) / one["std"]
            if "bound" in one:
                scaled = scaled / np.sqrt(1 + (scaled / one["bound"]) ** 2)
            made.append(np.where(missing, 0, scaled))
        elif one["kind"] == "missing":
            made.append(missing)
        elif one["kind"] == "other":
            made.append(~np.isin(values, known[one["column"]]))
        else:
            made.append(values == one["value"])
    return np.stack(made, axis=1).astype(np.float32)
"""

_NODE = """
const fs = require("fs"), path = require("path"), readline = require("readline");
console.log = console.info = console.warn = () => {};
const tf = require("@tensorflow/tfjs");
(async () => {
  const folder = process.argv[1];
  const described = JSON.parse(fs.readFileSync(path.join(folder, "model.json")));
  const [group] = described.weightsManifest;
  const bytes = Buffer.concat(group.paths.map((name) => fs.readFileSync(path.join(folder, name))));
  const weightData = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const loaded = { ...described, weightSpecs: group.weights, weightData };
  const model = await tf.loadGraphModel({ load: async () => loaded });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { rows, shape } = JSON.parse(line);
    const found = tf.tidy(() => model.predict(tf.tensor(rows, shape)).arraySync());
    process.stdout.write(JSON.stringify(found) + "\\n");
  }
})();
"""
"""Answers lines of rows with lines of predictions."""

_PREDICT = {
    "savedmodel": """
import tensorflow as tf
serve = tf.saved_model.load(path).signatures["serving_default"]
def predict(columns):
    found = serve(**{name: tf.constant(array) for name, array in columns.items()})
    return found[described["output"]].numpy()
""",
    "keras": """
import keras, tensorflow as tf
model = keras.saving.load_model(path, compile=False)
# One signature for any number of rows, as a service would compile it.
compiled = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
def predict(inputs):
    return compiled({name: tf.constant(array) for name, array in inputs.items()})[described["output"]].numpy()
""",
    "tflite": _FEATURES
    + """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(path, num_threads=1)
def predict(columns):
    given = features(columns)
    entry = interpreter.get_input_details()[0]
    if tuple(entry["shape"]) != given.shape:
        interpreter.resize_tensor_input(entry["index"], given.shape)
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]
    if entry["dtype"] == np.int8:
        scale, zero = entry["quantization"]
        given = np.clip(np.round(given / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(entry["index"], given)
    interpreter.invoke()
    leave = interpreter.get_output_details()[0]
    found = interpreter.get_tensor(leave["index"])
    if leave["dtype"] == np.int8:
        scale, zero = leave["quantization"]
        found = (found.astype(np.float32) - zero) * scale
    return found
""",
    "tfjs": _FEATURES
    + f"""
import subprocess
pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
node = subprocess.Popen(["node", "-e", {_NODE!r}, path], **pipes)
def predict(columns):
    given = features(columns)
    node.stdin.write(json.dumps(dict(rows=given.reshape(-1).tolist(), shape=given.shape)) + "\\n")
    node.stdin.flush()
    return np.array(json.loads(node.stdout.readline()), np.float32)
""",
}


@dataclass(frozen=True)
class RuntimePredictions:
    """Predictions of an exported file.

    Attributes:
        predictions: [n, classes], or [n] of a regression.
        ms: Median milliseconds of one row on one core, its preprocessing included, in that program's Python.
    """

    predictions: np.ndarray
    ms: float


def node_path() -> str:
    """Where Node.js looks for packages: in `node_modules` here, then where the environment says."""
    return os.pathsep.join([str(Path("node_modules").absolute()), *filter(None, [os.environ.get("NODE_PATH")])])


def has_tfjs() -> bool:
    """Return whether Node.js and its package @tensorflow/tfjs are here."""
    if shutil.which("node") is None:
        return False
    command = ["node", "-e", 'require.resolve("@tensorflow/tfjs")']
    return not subprocess.run(command, env=os.environ | {"NODE_PATH": node_path()}, capture_output=True).returncode


def predicted(format: str, path: Path, arrays: dict[str, np.ndarray], described: dict[str, Any]) -> RuntimePredictions:
    """Predicts rows with an exported file in a fresh process, on one thread.

    Args:
        format: savedmodel, keras, tflite or tfjs.
        path: The file, or the folder of a SavedModel or of a graph model.
        arrays: Inputs of the file by name, of equal length; texts as NumPy strings.
        described: Its JSON: `output`, and for tflite and tfjs `features`, `image` and `rules`.

    Raises:
        UserError: The program could not read the file.
    """
    script = _AROUND.format(_PREDICT[format], BATCH, TIMED)
    # One core: what a phone or a request gets, and the same on every machine that measures.
    environment = os.environ | {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "NODE_PATH": node_path(),
    }
    with tempfile.TemporaryDirectory() as scratch:
        data, told, out = (f"{scratch}/{name}" for name in ("rows.npz", "described.json", "out.npz"))
        # A column may have any name; a file of arrays can't.
        numbered: dict[str, Any] = {str(place): array for place, array in enumerate(arrays.values())}
        np.savez(data, **numbered)
        Path(told).write_text(json.dumps(described | {"arrays": list(arrays)}), encoding="utf-8")
        command = [sys.executable, "-c", script, str(path.absolute()), data, told, out]
        done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, check=False, encoding="utf-8")
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
            raise UserError(f"--format {format}: a fresh process can't run {path.name}: {reason[:300]}")
        found = dict(np.load(out))
    predictions = found["predictions"]
    numbers = described["output"] == "prediction"
    return RuntimePredictions(predictions.reshape(-1) if numbers else predictions, float(found["ms"]))
