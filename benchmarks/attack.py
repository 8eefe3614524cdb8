"""What `kep serve` takes of clients that mean it no good: /health's latency, and memory beyond that of an idle server.

    python -m benchmarks.attack [--seconds N]

prints a Markdown table to standard output, and ends with status 1 where a limit of docs/explanation/measured-serving.md
is not met. The server is a process of its own on this machine's cores, and every connection is to 127.0.0.1.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import http.client
import logging
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import psutil
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.serving import server, trained
from kep.delivery.serving.describe import tensor
from kep.models.ensemble import Ensemble

HALF_OPEN = 1500
FLOODS = 4
"""Connections at once that send without an end."""
MOST_MS, MOST_MB = 50.0, 200.0
HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each attack (default 15)")
    seconds = parser.parse_args().seconds
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as scratch, socket.create_server(("127.0.0.1", 0)) as free:
        folder, _ = trained("wine", ("mlp", "mlp"), Path(scratch))
        rpc = free.getsockname()[1]
        free.close()
        with server(folder, "--grpc-port", str(rpc)) as port:
            sys.exit(0 if attacked(port, rpc, folder, seconds) else 1)


def attacked(port: int, rpc: int, folder: Path, seconds: float) -> bool:
    """Print the table; return whether every line is within the limits."""
    process = next(one for one in psutil.Process().children(recursive=True) if "serve" in one.cmdline())
    attacks: dict[str, Callable[[threading.Event], None]] = {
        "nobody": lambda stop: None,
        f"{HALF_OPEN:,} connections that say nothing, opened again when they are closed": lambda stop: held(
            port, b"", stop
        ),
        f"{HALF_OPEN:,} connections with half a head": lambda stop: held(port, HEAD, stop),
        f"{HALF_OPEN:,} connections with half a body": lambda stop: held(port, CHUNKED, stop),
        f"{FLOODS} endless headers": lambda stop: floods(port, HEAD + b"A: ", stop),
        f"{FLOODS} endless trailers": lambda stop: floods(port, CHUNKED + b"0\r\nA: ", stop),
        "gRPC tensors of 20 million rows in 200 bytes": lambda stop: bombs(rpc, folder, stop),
        f"{HALF_OPEN:,} with half a head and {FLOODS} endless headers": lambda stop: both(port, stop),
    }
    health(port, 2.0)
    idle, fine = process.memory_info().rss, True
    print("| attack | /health asked | failed | p50 ms | p99 ms | longest ms | MB beyond idle |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, attack in attacks.items():
        with going(attack), most_memory(process) as peak:
            time.sleep(1)  # until the attack is all there
            taken, failed = health(port, seconds)
        p50, p99, longest = np.percentile(taken, [50, 99, 100]) * 1000
        beyond = (peak[0] - idle) / 1e6
        print(
            f"| {name} | {len(taken)} | {failed} | {p50:.1f} | {p99:.1f} | {longest:.1f} | {beyond:.0f} |", flush=True
        )
        fine = fine and failed == 0 and p99 <= MOST_MS and beyond <= MOST_MB
    return fine


def health(port: int, seconds: float) -> tuple[list[float], int]:
    """Seconds that each answer of /health took, over a connection of its own, and how many failed."""
    taken, failed, end = [], 0, time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        try:
            one = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            one.request("GET", "/health")
            failed += one.getresponse().status != 200
            one.close()
        except OSError:
            failed += 1
        taken.append(time.perf_counter() - before)
        time.sleep(0.1)
    return taken, failed


@contextmanager
def going(attack: Callable[[threading.Event], None]) -> Iterator[None]:
    """An attack while the context is."""
    stop = threading.Event()
    thread = threading.Thread(target=attack, args=[stop])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def most_memory(process: psutil.Process) -> Iterator[list[int]]:
    """The most bytes that the process has had since the context began."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def held(port: int, begin: bytes, stop: threading.Event) -> None:
    """Hold connections that have begun a request, and open each that is closed again."""
    places: list[socket.socket | None] = [None] * HALF_OPEN
    while not stop.is_set():
        for place, one in enumerate(places):
            if stop.is_set():
                break
            with suppress(OSError):
                if one is not None:
                    try:
                        if one.recv(1024, socket.MSG_DONTWAIT):
                            continue
                    except BlockingIOError:
                        continue
                    except OSError:
                        pass
                    one.close()
                    # A client that comes back at once is one core of this machine's two.
                    time.sleep(0.002)
                places[place] = fresh = socket.create_connection(("127.0.0.1", port), timeout=5)
                fresh.sendall(begin)
        stop.wait(0.1)
    for one in places:
        if one is not None:
            one.close()


def floods(port: int, begin: bytes, stop: threading.Event) -> None:
    """Send something without an end over several connections, each of which begins anew when it is closed."""

    def flood() -> None:
        while not stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as one:
                one.sendall(begin)
                while not stop.is_set():
                    one.sendall(b"a" * 65_536)
            stop.wait(0.01)

    threads = [threading.Thread(target=flood) for _ in range(FLOODS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def both(port: int, stop: threading.Event) -> None:
    """Hold connections while others flood."""
    thread = threading.Thread(target=held, args=[port, HEAD, stop])
    thread.start()
    floods(port, HEAD + b"A: ", stop)
    thread.join()


def bombs(rpc: int, folder: Path, stop: threading.Event) -> None:
    """Ask for predictions of one value that stands for twenty million."""
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name = "m"
    for column in Ensemble(folder).manifest.inputs:
        one = asked.inputs[column.name]
        one.tensor_shape.dim.add().size = 20_000_000
        one.dtype = {"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_STRING": 7}[tensor(column)[0]]
        one.float_val.append(1.0)
    with grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        while not stop.wait(0.01):
            with suppress(grpc.RpcError):
                stub.Predict(asked, timeout=60)


if __name__ == "__main__":
    main()
