"""Streams of several clips > one network, batch by batch, in a thread beside the rest of the job."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import connection
from typing import NamedTuple

import numpy as np

from avloc.errors import AvlocError, describe_error
from avloc.feature_extraction.extractors.base import Extractor, FeatureArray, Stream, check_row_count, check_rows
from avloc.feature_extraction.store.dtypes import StoredArray, storage_dtype, to_stored

BATCH_BYTES = 256 << 20  # of the streams in one batch, and of their rows
BATCH_STREAMS = 64
WAITING_BATCHES = 2  # so that the next batch is ready when one is done
MAX_EQUAL_FAILURES = 20  # more streams in a row that fail for one reason are the machine's fault, not the streams'

OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",
)  # beside torch's own error


class PendingRows:
    """The future rows of one stream.

    Args:
        file: the clip, for errors.
        stream: the network's input.
        low: first row to keep.
        high: end of the rows to keep; None: all up to the last.
        reserved: approximate bytes of the rows to come.

    Attributes:
        rows: (T, D) as they are stored, once they are computed.
        failure: the error, if they could not be computed.
    """

    def __init__(self, file: str, stream: Stream, low: int, high: int | None, reserved: int) -> None:
        self.file, self.low, self.high = file, low, high
        self.stream: Stream | None = stream
        self.rows: StoredArray | None = None
        self.failure: str | None = None
        self._reserved = reserved

    @property
    def nbytes(self) -> int:
        """Bytes that it holds in memory, or soon will."""
        rows = self._reserved if self.rows is None else self.rows.nbytes
        return rows + (0 if self.stream is None else self.stream.nbytes)


class _PassFailure(NamedTuple):
    """The failure of a pass of the network.

    Attributes:
        reason: the error, in one line.
        is_out_of_memory: the device had too little memory.
        is_device_lost: the device does not work any more.
    """

    reason: str
    is_out_of_memory: bool
    is_device_lost: bool


class StreamBatcher:
    """Collects the streams of one extractor and runs its network on batches of them.

    All batchers of a job share one thread: a device does one thing at a time.

    Args:
        executor: the thread.
        extractor: the extractor whose network runs.
        on_done: called in the thread after each batch.
    """

    def __init__(self, executor: ThreadPoolExecutor, extractor: Extractor, on_done: Callable[[], object]) -> None:
        self.extractor = extractor
        self._executor, self._on_done = executor, on_done
        self._samples_per_row = extractor.window_cutter().unit
        self._collected: list[PendingRows] = []
        self._bytes = 0
        self._running: deque[Future[None]] = deque()
        self._last_failure: tuple[str, int] = ("", 0)  # reason, and its failures in a row

    def add(self, file: str, stream: Stream, low: int = 0, high: int | None = None) -> PendingRows:
        """Add a stream to the next batch; its rows from `low` up to `high` are kept."""
        numbers = (len(stream) // self._samples_per_row + 1) * self.extractor.dim
        pending = PendingRows(file, stream, low, high, numbers * storage_dtype(self.extractor.dtype).itemsize)
        self._collected.append(pending)
        self._bytes += stream.nbytes + numbers * np.dtype(np.float32).itemsize
        if self._bytes >= BATCH_BYTES or len(self._collected) >= BATCH_STREAMS:
            self.flush()
        return pending

    def flush(self) -> None:
        """Run the collected streams. The batches depend on the clips' order and on these calls, never on timing."""
        if self._collected:
            batch = self._executor.submit(self._run, self._collected)
            self._running.append(batch)
            batch.add_done_callback(lambda _: self._on_done())
            self._collected, self._bytes = [], 0

    def settle(self) -> None:
        """Forget finished batches.

        Raises:
            AvlocError: if one of them has lost the device.
        """
        while self._running and self._running[0].done():
            self._running.popleft().result()

    @property
    def is_full(self) -> bool:
        """True if enough batches are waiting."""
        return len(self._running) > WAITING_BATCHES

    def _run(self, batch: list[PendingRows]) -> None:
        groups = [batch]
        while groups:
            group = groups.pop()
            failure = self._try_pass(group)
            if failure is None:
                self._last_failure = ("", 0)
            elif failure.is_device_lost:
                raise AvlocError(f"{self.extractor.name}: the device cannot be used any more: {failure.reason}")
            elif len(group) > 1:  # one stream is odd, or together they are too large
                groups += [group[len(group) // 2 :], group[: len(group) // 2]]
            else:
                self._fail(group[0], failure)

    def _try_pass(self, group: list[PendingRows]) -> _PassFailure | None:
        """Run the network once. After a failure its memory on the device is free when this returns."""
        try:
            streams = [pending.stream for pending in group if pending.stream is not None]
            for pending, stream, rows in zip(group, streams, self.extractor.rows(streams), strict=True):
                self._store(pending, stream, rows)
        except Exception as error:
            reason, is_out_of_memory = describe_error(error), _is_out_of_memory(error)
        else:
            return None
        device = getattr(self.extractor, "device", "cpu")
        return _PassFailure(reason, is_out_of_memory, is_device_lost=device != "cpu" and not _works(device))

    def _store(self, pending: PendingRows, stream: Stream, rows: FeatureArray) -> None:
        try:
            check_row_count(self.extractor, stream, rows)
            rows = rows[pending.low : pending.high]
            check_rows(pending.file, self.extractor, rows)
        except AvlocError as error:
            pending.failure = str(error)
        else:
            pending.rows = to_stored(rows, self.extractor.dtype)
        pending.stream = None

    def _fail(self, pending: PendingRows, failure: _PassFailure) -> None:
        """Fail a stream that the network cannot process even alone."""
        if failure.is_out_of_memory:
            raise AvlocError(
                f"{self.extractor.name}: too little memory on the device for a single stream, of {pending.file} "
                f"({failure.reason})"
            )
        reason, times = self._last_failure
        self._last_failure = (failure.reason, times + 1 if reason == failure.reason else 1)
        if self._last_failure[1] >= MAX_EQUAL_FAILURES:
            raise AvlocError(
                f"{self.extractor.name}: {MAX_EQUAL_FAILURES} streams in a row failed alike: {failure.reason}"
            )
        pending.failure, pending.stream = f"{pending.file}: {self.extractor.name}: {failure.reason}", None


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    is_text = any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)
    return is_text or isinstance(error, MemoryError | torch.OutOfMemoryError)


def _works(device: str) -> bool:
    """Test a device: after some errors every further call fails, whatever its input."""
    import torch

    try:
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()  # frees the memory of a pass that was too large
        return bool((torch.zeros(1, device=device) + 1).item() == 1)
    except Exception:
        return False


class DeviceQueue:
    """The queue in front of a job's networks on their device: a `StreamBatcher` for each, and the thread that runs them.

    Args:
        extractors: by their numbers, those that run a network.

    Attributes:
        batchers: the batcher of each extractor.
        wake: readable after a batch is done.
    """

    def __init__(self, extractors: Mapping[int, Extractor]) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="device")
        reading, self._writing = os.pipe()
        self.wake = connection.Connection(reading, writable=False)
        self.batchers = {k: StreamBatcher(self._executor, e, self._ring) for k, e in extractors.items()}

    def _ring(self) -> None:
        os.write(self._writing, b".")

    def settle(self) -> None:
        """Forget finished batches, and block while the device has enough work.

        Raises:
            AvlocError: if the device cannot be used any more.
        """
        while True:
            for batcher in self.batchers.values():
                batcher.settle()
            if not self.wake.poll() and not any(batcher.is_full for batcher in self.batchers.values()):
                return
            os.read(self.wake.fileno(), 4096)

    def flush(self) -> None:
        """Run all collected streams."""
        for batcher in self.batchers.values():
            batcher.flush()

    def close(self) -> None:
        """Wait for the running batch, and drop the others."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self.wake.close()
        os.close(self._writing)
