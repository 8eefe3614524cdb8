"""Settings of the notifications: how a run ended, and that data have drifted."""

import re
import shlex
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kep.config.section import Section

Kind = Literal["failed", "not_promoted", "promoted", "drift"]
SECRET = "env:"
"""Prefix of a webhook whose address is in an environment variable."""
_WEBHOOK = re.compile(r"https://[^\s/]+(/\S*)?|http://(localhost|127\.0\.0\.1)(:\d+)?(/\S*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOPIC = re.compile(r"projects/[^\s/]+/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


class NotifySettings(Section):
    """Notifications of how a run ended and of drift; none without command, webhook or topic."""

    on: Annotated[list[Kind], Field(min_length=1)] = ["failed", "not_promoted", "promoted", "drift"]
    """Events to notify of: failed (a run), not_promoted and promoted (a new ensemble), drift (found by `kep drift` or
    `kep batch`)."""
    command: str | None = None
    """Shell command that gets the message as JSON on its standard input, started in the run file's folder."""
    webhook: str | None = None
    """Address (https://) that takes JSON with `text`, such as those of Slack, Mattermost and Google Chat. env:NAME
    reads a secret address from the environment variable NAME."""
    topic: str | None = None
    """Topic of Pub/Sub, projects/PROJECT/topics/TOPIC."""

    @property
    def channels(self) -> dict[str, str]:
        """Channels that are set, by name."""
        given = {"command": self.command, "webhook": self.webhook, "topic": self.topic}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def variable(self) -> str | None:
        """Environment variable with the webhook's address; None where no variable has it."""
        named = self.webhook is not None and self.webhook.startswith(SECRET)
        return (self.webhook or "").removeprefix(SECRET) if named else None

    def asks_for(self, kind: Kind) -> bool:
        """Return whether somebody is notified of this."""
        return bool(self.channels) and kind in self.on

    @property
    def of_runs(self) -> bool:
        """True if somebody is notified of runs, and not of drift alone."""
        return any(self.asks_for(kind) for kind in ("failed", "not_promoted", "promoted"))

    @field_validator("command")
    @classmethod
    def _is_command(cls, command: str | None) -> str | None:
        try:
            words = None if command is None else shlex.split(command)
        except ValueError as error:
            raise ValueError(f"it is not a valid shell command line ({str(error).lower()}); check its quotes") from None
        if words == []:
            raise ValueError("it is empty; give a command line, or remove it")
        return command

    @field_validator("webhook")
    @classmethod
    def _is_webhook(cls, webhook: str | None) -> str | None:
        # The value may be a secret: the sentences don't hold it.
        if webhook is None:
            return None
        if webhook.startswith(SECRET):
            if not _VARIABLE.fullmatch(webhook.removeprefix(SECRET)):
                raise ValueError("after env: expected the name of an environment variable, such as env:SLACK_WEBHOOK")
        elif problem := address_problem(webhook):
            raise ValueError(f"{problem}; or give env:NAME, the environment variable that holds it")
        return webhook

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, topic: str | None) -> str | None:
        if topic is not None and not _TOPIC.fullmatch(topic):
            raise ValueError(f'"{topic}" is not a Pub/Sub topic; give projects/PROJECT/topics/TOPIC')
        return topic

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.channels and self.on != type(self).model_fields["on"].default:
            raise ValueError("nobody would be told; give command, webhook or topic")
        return self


class NotifyTask(NotifySettings):
    """Settings of a task that notifies."""

    name: str
    """Name in the run file."""
    base: str = ""
    """Folder that the command starts in; that of the task when empty."""
    run: str = ""
    """Folder of the run on this machine; empty elsewhere."""
    first: str = ""
    """Folder of the interrupted run that this one goes on with; empty for none."""
    pages: str = ""
    """Address of a run's page without the run's id, on Kubeflow; empty elsewhere."""


def address_problem(address: str) -> str:
    """Return why a webhook can't have this address, without the address; empty where it can."""
    if _WEBHOOK.fullmatch(address):
        return ""
    return "expected an address that begins with https:// (or with http://localhost)"
