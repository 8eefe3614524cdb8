"""The one console that everything is printed with: text is shown as it is.

By default rich reads `[…]` as a style and `:smile:` as a picture, in tables and titles too. Names of columns, classes
and files, and messages of errors, hold both. A style of our own is a `Text`, a column's or a row's.
"""

from typing import IO

from rich.console import Console


def plain_console(
    file: IO[str] | None = None, *, stderr: bool = False, width: int | None = None, terminal: bool | None = None
) -> Console:
    """Return a console that reads neither markup nor emoji codes, and highlights nothing.

    Args:
        file: Where to print; the standard output without one.
        stderr: Print to the standard error instead.
        width: Columns; by default those of the terminal.
        terminal: Whether `file` is a terminal; found out by default.
    """
    return Console(
        file=file, stderr=stderr, width=width, force_terminal=terminal, markup=False, emoji=False, highlight=False
    )
