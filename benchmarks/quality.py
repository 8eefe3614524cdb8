"""What a run reaches in the time that it is given, and whether it keeps that time; beside AutoGluon on the same rows.

    python -m benchmarks.quality [--minutes M] [--seeds N] [--tables NAME ...] [--autogluon PYTHON] [--preset NAME]

`kep run` has `minutes: M` and its defaults otherwise; with `--minutes 0` it has its defaults alone. AutoGluon gets as
many seconds as that run took, the rows of train and validation together, and is scored on the same test rows. PYTHON is
that of an environment with `autogluon.tabular[lightgbm,catboost,xgboost,fastai]`.
Prints a Markdown line for each table: the test log-loss, or root mean squared error, means over the seeds, which draw
the roles of the rows, too. The interval is of resampled test rows, the same ones for both.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute
import pyarrow.csv
import yaml

import kep
from benchmarks.tables import EVERY, TABLES
from kep.artifacts.report import Report
from kep.engines.local.finding import find
from kep.stats.bootstrap import Estimate, estimate
from kep.stats.metrics import row_losses

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Share of the rows in each role."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Done:
    """What a run left.

    Attributes:
        task: Task of its label.
        losses: Loss of each test row, in the order of the file, [n].
        seconds: Seconds from the command to its end.
        trials: Number of trials.
        members: Number of members.
    """

    task: str
    losses: np.ndarray
    seconds: float
    trials: int
    members: int


def with_roles(path: Path, seed: int) -> Path:
    """Add the column `role` to a CSV, drawn at random."""
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    order = np.random.default_rng(seed).permutation(len(rows)) / len(rows)
    bounds = np.cumsum(list(SHARES.values()))
    roles = [list(SHARES)[place] for place in np.searchsorted(bounds, order, side="right").clip(0, 2)]
    target = path.with_name("roles.csv")
    with open(target, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*head, "role"], *([*row, role] for row, role in zip(rows, roles, strict=True))])
    return target


def ours(folder: Path, rows: Path, minutes: float, seed: int) -> Done:
    """Run a table."""
    split = {"by": "column", "column": "role", "roles": {role: [role] for role in SHARES}}
    data = {"source": str(rows), "label": "y", "exclude": ["role"], "split": split}
    file = folder / "quality.yaml"
    settings = {"name": "quality", "seed": seed, "data": data} | ({"minutes": minutes} if minutes else {})
    file.write_text(yaml.safe_dump(settings))
    command = [str(Path(sys.executable).with_name("kep")), "run", str(file), "--runs", str(folder / "runs")]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 4):
        sys.exit(done.stdout + done.stderr)
    run = find("quality", folder / "runs").resolve()
    report = Report.of_run(run)
    table = pyarrow.csv.read_csv(rows)
    table = table.filter(pyarrow.compute.equal(table["role"], "test"))
    model = kep.load(run)
    found, truth, task = model.predict(table), table["y"].to_pylist(), report.manifest.label.task
    if task == "regression":
        losses = row_losses(task, np.array(truth), found["prediction"].to_numpy())
    else:
        chances = np.stack([found[f"probability_{name}"].to_numpy() for name in model.classes], axis=1)
        losses = row_losses(task, np.array([model.classes.index(one) for one in truth]), chances)
    return Done(task, losses, seconds, report.study.trials, len(report.members))


def theirs(python: str, rows: Path, seconds: float, preset: str) -> np.ndarray:
    """Return AutoGluon's loss of each test row, in the order of the file."""
    script, losses = Path(__file__).with_name("quality_autogluon.py"), rows.with_name("losses.npy")
    command = [python, str(script), str(rows), f"{seconds:.0f}", preset, str(losses)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return np.asarray(np.load(losses))


def figure(task: str, losses: list[np.ndarray]) -> float:
    """Return the mean over the seeds of the log-loss, or of the root mean squared error."""
    means = [float(one.mean()) for one in losses]
    return float(np.mean(np.sqrt(means) if task == "regression" else means))


def beside(task: str, own: list[np.ndarray], others: list[np.ndarray]) -> Estimate:
    """Return the figure of `own` as a share of that of `others`, with an interval over test rows."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(RESAMPLES):
        drawn = [rng.integers(0, len(one), len(one)) for one in own]
        mine, other = (figure(task, [one[rows] for one, rows in zip(all, drawn, strict=True)]) for all in (own, others))
        draws.append(mine / other)
    return estimate(figure(task, own) / figure(task, others), np.array(draws))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tables", nargs="+", choices=EVERY, default=list(TABLES), metavar="NAME")
    parser.add_argument("--autogluon", metavar="PYTHON")
    parser.add_argument("--preset", default="good_quality")
    asked = parser.parse_args()
    columns = ["seconds", "of its time", "trials", "members", "kep"]
    columns += ["AutoGluon", "kep beside it"] if asked.autogluon else []
    print(f"| table | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}", flush=True)
    for name in asked.tables:
        found: list[Done] = []
        others: list[np.ndarray] = []
        for seed in range(asked.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                rows = with_roles(EVERY[name](seed).write(Path(scratch) / "rows.csv"), seed)
                found.append(ours(Path(scratch), rows, asked.minutes, seed))
                if asked.autogluon:
                    others.append(theirs(asked.autogluon, rows, found[-1].seconds, asked.preset))
        seconds, trials, members = np.mean([(one.seconds, one.trials, one.members) for one in found], axis=0)
        cells = [
            f"{seconds:.0f}",
            f"{seconds / (60 * asked.minutes):.0%}" if asked.minutes else "",
            f"{trials:.0f}",
            f"{members:.0f}",
        ]
        task, losses = found[0].task, [one.losses for one in found]
        cells.append(f"{figure(task, losses):.4g}")
        if asked.autogluon:
            ratio = beside(task, losses, others)
            cells += [
                f"{figure(task, others):.4g}",
                f"{ratio.value - 1:+.1%} ({ratio.low - 1:+.1%} to {ratio.high - 1:+.1%})",
            ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
