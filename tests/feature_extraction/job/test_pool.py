from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.job import pool
from avloc.feature_extraction.job.pool import Processes, Returned, WorkerLost
from avloc.feature_extraction.job.worker import ClipDone, ClipTask, ExtractionSettings


@pytest.fixture
def processes(toys, clips):
    made = []

    def make(extractor="Toy", **how):
        made.append(Processes(ExtractionSettings(clips, ((f"avloc_toys.{extractor}", {}),), **({"workers": 1} | how))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ready(processes):
    while not processes.free():
        list(processes.wait(None))


def test_silence_while_we_were_stopped_says_nothing(processes, names, monkeypatch):
    """The time-out is less than the time for which nobody listened."""
    monkeypatch.setattr(pool, "ASLEEP_S", 1.5)
    one = processes("Slow", timeout_s=2.0)
    ready(one)
    list(one.wait(None))
    one.give(0, ClipTask(names[0], (0,)))
    one._workers[0].heard_s -= 60
    one._listened_s -= 60  # the machine was asleep
    found = []
    while not any(isinstance(event.message, ClipDone) for event in found):
        found += one.wait(None)
    assert not any(isinstance(event.message, WorkerLost) for event in found)


def test_a_worker_that_is_stopped_is_replaced_and_its_clips_come_back(processes, names):
    one = processes(timeout_s=2.0)
    ready(one)
    victim = one._workers[0]
    os.kill(victim.process.pid, signal.SIGSTOP)
    one.give(7, ClipTask(names[0], (0,)))
    victim.clips.append(8)  # it has another one with it
    found = []
    while not found:
        found += one.wait(None)
    assert [(event.clip, type(event.message)) for event in found] == [(7, WorkerLost), (8, Returned)]
    assert found[0].message.silent
    assert one._workers[0] is not victim


def test_workers_that_never_start_end_the_job(processes, monkeypatch):
    monkeypatch.setattr(pool, "START_S", 0.3)
    one = processes(timeout_s=0.1)
    stop = threading.Event()

    def freeze():
        while not stop.is_set():
            for worker in list(one._workers):
                try:
                    os.kill(worker.process.pid, signal.SIGSTOP)
                except (ProcessLookupError, TypeError):
                    continue
            time.sleep(0.01)

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        with pytest.raises(AvlocError, match=r"cannot be started \(nothing came of it in 0.3 s\)"):
            for _ in range(100):
                list(one.wait(None))
    finally:
        stop.set()
        thread.join()
