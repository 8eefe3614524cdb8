"""The run file in the report."""

from collections.abc import Iterator
from typing import Any

from kep.config.run_file import RunFile
from kep.report import charts
from kep.report.page import DASH, number
from kep.report.sections.words import View

_POINT = tuple(
    f"operating_point.{key}"
    for key in ("threshold", "cost.false_positive", "cost.false_negative", "precision", "recall")
)
TELLING = {
    "data": ("source", "label", "task", "split.by", "split.column"),
    "search": ("families", "tuner", "max_trials", "max_epochs", "objective.name", "top_n"),
    "best_epoch": ("max_epochs", "patience", "seeds", "folds"),
    "ensemble": ("method", "metric", "pooling", "calibration", *_POINT, "max_members", "max_latency_ms"),
    "retrain": ("enabled", "epochs"),
    "evaluate": ("bootstrap", "slices", "why_seconds", "worst_rows"),
    "promote": ("metric", "better_by", "not_worse_than"),
    "export": ("max_loss",),
    "hardware": ("retrain.strategy", "retrain.device", "retrain.precision"),
}
"""The sections of the run file in the order of the flow, and the settings that a closed section shows."""
UNSET = (DASH, "none")


def asked(run_file: RunFile) -> list[View]:
    """Return the sections of the run file; a section's most telling settings stand beside its name."""
    run = [("name", run_file.name), ("seed", _text(run_file.seed))]
    if run_file.minutes is not None:
        run.append(("minutes", f"{run_file.minutes:g}"))
    sections = [{"name": "run", "settings": run, "brief": ", ".join(f"{key}: {value}" for key, value in run)}]
    content = run_file.model_dump(mode="json")
    for name, telling in TELLING.items():
        settings = list(_flat(content[name]))
        shown = [(key, value) for key, value in settings if key in telling and value not in UNSET]
        brief = ", ".join(f"{key}: {charts.short(value, 40)}" for key, value in shown)
        sections.append({"name": name, "settings": settings, "brief": brief})
    return sections


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, list | dict):
        return ", ".join(str(item) for item in value) if value else "none"
    return number(value) if not isinstance(value, bool) else str(value).lower()
