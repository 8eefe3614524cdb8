"""What verifying an ensemble's files costs when it is opened.

    python -m benchmarks.verify [--members N]

prints the seconds of opening with and without verification, and their ratio: medians over rounds, of an ensemble of
networks and boosted trees of the default spaces on the digits data.
"""

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.serving import trained
from kep.artifacts.member import EnsembleFile
from kep.models import ensemble
from kep.models.ensemble import Ensemble, verified

ROUNDS = 5


def timed(call: Callable[[], object]) -> float:
    """Return the median seconds of a call over the rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--members", type=int, default=8, help="Number of members (default 8).")
    count = parser.parse_args().members
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
