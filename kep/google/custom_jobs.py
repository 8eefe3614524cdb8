"""Custom jobs of Vertex AI: what runs a step on machines that no task of a pipeline can have.

The step's task stays in the pipeline, as a small one: it submits the job, waits for it and ends as it ends
(kep/google/launch.py). The job runs the command that the task would have run, with the same inputs and outputs, which
lie under /gcs in both. What the job may be is written into the compiled pipeline where the images are. On Kubeflow the
same task has the machine itself, and runs that command.
"""

import re
import uuid
from typing import TYPE_CHECKING, Any, Literal

from kep.config.machine import Machine
from kep.config.section import Section
from kep.core.environment import FAILURE, MOUNT, WORK
from kep.core.errors import nearest
from kep.core.location import Location
from kep.google.machine_types import REGIONS, SHAPES, smallest

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

MODULE = "kep.google.launch"
"""Module that the task runs instead of the step."""
RUN = "{{$.pipeline_job_resource_name}}"
"""kfp's placeholder of the run's name on Vertex AI, `kfp.dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER`."""
TASK, PLACE = "kep_task", "kep_place"
"""Labels of a job: hash of the task that it is of, and which of its places it is at."""
_V5E, _MOST_CHIPS = "tpu-v5-lite-podslice", 8


class MachineRequest(Section):
    """A machine that a custom job asks for.

    Attributes:
        type: Machine type.
        image: Image that the step runs in there.
        accelerator: As Vertex AI calls it; empty for none, and for a TPU, which the machine type means.
        accelerators: GPUs of each machine.
        topology: Topology of a TPU's chips.
        machines: Number of them.
        strategy: How they are got.
        reservation: They are taken from; empty for none.
        disk_gb: Size in GB of the boot disk; None for Vertex AI's own size.
        region: Where; empty for that of the run.
    """

    type: str
    image: str
    accelerator: str = ""
    accelerators: int = 0
    topology: str = ""
    machines: int = 1
    strategy: Literal["STANDARD", "SPOT", "FLEX_START"] = "STANDARD"
    reservation: str = ""
    disk_gb: int | None = None
    region: str = ""

    @classmethod
    def of(cls, machine: Machine, image: str) -> "MachineRequest":
        """The place of a machine that `check` has let pass."""
        gpu = machine.accelerator if machine.on_gpu else None
        return cls(
            type=_type(machine) or "",
            image=image,
            accelerator=gpu.upper().replace("-", "_") if gpu else "",
            accelerators=machine.accelerators if gpu else 0,
            topology=machine.topology or "",
            machines=machine.machines,
            strategy="SPOT" if machine.spot else "FLEX_START" if machine.flex_start else "STANDARD",
            reservation=machine.reservation or "",
            disk_gb=machine.disk_gb,
            region=machine.region or "",
        )

    @property
    def words(self) -> str:
        """For people."""
        parts = [f"{self.machines} x {self.type}" if self.machines > 1 else self.type]
        if self.accelerator and (self.type not in SHAPES or SHAPES[self.type].attached):
            parts[0] += f" with {self.accelerators} {self.accelerator.lower().replace('_', '-')}"
        parts += {"SPOT": ["Spot"], "FLEX_START": ["Flex-Start"]}.get(self.strategy, [])
        parts += ["reserved"] if self.reservation else []
        parts += [f"in {self.region}"] if self.region else []
        return ", ".join(parts)


class Job(Section):
    """Work that a task delegates to custom jobs.

    Attributes:
        places: Machines to request, one after the other while there is no capacity.
        wait_minutes: How long a place may keep the job waiting before the next is asked for.
        limits: Inputs of the pipeline, by name, as they are on Kubeflow, where the task has the machine itself; None
            for a machine that only Vertex AI has.
    """

    places: list[MachineRequest]
    wait_minutes: float
    limits: dict[str, str] | None = None


def refusal(where: str, machine: Machine) -> str:
    """Why no custom job can have a machine, for people; empty when one can.

    Args:
        where: Path of the machine in the run file.
        machine: Any of a machine's places.
    """
    if machine.region and machine.region not in REGIONS:
        return f'{where}.region: Vertex AI is not in "{machine.region}"{nearest(machine.region, REGIONS)}'
    if machine.on_tpu and machine.accelerator != _V5E:
        return f"{where}.accelerator: Vertex AI has no {machine.accelerator} for custom jobs; take {_V5E}"
    if machine.on_tpu and machine.accelerators > _MOST_CHIPS:
        return (
            f"{where}.topology: {machine.topology} is more than one machine of TPUs, which a training does not span; "
            "take at most 2x4"
        )
    if _type(machine) is None:
        asked = [f"{machine.cpu} cores"] if machine.cpu else []
        asked += [f"{machine.memory_gb} GB"] if machine.memory_gb else []
        asked += [f"{machine.accelerators} {machine.accelerator}"] if machine.accelerator else []
        return (
            f"{where}: no machine type that is known here has {', '.join(asked)}; give its name, such as "
            "type: a3-highgpu-8g"
        )
    return ""


