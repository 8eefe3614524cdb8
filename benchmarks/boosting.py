"""What more of LightGBM's settings would bring to the space of `boosted_trees`, and what its defaults are worth.

    python -m benchmarks.boosting [--seeds N] [--trials N] [--tables NAME ...]
    python -m benchmarks.boosting --large [--seeds N]

Each way gets the same random configurations, the first of them the defaults. In all others its own setting is drawn,
too. Prints a Markdown table: the mean test loss of the configuration with the lowest validation loss, and that loss.
With --large it prints the test loss of the defaults, and of two others, on tables of 30,000 rows.
"""

import argparse

import numpy as np

from benchmarks.families import drawn, shown
from benchmarks.prepared import prepared
from benchmarks.tables import LARGE, TABLES
from kep.models.boosted_trees import BoostedTrees
from kep.models.family import Settings
from kep.stats.metrics import loss
from kep.training.monitor import Monitor

SHOWN = ("digits", "skewed", "outliers", "clusters", "breast cancer", "categories", "friedman")
WAYS: dict[str, dict[str, list[object]]] = {
    "without any": {},
    "extra_trees": {"extra_trees": [False, True]},
    "max_bin": {"max_bin": [63, 127, 255, 511]},
    "cat_smooth, cat_l2": {"cat_smooth": [1.0, 3.0, 10.0, 30.0, 100.0], "cat_l2": [0.1, 1.0, 10.0, 100.0]},
    "linear_tree": {"linear_tree": [False, True]},
}

FIRST: dict[str, dict[str, object]] = {
    "defaults": {},
    "without extra_trees": {"extra_trees": False},
    "8 leaves of at least 4 rows": {"num_leaves": 8, "min_data_in_leaf": 4},
}
"""Configurations to begin with."""


def run(name: str, seed: int, trials: int) -> dict[str, tuple[float, float]]:
    """Test loss and validation loss of each way."""
    found = {}
    with prepared(name, seed) as table:
        task, member = table.task, BoostedTrees(table.manifest)
        for way, choices in WAYS.items():
            fits = []
            for place, values in enumerate(drawn(member.space(), trials, seed)):
                rng = np.random.default_rng([seed, place])
                more = {key: values[int(rng.integers(len(values)))] for key, values in choices.items()}
                given = values | {"extra_trees": False} | (more if place else {})
                fits.append(member.fit(given, table.train, table.validation, Settings(30, 5, 128, seed), Monitor()))
            best = min(fits, key=lambda fit: fit.loss)
            tested = loss(task, table.test.labels, member.predict(best.model(), table.test))
            found[way] = (shown(task, tested), shown(task, best.loss))
    return found


def large(name: str, seed: int) -> list[float]:
    """Return the test loss of each of `FIRST` on a table of 30,000 rows."""
    with prepared(name, seed, LARGE) as table:
        task, member = table.task, BoostedTrees(table.manifest)
        found = []
        for values in FIRST.values():
            given = dict(member.space().values) | values
            fit = member.fit(given, table.train, table.validation, Settings(30, 5, 128, seed), Monitor())
            found.append(shown(task, loss(task, table.test.labels, member.predict(fit.model(), table.test))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(SHOWN), metavar="NAME")
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args()
    if asked.large:
        print(f"| table of 30,000 rows | {' | '.join(FIRST)} |\n|{' --- |' * (len(FIRST) + 1)}", flush=True)
        for name in LARGE:
            losses = np.mean([large(name, seed) for seed in range(asked.seeds)], axis=0)
            print(f"| {name} | {' | '.join(f'{one:.4g}' for one in losses)} |", flush=True)
        return
    print(f"| table | {' | '.join(WAYS)} |\n|{' --- |' * (len(WAYS) + 1)}", flush=True)
    for name in asked.tables:
        results = [run(name, seed, asked.trials) for seed in range(asked.seeds)]
        means = [np.mean([result[way] for result in results], axis=0) for way in WAYS]
        print(f"| {name} | {' | '.join(f'{test:.4g} ({held:.4g})' for test, held in means)} |", flush=True)


if __name__ == "__main__":
    main()
