"""What a run reaches in the time that it is given, and whether it keeps that time; beside AutoGluon on the same rows.

    python -m benchmarks.quality [--minutes M] [--seeds N] [--tables NAME ...] [--autogluon PYTHON] [--preset NAME]

`kep run` has `minutes: M` and its defaults otherwise. AutoGluon gets as many seconds as that run took, the rows of
train and validation together, and is scored on the same test rows. PYTHON is that of an environment with
`autogluon.tabular[lightgbm,catboost,xgboost,fastai]`.
Prints a Markdown table a table of rows: the test log-loss, or root mean squared error, means over the seeds.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from benchmarks.tables import TABLES
from kep.artifacts.report import Report
from kep.engines.local.finding import find

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Share of the rows in each role."""


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


def ours(folder: Path, rows: Path, minutes: float, seed: int) -> tuple[float, float, Report]:
    """Run a table; return the test figure, the seconds, and the report."""
    split = {"by": "column", "column": "role", "roles": {role: [role] for role in SHARES}}
    data = {"source": str(rows), "label": "y", "exclude": ["role"], "split": split}
    file = folder / "quality.yaml"
    file.write_text(yaml.safe_dump({"name": "quality", "seed": seed, "minutes": minutes, "data": data}))
    command = [str(Path(sys.executable).with_name("kep")), "run", str(file), "--runs", str(folder / "runs")]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 4):
        sys.exit(done.stdout + done.stderr)
    report = Report.of_run(find("quality", folder / "runs").resolve())
    name = "rmse" if report.manifest.label.task == "regression" else "loss"
    return report.evaluation.scores["ensemble"][name].value, seconds, report


def theirs(python: str, rows: Path, seconds: float, preset: str) -> float:
    """Return AutoGluon's test figure on the same rows."""
    script = Path(__file__).with_name("quality_autogluon.py")
    command = [python, str(script), str(rows), f"{seconds:.0f}", preset]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), metavar="NAME")
    parser.add_argument("--autogluon", metavar="PYTHON")
    parser.add_argument("--preset", default="good_quality")
    asked = parser.parse_args()
    columns = ["seconds", "of its time", "trials", "members", "kep"]
    columns += ["AutoGluon", "kep beside it"] if asked.autogluon else []
    print(f"| table | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}", flush=True)
    for name in asked.tables:
        found = []
        for seed in range(asked.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                rows = with_roles(TABLES[name](seed).write(Path(scratch) / "rows.csv"), seed)
                value, seconds, report = ours(Path(scratch), rows, asked.minutes, seed)
                trials, members = report.study.trials, len(report.members)
                other = theirs(asked.autogluon, rows, seconds, asked.preset) if asked.autogluon else np.nan
                found.append((seconds, trials, members, value, other))
        seconds, trials, members, value, other = np.mean(found, axis=0)
        cells = [f"{seconds:.0f}", f"{seconds / (60 * asked.minutes):.0%}", f"{trials:.0f}", f"{members:.0f}"]
        cells.append(f"{value:.4g}")
        if asked.autogluon:
            cells += [f"{other:.4g}", f"{value / other - 1:+.1%}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
