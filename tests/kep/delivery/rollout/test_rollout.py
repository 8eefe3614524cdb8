"""`kep rollout`: from the first deployment to a new champion, or back, while a client asks all the time."""

import re
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import requests

from kep.data.schema import Manifest
from kep.delivery.rollout import endpoints
from kep.delivery.rollout.canary import CanaryLimits, Side, checks
from kep.delivery.rollout.rollout import stages
from kep.engines.local.runner import ENTERED
from kep.storage import champions
from kep.storage.champions import content_version
from tests.helpers.cloud import one_sentence
from tests.helpers.endpoints import NAME, PLACE
from tests.helpers.paths import DATA
from tests.helpers.serving import until

CHECK = ("--check-data", str(DATA / "churn.csv"), "--check-rows", "200")
PATIENT = ("--max-slowdown", "1000")
"""The machine of the tests does other work."""
ADVANCE = ("rollout", "advance", "churn", *PLACE, *CHECK, *PATIENT)
ROW = {"months": 3, "plan": "basic", "monthly_charge": 20.5, "paperless": True, "support_calls": 1, "region": "east"}


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setenv(ENTERED, "1")


@pytest.fixture
def rollout(vertex, registered, kep, tunnel):
    """Function that gives the model these versions, the first as champion on the endpoint, and starts with the last."""

    def of(*names: str, shares: str = "30,60,100") -> None:
        models = registered(*names)
        vertex.models.serve(*models)
        assert kep("rollout", "start", "churn", "--version", "1", *PLACE)[0] == 0
        vertex.models._alias(models[-1], ["challenger"])
        assert kep("rollout", "start", "churn", "--stages", shares, *PLACE)[0] == 0
        vertex.journal.clear()

    return of


