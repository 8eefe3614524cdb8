"""What serving over HTTP costs: latency and throughput against the same ensemble in process and as a SavedModel.

    python -m benchmarks.serving [--seconds N]

prints Markdown tables to standard output and its progress to standard error. Server and clients share this machine's
cores. docs/explanation/measured-serving.md holds the tables of the full run and what they say.
"""

import os

# As `kep` starts its own processes: OpenMP's threads wait without spinning.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import asyncio
import json
import logging
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kep.artifacts.member import TrainedMember
from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.data.records import Records
from kep.delivery.export.savedmodel import savedmodel, tensors
from kep.models import ensemble
from kep.models.ensemble import Ensemble, raw_features
from kep.models.family import Settings
from kep.models.registry import family
from kep.training.monitor import Monitor

SETS = {
    "breast_cancer": (("mlp", "mlp"), "30 numbers, two dense networks"),
    "digits": (("cnn", "mlp"), "8x8 images, a convolutional and a dense network"),
    "wine": (("mlp", "boosted_trees"), "13 numbers, a dense network and boosted trees"),
}
CLIENTS = (1, 8, 32)
ROUNDS = 5
MALFORMED = 5
"""Of so many requests one is malformed, where some are."""


@dataclass
class Measured:
    """Latencies in seconds of what was answered well, and what was not."""

    seconds: list[float]
    elapsed: float
    refused: int = 0
    failed: int = 0


@dataclass
class Line:
    """A line of a table: what it measures for so many seconds, and what it found in each round."""

    name: str
    measure: Callable[[float], Measured]
    clients: int = 1
    rows: int = 1
    found: list[Measured] = field(default_factory=list)

    def rates(self) -> np.ndarray:
        """Rows per second, by round."""
        return np.array([len(found.seconds) * self.rows / found.elapsed for found in self.found])

    def text(self, base: "Line") -> str:
        """The line: medians over the rounds."""
        share = np.median(self.rates() / base.rates())
        p50, p99 = np.median([np.percentile(found.seconds, [50, 99]) for found in self.found], axis=0) * 1000
        return (
            f"| {self.name} | {self.clients} | {np.median(self.rates()):,.0f} | {share:.2f} | {p50:.2f} | {p99:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each line, in five rounds (default 2)")
    seconds = parser.parse_args().seconds
    logging.disable(logging.INFO)
    for name, (families, what) in SETS.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder, rows = trained(name, families, Path(scratch))
            compare(f"{name}: {what}", folder, rows, Path(scratch), seconds)


def described(id: str, family: str, weight: float) -> TrainedMember:
    """Return a member that was trained for three epochs or rounds."""
    return TrainedMember(
        id=id,
        family=family,
        values={},
        loss=0.0,
        best=3,
        unit="round" if family == "boosted_trees" else "epoch",
        weight=weight,
        median_best=3,
        trained_rows=1,
        trained_units=3,
        rule="same",
        seed=0,
        roles=["train"],
        rows=1,
        spec={"name": family},
        hardware=None,
    )


