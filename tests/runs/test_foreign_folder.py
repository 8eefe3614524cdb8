"""`kep` in a repository whose packages have the names of our folders: none of theirs is taken for one of ours."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.helpers.commands import TINY, command, environment
from tests.helpers.commands import kep_from_nothing as kep

FAMILY = """
import keras

def build(hp):
    model = keras.Sequential([keras.layers.Dense(hp.Int("units", 2, 8), "relu"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return model
"""
ROWS = "age,plan,churned\n" + "".join(
    f"{20 + row * 7 % 50},{'abc'[row % 3]},{'yes' if row * 7 % 50 > 25 else 'no'}\n" for row in range(300)
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A finished run in such a repository."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("models", "components", "pipelines", "serving", "tests", "benchmarks"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(
            f'raise ImportError("the package {name} of the user was imported")\n'
        )
    (folder / "keras.py").write_text('raise ImportError("the module keras of the user was imported")\n')
    (folder / "family.py").write_text(FAMILY)
    (folder / "rows.csv").write_text(ROWS)
    done = kep("init", "rows.csv", "--label", "churned", folder=folder)
    assert done.returncode == 0, done.stdout
    settings = yaml.safe_load((folder / "rows.yaml").read_text())
    for section, values in TINY.items():
        settings[section] = (settings.get(section) or {}) | values
    settings["search"] |= {"families": ["family.py:build"], "max_trials": 1, "top_n": 1}
    settings["best_epoch"]["seeds"] = 1
    (folder / "rows.yaml").write_text(yaml.safe_dump(settings))
    done = kep("check", "rows.yaml", folder=folder)
    assert done.returncode == 0, done.stdout
    done = kep("run", "rows.yaml", folder=folder)
    assert done.returncode == 0, done.stdout + (next(folder.glob("runs/rows/*/log.txt")).read_text())
    return folder


def test_rows_that_stand_twice_in_the_source_are_no_damage(repository):
    report = json.loads((repository / "runs" / "rows" / "latest" / "report.json").read_text())
    assert report["manifest"]["duplicates"] > 100


def test_predict(repository):
    done = kep("predict", "rows.csv", "--model", "rows", folder=repository)
    assert done.returncode == 0, done.stdout
    assert len((repository / "predictions.csv").read_text().splitlines()) == 301


@pytest.mark.slow
def test_export(repository):
    done = kep("export", "rows", "--format", "keras", "-o", "exported", folder=repository)
    assert done.returncode == 0, done.stdout
    assert list((repository / "exported").glob("*.keras"))


def test_serve(repository):
    process = subprocess.Popen(
        command("serve", "rows", "--port", "0", "--drain-s", "0"),
        cwd=repository,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("curl "):
                break
        else:
            pytest.fail("".join(said))
        # A server writes a line a request: in a pipe that nobody reads it would wait in the end.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        address = next(word for word in line.split() if word.startswith("http://"))
        asked = [{"age": 30, "plan": "a"}]
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(
                ["curl", "-s", "-d", json.dumps({"instances": asked}), address], capture_output=True, text=True
            )
            if done.returncode == 0 and "predictions" in done.stdout:
                break
            assert time.monotonic() < deadline, done.stdout + done.stderr
        assert len(json.loads(done.stdout)["predictions"]) == 1
    finally:
        process.terminate()
        process.wait(timeout=60)
