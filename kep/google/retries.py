"""Calls of Google's services: after which answers one is sent again."""

from google.api_core import exceptions
from google.api_core.retry import if_exception_type
from google.cloud.storage.retry import DEFAULT_RETRY

UNSURE = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.Unknown,
)
"""After these nobody knows whether the call was done."""
AGAIN = if_exception_type(*UNSURE, exceptions.ResourceExhausted)
"""Whether a call that may be done twice is sent again after an error."""
STORAGE = {"retry": DEFAULT_RETRY.with_timeout(60), "timeout": 60}
"""Of a call to Cloud Storage that only reads; seconds."""
