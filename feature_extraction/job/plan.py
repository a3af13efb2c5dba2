"""What a job has to do: which shards a list of clips becomes, which of them are there, and whether the rest can be written."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job.estimate import bytes_per_second, check_space, mean_duration_s, spread
from avloc.feature_extraction.job.pipeline import ShardSpec, file_size
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store import layout
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.layout import Layout
from avloc.feature_extraction.store.shards import NO_FILE, OK, ShardRows, read_rows
from avloc.io.files import remove_stale, temporary_path

CHECKED_FILES = 16  # of a shard, spread over it, that are looked at to tell whether it is of these clips


class Reused(NamedTuple):
    """Clips that were there, and those of them that had failed."""

    clips: int
    failures: dict[str, str]


@dataclass(slots=True)
class _Shard:
    """A shard of some of the extractors: all whose layouts have it."""

    layout: Layout
    index: int
    extractors: list[int] = field(default_factory=list)


class Plan:
    """The shards of one job, and of one part of it.

    Args:
        files: the clips, relative to the settings' root; their order decides the shards.
        store: where to.
        settings: the extractors.
        shard_clips: clips per shard at the most. None: what the store has already for these clips, or `layout.shard_size`.
        part: (i, n): only every n-th shard from the i-th on.
        devices: where networks will run on this machine, to be looked at now: none if they run elsewhere, the settings' device
            unless given.
        check_room: raise if the features do not fit on the disk.

    Raises:
        AvlocError: if the settings are wrong; nothing is written then.
        StoreError: if the store was made with other settings, or holds half of another list with some of these clips.
    """

    def __init__(
        self,
        files: Sequence[str],
        store: FeatureStore,
        settings: ExtractionSettings,
        *,
        shard_clips: int | None = None,
        part: tuple[int, int] = (0, 1),
        devices: Sequence[str] | None = None,
        check_room: bool = True,
    ) -> None:
        _check(settings, shard_clips, part)
        if store.root.exists() and not store.root.is_dir():
            raise StoreError(f"{store.root}: is a file, want the store's folder")
        _check_devices(settings, (settings.device,) if devices is None else devices)
        self.files, self.store, self.settings, self.part, self.check_room = files, store, settings, part, check_room
        extractors = replace(settings, device="cpu").build_extractors()
        for extractor in extractors:
            extractor.load()
        self.names = [e.name for e in extractors]
        if len(set(self.names)) < len(self.names):
            raise AvlocError(
                f"each extractor once, got {', '.join(self.names)}: they would share a folder in the store"
            )
        decoder = {"decoder": settings.backend}
        self.descriptions = [e.describe() | (decoder if e.video_format is not None else {}) for e in extractors]
        self.layouts = self._layouts(shard_clips)
        self._shards: dict[str, _Shard] = {}
        for k, of_one in enumerate(self.layouts):
            for index, name in enumerate(of_one.names):
                self._shards.setdefault(name, _Shard(of_one, index)).extractors.append(k)
        self._missing: dict[str, tuple[tuple[str, ...], list[int]]] = {}  # shard → clips and extractors

    def _layouts(self, shard_clips: int | None) -> list[Layout]:
        known = []
        for name, description in zip(self.names, self.descriptions, strict=True):
            known.append(layout.planned_layout(self.store, name, self.files) if self.store.check(description) else None)
        for name, found in zip(self.names, known, strict=True):
            if found is not None and shard_clips is not None and found.size != shard_clips:
                raise StoreError(
                    f"{self.store.root / name}: has these clips in shards of {found.size}, and --shard-clips says {shard_clips}; "
                    "leave it out, or name another store"
                )
        size = shard_clips or next((found.size for found in known if found is not None), None) or self._default_size
        return [
            found or layout.new(self.store, name, self.files, size)
            for name, found in zip(self.names, known, strict=True)
        ]

    @cached_property
    def _default_size(self) -> int:
        largest = max(map(bytes_per_second, self.descriptions), default=0.0)
        return layout.shard_size(len(self.files), largest * self._mean_s)

    @cached_property
    def _mean_s(self) -> float:
        return mean_duration_s(self.settings.root, self.files)

    @property
    def shard_clips(self) -> int:
        """Clips per shard at the most."""
        return max((found.size for found in self.layouts), default=0)

    def prepare(self, *, retry_failed: bool = False) -> Iterator[Reused]:
        """Look at the shards that are there, and make the store's folders: yields what needs no more work.

        Args:
            retry_failed: those with a clip that could not be read are to be made again.

        Raises:
            StoreError: if a shard is of other files than those that are there now, or the rest cannot be written.
        """
        self._missing.clear()
        for name, shard in self._mine():
            clips = shard.layout.clips(shard.index)
            there = {k: rows for k in shard.extractors if (rows := self._there(k, name)) is not None}
            missing = [k for k in shard.extractors if k not in there or (retry_failed and there[k].failures)]
            if missing:
                self._missing[name] = (clips, missing)
            else:
                yield Reused(len(clips), {file: why for rows in there.values() for file, why in rows.failures.items()})
        yield from self._elsewhere(retry_failed)
        if self.check_room:
            self._check_space()
        self._make_folders()

    def _elsewhere(self, retry_failed: bool) -> Iterator[Reused]:
        """The clips that are in shards made for other lists."""
        masks = [found.skipped() for found in self.layouts]
        if not any(mask.any() for mask in masks):
            return
        failures: dict[str, str] = {}
        for k, (name, mask) in enumerate(zip(self.names, masks, strict=True)):
            skipped = {file for file, is_skipped in zip(self.files, mask.tolist(), strict=True) if is_skipped}
            found = layout.holding(self.store, name, [*skipped])
            if not found.there.all():
                raise StoreError(
                    f"{self.store.root / name}: {int((~found.there).sum())} clips were in shards that are gone; remove "
                    f"{self.store.plan_path(name, self.layouts[k].digest).name} there and run the same again"
                )
            for path in found.shards:
                rows = self._there(k, path.name)
                failed = {file: why for file, why in (rows.failures if rows else {}).items() if file in skipped}
                mine = zlib.crc32(path.name.encode()) % self.part[1] == self.part[0]
                if rows is not None and failed and retry_failed and mine:
                    self._missing.setdefault(path.name, (tuple(rows.files), []))[1].append(k)
                elif self.part[0] == 0 and not retry_failed:
                    failures |= failed
        if self.part[0] == 0:
            yield Reused(int(np.logical_and.reduce(masks).sum()), failures)

    def _there(self, extractor: int, name: str) -> ShardRows | None:
        path = self._path(extractor, name)
        if not path.exists():
            return None
        rows = read_rows(path)
        _check_same_files(path, rows, self.settings.root)
        return rows

    def _check_space(self) -> None:
        needed, clips = 0.0, 0
        for files, extractors in self._missing.values():
            needed += sum(bytes_per_second(self.descriptions[k]) for k in extractors) * len(files) * self._mean_s
            clips += len(files)
        check_space(self.store.root, needed, clips)

    def _make_folders(self) -> None:
        for description, found in zip(self.descriptions, self.layouts, strict=True):
            folder = self.store.prepare(description)
            check_writable(folder)
            remove_stale(folder)
            self.store.note(description["name"], found.plan())

    def mine(self) -> list[str]:
        """The clips of this part's shards, done or not."""
        return list(dict.fromkeys(file for _, s in self._mine() for file in s.layout.clips(s.index)))

    def clips(self) -> int:
        """How many clips this part has, done or not."""
        elsewhere = (
            np.logical_and.reduce([found.skipped() for found in self.layouts]) if self.part[0] == 0 else np.zeros(0)
        )
        return sum(len(s.layout.clips(s.index)) for _, s in self._mine()) + int(elsewhere.sum())

    def specs(self) -> Iterator[ShardSpec]:
        """The work that is left, after `prepare`; made one by one, as a million names are many."""
        prints = [self.store.fingerprint(name) for name in self.names]
        for name, (clips, extractors) in self._missing.items():
            yield ShardSpec(clips, {k: self._path(k, name) for k in extractors}, {k: prints[k] for k in extractors})

    def clean(self) -> None:
        """Remove what processes of this machine that no longer run have left unfinished."""
        for name in self.names:
            remove_stale(self.store.root / name)

    def _mine(self) -> Iterator[tuple[str, _Shard]]:
        i, n = self.part
        return ((name, shard) for k, (name, shard) in enumerate(self._shards.items()) if k % n == i)

    def _path(self, extractor: int, name: str) -> Path:
        return self.store.root / self.names[extractor] / name


