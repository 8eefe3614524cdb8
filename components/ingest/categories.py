"""Categories of a column that get a code: rows are counted in bounded memory, further counts in sorted files."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path

HELD = 1 << 17
"""Distinct categories of one column that are counted in memory, at some 150 bytes each."""


class Tally:
    """Rows by category of one column, exact however many categories there are.

    Args:
        file: files whose names begin with this one's hold counts.
        runs: such files that hold counts already.
    """

    def __init__(self, file: Path, runs: Iterable[Path] = ()):
        self._file = file
        self._counts: Counter[str] = Counter()
        self._runs = list(runs)

    def add(self, counts: Counter[str]) -> None:
        """Adds the rows of a unit."""
        self._counts.update(counts)
        if len(self._counts) > HELD:
            self.spill()

    def spill(self) -> None:
        """Writes what is held in memory to a file."""
        self._runs.append(self._file.with_name(f"{self._file.name}-{len(self._runs)}"))
        with open(self._runs[-1], "w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(pair) + "\n" for pair in sorted(self._counts.items()))
        self._counts.clear()

    def vocabulary(self, most: int) -> list[str]:
        """The most frequent categories, equally frequent ones in the order of their texts, sorted."""
        category = itemgetter(0)
        with ExitStack() as stack:
            runs = [map(json.loads, stack.enter_context(open(run, encoding="utf-8"))) for run in self._runs]
            merged = heapq.merge(*runs, sorted(self._counts.items()), key=category)
            totals = ((sum(rows for _, rows in pairs), value) for value, pairs in groupby(merged, key=category))
            ranked = heapq.nsmallest(most, totals, key=lambda total: (-total[0], total[1]))
        return sorted(value for _, value in ranked)
