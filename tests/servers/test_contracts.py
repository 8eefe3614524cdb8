"""Answers of the servers here are those that Google defines: by type of message, or by discovery document."""

import inspect

import pytest
from google.cloud import aiplatform_v1 as api
from google.cloud.storage import Client
from google.protobuf import empty_pb2

from tests.servers import contracts, tensorboards, vertex, vertex_jobs, vertex_models, vizier
from tests.servers.contracts import ContractError, check_json, check_message

_OTHERS = {"Job": vertex_jobs.Jobs, "Vizier": vizier.Studies, "Tensorboard": tensorboards.Boards}


@pytest.fixture(autouse=True)
def _broken_on_purpose():
    yield
    contracts.BROKEN.clear()


def _methods() -> list[tuple[str, str, type]]:
    """Every call of gRPC that a server here answers, with the type of request that it reads."""
    found = [
        (service, name, request)
        for service, methods in {
            "Pipeline": vertex._PIPELINES,
            "Schedule": vertex._SCHEDULES,
            **vertex_models.SERVICES,
        }.items()
        for name, (request, _) in methods.items()
        if "." not in service
    ]
    for service, kind in _OTHERS.items():
        source = inspect.getsource(kind.__init__)
        names = [line.split('"')[1] for line in source.splitlines() if line.strip().startswith('"')]
        found += [(service, name, getattr(api, f"{name}Request")) for name in names]
    return found


@pytest.mark.parametrize(
    ("service", "method", "request_type"), _methods(), ids=lambda one: getattr(one, "__name__", one)
)
def test_calls_have_the_names_and_types_of_the_client(service, method, request_type):
    request, answer = contracts.types(service, method)
    assert request is request_type
    with pytest.raises(ContractError, match=f"the client reads {answer.__name__}"):
        check_message(service, method, object())
    check_message(service, method, answer())


def test_there_is_nothing_beside_vertex_ai_that_is_not_looked_at():
    assert len(_methods()) == 46
    check_message("google.longrunning.Operations", "GetOperation", empty_pb2.Empty())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"name": "a", "sise": "1"}, "storage.objects.get has no field sise"),
        ({"name": 1}, "storage.objects.get.name is 1, and should be a string"),
        ({"size": 1}, "storage.objects.get.size is 1, and should be a string"),
        ({"size": "one"}, "storage.objects.get.size is 'one', and should be digits"),
        ({"metadata": {"a": 1}}, "storage.objects.get.metadata.a is 1, and should be a string"),
        ({"acl": [{"entitty": "x"}]}, "storage.objects.get.acl[] has no field entitty"),
        ([], "storage.objects.get is [], and should be a object"),
    ],
)
def test_what_google_does_not_define_is_found(content, problem):
    with pytest.raises(ContractError) as broken:
        check_json("storage.v1", "GET", "/storage/v1/b/data/o/a", 200, content)
    assert problem in str(broken.value)


def test_a_method_that_google_does_not_have_and_a_strange_error_are_found():
    with pytest.raises(ContractError, match="there is no such method"):
        check_json("storage.v1", "GET", "/storage/v1/buckets/data", 200, {})
    for content in ("", {}, {"error": "invalid_grant"}, {"error": {"code": 404, "message": "x"}}):
        with pytest.raises(ContractError, match="an error is"):
            check_json("iam.v1", "GET", "/v1/roles", 403, content)
    check_json("iam.v1", "GET", "/v1/roles", 403, {"error": {"code": 403, "message": "x"}})


def test_a_server_that_answers_otherwise_is_told_so(gcs, monkeypatch):
    gcs.put("data", "a", b"x")
    assert Client(project="p").bucket("data").get_blob("a").size == 1
    monkeypatch.setattr(type(gcs), "resource", lambda self, bucket, name: {"nmae": name})
    with pytest.raises(Exception, match="has no field nmae"):
        Client(project="p").bucket("data").get_blob("a")
    assert "storage.objects.get has no field nmae" in contracts.BROKEN[0]
