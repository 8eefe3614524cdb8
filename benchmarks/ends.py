"""Where a training of `realmlp` ends best: at the luckiest epoch, as in its paper, or where a cycle of its rate ends.

    python -m benchmarks.ends [--tables NAME ...] [--splits N]

Four configurations are trained on train rows from three seeds, as `best_epoch` does it. Each rule gives the median of
three best epochs. `retrain` then trains that long on train and validation rows, here from two other seeds. Prints a
Markdown table of the test log-loss, or root mean squared error; means over configurations, seeds and splits. The last
column is the mean change over these.
"""

import argparse
import multiprocessing
import os
import statistics
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.configurations import NETWORKS
from benchmarks.families import shown
from benchmarks.prepared import one_thread, prepared
from benchmarks.tables import EVERY
from kep.data.records import concat
from kep.stats.metrics import loss

FAMILY = "realmlp"
SHOWN = ("vehicle", "contraceptive", "splice", "german", "digits", "diabetes")
SEEDS, AGAIN = (0, 1, 2), (10, 11)
LIMITS = 100, 10
"""Epochs and patience, the defaults of best_epoch."""

Pair = tuple[float, float]
"""Test loss after the luckiest epoch, and after the best end of a cycle."""


def run(task: tuple[str, int]) -> list[Pair]:
    """Return the losses of each configuration on one split of a table."""
    one_thread()
    from kep.components.tune.space import completed
    from kep.models.family import Settings
    from kep.models.registry import family
    from kep.training.monitor import Monitor

    found = []
    with prepared(*task) as table:
        member, rows = family({"name": FAMILY}, table.manifest), concat([table.train, table.validation])

        def again(values: dict[str, object], best: int, horizon: int) -> float:
            tested = []
            for seed in AGAIN:
                model = member.refit(
                    values, rows, best, Settings(*LIMITS, table.step_rows, seed, best / horizon), Monitor()
                )
                tested.append(loss(table.task, table.test.labels, member.predict(model, table.test)))
            return shown(table.task, float(np.mean(tested)))

        for given in NETWORKS[FAMILY]:
            values = completed(member.space(), given)
            fits = [
                member.fit(values, table.train, table.validation, Settings(*LIMITS, table.step_rows, seed), Monitor())
                for seed in SEEDS
            ]
            horizon = fits[0].horizon
            assert horizon is not None  # of a schedule with an end
            luckiest = statistics.median(int(np.argmin(fit.validation_curve)) + 1 for fit in fits)
            end = statistics.median(fit.best for fit in fits)
            found.append((again(values, luckiest, horizon), again(values, end, horizon)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=EVERY, default=list(SHOWN), metavar="NAME")
    parser.add_argument("--splits", type=int, default=2)
    asked = parser.parse_args()
    splits = [(name, seed) for name in asked.tables for seed in range(asked.splits)]
    pairs: dict[str, list[Pair]] = {name: [] for name in asked.tables}
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for (name, seed), own in zip(splits, pool.imap(run, splits), strict=True):
            pairs[name] += own
            print(f"{name}, split {seed}: done", file=sys.stderr, flush=True)
    print("| table | luckiest epoch | end of a cycle | change |\n| --- | ---: | ---: | ---: |")
    for name, own in pairs.items():
        luckiest, end = np.array(own).T
        change = np.expm1(np.mean(np.log(end / luckiest)))
        print(f"| {name} | {luckiest.mean():.4g} | {end.mean():.4g} | {change:+.1%} |")


if __name__ == "__main__":
    main()
