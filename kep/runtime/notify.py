"""Telling people: a message, by each way that the run file gives, once.

What can't be told is said in the log, and never fails who tells it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from kep.artifacts.engine_run import EngineRun
from kep.artifacts.notification import Notification
from kep.artifacts.verdict import Verdict
from kep.config.notify import Kind, NotifySettings, NotifyTask, address_problem
from kep.core.environment import MOUNT
from kep.core.errors import AwayError, UserError
from kep.core.seeds import identity
from kep.google.pages import page_of
from kep.storage import notices

ATTEMPTS = 3
"""Times that a webhook or a topic is tried; a command is started once."""
PAUSE = 1.0
"""Seconds before the second attempt; twice as many before the third."""
TIMEOUT = 10.0
"""Seconds that an address may take to answer."""
COMMAND_TIMEOUT = 60.0
"""Seconds that a command may take."""
_STRICT = "chat.googleapis.com"
"""Host of Google Chat, which refuses a message with fields that it does not know."""


def message(
    task: NotifyTask, kind: Kind, text: str, basis: str, run: str = "", links: dict[str, str] | None = None
) -> Notification:
    """Return a message of this moment.

    Args:
        task: Settings of the run file.
        kind: Kind of the event.
        text: Sentences for people, without the run file's name.
        basis: Subject of the message, the same in every attempt to send it.
        run: As of `Notification`.
        links: As of `Notification`; empty ones are left out.
    """
    return Notification(
        id=identity(kind, task.name, basis),
        kind=kind,
        name=task.name,
        text=f"{task.name}: {text}",
        run=run,
        links={name: place for name, place in (links or {}).items() if place},
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def tell(task: NotifyTask, told: Notification, champions: str, say: Callable[[str], object]) -> None:
    """Tell it by each way by which it was not told before.

    A way is marked beside the champions once it has told: whoever is killed in between tells again, with the same id.

    Args:
        task: The ways.
        told: The message.
        champions: The champions' folder.
        say: Takes a sentence for the log about each way.
    """
    if not task.asks_for(told.kind):
        return
    for channel in task.channels:
        key = f"{told.id}-{channel}"
        try:
            if notices.marked(champions, key) is not None:
                say(f"{told.kind} was told by {channel} before; it is not told again")
                continue
        except (UserError, OSError) as error:
            say(f"notify: whether {told.kind} was told by {channel} before is not known ({error})")
        problem = _delivered(channel, task, told)
        if problem:
            say(f"WARNING: notify.{channel}: {told.kind} could not be told: {problem}")
            continue
        say(f"told {told.kind} by {channel}")
        try:
            notices.mark(champions, key, told.time)
        except (UserError, OSError) as error:
            say(f"WARNING: notify.{channel}: {told.kind} may be told again, since it can't be marked ({error})")


def run_links(task: NotifyTask, engine: EngineRun) -> dict[str, str]:
    """Return the address of a run's page on its engine; nothing where it is not known."""
    if task.pages and engine.id:
        return {"page": f"{task.pages}{engine.id}"}
    return {"page": page} if (page := page_of(engine.job)) else {}


def object_page(path: str) -> str:
    """Return the address of an object for a browser, by its path where Vertex AI mounts buckets; empty elsewhere."""
    return f"https://storage.cloud.google.com/{path.removeprefix(MOUNT)}" if path.startswith(MOUNT) else ""


def mark_ended(champions: str, engine: EngineRun, say: Callable[[str], object]) -> None:
    """Leave word beside the champions that the last task of a run has ended well, for its exit handler.

    Kubeflow tells an exit handler of a run with loops that it is still running.
    """
    if not engine.job:
        return
    try:
        notices.mark(champions, _ended(engine.job), engine.name)
    except (UserError, OSError) as error:
        say(f"WARNING: notify: this run may be told as failed, since its end can't be marked ({error})")


def has_ended(champions: str, job: str) -> bool:
    """Return whether the last task of a run has ended well.

    Raises:
        UserError: It can't be read.
    """
    return notices.marked(champions, _ended(job)) is not None


