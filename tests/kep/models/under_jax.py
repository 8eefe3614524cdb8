"""Trains a family's network under Keras's JAX backend; a process of its own, since a process has one backend.

python -m tests.kep.models.under_jax FAMILY RECORDS one|data|sharded
"""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import keras
import numpy as np

from kep.data.records import Records
from kep.models.encode import inputs_of
from kep.models.registry import family

ROWS, BATCH = 96, 32


def distribution(how: str) -> keras.distribution.DataParallel | keras.distribution.ModelParallel:
    """Spreads the batch, or a layer's weights, over the four host devices; "one" uses the first."""
    devices = keras.distribution.list_devices()
    if how == "sharded":
        mesh = keras.distribution.DeviceMesh((1, 4), ["batch", "model"], devices)
        layout = keras.distribution.LayoutMap(mesh)
        layout["sequential/dense/kernel"] = (None, "model")
        return keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False)
    return keras.distribution.DataParallel(devices=devices[: 4 if how == "data" else 1], auto_shard_dataset=False)


def main(name: str, records: str, how: str) -> None:
    data = Records(records, "tune")
    rows = data.load("train").take(np.arange(ROWS))
    member = family({"name": name}, data.manifest)
    values = dict(member.space().values)
    # Dropout would draw other numbers where the batch is divided.
    values |= {"dropout": 0.0} if "dropout" in values else {}
    spread = distribution(how)
    network, model = member._models(values, 0, spread.scope())
    keras.distribution.set_distribution(spread)
    model.compile(network.optimizer, network.loss)
    before = [np.asarray(weight) for weight in model.get_weights()]
    loss = model.fit(inputs_of(rows), rows.labels, batch_size=BATCH, shuffle=False, verbose=0).history["loss"]
    after = [np.asarray(weight) for weight in model.get_weights()]
    kernel = next(weight for weight in network.trainable_weights if "kernel" in weight.path).value
    report = {
        "backend": keras.backend.backend(),
        "loss": loss[-1],
        "moved": any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)),
        "sum": float(sum(np.abs(weight.astype(np.float64)).sum() for weight in after)),
        # The first layer's weights: on how many devices, and which part on each.
        "devices": len(kernel.sharding.device_set),
        "whole": list(kernel.shape),
        "part": list(kernel.addressable_shards[0].data.shape),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
