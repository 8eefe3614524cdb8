"""Whole runs, as in tests/pipeline."""

from tests.pipeline.conftest import finished

__all__ = ["finished"]
