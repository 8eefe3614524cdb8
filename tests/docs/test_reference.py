"""The reference is current, covers every key and command, and its pages are short."""

import json

import pytest
from pydantic import BaseModel
from typer.core import TyperGroup

from docs.generate import run_file
from docs.generate.__main__ import FOLDER, pages
from docs.generate.commands import commands, examples, main
from docs.generate.run_file import UndocumentedError, _meaning
from kep.config.run_file import RunFile
from kep.config.section import Section
from kep.core.versions import version
from tests.helpers.lines import problem

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name):
    path = FOLDER / name
    assert path.is_file(), f"{path} is missing; make reference writes it"
    assert path.read_text(encoding="utf-8") == PAGES[name], f"{path} is not current; make reference writes it"


def test_there_are_no_other_pages():
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_at_most_400_lines(name):
    assert PAGES[name].count("\n") <= 400


def keys(section: type[Section], path: str = "") -> list[str]:
    found = []
    for name, field in section.model_fields.items():
        key = f"{path}{field.alias or name}"
        annotation = field.annotation
        found += keys(annotation, f"{key}.") if isinstance(annotation, type) and issubclass(annotation, Section) else []
        found.append(key)
    return found


@pytest.mark.parametrize("key", keys(RunFile))
def test_every_key_has_its_place(key):
    text = "".join(text for name, text in PAGES.items() if name.startswith("run-file"))
    # A step's resources that are those of another step are told there.
    heading = f"# `{key}`\n"
    parent = f"# `{key.rpartition('.')[0]}`\n"
    assert heading in text or "Keys: those of" in text.partition(parent)[2].partition("\n## ")[0]


def test_a_key_keeps_the_version_that_brought_it(tmp_path, monkeypatch):
    (tmp_path / "run-file-search.md").write_text(
        "### `search.top_n`\n\nType: whole number. Default: `4`. Since: 0.0.7.\n\nCandidates.\n"
    )
    monkeypatch.setattr(run_file, "FOLDER", tmp_path)
    run_file._told.cache_clear()
    text = "\n".join(dict(run_file.pages())["run-file-search.md"])
    run_file._told.cache_clear()
    now = f"Since: {version('keras-ensemble-pipelines')}."
    assert "Default: `4`. Since: 0.0.7.\n" in text
    assert f"### `search.max_trials`\n\nType: whole number, at least 1. Default: `30`. {now}\n" in text


def names(group: TyperGroup, before: str = "") -> list[str]:
    return [
        name
        for part, command in group.commands.items()
        for name in (names(command, f"{before}{part} ") if isinstance(command, TyperGroup) else [before + part])
    ]


def test_every_command_is_in_a_group_of_the_help():
    assert sorted(name for _, name, _ in commands()) == sorted(names(main()))


@pytest.mark.parametrize(("name", "command"), [(name, command) for _, name, command in commands()])
def test_every_example_is_a_command_line_that_is_taken(name, command):
    assert examples(command)
    for line in examples(command):
        assert line.startswith(f"kep {name}")
        assert problem(line) is None


def test_a_key_without_a_meaning_is_refused():
    class Bare(BaseModel):
        key: int = 1

    with pytest.raises(UndocumentedError, match=r"section\.key has no meaning"):
        _meaning("section.key", Bare.model_fields["key"])


def test_defaults_can_be_copied_into_a_run_file():
    assert "Default: `1000`." in PAGES["run-file-ensemble.md"]
    assert f"Default: `{json.dumps(['failed', 'not_promoted', 'promoted', 'drift'])}`." in PAGES["run-file-ensemble.md"]
