"""How far new data are from the train rows, column by column, from counts of rows in the same bins."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

LEVEL = 0.01
"""Probability that any of the comparisons of one table is beyond its `chance` where nothing has shifted."""


@dataclass(frozen=True)
class Shift:
    """Two distributions over the same bins, compared.

    Attributes:
        name: Name of what is compared.
        kind: Kind of the column: `numeric`, `boolean`, `categorical`, `image`; or `prediction`.
        bins: Names of the bins, for people.
        before: int64 [bins], rows that the model knows.
        after: int64 [bins], new rows.
        psi: Population stability index.
        chance: Value that the index hardly ever exceeds where nothing has shifted.
        js: Jensen-Shannon divergence in bits, 0 to 1.
        missing: Shares of rows without a value, before and after; None where nothing can be missing.
        unseen: Shares of rows with a category outside the vocabulary, before and after; None for other kinds.
        examples: New categories outside the vocabulary, the most frequent first.
    """

    name: str
    kind: str
    bins: list[str]
    before: np.ndarray
    after: np.ndarray
    psi: float
    chance: float
    js: float
    missing: tuple[float, float] | None = None
    unseen: tuple[float, float] | None = None
    examples: tuple[str, ...] = ()

    def beyond(self, threshold: float) -> bool:
        """Return whether it has shifted by more than the threshold, and by more than chance."""
        return self.psi > max(threshold, self.chance)


def compare(
    name: str, kind: str, bins: list[str], before: np.ndarray, after: np.ndarray, many: int, **more: Any
) -> Shift:
    """Compare two distributions.

    Args:
        name: As of `Shift`.
        kind: As of `Shift`.
        bins: As of `Shift`.
        before: As of `Shift`.
        after: As of `Shift`.
        many: Comparisons of the same table; the level of `chance` is shared among them (Bonferroni).
        **more: The rest of `Shift`.
    """
    return Shift(
        name,
        kind,
        bins,
        before,
        after,
        psi(before, after),
        chance(before, after, many),
        divergence(before, after),
        **more,
    )


def psi(before: np.ndarray, after: np.ndarray) -> float:
    """The population stability index: sum over bins of (q - p) ln(q / p), of the shares p before and q after.

    Siddiqi 2006, "Credit Risk Scorecards"; it is the symmetric divergence of Jeffreys 1946. By the habit of credit
    scoring less than 0.1 is no shift and more than 0.25 a large one. Half a row is added to every bin that is not empty
    on both sides, so that an empty bin counts, but not without bound (Krichevsky and Trofimov 1981).

    Args:
        before: Rows of each bin, [bins].
        after: The same of the other distribution.
    """
    known = (before + after) > 0
    p, q = (_shares(counts[known] + 0.5) for counts in (before, after))
    return float(np.sum((q - p) * np.log(q / p)))


def chance(before: np.ndarray, after: np.ndarray, many: int) -> float:
    """The index that is exceeded with probability `LEVEL / many` where nothing has shifted.

    Without a shift the index is (1/n + 1/m) times a chi-square variable with one degree of freedom fewer than bins.
    Source: Yurdakul and Naranjo 2020, "Statistical properties of the population stability index".

    Args:
        before: Rows of each bin, [bins].
        after: The same of the other distribution.
        many: Comparisons of the same table.
    """
    bins, rows, new = int(((before + after) > 0).sum()), before.sum(), after.sum()
    if bins < 2 or not rows or not new:
        return 0.0
    return float(stats.chi2.ppf(1 - LEVEL / many, bins - 1) * (1 / rows + 1 / new))


def divergence(before: np.ndarray, after: np.ndarray) -> float:
    """The Jensen-Shannon divergence of the shares in bits (Lin 1991): 0 for equal ones, 1 for disjoint ones.

    Args:
        before: Rows of each bin, [bins].
        after: The same of the other distribution.
    """
    if not before.sum() or not after.sum():
        return 0.0
    return float(jensenshannon(before, after, base=2) ** 2)


def _shares(counts: np.ndarray) -> np.ndarray:
    shares: np.ndarray = counts / counts.sum()
    return shares


def shown(number: float, offset: float = 0.0) -> str:
    """Return a number for people, with as many digits as an offset asks for."""
    return f"{number + offset:.15g}" if offset else f"{number:.4g}"


def labelled(edges: list[float], offset: float = 0.0) -> list[str]:
    """Return what the bins with these upper edges, and the last one beyond them, hold.

    Args:
        edges: In the records' units.
        offset: Number to add to get the value of the source.
    """
    if not edges:
        return ["any"]
    # An edge just below another one only gives that frequent value a bin of its own.
    single = [False, *(np.nextafter(np.float32(low), np.float32(np.inf)) == high for low, high in pairwise(edges))]
    ends = [edges[i + 1] if one else edges[i] for i, one in enumerate([*single[1:], False])]
    names = [shown(end, offset) for end in ends]
    texts = [f"{'below' if len(edges) > 1 and single[1] else 'up to'} {names[0]}"]
    for place in range(1, len(edges)):
        texts.append(names[place] if single[place] else f"{names[place - 1]} to {names[place]}")
    return [*texts, f"above {names[-1]}"]
