"""The compiled pipeline: the golden file, equal bytes, and what compiling must not import."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kep.config.run_file import load, validate
from kep.core.errors import UserError
from kep.pipelines.compile import compile_training
from kep.pipelines.parameters import arguments, kfp_safe
from tests.helpers.compiled import CONFIG, GOLDEN
from tests.helpers.paths import ROOT


def compiled(target: Path) -> str:
    compile_training(target, arguments(load(CONFIG), CONFIG.parent, Path("champions")))
    return target.read_text()


def test_the_compiled_pipeline_is_the_golden_file(tmp_path):
    """On a wanted change: kep compile pipelines/configs/digits.yaml -o tests/pipelines/digits.golden.yaml"""
    assert compiled(tmp_path / "p.yaml") == GOLDEN.read_text()


@pytest.mark.parametrize("seed", ["0", "1"])
def test_equal_bytes_from_another_process_without_heavy_imports(tmp_path, seed):
    program = (
        "import sys; sys.argv = ['kep', 'compile', sys.argv[1], '-o', sys.argv[2]]\n"
        "from kep.cli.main import app\n"
        "app(standalone_mode=False)\n"
        "heavy = {'tensorflow', 'keras', 'lightgbm', 'google.cloud.storage', 'google.cloud.aiplatform'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    target = tmp_path / "p.yaml"
    done = subprocess.run(
        [sys.executable, "-c", program, str(CONFIG), str(target)],
        cwd=ROOT,
        env={"PYTHONHASHSEED": seed, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert target.read_text() == GOLDEN.read_text()


def test_the_graph_is_the_flow():
    tasks = yaml.safe_load(GOLDEN.read_text())["root"]["dag"]["tasks"]
    assert set(tasks) == {"ingest", "tune", "best-epochs", "weigh", "retrains", "evaluate", "promote"}
    assert "enableCache" not in tasks["promote"].get("cachingOptions", {})


def test_rounds_unroll_into_the_graph(tmp_path):
    settings = validate({"name": "x", "data": {"source": "sklearn:iris"}, "search": {"rounds": 2}})
    compile_training(tmp_path / "p.yaml", arguments(settings, tmp_path, Path("c")))
    tasks = yaml.safe_load((tmp_path / "p.yaml").read_text())["root"]["dag"]["tasks"]
    assert {"suggest", "trials", "suggest-2", "trials-2", "tune"} <= set(tasks)
    assert {"suggest-2", "trials-2"} <= set(tasks["tune"]["dependentTasks"])


def test_a_step_depends_on_its_own_section_alone():
    base = {"name": "x", "data": {"source": "sklearn:iris"}}
    before = arguments(validate(base), Path(), Path("c"))
    after = arguments(validate(base | {"ensemble": {"method": "greedy"}}), Path(), Path("c"))
    assert {key for key in before if before[key] != after[key]} == {"asked", "ensemble"}


def test_a_latency_budget_alone_makes_best_epoch_measure_times():
    base = {"name": "x", "data": {"source": "sklearn:iris"}}
    before = arguments(validate(base), Path(), Path("c"))
    after = arguments(validate(base | {"ensemble": {"max_latency_ms": 5, "latency_rows": 7}}), Path(), Path("c"))
    assert {key for key in before if before[key] != after[key]} == {"asked", "ensemble", "best_epoch_config"}
    assert '"latency_rows": 7' in after["best_epoch_config"]


def test_text_that_kfp_would_replace_survives():
    text = '{"source": "/opt/python3/{{$.x}}.csv"}'
    safe = kfp_safe(text)
    assert "python3" not in safe
    assert "{{$" not in safe
    assert yaml.safe_load(safe) == yaml.safe_load(text)


def test_a_place_that_can_not_be_written_is_named_as_it_was_given(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/p\.yaml can't be written: .*; choose another --output"):
        compiled(tmp_path / "file" / "p.yaml")


def test_ingest_in_tasks_unrolls_into_passes(tmp_path):
    settings = validate({"name": "x", "data": {"source": "a", "ingest_tasks": 3}})
    compile_training(tmp_path / "p.yaml", arguments(settings, tmp_path, Path("c")), {"glue": "g", "cpu": "c"})
    spec = yaml.safe_load((tmp_path / "p.yaml").read_text())
    tasks = spec["root"]["dag"]["tasks"]
    passes = {"ingest-scans", "ingest-keys-of-parts", "ingest-roles", "ingest-counts", "ingest-pieces", "ingest-join"}
    assert passes <= set(tasks)
    assert "ingest" not in tasks
    executors = spec["deploymentSpec"]["executors"]
    assert {one["container"]["image"] for name, one in executors.items() if "ingest" in name} == {"g"}


@pytest.mark.parametrize(
    ("champion", "required"),
    [(None, True), ("champions", True), ("gs://bucket/best", False), ("/champions/digits", False)],
)
def test_a_champion_that_would_be_lost_with_its_task_is_a_required_input(tmp_path, champion, required):
    settings = load(CONFIG)
    settings = settings.model_copy(update={"promote": settings.promote.model_copy(update={"champion": champion})})
    compile_training(tmp_path / "p.yaml", arguments(settings, Path("relative"), Path("champions")))
    spec = yaml.safe_load((tmp_path / "p.yaml").read_text())
    given = spec["root"]["inputDefinitions"]["parameters"]["champion"]
    assert ("defaultValue" not in given) == required
    assert not given.get("isOptional", False)


@pytest.mark.parametrize(
    ("golden", "trainings"),
    [(GOLDEN, {"tune", "best-epoch", "retrain"}), (GOLDEN.with_name("prediction.golden.yaml"), {"predict"})],
)
def test_retries_last_as_long_as_all_attempts_of_a_task(golden, trainings):
    """Kubeflow counts from the start of the first attempt; a task on Vertex AI may take seven days."""
    spec = next(yaml.safe_load_all(golden.read_text()))
    dags = [spec["root"], *(one for one in spec["components"].values() if "dag" in one)]
    policies = {
        name: task["retryPolicy"] for dag in dags for name, task in dag["dag"]["tasks"].items() if "retryPolicy" in task
    }
    assert set(policies) == trainings
    for policy in policies.values():
        attempts = 1 + policy["maxRetryCount"]
        assert int(policy["backoffMaxDuration"].removesuffix("s")) == attempts * 7 * 24 * 3600
