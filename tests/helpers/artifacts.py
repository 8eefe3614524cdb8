"""Artifacts of trainings that never were."""

from pathlib import Path
from typing import Any

from kep.artifacts.best_epoch import PREDICTIONS, TRAINED_ON, BestEpoch, HeldOutTraining
from kep.artifacts.evaluation import BASELINE, ENSEMBLE, Comparison, Difference, Evaluation, Gap, Interval, Pictures
from kep.artifacts.member import TrainedMember
from kep.artifacts.run import RunRecord
from kep.artifacts.study import Candidate
from kep.config.run_file import validate
from kep.core.files import tree_digest

UNKNOWN = Interval(value=None, low=None, high=None)


def candidate(id: str, **more: Any) -> Candidate:
    """Return a candidate whose family is the first part of its id."""
    known = {"family": id.rpartition("-")[0], "values": {}, "loss": 0.3, "best": 3, "unit": "epoch"}
    return Candidate(id=id, **known | more)


def member(id: str, weight: float, **more: Any) -> TrainedMember:
    """Return a member that was trained for a moment."""
    known = dict(candidate(id)) | {"median_best": 3, "trained_rows": 100, "trained_units": 3.0, "rule": "same"}
    known |= {"seed": 1, "roles": ["train", "validation"], "rows": 100, "hardware": None}
    return TrainedMember(**known | {"spec": {"name": known["family"]}, "weight": weight} | more)


def training(seed: int = 0, **more: Any) -> HeldOutTraining:
    """Return a training of three epochs."""
    curve = [0.5, 0.4, 0.3]
    known = {"best": 3, "loss": 0.3, "at_cap": False, "train_curve": curve, "validation_curve": curve}
    return HeldOutTraining(seed=seed, **known | {"fold": 0, "metrics": {}} | more)


def best_epoch(of: Candidate, **more: Any) -> BestEpoch:
    """Return the result of a candidate that was trained with three seeds."""
    known = {"unit": of.unit, "median_best": 3, "at_cap": False, "folds": None, "trained_rows": 100}
    known |= {"fingerprints": {"train": "t", "validation": "v"}, "seeds": [training(seed) for seed in range(3)]}
    return BestEpoch(candidate=of, **known | more)


def vouch(folder: Path, **more: Any) -> None:
    """Write the digests of the arrays as they are now, and what else changed, into a folder's best_epoch.json."""
    files = {name: tree_digest(folder / name) for name in (PREDICTIONS, TRAINED_ON)}
    BestEpoch.load(folder).model_copy(update={"files": files} | more).save(folder)


def evaluation(champion: Comparison | None = None, **more: Any) -> Evaluation:
    """Return an evaluation of an ensemble that beats the baseline, and how the champion compares."""
    known: dict[str, Any] = {"rows": 100, "scores": {ENSEMBLE: {"loss": UNKNOWN}}, "pictures": Pictures(), "slices": {}}
    beaten = Difference(value=-0.5, low=-0.6, high=-0.4, rows=100)
    known |= {"against": {BASELINE: {"loss": beaten}}, "without": {}, "reload_difference": 0.0, "ledger": []}
    gap = Gap(validation_loss=0.3, cross_fitted_loss=0.31, test_loss=UNKNOWN)
    return Evaluation(champion=champion, gap=gap, **known | more)


def run_record(**run_file: Any) -> RunRecord:
    """Return the record of a run of this run file."""
    known = {"command": "kep run", "source": "s", "code": "c", "images": {}, "revision": None, "versions": {}}
    settings = validate({"name": "demo", "data": {"source": "x.csv"}} | run_file)
    return RunRecord(run_file=settings, base="/", platform="Linux", started="2026-01-01T00:00:00+00:00", **known)
