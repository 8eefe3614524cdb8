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
    """Return the git revision of this checkout; None for an installed package, or without git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
