"""Versions of the installed packages and of this checkout."""

import subprocess
from importlib import metadata
from pathlib import Path


def version(package: str) -> str | None:
    """Installed version of a package, None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def revision() -> str | None:
    """Return the git revision of this package's checkout; None for an installed package, or without git.

    An environment may lie inside of a user's repository, whose revision says nothing of this package.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=False, encoding="utf-8")
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
