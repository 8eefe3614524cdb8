"""Which of the faults that a test has arranged hits a request: the same for every local server."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class Limited(Protocol):
    """A fault.

    Attributes:
        times: requests that it hits; after that it is spent.
        skip: requests that it lets pass first.
        hits: requests that it has hit.
    """

    times: float
    skip: int
    hits: int


_Fault = TypeVar("_Fault", bound=Limited)


def due(faults: Iterable[_Fault], meant: Callable[[_Fault], bool]) -> _Fault | None:
    """The first fault that is meant for a request and not spent, its hit counted."""
    for fault in faults:
        if fault.hits < fault.times and meant(fault):
            if fault.skip:
                fault.skip -= 1
                continue
            fault.hits += 1
            return fault
    return None
