"""The sections of the run file. Each travels to its steps as one JSON string.

The docstring under a field is its documentation: `kep init` writes it as the comment of the example run file.
"""

import json
import re
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Accelerator = Literal[
    "nvidia-tesla-t4",
    "nvidia-l4",
    "nvidia-tesla-v100",
    "nvidia-tesla-a100",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h200-141gb",
    "nvidia-b200",
    "nvidia",
    "tpu-v5-lite-podslice",
    "tpu-v5p-slice",
    "tpu-v6e-slice",
]


class Section(BaseModel):
    """A section: unknown keys are refused, values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    def to_json(self) -> str:
        """The section as one line of JSON with sorted keys: equal settings give equal bytes, so one cache key."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class Files(Section):
    """One source per role, for data that came already split."""

    train: str
    validation: str
    test: str


class RoleValues(Section):
    """Which values of the split column mean which role."""

    train: list[str] = ["train"]
    validation: list[str] = ["validation"]
    test: list[str] = ["test"]


class Split(Section):
    """How rows get their roles: train, validation, test."""

    by: Literal["random", "group", "time", "column", "files"] = "random"
    """random (stratified for classes) | group (a group's rows stay together) | time (train before validation
    before test) | column (a column says the role) | files (one source per role)"""
    column: str | None = None
    """The column for by: group, time or column."""
    validation: Fraction = 0.2
    """Share of all rows (of groups for by: group)."""
    test: Fraction = 0.2
    """Share of all rows (of groups for by: group)."""
    roles: RoleValues = RoleValues()
    """For by: column, the values that mean each role."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.by in ("group", "time", "column") and not self.column:
            raise ValueError(f'by: {self.by} needs "column", the name of the column to split by')
        if self.by in ("random", "files") and self.column:
            raise ValueError(f'"column" has no meaning with by: {self.by}; remove it or set by: group, time or column')
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation ({self.validation}) and test ({self.test}) leave no rows to train on; "
                "their sum must be below 1"
            )
        return self


class DataSettings(Section):
    """Where the rows come from, what they mean, and how they are split."""

    source: str | None = None
    """A file, folder or glob, local or gs://: .csv, .parquet, .npz, .tfrecord (of tf.train.Example), a folder of image
    folders (one per class), a records folder with its manifest.json; bq://PROJECT.DATASET.TABLE, or bq://PROJECT SELECT
    …; sklearn:digits | breast_cancer | diabetes | iris | wine"""
    files: Files | None = None
    """For split by: files, one source per role instead of "source"."""
    format: Literal["auto", "csv", "parquet", "npz", "images", "tfrecord", "sklearn"] = "auto"
    label: str | None = None
    """The column to predict. Not needed for images (the folder's name), sklearn sets (target), .npz (y) and TFRecords
    with a feature named "label"."""
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    """auto: binary or multiclass for strings, booleans and integers of at most 20 values, else regression."""
    features: list[str] | None = None
    """The columns to learn from; all but the label and the split column when not given."""
    exclude: list[str] = []
    """Columns to leave out."""
    types: dict[str, Literal["numeric", "categorical", "boolean"]] = {}
    """Overrides of the inferred type of a column, such as {zip_code: categorical}."""
    image_size: tuple[Count, Count] | None = None
    """Height and width in pixels that images are resized to; needed only when they differ in size."""
    max_categories: Count = 100
    """The most frequent categories of a column that get a code of their own; the others share one."""
    delimiter: str = ","
    """What separates the columns of a CSV file."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers in a CSV file; with "," points between thousands are dropped."""
    missing: list[str] = []
    """What a CSV file holds where a value is missing, such as ["?", "-"], besides nothing, NA, N/A, NaN, null (each in
    several spellings) and #N/A."""
    extract_to: Annotated[str, Field(pattern=r"^gs://[^/]+")] | None = None
    """For bq://: the gs:// folder that takes the Parquet files which BigQuery makes of it, in the location of the data;
    BUCKET/extracts of `kep submit` when not given."""
    split: Split = Split()
    shard_mb: Annotated[float, Field(gt=0)] = 100
    """Target size of one TFRecord shard in megabytes."""
    workers: Literal["auto"] | Count = "auto"
    """Processes that read and write; auto is one per core. The result does not depend on it."""
    ingest_tasks: Count = 1
    """Tasks of the pipeline engine that share the files of a CSV, Parquet or image source too big for one machine. The
    result does not depend on it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.split.by == "files") != (self.files is not None):
            raise ValueError('"files" and split.by: files belong together; give both or neither')
        if (self.source is None) == (self.files is None):
            raise ValueError('give exactly one of "source" (one data set) and "files" (one per role)')
        if self.label is not None and self.label in (self.features or []):
            raise ValueError(f'"features" holds the label "{self.label}"; a model must not see what it predicts')
        both = sorted(set(self.features or []) & set(self.exclude))
        if both:
            raise ValueError(f'"{both[0]}" is in both "features" and "exclude"')
        return self


class Objective(Section):
    """The validation score that the search optimises."""

    name: str = "loss"
    """loss (log-loss for classes, mean squared error for regression), a metric that evaluate reports (accuracy,
    roc_auc, pr_auc, f1, calibration_error, mae, rmse, r2), or one that your model was compiled with"""
    direction: Literal["min", "max"] | None = None
    """Which way is better; needed only for a metric of your model."""


class SearchSettings(Section):
    """The hyperparameter search."""

    families: Annotated[list[str], Field(min_length=1)] | Literal["auto"] = "auto"
    """mlp, cnn, boosted_trees, hyperresnet, hyperxception, hyperefficientnet (hyperefficientnet:imagenet begins with
    ImageNet's weights, which Keras downloads), or your own path/to/file.py:build (KerasTuner's build(hp), or a
    HyperModel). auto: mlp and boosted_trees for tables, and cnn too for images"""
    tuner: Literal["bayesian", "random", "grid", "hyperband", "evolution", "vizier"] = "bayesian"
    """bayesian (Gaussian process) | random | grid | hyperband (many short trainings, the best ones longer) |
    evolution (the better ones of the latest trials, changed a little) | vizier (Vertex AI's service)"""
    vizier: Annotated[str | None, Field(exclude_if=lambda parent: parent is None)] = None
    """For tuner: vizier, in a search in rounds, where its studies are: projects/PROJECT/locations/REGION"""
    max_trials: Count = 30
    """Trials over all families together; what a small space leaves of them goes to further executions."""
    executions_per_trial: Count = 1
    """Trainings of each configuration, from different seeds; its score is their mean."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """No trial starts after this many minutes."""
    max_epochs: Count = 30
    """Longest training of one trial, in epochs (boosting rounds are 20 to an epoch)."""
    patience: Count = 5
    """Epochs without a better validation loss before a trial stops."""
    batch_size: Count = 128
    objective: Objective = Objective()
    top_n: Count = 4
    """Candidates handed on, chosen by what each adds to an ensemble."""
    max_per_family: Count | None = None
    """Most candidates of one family."""
    workers: Literal["auto"] | Count = "auto"
    """Processes that train trials at the same time; auto is one per GPU, else one per core that memory allows. The
    order of suggestion depends on their number: set it to get the same trials on another machine."""
    rounds: Count | None = None
    """Search in so many rounds, whose trials are tasks of the pipeline engine, on other machines too; a round knows
    the scores of the rounds before. Then max_trials follows from rounds and parallel_trials."""
    parallel_trials: Count = 4
    """Trainings of one round."""
    trial_minutes: Annotated[float, Field(gt=0)] | None = None
    """A trial that takes longer is stopped and infeasible."""
    max_failures: Count = 5
    """Infeasible trials in a row that end the search with an error."""

    @model_validator(mode="after")
    def _service(self) -> Self:
        if (self.tuner == "vizier") != (self.vizier is not None):
            raise ValueError(
                '"vizier", such as projects/shop-ml/locations/europe-west4, and tuner: vizier belong together; give '
                "both or neither"
            )
        if self.vizier and self.rounds is None:
            raise ValueError("tuner: vizier is for a search in rounds, whose suggestions are tasks; give rounds")
        if self.vizier and not re.fullmatch(r"projects/[^/]+/locations/[a-z0-9-]+", self.vizier):
            raise ValueError(f'vizier: "{self.vizier}" is none; give projects/PROJECT/locations/REGION')
        return self

    @model_validator(mode="after")
    def _rounds(self) -> Self:
        if self.rounds is None:
            return self
        if self.max_minutes is not None:
            raise ValueError('"max_minutes" has no meaning with rounds, whose tasks the engine starts; remove one')
        trials = -(-self.rounds * self.parallel_trials // self.executions_per_trial)
        if "max_trials" in self.model_fields_set and self.max_trials != trials:
            raise ValueError(
                f"max_trials ({self.max_trials}) does not fit rounds ({self.rounds}) of parallel_trials "
                f"({self.parallel_trials}) trainings, which are {trials} trials; remove it"
            )
        # The way of pydantic's documentation to complete a frozen model.
        object.__setattr__(self, "max_trials", trials)
        return self

    @property
    def trainings(self) -> int:
        """Trainings that the search may take."""
        if self.rounds is not None:
            return self.rounds * self.parallel_trials
        return self.max_trials * self.executions_per_trial


class BestEpochSettings(Section):
    """How long each candidate should train."""

    max_epochs: Count = 100
    patience: Count = 10
    """Epochs without a better validation loss before a training stops."""
    seeds: Count = 3
    """Fresh trainings per candidate; the best epoch is the median over them."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """For small data: train and validation rows in so many folds, each predicted by models of the others (in time:
    by models of earlier rows), and each trained from every seed. Weights are then fitted on all of these rows."""


class BestEpochTask(BestEpochSettings):
    """What the step gets: how to train, and what `ensemble` asks of it."""

    latency_rows: Count | None = None
    """Rows of the calls that are timed; None where no latency budget is set, since times are not reproducible."""


class EnsembleSettings(Section):
    """Which candidates become members, and with what weights."""

    method: Literal[
        "auto",
        "uniform",
        "greedy_uniform",
        "greedy_bagged",
        "greedy",
        "exact_bagged",
        "exact",
        "nelder_mead",
        "random_search",
    ] = "auto"
    """auto: the simplest method whose cross-fitted validation loss is within one standard error of the best; for
    another metric than the loss, greedy_bagged; below 200 validation rows, greedy_uniform"""
    metric: str = "loss"
    """What the weights are for: loss (log-loss, or mean squared error for regression), or a metric that evaluate
    reports: accuracy, roc_auc, pr_auc, f1, calibration_error, mae, rmse, r2"""
    pooling: Literal["auto", "arithmetic", "geometric"] = "auto"
    """arithmetic: the weighted average of the probabilities | geometric: of their logarithms, made to sum to 1 |
    auto: geometric where its cross-fitted validation loss is lower by more than one standard error, on at least 200
    validation rows"""
    max_members: Count = 8
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Most milliseconds that all members together may take to predict latency_rows rows, one after the other, as
    measured on the machine that trained them."""
    latency_rows: Count = 1
    """Rows of one call for max_latency_ms."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.metric != "loss" and self.method in ("exact", "exact_bagged"):
            raise ValueError(
                f"method: {self.method} finds the optimum of the loss, and metric is {self.metric}; "
                "use method: greedy_bagged, or auto"
            )
        return self


class RetrainSettings(Section):
    """The final training on train and validation rows."""

    enabled: bool = True
    """false: use the models that best_epoch trained on the train rows as they are."""
    epochs: Literal["book", "same", "steps"] = "same"
    """same: the best epoch | book: 1.2 times the best epoch | steps: as many optimiser steps as the best epoch took"""


class EvaluateSettings(Section):
    """The one look at the test rows."""

    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Resamples behind each 95 % interval."""
    slices: list[str] = []
    """Feature columns to report the metrics by, value by value (numeric columns by quartile)."""


class PromoteSettings(Section):
    """When the new ensemble replaces the champion."""

    champion: str | None = None
    """Folder whose `champion` pointer names the ensemble to beat; champions/<name> beside the runs when not given."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much lower the challenger's test loss must be, beyond the interval of the difference."""
    registry: Annotated[bool, Field(exclude_if=lambda on: not on)] = False
    """Whether a run on Vertex AI makes what it promotes a version in the Model Registry, for `kep rollout`."""


class ExportSettings(Section):
    """What `kep export` may write."""

    max_loss: Annotated[float, Field(ge=0)] = 0.01
    """Largest loss of accuracy on the test rows, or growth of a regression's error: 0.01 is a point, or a hundredth.
    An export that loses more is not written"""


class TrialHardware(Section):
    """What one training may use."""

    threads: Count | None = None
    """Threads of one training; its share of the cores when not given."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    """Of the layers' arithmetic; losses and outputs stay in float32. auto: mixed_bfloat16 on TPUs and on GPUs that
    have it, else float32"""
    jit: Literal["auto", "on", "off"] = "auto"
    """Whether XLA compiles the training. auto: on GPUs and TPUs; on a CPU for long trainings of dense layers without
    dropout, where it was measured to pay"""
    steps_per_execution: Literal["auto"] | Count = "auto"
    """Optimiser steps of one call into TensorFlow; auto: as many as take about two seconds, at most 256. The result
    does not depend on it."""
    memory_growth: bool = True
    """Take a GPU's memory as it is needed, not all of it at once."""
    memory_limit_mb: Count | None = None
    """Most memory of each GPU that a training takes; instead of memory_growth."""


class TrainingHardware(TrialHardware):
    """What the training of one model may use, on one or several devices or machines."""

    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu", "central_storage", "parameter_server"] = (
        "auto"
    )
    """single: one device | mirrored: several GPUs of this machine | multi_worker: several processes, as TF_CONFIG
    names them, or so many on this machine as `devices` says | tpu | auto: what the machine has. Boosted trees are
    always single."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """cpu: don't use GPUs; mirrored then takes logical CPU devices, to try it without any"""
    devices: Count | None = None
    """Replicas: GPUs of mirrored, processes of multi_worker; all there are when not given."""
    communication: Literal["auto", "nccl", "ring", "hierarchical"] = "auto"
    """How gradients are summed over devices: nccl, hierarchical (mirrored: copies along the GPUs' links) or ring
    (multi_worker: over the network)"""
    tpu: str = "local"
    """The TPU's name, or local on a TPU VM."""
    batch_size: Count | None = None
    """Rows of one optimiser step over all replicas; search.batch_size when not given."""
    scale_learning_rate: Literal["none", "linear", "sqrt"] = "none"
    """How the learning rate follows a batch_size other than the search's."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5
    """Minutes between checkpoints, from which a training that was killed goes on."""
    stall_minutes: Annotated[float, Field(gt=0)] = 30
    """Minutes without a step after which a training counts as stalled and ends."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.strategy in ("single", "tpu") and self.devices not in (None, 1):
            raise ValueError(f"devices: {self.devices} has no meaning with strategy: {self.strategy}; remove it")
        if self.strategy == "central_storage":
            raise ValueError(
                "strategy: central_storage is not offered: under Keras 3 it refuses layers with state, such as Dropout "
                "and BatchNormalization, and its metrics come out wrong; use mirrored"
            )
        if self.strategy == "parameter_server":
            raise ValueError(
                "strategy: parameter_server is not offered: Keras 3 can't train under it, and stale gradients would "
                "make the result depend on timing; use multi_worker"
            )
        other = {"ring": "multi_worker", "hierarchical": "mirrored"}.get(self.communication, self.strategy)
        if self.strategy not in ("auto", other):
            raise ValueError(f"communication: {self.communication} is for strategy: {other}; use auto or nccl")
        if self.scale_learning_rate != "none" and self.batch_size is None:
            raise ValueError("scale_learning_rate follows batch_size, which is not given; give it or remove both")
        return self


class Toleration(Section):
    """A taint of nodes that a task may run on all the same, in Kubernetes' words."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Alternative(Section):
    """Where a custom job of Vertex AI goes when there is no room at the place before."""

    accelerator: Accelerator | None = None
    accelerators: Count | None = None
    topology: str | None = None
    type: str | None = None
    region: str | None = None
    spot: bool | None = None
    flex_start: bool | None = None
    reservation: str | None = None

    def of(self, machine: "Machine") -> "Machine":
        """The machine with what is named here; the rest is as there.

        Another accelerator comes without the old one's number and topology, and another way to get a machine (spot,
        flex_start, reservation) without the old way.

        Raises:
            ValidationError: The two don't fit each other.
        """
        given = self.model_dump(exclude_unset=True)
        left = {"fallback", "wait_minutes"}
        if "accelerator" in given:
            left |= {"accelerators", "topology", "type", "reservation"}
        if "topology" in given:
            left.add("accelerators")
        if "region" in given:
            left.add("reservation")
        if _WAYS & given.keys():
            left |= _WAYS
        return Machine.model_validate(machine.model_dump(exclude_unset=True, exclude=left) | given)


_WAYS = {"spot", "flex_start", "reservation"}


class Machine(Section):
    """What each task of a step asks the pipeline engine for; steps on this machine don't look at it."""

    cpu: Annotated[int, Field(ge=1, le=96)] | None = None
    """Cores."""
    memory_gb: Annotated[int, Field(ge=1, le=624)] | None = None
    accelerator: Accelerator | None = None
    """A GPU or TPU by its name on GKE, or nvidia: any NVIDIA GPU of a Kubernetes cluster."""
    accelerators: Count = 1
    """GPUs; or chips of a TPU, which follow from its topology."""
    topology: str | None = None
    """Of a TPU's chips, such as 2x4."""
    spot: bool = False
    """A cheaper machine that may be taken away; a training is then tried again."""
    machines: Count = 1
    """Vertex AI: so many of them for each training, which the strategy multi_worker spans."""
    type: str | None = None
    """Vertex AI: the machine type, such as a3-highgpu-8g; the smallest that fits when not given."""
    disk_gb: Annotated[int, Field(ge=100, le=64_000)] | None = None
    """Vertex AI: of the boot disk; 100 when not given."""
    flex_start: bool = False
    """Vertex AI: wait up to a day until there is a machine, which is then cheaper."""
    reservation: str | None = None
    """Vertex AI: a reservation of Compute Engine, projects/P/zones/Z/reservations/R."""
    region: str | None = None
    """Vertex AI: where the machine is; the region of the run when not given."""
    fallback: list[Alternative] = []
    """Vertex AI: what to ask for instead, in this order, when there is no room for the machine."""
    wait_minutes: Annotated[float, Field(gt=0)] = 30
    """Vertex AI: how long a machine may keep a training waiting before the next of `fallback` is asked for."""
    node_selector: dict[str, str] | None = None
    """Kubernetes: labels that the node must have. GKE's for accelerator, topology and spot when not given."""
    tolerations: list[Toleration] = []
    """Kubernetes: taints that don't keep the task away, besides those of the accelerator and of GKE's Spot nodes."""
    volumes: dict[str, str] = {}
    """Kubernetes: the path that each persistent volume claim is mounted at, such as {champions: /champions}."""
    secrets: dict[str, str] = {}
    """Kubernetes: the path that each secret's files are mounted at."""
    secret_variables: dict[str, dict[str, str]] = {}
    """Kubernetes: of each secret, the environment variable that each of its keys goes to."""

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, given: Any) -> Any:
        if (
            not isinstance(given, dict)
            or "accelerators" in given
            or not str(given.get("accelerator")).startswith("tpu-")
        ):
            return given
        chips = _chips(str(given.get("topology")))
        return given | {"accelerators": chips} if chips else given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for mounted in (self.volumes, self.secrets):
            if wrong := next((path for path in mounted.values() if not path.startswith("/")), None):
                raise ValueError(f'"{wrong}" is no absolute path in the task, such as /champions')
        if self.accelerator is None:
            if given := {"accelerators", "topology"} & self.model_fields_set:
                raise ValueError(f'"{min(given)}" has no meaning without accelerator; name one, or remove it')
        elif self.topology is None:
            if self.on_tpu:
                raise ValueError(f"accelerator: {self.accelerator} needs its topology, such as 2x4")
        elif not self.on_tpu:
            raise ValueError(f"topology is of a TPU's chips, and accelerator is {self.accelerator}; remove it")
        elif not (chips := _chips(self.topology)):
            raise ValueError(f'topology: "{self.topology}" is none; give one such as 2x4')
        elif self.accelerators != chips:
            raise ValueError(f"topology {self.topology} is {chips} chips, all of one task; remove accelerators")
        self._check_job()
        return self

    def _check_job(self) -> None:
        """What a custom job of Vertex AI can't be."""
        ways = sorted(way for way in _WAYS if getattr(self, way))
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are different ways to get a machine; keep one of them")
        if self.reservation and not re.fullmatch(r"projects/[^/]+/zones/[^/]+/reservations/[^/]+", self.reservation):
            raise ValueError(f'reservation: "{self.reservation}" is none; give projects/P/zones/Z/reservations/R')
        if self.machines > 1 and self.accelerators > 1:
            raise ValueError(
                f"machines: {self.machines} of {self.accelerators} accelerators each: a training over several machines "
                "has one replica on each of them; give accelerators: 1, or machines: 1"
            )
        if "wait_minutes" in self.model_fields_set and not self.fallback:
            raise ValueError("wait_minutes has no meaning without fallback; name what to ask for then, or remove it")
        try:
            _ = self.places
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"fallback: {first['msg'].removeprefix('Value error, ')}") from None

    @property
    def places(self) -> list["Machine"]:
        """What to ask Vertex AI for, one after the other while there is no room."""
        return [self, *(alternative.of(self) for alternative in self.fallback)]

    @property
    def for_job(self) -> list[str]:
        """What it names that on Vertex AI a custom job can have and a task can't; empty where a task will do."""
        named = {key for key in _JOB if getattr(self, key) != type(self).model_fields[key].default}
        return sorted(named | ({"accelerator"} if self.on_tpu else set()))

    @property
    def on_tpu(self) -> bool:
        """Whether it has a TPU."""
        return (self.accelerator or "").startswith("tpu-")

    @property
    def on_gpu(self) -> bool:
        """Whether it has GPUs."""
        return self.accelerator is not None and not self.on_tpu

    def idle(self) -> "Machine":
        """The same for a task that trains nothing."""
        left = {"accelerator", "accelerators", "topology", "wait_minutes", *_JOB}
        if self.accelerator is not None:
            left |= {"node_selector", "tolerations"}
        return Machine.model_validate(self.model_dump(exclude_unset=True, exclude=left))


