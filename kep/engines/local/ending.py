"""Why a step ended without an error message, as far as this machine knows."""

import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

FULL = 16_000_000
"""Free bytes below which a disk counts as full."""
SHORT = 0.05
"""Share of available memory below which memory counts as short."""
_COUNTERS = (
    Path("/proc/vmstat"),
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
"""Files with a line `oom_kill N`: of the machine, of a control group of version 2, and of one of version 1."""


def killed_for_memory(counters: Sequence[Path] = _COUNTERS) -> list[int]:
    """Return how many processes the kernel has killed for want of memory, by counter that this machine has."""
    found = []
    for path in counters:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        found += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return found


@dataclass
class Ending:
    """Knowledge of how a run's steps ended; made before the run starts.

    Attributes:
        store: Folder of the artifacts.
        scratch: Temporary folder of the run.
        signals: Numbers of the signals that ended steps.
    """

    store: Path
    scratch: Path
    signals: list[int] = field(default_factory=list)
    _killed: list[int] = field(default_factory=killed_for_memory)

    def cause(self) -> str:
        """Return a sentence without its full stop for a step that left no error message."""
        if not self.scratch.is_dir():
            return f"a step ended because the temporary folder {self.scratch} was removed during the run; run again"
        for folder in (self.store, self.scratch):
            if folder.is_dir() and (free := shutil.disk_usage(folder).free) < FULL:
                return (
                    f"a step ended because the disk of {folder} is full ({free / 1e6:.0f} MB are free); free some space"
                )
        if killed_for_memory() > self._killed:
            return "a step was killed because the memory of this machine ran out; use fewer workers or a larger machine"
        if not self.signals:
            return "a step ended without an error message"
        number = self.signals[-1]
        name = signal.Signals(number).name
        if number != signal.SIGKILL:
            return f"a step was ended by {name}, as when a library aborts"
        memory = psutil.virtual_memory()
        short = memory.available < SHORT * memory.total
        return f"a step was killed ({name})" + ", perhaps because memory ran out" * short
