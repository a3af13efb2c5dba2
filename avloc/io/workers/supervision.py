"""Worker processes under supervision; a worker that dies, hangs or takes too much memory is replaced, and its tasks are returned.

Python's own pools end with the first worker that dies, and cannot stop a task. Work on files of any origin needs both,
because decoders crash and hang. `avloc.io.workers.pool` is a simpler front: one result per task, in order.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from enum import Enum
from multiprocessing import connection
from typing import Any, NamedTuple, Protocol

from avloc.errors import AvlocError, describe_error
from avloc.io.workers.worker_process import (
    Job,
    ParentGone,
    Progress,
    Signal,
    StartFailed,
    TaskFailed,
    WorkerProcess,
    receive,
    send,
)

TRIES = 3  # of a task whose worker dies: the system may have killed it
SILENT_TRIES = 2  # of a task whose worker falls silent: the whole machine may have been asleep
START_TRIES = 3  # more failed starts of a worker are the machine's fault, not a task's
START_S = 600.0  # time-out of a worker's start; large weights may come over a network
POLL_S = 1.0
MEMORY_POLL_S = 0.1  # between two looks at the workers' memory
ASLEEP_S = 5.0  # after a longer time without listening, this process was stopped or busy, and silence proves nothing


class LossCause(Enum):
    """The cause of a worker's loss: it died, was silent for too long, or took too much memory."""

    DEATH = "death"
    SILENCE = "silence"
    MEMORY = "memory"


class WorkerLost(NamedTuple):
    """The worker of a task is gone: it died, or was killed.

    Attributes:
        reason: the signal or exit code, the time-out, or the limit of memory.
        cause: the cause.
    """

    reason: str
    cause: LossCause

    def failure(self, losses: int, tries: int = TRIES) -> str | None:
        """Return the reason to give up a task that has lost this many workers; None: it deserves another try.

        >>> WorkerLost("signal 11", LossCause.DEATH).failure(losses=3)
        'its worker process died 3 times (signal 11)'
        >>> WorkerLost("no progress within 60 s", LossCause.SILENCE).failure(losses=1)
        """
        if self.cause is LossCause.MEMORY:  # it would need the same memory again
            return f"given up, {self.reason}"
        if self.cause is LossCause.SILENCE:
            return f"given up, {self.reason}" if losses >= min(SILENT_TRIES, tries) else None
        times = "" if losses == 1 else f" {losses} times"
        return f"its worker process died{times} ({self.reason})" if losses >= tries else None


class Returned(NamedTuple):
    """The task was assigned to a lost worker, which had not begun it."""


class TaskDone(NamedTuple):
    """The end of a task: all its messages have come."""


class TaskEvent(NamedTuple):
    """An event of a task.

    Attributes:
        task: the task's number.
        message: a message of the task, its end (`TaskDone`, `TaskFailed`), or `WorkerLost` or `Returned`.
    """

    task: int
    message: Any


class Workers(Protocol):
    """A pool of workers that run tasks."""

    def free(self) -> int:
        """The number of tasks that the pool accepts now."""

    def give(self, number: int, task: Any) -> None:
        """Assign a task, which its events name by this number."""

    def wait(self, unread: Collection[int] = (), wake: connection.Connection | None = None) -> Iterator[TaskEvent]:
        """Yield events; without any, wait up to `POLL_S`.

        Args:
            unread: tasks whose events to leave for later; a worker that has only such tasks waits.
            wake: ends the wait when it becomes readable.

        Raises:
            AvlocError: if the workers cannot be started.
        """

    def stop_tasks(self) -> None:
        """Stop all tasks; no events of theirs will come."""

    def close(self) -> None:
        """Kill all workers."""


class InProcess:
    """A pool without processes: tasks run here, one after the other.

    Args:
        job: builds the function for tasks.

    Raises:
        AvlocError: if the job cannot be built.
    """

    def __init__(self, job: Job) -> None:
        self._reports = _Reports()
        self._run = job.build(self._reports)
        self._tasks: list[tuple[int, Any]] = []

    def free(self) -> int:
        return 1 - len(self._tasks)

    def give(self, number: int, task: Any) -> None:
        self._tasks.append((number, task))

    def wait(self, unread: Collection[int] = (), wake: connection.Connection | None = None) -> Iterator[TaskEvent]:
        if not self._tasks:
            if wake is not None:
                connection.wait([wake], POLL_S)
            return
        number, task = self._tasks[0]
        try:
            for message in self._run(task):
                yield from self._reported(number)
                yield TaskEvent(number, message)
            yield from self._reported(number)
        except Exception as error:  # one odd task must never end a job of a million
            yield from self._reported(number)
            yield TaskEvent(number, TaskFailed(describe_error(error)))
        else:
            yield TaskEvent(number, TaskDone())
        finally:
            self._tasks.clear()

    def _reported(self, number: int) -> Iterator[TaskEvent]:
        values, self._reports.values = self._reports.values, []
        return (TaskEvent(number, Progress(value)) for value in values)

    def stop_tasks(self) -> None:
        self._tasks.clear()

    def close(self) -> None:
        self._tasks.clear()


