"""Shards > shards in a store: clips go to the workers ahead, their rows come back and are written in the clips' order.

```
clips in order ──► workers: decode, and extract ──► rows ────────────────────► writers, in order
                                     └─ streams ─► Device: networks, batches ─┘
```
What is in a batch and where a row lies depends on the shard alone, so that a shard made again is equal to the first. (One
exception: when a worker dies at a clip of which more than `HELD_BYTES / 2` are with the device already, these are run again.)
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors import Extractor
from avloc.feature_extraction.job.device_batches import Device, PendingRows
from avloc.feature_extraction.job.pool import Event, Returned, WorkerLost, Workers, start_workers
from avloc.feature_extraction.job.worker import Chunk, ClipDone, ClipFailed, ClipTask, ExtractionSettings
from avloc.feature_extraction.store.shards import NO_FILE, ShardWriter

TRIES = 3  # of a clip whose worker dies: it may have been the system that killed it
AHEAD = 4  # clips ahead of the one that is written, per worker
HELD_BYTES = 512 << 20  # what is held of clips ahead before their workers have to wait
SILENT_TRIES = 2  # of a clip whose worker falls silent: the whole machine may have been asleep


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """One unit of work: some clips, and where the shard of each extractor goes that lacks it.

    Attributes:
        files: the clips, relative to the job's root.
        paths: by the extractor's number in `ExtractionSettings.extractors`.
        fingerprints: likewise: what each shard says of its extractor.
    """

    files: tuple[str, ...]
    paths: dict[int, Path]
    fingerprints: dict[int, str]


class ClipReport(NamedTuple):
    """A clip is written.

    Attributes:
        file: its name.
        failure: why it could not be read; None if it could.
        about: length and costs; None for a failed clip.
    """

    file: str
    failure: str | None
    about: ClipDone | None


class ShardDone(NamedTuple):
    """A shard is there."""

    spec: ShardSpec


@dataclass(slots=True)
class _Item:
    """Something of a clip in its order: rows, or a stream, which becomes a ticket, which becomes rows."""

    piece: Chunk
    ticket: PendingRows | None = None

    @property
    def rows(self) -> npt.NDArray[np.floating] | None:
        """The rows if they are there."""
        if self.piece.is_rows:
            return self.piece.data
        return None if self.ticket is None else self.ticket.rows

    @property
    def held(self) -> int:
        """Bytes that it has in memory, or soon will."""
        return self.piece.data.nbytes + (0 if self.ticket is None else self.ticket.held)


@dataclass(slots=True)
class _Clip:
    """A clip under way."""

    number: int
    file: str
    shard: _Shard
    items: deque[_Item] = field(default_factory=deque)
    unreleased: deque[tuple[int, _Item | None]] = field(default_factory=deque)  # bytes, and the stream if it is one
    lost: int = 0
    done: ClipDone | None = None
    failure: str | None = None
    size: int = NO_FILE

    @property
    def is_decided(self) -> bool:
        """Whether its worker is through with it."""
        return self.done is not None or self.failure is not None

    @property
    def held(self) -> int:
        """Bytes of its items."""
        return sum(item.held for item in self.items)

    @property
    def waiting(self) -> int:
        """Bytes of what was not released yet; of rows that are written already too, so that it says the same at any time."""
        return sum(size for size, _ in self.unreleased)

    def forget(self) -> None:
        """Nothing that came of it counts."""
        self.items.clear()
        self.unreleased.clear()


@dataclass(slots=True)
class _Shard:
    """A shard under way; its files are opened when its first clip is written."""

    spec: ShardSpec
    last: int = -1  # the number of its last clip
    writers: dict[int, ShardWriter] = field(default_factory=dict)


def file_size(path: Path) -> int:
    """Bytes of a file; `NO_FILE` if it is not there."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return NO_FILE