@contextmanager
def asking(vertex, tunnel):
    """A client that sends requests all the time; gives the statuses that it got, in a list."""
    found, ended = [], threading.Event()
    url = f"https://europe-west4-aiplatform.googleapis.com/v1/{NAME}:predict"

    def ask() -> None:
        with requests.Session() as session:
            while not ended.is_set():
                answer = session.post(
                    url, json={"instances": [ROW]}, headers={"Authorization": "Bearer token"}, timeout=60
                )
                found.append(answer.status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def split(vertex) -> dict[str, int]:
    """Traffic by version."""
    endpoint = vertex.models.endpoints[NAME]
    return {one.model_version_id: endpoint.traffic_split.get(one.id, 0) for one in endpoint.deployed_models}


def aliases(vertex) -> list[list[str]]:
    return [sorted(one.version_aliases) for one in vertex.models.versions[NAME.replace("endpoints/", "models/kep-")]]


def test_the_first_version_gets_a_new_endpoint_and_all_its_traffic(vertex, registered, kep):
    registered("one")
    code, out, err = kep("rollout", "start", "churn", "--version", "1", "--machine", "e2-standard-2", *PLACE)
    assert (code, out, err) == (0, "version 1 of churn gets 100 % of endpoint churn\n", "")
    assert (split(vertex), aliases(vertex)) == ({"1": 100}, [["champion", "default"]])
    (one,) = vertex.models.endpoints[NAME].deployed_models
    assert (one.dedicated_resources.machine_spec.machine_type, one.display_name) == ("e2-standard-2", "churn-1")
    assert re.fullmatch(r"[1-9]\d{9}", one.id)
    code, out, _ = kep("rollout", "start", "churn", "--version", "1", *PLACE)
    assert (code, out) == (0, "version 1 gets 100 % of endpoint churn already\n")


def test_a_good_version_becomes_the_champion_and_no_request_is_lost(vertex, rollout, kep, tunnel):
    rollout("one", "alike")
    assert (split(vertex), aliases(vertex)) == ({"1": 70, "2": 30}, [["champion", "default"], ["challenger"]])
    with asking(vertex, tunnel) as statuses:
        code, out, err = kep(*ADVANCE, "--stages", "30,60,100")
        assert (code, err, split(vertex)) == (0, "", {"1": 40, "2": 60})
        assert re.search(r"30 %: 200 rows by version 2 against 1: errors 0\.0%, p95 \d+ against \d+ ms, drift 0", out)
        assert out.endswith("version 2 gets 60 % of endpoint churn\n")
        code, out, err = kep(*ADVANCE, "--stages", "30,60,100", "--to", "100")
        until(lambda: len(statuses) > 20)
    assert (code, err) == (0, "")
    assert out.endswith("version 2 is the champion, and version 1 is undeployed\n")
    assert (split(vertex), aliases(vertex)) == ({"2": 100}, [["default"], ["champion"]])
    assert set(statuses) == {200}


def test_a_canary_that_fails_ends_on_the_champion_and_no_request_is_lost(vertex, rollout, kep, tunnel):
    rollout("one", "other")
    with asking(vertex, tunnel) as statuses:
        code, out, err = kep(*ADVANCE, "--stages", "30,60,100", "--to", "100")
        until(lambda: len(statuses) > 20)
    assert (code, err) == (1, "")
    assert re.search(r"error: version 2 is rolled back: .* has drifted by [\d.]+, beyond 0\.2", out)
    assert (split(vertex), aliases(vertex)) == ({"1": 100}, [["champion", "default"], []])
    assert set(statuses) == {200}
    assert "no rollout is under way on endpoint churn" in one_sentence(kep(*ADVANCE)[2])


def test_a_canary_with_errors_is_rolled_back(vertex, rollout, kep):
    rollout("one", "alike")
    (id,) = [one.id for one in vertex.models.endpoints[NAME].deployed_models if one.model_version_id == "2"]
    vertex.models.broken[id] = 500
    code, out, _ = kep(*ADVANCE)
    assert code == 1
    assert "rolled back: errors 100.0% (answered 500: The model is overloaded), at most 1.0% are allowed" in out
    assert split(vertex) == {"1": 100}


def test_a_rollout_is_taken_back_by_hand(vertex, rollout, kep):
    rollout("one", "alike")
    back = ("rollout", "rollback", "churn", *PLACE)
    assert kep(*back)[:2] == (0, "version 1 gets all of endpoint churn; version 2 is undeployed\n")
    assert (split(vertex), aliases(vertex)) == ({"1": 100}, [["champion", "default"], []])
    assert "no rollout is under way on endpoint churn; `kep rollout start churn` begins" in one_sentence(kep(*back)[2])


def test_the_status_is_a_table(vertex, rollout, kep, churn_versions):
    rollout("one", "alike")
    contents = [content_version(churn_versions[name]) for name in ("one", "alike")]
    lines = [line.split() for line in kep("rollout", "status", "churn", *PLACE)[1].splitlines()]
    ids = [one.id for one in vertex.models.endpoints[NAME].deployed_models]
    assert lines[1:] == [
        ["1", "70", "%", ids[0], "champion,", "default", contents[0]],
        ["2", "30", "%", ids[1], "challenger", contents[1]],
    ]


@pytest.mark.parametrize("lose", [True, False])
@pytest.mark.parametrize("method", ["CreateEndpoint", "DeployModel", "MergeVersionAliases", "GetOperation"])
def test_a_start_whose_answer_is_lost_deploys_once(vertex, registered, kep, method, lose):
    vertex.models.serve(*registered("one"))
    fault = vertex.fault(method, "UNAVAILABLE", lose=lose)
    assert kep("rollout", "start", "churn", "--version", "1", *PLACE)[0] == 0
    assert fault.hits == 1
    assert (split(vertex), aliases(vertex)) == ({"1": 100}, [["champion", "default"]])


@pytest.mark.parametrize("lose", [True, False])
@pytest.mark.parametrize("method", ["DeployModel", "UpdateEndpoint", "MergeVersionAliases", "UndeployModel"])
def test_a_rollout_whose_answers_are_lost_ends_the_same(vertex, registered, kep, method, lose):
    models = registered("one", "alike")
    vertex.models.serve(*models)
    kep("rollout", "start", "churn", "--version", "1", *PLACE)
    fault = vertex.fault(method, "UNAVAILABLE", lose=lose)
    assert kep("rollout", "start", "churn", "--version", "2", "--stages", "50,100", *PLACE)[0] == 0
    assert split(vertex) == {"1": 50, "2": 50}
    assert kep(*ADVANCE, "--stages", "50,100")[0] == 0
    assert fault.hits == 1
    assert (split(vertex), aliases(vertex)) == ({"2": 100}, [["default"], ["champion"]])


@pytest.mark.parametrize("method", ["UpdateEndpoint", "MergeVersionAliases", "UndeployModel"])
def test_a_rollback_whose_answer_is_lost_ends_the_same(vertex, rollout, kep, method):
    rollout("one", "alike")
    fault = vertex.fault(method, "UNAVAILABLE", lose=True)
    assert kep("rollout", "rollback", "churn", *PLACE)[0] == 0
    assert (fault.hits, split(vertex), aliases(vertex)[1]) == (1, {"1": 100}, [])


@pytest.mark.parametrize("method", ["MergeVersionAliases", "UndeployModel"])
def test_what_was_interrupted_is_finished_by_the_same_command(vertex, rollout, kep, method):
    """After all traffic was moved; the old version's machines are freed by the next command."""
    rollout("one", "alike", shares="50,100")
    fault = vertex.fault(method, "PERMISSION_DENIED")
    assert "grant it roles/aiplatform.user" in one_sentence(kep(*ADVANCE, "--stages", "50,100")[2])
    assert (fault.hits, split(vertex)) == (1, {"1": 0, "2": 100})
    kep(*ADVANCE, "--stages", "50,100")
    assert (split(vertex), aliases(vertex)) == ({"2": 100}, [["default"], ["champion"]])


def test_a_first_version_without_its_alias_gets_it_from_the_same_command(vertex, registered, kep):
    vertex.models.serve(*registered("one"))
    start = ("rollout", "start", "churn", "--version", "1", *PLACE)
    vertex.fault("MergeVersionAliases", "PERMISSION_DENIED")
    assert kep(*start)[0] == 2
    assert (kep(*start)[0], aliases(vertex)) == (0, [["champion", "default"]])


def test_a_deployment_that_fails_changes_nothing(vertex, registered, kep):
    vertex.models.serve(*registered("one", "alike"))
    kep("rollout", "start", "churn", "--version", "1", *PLACE)
    vertex.models.failures["DeployModel"] = ("RESOURCE_EXHAUSTED", "No machines of that type.")
    err = one_sentence(kep("rollout", "start", "churn", "--version", "2", *PLACE)[2])
    assert "a quota of Vertex AI in europe-west4 is used up: No machines of that type" in err
    assert split(vertex) == {"1": 100}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["start", "churn", "--version", "7"], "--version: churn has no version 7; there are 1 champion default, 2"),
        (["start", "churn"], "--version: churn has no version challenger"),
        (["start", "churn", "--model", "chrn"], '--model: there is no model "chrn" in europe-west4 of project shop-ml'),
        (
            ["start", "churn", "--stages", "5,4,100"],
            '--stages: "5,4,100" must be growing percentages that end with 100',
        ),
        (["start", "churn", "--stages", "5,x"], "--stages: "),
        (["start", "churn", "--version", "2", "--stages", "100"], "--stages: begin below 100, so that the version"),
        (["start", "Churn 2", "--model", "churn", "--version", "1"], 'endpoint: there is no "Churn 2", and a new one'),
        (["start"], "ENDPOINT: is missing; name one of Vertex AI, or a folder with --champions"),
        (["start", "--champions", "x"], "--champions: a folder has no traffic to share: `kep serve` serves the one"),
        (["advance", "churn"], "--check-data: is missing"),
        (["rollback", "churn", "--champions", "x"], "--champions: give it, or the endpoint churn, not both"),
        (["advance", "churn", "--check-data", "x", "--version", "2"], "--version has no meaning without --champions"),
        (["advance", "churn", "--check-data", "x"], "no rollout is under way on endpoint churn; `kep rollout start"),
        (["status", "chrn"], 'endpoint: there is no "chrn" in europe-west4 of project shop-ml; did you mean "churn"?'),
    ],
)
def test_a_mistake_is_one_sentence(vertex, registered, kep, arguments, words):
    registered("one", "alike")
    kep("rollout", "start", "churn", "--version", "1", *PLACE)
    code, out, err = kep("rollout", *arguments, *PLACE)
    assert (code, out) == (2, "")
    assert words in one_sentence(err)