def _chips(topology: str) -> int | None:
    """Of a TPU's topology, such as 8 of 2x4; None where it is none."""
    return prod(map(int, topology.split("x"))) if re.fullmatch(r"\d+(x\d+){1,2}", topology) else None


_JOB = {"machines", "spot", "type", "disk_gb", "flex_start", "reservation", "region", "fallback"}
"""What makes a custom job of a task on Vertex AI, as a TPU does."""


class OnMachine(Section):
    """What one step runs on."""

    # It reaches the compiled pipeline alone: no step gets it, so that a change of it leaves every cached step alone.
    machine: Annotated[Machine | None, Field(exclude=True)] = None
    """What each task of the step asks Kubeflow or Vertex AI for, such as {cpu: 8, memory_gb: 30, accelerator:
    nvidia-tesla-t4, accelerators: 4}; the keys are in docs/machines.md"""


class TuneHardware(TrialHardware, OnMachine):
    """What the search may use."""


class StepHardware(TrainingHardware, OnMachine):
    """What a step that trains may use."""

    @model_validator(mode="after")
    def _several(self) -> Self:
        count = self.machine.machines if self.machine else 1
        if count > 1 and self.strategy not in ("auto", "multi_worker"):
            raise ValueError(
                f"machine.machines: {count} need strategy: multi_worker, and it is {self.strategy}; change one of them"
            )
        if count > 1 and self.devices not in (None, count):
            raise ValueError(
                f"devices: {self.devices} are the processes of the training, and machine.machines are {count}; "
                "remove devices"
            )
        return self


