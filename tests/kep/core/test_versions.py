"""Which revision of git a run says that it was made by."""

import shutil
import subprocess
import sys

from kep.core.versions import revision, version
from tests.helpers.paths import ROOT

PROGRAM = "from kep.core.versions import revision; print(revision())"


def test_a_checkout_says_its_own_revision():
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert revision() == (described.stdout.strip() or None)


def test_a_package_that_lies_in_a_users_repository_says_none(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "theirs"]
    subprocess.run(commit, cwd=tmp_path, check=True)
    installed = tmp_path / ".venv" / "lib" / "site-packages"
    shutil.copytree(ROOT / "kep" / "core", installed / "kep" / "core")
    (installed / "kep" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"


def test_what_is_not_installed_has_no_version():
    assert version("no-such-package") is None
    assert version("numpy")
