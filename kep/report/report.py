"""The report: one offline page that says what was asked, what was found, and which rows made every number.

Each private function named after a section turns a part of report.json into what the template shows; the template
holds the words.
"""

import math
import statistics
from pathlib import PurePath

from kep.artifacts.study import Study
from kep.artifacts.trials import Trial
from kep.data.schema import ROLES
from kep.report import charts
from kep.report import report_charts as own_charts
from kep.report.page import DASH, count, decimals, interval, loss, number, render_page, seconds
from kep.report.search import search_view, values_text
from kep.stats.metrics import METRICS

MOST_COLUMNS = 60
MOST_CLASSES_DRAWN = 20
MOST_CLASSES_MATRIX = 30
MOST_CONFUSED = 20
MOST_ROWS_OF_CLASSES = 40
NAMES = {
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "f1": "F1",
    "calibration_error": "calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
}
FIRST = {"binary": ("accuracy", "roc_auc"), "multiclass": ("accuracy", "f1"), "regression": ("rmse", "r2")}
"""Metrics beside the loss that the head of the page shows."""
TELLING = {
    "data": ("source", "label", "task", "split.by", "split.column"),
    "search": ("families", "tuner", "max_trials", "max_epochs", "objective.name", "top_n"),
    "best_epoch": ("max_epochs", "patience", "seeds", "folds"),
    "ensemble": ("method", "metric", "pooling", "max_members", "max_latency_ms"),
    "retrain": ("enabled", "epochs"),
    "evaluate": ("bootstrap", "slices"),
    "promote": ("margin",),
    "export": ("max_loss",),
    "hardware": ("retrain.strategy", "retrain.device", "retrain.precision"),
}
"""The sections of the run file in the order of the flow, and the settings that a closed section shows."""
STARVED = 0.2
"""Share of a training's time that it waits for rows, above which the page says so."""
UNSET = (DASH, "none")
AVERAGE = "average of members"
"""The plain average of the members, whatever their weights: not that of all candidates, which weigh calls uniform."""
BASELINE = "baseline"
"""What one predicts without a model."""
TOGETHER = ("ensemble", AVERAGE)


def render(whole: dict, verdict: dict | None = None) -> str:
    """The page.

    Args:
        whole: report.json of `evaluate`; at the end of a local run its `steps` also hold those of `evaluate` and
            `promote`, and `run` what the run was started with; `exports` what `kep export` has measured since.
        verdict: verdict.json of `promote`; without it the page says that nothing is decided yet.
    """
    return render_page(
        "report.html.j2",
        name=whole["asked"].get("name", "run"),
        task=whole["manifest"]["label"]["task"],
        label=whole["manifest"]["label"]["name"],
        loss=_loss_name(whole["manifest"]["label"]),
        head=_head(whole, verdict),
        asked=_asked(whole["asked"]),
        data=_data(whole["manifest"]),
        search=search_view(Study(**whole["study"]), [Trial(**trial) for trial in whole["trials"]]),
        best_epoch=_best_epoch(whole),
        ensemble=_ensemble(whole),
        test=_test(whole),
        champion=_champion(whole["evaluation"]["champion"], verdict),
        exports=_exports(whole),
        ledger=_ledger(whole),
        steps=_steps(whole["steps"]),
        reproduce=_reproduce(whole, verdict),
    )


def _loss_name(label: dict) -> str:
    if label["task"] == "regression":
        return f"mean squared error (squared units of {label['name']})"
    return "log-loss (nats per row)"


def _metric_name(name: str, label: dict) -> str:
    if name == "loss":
        return "squared error" if label["task"] == "regression" else "log-loss"
    return NAMES.get(name, name)


def _half_width(value: dict) -> float | None:
    if value.get("low") is None or value.get("high") is None:
        return None
    return (value["high"] - value["low"]) / 2


def _places(values: list[dict]) -> int:
    """Decimal places for a column of values with intervals: those of the narrowest."""
    widths = [width for value in values if (width := _half_width(value))]
    return max([decimals(width) for width in widths], default=4)


def _members(whole: dict) -> list[str]:
    """Ids of the members, the heaviest first."""
    return [member["id"] for member in whole["weights"]["members"]]


