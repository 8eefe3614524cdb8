"""A finished run as the commands that come after it find it, of members trained for a moment."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.report import Report
from kep.artifacts.run import FinishedRun
from kep.artifacts.trials import TrialStore
from kep.data.records import Records
from kep.runtime.step import Step
from kep.stats.operating_point import DecisionFigures, OperatingPoint
from kep.training.monitor import StepMonitor
from tests.helpers.artifacts import best_epoch, candidate, run_record, training, vouch
from tests.helpers.files import edited
from tests.helpers.records import sealed
from tests.helpers.reports import whole
from tests.helpers.trials import recorded


@pytest.fixture(scope="session")
def runs(ensembles, records, tmp_path_factory):
    """Function from a source and its families to a folder of runs that holds one, called as the source."""
    made = {}

    def of(source: str, *names: str) -> Path:
        from kep.models.ensemble import Ensemble

        if (source, names) not in made:
            root = tmp_path_factory.mktemp("runs")
            run, store = root / source / "20260101-000000", root / source / "store" / "training-1"
            shutil.copytree(ensembles(source, *names), run / "ensemble")
            sealed(records(source), store / "ingest")
            own = Ensemble(run / "ensemble")
            data = [Records(records(source), step) for step in ("tune", "evaluate")]
            train, validation, test = data[0].load("train"), data[0].load("validation"), data[1].load("test")
            results = []
            for place, (member, (family, model)) in enumerate(zip(own.members, own.models, strict=True)):
                folder = store / f"for-loop-1-iteration-{place}" / "best-epoch" / "result"
                folder.mkdir(parents=True)
                held = {"labels": validation.labels, "ids": validation.ids, "folds": np.zeros(len(validation), int)}
                np.savez(folder / "predictions.npz", predictions=family.predict(model, validation)[None], **held)
                np.savez(folder / "trained_on.npz", **{"0": train.ids})
                roles = {role: own.manifest.roles[role].fingerprint for role in ("train", "validation")}
                result = best_epoch(candidate(member.id), fingerprints=roles, seeds=[training(0)])
                result.save(folder)
                vouch(folder)
                result = BestEpoch.load(folder)
                with StepMonitor(Step("best_epoch"), "", scalars=folder / "tensorboard" / "seed-0") as monitor:
                    for epoch in (1, 2, 3):
                        monitor.epoch(epoch, {"loss": 1 / epoch, "val_loss": 2 / epoch})
                results.append(result)
                retrained = store / f"m{place}" / "retrain" / "model"
                shutil.copytree(run / "ensemble" / "members" / member.id, retrained)
                with StepMonitor(Step("retrain"), "", scalars=retrained / "tensorboard" / "training") as monitor:
                    monitor.epoch(1, {"loss": 0.5})
            # Sorts before the members that it is of.
            shutil.copytree(run / "ensemble", store / "evaluate" / "ensemble")
            evaluation = store / "evaluate" / "evaluation"
            evaluation.mkdir(parents=True)
            predictions = own.combine(own.predict_members(test))
            np.savez(evaluation / "predictions.npz", labels=test.labels, ids=test.ids, ensemble=predictions)
            told, record = Report.from_json(json.dumps(whole(own.manifest))), run_record(data={"source": source})
            report = told.model_copy(
                update={
                    "run": FinishedRun(**dict(record), folder=str(run), seconds=1.0),
                    "best_epochs": results,
                    "members": own.members,
                    "weights": told.weights.model_copy(update={"method": "exact", "pooling": own.pooling}),
                }
            )
            report.evaluation.save(evaluation)
            report.study.save(store / "tune" / "study")
            study = TrialStore(store / "tune" / "study")
            for number, units in enumerate((16, 64)):
                values = {"units": units, "learning_rate": 0.01, "activation": "relu"}
                loss = 0.5 - number / 10
                score = {"score": loss, "loss": loss, "best": 2, "validation_curve": [0.7, loss]}
                study.save(recorded(number, "mlp", values, number, "complete", **score), None)
            study.save(recorded(2, "mlp", {"units": 8}, 2, "infeasible", reason="no number"), None)
            report.save(run)
            record.save(run)
            (run / "report.html").touch()
            (root / source / "latest").symlink_to(run.name)
            made[source, names] = root
        return made[source, names]

    return of


@pytest.fixture
def calibrated(tmp_path):
    """Function from the folder of an ensemble, a calibration and a threshold to that of the ensemble with both."""

    def of(folder: Path, threshold: float | None = None, **calibration) -> Path:
        shutil.rmtree(tmp_path / "calibrated", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "calibrated")
        with edited(tmp_path / "calibrated" / "ensemble.json") as described:
            described["calibration"] = calibration
            if threshold is not None:
                described["operating_point"] = operating_point(threshold)
        return tmp_path / "calibrated"

    return of


@pytest.fixture
def decided_run(runs, tmp_path):
    """Function from a source and its families to a folder of runs, and the threshold of the run's ensemble."""

    def of(source: str, *names: str) -> tuple[Path, float]:
        root = tmp_path / "runs"
        shutil.copytree(runs(source, *names), root, symlinks=True)
        with edited(root / source / "latest" / "ensemble" / "ensemble.json") as described:
            described["operating_point"] = operating_point(0.2)
        return root, 0.2

    return of


def operating_point(threshold: float) -> dict:
    """Return an operating point as a file holds it."""
    figures = DecisionFigures(precision=0.5, recall=0.5, false_positive_rate=0.5)
    return OperatingPoint(
        threshold=threshold,
        rule="threshold",
        chosen_by="as set",
        rows=100,
        validation=figures,
        validation_default=figures,
    ).model_dump(mode="json")


@pytest.fixture
def run_folder(runs):
    """Function from a source and its families to the folder of the run."""

    def of(source: str, *names: str) -> Path:
        return runs(source, *names) / source / "latest"

    return of


@pytest.fixture
def stored(run_folder):
    """Function from a source and its families to the test predictions that the run stored."""

    def of(source: str, *names: str) -> dict[str, np.ndarray]:
        store = run_folder(source, *names).resolve().parent / "store"
        return dict(np.load(next(store.glob("**/evaluation/predictions.npz"))))

    return of
