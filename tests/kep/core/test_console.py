"""The console: names with brackets and colons are shown as they are, wherever they stand."""

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kep.artifacts.event import Event
from kep.core.console import plain_console
from kep.delivery.drift import table_of
from kep.engines.doctor import Finding, table
from kep.engines.progress import View, lay_out, say

FOREIGN = ("age [/years]", "[bold]x", "[/b] yes", "dose[mg]", ":smile: x", "back\\[slash", "[/]", "[link=http://a]b")


@pytest.fixture
def console() -> Console:
    return plain_console(io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("name", FOREIGN)
def test_a_name_is_shown_as_it_is(name, console):
    shown = Table(name, title=f"title {name}", caption=f"caption {name}")
    shown.add_row(f"cell {name}")
    for thing in (name, shown):
        console.print(thing)
    say(console, f"said {name}")
    lay_out(console, shown)
    assert printed(console).count(name) == 10
    for place, times in (("title", 2), ("caption", 2), ("cell", 2), ("said", 1)):
        assert printed(console).count(f"{place} {name}") == times


@pytest.mark.parametrize("name", FOREIGN)
def test_a_table_of_ours_shows_it_too(name, console):
    line = {"name": name, "psi": "0.1", "chance": "0", "js": "0", "missing": "0", "unseen": name, "drifted": True}
    console.print(table_of([line]))
    console.print(table([Finding("PASS", name, f"detail {name}", f"fix {name}")]))
    view = View(console, ["tune"])
    view.show(Event(kind="failed", step="tune", message=name))
    assert printed(console).count(name) == 6


def test_a_style_of_our_own_is_kept():
    console = plain_console(io.StringIO(), width=80, terminal=True)
    console.print(Text("PASS", style="green"))
    assert printed(console) == "\x1b[32mPASS\x1b[0m\n"
