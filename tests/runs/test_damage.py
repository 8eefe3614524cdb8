"""Nothing damaged is believed: each artifact of a finished run, damaged in each way, through what reads it.

A reader gives the undamaged content, or one sentence with the path; never other content, never another error.
"""

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.evaluation import Evaluation
from kep.artifacts.member import TrainedMember
from kep.artifacts.report import Report
from kep.artifacts.run import RunRecord
from kep.artifacts.study import Study
from kep.artifacts.trials import TrialStore
from kep.artifacts.verdict import Verdict
from kep.artifacts.weights import Weights
from kep.components.weigh.weigh import load_predictions
from kep.core.errors import RunError, UserError
from kep.core.files import read_json, write_json
from kep.data.records import Records
from kep.data.schema import Manifest
from kep.data.sealed import unsealed
from kep.models.ensemble import Ensemble
from kep.storage import champions
from tests.helpers.commands import Run, kep
from tests.helpers.files import flip, truncate
from tests.helpers.paths import DATA


@dataclass(frozen=True)
class Copy:
    """A copy of a finished run that a test may damage."""

    place: Path

    def one(self, pattern: str) -> Path:
        """Return the first file or folder in the store, or else in the run's folder, of this pattern."""
        return sorted([*self.place.glob(f"store/training-*/{pattern}"), *self.place.glob(f"2*/{pattern}")])[0]

    @property
    def records(self) -> Path:
        return self.one("ingest/records")

    @property
    def champions(self) -> Path:
        return self.place.parent / "champions" / "churn"


@pytest.fixture
def copy(churn: Run, tmp_path) -> Copy:
    shutil.copytree(churn.place, tmp_path / "churn", symlinks=True)
    shutil.copytree(churn.place.parent / "champions", tmp_path / "champions")
    return Copy(tmp_path / "churn")


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _rows(run: Copy) -> list:
    data = Records(run.records, "tune")
    return [data.load(role).numeric.tobytes() for role in ("train", "validation")]


def _test_rows(run: Copy) -> bytes:
    with unsealed(run.one("ingest/test"), "evaluate") as folder:
        return Records(folder, "evaluate").load("test").numeric.tobytes()


def _study(run: Copy) -> list:
    folder = run.one("tune/study")
    study = Study.load(folder)
    return [_plain(study), [_plain(one) for one in TrialStore(folder).finished(study.executions)]]


def _records(run: Copy) -> list:
    """What a search goes on from: the damaged execution is trained again, which gives the same record."""
    folder = run.one("tune/study")
    told: list[str] = []
    store = TrialStore(folder, (Manifest.load(run.records).roles["validation"].rows, 2))
    whole = store.whole(told.append)
    if told:
        raise UserError(told[0])
    return [store.predictions(trial).tolist() for trial in whole.values() if trial.complete]


def _held_out(run: Copy) -> list:
    folder = run.one("for-loop-1-iteration-0/best-epoch/result")
    stored = load_predictions(folder, BestEpoch.load(folder).candidate.id, Manifest.load(run.records))
    return [array.tolist() for array in stored.values()]


def _member(run: Copy) -> Any:
    folder = run.one("for-loop-1-iteration-0/retrain/model")
    member = TrainedMember.load(folder)
    member.check(folder)
    return _plain(member)


def _predictions(folder: Path) -> list:
    table = {name: [None] * 3 for name in ("months", "monthly", "calls", "plan", "region")}
    own = Ensemble(folder)
    return own.predict({column.name: table.get(column.name, [None] * 3) for column in own.manifest.columns}).tolist()


def _ensemble(run: Copy) -> list:
    return _predictions(run.one("evaluate/ensemble"))


def _champion(run: Copy) -> list:
    return _predictions(champions.serving(run.champions))


def _evaluation(run: Copy) -> list:
    folder = run.one("evaluate/evaluation")
    evaluation = Evaluation.load(folder)
    return [_plain(evaluation), {name: array.tolist() for name, array in evaluation.stored(folder).items()}]


def _of(kind: Any, folder: str) -> Callable[[Copy], Any]:
    return lambda run: _plain(kind.load(run.one(folder)))


def _in_run(kind: Any) -> Callable[[Copy], Any]:
    return lambda run: _plain(kind.load(next(path for path in run.place.glob("2*") if path.is_dir())))


def _report(run: Copy) -> Any:
    return _plain(Report.of_run(next(path for path in run.place.glob("2*") if path.is_dir())))


CHAMPION = "champion"
ARTIFACTS: dict[str, tuple[str, Callable[[Copy], Any]]] = {
    "manifest": ("ingest/records/manifest.json", _rows),
    "shard": ("ingest/records/train-*", _rows),
    "manifest of the test rows": ("ingest/test/manifest.json", _test_rows),
    "sealed shard": ("ingest/test/*.sealed", _test_rows),
    "study": ("tune/study/study.json", _study),
    "record of a trial": ("tune/study/trials/0001-0.json", _study),
    "predictions of a trial": ("tune/study/predictions/0001-0.npy", _records),
    "best epoch": ("for-loop-1-iteration-0/best-epoch/result/best_epoch.json", _held_out),
    "held-out predictions": ("for-loop-1-iteration-0/best-epoch/result/predictions.npz", _held_out),
    "trained-on ids": ("for-loop-1-iteration-0/best-epoch/result/trained_on.npz", _held_out),
    "weights": ("weigh/weights/weights.json", _of(Weights, "weigh/weights")),
    "member": ("for-loop-1-iteration-0/retrain/model/member.json", _member),
    "retrained trees": ("for-loop-1-iteration-0/retrain/model/model.*", _member),
    "trees": ("evaluate/ensemble/members/*/model.txt", _ensemble),
    "network": ("evaluate/ensemble/members/*/model.keras", _ensemble),
    "ensemble": ("evaluate/ensemble/ensemble.json", _ensemble),
    "train ids": ("evaluate/ensemble/train_ids.npy", _ensemble),
    "manifest of the ensemble": ("evaluate/ensemble/manifest.json", _ensemble),
    "evaluation": ("evaluate/evaluation/evaluation.json", _evaluation),
    "stored test predictions": ("evaluate/evaluation/predictions.npz", _evaluation),
    "report": ("report.json", _report),
    "verdict": ("promote/verdict/verdict.json", _of(Verdict, "promote/verdict")),
    "run": ("run.json", _in_run(RunRecord)),
    "pointer": (CHAMPION, _champion),
    "champion's trees": (f"{CHAMPION}/versions/*/members/*/model.txt", _champion),
    "champion's weights": (f"{CHAMPION}/versions/*/ensemble.json", _champion),
}


