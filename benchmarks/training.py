"""How fast a training is: our loop against Keras's `fit`, one device against replicas, and what a whole step costs.

The data have MNIST's shape (scikit-learn's digits enlarged, see benchmarks/search.py). All ways of one table train the
same model from the same seed, one after the other; `fit` gets the rows as numbers from 0 to 1 and TensorFlow's own
settings, our loop gets them as bytes and the threads of a step, as in a run, so it has a process of its own. So have
replicas and whole steps. Seconds are those of the fastest epoch after the first: what else the machine does only adds.

    python -m benchmarks.training              # a minute or two
    python -m benchmarks.training --full       # the tables of docs/explanation/measured-training.md
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.search import digits

BATCH = 128
UNITS = (16, 32, 48, 64)
"""Of the chapter's MLP: the values of its search space."""
MLP = "mlp, 64 units"
MLP_FILE = """
import keras
from keras import layers

def build(hp):
    model = keras.Sequential([layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


def network(kind: str) -> "keras.Model":  # noqa: F821
    """The chapter's MLP, with dropout or without, or a small convolutional network."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    dense = {f"mlp, {units} units": [layers.Flatten(), layers.Dense(units, activation="relu")] for units in UNITS}
    parts = {
        **dense,
        "mlp, 64 units, dropout": [*dense[MLP], layers.Dropout(0.25)],
        "cnn": [
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ],
    }[kind]
    model = keras.Sequential([keras.Input((28, 28, 1)), *parts, layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def by_fit(kind: str, *data: "np.ndarray | tf.data.Dataset") -> Iterator[float]:  # noqa: F821
    """Keras's own `fit`, an epoch at each step; yields its training loss."""
    model, how = network(kind), {"batch_size": BATCH} if len(data) == 2 else {}
    while True:
        yield model.fit(*data, **how, verbose=0).history["loss"][0]


def scaled(batch: dict) -> "tf.Tensor":  # noqa: F821
    """Bytes to 0 … 1: as in the product, where the model's first layer reads the images as they are."""
    import tensorflow as tf

    return tf.cast(batch["image"], tf.float32) / 255


def by_loop(kind: str, x: np.ndarray, y: np.ndarray, jit: bool) -> Iterator[float]:
    """Our loop, an epoch at each step; yields its training loss."""
    from kep.training.loop import Feed, Loop
    from kep.training.machine import TrainingMachine

    model, machine = network(kind), TrainingMachine(jit=jit)
    feed = Feed(lambda index: ({"image": x[index]}, y[index]), len(y), BATCH, 0, machine)
    loop = Loop(model, scaled, feed, machine)
    number = 0
    while True:
        number += 1
        yield loop.epoch(feed, number)


def matrix_products(rows: int, units: int) -> Iterator[float]:
    """The floor of an MLP: the products of forward and backward pass of each batch, and nothing else."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x, out = (tf.constant(rng.normal(size=(BATCH, n)).astype(np.float32)) for n in (784, 10))
    first, hidden, second = (
        tf.constant(rng.normal(size=s).astype(np.float32)) for s in ((784, units), (BATCH, units), (units, 10))
    )

    @tf.function
    def epoch(steps: tf.Tensor) -> tf.Tensor:
        kept = tf.zeros(())
        for _ in tf.range(steps):
            products = (
                x @ first,
                hidden @ second,
                tf.matmul(hidden, out, transpose_a=True),
                tf.matmul(out, second, transpose_b=True),
                tf.matmul(x, hidden, transpose_a=True),
            )
            # Each result is used, or the products would be left out.
            kept += sum(product[0, 0] for product in products)
        return kept

    while True:
        yield float(epoch(tf.constant(rows // BATCH)))


def measured(epochs: Iterator[float], count: int) -> tuple[float, float, float]:
    """Seconds of the first epoch, of the fastest of the others, and the last loss."""
    times, loss = [], 0.0
    for _ in range(count):
        started = time.perf_counter()
        loss = next(epochs)
        times.append(time.perf_counter() - started)
    return times[0], min(times[1:]), loss


def ways(group: str, kind: str, rows: int) -> dict[str, Iterator[float]]:
    """The ways of one process to train a model; each gives an epoch's loss at each step."""
    import tensorflow as tf

    images, y = digits(rows, seed=0)
    if group == "fit":
        x = (images / np.float32(255)).astype(np.float32)
        whole = tf.data.Dataset.from_tensor_slices((x, y))
        naive = whole.shuffle(10_000).batch(BATCH)
        cached = whole.cache().shuffle(10_000).batch(BATCH).prefetch(tf.data.AUTOTUNE)
        return {
            "Keras `fit`, NumPy": by_fit(kind, x, y),
            "Keras `fit`, tf.data": by_fit(kind, naive),
            "Keras `fit`, tf.data cached and prefetched": by_fit(kind, cached),
        }
    more = ", `threads: 1`" if group == "one thread" else ""
    found = {f"ours{more}": by_loop(kind, images, y, False), f"ours, `jit: on`{more}": by_loop(kind, images, y, True)}
    if kind == "cnn" or "dropout" in kind or more:
        return found
    return found | {"bare matrix products": matrix_products(rows, int(kind.split()[1]))}


def trained(group: str, kind: str, rows: int, count: int) -> dict[str, tuple[float, float, float]]:
    """What `measured` says of each way of a group; takes the process's threads."""
    from kep.config.hardware import TrialHardware
    from kep.runtime.hardware import limit_threads

    if group != "fit":
        limit_threads(TrialHardware(threads=1 if group == "one thread" else None))
    return {way: measured(epochs, count) for way, epochs in ways(group, kind, rows).items()}


def throughput(most: int, count: int) -> str:
    """Our loop against Keras's `fit`, Markdown."""
    lines = [
        "| model | rows | way | first epoch, s | epoch, s | rows/s | x `fit` on NumPy | loss |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    # Under XLA an epoch of the convolutional network takes seconds.
    dense = [*(f"mlp, {units} units" for units in UNITS), f"{MLP}, dropout"]
    kinds = [*((kind, most, count) for kind in dense), ("cnn", min(most, 12_800), min(count, 5))]
    for kind, rows, epochs in kinds:
        base = None
        for group in ("fit", "ours", "one thread"):
            command = [sys.executable, "-m", "benchmarks.training", "--ways", group, kind, str(rows), str(epochs)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            for way, (first, epoch, loss) in json.loads(out.strip().splitlines()[-1]).items():
                base = base or epoch
                shown = f"{loss:.4f}" if "bare" not in way else ""
                times = f"{first:.2f} | {epoch:.3f} | {rows / epoch:,.0f} | {base / epoch:.1f}"
                lines.append(f"| {kind} | {rows:,} | {way} | {times} | {shown} |")
                print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def replicas(rows: int, count: int) -> str:
    """The MLP on 1, 2 and 4 logical CPU devices, Markdown."""
    lines = ["| replicas | epoch, s | rows/s | time x 1 device |", "| ---: | ---: | ---: | ---: |"]
    base = None
    for number in (1, 2, 4):
        command = [sys.executable, "-m", "benchmarks.training", "--replicas", str(number), str(rows), str(count)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        epoch = float(out.strip().splitlines()[-1])
        base = base or epoch
        lines.append(f"| {number} | {epoch:.3f} | {rows / epoch:,.0f} | {epoch / base:.1f} |")
        print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def on_replicas(number: int, rows: int, count: int) -> float:
    """Seconds of the fastest epoch of the MLP on so many logical CPU devices; takes the process's devices."""
    from kep.config.hardware import TrainingHardware
    from kep.runtime.hardware import limit_threads, plan
    from kep.training.loop import Feed, Loop
    from kep.training.machine import TrainingMachine

    several = {"strategy": "mirrored", "device": "cpu", "devices": number}
    hardware = TrainingHardware.model_validate(several if number > 1 else {"strategy": "single"})
    limit_threads(hardware, number == 1)
    machine = TrainingMachine.open(plan("hardware.retrain", hardware), hardware)
    x, y = digits(rows, seed=0)
    with machine.scope():
        model = network(MLP)
    feed = Feed(lambda index: ({"image": x[index]}, y[index]), len(y), BATCH, 0, machine)
    loop = Loop(model, scaled, feed, machine)
    return measured((loop.epoch(feed, epoch) for epoch in range(1, count + 1)), count)[1]


def whole_step(rows: int, epochs: int) -> str:
    """What a local training step spends its time on, in a fresh process, Markdown."""
    from kep.components.ingest.ingest import ingest
    from kep.config.data import DataSettings
    from kep.engines.local.runner import step_environment

    with tempfile.TemporaryDirectory() as folder:
        images, labels = digits(rows, seed=0)
        np.savez(Path(folder) / "digits.npz", x=images, y=labels)
        ingest(DataSettings(source=f"{folder}/digits.npz"), 0, Path(folder) / "records")
        command = [sys.executable, "-m", "benchmarks.training", "--step", f"{folder}/records", str(epochs)]
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=step_environment()).stdout
    spent = json.loads(out.strip().splitlines()[-1])
    total = sum(spent.values())
    lines = ["| part | s | share |", "| --- | ---: | ---: |"]
    lines += [f"| {part} | {seconds:.2f} | {seconds / total:.0%} |" for part, seconds in spent.items()]
    return "\n".join([*lines, f"| all | {total:.2f} | |"])


def step_parts(records: str, epochs: int) -> dict[str, float]:
    """Seconds of each part of a training step, from the start of the process."""
    import psutil

    from kep.config.hardware import TrialHardware
    from kep.runtime.hardware import limit_threads

    limit_threads(TrialHardware())
    spent, last = {}, psutil.Process().create_time()

    def ended(part: str) -> None:
        nonlocal last
        spent[part], last = time.time() - last, time.time()

    ended("start of Python")
    import tensorflow as tf

    ended("import of TensorFlow")
    from kep.data.records import Records
    from kep.models.family import Settings
    from kep.models.registry import family, travelling
    from kep.training.monitor import Monitor

    ended("other imports")
    data = Records(records, "retrain")
    train = data.open("train")
    ended("rows: read and verified")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mlp_of_the_book.py").write_text(MLP_FILE)
        (spec,) = travelling(["mlp_of_the_book.py:build"], Path(folder))
    member = family(spec, data.manifest)
    settings = Settings(0, 0, BATCH, 0)
    training, feed = member._start({}, train, settings, epochs)
    ended("model built")
    training.loop.epoch(feed, 1, steps=1)
    ended("first step: trace")
    member.refit({}, train, epochs, settings, Monitor())
    ended(f"{epochs} epochs")
    with tempfile.TemporaryDirectory() as folder:
        member.save(training.model, Path(folder))
    ended("saved")
    assert tf.config.list_physical_devices("CPU")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="60,000 rows and 15 epochs")
    parser.add_argument("--ways", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--replicas", nargs=3, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if arguments.ways:
        group, kind, rows, count = arguments.ways
        print(json.dumps(trained(group, kind, int(rows), int(count))))
        return
    if arguments.replicas:
        print(on_replicas(*arguments.replicas))
        return
    if arguments.step:
        print(json.dumps(step_parts(arguments.step[0], int(arguments.step[1]))))
        return
    rows, count = (60_000, 15) if arguments.full else (12_800, 4)
    print(f"Images of 28 x 28, batches of {BATCH}, {os.cpu_count()} cores\n\n### One device\n")
    print(throughput(rows, count))
    print(f"\n### Logical CPU devices, mlp, {rows:,} rows\n")
    print(replicas(rows, count))
    print(f"\n### A whole step, mlp, {rows:,} rows\n")
    print(whole_step(rows, count))


if __name__ == "__main__":
    main()
