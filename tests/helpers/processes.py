"""Processes that begin at once: they are forked from one that has imported what takes seconds."""

import multiprocessing
import os
import sys
from pathlib import Path

from kep.engines import rehearsal

# Workers of a search are forked, which a process that has started TensorFlow must not do; the tests' own has. The
# server imports it, and starts none of its threads.
CLEAN = multiprocessing.get_context("forkserver")
CLEAN.set_forkserver_preload(
    [
        "kep.components.evaluate.evaluate",
        "kep.components.tune.tune",
        "kep.delivery.predict",
        "kep.engines.local.run",
        "kep.models.boosted_trees",
        "kep.models.keras_family",
        "kep.report.summary",
    ]
)


def command_line(arguments: list[str], folder: str, environment: dict[str, str], output: Path) -> None:
    """Be `kep` with these arguments; what it prints goes to the file `output`."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    written = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.argv = ["kep", *arguments]
    from kep.cli.main import main  # its console looks at the environment

    rehearsal.OWN_PROCESS = multiprocessing.get_context("fork")
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
