"""The command line in processes of its own, and what it leaves."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from kep.engines.local.job import Outcome
from tests.helpers.processes import CLEAN, command_line

TINY = {
    "search": {"families": ["mlp", "boosted_trees"], "max_trials": 4, "max_epochs": 3, "top_n": 2, "batch_size": 32},
    "best_epoch": {"max_epochs": 4, "patience": 2, "seeds": 2},
    "evaluate": {"bootstrap": 100},
}

DONE = (0, 4)
"""Exit statuses of a run that ended well: its ensemble serves, or was not promoted."""


def write_run(folder: Path, name: str, **sections) -> Path:
    """Writes a run file of tiny trainings; `sections` replace or extend its sections."""
    content = {"name": name, "seed": 3} | {key: dict(value) for key, value in TINY.items()}
    for key, value in sections.items():
        content[key] = content.get(key, {}) | value if isinstance(value, dict) else value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(*arguments: str | Path) -> list[str]:
    return [str(Path(sys.executable).with_name("kep")), *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": ""}


def heed_interrupts() -> None:
    """For `preexec_fn`: what a shell starts in the background ignores SIGINT, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kep(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Runs `kep` to its end, with its output as text, in a process that has imported the libraries already."""
    given = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "output"
        process = CLEAN.Process(target=command_line, args=(given, str(folder or Path.cwd()), environment(), output))
        process.start()
        process.join()
        return subprocess.CompletedProcess(given, process.exitcode or 0, output.read_text(encoding="utf-8"))


def kep_from_nothing(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Runs `kep` as a shell would, with its output as text."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


class Run:
    """A finished run."""

    def __init__(self, root: Path, name: str, output: str) -> None:
        self.output = output
        self.place = root / name
        self.folder = (root / name / "latest").resolve()
        self.report = json.loads((self.folder / "report.json").read_text())
        self.page = (self.folder / "report.html").read_text()
        self.outcome = Outcome.load(self.folder).artifacts

    def read(self, artifact: str, file: str) -> dict:
        return json.loads((Path(self.outcome[artifact]) / file).read_text())

    @property
    def predictions(self) -> Path:
        return Path(self.outcome["evaluation"]) / "predictions.npz"