def _family_of(whole: dict) -> dict[str, str]:
    return {result["candidate"]["id"]: result["candidate"]["family"] for result in whole["best_epochs"]}


def _colours(whole: dict) -> dict[str, str]:
    """By candidate id, the colour of its family, the same as in the search."""
    families = charts.family_colours([*whole["study"]["spaces"], *(trial["family"] for trial in whole["trials"])])
    return {id: families.get(family, charts.MUTED) for id, family in _family_of(whole).items()}


def _head(whole: dict, verdict: dict | None) -> dict:
    evaluation, label = whole["evaluation"], whole["manifest"]["label"]
    scores = evaluation["scores"]
    ours = scores["ensemble"]["loss"]
    losses = {id: scores[id]["loss"] for id in _members(whole) if scores[id]["loss"]["value"] is not None}
    best = min(losses, key=lambda id: losses[id]["value"], default=None)
    places = _places([score["loss"] for score in scores.values()])
    figures = [
        {
            "name": f"test {_metric_name(name, label)}",
            "value": number(scores["ensemble"][name]["value"], own := _places([scores["ensemble"][name]])),
            "note": f"95 %: {interval(scores['ensemble'][name], own)}",
        }
        for name in ("loss", *FIRST[label["task"]])
        if name in scores["ensemble"]
    ]
    members = _members(whole)
    families = len({_family_of(whole).get(id) for id in members})
    figures.append(
        {
            "name": "members",
            "value": count(len(members)),
            "note": f"of {_plural(families, 'family', 'families')}, weights: {whole['weights']['method']}",
        }
    )
    return {
        "loss": number(ours["value"], places),
        "interval": interval(ours, places),
        "rows": evaluation["rows"],
        "members": _plural(len(members), "member", "members"),
        "best": best,
        "best_loss": number(losses[best]["value"], places) if best else None,
        "best_interval": interval(losses[best], places) if best else None,
        "single": len(members) == 1,
        "promotion": _promotion(verdict),
        "figures": figures,
    }


def _plural(number_of: int, one: str, many: str) -> str:
    return f"{count(number_of)} {one if number_of == 1 else many}"


def _promotion(verdict: dict | None) -> dict:
    if verdict is None:
        return {"word": "not yet decided", "reason": "", "forced": False}
    word = "promoted" if verdict["promoted"] else "not promoted"
    return {"word": word, "reason": verdict["reason"], "forced": verdict["forced"]}


def _asked(asked: dict) -> list[dict]:
    """The sections of the run file with their settings; a section's most telling settings beside its name."""
    run = [(key, _text(asked[key])) for key in ("name", "seed") if key in asked]
    sections = [{"name": "run", "settings": run, "brief": ", ".join(f"{key}: {value}" for key, value in run)}]
    for name, told in TELLING.items():
        if name in asked:
            settings = list(_flat(asked[name]))
            said = [(key, value) for key, value in settings if key in told and value not in UNSET]
            brief = ", ".join(f"{key}: {charts.short(value, 40)}" for key, value in said)
            sections.append({"name": name, "settings": settings, "brief": brief})
    return sections


def _flat(section: dict, prefix: str = ""):
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, list | dict):
        return ", ".join(str(item) for item in value) if value else "none"
    return number(value) if not isinstance(value, bool) else str(value).lower()


def _data(manifest: dict) -> dict:
    label, roles = manifest["label"], manifest["roles"]
    total = sum(role["rows"] for role in roles.values()) or 1
    rows = [
        {
            "role": role,
            "rows": roles[role]["rows"],
            "share": roles[role]["rows"] / total,
            "dropped": manifest["dropped"].get(role, 0),
            "shards": len(roles[role]["shards"]),
        }
        for role in ROLES
        if role in roles
    ]
    columns = [_column(column) for column in manifest["columns"][:MOST_COLUMNS]]
    split = manifest["split"]
    by = f" by {', '.join(split['columns'])}" if split["columns"] else ""
    shares = f"validation {split['validation']:g}, test {split['test']:g}"
    return {
        "source": manifest["source"],
        "total": total,
        "roles": rows,
        "rows_chart": charts.bars(
            "rows",
            "Rows per role: " + ", ".join(f"{row['role']} {row['rows']}" for row in rows),
            [row["role"] for row in rows],
            [row["rows"] for row in rows],
            [charts.ROLES[row["role"]] for row in rows],
            "rows",
            [f"{count(row['rows'])} ({100 * row['share']:.0f} %)" for row in rows],
        ),
        "columns": _halves(columns),
        "number_of_columns": len(manifest["columns"]),
        "more_columns": max(0, len(manifest["columns"]) - MOST_COLUMNS),
        "any_missing": sum(column["missing"] > 0 for column in manifest["columns"]),
        "ignored": manifest["ignored"],
        "duplicates": manifest["duplicates"],
        "split": f"{split['rule']}{by}, {shares}, seed {split['seed']}",
        "label": label,
        "classes": _classes(label, roles),
    }


