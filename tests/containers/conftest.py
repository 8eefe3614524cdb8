"""A registry of images on this machine."""

import shutil
import socket
import subprocess
import time
from contextlib import suppress

import pytest
import yaml

from tests.helpers.containers import docker


@pytest.fixture
def registry(tmp_path):
    """Address of an empty registry on this machine."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}}
    config["http"] = {"addr": address}
    (tmp_path / "registry.yml").write_text(yaml.safe_dump(config))
    with open(tmp_path / "registry.log", "w") as log:
        process = subprocess.Popen([program, "serve", tmp_path / "registry.yml"], stdout=log, stderr=log)
    host, port = address.split(":")
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, (tmp_path / "registry.log").read_text()
        assert time.monotonic() < deadline
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            break
    yield address
    process.kill()
    process.wait()
    for name in docker("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if name.startswith(address):
            docker("rmi", "--no-prune", name)
    shutil.rmtree(tmp_path / "registry", ignore_errors=True)
