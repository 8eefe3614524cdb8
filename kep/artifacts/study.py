"""The search: its rounds, its result, and the candidates that it hands on."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kep.artifacts.trials import Hyperparameter, Hyperparameters, Order, Unit
from kep.config.search import EarlierSearch
from kep.core.json_model import Figure, JsonFile, JsonModel, is_none
from kep.data.schema import Manifest, SplitInfo

Direction = Literal["min", "max"]


class Goal(JsonModel):
    """Objective of a search, with the direction that is better."""

    name: str
    """Name of the score."""
    direction: Direction
    """Better direction."""


class Candidate(JsonModel):
    """A trial that goes on: an item of the fan-out to best_epoch."""

    KIND: ClassVar[str] = "a candidate"
    REMEDY: ClassVar[str] = "run tune again"

    id: str
    """Family and number of the trial, such as `mlp-004`."""
    family: str
    """Family of the trial."""
    values: Hyperparameters
    """Hyperparameters of the trial."""
    loss: float
    """Validation loss of the trial."""
    best: int
    """1-based best epoch or boosting round of the trial."""
    unit: Unit
    """Unit of `best`."""
    seeds: Annotated[int, Field(ge=1)] | None = Field(default=None, exclude_if=is_none)
    """Fresh trainings that the time of the run leaves; None for as many as the run file says."""

    @property
    def number(self) -> int:
        """0-based place of the trial in the order of suggestion."""
        return int(self.id.rpartition("-")[2])


class Space(JsonModel):
    """Search space of a family."""

    family: str
    """Name of the family."""
    config: dict[str, Any]
    """The space as KerasTuner writes it."""


class Round(JsonFile):
    """A search between two rounds, in the folder of the records so far."""

    FILE: ClassVar[str] = "round.json"
    KIND: ClassVar[str] = "a round of a search"

    orders: list[Order]
    """All trainings so far in order, those that the next tasks are to do included."""
    spaces: list[Space]
    """Search spaces, in the order of the families' turns."""


class SearchedData(JsonModel):
    """Data that a search was for."""

    task: str
    """Task of the label."""
    classes: list[str]
    """Its classes as texts, sorted; empty for a regression."""
    records: str
    """Fingerprint of the records."""
    split: SplitInfo | None = None
    """Rule that gave rows their roles; None in a study of earlier versions."""
    code: dict[str, str] = Field(default_factory=dict)
    """Hash of what each family is made from, by name."""

    @classmethod
    def of(cls, manifest: Manifest, code: dict[str, str]) -> "SearchedData":
        """Return it for the records of a manifest, and families with this code."""
        label = manifest.label
        classes = sorted(str(name) for name in label.classes or [])
        return cls(task=label.task, classes=classes, records=manifest.fingerprint, split=manifest.split, code=code)


class Study(JsonFile):
    """Result of a search."""

    FILE: ClassVar[str] = "study.json"
    KIND: ClassVar[str] = "a study"
    REMEDY: ClassVar[str] = "run tune again"

    identity: str
    """Hash of everything that a trial depends on."""
    objective: Goal
    """Objective of the search."""
    tuner: str
    """Search algorithm."""
    spaces: dict[str, list[Hyperparameter]]
    """Search space by family."""
    trials: int
    """Number of trials."""
    executions: int
    """Number of trainings of all trials."""
    distinct: int
    """Number of different configurations."""
    infeasible: int
    """Number of infeasible trials."""
    lowest_loss: Figure
    """Lowest validation loss; None without a complete trial."""
    corrected_loss: Figure
    """Lowest loss, corrected for having been picked by the rows that score it."""
    candidates: list[Candidate] = Field(default_factory=list)
    """Trials that go on to best_epoch."""
    data: SearchedData | None = Field(default=None, exclude_if=is_none)
    """Data of the search; None in studies of earlier versions."""
    origin: EarlierSearch | None = Field(default=None, exclude_if=is_none)
    """The search that this study is a copy of; None for one of its own."""
    warm: EarlierSearch | None = Field(default=None, exclude_if=is_none)
    """The search whose records this one began with; None for one that began with none."""

    @property
    def chosen(self) -> set[int]:
        """Numbers of the trials that became candidates."""
        return {candidate.number for candidate in self.candidates}