def _halves(columns: list[dict]) -> list[list[dict]]:
    """Many columns that have nothing but numbers fit side by side in two tables."""
    if len(columns) <= 10 or any(column["content"] != DASH for column in columns):
        return [columns]
    middle = (len(columns) + 1) // 2
    return [columns[:middle], columns[middle:]]


def _column(column: dict) -> dict:
    kind, content = column["kind"], DASH
    if column["shape"]:
        content = " × ".join(str(size) for size in column["shape"]) + " (height, width, channels)"
    elif column["vocabulary"] is not None:
        some = ", ".join(charts.short(value, 16) for value in column["vocabulary"][:4])
        more = ", …" if len(column["vocabulary"]) > 4 else ""
        content = f"{_plural(len(column['vocabulary']), 'category', 'categories')}: {some}{more}"
    return {
        "name": column["name"],
        "kind": kind,
        "missing": column["missing"],
        "mean": _each(column["mean"]),
        "std": _each(column["std"]),
        "content": content,
    }


def _each(value: float | list[float] | None) -> str:
    """A number, or one per channel."""
    return ", ".join(number(float(one)) for one in value) if isinstance(value, list) else number(value)


def _classes(label: dict, roles: dict) -> dict | None:
    """Class counts per role; the most and the least frequent where there are many."""
    if not label["classes"]:
        return None
    names = label["classes"]
    counts = {role: roles[role]["class_counts"] for role in ROLES if role in roles}
    shares = {role: [n / (sum(values) or 1) for n in values] for role, values in counts.items()}
    order, hidden = list(range(len(names))), 0
    if len(names) > MOST_ROWS_OF_CLASSES:
        by_size = sorted(order, key=lambda index: -counts["train"][index])
        order, hidden = by_size[:20] + by_size[-20:], len(names) - 40
    if len(names) <= MOST_CLASSES_DRAWN:
        drawn = own_charts.class_balance(names, shares)
    else:
        drawn = own_charts.class_sizes(counts)
    rows = [
        {
            "name": names[index],
            "counts": [{"rows": counts[role][index], "share": 100 * shares[role][index]} for role in counts],
        }
        for index in order
    ]
    return {"chart": drawn, "rows": rows, "roles": list(counts), "hidden": hidden, "number": len(names)}


def _best_epoch(whole: dict) -> dict:
    colours = _colours(whole)
    drawn = own_charts.learning_curves(whole["best_epochs"])
    candidates = []
    for result, chart in zip(whole["best_epochs"], drawn, strict=True):
        bests = [seed["best"] for seed in result["seeds"]]
        losses = [seed["loss"] for seed in result["seeds"] if seed["loss"] is not None]
        candidates.append(
            {
                "id": result["candidate"]["id"],
                "swatch": charts.swatch(colours[result["candidate"]["id"]]),
                "unit": result["unit"],
                "best": result["best"],
                "span": str(bests[0]) if len(bests) == 1 else f"{min(bests)} to {max(bests)}",
                "at_cap": result["at_cap"],
                "searched": result["candidate"]["loss"],
                "loss": statistics.fmean(losses) if losses else None,
                "spread": statistics.stdev(losses) if len(losses) > 1 else None,
                "chart": chart,
            }
        )
    return {
        "candidates": candidates,
        "trainings": max((len(result["seeds"]) for result in whole["best_epochs"]), default=0),
        "folds": next((result["folds"] for result in whole["best_epochs"]), None),
        "capped": [candidate["id"] for candidate in candidates if candidate["at_cap"]],
    }


