"""The section that says why."""

import pytest

from kep.report.sections.why import _more_rows
from tests.kep.report.test_report import Page, page_of, section, whole


def interval(value: float, width: float = 0.01) -> dict:
    return {"value": value, "low": value - width, "high": value + width}


IMPORTANCE = {
    "rows": 1000,
    "of": 4000,
    "repeats": 5,
    "metric": "roc_auc",
    "columns": [
        {"column": "age <b>", "kind": "numeric", "features": 1, "loss": interval(0.2), "metric": interval(0.1)},
        {"column": "signup", "kind": "date", "features": 6, "loss": interval(0.001), "metric": interval(0.0)},
    ],
    "skipped": ["note"],
    "alike": [{"columns": ["age <b>", "born"], "association": 0.98}],
}


def told(records, source: str = "churn", **why) -> dict:
    """A report with an explanation."""
    report = whole(records, source)
    report["evaluation"]["why"] = why
    return report


def words(page: str) -> str:
    return " ".join("".join(Page(page).text).split())


def test_a_report_of_before_has_no_such_section(records):
    page = page_of(whole(records, "churn"))
    assert 'id="why"' not in page
    assert 'href="#why"' not in page


def test_importance_is_told_with_its_cautions(records):
    page = page_of(told(records, importance=IMPORTANCE))
    assert page.index('id="test"') < page.index('id="why"') < page.index('id="champion"')
    part = words(section(page, "why") + "</section>")
    assert "1 of 2 columns surely help" in part
    assert "The most important is age <b>" in part
    assert "age <b> and born (0.98)" in part
    assert "Not reached in evaluate.why_seconds, so without an importance: note" in part
    assert "1,000 of 4,000 test rows" in part
    assert "ROC AUC gets worse by" in part


@pytest.mark.parametrize("columns", [[], [IMPORTANCE["columns"][1]]])
def test_where_nothing_surely_helps_that_is_said(records, columns):
    part = section(page_of(told(records, importance=IMPORTANCE | {"columns": columns})), "why")
    assert "No column surely helps" in part


WORSE = {
    "column": "region",
    "value": "south & <b>",
    "rows": 40,
    "loss": interval(0.7),
    "rest": 0.4,
    "difference": interval(0.3),
    "p": 0.001,
}


@pytest.mark.parametrize(
    ("looked", "slices", "expected"),
    [
        (0, [], "No column has slices of enough test rows"),
        (30, [], "None of 30 slices is significantly worse"),
        (30, [WORSE], "1 of 30 slices is significantly worse"),
        (30, [WORSE] * 20, "20 of 30 slices are significantly worse than the rest; the first 15"),
    ],
)
def test_worse_slices_are_told_and_warned_of(records, looked, slices, expected):
    page = page_of(told(records, worse={"looked": looked, "level": 0.05, "slices": slices}))
    assert expected in words(section(page, "why") + "</section>")
    assert ("most where region is south & <b> (40 rows): see Why" in words(page)) == bool(slices)
    if slices:
        assert "0.290 to 0.310" in words(section(page, "why") + "</section>")


def test_slices_have_intervals(records):
    report = told(records)
    metrics = {"loss": interval(0.5), "roc_auc": {"value": None, "low": None, "high": None}}
    report["evaluation"]["slices"] = {"months": [{"value": "1 to under 2", "rows": 9, "metrics": metrics}]}
    part = words(section(page_of(report), "test") + "</section>")
    assert "1 to under 2" in part
    assert "0.49" in part
    assert "0.51" in part


PIXEL = "data:image/png;base64,AAAA"
ROW = {
    "id": "18446744073709551615",
    "label": "yes <b>",
    "prediction": "no",
    "probabilities": [["no", 0.99], ["yes <b>", 0.01]],
    "loss": 4.6,
    "values": [["zeal", "33"], ["age", None]],
}


