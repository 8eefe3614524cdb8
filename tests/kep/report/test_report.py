"""The report and the search's summary as pages: whole, offline, escaped, and true to the ledger."""

import copy
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from kep.artifacts.interval import Interval
from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.components.tune.summary import write_summary
from kep.core.files import write_json
from kep.data.schema import Manifest
from kep.report.report import render
from kep.report.sections.words import places
from tests.helpers.reports import whole as invented

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


def whole(records, source: str, **sizes: int) -> dict:
    """A report.json as evaluate writes it, of invented trainings on real records."""
    return invented(Manifest.load(records(source)), **sizes)


def page_of(told: dict, verdict: dict | None = None) -> str:
    """The page of a report.json and a verdict.json."""
    return render(
        Report.from_json(json.dumps(told)), None if verdict is None else Verdict.from_json(json.dumps(verdict))
    )


def of_two(told: dict) -> dict:
    """The same with a second member, weights that were fitted, and a budget."""
    first = told["weights"]["members"][0]
    told["weights"]["members"] = [first | {"weight": 0.75}, first | {"id": "mlp-001", "weight": 0.25}]
    told["weights"] |= {"method": "exact", "chosen": "exact", "fitted": True, "gap": 1e-7, "weights": {}}
    told["weights"]["weights"] = {"mlp-000": 0.75, "mlp-001": 0.25}
    told["weights"]["latency_ms"] = {"mlp-000": 1.5, "mlp-001": 2.25}
    told["asked"]["ensemble"]["max_latency_ms"] = 4.0
    told["members"].append(told["members"][0] | {"id": "mlp-001"})
    told["evaluation"]["scores"]["mlp-001"] = told["evaluation"]["scores"]["mlp-000"]
    told["evaluation"]["without"] = {
        id: {"loss": 0.5, "value": 0.0423, "low": 0.01, "high": 0.07, "rows": 99} for id in ("mlp-000", "mlp-001")
    }
    return told


