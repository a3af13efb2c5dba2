"""The process of a worker, from inside and outside: receive a task > run it with the job's function > send its messages."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from avloc.errors import AvlocError, describe_error
from avloc.io.workers.processes import prepare_process

PULSE_S = 1.0
INLINE_BYTES = 256 << 10  # larger arrays are sent beside the pickle, without a copy
SHORT_S = 0.5  # a worker whose last task was shorter gets the next one in advance, so that it need not wait
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Pulse(Protocol):
    """Call it during long work without messages: it proves that the process is alive."""

    def __call__(self) -> None: ...

    def report(self, value: Any) -> None:
        """Send the current task's progress, in the place of a message `Progress(value)`."""


class Progress(NamedTuple):
    """A message of a task that reports progress, instead of the task's result."""

    value: Any


TaskFunction = Callable[[Any], Iterable[Any]]
"""Run a task, and yield its messages: any objects that can be pickled."""


class Job(Protocol):
    """The work of a pool. It is pickled, and sent to each worker process."""

    def build(self, pulse: Pulse) -> TaskFunction:
        """Build all that tasks need, such as a network, and return the function that runs a task."""


class Signal(Enum):
    """A worker's signals beside the messages of tasks."""

    READY = "ready"
    ALIVE = "alive"
    TASK_DONE = "task done"


class TaskFailed(NamedTuple):
    """The end of a task that raised an exception, described in one line."""

    reason: str


class StartFailed(NamedTuple):
    """The job could not be built."""

    error: AvlocError


class ParentGone(BaseException):
    """The process that gave the tasks has ended; a task must not catch this as an error of its own."""


def run_worker(link: Connection, job: Job, threads: int | None) -> None:
    """Run a worker process until its parent sends None, or ends.

    Args:
        link: the pipe to the parent.
        job: builds the function for tasks.
        threads: threads of torch; None: torch's default.
    """
    prepare_process(threads)
    try:
        run = _build(link, job)
        while run is not None and (task := receive(link)) is not None:
            _run_task(link, run, task[0])
    except ParentGone:
        return


def _build(link: Connection, job: Job) -> TaskFunction | None:
    try:
        run = job.build(_Pulse(link))
    except AvlocError as error:
        send(link, StartFailed(type(error)(str(error))))  # without its cause, which may not be picklable
        return None
    except Exception as error:
        send(link, StartFailed(AvlocError(f"the worker processes cannot be started: {describe_error(error)}")))
        return None
    send(link, Signal.READY)
    return run


def _run_task(link: Connection, run: TaskFunction, task: Any) -> None:
    try:
        for message in run(task):
            send(link, message)
    except Exception as error:  # one odd task must never end a job of a million
        send(link, TaskFailed(describe_error(error)))
    else:
        send(link, Signal.TASK_DONE)


class _Pulse:
    """Signals the parent that this process is at work, at most once per `PULSE_S`."""

    def __init__(self, link: Connection) -> None:
        self._link, self._last = link, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last > PULSE_S:
            send(self._link, Signal.ALIVE)
            self._last = time.monotonic()

    def report(self, value: Any) -> None:
        send(self._link, Progress(value))
        self._last = time.monotonic()


def send(link: Connection, message: Any) -> None:
    """Send a message; large arrays in it follow unpickled.

    Raises:
        ParentGone: if the receiver has ended.
    """
    buffers: list[memoryview] = []

    def is_inline(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes <= INLINE_BYTES:
            return True
        buffers.append(raw)
        return False

    data = pickle.dumps(message, protocol=5, buffer_callback=is_inline)
    try:
        link.send((data, [buffer.nbytes for buffer in buffers]))
        for buffer in buffers:
            link.send_bytes(buffer)
    except OSError as error:
        raise ParentGone from error


def receive(link: Connection) -> Any:
    """Receive a message that `send` sent.

    Raises:
        ParentGone: if the sender has ended.
    """
    try:
        data, sizes = link.recv()
        buffers = [np.empty(size, np.uint8) for size in sizes]
        for buffer in buffers:
            link.recv_bytes_into(buffer.data)
    except (EOFError, OSError) as error:
        raise ParentGone from error
    return pickle.loads(data, buffers=buffers)


class WorkerProcess:
    """A worker process, as its parent sees it.

    Args:
        job: is sent to it.
        threads: threads of torch; None: torch's default.

    Attributes:
        link: the pipe to it.
        is_ready: true once it has built the job.
        tasks: numbers of its tasks: the current one, and those assigned in advance.
        heard_s: time of its last message.
        began_s: start time of the current task.
        last_task_s: duration of its last task.
    """

    def __init__(self, job: Job, threads: int | None) -> None:
        # Spawned, not forked: torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.link, child_link = context.Pipe()
        self.process = context.Process(target=run_worker, args=(child_link, job, threads), daemon=True)
        self.process.start()
        child_link.close()
        self.is_ready = False
        self.tasks: deque[int] = deque()
        self.heard_s = self.began_s = time.monotonic()
        self.last_task_s = float("inf")

    def free(self) -> int:
        """The number of tasks that it accepts now."""
        return (2 if self.last_task_s < SHORT_S else 1) - len(self.tasks) if self.is_ready else 0

    def finish(self) -> None:
        """End the current task."""
        self.tasks.popleft()
        self.last_task_s = self.heard_s - self.began_s
        self.began_s = self.heard_s

    def resident_bytes(self) -> int:
        """Its resident memory; 0 if the system does not report it."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES
        except (OSError, IndexError, ValueError):
            return 0

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.link.close()