def _edit(path: Path) -> None:
    """Change a number, or else a text, of a JSON file, which stays valid."""
    done = False

    def changed(value: Any) -> Any:
        nonlocal done
        if isinstance(value, dict):
            return {key: value[key] if key == "fingerprint" else changed(value[key]) for key in value}
        if isinstance(value, list):
            return [changed(one) for one in value]
        if not done and isinstance(value, float):
            done = True
            return value + 0.25
        return value

    content = changed(read_json(path))
    write_json(path, content if done else content | {"reason": "because", "name": "other", "version": "0" * 12})


def _swap(path: Path) -> None:
    """Take the content of a file of the same kind in the same run, or else of any other file."""
    root = next(folder for folder in path.parents if (folder / "churn").is_dir())
    alike = [other for name in (path.name, f"*{path.suffix}", "*") for other in sorted(root.rglob(name))]
    other = next(other for other in alike if other.is_file() and other.read_bytes() != path.read_bytes())
    path.write_bytes(other.read_bytes())


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flip": flip,
    "truncate": truncate,
    "delete": Path.unlink,
    "edit": _edit,
    "swap": _swap,
}
CASES = [
    (artifact, damage)
    for artifact, (pattern, _) in ARTIFACTS.items()
    for damage in DAMAGE
    if damage != "edit" or pattern.endswith((".json", CHAMPION))
]


def _find(run: Copy, pattern: str) -> Path:
    if not pattern.startswith(CHAMPION):
        return run.one(pattern)
    rest = pattern.removeprefix(CHAMPION).lstrip("/")
    return sorted(run.champions.glob(rest))[0] if rest else run.champions / "champion.json"


@pytest.fixture(scope="module")
def undamaged(churn: Run) -> Callable[[Callable[[Copy], Any]], Any]:
    known: dict[Any, Any] = {}

    def of(read: Callable[[Copy], Any]) -> Any:
        if read not in known:
            known[read] = read(Copy(churn.place))
        return known[read]

    return of


@pytest.mark.parametrize(("artifact", "damage"), CASES)
def test_a_reader_gives_what_was_written_or_one_sentence(copy, undamaged, artifact, damage):
    pattern, read = ARTIFACTS[artifact]
    expected, path = undamaged(read), _find(copy, pattern)
    DAMAGE[damage](path)
    problem = None
    try:
        found = read(copy)
    except (UserError, RunError) as error:
        problem = str(error)
    if problem is not None:
        assert str(copy.place.parent) in problem
        assert "\n" not in problem
    else:
        assert found == expected
        # Only damage that no reader looks at may go unseen: without its pointer a folder is no champions'.
        assert damage in ("flip", "swap")


def test_there_are_enough_cases():
    assert len(CASES) >= 60


@pytest.mark.slow
def test_a_run_makes_again_what_is_damaged(copy, churn: Run):
    """Through the command line: the same numbers, a line for each thing, and the champion's files are written again."""
    for pattern in (
        "tune/study/trials/0001-0.json",
        "for-loop-1-iteration-0/best-epoch/result/predictions.npz",
        "weigh/weights/weights.json",
        "evaluate/ensemble/members/*/model.txt",
        "evaluate/evaluation/evaluation.json",
    ):
        flip(copy.one(pattern))
    entry = sorted((copy.place / "store" / "cache").glob("*.json"))[0]
    truncate(entry)
    file = churn.place.parent.parent / "churn.yaml"
    done = kep("run", file, "--runs", copy.place.parent)
    assert done.returncode == 0, done.stdout
    again = Run(copy.place.parent, "churn", done.stdout)
    for name, array in np.load(churn.predictions).items():
        np.testing.assert_array_equal(np.load(again.predictions)[name], array)
    assert "it is made again" in (again.folder / "events.jsonl").read_text()


@pytest.mark.slow
def test_the_champion_that_is_gone_is_written_again_by_the_run_that_made_it(copy, churn: Run):
    (version,) = (copy.champions / "versions").iterdir()
    shutil.rmtree(version)
    file = churn.place.parent.parent / "churn.yaml"
    done = kep("run", file, "--runs", copy.place.parent, "--from", "evaluate")
    assert done.returncode == 0, done.stdout
    assert "its files there were gone or damaged, and are written again" in done.stdout
    assert champions.serving(copy.champions) == version


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_the_command_line_says_it_in_one_sentence(copy, damage):
    """Where LightGBM would end the process."""
    path = copy.one("evaluate/ensemble/members/*/model.txt")
    DAMAGE[damage](path)
    done = kep("predict", DATA / "churn.csv", "--model", path.parents[2], folder=copy.place.parent)
    assert done.returncode == 2
    assert done.returncode != -signal.SIGABRT
    (sentence,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert str(path) in sentence
    assert "Traceback" not in done.stdout
