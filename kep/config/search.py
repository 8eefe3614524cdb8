"""Settings of the hyperparameter search."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from kep.config.fit import BestEpochTask
from kep.config.section import Count, Epochs, Section, Switch


class Objective(Section):
    """The validation score that the search optimises."""

    name: str = "loss"
    """Name of the score: loss, a metric that evaluate reports, or one that your model was compiled with. loss is
    log-loss for classes and mean squared error for regression. Metrics are accuracy, roc_auc, pr_auc, f1,
    calibration_error, mae, rmse and r2"""
    direction: Literal["min", "max"] | None = None
    """Better direction; needed only for a metric of your model."""


def _empty(value: Any) -> bool:
    return not value


class OwnFamily(Section):
    """A family of your own, with what it needs beside its file."""

    file: str
    """Python file and name of the family, path/to/file.py:build, relative to the run file."""
    packages: Annotated[list[str], Field(exclude_if=_empty)] = []
    """Packages that it needs, as pip names them, such as [einops==0.8.1]. `kep dockerfile` writes an image with
    them."""
    requirements: Annotated[str | None, Field(exclude_if=_empty)] = None
    """File with more packages, one per line, such as requirements.txt."""
    arguments: Annotated[dict[str, JsonValue], Field(exclude_if=_empty)] = {}
    """Arguments of its HyperModel, by name."""


def _branch(entry: Any) -> str:
    return "[own]" if isinstance(entry, dict | OwnFamily) else "[name]"


FamilyEntry = Annotated[Annotated[str, Tag("[name]")] | Annotated[OwnFamily, Tag("[own]")], Discriminator(_branch)]
"""A family in the run file: a name, or a section of one's own."""


class EarlierSearch(Section):
    """The search of an earlier run, as `run.json` records it for `kep run --like`."""

    run: str
    """Name of the run, NAME/RUN."""
    study: str
    """Folder of its study, local or gs://."""
    digest: str
    """sha256 over the study and its trials."""
    task: str
    """Task of its label."""
    classes: list[str]
    """Classes of its label as texts, sorted; empty for a regression."""
    families: list[str]
    """Families that are used of it."""


class SearchSettings(Section):
    """The hyperparameter search."""

    families: Annotated[list[FamilyEntry], Field(min_length=1)] | Literal["auto"] = "auto"
    """Families to search: mlp, tabular, realmlp, tabm, cnn, boosted_trees, extra_trees, hyperresnet, hyperxception,
    hyperefficientnet, or your own path/to/file.py:build. hyperefficientnet:imagenet starts from ImageNet weights, which
    Keras downloads. Your own is KerasTuner's build(hp) or a HyperModel, also with its own fit. A section
    {file: path/to/file.py:build, packages: […], requirements: FILE, arguments: {…}} names its needs. auto takes mlp,
    tabular, realmlp and boosted_trees for tables; mlp, cnn and boosted_trees for images"""
    from_run: Annotated[str | EarlierSearch | None, Field(alias="from", exclude_if=lambda given: given is None)] = None
    """Earlier run whose candidates are used, so that no trial is trained: a run file's name for its latest run, a run's
    folder, or gs://BUCKET/runs/NAME."""
    warm_start: Annotated[str | EarlierSearch | None, Field(exclude_if=lambda given: given is None)] = None
    """Earlier run whose trials the search starts with, named as in `from`. They inform the suggestions, and the best of
    them are trained first on today's rows. On the same rows they count as they are."""
    tuner: Literal["bayesian", "random", "grid", "hyperband", "evolution", "vizier"] = "bayesian"
    """Search algorithm: bayesian (a Gaussian process, which over a table begins with configurations that were good on
    others) | random | grid | hyperband (many short trainings, the best ones
    longer) | evolution (mutations of the better recent trials) | vizier (Vertex AI's service)"""
    vizier: Annotated[str | None, Field(exclude_if=lambda parent: parent is None)] = None
    """Location of the studies of tuner: vizier, which needs rounds: projects/PROJECT/locations/REGION"""
    max_trials: Count = 30
    """Number of trials. Those that a small space can't fill become further executions."""
    executions_per_trial: Count = 1
    """Number of trainings of each configuration, from different seeds; its score is their mean."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """Time limit in minutes, after which no trial starts."""
    max_epochs: Epochs = 30
    """Longest training of one trial, in epochs (boosting rounds are 20 to an epoch)."""
    patience: Count = 5
    """Epochs without a better validation loss before a trial stops."""
    batch_size: Literal["auto"] | Count = "auto"
    """Rows per optimiser step. auto is 32 below 1,500 train rows, 64 below 5,000, and 128 from there on"""
    objective: Objective = Objective()
    top_n: Count = 4
    """Number of candidates, chosen by what each adds to an ensemble. With `minutes` it is the most, 12 by default."""
    max_per_family: Count | None = None
    """Maximum number of candidates per family."""
    workers: Literal["auto"] | Count = "auto"
    """Number of processes that train trials at the same time; auto is one per GPU, else one per core as memory allows.
    Suggestions depend on it: set it to get the same trials on another machine."""
    rounds: Count | None = None
    """Number of rounds of a search whose trials are pipeline tasks, also on several machines. A round knows the scores
    of the rounds before. max_trials then follows from rounds and parallel_trials."""
    parallel_trials: Count = 4
    """Number of trainings per round."""
    trial_minutes: Annotated[float, Field(gt=0)] | None = None
    """Time limit of a trial in minutes; a trial that takes longer is infeasible."""
    max_failures: Count = 5
    """Number of infeasible trials in a row that ends the search with an error."""

    @property
    def asked_batch(self) -> int:
        """Rows of an optimiser step that were asked for; 0 lets the train rows choose."""
        return 0 if self.batch_size == "auto" else self.batch_size

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
            raise ValueError(f'vizier: "{self.vizier}" is not a location; give projects/PROJECT/locations/REGION')
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

    @model_validator(mode="after")
    def _earlier(self) -> Self:
        if self.from_run is not None and self.rounds is not None:
            raise ValueError('"from" trains no trial, so rounds have nothing to do; remove one of them')
        if self.warm_start is None:
            return self
        if self.from_run is not None:
            raise ValueError('"from" trains no trial, so "warm_start" has nothing to begin; remove one of them')
        if self.rounds is not None:
            raise ValueError('"warm_start" is for a search in one task; remove rounds')
        if self.tuner not in ("bayesian", "random", "evolution"):
            raise ValueError(f'"warm_start" has no meaning with tuner: {self.tuner}; use bayesian, random or evolution')
        return self

    @property
    def trainings(self) -> int:
        """Trainings that the search may take."""
        if self.from_run is not None:
            return 0
        if self.rounds is not None:
            return self.rounds * self.parallel_trials
        return self.max_trials * self.executions_per_trial


LATE = 0.1
"""Share of its time that a run may take beyond it before that is said."""
FEWEST = 4
"""Number of candidates that a search with a time budget leaves time for, where they leave it time."""


class TimeBudget(Section):
    """Time of the whole run, and what the steps after the search do in it."""

    minutes: Annotated[float, Field(gt=0)]
    """Time of the whole run."""
    best_epoch: BestEpochTask
    """Trainings of each candidate."""
    retrain: Switch
    """Whether members are trained again."""
    members: Count
    """Number of members at most."""
    why_seconds: Annotated[float, Field(ge=0)]
    """Time limit of the explanations."""


class SearchTask(SearchSettings):
    """Settings of the step: how to search, and what time the run has."""

    time: Annotated[TimeBudget | None, Field(exclude_if=lambda given: given is None)] = None
