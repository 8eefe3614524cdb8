"""`kep serve` and `kep predict --url`, in processes of their own and through real sockets."""

import json
import shlex
import signal
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pyarrow.csv
import pytest
import requests
from rich.console import Console

from kep.core.errors import UserError
from kep.delivery import remote
from kep.delivery.predict import predict
from kep.delivery.remote import Remote
from kep.delivery.serving.app import ServerLimits
from tests.helpers.commands import command, environment, kep
from tests.helpers.paths import DATA
from tests.helpers.serving import running, until


def test_the_command_serves_until_it_is_told_to_end(ensembles):
    folder = ensembles("churn", "mlp", "boosted_trees")
    serve = command("serve", folder, "--port", "0", "--name", "churn", "--drain-s", "600")
    process = subprocess.Popen(serve, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        curl = next(line for line in lines if line.startswith("curl "))
        assert json.loads(next(line for line in lines if "ready" in line))["severity"] == "INFO"
        _, url, _, body = shlex.split(curl)
        assert requests.post(url, body, timeout=60).json()["predictions"][0]["label"] in ("no", "yes")
        health = url.partition("/v1/")[0] + "/health"
        assert requests.get(health, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        until(lambda: requests.get(health, timeout=60).status_code == 503)
        assert json.loads(next(line for line in lines if '"status": 503' in line))["severity"] == "WARNING"
        assert requests.post(url, body, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chrn"], "no finished run chrn in"),
        (["FOLDER", "--name", "a/b"], '--name: "a/b" can\'t stand in a path'),
        (["FOLDER", "--port", "TAKEN"], "can't be listened on: Address already in use"),
        (["FOLDER", "--port", "0", "--grpc-port", "TAKEN"], "--grpc-port: 127.0.0.1:"),
        (["FOLDER", "--health-route", "health"], '--health-route: "health" is not a path; begin it with /'),
    ],
)
def test_what_can_not_be_served_is_one_sentence(ensembles, served, arguments, message):
    names = {"FOLDER": str(ensembles("churn", "mlp", "boosted_trees")), "TAKEN": served("churn").address.split(":")[-1]}
    done = kep("serve", *(names.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    assert message in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(("source", "ending"), [("churn", "csv"), ("houses", "parquet"), ("shapes", "jsonl")])
def test_a_served_model_writes_the_same_file_as_the_model_itself(served, tmp_path, source, ending):
    server, console = served(source), Console(quiet=True)
    data = str(DATA / ("shapes" if source == "shapes" else f"{source}.csv"))
    here, there = tmp_path / f"here.{ending}", tmp_path / f"there.{ending}"
    predict(str(server.folder), None, data, here, tmp_path, console)
    predict(None, server.url, data, there, tmp_path, console)
    assert here.read_bytes() == there.read_bytes()


def test_a_server_that_takes_few_rows_gets_few(ensembles, tmp_path):
    """Rows keep their order over many requests; the last bits may differ, as the batches do."""
    folder = ensembles("churn", "mlp", "boosted_trees")
    data, console = str(DATA / "churn.csv"), Console(quiet=True)
    predict(str(folder), None, data, tmp_path / "here.csv", tmp_path, console)
    with running(folder, ServerLimits(rows=7)) as server:
        predict(None, server.url, data, tmp_path / "there.csv", tmp_path, console)
    here, there = (pyarrow.csv.read_csv(tmp_path / f"{name}.csv") for name in ("here", "there"))
    np.testing.assert_allclose(here["probability_yes"], there["probability_yes"], atol=1e-6)


class Faulty:
    """A proxy that fails before it passes requests on: with a status, or by closing the connection."""

    def __init__(self, target: str) -> None:
        self.faults: list[int | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if outer.faults:
                    fault = outer.faults.pop(0)
                    if fault is None:
                        self.connection.close()
                        return
                    # With and without what says when to come again.
                    self._answer(fault, b'{"error": "busy"}', {"Retry-After": "0"} if fault == 503 else {})
                    return
                answer = requests.request(self.command, target + self.path, data=body, timeout=60)
                self._answer(answer.status_code, answer.content, {})

            do_POST = do_GET  # noqa: N815

            def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(content))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def faulty(served, monkeypatch) -> Iterator[Faulty]:
    monkeypatch.setattr(remote, "PAUSE", 0)
    proxy = Faulty(served("churn").address)
    thread = Thread(target=proxy.server.serve_forever)
    thread.start()
    yield proxy
    proxy.server.shutdown()
    thread.join()
    proxy.server.server_close()


def test_requests_that_fail_for_a_while_are_sent_again(faulty, served):
    url = f"{faulty.address}/v1/models/tested:predict"
    table = pyarrow.csv.read_csv(DATA / "churn.csv").slice(0, 9).drop_columns(["churned", "customer"])
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    predictor = Remote(url)
    faulty.faults = [503, None, 429]
    np.testing.assert_allclose(predictor.predict(columns), served("churn").ensemble.predict(table), atol=1e-6)
    assert faulty.faults == []
    faulty.faults = [503] * 20
    with pytest.raises(UserError, match="answered 503: busy"):
        predictor.predict(columns)
    assert len(faulty.faults) == 14
    faulty.faults = [None] * 20
    with pytest.raises(UserError, match=r"can't be reached .*; tried 6 times"):
        predictor.predict(columns)
    faulty.faults = [400] * 2
    with pytest.raises(UserError, match="answered 400: busy"):
        predictor.predict(columns)
    assert len(faulty.faults) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8080/v1/models/x:predict", "is not of the form http://HOST:PORT/v1/models/NAME:predict"),
        ("ADDRESS/v1/models/x", "is not of the form"),
        ("ADDRESS/v1/models/x:predict", "answered 404: there is no /v1/models/x/metadata here; the model is at"),
        ("http://127.0.0.1:1/v1/models/x:predict", "can't be reached (Connection refused)"),
    ],
)
def test_an_address_without_a_model_is_one_sentence(served, monkeypatch, url, message):
    monkeypatch.setattr(remote, "PAUSE", 0)
    with pytest.raises(UserError) as caught:
        Remote(url.replace("ADDRESS", served("churn").address))
    assert message in str(caught.value)


def test_data_that_the_served_model_does_not_take_are_refused(served, tmp_path):
    (tmp_path / "new.csv").write_text((DATA / "churn.csv").read_text().replace("months", "month"))
    with pytest.raises(UserError, match=r'column "months" is missing in .*; did you mean "month"'):
        predict(None, served("churn").url, str(tmp_path / "new.csv"), tmp_path / "o.csv", tmp_path, Console(quiet=True))
    (tmp_path / "new.csv").write_text((DATA / "churn.csv").read_text().replace("true", "maybe"))
    with pytest.raises(UserError, match='column "paperless": "maybe" is not a boolean'):
        predict(None, served("churn").url, str(tmp_path / "new.csv"), tmp_path / "o.csv", tmp_path, Console(quiet=True))
    assert not (tmp_path / "o.csv").exists()


def test_one_model_is_named():
    with pytest.raises(UserError, match="give --model with a run, --url with"):
        predict("a", "b", "data.csv", DATA / "o.csv", DATA, Console(quiet=True))
