"""What the first pass means: which columns are features, of what type, and what the label is."""

import logging
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kep.components.ingest.forms import as_numbers, date_form, number_form
from kep.components.ingest.scan import LOST, MOST_CLASSES, ColumnScan, Scan
from kep.config.data import DataSettings
from kep.core.errors import UserError, nearest
from kep.data import columns
from kep.data.dates import parts
from kep.data.schema import GROUP, ID, SAME, USUAL, WEIGHT, Column, Identity, Label, Reading, inputs
from kep.data.sources.unit import Source
from kep.data.texts import hashes_of
from kep.data.values import MISSING_TEXTS, NUMBER_FORMS, canonical, class_names, read_number

log = logging.getLogger("kep.ingest")

_INTEGER_CLASSES = 20
BALANCED = "balanced"
"""The setting `data.weight` that lets each class count the same."""
_GIVE = "give each row a number of at least 0, and some row one above"
_CODE = re.compile(r"[+-]?0\d+")
"""An integer that begins with a zero: a code, whose zeros count."""
_BLUR = 0.01
"""Step between floats, as a share of the range of a regression's labels, above which these can't be told apart."""
_EXACT = 2**53
"""Integers below it are exact in float64."""
_INDEX = "it is the index of a data frame; list the features in data.features, it too, if it is to be one"
_IDENTIFIER_SHARE, _IDENTIFIER_ROWS = 0.9, 20


@dataclass(frozen=True)
class ColumnPlan:
    """Which columns are features, and what the label is."""

    features: list[Column]
    label: Label
    label_counts: list[int]
    """Rows per class; empty for regression."""
    key: str | None
    """The column that the split goes by."""
    key_type: pa.DataType | None
    weight: str | None
    """The column that says how much a row counts."""
    ignored: dict[str, str]
    """Why each column is left out that is neither feature nor label."""
    identity: Identity
    """What a row's id is made of."""
    identified_by: list[str]
    """The columns of `identity`."""
    readings: dict[str, Reading]
    """How the texts of each column of the source are read."""

    @property
    def categorical(self) -> list[Column]:
        """The categorical features, without vocabularies."""
        return [column for column in self.features if column.kind == "categorical"]


def columns_to_read(source: Source, settings: DataSettings) -> tuple[list[str], str]:
    """The columns that the settings let in, and the label's name.

    Raises:
        UserError: the settings name a column that is not there, or no label.
    """
    label = settings.label or source.label
    if label is None:
        raise UserError(
            f"data.label: no label is given; name the column to predict, one of {', '.join(source.names[:20])}"
        )
    named = {
        "data.label": [label],
        "data.features": settings.features,
        "data.exclude": settings.exclude,
        "data.id": [settings.id],
        "data.types": settings.types,
        "data.missing": settings.missing if isinstance(settings.missing, dict) else [],
        "data.split.column": [settings.split.column],
        "data.weight": [weight_column(settings)],
    }
    problems = []
    for key, names in named.items():
        for name in dict.fromkeys(names or []):
            if name is not None and name not in source.names:
                hint = nearest(name, source.names) or f"; the columns are {', '.join(source.names[:20])}"
                problems.append(f'{key}: column "{name}" not found in {source.description}{hint}')
    if problems:
        raise UserError("\n".join(problems))
    if label in settings.exclude:
        raise UserError(f'data.exclude: "{label}" is the label; remove it from data.exclude or name another label')
    features = settings.features
    if features is None:
        left_out = {label, settings.id, settings.split.column, settings.weight, *settings.exclude, *source.all_index}
        features = [name for name in source.names if name not in left_out]
    return features, label


def weight_column(settings: DataSettings) -> str | None:
    """Return the column that says how much a row counts; None where all count the same, or each class does."""
    return None if settings.weight == BALANCED else settings.weight


