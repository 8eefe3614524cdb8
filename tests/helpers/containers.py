"""The container engine of the tests."""

import subprocess

IRIS = {"data": {"source": "sklearn:iris"}, "search": {"families": ["mlp", "boosted_trees"], "max_per_family": 1}}


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def pushed(image: str, name: str) -> str:
    """An image of this machine by its digest, which it has once it was pushed under `name`."""
    docker("tag", image, name)
    docker("push", "--quiet", name)
    digests = docker("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", image)
    return next(digest for digest in digests.split() if digest.startswith(f"{name.rpartition(':')[0]}@"))
