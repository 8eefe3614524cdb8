"""The cost of evaluating and of the report, as a share of a run.

    python -m benchmarks.evaluation --run pipelines/configs/digits.yaml

Runs a run file from nothing. Evaluation is the time from the end of the last training to the end of `evaluate`, so that
starting its process and importing TensorFlow and matplotlib count. The report is that, and the time from the end of
`promote` to the end of the run, in which the report is written again with the decision.
docs/explanation/what-was-measured.md has the result.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kep.artifacts.report import Report
from kep.artifacts.step import StepRecord

MOST = 0.15
"""Largest share of a run that both may take."""


def ends(steps: list[StepRecord], *names: str) -> float:
    """Return when the last of the steps ended, in seconds since 1970."""
    return max(step.started + step.seconds for step in steps if step.step in names)


def told(events: Path) -> list[str]:
    """Return what evaluate said of its own times."""
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    texts = [line.get("text") or "" for line in lines if line.get("step") == "evaluate"]
    return [text for text in texts if text.startswith("explained in")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("pipelines/configs/digits.yaml"), help="The run file.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        command = [Path(sys.executable).with_name("kep"), "run", arguments.run, "--runs", scratch]
        start = time.time()
        subprocess.run(command, env=os.environ, check=True, stdout=subprocess.DEVNULL)
        end = time.time()
        (latest,) = Path(scratch).glob("*/latest")
        steps, texts = Report.load(latest).steps, told(latest / "events.jsonl")
    own = next(step for step in steps if step.step == "evaluate")
    evaluation = ends(steps, "evaluate") - ends(steps, "retrain")
    report = end - ends(steps, "promote")
    print(f"evaluate          {evaluation:6.1f} s, of which {own.seconds:.1f} s after its process had started")
    for text in texts:
        print(f"  {text}")
    print(f"report, at the end {report:5.1f} s")
    print(f"run               {end - start:6.1f} s")
    share = (evaluation + report) / (end - start)
    print(f"share             {100 * share:6.1f} % of at most {100 * MOST:.0f} %")
    if share > MOST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