def trained(name: str, families: tuple[str, ...], scratch: Path) -> tuple[Path, list[dict]]:
    """An ensemble of members trained for a moment, and rows of the test role as requests have them."""
    ingest(DataSettings(source=f"sklearn:{name}"), 0, scratch / "records")
    data, members = Records(scratch / "records", "tune"), {}
    train = data.load("train")
    for place, chosen in enumerate(families):
        own, folder = family({"name": chosen}, data.manifest), scratch / f"{chosen}-{place}"
        folder.mkdir()
        own.save(own.refit(own.space().values, train, 3, Settings(3, 3, 64, place), Monitor()), folder)
        described(folder.name, chosen, 1 / len(families)).save(folder)
        members[folder.name] = folder
    (scratch / "ensemble").mkdir()
    ensemble.write(scratch / "ensemble", members, scratch / "records", train.ids, "arithmetic")
    test = raw_features(data.manifest, Records(scratch / "records", "evaluate").load("test"))
    lists = {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in test.items()}
    return scratch / "ensemble", [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def compare(title: str, folder: Path, rows: list[dict], scratch: Path, seconds: float) -> None:
    """Prints the table of one ensemble."""
    own = Ensemble(folder)
    columns = [{name: [value] for name, value in row.items()} for row in rows]
    blocks = [{name: [row[name] for row in (rows * 2)[i : i + 32]] for name in rows[0]} for i in range(len(rows))]
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows]
    many = [json.dumps({"inputs": block}).encode() for block in blocks]
    # What has a value too few, too many, or of a wrong type.
    bad = [b"{", b'{"instances": []}', json.dumps({"instances": [rows[0] | {"x": 1}]}).encode()]
    with server(folder) as port, server(folder, "--batch-ms", "2") as patient:
        lines = [Line("in process", lambda s: repeated(lambda i: own.predict(columns[i % len(columns)]), s))]
        if all(isinstance(model, keras.Model) for _, model in own.models):
            call = exported(own, columns, scratch)
            lines.append(Line("`kep export`, called in process", lambda s: repeated(call, s)))
        lines += [Line("HTTP", lambda s, n=n: load(port, bodies, n, s), n) for n in CLIENTS]
        mixed = Line(f"HTTP, 1 of {MALFORMED} requests malformed", lambda s: load(port, bodies, 32, s, bad), 32)
        lines += [mixed, Line("HTTP, `--batch-ms 2`", lambda s: load(patient, bodies, 32, s), 32)]
        big = [
            Line("in process, 32 rows", lambda s: repeated(lambda i: own.predict(blocks[i % len(blocks)]), s), 1, 32)
        ]
        big += [Line("HTTP, 32 rows", lambda s, n=n: load(port, many, n, s), n, 32) for n in (1, 8)]
        for line in (*lines, *big):
            line.measure(0.5)
        # In turn, so that what else the machine does is shared by all of them.
        for _ in range(ROUNDS):
            for line in (*lines, *big):
                line.found.append(line.measure(seconds / ROUNDS))
    print(f"### {title}\n\n| | clients | rows/s | of in process | p50 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for line in lines:
        print(line.text(lines[0]))
    for line in big:
        print(line.text(big[0]))
    good, refused, failed = (
        sum(count) for count in zip(*((len(m.seconds), m.refused, m.failed) for m in mixed.found), strict=True)
    )
    print(f"\nOf the mixed requests, {good:,} good ones were answered and {failed} failed; ", end="")
    print(f"{refused:,} malformed ones got their 400.\n", flush=True)


def exported(own: Ensemble, columns: list[dict], scratch: Path) -> Callable[[int], object]:
    """The ensemble as a SavedModel: a function that predicts one of the rows."""
    savedmodel(own, scratch / "exported")
    serve = tf.saved_model.load(str(scratch / "exported")).signatures["serving_default"]
    image = own.manifest.image
    rows = [{image.name: np.array(row[image.name], np.uint8)} if image else row for row in columns]
    inputs = [tensors(own.manifest, row) for row in rows]

    def call(index: int) -> object:
        given = {name: tf.constant(array) for name, array in inputs[index % len(inputs)].items()}
        return {name: output.numpy() for name, output in serve(**given).items()}

    return call


def repeated(call: Callable[[int], object], seconds: float) -> Measured:
    """Calls again and again."""
    taken, started = [], time.perf_counter()
    while (before := time.perf_counter()) < started + seconds:
        call(len(taken))
        taken.append(time.perf_counter() - before)
    return Measured(taken, time.perf_counter() - started)


@contextmanager
def server(folder: Path, *options: str) -> Iterator[int]:
    """`kep serve` in a process of its own; yields its port when it is ready."""
    command = [sys.executable, "-m", "kep.cli.main", "serve", str(folder), "--name", "m", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        url = next(shlex.split(line)[1] for line in process.stdout if line.startswith("curl "))
        next(line for line in process.stdout if '"ready"' in line)
        # What is not read would fill the pipe and stop the server.
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        try:
            yield int(url.split("/")[2].partition(":")[2])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
            drain.wait()


def load(port: int, bodies: list[bytes], clients: int, seconds: float, bad: list[bytes] | None = None) -> Measured:
    """What clients measure that each send a request as soon as the one before is answered, over one connection each."""
    return asyncio.run(_load(port, bodies, clients, seconds, bad))


async def _load(port: int, bodies: list[bytes], clients: int, seconds: float, bad: list[bytes] | None) -> Measured:
    found, started = Measured([], 0), time.perf_counter()

    async def client(number: int) -> None:
        chosen = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < started + seconds:
            wrong = bad is not None and chosen.randrange(MALFORMED) == 0
            body = chosen.choice(bad if wrong else bodies)
            head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            before = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(next(line for line in answer.split(b"\r\n") if line.startswith(b"content-length")).split()[1])
            await reader.readexactly(length)
            status = int(answer.split()[1])
            if wrong:
                found.refused += status == 400
                found.failed += status != 400
            elif status == 200:
                found.seconds.append(time.perf_counter() - before)
            else:
                found.failed += 1
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    found.elapsed = time.perf_counter() - started
    return found


if __name__ == "__main__":
    main()
