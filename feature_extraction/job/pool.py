"""A pool of workers that process clips; a worker that dies or falls silent is replaced, and its clips are returned.

Python's own pools end with the first worker that dies, and cannot stop a task. A job over a million files of any origin needs
both, because decoders crash and hang.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Collection, Iterator
from multiprocessing import connection
from typing import NamedTuple, Protocol

from avloc.errors import AvlocError
from avloc.feature_extraction.job.worker import (
    READY,
    Chunk,
    ClipFailed,
    ClipTask,
    ExtractionSettings,
    Message,
    describe_error,
    process_clip,
    receive_message,
    worker_main,
)

START_TRIES = 3  # more failed starts of a worker are the machine's fault, not a clip's
START_S = 600.0  # time-out of a worker's start; large weights may come over a network
POLL_S = 1.0
ASLEEP_S = 5.0  # after a longer time without listening, this process was stopped or busy, and silence proves nothing
SHORT_S = 0.5  # a worker whose last clip was shorter gets the next one in advance, so that it need not wait


class WorkerLost(NamedTuple):
    """The worker of a clip is gone: it died, or was killed because it was silent for too long.

    Attributes:
        reason: the signal or exit code, or the time-out.
        silent: true for a silent worker.
    """

    reason: str
    silent: bool


class Returned(NamedTuple):
    """The clip was assigned to a lost worker, which had not begun it."""


class ClipEvent(NamedTuple):
    """An event of a clip.

    Attributes:
        clip: the clip's number.
        message: from its worker, or about the worker's loss.
    """

    clip: int
    message: Message | WorkerLost | Returned


class Workers(Protocol):
    """A pool of workers that process clips."""

    def free(self) -> int:
        """The number of clips that the pool accepts now."""

    def give(self, clip: int, task: ClipTask) -> None:
        """Assign a clip, identified by its number."""

    def wait(self, readable: Collection[int] | None, wake: connection.Connection | None = None) -> Iterator[ClipEvent]:
        """Yield events; without any, wait up to `POLL_S`.

        Args:
            readable: the clips whose events to read; None: all.
            wake: ends the wait when it becomes readable.

        Raises:
            AvlocError: if the workers cannot be started.
        """

    def close(self) -> None:
        """Kill all workers."""


class InProcess:
    """A pool without processes: clips are processed here, one after the other."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings, self._extractors = settings, settings.build_extractors()
        self._tasks: list[tuple[int, ClipTask]] = []

    def free(self) -> int:
        return 1 - len(self._tasks)

    def give(self, clip: int, task: ClipTask) -> None:
        self._tasks.append((clip, task))

    def wait(self, readable: Collection[int] | None, wake: connection.Connection | None = None) -> Iterator[ClipEvent]:
        if not self._tasks:
            if wake is not None:
                connection.wait([wake], POLL_S)
            return
        clip, task = self._tasks[0]
        try:
            for message in process_clip(task, self._extractors, self._settings):
                yield ClipEvent(clip, message)
        except Exception as error:  # one odd clip must never end a job of a million
            yield ClipEvent(clip, ClipFailed(describe_error(error)))
        self._tasks.clear()

    def close(self) -> None:
        self._tasks.clear()


class _Worker:
    """A worker process.

    Attributes:
        link: the pipe to it.
        is_ready: true once it has built its extractors.
        clips: its clips: the current one, and those assigned in advance.
        heard_s: time of its last message.
        began_s: time at which the current clip began.
        last_clip_s: duration of its last clip.
    """

    def __init__(self, settings: ExtractionSettings) -> None:
        # Spawned, not forked: torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.link, child_link = context.Pipe()
        self.process = context.Process(target=worker_main, args=(child_link, settings), daemon=True)
        self.process.start()
        child_link.close()
        self.is_ready = False
        self.clips: deque[int] = deque()
        self.heard_s = self.began_s = time.monotonic()
        self.last_clip_s = float("inf")

    def free(self) -> int:
        """The number of clips that it accepts now."""
        return (2 if self.last_clip_s < SHORT_S else 1) - len(self.clips) if self.is_ready else 0

    def finish(self) -> None:
        """End the current clip."""
        self.clips.popleft()
        self.last_clip_s = self.heard_s - self.began_s
        self.began_s = self.heard_s

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.link.close()


