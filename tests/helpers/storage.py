"""Folders on the local Cloud Storage."""

from pathlib import Path

from tests.servers.gcs import Server


def upload(server: Server, folder: Path, prefix: str = "set/") -> None:
    """Puts the files of a folder into the bucket "data"."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            server.put("data", prefix + path.relative_to(folder).as_posix(), path.read_bytes())
