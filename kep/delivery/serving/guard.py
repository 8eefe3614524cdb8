"""Limits in front of the HTTP parser, which has none: the size and the time of a head, and connections at once."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
"""Most bytes of a request's line and headers without an end; nginx takes 32 kB."""
HEAD_SECONDS = 10.0
"""Most seconds from a connection's or a request's first byte to the end of its headers."""
MOST_CONNECTIONS = 1000
"""Most connections at once; a further one is closed."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class GuardedProtocol(HttpToolsProtocol):
    """A connection of uvicorn's that ends where a head is too large or too slow."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head: int | None = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._heard()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and count the bytes of a head that has no end yet."""
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > HEAD_BYTES:
            self._end(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins: wait for the end of its head."""
        super().on_message_begin()
        if self._head is None:
            self._head = 0
            self._wait()

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._head = None
        self._heard()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._heard()
        self._late = self.loop.call_later(HEAD_SECONDS, self._end, _TOO_SLOW)

    def _heard(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self, answer: bytes) -> None:
        self._heard()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
