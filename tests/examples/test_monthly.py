"""A year of monthly runs of one name over drifting data: each rule promotes once and refuses once."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest

import kep
from tests.helpers.commands import kep as command
from tests.helpers.paths import ROOT

FILE = ROOT / "examples" / "monthly" / "months.py"


def months() -> list:
    spec = importlib.util.spec_from_file_location("months", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["months"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module.MONTHS


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """The folder of the runs, and what the script printed."""
    folder = tmp_path_factory.mktemp("year")
    done = subprocess.run(
        [sys.executable, FILE, "--runs", folder / "runs"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return folder / "runs", done.stdout.splitlines()[-len(months()) :]


@pytest.mark.slow
def test_each_month_is_decided_by_its_rule(year):
    for line, month in zip(year[1], months(), strict=True):
        _, word, rule, *_ = line.split()
        assert (word == "promoted", rule) == (month.promoted, month.rule), line


@pytest.mark.slow
def test_each_month_tells_its_decision_once(year):
    told = [json.loads(line) for line in (year[0].parent / "messages.jsonl").read_text().splitlines()]
    assert [one["kind"] for one in told] == ["promoted" if month.promoted else "not_promoted" for month in months()]
    assert len({one["id"] for one in told}) == len(months())


def test_every_rule_promotes_or_refuses_in_some_month():
    decided = {(month.rule.partition(".region")[0], month.promoted) for month in months()}
    for rule in ("better_by", "not_worse_than", "when_incomparable"):
        assert {(f"promote.{rule}", True), (f"promote.{rule}", False)} <= decided
    for rule in ("require.beats", "require.roc_auc", "require.slices"):
        assert (f"promote.{rule}", False) in decided


@pytest.mark.slow
def test_the_year_can_be_looked_through(year):
    runs, _ = year
    listed = kep.runs(runs, "monthly")
    assert [run.state for run in listed] == ["done"] * len(months())
    assert [run.verdict.promoted for run in reversed(listed)] == [month.promoted for month in months()]
    assert sum(run.champion for run in listed) == 1
    page = (runs / "index.html").read_text(encoding="utf-8")
    assert page.count("report.html") >= len(months())
    assert "Trend" in page
    compared = command("compare", "monthly@previous", "monthly", "--runs", runs)
    assert compared.returncode == 0, compared.stdout
    assert "No test row is shared" in compared.stdout
    assert re.search(r"cost: .* 0\.03 USD → 0\.03 USD", compared.stdout)
