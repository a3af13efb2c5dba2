"""Uploads that wait > worker processes > their timelines; a clip that crashes its worker costs one visitor a message."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from avloc.io.workers.supervision import LossCause, Returned, TaskDone, TaskEvent, WorkerLost, Workers
from avloc.io.workers.worker_process import Progress, TaskFailed
from avloc.web.limits import UploadRefusedError
from avloc.web.localize_job import DescribeTask, Refused, UploadTask
from avloc.web.upload_store import Upload, UploadStore

if TYPE_CHECKING:
    from avloc.core.descriptions import NetworkDescription

LOG = logging.getLogger("avloc.web")
RESTART_S = 5.0


class UploadQueue:
    """Localizes uploads one after the other, as many at the same time as the limits say.

    Args:
        store: the uploads.
        make_workers: starts the pool of workers.
    """

    def __init__(self, store: UploadStore, make_workers: Callable[[], Workers]) -> None:
        self.store, self._make_workers = store, make_workers
        self._waiting: deque[Upload] = deque()
        self._running: dict[int, Upload] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._wake, self._waker = multiprocessing.Pipe(duplex=False)
        self._stopped = threading.Event()
        self._workers: Workers | None = None
        self._thread = threading.Thread(target=self._dispatch, daemon=True)

    def start(self) -> None:
        """Start the workers, and begin to localize once one of them is ready.

        Raises:
            AvlocError: if the network cannot be loaded.
        """
        self._ready_workers()
        self._thread.start()

    def describe_network(self) -> NetworkDescription | None:
        """Ask a worker for the description of its network, before `start`; None if it has none.

        Raises:
            AvlocError: if the network cannot be loaded.
        """
        workers = self._ready_workers()
        workers.give(0, DescribeTask())
        description = None
        while True:
            for event in workers.wait():
                if isinstance(event.message, TaskDone | TaskFailed | WorkerLost):
                    return description
                description = event.message

    def _ready_workers(self) -> Workers:
        """Start the workers if that has not happened, and wait until one is ready."""
        if self._workers is None:
            self._workers = self._make_workers()
        try:
            while not self._workers.free():
                list(self._workers.wait())
        except BaseException:
            self._workers.close()
            raise
        return self._workers

    def check_room(self) -> None:
        """Check that one more upload can wait.

        Raises:
            UploadRefusedError: if too many wait already.
        """
        if len(self._waiting) >= self.store.limits.queue_size:
            raise UploadRefusedError(503, f"{len(self._waiting)} clips wait already; try again in some minutes.")

    def add(self, upload: Upload) -> None:
        """Append an upload.

        Raises:
            UploadRefusedError: if too many wait already.
        """
        with self._lock:
            self.check_room()
            upload.state = "waiting"
            self._waiting.append(upload)
        self._waker.send_bytes(b"\0")

    def position(self, upload: Upload) -> int:
        """The number of clips that come before an upload, plus 1; 0 if it does not wait."""
        with self._lock:
            return self._waiting.index(upload) + 1 if upload in self._waiting else 0

    def close(self) -> None:
        """Stop localizing, and end the workers."""
        self._stopped.set()
        self._waker.send_bytes(b"\0")
        if self._thread.is_alive():
            self._thread.join()

    def _dispatch(self) -> None:
        workers = self._workers
        assert workers is not None
        while not self._stopped.is_set():
            try:
                self._give(workers)
                for event in workers.wait(wake=self._wake):
                    self._handle(event)
            except Exception:  # the page must stay, whatever happens to the workers
                LOG.exception("the worker processes are started again")
                self._fail_all()
                workers.close()
                workers = self._restart() or workers
            while self._wake.poll():
                self._wake.recv_bytes()
        workers.close()

    def _give(self, workers: Workers) -> None:
        while workers.free() and len(self._running) < self.store.limits.concurrency:
            with self._lock:
                if not self._waiting:
                    return
                upload = self._waiting.popleft()
                upload.state = "running"
            self._count += 1
            self._running[self._count] = upload
            workers.give(self._count, UploadTask(upload.clip, upload.name, upload.page))

    def _handle(self, event: TaskEvent) -> None:
        upload, message = self._running.get(event.task), event.message
        if upload is None:
            return
        if isinstance(message, Progress):
            upload.fraction, upload.text = message.value
        elif isinstance(message, Refused):
            self._fail(event.task, message.reason)
        elif isinstance(message, TaskDone):
            self.store.finish(self._running.pop(event.task))
        elif isinstance(message, TaskFailed):
            LOG.error("a clip could not be localized: %s", message.reason)
            self._fail(event.task, f"{upload.name}: could not be localized; the server's log has the reason")
        elif isinstance(message, WorkerLost):
            LOG.error("a worker process ended while it localized a clip: %s", message.reason)
            self._fail(event.task, f"{upload.name}: {self._describe_loss(message)}")
        elif isinstance(message, Returned):
            with self._lock:
                upload.state = "waiting"
                self._waiting.appendleft(self._running.pop(event.task))

    def _fail(self, number: int, reason: str) -> None:
        self.store.fail(self._running.pop(number), reason)

    def _describe_loss(self, lost: WorkerLost) -> str:
        if lost.reason == f"signal {int(signal.SIGALRM)}":
            return f"took longer than {self.store.limits.time_limit_s / 60:g} minutes"
        if lost.cause is LossCause.DEATH:
            return f"could not be localized, the process that decoded it ended ({lost.reason})"
        return f"could not be localized, {lost.reason}"

    def _fail_all(self) -> None:
        for number, upload in list(self._running.items()):
            self._fail(number, f"{upload.name}: could not be localized; the server's log has the reason")

    def _restart(self) -> Workers | None:
        """Start other workers, as soon as that succeeds; None once the queue is closed."""
        while not self._stopped.wait(RESTART_S):
            try:
                return self._make_workers()
            except Exception:
                LOG.exception("the worker processes cannot be started")
        return None
