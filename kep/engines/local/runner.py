"""A whole run on this machine: the compiled pipeline through kfp.local, in a process of its own.

The steps are processes, or containers (kep/engines/local/docker.py).

kfp.local changes the process that it runs in (its print, its logging), so `run` starts
`python -m kep.engines.local.runner` and follows the events that the steps append to a file.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

from kep.artifacts.event import Event
from kep.core.environment import BEGUN, EVENTS, OWNER, PARALLEL, WORK
from kep.core.errors import UserError
from kep.core.extras import need_tensorflow
from kep.core.files import sweep
from kep.core.seeds import identity
from kep.engines.local.docker import Containers
from kep.engines.local.job import Job, Outcome
from kep.engines.local.modules import run_module
from kep.engines.local.warm import Interpreters, task_of
from kep.pipelines.parameters import check_path
from kep.pipelines.steps import PARTS, STEPS
from kep.runtime.step import end_with_owner

EVENTS_FILE = "events.jsonl"
"""File in a run's folder that its steps append their events to."""
ENTERED = "KEP_ENTERED"
"""Environment variable: set in a process that has the steps' environment."""


@dataclass(frozen=True)
class RunsFolder:
    """Folder of the runs of one run file: `runs/<name>/`.

    `store` holds the artifacts and kfp.local's cache, `work` the partial work of killed steps. The runs of one name
    share both, so that a run goes on where another stopped.
    """

    root: Path

    @property
    def latest(self) -> Path:
        """Link to the folder of the last run that has ended; the last thing that a run makes."""
        return self.root / "latest"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def cache(self) -> Path:
        return self.root / "store" / "cache"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Temporary folder of one run, removed when the run ends; that of a killed run is emptied by the next one.

        kfp and TensorFlow leave files in the temporary folder that nobody removes.

        Raises:
            UserError: The folder that the environment names can't be written.
        """
        name = os.environ.get("TMPDIR") or tempfile.gettempdir()
        folder = Path(name) / f"kep-{identity(str(self.root.absolute()))}"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise UserError(
                f'TMPDIR: "{name}" can\'t be written ({error.strerror}); create the folder, or name another one'
            ) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the place for one run; the lock goes with the process, also a killed one.

        Raises:
            UserError: Another run holds it.
        """
        check_path(self.root.absolute())
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = open(self.root / "lock", "w", encoding="utf-8")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise UserError(
                f"--runs: {self.root} can't be written ({error.strerror}); choose another folder"
            ) from error
        with file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except OSError:
                raise UserError(
                    f"another run is going on in {self.root}; wait for it, or use another --runs folder"
                ) from None
            for folder in (self.store, self.work):
                sweep(folder)
            yield

    def forget(self, step: str) -> None:
        """Drops what is kept of `step` and of the steps after it, so that they run again."""
        for later in STEPS[STEPS.index(step) :]:
            shutil.rmtree(self.work / later, ignore_errors=True)
            # An entry names its artifacts as …/<step>/<output>; a runs folder may have a step's name, too.
            names = "|".join(PARTS.get(later, (later,))).replace("_", "-")
            # With a number where the pipeline holds the component more than once.
            artifact = re.compile(f'/({names})(-\\d+)?/[^/"]+"')
            for entry in self.cache.glob("*.json"):
                if artifact.search(entry.read_text(encoding="utf-8")):
                    entry.unlink()


def step_environment() -> dict[str, str]:
    """The environment of a process that trains or predicts; libraries read it when the process starts."""
    # LightGBM's wheel expects the system's OpenMP; `make setup` lays scikit-learn's own beside the environment.
    openmp = Path(sys.prefix) / "lib" / "openmp"
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [os.environ.get("LD_LIBRARY_PATH"), str(openmp)])),
        # kfp.local runs the steps as `python3`, which must be this environment's.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # The caller's environment may say otherwise; without bytecode TensorFlow takes 25 s to import instead of 5.
        "PYTHONDONTWRITEBYTECODE": "",
        # The working folder is the user's, and may hold a package `kep`, `models` or `keras`.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        # Logs are UTF-8, whatever the terminal is.
        "PYTHONUTF8": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # Threads that wait without spinning: two tasks of a loop share the cores.
        "OMP_WAIT_POLICY": "passive",
    }


def enter_step_environment() -> None:
    """Goes on in a process that has the steps' environment, with the same command line.

    Raises:
        UserError: TensorFlow is not installed.
    """
    if os.environ.get(ENTERED):
        return
    need_tensorflow()
    sys.stdout.flush()
    command = [sys.executable, "-m", "kep.cli.main", *sys.argv[1:]]
    os.execve(sys.executable, command, step_environment() | {ENTERED: "1"})


