"""A run as a message of Vertex AI: what is sent, and what comes back."""

import json
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from kep.core.environment import CACHED_SINCE, SECRETS, SECRETS_PROJECT
from kep.core.errors import UserError
from kep.core.versions import revision
from kep.engines.base import Options, Run, Task, champions_of
from kep.engines.template import Template, with_cache, with_payer, with_variable
from kep.google import tensorboard_instances
from kep.google.labels import NAME
from kep.google.vertex import moment

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

_ATTACHMENT = re.compile(r"projects/[^/]+/regions/([^/]+)/networkAttachments/[^/]+")
"""A network that is reached by Private Service Connect, not by peering with it."""


CACHED_DAYS = 90
"""Days in which steps answer for each other; the bucket of infra/ keeps what a run leaves for longer."""
MOST_LABELS = 64 - 7
"""Labels of the user's: Google takes 64, five are of every run, and its custom jobs have two more."""


def check_options(options: Options, region: str) -> None:
    """Refuse options with an invalid format.

    Raises:
        UserError: An option has an invalid format.
    """
    if options.service_account and not re.fullmatch(r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", options.service_account):
        raise UserError(
            f'--service-account: "{options.service_account}" is not a service account; '
            "give NAME@PROJECT.iam.gserviceaccount.com"
        )
    attachment = _ATTACHMENT.fullmatch(options.network)
    peered = re.fullmatch(r"projects/[^/]+/global/networks/[^/]+", options.network)
    if options.network and not attachment and not peered:
        raise UserError(
            f'--network: "{options.network}" is not a network; give projects/NUMBER/global/networks/NAME, or '
            f"projects/P/regions/{region}/networkAttachments/NAME"
        )
    if peered and not (project := options.network.split("/")[1]).isdigit():
        command = f"gcloud projects describe {project} --format 'value(projectNumber)'"
        raise UserError(f'--network: Vertex AI wants the number of the project "{project}"; "{command}" says it')
    if attachment and attachment[1] != region:
        place = attachment[1]
        raise UserError(f"--network: the attachment is in {place}, and the run in {region}; both must be in one region")
    key = re.fullmatch(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+", options.kms_key)
    if options.kms_key and not key:
        raise UserError(
            f'--kms-key: "{options.kms_key}" is not a key; give projects/P/locations/{region}/keyRings/R/cryptoKeys/K'
        )
    if key and key[1] != region:
        raise UserError(f"--kms-key: the key is in {key[1]}, and the run in {region}; both must be in one region")
    if options.tensorboard and (place := tensorboard_instances.check("--tensorboard", options.tensorboard)) != region:
        raise UserError(f"--tensorboard: the instance is in {place}, and the run in {region}; take one in {region}")


def check_labels(labels: list[str]) -> dict[str, str]:
    """`key=value` texts as a mapping.

    Raises:
        UserError: One is not what Vertex AI takes, or is a name that is given here.
    """
    for label in labels:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}", label):
            raise UserError(
                f'--label: "{label}" must be KEY=VALUE of lower-case letters, digits, - and _, at most 63 each'
            )
        if label.startswith("kep_"):
            raise UserError(f'--label: "{label}" begins with kep_, as the labels that every run gets do; rename it')
    found = dict(label.split("=", 1) for label in labels)
    if len(found) < len(labels):
        raise UserError("--label: a key is given twice; give each once")
    if len(found) > MOST_LABELS:
        raise UserError(
            f"--label: {len(found)} are given, and beside those of every run and its custom jobs there is room for "
            f"{MOST_LABELS}"
        )
    return found


def cached_since(spec: dict[str, Any], today: date) -> dict[str, Any]:
    """A compiled pipeline whose steps are answered from runs of the last `CACHED_DAYS` days alone.

    Vertex AI's cache answers for ever with the addresses of artifacts, and the bucket deletes them after a while.

    Args:
        spec: The compiled pipeline, with a cache.
        today: The day of the run.
    """
    first = date.fromordinal(today.toordinal() // CACHED_DAYS * CACHED_DAYS)
    return with_variable(spec, CACHED_SINCE, first.isoformat())


def job_of(template: Template, options: Options, given: dict[str, str], project: str) -> "api.PipelineJob":
    """Return the job to send to Vertex AI, in a project whose secrets its tasks read."""
    from google.cloud import aiplatform_v1 as api

    spec = with_payer(with_cache(template.spec, options.cache))
    if SECRETS in json.dumps(spec["deploymentSpec"]):
        spec = with_variable(spec, SECRETS_PROJECT, project)
    if options.cache:
        spec = cached_since(spec, datetime.now(UTC).date())
    if options.tensorboard:
        spec = tensorboard_instances.written_to(spec, options.tensorboard)
    policy = api.PipelineFailurePolicy
    attached = _ATTACHMENT.fullmatch(options.network)
    labels = {
        NAME: template.name,
        "kep_template": template.digest[:16],
        "kep_code": template.code,
        "kep_source": given.get("source", "")[:16],
        "kep_revision": re.sub(r"[^a-z0-9_-]", "-", (revision() or "").lower())[:63],
    }
    return api.PipelineJob(
        display_name=template.name,
        pipeline_spec=spec,
        labels=options.labels | {key: value for key, value in labels.items() if value},
        runtime_config=api.PipelineJob.RuntimeConfig(
            gcs_output_directory=f"{options.bucket}/runs/{template.name}",
            parameter_values=given,
            failure_policy=policy.PIPELINE_FAILURE_POLICY_FAIL_FAST
            if options.fail_fast
            else policy.PIPELINE_FAILURE_POLICY_FAIL_SLOW,
        ),
        service_account=options.service_account,
        network="" if attached else options.network,
        psc_interface_config=api.PscInterfaceConfig(network_attachment=options.network) if attached else None,
        encryption_spec=api.EncryptionSpec(kms_key_name=options.kms_key) if options.kms_key else None,
        template_uri=template.address,
    )


def options_of(job: "api.PipelineJob") -> Options:
    """Return the options of a submitted job: the inverse of `job_of`."""
    return Options(
        bucket=job.runtime_config.gcs_output_directory.rpartition("/runs/")[0],
        service_account=job.service_account,
        network=job.network or job.psc_interface_config.network_attachment,
        kms_key=job.encryption_spec.kms_key_name,
        labels={key: value for key, value in job.labels.items() if not key.startswith("kep_")},
        fail_fast=job.runtime_config.failure_policy.name == "PIPELINE_FAILURE_POLICY_FAIL_FAST",
        tensorboard=_instance(job),
    )


def run_of(job: "api.PipelineJob", url: str) -> Run:
    """A job as it is now."""
    tasks = sorted(job.job_detail.task_details, key=lambda task: task.task_id)
    name, instance = job.name.rpartition("/")[2], _instance(job)
    return Run(
        name=name,
        id=name,
        state=job.state.name.removeprefix("PIPELINE_STATE_").lower(),
        created=moment(job.create_time),
        ended=moment(job.end_time),
        url=url,
        tasks=tuple(
            Task(
                task.task_id,
                task.task_name,
                task.state.name,
                moment(task.start_time),
                moment(task.end_time),
                task.error.message,
            )
            for task in tasks
        ),
        message=job.error.message,
        artifacts=job.runtime_config.gcs_output_directory,
        curves=tensorboard_instances.address(instance, name) if instance else "",
        revision=job.labels.get("kep_revision", ""),
        champions=champions_of(job.runtime_config.parameter_values),
    )


def _instance(job: "api.PipelineJob") -> str:
    return tensorboard_instances.instance_of(json_format.MessageToDict(type(job).pb(job).pipeline_spec))
