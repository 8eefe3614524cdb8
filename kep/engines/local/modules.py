"""Processes of a local run that run one of our modules."""

import subprocess
import sys
from typing import Any

BEGIN: type[subprocess.Popen[bytes]] = subprocess.Popen
"""What begins a process from a command: one that has imported nothing yet."""


def run_module(module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start `python -m module arguments` without an input.

    Args:
        module: Name of the module.
        arguments: Its command line.
        options: As those of `subprocess.Popen`.
    """
    return BEGIN([sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL, **options)
