"""Heads without an end, connections that say nothing, and too many of them: the others are answered."""

import socket
from contextlib import contextmanager, suppress

import pytest
import requests

from kep.delivery.serving import guard
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


def test_connections_beyond_the_most_are_closed_and_others_are_answered_again(ensembles, monkeypatch):
    monkeypatch.setattr(guard, "MOST_CONNECTIONS", 2)
    with running(ensembles("churn", "mlp", "boosted_trees")) as server:
        state = server.server.server_state
        until(lambda: not state.connections)
        with connected(server), connected(server):
            until(lambda: len(state.connections) == 2)
            with connected(server) as one, suppress(ConnectionResetError):
                assert one.recv(1) == b""
        until(lambda: not state.connections)
        assert requests.get(server.address + "/health", timeout=30).ok


def test_a_body_may_be_larger_than_a_head(served):
    answer = served("churn").post(b'{"instances": [' + b" " * (3 * guard.HEAD_BYTES) + b"]}")
    assert answer.status_code == 400
    assert "instances" in answer.text