class Processes:
    """A pool of supervised processes.

    Args:
        settings: the job's; `workers` is the number of processes, `timeout_s` the longest silence.
    """

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings = settings
        self._workers = [_Worker(settings) for _ in range(settings.workers)]
        self._failed_starts = 0
        self._listened_s = time.monotonic()

    def free(self) -> int:
        return sum(max(0, w.free()) for w in self._workers)

    def give(self, clip: int, task: ClipTask) -> None:
        worker = min((w for w in self._workers if w.free() > 0), key=lambda w: len(w.clips))
        if not worker.clips:
            worker.heard_s = worker.began_s = time.monotonic()
        worker.clips.append(clip)
        # A worker that has just died is noticed when its link is read.
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            worker.link.send(task)

    def wait(self, readable: Collection[int] | None, wake: connection.Connection | None = None) -> Iterator[ClipEvent]:
        # A worker sends nothing of a clip assigned in advance before it has finished the current one.
        listened = {
            w.link: w for w in self._workers if readable is None or not w.clips or not set(readable).isdisjoint(w.clips)
        }
        for worker in self._workers:
            if worker.link not in listened:  # it may be blocked until its messages are read
                worker.heard_s = time.monotonic()
        for link in connection.wait([*listened, *([wake] if wake is not None else [])], POLL_S):
            if link is not wake:
                yield from self._listen(listened[link])  # type: ignore[index]
        yield from self._replace_silent()

    def _replace_silent(self) -> Iterator[ClipEvent]:
        now = time.monotonic()
        was_asleep, self._listened_s = now - self._listened_s > ASLEEP_S, now
        for worker in list(self._workers):
            if was_asleep:
                worker.heard_s = now
            limit_s = self._settings.timeout_s if worker.is_ready else max(START_S, self._settings.timeout_s)
            # A message may have arrived while those of other workers were handled.
            if (worker.clips or not worker.is_ready) and now - worker.heard_s > limit_s and not worker.link.poll():
                yield from self._replace(worker, f"no progress within {limit_s:g} s", silent=True)

    def _listen(self, worker: _Worker) -> Iterator[ClipEvent]:
        try:
            message = receive_message(worker.link)
        except (EOFError, OSError):
            worker.process.join(POLL_S)
            code = worker.process.exitcode
            reason = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            yield from self._replace(worker, reason, silent=False)
            return
        worker.heard_s = time.monotonic()
        if message == READY:  # the other signal only proves that the worker is alive
            worker.is_ready, self._failed_starts = True, 0
        elif worker.clips and not isinstance(message, str):
            clip = worker.clips[0]
            if not isinstance(message, Chunk):
                worker.finish()
            yield ClipEvent(clip, message)

    def _replace(self, worker: _Worker, reason: str, *, silent: bool) -> Iterator[ClipEvent]:
        worker.end()
        self._workers.remove(worker)
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES * max(1, self._settings.workers):
                raise AvlocError(
                    f"the worker processes cannot be started ({reason}); the memory may be too small (try fewer workers), "
                    'or the script that calls avloc lacks `if __name__ == "__main__":`'
                )
        self._workers.append(_Worker(self._settings))
        for k, clip in enumerate(worker.clips):
            yield ClipEvent(clip, Returned() if k else WorkerLost(reason, silent))

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()


def start_workers(settings: ExtractionSettings) -> Workers:
    """Start the pool that the settings ask for."""
    return Processes(settings) if settings.workers else InProcess(settings)
