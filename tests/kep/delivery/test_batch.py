"""`kep batch`: the prediction pipeline through kfp.local, compiled, and what it refuses."""

import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from kep.config.prediction import DriftSettings, PredictSettings
from kep.core.errors import UserError
from kep.core.files import read_json, write_json
from kep.data.schema import _fingerprint
from kep.delivery import batch
from kep.delivery.models import locate
from kep.delivery.predict import predict
from kep.pipelines.compile import compile_prediction
from kep.storage.champions import content_version
from tests.helpers.artifacts import run_record
from tests.helpers.cloud import one_sentence
from tests.helpers.images import PINNED
from tests.helpers.paths import DATA, ROOT
from tests.helpers.predictions import churn

GOLDEN = ROOT / "tests" / "pipelines" / "prediction.golden.yaml"
CLOUD = ("batch", "gs://shop-data/new/*.parquet", "--model", "gs://shop-data/champions/churn", "--key", "account")


def columns(table: pa.Table, **replaced: list) -> pa.Table:
    for name, values in replaced.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table


def test_a_source_is_predicted_in_tasks_and_again_from_what_is_kept(kep, runs, tmp_path):
    """Drift fails the run, with the predictions delivered; the same again takes all from the cache."""
    root = runs("churn", "mlp", "boosted_trees")
    own = tmp_path / "runs"
    shutil.copytree(root, own, symlinks=True)
    table = churn()
    new = columns(table, plan=["gold" if row % 3 == 0 else plan for row, plan in enumerate(table["plan"].to_pylist())])
    pyarrow.csv.write_csv(new, tmp_path / "new.csv")
    arguments = ["batch", "new.csv", "--model", "churn", "--key", "account", "--tasks", "3", "--shard-rows", "1000"]
    status, out, err = kep(*arguments, "--fail-on-drift", "-o", "told/predictions")
    assert (status, err) == (1, ""), out
    for task in ("plan", "1", "2", "3", "join"):
        assert f"predict {task}: " in out
    assert "predict: done in" in out or "predict 1: done in" in out
    output = tmp_path / "told" / "predictions"
    *_, wrote, verdict = out.splitlines()
    assert wrote.startswith("wrote told/predictions: 3,000 rows in 3 files in ")
    assert verdict.startswith("error: drift beyond 0.2 in ")
    assert verdict.endswith("3,000 new rows against 360 train rows (told/predictions/drift.html)")
    assert "plan" in read_json(output / "drift.json")["drifted"]
    assert sorted(path.name for path in output.iterdir()) == [
        "drift.html",
        "drift.json",
        "predictions",
        "predictions.json",
    ]
    told = pq.read_table(output / "predictions")
    assert told["account"].to_pylist() == new["account"].to_pylist()
    predict("churn", None, "new.csv", tmp_path / "all.parquet", own, Console(quiet=True))
    expected = pq.read_table(tmp_path / "all.parquet")
    assert told.select(expected.column_names).equals(expected)
    (log,) = (own / "batch" / "predictions").glob("2*/log.txt")
    assert log.is_file()

    shards = {path.name: path.read_bytes() for path in (output / "predictions").iterdir()}
    status, out, _ = kep(*arguments, "--report-drift", "-o", "told/predictions")
    assert status == 0, out
    assert out.splitlines()[-1].startswith("drift beyond 0.2")
    assert out.count("predict: reused from an earlier run") == 4  # three tasks and the join
    assert {path.name: path.read_bytes() for path in (output / "predictions").iterdir()} == shards


@pytest.mark.slow
def test_without_a_comparison_there_is_none(kep, runs, tmp_path):
    model = runs("churn", "mlp", "boosted_trees") / "churn" / "latest" / "ensemble"
    pyarrow.csv.write_csv(churn().slice(0, 200), tmp_path / "new.csv")
    status, out, _ = kep("batch", "new.csv", "--model", str(model), "--key", "account", "--no-drift", "-o", "told")
    assert status == 0, out
    assert sorted(path.name for path in (tmp_path / "told").iterdir()) == ["predictions", "predictions.json"]


