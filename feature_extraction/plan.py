"""What a job has to do: which shards a list of clips becomes, which of them are there, and whether the rest can be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.estimate import spread
from avloc.feature_extraction.pipeline import ShardSpec, file_size
from avloc.feature_extraction.shards import NO_FILE, ShardRows, read_rows, shard_name
from avloc.feature_extraction.store import FeatureStore
from avloc.feature_extraction.worker import Settings
from avloc.files import remove_stale, temporary_path

LARGEST_SHARD_CLIPS = 2000
SMALLEST_SHARD_CLIPS = 8
CHECKED_FILES = 16  # of a shard, spread over it, that are looked at to tell whether it is of these clips


def shard_size(clips: int) -> int:
    """Clips per shard for a set: a 16th of it within bounds. It depends on the set only, so that any machine can resume."""
    return min(LARGEST_SHARD_CLIPS, max(SMALLEST_SHARD_CLIPS, -(-clips // 16)))


class Reused(NamedTuple):
    """A shard that was there: its clips, and those of them that had failed."""

    clips: int
    failures: dict[str, str]


class Plan:
    """The shards of one job, and of one part of it.

    Args:
        files: the clips, relative to the settings' root; their order decides the shards.
        store: where to.
        settings: the extractors.
        shard_clips: clips per shard at the most.
        part: (i, n): only every n-th shard from the i-th on.
        here: whether networks will run on this machine, so that its devices can be checked.

    Raises:
        AvlocError: if the settings are wrong; nothing is written then.
        StoreError: if the store was made with other settings, or cannot be written.
    """

    def __init__(
        self,
        files: Sequence[str],
        store: FeatureStore,
        settings: Settings,
        *,
        shard_clips: int = LARGEST_SHARD_CLIPS,
        part: tuple[int, int] = (0, 1),
        here: bool = True,
    ) -> None:
        if not 0 <= part[0] < part[1]:
            raise AvlocError(f"--shard i/n needs 0 <= i < n, got {part[0]}/{part[1]}")
        if shard_clips < 1:
            raise AvlocError(f"a shard holds at least 1 clip, got {shard_clips}")
        if settings.workers < 0 or settings.timeout_s <= 0:
            raise AvlocError(
                f"a job needs workers ≥ 0 and a time-out > 0, got {settings.workers} and {settings.timeout_s}"
            )
        self.files, self.store, self.settings, self.shard_clips, self.part = files, store, settings, shard_clips, part
        if here:
            settings.build()  # says whether there is such a device
        extractors = replace(settings, device="cpu").build()
        for extractor in extractors:
            extractor.load()
        self.names = [e.name for e in extractors]
        decoder = {"decoder": settings.backend}
        self.descriptions = [e.describe() | (decoder if e.video_format is not None else {}) for e in extractors]
        self._missing: dict[int, tuple[int, ...]] = {}

    def prepare(self, *, retry_failed: bool = False) -> Iterator[Reused]:
        """Make the store's folders, and look at the shards that are there: yields those that need no more work.

        Args:
            retry_failed: those with a clip that could not be read are to be made again.
        """
        shards = [shard_name(index, clips) for index, clips in self._shards()]
        for description in self.descriptions:
            folder = self.store.prepare(description)
            check_writable(folder)
            remove_stale(folder)
            self.store.plan(description["name"], shards)
        for index, clips in self._mine():
            paths = self._paths(index, clips)
            there = {k: read_rows(path) for k, path in enumerate(paths) if path.exists()}
            for k, rows in there.items():
                _check_same_files(paths[k], rows, self.settings.root)
            missing = tuple(
                k for k in range(len(paths)) if k not in there or (retry_failed and there[k].failures)
            )  # fmt: skip
            if missing:
                self._missing[index] = missing
            else:
                yield Reused(len(clips), {file: why for rows in there.values() for file, why in rows.failures.items()})

    def mine(self) -> list[str]:
        """The clips of this part, done or not."""
        return [file for _, clips in self._mine() for file in clips]

    def clips(self) -> int:
        """How many clips this part has, done or not."""
        return sum(len(clips) for _, clips in self._mine())

    def specs(self) -> Iterator[ShardSpec]:
        """The work that is left, after `prepare`; made one by one, as a million names are many."""
        prints = [self.store.fingerprint(name) for name in self.names]
        for index, missing in self._missing.items():
            clips = self._clips(index)
            paths = self._paths(index, clips)
            yield ShardSpec(clips, {k: paths[k] for k in missing}, {k: prints[k] for k in missing})

    def clean(self) -> None:
        """Remove what processes of this machine that no longer run have left unfinished."""
        for name in self.names:
            remove_stale(self.store.root / name)

    def _clips(self, index: int) -> tuple[str, ...]:
        begin = index * self.shard_clips
        return tuple(self.files[k] for k in range(begin, min(begin + self.shard_clips, len(self.files))))

    def _shards(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        return ((index, self._clips(index)) for index in range(-(-len(self.files) // self.shard_clips)))

    def _mine(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        return ((index, clips) for index, clips in self._shards() if index % self.part[1] == self.part[0])

    def _paths(self, index: int, clips: Sequence[str]) -> list[Path]:
        return [self.store.root / name / shard_name(index, clips) for name in self.names]


def check_writable(folder: Path) -> None:
    """Raise now, rather than after hours, if nothing can be written in a folder."""
    probe = temporary_path(folder / "probe")
    try:
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written to ({error.strerror or error})") from error


def _check_same_files(path: Path, rows: ShardRows, root: Path) -> None:
    """Raise unless a shard was made of the files that are there now, as far as the sizes of some of them tell."""
    for k in spread(range(len(rows.files)), CHECKED_FILES):
        file, size = rows.files[k], int(rows.bytes[k])
        now = file_size(root / file)
        if NO_FILE not in (size, now) and size != now:
            raise StoreError(
                f"{path}: was made of another {file}, of {size} bytes; that in {root} has {now}. A store belongs to one "
                "set of clips: name another one"
            )
