"""Who is told: a webhook and Pub/Sub on this machine, with faults on request."""

import base64
import json
from http.server import ThreadingHTTPServer
from typing import Any

from tests.servers.contracts import check_json
from tests.servers.tunnel import Running, json_handler


class Receiver(Running):
    """The server, in threads of this process; a context manager.

    Attributes:
        url: Address of the webhook, with a part that is a secret.
        host: HOST:PORT, as for PUBSUB_EMULATOR_HOST.
        bodies: What each accepted request has brought, as JSON, in order.
        journal: Path of every request.
        statuses: Statuses of the next requests; 0 closes the connection without an answer. After them all are accepted.
    """

    SECRET = "T000-s3cr3t"

    def __init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), json_handler(self._answer))
        self._http.daemon_threads = True
        self._servers = [self._http]
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.url = f"http://{self.host}/services/{self.SECRET}"
        self.bodies: list[dict[str, Any]] = []
        self.journal: list[str] = []
        self.statuses: list[int] = []

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        self.journal.append(path)
        status = self.statuses.pop(0) if self.statuses else 200
        if not status:
            raise ConnectionResetError  # the handler's connection closes without an answer
        if status == 200:
            self.bodies.append(json.loads(body))
        if path.endswith(":publish") and status == 200:
            told = {"messageIds": [str(len(self.bodies))]}
            check_json("pubsub.v1", method, path, status, told)
            return status, told
        return status, {}

    @property
    def published(self) -> list[dict[str, Any]]:
        """Messages that topics got, with their data as JSON."""
        found = [message for body in self.bodies for message in body.get("messages", [])]
        return [message | {"data": json.loads(base64.b64decode(message["data"]))} for message in found]
