"""The report and the search's summary as pages: whole, offline, escaped, and true to the ledger."""

import copy
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from components.evaluate.report import render
from components.evaluate.scores import intervals, pictures
from components.shared.files import write_json
from components.shared.schema import Manifest
from components.tune.summary import write_summary
from pipelines.config import validate

VOID = {"meta", "br", "hr", "img", "input", "link", "path", "use", "rect", "circle", "line", "polyline", "polygon"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects the text and the references."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack, self.text, self.references, self.tags = [], [], [], set()
        self.feed(page)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text.append(data)


def whole(records, source: str, trials: int = 6, candidates: int = 2, epochs: int = 5) -> dict:
    """A report.json as evaluate writes it, of invented trainings on real records."""
    manifest = Manifest.load(records(source))
    task, classes = manifest.label.task, len(manifest.label.classes or [])
    rng, rows = np.random.default_rng(0), manifest.roles["test"].rows
    if task == "regression":
        labels = rng.normal(100, 20, rows).astype(np.float32)
        predicted = {name: labels + rng.normal(0, 5, rows) for name in ("mlp-000", "uniform average", "ensemble")}
    else:
        labels = rng.integers(0, classes, rows)
        predicted = {n: rng.dirichlet(np.ones(classes), rows) for n in ("mlp-000", "uniform average", "ensemble")}
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
        }
        for s in range(3)
    ]
    fingerprint = manifest.roles["validation"].fingerprint
    space = [
        {"class_name": "Int", "config": {"name": "units", "min_value": 16, "max_value": 300, "sampling": "linear"}},
        {"class_name": "Float", "config": {"name": "rate", "min_value": 1e-4, "max_value": 1.0, "sampling": "log"}},
    ]
    lines = [
        {"step": step, "role": role, "rows": manifest.roles[role].rows, "fingerprint": "f" * 64, "times": 1}
        for step, role in (("tune", "train"), ("tune", "validation"), ("evaluate", "test"))
    ]
    methods = {name: {"loss": 0.3, "error": 0.01} for name in ("best single", "uniform", "exact")}
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
                        "best": 3,
                        "at_cap": True,
                        "validation_fingerprint": fingerprint,
                        "seeds": fits,
                    }
                    for c in chosen
                ],
                "weights": {
                    "method": "uniform",
                    "reason": "as set",
                    "methods": methods,
                    "validation_loss": 0.3,
                    "gap": 1e-3,
                    "correlation": {"ids": ids, "matrix": np.eye(candidates).tolist()},
                    "weights": {id: 1.0 if id == "mlp-000" else 0.0 for id in ids},
                    "members": [chosen[0] | {"weight": 1.0, "best": 3}],
                },
                "members": [
                    chosen[0]
                    | {"weight": 1.0, "best": 3, "trained_units": 3, "rule": "same", "seed": 1, "rows": 100}
                    | {"roles": ["train", "validation"], "spec": {"name": "mlp"}}
                ],
                "evaluation": {
                    "rows": rows,
                    "scores": {n: intervals(task, labels, p, 100, 0) for n, p in predicted.items()},
                    "pictures": pictures(manifest, labels, predicted["ensemble"], 0),
                    "slices": {},
                    "against": {
                        name: {"value": -0.1, "low": -0.2, "high": 0.1, "rows": rows}
                        for name in predicted
                        if name != "ensemble"
                    },
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


VERDICT = {
    "promoted": False,
    "won": False,
    "forced": False,
    "reason": "its loss is not surely lower",
    "margin": 0.0,
    "version": "0123456789ab",
    "folder": "champions/demo",
}
SOURCES = ["cancer", "digits", "houses", "churn"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_report_is_one_whole_offline_page(source, records):
    page = render(whole(records, source))
    read = Page(page)
    assert "script" not in read.tags
    assert all(reference.startswith("#") for reference in read.references)
    assert page.count("<h1") == 1
    assert len(page) < 2_000_000
    assert "test was opened once, by evaluate" in "".join(read.text).lower()


def test_equal_input_gives_equal_bytes(records):
    assert render(whole(records, "cancer")) == render(whole(records, "cancer"))


def test_a_second_reader_of_the_test_rows_is_said_loudly(records):
    told = whole(records, "cancer")
    told["evaluation"]["ledger"].append(told["evaluation"]["ledger"][-1] | {"step": "tune"})
    page = render(told)
    assert "test was opened once, by evaluate" not in page.lower()
    assert 'class="loud"' in page


def test_names_are_escaped(records):
    told = whole(records, "cancer")
    told["manifest"]["label"]["classes"] = ["<script>alert(1)</script>", "b&b"]
    page = render(told)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>no</b>" not in page


@pytest.mark.parametrize(
    ("champion", "promoted", "words"),
    [
        (None, True, "no champion"),
        ({"folder": "c", "unseen": 3, "problem": "the champion predicts another label"}, False, "another label"),
        (
            {"folder": "c", "unseen": 99, "difference": {"value": -0.01, "low": -0.03, "high": 0.01, "rows": 99}},
            False,
            "99",
        ),
        (
            {"folder": "c", "unseen": 99, "difference": {"value": None, "low": None, "high": None, "rows": 99}},
            False,
            "–",
        ),
    ],
)
def test_every_verdict_is_told(records, champion, promoted, words):
    told = whole(records, "cancer")
    told["evaluation"]["champion"] = champion
    page = render(told, VERDICT | {"promoted": promoted, "comparison": champion})
    Page(page)
    text = page[page.index('id="champion"') :]
    assert words in text[: text.index("</section>")]


def test_missing_numbers_are_a_dash(records):
    told = whole(records, "cancer")
    for values in told["evaluation"]["scores"].values():
        for score in values.values():
            score.update(low=None, high=None)
    told["evaluation"]["scores"]["mlp-000"]["roc_auc"]["value"] = None
    Page(render(told))


def test_a_long_search_stays_a_small_page(records):
    told = whole(records, "cancer", trials=200, candidates=20, epochs=200)
    assert len(render(told)) < 2_000_000


def test_many_classes_and_columns_fit(records, tmp_path):
    told = copy.deepcopy(whole(records, "churn"))
    column = told["manifest"]["columns"][0]
    told["manifest"]["columns"] = [column | {"name": f"c{i}"} for i in range(90)]
    told["manifest"]["label"] |= {"task": "multiclass", "classes": [f"class {i}" for i in range(100)]}
    for info in told["manifest"]["roles"].values():
        info["class_counts"] = list(range(1, 101))
    told["evaluation"]["pictures"]["confusion"] = np.eye(100, dtype=int).tolist()
    page = render(told)
    Page(page)
    assert "30 more" in page


def test_the_summary_lists_every_trial_with_its_reason(records, tmp_path):
    told = whole(records, "cancer")
    write_json(tmp_path / "study.json", told["study"])
    for trial in told["trials"]:
        write_json(tmp_path / "trials" / f"{trial['number']:04d}-0.json", trial)
    write_summary(tmp_path)
    page = (tmp_path / "summary.html").read_text()
    text = "".join(Page(page).text)
    for trial in told["trials"]:
        assert f"mlp-{trial['number']:03d}" in text
    assert "ValueError: <b>no</b>" in text
    assert "units 16" in text
