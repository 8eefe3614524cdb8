"""Secrets of Secret Manager for a task on Vertex AI, read with the task's own account when it starts.

By its REST API: two fields of one answer need no client of gRPC. What a task wants stands in the compiled pipeline by
name; what it gets is in its files and variables alone, and in no log.
"""

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any

import google_crc32c
import requests
from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from pydantic import Field

from kep.config.section import Section
from kep.core.errors import AwayError, UserError, first_line

AGAIN: dict[str, Any] = {"initial": 1, "maximum": 10, "timeout": 60}
"""Seconds in which an answer that may pass is asked for again."""
TIMEOUT = 20.0
"""Seconds of one call."""


class Wanted(Section):
    """Secrets that a task requests from Secret Manager.

    Attributes:
        files: The folder that each secret's file goes to.
        variables: Environment variable for each key of each secret.
    """

    files: dict[str, str] = Field(default_factory=dict)
    variables: dict[str, dict[str, str]] = Field(default_factory=dict)


def provide(wanted: Wanted, project: str) -> None:
    """Writes the files and sets the variables of this process.

    A file is called as its secret. A secret with one key is its value; one with several is a JSON object of them.

    Args:
        wanted: Secrets that the task requests.
        project: Id of the project whose secrets they are.

    Raises:
        UserError: A secret can't be read, or is not what it is wanted for.
    """
    found = {name: _newest(project, name) for name in {**wanted.files, **wanted.variables}}
    for name, folder in wanted.files.items():
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with open(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(found[name])
        except OSError as error:
            raise UserError(
                f"secrets.{name}: {folder} can't be written ({error.strerror}); give another path"
            ) from error
    for name, keys in wanted.variables.items():
        for key, value in _values(name, list(keys), found[name]).items():
            os.environ[keys[key]] = value


def _values(name: str, keys: list[str], content: bytes) -> dict[str, str]:
    """Return the values of a secret's keys."""
    where = f"secret_variables.{name}"
    try:
        text = content.decode()
        values = {keys[0]: text} if len(keys) == 1 else json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{where}: {len(keys)} keys are wanted, and the secret is no JSON object of texts; make it one")
    for key in keys:
        if not isinstance(values.get(key), str) or "\0" in values[key]:
            raise UserError(f'{where}: the secret has no text under the key "{key}"; add a version that has')
    return {key: values[key] for key in keys}


def _newest(project: str, name: str) -> bytes:
    """Return the content of a secret's latest version."""
    try:
        answer: bytes = Retry(predicate=if_exception_type(AwayError), **AGAIN)(_asked)(project, name)
    except RetryError as error:
        raise error.cause or error from error
    return answer


def _asked(project: str, name: str) -> bytes:
    secret = f"projects/{project}/secrets/{name}"
    try:
        with _session() as session:
            address = f"https://secretmanager.googleapis.com/v1/{secret}/versions/latest:access"
            answer = session.get(address, timeout=TIMEOUT)
    except (requests.RequestException, GoogleAuthError) as error:
        raise AwayError(
            f"{secret}: Secret Manager does not answer ({type(error).__name__}); try again later"
        ) from error
    if answer.status_code == 200:
        return _content(secret, answer)
    if answer.status_code == 403:
        raise UserError(f"{secret}: the task's account may not read it; grant it roles/secretmanager.secretAccessor")
    if answer.status_code == 404:
        command = f"gcloud secrets create {name} --project {project} --data-file FILE"
        raise UserError(f'{secret}: there is no such secret, or it has no version; "{command}" makes it')
    if answer.status_code == 429 or answer.status_code >= 500:
        raise AwayError(f"{secret}: Secret Manager answered {answer.status_code}; try again later")
    raise UserError(f"{secret}: Secret Manager refuses it ({first_line(_said(answer))}); enable its API, or correct it")


def _content(secret: str, answer: requests.Response) -> bytes:
    """Return the bytes of an `AccessSecretVersionResponse`, once their checksum is right."""
    try:
        payload = answer.json()["payload"]
        content = base64.b64decode(payload.get("data", ""), validate=True)
        checksum = int(payload["dataCrc32c"])
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise UserError(f"{secret}: what answers is not Secret Manager; check the network of the task") from error
    if google_crc32c.value(content) != checksum:
        raise AwayError(f"{secret}: it arrived with a wrong checksum; try again later")
    return content


def _said(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


def _session() -> requests.Session:
    """Return a session with the login of the task."""
    from google.auth.transport.requests import AuthorizedSession

    from kep.google.vertex import login

    session: requests.Session = AuthorizedSession(login())
    return session
