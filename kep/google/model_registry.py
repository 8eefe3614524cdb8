"""Vertex AI's Model Registry: ensembles as versions of a model, each once, with evaluation, aliases and lineage."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from google.api_core import exceptions

from kep.core.errors import UserError
from kep.google.vertex import CHANGE, LOOK, Vertex

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

CHALLENGER, CHAMPION = "challenger", "champion"
"""Aliases: of the version that a run has promoted last, and of the one that gets all of an endpoint's traffic."""
CONTENT = "kep_version"
"""Label of a version, with the hash of its files."""
PREDICT, HEALTH, PORT = "/predict", "/health", 8080
"""Routes and port of the image `serve`."""


def model_id(name: str) -> str:
    """Id of the model of a run file's name; an id may not begin with a digit, as such a name may."""
    return f"kep-{name}"


def versions(vertex: Vertex, model: str) -> "list[api.Model]":
    """The versions of a model, the oldest first; empty where there is no such model."""
    try:
        found = list(vertex.models.list_model_versions(name=model, **LOOK))
    except exceptions.NotFound:
        return []
    return sorted(found, key=lambda one: int(one.version_id))


def model(vertex: Vertex, name: str) -> "list[api.Model]":
    """The versions of a run file's model, or of one by its id.

    Raises:
        UserError: There is none.
    """
    with vertex.explained():
        for id in (model_id(name), name):
            if re.fullmatch(r"[a-z0-9_-]{1,63}", id) and (found := versions(vertex, f"{vertex.parent}/models/{id}")):
                return found
    raise UserError(f'--model: there is no model "{name}" in {vertex.where}; runs with promote.registry: true make one')


def named(found: "list[api.Model]", version: str) -> "api.Model":
    """A version by its number or an alias.

    Raises:
        UserError: There is none.
    """
    for one in found:
        if version == one.version_id or version in one.version_aliases:
            return one
    known = ", ".join(" ".join([one.version_id, *sorted(one.version_aliases)]) for one in found)
    raise UserError(f"--version: {found[0].display_name} has no version {version}; there are {known}")


def alias(vertex: Vertex, version: str, changes: Iterable[str]) -> None:
    """Gives a version aliases, and takes away those that are written with a dash before."""
    vertex.models.merge_version_aliases(name=version, version_aliases=list(changes), **CHANGE)