def test_check_data_that_can_not_be_used(rollout, kep, tmp_path):
    rollout("one", "alike")
    (tmp_path / "new.csv").write_text("month,plan\n1,a\n")
    given = ("rollout", "advance", "churn", *PLACE, "--check-data")
    assert 'column "months" is missing' in one_sentence(kep(*given, "new.csv")[2])
    (tmp_path / "none.csv").write_text((DATA / "churn.csv").read_text().splitlines()[0] + "\n")
    assert kep(*given, "none.csv")[0] == 2


def test_a_second_rollout_waits_for_the_first(vertex, rollout, kep, registered):
    rollout("one", "alike")
    registered("other")
    err = one_sentence(kep("rollout", "start", "churn", "--version", "3", *PLACE)[2])
    assert "a rollout of version 2 is under way on endpoint churn, with 30 % of its traffic" in err


def test_a_version_that_takes_other_columns_is_not_deployed_beside_the_champion(vertex, registered, kep, gcs):
    models = registered("one", "alike")
    kep("rollout", "start", "churn", "--version", "1", *PLACE)
    path = models[1].artifact_uri.removeprefix("gs://data/") + "/manifest.json"
    gcs.put("data", path, gcs.objects["data", path].data.replace(b'"months"', b'"weeks"'))
    err = one_sentence(kep("rollout", "start", "churn", "--version", "2", *PLACE)[2])
    assert "version 2 takes other columns than version 1 (months, weeks)" in err
    assert split(vertex) == {"1": 100}