VERDICT = {
    "promoted": False,
    "won": False,
    "forced": False,
    "reason": "its loss is not surely lower",
    "margin": 0.0,
    "version": "0123456789ab",
    "folder": "champions/demo",
    "comparison": None,
    "registered": None,
}
SOURCES = ["cancer", "digits", "houses", "churn"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_report_is_one_whole_offline_page(source, records):
    page = page_of(whole(records, source))
    read = Page(page)
    assert "script" not in read.tags
    assert all(reference.startswith("#") for reference in read.references)
    assert page.count("<h1") == 1
    assert len(page) < 2_000_000
    assert "test was opened once, by evaluate" in "".join(read.text).lower()


def section(page: str, name: str) -> str:
    part = page[page.index(f'<section id="{name}"') :]
    return part[: part.index("</section>")]


def test_a_plain_average_is_not_said_to_be_fitted(records):
    part = section(page_of(whole(records, "cancer")), "ensemble")
    assert "fitted weights" not in part
    assert "uniform (of all) (chosen)" in part
    assert "uniform (of all), geometric" in part
    assert "Pooling" not in part
    fitted = section(page_of(of_two(whole(records, "cancer"))), "ensemble")
    assert "fitted weights are at most 1.0e-07 above" in fitted
    assert "Pooling: <b>arithmetic</b>" in fitted


def test_members_that_were_not_retrained_are_not_said_to_be(records):
    told = whole(records, "cancer")
    assert "Members, as retrained" in page_of(told)
    told["members"][0] |= {"rule": "off", "roles": ["train"]}
    page = page_of(told)
    assert "as retrained" not in page
    assert "as best_epoch trained them on train rows" in page


def test_what_each_member_adds_and_costs_is_told(records):
    assert "What each member adds" not in page_of(whole(records, "cancer"))
    part = section(page_of(of_two(whole(records, "cancer"))), "ensemble")
    assert "0.042 <small>0.010 to 0.070</small>" in part
    assert "renormalised" in part
    assert "in 3.75 ms together, of a budget of 4 ms" in part


def test_weights_for_another_metric_show_its_cross_fitted_scores(records):
    told = whole(records, "cancer")
    told["weights"] |= {"metric": "roc_auc", "gap": None}
    for way in told["weights"]["methods"].values():
        way["score"] = 0.9876
    part = section(page_of(told), "ensemble")
    assert "The weights are for ROC AUC" in part
    assert "0.9876" in part


@pytest.mark.parametrize(("source", "words"), [("cancer", "class shares of train"), ("houses", "mean of train")])
def test_the_baseline_is_the_last_row_of_the_metrics(records, source, words):
    part = section(page_of(whole(records, source)), "test")
    assert part.index(f"baseline ({words})") > part.index("mlp-000")
    assert ("intervals; positive class: " in part) == (source == "cancer")


def test_equal_input_gives_equal_bytes(records):
    assert page_of(whole(records, "cancer")) == page_of(whole(records, "cancer"))


def test_a_second_reader_of_the_test_rows_is_said_loudly(records):
    told = whole(records, "cancer")
    told["evaluation"]["ledger"].append(told["evaluation"]["ledger"][-1] | {"step": "tune"})
    page = page_of(told)
    assert "test was opened once, by evaluate" not in page.lower()
    assert 'class="loud"' in page
    assert "Test rows were not opened once, by evaluate alone, but by" in first_screen(page)


def test_names_are_escaped(records):
    told = whole(records, "cancer")
    told["manifest"]["label"]["classes"] = ["<script>alert(1)</script>", "b&b"]
    page = page_of(told)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>no</b>" not in page


@pytest.mark.parametrize(
    ("champion", "promoted", "words"),
    [
        (None, True, "no champion"),
        ({"champion": "c", "unseen": 3, "problem": "the champion predicts another label"}, False, "another label"),
        (
            {"champion": "c", "unseen": 99, "difference": {"value": -0.01, "low": -0.03, "high": 0.01, "rows": 99}},
            False,
            "99",
        ),
        (
            {"champion": "c", "unseen": 99, "difference": {"value": None, "low": None, "high": None, "rows": 99}},
            False,
            "–",
        ),
    ],
)
def test_every_verdict_is_told(records, champion, promoted, words):
    told = whole(records, "cancer")
    told["evaluation"]["champion"] = champion
    page = page_of(told, VERDICT | {"promoted": promoted, "comparison": champion})
    Page(page)
    text = page[page.index('id="champion"') :]
    assert words in text[: text.index("</section>")]


def first_screen(page: str) -> str:
    """Return the text of what stands before the sections."""
    return " ".join(" ".join(Page(page[page.index("<header>") : page.index("</header>") + 9]).text).split())


def interval(value: float, low: float, high: float, **more: int) -> dict:
    return {"value": value, "low": low, "high": high, **more}


def against(told: dict, metric: str, *figures: float) -> dict:
    """Return the report with a champion that is compared by a metric."""
    compared = {
        "champion": "c",
        "unseen": 99,
        "scores": {metric: interval(0.7, 0.6, 0.8), "loss": interval(1.0, 0.9, 1.1)},
    }
    compared["differences"] = {metric: interval(*figures, rows=99)}
    told["evaluation"]["champion"] = compared
    told["asked"]["promote"]["metric"] = metric
    return told


@pytest.mark.parametrize(
    ("metric", "figures", "words"),
    [
        ("loss", (-0.1, -0.2, -0.05), "better than the champion (−0.100, 95 % interval −0.200 to −0.050)"),
        ("loss", (0.1, 0.05, 0.2), "worse than the champion"),
        ("loss", (0.1, -0.05, 0.2), "not surely better or worse than the champion"),
        ("roc_auc", (0.1, 0.05, 0.2), "better than the champion"),
        ("roc_auc", (-0.1, -0.2, -0.05), "worse than the champion"),
    ],
)
def test_the_first_screen_says_better_the_same_or_worse_by_the_metric_that_was_asked_for(
    records, metric, figures, words
):
    told = against(whole(records, "cancer"), metric, *figures)
    rule = {
        "rule": "promote.better_by",
        "held": False,
        "reason": "its figure is not surely lower",
        "remedy": "more rows",
    }
    screen = first_screen(page_of(told, VERDICT | {"rules": [rule], "metric": metric}))
    assert words in screen
    assert "Not promoted: its loss is not surely lower. To change that: more rows." in screen
    titles = screen[screen.index("model ") :]
    assert titles.startswith("model ROC AUC log-loss" if metric == "roc_auc" else "model log-loss")
    for model in ("ensemble", "champion, on 99 rows", "baseline"):
        assert model in titles


def test_without_a_champion_the_ensemble_is_held_against_the_baseline(records):
    screen = first_screen(page_of(whole(records, "cancer")))
    assert "than the baseline" in screen
    assert "Promotion is not yet decided." in screen


def test_an_interval_of_rounding_errors_adds_no_decimal_places():
    values = [Interval(value=0.5, low=0.5, high=0.5 + 1e-16), Interval(value=0.7, low=0.6, high=0.8)]
    assert places(values) == 2


def test_all_warnings_are_one_list_and_results_stand_before_settings(records):
    told = whole(records, "cancer")
    told["evaluation"] |= {
        "openings": 4,
        "champion": {"champion": "c", "problem": "the champion predicts another label"},
    }
    told["manifest"]["hints"] = [f"hint {number}" for number in range(9)]
    page = page_of(told)
    screen = first_screen(page)
    listed = screen[screen.index("Warnings") :]
    for words in (
        "opened in 4 runs",
        "The champion was not compared: the champion predicts",
        "hint 0",
        " more",
        "hint 8",
    ):
        assert words in listed
    order = [
        page.index(f'<section id="{name}"') for name in ("test", "champion", "ensemble", "search", "data", "asked")
    ]
    assert order == sorted(order)


def test_every_rule_is_told_with_what_would_change_it(records):
    rules = [
        {"rule": "promote.require.beats", "held": True, "reason": "its loss is surely lower", "remedy": None},
        {"rule": "promote.better_by", "held": False, "reason": "not surely lower", "remedy": "about 200 test rows"},
    ]
    part = section(page_of(whole(records, "cancer"), VERDICT | {"rules": rules}), "champion")
    assert "promote.require.beats" in part
    assert "To change that: about 200 test rows" in part


def test_missing_numbers_are_a_dash(records):
    told = whole(records, "cancer")
    for values in told["evaluation"]["scores"].values():
        for score in values.values():
            score.update(low=None, high=None)
    told["evaluation"]["scores"]["mlp-000"]["roc_auc"]["value"] = None
    Page(page_of(told))


def test_a_long_search_stays_a_small_page(records):
    told = whole(records, "cancer", trials=200, candidates=20, epochs=200)
    assert len(page_of(told)) < 2_000_000


def test_many_classes_and_columns_fit(records, tmp_path):
    told = copy.deepcopy(whole(records, "churn"))
    column = told["manifest"]["columns"][0]
    told["manifest"]["columns"] = [column | {"name": f"c{i}"} for i in range(90)]
    told["manifest"]["label"] |= {"task": "multiclass", "classes": [f"class {i}" for i in range(100)]}
    for info in told["manifest"]["roles"].values():
        info["class_counts"] = list(range(1, 101))
    told["evaluation"]["pictures"]["confusion"] = np.eye(100, dtype=int).tolist()
    page = page_of(told)
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
