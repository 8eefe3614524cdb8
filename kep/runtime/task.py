"""The first process of a task: it starts kfp's executor, passes on what ends it, and starts it again after a crash.

As the first process of a container Python heeds no signal that it has no handler for, and a long call into a library
keeps a handler waiting. So this process does nothing but wait: a task ends within `GRACE` seconds of SIGTERM, with the
checkpoints and records that it has kept. A training whose process was killed goes on from them; a task that ended by
itself, with a mistake or an error, is never started again here.
"""

import os
import runpy
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from types import FrameType

from kep.core.environment import ATTEMPTS, CLUSTER, FAILURE, OWNER, SECRETS, SECRETS_PROJECT, WORK
from kep.core.errors import AwayError, UserError

GRACE = 4
"""Seconds after SIGTERM in which a training may still write a checkpoint; a machine that is taken away gives 15."""
MOST = 3
"""Starts of a training's process."""
TRAININGS = ("tune", "trial", "best_epoch", "retrain")
"""Functions of components that go on from what they have kept."""


class FirstProcess:
    """Runs a module in a process of its own, up to `attempts` times."""

    def __init__(self, module: str, attempts: int) -> None:
        self._module, self._attempts = module, attempts
        self._asked = 0
        self._process = 0

    def run(self) -> int:
        """Returns the exit status, negative for a signal; in the module's process it raises SystemExit."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        for attempt in range(1, self._attempts + 1):
            status = self._attempt()
            if self._asked:
                return status if status >= 0 else 128 + self._asked
            if status >= 0:
                return status
            if attempt < self._attempts:
                after = f"attempt {attempt + 1} of {self._attempts} goes on from what was kept"
                print(f"{_how(-status)}; {after}", flush=True)
        _tell(f"{_how(-status)}{f', {attempt} times' if attempt > 1 else ''}; the end of its log may say why")
        return status

    def _attempt(self) -> int:
        self._process = os.fork()
        if not self._process:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            runpy.run_module(self._module, run_name="__main__", alter_sys=True)
            sys.exit()
        if self._asked:  # before there was a process to pass it on to
            self._end(self._asked, None)
        _, ended = os.waitpid(self._process, 0)
        self._process = 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        return os.waitstatus_to_exitcode(ended)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        self._pass_on(number)
        signal.signal(signal.SIGALRM, lambda *_: self._pass_on(signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _pass_on(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self._process:
                os.kill(self._process, number)


def _how(number: int) -> str:
    hint = ", perhaps because the memory ran out" if number == signal.SIGKILL else ""
    return f"the process of this task was killed by {signal.Signals(number).name}{hint}"


def _provide(wanted: str) -> None:
    """Get the secrets of the task.

    Raises:
        UserError: They can't be read, or nobody has said of which project they are.
    """
    from kep.google import secrets  # a second to import, and few tasks need it

    if SECRETS_PROJECT not in os.environ:
        raise UserError("secrets: nobody has said of which project they are; submit the pipeline by `kep submit`")
    secrets.provide(secrets.Wanted.model_validate_json(wanted), os.environ[SECRETS_PROJECT])


def _tell(message: str, user: bool = False) -> None:
    """Say why the task has failed, in its log and to a task that waits for it elsewhere."""
    print(f"error: {message}", flush=True)
    if place := os.environ.get(FAILURE):
        from kep.google import failures  # a second to import, and only custom jobs need it

        try:
            failures.leave(place, failures.Failure(message=message, user=user))
        except UserError as error:
            print(f"the task that waits for this job is not told why: {error}", flush=True)


def main(module: str, arguments: list[str]) -> int:
    """Runs kfp's executor, which reads the arguments of this process, and returns its exit status."""
    training = arguments[arguments.index("--function_to_execute") + 1] in TRAININGS
    os.environ.setdefault(OWNER, str(os.getpid()))
    if wanted := os.environ.get(SECRETS):
        try:
            _provide(wanted)
        except UserError as error:
            _tell(str(error), user=not isinstance(error, AwayError))
            return 1 if isinstance(error, AwayError) else 2
    kept = tempfile.mkdtemp(prefix="kep-task-") if training and WORK not in os.environ else ""
    if kept:
        os.environ[ATTEMPTS] = kept
    # Of processes that train one model together, one alone can't go on.
    status = FirstProcess(module, MOST if training and CLUSTER not in os.environ else 1).run()
    if kept:
        shutil.rmtree(kept, ignore_errors=True)
    if status < 0:
        # Whoever started this process sees what ended it; the first one of a container can't kill itself.
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
        return 128 - status
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv.pop(1), sys.argv))
