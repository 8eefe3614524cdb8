"""Tasks that are forked from an interpreter which has imported what they need."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from kep.engines.local.forked import TaskCommand
from kep.engines.local.warm import SMALL, TRAINS, Interpreter, task_of
from tests.helpers.paths import ROOT

HEAD = "from kfp.dsl import *\n\ndef work(word: str) -> None:\n"


@pytest.fixture(scope="module", params=["started", "grown"])
def interpreter(request: pytest.FixtureRequest) -> Iterator[Interpreter]:
    """An interpreter, and one that was forked from another."""
    made = Interpreter(["kfp.dsl.executor"] if request.param == "started" else ["json"])
    own = made if request.param == "started" else made.grown(["kfp.dsl.executor"])
    yield own
    own.end()
    made.end()


def task(tmp_path: Path, body: str, word: str = "word") -> TaskCommand:
    inputs = {"inputs": {"parameterValues": {"word": word}}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    source = HEAD + "".join(f"    {line}\n" for line in body.splitlines())
    return TaskCommand(source, ["--executor_input", json.dumps(inputs), "--function_to_execute", "work"])


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("print('said')", 0, "said"),
        ("import sys; print('to stderr', file=sys.stderr)", 0, "to stderr"),
        ("import sys; print('said'); sys.exit(2)", 2, "said"),
        ("raise ValueError('why')", 1, "ValueError: why"),
        ("import os; os._exit(7)", 7, ""),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM, ""),
        ("import atexit; atexit.register(print, 'at the end')", 0, "at the end"),
        ("import threading; threading.Thread(target=lambda: print('of a thread')).start()", 0, "of a thread"),
        ("import sys; print(sys.stdin.read() or 'no input')", 0, "no input"),
        ("import os; os.write(1, bytes([255, 10]))", 0, "�"),
    ],
)
def test_a_task_ends_as_a_process_of_its_own(
    tmp_path: Path, interpreter: Interpreter, body: str, status: int, told: str
) -> None:
    lines: list[str] = []
    assert interpreter.run(task(tmp_path, body), lines.append) == status
    assert told in "".join(lines)


def test_workers_of_a_task_are_started_as_from_the_command_line(tmp_path: Path, interpreter: Interpreter) -> None:
    body = (
        "import multiprocessing, sys\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:\n"
        "    print('made', pool.submit(len, word).result(), sys.argv[1])"
    )
    lines: list[str] = []
    assert interpreter.run(task(tmp_path, body), lines.append) == 0
    assert "made 4 --component_module_path" in "".join(lines)


def test_tasks_share_neither_state_nor_descriptors(tmp_path: Path, interpreter: Interpreter) -> None:
    body = (
        "import os, random, json\n"
        "own = '/proc/self/fd/'\n"
        "kept = [name for name in os.listdir(own) if int(name) > 2 and os.path.exists(own + name)]\n"
        "import kfp.dsl as shared\n"
        "print('SEEN', json.dumps([os.getpid(), random.random(), hasattr(shared, 'mark'), len(kept)]))\n"
        "shared.mark = True"
    )

    def seen(number: int) -> list[float]:
        lines: list[str] = []
        folder = tmp_path / str(number)
        folder.mkdir()
        assert interpreter.run(task(folder, body), lines.append) == 0
        return list(json.loads(next(line for line in lines if "SEEN" in line).split("SEEN")[1]))

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(seen, range(3)))
    processes, numbers, marks, kept = zip(*results, strict=True)
    assert len(set(processes)) == len(set(numbers)) == 3
    assert not any(marks)
    assert set(kept) == {0}


def test_a_task_may_be_large(tmp_path: Path, interpreter: Interpreter) -> None:
    lines: list[str] = []
    assert interpreter.run(task(tmp_path, "print('length', len(word))", "x" * 3_000_000), lines.append) == 0
    assert "length 3000000\n" in lines


def test_a_task_that_runs_is_waited_for_and_its_status_is_told(tmp_path: Path) -> None:
    made, pipe = Interpreter(["kfp.dsl.executor"]), tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(2) as threads:
        status = threads.submit(made.run, task(tmp_path, f"open({str(pipe)!r}).read(); import sys; sys.exit(3)"), str)
        with open(pipe, "w", encoding="utf-8"):
            ending = threads.submit(made.end)
        assert status.result() == 3
        ending.result()


def test_an_interpreter_that_is_gone_starts_nothing(tmp_path: Path) -> None:
    made = Interpreter(["kfp.dsl.executor"])
    made.end()
    assert made.run(task(tmp_path, "print('said')"), str) is None


def test_one_that_was_forked_imports_more_and_ends_first(tmp_path: Path) -> None:
    body = (
        "import os, sys\n"
        "line = [os.getpid()]\n"
        "while line[-1] > 1:\n"
        "    line.append(int(open(f'/proc/{line[-1]}/stat').read().rsplit(')')[1].split()[1]))\n"
        "print('SEEN', 'sched' in sys.modules, *line)"
    )
    first = Interpreter(["kfp.dsl.executor"])
    second = first.grown(["sched"])
    above = []
    for made, known in ((first, "False"), (second, "True")):
        lines: list[str] = []
        assert made.run(task(tmp_path, body), lines.append) == 0
        _, found, *ancestors = next(line for line in lines if "SEEN" in line).split()
        assert found == known
        above.append(ancestors[: ancestors.index(str(os.getpid()))])
    (*_, one), (*_, other, parent) = above
    assert parent == one
    second.end()
    assert not Path(f"/proc/{other}").exists()
    first.end()
    assert not Path(f"/proc/{one}").exists()


def test_what_is_grown_from_one_that_is_gone_starts_nothing(tmp_path: Path) -> None:
    made = Interpreter(["kfp.dsl.executor"])
    made.end()
    late = made.grown(["sched"])
    assert late.run(task(tmp_path, "print('said')"), str) is None
    late.end()


@pytest.mark.parametrize("grown", [False, True])
def test_one_is_ended_in_the_middle_of_its_imports(grown: bool) -> None:
    made = Interpreter(["kfp.dsl.executor"])
    if grown:
        made.grown(["tensorflow"]).end()
    made.end()


def test_every_component_of_a_compiled_pipeline_is_forked() -> None:
    """Else each would start cold, and nobody would see why a run takes twice as long."""
    text = (ROOT / "tests/pipelines/digits.golden.yaml").read_text(encoding="utf-8")
    executors = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"]
    found = set()
    for executor in executors.values():
        container = executor["container"]
        command = [word.replace("python3", sys.executable) for word in container["command"][:3]]
        made = task_of([*command, *container["command"][3:], *container["args"]])
        assert made
        assert made.source.lstrip().startswith("import kfp")
        found.add(made.function)
    assert {"ingest", "tune", "promote"} <= found
    assert found & TRAINS == {"tune", "best_epoch", "retrain", "evaluate"}


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-ec", "python3 -m pip install pandas && python3 -m kfp.dsl.executor_main", "source"],
        ["python3", "-m", "kfp.dsl.executor_main"],
        ["sh", "-c", "echo"],
    ],
)
def test_what_is_not_ours_starts_as_kfp_starts_it(command: list[str]) -> None:
    assert task_of(command) is None


def test_the_small_interpreter_holds_no_tensorflow(tmp_path: Path) -> None:
    made = Interpreter(SMALL)
    lines: list[str] = []
    assert made.run(task(tmp_path, "import sys; print('tensorflow' in sys.modules)"), lines.append) == 0
    made.end()
    assert "False\n" in lines
