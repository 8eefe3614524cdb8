"""kep submit --dry-run: what would be submitted, and what it would cost."""

import pytest
import yaml

from pipelines import submit
from pipelines.cloud import PRICES
from pipelines.config import validate
from pipelines.costs import load, tasks
from tests.cloud.test_vertex import SUBMIT, job, one_sentence, short

pytestmark = pytest.mark.usefixtures("churn")
DRY = (*SUBMIT, "--dry-run")


def test_a_dry_run_submits_nothing(vertex, kep):
    code, out, err = kep(*DRY)
    assert (code, err, vertex.journal) == (0, "", [])
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert lines["ingest"] == ["1", "e2-standard-4", "0.154"]
    counts = tasks(validate({"name": "x", "data": {"source": "sklearn:iris"}}))
    assert {step: int(lines[step][0]) for step in counts} == counts
    assert f"{sum(counts.values())} tasks; 0.03 USD for the run, about 0." in out
    assert "(prices of 2026-10-07, us-central1)" in out
    name = out.split()[0]
    kep(*SUBMIT)
    assert name == short(job(vertex).name)


def test_without_a_login_it_says_the_same(vertex, kep, tunnel):
    tunnel.revoked = True
    assert kep(*DRY)[0] == 0


def test_tasks_of_a_search_in_rounds():
    settings = {"name": "x", "data": {"source": "sklearn:iris"}, "search": {"rounds": 3, "max_trials": 12, "top_n": 4}}
    counts = tasks(validate(settings | {"ensemble": {"max_members": 2}}))
    assert (counts["tune"], counts["best_epoch"], counts["retrain"]) == (1 + 3 + 12, 4, 2)


def test_prices_of_ones_own(kep, tmp_path):
    own = yaml.safe_load(PRICES.read_text())
    own |= {"machine_hours": {"e2-standard-4": 1000}, "currency": "EUR", "run": 2}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    out = kep(*DRY, "--prices", "own.yaml")[1]
    assert "1000.000" in out
    assert "2.00 EUR for the run, about " in out
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own | {"machine_hours": {}}))
    out = kep(*DRY, "--prices", "own.yaml")[1]
    assert "not in the list" in out
    assert "and machines that have no price in the list" in out


def test_large_data_have_no_guess(kep, monkeypatch):
    monkeypatch.setattr(submit, "MOST_SURVEYED", 10)
    assert "the data are too large to guess their hours" in kep(*DRY)[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "--prices: own.yaml can't be read as YAML"),
        ("[", "--prices: own.yaml can't be read as YAML"),
        ("run: 1", "--prices: own.yaml: date: field required; see pipelines/prices.yaml"),
        ("a", "--prices: own.yaml: the file: "),
        (PRICES.read_text().replace("0.03", "-1"), "--prices: own.yaml: run: "),
    ],
)
def test_what_is_no_price_list(kep, tmp_path, text, words):
    if text is not None:
        (tmp_path / "own.yaml").write_text(text)
    code, _, err = kep(*DRY, "--prices", "own.yaml")
    assert code == 2
    assert words in one_sentence(err)


def test_the_list_has_a_price_for_the_machine_that_steps_get():
    assert load(PRICES).machine_hours.keys() >= {"e2-standard-4"}
