"""Code blocks of the pages: run files are valid, command lines have the options they use, Python compiles."""

import re
from dataclasses import dataclass

import pytest
import yaml
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from kep.config.run_file import RunFile, validate
from tests.helpers.lines import lines, problem
from tests.helpers.paths import ROOT

PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if path.name != "CHANGELOG.md"
)
MINIMAL = {"name": "page", "data": {"source": "sklearn:iris"}}


@dataclass(frozen=True)
class Block:
    place: str
    language: str
    text: str


def blocks() -> list[Block]:
    return [
        Block(f"{page.relative_to(ROOT)}:{token.map[0] + 1}", token.info.split(" ")[0], token.content)
        for page in PAGES
        for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
        if token.type == "fence"
    ]


def inline() -> list[tuple[str, str]]:
    """Command lines in running text, such as `kep run FILE --set KEY=VALUE`."""
    found = []
    for page in PAGES:
        for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
            for child in token.children or []:
                if child.type == "code_inline" and re.match(r"kep [a-z]", child.content):
                    found.append((f"{page.relative_to(ROOT)}:{token.map[0] + 1 if token.map else 0}", child.content))
    return found


def of(*languages: str) -> list:
    return [pytest.param(block, id=block.place) for block in blocks() if block.language in languages]


def merged(content: dict, more: dict) -> dict:
    return content | {
        key: merged(content[key], value) if isinstance(value, dict) and isinstance(content.get(key), dict) else value
        for key, value in more.items()
    }


@pytest.mark.parametrize("block", of("yaml"))
def test_a_run_file_is_valid_in_whole_or_in_part(block):
    content = YAML(typ="safe", pure=True).load(block.text)
    if not (isinstance(content, dict) and content.keys() <= RunFile.model_fields.keys()):
        assert list(yaml.safe_load_all(block.text))  # another file
        return
    data = content.get("data", {})
    base = {"name": "page", "data": {}} if "source" in data or "files" in data else MINIMAL
    validate(merged(base, content))


@pytest.mark.parametrize("block", of("python"))
def test_python_compiles(block):
    compile(block.text, block.place, "exec")


@pytest.mark.parametrize("block", of("sh", "bash", "console", ""))
def test_command_lines_have_the_options_that_they_use(block):
    assert [wrong for line in lines(block.text) if (wrong := problem(line))] == []


def test_command_lines_in_running_text_have_the_options_that_they_use():
    wrong = []
    for place, line in inline():
        if "|" in line or line.endswith("kep"):  # a choice of commands
            continue
        said = problem(line)
        if said and not said.endswith(("is missing", "requires an argument.", "names no command")):  # a mere mention
            wrong.append(f"{place}: {said}")
    assert wrong == []
