"""kep submit --dry-run: what would be submitted, and what it would cost."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from kep.config.run_file import validate
from kep.engines import submit
from kep.engines.costs import spent, tasks
from kep.engines.prices import PRICES, load
from kep.google.machine_types import DEFAULT_MACHINE, SHAPES
from tests.helpers.cloud import BUCKET, PLACE, PUBLISH, REPOSITORY, SUBMIT, job, one_sentence, short

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
        ("run: 1", "--prices: own.yaml: date: field required; see kep/engines/prices.yaml"),
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


def test_the_list_has_prices_for_machines_that_steps_get():
    prices = load(PRICES)
    assert DEFAULT_MACHINE in SHAPES
    assert prices.machine_hours.keys() == SHAPES.keys()
    attached = {shape.accelerator for shape in SHAPES.values() if shape.attached}
    assert prices.accelerator_hours.keys() == attached


@pytest.mark.parametrize(
    ("machine", "shown"),
    [
        ("{cpu: 8}", "e2-standard-8 0.308"),
        ("{cpu: 2, memory_gb: 60}", "e2-standard-16 0.616"),
        ("{accelerator: nvidia-l4}", "g2-standard-4 0.813"),
        ("{accelerator: nvidia-l4, accelerators: 2}", "g2-standard-24 2.301"),
        ("{memory_gb: 40, accelerator: nvidia-tesla-t4}", "n1-highmem-8 with 1 nvidia-tesla-t4 0.947"),
        (
            "{cpu: 8, memory_gb: 30, accelerator: nvidia-tesla-t4, accelerators: 4}",
            "n1-standard-8 with 4 nvidia-tesla-t4 2.049",
        ),
        ("{accelerator: nvidia-tesla-a100}", "a2-highgpu-1g 4.224"),
        ("{accelerator: nvidia-tesla-a100, accelerators: 8}", "a2-highgpu-8g 33.795"),
        ("{accelerator: nvidia-h100-80gb, accelerators: 8, spot: true}", "a3-highgpu-8g, Spot 101.918"),
        ("{accelerator: nvidia-b200, accelerators: 8}", "8 NVIDIA_B200 not in the list"),
        ("{cpu: 96, memory_gb: 600}", "96 cores, 600 GB not in the list"),
        # The machine and the task's own, which waits.
        (
            "{cpu: 16, memory_gb: 60, accelerator: nvidia-tesla-t4, accelerators: 4, spot: true}",
            "n1-standard-16 with 4 nvidia-tesla-t4, Spot 2.640",
        ),
        ("{accelerator: tpu-v5-lite-podslice, accelerators: 8, topology: 2x4}", "ct5lp-hightpu-8t 11.194"),
        ("{accelerator: nvidia-l4, machines: 3}", "3 x g2-standard-4 2.593"),
        ("{cpu: 8, fallback: [{region: us-central1}]}", "e2-standard-8; or e2-standard-8, in us-central1 0.462"),
        (
            "{accelerator: nvidia-l4, accelerators: 2, fallback: [{accelerator: nvidia-l4}]}",
            "g2-standard-24; or g2-standard-4 2.455",
        ),
        ("{type: c3-standard-22, disk_gb: 200}", "c3-standard-22 not in the list"),
    ],
)
def test_a_step_gets_the_cheapest_machine_that_fits(vertex, kep, machine, shown):
    code, out, _ = kep(*DRY, "--set", f"hardware.retrain.machine={machine}")
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[2:]) for line in out.splitlines()[1:]}
    assert (lines["retrain"], lines["ingest"]) == (shown, "e2-standard-4 0.154")
    assert ("machines that have no price" in out) == ("not in the list" in shown)


def test_each_step_is_paid_for_by_its_own_machine(vertex, kep):
    """The same hours, on machines of another price."""

    def cost(*sets: str) -> float:
        out = kep(*DRY, "--prices", "own.yaml", *(word for one in sets for word in ("--set", one)))[1]
        return float(out.partition("about ")[2].split()[0])

    own = yaml.safe_load(PRICES.read_text()) | {"run": 0, "machine_hours": {"e2-standard-4": 1e4, "e2-standard-8": 2e4}}
    Path("own.yaml").write_text(yaml.safe_dump(own))
    plain = cost()
    tuned, retrained = (cost(f"hardware.{step}.machine={{cpu: 8}}") - plain for step in ("tune", "retrain"))
    assert 0 < retrained < tuned < plain


def test_a_run_that_costs_too_much_needs_a_yes(vertex, kep, monkeypatch):
    limited = (*SUBMIT, "--set", "hardware.max_cost=0.01")
    code, _, err = kep(*limited)
    assert (code, vertex.jobs) == (2, {})
    assert re.search(
        r"max_cost: this run would cost about 0\.\d\d USD by the prices of 2026-10-07, more than 0\.01; --dry-run",
        one_sentence(err),
    )
    code, out, err = kep(*limited, "--dry-run")
    assert (code, vertex.jobs) == (2, {})
    assert re.search(r"^13 tasks; .* about 0\.\d\d with", out, re.M)
    assert "more than 0.01" in one_sentence(err)
    assert kep(*limited, "--dry-run", "--yes")[0] == 0
    assert vertex.jobs == {}
    assert kep(*SUBMIT, "--set", "hardware.max_cost=1000")[0] == 0
    assert kep(*limited, "--yes")[0] == 0
    assert len(vertex.jobs) == 2
    create = ("schedule", "create", "weekly", "churn.yaml", "--cron", "0 4 * * *", *BUCKET)
    update = ("schedule", "update", "weekly", *PLACE, "churn.yaml", "--set", "hardware.max_cost=0.01")
    assert "more than 0.01" in one_sentence(kep(*create, "--set", "hardware.max_cost=0.01")[2])
    assert kep(*create)[0] == 0
    assert "more than 0.01" in one_sentence(kep(*update)[2])
    assert kep(*update, "--yes")[0] == 0
    Path("own.yaml").write_text(PRICES.read_text().replace("USD", "EUR"))
    assert "it is in USD, and --prices in EUR" in one_sentence(kep(*limited, "--prices", "own.yaml")[2])
    monkeypatch.setattr(submit, "MOST_SURVEYED", 10)
    assert "what this run costs can't be guessed, and may be more than 0.01 USD" in one_sentence(kep(*limited)[2])


def test_a_published_template_brings_its_limit(vertex, registry, kep):
    kep(*PUBLISH, "--tag", "v1", "--set", "hardware.max_cost=0.01")
    code, _, err = kep("submit", f"{REPOSITORY}/churn/v1", *BUCKET)
    assert code == 2
    assert "hardware.max_cost: this run would cost about" in one_sentence(err)


@pytest.mark.parametrize(
    ("machine", "hour"),
    [
        (None, 0.154),
        ({"cpu": 8}, 0.308),
        ({"cpu": 4, "accelerator": "nvidia-tesla-t4"}, 0.218 + 0.403),
        ({"type": "n1-standard-16"}, 0.874),
        ({"type": "n1-standard-8", "machines": 2}, 2 * 0.437),
        ({"type": "m1-ultramem-40"}, None),
    ],
)
def test_the_hours_of_a_run_have_the_price_of_its_machines(machine, hour):
    hardware = {"retrain": {"strategy": "multi_worker", "machine": machine}} if machine else {}
    asked = validate({"name": "x", "data": {"source": "sklearn:iris"}, "hardware": hardware})
    steps = [SimpleNamespace(step="ingest", seconds=3600), SimpleNamespace(step="retrain", seconds=1800)]
    found = spent(SimpleNamespace(asked=asked, steps=steps), load(PRICES))
    assert found == (None if hour is None else pytest.approx(0.03 + 0.154 + hour / 2))
