"""The HTTP interface: what each path answers, and with which status when it can't."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from kep.core.errors import UserError
from kep.data.records import Rows
from kep.delivery.serving.batching import Batcher, FullError
from kep.delivery.serving.describe import answer, metadata, request_body
from kep.delivery.serving.instances import PredictionRequest, parse
from kep.delivery.serving.model import Model
from kep.delivery.serving.observe import Metrics, ObservingMiddleware

_LARGE = 1 << 16
"""Bytes from which a request is read in a thread, so that health checks do not wait for it."""
_RETRY = {"Retry-After": "1"}
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class ServerLimits:
    """Limits of a server.

    Attributes:
        rows: Maximum rows of a request, and of a batch.
        delay: Seconds that a batch waits to fill.
        queue: Rows that may wait.
        bytes: Maximum bytes of a request's body.
        seconds: From a request's first byte to its answer.
    """

    rows: int = 1024
    delay: float = 0.0
    queue: int = 8192
    bytes: int = 16 << 20
    seconds: float = 30.0


class Service:
    """A model behind its queue, for HTTP and gRPC alike.

    Args:
        model: Not loaded yet.
        limits: Limits of the server.
    """

    def __init__(self, model: Model, limits: ServerLimits) -> None:
        self.model, self.limits = model, limits
        self.batcher = Batcher(self._predict, limits.rows, limits.delay, limits.queue)
        self.metrics = Metrics(model, self.batcher)

    def _predict(self, rows: Rows) -> list[np.ndarray]:
        with self.metrics.batch(len(rows)):
            return self.model.predict(rows)

    async def predict(self, read: Callable[[], PredictionRequest]) -> tuple[PredictionRequest, list[np.ndarray]]:
        """Reads a request and predicts.

        Args:
            read: Reads the request's rows.

        Returns:
            What was asked for; the ensemble's predictions, then each member's.

        Raises:
            UserError: The request is not what the model takes, or makes it predict what is no number.
            HTTPException: The model is not ready, or has too much to do.
        """
        if self.model.state == "LOADING":
            raise HTTPException(503, "the model is being loaded; try again in a moment", _RETRY)
        asked = read()
        try:
            found = await self.batcher.submit(asked.rows)
        except FullError:
            raise HTTPException(
                429, f"{self.batcher.queued} rows wait already; try again in a moment", _RETRY
            ) from None
        lost = np.flatnonzero(~np.isfinite(found[0]).reshape(len(asked.rows), -1).all(axis=1))
        if len(lost):
            raise UserError(
                f"row {lost[0]}: the ensemble predicts no number for it; its values are far from any it was trained on"
            )
        self.metrics.rows.inc(len(asked.rows))
        return asked, found


class _Routes:
    """Answers of each path.

    Args:
        service: Service that predicts.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._model, self._limits = service, service.model, service.limits

    async def predictions(self, request: Request) -> Response:
        """Predict rows: class probabilities and the predicted class, or a number."""
        manifest, limits = self._model.manifest, self._limits
        try:
            async with asyncio.timeout(limits.seconds):
                data = await _body(request, limits.bytes)
                if len(data) < _LARGE:
                    asked, found = await self._service.predict(lambda: parse(data, manifest, limits.rows))
                else:
                    read = await asyncio.to_thread(parse, data, manifest, limits.rows)
                    asked, found = await self._service.predict(lambda: read)
        except ClientDisconnect:
            raise HTTPException(400, "the connection was closed before the request was whole") from None
        except TimeoutError:
            raise HTTPException(504, f"no answer within {limits.seconds:g} s; send fewer rows or try again") from None
        request.scope["kep.rows"] = len(asked.rows)
        members = None
        if asked.members:
            members = {m.id: values for m, values in zip(self._model.served.members, found[1:], strict=True)}
        return _json(answer(manifest.label, found[0], members, asked.columnar))

    async def status(self) -> Response:
        """Return whether the model is ready, in the form of TensorFlow Serving."""
        error = {"error_code": "OK", "error_message": ""}
        version = {"version": str(self._model.version), "state": self._model.state, "status": error}
        return _json({"model_version_status": [version]})

    async def described(self) -> Response:
        """The model's inputs and outputs, as TensorFlow Serving says them, and the ensemble's columns and members."""
        model = self._model
        if model.ensemble is None:
            raise HTTPException(503, "the model is being loaded; try again in a moment", _RETRY)
        return _json(metadata(model.manifest, model.name, model.version, model.ensemble.members, self._limits.rows))

    async def ready(self) -> Response:
        """200 once the model has predicted and until the server is told to end, else 503."""
        ready = self._model.state == "AVAILABLE"
        return _json({"state": self._model.state}, 200 if ready else 503, {} if ready else _RETRY)

    async def metrics(self) -> Response:
        """Counters and latencies for Prometheus."""
        return Response(generate_latest(self._service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def create_app(service: Service, health: str, predict: str, lifespan: Lifespan) -> FastAPI:
    """Return the application.

    Args:
        service: Service that answers.
        health: Path of the readiness check.
        predict: Path of predictions beside TensorFlow Serving's, as Vertex AI asks for it.
        lifespan: Async context manager around the time that the application serves, called with it.
    """
    model, routes = service.model, _Routes(service)
    app = FastAPI(
        title=f"Predictions of {model.name}",
        version=str(model.version),
        description=f"An ensemble that predicts `{model.manifest.label.name}` ({model.manifest.label.task}).",
        lifespan=lifespan,
    )
    served = f"/v1/models/{model.name}"
    body = {"requestBody": request_body(model.manifest, service.limits.rows)}
    app.add_api_route(health, routes.ready, methods=["GET"])
    app.add_api_route("/metrics", routes.metrics, methods=["GET"])
    app.add_api_route(predict, routes.predictions, methods=["POST"], openapi_extra=body)
    for path in (served, f"{served}/versions/{model.version}"):
        app.add_api_route(f"{path}:predict", routes.predictions, methods=["POST"], openapi_extra=body)
        app.add_api_route(path, routes.status, methods=["GET"])
        app.add_api_route(f"{path}/metadata", routes.described, methods=["GET"])

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, UserError):
            return _json({"error": str(error)}, 400)
        assert isinstance(error, StarletteHTTPException)
        text = str(error.detail)
        if error.status_code == 404:
            text = f"there is no {request.url.path} here; the model is at {served}:predict"
        return _json({"error": text}, error.status_code, dict(error.headers or {}))

    async def failed(request: Request, error: Exception) -> Response:
        # The log has the rest; what is in a request is nobody else's business, and neither is what is in the server.
        return _json({"error": "the server failed at this request; its log says why"}, 500)

    for kind in (UserError, StarletteHTTPException):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(Exception, failed)
    app.add_middleware(ObservingMiddleware, metrics=service.metrics)
    return app


async def _body(request: Request, most: int) -> bytes:
    """The request's body.

    Raises:
        HTTPException: It is too large, or says it will be.
    """
    parts, size = [], 0
    too_large = HTTPException(413, f"the body is larger than {most:,} bytes; send fewer rows a request")
    if int(request.headers.get("content-length", 0)) > most:
        raise too_large
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(value), status, headers, "application/json")
