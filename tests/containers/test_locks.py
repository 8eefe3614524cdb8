"""What is written from uv.lock, and needs no container engine to be looked at."""

import json
import os
import re
import subprocess

import pytest

from containers.sbom import packages, write
from tests.helpers.paths import ROOT

IMAGES = ("cpu", "glue", "gpu", "serve", "tpu")


def test_the_images_requirements_are_those_of_the_lock(tmp_path):
    """On a change of dependencies: make lock"""
    environment = os.environ | {"UV_OFFLINE": "1"}
    subprocess.run([ROOT / "containers" / "lock.sh", tmp_path], env=environment, check=True)
    for name in (*IMAGES, "build"):
        written = (tmp_path / name / "requirements.txt").read_text()
        assert written == (ROOT / "containers" / name / "requirements.txt").read_text(), name


def test_the_image_of_the_glue_steps_has_no_tensorflow():
    text = (ROOT / "containers" / "glue" / "requirements.txt").read_text()
    assert "tensorflow" not in text
    assert "keras" not in text


def test_a_bill_of_materials_is_for_the_images_platform():
    text = """\
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:aa
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:dd
"""
    assert [line.split() for line in packages(text)] == [["numpy==2.4.6", "--hash=sha256:bb", "--hash=sha256:cc"]]


@pytest.mark.parametrize("name", IMAGES)
def test_a_bill_of_materials_lists_the_locked_packages(name, tmp_path):
    bill = json.loads(write(name, tmp_path).read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {component["name"]: component for component in bill["components"]}
    flavours = {"cpu": "tensorflow-cpu", "gpu": "tensorflow", "serve": "tensorflow-cpu", "tpu": "tensorflow-tpu"}
    found = [flavour for flavour in ("tensorflow", "tensorflow-cpu", "tensorflow-tpu") if flavour in named]
    assert found == ([flavours[name]] if name in flavours else [])
    for component in bill["components"]:
        assert component["externalReferences"][0]["hashes"], component["name"]


def test_the_dockerfile_has_a_target_for_every_image():
    text = (ROOT / "containers" / "Dockerfile").read_text()
    assert sorted(re.findall(r"^FROM common AS (\w+)$", text, re.MULTILINE)) == sorted(IMAGES)
