"""Report of a failed step, left in a bucket for the task that waits for it elsewhere."""

from typing import ClassVar

from kep.core.environment import FAILURE
from kep.core.json_model import JsonModel
from kep.google import objects


class Failure(JsonModel):
    """Why a step failed."""

    KIND: ClassVar[str] = "why a step failed"

    message: str
    user: bool
    """True if it is the user's mistake."""


def leave(place: str, failure: Failure) -> None:
    """Write a failure to `place`, in place of the one that an earlier attempt left.

    Raises:
        UserError: It can't be written.
    """
    _, generation = objects.read(place, FAILURE)
    objects.replace(place, failure.to_json().encode(), generation, FAILURE)


def found(place: str) -> Failure | None:
    """Return the failure at `place`; None where there is none.

    Raises:
        UserError: It can't be read.
    """
    content, _ = objects.read(place, FAILURE)
    return None if content is None else Failure.from_json(content, place)
