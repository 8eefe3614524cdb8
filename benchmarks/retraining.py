"""Search once, retrain often: the cost of a month with `search: {from: RUN}`, and what it gives away.

    python -m benchmarks.retraining [--trials N] [--rows N]

A table grows from month to month. The first month searches; the second one either searches anew, or takes the
candidates of the first. Both train on the same rows of the second month and are scored on the same test rows.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from sklearn.datasets import make_classification

from kep.artifacts.report import Report
from kep.engines.local.artifacts import Artifacts
from kep.engines.local.finding import find
from kep.report.comparison import Side, compare
from kep.report.page import number

GROWTH = 1.2
"""Rows of the second month for each of the first."""


def write_table(path: Path, rows: int, first: int) -> None:
    """Write the first rows of a table of 20 columns and two classes, with an id."""
    values, labels = make_classification(rows, 20, n_informative=8, flip_y=0.05, class_sep=0.8, random_state=0)
    table = np.column_stack([np.arange(rows), values, labels])[:first]
    head = ",".join(["id", *(f"x{place}" for place in range(20)), "y"])
    np.savetxt(path, table, delimiter=",", header=head, comments="", fmt="%.6g")


def run(folder: Path, name: str, data: Path, trials: int, candidates: str | None) -> tuple[Side, float]:
    """Run a month; return what it found, and the seconds that its processes had a processor."""
    before = _processor_seconds()
    search = {"families": ["mlp"], "max_trials": trials} | ({"from": candidates} if candidates else {})
    settings = {"name": name, "data": {"source": str(data), "label": "y", "id": "id"}, "search": search}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings))
    command = [str(Path(sys.executable).with_name("kep")), "run", str(file), "--runs", str(folder / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        sys.exit(done.stdout + done.stderr)
    place = find(name, folder / "runs").resolve()
    report = Report.of_run(place)
    side = Side(name, report, report.evaluation.stored(Artifacts(place).evaluation()))
    return side, _processor_seconds() - before


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(trials: int, rows: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder, later = Path(name), int(rows * GROWTH)
        write_table(folder / "first.csv", later, rows)
        write_table(folder / "second.csv", later, later)
        first, *processors = run(folder, "first", folder / "first.csv", trials, None)
        anew, two = run(folder, "anew", folder / "second.csv", trials, None)
        taken, three = run(folder, "taken", folder / "second.csv", trials, "first")
        processors += [two, three]
        print(f"{rows:,} rows, then {later:,}; {trials} trials\n")
        print("| step, seconds | first month | second, searched anew | second, candidates of the first | ratio |")
        print("| --- | ---: | ---: | ---: | ---: |")
        spent = [
            _seconds(side.report) | {"processor time": seconds}
            for side, seconds in zip((first, anew, taken), processors, strict=True)
        ]
        for step in spent[0]:
            one, two, three = (sums[step] for sums in spent)
            print(f"| {step} | {one:.1f} | {two:.1f} | {three:.1f} | {three / two:.2f} |")
        trained = [_trainings(side.report) for side in (first, anew, taken)]
        print(f"| trainings | {trained[0]} | {trained[1]} | {trained[2]} | {trained[2] / trained[1]:.2f} |")
        losses = [number(side.report.evaluation.ensemble["loss"].value) for side in (first, anew, taken)]
        print(f"| test log-loss | {losses[0]} | {losses[1]} | {losses[2]} |  |")
        print(f"\n{compare(anew, taken).sentence}")


def _seconds(report: Report) -> dict[str, float]:
    """Return the seconds of training steps, and of all together."""
    sums = dict.fromkeys(("tune", "best_epoch", "retrain"), 0.0)
    for step in report.steps:
        if step.step in sums:
            sums[step.step] += step.seconds
    return sums | {"all steps": sum(step.seconds for step in report.steps)}


def _trainings(report: Report) -> int:
    searched = 0 if report.study.origin else report.study.executions
    return searched + sum(len(one.seeds) for one in report.best_epochs) + len(report.members)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rows", type=int, default=5000)
    given = parser.parse_args()
    main(given.trials, given.rows)