def test_the_worst_rows_are_shown_with_their_values(records):
    page = page_of(told(records, worst={"loss": [ROW, ROW | {"weight": 2.5}], "columns": 9}))
    part = words(section(page, "why") + "</section>")
    assert "most wrong" in part
    for word in ("yes <b>", "no 0.990", "4.6000", "33", "2.5", ROW["id"], "the 2 most important"):
        assert word in part
    assert "<img" not in section(page, "why")
    assert part.index("zeal") < part.index("age", part.index("zeal"))


def test_pictures_of_the_worst_rows_are_part_of_the_page(records):
    row = ROW | {"values": [], "image": PIXEL}
    page = page_of(told(records, "digits", worst={"loss": [row], "confident": [row], "columns": 1}))
    assert section(page, "why").count(f'src="{PIXEL}"') == 2
    assert "The greatest probability of a wrong class" in page
    assert (
        len(
            page_of(
                told(
                    records,
                    "digits",
                    worst={"loss": [row | {"image": PIXEL + "A" * 20_000}] * 50, "confident": [], "columns": 1},
                )
            )
        )
        < 2_000_000
    )


def point(value: str, place: float | None, *predictions: float) -> dict:
    return {"value": value, "place": place, "predictions": list(predictions), "share": 0.25}


NUMBER = {"column": "age", "kind": "numeric", "points": [point("1.5", 1.5, 0.2), point("3", 3.0, 0.4)]}
GAPS = NUMBER | {"column": "gaps", "points": [*NUMBER["points"], point("missing", None, 0.9)]}
DATE = {"column": "day", "kind": "date", "points": [point("2024-01-31", 19753.0, 0.3)]}
PLAN = {"column": "plan", "kind": "categorical", "points": [point(f"plan {i}", None, 0.1 * i) for i in range(6)]}
EMPTY = {"column": "never", "kind": "numeric", "points": []}


def test_partial_dependence_is_drawn_for_every_kind_of_column(records):
    columns = [NUMBER, GAPS, DATE, PLAN, EMPTY]
    found = {"rows": 200, "outputs": ["yes"], "columns": columns, "skipped": ["zip"]}
    part = section(page_of(told(records, dependence=found)), "why")
    assert part.count("<svg") == 4
    for word in ("mean probability of yes", "2024-01-31", "missing", "plan 5", "evaluate.why_seconds: zip"):
        assert word in part


def test_partial_dependence_of_several_classes_has_a_line_for_each(records):
    column = NUMBER | {"points": [point("1", 1.0, 0.2, 0.8), point("2", 2.0, 0.5, 0.5)]}
    found = {"rows": 200, "outputs": ["a", "b"], "columns": [column]}
    part = words(section(page_of(told(records, "digits", dependence=found)), "why") + "</section>")
    assert "mean probability" in part


def test_the_search_says_which_hyperparameters_matter_or_that_it_can_not_be_told(records):
    known = {"trials": 24, "explained": 0.62, "shares": [["units", 0.8], ["rate", 0.2]]}
    page = page_of(told(records, hyperparameters={"mlp": known}))
    part = words(section(page, "search") + "</section>")
    assert "62 % of the ranks’ variance explained" in part
    assert "80 %" in part
    few = {"trials": 3, "problem": "3 trials have a score, and importance can't be told from fewer than 10"}
    part = words(section(page_of(told(records, hyperparameters={"mlp": few})), "search") + "</section>")
    assert "mlp: 3 trials have a score, and importance can't be told from fewer than 10." in part
    assert "Which hyperparameters matter" not in page_of(whole(records, "churn"))


def test_tables_that_scroll_can_be_reached_by_the_keyboard(records):
    worse = {"looked": 30, "level": 0.05, "slices": [WORSE]}
    page = page_of(told(records, importance=IMPORTANCE, worse=worse, worst={"loss": [ROW], "columns": 2}))
    part = section(page, "why")
    assert part.count('class="box"') == part.count('class="box" tabindex="0"') == 3


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([0.9, 0.6, 0.4], "as many rows again are likely to help by up to as much"),
        ([0.9, 0.41, 0.409], "more rows of this kind are not likely to help"),
        ([0.4], "Too few shares were trained"),
    ],
)
def test_the_learning_curve_says_whether_more_rows_would_help(losses, words):
    assert words in _more_rows(losses, 3)
