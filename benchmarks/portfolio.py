"""The configurations that a search over tables begins with: kep/models/portfolio.py is what this prints.

    python -m benchmarks.portfolio --predictions FOLDER [--trials N] [--length N] [--tables NAME ...]

Each family gets so many random configurations, the first of them its defaults, and those that people begin with. They
are the same on every table. Their validation and test predictions are kept in FOLDER, and read there the next time.
Configurations are then added one by one, the families in turn: the next one is that with which a greedy ensemble
(Caruana et al. 2004), whose weights are chosen on validation rows, has the lowest test loss. It is the mean logarithm
over all tables but one, for each table left out in turn, so that no single table decides. A standard error is added to
each loss first: what lies below it is luck. AutoGluon's zero-shot portfolio was made in this way (Salinas & Erickson
2023, "TabRepo").
"""

import argparse
import multiprocessing
import os
import pprint
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.families import drawn
from benchmarks.prepared import SPLITS, one_thread, prepared
from benchmarks.tables import TABLES

FAMILIES = ("mlp", "tabular", "realmlp", "boosted_trees")
ADDITIONS = 10
"""Additions of an ensemble."""
SEED = 0
"""Seed of the configurations."""
KNOWN: dict[str, list[dict[str, object]]] = {
    # What AutoGluon gives LightGBM beside its defaults, with fewer rows in a leaf, too: its tables are larger.
    "boosted_trees": [
        {"extra_trees": False},
        {"min_data_in_leaf": 4},
        {"min_data_in_leaf": 4, "num_leaves": 8},
        {"learning_rate": 0.03, "num_leaves": 64, "min_data_in_leaf": 4, "extra_trees": False},
    ],
}
"""Configurations that people begin with."""
DEFAULTS_FIRST = ("boosted_trees",)
"""Families that begin with their defaults. Few leaves are best on such small tables, but lose on one of 30,000 rows."""


def configurations(trials: int) -> list[tuple[str, dict[str, object]]]:
    """Return family and values of each configuration; defaults have no values, since they depend on the label."""
    from kep.models.registry import family

    found: list[tuple[str, dict[str, object]]] = []
    with prepared("wine", SEED) as table:
        for name in FAMILIES:
            values = drawn(family({"name": name}, table.manifest).space(), trials, SEED)
            found += [(name, {}), *((name, one) for one in values[1:])]
    # At the end: predictions of the others that are kept already stay in their places.
    return found + [(name, one) for name in FAMILIES for one in KNOWN.get(name, ())]


def kept(folder: Path, name: str, seed: int) -> Path:
    """Return the file of a table's predictions."""
    return folder / f"{name}-{seed}.npz"


def predict(task: tuple[str, int, int, Path]) -> str:
    """Fit the configurations on a split of a table that no predictions are kept of, and keep theirs, too."""
    one_thread()
    from kep.components.tune.space import completed
    from kep.models.family import Settings
    from kep.models.registry import family
    from kep.training.monitor import Monitor

    name, seed, trials, folder = task
    file = kept(folder, name, seed)
    before = np.load(file) if file.exists() else {"held": [], "tested": []}
    held, tested = list(before["held"]), list(before["tested"])
    wanted = configurations(trials)[len(held) :]
    if not wanted:
        return file.stem
    with prepared(name, seed) as table:
        for one, values in wanted:
            member = family({"name": one}, table.manifest)
            whole = completed(member.space(), values)
            fit = member.fit(whole, table.train, table.validation, Settings(30, 5, table.step_rows, seed), Monitor())
            held.append(fit.predictions)
            tested.append(member.predict(fit.model(), table.test))
        arrays = {"held": np.array(held), "tested": np.array(tested)}
        np.savez(file, task=table.task, truth=table.validation.labels, tests=table.test.labels, **arrays)
    return file.stem


class Rows:
    """Kept predictions of a table."""

    def __init__(self, path: Path) -> None:
        stored = np.load(path)
        self._regression = str(stored["task"]) == "regression"
        self._truth = {"held": stored["truth"], "tested": stored["tests"]}
        of = {name: stored[name].astype(float) for name in ("held", "tested")}
        # A class's log-loss needs the probability of the true class alone.
        self._of = (
            of if self._regression else {n: a[:, np.arange(len(self._truth[n])), self._truth[n]] for n, a in of.items()}
        )

    def _losses(self, name: str, predicted: np.ndarray) -> np.ndarray:
        """Return the loss of each row, [..., n]."""
        if self._regression:
            return np.asarray((predicted - self._truth[name]) ** 2)
        return np.asarray(-np.log(np.maximum(predicted, 1e-7)))

    def tested(self, members: list[int]) -> float:
        """Return the logarithm of the test loss of the ensemble of some configurations, and of its standard error."""
        held = self._of["held"][members]
        chosen: list[int] = []
        total, best, found = np.zeros(held.shape[1]), np.inf, [0]
        for number in range(ADDITIONS):
            losses = self._losses("held", (total + held) / (number + 1)).mean(axis=-1)
            chosen.append(int(np.argmin(losses)))
            total = total + held[chosen[-1]]
            if losses.min() < best:
                best, found = float(losses.min()), list(chosen)
        pooled = self._of["tested"][[members[one] for one in found]].mean(axis=0)
        own = self._losses("tested", pooled)
        logarithm = float(np.log(own.mean() + own.std() / np.sqrt(len(own))))
        return logarithm / 2 if self._regression else logarithm


def choose(tables: list[list[Rows]], families: list[str], length: int) -> list[tuple[int, float]]:
    """Return configurations in the order of their addition, each with the mean logarithm of the ensemble's test loss.

    Args:
        tables: Predictions of all configurations, by table and split.
        families: Family of each configuration.
        length: Number of configurations of each family.
    """
    chosen: list[int] = []
    found = []
    for _ in range(length):
        for name in FAMILIES:  # in turn, as in a search
            own = [place for place, one in enumerate(families) if one == name]
            left = [place for place in own if place not in chosen]
            if name in DEFAULTS_FIRST and left == own:
                left = own[:1]
            scores = np.array(
                [[np.mean([rows.tested([*chosen, place]) for rows in table]) for table in tables] for place in left]
            )
            without = (scores.sum(axis=1, keepdims=True) - scores) / max(1, len(tables) - 1)
            # The one that loses least to the best one, whichever table is left out.
            best = int(np.argmin((without - without.min(axis=0)).max(axis=1)))
            chosen.append(left[best])
            found.append((left[best], float(scores[best].mean())))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--predictions", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--length", type=int, default=4)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), metavar="NAME")
    asked = parser.parse_args()
    asked.predictions.mkdir(parents=True, exist_ok=True)
    splits = [(name, seed) for name in asked.tables for seed in range(SPLITS.get(name, 1))]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        tasks = [(name, seed, asked.trials, asked.predictions) for name, seed in splits]
        for name in pool.imap_unordered(predict, tasks, 1):
            print(f"# {name}: predictions kept", flush=True)
    known = configurations(asked.trials)
    families = [name for name, _ in known]
    tables = [[Rows(kept(asked.predictions, *one)) for one in splits if one[0] == name] for name in asked.tables]
    chosen = choose(tables, families, asked.length)
    portfolio: dict[str, list[object]] = {}
    for place, loss in chosen:
        print(f"# {families[place]}: mean logarithm of the ensemble's test loss {loss:.4f}")
        rounded = {
            key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in known[place][1].items()
        }
        portfolio.setdefault(families[place], []).append(rounded)
    pprint.pprint(portfolio, width=120, sort_dicts=False)


if __name__ == "__main__":
    main()
