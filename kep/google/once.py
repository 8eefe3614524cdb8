"""Calls that must not be done twice."""

from collections.abc import Callable
from typing import TypeVar

from google.api_core.retry import Retry

Made = TypeVar("Made")


def once(
    send: Callable[[], Made], find: Callable[[], Made | None], retry: Retry, unsure: Callable[[Exception], bool]
) -> Made:
    """Does what must not be done twice: when the answer is lost, a look decides whether to do it again.

    Args:
        send: Does it.
        find: Returns what it has made; None when it has made nothing.
        retry: How long to try.
        unsure: Whether after an error nobody knows if it was done.
    """

    def attempt() -> Made:
        try:
            return send()
        except Exception as error:
            if not unsure(error) or (found := find()) is None:
                raise
            return found

    return retry(attempt)()
