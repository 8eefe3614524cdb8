"""Secrets of Secret Manager, from a local server that answers as its messages are defined."""

import base64
import json
import os
import re
import stat
from typing import Any

import google_crc32c
import pytest

from kep.core.errors import AwayError, UserError
from kep.google import secrets
from kep.google.secrets import Wanted, provide
from tests.servers.tunnel import Running, json_handler


class SecretManager(Running):
    """The method `projects.secrets.versions.access` of the latest version.

    Attributes:
        content: Of each secret.
        answers: Status and body that come first, whatever is asked for.
        asked: Paths of the requests.
    """

    def __init__(self, tunnel) -> None:
        self.content: dict[str, bytes] = {}
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[str] = []
        self._servers = [tunnel.https(r"secretmanager\.googleapis\.com", json_handler(self._answer))]

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        self.asked.append(path)
        return self.answers.pop(0) if self.answers else self._latest(path)

    def _latest(self, path: str) -> tuple[int, Any]:
        name = re.fullmatch(r"/v1/projects/shop-ml/secrets/([\w-]+)/versions/latest:access", path)[1]
        if name not in self.content:
            return 404, {"error": {"code": 404, "message": f"Secret [{name}] not found.", "status": "NOT_FOUND"}}
        return 200, response(name, self.content[name])


def response(name: str, content: bytes, checksum: int | None = None) -> dict:
    """Return an AccessSecretVersionResponse as JSON, whose 64-bit integers are texts."""
    checksum = google_crc32c.value(content) if checksum is None else checksum
    payload = {"data": base64.b64encode(content).decode(), "dataCrc32c": str(checksum)}
    return {"name": f"projects/7/secrets/{name}/versions/3", "payload": payload}


@pytest.fixture
def manager(tunnel, monkeypatch):
    monkeypatch.setattr(secrets, "AGAIN", {"initial": 0.01, "maximum": 0.01, "timeout": 1})
    with SecretManager(tunnel) as server:
        yield server


def test_a_task_gets_files_and_variables(manager, tmp_path, monkeypatch):
    for name in ("TOKEN", "USER_NAME", "PASSWORD"):
        monkeypatch.setenv(name, "before")
    both = {"user": "kep", "password": "ßecret", "more": "x"}
    manager.content = {"login": b"\x00key", "token": b"abc\n", "db": json.dumps(both).encode()}
    folder = tmp_path / "login"
    variables = {"token": {"value": "TOKEN"}, "db": {"user": "USER_NAME", "password": "PASSWORD"}}
    provide(Wanted(files={"login": str(folder)}, variables=variables), "shop-ml")
    assert (folder / "login").read_bytes() == b"\x00key"
    assert stat.S_IMODE((folder / "login").stat().st_mode) == 0o600
    assert (os.environ["TOKEN"], os.environ["USER_NAME"], os.environ["PASSWORD"]) == ("abc\n", "kep", "ßecret")


def test_what_may_pass_is_asked_for_again(manager, monkeypatch):
    monkeypatch.setenv("TOKEN", "before")
    manager.content = {"token": b"abc"}
    manager.answers = [(503, {}), (429, {}), (200, response("token", b"abd", checksum=1))]
    provide(Wanted(variables={"token": {"value": "TOKEN"}}), "shop-ml")
    assert (os.environ["TOKEN"], len(manager.asked)) == ("abc", 4)


@pytest.mark.parametrize(
    ("content", "answer", "words"),
    [
        (None, None, 'there is no such secret, or it has no version; "gcloud secrets create db --project shop-ml'),
        (None, (403, {}), "the task's account may not read it; grant it roles/secretmanager.secretAccessor"),
        (None, (400, {"error": {"message": "It is disabled."}}), "Secret Manager refuses it (It is disabled); enable"),
        (None, (200, {"hello": 1}), "what answers is not Secret Manager"),
        (None, (200, {"payload": {"data": "***", "dataCrc32c": "1"}}), "what answers is not Secret Manager"),
        (b"plain", None, "secret_variables.db: 2 keys are wanted, and the secret is no JSON object of texts"),
        (b'{"user": "u"}', None, 'secret_variables.db: the secret has no text under the key "password"'),
        (b"\xff", None, "secret_variables.db: 2 keys are wanted, and the secret is no JSON object of texts"),
    ],
)
def test_a_secret_that_can_not_be_had_is_one_sentence(manager, content, answer, words):
    manager.content = {} if content is None else {"db": content}
    manager.answers = [answer] if answer else []
    with pytest.raises(UserError) as told:
        provide(Wanted(variables={"db": {"user": "USER_NAME", "password": "PASSWORD"}}), "shop-ml")
    assert words in str(told.value)
    assert not isinstance(told.value, AwayError)
    assert "PASSWORD" not in os.environ


def test_a_service_that_is_away_is_nobodys_mistake(manager):
    manager.answers = [(503, {})] * 1000
    with pytest.raises(AwayError, match="Secret Manager answered 503"):
        provide(Wanted(files={"login": "/nowhere"}), "shop-ml")