def test_a_mistake_in_the_source_is_one_sentence_and_status_2(kep, runs, tmp_path):
    model = runs("churn", "mlp", "boosted_trees") / "churn" / "latest" / "ensemble"
    pyarrow.csv.write_csv(churn().drop_columns("plan"), tmp_path / "new.csv")
    status, out, _ = kep("batch", "new.csv", "--model", str(model), "--key", "account")
    assert status == 2
    last = out.splitlines()[-1]
    assert last.startswith('error: predict plan failed: column "plan" is missing in ')
    assert "Traceback" not in out
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "chrn"], "no finished run chrn"),
        (["--threshold", "0"], "--threshold: 0 is not above 0"),
        (["-o", "file/out"], "--output: file/out can't be written: File exists; choose another folder"),
        (["-o", "."], "--output: . exists, and `kep batch` did not write it; name another folder, or remove it"),
        (["--model", "gs://b/m"], "--model: gs://b/m can't be read from here; copy it here first, or add --compile"),
        (["--compile", "p.yaml", "--target", "kubeflow"], "is on no volume of the cluster; name the claim"),
        (["--compile", "p.yaml", "--target", "vertex"], 'data.source: "'),
        (["--compile", "file/p.yaml"], "file/p.yaml can't be written: File exists; choose another --output"),
    ],
)
def test_what_can_not_start_is_one_sentence(kep, runs, tmp_path, arguments, words):
    (tmp_path / "file").touch()
    root = runs("churn", "mlp", "boosted_trees")
    given = ["--model", str(root / "churn" / "latest" / "ensemble"), "--runs", str(tmp_path / "runs"), *arguments]
    status, _, err = kep("batch", str(DATA / "churn.csv"), *given)
    assert (status, err.count("\n")) == (2, 1)
    assert words in err
    assert not (tmp_path / "runs" / "batch").exists()


def test_a_model_that_knows_no_counts_is_refused_where_drift_is_asked_for(runs, tmp_path):
    root = runs("churn", "mlp", "boosted_trees")
    old = tmp_path / "old"
    shutil.copytree(root / "churn" / "latest" / "ensemble", old)
    content = read_json(old / "manifest.json")
    for part in (*content["columns"], content["label"]):
        del part["edges"], part["counts"]
    content |= {"version": 1}
    write_json(old / "manifest.json", content | {"fingerprint": _fingerprint(content)})
    given = batch.parameters(str(DATA / "churn.csv"), str(old), tmp_path, drift=DriftSettings())
    with pytest.raises(UserError, match="manifest has version 1 and does not hold how its train rows"):
        batch.batch(given, tmp_path / "out", tmp_path / "runs", Console(quiet=True))


def test_a_model_in_a_folder_that_kfp_would_alter_is_refused(runs, tmp_path):
    root = runs("churn", "mlp", "boosted_trees")
    model = tmp_path / "python3.11" / "model"
    shutil.copytree(root / "churn" / "latest" / "ensemble", model)
    with pytest.raises(UserError, match=r'--model: kfp.local replaces "python3" in paths'):
        batch.parameters("new.csv", str(model), tmp_path)


def test_the_champion_of_a_name_is_read_as_its_run_read_its_data(runs, tmp_path):
    """And the folder of champions is handed on, so that the pipeline takes the champion of the moment it runs."""
    own = tmp_path / "runs"
    shutil.copytree(runs("churn", "mlp", "boosted_trees"), own, symlinks=True)
    run = own / "churn" / "latest"
    run_record(data={"source": "x", "delimiter": ";", "missing": ["?"]}).save(run)
    champions = own / "champions" / "churn"
    shutil.copytree(run / "ensemble", champions / "versions" / "abc")
    write_json(champions / "champion.json", {"version": "abc"})
    given = batch.parameters("new.csv", "churn", own)
    assert given["model"] == str(champions.resolve())
    data = PredictSettings.model_validate_json(given["predict_config"]).data
    assert (data.delimiter, data.missing) == (";", ["?"])
    assert data.source == str(Path("new.csv").absolute())
    place, reading = locate("churn", own)
    assert (place, reading.delimiter) == (champions / "versions" / "abc", ";")


def test_the_compiled_pipeline_is_the_golden_file(kep, tmp_path):
    """On a wanted change: kep batch … --compile tests/pipelines/prediction.golden.yaml, with the arguments of CLOUD."""
    assert kep(*CLOUD, "--compile", "p.yaml") == (0, "wrote p.yaml\n", "")
    assert (tmp_path / "p.yaml").read_text() == GOLDEN.read_text()


def test_the_cloud_gets_every_image_by_digest(kep, tmp_path):
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(PINNED))
    status, *_ = kep(*CLOUD, "--compile", "p.yaml", "--target", "vertex", "--images", "images.yaml")
    assert status == 0
    executors = yaml.safe_load((tmp_path / "p.yaml").read_text())["deploymentSpec"]["executors"]
    images = {name: one["container"].pop("image") for name, one in executors.items() if "container" in one}
    assert set(images.values()) == {PINNED["cpu"]}
    assert set(images) == {"exec-predict-plan", "exec-predict", "exec-predict-join", "exec-drift", "exec-drift-gate"}


MOUNTED = ("batch", "/data/new.csv", "--model", "/champions/digits", "--compile", "p.yaml", "--target", "kubeflow")
CLAIMS = ("--volume", "champions=/champions", "--volume", "shop-data=/data")


