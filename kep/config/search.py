"""Settings of the hyperparameter search."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from kep.config.section import Count, Epochs, Section


class Objective(Section):
    """The validation score that the search optimises."""

    name: str = "loss"
    """loss (log-loss for classes, mean squared error for regression), a metric that evaluate reports (accuracy,
    roc_auc, pr_auc, f1, calibration_error, mae, rmse, r2), or one that your model was compiled with"""
    direction: Literal["min", "max"] | None = None
    """Better direction; needed only for a metric of your model."""


def _empty(value: Any) -> bool:
    return not value


class OwnFamily(Section):
    """A family of your own, with what it needs beside its file."""

    file: str
    """path/to/file.py:build, relative to the run file."""
    packages: Annotated[list[str], Field(exclude_if=_empty)] = []
    """Packages that it needs, as pip names them, such as [einops==0.8.1]; an image for it: kep dockerfile"""
    requirements: Annotated[str | None, Field(exclude_if=_empty)] = None
    """A file with more of them, one a line, such as requirements.txt."""
    arguments: Annotated[dict[str, JsonValue], Field(exclude_if=_empty)] = {}
    """Arguments that its HyperModel is made with, by name."""


def _branch(entry: Any) -> str:
    return "[own]" if isinstance(entry, dict | OwnFamily) else "[name]"


FamilyEntry = Annotated[Annotated[str, Tag("[name]")] | Annotated[OwnFamily, Tag("[own]")], Discriminator(_branch)]
"""A family in the run file: a name, or a section of one's own."""


class EarlierSearch(Section):
    """The search of an earlier run, as it was found when a run was started; `run.json` has it, so that --like does."""

    run: str
    """Name of the run, NAME/RUN."""
    study: str
    """Folder of its study, local or on gs://."""
    digest: str
    """sha256 over the study and its trials."""
    task: str
    """Task of its label."""
    classes: list[str]
    """Classes of its label as texts, sorted; empty for a regression."""
    families: list[str]
    """Families of what is used of it."""


class SearchSettings(Section):
    """The hyperparameter search."""

    families: Annotated[list[FamilyEntry], Field(min_length=1)] | Literal["auto"] = "auto"
    """mlp, cnn, boosted_trees, hyperresnet, hyperxception, hyperefficientnet (hyperefficientnet:imagenet begins with
    ImageNet's weights, which Keras downloads), or your own path/to/file.py:build (KerasTuner's build(hp), or a
    HyperModel, also with its own fit); {file: path/to/file.py:build, packages: […], requirements: FILE, arguments: {…}}
    says what it needs. auto: mlp and boosted_trees for tables, and cnn too for images"""
    from_run: Annotated[str | EarlierSearch | None, Field(alias="from", exclude_if=lambda given: given is None)] = None
    """Search once, retrain often: takes the candidates of an earlier run and trains no trial. The name of a run file
    for its latest run, the folder of a run, or gs://BUCKET/runs/NAME."""
    warm_start: Annotated[str | EarlierSearch | None, Field(exclude_if=lambda given: given is None)] = None
    """Begins with the trials of an earlier run, named as in from: they inform the suggestions, and the best of them are
    trained first on today's rows. Where the rows are the same, they count as they are."""
    tuner: Literal["bayesian", "random", "grid", "hyperband", "evolution", "vizier"] = "bayesian"
    """bayesian (Gaussian process) | random | grid | hyperband (many short trainings, the best ones longer) |
    evolution (the better ones of the latest trials, changed a little) | vizier (Vertex AI's service)"""
    vizier: Annotated[str | None, Field(exclude_if=lambda parent: parent is None)] = None
    """For tuner: vizier, in a search in rounds, where its studies are: projects/PROJECT/locations/REGION"""
    max_trials: Count = 30
    """Trials over all families together; trials that a small space can't fill become further executions."""
    executions_per_trial: Count = 1
    """Trainings of each configuration, from different seeds; its score is their mean."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """No trial starts after this many minutes."""
    max_epochs: Epochs = 30
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
