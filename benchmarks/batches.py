"""How many rows an optimiser step should have, by the number of train rows.

    python -m benchmarks.batches [--tables NAME ...]

Two configurations of each family of networks are trained as trials are, with steps of 32 to 256 rows. Prints a Markdown
table of the test log-loss, or root mean squared error, beside that of 128 rows: the mean change over the
configurations. In brackets are the seconds beside those of 128 rows, of one core.
"""

import argparse
import multiprocessing
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.configurations import NETWORKS
from benchmarks.families import shown
from benchmarks.prepared import one_thread, prepared
from benchmarks.tables import EVERY
from kep.stats.metrics import loss

SIZES = (32, 64, 128, 256)
USUAL = SIZES.index(128)
EACH = 2
"""Configurations of a family."""
SHOWN = ("vehicle", "german", "contraceptive", "digits", "splice", "clusters", "phoneme", "satimage", "magic")


def run(name: str) -> tuple[int, np.ndarray]:
    """Return the train rows, and the test loss and the seconds of each configuration and size, [n, sizes, 2]."""
    one_thread()
    from kep.components.tune.space import completed
    from kep.models.family import Settings
    from kep.models.registry import family
    from kep.training.monitor import Monitor

    found = []
    with prepared(name, 0) as table:
        for network, configurations in NETWORKS.items():
            member = family({"name": network}, table.manifest)
            for given in configurations[:EACH]:
                values, own = completed(member.space(), given), []
                for size in SIZES:
                    started = time.perf_counter()
                    fit = member.fit(values, table.train, table.validation, Settings(30, 5, size, 0), Monitor())
                    seconds = time.perf_counter() - started
                    tested = loss(table.task, table.test.labels, member.predict(fit.model(), table.test))
                    own.append((shown(table.task, tested), seconds))
                found.append(own)
        return len(table.train), np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=EVERY, default=list(SHOWN), metavar="NAME")
    asked = parser.parse_args()
    print(f"| table | train rows | {' | '.join(f'{size} rows a step' for size in SIZES)} |")
    print(f"| --- |{' ---: |' * (len(SIZES) + 1)}", flush=True)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, (rows, found) in zip(asked.tables, pool.imap(run, asked.tables), strict=True):
            losses, seconds = found[..., 0], found[..., 1].sum(axis=0)
            changes = np.expm1(np.log(losses / losses[:, [USUAL]]).mean(axis=0))
            cells = [
                f"{change:+.1%} ({own:.2f} x)" for change, own in zip(changes, seconds / seconds[USUAL], strict=True)
            ]
            print(f"| {name} | {rows:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
