"""Shard specs > shards in a store: clips go ahead to the workers, and their rows are written in the clips' order.

```
clips in order ──► workers: decode, and extract ──► rows ─────────────────────────► writers, in order
                                     └─ streams ─► DeviceQueue: networks, batches ─┘
```
The content of a batch and the place of a row depend on the shard alone, so that a shard made again is equal to the first.
(One exception: when a worker dies at a clip of which more than `HELD_BYTES / 2` are with the device already, these are run
again.)
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from avloc.errors import AvlocError, StoreError, one_line, shown
from avloc.feature_extraction.extractors.base import Extractor
from avloc.feature_extraction.job.device_batches import DeviceQueue
from avloc.feature_extraction.job.in_progress import ClipInProgress, ShardInProgress, ShardSpec
from avloc.feature_extraction.job.worker import Chunk, ClipDone, ClipTask, ExtractionJob, ExtractionSettings
from avloc.feature_extraction.store.shard_tables import NO_FILE
from avloc.io.files import NoRoomError
from avloc.io.workers.supervision import Returned, TaskEvent, WorkerLost, Workers, start_workers
from avloc.io.workers.worker_process import TaskFailed

CLIPS_AHEAD = 4  # clips ahead of the one being written, per worker
HELD_BYTES = 512 << 20  # of clips ahead, before their workers have to wait


class ClipReport(NamedTuple):
    """The event that a clip is written.

    Attributes:
        file: its name.
        failure: the error of the clip, or of one of its streams; None if all could be read.
        costs: its length, problems and costs; None if nothing of it could be read.
    """

    file: str
    failure: str | None
    costs: ClipDone | None


class ShardDone(NamedTuple):
    """The event that a shard is complete."""

    spec: ShardSpec


def file_size(path: Path) -> int:
    """The size of a file in bytes; `NO_FILE` if it does not exist."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return NO_FILE


