"""tune as the pipeline calls it."""

import json
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from kep.components.tune.tune import run
from tests.helpers.processes import CLEAN

TREES = [{"name": "boosted_trees"}]


def start(records: Path, out: Path, families: list = TREES, seed: int = 0, code: str = "c", **config) -> BaseProcess:
    """Starts the step in a process of its own, as the pipeline does; what it says goes to `out`.log."""
    defaults = {"max_trials": 3, "max_epochs": 1, "patience": 1, "batch_size": 32, "top_n": 2, "workers": 2}
    arguments = {
        "out": str(out),
        "records": str(records),
        "families": json.dumps(families),
        "config": json.dumps(defaults | config),
        "hardware": "{}",
        "seed": seed,
        "code": code,
    }
    log, answer = out.with_suffix(".log"), out.with_suffix(".items")
    process = CLEAN.Process(target=_run_step, args=(arguments, dict(os.environ), log, answer))
    process.start()
    return process


def tune(records: Path, out: Path, families: list = TREES, seed: int = 0, code: str = "c", **config) -> list[dict]:
    """Runs the step to its end.

    Raises:
        SystemExit: With the status of the step.
    """
    process = start(records, out, families, seed, code, **config)
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    return [json.loads(item) for item in json.loads(out.with_suffix(".items").read_text())]


def _run_step(arguments: dict, environment: dict, log: Path, answer: Path) -> None:
    # The server keeps the variables of the test that it was started by.
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "w") as sys.stdout:
        answer.write_text(json.dumps(run(**arguments)))
