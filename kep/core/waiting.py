"""A word to whoever waits for a server that says nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Timer

from kep.core.console import plain_console

SILENCE = 15.0
"""Seconds without an answer, or an operation's end, after which a person is told."""
_within: ContextVar[bool] = ContextVar("within", default=False)


@contextmanager
def waiting_for(whom: str) -> Iterator[None]:
    """Say on the standard error, once, that an answer is still waited for.

    Args:
        whom: Who is to answer, as in "Kubeflow at https://host".
    """
    if _within.get():
        yield
        return
    said = f"still waiting for {whom} after {SILENCE:g} s"
    timer = Timer(SILENCE, lambda: plain_console(stderr=True).print(said, soft_wrap=True))
    timer.daemon = True
    token = _within.set(True)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _within.reset(token)
