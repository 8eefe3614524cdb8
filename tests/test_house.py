"""The house: one package, its floors, what an import may cost, and what the wheel installs."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.helpers.paths import DATA, ROOT

BIN = Path(sys.executable).parent
HEAVY = ("tensorflow", "keras", "lightgbm", "google.cloud.storage", "google.cloud.aiplatform")


def python(program: str, folder: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_no_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of whoever runs it."""
    function, keywords = call.func, {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    if isinstance(function, ast.Attribute) and function.attr in ("read_text", "write_text"):
        return True
    if isinstance(function, ast.Name) and function.id == "open":
        mode = call.args[1] if len(call.args) > 1 else keywords.get("mode", ast.Constant("r"))
        return isinstance(mode, ast.Constant) and "b" not in mode.value
    return isinstance(function, ast.Attribute) and function.attr in ("run", "Popen") and "text" in keywords


def test_every_text_file_is_utf_8_whatever_the_locale():
    files = [path for name in ("kep", "components", "pipelines") for path in (ROOT / name).rglob("*.py")]
    calls = [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    found = [f"{path}:{node.lineno}" for path, node in calls if isinstance(node, ast.Call) and names_no_encoding(node)]
    assert found == []


def test_kep_works_in_a_locale_without_letters(tmp_path):
    """`kep check` of a run file with letters of many alphabets, and a page that holds them."""
    header, *rows = (DATA / "churn.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "d.csv").write_text(header.replace("churned", "gekündigt") + "".join(rows), encoding="utf-8")
    run = {"name": "churn", "data": {"source": "d.csv", "label": "gekündigt"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(run, allow_unicode=True), encoding="utf-8")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run([BIN / "kep", "check", "r.yaml"], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "kündigung.csv").touch()
    for mistake, words in (({"label": "gekundigt"}, b"gek?ndigt"), ({"source": "kündigung.csv"}, b"PYTHONUTF8=1")):
        wrong = run | {"data": run["data"] | mistake}
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(wrong, allow_unicode=True), encoding="utf-8")
        done = subprocess.run([BIN / "kep", "check", "r.yaml"], cwd=tmp_path, env=environment, capture_output=True)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
        assert words in done.stderr
    program = (
        "from pathlib import Path\n"
        "from kep.artifacts.study import Goal, Study\n"
        "from kep.components.tune.summary import write_summary\n"
        "from tests.helpers.trials import recorded\n"
        "from kep.artifacts.trials import TrialStore\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "trial = recorded(0, 'f', {'art': '\\u03b2-\\u5b57'}, 0, 'complete', score=0.5)\n"
        "TrialStore(folder).save(trial, None)\n"
        "Study(identity='x', objective=Goal(name='loss', direction='min'), tuner='random', spaces={}, trials=1,\n"
        "      executions=1, distinct=1, infeasible=0, lowest_loss=0.5, corrected_loss=0.5).save(folder)\n"
        "write_summary(folder)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "β-字" in (tmp_path / "summary.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what is checked and built, that may be edited."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("kep", "components", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("module", ["kep.components.promote.component", "kep.google.launch", "kep.cli.main"])
def test_what_starts_often_loads_little_of_ours(module):
    program = f"import sys, {module}; print(sum(name.split('.')[0] == 'kep' for name in sys.modules))"
    assert int(python(program)) <= 20


@pytest.mark.parametrize(
    "module", ["kep.delivery.serving.command", "kep.delivery.models", "kep.engines.local.mirror", "kep.cli.main"]
)
def test_what_serves_needs_no_kfp(module):
    """The image of the server has none."""
    python(f"import sys; sys.modules['kfp'] = None; import {module}")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["--version"], ["compile", "pipelines/configs/digits.yaml", "-o", "{}"]],
)
def test_commands_that_compute_nothing_load_nothing_heavy(arguments, tmp_path):
    words = ["kep", *(word.format(tmp_path / "p.yaml") for word in arguments)]
    program = (
        f"import sys; sys.argv = {words}\n"
        "from kep.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        f"heavy = sorted(set({HEAVY}) & set(sys.modules))\n"
        "assert not heavy, heavy\n"
    )
    python(program)


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("kep/stats/planted.py", "from kep.report import page", "kep.stats is not allowed to import kep.report"),
        ("components/tune/planted.py", "from kep.components.weigh import weigh", "kep.components.tune is not allowed"),
        ("kep/engines/local/planted.py", "from kep.engines.vertex import jobs", "kep.engines.local is not allowed"),
        ("kep/planted/__init__.py", "", "kep.planted"),
    ],
)
def test_an_import_against_the_floors_is_refused(checkout, file, line, words):
    planted = checkout / file
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f'"""Planted."""\n\n{line}\n')
    try:
        done = subprocess.run([BIN / "lint-imports", "--no-cache"], cwd=checkout, capture_output=True, text=True)
    finally:
        planted.unlink()
        if planted.parent.name == "planted":
            shutil.rmtree(planted.parent)
    assert done.returncode != 0
    assert words in done.stdout


@pytest.mark.parametrize("line", ["import models.registry", "from components.tune import space", "import serving"])
def test_a_bare_name_of_a_folder_is_refused(checkout, line):
    (checkout / "kep" / "planted.py").write_text(f'"""Planted."""\n\n{line}\n')
    done = subprocess.run(
        [BIN / "ruff", "check", "--no-cache", "--select", "TID251", "kep/planted.py"], cwd=checkout, capture_output=True
    )
    (checkout / "kep" / "planted.py").unlink()
    assert b"TID251" in done.stdout


def test_a_type_error_is_refused(tmp_path):
    (tmp_path / "planted.py").write_text('"""Planted."""\n\n\ndef rows() -> int:\n    return "three"\n')
    command = [BIN / "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache", "planted.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "planted.py:5: error: Incompatible return value type" in done.stdout


def test_the_wheel_installs_one_name(checkout, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names} == {
        "kep",
        "keras_ensemble_pipelines",
    }
    packed = {name for name in names if name.endswith((".py", ".j2", ".yaml", ".csv"))}
    lie = {
        f"{prefix}{path.relative_to(ROOT / folder)}"
        for folder, prefix in (("kep", "kep/"), ("components", "kep/components/"), ("pipelines", "kep/pipelines/"))
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".j2", ".yaml", ".csv")
    }
    assert packed == lie
    assert "kep/py.typed" in names
    assert python(
        f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); import kep; print(kep.__file__)"
    ) == (f"{tmp_path / 'installed' / 'kep' / '__init__.py'}\n")


def makes_a_console(node: ast.AST) -> bool:
    """Whether code makes a console of rich's defaults, or reads markup."""
    called = node.func if isinstance(node, ast.Call) else None
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    return name in ("Console", "from_markup", "get_console")


def test_everything_is_printed_through_the_plain_console():
    files = [path for name in ("kep", "components", "pipelines") for path in (ROOT / name).rglob("*.py")]
    parsed = {path.resolve(): ast.parse(path.read_text(encoding="utf-8")) for path in files}
    found = {path for path, tree in parsed.items() if any(map(makes_a_console, ast.walk(tree)))}
    assert found == {(ROOT / "kep/core/console.py").resolve()}


def test_a_release_needs_an_entry_in_the_changelog():
    command = ["make", "--old-file=setup", "release", "VERSION=9.9.9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert 'CHANGELOG.md has no entry "## 9.9.9"; name "## Unreleased" so' in done.stdout + done.stderr
