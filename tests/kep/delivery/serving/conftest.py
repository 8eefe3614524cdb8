"""Servers on a free port of this machine, in a thread of the tests."""

from collections.abc import Iterator

import pytest

from tests.helpers.serving import Running, running


@pytest.fixture(scope="session")
def served(ensembles) -> Iterator:
    """Function from the name of a source to a running server of an ensemble for it."""
    families = {"shapes": ("mlp", "cnn"), "digits": ("mlp", "boosted_trees")}
    started = {}

    def of(source: str) -> Running:
        if source not in started:
            context = running(ensembles(source, *families.get(source, ("mlp", "boosted_trees"))))
            started[source] = (context, context.__enter__())
        return started[source][1]

    yield of
    for context, _ in started.values():
        context.__exit__(None, None, None)