def test_a_champion_and_a_source_on_volumes_need_no_google(kep, kubeflow, tunnel, tmp_path):
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(PINNED))
    assert kep(*MOUNTED, *CLAIMS, "--images", "images.yaml") == (0, "wrote p.yaml\n", "")
    spec, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    # No launcher takes an artifact from a volume: a task copies the champion of the moment.
    assert set(spec["root"]["dag"]["tasks"]) >= {"predict-model", "predict-plan", "predictions", "drift"}
    assert "importer" not in yaml.safe_dump(spec)
    assert not spec["root"]["dag"]["tasks"]["predict-model"].get("cachingOptions")
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == {"exec-predict", "exec-predict-model", "exec-predict-plan", "exec-predict-join"}
    for one in executors.values():
        mounts = {mount["constant"]: mount["mountPath"] for mount in one["pvcMount"]}
        assert mounts == {"champions": "/champions", "shop-data": "/data"}
    code, out, err = kep("submit", "p.yaml", "--target", "kubeflow", "--no-wait")
    assert (code, err) == (0, "")
    assert out.startswith("submitted kep-predict-digits-")
    (run,) = kubeflow.runs.values()
    assert run["pipeline_spec"]["platform_spec"] == platform
    assert tunnel.refused == []


@pytest.mark.slow
def test_the_graph_with_a_champion_on_a_volume_predicts_what_the_other_does(runs, tmp_path, monkeypatch):
    root = runs("churn", "mlp", "boosted_trees")
    ensemble, champions = root / "churn" / "latest" / "ensemble", tmp_path / "champions"
    shutil.copytree(ensemble, champions / "versions" / content_version(ensemble))
    write_json(champions / "champion.json", {"version": content_version(ensemble)})
    given = batch.parameters(str(DATA / "churn.csv"), str(champions), root, key="customer")
    monkeypatch.setattr(batch, "compile_prediction", partial(compile_prediction, engine="kubeflow"))
    assert batch.batch(given, tmp_path / "out", tmp_path / "runs", Console(quiet=True)) == 0
    (compiled,) = (tmp_path / "runs").glob("batch/out/2*/pipeline.yaml")
    assert "importer" not in compiled.read_text()
    predict("churn", None, str(DATA / "churn.csv"), tmp_path / "all.parquet", root, Console(quiet=True))
    alone = pq.read_table(tmp_path / "all.parquet")["prediction"]
    assert pq.read_table(tmp_path / "out" / "predictions")["prediction"].to_pylist() == alone.to_pylist()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            (),
            '--model: "/champions/digits" is on no volume of the cluster; name the claim and where it is mounted with ',
        ),
        (CLAIMS[2:], '--model: "/champions/digits" is on no volume of the cluster'),
        (CLAIMS[:2], 'DATA: "/data/new.csv" is on no volume of the cluster; name the claim and where it is mounted'),
        (("--volume", "champions"), '--volume: "champions" is not CLAIM=/PATH; give such as champions=/champions'),
        (("--volume", "champions=here"), '--volume: "champions=here" is not CLAIM=/PATH'),
        ((*CLAIMS, "--volume", "other=/data"), "names a claim or a path twice; give each once"),
        ((*CLAIMS, "--target", "vertex"), "--volume has a meaning only with --compile FILE --target kubeflow"),
    ],
)
def test_what_a_prediction_on_volumes_lacks_is_said(kep, tmp_path, given, words):
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(PINNED))
    code, out, err = kep(*MOUNTED, *given, "--images", "images.yaml")
    assert (code, out) == (2, "")
    assert words in one_sentence(err)
    assert not (tmp_path / "p.yaml").exists()


def test_the_graph_is_the_flow_whatever_the_number_of_tasks(tmp_path):
    given = batch.parameters("gs://b/new.csv", "gs://b/model", tmp_path, tasks=7)
    compile_prediction(tmp_path / "p.yaml", given)
    root = yaml.safe_load((tmp_path / "p.yaml").read_text())["root"]
    tasks = root["dag"]["tasks"]
    assert set(tasks) == {"importer", "predict-plan", "predictions", "predict-join"}
    # The champion and the source may have changed since: what is to be done is asked anew in every run.
    assert "enableCache" not in tasks["predict-plan"].get("cachingOptions", {})
    assert set(root["outputDefinitions"]["artifacts"]) == {"predictions"}
    compile_prediction(tmp_path / "p.yaml", given | {"drift_config": DriftSettings().to_json()})
    root = yaml.safe_load((tmp_path / "p.yaml").read_text())["root"]
    assert {"drift", "drift-gate"} <= set(root["dag"]["tasks"])
    assert set(root["outputDefinitions"]["artifacts"]) == {"predictions", "comparison", "verdict"}
