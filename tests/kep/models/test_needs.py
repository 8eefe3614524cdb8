"""What a family needs beside its file: packages and arguments, from the run file."""

from importlib.metadata import version

import pytest

from kep.artifacts.member import TrainedMember
from kep.config.search import OwnFamily
from kep.core.errors import UserError
from kep.data.records import Records
from kep.models.needs import check_packages
from kep.models.registry import family, travelling
from kep.pipelines.parameters import arguments
from tests.helpers.artifacts import member
from tests.helpers.commands import kep as run_kep
from tests.helpers.commands import write_run

OWN = """
import keras
import keras_tuner

class Sized(keras_tuner.HyperModel):
    def __init__(self, units, activation="relu"):
        super().__init__()
        self.units, self.activation = units, activation
    def build(self, hp):
        model = keras.Sequential([keras.layers.Dense(hp.Choice("units", self.units), self.activation),
                                  keras.layers.Dense(2, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

class Ready(Sized):
    def __init__(self):
        super().__init__([4])

class Counted(Sized):
    def __init__(self, units):
        super().__init__([units] if units < 64 else [64])

def build(hp):
    return Sized([4]).build(hp)

ready = Ready()
"""
NUMPY = version("numpy")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


@pytest.fixture(scope="module")
def manifest(records):
    return Records(records("cancer"), "tune").manifest


def spec(folder, file: str = "own.py:Sized", **more) -> dict:
    (one,) = travelling([OwnFamily(file=file, **more)], folder)
    return one


def test_a_hypermodel_is_made_with_the_arguments_of_the_run_file(folder, manifest):
    assert family(spec(folder, arguments={"units": [3, 5]}), manifest).space().values == {"units": 3}
    assert family(spec(folder, "own.py:Ready"), manifest).space().values == {"units": 4}


@pytest.mark.parametrize(
    ("file", "given", "words"),
    [
        ("own.py:Sized", {}, 'Sized of own.py needs the argument "units"; give it as {file: …, arguments: {units: …}}'),
        (
            "own.py:Sized",
            {"unitz": [3]},
            'takes no argument "unitz"; did you mean "units"?; it takes units, activation',
        ),
        ("own.py:Ready", {"units": [3]}, 'Ready of own.py takes no argument "units"; it takes none'),
        ("own.py:Counted", {"units": "x"}, "Counted of own.py can't be made: TypeError in line 21 of own.py: "),
        ("own.py:build", {"units": [3]}, "build of own.py is no class of a HyperModel, which arguments are for"),
        ("own.py:ready", {"units": [3]}, "ready of own.py is no class of a HyperModel, which arguments are for"),
    ],
)
def test_arguments_that_do_not_fit_are_one_sentence(folder, manifest, file, given, words):
    with pytest.raises(UserError) as refused:
        family(spec(folder, file, arguments=given), manifest)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_packages_of_the_list_and_of_the_file_are_one_set(folder):
    (folder / "needs.txt").write_text("# ours\nscipy  # for splines\n\nnumpy>=2\n")
    found = spec(folder, packages=["numpy >= 2", "six"], requirements="needs.txt", arguments={"units": [3]})
    assert found["packages"] == ["numpy>=2", "scipy", "six"]
    assert "packages" not in spec(folder)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"packages": ["not a package"]}, 'own.py:Sized: "not a package" in packages is not a requirement of pip'),
        ({"requirements": "gone.txt"}, "own.py:Sized: no file gone.txt in"),
        ({"requirements": "bad.txt"}, '"-r more.txt" in bad.txt is not a requirement of pip; expected a package such'),
    ],
)
def test_what_pip_would_not_take_is_one_sentence(folder, more, words):
    (folder / "bad.txt").write_text("numpy\n-r more.txt\n")
    with pytest.raises(UserError) as refused:
        spec(folder, **more)
    assert words in str(refused.value)


def test_only_a_file_of_ones_own_has_needs(folder):
    with pytest.raises(UserError, match='"mlp" is no file of your own, which packages and arguments are for'):
        travelling([OwnFamily(file="mlp", packages=["six"])], folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "not-there-at-all",
            'own needs not-there-at-all, and this environment has none; pip install "not-there-at-all"',
        ),
        ("not-there-at-all>=2", 'pip install "not-there-at-all>=2"'),
        ("numpy<1", f"own needs numpy<1, and this environment has numpy {NUMPY}"),
        (f"numpy=={NUMPY}", ""),
        ("numpy", ""),
        ('not-there-at-all; python_version < "3"', ""),
    ],
)
def test_packages_are_looked_for_in_this_environment(text, words):
    if not words:
        check_packages([{"name": "own", "packages": [text]}, {"name": "mlp"}])
        return
    with pytest.raises(UserError) as refused:
        check_packages([{"name": "own", "packages": [text]}])
    assert words in str(refused.value)


def test_a_missing_package_ends_a_run_before_it_begins(folder):
    families = [{"file": "own.py:build", "packages": ["not-there-at-all"]}]
    file = write_run(folder, "own", data={"source": "sklearn:iris"}, search={"families": families})
    for command in (["check", file], ["run", file, "--runs", folder / "runs"]):
        done = run_kep(*command)
        assert done.returncode == 2
        assert "own needs not-there-at-all, and this environment has none" in done.stdout
    assert not (folder / "runs").exists()


def test_arguments_are_part_of_what_a_search_depends_on(folder):
    def families(**more) -> str:
        from kep.config.run_file import validate

        content = {"name": "t", "data": {"source": "sklearn:iris"}}
        content["search"] = {"families": [{"file": "own.py:Sized", **more}]}
        return arguments(validate(content), folder, "champions")["families"]

    assert families(arguments={"units": [3]}) != families(arguments={"units": [4]})
    assert families(arguments={"units": [3]}) == families(arguments={"units": [3]}, packages=[])


def test_a_member_keeps_what_its_family_needs(folder, manifest, tmp_path):
    own = spec(folder, packages=["numpy"], arguments={"units": [3, 5]})
    member("own-000", 1.0, family="own_sized", spec=own).save(tmp_path)
    assert family(TrainedMember.load(tmp_path).spec, manifest).space().values == {"units": 3}
