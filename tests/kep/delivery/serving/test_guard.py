"""Heads without an end, connections that say nothing, and too many of them: the others are answered."""

import socket
from contextlib import contextmanager, suppress

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from kep.delivery.serving import guard
from tests.helpers.fuzzing import examples
from tests.helpers.serving import running, until


@contextmanager
def connected(server, sent: bytes = b""):
    port = int(server.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as one:
        one.sendall(sent)
        yield one


HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "begin",
    [HEAD + b"A: ", HEAD, b"GET /" + b"a" * 100, b"POST /predict HTTP/1.1\r\n"],
    ids=["value", "names", "path", "post"],
)
def test_a_head_without_an_end_is_ended_and_health_is_answered(served, begin):
    server, part = served("churn"), (b"a" if begin != HEAD else b"a: b\r\n") * 8192
    with connected(server, begin) as one:
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            one.sendall(part * 4096)
        assert requests.get(server.address + "/health", timeout=30).ok


def test_a_large_head_is_told_what_it_is(served):
    with connected(served("churn"), HEAD + b"A: ") as one:
        for _ in range(3):
            one.sendall(b"a" * (guard.HEAD_BYTES // 2))
        assert one.recv(100).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("begin", [b"", b"GET /hea", HEAD], ids=["nothing", "a word", "half a head"])
def test_a_head_that_is_too_slow_is_ended(served, begin, monkeypatch):
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.2)
    with connected(served("churn"), begin) as one:
        assert one.recv(100).startswith(b"HTTP/1.1 408 ")
        assert one.recv(1) == b""


def test_a_second_request_of_a_connection_may_not_be_slow_either(served, monkeypatch):
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.5)
    with connected(served("churn"), HEAD + b"\r\n") as one:
        assert one.recv(1000).startswith(b"HTTP/1.1 200 ")
        one.sendall(b"GET /hea")
        assert one.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "held",
    [b"", b"GET /hea", HEAD + b"\r\n", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"],
    ids=["nothing", "a word", "answered", "half a body"],
)
def test_a_connection_beyond_the_most_takes_the_place_of_the_most_silent(ensembles, monkeypatch, held):
    monkeypatch.setattr(guard, "MOST_CONNECTIONS", 2)
    with running(ensembles("churn", "mlp", "boosted_trees")) as server:
        state = server.server.server_state
        until(lambda: not state.connections)
        with connected(server, held) as first, connected(server, held):
            until(lambda: len(state.connections) == 2)
            for _ in range(5):
                assert requests.get(server.address + "/health", timeout=30).ok
            first.settimeout(30)
            with suppress(ConnectionResetError):
                while first.recv(1000):
                    pass
        until(lambda: not state.connections)


def test_trailers_without_an_end_are_ended(served):
    chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    for begin in (b"0\r\nA: ", b"1;"):
        with connected(served("churn"), chunked + begin) as one, pytest.raises(OSError, match=r"reset|Broken pipe"):
            one.sendall(b"a" * (1 << 25))


def test_a_body_may_be_larger_than_a_head(served):
    answer = served("churn").post(b'{"instances": [' + b" " * (3 * guard.HEAD_BYTES) + b"]}")
    assert answer.status_code == 400
    assert "instances" in answer.text


_PIECES = st.sampled_from(
    [
        *(HEAD, b"A: b\r\n", b"\r\n", b"\r\n\r\n", b"\n", b":", b" ", b"\0", b"a" * 70_000),
        *(b"POST /predict HTTP/1.1\r\n", b"Content-Length: ", b"5\r\n", b"0\r\n", b"-1", b"9" * 20, b"{}"),
        *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ]
)


@pytest.mark.fuzz
@examples(100)
@given(st.lists(_PIECES | st.binary(max_size=20), min_size=1, max_size=12))
def test_whatever_is_sent_gets_an_answer_of_http_or_none_and_stops_nobody(served, caplog, parts):
    server = served("churn")
    with connected(server) as one, suppress(OSError):  # ended while there was more to send
        for part in parts:
            one.sendall(part)
        one.shutdown(socket.SHUT_WR)
        answer = b""
        while more := one.recv(1 << 16):
            answer += more
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert requests.get(server.address + "/health", timeout=30).ok
    until(lambda: len(server.server.server_state.connections) <= 1)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
