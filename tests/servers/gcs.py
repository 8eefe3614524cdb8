"""A Cloud Storage server in memory, with faults on request; clients find it through STORAGE_EMULATOR_HOST.

It speaks the part of the JSON API that google-cloud-storage uses for objects (list, metadata, media, the three kinds of
upload, rewrite, compose, delete, preconditions) and plain `/bucket/object` reads. It was checked against that client
alone, never against Google.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit

import google_crc32c

from tests.servers import faults
from tests.servers.contracts import ContractError, check_json

REASONS = {
    400: "invalid",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
}


@dataclass
class Object:
    """One object's latest generation."""

    data: bytes
    generation: int
    meta: dict = field(default_factory=dict)
    """Fields that the client gave, such as contentType, contentEncoding and metadata."""

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data).digest()).decode()

    @property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()


@dataclass
class Fault:
    """What goes wrong with the requests whose "METHOD path?query" the pattern finds.

    Attributes:
        pattern: searched in the request line.
        kind: status (answer `value`) | reset (connection, before anything is done) | lose (do it, then reset) |
            cut (the body after `value` bytes) | flip (a bit of byte `value`) | stall (`value` seconds before the
            answer).
        times: requests that it hits; after that it is spent.
        skip: requests that it lets pass first.
    """

    pattern: str
    kind: str
    value: float = 0
    times: float = 1
    skip: int = 0
    hits: int = 0


class RefusedError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str = "", headers: dict | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass
class Answer:
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    status: int = 200


