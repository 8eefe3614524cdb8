"""How a server behaves while it loads, under more than it can do, when something fails, and at its end."""

import gc
import json
import logging
import shutil
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import requests

from kep.delivery.serving.app import ServerLimits
from kep.delivery.serving.observe import JsonFormatter
from kep.models.ensemble import Ensemble
from tests.helpers.serving import Running, running, until

ROW = {"months": 3, "plan": "basic", "monthly_charge": 20.5, "paperless": True, "support_calls": 1, "region": "east"}
ONE = {"instances": [ROW]}


@pytest.fixture
def churn(ensembles):
    return ensembles("churn", "mlp", "boosted_trees")


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as executor:
        yield executor


def counted(server: Running, name: str) -> float:
    """A metric's value; 0 where nothing was counted yet."""
    lines = server.get("/metrics").text.splitlines()
    return float(next((line for line in lines if line.startswith(f"{name} ")), "0").rpartition(" ")[2])


def queued(server: Running, pool: ThreadPoolExecutor, *bodies: dict) -> list[Future]:
    """Requests that are sent while the model is held at work, each once the one before has been queued."""
    server.model.predicts.clear()
    server.model.at_work.clear()
    sent = [pool.submit(server.post, ONE)]
    assert server.model.at_work.wait(60)
    for body in bodies:
        before = counted(server, "kep_queue_rows")
        sent.append(pool.submit(server.post, body))
        until(lambda before=before: counted(server, "kep_queue_rows") > before)
    return sent


def test_it_is_ready_when_it_has_predicted(churn):
    with running(churn, loads=False) as server:
        for answer in (server.get("/health"), server.post(ONE), server.get("/v1/models/tested/metadata")):
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
        assert server.get("/v1/models/tested").json()["model_version_status"][0]["state"] == "LOADING"
        assert counted(server, "kep_ready") == 0
        server.model.loads.set()
        assert server.model.loaded.wait(60)
        assert server.get("/health").status_code == 200
        assert counted(server, "kep_ready") == 1
        assert server.post(ONE).status_code == 200


def test_the_paths_of_vertex_ai_are_the_ones_it_names(churn):
    with running(churn, health="/v1/endpoints/7", predict="/v1/endpoints/7:predict") as server:
        assert server.get("/v1/endpoints/7").status_code == 200
        assert server.post(ONE, "/v1/endpoints/7:predict").json()["predictions"][0]["label"] in ("no", "yes")


def test_what_waits_becomes_one_batch_and_each_gets_its_own(churn, pool):
    with running(churn) as server:
        bodies = [{"instances": [ROW | {"months": months}] * 2} for months in (1, 40, 70)]
        sent = queued(server, pool, *bodies)
        before = counted(server, "kep_batch_rows_count")
        server.model.predicts.set()
        answers = [future.result(60).json()["predictions"] for future in sent]
        assert counted(server, "kep_batch_rows_count") == before + 1
        for body, answer in zip([ONE, *bodies], answers, strict=True):
            alone = server.post(body).json()["predictions"]
            assert [row["probabilities"] for row in answer] == [
                pytest.approx(row["probabilities"], abs=1e-6) for row in alone
            ]


def test_an_idle_model_waits_for_a_batch_no_longer_than_it_is_full(churn, pool):
    """With a delay beyond the test's own limit, two requests that fill a batch are answered."""
    with running(churn, ServerLimits(rows=2, delay=600)) as server:
        sent = [pool.submit(server.post, ONE) for _ in range(2)]
        assert [future.result(60).status_code for future in sent] == [200, 200]


def test_a_full_queue_refuses_and_the_others_are_answered(churn, pool):
    with running(churn, ServerLimits(queue=3)) as server:
        sent = queued(server, pool, {"instances": [ROW] * 2})
        refused = server.post({"instances": [ROW] * 2})
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        assert "2 rows wait already" in refused.json()["error"]
        server.model.predicts.set()
        assert [future.result(60).status_code for future in sent] == [200, 200]


def test_malformed_requests_fail_no_good_one(churn, pool):
    bad = [{"instances": [ROW | {"months": "x"}]}, {"instances": [{}]}, "{", {"instances": [ROW] * 2000}]
    with running(churn, ServerLimits(rows=4)) as server:
        expected = server.post(ONE).json()["predictions"][0]["probabilities"]
        answers = list(pool.map(server.post, [ONE, *bad] * 40))
    for index, answer in enumerate(answers):
        assert answer.status_code == (400 if index % 5 else 200), answer.text
        if index % 5 == 0:
            assert answer.json()["predictions"][0]["probabilities"] == pytest.approx(expected, abs=1e-6)


def test_a_request_that_takes_too_long_is_given_up(churn):
    with running(churn, ServerLimits(seconds=0.2)) as server:
        server.model.predicts.clear()
        late = server.post(ONE)
        assert late.status_code == 504
        assert "no answer within 0.2 s" in late.json()["error"]
        server.model.predicts.set()


def test_a_body_that_is_too_large_is_not_read(churn):
    with running(churn, ServerLimits(bytes=1000)) as server:
        for data in (b" " * 1001, iter([b" " * 600] * 2)):
            answer = requests.post(server.url, data=data, timeout=60)
            assert answer.status_code == 413
            assert "larger than 1,000 bytes" in answer.json()["error"]
        assert server.post(ONE).status_code == 200


