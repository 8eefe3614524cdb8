"""Google's own definitions of what its services answer, which every answer of the servers here is held against.

Calls by gRPC: types of requests and answers are those of the client's transport. JSON: the discovery documents, which
google-api-python-client brings along. What is told there and what Google really answers may differ still.
"""

import importlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any

import grpc
from google.auth.credentials import AnonymousCredentials

SEEN: set[str] = set()
"""Methods whose answers were looked at, in this process."""
BROKEN: list[str] = []
"""What was wrong with answers since the test began; whoever asked may have taken it for an error of another kind."""
_TYPES = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "object": dict, "array": list}


class ContractError(AssertionError):
    """A server of the tests answers what Google's definitions do not know."""

    def __init__(self, problem: str):
        super().__init__(problem)
        BROKEN.append(problem)


def check_message(service: str, method: str, answer: object) -> None:
    """Hold an answer of gRPC against the type that the client reads.

    Args:
        service: Such as Pipeline, of Vertex AI; a full name with dots is another's, and is not looked at.
        method: Such as GetPipelineJob.
        answer: The message.

    Raises:
        ContractError: It is of another type.
    """
    if "." in service:
        return
    _, wanted = types(service, method)
    SEEN.add(f"{service}.{method}")
    if type(answer) is not wanted:
        raise ContractError(f"{service}.{method} answers {type(answer).__name__}; the client reads {wanted.__name__}")


@cache
def types(service: str, method: str) -> tuple[type, type]:
    """The types of a call's request and answer, as the client has them."""
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", f"{service}Service").lower()
    module = importlib.import_module(f"google.cloud.aiplatform_v1.services.{snake}.transports.grpc")
    transport = getattr(module, f"{service}ServiceGrpcTransport")(
        channel=grpc.insecure_channel("127.0.0.1:1"), credentials=AnonymousCredentials()
    )
    found: list[Callable] = []

    class Channel:
        def unary_unary(self, path: str, request_serializer: Callable, response_deserializer: Callable) -> None:
            assert path == f"/google.cloud.aiplatform.v1.{service}Service/{method}"
            found.extend((request_serializer, response_deserializer))

    transport._logged_channel, transport._stubs = Channel(), {}
    getattr(transport, re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower())
    request, answer = (getattr(one, "__self__", None) or one.__objclass__ for one in found)
    return request, answer


def check_json(api: str, method: str, path: str, status: int, content: Any) -> None:
    """Hold an answer in JSON against the API's discovery document.

    Args:
        api: Name and version, such as storage.v1.
        method: Of HTTP.
        path: Of the request, without its query.
        status: Of the answer.
        content: Of the answer.

    Raises:
        ContractError: The API has no such method, or its answer is another one.
    """
    where = f"{api} {method} {path}"
    if status >= 400:
        error = content.get("error") if isinstance(content, dict) else None
        if not isinstance(error, dict) or error.get("code") != status or not isinstance(error.get("message"), str):
            raise ContractError(f"{where}: an error is {{error: {{code: {status}, message: …}}}}, not {content}")
        return
    for pattern, id, answer in _methods(api):
        if pattern.fullmatch(f"{method} {path}"):
            SEEN.add(id)
            wrong = list(_problems(_document(api)["schemas"], {"$ref": answer} if answer else None, content, id))
            if wrong:
                raise ContractError(f"{where}: " + "; ".join(wrong))
            return
    raise ContractError(f"{where}: there is no such method")


@cache
def _document(api: str) -> dict:
    place = resources.files("googleapiclient") / "discovery_cache" / "documents" / f"{api}.json"
    return json.loads(place.read_text(encoding="utf-8"))


@cache
def _methods(api: str) -> list[tuple[re.Pattern, str, str]]:
    """Pattern of a method's request, its id, and the name of its answer's schema; empty for none."""
    found, document = [], _document(api)

    def walk(place: dict) -> None:
        for one in place.get("methods", {}).values():
            path = re.escape("/" + document["servicePath"] + one.get("flatPath", one["path"])).replace(r"\{", "{")
            path = re.sub(r"\{[^}]*\}", r"[^/]+", path.replace(r"\}", "}").replace(r"\+", ""))
            upload = "(?:/upload|/resumable/upload)?" if one.get("supportsMediaUpload") else ""
            answer = one.get("response", {}).get("$ref", "")
            found.append((re.compile(f"{one['httpMethod']} {upload}{path}"), one["id"], answer))
        for inner in place.get("resources", {}).values():
            walk(inner)

    walk(document)
    return found


def _problems(schemas: dict, schema: dict | None, value: Any, where: str) -> Iterator[str]:
    if schema is None:
        if value not in ({}, None, ""):
            yield f"{where} has an answer, and should have none"
        return
    if reference := schema.get("$ref"):
        yield from _problems(schemas, schemas[reference], value, where)
        return
    kind = schema.get("type", "any")
    if kind == "any":
        return
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{where} is {value!r}, and should be a {kind}"
    elif kind == "string" and schema.get("format") in ("int64", "uint64") and not re.fullmatch(r"-?\d+", value):
        yield f"{where} is {value!r}, and should be digits"
    elif kind == "string" and "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, and should be one of {', '.join(schema['enum'])}"
    elif kind == "array":
        for one in value:
            yield from _problems(schemas, schema["items"], one, f"{where}[]")
    elif kind == "object":
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name, one in value.items():
            if name not in known and more is None:
                yield f"{where} has no field {name}"
            else:
                yield from _problems(schemas, known.get(name, more), one, f"{where}.{name}")
