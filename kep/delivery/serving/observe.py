"""Observability of a server: metrics for Prometheus, and a line of JSON per request without its content."""

import json
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kep.delivery.serving.batching import Batcher
from kep.delivery.serving.model import Model

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("kep.serving")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The metrics of one server, in a registry of their own.

    Args:
        model: Model that it serves.
        batcher: Its queue.
    """

    def __init__(self, model: Model, batcher: Batcher) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("kep_requests", "Requests answered.", ("route", "status"), registry=registry)
        self.seconds = Histogram(
            "kep_request_seconds", "From request to answer.", ("route",), buckets=_SECONDS, registry=registry
        )
        self.rows = Counter("kep_rows", "Rows predicted.", registry=registry)
        self.batches = Histogram("kep_batch_rows", "Rows of a batch.", buckets=_ROWS, registry=registry)
        self.model_seconds = Histogram(
            "kep_batch_seconds", "Time of the members with a batch.", buckets=_SECONDS, registry=registry
        )
        waiting = Gauge("kep_queue_rows", "Rows that wait for a batch.", registry=registry)
        waiting.set_function(lambda: batcher.queued)
        ready = Gauge("kep_ready", "1 while the model is ready.", registry=registry)
        ready.set_function(lambda: model.state == "AVAILABLE")
        labels = {"name": model.name, "version": str(model.version), "fingerprint": model.manifest.fingerprint}
        Gauge("kep_model_info", "The model; always 1.", tuple(labels), registry=registry).labels(**labels).set(1)

    @contextmanager
    def batch(self, rows: int) -> Iterator[None]:
        """Counts and times one batch."""
        self.batches.observe(rows)
        with self.model_seconds.time():
            yield


class ObservingMiddleware:
    """ASGI middleware that counts, times and logs requests, and gives each an id, the caller's own where it has one."""

    def __init__(self, app: "ASGIApp", metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        id = given if 0 < len(given) <= 128 else uuid.uuid4().hex.encode()

        async def answered(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", id)]
            await send(message)

        try:
            await self._app(scope, receive, answered)
        finally:
            seconds = time.perf_counter() - started
            # The path as it was registered: made-up ones are one label, not one each.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            if scope["method"] != "GET" or status >= 500:
                fields = {
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "milliseconds": round(seconds * 1000, 2),
                    "rows": scope.get("kep.rows"),
                    "request_id": id.decode("latin-1"),
                }
                # 503 is what a server says that is not ready yet, or full: nothing is wrong with it.
                level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
                log.log(level, "request", extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """A line of JSON per record, with the names that Cloud Logging reads."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in getattr(record, "fields", {}).items() if value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
