from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.job import pool
from avloc.feature_extraction.job.pool import InProcess, Processes, Returned, WorkerLost, start_workers
from avloc.feature_extraction.job.worker import ClipDone, ClipFailed, ClipTask, ExtractionSettings


@pytest.fixture
def processes(toys, clips):
    pools = []

    def make(extractor="Toy", **options):
        pools.append(
            Processes(ExtractionSettings(clips, ((f"avloc_toys.{extractor}", {}),), **({"workers": 1} | options)))
        )
        return pools[-1]

    yield make
    for started in pools:
        started.close()


def ready(processes):
    while not processes.free():
        list(processes.wait(None))


def test_silence_while_the_job_was_stopped_proves_nothing(processes, names, monkeypatch):
    """The time-out is shorter than the time without listening."""
    monkeypatch.setattr(pool, "ASLEEP_S", 1.5)
    workers = processes("Slow", timeout_s=2.0)
    ready(workers)
    list(workers.wait(None))
    workers.give(0, ClipTask(names[0], (0,)))
    workers._workers[0].heard_s -= 60
    workers._listened_s -= 60  # the machine was asleep
    events = []
    while not any(isinstance(event.message, ClipDone) for event in events):
        events += workers.wait(None)
    assert not any(isinstance(event.message, WorkerLost) for event in events)


def test_a_stopped_worker_is_replaced_and_its_clips_are_returned(processes, names):
    workers = processes(timeout_s=2.0)
    ready(workers)
    victim = workers._workers[0]
    os.kill(victim.process.pid, signal.SIGSTOP)
    workers.give(7, ClipTask(names[0], (0,)))
    victim.clips.append(8)  # assigned in advance
    events = []
    while not events:
        events += workers.wait(None)
    assert [(event.clip, type(event.message)) for event in events] == [(7, WorkerLost), (8, Returned)]
    assert events[0].message.silent
    assert workers._workers[0] is not victim


def test_workers_that_never_start_end_the_job(processes, monkeypatch):
    monkeypatch.setattr(pool, "START_S", 0.3)
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
                list(workers.wait(None))
    finally:
        stop.set()
        thread.join()


def test_without_processes_clips_are_processed_here(toys, clips, names):
    workers = start_workers(ExtractionSettings(clips, (("avloc_toys.Toy", {}),)))
    assert isinstance(workers, InProcess)
    assert list(workers.wait(None)) == []
    messages = []
    for number, file in enumerate((names[0], "broken.mp4")):
        assert workers.free() == 1
        workers.give(number, ClipTask(file, (0,)))
        assert workers.free() == 0
        messages += [(event.clip, type(event.message)) for event in workers.wait(None)]
    assert messages[-2:] == [(0, ClipDone), (1, ClipFailed)]
    workers.close()
