"""One description of components that are the same: kfp writes one for each task of a search in rounds."""

import json
from typing import Any


def share(spec: dict[str, Any]) -> None:
    """Makes tasks refer to one component, and components to one executor, where their content is the same.

    The tasks stay as they are, with their names and what they hand on.

    Args:
        spec: First YAML document of a compiled pipeline, which is changed.
    """
    executors, components = spec["deploymentSpec"]["executors"], spec["components"]
    same = _merged(executors)
    for component in components.values():
        if "executorLabel" in component:
            component["executorLabel"] = same.get(component["executorLabel"], component["executorLabel"])
    # From the leaves to the root: components are equal once those that they hold are.
    while same := _merged(components):
        for dag in [spec["root"], *components.values()]:
            for task in dag.get("dag", {"tasks": {}})["tasks"].values():
                name = task["componentRef"]["name"]
                task["componentRef"]["name"] = same.get(name, name)


def _merged(parts: dict[str, Any]) -> dict[str, str]:
    """Remove what has the content of another; return the names that are gone, with the one that stays for each."""
    first: dict[str, str] = {}
    same = {}
    for name in sorted(parts):
        content = json.dumps(parts[name], sort_keys=True)
        if first.setdefault(content, name) != name:
            same[name] = first[content]
            del parts[name]
    return same
