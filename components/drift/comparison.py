"""New rows against what a model was trained on: the comparison as JSON, as a page, and in a sentence."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kep.artifacts.drift import Drift, Shares, ShiftRecord
from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.data.texts import place_of
from kep.report.charts import beside
from kep.report.page import number, render_page
from kep.stats.divergence import LEVEL, Shift, compare, labelled
from kep.stats.observed import Observed, PredictionBins, can_observe

SHOWN = 12
"""Columns of which the page draws a chart: the most shifted ones."""
EXAMPLES = 3
"""Unseen categories that are named."""


@dataclass(frozen=True)
class DriftComparison:
    """How far new rows are from the train rows.

    Attributes:
        data: Name of the compared data, for people.
        model: With what, for people.
        manifest: Manifest of the model.
        rows: New ones.
        shifts: Shifts of every column and of the predictions, the most shifted first.
        threshold: Population stability index beyond which one has drifted.
        stored: Whether predictions were compared with those of the test rows, not with the labels of the train rows.
    """

    data: str
    model: str
    manifest: Manifest
    rows: int
    shifts: list[Shift]
    threshold: float
    stored: bool = False

    @property
    def drifted(self) -> list[str]:
        """Names of what has drifted."""
        return [shift.name for shift in self.shifts if shift.beyond(self.threshold)]

    @property
    def train_rows(self) -> int:
        return self.manifest.roles["train"].rows

    def sentence(self) -> str:
        """The verdict."""
        many, few = len(self.shifts), ""
        compared = f"{self.rows:,} new rows against {self.train_rows:,} train rows"
        if drifted := self.drifted:
            names = ", ".join(drifted[:5]) + (f" and {len(drifted) - 5} more" if len(drifted) > 5 else "")
            return f"drift beyond {self.threshold:g} in {len(drifted)} of {many} comparisons ({names}): {compared}"
        if hidden := sum(shift.chance > self.threshold for shift in self.shifts):
            few = f"; for {hidden} of them these rows are too few to see a shift of {self.threshold:g}"
        return f"no drift beyond {self.threshold:g} in {many} comparisons: {compared}{few}"

    def record(self) -> Drift:
        """Return the comparison as its file holds it."""
        return Drift(
            data=self.data,
            model=self.model,
            records=self.manifest.fingerprint,
            rows=self.rows,
            train_rows=self.train_rows,
            threshold=self.threshold,
            drifted=self.drifted,
            verdict=self.sentence(),
            shifts=[_recorded(shift, self.threshold) for shift in self.shifts],
        )

    def page(self) -> str:
        """The comparison as an HTML page."""
        drawn = [shift for shift in self.shifts if shift.beyond(self.threshold)][:SHOWN] or self.shifts[:SHOWN]
        return render_page(
            "drift.html.j2",
            data=self.data,
            against=self.model,
            verdict=self.sentence(),
            drifted=bool(self.drifted),
            threshold=self.threshold,
            level=LEVEL,
            stored=self.stored,
            rows=self.lines(),
            charts=[(shift.name, _chart(place, shift, self.stored)) for place, shift in enumerate(drawn)],
        )

    def lines(self) -> list[dict[str, Any]]:
        """The shifts as texts, for a table."""
        return [
            {
                "name": shift.name,
                "drifted": shift.beyond(self.threshold),
                "psi": number(shift.psi, 3),
                "chance": number(shift.chance, 3),
                "js": number(shift.js, 3),
                "missing": _change(shift.missing),
                "unseen": _change(shift.unseen) + (f" ({', '.join(shift.examples)})" if shift.examples else ""),
            }
            for shift in self.shifts
        ]


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that everything would exceed.

    Raises:
        UserError: It is not above 0.
    """
    if threshold <= 0:
        raise UserError(f"--threshold: {threshold:g} is not above 0; 0.1 is a small shift, 0.25 a large one")


def check_comparable(manifest: Manifest, model: Path) -> None:
    """Refuse a model that new rows can't be compared with.

    Raises:
        UserError: The manifest does not say how the train rows were distributed.
    """
    if not can_observe(manifest):
        raise UserError(
            f"{model}: this model's manifest has version {manifest.version} and does not hold how its train rows "
            "were distributed; run it again to compare data with it"
        )


def compared(manifest: Manifest, bins: list[PredictionBins], observed: Observed) -> list[Shift]:
    """Every column and the predictions, the most shifted first.

    Args:
        manifest: Manifest of the records that the model was trained on.
        bins: Bins of the predictions.
        observed: Counts of at least one new row.
    """
    columns = [column for column in manifest.columns if place_of(column) is None]  # a hash alone says nothing
    total, many = manifest.roles["train"].rows, len(columns) + len(bins)
    shifts = [compare(one.name, "prediction", one.bins, one.before, observed.predicted[one.name], many) for one in bins]
    for column in columns:
        before, after = np.array(column.counts), observed.counts[column.name]
        more: dict[str, Any] = {}
        if column.kind == "categorical":
            labels = ["missing", "outside the vocabulary", *(column.vocabulary or [])]
            examples = observed.unseen.get(column.name, Counter()).most_common(EXAMPLES)
            more["unseen"] = (float(before[1] / total), float(after[1] / observed.rows))
            more["examples"] = tuple(text for text, _ in examples)
        else:
            labels = [*labelled(column.edges or [], column.offset), "missing"]
            before = np.append(before, column.missing)
            after = np.append(after, observed.missing[column.name])
        if column.kind != "image":
            more["missing"] = (column.missing / total, observed.missing[column.name] / observed.rows)
        shifts.append(compare(column.name, column.kind, labels, before, after, many, **more))
    return sorted(shifts, key=lambda shift: (-shift.psi, shift.name))


def _recorded(shift: Shift, threshold: float) -> ShiftRecord:
    return ShiftRecord(
        name=shift.name,
        kind=shift.kind,
        drifted=shift.beyond(threshold),
        psi=shift.psi,
        psi_by_chance=shift.chance,
        jensen_shannon=shift.js,
        missing=_shares(shift.missing),
        unseen=_shares(shift.unseen),
        unseen_examples=list(shift.examples),
        bins=shift.bins,
        before=shift.before.tolist(),
        after=shift.after.tolist(),
    )


def _shares(of: tuple[float, float] | None) -> Shares | None:
    return None if of is None else Shares(train=of[0], new=of[1])


def _change(shares: tuple[float, float] | None) -> str:
    if shares is None or not any(shares):
        return ""
    return " → ".join(f"{share:.1%}" for share in shares)


def _chart(place: int, shift: Shift, stored: bool) -> Any:
    """The most frequent bins of a shift, both sides; the others together."""
    order = np.arange(len(shift.bins))
    if shift.kind == "categorical" and len(order) > SHOWN:
        order = np.sort(np.argsort(-(shift.before / shift.before.sum() + shift.after / shift.after.sum()))[:SHOWN])
    filled = [i for i in order if shift.before[i] + shift.after[i]]
    sides = {
        "test" if shift.kind == "prediction" and stored else "train": shift.before / max(shift.before.sum(), 1),
        "new": shift.after / max(shift.after.sum(), 1),
    }
    return beside(
        f"drift-{place}",
        f"Share of rows by {shift.name}, {' and '.join(sides)}",
        [shift.bins[i] for i in filled],
        {name: [float(shares[i]) for i in filled] for name, shares in sides.items()},
    )