class _Reports:
    """Keeps a task's reports until its next message."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __call__(self) -> None:
        """Do nothing: this process is alive."""

    def report(self, value: Any) -> None:
        self.values.append(value)


class Processes:
    """A pool of supervised processes.

    Args:
        job: is sent to each process.
        workers: number of processes.
        timeout_s: longest silence of a busy worker.
        memory_bytes: most memory that a worker may occupy; None: no limit. The parent watches it, because a limit on the
            address space (`RLIMIT_AS`) breaks torch and CUDA.
        threads: torch threads of each process; None: torch's default.
    """

    def __init__(
        self,
        job: Job,
        *,
        workers: int,
        timeout_s: float,
        memory_bytes: int | None = None,
        threads: int | None = 1,
    ) -> None:
        self._job, self._count, self._timeout_s, self._memory = job, workers, timeout_s, memory_bytes
        self._threads = threads
        self._workers = [WorkerProcess(job, threads) for _ in range(workers)]
        self._failed_starts = 0
        self._listened_s = time.monotonic()

    def free(self) -> int:
        return sum(max(0, w.free()) for w in self._workers)

    def give(self, number: int, task: Any) -> None:
        worker = min((w for w in self._workers if w.free() > 0), key=lambda w: len(w.tasks))
        if not worker.tasks:
            worker.heard_s = worker.began_s = time.monotonic()
        worker.tasks.append(number)
        try:
            send(worker.link, (task,))
        except ParentGone:  # a worker that has just died is noticed when its link is read
            return

    def wait(self, unread: Collection[int] = (), wake: connection.Connection | None = None) -> Iterator[TaskEvent]:
        # A worker sends nothing of a task assigned in advance before it has finished the current one.
        listened = {w.link: w for w in self._workers if not w.tasks or not set(w.tasks) <= set(unread)}
        for worker in self._workers:
            if worker.link not in listened:  # it may be blocked until its messages are read
                worker.heard_s = time.monotonic()
        poll_s = POLL_S if self._memory is None else MEMORY_POLL_S
        for link in connection.wait([*listened, *([wake] if wake is not None else [])], poll_s):
            if link is not wake:
                yield from self._listen(listened[link])  # type: ignore[index]
        yield from self._replace_silent()
        yield from self._replace_large()

    def _replace_silent(self) -> Iterator[TaskEvent]:
        now = time.monotonic()
        was_asleep, self._listened_s = now - self._listened_s > ASLEEP_S, now
        for worker in list(self._workers):
            if was_asleep:
                worker.heard_s = now
            limit_s = self._timeout_s if worker.is_ready else max(START_S, self._timeout_s)
            # A message may have arrived while those of other workers were handled.
            if (worker.tasks or not worker.is_ready) and now - worker.heard_s > limit_s and not worker.link.poll():
                yield from self._replace(worker, WorkerLost(f"no progress within {limit_s:g} s", LossCause.SILENCE))

    def _replace_large(self) -> Iterator[TaskEvent]:
        if self._memory is None:
            return
        for worker in list(self._workers):
            if worker.resident_bytes() > self._memory:
                reason = f"it needed more than {self._memory / 2**30:.3g} GiB of memory"
                yield from self._replace(worker, WorkerLost(reason, LossCause.MEMORY))

    def _listen(self, worker: WorkerProcess) -> Iterator[TaskEvent]:
        try:
            message = receive(worker.link)
        except ParentGone:
            worker.process.join(POLL_S)
            code = worker.process.exitcode
            reason = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            yield from self._replace(worker, WorkerLost(reason, LossCause.DEATH))
            return
        worker.heard_s = time.monotonic()
        if isinstance(message, StartFailed):
            raise message.error
        if message is Signal.READY:
            worker.is_ready, self._failed_starts = True, 0
        elif worker.tasks and message is not Signal.ALIVE:
            number = worker.tasks[0]
            if message is Signal.TASK_DONE or isinstance(message, TaskFailed):
                worker.finish()
            yield TaskEvent(number, TaskDone() if message is Signal.TASK_DONE else message)

    def _replace(self, worker: WorkerProcess, lost: WorkerLost) -> Iterator[TaskEvent]:
        self._restart(worker)
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES * max(1, self._count):
                raise AvlocError(
                    f"the worker processes cannot be started ({lost.reason}); the memory may be too small (try fewer "
                    'workers), or the script that calls avloc lacks `if __name__ == "__main__":`'
                )
        for k, number in enumerate(worker.tasks):
            yield TaskEvent(number, Returned() if k else lost)

    def _restart(self, worker: WorkerProcess) -> None:
        worker.end()
        self._workers.remove(worker)
        self._workers.append(WorkerProcess(self._job, self._threads))

    def stop_tasks(self) -> None:
        for worker in [w for w in self._workers if w.tasks]:
            self._restart(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()


def start_workers(
    job: Job, *, workers: int, timeout_s: float, memory_bytes: int | None = None, threads: int | None = 1
) -> Workers:
    """Start supervised processes (see `Processes`), or none for 0 workers: tasks then run in this process, unprotected."""
    if not workers:
        return InProcess(job)
    return Processes(job, workers=workers, timeout_s=timeout_s, memory_bytes=memory_bytes, threads=threads)
