"""The container engine of the tests."""

import subprocess

IRIS = {"data": {"source": "sklearn:iris"}, "search": {"families": ["mlp", "boosted_trees"], "max_per_family": 1}}


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout
