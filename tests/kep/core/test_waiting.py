"""Whoever waits for a silent server is told so once."""

import threading

import pytest

from kep.core import waiting
from kep.core.waiting import waiting_for


@pytest.fixture
def told(monkeypatch):
    """What a person was told, and when the first word came."""
    monkeypatch.setattr(waiting, "SILENCE", 0.01)
    words, came = [], threading.Event()

    class Console:
        def print(self, text, **_):
            words.append(text)
            came.set()

    monkeypatch.setattr(waiting, "plain_console", lambda **_: Console())
    return words, came


def test_a_call_within_another_says_nothing_of_its_own(told):
    words, came = told
    with waiting_for("the server"), waiting_for("its list"):
        assert came.wait(10)
    assert words == ["still waiting for the server after 0.01 s"]


def test_each_call_has_its_own_time(told):
    words, came = told
    for _ in range(2):
        with waiting_for("the server"):
            assert came.wait(10)
        came.clear()
    assert len(words) == 2


@pytest.mark.parametrize("error", [None, ValueError])
def test_an_answer_ends_it(told, error, monkeypatch):
    monkeypatch.setattr(waiting, "SILENCE", 60)
    before = threading.active_count()
    try:
        with waiting_for("the server"):
            if error:
                raise error
    except ValueError:
        pass
    timers = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
    for one in timers:
        one.join(10)
    assert threading.active_count() == before
    assert told[0] == []