def test_large_requests_are_read_as_small_ones_are(served):
    server = served("churn")
    body = {"instances": [ROW] * 1000}
    assert len(json.dumps(body)) > 1 << 16
    predictions = server.post(body).json()["predictions"]
    assert len(predictions) == 1000
    assert "instances[999].plan" in server.post({"instances": [ROW] * 999 + [ROW | {"plan": []}]}).json()["error"]


def test_a_row_for_which_there_is_no_prediction_is_refused(churn, monkeypatch):
    """The most probable class of NaN would be the first."""
    with running(churn) as server:
        combine = server.model.ensemble.combine

        def overflowing(predictions: list) -> np.ndarray:
            pooled = combine(predictions)
            pooled[1:] = np.nan
            return pooled

        monkeypatch.setattr(server.model.ensemble, "combine", overflowing)
        assert server.post(ONE).status_code == 200
        refused = server.post({"instances": [ROW] * 2})
        assert refused.status_code == 400
        assert "row 1: the ensemble predicts no number for it" in refused.json()["error"]


def test_a_request_that_breaks_off_is_no_failure(churn, caplog):
    with running(churn) as server:
        with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2]))) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        until(lambda: counted(server, 'kep_requests_total{route="/predict",status="400"}') == 1)
        assert server.post(ONE).status_code == 200
    assert "Traceback" not in caplog.text


def test_a_failing_model_fails_its_batch_alone(churn, caplog):
    with running(churn) as server:
        server.model.failure = RuntimeError("out of memory")
        answer = server.post(ONE)
        assert answer.status_code == 500
        assert answer.json() == {"error": "the server failed at this request; its log says why"}
        server.model.failure = None
        assert server.post(ONE).status_code == 200
    assert "out of memory" in caplog.text


def test_on_sigterm_the_check_fails_and_what_has_begun_is_finished(churn, pool):
    with running(churn, drain=0) as server:
        (sent,) = queued(server, pool)
        server.server.handle_exit(signal.SIGTERM, None)
        until(lambda: server.server.should_exit)
        assert not sent.done()
        server.model.predicts.set()
        assert sent.result(60).status_code == 200


def test_requests_are_taken_until_the_drain_is_over(churn):
    with running(churn, drain=600) as server:
        server.server.handle_exit(signal.SIGTERM, None)
        assert server.get("/health").status_code == 503
        assert server.get("/v1/models/tested").json()["model_version_status"][0]["state"] == "UNLOADING"
        assert server.post(ONE).status_code == 200
        assert not server.server.should_exit
        server.server.handle_exit(signal.SIGTERM, None)
        assert server.server.should_exit


def test_a_collection_of_garbage_does_not_walk_what_was_loaded(churn):
    with running(churn) as server:
        assert server.post(ONE).status_code == 200
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0


def test_a_log_line_says_how_a_request_went_and_not_what_was_in_it(churn, caplog):
    caplog.set_level(logging.INFO, "kep.serving")
    with running(churn) as server:
        server.post({"instances": [ROW | {"region": "secret"}]})
        server.post({"instances": [ROW | {"months": "secret"}]})
        requests.post(server.url, "{}", headers={"X-Request-Id": "mine"}, timeout=60)
        server.get("/health")
    records = [record for record in caplog.records if record.getMessage() == "request"]
    lines = [json.loads(JsonFormatter().format(record)) for record in records]
    assert [(line["severity"], line["status"], line.get("rows")) for line in lines] == [
        ("INFO", 200, 1),
        ("INFO", 400, None),
        ("INFO", 400, None),
    ]
    assert lines[2]["request_id"] == "mine"
    assert lines[0]["route"] == "/v1/models/tested:predict"
    assert "secret" not in json.dumps(lines)


def test_metrics_count_requests_by_route_and_status(churn):
    with running(churn) as server:
        server.post(ONE)
        server.post({"instances": [ROW] * 3})
        server.post("{")
        server.get("/made/up")
        assert counted(server, 'kep_requests_total{route="/v1/models/tested:predict",status="200"}') == 2
        assert counted(server, 'kep_requests_total{route="/v1/models/tested:predict",status="400"}') == 1
        assert counted(server, 'kep_requests_total{route="other",status="404"}') == 1
        assert counted(server, "kep_rows_total") == 4


def test_a_health_check_does_not_wait_for_the_model(churn, pool):
    with running(churn) as server:
        queued(server, pool)
        assert server.get("/health").status_code == 200
        server.model.predicts.set()


def test_a_model_that_predicts_no_number_never_is_ready(churn, monkeypatch):
    monkeypatch.setattr(Ensemble, "combine", lambda self, predictions: predictions[0] * np.nan)
    with running(churn, loads=False) as server:
        server.model.loads.set()
        until(lambda: server.server.should_exit)
        assert "predicts what is no finite number" in str(server.server.failure)
        assert server.model.state != "AVAILABLE"


def test_a_model_that_can_not_be_loaded_ends_the_server(churn, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(churn, folder)
    next(folder.glob("members/mlp-*/*.keras")).write_bytes(b"no model")
    with running(folder, loads=False) as server:
        server.model.loads.set()
        until(lambda: server.server.should_exit)
        assert server.server.failure is not None