def make_plan(scan: Scan, source: Source, settings: DataSettings) -> ColumnPlan:
    """What the scan means for features and label.

    Raises:
        UserError: there are no rows, no feature is left, or columns can't be used: one sentence each, one per line.
    """
    if scan.rows == 0:
        raise UserError(f"data.source: {source.description} has no rows; give at least a few per class")
    names, label_name = columns_to_read(source, settings)
    weight = weight_column(settings)
    features, ignored, problems = list[Column](), dict[str, str](), list[UserError]()
    try:
        label, counts = _label(label_name, scan, settings)
        _check_weight(settings, source, label, None if weight is None else scan.columns[weight])
    except UserError as problem:
        problems.append(problem)
    for name in names:
        shape = (source.images or {}).get(name)
        if shape:
            features.append(Column(name=name, kind="image", shape=shape))
            continue
        try:
            found = _features(name, scan.columns[name], settings, source)
        except UserError as problem:
            problems.append(problem)
            continue
        if isinstance(found, str):
            log.warning('left out column "%s": %s', name, found)
            ignored[name] = found
        else:
            features += found
    if problems:
        raise UserError("\n".join(map(str, problems)))
    if not features:
        raise UserError(
            "data.features: no feature column is left (constant, empty, identifier and index columns teach "
            "nothing); "
            "give at least one column that varies"
        )
    taken = (ID, SAME, GROUP, WEIGHT)
    reserved = [name for name in (label_name, *(column.name for column in features)) if name in taken]
    if reserved:
        raise UserError(f'data.source: the column name "{reserved[0]}" is taken by the records; rename the column')
    key = settings.split.column
    key_type = None
    if key is not None:
        seen = scan.columns[key]
        key_type = pa.float64() if seen.numbers and not seen.words else seen.type
    for name in source.names:
        if name not in names and name != label_name:
            ignored[name] = _not_asked_for(name, source, settings)
            if ignored[name] == _INDEX:
                log.warning('left out column "%s": %s', name, _INDEX)
    named = [settings.id] if settings.id else sorted(set(source.names) - source.unreadable)
    readings = {name: missing_reading(settings, name) for name in source.names}
    readings |= {column.name: column.reading for column in inputs(features)} | {label_name: label.reading}
    identity = Identity(
        by="id" if settings.id else "row",
        columns=[name + _more(name, source, readings) for name in named],
    )
    left = {name: ignored[name] for name in source.names if name in ignored}
    return ColumnPlan(features, label, counts, key, key_type, weight, left, identity, named, readings)


def _check_weight(settings: DataSettings, source: Source, label: Label, scan: ColumnScan | None) -> None:
    """Refuse weights that say nothing, or that no loss can have.

    Raises:
        UserError: A class of a number is to be balanced, or the column does not hold a weight in every row.
    """
    name = settings.weight
    if name == BALANCED:
        if BALANCED in source.names:
            raise UserError(f'data.weight: "{name}" could be the column of this name; rename the column or exclude it')
        if label.classes is None:
            raise UserError(f'data.weight: balanced is for classes, and "{label.name}" is a number; name a column')
    if scan is None:
        return
    if scan.words:
        row, value = scan.first_word
        raise UserError(f'data.weight: column "{name}" holds "{value}" in row {row}; {_GIVE}')
    if scan.missing:
        raise UserError(f'data.weight: column "{name}" is empty in {scan.missing:,} of {scan.rows:,} rows; {_GIVE}')
    if scan.infinite_at:
        row, value = scan.infinite_at
        raise UserError(f'data.weight: column "{name}" is {value} in row {row}; {_GIVE}')
    if scan.low < 0 or scan.high == 0:
        raise UserError(f'data.weight: column "{name}" goes from {scan.low:g} to {scan.high:g}; {_GIVE}')


def _more(name: str, source: Source, readings: dict[str, Reading]) -> str:
    """Return what besides its name says which values a column has."""
    shape, reading = (source.images or {}).get(name), readings[name]
    if shape:
        return f" {list(shape)}"
    return f" {reading}" if reading.form in NUMBER_FORMS else ""


def missing_reading(settings: DataSettings, name: str) -> Reading:
    """Return which texts of a column mean a missing value."""
    if isinstance(settings.missing, dict):
        return Reading(missing=settings.missing[name]) if name in settings.missing else USUAL
    usual = list(MISSING_TEXTS[1:])
    return Reading(missing=[*usual, *(text.strip() for text in settings.missing)]) if settings.missing else USUAL


def _not_asked_for(name: str, source: Source, settings: DataSettings) -> str:
    if name in settings.exclude:
        return "data.exclude names it"
    if name == settings.id:
        return "data.id names it"
    if name == settings.split.column:
        return "the split goes by it"
    if name == settings.weight:
        return "data.weight names it"
    return _INDEX if settings.features is None and name in source.all_index else "data.features does not name it"


def _features(name: str, scan: ColumnScan, settings: DataSettings, source: Source) -> list[Column] | str:
    """Return the features that a column becomes, or why it is left out."""
    asked = settings.types.get(name)
    reading = missing_reading(settings, name)
    if scan.missing == scan.rows:
        return "empty"
    if scan.constant():
        if scan.numbers and abs(scan.low) >= _EXACT:
            return "its integers are too large to be told apart; data.types: categorical takes them as codes"
        return "the same in every row"
    if pa.types.is_temporal(scan.type) and not columns.is_date(scan.type):
        return "times of day and durations are no features as they are; give dates with a time, or numbers"
    if not columns.has_texts(scan.type):
        raise UserError(f'data.exclude: column "{name}" has type {scan.type}, which is no feature; exclude it')
    if asked == "text":
        if not scan.words or not columns.is_text(scan.type):
            raise UserError(
                f'data.types: column "{name}" of type {scan.type} holds no texts; remove it from data.types'
            )
        return hashes_of(Column(name=name, kind="text", reading=reading))
    if (when := date_form(name, scan, settings, asked)) is not None:
        if when.doubt:
            return when.doubt
        reading = reading.model_copy(update={"form": when.form})
        made = parts(Column(name=name, kind="date", reading=reading), when.timed)
        taken = {column.name for column in made} & set(source.names)
        if taken:
            raise UserError(f'data.source: the column name "{min(taken)}" is taken by a date; rename the column')
        named = ", ".join(one.part or "" for one in made)
        log.info('column "%s" holds dates (%s): its features are %s', name, reading, named)
        return made
    instead = f"or set data.types: {{{name}: categorical}}"
    if (form := number_form(name, scan, settings, asked, instead)) is not None:
        reading = reading.model_copy(update={"form": form[0], "unit": form[1]})
        scan = as_numbers(scan, form[0])
        log.info('column "%s" holds numbers such as "%s", read as %s', name, scan.first_number[1], reading)
    kind, reason = _kind(name, scan, asked, source)
    if kind is None:
        return reason
    offset = _offset(scan) if kind == "numeric" else 0.0
    if offset:
        log.info('column "%s" is counted from %.15g, so that 32-bit floats tell its values apart', name, offset)
    return [Column(name=name, kind=kind, reading=reading, offset=offset)]


