"""What the ensemble's choices are worth: ways to weigh, the solver, and how long to retrain.

    python -m benchmarks.ensemble [--splits N] [weights] [solver] [epochs]

prints Markdown tables to standard output and its progress to standard error. It calls the product's own functions, on
one thread. docs/explanation/measured-ensembles.md holds the tables of the full run and what they say.
"""

import os

# Before the libraries that read it are imported.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import optimize, special, stats
from sklearn import datasets
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from kep.components.ingest.ingest import ingest
from kep.components.retrain.retrain import length
from kep.components.weigh.weigh import choose, choose_pooling, compare, of_several
from kep.components.weigh.weights import Limits, Problem, exact, excess, fit, greedy, nelder_mead, random_search
from kep.config.data import DataSettings
from kep.config.ensemble import EnsembleSettings
from kep.data.records import Records, Rows
from kep.models.family import Settings
from kep.models.registry import family
from kep.stats.metrics import FLOOR, loss
from kep.stats.pooling import pool
from kep.training.monitor import Monitor

TEST = 0.25
"""Share of the rows that are for testing; a quarter of the others is for validation."""
PARTS = ("weights", "solver", "epochs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all when not given")
    parser.add_argument("--splits", type=int, default=2, help="random splits of each data set (default 2)")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f'no part "{min(unknown)}"; the parts are {", ".join(PARTS)}')
    if arguments.splits < 2:
        parser.error("--splits must be at least 2: the spread over splits is what the intervals come from")
    # Libraries warn of models that stopped at their limit of iterations, as they are meant to here.
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    functions = {"weights": weights_part, "solver": solver_part, "epochs": epochs_part}
    for part in arguments.parts or PARTS:
        functions[part](arguments.splits)


# ------------------------------------------------------------------------------------------------ ways to weigh


def members() -> list:
    """Models that differ much, among them some that know their training rows by heart."""

    def scaled(model):
        return make_pipeline(StandardScaler(), model)

    return [
        scaled(MLPClassifier((32,), max_iter=60, random_state=0)),
        scaled(MLPClassifier((128,), max_iter=60, random_state=1)),
        scaled(MLPClassifier((128,), alpha=1.0, max_iter=60, random_state=2)),
        scaled(MLPClassifier((64, 64), max_iter=60, random_state=3)),
        scaled(LogisticRegression(C=0.02)),
        scaled(LogisticRegression(C=1.0)),
        RandomForestClassifier(100, random_state=4),
        RandomForestClassifier(100, min_samples_leaf=8, random_state=5),
        ExtraTreesClassifier(100, random_state=6),
        HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=7),
        scaled(KNeighborsClassifier(3)),
        scaled(KNeighborsClassifier(20, weights="distance")),
        GaussianNB(),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
        DecisionTreeClassifier(random_state=8),
    ]


def generated() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2,000 rows of 5 classes, each a mixture of 2 Gaussians in 10 dimensions, and the true probabilities."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1.1, (5, 2, 10))
    y = rng.integers(0, 5, 2000)
    x = centres[y, rng.integers(0, 2, 2000)] + rng.normal(0, 1.5, (2000, 10))
    squared = np.square(x[:, None, None] - centres).sum(axis=-1)
    return x, y, special.softmax(special.logsumexp(-squared / (2 * 1.5**2), axis=2), axis=1)


