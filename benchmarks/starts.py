"""The start of a task in a local run: forked from an interpreter that has imported, and cold as kfp.local does it.

    python -m benchmarks.starts [--rounds N]

Prints the seconds until a component has imported what its step needs, medians over rounds, both ways in turns.
"""

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial

from kfp.local import subprocess_task_handler

from kep.components.promote import component as promoting
from kep.components.tune import component as tuning
from kep.engines.local.forked import TaskCommand
from kep.engines.local.runner import step_environment
from kep.engines.local.warm import Interpreters

STEPS = {
    "promote": ("kep.components.promote.promote", promoting.promote),
    "tune": ("kep.components.tune.tune", tuning.tune),
}
"""A step without TensorFlow and one with it: its module, and its component."""
MARK = "begun at "


def source(function: str, module: str) -> str:
    """Return a component that imports what the step needs and says when it has."""
    head = "import time\nfrom kfp.dsl import *\n\n"
    return f"{head}def {function}() -> None:\n    import {module}\n    print({MARK!r} + str(time.time()))\n"


def measured(start: Callable[[], object]) -> float:
    """Return the seconds from the start of a task to its line."""
    said = io.StringIO()
    begun = time.time()
    with redirect_stdout(said):
        start()
    (line,) = [line for line in said.getvalue().splitlines() if line.startswith(MARK)]
    return float(line.removeprefix(MARK)) - begun


def main(rounds: int) -> None:
    """Print the table."""
    os.environ |= step_environment()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in STEPS}
    with tempfile.TemporaryDirectory() as folder, Interpreters() as interpreters:
        inputs = json.dumps({"inputs": {}, "outputs": {"outputFile": f"{folder}/out.json"}})
        for number in range(rounds + 1):
            for name, (module, component) in STEPS.items():
                task = TaskCommand(source(name, module), ["--executor_input", inputs, "--function_to_execute", name])
                shell = component.component_spec.implementation.container.command[:3]
                command = [word.replace("python3", sys.executable) for word in shell] + [task.source, *task.arguments]
                pair = (
                    measured(partial(interpreters.run, task)),
                    measured(partial(subprocess_task_handler.run_local_subprocess, command)),
                )
                if number:  # in the first round the interpreters are still importing
                    times[name].append(pair)
    print("| step | forked, s | cold, s | ratio |\n| --- | ---: | ---: | ---: |")
    for name, pairs in times.items():
        forked, cold = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {forked:.2f} | {cold:.2f} | {forked / cold:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args().rounds)
