"""Limits around the HTTP parser, which has none: size and time of a head, what is no body, and connections at once."""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
"""Most bytes of a request's line and headers without an end, or between parts of a body; nginx takes 32 kB of the
former."""
HEAD_SECONDS = 10.0
"""Most seconds from a connection's or a request's first byte to the end of its headers."""
MOST_CONNECTIONS = 1000
"""Most connections at once; a further one takes the place of the one whose client has been silent for longest."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class GuardedProtocol(HttpToolsProtocol):
    """A connection of uvicorn's that ends where a head is too large or too slow.

    Attributes:
        waits_since: When the server began to wait for the client; None while it is the server's turn.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.waits_since: float | None = None
        self._unused = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if need be in the place of another."""
        super().connection_made(transport)
        self.waits_since = time.monotonic()
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            # Whoever holds connections without asking must not keep the others out. This one waits, too.
            waiting = [one for one in self.connections if isinstance(one, GuardedProtocol) and one.waits_since]
            min(waiting, key=lambda one: one.waits_since or 0.0).end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._heard()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and count the bytes that have brought neither the end of a head nor a part of a body."""
        self._unused += len(data)
        super().data_received(data)
        if self._unused > HEAD_BYTES:
            self.end(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins: wait for the end of its head."""
        super().on_message_begin()
        if self._late is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._unused = 0
        self._heard()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._unused = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request has come: it is the server's turn."""
        self._unused, self.waits_since = 0, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer has gone: it is the client's turn."""
        self.waits_since = time.monotonic()
        super().on_response_complete()

    def end(self, answer: bytes = b"") -> None:
        """End the connection, with a last answer."""
        self._heard()
        self.connections.discard(self)
        if not self.transport.is_closing():
            if answer:
                self.transport.write(answer)
                self.transport.close()
            else:
                self.transport.abort()

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self.end, _TOO_SLOW)

    def _heard(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
