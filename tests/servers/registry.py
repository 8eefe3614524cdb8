"""A KFP repository of Artifact Registry in memory: upload, download, and which version a tag names.

It answers what kfp's RegistryClient asks, and was checked against that client alone, never against Google.
"""

import hashlib
import re
from email.parser import BytesParser

import yaml

from tests.servers.tunnel import Running, Tunnel, json_handler


class Server(Running):
    """The server, in threads of this process, behind the tunnel; a context manager.

    Attributes:
        versions: content by (package, version).
        tags: version by (package, tag).
        journal: "METHOD path" of every request, in order.
        status: answered instead, when not 200.
        answers: answered instead to the next uploads, one each: a status, or the text of a page.
        immutable: whether a tag that is there is refused, as in a repository of immutable tags.
    """

    def __init__(self, tunnel: Tunnel):
        # What the host of KFP's repositories answers is in no definition of Google's.
        hosts = {r"europe-west4-kfp\.pkg\.dev": "", r"artifactregistry\.googleapis\.com": "artifactregistry.v1"}
        self._servers = [tunnel.https(host, json_handler(self._answer, api)) for host, api in hosts.items()]
        self.reset()

    def reset(self) -> None:
        self.versions: dict[tuple[str, str], bytes] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.journal: list[str] = []
        self.status = 200
        self.answers: list[int | str] = []
        self.immutable = False

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        self.journal.append(f"{method} {path}")
        if self.status != 200:
            return self.status, "refused"
        if method == "POST":
            answer = self.answers.pop(0) if self.answers else 200
            if isinstance(answer, str):
                return 200, answer
            if answer != 200:
                return answer, "refused"
            return self._upload(body)
        if match := re.fullmatch(r"(/v1/projects/.*/repositories/.*)/packages/([^/]+)/tags/([^/]+)", path):
            version = self.tags.get((match[2], match[3]))
            if not version:
                return 404, {"error": {"code": 404, "message": "Requested entity was not found."}}
            return 200, {"version": f"{match[1]}/packages/{match[2]}/versions/{version}"}
        package, version = path.split("/")[3:]
        content = self.versions.get((package, self.tags.get((package, version), version)))
        return (404, "") if content is None else (200, content)

    def _upload(self, body: bytes) -> tuple[int, object]:
        before = dict(self.tags)
        package, version = self._store(body)
        if self.immutable and any(self.tags[key] != kept or key in before for key, kept in before.items()):
            self.tags = before
            return 409, "tag is immutable"
        return 200, f"{package}/{version}"

    def _store(self, body: bytes) -> tuple[str, str]:
        boundary = body[: body.index(b"\r\n")].removeprefix(b"--").decode()
        head = f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + body).get_payload()
        fields = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}
        content = fields["content"]
        package, version = yaml.safe_load(content)["pipelineInfo"]["name"], hashlib.sha256(content).hexdigest()
        self.versions[package, f"sha256:{version}"] = content
        for tag in filter(None, fields.get("tags", b"").decode().split(",")):
            self.tags[package, tag] = f"sha256:{version}"
        return package, f"sha256:{version}"
