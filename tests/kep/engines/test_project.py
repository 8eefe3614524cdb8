"""A new project: its files name what is there, and every command in them is one that exists."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs.prose import of_page
from docs.prose import problems as problems_of_prose
from kep.config.run_file import load
from kep.core.versions import version
from kep.engines.project import make_project
from kep.models.registry import travelling
from kep.pipelines.derived import write_dockerfile
from tests.containers.cloudbuild import problems as problems_of_build
from tests.containers.cloudbuild import substitute
from tests.helpers.cloud import ACCOUNT, BUCKET, REPOSITORY
from tests.helpers.commands import DONE
from tests.helpers.commands import kep as kep_alone
from tests.helpers.images import PINNED
from tests.helpers.lines import lines, problem
from tests.helpers.paths import DATA

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def lock(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lock") / "images.lock.yaml"
    path.write_text("# Written by containers/push.sh.\n" + yaml.safe_dump(PINNED))
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory, lock) -> Path:
    folder = tmp_path_factory.mktemp("team") / "churn"
    make_project(folder, lock)
    return folder


def test_the_command_says_what_it_wrote(kep, tmp_path):
    status, out, err = kep("new", "project", "churn")
    assert (status, err) == (0, "")
    *written, last = out.splitlines()
    assert written == sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert {"churn/churn.yaml", "churn/.gitignore", "churn/tests/__init__.py"} <= set(written)
    assert last.startswith("`cd churn`, then `kep check sample.yaml`")


def test_an_empty_folder_is_filled(kep, tmp_path):
    (tmp_path / "churn").mkdir()
    assert kep("new", "project", "churn")[0] == 0
    assert (tmp_path / "churn" / "churn.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["taken"], "taken exists already; give the name of a new folder"),
        (["file"], "file exists already; give the name of a new folder"),
        (["."], "exists already; give the name of a new folder"),
        (["Churn"], 'NAME: "Churn" must be lower-case letters, digits and dashes, at most 50'),
        (["champions"], 'NAME: "champions" is the folder of the champions beside the runs; choose another name'),
        (["sample"], 'NAME: "sample" is the run file of the short form; choose another name'),
        (["churn", "--images", "none.yaml"], "--images: there is no none.yaml"),
        (["churn", "--images", "tag.yaml"], "--images: cpu is team/cpu:v1, which is not pinned by its digest"),
        (["churn", "--images", "half.yaml"], "--images: half.yaml has no image glue"),
    ],
)
def test_what_can_not_be_made_is_one_sentence_and_leaves_nothing(kep, tmp_path, monkeypatch, arguments, words):
    work = tmp_path / "work"
    (work / "taken").mkdir(parents=True)
    (work / "taken" / "notes.txt").write_text("mine")
    (work / "file").write_text("mine")
    (work / "tag.yaml").write_text("cpu: team/cpu:v1\nglue: team/glue:v1\n")
    (work / "half.yaml").write_text(yaml.safe_dump({"cpu": PINNED["cpu"]}))
    monkeypatch.chdir(work)
    before = sorted(tmp_path.rglob("*"))
    status, _, err = kep("new", "project", *arguments)
    assert status == 2
    assert words in err
    assert re.fullmatch(r"error: .+\n", err)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_project_that_can_not_be_written_to_its_end_is_not_there(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("shutil.copyfile", full)  # of the rows, in the midst of the files
    with pytest.raises(OSError, match="no space left"):
        make_project(tmp_path / "churn")
    assert list(tmp_path.iterdir()) == []


def test_every_file_that_the_readme_names_is_there(project):
    text = (project / "README.md").read_text(encoding="utf-8")
    made = {"containers/images.lock.yaml"}  # by the build
    named = {name for name in re.findall(r"`([\w./-]+)`", text) if "." in name or name.endswith("/")}
    assert len(named) > 8
    assert [name for name in named - made if not (project / name).exists()] == []


def test_every_command_of_the_readme_and_of_the_build_exists(project):
    build = yaml.safe_load((project / "cloudbuild.yaml").read_text())
    scripts = [
        " ".join([step["entrypoint"], *step["args"]]) if step["entrypoint"] == "kep" else step["args"][-1]
        for step in build["steps"]
    ]
    found = lines("\n".join([*scripts, (project / "README.md").read_text(encoding="utf-8")]))
    assert {shlex.split(line)[1] for line in found} >= {"check", "run", "compile", "publish", "schedule", "submit"}
    assert [wrong for line in found if (wrong := problem(line))] == []


def test_cloud_build_would_take_the_file(project):
    assert problems_of_build((project / "cloudbuild.yaml").read_text()) == []


def test_the_build_keeps_what_its_steps_write(project):
    build = yaml.safe_load((project / "cloudbuild.yaml").read_text())
    compiled = next(step for step in build["steps"] if step["id"] == "compile")["args"]
    written = compiled[compiled.index("--output") + 1]
    lock = re.search(r'^mv "\$lock" (.*)$', (project / "containers" / "build.sh").read_text(), re.MULTILINE)[1]
    assert build["artifacts"]["objects"]["paths"] == [written, lock]
    ignored = (project / ".gitignore").read_text().splitlines()
    assert {f"/{lock}", f"/{written.partition('/')[0]}/"} <= set(ignored)
    # Each image that a step runs in is tagged by the first step, with the files that it names.
    first, *rest = build["steps"]
    assert {step["name"] for step in rest} == {"cpu-churn:${BUILD_ID}"}
    assert f'containers/build.sh "${{_REPOSITORY}}" "{rest[0]["name"]}"' in first["args"][-1]
    assert (project / build["substitutions"]["_RUN_FILE"]).is_file()


@pytest.mark.parametrize(
    ("published", "images", "words"),
    [
        (None, "cpu", "there is no containers/base.lock.yaml; copy the images.lock.yaml of the build"),
        (PINNED, "gpu", "containers/base.lock.yaml names no image gpu by its digest"),
        ({"cpu": "team/cpu:v1"}, "cpu", "containers/base.lock.yaml names no image cpu by its digest"),
    ],
)
def test_a_build_without_a_base_by_digest_ends_before_it_begins(tmp_path, published, images, words):
    make_project(tmp_path / "churn")
    containers = tmp_path / "churn" / "containers"
    if published is not None:
        (containers / "base.lock.yaml").write_text(yaml.safe_dump(published))
    command = ["bash", containers / "build.sh", "registry.invalid/team", "cpu-churn:1", images]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {words}")
    assert not (containers / "images.lock.yaml").exists()


def test_the_image_is_what_kep_dockerfile_writes(project, tmp_path):
    """But for its base, and the packages, which it reads from the file that the run files name."""
    families = [{"packages": ["einops==0.8.1"]}]
    write_dockerfile(project / "churn.yaml", families, PINNED["cpu"], tmp_path / "Dockerfile")
    written, own = ((folder / "Dockerfile").read_text() for folder in (tmp_path, project))
    (copied, there) = re.search(r"^COPY (\S+) (\S+)$", own, re.MULTILINE).groups()
    own = re.sub(r"^(COPY|ARG) .*\n", "", own, flags=re.MULTILINE)
    own = (
        own.replace(f"--requirement {there}", "einops==0.8.1")
        .replace(f" {there}", "")
        .replace("${BASE}", PINNED["cpu"])
    )
    assert own.splitlines()[1:] == written.splitlines()[1:]
    for name in ("churn.yaml", "sample.yaml"):
        settings = load(project / name)
        assert copied in [getattr(one, "requirements", None) for one in settings.search.families]
    assert f"!{copied}" in (project / ".dockerignore").read_text()


def test_the_files_are_clean(project):
    checks = [
        ["bash", "-n", "containers/build.sh"],
        [BIN / "hadolint", "--ignore", "DL3013", "Dockerfile"],
        [BIN / "ruff", "check", "--isolated", "--select", "E,F,I,UP,B", "--line-length", "120", "."],
        [BIN / "ruff", "format", "--isolated", "--check", "--line-length", "120", "."],
    ]
    for check in checks:
        done = subprocess.run(check, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert list(problems_of_prose(list(of_page("README.md", (project / "README.md").read_text())), [])) == []
    for path in project.rglob("*.*"):
        if path.is_file() and ".ruff_cache" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\{\{ |\{%", text), path
            assert not text or text.rstrip("\n") + "\n" == text, path


def test_the_project_pins_this_version(project):
    asked = (project / "requirements.txt").read_text().splitlines()
    assert f"keras-ensemble-pipelines[cpu]=={version('keras-ensemble-pipelines')}" in asked
    assert asked[-1] == "-r families/requirements.txt"


def test_the_sample_is_made_of_the_rows_of_the_tests(project):
    whole = (DATA / "churn.csv").read_text().splitlines()
    assert (project / "data" / "sample.csv").read_text().splitlines() == whole[:201]


def test_both_run_files_search_the_same(project):
    whole, sample = (load(project / name) for name in ("churn.yaml", "sample.yaml"))
    assert travelling(sample.search.families, project) == travelling(whole.search.families, project)
    assert whole.name == "churn"
    assert (sample.data.label, sample.data.id) == (whole.data.label, whole.data.id)


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_it_compiles_for_the_cloud(project, lock, kep, tmp_path, monkeypatch, target):
    monkeypatch.chdir(project)
    output = tmp_path / f"{target}.yaml"
    status, _, err = kep("compile", "churn.yaml", "--target", target, "--images", str(lock), "-o", str(output))
    assert (status, err) == (0, "")
    (spec, *_) = yaml.safe_load_all(output.read_text())
    images = {one["container"]["image"] for one in spec["deploymentSpec"]["executors"].values()}
    assert images == set(PINNED.values())


@pytest.mark.slow
def test_the_sample_can_be_checked(project, kep, monkeypatch):
    monkeypatch.chdir(project)
    status, out, err = kep("check", "sample.yaml")
    assert (status, err) == (0, "")
    assert "families    wide, mlp, boosted_trees" in out


@pytest.mark.slow
def test_the_short_form_runs_and_the_projects_own_tests_pass(tmp_path):
    folder = tmp_path / "churn"
    make_project(folder)
    done = kep_alone("run", "sample.yaml", folder=folder)
    assert done.returncode in DONE, done.stdout
    assert "Promoted: it is the first champion" in done.stdout
    for program in ("unittest", "pytest"):
        done = subprocess.run([sys.executable, "-m", program], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    requirements = folder / "requirements.txt"
    requirements.write_text(requirements.read_text().replace("==", "==9."))
    done = subprocess.run([sys.executable, "-m", "unittest"], cwd=folder, capture_output=True, text=True, check=False)
    assert "FAILED (failures=1)" in done.stderr


@pytest.mark.slow
def test_a_build_publishes_updates_the_schedule_and_submits(vertex, registry, gcs, kep, lock, tmp_path, monkeypatch):
    """The steps after the image and its check, on this machine, with Google's clients against local servers."""
    folder = tmp_path / "churn"
    make_project(folder)
    gcs.put("data", "data/churn.csv", (DATA / "churn.csv").read_bytes())
    run_file = folder / "churn.yaml"
    run_file.write_text(run_file.read_text().replace("gs://my-bucket/", "gs://data/"))
    shutil.copy(lock, folder / "containers" / "images.lock.yaml")
    (folder / "build").mkdir()
    monkeypatch.chdir(folder)
    weekly = ("schedule", "create", "weekly", "churn.yaml", "--cron", "0 4 * * mon")
    assert kep(*weekly, "--set", "search.families=[mlp]", *BUCKET)[0] == 0
    (before,) = map(str, vertex.schedules.values())

    content = yaml.safe_load((folder / "cloudbuild.yaml").read_text())
    values = content["substitutions"] | {
        "_DOCKER": "",
        "_REPOSITORY": "",
        "_TEMPLATES": REPOSITORY,
        "_SCHEDULE": "weekly",
        "_STEPS": ACCOUNT,
        "_BUCKET": "data",
        "BUILD_ID": "1",
        "PROJECT_ID": "shop-ml",
        "LOCATION": "europe-west4",
    }
    for step in substitute(content["steps"], values)[2:]:
        environment = os.environ | dict(line.split("=", 1) for line in step["env"])
        environment["PATH"] = f"{BIN}:{environment['PATH']}"
        command = [step["entrypoint"], *step["args"]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    ((package, version),) = registry.versions
    assert registry.tags == {(package, "build-1"): version}
    assert package == "churn"
    (job,) = vertex.jobs.values()
    assert job.service_account == ACCOUNT
    (after,) = map(str, vertex.schedules.values())
    assert "families/wide.py" in after
    assert "families/wide.py" not in before
