"""People are told once by each way, and what can't be told fails nobody."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kep.artifacts.notification import Notification
from kep.config.notify import NotifyTask
from kep.core.errors import UserError
from kep.runtime import notify
from kep.storage import notices
from tests.servers.receiver import Receiver

TOPIC = "projects/shop-ml/topics/kep"
WEBHOOK = {"webhook": "env:KEP_TEST_WEBHOOK"}


def tell(folder: Path | str, text: str = "it failed", basis: str = "run 1", **ways: object) -> tuple[Notification, str]:
    """The message, and what was said about it."""
    task, said = NotifyTask(name="demo", **ways), []
    told = notify.message(task, "failed", text, basis, "runs/demo/1", {"log": "runs/demo/1/log.txt", "page": ""})
    notify.tell(task, told, str(folder), said.append)
    return told, "\n".join(said)


def test_each_way_gets_the_message(receiver, tmp_path):
    ways = {"command": "cat > told.json", "topic": TOPIC, "base": str(tmp_path)}
    told, said = tell(tmp_path / "champions", **WEBHOOK, **ways)
    as_json = json.loads(told.to_json())
    assert json.loads((tmp_path / "told.json").read_text()) == as_json
    posted, _ = receiver.bodies
    # A chat shows the text alone, so that it holds the links.
    assert posted == as_json | {"text": "demo: it failed\nlog: runs/demo/1/log.txt"}
    (published,) = receiver.published
    attributes = {"id": told.id, "kind": "failed", "name": "demo"}
    assert published == {"data": as_json, "attributes": attributes}
    assert receiver.journal[1] == f"/v1/{TOPIC}:publish"
    assert (as_json["text"], as_json["links"]) == ("demo: it failed", {"log": "runs/demo/1/log.txt"})
    assert said.splitlines() == [f"told failed by {way}" for way in ("command", "webhook", "topic")]


@pytest.mark.parametrize("place", ["local", "gs"])
def test_the_same_is_told_once_and_something_else_again(receiver, gcs, tmp_path, place):
    folder = tmp_path / "champions" if place == "local" else "gs://data/champions/demo"
    first, _ = tell(folder, **WEBHOOK)
    again, said = tell(folder, "told in other words", **WEBHOOK)
    assert again.id == first.id
    assert said == "failed was told by webhook before; it is not told again"
    other, _ = tell(folder, basis="run 2", **WEBHOOK)
    assert [body["id"] for body in receiver.bodies] == [first.id, other.id]
    # A way that was added since.
    tell(folder, topic=TOPIC, **WEBHOOK)
    assert [message["data"]["id"] for message in receiver.published] == [first.id]


def test_what_is_not_asked_for_is_not_told(receiver, tmp_path):
    assert tell(tmp_path, on=["promoted"], **WEBHOOK)[1] == ""
    assert receiver.journal == []


@pytest.mark.parametrize("statuses", [[500, 500], [429, 503], [0, 500]])
def test_a_way_that_stumbles_twice_is_told_once(receiver, tmp_path, statuses):
    receiver.statuses = list(statuses)
    assert tell(tmp_path, **WEBHOOK)[1] == "told failed by webhook"
    assert (len(receiver.journal), len(receiver.bodies)) == (3, 1)


@pytest.mark.parametrize(
    ("statuses", "words", "requests"),
    [
        ([500] * 9, "127.0.0.1 answered 500 (tried 3 times)", 3),
        ([0] * 9, "127.0.0.1 does not answer (ConnectionError) (tried 3 times)", 3),
        ([404], "127.0.0.1 answered 404; check the address", 1),
        ([302], "127.0.0.1 answered 302; check the address", 1),
    ],
)
def test_a_dead_webhook_is_said_loudly_and_not_marked(receiver, tmp_path, statuses, words, requests):
    receiver.statuses = list(statuses)
    said = tell(tmp_path, **WEBHOOK)[1]
    assert said == f"WARNING: notify.webhook: failed could not be told: {words}"
    assert len(receiver.journal) == requests
    receiver.statuses = []
    assert tell(tmp_path, **WEBHOOK)[1] == "told failed by webhook"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 3", "the command ended with status 3"),
        ("no-such-command", "the command ended with status 127"),
        ("sleep 60 & sleep 60", "the command did not end within 0.1 s, and was killed"),
    ],
)
def test_a_command_that_fails_is_said_loudly(receiver, tmp_path, monkeypatch, command, words):
    monkeypatch.setattr(notify, "COMMAND_TIMEOUT", 0.1 if "sleep" in command else 20)
    assert tell(tmp_path, command=command)[1] == f"WARNING: notify.command: failed could not be told: {words}"


def test_a_command_need_not_read_the_message(receiver, tmp_path):
    assert tell(tmp_path, "x" * 1_000_000, command="true")[1] == "told failed by command"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, f"this login may not publish to {TOPIC}; grant it roles/pubsub.publisher"),
        (404, f'there is no {TOPIC}; "gcloud pubsub topics create {TOPIC}" makes it'),
        (400, f"Pub/Sub answered 400 for {TOPIC}; check the topic"),
    ],
)
def test_what_pubsub_refuses_is_one_sentence(receiver, tmp_path, status, words):
    receiver.statuses = [status]
    assert tell(tmp_path, topic=TOPIC)[1] == f"WARNING: notify.topic: failed could not be told: {words}"


def test_without_an_emulator_pubsub_is_asked_with_the_login(tunnel, receiver, tmp_path, monkeypatch):
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST")
    said = tell(tmp_path, topic=TOPIC)[1]
    assert tunnel.refused[-1] == "pubsub.googleapis.com"
    assert said.startswith("WARNING: notify.topic: failed could not be told: Pub/Sub does not answer (")
    tunnel.revoked = True
    assert "the Google Cloud login is no longer accepted" in tell(tmp_path, topic=TOPIC)[1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "the environment variable KEP_TEST_WEBHOOK is not set here; set it to the address"),
        ("hooks/T000-s3cr3t", "the environment variable KEP_TEST_WEBHOOK holds no address of a webhook: expected"),
        ("http://example.com/T000-s3cr3t", "the environment variable KEP_TEST_WEBHOOK holds no address"),
    ],
)
def test_a_variable_without_an_address_is_refused_before_a_run_and_said_after_it(tmp_path, monkeypatch, value, words):
    monkeypatch.delenv("KEP_TEST_WEBHOOK", raising=False)
    if value:
        monkeypatch.setenv("KEP_TEST_WEBHOOK", value)
    with pytest.raises(UserError) as refused:
        notify.check_here(NotifyTask(name="demo", **WEBHOOK))
    said = tell(tmp_path, **WEBHOOK)[1]
    assert str(refused.value).startswith(f"notify.webhook: {words}")
    assert said.startswith(f"WARNING: notify.webhook: failed could not be told: {words}")
    assert Receiver.SECRET not in str(refused.value) + said


@pytest.mark.parametrize("statuses", [[], [500] * 3, [0] * 3, [404]])
def test_the_address_of_a_variable_is_in_no_log(receiver, tmp_path, capsys, statuses):
    receiver.statuses = list(statuses)
    _, said = tell(tmp_path, **WEBHOOK)
    told = said + capsys.readouterr().out + "".join(path.read_text() for path in tmp_path.rglob("*-webhook"))
    assert Receiver.SECRET not in told


def test_google_chat_gets_the_text_alone(tunnel, receiver, tmp_path, monkeypatch):
    asked = []
    server = tunnel.https(r"chat\.googleapis\.com", _keeping(asked))
    with server_running(server):
        said = tell(tmp_path, webhook="https://chat.googleapis.com/v1/spaces/X/messages?key=s3cr3t")[1]
    assert said == "told failed by webhook"
    assert asked == [{"text": "demo: it failed\nlog: runs/demo/1/log.txt"}]


def _keeping(bodies: list):
    from tests.servers.tunnel import json_handler

    def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
        bodies.append(json.loads(body))
        return 200, {}

    return json_handler(answer)


def server_running(server):
    from tests.servers.tunnel import Running

    running = Running()
    running._servers = [server]
    return running


KILLED = """
import os, signal, sys
from kep.config.notify import NotifyTask
from kep.runtime import notify
from kep.storage import notices
mark = notices.mark
def killed(*given):
    if sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    mark(*given)
    os.kill(os.getpid(), signal.SIGKILL)
notices.mark = killed
task = NotifyTask(name="demo", webhook="env:KEP_TEST_WEBHOOK")
notify.tell(task, notify.message(task, "failed", "it failed", "run 1"), sys.argv[1], print)
"""


@pytest.mark.parametrize(("when", "times"), [("before", 2), ("after", 1)])
def test_who_is_killed_around_the_mark_tells_again_with_the_same_id(receiver, tmp_path, when, times):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path, when], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    told, _ = tell(tmp_path, **WEBHOOK)
    assert [body["id"] for body in receiver.bodies] == [told.id] * times


def test_a_place_that_takes_no_mark_keeps_nobody_from_being_told(receiver, tmp_path):
    (tmp_path / notices.FOLDER).write_text("a file where the folder should be")
    said = tell(tmp_path, **WEBHOOK)[1].splitlines()
    assert said[0] == "told failed by webhook"
    assert said[1].startswith("WARNING: notify.webhook: failed may be told again, since it can't be marked")
    assert len(receiver.bodies) == 1
