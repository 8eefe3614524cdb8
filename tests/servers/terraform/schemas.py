"""Writes google.json: the schemas of what infra/ uses, from what Google's provider publishes for Terraform CDK.

Terraform's providers are programs of Terraform's own registry. Their schemas are on PyPI, too:

    pip download --no-deps cdktf-cdktf-provider-google==16.12.1 cdktf-cdktf-provider-google-beta==16.12.1
    python -m tests.servers.terraform.schemas cdktf_cdktf_provider_google*.whl
"""

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path

SCHEMAS = Path(__file__).with_name("google.json")
INFRA = Path(__file__).parents[3] / "infra"
TYPES = {"string": "string", "number": "number", "boolean": "bool", "any": "string"}
USED = re.compile(r'^(resource|data) +"google_(\w+)"', re.M)


def main(wheels: list[str]) -> None:
    """Look each type of infra/ up in the wheels, the later of which are asked for what the earlier lack."""
    texts = "\n".join(path.read_text() for path in sorted(INFRA.rglob("*.tf")))
    found: dict[str, dict] = {"resource": {}, "data": {}}
    for wheel in wheels:
        types = _types(wheel)
        modules = {name.split(".")[1].lower(): name.rsplit(".", 1)[0] for name in types if name.count(".") == 2}
        for kind, name in sorted(set(USED.findall(texts))):
            plain = name.replace("_", "")
            # Those that are in the beta provider alone are called after Google there.
            module = modules.get("datagoogle" + plain if kind == "data" else plain) or modules.get("google" + plain)
            if module and f"google_{name}" not in found[kind]:
                found[kind][f"google_{name}"] = _block(types, module + "." + _title(module), top=True)
    lines = [f'"{kind}": {{\n' + ",\n".join(_lines(places)) + "\n}" for kind, places in found.items()]
    SCHEMAS.write_text("{" + ",\n".join(lines) + "}\n")


def _lines(places: dict[str, dict]) -> list[str]:
    """A type a line, so that a change shows where it is."""
    return [f'"{name}": {json.dumps(schema, sort_keys=True)}' for name, schema in sorted(places.items())]


def _types(wheel: str) -> dict[str, dict]:
    with zipfile.ZipFile(wheel) as files:
        name = next(name for name in files.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(files.read(name))) as inner:
            return json.load(inner.extractfile("package/.jsii"))["types"]


def _title(module: str) -> str:
    last = module.rpartition(".")[2]
    return last[0].upper() + last[1:]


def _block(types: dict[str, dict], name: str, top: bool = False) -> dict:
    """Attributes and blocks; of a resource also the attributes that only the provider sets."""
    attributes, blocks = {}, {}
    for one in types[name + "Config" * top].get("properties", []):
        inner, many = _inner(one["type"])
        key = one["docs"]["remarks" if "#" in one["docs"].get("remarks", "") else "summary"]
        key = re.search(r"#(\w+) ", key)[1]
        if "fqn" in inner and not inner["fqn"].startswith("cdktf."):
            nesting = "single" if key == "timeouts" else "list"
            blocks[key] = {"many": many, "nesting": nesting, "required": not one.get("optional", False)}
            blocks[key] |= _block(types, inner["fqn"])
        else:
            attributes[key] = {"type": _type(one["type"]), "required": not one.get("optional", False)}
    for one in types[name].get("properties", []) if top else ():
        key = re.sub(r"(?<!^)(?=[A-Z])", "_", one["name"]).lower()
        type_ = _type(one["type"])
        if key not in attributes and key not in blocks and not key.endswith("_input") and type_ and "static" not in one:
            attributes[key] = {"type": type_, "computed": True}
    return {"attributes": attributes, "blocks": blocks}


def _inner(type_: dict) -> tuple[dict, bool]:
    """The type of one, and whether there may be many."""
    for one in type_.get("union", {}).get("types", []):
        if one.get("fqn") != "cdktf.IResolvable":
            return _inner(one)
    if "collection" in type_ and type_["collection"]["kind"] == "array":
        return type_["collection"]["elementtype"], True
    return type_, False


def _type(type_: dict) -> object:
    """The type as Terraform writes it in JSON; None for one that infra/ has no use for."""
    inner, many = _inner(type_)
    if "collection" in inner or inner.get("fqn") == "cdktf.StringMap":
        return ["map", "string"]
    if "primitive" not in inner:
        return None
    return ["list", TYPES[inner["primitive"]]] if many else TYPES[inner["primitive"]]


if __name__ == "__main__":
    main(sys.argv[1:])
