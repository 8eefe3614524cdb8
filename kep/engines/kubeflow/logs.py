"""Why a task failed, read from its log: Kubeflow itself never says."""

import re
from collections.abc import Iterable

LAST = 3
"""Lines that are shown of a task that says no reason in a line of its own."""
LONGEST = 500
"""Characters of a reason."""
_LAUNCHER = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^\]]+\] ?(?P<says>.*)")
"""A line of Kubeflow's launcher, which surrounds those of the task."""
_EXECUTOR = re.compile(r"\[KFP Executor .*\]: ")


def reason(log: str) -> str:
    """Return why a task failed, in one line: our own `error:`, else the last that it said and what its launcher did.

    Args:
        log: Text of its log, or the end of it.
    """
    lines = [line.rstrip() for line in log.splitlines()]
    if own := [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]:
        return _bounded(own[-1])
    said = list(_said(lines))[-LAST:]
    launcher = [match["says"] for line in lines if line[:1] in ("E", "F") and (match := _LAUNCHER.fullmatch(line))]
    return _bounded("; ".join([*said, *launcher[-1:]]))


def decision(log: str) -> tuple[int, str] | None:
    """Return the exit status and the sentence that promote has told, by its log; None where it has told none."""
    found = re.findall(r"^promote: exit status (\d): (.+)$", log, re.MULTILINE)
    return (int(found[-1][0]), found[-1][1].strip()) if found else None


def _said(lines: Iterable[str]) -> Iterable[str]:
    """Yield the lines of the task itself: neither the launcher's, nor the inputs that kfp's executor prints."""
    inputs = False
    for line in lines:
        if inputs:
            inputs = line != "}"
        elif _EXECUTOR.match(line):
            inputs = line.endswith("Got executor_input:")
        elif line.strip() and not _LAUNCHER.fullmatch(line):
            yield line.strip()


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
