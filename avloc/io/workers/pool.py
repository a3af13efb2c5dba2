"""Tasks > workers > one result per task, in order; a task that crashes, hangs or takes too much memory fails alone."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from avloc.io.workers.supervision import TRIES, Returned, TaskDone, TaskEvent, WorkerLost, Workers, start_workers
from avloc.io.workers.worker_process import Job, Progress, TaskFailed

TASKS_AHEAD = 2  # tasks ahead of the one whose result comes next, per worker
_END = object()


class TaskResult(NamedTuple):
    """The outcome of a task.

    Attributes:
        task: the task.
        result: its result: the last message that is no `Progress`; None without one.
        failure: the reason in one line, if the task failed.
        crashed: true if the task lost its workers: its input can crash a process that reads it.
    """

    task: Any
    result: Any = None
    failure: str | None = None
    crashed: bool = False


@dataclass(slots=True)
class _Pending:
    """A task that is with the workers, or waits for one."""

    number: int
    task: Any
    outcome: TaskResult | None = None
    result: Any = None
    losses: int = 0


def _ignore(task: Any, value: Any) -> None:
    """Ignore the progress of a task."""


class TaskPool:
    """A pool that keeps its workers from one group of tasks to the next.

    Args:
        job: builds the function for tasks, in each worker (`avloc.io.workers.worker_process.Job`).
        workers: number of processes; 0 runs tasks in this process, without protection.
        timeout_s: give up on a task after this many seconds without progress.
        memory_bytes: most memory of a worker; None: no limit.
        tries: workers that a task may lose by their death, before it fails.
        threads: torch threads of each process; None: torch's default.

    Raises:
        AvlocError: if the job cannot be built; with processes, as the first task runs.
    """

    def __init__(
        self,
        job: Job,
        *,
        workers: int,
        timeout_s: float,
        memory_bytes: int | None = None,
        tries: int = TRIES,
        threads: int | None = 1,
    ) -> None:
        self._tries, self._ahead = tries, TASKS_AHEAD * max(1, workers)
        self._numbers = itertools.count()
        self._workers = start_workers(
            job, workers=workers, timeout_s=timeout_s, memory_bytes=memory_bytes, threads=threads
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers."""
        self._workers.close()

    def run(self, tasks: Iterable[Any], progress: Callable[[Any, Any], object] = _ignore) -> Iterator[TaskResult]:
        """Yield the result of each task, in order. Tasks are consumed a few ahead.

        Args:
            tasks: picklable.
            progress: called with the task and the value of each of its `Progress` messages.

        Raises:
            AvlocError: if the job cannot be built, or the workers cannot be started.
        """
        run = _Run(self._workers, iter(tasks), progress, self._ahead, self._tries, self._numbers)
        try:
            yield from run.results()
        finally:
            if run.pending:  # ended by an error, or by the caller
                self._workers.stop_tasks()


class _Run:
    """The state of `TaskPool.run`."""

    def __init__(
        self,
        workers: Workers,
        upcoming: Iterator[Any],
        progress: Callable[[Any, Any], object],
        ahead: int,
        tries: int,
        numbers: Iterator[int],
    ) -> None:
        self._workers, self._upcoming, self._progress = workers, upcoming, progress
        self._ahead, self._tries, self._numbers = ahead, tries, numbers
        self.pending: deque[_Pending] = deque()  # from the task whose result comes next
        self._waiting: deque[_Pending] = deque()  # of these, the ones without a worker

    def results(self) -> Iterator[TaskResult]:
        while self._feed():
            for event in self._workers.wait():
                self._handle(event)
                while self.pending and (outcome := self.pending[0].outcome) is not None:
                    self.pending.popleft()
                    yield outcome

    def _feed(self) -> bool:
        """Give tasks to idle workers; return false when none is left."""
        while self._waiting or len(self.pending) < self._ahead:
            if not self._waiting:
                task = next(self._upcoming, _END)
                if task is _END:
                    break
                self.pending.append(_Pending(next(self._numbers), task))
                self._waiting.append(self.pending[-1])
            if not self._workers.free():
                break
            each = self._waiting.popleft()
            self._workers.give(each.number, each.task)
        return bool(self.pending)

    def _handle(self, event: TaskEvent) -> None:
        each = next((p for p in self.pending if p.number == event.task), None)
        if each is None:
            return
        message = event.message
        if isinstance(message, Progress):
            self._progress(each.task, message.value)
        elif isinstance(message, TaskDone):
            each.outcome = TaskResult(each.task, each.result)
        elif isinstance(message, TaskFailed):
            each.outcome = TaskResult(each.task, failure=message.reason)
        elif isinstance(message, WorkerLost):
            self._retry(each, message)
        elif isinstance(message, Returned):
            self._waiting.append(each)
        else:
            each.result = message

    def _retry(self, each: _Pending, lost: WorkerLost) -> None:
        each.losses, each.result = each.losses + 1, None
        failure = lost.failure(each.losses, self._tries)
        if failure is None:
            self._waiting.append(each)
        else:
            each.outcome = TaskResult(each.task, failure=failure, crashed=True)


def run_tasks(
    job: Job,
    tasks: Iterable[Any],
    *,
    workers: int,
    timeout_s: float,
    memory_bytes: int | None = None,
    tries: int = TRIES,
    threads: int | None = 1,
    progress: Callable[[Any, Any], object] = _ignore,
) -> Iterator[TaskResult]:
    """Run tasks with a pool of its own, and yield the result of each, in order; without tasks, no worker is started.

    Args:
        job: see `TaskPool`.
        tasks: see `TaskPool.run`.
        workers: see `TaskPool`.
        timeout_s: see `TaskPool`.
        memory_bytes: see `TaskPool`.
        tries: see `TaskPool`.
        threads: see `TaskPool`.
        progress: see `TaskPool.run`.

    Raises:
        AvlocError: if the job cannot be built, or the workers cannot be started.
    """
    tasks = iter(tasks)
    first = next(tasks, _END)
    if first is _END:
        return
    with TaskPool(
        job, workers=workers, timeout_s=timeout_s, memory_bytes=memory_bytes, tries=tries, threads=threads
    ) as pool:
        yield from pool.run(itertools.chain([first], tasks), progress)
