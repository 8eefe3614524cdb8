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


def test_conditions_sizes_and_a_model_for_the_data_are_shown(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    text = shown(tmp_path, ["own.py:build", "mlp"], source=str(DATA / "churn.csv"), label="churned")
    assert "own: 4 configurations" in text
    assert "mlp: more than can be counted" in text
    (line,) = [line for line in text.splitlines() if line.startswith("units") and "wide" in line]
    assert line.split() == ["units", "int", "2", "to", "4,", "step", "1", "2", "kind", "=", "wide"]
    assert "Total params" in text


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
