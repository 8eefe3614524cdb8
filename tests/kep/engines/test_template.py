"""Templates: published to a registry, resolved to a digest, submitted from there or from a bucket."""

import subprocess
import sys

import pytest
import yaml

from tests.helpers.cloud import BUCKET, PLACE, PUBLISH, REPOSITORY, SUBMIT, job, one_sentence
from tests.helpers.paths import ROOT

PREDICTION = ROOT / "tests" / "pipelines" / "prediction.golden.yaml"

pytestmark = pytest.mark.usefixtures("churn")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    quick = {"initial": 0.001, "maximum": 0.001, "multiplier": 1.0, "timeout": 0.3}
    monkeypatch.setattr("kep.engines.template.REGISTRY_RETRY", quick)


def test_a_published_template_is_the_run_file_compiled(vertex, registry, kep):
    code, out, err = kep(*PUBLISH, "--tag", "v1", "--tag", "latest")
    assert (code, err) == (0, "")
    ((package, version),) = registry.versions
    assert package == "churn"
    assert registry.tags == {("churn", "v1"): version, ("churn", "latest"): version}
    first, second = out.splitlines()
    assert first == f"published {REPOSITORY}/churn/{version}"
    kep(*SUBMIT)
    kep("submit", f"{REPOSITORY}/churn/v1", *BUCKET)
    kep("submit", f"{REPOSITORY}/churn/{version}", *BUCKET)
    # One run: from the file, by the tag and by the digest.
    assert len(vertex.jobs) == 1
    assert job(vertex).labels["kep_template"] == second.removeprefix("content sha256:")[:16]


def test_a_tag_is_resolved_to_the_digest_of_the_moment(vertex, registry, kep):
    kep(*PUBLISH, "--tag", "v1")
    kep("submit", f"{REPOSITORY}/churn/v1", *BUCKET)
    kep(*PUBLISH, "--tag", "v1", "--set", "seed=3")
    kep("submit", f"{REPOSITORY}/churn/v1", *BUCKET)
    addresses = [one.template_uri for one in vertex.jobs.values()]
    assert addresses == [f"{REPOSITORY}/churn/{version}" for _, version in registry.versions]
    assert len(set(addresses)) == 2


def test_a_template_of_a_bucket(vertex, gcs, kep, tmp_path):
    kep("compile", "churn.yaml", "--target", "vertex")
    gcs.put("data", "pipeline.yaml", (tmp_path / "pipeline.yaml").read_bytes())
    assert kep("submit", "gs://data/pipeline.yaml", *BUCKET)[0] == 0
    given = dict(job(vertex).runtime_config.parameter_values)
    assert "gs://data/team/champions/churn" in given["champion"]
    assert given["source"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("gs://data/gone.yaml", "the template gs://data/gone.yaml does not exist; check the path"),
        ("gs://data/other.yaml", "gs://data/other.yaml is not a pipeline that `kep compile` or `kep publish` wrote"),
        (
            "gs://data/prediction.yaml",
            "prediction.yaml runs keras-ensemble-pipelines/cpu, which is not pinned by its digest",
        ),
        ("gs://data/two.yaml", "gs://data/two.yaml is not one YAML document, as Vertex AI needs it"),
        ("gs://data/text.yaml", "gs://data/text.yaml is no compiled pipeline"),
        ("gs://data/tag.yaml", "is not pinned by its digest; compile it with --target vertex"),
        ("gs://data/local.yaml", "is on this machine, where no step on Vertex AI can read it"),
        ("https://example.com/p.yaml", '"https://example.com/p.yaml" is no template; give gs://BUCKET/NAME.yaml or'),
        (f"{REPOSITORY}/churn/v9", f"{REPOSITORY}: it does not exist, or has no such template"),
        (f"{REPOSITORY}/churn/sha256:00", f"{REPOSITORY}: it does not exist, or has no such template"),
    ],
)
def test_what_is_no_template(vertex, registry, gcs, kep, tmp_path, address, words):
    kep("compile", "churn.yaml")
    tagged = (tmp_path / "pipeline.yaml").read_text()
    pinned = yaml.safe_load(tagged)
    for executor in pinned["deploymentSpec"]["executors"].values():
        executor["container"]["image"] = f"registry.example/x@sha256:{'0' * 64}"
    local = yaml.safe_dump(pinned).replace("gs://data/churn.csv", "churn.csv")
    prediction = PREDICTION.read_text()
    contents = {
        "prediction": prediction,
        "other": "a: 1",
        "two": "a: 1\n---\nb: 2",
        "text": "- 1",
        "tag": tagged,
        "local": local,
    }
    for name, text in contents.items():
        gcs.put("data", f"{name}.yaml", text.encode())
    code, out, err = kep("submit", address, *BUCKET)
    assert (code, out) == (2, "")
    assert words in one_sentence(err)
    assert vertex.jobs == {}


