"""Exit statuses, and the exceptions that are shown to a person as a single sentence."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum


class Status(IntEnum):
    """Exit statuses of `kep`. Each means the same for every command."""

    DONE = 0
    """The command did what it was asked for. A run has ended, and its ensemble serves."""
    FAILED = 1
    """A step failed, or a check found something: drift, a missing right, a version that was rolled back."""
    MISTAKE = 2
    """The command line, the run file or the data can't be used; one sentence says what to change."""
    CANCELLED = 3
    """A run or a job on Vertex AI or Kubeflow was cancelled."""
    NOT_PROMOTED = 4
    """A run has ended well, and its ensemble was not promoted."""
    INTERRUPTED = 130
    """Ctrl-C ended the command. A local run goes on where it stopped; one elsewhere goes on by itself."""


class UserError(Exception):
    """A mistake in the run file or the data: its text is one sentence that says what to do.

    Steps and the command line print the text alone, without a stack trace, and exit with status 2.
    """


class AwayError(UserError):
    """A service that does not answer, which is nobody's mistake: the same may succeed later.

    The command line takes it for a user's, since somebody has to try again; a step ends with status 1, as with a
    `RunError`, so that its engine does.
    """


class RunError(Exception):
    """A failure that is nobody's mistake, such as a full disk: one sentence that says what to do.

    Steps and the command line print the text alone, without a stack trace, and exit with status 1.
    """


class Mistakes:
    """Mistakes of the user's that are told of together, a line each."""

    def __init__(self) -> None:
        self._said: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Go on after a mistake in the block."""
        try:
            yield
        except UserError as error:
            self._said.append(str(error))

    def tell(self) -> None:
        """Raise what was noted.

        Raises:
            UserError: Something was.
        """
        if self._said:
            raise UserError("\n".join(dict.fromkeys(self._said)))


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the nearest of the allowed spellings, or nothing if none is near."""
    allowed = [str(name) for name in allowed]
    by_case = {name.lower(): name for name in allowed}
    match = difflib.get_close_matches(str(given).lower(), by_case, n=1, cutoff=0.6)
    return f'; did you mean "{by_case[match[0]]}"?' if match else ""


LONGEST = 500
"""Characters of what another program said, in a sentence: some put a whole page, or a request, into one line."""


def first_line(text: str) -> str:
    """Its first line without the full stop and at most `LONGEST` characters, to stand in a sentence."""
    line = (text.strip().splitlines() or [""])[0].strip().rstrip(".")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