def start(
    folder: Path,
    place: RunsFolder,
    arguments: Mapping[str, Any],
    scratch: Path,
    containers: Containers | None,
    began: float,
) -> subprocess.Popen[bytes]:
    """Starts `folder`/pipeline.yaml; its log goes to `folder`/log.txt, its steps' events to `folder`/events.jsonl.

    Args:
        folder: Folder of the run.
        place: Folder of the runs of the same name.
        arguments: Arguments of the pipeline.
        scratch: Folder for temporary files.
        containers: Containers of the steps; None for processes.
        began: Unix time from which the run's time counts.
    """
    job = Job(
        template=str(folder.absolute() / "pipeline.yaml"),
        arguments=dict(arguments),
        store=str(place.store.absolute()),
        cache=str(place.cache.absolute()),
        containers=containers,
    )
    job.save(folder)
    events = folder / EVENTS_FILE
    events.touch()
    environment = step_environment() | {
        EVENTS: str(events.absolute()),
        WORK: str(place.work.absolute()),
        OWNER: str(os.getpid()),
        BEGUN: str(began),
        "TMPDIR": str(scratch),
        PARALLEL: "2",  # what kfp.local starts of a loop, whatever its `parallelism` says
    }
    with open(folder / "log.txt", "wb") as log:
        return run_module(
            "kep.engines.local.runner",
            str(folder),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # one process group to stop, steps and their workers included
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the pipeline and everything it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(timeout=5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def follow(process: subprocess.Popen[bytes], folder: Path, show: Callable[[Event], None], pause: float = 0.1) -> int:
    """Calls `show` with each event until the pipeline has ended; returns its exit status.

    A mistake of the user's ends the pipeline at once: kfp.local would try the task again, and fail as often.
    """
    line = ""
    with open(folder / EVENTS_FILE, encoding="utf-8") as events:
        while True:
            ended = process.poll() is not None
            while more := events.readline():
                line += more  # a line that is just being written comes in parts
                if line.endswith("\n"):
                    show(event := Event.from_json(line, EVENTS_FILE))
                    line = ""
                    if event.kind == "failed" and event.user:
                        stop(process)
            if ended:
                return process.returncode
            try:
                process.wait(timeout=pause)
            except subprocess.TimeoutExpired:
                continue


def _main(folder: str) -> None:
    """Run the compiled pipeline of a run's folder; the child process of `start`."""
    import logging

    job = Job.load(folder)
    # They import while kfp does. Containers have interpreters of their own.
    interpreters = Interpreters() if job.containers is None else None

    from kfp import components, local
    from kfp.local import subprocess_task_handler

    from kep.engines.local.cache import VerifiedCache

    end_with_owner()
    logging.getLogger().setLevel(logging.INFO)
    store = Path(job.store)

    def tell(event: Event) -> None:
        with open(os.environ[EVENTS], "ab", buffering=0) as events:
            events.write(event.to_json().encode() + b"\n")

    def reused(step: str) -> None:
        tell(Event(kind="reused", step=step))

    def damaged(step: str, path: Path) -> None:
        text = f"{path} is not what this step wrote there; it is made again"
        tell(Event(kind="progress", step=step, text=text))

    class Cache(VerifiedCache):
        def __init__(self, cache_root: str) -> None:
            super().__init__(cache_root, store, reused, damaged)

    run_cold = subprocess_task_handler.run_local_subprocess

    def run_and_tell(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        task = None if env_vars else task_of(full_command)
        status = interpreters.run(task) if interpreters and task else None
        if status is None:
            status = run_cold(full_command, env_vars)
        if status < 0:
            tell(Event(kind="signal", number=-status))
        return status

    # kfp.local keeps to itself what ended a step, and starts each one cold.
    subprocess_task_handler.run_local_subprocess = run_and_tell
    # kfp.local makes its cache by this name, and has no argument for another.
    local.cache.LocalCache = Cache
    local.init(
        _runner(job.containers),
        pipeline_root=job.store,
        enable_caching=True,
        cache_root=job.cache,
    )
    with interpreters or nullcontext():
        task = components.load_component_from_file(job.template)(**job.arguments)
    Outcome(artifacts={name: artifact.path for name, artifact in task.outputs.items()}).save(folder)


def _runner(containers: Containers | None) -> Any:
    from kfp import local

    if containers is None:
        return local.SubprocessRunner(use_venv=False)
    # Not the owner: a container sees no process of this machine.
    environment = {name: os.environ[name] for name in (EVENTS, WORK, PARALLEL)}
    return local.DockerRunner(**containers.options(environment))


if __name__ == "__main__":
    try:
        _main(sys.argv[1])
    except RuntimeError as error:
        # The step that failed has said why; kfp's own stack trace adds nothing.
        sys.exit(str(error))
