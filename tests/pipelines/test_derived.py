"""The Dockerfile that `kep dockerfile` writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import write_run

BASE = f"europe-docker.pkg.dev/shop/kep/cpu@sha256:{'a' * 64}"
FAMILIES = [
    {"file": "own.py:build", "packages": ["einops==0.8.1", "six>=1.16"], "requirements": "needs.txt"},
    {"file": "own.py:other", "packages": ["einops==0.8.1"]},
    "mlp",
]


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "own.py").write_text("def build(hp): ...\ndef other(hp): ...\n")
    (tmp_path / "needs.txt").write_text("tabulate==0.9.0\n")
    return write_run(tmp_path, "own", data={"source": "sklearn:iris"}, search={"families": FAMILIES})


def test_it_installs_exactly_what_the_families_need(file, kep, tmp_path):
    status, output, _ = kep("dockerfile", str(file), "--base", BASE, "-o", "Dockerfile")
    assert (status, output) == (0, "wrote Dockerfile: einops==0.8.1, six>=1.16, tabulate==0.9.0\n")
    text = (tmp_path / "Dockerfile").read_text()
    assert f"\nFROM {BASE}\n" in text
    assert " install --no-cache-dir --constraint /tmp/has.txt einops==0.8.1 'six>=1.16' tabulate==0.9.0 " in text
    assert text.endswith("USER 10001:10001\n")
    lint = [Path(sys.executable).with_name("hadolint"), "--ignore", "DL3013", "Dockerfile"]
    done = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--base", "shop/kep/cpu:latest"], "--base: it is shop/kep/cpu:latest, which is not pinned by its digest"),
        (["--base", BASE, "--set", "search.families=[mlp]"], "no family in it has packages or requirements, so the"),
        (["--base", BASE, "--set", "search.families=auto"], "no family in it has packages or requirements, so the"),
    ],
)
def test_what_can_not_be_derived_is_one_sentence(file, kep, options, words):
    status, _, error = kep("dockerfile", str(file), *options)
    assert status == 2
    assert words in error