def _ensemble(whole: dict) -> dict:
    weights, colours = whole["weights"], _colours(whole)
    heaviest = sorted(weights["weights"].items(), key=lambda pair: (-pair[1], pair[0]))
    trained = {member["id"]: member for member in whole["members"]}
    methods = weights["methods"]
    order = sorted(methods, key=lambda name: (name != "best single", methods[name]["loss"]))
    lines = [
        {
            "label": _way_name(name) + (" (chosen)" if name == weights["chosen"] else ""),
            "value": methods[name]["loss"],
            "low": methods[name]["loss"] - methods[name]["error"],
            "high": methods[name]["loss"] + methods[name]["error"],
            "colour": charts.ROLES["validation"],
            "strong": name == weights["chosen"],
        }
        for name in order
    ]
    retrained = all(member["rule"] != "off" for member in whole["members"])
    return {
        "weights_chart": charts.bars(
            "weights",
            "Weight of each candidate: " + ", ".join(f"{id} {weight:.3f}" for id, weight in heaviest),
            [id for id, _ in heaviest],
            [weight for _, weight in heaviest],
            [colours.get(id, charts.MUTED) for id, _ in heaviest],
            "weight",
            [f"{weight:.3f}" if weight else "0, left out" for _, weight in heaviest],
        ),
        "members": [
            {
                "id": member["id"],
                "swatch": charts.swatch(colours.get(member["id"], charts.MUTED)),
                "weight": member["weight"],
                "length": f"{number(member['trained_units'])} {member['unit']}s",
                "best": f"{member['unit']} {member['best']}",
                "rule": member["rule"],
                "rows": member["rows"],
                "roles": " + ".join(member["roles"]),
                "hyperparameters": values_text(member["values"]),
            }
            for member in (trained[id] for id in _members(whole) if id in trained)
        ],
        "correlation": weights["correlation"],
        "retrained": retrained,
        "without": _without(weights["without"], whole["evaluation"]["without"], weights["weights"]),
        "methods": [
            {"name": _way_name(name), "chosen": name == weights["chosen"], **_rounded(methods[name])} for name in order
        ],
        "methods_chart": charts.intervals(
            "methods",
            "Cross-fitted validation loss of each way to weigh, with its standard error",
            lines,
            "validation loss",
        ),
        "metric": None if weights["metric"] == "loss" else _metric_name(weights["metric"], whole["manifest"]["label"]),
        "method": _way_name(weights["method"]),
        "reason": weights["reason"],
        "pooling": weights["pooling"] if len(weights["members"]) > 1 else None,
        "pooling_reason": weights["pooling_reason"],
        "latency": _latency(weights, whole["asked"]["ensemble"]),
        "gap": f"{weights['gap']:.1e}" if weights["fitted"] and weights["gap"] is not None else None,
        "single": loss(methods["best single"]["loss"]),
        "loss": loss(methods[weights["chosen"]]["loss"]),
    }


def _way_name(name: str) -> str:
    """A way to weigh, with what an average is over."""
    averages = {"uniform": "uniform (of all)", "greedy_uniform": "uniform (of chosen)"}
    way, _, pooling = name.partition(", ")
    return ", ".join(part for part in (averages.get(way, way), pooling) if part)


def _without(validation: dict, test: dict, weights: dict) -> list[dict]:
    """What each member adds, the heaviest first: the loss without it minus that of the whole ensemble."""
    rows = []
    for id in sorted(test, key=lambda id: (-weights[id], id)):
        own, places = validation.get(id), _places([test[id]])
        rows.append(
            {
                "id": id,
                "weight": weights[id],
                "validation": number(own["difference"], min(6, decimals(own["error"]) + 1)) if own else DASH,
                "error": number(own["error"], min(6, decimals(own["error"]) + 1)) if own else DASH,
                "test": number(test[id]["value"], places),
                "interval": interval(test[id], places),
            }
        )
    return rows


def _latency(weights: dict, asked: dict) -> dict | None:
    """What the members' predictions cost, where there is a budget."""
    if weights["latency_ms"] is None:
        return None
    spent = sum(weights["latency_ms"][member["id"]] for member in weights["members"])
    return {"spent": number(spent), "budget": number(asked["max_latency_ms"]), "rows": asked["latency_rows"]}


