"""What each family reaches on tables, alone and in the ensemble: the ablation behind `families: auto`.

    python -m benchmarks.families [--seeds N] [--trials N] [--tables NAME ...] [--families NAME ...]

Each family gets so many random configurations, the first of them its defaults. The one with the lowest validation loss
is scored on the test rows. So is a greedy ensemble of all configurations, with each family and without it.
Prints a Markdown table of test losses (log-loss, or root mean squared error): means over the seeds, with the seconds
that a configuration takes.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.prepared import prepared
from benchmarks.tables import TABLES
from kep.models.family import Settings
from kep.models.registry import family
from kep.stats.metrics import loss
from kep.training.monitor import Monitor

FAMILIES = ("mlp", "tabular", "realmlp", "boosted_trees", "extra_trees")


def drawn(space: object, trials: int, seed: int) -> list[dict[str, object]]:
    """Return the defaults of a space and random configurations of it."""
    rng = np.random.default_rng(seed)
    found = [dict(space.values)]  # type: ignore[attr-defined]
    while len(found) < trials:
        found.append({hp.name: hp.random_sample(int(rng.integers(2**31))) for hp in space.space})  # type: ignore[attr-defined]
    return found


def shown(task: str, value: float) -> float:
    """Return a loss as people know it: of a regression its root."""
    return float(np.sqrt(value)) if task == "regression" else value


def best_mean(
    task: str, truth: np.ndarray, fits: list[tuple[float, np.ndarray, np.ndarray]], members: int = 4
) -> np.ndarray:
    """Return test predictions of the greedy ensemble (Caruana et al. 2004) of so many additions, by validation loss."""
    chosen: list[int] = []
    for _ in range(4 * members):
        scores = [
            loss(task, truth, np.mean([fits[i][1] for i in [*chosen, place]], axis=0)) for place in range(len(fits))
        ]
        chosen.append(int(np.argmin(scores)))
    return np.asarray(np.mean([fits[i][2] for i in chosen], axis=0))


def run(name: str, seed: int, trials: int, families: list[str]) -> dict[str, tuple[float, float]]:
    """Return test loss and seconds a configuration by family, and those of the ensembles."""
    found: dict[str, tuple[float, float]] = {}
    with prepared(name, seed) as table:
        task, truth = table.task, table.test.labels
        everything: dict[str, list[tuple[float, np.ndarray, np.ndarray]]] = {}
        for one in families:
            member, started = family({"name": one}, table.manifest), time.perf_counter()
            fits = []
            for place, values in enumerate(drawn(member.space(), trials, seed)):
                fit = member.fit(
                    values, table.train, table.validation, Settings(30, 5, table.step_rows, seed + place), Monitor()
                )
                if fit.problem is None:
                    fits.append((fit.loss, fit.predictions, member.predict(fit.model(), table.test)))
            seconds = (time.perf_counter() - started) / trials
            best = min(fits, key=lambda one: one[0])
            found[one], everything[one] = (shown(task, loss(task, truth, best[2])), seconds), fits
        for left in (None, *families) if len(families) > 1 else ():
            fits = [fit for one, own in everything.items() if one != left for fit in own]
            pooled = best_mean(task, table.validation.labels, fits)
            found[f"without {left}" if left else "all together"] = (shown(task, loss(task, truth, pooled)), 0.0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), metavar="NAME")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), metavar="NAME")
    asked = parser.parse_args()
    columns = list(asked.families)
    if len(columns) > 1:
        columns += ["all together", *(f"without {one}" for one in asked.families)]
    print(f"| table | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}", flush=True)
    for name in asked.tables:
        results = [run(name, seed, asked.trials, asked.families) for seed in range(asked.seeds)]
        cells = []
        for column in columns:
            value, seconds = np.mean([result[column] for result in results], axis=0)
            cells.append(f"{value:.4g}" + (f" ({seconds:.1f} s)" if seconds else ""))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
