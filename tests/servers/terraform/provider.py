"""A provider of Terraform that has the schemas of Google's and nothing else: enough to validate and to plan with mocks.

Terraform asks a provider for its schema, over gRPC, even where `terraform test` mocks everything else about it. It
finds this one by the variable that debuggers of providers use, and so asks no registry.
"""

import json
import os
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.servers.terraform.schemas import SCHEMAS

NAMES = ("google", "google-beta")
SETTINGS = ("project", "region", "billing_project")
_STRING, _BYTES, _BOOL, _INT, _MESSAGE = 9, 12, 8, 3, 11
_FIELDS: dict[str, dict[int, tuple[str, int | str]]] = {
    "Attribute": {1: ("name", _STRING), 2: ("type", _BYTES), 4: ("required", _BOOL), 5: ("optional", _BOOL)}
    | {6: ("computed", _BOOL)},
    "NestedBlock": {1: ("type_name", _STRING), 2: ("block", "Block"), 3: ("nesting", _INT), 4: ("min_items", _INT)}
    | {5: ("max_items", _INT)},
    "Block": {2: ("attributes", "*Attribute"), 3: ("block_types", "*NestedBlock")},
    "Schema": {1: ("version", _INT), 2: ("block", "Block")},
    "Named": {1: ("key", _STRING), 2: ("value", "Schema")},
    # A map of protobuf's is a list of such pairs.
    "Schemas": {1: ("provider", "Schema"), 2: ("resource", "*Named"), 3: ("data", "*Named")},
}
"""The part of Terraform's messages (tfplugin5.proto) that is spoken here."""


class Provider:
    """A server while it is a context; `environment` is what Terraform finds it by."""

    def __init__(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers([_Handler(_schemas())])
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> "Provider":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    @property
    def environment(self) -> dict[str, str]:
        """Variables for Terraform."""
        address = {"Network": "tcp", "String": f"127.0.0.1:{self._port}"}
        one = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": address}
        places = {f"registry.terraform.io/hashicorp/{name}": one for name in NAMES}
        return {"TF_REATTACH_PROVIDERS": json.dumps(places), "CHECKPOINT_DISABLE": "1"}


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, schemas: bytes) -> None:
        self._schemas = schemas

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = details.method.rpartition("/")[2]
        if method == "GetSchema":
            return grpc.unary_unary_rpc_method_handler(lambda request, _: self._schemas)
        if method == "PrepareProviderConfig":  # the settings as they are: request and answer have one shape
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        if method.startswith("Validate"):
            return grpc.unary_unary_rpc_method_handler(lambda request, _: b"")
        return None


def _schemas() -> bytes:
    """What the provider answers when it is asked for its schemas."""
    types = _messages()
    answer = types["Schemas"]()
    for name in SETTINGS:
        answer.provider.block.attributes.add(name=name, type=b'"string"', optional=True)
    answer.provider.block.attributes.add(name="user_project_override", type=b'"bool"', optional=True)
    for kind, places in json.loads(SCHEMAS.read_text()).items():
        for name, content in places.items():
            _fill(getattr(answer, kind).add(key=name).value.block, content)
    return answer.SerializeToString()


def _fill(block: Any, content: dict) -> None:
    for name, one in content["attributes"].items():
        required = one.get("required", False)
        # What is not required may be set by the provider, too: the published schemas do not tell.
        block.attributes.add(
            name=name,
            type=json.dumps(one["type"]).encode(),
            required=required,
            optional=not required and "computed" not in one,
            computed=not required,
        )
    for name, one in content["blocks"].items():
        nested = block.block_types.add(type_name=name, nesting=1 if one["nesting"] == "single" else 2)
        if one["nesting"] == "list":
            nested.min_items, nested.max_items = int(one["required"]), 0 if one["many"] else 1
        _fill(nested.block, one)


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="kep_tfplugin5.proto", package="kep.tfplugin5", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, type_) in fields.items():
            place = message.field.add(name=field, number=number, label=1)
            if isinstance(type_, int):
                place.type = type_
                continue
            place.type, place.type_name = _MESSAGE, f".kep.tfplugin5.{type_.removeprefix('*')}"
            place.label = 3 if type_.startswith("*") else 1
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"kep.tfplugin5.{n}")) for n in _FIELDS}
