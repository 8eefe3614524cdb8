"""Common interface to Vertex AI and Kubeflow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from kep.engines.template import Template
from kep.storage.champions import Champion

OURS = "kep-"
"""Begin of the name of every run that was made here."""


@dataclass(frozen=True)
class Options:
    """Options of a submitted run. Kubeflow uses `service_account` and `cache` alone.

    Attributes:
        bucket: gs:// path that takes the artifacts and the champions.
        service_account: Service account that the steps run as; the default one when empty.
        network: Full name of the network that the steps are peered with, or of an attachment that they join one by.
        kms_key: Full name of the key that encrypts what the run makes.
        labels: Labels of the user's own.
        cache: Whether steps may be answered from earlier runs.
        fail_fast: Whether no further step starts when one has failed; else those that can still run do.
        tensorboard: Full name of the TensorBoard instance that trainings write to.
    """

    bucket: str = ""
    service_account: str = ""
    network: str = ""
    kms_key: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    cache: bool = True
    fail_fast: bool = False
    tensorboard: str = ""


@dataclass(frozen=True)
class Task:
    """A task of a run.

    Attributes:
        id: Its own in the run; later tasks have greater ones.
        name: In the compiled pipeline.
        state: SKIPPED is answered from an earlier run; other states than these are the engine's business.
        begun: When it started, if it has.
        ended: When it ended, if it has.
        message: Why it failed, as far as the engine says.
        label: Label among the tasks of its step; None where their order tells them apart.
        attempts: Times that the engine has begun it.
    """

    id: int | str
    name: str
    state: Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"] | str
    begun: datetime | None
    ended: datetime | None
    message: str = ""
    label: str | None = None
    attempts: int = 1


@dataclass(frozen=True)
class Run:
    """A run as it is at a moment.

    Attributes:
        name: Name that `kep status` and `kep cancel` take.
        id: Id in the engine.
        state: In the engine's own word.
        created: When it was submitted.
        ended: When it ended, if it has.
        url: URL of its page.
        tasks: In order of their ids.
        message: Why it failed outside of its tasks, or was cancelled, as far as the engine says.
        artifacts: Where they are; empty for the engine's own place.
        curves: Page of its TensorBoard; empty for none.
        revision: Git revision that it was submitted from.
        champions: Folder of the champions that its ensemble is compared with; empty for a prediction.
        decision: Exit status and sentence of promote, as far as the engine tells.
        schedule: Name of the schedule that started it; empty for none.
    """

    name: str
    id: str
    state: str
    created: datetime | None
    ended: datetime | None
    url: str
    tasks: tuple[Task, ...] = ()
    message: str = ""
    artifacts: str = ""
    curves: str = ""
    revision: str = ""
    champions: str = ""
    decision: tuple[int, str] | None = None
    schedule: str = ""

    @property
    def ending(self) -> Literal["done", "failed", "cancelled", ""]:
        """How it has ended; empty when it has not."""
        if self.state in ("succeeded", "skipped"):
            return "done"
        if self.state in ("cancelled", "canceled"):
            return "cancelled"
        return "failed" if self.state == "failed" else ""

    @property
    def took(self) -> str:
        """For people; empty before its end."""
        if not (self.ended and self.created):
            return ""
        return f"{(self.ended - self.created).total_seconds() / 60:.0f} min"


def champions_of(parameters: Mapping[str, Any]) -> str:
    """Return the folder of champions that a run was given; empty where it was given none."""
    given = parameters.get("champion")
    return Champion.of_parameter(given).folder if isinstance(given, str) else ""


class Engine(Protocol):
    """Interface of `kep.engines.submit` to a service that runs pipelines.

    Attributes:
        where: Name of the place, for messages.
    """

    where: str

    def ready(self, options: Options) -> str:
        """Refuses what would fail a run in its first step.

        Returns:
            What can't be told of it, for whoever submits; empty for nothing.

        Raises:
            UserError: It would.
        """

    def get(self, name: str, patient: bool = False) -> Run | None:
        """The run; None when there is none. A patient look outlasts an outage of minutes."""

    def create(self, name: str, template: Template, options: Options, given: dict[str, str]) -> tuple[Run, bool]:
        """Makes the run, once, however often the answer is lost on its way.

        Returns:
            The run, and whether this call has made it: False when somebody else had.
        """

    def newest(self, of: str | None, limit: int) -> list[Run]:
        """The newest runs that were made here, or those of one run file's or schedule's name, without their tasks."""

    def cancel(self, run: Run) -> None:
        """Asks for the run to be cancelled; one that has ended stays as it is."""