def leave_verdict(verdict: Verdict, engine: EngineRun, say: Callable[[str], object]) -> None:
    """Leave the decision of a run in the cloud beside the champions, for whoever has submitted it."""
    if not engine.name:
        return
    # Where the champions are on a volume, the log is all that can be read from elsewhere.
    say(f"exit status {verdict.status}: {verdict.sentence}")
    try:
        notices.mark(verdict.folder, _decided(engine.name), verdict.to_json())
    except (UserError, OSError) as error:
        say(f"WARNING: whoever submitted this run can't read the decision, since it can't be written ({error})")


def left_verdict(champions: str, run: str) -> Verdict | None:
    """Return what a run in the cloud has decided; None where it has left nothing.

    Args:
        champions: The champions' folder.
        run: Name of the run, as `kep status` takes it.

    Raises:
        UserError: It can't be read.
    """
    content = notices.marked(champions, _decided(run))
    return None if content is None else Verdict.from_json(content, f"the decision of {run}")


def _decided(run: str) -> str:
    return f"{identity(run)}-verdict.json"


def _ended(job: str) -> str:
    return f"{identity(job)}-ended"


def check_here(settings: NotifySettings) -> None:
    """Refuse ways that this machine lacks what they need.

    Raises:
        UserError: The variable with the webhook's address is not set, or holds no address.
    """
    if settings.variable is not None:
        try:
            _address(settings)
        except UserError as error:
            raise UserError(f"notify.webhook: {error}") from None


def _delivered(channel: str, task: NotifyTask, told: Notification) -> str:
    """Return why a way could not be gone, after all attempts; empty where it was."""
    deliver = {"command": _command, "webhook": _webhook, "topic": _topic}[channel]
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            deliver(task, told)
            return ""
        except AwayError as error:
            problem = f"{error} (tried {attempt + 1} times)"
        except UserError as error:
            return str(error)
        except Exception as error:  # whatever it is, the run goes on; its text could hold a secret address
            return f"{type(error).__name__}, which is unexpected"
    return problem


def _command(task: NotifyTask, told: Notification) -> None:
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", task.command or ""],
            stdin=subprocess.PIPE,
            cwd=task.base or None,
            start_new_session=True,  # one group to end with all that it has started
        )
    except OSError as error:
        raise UserError(f"the command can't be started ({error.strerror})") from error
    try:
        process.communicate(told.to_json().encode() + b"\n", timeout=COMMAND_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise UserError(f"the command did not end within {COMMAND_TIMEOUT:g} s, and was killed") from error
    if process.returncode:
        # It may have done its work before: it is not for us to do that twice.
        raise UserError(f"the command ended with status {process.returncode}")


def _webhook(task: NotifyTask, told: Notification) -> None:
    import requests

    address = _address(task)
    host = urlsplit(address).hostname
    # People see the text alone.
    shown = {"text": "\n".join([told.text, *(f"{name}: {place}" for name, place in told.links.items())])}
    body = shown if host == _STRICT else told.model_dump(mode="json") | shown
    try:
        # An address that leads elsewhere is not followed: a redirected POST becomes a GET, and tells nobody.
        status = requests.post(address, json=body, timeout=TIMEOUT, allow_redirects=False).status_code
    except requests.RequestException as error:
        raise AwayError(f"{host} does not answer ({type(error).__name__})") from None
    if status == 429 or status >= 500:
        raise AwayError(f"{host} answered {status}")
    if status >= 300:
        raise UserError(f"{host} answered {status}; check the address")


def _address(settings: NotifySettings) -> str:
    """Return the webhook's address.

    Raises:
        UserError: The variable that holds it is not set here, or holds something else.
    """
    if settings.variable is None:
        return settings.webhook or ""
    address = os.environ.get(settings.variable, "").strip()
    if not address:
        raise UserError(f"the environment variable {settings.variable} is not set here; set it to the address")
    if problem := address_problem(address):
        raise UserError(f"the environment variable {settings.variable} holds no address of a webhook: {problem}")
    return address


def _topic(task: NotifyTask, told: Notification) -> None:
    from kep.google.pubsub import publish

    attributes = {"id": told.id, "kind": told.kind, "name": told.name}
    publish(task.topic or "", told.to_json().encode(), attributes)