class Server:
    """The server, in threads of this process; a context manager.

    Attributes:
        url: for STORAGE_EMULATOR_HOST.
        objects: by (bucket, name).
        journal: "METHOD path?query" of every request, in order.
        faults: given to `fault`.
        page: entries in one answer to a list, at most.
        places: location by bucket.
        policies: bindings of roles by bucket.
        paid_for: buckets whose requester pays.
        lacking: permissions that nobody has, whoever asks.
    """

    def __init__(self, *buckets: str):
        self.places: dict[str, str] = {}
        self.policies: dict[str, list[dict]] = {}
        self.lacking: set[str] = set()
        self.objects: dict[tuple[str, str], Object] = {}
        self.buckets = set(buckets)
        self.paid_for: set[str] = set()
        self.journal: list[str] = []
        self.faults: list[Fault] = []
        self.page = 1000
        self.uploads: dict[str, tuple[str, dict, dict, bytearray]] = {}
        self.lock = threading.RLock()
        self._generation = time.time_ns() // 1000
        handler = type("Handler", (_Handler,), {"storage": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fault(self, pattern: str, kind: str, value: float = 0, times: float = 1, skip: int = 0) -> Fault:
        """Arranges for a fault and returns it, with its count of hits."""
        self.faults.append(Fault(pattern, kind, value, times, skip))
        return self.faults[-1]

    def due(self, line: str) -> Fault | None:
        """The fault that hits this request, if any."""
        with self.lock:
            self.journal.append(line)
            return faults.due(self.faults, lambda fault: re.search(fault.pattern, line) is not None)

    def put(self, bucket: str, name: str, data: bytes, **meta: str) -> Object:
        """Stores an object."""
        with self.lock:
            self.buckets.add(bucket)
            self._generation += 1
            made = self.objects[bucket, name] = Object(bytes(data), self._generation, meta)
            return made

    def check_payer(self, bucket: str | None, query: dict) -> None:
        if bucket in self.paid_for and "userProject" not in query:
            raise RefusedError(400, "Bucket is a requester pays bucket but no user project provided.")

    # What requests do; each takes the query's parameters.

    def find(self, bucket: str, name: str, query: dict) -> Object:
        found = self.objects.get((bucket, name))
        if found is None or int(query.get("generation", found.generation)) != found.generation:
            raise RefusedError(404, f"No such object: {bucket}/{name}")
        self.check(found, query)
        return found

    def check(self, found: Object | None, query: dict) -> None:
        """Preconditions; generation 0 means that there is no object."""
        now = found.generation if found else 0
        if "ifGenerationMatch" in query and int(query["ifGenerationMatch"]) != now:
            raise RefusedError(412, "At least one of the pre-conditions you specified did not hold.")
        if "ifGenerationNotMatch" in query and int(query["ifGenerationNotMatch"]) == now:
            raise RefusedError(304)

    def resource(self, bucket: str, name: str) -> dict:
        found = self.objects[bucket, name]
        path = f"b/{bucket}/o/{quote(name, safe='')}"
        return found.meta | {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "id": f"{bucket}/{name}/{found.generation}",
            "size": str(len(found.data)),
            "generation": str(found.generation),
            "metageneration": "1",
            "md5Hash": found.md5,
            "crc32c": found.crc32c,
            "etag": found.md5,
            "selfLink": f"{self.url}/storage/v1/{path}",
            "mediaLink": f"{self.url}/download/storage/v1/{path}?generation={found.generation}&alt=media",
        }

    def list(self, bucket: str, query: dict) -> dict:
        if bucket not in self.buckets:
            raise RefusedError(404, "The specified bucket does not exist.")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        entries = {}
        for of, name in sorted(self.objects):
            if of != bucket or not name.startswith(prefix) or name < query.get("startOffset", ""):
                continue
            end = name.find(delimiter, len(prefix)) if delimiter else -1
            entries[name if end < 0 else name[: end + len(delimiter)]] = end < 0
        after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        left = [name for name in sorted(entries) if name > after]
        page = left[: min(int(query.get("maxResults", self.page)), self.page)]
        answer = {
            "kind": "storage#objects",
            "items": [self.resource(bucket, name) for name in page if entries[name]],
            "prefixes": [name for name in page if not entries[name]],
        }
        if len(page) < len(left):
            answer["nextPageToken"] = base64.urlsafe_b64encode(page[-1].encode()).decode()
        return answer

    def media(self, bucket: str, name: str, query: dict, asked: str | None) -> Answer:
        found = self.find(bucket, name, query)
        size = len(found.data)
        headers = {
            "Content-Type": found.meta.get("contentType", "application/octet-stream"),
            "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
            "X-Goog-Generation": str(found.generation),
            "Accept-Ranges": "bytes",
        }
        if encoding := found.meta.get("contentEncoding"):
            headers["Content-Encoding"] = headers["X-Goog-Stored-Content-Encoding"] = encoding
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
        if not match or not any(match.groups()):
            return Answer(found.data, headers)
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        if start >= size:
            raise RefusedError(416, "Range", {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        return Answer(found.data[start : end + 1], headers, 206)

    def store(self, bucket: str, meta: dict, data: bytes, query: dict, hashes: str = "") -> dict:
        """The end of every upload: preconditions and checksums first."""
        if bucket not in self.buckets:
            raise RefusedError(404, "The specified bucket does not exist.")
        name = meta.get("name") or query["name"]
        given = dict(part.strip().split("=", 1) for part in hashes.split(",") if part)
        given |= {short: meta[long] for long, short in (("md5Hash", "md5"), ("crc32c", "crc32c")) if meta.get(long)}
        new = Object(data, 0)
        for kind, value in given.items():
            if value != getattr(new, kind):
                raise RefusedError(400, f"Provided {kind} hash {value} doesn't match calculated {getattr(new, kind)}.")
        with self.lock:
            self.check(self.objects.get((bucket, name)), query)
            kept = {key: meta[key] for key in ("contentType", "contentEncoding", "metadata") if key in meta}
            self.put(bucket, name, data, **kept)
            return self.resource(bucket, name)

    def resume(self, upload: str, span: str, body: bytes, hashes: str) -> Answer:
        """One chunk of a resumable upload, or (an empty one) the question how much has come."""
        if upload not in self.uploads:
            raise RefusedError(410, "The upload is gone.")
        bucket, meta, query, data = self.uploads[upload]
        first, _, total = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", span or "bytes */*").groups()
        if first is not None:
            if int(first) > len(data):
                raise RefusedError(400, "The chunk does not start where the last one ended.")
            data[int(first) :] = body
        if total != "*" and len(data) == int(total):
            answer = self.store(bucket, meta, bytes(data), query, hashes)
            del self.uploads[upload]
            return _json(answer)
        return Answer(status=308, headers={"Range": f"bytes=0-{len(data) - 1}"} if data else {})

    def compose(self, bucket: str, name: str, query: dict, asked: dict) -> dict:
        parts = [self.find(bucket, part["name"], {}).data for part in asked["sourceObjects"]]
        return self.store(bucket, asked.get("destination", {}) | {"name": name}, b"".join(parts), query)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: Server

    def log_message(self, *_: object) -> None:
        """The journal is enough."""

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):  # of a client that has gone, as one that timed out does
            super().handle()

    def _answer(self) -> None:
        body = self._body()
        fault = self.storage.due(f"{self.command} {self.path}")
        kind = fault.kind if fault else None
        if kind == "stall":
            time.sleep(fault.value)
        if kind == "reset":
            self._reset()
            return
        try:
            if kind == "status":
                raise RefusedError(int(fault.value), "injected fault")
            answer = self._route(body)
            self._check(answer)
        except RefusedError as refused:
            reason = REASONS.get(refused.status, "backendError")
            content = {"code": refused.status, "message": str(refused), "errors": [{"reason": reason}]}
            text = json.dumps({"error": content}).encode() if refused.status != 304 else b""
            answer = Answer(text, refused.headers, refused.status)
        if kind == "lose":
            self._reset()
        else:
            self._send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815

    def _check(self, answer: Answer) -> None:
        """Hold an answer in JSON against what Google defines."""
        url = urlsplit(self.path)
        is_json = "json" in answer.headers.get("Content-Type", "") and "/storage/v1/" in url.path
        if not is_json or "alt=media" in url.query:
            return
        # The last part of a resumable upload is answered as the upload is.
        method = "POST" if url.path.startswith("/upload/") else self.command
        try:
            check_json("storage.v1", method, url.path, answer.status, json.loads(answer.body))
        except ContractError as error:
            raise RefusedError(418, str(error)) from error

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        body = bytearray(answer.body)
        if fault and fault.kind == "flip" and body:
            body[int(fault.value) % len(body)] ^= 1
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.kind == "cut":
            self.wfile.write(body[: int(fault.value)])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _route(self, body: bytes) -> Answer:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        server, method = self.storage, self.command
        if match := re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", url.path):
            server.check_payer(match[1], query)
            return self._upload(match[1], query, body)
        if match := re.fullmatch(r"(?:/download)?/storage/v1/b(?:/([^/]+)(/o)?(?:/([^/]+))?(/.*)?)?", url.path):
            bucket, of_objects, name, rest = match.groups()
            server.check_payer(bucket, query)
            if name == "iam" and rest == "/testPermissions" and not of_objects:
                held = [one for one in parse_qs(url.query)["permissions"] if one not in server.lacking]
                return _json({"kind": "storage#testIamPermissionsResponse"} | ({"permissions": held} if held else {}))
            if name == "iam" and not of_objects:
                return _json({"kind": "storage#policy", "bindings": server.policies.get(bucket, [])})
            name = unquote(name) if name else None
            if not of_objects:
                return self._bucket(method, bucket, query, body)
            if rest == "/compose":
                return _json(server.compose(bucket, name, query, json.loads(body)))
            if rest and (copy := re.fullmatch(r"/(copyTo|rewriteTo)/b/([^/]+)/o/([^/]+)", rest)):
                data = server.find(bucket, name, {}).data
                made = server.store(copy[2], json.loads(body or b"{}") | {"name": unquote(copy[3])}, data, query)
                size = str(len(data))
                done = {"done": True, "resource": made, "objectSize": size, "totalBytesRewritten": size}
                return _json(done if copy[1] == "rewriteTo" else made)
            if name is None:
                return _json(server.list(bucket, query))
            if method == "DELETE":
                server.find(bucket, name, query)
                del server.objects[bucket, name]
                return Answer(status=204)
            if method == "PATCH":
                server.find(bucket, name, query).meta.update(json.loads(body))
            if query.get("alt") == "media":
                return server.media(bucket, name, query, self.headers.get("Range"))
            server.find(bucket, name, query)
            return _json(server.resource(bucket, name))
        bucket, _, name = unquote(url.path[1:]).partition("/")
        return server.media(bucket, name, query, self.headers.get("Range"))

    def _bucket(self, method: str, bucket: str | None, query: dict, body: bytes) -> Answer:
        if method == "POST":
            bucket = json.loads(body)["name"]
            if bucket in self.storage.buckets:
                raise RefusedError(409, "The bucket exists.")
            self.storage.buckets.add(bucket)
        if bucket not in self.storage.buckets:
            raise RefusedError(404, "The specified bucket does not exist.")
        place = self.storage.places.get(bucket, "US")
        return _json({"kind": "storage#bucket", "name": bucket, "id": bucket, "location": place})

    def _upload(self, bucket: str, query: dict, body: bytes) -> Answer:
        server, hashes = self.storage, self.headers.get("X-Goog-Hash") or ""
        if upload := query.get("upload_id"):
            return server.resume(upload, self.headers.get("Content-Range"), body, hashes)
        if query["uploadType"] == "media":
            return _json(server.store(bucket, {"contentType": self.headers.get("Content-Type")}, body, query, hashes))
        if query["uploadType"] == "resumable":
            meta = json.loads(body or b"{}")
            server.check(server.objects.get((bucket, meta.get("name") or query["name"])), query)
            upload = uuid.uuid4().hex
            server.uploads[upload] = bucket, meta, query, bytearray()
            return Answer(headers={"Location": f"{server.url}{self.path}&upload_id={upload}"})
        boundary = b"--" + re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
        first, second = body.split(boundary)[1:3]
        meta = json.loads(re.split(rb"\r?\n\r?\n", first, maxsplit=1)[1])
        head, content = re.split(rb"\r?\n\r?\n", second, maxsplit=1)
        meta.setdefault("contentType", BytesParser().parsebytes(head.lstrip()).get("Content-Type"))
        return _json(server.store(bucket, meta, re.sub(rb"\r?\n\Z", b"", content), query, hashes))


def _json(value: dict) -> Answer:
    return Answer(json.dumps(value).encode(), {"Content-Type": "application/json; charset=UTF-8"})