def is_readable(path: Path) -> bool:
    """Whether the first byte of a file can be had."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except (OSError, ValueError):
        return False
    return True


def run_shards(specs: Iterable[ShardSpec], settings: ExtractionSettings) -> Iterator[ClipReport | ShardDone]:
    """Make shards, one after the other, each there as a whole when its `ShardDone` comes.

    Raises:
        StoreError: if a shard cannot be written; those before it are there.
    """
    specs = iter(specs)
    first = next(specs, None)
    if first is None:  # no processes, no networks for nothing
        return
    pipeline = _Pipeline(itertools.chain([first], specs), settings)
    try:
        yield from pipeline.run()
    finally:
        pipeline.close()


class _Pipeline:
    def __init__(self, specs: Iterable[ShardSpec], settings: ExtractionSettings) -> None:
        self.settings = settings
        self.extractors: list[Extractor] = settings.build_extractors()
        networks_in_parent = (
            {k: e for k, e in enumerate(self.extractors) if e.runs_network} if settings.is_central else {}
        )
        for extractor in networks_in_parent.values():
            extractor.load()
        self.workers: Workers = start_workers(settings)
        self.device = Device(networks_in_parent) if networks_in_parent else None
        self.clips: deque[_Clip] = deque()  # from the next to be written on
        self.released = 0  # the number of the first clip whose streams are not all with the device
        self.since_flush = 0  # bytes of what was released since the device was last told to run all it has
        self.opened: list[_Shard] = []  # whose files are open
        self.known_good: str | None = None  # a clip that is there
        self.again: deque[_Clip] = deque()  # to be given to a worker once more
        self.coming = self._numbered(specs)
        self.at_end = False

    def _numbered(self, specs: Iterable[ShardSpec]) -> Iterator[_Clip]:
        number = 0
        for spec in specs:
            shard = _Shard(spec, number + len(spec.files) - 1)
            for file in spec.files:
                yield _Clip(number, file, shard)
                number += 1

    def run(self) -> Iterator[ClipReport | ShardDone]:
        self._feed()
        while self.clips or not self.at_end:
            wake = None if self.device is None else self.device.wake
            for event in self.workers.wait(self._readable(), wake):
                self._take(event)
                yield from self._move()  # also within a long clip, whose rows would pile up
            yield from self._move()
            self._feed()

    def _move(self) -> Iterator[ClipReport | ShardDone]:
        """Move on what can be."""
        self._release()
        if self.device is not None:
            self.device.hear()
        yield from self._write()

    def _held(self) -> int:
        return sum(clip.held for clip in self.clips)

    def _readable(self) -> list[int] | None:
        """The clips that may go on: all, or only the next in order while much is held."""
        if self._held() < HELD_BYTES:
            return None
        return [next((c.number for c in self.clips if not c.is_decided), -1)]

    def _feed(self) -> None:
        """Give clips to workers that have none."""
        while self.workers.free():
            if self.again:
                clip = self.again.popleft()
            else:
                # Those that wait for the device do not count: a batch is run when it is full, or its shard complete.
                ahead = sum(clip.number >= self.released for clip in self.clips)
                if ahead > AHEAD * max(1, self.settings.workers) or self._held() >= HELD_BYTES:
                    return
                taken = next(self.coming, None)
                if taken is None:
                    self.at_end = True
                    return
                clip = taken
                clip.size = file_size(self.settings.root / clip.file)
                self.clips.append(clip)
            self.workers.give(clip.number, ClipTask(clip.file, tuple(clip.shard.spec.paths)))

    def _take(self, event: Event) -> None:
        clip = next((c for c in self.clips if c.number == event.clip), None)
        if clip is None or clip.is_decided:
            return
        message = event.message
        if isinstance(message, Chunk):
            item = _Item(message)
            clip.items.append(item)
            if self.device is not None:
                clip.unreleased.append((message.data.nbytes, None if message.is_rows else item))
        elif isinstance(message, ClipDone):
            clip.done = message
        elif isinstance(message, ClipFailed):
            self._fail(clip, message.reason)
        elif isinstance(message, WorkerLost):
            self._lose(clip, message)
        elif isinstance(message, Returned):
            self.again.append(clip)

    def _fail(self, clip: _Clip, reason: str) -> None:
        self._check_root(clip)
        clip.forget()
        clip.failure, clip.done = reason, None

    def _check_root(self, clip: _Clip) -> None:
        """Raise if it is not the clip that cannot be read, but the whole folder: a disk that is gone, say."""
        root = self.settings.root
        if is_readable(root / clip.file):
            self.known_good = clip.file
        elif not root.is_dir() or (self.known_good is not None and not is_readable(root / self.known_good)):
            raise AvlocError(
                f"{root}: the clips are gone, {clip.file} and {self.known_good or 'the folder'} can no longer be read; what is "
                "finished is kept, run the same again when they are back"
            )

    def _lose(self, clip: _Clip, lost: WorkerLost) -> None:
        clip.lost += 1
        if lost.silent and clip.lost >= SILENT_TRIES:
            self._fail(clip, f"{clip.file}: given up, {lost.reason}")
        elif clip.lost >= TRIES:
            self._fail(clip, f"{clip.file}: the process at it died {TRIES} times ({lost.reason})")
        else:
            clip.forget()
            if clip is self.clips[0]:
                for writer in clip.shard.writers.values():
                    writer.drop()
            self.again.append(clip)

    def _release(self) -> None:
        """Hand streams to the device, in the order of the clips; a shard's end is a batch's end."""
        if self.device is None:
            return
        for clip in self.clips:
            if clip.number < self.released:
                continue
            # A short clip goes as a whole, so that a worker's death does not show in a batch.
            if not clip.is_decided and clip.waiting < HELD_BYTES // 2:
                return
            while clip.unreleased:
                size, item = clip.unreleased.popleft()
                self._count(self.device, size if item is None else self._hand_over(self.device, clip, item))
            if not clip.is_decided:
                return
            self.released = clip.number + 1
            if clip.number == clip.shard.last:
                self._flush(self.device)

    def _hand_over(self, device: Device, clip: _Clip, item: _Item) -> int:
        """Give a stream to its network; the bytes that it will hold until its rows are written."""
        piece = item.piece
        item.ticket = device.batches[piece.extractor].add(clip.file, piece.data, piece.low, piece.high)
        item.piece = piece._replace(data=np.empty(0))
        return item.held

    def _count(self, device: Device, size: int) -> None:
        """All is run before what waits for it is as much as may be held: then nothing would move any more."""
        self.since_flush += size
        if self.since_flush >= HELD_BYTES // 2:
            self._flush(device)

    def _flush(self, device: Device) -> None:
        device.flush()
        self.since_flush = 0

    def _write(self) -> Iterator[ClipReport | ShardDone]:
        while self.clips:
            clip = self.clips[0]
            try:
                written = self._write_clip(clip)
            except OSError as error:
                raise _unwritten(clip.shard.spec, error) from error
            if not written:
                return
            self.clips.popleft()
            if clip.failure is None:
                self.known_good = clip.file
            yield ClipReport(clip.file, clip.failure, clip.done)
            if clip.number == clip.shard.last:
                yield ShardDone(clip.shard.spec)

    def _write_clip(self, clip: _Clip) -> bool:
        """Write what there is of a clip; whether it is complete."""
        shard = clip.shard
        if not shard.writers:
            self.opened.append(shard)
            for k, path in shard.spec.paths.items():
                shard.writers[k] = ShardWriter(path, self.extractors[k].dim, shard.spec.fingerprints[k])
        while clip.items:
            item = clip.items[0]
            rows = self._rows(clip, item)
            if rows is None:
                break
            clip.items.popleft()
            shard.writers[item.piece.extractor].append(rows)
        if clip.items or not clip.is_decided:
            return False
        for number, writer in enumerate(shard.writers.values()):
            if clip.done is None:
                writer.fail(clip.file, clip.failure or "", clip.size)
            else:
                writer.end(clip.file, clip.done.starts_s[number], clip.size)
        if clip.number == shard.last:
            for writer in shard.writers.values():
                writer.close()
            self.opened.remove(shard)
        return True

    def _rows(self, clip: _Clip, item: _Item) -> npt.NDArray[np.floating] | None:
        """An item's rows if they are there; the clip fails if they cannot be."""
        if item.ticket is not None and item.ticket.failure is not None:
            self._fail(clip, item.ticket.failure)
            return None
        return item.rows

    def close(self) -> None:
        """Stop everything; what is not complete is removed."""
        self.workers.close()
        if self.device is not None:
            self.device.close()
        for shard in self.opened:
            for writer in shard.writers.values():
                writer.discard()


def _unwritten(spec: ShardSpec, error: Exception) -> StoreError:
    path = next(iter(spec.paths.values()))
    reason: Any = getattr(error, "strerror", None) or " ".join(str(error).split())
    return StoreError(
        f"{path}: cannot be written ({reason}); the shards before it are kept, run the same again when there is room"
    )