def test_a_setting_of_a_template_is_refused(kep, vertex):
    code, _, err = kep("submit", "gs://data/p.yaml", *BUCKET, "--set", "seed=1")
    assert code == 2
    assert "--set: a template was compiled already; publish one with that setting" in one_sentence(err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repository", "https://example.com/ml"], "give https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY"),
        (["--tag", "V 1"], '--tag: "V 1" must be lower-case letters'),
        (["--set", "data.source=churn.csv"], "is on this machine"),
        (["--images", "gone.yaml"], "--images: there is no gone.yaml"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_published(registry, kep, arguments, words):
    code, out, err = kep(*PUBLISH, *arguments)
    assert (code, out) == (2, "")
    assert words in one_sentence(err)
    assert registry.journal == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, 'run "gcloud auth application-default login"'),
        (403, "grant it roles/artifactregistry.writer"),
        (404, 'by "gcloud artifacts repositories create NAME --repository-format=KFP --location=europe-west4"'),
        (500, "the registry answered 500"),
    ],
)
def test_what_the_registry_refuses_is_one_sentence(registry, kep, status, words):
    registry.status = status
    code, _, err = kep(*PUBLISH)
    assert code == 2
    assert words in one_sentence(err)


@pytest.mark.parametrize("answers", [[429], [500, 503], [502, 504, 429]])
def test_a_registry_that_is_busy_is_asked_again(registry, kep, answers):
    registry.answers = list(answers)
    code, out, err = kep(*PUBLISH)
    assert (code, err) == (0, "")
    assert out.startswith("published ")
    assert len(registry.journal) == len(answers) + 1


@pytest.mark.parametrize("page", ["<html>login</html>", "<html><a href='/a/b'>login</a></html>", "churn/latest", ""])
def test_a_page_is_no_registry(registry, kep, page):
    registry.answers = [page]
    code, out, err = kep(*PUBLISH)
    assert (code, out) == (2, "")
    assert "nothing was published: what answers there is no registry, or a login page" in one_sentence(err)


def test_a_commit_that_is_built_again_is_published_already(registry, kep):
    _, first, _ = kep(*PUBLISH, "--tag", "v1")
    registry.immutable = True
    code, again, err = kep(*PUBLISH, "--tag", "v1")
    assert (code, again, err) == (0, first, "")
    code, _, err = kep(*PUBLISH, "--tag", "v1", "--set", "seed=3")
    assert code == 2
    assert '--tag: "v1" names another template' in one_sentence(err)
    registry.answers = [409]
    code, _, err = kep(*PUBLISH)
    assert "this very template is there already; give a --tag" in one_sentence(err)


def test_a_registry_that_is_not_there(tunnel, kep):
    """A region whose host leads nowhere."""
    code, _, err = kep("publish", "churn.yaml", "--repository", REPOSITORY.replace("europe-west4", "us-east1"))
    assert code == 2
    assert "does not answer; try again later" in one_sentence(err)
    assert set(tunnel.refused) == {"us-east1-kfp.pkg.dev"}


def test_none_of_it_imports_tensorflow(vertex, registry, tmp_path):
    """In a process that its environment alone leads here."""
    schedule = ["weekly", f"{REPOSITORY}/churn/v1", "--cron", "0 4 * * 1"]
    commands = [
        [*PUBLISH, "--tag", "v1"],
        SUBMIT,
        ["status", "churn", *PLACE],
        ["cancel", "churn", *PLACE],
        ["runs", *PLACE],
        ["schedule", "create", *schedule, *BUCKET],
        ["schedule", "list", *PLACE],
    ]
    program = (
        "import sys\n"
        "from kep.cli.main import app\n"
        f"for command in {[list(command) for command in commands]!r}:\n"
        "    assert not app(command, standalone_mode=False), command\n"
        "heavy = {'tensorflow', 'keras', 'lightgbm', 'matplotlib', 'google.cloud.aiplatform'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (len(vertex.jobs), len(vertex.schedules)) == (1, 1)
