"""Clips and shards in progress: chunks of a clip arrive, streams become rows, and rows go to the shards' writers in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.extractors.base import Extractor
from avloc.feature_extraction.job.device_batches import DeviceQueue, PendingRows
from avloc.feature_extraction.job.worker import Chunk, ClipDone
from avloc.feature_extraction.store.shard_tables import NO_FILE
from avloc.feature_extraction.store.shards import ShardWriter


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """A unit of work: some clips, and the shard to write for each extractor that lacks it.

    Attributes:
        files: the clips, relative to the job's root.
        paths: extractor → the shard's file. Extractors go by their number in `ExtractionSettings.extractors`.
        fingerprints: extractor → the fingerprint that the shard carries.
    """

    files: tuple[str, ...]
    paths: dict[int, Path]
    fingerprints: dict[int, str]

    def absolute(self) -> ShardSpec:
        """The same shard with absolute paths."""
        return replace(self, paths={k: path.absolute() for k, path in self.paths.items()})


@dataclass(slots=True)
class ShardInProgress:
    """A shard in progress; its files are opened when its first clip is written.

    Attributes:
        spec: the unit of work.
        last: the number of its last clip.
        writers: extractor → the open shard.
    """

    spec: ShardSpec
    last: int = -1
    writers: dict[int, ShardWriter] = field(default_factory=dict)

    @property
    def is_started(self) -> bool:
        """True once its files have been opened."""
        return bool(self.writers)

    def open(self, extractors: Sequence[Extractor]) -> None:
        """Open the files; `extractors` are all of the job."""
        for k, path in self.spec.paths.items():
            self.writers[k] = ShardWriter(path, extractors[k].dim, self.spec.fingerprints[k], extractors[k].dtype)

    def drop_clip(self) -> None:
        """Discard the rows of the current clip."""
        for writer in self.writers.values():
            writer.drop()

    def close(self) -> None:
        """Complete the files."""
        for writer in self.writers.values():
            writer.close()

    def discard(self) -> None:
        """Remove the unfinished files."""
        for writer in self.writers.values():
            writer.discard()


@dataclass(slots=True)
class QueuedChunk:
    """A chunk of a clip in its order: rows, or a stream that turns into pending rows, then into rows.

    Attributes:
        chunk: the chunk; without its data once the stream is with the device.
        pending: the future rows of such a stream.
    """

    chunk: Chunk
    pending: PendingRows | None = None

    @property
    def rows(self) -> npt.NDArray[Any] | None:
        """The rows (T, D); None if they are not computed yet."""
        if self.chunk.is_rows:
            return self.chunk.data
        return None if self.pending is None else self.pending.rows

    @property
    def failure(self) -> str | None:
        """The error, if the rows cannot be computed."""
        return None if self.pending is None else self.pending.failure

    @property
    def nbytes(self) -> int:
        """Bytes that it holds in memory, or soon will."""
        return self.chunk.data.nbytes + (0 if self.pending is None else self.pending.nbytes)

    def hand_over(self, file: str, device: DeviceQueue) -> None:
        """Give the stream to its network."""
        chunk = self.chunk
        self.pending = device.batchers[chunk.extractor].add(file, chunk.data, chunk.low, chunk.high)
        self.chunk = chunk._replace(data=np.empty(0))


@dataclass(slots=True)
class ClipInProgress:
    """A clip in progress.

    Attributes:
        number: its place among all clips of the job.
        file: its name.
        shard: the shard that it belongs to.
        chunks: received chunks that are not written yet, in order.
        unreleased: the bytes of each received chunk that is not released to the device yet, and the chunk if it is a stream.
        losses: number of workers lost at this clip.
        done: its times and costs, once its worker has finished.
        failure: the error, if it cannot be read.
        size: bytes of the media file.
    """

    number: int
    file: str
    shard: ShardInProgress
    chunks: deque[QueuedChunk] = field(default_factory=deque)
    unreleased: deque[tuple[int, QueuedChunk | None]] = field(default_factory=deque)
    losses: int = 0
    done: ClipDone | None = None
    failure: str | None = None
    size: int = NO_FILE

    @property
    def is_decided(self) -> bool:
        """True once its worker has finished, or it has failed."""
        return self.done is not None or self.failure is not None

    @property
    def nbytes(self) -> int:
        """Bytes of its chunks."""
        return sum(chunk.nbytes for chunk in self.chunks)

    @property
    def unreleased_bytes(self) -> int:
        """Bytes of the unreleased chunks; rows that are written already count too, so that it does not depend on timing."""
        return sum(size for size, _ in self.unreleased)

    def add(self, chunk: Chunk, *, for_device: bool) -> None:
        """Add a chunk; `for_device` if the job has a device."""
        queued = QueuedChunk(chunk)
        self.chunks.append(queued)
        if for_device:
            self.unreleased.append((chunk.data.nbytes, None if chunk.is_rows else queued))

    def reset(self) -> None:
        """Drop all its chunks."""
        self.chunks.clear()
        self.unreleased.clear()

    def fail(self, reason: str) -> None:
        """Mark the clip as failed, and drop all its chunks."""
        self.reset()
        self.failure, self.done = reason, None

    def write(self) -> str | None:
        """Write the chunks that are ready, in order, up to the first that is not.

        Returns:
            The failure of the first chunk whose rows cannot be computed; None if all is well.

        Raises:
            OSError: if the disk does not accept the rows.
        """
        while self.chunks:
            queued = self.chunks[0]
            if queued.failure is not None:
                return queued.failure
            rows = queued.rows
            if rows is None:
                return None
            self.chunks.popleft()
            self.shard.writers[queued.chunk.extractor].append(rows)
        return None

    def finish(self) -> None:
        """End the clip in its shards, which close after their last clip."""
        for number, writer in enumerate(self.shard.writers.values()):
            if self.done is None:
                writer.fail(self.file, self.failure or "", self.size)
            elif number < len(self.done.failures) and (reason := self.done.failures[number]) is not None:
                writer.fail(self.file, reason, self.size)
            else:
                gaps = self.done.gaps[number] if self.done.gaps else ()
                writer.end(self.file, self.done.starts_s[number], self.size, self.done.problems, gaps)
        if self.number == self.shard.last:
            self.shard.close()
