"""`kep predict --endpoint`: over REST from an endpoint that hands requests to servers of ours by its traffic split."""

import json
import re

import numpy as np
import pyarrow.csv
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from rich.console import Console

from kep.delivery.predict import predict
from kep.delivery.rollout import endpoints
from kep.engines.local.runner import ENTERED
from kep.google.vertex import Vertex
from tests.helpers.cloud import one_sentence
from tests.helpers.endpoints import NAME, PLACE
from tests.helpers.paths import DATA
from tests.helpers.storage import upload

ASK = ("predict", str(DATA / "churn.csv"), "--endpoint", "churn", *PLACE)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """In this process, and without pauses."""
    monkeypatch.setenv(ENTERED, "1")
    monkeypatch.setattr(endpoints, "PAUSE", 0)


def column(path, name: str) -> list:
    return pyarrow.csv.read_csv(path)[name].to_pylist()


@pytest.fixture
def expected(churn_versions, tmp_path):
    """Function from an ensemble's name to the bytes that `kep predict --model` writes with it."""

    def of(name: str, ending: str = "csv") -> bytes:
        path = tmp_path / f"expected-{name}.{ending}"
        predict(str(churn_versions[name]), None, str(DATA / "churn.csv"), path, tmp_path, Console(quiet=True))
        return path.read_bytes()

    return of


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_an_endpoint_writes_the_same_file_as_the_model(serving, kep, expected, tmp_path, tunnel, ending):
    serving(one=100)
    code, out, err = kep(*ASK, "-o", f"there.{ending}")
    assert (code, err) == (0, "")
    assert re.search(rf"wrote there\.{ending}: 600 rows in [\d.]+ s, by endpoint churn \(version 1: 600 rows\)\n", out)
    assert (tmp_path / f"there.{ending}").read_bytes() == expected("one", ending)
    assert tunnel.refused == []


@pytest.mark.parametrize("name", [NAME, "12", "Churn at home"])
def test_an_endpoint_is_found_by_its_names(serving, vertex, kep, name):
    serving(one=100)
    one = vertex.models.endpoints.pop(NAME)
    one.name, one.display_name = NAME if name == NAME else NAME.replace("churn", "12"), "Churn at home"
    vertex.models.endpoints[one.name] = one
    place = () if name == NAME else PLACE
    code, out, _ = kep("predict", ASK[1], "--endpoint", name, *place)
    assert (code, "by endpoint Churn at home (version 1: 600 rows)" in out) == (0, True)


def test_a_large_file_is_sent_in_order_in_requests_that_an_endpoint_takes(
    serving, vertex, kep, expected, monkeypatch, tmp_path
):
    """The last bits may differ, as the batches do."""
    expected("one")
    serving(one=100)
    monkeypatch.setattr(endpoints, "LARGEST", 20_000)
    assert kep(*ASK)[0] == 0
    assert vertex.models.answered["1"] > 2
    ours, theirs = (column(tmp_path / name, "probability_yes") for name in ("predictions.csv", "expected-one.csv"))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_both_versions_answer_by_their_shares(serving, kep, monkeypatch, vertex):
    ids = serving(one=50, other=50)
    monkeypatch.setattr(endpoints, "LARGEST", 5_000)
    code, out, _ = kep(*ASK)
    counts = dict(re.findall(r"version (\d): (\d+) rows", out))
    assert code == 0
    assert sum(map(int, counts.values())) == 600
    assert all(vertex.models.answered[id] > 3 for id in ids)


@pytest.mark.parametrize("version", ["2", "id"])
def test_a_version_can_be_named(serving, kep, expected, tmp_path, version):
    ids = serving(one=90, other=10)
    code, out, err = kep(*ASK, "--version", ids[1] if version == "id" else version)
    assert (code, err) == (0, "")
    assert "note: an endpoint chooses by its traffic split: about 10 requests for each answer of" in out
    assert "(version 2: 600 rows)" in out
    assert (tmp_path / "predictions.csv").read_bytes() == expected("other")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--version", "3"], "--version: endpoint churn does not serve 3; it serves 1, 2"),
        (["--version", "2"], "--version: version 2 gets no traffic of endpoint churn, and an endpoint can't be asked"),
        (["--endpoint", "chrn"], 'endpoint: there is no "chrn" in europe-west4 of project shop-ml; did you mean'),
        (["--endpoint", 'a"b'], "is not the name of an endpoint"),
        (["--model", "churn"], "give --model with a run, --url with the address of a served model, or --endpoint"),
        (["--output", "x.txt"], "--output: x.txt must end in .csv"),
    ],
)
def test_a_mistake_is_one_sentence(serving, kep, arguments, words):
    serving(one=100, other=0)
    code, _, err = kep(*ASK, *arguments)
    assert code == 2
    assert words in one_sentence(err)


def test_without_an_endpoint_there_is_no_version(kep):
    assert "--version has no meaning without --endpoint" in one_sentence(kep("predict", "x", "--version", "2")[2])
    assert "--project: is missing" in one_sentence(kep("predict", "x", "--endpoint", "churn")[2])