class HardwareSettings(Section):
    """What each step may use."""

    ingest: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    tune: TuneHardware = TuneHardware()
    best_epoch: StepHardware = StepHardware()
    weigh: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    retrain: StepHardware = StepHardware()
    evaluate: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    promote: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    max_cost: Annotated[float | None, Field(gt=0, exclude_if=lambda most: most is None)] = None
    """Most that a run on Vertex AI may cost in USD by the guess of `kep submit --dry-run`; beyond it `kep submit` and
    `kep schedule` ask for --yes."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for step in ("ingest", "weigh", "promote"):
            machine = getattr(self, step).machine
            if machine and machine.accelerator:
                raise ValueError(f"{step} has no use for an accelerator, since it trains nothing; remove it")
        for step, machine in self.machines.items():
            if machine.machines > 1 and step not in ("best_epoch", "retrain"):
                instead = "; search.rounds makes a task of each trial" if step == "tune" else ""
                raise ValueError(f"{step}.machine.machines: only a training spans several machines{instead}")
        return self

    @property
    def machines(self) -> dict[str, Machine]:
        """Of the steps that name one."""
        parts = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: part.machine for name, part in parts.items() if isinstance(part, OnMachine) and part.machine}


class PredictSettings(Section):
    """The prediction pipeline: what is predicted, and by how many tasks."""

    data: DataSettings
    """The source and how to read it; split and label are not looked at."""
    key: str | None = None
    """The column that names a row in the predictions; the row's number in the source when not given."""
    tasks: Annotated[int, Field(ge=1, le=256)] = 1
    """Tasks of the pipeline engine that share the source. What they are told is a parameter, of at most 128 KiB."""
    shard_rows: Count = 65_536
    """Rows of a file of predictions, at least; what is predicted again after a kill is at most one a task."""


class DriftSettings(Section):
    """The comparison of the rows that were predicted with the train rows."""

    threshold: Annotated[float, Field(gt=0)] = 0.2
    """Population stability index beyond which a column has drifted."""
    fail: bool = False
    """Whether the run fails then."""
