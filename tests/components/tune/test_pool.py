"""Workers: isolated, recycled, killed with their owner. Jobs here are plain functions; no TensorFlow is involved."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from kep.components.tune import pool
from kep.components.tune.pool import Died, Pool


def answer(job):
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "hang":
        time.sleep(3600)
    return job, os.getpid()


def test_every_job_is_answered_under_its_key():
    with Pool(answer, 3) as workers:
        answers = {}
        for key in range(10):
            if not workers.free:
                answers |= dict(workers.results())
            workers.submit(key, key * key)
        while len(answers) < 10:
            answers |= dict(workers.results())
    assert {key: value for key, (value, _) in answers.items()} == {key: key * key for key in range(10)}
    assert len({pid for _, pid in answers.values()}) == 3


def test_no_worker_is_left_behind():
    with Pool(answer, 2) as workers:
        workers.submit(0, "hang")
        workers.submit(1, "hang")
        children = psutil.Process().children()
        assert len(children) >= 2
        pids = [worker.process.pid for worker in workers._busy]
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_killed_worker_is_started_once_more_before_its_job_is_given_up():
    with Pool(answer, 2) as workers:
        workers.submit(7, "die")
        ((key, died),) = workers.results()
        assert key == 7
        assert died == Died("the worker was killed by SIGKILL, perhaps because the memory ran out, 2 times")
        workers.submit(8, "fine")
        assert workers.results()[0][1][0] == "fine"


@pytest.mark.parametrize("limit", [None, 3600])
def test_nobody_waits_longer_than_wanted(limit):
    with Pool(answer, 2, limit=limit) as workers:
        workers.submit(0, "hang")
        assert workers.results(time.monotonic()) == []
        workers.submit(1, "fine")
        assert workers.results()[0][0] == 1


def test_a_job_over_the_limit_is_given_up_and_the_others_go_on():
    with Pool(answer, 2, limit=3) as workers:
        workers.submit(0, "hang")
        workers.submit(1, "fine")
        answers = dict(workers.results())
        while len(answers) < 2:
            answers |= dict(workers.results())
    assert answers[0] == Died("over the limit of 3 s")
    assert answers[1][0] == "fine"


def test_a_worker_is_replaced_after_its_jobs(monkeypatch):
    monkeypatch.setattr(pool, "RECYCLED_AFTER", 3)
    with Pool(answer, 1) as workers:
        pids = []
        for key in range(7):
            workers.submit(key, key)
            pids.append(workers.results()[0][1][1])
    assert [len([p for p in pids if p == pid]) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_workers_prepare_with_their_slot():
    places = []
    with Pool(lambda _: os.environ["SLOT"], 2, prepare=lambda slot: os.environ.update(SLOT=str(slot))) as workers:
        workers.submit(0, 0)
        workers.submit(1, 1)
        while len(places) < 2:
            places += [place for _, place in workers.results()]
    assert sorted(places) == ["0", "1"]
    assert "SLOT" not in os.environ


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_owner(how, late):
    program = (
        "import os, time\n"
        "from kep.components.tune.pool import Pool\n"
        # Workers whose first instruction comes after their owner's end, too.
        f"os.register_at_fork(after_in_child=lambda: time.sleep({late}))\n"
        "with Pool(lambda job: time.sleep(3600), 2) as workers:\n"
        "    workers.submit(0, 0)\n"
        "    workers.submit(1, 1)\n"
        "    print('started', flush=True)\n"
        "    workers.results()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout.readline() == "started\n"
    children = psutil.Process(owner.pid).children()
    assert len(children) == 2
    owner.send_signal(how)
    owner.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