def _check(settings: ExtractionSettings, shard_clips: int | None, part: tuple[int, int]) -> None:
    """Raise if a job cannot be run so."""
    if not 0 <= part[0] < part[1]:
        raise AvlocError(f"--shard i/n needs 0 <= i < n, got {part[0]}/{part[1]}")
    if shard_clips is not None and shard_clips < 1:
        raise AvlocError(f"a shard holds at least 1 clip, got {shard_clips}")
    if settings.workers < 0 or settings.timeout_s <= 0:
        raise AvlocError(f"a job needs workers ≥ 0 and a time-out > 0, got {settings.workers} and {settings.timeout_s}")


def _check_devices(settings: ExtractionSettings, devices: Sequence[str]) -> None:
    """Raise unless the devices are there, each once, and are of one kind."""
    names = [f"{device}:0" if device == "cuda" else device for device in devices]
    if len(set(names)) < len(names) or len({name.partition(":")[0] for name in names}) > 1:
        raise AvlocError(f"--device: want different devices of one kind, as in cuda:0,cuda:1, got {','.join(devices)}")
    for device in devices:
        replace(settings, device=device).build_extractors()  # says whether there is such a device


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
        if rows.status[k] == OK and NO_FILE not in (size, now) and size != now:
            raise StoreError(
                f"{path}: was made of another {file}, of {size} bytes; that in {root} has {now}. A store belongs to one "
                "set of clips: name another one"
            )
