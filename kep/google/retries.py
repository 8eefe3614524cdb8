"""Calls of Google's services: after which answers one is sent again."""

from google.api_core import exceptions
from google.api_core.retry import if_exception_type

UNSURE = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.Unknown,
)
"""After these nobody knows whether the call was done."""
AGAIN = if_exception_type(*UNSURE, exceptions.ResourceExhausted)
"""Whether a call that may be done twice is sent again after an error."""
