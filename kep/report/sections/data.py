"""The data in the report: roles, columns and classes."""

from collections.abc import Mapping, Sequence

from kep.data.schema import ROLES, Column, Label, Manifest, RoleInfo
from kep.data.texts import place_of
from kep.report import charts, report_charts
from kep.report.page import DASH, count, number
from kep.report.sections.words import View, plural
from kep.stats.divergence import shown

MOST_COLUMNS = 60
MOST_CLASSES_DRAWN = 20
MOST_ROWS_OF_CLASSES = 40


def data(manifest: Manifest) -> View:
    """Return the content of the section."""
    roles, split = manifest.roles, manifest.split
    by = f" by {', '.join(split.columns)}" if split.columns else ""
    shares = f"validation {split.validation:g}, test {split.test:g}"
    lines = _roles(manifest)
    columns = [column for column in manifest.columns if place_of(column) is None]
    columns += [column for column in manifest.inputs if column.kind == "text"]
    return {
        "source": manifest.source,
        "total": sum(role.rows for role in roles.values()) or 1,
        "roles": lines,
        "rows_chart": charts.bars(
            "rows",
            "Rows per role: " + ", ".join(f"{line['role']} {line['rows']}" for line in lines),
            [line["role"] for line in lines],
            [line["rows"] for line in lines],
            [charts.ROLES[line["role"]] for line in lines],
            "rows",
            [f"{count(line['rows'])} ({100 * line['share']:.0f} %)" for line in lines],
        ),
        "columns": _halves([_column(column) for column in columns[:MOST_COLUMNS]]),
        "number_of_columns": len(columns),
        "more_columns": max(0, len(columns) - MOST_COLUMNS),
        "any_missing": sum(column.missing > 0 for column in columns),
        "ignored": manifest.ignored,
        "weighting": _weighting(manifest),
        "duplicates": manifest.duplicates,
        "split": f"{split.rule}{by}, {shares}, seed {split.seed}",
        "label": manifest.label,
        "classes": _classes(manifest.label, roles),
    }


def _roles(manifest: Manifest) -> list[View]:
    total = sum(role.rows for role in manifest.roles.values()) or 1
    return [
        {
            "role": role,
            "rows": manifest.roles[role].rows,
            "share": manifest.roles[role].rows / total,
            "dropped": manifest.dropped.get(role, 0),
            "shards": len(manifest.roles[role].shards),
        }
        for role in ROLES
        if role in manifest.roles
    ]


def _halves(columns: Sequence[View]) -> list[Sequence[View]]:
    """Return one table, or two side by side for many columns that have nothing but numbers."""
    if len(columns) <= 10 or any(column["content"] != DASH for column in columns):
        return [columns]
    middle = (len(columns) + 1) // 2
    return [columns[:middle], columns[middle:]]


def _column(column: Column) -> View:
    content = DASH
    if column.shape:
        content = " × ".join(str(size) for size in column.shape) + " (height, width, channels)"
    elif column.vocabulary is not None:
        some = ", ".join(charts.short(value, 16) for value in column.vocabulary[:4])
        more = ", …" if len(column.vocabulary) > 4 else ""
        content = f"{plural(len(column.vocabulary), 'category', 'categories')}: {some}{more}"
    return {
        "name": column.name,
        "kind": f"{column.kind} ({column.reading})" if str(column.reading) else column.kind,
        "missing": column.missing,
        "mean": _mean(column),
        "std": _each(column.std),
        "content": content,
    }


def _mean(column: Column) -> str:
    """Return the mean as the source has the values, with all its digits where they have an offset."""
    if column.offset and isinstance(column.mean, float):
        return shown(column.mean, column.offset)
    return _each(column.mean)


def _each(value: float | list[float] | None) -> str:
    """Return a number, or one per channel."""
    return ", ".join(number(float(one)) for one in value) if isinstance(value, list) else number(value)


def _classes(label: Label, roles: Mapping[str, RoleInfo]) -> View | None:
    """Return class counts per role; the most and the least frequent where there are many."""
    if not label.classes:
        return None
    names = label.classes
    counts = {role: roles[role].class_counts for role in ROLES if role in roles}
    shares = {role: [n / (sum(values) or 1) for n in values] for role, values in counts.items()}
    order, hidden = list(range(len(names))), 0
    if len(names) > MOST_ROWS_OF_CLASSES:
        by_size = sorted(order, key=lambda index: -counts["train"][index])
        order, hidden = by_size[:20] + by_size[-20:], len(names) - 40
    if len(names) <= MOST_CLASSES_DRAWN:
        drawn = report_charts.class_balance(names, shares)
    else:
        drawn = report_charts.class_sizes(counts)
    rows = [
        {
            "name": names[index],
            "counts": [{"rows": counts[role][index], "share": 100 * shares[role][index]} for role in counts],
        }
        for index in order
    ]
    return {"chart": drawn, "rows": rows, "roles": list(counts), "hidden": hidden, "number": len(names)}


def _weighting(manifest: Manifest) -> str:
    """Return how much rows count, in a sentence; empty where all count the same."""
    if manifest.weighting is None:
        return ""
    how = manifest.weighting.column and f'A row counts as much as its column "{manifest.weighting.column}" says'
    return f"{how or 'Each class counts the same'}: in every loss and metric, and in the ensemble's weights."
