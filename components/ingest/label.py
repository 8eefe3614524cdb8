"""The label by the first pass: its task, its classes and the positive one."""

import logging
import re
from collections import Counter
from typing import Any

import numpy as np

from kep.components.ingest.forms import as_numbers, missing_reading, number_form
from kep.components.ingest.scan import EXACT, MOST_CLASSES, ColumnScan, Scan
from kep.config.data import DataSettings
from kep.core.errors import UserError, nearest
from kep.data.schema import Label, Reading
from kep.data.values import canonical, class_names, read_number

log = logging.getLogger("kep.ingest")

_INTEGER_CLASSES = 20
_CODE = re.compile(r"[+-]?0\d+")
"""An integer that begins with a zero: a code, whose zeros count."""
_BLUR = 0.01
"""Step between floats, as a share of the range of a regression's labels, above which these can't be told apart."""


def label_of(name: str, scan: Scan, settings: DataSettings) -> tuple[Label, list[int]]:
    """The label's task and classes, and the rows per class."""
    found = scan.columns[name]
    if found.missing == found.rows:
        raise UserError(f'data.label: column "{name}" is empty in every row; name another column or fill it')
    if found.missing:
        raise UserError(
            f'data.label: column "{name}" is empty in {found.missing:,} of {found.rows:,} rows; remove '
            "them or fill them"
        )
    reading = missing_reading(settings, name)
    classes = "categorical" if settings.task in ("binary", "multiclass") else None
    instead = "or set data.task: multiclass to make classes of them"
    if (form := number_form(name, found, settings, classes, instead)) is not None:
        reading = reading.model_copy(update={"form": form[0], "unit": form[1]})
        found = as_numbers(found, form[0])
        log.info('label "%s" holds numbers such as "%s", read as %s', name, found.first_number[1], reading)
    if found.numbers and found.words and not classes:
        (row, word), (other, number) = found.first_word, found.first_number
        raise UserError(
            f'data.label: column "{name}" mixes numbers and words ({found.numbers:,} and {found.words:,} of '
            f'{found.rows:,} rows: {number} in row {other}, "{word}" in row {row}); '
            f"correct them, {instead}"
        )
    if found.infinite_at and not found.words:
        row, value = found.infinite_at
        raise UserError(f'data.label: column "{name}" is {value} in row {row}; labels must be finite 32-bit numbers')
    label, rows = _from_counts(name, found, _read_as(scan.label_counts, reading), settings.task)
    label = label.model_copy(update={"reading": reading})
    if settings.positive is None:
        return label, rows
    check_positive(settings.positive, label)
    # Index 1 is the positive class.
    first, second = label.classes or []
    if is_class(first, settings.positive):
        return label.model_copy(update={"classes": [second, first]}), rows[::-1]
    return label, rows


def check_positive(positive: bool | int | str, label: Label) -> None:
    """Refuse a positive class that the label does not have.

    Raises:
        UserError: The label has not two classes, or this is none of them.
    """
    classes = label.classes
    if classes is None or len(classes) != 2:
        what = "is a number" if classes is None else f"has {len(classes)} classes"
        raise UserError(
            f'data.positive: only a label with two classes has a positive one, and "{label.name}" {what}; remove it'
        )
    if not any(is_class(name, positive) for name in classes):
        names = [str(name) for name in classes]
        raise UserError(
            f'data.positive: "{positive}" is no class of "{label.name}"{nearest(str(positive), names)}; name '
            f"{names[0]} or {names[1]}"
        )


def is_class(name: bool | int | str, given: bool | int | str) -> bool:
    """Return whether a class is the one that the run file names: YAML reads 1, "1" and true as what they look like."""
    return canonical(str(name)) == canonical(str(given))


def _read_as(counts: Counter[str], reading: Reading) -> Counter[str]:
    """Return rows by label text, numbers of some form as plain ones."""
    if reading.form is None:
        return counts
    plain: Counter[str] = Counter()
    for text, rows in counts.items():
        if (number := read_number(text, reading.form)) is not None:
            plain[f"{number[0]:.17g}"] += rows
    return plain