def delegate(container: dict[str, Any], job: Job) -> None:
    """Has a compiled task submit a job that runs what it would have run.

    Args:
        container: Container of the task, which is changed.
        job: Job to submit.
    """
    container["args"] = ["--run", RUN, "--job", job.to_json(), "--", *container["command"], *container.get("args", [])]
    container["command"] = ["python3", "-m", MODULE]


def job_of(executor: dict[str, Any]) -> Job | None:
    """Return the job that a compiled task delegates to; None when it does its work itself."""
    container = executor.get("container", {})
    if container.get("command", [])[1:] != ["-m", MODULE]:
        return None
    return Job.model_validate_json(container["args"][3])


def worker_pools(
    command: list[str],
    environment: dict[str, str],
    chief: MachineRequest,
    workers: MachineRequest | None = None,
    parameter_servers: MachineRequest | None = None,
    evaluator: MachineRequest | None = None,
) -> list["api.WorkerPoolSpec"]:
    """The machines of a job, each role's at the position by which Vertex AI knows it.

    Every machine runs the same command in its place's image; what Vertex AI writes into `CLUSTER_SPEC`, and into
    `TF_CONFIG` where there are several, tells each its role. `message` has no use for the last two: Keras 3 can't train
    under parameter servers, and a training watches its validation rows itself.

    Args:
        command: Command that they run.
        environment: Variables of every machine.
        chief: One machine, which writes the result.
        workers: Those that train beside it.
        parameter_servers: Those that hold the variables.
        evaluator: Process that watches checkpoints.

    Raises:
        ValueError: There is more than one chief.
    """
    from google.cloud import aiplatform_v1 as api

    if chief.machines != 1:
        raise ValueError(f"a job has one chief, not {chief.machines}")
    places = [chief, workers, parameter_servers, evaluator]
    while places[-1] is None:
        places.pop()
    # An empty pool keeps the position of those behind it.
    return [_pool(place, command, environment) if place else api.WorkerPoolSpec() for place in places]


def _pool(place: MachineRequest, command: list[str], environment: dict[str, str]) -> "api.WorkerPoolSpec":
    from google.cloud import aiplatform_v1 as api

    machine = api.MachineSpec(machine_type=place.type, tpu_topology=place.topology)
    if place.accelerator:
        machine.accelerator_type = getattr(api.AcceleratorType, place.accelerator)
        machine.accelerator_count = place.accelerators
    if place.reservation:
        machine.reservation_affinity = api.ReservationAffinity(
            reservation_affinity_type=api.ReservationAffinity.Type.SPECIFIC_RESERVATION,
            key="compute.googleapis.com/reservation-name",
            values=[place.reservation],
        )
    container = api.ContainerSpec(
        image_uri=place.image,
        command=command,
        env=[api.EnvVar(name=name, value=value) for name, value in environment.items()],
    )
    disk = api.DiskSpec(boot_disk_size_gb=place.disk_gb) if place.disk_gb else None
    return api.WorkerPoolSpec(
        machine_spec=machine, replica_count=place.machines, container_spec=container, disk_spec=disk
    )


def message(
    place: MachineRequest,
    command: list[str],
    run: "api.PipelineJob",
    name: str,
    labels: dict[str, str],
    environment: dict[str, str],
) -> "api.CustomJob":
    """Return the custom job to send to Vertex AI.

    Args:
        place: Requested machine.
        command: Command that the job runs.
        run: Run of the task's pipeline. The job runs as its account, in its network, under its key. Partial work, and
            the reason of a failure, stay beside its artifacts, where the next attempt finds them.
        name: For people.
        labels: Beside those of the run.
        environment: Variables of every machine, beside these two.
    """
    from google.cloud import aiplatform_v1 as api

    work = f"{run.runtime_config.gcs_output_directory}/work/{run.name.rpartition('/')[2]}"
    own = {WORK: MOUNT + Location(work).path, FAILURE: f"{work}/failures/{uuid.uuid4().hex}.json"}
    workers = place.model_copy(update={"machines": place.machines - 1}) if place.machines > 1 else None
    return api.CustomJob(
        display_name=name[:128],
        labels=dict(run.labels) | labels,
        encryption_spec=run.encryption_spec,
        job_spec=api.CustomJobSpec(
            worker_pool_specs=worker_pools(
                command, environment | own, chief=place.model_copy(update={"machines": 1}), workers=workers
            ),
            scheduling=api.Scheduling(
                strategy=getattr(api.Scheduling.Strategy, place.strategy),
                # A training of several machines does not go on with one of them alone.
                restart_job_on_worker_restart=place.machines > 1,
            ),
            service_account=run.service_account,
            network=run.network,
            psc_interface_config=run.psc_interface_config or None,
        ),
    )


def failure_of(job: "api.CustomJob") -> str:
    """The object of Cloud Storage that tells why the job's step has failed, if the step could say so."""
    variables = job.job_spec.worker_pool_specs[0].container_spec.env
    return next((variable.value for variable in variables if variable.name == FAILURE), "")


def function_of(command: list[str]) -> str:
    """The component that a command runs, such as retrain."""
    match = re.search(r"--function_to_execute (\w+)", " ".join(command))
    return match[1] if match else "step"


def _type(machine: Machine) -> str | None:
    return machine.type or smallest(machine)
