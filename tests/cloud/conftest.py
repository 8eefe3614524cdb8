"""A local Cloud Storage for the tests beside this file."""

from collections.abc import Iterator

import pytest

from tests.cloud.gcs import Server


@pytest.fixture
def gcs(monkeypatch) -> Iterator[Server]:
    """A server with the bucket "data", which Google's clients in this process and its children use."""
    with Server("data") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server
