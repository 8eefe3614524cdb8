"""The steps of a local run as containers: what they may see of this machine, and how they end.

Each step runs as kfp.local's DockerRunner starts it, in the images of `make image`: not as root, on a read-only file
system with a writable /tmp, without a network. It sees the run's own folders, the champions, and, read-only, the data.
"""

import os
from pathlib import Path
from typing import Any

from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.core.extras import need
from kep.core.json_model import JsonModel
from kep.core.location import Location
from kep.pipelines.images import LOCAL
from kep.pipelines.parameters import source_hash

LABEL = "keras-ensemble-pipelines.run"
"""Label of the containers of a run: the run's folder."""
_HARDENED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777"},
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


class Containers(JsonModel):
    """Files and folders that the containers of one run see."""

    run: str
    """The run's folder, for the label."""
    events: str
    """File that the steps append their events to."""
    store: str
    """Folder of the artifacts."""
    writable: list[str]
    """Other folders that the steps write to."""
    readable: list[str]
    """Files and folders of the data."""

    def prepare(self) -> None:
        """Makes what the steps write to, so that the containers' user may."""
        Path(self.events).touch()
        folders = [Path(folder) for folder in (self.store, *self.writable)]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        if os.getuid():
            return
        # Root's containers run as the images' user, who owns nothing here.
        Path(self.events).chmod(0o666)
        for folder in folders:
            for path in (folder, *folder.rglob("*/")):
                path.chmod(0o777)

    def options(self, environment: dict[str, str]) -> dict[str, Any]:
        """Return the options of kfp.local's DockerRunner for every container."""
        from docker.types import Mount

        # kfp.local mounts the store itself.
        writable = [Mount(path, path, type="bind") for path in (*self.writable, self.events)]
        readable = [Mount(path, path, type="bind", read_only=True) for path in self.readable]
        # Files belong to whoever started the run; the steps of a run that root started are not root's.
        user = {"user": f"{os.getuid()}:{os.getgid()}"} if os.getuid() else {}
        return (
            {"mounts": writable + readable, "environment": environment, "labels": {LABEL: self.run}} | user | _HARDENED
        )

    def stop(self) -> None:
        """Removes what is left of the run, started or not."""
        import docker

        client = engine()
        for container in client.containers.list(all=True, sparse=True, filters={"label": f"{LABEL}={self.run}"}):
            try:
                container.remove(force=True)
            except docker.errors.APIError as error:
                # One that has just ended is gone, or the engine is about to remove it.
                if error.status_code not in (404, 409):
                    raise


def engine() -> Any:
    """A client of the container engine.

    Raises:
        UserError: None answers, or the package that speaks to it is not installed.
    """
    need("docker", "docker", "--runner docker")
    import docker

    try:
        return docker.from_env()
    except docker.errors.DockerException:
        where = os.environ.get("DOCKER_HOST", "the usual socket")
        raise UserError(f"no container engine answers at {where}; start one, or set DOCKER_HOST") from None


def image_ids() -> dict[str, str]:
    """Ids of the images, by name.

    Raises:
        UserError: An image is not built, or holds other code than this.
    """
    client, ids = engine(), dict[str, str]()
    from docker.errors import ImageNotFound

    program = "from kep.pipelines.parameters import source_hash; print(source_hash())"
    for name, image in LOCAL.items():
        try:
            ids[name] = client.images.get(image).id
        except ImageNotFound:
            raise UserError(f"there is no image {image} on the container engine; build it with `make image`") from None
        inside = client.containers.run(image, ["python", "-c", program], remove=True, **_HARDENED)
        if inside.decode().strip() != source_hash():
            raise UserError(f"the image {image} holds other code than this checkout; build it again with `make image`")
    return ids


def sources(data: DataSettings) -> list[str]:
    """Paths that ingest must see of `data`, whose local paths are absolute.

    Raises:
        UserError: A source is not on this machine.
    """
    located = [Location(source) for source in (data.files.model_dump().values() if data.files else [data.source or ""])]
    if far := next((source for source in located if source.scheme in ("gs", "bq")), None):
        raise UserError(f"data.source: {far.text} can't be read by containers without a network; copy it here first")
    return sorted({_visible(source.text) for source in located if source.is_local})


def _visible(source: str) -> str:
    """The path itself, or the folder that a glob starts from."""
    path = Path(source)
    while any(character in str(path) for character in "*?["):
        path = path.parent
    return str(path)
