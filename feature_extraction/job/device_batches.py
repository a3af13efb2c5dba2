"""Streams of several clips > one network, batch by batch, in a thread beside the rest of the job."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import connection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, Stream, check_finite
from avloc.feature_extraction.job.worker import describe_error
from avloc.feature_extraction.store.shards import to_half

BATCH_BYTES = 256 << 20  # of streams in one batch, and of the rows that come of them
BATCH_STREAMS = 64
WAITING_BATCHES = 2  # so that the next is there when one is done
ALIKE = 20  # streams that fail for the same reason, none between that does not, are the machine's fault, not theirs

FULL = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")  # beside torch's own error


class PendingRows:
    """The rows of one stream, once they are made; or why they could not be.

    Args:
        file: the clip, for errors.
        stream: what the network is given.
        low: the first row that counts.
        high: behind the last one; None: to the end.
        reserved: bytes of the rows that are to come, about.
    """

    def __init__(self, file: str, stream: Stream, low: int, high: int | None, reserved: int) -> None:
        self.file, self.low, self.high = file, low, high
        self.stream: Stream | None = stream
        self.rows: npt.NDArray[np.float16] | None = None
        self.failure: str | None = None
        self._reserved = reserved

    @property
    def held(self) -> int:
        """Bytes that it has in memory, or soon will."""
        rows = self._reserved if self.rows is None else self.rows.nbytes
        return rows + (0 if self.stream is None else self.stream.nbytes)


class _Trouble(NamedTuple):
    """Why a pass failed: too little memory, a device that does nothing any more, or something in a stream."""

    reason: str
    full: bool
    broken: bool


class Batches:
    """Collects an extractor's streams and runs them together. One thread for all: a device does one thing at a time.

    Args:
        executor: the thread.
        extractor: whose network to run.
        done: called in the thread after each batch.
    """

    def __init__(self, executor: ThreadPoolExecutor, extractor: Extractor, done: Callable[[], object]) -> None:
        self.extractor = extractor
        self._executor, self._done = executor, done
        self._samples_per_row = extractor.windows().unit
        self._collected: list[PendingRows] = []
        self._bytes = 0
        self._running: deque[Future[None]] = deque()
        self._alike: tuple[str, int] = ("", 0)

    def add(self, file: str, stream: Stream, low: int = 0, high: int | None = None) -> PendingRows:
        """Take a stream; it is run with others. Of its rows `low` to `high` are wanted."""
        numbers = (len(stream) // self._samples_per_row + 1) * self.extractor.dim
        ticket = PendingRows(file, stream, low, high, numbers * np.dtype(np.float16).itemsize)
        self._collected.append(ticket)
        self._bytes += stream.nbytes + numbers * np.dtype(np.float32).itemsize
        if self._bytes >= BATCH_BYTES or len(self._collected) >= BATCH_STREAMS:
            self.flush()
        return ticket

    def flush(self) -> None:
        """Run what was collected. What is in a batch depends on the clips' order and on these calls, not on timing."""
        if self._collected:
            batch = self._executor.submit(self._run, self._collected)
            self._running.append(batch)
            batch.add_done_callback(lambda _: self._done())
            self._collected, self._bytes = [], 0

    def settle(self) -> None:
        """Forget the batches that are through.

        Raises:
            AvlocError: if one of them found the device unusable.
        """
        while self._running and self._running[0].done():
            self._running.popleft().result()

    @property
    def is_full(self) -> bool:
        """Whether enough is waiting already."""
        return len(self._running) > WAITING_BATCHES

    def _run(self, tickets: list[PendingRows]) -> None:
        groups = [tickets]
        while groups:
            group = groups.pop()
            trouble = self._pass(group)
            if trouble is None:
                self._alike = ("", 0)
            elif trouble.broken:
                raise AvlocError(f"{self.extractor.name}: the device cannot be used any more: {trouble.reason}")
            elif len(group) > 1:  # one of them is odd, or together they are too much
                groups += [group[len(group) // 2 :], group[: len(group) // 2]]
            else:
                self._fail(group[0], trouble)

    def _pass(self, tickets: list[PendingRows]) -> _Trouble | None:
        """Run the network once. What it had on the device when it failed is free when this returns."""
        try:
            streams = [ticket.stream for ticket in tickets if ticket.stream is not None]
            for ticket, rows in zip(tickets, self.extractor.rows(streams), strict=True):
                self._take(ticket, rows[ticket.low : ticket.high])
        except Exception as error:
            reason, full = describe_error(error), _is_full(error)
        else:
            return None
        device = getattr(self.extractor, "device", "cpu")
        return _Trouble(reason, full, broken=device != "cpu" and not _works(device))

    def _take(self, ticket: PendingRows, rows: npt.NDArray[np.floating]) -> None:
        try:
            check_finite(ticket.file, self.extractor, rows)
        except AvlocError as error:
            ticket.failure = str(error)
        else:
            ticket.rows = to_half(rows)
        ticket.stream = None

    def _fail(self, ticket: PendingRows, trouble: _Trouble) -> None:
        """A stream by itself cannot be done."""
        if trouble.full:
            raise AvlocError(
                f"{self.extractor.name}: too little memory on the device for a single stream, of {ticket.file} ({trouble.reason})"
            )
        reason, times = self._alike
        self._alike = (trouble.reason, times + 1 if reason == trouble.reason else 1)
        if self._alike[1] >= ALIKE:
            raise AvlocError(f"{self.extractor.name}: {ALIKE} streams in a row failed alike: {trouble.reason}")
        ticket.failure, ticket.stream = f"{ticket.file}: {self.extractor.name}: {trouble.reason}", None


def _is_full(error: Exception) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in FULL)


def _works(device: str) -> bool:
    """Whether a device still does anything: after some errors each call fails, whatever it is given."""
    import torch

    try:
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()  # what a pass that was too much has left
        return bool((torch.zeros(1, device=device) + 1).item() == 1)
    except Exception:
        return False


class Device:
    """The networks of a job on their device: `Batches` for each, and the thread that runs them."""

    def __init__(self, extractors: dict[int, Extractor]) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="device")
        reading, self._writing = os.pipe()
        self.wake = connection.Connection(reading, writable=False)
        self.batches = {k: Batches(self._executor, e, self._ring) for k, e in extractors.items()}

    def _ring(self) -> None:
        os.write(self._writing, b".")

    def hear(self) -> None:
        """Forget the rings until now, and wait while enough is with the device already.

        Raises:
            AvlocError: if the device cannot be used any more.
        """
        while True:
            for batches in self.batches.values():
                batches.settle()
            if not self.wake.poll() and not any(b.is_full for b in self.batches.values()):
                return
            os.read(self.wake.fileno(), 4096)

    def flush(self) -> None:
        """Run all that was collected."""
        for batches in self.batches.values():
            batches.flush()

    def close(self) -> None:
        """Wait for the thread; what was not begun is not run."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self.wake.close()
        os.close(self._writing)
