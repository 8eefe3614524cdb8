"""Everything that a run found, as the report shows it."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.evaluation import Evaluation
from kep.artifacts.export import Export
from kep.artifacts.member import TrainedMember
from kep.artifacts.run import FinishedRun, RunRecord
from kep.artifacts.step import StepRecord
from kep.artifacts.study import Study
from kep.artifacts.trials import Trial
from kep.artifacts.weights import Weights
from kep.config.run_file import RunFile
from kep.core.errors import UserError
from kep.core.json_model import JsonFile
from kep.data.schema import Manifest


class Report(JsonFile):
    """Content of a report, without the verdict."""

    FILE: ClassVar[str] = "report.json"
    KIND: ClassVar[str] = "a report"
    REMEDY: ClassVar[str] = "run the pipeline again"

    asked: RunFile
    """The run file, with every default."""
    manifest: Manifest
    """Manifest of the records."""
    study: Study
    """Result of the search."""
    trials: list[Trial]
    """Trials of the search."""
    best_epochs: list[BestEpoch]
    """Results of best_epoch, one for each candidate."""
    weights: Weights
    """Result of weigh."""
    members: list[TrainedMember]
    """Members, the heaviest first."""
    evaluation: Evaluation
    """Result of evaluate."""
    steps: list[StepRecord]
    """Records of the steps, in the order of the flow; evaluate and promote are added when the run has ended."""
    run: FinishedRun | None = None
    """Record of the finished run; None until the run has ended."""
    exports: list[Export] = Field(default_factory=list)
    """Exports since the run, one for each format."""

    @classmethod
    def of_run(cls, folder: Path) -> Self:
        """Read the report of a finished run from its folder.

        Raises:
            UserError: It can't be read, or is that of another run.
        """
        report, record = cls.load(folder), RunRecord.load(folder)
        recorded = report.run and report.run.model_dump(include=set(RunRecord.model_fields))
        if recorded != record.model_dump():
            raise UserError(f"{folder / cls.FILE} is the report of another run than {RunRecord.FILE}; {cls.REMEDY}")
        return report
