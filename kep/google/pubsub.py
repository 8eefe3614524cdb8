"""A message for a topic of Pub/Sub, by its REST API: one call needs no client of gRPC."""

import base64
import os

import requests

from kep.core.errors import AwayError, UserError

EMULATOR = "PUBSUB_EMULATOR_HOST"
"""Environment variable of Google's clients: HOST:PORT of an emulator, which takes no login."""
TIMEOUT = 10.0
"""Seconds of one call."""


def publish(topic: str, content: bytes, attributes: dict[str, str]) -> None:
    """Publish a message.

    Args:
        topic: projects/PROJECT/topics/TOPIC.
        content: Content of the message.
        attributes: Texts beside it, by which subscriptions are filtered.

    Raises:
        UserError: Pub/Sub refuses it.
        AwayError: Pub/Sub does not answer.
    """
    from google.auth.exceptions import GoogleAuthError

    host = os.environ.get(EMULATOR)
    message = {"data": base64.b64encode(content).decode(), "attributes": attributes}
    address = f"{f'http://{host}' if host else 'https://pubsub.googleapis.com'}/v1/{topic}:publish"
    try:
        with requests.Session() if host else _session() as session:
            status = session.post(address, json={"messages": [message]}, timeout=TIMEOUT).status_code
    except (requests.RequestException, GoogleAuthError) as error:
        raise AwayError(f"Pub/Sub does not answer ({type(error).__name__})") from error
    if status == 403:
        raise UserError(f"this login may not publish to {topic}; grant it roles/pubsub.publisher")
    if status == 404:
        raise UserError(f'there is no {topic}; "gcloud pubsub topics create {topic}" makes it')
    if status == 429 or status >= 500:
        raise AwayError(f"Pub/Sub answered {status}")
    if status != 200:
        raise UserError(f"Pub/Sub answered {status} for {topic}; check the topic")


def _session() -> requests.Session:
    """Return a session with the login of this machine.

    Raises:
        UserError: There is none.
    """
    from google.auth.transport.requests import AuthorizedSession

    from kep.google.vertex import login

    session: requests.Session = AuthorizedSession(login())
    return session