def test_two_endpoints_of_one_name_are_told_apart(serving, vertex, kep):
    serving(one=100)
    one = vertex.models.endpoints.pop(NAME)
    for id in ("12", "34"):
        other = type(one)(one)
        other.name = NAME.replace("churn", id)
        vertex.models.endpoints[other.name] = other
    assert 'endpoint: 2 endpoints have the name "churn"; give the id of one: 12, 34' in one_sentence(kep(*ASK)[2])


def test_an_endpoint_without_a_model_and_a_model_of_somebody_else(serving, vertex, gcs, kep):
    serving(one=100)
    (model,) = vertex.models.versions[NAME.replace("endpoints/churn", "models/kep-churn")]
    del gcs.objects["data", model.artifact_uri.removeprefix("gs://data/") + "/manifest.json"]
    assert "version 1 of kep-churn is a model, but not one that `kep` made" in one_sentence(kep(*ASK)[2])
    vertex.models.endpoints[NAME].traffic_split = {}
    assert "endpoint: churn serves no model; `kep rollout start` deploys one" in one_sentence(kep(*ASK)[2])


@pytest.mark.parametrize("method", ["GetEndpoint", "GetModel", "Predict"])
def test_what_fails_for_a_while_is_asked_again(serving, vertex, kep, expected, tmp_path, method):
    serving(one=100)
    fault = vertex.fault(method, "UNAVAILABLE", times=3)
    assert kep(*ASK)[0] == 0
    assert fault.hits == 3
    assert (tmp_path / "predictions.csv").read_bytes() == expected("one")


@pytest.mark.parametrize(
    ("code", "times", "words"),
    [
        ("UNAVAILABLE", 6, "endpoint: churn answered 503: injected"),
        ("PERMISSION_DENIED", 1, "endpoint: churn answered 403: injected; grant this login roles/aiplatform.user"),
    ],
)
def test_what_does_not_end_is_one_sentence(serving, vertex, kep, tmp_path, code, times, words):
    serving(one=100)
    fault = vertex.fault("Predict", code, times=float("inf"))
    assert words in one_sentence(kep(*ASK)[2])
    assert fault.hits == times
    assert not (tmp_path / "predictions.csv").exists()


def test_a_version_that_fails_costs_no_row(serving, vertex, kep, monkeypatch):
    """Its requests go to the other one when they are sent again."""
    ids = serving(one=70, other=30)
    vertex.models.broken[ids[1]] = 503
    monkeypatch.setattr(endpoints, "LARGEST", 20_000)
    code, out, _ = kep(*ASK)
    assert (code, "by endpoint churn (version 1: 600 rows)" in out) == (0, True)


def test_a_key_file_works_and_is_warned_about(serving, kep, tmp_path, monkeypatch):
    serving(one=100)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = "steps@shop-ml.iam.gserviceaccount.com"
    facts = {"type": "service_account", "client_email": account, "private_key": pem, "private_key_id": "1"}
    token = "https://oauth2.googleapis.com/token"
    (tmp_path / "key.json").write_text(json.dumps(facts | {"token_uri": token, "project_id": "shop-ml"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    code, out, _ = kep(*ASK)
    assert code == 0
    assert out.startswith(
        f'warning: this login is a key file of {account}, which does not expire; "gcloud auth application-default '
        f'login --impersonate-service-account={account}" needs none\n'
    )


def test_a_login_that_ends_on_the_way_is_one_sentence(serving, vertex, tunnel):
    serving(one=100)
    place = Vertex("shop-ml", "europe-west4")
    predictor = endpoints.Predictor(place, endpoints.get(place, "churn"))
    tunnel.revoked = True
    vertex.fault("Predict", "UNAUTHENTICATED")
    words = 'is not asked: the login is no longer accepted; run "gcloud auth application-default login"'
    assert predictor.ask(b"{}").problem == words


def test_champions_on_gs_are_models(gcs, kep, churn_versions, expected, tmp_path):
    for name in ("one", "other"):
        upload(gcs, churn_versions[name], f"champions/churn/versions/{name}/")
    gcs.put("data", "champions/churn/champion.json", b'{"version": "other"}')
    code, out, _ = kep("predict", ASK[1], "--model", "gs://data/champions/churn")
    assert (code, out.endswith("by gs://data/champions/churn\n")) == (0, True)
    assert (tmp_path / "predictions.csv").read_bytes() == expected("other")
    assert kep("predict", ASK[1], "--model", "gs://data/champions/churn/versions/one")[0] == 0
    assert (tmp_path / "predictions.csv").read_bytes() == expected("one")
    code, out, _ = kep("drift", ASK[1], "--against", "gs://data/champions/churn", "--threshold", "9")
    assert (code, "600 new rows against 360 train rows" in out) == (0, True)
    words = '"gs://data/champions/chrn" does not exist; did you mean "churn"?'
    assert words in one_sentence(kep("predict", ASK[1], "--model", "gs://data/champions/chrn")[2])
