"""What each part of a search over a table brings, and what it costs.

    python -m benchmarks.ablation [--tables NAME ...] [--splits N]

The portfolio of kep/models/portfolio.py is trained on each table, and a greedy ensemble (Caruana et al. 2004) chosen by
validation rows. Beside it stand ensembles that lack one part:

- encoding: numbers are standardised by mean and standard deviation, without a bound.
- a family: its four configurations are left out. `extra_trees`, which no search tries by itself, is added.
- portfolio: each family has four random configurations.
- folds: the four members with the largest weights are trained in 5 folds, and weighed by all train and validation rows.
  Without, they are trained from 3 seeds on train rows, and weighed by validation rows. Both ways train them again on
  all of these rows, as long as their median.

The portfolio was chosen on the tables that are the default, so what it brings is seen on others.

Prints a Markdown table: the test loss of the ensemble without each part, beside the one with it, by table. It is the
log-loss, or the root mean squared error; means over splits. Seconds are of all trainings of the arm, on one core.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.families import drawn, shown
from benchmarks.prepared import SPLITS, Prepared, one_thread, prepared
from benchmarks.tables import EVERY, TABLES
from kep.components.best_epoch.folds import Fold, folds
from kep.data.records import concat
from kep.data.schema import Manifest
from kep.models.portfolio import PORTFOLIO
from kep.stats.metrics import loss

FAMILIES = tuple(PORTFOLIO)
EACH = 4
"""Configurations of a family."""
ADDITIONS = 16
"""Additions of a greedy ensemble."""
PARTS = ("encoding", *FAMILIES, "portfolio", "folds")
ADDED = "extra_trees"


@dataclass(frozen=True)
class Trained:
    """A configuration that was trained.

    Attributes:
        family: Name of the family.
        values: Its hyperparameters.
        held: Validation predictions.
        tested: Test predictions.
        seconds: Seconds of its training.
    """

    family: str
    values: dict[str, object]
    held: np.ndarray
    tested: np.ndarray
    seconds: float


Configuration = tuple[str, dict[str, object]]


def trained(table: Prepared, configurations: Sequence[Configuration], seed: int) -> list[Trained]:
    """Train configurations as trials are by default."""
    from kep.components.tune.space import completed
    from kep.models.family import Settings
    from kep.models.registry import family
    from kep.training.monitor import Monitor

    found = []
    for name, values in configurations:
        member = family({"name": name}, table.manifest)
        whole, started = completed(member.space(), values), time.perf_counter()
        fit = member.fit(whole, table.train, table.validation, Settings(30, 5, table.step_rows, seed), Monitor())
        seconds = time.perf_counter() - started
        if fit.problem is None:
            found.append(Trained(name, whole, fit.predictions, member.predict(fit.model(), table.test), seconds))
    return found


def greedy(task: str, truth: np.ndarray, held: Sequence[np.ndarray]) -> np.ndarray:
    """Return the weights of the greedy ensemble of some predictions, by their loss."""
    times, total = np.zeros(len(held)), np.zeros_like(held[0])
    best, found = np.inf, times
    for number in range(ADDITIONS):
        losses = [loss(task, truth, (total + one) / (number + 1)) for one in held]
        place = int(np.argmin(losses))
        times, total = times + np.eye(len(held))[place], total + held[place]
        if losses[place] < best:
            best, found = losses[place], times
    return np.asarray(found / found.sum())


def tested(table: Prepared, candidates: Sequence[Trained]) -> float:
    """Return the test loss of the greedy ensemble of configurations."""
    weights = greedy(table.task, table.validation.labels, [one.held for one in candidates])
    pooled = np.tensordot(weights, np.stack([one.tested for one in candidates]), 1)
    return shown(table.task, loss(table.task, table.test.labels, pooled))


def plainly(manifest: Manifest) -> Manifest:
    """Return a manifest whose numbers have no deciles, so that numbers are standardised by mean and deviation."""
    columns = [column.model_copy(update={"edges": None}) for column in manifest.columns]
    return manifest.model_copy(update={"columns": columns})


def again(table: Prepared, members: Sequence[Trained], parts: Sequence[Fold], seeds: int) -> tuple[float, float]:
    """Train members in these folds, weigh them by the rows held out, and train them again on all rows.

    Returns:
        The test loss, and the seconds.
    """
    from kep.models.family import Settings
    from kep.models.registry import family
    from kep.training.monitor import Monitor

    started = time.perf_counter()
    rows = concat([table.train, table.validation])
    truth = concat([part.held for part in parts]).labels
    held, final = [], []
    for one in members:
        member = family({"name": one.family}, table.manifest)
        fits = [
            [
                member.fit(one.values, part.train, part.held, Settings(90, 10, table.step_rows, seed), Monitor())
                for part in parts
            ]
            for seed in range(seeds)
        ]
        held.append(np.mean([np.concatenate([fit.predictions for fit in own]) for own in fits], axis=0))
        best = statistics.median(fit.best for own in fits for fit in own)
        model = member.refit(one.values, rows, best, Settings(90, 10, table.step_rows, seeds), Monitor())
        final.append(member.predict(model, table.test))
    weights = greedy(table.task, truth, held)
    pooled = np.tensordot(weights, np.stack(final), 1)
    return shown(table.task, loss(table.task, table.test.labels, pooled)), time.perf_counter() - started


def run(task: tuple[str, int]) -> dict[str, tuple[float, float, float]]:
    """Return the test loss without each part and with it, and the seconds that it takes."""
    one_thread()
    from kep.models import encode
    from kep.models.registry import family

    name, seed = task
    with prepared(name, seed) as table:

        def drawn_of(one: str) -> list[Configuration]:
            space = family({"name": one}, table.manifest).space()
            return [(one, values) for values in drawn(space, EACH + 1, seed)[1:]]

        whole = trained(table, [(one, values) for one in FAMILIES for values in PORTFOLIO[one]], seed)
        with_all = tested(table, whole)
        found = {}
        for one in FAMILIES:
            rest = [other for other in whole if other.family != one]
            spent = sum(other.seconds for other in whole if other.family == one)
            found[one] = (tested(table, rest), with_all, spent)
        more = trained(table, drawn_of(ADDED), seed)
        found[ADDED] = (with_all, tested(table, whole + more), sum(other.seconds for other in more))
        other = trained(table, [one for name in FAMILIES for one in drawn_of(name)], seed)
        found["portfolio"] = (tested(table, other), with_all, _seconds(whole) - _seconds(other))
        bound, encode.BOUND = encode.BOUND, None
        plain = replace(table, manifest=plainly(table.manifest))
        networks = [(one, values) for one in FAMILIES for values in PORTFOLIO[one] if one != "boosted_trees"]
        other = trained(plain, networks, seed)
        encode.BOUND = bound
        of_networks = [one for one in whole if one.family != "boosted_trees"]
        trees = [one for one in whole if one.family == "boosted_trees"]
        found["encoding"] = (tested(table, other + trees), with_all, _seconds(of_networks) - _seconds(other))
        weights = greedy(table.task, table.validation.labels, [one.held for one in whole])
        members = [whole[place] for place in np.argsort(-weights, kind="stable")[:EACH] if weights[place]]
        once, seconds = again(table, members, [Fold(table.train, table.validation)], 3)
        in_folds, more_seconds = again(table, members, folds(table.train, table.validation, table.manifest, 5, seed), 1)
        found["folds"] = (once, in_folds, more_seconds - seconds)
    return found


def _seconds(many: Sequence[Trained]) -> float:
    return sum(one.seconds for one in many)


def line(part: str, results: dict[str, list[dict[str, tuple[float, float, float]]]]) -> str:
    """Return the line of a part: by table, how much larger the loss is without it."""
    cells, changes, seconds = [], [], []
    for own in results.values():
        change = float(np.mean([np.log(one[part][0] / one[part][1]) for one in own]))
        changes.append(change)
        cells.append(f"{np.expm1(change):+.1%}")
        seconds.append(float(np.mean([one[part][2] for one in own])))
    error = np.std(changes, ddof=1) / np.sqrt(len(changes)) if len(changes) > 1 else np.nan
    mean = f"{np.expm1(np.mean(changes)):+.1%} ± {error:.1%}"
    return f"| {part} | {' | '.join(cells)} | {mean} | {np.mean(seconds):+.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=EVERY, default=list(TABLES), metavar="NAME")
    parser.add_argument("--splits", type=int, help="splits of each table (default 3 of what has few rows, else 1)")
    asked = parser.parse_args()
    splits = [(name, seed) for name in asked.tables for seed in range(asked.splits or SPLITS.get(name, 1))]
    done = []
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for split, own in zip(splits, pool.imap(run, splits), strict=True):
            done.append(own)
            print(f"{split[0]}, split {split[1]}: done", file=sys.stderr, flush=True)
    results = {
        name: [own for split, own in zip(splits, done, strict=True) if split[0] == name] for name in asked.tables
    }
    print(f"| without | {' | '.join(asked.tables)} | mean ± standard error | its seconds |")
    print(f"| --- |{' ---: |' * (len(asked.tables) + 2)}")
    for part in (*PARTS, ADDED):
        print(line(part, results), flush=True)


if __name__ == "__main__":
    main()