def _rounded(method: dict) -> dict[str, str]:
    places = min(6, decimals(method["error"]) + 1)
    rounded = {"loss": number(method["loss"], places), "error": number(method["error"], places)}
    return rounded | {"score": loss(method["score"]) if "score" in method else None}


def _test(whole: dict) -> dict:
    evaluation, manifest = whole["evaluation"], whole["manifest"]
    label, scores, gap = manifest["label"], evaluation["scores"], evaluation["gap"]
    colours = _colours(whole)
    baseline = "baseline (mean of train)" if label["task"] == "regression" else "baseline (class shares of train)"
    order = [name for name in (*TOGETHER, *_members(whole), BASELINE) if name in scores]
    metrics = [name for name in ("loss", *METRICS) if name in scores["ensemble"]]
    places = {metric: _places([scores[name][metric] for name in order]) for metric in metrics}
    # Rounded: of two values that look the same, not one alone is bold.
    best = {
        metric: number(_best(metric, [scores[name][metric]["value"] for name in order]), places[metric])
        for metric in metrics
    }
    rows = [
        {
            "name": baseline if name == BASELINE else name,
            "strong": name == "ensemble",
            "swatch": charts.swatch(colours[name]) if name in colours else "",
            "cells": [
                {
                    "value": number(scores[name][metric]["value"], places[metric]),
                    "interval": interval(scores[name][metric], places[metric]),
                    "best": best[metric] == number(scores[name][metric]["value"], places[metric]) != DASH,
                }
                for metric in metrics
            ],
        }
        for name in order
    ]
    unit = "test squared error" if label["task"] == "regression" else "test log-loss (nats)"
    # Beside the baseline the differences between models would be too small to see.
    models = [name for name in order if name != BASELINE]
    forest = [
        {"label": name, "colour": charts.ROLES["test"], "strong": name == "ensemble", **scores[name]["loss"]}
        for name in models
    ]
    return {
        "rows": evaluation["rows"],
        "positive": label["classes"][1] if label["task"] == "binary" else None,
        "metrics": [
            {"name": _metric_name(metric, label), "lower": metric == "loss" or METRICS[metric].direction == "min"}
            for metric in metrics
        ],
        "table": rows,
        "forest": charts.intervals("forest", "Test loss of the ensemble, the average and each member", forest, unit),
        "against": charts.intervals(
            "against",
            "Difference of the ensemble's test loss from each member's and the average's, row by row",
            [
                {"label": name, "colour": charts.ROLES["test"], "strong": False, **evaluation["against"][name]}
                for name in models
                if name in evaluation["against"]
            ],
            f"ensemble minus the other, {unit.removeprefix('test ')}",
        ),
        "gap": _gap(gap, whole["weights"], unit.removeprefix("test ")),
        "pictures": _pictures(evaluation, label),
        "slices": _slices(evaluation["slices"], label),
        "reload": f"{evaluation['reload_difference']:.1e}" if evaluation["reload_difference"] else None,
    }


