"""Whole runs, as in tests/runs."""

from tests.runs.conftest import finished

__all__ = ["finished"]