def is_readable(path: Path) -> bool:
    """Tell whether the first byte of a file can be read; a pipe is no file, and would be waited for without end."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            file.read(1)
    except (OSError, ValueError):
        return False
    return True


def run_shards(specs: Iterable[ShardSpec], settings: ExtractionSettings) -> Iterator[ClipReport | ShardDone]:
    """Make shards, one after the other; each is complete when its `ShardDone` comes.

    Args:
        specs: the shards.
        settings: the job's.

    Raises:
        AvlocError: if the clips' folder disappears, or the workers or the device cannot be used.
        StoreError: if a shard cannot be written; earlier ones are complete.
    """
    specs = iter(specs)
    first = next(specs, None)
    if first is None:  # start no processes and no networks without work
        return
    pipeline = _Pipeline(itertools.chain([first], specs), settings)
    try:
        yield from pipeline.run()
    finally:
        pipeline.close()


class _Pipeline:
    """The state of `run_shards`."""

    def __init__(self, specs: Iterable[ShardSpec], settings: ExtractionSettings) -> None:
        self.settings = settings
        extractors: list[Extractor] = settings.build_extractors()
        self.extractors = extractors
        networks = {k: e for k, e in enumerate(extractors) if e.runs_network and settings.runs_networks_in_parent}
        for network in networks.values():
            network.load()
        self.workers: Workers = start_workers(
            ExtractionJob(settings), workers=settings.workers, timeout_s=settings.timeout_s
        )
        self.device = DeviceQueue(networks) if networks else None
        self.clips: deque[ClipInProgress] = deque()  # from the next one to write on
        self.released = 0  # number of the first clip with streams that are not with the device yet
        self.unflushed_bytes = 0  # released since the last flush of the device
        self.open_shards: list[ShardInProgress] = []
        self.readable_clip: str | None = None  # one that could be read
        self.retries: deque[ClipInProgress] = deque()
        self.upcoming = self._iter_clips(specs)
        self.at_end = False

    @staticmethod
    def _iter_clips(specs: Iterable[ShardSpec]) -> Iterator[ClipInProgress]:
        number = 0
        for spec in specs:
            shard = ShardInProgress(spec, number + len(spec.files) - 1)
            for file in spec.files:
                yield ClipInProgress(number, file, shard)
                number += 1

    def run(self) -> Iterator[ClipReport | ShardDone]:
        self._feed()
        while self.clips or not self.at_end:
            wake = None if self.device is None else self.device.wake
            for event in self.workers.wait(self._clips_to_leave(), wake):
                self._handle(event)
                yield from self._advance()  # also within a long clip, whose rows would pile up
            yield from self._advance()
            self._feed()

    def _advance(self) -> Iterator[ClipReport | ShardDone]:
        """Release streams to the device, and write the rows that are ready."""
        self._release()
        if self.device is not None:
            self.device.settle()
        yield from self._write()

    def _held_bytes(self) -> int:
        return sum(clip.nbytes for clip in self.clips)

    def _clips_to_leave(self) -> list[int]:
        """The clips whose messages to leave with their workers: none, or all but the next in order while much is held."""
        if self._held_bytes() < HELD_BYTES:
            return []
        return [clip.number for clip in self.clips if not clip.is_decided][1:]

    def _feed(self) -> None:
        """Give clips to idle workers."""
        while self.workers.free():
            clip = self.retries.popleft() if self.retries else self._next_clip()
            if clip is None:
                return
            self.workers.give(clip.number, ClipTask(clip.file, tuple(clip.shard.spec.paths)))

    def _next_clip(self) -> ClipInProgress | None:
        """Start the next clip; None at the end, or while enough clips are ahead."""
        # Clips that wait for the device do not count: a batch runs when it is full, or its shard complete.
        ahead = sum(clip.number >= self.released for clip in self.clips)
        if ahead > CLIPS_AHEAD * max(1, self.settings.workers) or self._held_bytes() >= HELD_BYTES:
            return None
        clip = next(self.upcoming, None)
        if clip is None:
            self.at_end = True
            return None
        clip.size = file_size(self.settings.folder / clip.file)
        self.clips.append(clip)
        return clip

    def _handle(self, event: TaskEvent) -> None:
        clip = next((c for c in self.clips if c.number == event.task), None)
        if clip is None or clip.is_decided:
            return
        message = event.message
        if isinstance(message, Chunk):
            clip.add(message, for_device=self.device is not None)
        elif isinstance(message, ClipDone):
            clip.done = message
        elif isinstance(message, TaskFailed):
            self._fail(clip, message.reason)
        elif isinstance(message, WorkerLost):
            self._retry(clip, message)
        elif isinstance(message, Returned):
            self.retries.append(clip)

    def _fail(self, clip: ClipInProgress, reason: str) -> None:
        self._check_root(clip)
        # The clip's name stands beside the reason everywhere.
        for name in (self.settings.folder / clip.file, clip.file):
            reason = reason.removeprefix(f"{shown(name)}: ")
        clip.fail(reason)

    def _check_root(self, clip: ClipInProgress) -> None:
        """Raise if not only the clip is unreadable but the whole folder, as when a disk is unmounted."""
        root = self.settings.folder
        if is_readable(root / clip.file):
            self.readable_clip = clip.file
        elif not root.is_dir() or (self.readable_clip is not None and not is_readable(root / self.readable_clip)):
            raise AvlocError(
                f"{root}: the clips are gone, {clip.file} and {self.readable_clip or 'the folder'} can no longer be read; "
                "finished shards are kept, run the same again when the clips are back"
            )

    def _retry(self, clip: ClipInProgress, lost: WorkerLost) -> None:
        """Try a clip again after its worker was lost, unless that happened too often."""
        clip.losses += 1
        failure = lost.failure(clip.losses)
        if failure is not None:
            self._fail(clip, failure)
        else:
            clip.reset()
            if clip is self.clips[0]:
                clip.shard.drop_clip()
            self.retries.append(clip)

    def _release(self) -> None:
        """Hand streams to the device in the order of the clips; the end of a shard ends a batch."""
        if self.device is None:
            return
        for clip in self.clips:
            if clip.number < self.released:
                continue
            # A short clip is released whole, so that a worker's death does not show in a batch.
            if not clip.is_decided and clip.unreleased_bytes < HELD_BYTES // 2:
                return
            while clip.unreleased:
                size, queued = clip.unreleased.popleft()
                if queued is not None:
                    queued.hand_over(clip.file, self.device)
                    size = queued.nbytes
                self.unflushed_bytes += size
                if self.unflushed_bytes >= HELD_BYTES // 2:  # with `HELD_BYTES` waiting, nothing would move any more
                    self._flush(self.device)
            if not clip.is_decided:
                return
            self.released = clip.number + 1
            if clip.number == clip.shard.last:
                self._flush(self.device)

    def _flush(self, device: DeviceQueue) -> None:
        device.flush()
        self.unflushed_bytes = 0

    def _write(self) -> Iterator[ClipReport | ShardDone]:
        while self.clips:
            clip = self.clips[0]
            try:
                is_complete = self._write_clip(clip)
            except OSError as error:
                raise _write_error(clip.shard.spec, error) from error
            if not is_complete:
                return
            self.clips.popleft()
            if clip.failure is None:
                self.readable_clip = clip.file
            yield ClipReport(clip.file, clip.failure or (clip.done and clip.done.failure), clip.done)
            if clip.number == clip.shard.last:
                yield ShardDone(clip.shard.spec)

    def _write_clip(self, clip: ClipInProgress) -> bool:
        """Write the ready part of a clip; returns true when the clip is complete."""
        if not clip.shard.is_started:
            self.open_shards.append(clip.shard)
            clip.shard.open(self.extractors)
        failure = clip.write()
        if failure is not None:
            self._fail(clip, failure)
        if clip.chunks or not clip.is_decided:
            return False
        clip.finish()
        if clip.number == clip.shard.last:
            self.open_shards.remove(clip.shard)
        return True

    def close(self) -> None:
        """Stop everything, and remove unfinished shards."""
        self.workers.close()
        if self.device is not None:
            self.device.close()
        for shard in self.open_shards:
            shard.discard()


def _write_error(spec: ShardSpec, error: OSError) -> StoreError:
    path = next(iter(spec.paths.values()))
    reason = error.strerror or one_line(error)
    cure = "" if isinstance(error, NoRoomError) else ", run the same command again when it can be written"
    return StoreError(f"{path}: cannot be written ({reason}); the shards before it are kept{cure}")
