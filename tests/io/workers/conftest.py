from __future__ import annotations

import pytest

TASKS = '''
import ctypes, os, signal, time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avloc.errors import StoreError
from avloc.io.workers.worker_process import Progress


@dataclass
class Job:
    """Tasks are names of the methods, with an argument; `start` is one for the start."""

    start: str = ""

    def build(self, pulse):
        self.pulse = pulse
        if self.start:
            getattr(self, self.start)(None)
        return self.run

    def run(self, task):
        name, argument = task
        return getattr(self, name)(argument)

    def square(self, x):
        yield x * x

    def count(self, n):
        for k in range(n):
            yield Progress(k)
        yield n

    def report(self, n):
        for k in range(n):
            self.pulse.report(k)
        yield n

    def report_and_fail(self, n):
        yield from list(self.report(n))[:0]
        raise ZeroDivisionError("after its reports")

    def nothing(self, _):
        return ()

    def process(self, _):
        yield os.getpid()

    def crash(self, _):
        os.kill(os.getpid(), signal.SIGSEGV)

    def crash_once(self, folder):
        if not (Path(folder) / "crashed").exists():
            (Path(folder) / "crashed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield "second try"

    def leave(self, _):
        os._exit(3)

    def hang(self, _):
        yield Progress("hangs")
        ctypes.PyDLL(None).sleep(600)  # no other thread of the process runs meanwhile

    def slow(self, seconds):
        time.sleep(seconds)
        yield seconds

    def pulsing(self, seconds):
        for _ in range(int(seconds / 0.1)):
            time.sleep(0.1)
            self.pulse()
        yield seconds

    def grow(self, megabytes):
        data = np.ones(megabytes << 17)
        time.sleep(600)
        yield data

    def array(self, count):
        yield np.arange(count, dtype=np.float64)

    def odd(self, _):
        raise ZeroDivisionError("two\\n lines")

    def unpicklable(self, _):
        yield lambda: None

    def refuse(self, _):
        raise StoreError("features: no such store")
'''


@pytest.fixture
def toy_job(write_module):
    """Makes a job whose tasks do what their name says, in a module that workers can import."""
    write_module("avloc_tasks", TASKS)
    import avloc_tasks

    return avloc_tasks.Job
