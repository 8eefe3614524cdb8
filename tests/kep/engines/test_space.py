"""`kep space`: what the search can try, without training anything."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from kep.config.data import DataSettings
from kep.config.run_file import RunFile
from kep.config.search import SearchSettings
from kep.core.errors import UserError
from kep.engines.space import show
from tests.helpers.commands import kep, write_run
from tests.helpers.paths import DATA, ROOT

OWN = """
import keras
def build(hp):
    kind = hp.Choice("kind", ["plain", "wide"])
    with hp.conditional_scope("kind", ["wide"]):
        units = hp.Int("units", 2, 4)
    model = keras.Sequential([keras.layers.Dense(units if kind == "wide" else 2), keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    return model
"""


def shown(tmp_path: Path, families: list[str], **data) -> str:
    settings = RunFile(name="x", data=DataSettings(**data), search=SearchSettings(families=families))
    console = Console(width=120, highlight=False)
    with console.capture() as captured:
        console.print(show(settings, tmp_path))
    return captured.get()


@pytest.mark.slow
def test_conditions_sizes_and_a_model_for_the_data_are_shown(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    text = shown(tmp_path, ["own.py:build", "mlp"], source=str(DATA / "churn.csv"), label="churned")
    assert "own: 4 configurations" in text
    assert "mlp: more than can be counted" in text
    (line,) = [line for line in text.splitlines() if line.startswith("units") and "wide" in line]
    assert line.split() == ["units", "int", "2", "to", "4,", "step", "1", "2", "kind", "=", "wide"]
    assert "Total params" in text


LOOP = """
import keras
def build(hp):
    model = keras.Sequential()
    for number in range(hp.Int("layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Choice(f"units_{number}", [2, 4])))
    if hp.Boolean("broken"):
        raise ValueError("no such layer")
    model.add(keras.layers.Dense(1, "sigmoid"))
    model.compile("adam", "binary_crossentropy")
    return model
"""


@pytest.mark.slow
def test_what_only_some_builds_declare_is_shown_as_such(tmp_path):
    (tmp_path / "own.py").write_text(LOOP)
    text = shown(tmp_path, ["own.py:build"], source=str(DATA / "churn.csv"), label="churned")
    marked = {line.split()[0]: "found in some builds" in line for line in text.splitlines() if "choice" in line}
    assert marked == {"units_0": False, "units_1": True, "units_2": True}
    assert "random builds failed; the last reason: ValueError in line 8 of own.py: no such layer" in text


BROKEN = {
    "raises": ("def build(hp):\n    raise KeyError('units')\n", "KeyError in line 2 of own.py: 'units'"),
    "imports": ("import no_such_package\ndef build(hp):\n    pass\n", "no_such_package"),
    "not compiled": (
        "import keras\ndef build(hp):\n    return keras.Sequential([keras.layers.Dense(1)])\n",
        "own must return a compiled Keras model, it returns a model that is not compiled",
    ),
    "no model": ("def build(hp):\n    return 3\n", "own must return a compiled Keras model, it returns 3"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one == "raises" else pytest.mark.slow) for one in BROKEN]
)
def test_space_and_check_say_of_a_family_what_a_run_says(tmp_path, name):
    source, words = BROKEN[name]
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(UserError) as error:
        shown(tmp_path, ["own.py:build"], source=str(DATA / "churn.csv"), label="churned")
    assert words in str(error.value)
    file = write_run(
        tmp_path,
        "own",
        data={"source": str(DATA / "churn.csv"), "label": "churned"},
        search={"families": ["own.py:build"]},
    )
    done = kep("check", file)
    assert done.returncode == 2, done.stdout
    assert done.stdout.splitlines()[-1] == f"error: {error.value}"
    assert "Traceback" not in done.stdout


def test_an_image_space_knows_the_images(tmp_path):
    assert "(None, 8, 8, 1)" in shown(tmp_path, ["mlp"], source="sklearn:digits")


def test_a_family_that_does_not_fit_the_data_is_refused(tmp_path):
    with pytest.raises(UserError, match="hyperxception needs images"):
        shown(tmp_path, ["hyperxception"], source="sklearn:iris")


def test_the_command_says_nothing_but_the_spaces():
    run_file = ROOT / "pipelines" / "configs" / "breast_cancer.yaml"
    command = [sys.executable, "-m", "kep.cli.main", "space", str(run_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "boosted_trees: more than can be counted" in done.stdout
    assert "LightGBM, objective binary" in done.stdout
