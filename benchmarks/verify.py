"""The cost of verifying: of an ensemble that is opened, and of everything that a run reads.

    python -m benchmarks.verify [--members N]
    python -m benchmarks.verify --run pipelines/configs/digits.yaml

The first prints the seconds of opening with and without verification, and their ratio: medians over rounds, of an
ensemble of networks and boosted trees of the default spaces on the digits data. The second runs a run file from nothing
and prints the seconds that all its processes spent on digests, fingerprints and checksums, as a share of the run.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.serving import trained
from kep.artifacts.member import EnsembleFile
from kep.models import ensemble
from kep.models.ensemble import Ensemble, verified

ROUNDS = 5
TIMES = "KEP_BENCHMARK_TIMES"
HOOK = """
import functools, json, os, threading, time
import google_crc32c
import kep.core.code, kep.core.files, kep.core.json_model, kep.data.schema
import kep.data.sources.fingerprint

depth = threading.local()

def timed(owner, name):
    call = getattr(owner, name)

    @functools.wraps(call)
    def wrapper(*arguments, **named):
        if getattr(depth, "inside", False):  # the outer call counts it
            return call(*arguments, **named)
        depth.inside, start = True, time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            seconds, depth.inside = time.perf_counter() - start, False
            with open(os.environ["KEP_BENCHMARK_TIMES"], "ab", buffering=0) as file:
                file.write(json.dumps([name, seconds]).encode() + b"\\n")

    setattr(owner, name, wrapper)

timed(google_crc32c, "extend")
timed(kep.core.code, "step_closure")
timed(kep.core.code.Closure, "source")
timed(kep.core.files, "tree_digest")
for name in ("with_fingerprint", "without_fingerprint", "check_files"):
    timed(kep.core.json_model, name)
timed(kep.data.sources.fingerprint, "state")
"""
"""A sitecustomize.py that appends the seconds of every outermost call that verifies, of each process of a run."""


def timed(call: Callable[[], object]) -> float:
    """Return the median seconds of a call over the rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def share_of_run(run_file: Path) -> None:
    """Run from nothing, and print what verifying took of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "sitecustomize.py").write_text(HOOK)
        command = [Path(sys.executable).with_name("kep"), "run", run_file, "--runs", folder / "runs"]
        start = time.perf_counter()
        environment = os.environ | {"PYTHONPATH": scratch, TIMES: str(folder / "times.jsonl")}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - start
        seconds: Counter[str] = Counter()
        lines = (folder / "times.jsonl").read_text().splitlines()
        for name, took in map(json.loads, lines):
            seconds[name] += took
    for name, took in seconds.most_common():
        print(f"{name:22} {took:8.3f} s")
    print(f"{len(lines)} calls, {seconds.total():.2f} s of processes, in a run of {whole:.0f} s")
    print(f"share {100 * seconds.total() / whole:.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--members", type=int, default=8, help="Number of members (default 8).")
    parser.add_argument("--run", type=Path, help="Measure a run of this run file instead.")
    arguments = parser.parse_args()
    if arguments.run:
        share_of_run(arguments.run)
    else:
        share_of_opening(arguments.members)


def share_of_opening(count: int) -> None:
    """Open an ensemble of so many members with and without verification, and print the seconds."""
    logging.disable(logging.INFO)
    families = tuple(("cnn", "mlp", "boosted_trees", "mlp")[number % 4] for number in range(count))
    with tempfile.TemporaryDirectory() as scratch:
        folder, _ = trained("digits", families, Path(scratch))
        megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        Ensemble(folder)  # imports, and fills the file system's cache
        alone, opened = timed(lambda: verified(folder)), timed(lambda: Ensemble(folder))
        ensemble.verified = EnsembleFile.load
        without = timed(lambda: Ensemble(folder))
    print(f"{count} members, {megabytes:.1f} MB")
    print(f"verification alone      {alone:.3f} s")
    print(f"opened with it          {opened:.3f} s")
    print(f"opened without it       {without:.3f} s")
    print(f"ratio                   {opened / without:.2f}")


if __name__ == "__main__":
    main()
