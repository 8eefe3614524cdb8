"""The command line: its help, and mistakes that end in one sentence and status 2 before anything starts."""

import re
from collections.abc import Iterator

import pytest
import typer.core
import yaml
from typer.testing import CliRunner

from kep.cli.main import app
from kep.cli.options import PANELS


def commands(group: typer.core.TyperGroup, before: str = "") -> Iterator[str]:
    """Of a group and the groups in it: `run`, `schedule create`."""
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump({"name": "demo", "data": {"source": "sklearn:iris"}}))
    return path


def test_these_commands_are_looked_at():
    assert {"init", "check", "run", "compile", "report", "submit", "schedule create"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example_of_it(command):
    done = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "160", "TERM": "dumb"})
    assert done.exit_code == 0
    example = re.search(rf"Example: kep {command} (.*)", done.output)
    assert example, done.output
    # Every option of the example is one that the command has.
    for option in re.findall(r"(?<=\s)--?[a-z]+", " " + example[1]):
        assert done.output.count(option) > 1, option


def test_help_lists_the_commands_with_a_line_each():
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "160", "TERM": "dumb"})
    assert done.exit_code == 0
    for command in {command.split()[0] for command in COMMANDS}:
        assert re.search(rf"\b{command}\s+[A-Z].*\.", done.output), command


def test_help_groups_the_commands_by_job():
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "160", "TERM": "dumb"})
    assert re.findall(r"^╭─ (.*?) ─", done.output, re.MULTILINE) == ["Options", *PANELS]


def test_check_names_a_key_that_has_another_name_today(kep, run_file):
    run_file.write_text("name: demo\ndata: {source: sklearn:iris}\npromote: {margin: 0.01}\n")
    code, out, _ = kep("check", "demo.yaml")
    assert code == 0
    assert out.startswith("note: promote.margin is called promote.better_by today; the old name is still read\n")


def one_sentence(err: str) -> str:
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "give a run file, or --like with the folder of an earlier run, not both"),
        (["run", "demo.yaml", "--like", "runs/x"], "give a run file, or --like"),
        (
            ["run", "demo.yaml", "--from", "tuen"],
            '--from: tuen is not a step; did you mean "tune"?; the steps are ingest, tune',
        ),
        (["run", "demo.yaml", "--from", "xyzzy"], "--from: xyzzy is not a step; the steps are ingest, tune"),
        (["run", "--like", "runs/x", "--set", "seed=1"], "it takes neither --set nor --minutes"),
        (["run", "--like", "runs/x", "--minutes", "1"], "it takes neither --set nor --minutes"),
        (["run", "demo.yaml", "--minutes", "0"], "minutes: 0.0 must be above 0"),
        (["run", "--like", "runs/x"], "--like: runs/x has no run.json"),
        (["run", "dmeo.yaml"], 'no run file dmeo.yaml, which `kep init DATA` writes; did you mean "demo.yaml"?'),
        (["run", "demo.yaml", "--set", "search.max_trial=3"], 'did you mean "max_trials"'),
        (["run", "demo.yaml", "--runs", "python3/runs"], 'kfp.local replaces "python3" in paths'),
        (["check", "gone.yaml"], "no run file gone.yaml"),
        (["compile", "gone.yaml"], "no run file gone.yaml"),
        (["init", "gone.csv"], '"gone.csv" does not exist'),
        (["report", "demo"], "no finished run demo in runs; no run has finished yet"),
    ],
)
@pytest.mark.usefixtures("run_file")
def test_a_mistake_is_one_sentence_and_status_2(kep, tmp_path, arguments, words):
    code, out, err = kep(*arguments)
    assert code == 2
    assert words in one_sentence(err)
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["demo.yaml"]


@pytest.mark.parametrize("arguments", [["runn"], ["run", "demo.yaml", "--no-such-option"], ["check"]])
def test_a_command_that_does_not_exist_is_status_2(kep, arguments):
    assert kep(*arguments)[0] == 2


def test_several_mistakes_in_a_run_file_are_told_at_once(kep, run_file):
    run_file.write_text("name: Demo\ndata: {source: a.csv}\nserach: {}\n")
    code, _, err = kep("check", "demo.yaml")
    assert code == 2
    assert "name: " in err
    assert 'did you mean "search"' in err


@pytest.fixture
def finished(tmp_path):
    """Two runs of `demo`, the later one is the latest; one of `other` that did not finish."""
    for stamp in ("20260101-000000", "20260102-000000"):
        folder = tmp_path / "runs" / "demo" / stamp
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("<html>")
    (tmp_path / "runs" / "demo" / "latest").symlink_to("20260102-000000")
    (tmp_path / "runs" / "other" / "20260103-000000").mkdir(parents=True)
    return tmp_path / "runs" / "demo"


@pytest.mark.parametrize(
    ("name", "stamp"),
    [
        ("demo", "20260102-000000"),
        ("runs/demo/20260101-000000", "20260101-000000"),
        ("runs/demo/latest", "20260102-000000"),
        ("demo/20260101-000000", "20260101-000000"),
    ],
)
def test_report_finds_a_run_by_its_name_or_its_folder(kep, finished, name, stamp):
    code, out, _ = kep("report", name)
    assert code == 0
    assert out == f"{finished / stamp / 'report.html'}\n"


def test_report_finds_a_run_by_its_absolute_folder_and_in_another_runs_folder(kep, finished, tmp_path):
    assert kep("report", str(finished / "latest"))[0] == 0
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert kep("report", "demo")[0] == 2
    assert kep("report", "demo", "--runs", "elsewhere")[0] == 0


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("name", ["dmeo", "other", "runs/other/20260103-000000"])
def test_report_of_an_unknown_or_unfinished_run_names_the_finished_ones(kep, name):
    code, out, err = kep("report", name)
    assert (code, out) == (2, "")
    assert f"no finished run {name}" in one_sentence(err)
    assert "finished runs: demo" in err
