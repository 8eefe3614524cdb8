"""The report of a run that never was, as JSON that a test may change."""

import json
from typing import Any

import numpy as np

from kep.artifacts.evaluation import Interval
from kep.components.evaluate.scores import pictures
from kep.config.run_file import validate
from kep.data.schema import Manifest
from kep.stats.bootstrap import Bootstrap
from kep.stats.metrics import Truth

MODELS = ("mlp-000", "baseline", "average of members", "ensemble")


def whole(manifest: Manifest, trials: int = 6, candidates: int = 2, epochs: int = 5) -> dict[str, Any]:
    """A report.json as evaluate writes it, of invented trainings on real records."""
    task, classes = manifest.label.task, len(manifest.label.classes or [])
    rng, rows = np.random.default_rng(0), manifest.roles["test"].rows
    if task == "regression":
        labels = rng.normal(100, 20, rows).astype(np.float32)
        predicted = {name: labels + rng.normal(0, 5, rows) for name in MODELS}
    else:
        labels = rng.integers(0, classes, rows)
        predicted = {n: rng.dirichlet(np.ones(classes), rows) for n in MODELS}
    curve = list(np.linspace(1, 0.2, epochs))
    records_of = [
        {
            "number": i,
            "family": "mlp",
            "values": {"units": 16 + i, "rate": 0.1 / (i + 1)},
            "seed": i,
            "status": "infeasible" if i == 1 else "complete",
            "reason": "ValueError: <b>no</b>" if i == 1 else "",
            "score": None if i == 1 else 1.0 / (i + 1),
            "loss": None if i == 1 else 1.0 / (i + 1),
            "best": epochs,
            "unit": "epoch",
            "metrics": {},
            "validation_curve": curve,
            "seconds": 1.5,
            "worker": 1,
        }
        for i in range(trials)
    ]
    ids = [f"mlp-{i:03d}" for i in range(candidates)]
    chosen = [
        {"id": id, "family": "mlp", "values": {"units": 16}, "loss": 0.3, "best": 3, "unit": "epoch"} for id in ids
    ]
    fits = [
        {
            "seed": s,
            "best": 3,
            "loss": 0.3,
            "at_cap": False,
            "train_curve": curve,
            "validation_curve": curve,
            "metrics": {},
            "fold": 0,
        }
        for s in range(3)
    ]
    space = [
        {"class_name": "Int", "config": {"name": "units", "min_value": 16, "max_value": 300, "sampling": "linear"}},
        {"class_name": "Float", "config": {"name": "rate", "min_value": 1e-4, "max_value": 1.0, "sampling": "log"}},
    ]
    lines = [
        {"step": step, "role": role, "rows": manifest.roles[role].rows, "fingerprint": "f" * 64, "times": 1}
        for step, role in (("tune", "train"), ("tune", "validation"), ("evaluate", "test"))
    ]
    methods = {name: {"loss": 0.3, "error": 0.01} for name in ("best_single", "uniform", "exact", "uniform, geometric")}
    step = {"label": "", "seconds": 2.0, "peak_memory_mb": 300.0, "cores": 2, "seed": 0, "started": 0.0, "ledger": []}
    return json.loads(
        json.dumps(
            {
                "asked": validate({"name": "demo", "data": {"source": "x.csv"}}).model_dump(mode="json"),
                "manifest": manifest.model_dump(mode="json"),
                "study": {
                    "identity": "abc",
                    "objective": {"name": "loss", "direction": "min"},
                    "tuner": "bayesian",
                    "spaces": {"mlp": space},
                    "trials": trials,
                    "executions": trials,
                    "distinct": trials,
                    "infeasible": 1,
                    "lowest_loss": 0.25,
                    "corrected_loss": 0.27,
                    "candidates": chosen,
                },
                "trials": records_of,
                "best_epochs": [
                    {
                        "candidate": c,
                        "unit": "epoch",
                        "median_best": 3,
                        "trained_rows": 100,
                        "fingerprints": {role: manifest.roles[role].fingerprint for role in ("train", "validation")},
                        "at_cap": True,
                        "folds": None,
                        "seeds": fits,
                    }
                    for c in chosen
                ],
                "weights": {
                    "method": "uniform",
                    "reason": "as set",
                    "fitted": False,
                    "metric": "loss",
                    "pooling": "arithmetic",
                    "pooling_reason": "geometric minus arithmetic +0.1, standard error 0.1",
                    "chosen": "uniform",
                    "latency_ms": None,
                    "without": {"mlp-000": {"loss": 0.5, "difference": 0.2, "error": 0.1}},
                    "methods": methods,
                    "validation_loss": 0.3,
                    "gap": 1e-3,
                    "correlation": {"ids": ids, "matrix": np.eye(candidates).tolist()},
                    "weights": {id: 1.0 if id == "mlp-000" else 0.0 for id in ids},
                    "members": [chosen[0] | {"weight": 1.0, "median_best": 3, "trained_rows": 100}],
                },
                "members": [
                    chosen[0]
                    | {"weight": 1.0, "median_best": 3, "trained_rows": 100, "trained_units": 3}
                    | {"rule": "same", "seed": 1, "rows": 100, "hardware": None}
                    | {"roles": ["train", "validation"], "spec": {"name": "mlp"}}
                ],
                "evaluation": {
                    "rows": rows,
                    "scores": {
                        name: {
                            metric: Interval.of(score).model_dump()
                            for metric, score in Bootstrap.of(Truth(task, labels), one, 100, 0).intervals().items()
                        }
                        for name, one in predicted.items()
                    },
                    "pictures": pictures(manifest, Truth(task, labels), predicted["ensemble"], 0).model_dump(
                        mode="json"
                    ),
                    "slices": {},
                    "against": {
                        name: {"loss": {"value": -0.1, "low": -0.2, "high": 0.1, "rows": rows}}
                        for name in predicted
                        if name != "ensemble"
                    },
                    "without": {},
                    "reload_difference": 0.0,
                    "gap": {
                        "validation_loss": 0.3,
                        "cross_fitted_loss": 0.31,
                        "test_loss": {"value": 0.4, "low": 0.3, "high": 0.5},
                    },
                    "champion": None,
                    "ledger": lines,
                },
                "steps": [
                    step | {"step": name, "versions": {"python": "3.11"}}
                    for name in ("ingest", "tune", "weigh", "evaluate")
                ],
            }
        )
    )