def some(x: np.ndarray, y: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return so many rows at random."""
    chosen = np.random.default_rng(0).permutation(len(y))[:rows]
    return x[chosen], y[chosen]


def circles() -> tuple[np.ndarray, np.ndarray]:
    """300 rows of two circles, one in the other, beside four columns of noise."""
    x, y = datasets.make_circles(300, noise=0.08, factor=0.6, random_state=0)
    return np.hstack([x, np.random.default_rng(0).normal(size=(300, 4))]), y


def chessboard() -> tuple[np.ndarray, np.ndarray]:
    """400 rows whose class is the sign of a product of two of six columns, one in fifty of them wrong."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 6))
    return x, ((x[:, 0] * x[:, 1] > 0) ^ (rng.random(400) < 0.02)).astype(int)


def weights_part(splits: int) -> None:
    sets: dict[str, tuple] = {
        "digits": (*datasets.load_digits(return_X_y=True), None),
        "breast_cancer": (*datasets.load_breast_cancer(return_X_y=True), None),
        "wine": (*datasets.load_wine(return_X_y=True), None),
        "iris": (*datasets.load_iris(return_X_y=True), None),
        "generated": generated(),
        # Small ones, of which at most 75 rows are for validation.
        "digits, 200": (*some(*datasets.load_digits(return_X_y=True), 200), None),
        "breast_cancer, 150": (*some(*datasets.load_breast_cancer(return_X_y=True), 150), None),
        "generated, 300": (*some(*generated()[:2], 300), None),
        "circles": (*circles(), None),
        "chessboard": (*chessboard(), None),
    }
    print(f"### Ways to weigh: test log-loss over {splits} splits, {len(members())} members\n")
    print("In brackets the difference from `auto`, with its 95 % interval; * where that leaves out 0.\n")
    found = {name: [one_split(name, *data, seed) for seed in range(splits)] for name, data in sets.items()}
    print("| way | " + " | ".join(f"{name} ({len(data[1])} rows)" for name, data in sets.items()) + " |")
    print("| --- |" + " --- |" * len(sets))
    for way in found["generated"][0][0]:
        cells = []
        for losses in found.values():
            if way not in losses[0][0]:
                cells.append("")
                continue
            values = np.array([split[way] for split, _ in losses])
            difference = values - np.array([split["auto"] for split, _ in losses])
            told = "" if way == "auto" else f" ({between(difference)})"
            cells.append(f"{values.mean():.4f}{told}")
        print(f"| {way} | " + " | ".join(cells) + " |")
    print("\nWhat `auto` chose:\n")
    for name, losses in found.items():
        choices = [chosen for _, chosen in losses]
        counts = sorted({(choices.count(chosen), chosen) for chosen in choices}, reverse=True)
        print(f"- {name}: " + ", ".join(f"{chosen} {count}" for count, chosen in counts))
    print()


def one_split(name: str, x: np.ndarray, y: np.ndarray, truth: np.ndarray | None, seed: int) -> tuple[dict, str]:
    """Test loss of every way to weigh on one split, and what `auto` chose."""
    rows, test = train_test_split(np.arange(len(y)), test_size=TEST, stratify=y, random_state=seed)
    train, validation = train_test_split(rows, test_size=TEST, stratify=y[rows], random_state=seed)

    def predicted(train_rows: np.ndarray, *of: np.ndarray) -> list[np.ndarray]:
        """Predictions of all members, [K, n, C] for each of `of`."""
        fitted = [member.fit(x[train_rows], y[train_rows]) for member in members()]
        return [np.stack([member.predict_proba(x[rows]) for member in fitted]) for rows in of]

    (honest,) = predicted(train, validation)
    leaked, deployed = predicted(rows, validation, test)

    def problem(predictions: np.ndarray) -> Problem:
        full = np.maximum(np.moveaxis(predictions, 0, -1), FLOOR)[None]
        return Problem(full[:, np.arange(len(validation)), y[validation]], y[validation], full)

    own, seen, settings = problem(honest), problem(leaked), EnsembleSettings()
    free, limits = Limits(own.members), Limits(settings.max_members)
    ways = {
        **{
            method: (fit(method, own, free, seed), "arithmetic")
            for method in ("best_single", "uniform", "nelder_mead", "random_search", "exact", "exact_bagged", "greedy")
        },
        "greedy_bagged": (fit("greedy_bagged", own, free, seed), "arithmetic"),
        "greedy_uniform": (fit("greedy_uniform", own, free, seed), "arithmetic"),
    }
    table = compare(own, settings, limits, seed)
    method, _ = choose(table, settings, own.rows)
    chosen, _ = choose_pooling(method, own, table, limits, seed)
    several, _ = of_several(table, settings, own.rows)
    ways["auto, never one alone"] = (fit(several, own, limits, seed), "arithmetic")
    difference = table[several].losses - table["best_single"].losses
    sooner = "best_single" if difference.mean() > stats.sem(difference) else several
    ways["auto, one alone from 1 error"] = (fit(sooner, own, limits, seed), "arithmetic")
    ways["auto, arithmetic"] = (fit(method, own, limits, seed), "arithmetic")
    ways["auto"] = ways["auto, arithmetic"]
    if chosen != method:
        ways["auto"] = (fit(method, own.with_pooling("geometric"), limits, seed), "geometric")
    geometric = own.with_pooling("geometric")
    ways["exact_bagged, geometric"] = (fit("exact_bagged", geometric, free, seed), "geometric")
    ways["leaked: nelder_mead"] = (fit("nelder_mead", seen, free, seed), "arithmetic")
    ways["leaked: exact"] = (fit("exact", seen, free, seed), "arithmetic")
    losses = {
        way: loss("multiclass", y[test], pool(deployed, weights, pooling)) for way, (weights, pooling) in ways.items()
    }
    if truth is not None:
        losses["the true probabilities"] = loss("multiclass", y[test], truth[test])
    say(f"weights: {name}, split {seed}: auto is {chosen}, {losses['auto']:.4f}")
    return losses, chosen


def between(differences: np.ndarray) -> str:
    """Mean and half width of the 95 % interval, corrected for splits that overlap (Nadeau & Bengio 2003)."""
    count = len(differences)
    error = differences.std(ddof=1) * np.sqrt(1 / count + TEST / (1 - TEST))
    half = stats.t.ppf(0.975, count - 1) * error
    return f"{differences.mean():+.4f} ± {half:.4f}{'*' if abs(differences.mean()) > half > 0 else ''}"


# ------------------------------------------------------------------------------------------------ the solver


def solver_part(splits: int) -> None:
    print("### Solvers: loss above the optimum in nats, and CPU time\n")
    print("`exact` with its certified gap; the others with the bound that it proves for them. SLSQP is SciPy's.\n")
    print("| members | rows | exact | SLSQP | greedy | Nelder-Mead | random search |")
    print("| --- |" + " --- |" * 6)
    ways = {"exact": exact, "SLSQP": slsqp, "greedy": greedy, "nelder_mead": nelder_mead, "random": random_search}
    for size in (4, 8, 16, 32, 64):
        for rows in (2_000, 10_000):
            problem, cells = pool_of(size, rows), []
            for name, way in ways.items():
                if name == "nelder_mead" and size * rows > 160_000:
                    cells.append("not run")
                    continue
                started = time.process_time()
                weights = way(problem, 0)
                spent = 1000 * (time.process_time() - started)
                above = problem.gap(weights) if name == "exact" else excess(problem, weights)
                cells.append(f"{above:.0e}, {spent:.0f} ms")
            say(f"solver: {size} members, {rows} rows")
            print(f"| {size} | {rows:,} | " + " | ".join(cells) + " |")
    print(
        "\nA regression, 12 members, 2,000 rows: loss above the optimum as a share of it, by the size of the labels.\n"
    )
    print("| labels of about | exact | SLSQP |\n| --- | --- | --- |")
    for unit in (1e-3, 1.0, 1e3, 1e5):
        problem = regression_of(unit)
        optimum = problem.loss(exact(problem, 0))
        above = problem.gap(exact(problem, 0)), excess(problem, slsqp(problem, 0))
        print(f"| {unit:g} | " + " | ".join(f"{one / optimum:.0e}" for one in above) + " |")
    print()


def pool_of(members: int, rows: int) -> Problem:
    """Members that see the same rows through noise of different strength, ten classes."""
    rng = np.random.default_rng(members)
    y = rng.integers(0, 10, rows)
    shared = rng.normal(0, 1, (rows, 10)) + 1.5 * (np.arange(10) == y[:, None])
    columns = []
    for _ in range(members):
        logits = rng.uniform(0.5, 3) * (shared + rng.normal(0, rng.uniform(0.5, 3), (rows, 10)))
        columns.append(special.softmax(logits, axis=1)[np.arange(rows), y])
    return Problem(np.maximum(np.stack(columns, axis=-1), FLOOR)[None])


def regression_of(unit: float) -> Problem:
    """Twelve members whose errors share a part."""
    rng = np.random.default_rng(0)
    y = rng.normal(2, 0.5, 2000)
    errors = rng.normal(0, 0.05, (2000, 1)) + rng.normal(0, 1, (2000, 12)) * rng.uniform(0.01, 0.2, 12)
    return Problem(unit * (y[:, None] + errors)[None], unit * y)


def slsqp(problem: Problem, seed: int) -> np.ndarray:
    """SciPy's sequential least squares with the gradient."""
    found = optimize.minimize(
        lambda weights: (problem.loss(weights), problem.derivatives(weights)[0]),
        np.full(problem.members, 1 / problem.members),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * problem.members,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 200},
    )
    positive = np.maximum(found.x, 0)
    return positive / positive.sum()