def _from_counts(name: str, found: ColumnScan, label_counts: Counter[str], task: str) -> tuple[Label, list[int]]:
    counts: Counter[float] = Counter()
    if found.numbers and not found.words:
        for text, count in label_counts.items():
            counts[float(text)] += count
        # What float64 would make another code of: 01 is not 1, and 9007199254740993 not ...992.
        coded = found.whole and any(_CODE.fullmatch(text) or abs(float(text)) >= EXACT for text in label_counts)
        few = found.whole and len(counts) <= _INTEGER_CLASSES
        if task == "regression" or (task == "auto" and not few and not coded):
            return _regression(name, found), []
        if not found.whole:
            raise UserError(
                f'data.task: column "{name}" holds fractions ({found.low:g} to {found.high:g}), which are '
                "no classes; "
                "set data.task: regression"
            )
        by_class: dict[Any, int] = {int(value): count for value, count in counts.items()}
        if coded:
            by_class = _named(label_counts)
    elif found.boolean and not found.numbers:
        for text, count in label_counts.items():
            counts[text.lower() == "true"] += count
        by_class = dict(counts)
    else:
        by_class = _named(label_counts)
    if task == "regression":
        raise UserError(
            f'data.task: column "{name}" holds words ("{next(iter(label_counts))}"), which regression '
            "cannot "
            "predict; remove data.task or name a column of numbers"
        )
    if len(by_class) > MOST_CLASSES:
        raise UserError(f'data.label: column "{name}" has over {MOST_CLASSES:,} classes; name another column')
    classes = sorted(by_class)
    if len(classes) < 2:
        raise UserError(
            f'data.label: column "{name}" has one class ("{classes[0]}") in all {found.rows:,} rows; '
            "there is nothing to predict, give rows of at least two classes"
        )
    if task == "binary" and len(classes) != 2:
        raise UserError(
            f'data.task: binary needs 2 classes, column "{name}" has {len(classes)} '
            f"({', '.join(map(str, classes[:5]))}); "
            "set data.task: multiclass"
        )
    _warn_of_several(name, classes)
    task = "multiclass" if task == "multiclass" or len(classes) > 2 else "binary"
    return Label(name=name, task=task, classes=classes), [by_class[value] for value in classes]


def _warn_of_several(name: str, classes: list[Any]) -> None:
    """Warn of classes that look like several labels in one text, such as cat|dog beside cat."""
    for mark in ";|,":
        joined = [text for text in map(str, classes) if mark in text]
        parts = {part.strip() for text in map(str, classes) for part in text.split(mark)}
        if len(joined) > 1 and len(parts) < len(classes):
            log.warning(
                'label "%s": classes such as "%s" look like several labels in one, which are not supported: each is a '
                "class of its own; make a column of yes and no for each label, and a run for each column",
                name,
                joined[0],
            )
            return


def _named(counts: Counter[str]) -> dict[Any, int]:
    """Return rows by class, from rows by spelling."""
    named: Counter[str] = Counter()
    for spelling, name in class_names(counts).items():
        named[name] += counts[spelling]
    return dict(named)


def _regression(name: str, found: ColumnScan) -> Label:
    if found.low == found.high:
        raise UserError(f'data.label: column "{name}" is {found.low:g} in every row; there is nothing to predict')
    largest, extent = max(abs(found.low), abs(found.high)), found.high - found.low
    if np.spacing(largest) > _BLUR * extent:
        raise UserError(
            f'data.label: column "{name}" has values that 64-bit floats can\'t tell apart ({found.low:.15g} to '
            f"{found.high:.15g}); subtract an offset in the source, or rescale it"
        )
    if np.spacing(np.float32(largest)) <= _BLUR * extent and not found.base():
        return Label(name=name, task="regression")
    log.info('the label "%s" is counted from %.15g, so that 32-bit floats tell its values apart', name, found.low)
    return Label(name=name, task="regression", offset=found.low)
