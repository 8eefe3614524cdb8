"""Exports in the report."""

from collections.abc import Sequence

from kep.artifacts.export import Export
from kep.data.schema import Label
from kep.report.page import number
from kep.report.sections.words import NAMES, View


def exports(found: Sequence[Export], label: Label) -> View:
    """Return what exports of the ensemble predict on the test rows, beside what evaluate stored."""
    classes = bool(label.classes)
    rows = [
        {
            "format": export.format,
            "name": row.name,
            "size": row.bytes / 1000,
            "ms": row.ms,
            "score": row.score,
            "lost": f"{100 * row.lost + 0.0:+.2f} %",
            "loss": row.loss,
            "same": f"{100 * row.same:.1f} %" if row.same is not None else None,
            "difference": number(row.difference),
        }
        for export in found
        for row in export.measured
    ]
    return {
        "rows": rows,
        "metric": NAMES[found[0].metric] if found else "",
        "classes": classes,
        "most": ", ".join(sorted({f"{100 * export.max_loss:g} %" for export in found})),
    }
