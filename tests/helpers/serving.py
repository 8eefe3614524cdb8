"""Servers in a thread of the tests."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kep.delivery.serving.app import ServerLimits
from kep.delivery.serving.model import Model
from kep.delivery.serving.server import Address, Server
from kep.models.ensemble import Ensemble


class Held(Model):
    """A model that loads, and then predicts, when it is told to."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.loads, self.predicts = threading.Event(), threading.Event()
        self.loads.set()
        self.predicts.set()
        self.loaded, self.at_work = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    def load(self) -> None:
        assert self.loads.wait(60)
        super().load()
        self.loaded.set()

    def predict(self, rows):
        if self.loaded.is_set():
            self.at_work.set()
            assert self.predicts.wait(60)
            if self.failure is not None:
                raise self.failure
        return super().predict(rows)


class Running:
    """A server and how to talk to it."""

    def __init__(self, server: Server, port: int, folder: Path) -> None:
        self.server, self.model, self.folder = server, server.model, folder
        self.address = f"http://127.0.0.1:{port}"
        self.url = f"{self.address}/v1/models/{server.model.name}:predict"

    @cached_property
    def ensemble(self) -> Ensemble:
        return Ensemble(self.folder)

    def post(self, body: dict | list | str | bytes, path: str | None = None) -> requests.Response:
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        return requests.post(self.address + path if path else self.url, data, timeout=60)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.address + path, timeout=60)


def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds, which may take a moment in another thread or process."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


@contextmanager
def running(folder: Path, limits: ServerLimits = ServerLimits(), loads: bool = True, **place) -> Iterator[Running]:
    """A server that is ready, or one that waits to be told to load."""
    model = Held(folder, "tested", 3, limits.rows)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(model, limits, Address(**{"drain": 0} | place))
        thread = threading.Thread(target=server.run, args=[[listener]])
        if not loads:
            model.loads.clear()
        thread.start()
        try:
            assert not loads or model.loaded.wait(60)
            yield Running(server, listener.getsockname()[1], folder)
        finally:
            model.loads.set()
            model.predicts.set()
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def request(arrays: dict, name: str = "tested", **outer) -> predict_pb2.PredictRequest:
    """Return a request of TensorFlow Serving's gRPC."""
    built = predict_pb2.PredictRequest(**outer)
    built.model_spec.name = name
    for column, array in arrays.items():
        built.inputs[column].CopyFrom(tf.make_tensor_proto(array))
    return built
