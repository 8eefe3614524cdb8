"""Compare two runs that are done: a table in the terminal, and a page."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from kep.artifacts.report import Report
from kep.core.errors import UserError
from kep.core.files import write_file
from kep.engines import costs
from kep.engines.local.artifacts import Artifacts
from kep.engines.local.finding import PREVIOUS, find
from kep.engines.prices import Prices, load
from kep.engines.progress import lay_out, say
from kep.report.comparison import Change, Comparison, Side, compare, render


def compare_runs(old: str, new: str, runs: Path, output: Path | None, console: Console) -> None:
    """Print what differs between two runs, and write a page of it.

    Args:
        old: Older run: a folder, a name for its latest run, NAME/RUN, NAME@champion or NAME@previous.
        new: Newer run, in the same words.
        runs: Folder of all runs.
        output: Page to write; None for none.
        console: Where to print.

    Raises:
        UserError: A run is not there or not whole, or both are the same one.
    """
    compared = comparison(old, new, runs)
    _print(compared, console)
    if output:
        write_file(output, lambda path: path.write_text(render(compared), encoding="utf-8"))
        say(console, f"wrote {output}")


def comparison(old: str, new: str, runs: Path) -> Comparison:
    """Return what differs between two runs; arguments and errors as of `compare_runs`."""
    sides = [find(name, runs).resolve() for name in (old, new)]
    if sides[0] == sides[1]:
        raise UserError(
            f"{old} and {new} are the same run, {sides[0]}; give two, such as {sides[0].parent.name}{PREVIOUS}"
        )
    prices = load()
    return compare(*(_side(folder, prices) for folder in sides))


def _side(folder: Path, prices: Prices) -> Side:
    report = Report.of_run(folder)
    name = f"{folder.parent.name}/{folder.name}"
    cost = costs.spent(report, prices)
    told = "" if cost is None else f"{cost:.2f} {prices.currency}"
    where = f"prices of {prices.date}, {prices.region}"
    return Side(name, report, report.evaluation.stored(Artifacts(folder).evaluation()), told, where)


def _print(compared: Comparison, console: Console) -> None:
    say(console, compared.sentence)
    say(console, compared.rows)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, title in enumerate(("metric", compared.old, compared.new, "difference (95 % interval)", "newer is")):
        table.add_column(title, justify="right" if 0 < place < 4 else "left", no_wrap=True)
    for line in compared.metrics:
        style = "bold" if line.own else ""
        table.add_row(
            f"{line.name} {'↓' if line.lower else '↑'}", line.old, line.new, line.told, line.word, style=style
        )
    lay_out(console, table)
    for title, changes in (("settings", compared.settings), ("data", compared.data)):
        say(console, f"\n{title}:" if changes else f"\n{title}: the same")
        for change in changes:
            say(console, f"  {change.name}: {change.old or '–'} → {change.new or '–'}")
    for name, members in zip((compared.old, compared.new), compared.members, strict=True):
        told = ", ".join(f"{member.id} {member.weight}" for member in members)
        say(console, f"\nmembers of {name}: {told}")
    say(console, f"\ntime: {_told(compared.times)}")
    say(console, f"cost: {_told([compared.cost])}")


def _told(times: list[Change]) -> str:
    return ", ".join(f"{one.name} {one.old} → {one.new}" for one in times)