@pytest.mark.parametrize("place", ["local", "gs"])
def test_a_folder_of_champions_has_the_same_commands(gcs, kep, churn_versions, tmp_path, place):
    folder = "gs://data/champions/churn" if place == "gs" else str(tmp_path / "champions")
    for name in ("alike", "other", "one"):
        assert champions.move(
            champions.read(folder), champions.Promotion(version=name, reason="won"), churn_versions[name]
        )
    given = ("rollout", "advance", "--champions", folder, *CHECK, *PATIENT, "--version")
    code, out, _ = kep(*given, "other")
    assert (code, champions.read(folder).version) == (1, "one")
    assert "error: version other does not become the champion: " in out
    code, out, _ = kep(*given, "alike")
    assert (code, champions.read(folder).version) == (0, "alike")
    assert "200 rows by version alike against one: errors 0.0%" in out
    assert kep(*given, "alike")[1] == "version alike is the champion already\n"
    lines = [line.split() for line in kep("rollout", "status", "--champions", folder)[1].splitlines()]
    assert lines[1:] == [["alike", "champion", "rolled", "out"], ["one"], ["other"]]
    assert kep("rollout", "rollback", "--champions", folder)[:2] == (
        0,
        "version one is the champion again, and no more alike\n",
    )
    assert champions.read(folder).version == "one"
    assert "no version is known that the champion has replaced" in one_sentence(
        kep("rollout", "rollback", "--champions", folder)[2]
    )
    assert "holds no version two; there are alike, one, other" in one_sentence(kep(*given, "two")[2])


def test_a_folder_without_champions_is_one_sentence(gcs, kep):
    status = ("rollout", "status", "--champions")
    assert "--champions: nothing holds no champions" in one_sentence(kep(*status, "nothing")[2])
    assert '"gs://data/nothing/versions" does not exist' in one_sentence(kep(*status, "gs://data/nothing")[2])


def side(seconds: float = 0.1, errors: int = 0, shift: float = 0.0) -> Side:
    positive = np.linspace(0.1, 0.6, 400) + shift
    predictions = np.stack([1 - positive, positive], axis=1)
    return Side([seconds] * 100, {0: predictions}, errors, "answered 500: away")


@pytest.mark.parametrize(
    ("canary", "problems"),
    [
        (side(), []),
        (side(seconds=0.19, errors=1), []),
        (side(errors=2), [r"errors 2\.0% \(answered 500: away\), at most 1\.0% are allowed"]),
        (side(seconds=0.21), [r"its p95 is more than 2 times that of version 1"]),
        (side(shift=0.3), [r"predicted churned has drifted by [\d.]+, beyond 0\.2"]),
        (Side(errors=5, problem="x"), [r"errors 100\.0% \(x\), at most 1\.0% are allowed"]),
        (Side(), [r"version 2 does not answer"]),
    ],
)
def test_each_limit_counts(churn_versions, canary, problems):
    _, found = checks(Manifest.load(churn_versions["one"]), (side(), canary), ("1", "2"), CanaryLimits())
    assert len(found) == len(problems)
    for text, pattern in zip(found, problems, strict=True):
        assert re.fullmatch(pattern, text)


def test_a_few_milliseconds_more_are_no_slowdown(churn_versions):
    manifest = Manifest.load(churn_versions["one"])
    for fast, problems in ((0.1, 0), (0.05, 1)):
        sides = (side(seconds=0.01), side(seconds=0.09))
        assert len(checks(manifest, sides, ("1", "2"), CanaryLimits(fast=fast))[1]) == problems


def test_stages_are_percentages():
    assert stages("5, 25,100") == [5, 25, 100]
    assert stages("100") == [100]
    assert endpoints.Deployed("1", "m", "1", 5).tries() == 270
