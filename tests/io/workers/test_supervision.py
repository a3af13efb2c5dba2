from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from avloc.errors import AvlocError
from avloc.io.workers import supervision as module
from avloc.io.workers.supervision import InProcess, LossCause, Processes, Returned, TaskDone, WorkerLost, start_workers
from avloc.io.workers.worker_process import Progress, TaskFailed


@pytest.fixture
def processes(toy_job):
    pools = []

    def make(start="", *, timeout_s=60.0, **options):
        pools.append(Processes(toy_job(start), workers=1, timeout_s=timeout_s, **options))
        return pools[-1]

    yield make
    for started in pools:
        started.close()


def ready(processes):
    while not processes.free():
        list(processes.wait())


def until_done(workers):
    events = []
    while not any(isinstance(event.message, TaskDone | TaskFailed) for event in events):
        events += workers.wait()
    return events


def test_silence_while_the_job_was_stopped_proves_nothing(processes, monkeypatch):
    """The time-out is shorter than the time without listening."""
    monkeypatch.setattr(module, "ASLEEP_S", 1.5)
    workers = processes(timeout_s=2.0)
    ready(workers)
    list(workers.wait())
    workers.give(0, ("slow", 0.3))
    workers._workers[0].heard_s -= 60
    workers._listened_s -= 60  # the machine was asleep
    assert not any(isinstance(event.message, WorkerLost) for event in until_done(workers))


def test_a_stopped_worker_is_replaced_and_its_tasks_are_returned(processes):
    workers = processes(timeout_s=1.5)
    ready(workers)
    victim = workers._workers[0]
    os.kill(victim.process.pid, signal.SIGSTOP)
    workers.give(7, ("square", 1))
    victim.tasks.append(8)  # assigned in advance
    events = []
    while not events:
        events += workers.wait()
    assert [(event.task, type(event.message)) for event in events] == [(7, WorkerLost), (8, Returned)]
    assert events[0].message.cause is LossCause.SILENCE
    assert workers._workers[0] is not victim


def test_workers_that_never_start_end_the_job(processes, monkeypatch):
    monkeypatch.setattr(module, "START_S", 0.3)
    workers = processes(timeout_s=0.1)
    stop = threading.Event()

    def freeze():
        while not stop.is_set():
            for worker in list(workers._workers):
                try:
                    os.kill(worker.process.pid, signal.SIGSTOP)
                except (ProcessLookupError, TypeError):
                    continue
            time.sleep(0.01)

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        with pytest.raises(AvlocError, match=r"cannot be started \(no progress within 0.3 s\)"):
            for _ in range(100):
                list(workers.wait())
    finally:
        stop.set()
        thread.join()


def test_workers_that_die_at_the_start_end_the_job(processes):
    workers = processes("leave")
    with pytest.raises(AvlocError, match=r"the worker processes cannot be started \(exit code 3\)"):
        for _ in range(1000):
            list(workers.wait())


def test_tasks_that_are_not_read_wait(processes):
    workers = processes()
    ready(workers)
    workers.give(4, ("square", 3))
    time.sleep(0.3)
    assert list(workers.wait([4, 5])) == []
    assert [event.message for event in until_done(workers)] == [9, TaskDone()]


@pytest.mark.parametrize(
    ("lost", "losses", "failure"),
    [
        (WorkerLost("signal 9", LossCause.DEATH), 2, None),
        (WorkerLost("signal 9", LossCause.DEATH), 3, "its worker process died 3 times (signal 9)"),
        (WorkerLost("no progress within 5 s", LossCause.SILENCE), 1, None),
        (WorkerLost("no progress within 5 s", LossCause.SILENCE), 2, "given up, no progress within 5 s"),
        (WorkerLost("it needed more than 4 GiB", LossCause.MEMORY), 1, "given up, it needed more than 4 GiB"),
    ],
)
def test_losses_after_which_a_task_fails(lost, losses, failure):
    assert lost.failure(losses) == failure


def test_without_processes_tasks_run_here(toy_job):
    workers = start_workers(toy_job(), workers=0, timeout_s=1.0)
    assert isinstance(workers, InProcess)
    assert list(workers.wait()) == []
    messages = []
    for number, task in enumerate([("process", 0), ("odd", 0)]):
        assert workers.free() == 1
        workers.give(number, task)
        assert workers.free() == 0
        messages += [(event.task, event.message) for event in workers.wait()]
    assert messages == [(0, os.getpid()), (0, TaskDone()), (1, TaskFailed("ZeroDivisionError: two lines"))]
    workers.give(2, ("square", 1))
    workers.stop_tasks()
    assert list(workers.wait()) == []


def test_reports_of_a_task_that_fails_are_its_own(toy_job):
    workers = InProcess(toy_job())
    messages = []
    for number, task in enumerate([("report_and_fail", 2), ("square", 3)]):
        workers.give(number, task)
        messages += [(event.task, event.message) for event in workers.wait()]
    failed = TaskFailed("ZeroDivisionError: after its reports")
    assert messages == [(0, Progress(0)), (0, Progress(1)), (0, failed), (1, 9), (1, TaskDone())]


PARENT = """
import avloc_tasks
from avloc.io.workers.supervision import Processes
if __name__ == "__main__":
    pool = Processes(avloc_tasks.Job(), workers=2, timeout_s=600)
    while pool.free() < 2: list(pool.wait())
    pool.give(0, ("hang", 0))  # holds the interpreter
    while not list(pool.wait()): pass
    print(*[w.process.pid for w in pool._workers], flush=True)
    while True: list(pool.wait())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(toy_job, tmp_path, wait_for_end, number):
    """A killed job leaves no worker behind, idle or in a library that blocks the interpreter."""
    (tmp_path / "modules" / "job.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "modules" / "job.py")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.send_signal(number)
    wait_for_end(workers)
    assert parent.communicate()[1] == ""  # no traceback of a worker
