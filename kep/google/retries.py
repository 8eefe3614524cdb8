"""Calls of Google's services: after which answers one is sent again."""

from typing import Any, TypedDict

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud.storage.retry import DEFAULT_RETRY


class Call(TypedDict):
    """How a call that may be sent again is sent.

    Attributes:
        retry: After which answers, and how long, it is sent again.
        timeout: Seconds that one request may take.
    """

    retry: Retry
    timeout: float


class SingleCall(TypedDict):
    """How a call that is sent once is sent; fields as in `Call`."""

    retry: None
    timeout: float


UNSURE = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.Unknown,
)
"""After these nobody knows whether the call was done."""
AGAIN = if_exception_type(*UNSURE, exceptions.ResourceExhausted, exceptions.Aborted)
"""Predicate: after this error a call that may be done twice is sent again."""
STORAGE: dict[str, Any] = {"retry": DEFAULT_RETRY.with_timeout(60), "timeout": 60}
"""For a call to Cloud Storage that only reads; seconds."""
