"""Streams of several clips > one network, batch by batch, in a thread beside the rest of the job."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import connection
from typing import Any

from avloc.feature_extraction.extractors.base import Extractor, Rows, Stream
from avloc.feature_extraction.worker import reason_of

BATCH_BYTES = 256 << 20  # of streams in one batch
BATCH_STREAMS = 64
WAITING_BATCHES = 2  # so that the next is there when one is done


class Ticket:
    """The rows of one stream, once they are made; or why they could not be."""

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream | None = stream
        self.rows: Rows | None = None
        self.failure: str | None = None


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
        self._collected: list[Ticket] = []
        self._bytes = 0
        self._running: deque[Future[None]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether enough is waiting already."""
        while self._running and self._running[0].done():
            self._running.popleft().result()
        return len(self._running) > WAITING_BATCHES

    def add(self, stream: Stream) -> Ticket:
        """Take a stream; it is run with others."""
        ticket = Ticket(stream)
        self._collected.append(ticket)
        self._bytes += stream.nbytes
        if self._bytes >= BATCH_BYTES or len(self._collected) >= BATCH_STREAMS:
            self.flush()
        return ticket

    def flush(self) -> None:
        """Run what was collected. What is in a batch depends on the clips' order and on these calls, not on timing."""
        if self._collected:
            self._running.append(self._executor.submit(self._run, self._collected))
            self._collected, self._bytes = [], 0

    def _run(self, tickets: list[Ticket]) -> None:
        streams: list[Any] = [t.stream for t in tickets]
        try:
            for ticket, rows in zip(tickets, self.extractor.rows(streams), strict=True):
                ticket.rows = rows
        except Exception:  # one of them is odd, or together they are too much: each for itself then
            for ticket in tickets:
                self._run_alone(ticket)
        for ticket in tickets:
            ticket.stream = None
        self._done()

    def _run_alone(self, ticket: Ticket) -> None:
        if ticket.stream is None:
            return
        try:
            ticket.rows = self.extractor.rows([ticket.stream])[0]
        except Exception as error:
            ticket.failure = f"{self.extractor.name}: {reason_of(error)}"


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
        """Forget the rings until now, and wait while enough is with the device already."""
        while self.wake.poll() or any(b.is_full for b in self.batches.values()):
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