def _best(metric: str, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    lower = metric == "loss" or METRICS[metric].direction == "min"
    return (min if lower else max)(known) if known else None


def _gap(gap: dict, weights: dict, unit: str) -> dict:
    """Validation loss as fitted, as cross-fitted, and the loss on rows never seen before."""
    error = weights["methods"][weights["chosen"]]["error"] or float("nan")
    validation, crossed, test = gap["validation_loss"], gap["cross_fitted_loss"], gap["test_loss"]
    amber = charts.ROLES["validation"]
    spread = {"low": crossed - error, "high": crossed + error}
    lines = [
        {"label": "validation, as fitted", "value": validation, "colour": amber},
        {"label": "validation, cross-fitted", "value": crossed, "colour": amber, "strong": True} | spread,
        {"label": "test", "colour": charts.ROLES["test"], "strong": True} | test,
    ]
    places = _places([test])
    known = test["value"] is not None and test["low"] is not None and test["high"] is not None
    return {
        "chart": charts.intervals("gap", "Loss of the ensemble on validation rows and on test rows", lines, unit),
        "validation": number(validation, places),
        "cross_fitted": number(crossed, places),
        "test": number(test["value"], places),
        "interval": interval(test, places),
        "inside": test["low"] <= crossed <= test["high"] if known else None,
        "lower": test["value"] is not None and test["value"] < crossed,
    }


def _pictures(evaluation: dict, label: dict) -> dict:
    drawn, found = evaluation["pictures"], {"small": False}
    if "confusion" in drawn:
        matrix, names = drawn["confusion"], label["classes"]
        if len(names) <= MOST_CLASSES_MATRIX:
            found["small"] = len(names) <= 10
            found["matrix"] = {"names": names, "rows": [_matrix_row(names, row, i) for i, row in enumerate(matrix)]}
        pairs = [
            {"rows": n, "true": names[i], "given": names[j], "share": 100 * n / sum(row)}
            for i, row in enumerate(matrix)
            for j, n in enumerate(row)
            if i != j and n
        ]
        found["confused"] = sorted(pairs, key=lambda pair: -pair["rows"])[:MOST_CONFUSED]
        found["wrong"] = sum(pair["rows"] for pair in pairs)
    if "calibration" in drawn:
        found["calibration"] = own_charts.reliability(drawn["calibration"])
    if "roc" in drawn:
        found["roc"] = own_charts.roc(drawn["roc"], label["classes"][1])
        found["positive"] = label["classes"][1]
    if "residuals" in drawn:
        found["residuals"] = own_charts.predicted_against_true(drawn["residuals"], label["name"])
        found["histogram"] = own_charts.residuals(drawn["residuals"], label["name"])
        found["drawn"] = len(drawn["residuals"])
    return found


def _matrix_row(names: list, row: list[int], true: int) -> dict:
    total = sum(row)
    cells = [
        # A single error must be seen beside a full diagonal, hence the root.
        {
            "rows": n,
            "colour": "train" if i == true else "test",
            "depth": round(60 * math.sqrt(n / total)) if total else 0,
        }
        for i, n in enumerate(row)
    ]
    return {"name": names[true], "cells": cells, "total": total, "recall": 100 * row[true] / total if total else None}


def _slices(slices: dict, label: dict) -> list[dict]:
    tables = []
    for column, parts in slices.items():
        if parts:
            metrics = [name for name in ("loss", *METRICS) if name in parts[0]]
            rows = [{"value": p["value"], "rows": p["rows"], "metrics": [loss(p[m]) for m in metrics]} for p in parts]
            tables.append({"column": column, "metrics": [_metric_name(name, label) for name in metrics], "rows": rows})
    return tables


def _champion(compared: dict | None, verdict: dict | None) -> dict:
    found = _promotion(verdict) | {
        "compared": compared is not None,
        "problem": (compared or {}).get("problem"),
        "unseen": (compared or {}).get("unseen"),
        "name": PurePath(compared["folder"]).name if compared else None,
        "margin": number(verdict["margin"]) if verdict else None,
        "version": verdict["version"] if verdict and verdict["promoted"] else None,
        "chart": None,
    }
    if compared and "difference" in compared:
        difference = compared["difference"]
        places = _places([difference])
        line = {"label": "this run − champion", "colour": charts.ROLES["test"], "strong": True}
        found |= {
            "difference": number(difference["value"], places),
            "interval": interval(difference, places),
            "rows": difference["rows"],
            "chart": charts.intervals(
                "champion",
                "Difference of test losses, this run minus the champion, with its 95 % interval",
                [line | difference],
                "difference of test loss (below 0: this run is better)",
            ),
        }
    return found


def _exports(whole: dict) -> dict:
    """What exports of the ensemble predict on the test rows, beside what evaluate stored."""
    exports, classes = whole.get("exports", []), whole["manifest"]["label"]["classes"]
    rows = [
        {
            "format": export["format"],
            "name": row["name"],
            "size": row["bytes"] / 1000,
            "ms": row["ms"],
            "score": row["score"],
            "lost": f"{100 * row['lost'] + 0.0:+.2f} %",
            "loss": row["loss"],
            "same": f"{100 * row['same']:.1f} %" if classes else None,
            "difference": number(row["difference"]),
        }
        for export in exports
        for row in export["measured"]
    ]
    metric = NAMES[exports[0]["metric"]] if exports else ""
    return {
        "rows": rows,
        "metric": metric,
        "classes": bool(classes),
        "most": ", ".join(sorted({f"{100 * export['max_loss']:g} %" for export in exports})),
    }


def _ledger(whole: dict) -> dict:
    """Who read which role; whether test was opened once, by evaluate.

    An export reads it afterwards, and nothing follows from what it sees.
    """
    lines = list(whole["evaluation"]["ledger"])
    known = {line["step"] for line in lines}
    # promote reads after evaluate has written its ledger.
    for step in whole["steps"]:
        if step["step"] not in known:
            lines += [line | {"times": 1} for line in step["ledger"]]
    exported = [line | {"times": 1} for export in whole.get("exports", []) for line in export["read"]]
    opened = [line for line in lines if line["role"] == "test"]
    once = [(line["step"], line["times"]) for line in opened] == [("evaluate", 1)]
    readers = [f"{line['step']} ({_plural(line['times'], 'time', 'times')})" for line in opened]
    shards = {role: info["fingerprint"] for role, info in whole["manifest"]["roles"].items()}
    rows = [
        {
            "step": line["step"],
            "role": line["role"],
            "colour": f"--{line['role'].split()[0]}",
            "rows": line["rows"],
            "times": line["times"],
            "fingerprint": line["fingerprint"][:12],
            "same": line["fingerprint"] == shards.get(line["role"].split()[0]),
        }
        for line in [*lines, *exported]
    ]
    return {
        "rows": rows,
        "once": once,
        "readers": readers,
        "exported": bool(exported),
        "foreign": [row for row in rows if not row["same"]],
    }


def _steps(steps: list[dict]) -> dict:
    rows = [
        {
            "name": f"{step['step']} {step['label']}".strip(),
            "seconds": step["seconds"],
            "memory": step["peak_memory_mb"],
            "cores": step["cores"],
            "speed": step.get("speed"),
        }
        for step in steps
    ]
    return {
        "rows": rows,
        "chart": charts.bars(
            "seconds",
            "Seconds of each step",
            [row["name"] for row in rows],
            [row["seconds"] for row in rows],
            [charts.MUTED] * len(rows),
            "seconds",
            [seconds(row["seconds"]) for row in rows],
        ),
        "total": sum(row["seconds"] for row in rows),
        "peak": max((row["memory"] for row in rows), default=0),
        "trained": [row for row in rows if row["speed"]],
        "starved": [row["name"] for row in rows if row["speed"] and row["speed"]["input_share"] > STARVED],
    }


def _reproduce(whole: dict, verdict: dict | None) -> dict:
    manifest, run = whole["manifest"], whole.get("run", {})
    versions: dict[str, list[str]] = {}
    for step in whole["steps"]:
        for package, version in step["versions"].items():
            if version and version not in versions.setdefault(package, []):
                versions[package].append(version)
    fingerprints = [["records", manifest["fingerprint"]]]
    fingerprints += [
        [f"{role} rows", manifest["roles"][role]["fingerprint"]] for role in ROLES if role in manifest["roles"]
    ]
    fingerprints.append(["search", whole["study"]["identity"]])
    if verdict:
        fingerprints.append(["ensemble", verdict["version"]])
    fingerprints += [[name, str(run[name])] for name in ("source", "code", "revision") if run.get(name)]
    folder = PurePath(run.get("folder", "RUN"))
    return {
        # An absolute path belongs to one machine; the name of the run's folder is enough to find it.
        "folder": "RUN" if folder.is_absolute() else str(folder),
        "run": folder.name if run.get("folder") else None,
        "seed": whole["asked"].get("seed"),
        "seeds": [
            [result["candidate"]["id"], ", ".join(str(seed["seed"]) for seed in result["seeds"])]
            for result in whole["best_epochs"]
        ],
        "member_seeds": {member["id"]: member["seed"] for member in whole["members"]},
        "versions": [[package, ", ".join(found)] for package, found in sorted(versions.items())],
        "mixed": [package for package, found in versions.items() if len(found) > 1],
        "fingerprints": fingerprints,
    }
