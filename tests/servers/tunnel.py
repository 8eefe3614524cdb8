"""Google's host names on this machine: a proxy that leads each to a local server, over TLS with a throw-away authority.

Clients find it through their environment alone (`environment`), so that the code under test has no switch for tests,
and a host that has no local server is refused rather than asked.
"""

import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import trustme

from tests.servers.contracts import ContractError, check_json


class Running:
    """Servers that run in threads while the block does."""

    _servers: list[socketserver.BaseServer]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class Tunnel(Running):
    """The proxy, in threads of this process; a context manager.

    Attributes:
        certificate: of every server behind it.
        ports: local port by pattern of the host's name.
        rest: those of HTTP/1.1 where a host speaks gRPC, too.
        refused: hosts without a local server that were asked for.
        revoked: whether the login of `environment` is no longer good.
    """

    def __init__(self, folder: Path):
        authority = trustme.CA()
        self.certificate = authority.issue_cert("*.googleapis.com", "*.pkg.dev")
        self.ports: dict[str, int] = {}
        self.rest: dict[str, int] = {}
        self.refused: list[str] = []
        self.revoked = False
        self._folder = folder
        authority.cert_pem.write_to_path(folder / "ca.pem")
        tunnel = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    tunnel._lead(self.request)

        class Proxy(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 50

        self._proxy = Proxy(("127.0.0.1", 0), Handler)
        self._oauth = self.https(r"oauth2\.googleapis\.com", _token(self))
        self._servers: list[socketserver.BaseServer] = [self._proxy, self._oauth]

    def https(self, host: str, handler: type[BaseHTTPRequestHandler], beside_grpc: bool = False) -> ThreadingHTTPServer:
        """A server for the hosts that the pattern matches; whoever asks for it runs it."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        (self.rest if beside_grpc else self.ports)[host] = server.server_port
        return server

    def environment(self) -> dict[str, str]:
        """Variables that lead Google's clients here, with a login of `gcloud auth application-default login`'s kind."""
        login = self._folder / "login.json"
        keys = {"client_id": "id", "client_secret": "secret", "refresh_token": "token"}
        login.write_text(json.dumps({"type": "authorized_user"} | keys))
        authority = str(self._folder / "ca.pem")
        proxy = f"http://127.0.0.1:{self._proxy.server_address[1]}"
        return {
            "https_proxy": proxy,
            "HTTPS_PROXY": proxy,
            "no_proxy": "127.0.0.1,localhost",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": authority,
            "REQUESTS_CA_BUNDLE": authority,
            "CURL_CA_BUNDLE": authority,
            "SSL_CERT_FILE": authority,
            "GOOGLE_APPLICATION_CREDENTIALS": str(login),
            "CLOUDSDK_CONFIG": str(self._folder),
            "NO_GCE_CHECK": "true",
        }

    def _lead(self, client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            part = client.recv(4096)
            if not part:
                return
            request += part
        host = request.split()[1].decode().partition(":")[0]
        port = _matching(self.ports, host)
        if port is None:
            self.refused.append(host)
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        # A client of gRPC names HTTP/2 in its first message.
        if b"\x02h2" not in client.recv(65536, socket.MSG_PEEK):
            port = _matching(self.rest, host) or port
        with socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


def _matching(ports: dict[str, int], host: str) -> int | None:
    return next((port for pattern, port in ports.items() if re.fullmatch(pattern, host)), None)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            # Clients of a proxy hold the second part of a request back until the first is acknowledged, after 40 ms.
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            data = source.recv(65536)
            if not data:
                break
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def json_handler(
    answer: Callable[[str, str, bytes], tuple[int, object]], api: str = ""
) -> type[BaseHTTPRequestHandler]:
    """A handler of `answer(method, path, body)`, which returns a status and what to send: text, bytes or JSON.

    Args:
        answer: What is answered.
        api: That answers are held against, such as iam.v1; empty for one that Google has not defined.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Tests look at the servers' journals."""

        def handle(self) -> None:
            with suppress(OSError):  # of a client that has gone
                super().handle()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = answer(self.command, self.path, body)
            try:
                if api:
                    check_json(api, self.command, self.path.partition("?")[0], status, content)
            except ContractError as error:
                status, content = 418, str(error)
            if not isinstance(content, bytes):
                content = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    return Handler


def _token(tunnel: Tunnel) -> type[BaseHTTPRequestHandler]:
    def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
        if tunnel.revoked:
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        return 200, {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}

    return json_handler(answer)
