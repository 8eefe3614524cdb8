"""Several processes that train one model on this machine, where no engine has started them.

Each calls the same step with the same arguments; `TF_CONFIG` tells them apart. The first is the chief, whose result
counts. On Vertex AI and Kubeflow the engine sets `TF_CONFIG`, and nothing here is used.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kep.artifacts.event import StepCall
from kep.core.environment import CLUSTER, EVENTS, OWNER, PARALLEL
from kep.core.files import write_json
from kep.runtime.step import Step


@contextmanager
def local_cluster(step: Step, workers: int) -> Iterator[None]:
    """Starts the other `workers` - 1 processes of the training; this one is the chief.

    A process that ends with an error ends this one within a second, with a sentence, status 1, and the end of that
    process's log.
    """
    with tempfile.TemporaryDirectory(prefix="kep-cluster-") as folder:
        if step.call is None:
            raise ValueError("the step was not entered as one")
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
        share = {PARALLEL: str(workers * int(os.environ.get(PARALLEL, "1")))}
        os.environ.update(share | _config(addresses, 0))
        others = []
        for number in range(1, workers):
            call = Path(folder) / f"{number}.json"
            write_json(call, step.call.model_dump(mode="json"))
            environment = os.environ | _config(addresses, number) | {OWNER: str(os.getpid())}
            environment.pop(EVENTS, None)
            with open(call.with_suffix(".log"), "wb") as log:
                command = [sys.executable, "-m", "kep.training.cluster", str(call), f"{folder}/{number}"]
                others.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                for number, other in enumerate(others, start=1):
                    if other.poll():
                        log = (Path(folder) / f"{number}.log").read_text(errors="replace", encoding="utf-8")
                        print(log[-2000:], flush=True)
                        how = f"was killed by signal {-other.returncode}" if other.returncode < 0 else "ended"
                        for one in others:
                            one.kill()
                        step.abort(
                            f"worker {number} of {workers} {how}, so the training ends; start it again, it goes on "
                            "from its last checkpoint"
                        )

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
            for other in others:
                other.wait()
        finally:
            done.set()
            for other in others:
                other.kill()
                with suppress(ChildProcessError):
                    other.wait()
            del os.environ[CLUSTER]


def _config(addresses: list[str], number: int) -> dict[str, str]:
    return {CLUSTER: json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}})}


def _free_ports(count: int) -> list[int]:
    # All are held until all are found, so that no port comes twice.
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    _, given, out = sys.argv
    call = StepCall.from_json(Path(given).read_bytes(), given)
    module, name = call.function.split(":")
    getattr(importlib.import_module(module), name)(out=out, **call.arguments)