def _offset(scan: ColumnScan) -> float:
    """Return what numbers are counted from where 32-bit floats can't tell them apart; 0 where that helps nothing."""
    return scan.low if scan.lost() > LOST and scan.lost(scan.low) < scan.lost() else 0.0


def _kind(name: str, scan: ColumnScan, asked: str | None, source: Source) -> tuple[Any, str]:
    """The type of a feature column, or None and why it is left out."""
    if scan.infinite_at and asked != "categorical":
        row, value = scan.infinite_at
        raise UserError(
            f'data.source: column "{name}" is {value} in row {row}, beyond 32-bit floats; rescale it or leave it empty'
        )
    if asked:
        _check_asked(name, scan, asked)
        return asked, ""
    if scan.numbers and scan.words:
        (row, word), (other, number) = scan.first_word, scan.first_number
        raise UserError(
            f'data.types: column "{name}" of {source.description} mixes numbers and words ({scan.numbers:,} and '
            f'{scan.words:,} of {scan.rows:,} rows: {number} in row {other}, "{word}" in row {row}); correct them, '
            f'list "{word}" in data.missing if it means no value, or set data.types: {{{name}: categorical}}'
        )
    if scan.numbers and not scan.codes:
        return "numeric", ""
    if scan.words and scan.boolean:
        return "boolean", ""
    present = scan.numbers + scan.words
    if present >= _IDENTIFIER_ROWS and scan.distinct_values() > _IDENTIFIER_SHARE * present:
        if scan.prose > _IDENTIFIER_SHARE * present / 2:
            return None, f"free text; data.types: {{{name}: text}} makes features of its words"
        return None, "nearly every value occurs once, so it cannot generalise"
    if scan.code_at and scan.codes:
        row, code = scan.code_at
        log.info(
            'column "%s" holds codes, since "%s" in row %d begins with zero: it is categorical; '
            "data.types: {%s: numeric} makes numbers of them",
            name,
            code,
            row,
            name,
        )
    return "categorical", ""


def _check_asked(name: str, scan: ColumnScan, asked: str) -> None:
    if asked == "numeric" and scan.words and not scan.boolean:
        row, word = scan.first_word
        raise UserError(
            f'data.types: column "{name}" can\'t be numeric ("{word}" in row {row}); correct it, or set '
            f"data.types: {{{name}: categorical}}"
        )
    if asked == "boolean":
        odd = scan.word_at if scan.words and not scan.boolean else None
        if scan.numbers and not (scan.whole and scan.low >= 0 and scan.high <= 1):
            odd = odd or scan.number_at
        if odd:
            raise UserError(
                f'data.types: column "{name}" can\'t be boolean ("{odd[1]}" in row {odd[0]}); '
                "give true and false, or 0 and 1"
            )


def _label(name: str, scan: Scan, settings: DataSettings) -> tuple[Label, list[int]]:
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
    label, rows = _label_of(name, found, _read_as(scan.label_counts, reading), settings.task)
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
    """Whether a class is the one that the run file names: YAML reads 1, "1" and true as what they look like."""
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


def _label_of(name: str, found: ColumnScan, label_counts: Counter[str], task: str) -> tuple[Label, list[int]]:
    counts: Counter[float] = Counter()
    if found.numbers and not found.words:
        for text, count in label_counts.items():
            counts[float(text)] += count
        # What float64 would make another code of: 01 is not 1, and 9007199254740993 not ...992.
        coded = found.whole and any(_CODE.fullmatch(text) or abs(float(text)) >= _EXACT for text in label_counts)
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
    if np.spacing(np.float32(largest)) <= _BLUR * extent and not _offset(found):
        return Label(name=name, task="regression")
    log.info('the label "%s" is counted from %.15g, so that 32-bit floats tell its values apart', name, found.low)
    return Label(name=name, task="regression", offset=found.low)
