"""What Cloud Build would refuse in a build file, found before it is sent, and the environment of its steps."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from google.cloud.devtools import cloudbuild_v1
from google.protobuf import json_format

BUILT_IN = {
    *("PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "TRIGGER_NAME", "TRIGGER_BUILD_CONFIG_PATH"),
    *("COMMIT_SHA", "SHORT_SHA", "REVISION_ID", "REF_NAME", "BRANCH_NAME", "TAG_NAME", "REPO_NAME", "REPO_FULL_NAME"),
    *("SERVICE_ACCOUNT", "SERVICE_ACCOUNT_EMAIL"),
}
"""Cloud Build's own substitutions."""
_SUBSTITUTION = re.compile(r"\$\$|\$\{([A-Za-z0-9_]+)\}|\$(_[A-Z0-9_]+|[A-Z][A-Z0-9_]*)")
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|^\$\{_[A-Z]+\}$|:\$\{BUILD_ID\}$")
"""By digest, by a substitution, or an image that an earlier step of this very build has made."""
_DOCUMENTED = re.compile(r"^#   (_[A-Z0-9_]+) ", re.MULTILINE)


def problems(text: str) -> list[str]:
    """What is wrong with a build file, one sentence each."""
    build = yaml.safe_load(text)
    try:
        json_format.ParseDict(build, cloudbuild_v1.Build.pb()())
    except json_format.ParseError as error:
        return [f"no build: {error}"]
    found = []
    documented, declared, used = set(_DOCUMENTED.findall(text)), set(build.get("substitutions", {})), set(_used(build))
    found += [f"{name} is used, but neither documented nor Cloud Build's" for name in used - documented - BUILT_IN]
    found += [f"{name} is documented, but not used" for name in documented - used]
    found += [f"{name} has a default, but is not documented" for name in declared - documented]
    before: set[str] = set()
    for step in build["steps"]:
        found += [
            f"{step['id']} waits for {other}, which is no step before it"
            for other in step.get("waitFor", [])
            if other != "-" and other not in before
        ]
        if step["id"] in before:
            found.append(f"two steps are called {step['id']}")
        before.add(step["id"])
        if not _PINNED.search(step["name"]):
            found.append(f"{step['id']} runs in {step['name']}, which is not named by its digest")
    if "latest" in str(build):
        found.append("something is called latest")
    return found


def substitute(value: Any, values: Mapping[str, str]) -> Any:
    """A part of a build file with its substitutions replaced, as Cloud Build does it."""
    if isinstance(value, dict):
        return {key: substitute(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [substitute(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    return _SUBSTITUTION.sub(lambda match: "$" if match[0] == "$$" else values[match[1] or match[2]], value)


def _used(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [name for inner in value.values() for name in _used(inner)]
    if isinstance(value, list):
        return [name for inner in value for name in _used(inner)]
    return [match[1] or match[2] for match in _SUBSTITUTION.finditer(str(value)) if match[0] != "$$"]
