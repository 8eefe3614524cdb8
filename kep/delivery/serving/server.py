"""A server from its start to its end: load, warm up, answer, and on SIGTERM finish what has begun."""

import asyncio
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from kep.core.errors import UserError
from kep.delivery.serving.app import ServerLimits, Service, create_app
from kep.delivery.serving.guard import GuardedProtocol
from kep.delivery.serving.model import Model
from kep.delivery.serving.observe import JsonFormatter

log = logging.getLogger("kep.serving")


@dataclass(frozen=True)
class Address:
    """Where a server listens and answers.

    Attributes:
        host: Address to listen on.
        port: Port of HTTP; 0 for any free one.
        grpc_port: Port of TensorFlow Serving's gRPC; None for none.
        health: Path of the readiness check.
        predict: Path of predictions beside TensorFlow Serving's.
        drain: Seconds after SIGTERM in which requests are still taken while the readiness check fails, so that a load
            balancer has time to look away.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    health: str = "/health"
    predict: str = "/predict"
    drain: float = 5.0


class Server(uvicorn.Server):
    """uvicorn, whose end on SIGTERM begins with a failing readiness check.

    Args:
        model: Model to serve.
        limits: Limits of the server.
        place: Where.
    """

    def __init__(self, model: Model, limits: ServerLimits, place: Address) -> None:
        self.model, self.place = model, place
        self.failure: Exception | None = None
        self._ends: float | None = None
        self._service = Service(model, limits)
        app = create_app(self._service, place.health, place.predict, self._serving)
        super().__init__(
            uvicorn.Config(
                app,
                http=GuardedProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                # Longer than the 600 s of Google's load balancers, which else send to a connection just being closed.
                timeout_keep_alive=620,
                timeout_graceful_shutdown=int(limits.seconds) + 1,
            )
        )

    @asynccontextmanager
    async def _serving(self, app: FastAPI) -> AsyncIterator[None]:
        batcher = self._service.batcher
        batcher.start()
        loading = asyncio.create_task(self._load())
        rpc = None
        if self.place.grpc_port is not None:
            from kep.delivery.serving.rpc import start

            try:
                rpc = await start(self._service, f"{self.place.host}:{self.place.grpc_port}")
            except UserError as error:
                self._fail(error)
        yield
        if rpc is not None:
            await rpc.stop(grace=self._service.limits.seconds)
        await loading
        await batcher.stop()
        gc.unfreeze()

    async def _load(self) -> None:
        try:
            await self._service.batcher.run(self.model.load)
            # Else every full collection walks TensorFlow's objects: for 0.2 s, every few seconds, nobody is answered.
            gc.collect()
            gc.freeze()
            log.info("ready")
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM the readiness check fails at once, and the server ends after the drain; on SIGINT it ends now."""
        self.model.state = "UNLOADING"
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGTERM and self._ends is None:
            self._ends = time.monotonic() + self.place.drain
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; uvicorn calls this ten times a second."""
        self.should_exit = self.should_exit or (self._ends is not None and time.monotonic() >= self._ends)
        return await super().on_tick(counter)


def serve(model: Model, limits: ServerLimits, place: Address, listening: Callable[[int], None]) -> None:
    """Serves until the process is told to end.

    Args:
        model: Not loaded yet.
        limits: Limits of the server.
        place: Where.
        listening: Called with the port once connections are accepted, which is before the model is ready.

    Raises:
        UserError: An address can't be listened on, or the ensemble is not one.
    """
    try:
        listener = socket.create_server((place.host, place.port), backlog=2048)
    except OSError as error:
        raise UserError(f"--port: {place.host}:{place.port} can't be listened on: {error.strerror}") from error
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = Server(model, limits, place)
    listening(listener.getsockname()[1])
    server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
