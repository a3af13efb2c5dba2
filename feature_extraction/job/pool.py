"""Processes that do one clip after the other. One that dies or falls silent is replaced, and its clips given back.

Python's own pools end with the first worker that dies, and cannot stop a task; a job over a million files from anywhere must do
both, since decoders crash and hang.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Collection, Iterator
from multiprocessing import connection
from typing import Any, NamedTuple, Protocol

from avloc.errors import AvlocError
from avloc.feature_extraction.job.worker import (
    ALIVE,
    READY,
    Chunk,
    ClipFailed,
    ClipTask,
    ExtractionSettings,
    describe_error,
    process_clip,
    receive_message,
    worker_main,
)

START_TRIES = 3  # a worker that cannot even start so often is the machine's fault, not a clip's
START_S = 600.0  # in which a worker must have started; large weights may come over a network
POLL_S = 1.0
ASLEEP_S = 5.0  # when we have not listened for so long, we were stopped or busy, and silence says nothing
SHORT_S = 0.5  # a worker whose last clip took no longer has the next one with it, so that it need not wait for us


class WorkerLost(NamedTuple):
    """The process at a clip is gone: it died, or was ended because nothing came of it (`silent`)."""

    reason: str
    silent: bool


class Returned(NamedTuple):
    """The clip was with a process that is gone, but not begun."""


class Event(NamedTuple):
    """Something that happened to a clip: a message of its worker's, or the worker's loss."""

    clip: int
    message: Any


class Workers(Protocol):
    """What does clips."""

    def free(self) -> int:
        """How many clips may be given now."""

    def give(self, clip: int, task: ClipTask) -> None:
        """Start a clip; it is called by its number."""

    def wait(self, readable: Collection[int] | None, wake: connection.Connection | None = None) -> Iterator[Event]:
        """What has happened, waiting for a while if nothing has. Only of clips in `readable`; None: of all."""

    def close(self) -> None:
        """End it all at once."""


class InProcess:
    """No processes: clips are done here, one after the other."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings, self._extractors = settings, settings.build_extractors()
        self._tasks: list[tuple[int, ClipTask]] = []

    def free(self) -> int:
        return 1 - len(self._tasks)

    def give(self, clip: int, task: ClipTask) -> None:
        self._tasks.append((clip, task))

    def wait(self, readable: Collection[int] | None, wake: connection.Connection | None = None) -> Iterator[Event]:
        if not self._tasks:
            if wake is not None:
                connection.wait([wake], POLL_S)
            return
        clip, task = self._tasks[0]
        try:
            for message in process_clip(task, self._extractors, self._settings):
                yield Event(clip, message)
        except Exception as error:  # one odd clip must never end a job of a million
            yield Event(clip, ClipFailed(describe_error(error)))
        self._tasks.clear()

    def close(self) -> None:
        self._tasks.clear()


class _Worker:
    """One process."""

    def __init__(self, settings: ExtractionSettings) -> None:
        # Fresh processes: torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe()
        self.process = context.Process(target=worker_main, args=(theirs, settings), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.clips: deque[int] = deque()  # the one that it is at, and what it has with it
        self.heard_s = self.began_s = time.monotonic()
        self.took_s = float("inf")  # for its last clip

    def free(self) -> int:
        """How many clips more it may have."""
        return (2 if self.took_s < SHORT_S else 1) - len(self.clips) if self.ready else 0

    def finish(self) -> None:
        """It is through with its clip."""
        self.clips.popleft()
        self.took_s = self.heard_s - self.began_s
        self.began_s = self.heard_s

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.link.close()


class Processes:
    """Worker processes under supervision."""

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
        # A worker that died just now is found when it is listened to.
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            worker.link.send(task)

    def wait(self, readable: Collection[int] | None, wake: connection.Connection | None = None) -> Iterator[Event]:
        # Of a clip that it has with it a worker says nothing before it is through with the one that it is at.
        listened = {
            w.link: w for w in self._workers if readable is None or not w.clips or not set(readable).isdisjoint(w.clips)
        }  # fmt: skip
        for worker in self._workers:
            if worker.link not in listened:  # it may be waiting for us
                worker.heard_s = time.monotonic()
        for link in connection.wait([*listened, *([wake] if wake is not None else [])], POLL_S):
            if link is not wake:
                yield from self._listen(listened[link])  # type: ignore[index]
        yield from self._give_up_silent()

    def _give_up_silent(self) -> Iterator[Event]:
        now = time.monotonic()
        asleep, self._listened_s = now - self._listened_s > ASLEEP_S, now
        for worker in list(self._workers):
            if asleep:
                worker.heard_s = now
            limit_s = self._settings.timeout_s if worker.ready else max(START_S, self._settings.timeout_s)
            # It may have said something while what others said was worked on.
            if (worker.clips or not worker.ready) and now - worker.heard_s > limit_s and not worker.link.poll():
                yield from self._replace(worker, f"nothing came of it in {limit_s:g} s", silent=True)

    def _listen(self, worker: _Worker) -> Iterator[Event]:
        try:
            message = receive_message(worker.link)
        except (EOFError, OSError):
            worker.process.join(POLL_S)
            code = worker.process.exitcode
            why = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            yield from self._replace(worker, why, silent=False)
            return
        worker.heard_s = time.monotonic()
        if message == READY:
            worker.ready, self._failed_starts = True, 0
        elif worker.clips and message != ALIVE:
            clip = worker.clips[0]
            if not isinstance(message, Chunk):
                worker.finish()
            yield Event(clip, message)

    def _replace(self, worker: _Worker, why: str, *, silent: bool) -> Iterator[Event]:
        worker.end()
        self._workers.remove(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES * max(1, self._settings.workers):
                raise AvlocError(
                    f"the worker processes cannot be started ({why}); perhaps there is too little memory (try fewer workers), "
                    'or a script that calls avloc lacks `if __name__ == "__main__":`'
                )
        self._workers.append(_Worker(self._settings))
        for k, clip in enumerate(worker.clips):
            yield Event(clip, Returned() if k else WorkerLost(why, silent))

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()


def start_workers(settings: ExtractionSettings) -> Workers:
    """The workers that the settings ask for."""
    return Processes(settings) if settings.workers else InProcess(settings)
