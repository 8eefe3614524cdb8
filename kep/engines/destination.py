"""Where a command acts, as its options say: one region of a project on Vertex AI, or one Kubeflow."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kep.core.errors import UserError

if TYPE_CHECKING:
    from kep.engines.base import Engine, Options
    from kep.engines.template import Template
    from kep.engines.vertex.engine import VertexEngine

Target = Literal["local", "vertex", "kubeflow"]


def named(target: Target | None, project: str, host: str) -> list[Literal["vertex", "kubeflow"]]:
    """Return where a command looks beside this machine: at the target, or else wherever an option names something."""
    if target is not None:
        return [] if target == "local" else [target]
    found: list[Literal["vertex", "kubeflow"]] = ["vertex"] if project else []
    return [*found, "kubeflow"] if host else found


@dataclass(frozen=True)
class Destination:
    """Where a command acts.

    Raises:
        UserError: An option is missing.
    """

    target: Literal["vertex", "kubeflow"]
    project: str = ""
    region: str = ""
    host: str = ""
    namespace: str = ""
    experiment: str = ""

    def __post_init__(self) -> None:
        needed = {"host": "KF_PIPELINES_ENDPOINT"}
        if self.target == "vertex":
            needed = {"project": "GOOGLE_CLOUD_PROJECT", "region": "GOOGLE_CLOUD_REGION"}
        for name, variable in needed.items():
            if not getattr(self, name):
                raise UserError(f"--{name}: is missing, and so is the environment variable {variable}")
        if self.target == "vertex":
            _ = self.vertex

    @cached_property
    def engine(self) -> "Engine":
        """The engine that runs pipelines there."""
        if self.target == "vertex":
            return self.vertex
        from kep.engines.kubeflow.engine import Kubeflow

        return Kubeflow(self.host, self.namespace, self.experiment)

    @property
    def schedules(self) -> Any:
        """The module whose functions of the same names make schedules there."""
        if self.target == "vertex":
            from kep.engines.vertex import schedules

            return schedules
        from kep.engines.kubeflow import schedules as recurring

        return recurring

    @cached_property
    def vertex(self) -> "VertexEngine":
        """Vertex AI in the region."""
        from kep.engines.vertex.engine import VertexEngine

        return VertexEngine(self.project, self.region)

    def checked(self, options: "Options", labels: list[str] | None = None) -> "Options":
        """Return the options with their labels, once they are known to mean something there.

        Args:
            options: Options as they were given, without labels.
            labels: Labels as KEY=VALUE texts.

        Raises:
            UserError: An option is missing, has an invalid format, or has no meaning there.
        """
        from kep.engines.base import Options
        from kep.engines.template import check_bucket
        from kep.engines.vertex.jobs import check_labels, check_options

        if self.target == "kubeflow":
            useless = {
                "--network": options.network,
                "--kms-key": options.kms_key,
                "--label": labels,
                "--tensorboard": options.tensorboard,
                "--failure-policy fast": options.fail_fast,
            }
            if name := next((name for name, value in useless.items() if value), None):
                raise UserError(f"{name} has no meaning on Kubeflow; remove it")
            return Options(service_account=options.service_account, cache=options.cache)
        if not options.bucket:
            raise UserError("--bucket: is missing, and so is the environment variable KEP_BUCKET")
        named = check_labels(labels or [])
        complete = replace(options, bucket=check_bucket(options.bucket), labels=named)
        check_options(complete, self.region)
        return complete

    def template(self, file: str, overrides: list[str] | None, images: Path) -> "Template":
        """Return the pipeline to run: a run file, what `kep batch --compile` wrote, or a published template.

        Raises:
            UserError: There is none, or it can't run there.
        """
        from kep.engines import template
        from kep.pipelines.images import locked

        if "://" not in file:
            if made := template.of_compiled(Path(file), self.target):
                if overrides:
                    raise UserError("--set: a pipeline was compiled already; compile it with that setting")
                return made
            return template.of_run_file(Path(file), overrides, locked(images), self.target)
        if self.target == "kubeflow":
            raise UserError(f"FILE: {file} is a template of Vertex AI; Kubeflow takes a run file")
        if overrides:
            raise UserError("--set: a template was compiled already; publish one with that setting")
        return template.of_address(file, self.vertex.credentials)

    def rights(self, template: "Template", options: "Options") -> list[str]:
        """Say which roles this login lacks to submit it to Vertex AI, each with the command that grants it.

        Args:
            template: Template to submit.
            options: How.
        """
        from kep.google import rights

        if self.target == "kubeflow":
            return []
        try:
            login = self.vertex.credentials
        except UserError as error:
            return [f"rights: not looked at, since {error}"]
        data = None if template.predicts else template.settings.data
        lines = []
        for right in rights.of_submitter(self.project, data, options.service_account, login):
            command = f'"{right.command(rights.member(login))}"'
            if right.missing is None:
                lines.append(f"rights: {right.what}: not known, since {right.reason}; it takes {right.role}")
            elif right.missing:
                lines.append(f"rights: {right.what}: this login lacks {right.role}; run {command}")
        return lines or ["rights: this login may submit it"]

    def check_cost(self, template: "Template", prices: Path | None, yes: bool) -> None:
        """Refuses a run that costs too much on Vertex AI; on Kubeflow machines are the user's own.

        Raises:
            UserError: It costs more than `hardware.max_cost`.
        """
        from kep.engines import costs
        from kep.engines.prices import load

        if self.target == "vertex" and not yes:
            costs.check(template, load(prices))