# ------------------------------------------------------------------------------------------------ retraining

CONFIGURATIONS = {
    "mlp": {"dropout": 0.0, "units": 64, "layers": 2, "learning_rate": 2e-3},
    "boosted_trees": {"learning_rate": 0.1, "num_leaves": 16, "feature_fraction": 0.8, "bagging_fraction": 0.8},
}
RULES = ("book", "same", "steps")


def epochs_part(splits: int) -> None:
    print(f"### Length of retraining: test log-loss minus that of `same` with the median of 3, over {splits} splits\n")
    print("The best epoch is that of one seed, or the median of three; 95 % intervals, * where they leave out 0.\n")
    print("| data | family | `same`, median: log-loss | " + " | ".join(f"`{r}`, {k}" for r, k in WAYS[1:]) + " |")
    print("| --- | --- |" + " --- |" * len(WAYS))
    with tempfile.TemporaryDirectory() as folder:
        noisy = Path(folder) / "noisy.npz"
        x, y, _ = generated()
        rng = np.random.default_rng(1)
        flipped = np.where(rng.random(len(y)) < 0.15, rng.integers(0, 5, len(y)), y)
        np.savez(noisy, X=x, y=flipped)
        sources = {
            "digits": "sklearn:digits",
            "breast_cancer": "sklearn:breast_cancer",
            "15 % wrong labels": str(noisy),
        }
        for name, source in sources.items():
            found = {own: [] for own in CONFIGURATIONS}
            for split in range(splits):
                records = Path(folder) / f"{name.split()[0]}-{split}"
                ingest(DataSettings(source=source, split={"validation": 0.1875, "test": TEST}), split, records)
                for own in CONFIGURATIONS:
                    found[own].append(retrained(own, records, split))
                    say(f"epochs: {name}, {own}, split {split}: {found[own][-1]['same', 'median']:.4f}")
            for own, losses in found.items():
                table = {way: np.array([split[way] for split in losses]) for way in WAYS}
                cells = [between(table[way] - table[WAYS[0]]) for way in WAYS[1:]]
                print(f"| {name} | {own} | {table[WAYS[0]].mean():.4f} | " + " | ".join(cells) + " |")
    print()


WAYS = [("same", "median"), *((r, k) for r in RULES for k in ("median", "single") if (r, k) != ("same", "median"))]


def retrained(name: str, records: Path, split: int) -> dict[tuple[str, str], float]:
    """Test loss after retraining by every rule, from the best epoch of one seed and of three."""
    data = Records(records, "retrain")
    own, values = family({"name": name}, data.manifest), CONFIGURATIONS[name]
    train, validation = data.load("train"), data.load("validation")
    test = Records(records, "evaluate").load("test")
    limits = {"max_epochs": 60, "patience": 10, "batch_size": 32}
    bests = [
        own.fit(values, train, validation, Settings(**limits, seed=10 * split + s), Monitor()).best for s in range(3)
    ]
    rows, losses, done = Rows.concat([train, validation]), {}, {}
    for rule, kind in WAYS:
        share = len(train) / len(rows) if own.unit == "epoch" else 1.0
        units = length(rule, bests[0] if kind == "single" else sorted(bests)[1], share)
        if units not in done:
            model = own.refit(values, rows, units, Settings(**limits, seed=split), Monitor())
            done[units] = loss(data.manifest.label.task, test.labels, own.predict(model, test))
        losses[rule, kind] = done[units]
    return losses


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
