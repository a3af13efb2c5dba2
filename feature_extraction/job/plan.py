"""The plan of a job: the shards that a list of clips becomes, the missing ones among them, and checks before any work."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.network import require_device
from avloc.feature_extraction.job.estimate import bytes_per_second, check_space, evenly_spaced, mean_duration_s
from avloc.feature_extraction.job.in_progress import ShardSpec
from avloc.feature_extraction.job.pipeline import file_size
from avloc.feature_extraction.job.worker import ExtractionSettings, describe_extractor
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.layout import (
    ShardLayout,
    new_layout,
    saved_layout,
    shard_size,
    shards_of_other_lists,
)
from avloc.feature_extraction.store.shard_tables import NO_FILE, OK, ShardTables, read_tables
from avloc.io.files import remove_stale, temporary_path

CHECKED_FILES = 16  # per shard, spread over it, whose sizes are compared with those recorded


class ReusedClips(NamedTuple):
    """The event that the store already has some clips.

    Attributes:
        clips: their number.
        failures: those of them that could not be read, with the reasons.
    """

    clips: int
    failures: Mapping[str, str]


@dataclass(slots=True)
class _PlannedShard:
    """A shard of all extractors whose layouts contain it."""

    layout: ShardLayout
    index: int
    extractors: list[int] = field(default_factory=list)

    @property
    def clips(self) -> tuple[str, ...]:
        return self.layout.clips(self.index)


class _MissingShard(NamedTuple):
    """A shard to make, for some of the extractors."""

    clips: tuple[str, ...]
    extractors: list[int]


class JobPlan:
    """The shards of a job, or of one task of a job array.

    Args:
        files: the clips, relative to the settings' root; their order decides the shards.
        store: the store to write.
        settings: the clips' root, the extractors, and the resources.
        shard_clips: clips per shard, at most. None: the number that the store already uses for these clips, or `shard_size`.
        array_index: (i, n): only every n-th shard from the i-th on.
        devices: devices on this machine to check for the networks; default: the settings' device. Empty if the networks run
            elsewhere.
        check_room: raise if the features do not fit on the disk.
        descriptions: of the extractors without augmentation, as another plan has them; None: their weights are read for it.

    Attributes:
        names: of the extractors.
        descriptions: of the extractors.
        layouts: the division of the clips into shards, for each extractor.
        later: plans that follow on the same disk; the room is checked for these as well.

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
        array_index: tuple[int, int] = (0, 1),
        devices: Sequence[str] | None = None,
        check_room: bool = True,
        descriptions: Sequence[ExtractorDescription] | None = None,
    ) -> None:
        _check_arguments(settings, shard_clips, array_index)
        if store.root.exists() and not store.root.is_dir():
            raise StoreError(f"{store.root}: is a file, want the store's folder")
        _check_devices(settings, (settings.device,) if devices is None else devices)
        self.files, self.store, self.settings = files, store, settings
        self.array_index, self.check_room = array_index, check_room
        self.later: Sequence[JobPlan] = ()
        clean = _describe_extractors(settings) if descriptions is None else descriptions
        self.descriptions = [_with_augmentation(description, settings) for description in clean]
        self.names = [description.name for description in self.descriptions]
        self.layouts = self._make_layouts(shard_clips)
        self._fingerprints = [store.expected_fingerprint(description) for description in self.descriptions]
        self._shards: dict[str, _PlannedShard] = {}
        for k, layout in enumerate(self.layouts):
            for index, name in enumerate(layout.names):
                self._shards.setdefault(name, _PlannedShard(layout, index)).extractors.append(k)
        self._missing: dict[str, _MissingShard] = {}

    def _make_layouts(self, shard_clips: int | None) -> list[ShardLayout]:
        saved: list[ShardLayout | None] = []
        for name, description in zip(self.names, self.descriptions, strict=True):
            saved.append(saved_layout(self.store, name, self.files) if self.store.check(description) else None)
        for name, layout in zip(self.names, saved, strict=True):
            if layout is not None and shard_clips is not None and layout.size != shard_clips:
                raise StoreError(
                    f"{self.store.root / name}: has these clips in shards of {layout.size}, and --shard-clips says "
                    f"{shard_clips}; leave it out, or name another store"
                )
        saved_size = next((layout.size for layout in saved if layout is not None), None)
        size = shard_clips or saved_size or self._default_size
        return [
            layout or new_layout(self.store, name, self.files, size)
            for name, layout in zip(self.names, saved, strict=True)
        ]

    @cached_property
    def _default_size(self) -> int:
        largest = max(map(bytes_per_second, self.descriptions), default=0.0)
        return shard_size(len(self.files), largest * self._mean_duration_s)

    @cached_property
    def _mean_duration_s(self) -> float:
        return mean_duration_s(self.settings, self.files)

    @property
    def shard_clips(self) -> int:
        """Clips per shard, at most."""
        return max((layout.size for layout in self.layouts), default=0)

    def prepare(self, *, retry_failed: bool = False) -> Iterator[ReusedClips]:
        """Look for existing shards and make the store's folders; yields the clips that need no more work.

        Args:
            retry_failed: make shards with a clip that could not be read again.

        Raises:
            StoreError: if a shard is of other settings or of other files than the present ones, or the others cannot be written.
        """
        self._missing.clear()
        for name, shard in self._own_shards():
            tables = {k: t for k in shard.extractors if (t := self._existing_tables(k, name)) is not None}
            missing = [k for k in shard.extractors if k not in tables or (retry_failed and tables[k].failures)]
            if missing:
                self._missing[name] = _MissingShard(shard.clips, missing)
            else:
                # The reason by the first extractor that failed, as the job's own report has it.
                failures = {file: why for t in reversed(tables.values()) for file, why in t.failures.items()}
                yield ReusedClips(len(shard.clips), failures)
        yield from self._prepare_other_lists(retry_failed)
        if self.check_room:
            self._check_space()
        self._make_folders()

    def _prepare_other_lists(self, retry_failed: bool) -> Iterator[ReusedClips]:
        """Count the clips that are in shards made for other lists, and plan to retry failed ones."""
        masks = self._skipped_masks()
        if not any(mask.any() for mask in masks):
            return
        i, n = self.array_index
        failures: dict[str, str] = {}
        for k, mask in enumerate(masks):
            skipped = {file for file, is_skipped in zip(self.files, mask.tolist(), strict=True) if is_skipped}
            for path in shards_of_other_lists(self.store, self.names[k], self.layouts[k]):
                tables = self._existing_tables(k, path.name)
                failed = {file: why for file, why in (tables.failures if tables else {}).items() if file in skipped}
                is_own = zlib.crc32(path.name.encode()) % n == i
                if tables is not None and failed and retry_failed and is_own:
                    shard = self._missing.setdefault(path.name, _MissingShard(tuple(tables.files), []))
                    shard.extractors.append(k)
                elif i == 0 and not retry_failed:
                    failures = failed | failures
        if i == 0:
            yield ReusedClips(int(np.logical_and.reduce(masks).sum()), failures)

    def _skipped_masks(self) -> list[npt.NDArray[np.bool_]]:
        """For each extractor, the clips that are in shards made for other lists: (V,)."""
        return [layout.skipped() for layout in self.layouts]

    def _existing_tables(self, extractor: int, name: str) -> ShardTables | None:
        path = self._path(extractor, name)
        if not path.exists():
            return None
        tables = read_tables(path, self._fingerprints[extractor])
        _check_same_files(path, tables, self.settings.folder)
        return tables

    def _check_space(self) -> None:
        """Raise unless the missing shards fit on the disk, and those of the later plans too."""
        shards = [(self, shard.extractors, len(shard.clips)) for shard in self._missing.values()]
        shards += [(plan, *shard) for plan in self.later for shard in plan._absent_shards()]
        per_second = sum(plan._bytes_per_second(extractors) * count for plan, extractors, count in shards)
        check_space(self.store.root, per_second * self._mean_duration_s, sum(count for _, _, count in shards))

    def _bytes_per_second(self, extractors: Iterable[int]) -> float:
        return sum(bytes_per_second(self.descriptions[k]) for k in extractors)

    def _absent_shards(self) -> Iterator[tuple[list[int], int]]:
        """Yield the extractors and the number of clips of each shard of this task that does not exist; none is opened."""
        for name, shard in self._own_shards():
            absent = [k for k in shard.extractors if not self._path(k, name).exists()]
            if absent:
                yield absent, len(shard.clips)

    def _make_folders(self) -> None:
        for description, layout in zip(self.descriptions, self.layouts, strict=True):
            folder = self.store.root / description.name
            try:
                self.store.prepare(description)
            except OSError as error:
                raise _not_writable(folder, error) from error
            check_writable(folder)
            remove_stale(folder)
            self.store.save_plan(description.name, layout.plan())

    def own_files(self) -> list[str]:
        """The clips of this task's shards, done or not."""
        return list(dict.fromkeys(file for _, shard in self._own_shards() for file in shard.clips))

    def clip_count(self) -> int:
        """The number of clips of this task, done or not; clips in shards made for other lists belong to task 0."""
        elsewhere = int(np.logical_and.reduce(self._skipped_masks()).sum()) if self.array_index[0] == 0 else 0
        return sum(len(shard.clips) for _, shard in self._own_shards()) + elsewhere

    def specs(self) -> Iterator[ShardSpec]:
        """Yield the missing shards, after `prepare`; one by one, because a million names are many."""
        fingerprints = [self.store.fingerprint(name) for name in self.names]
        for name, (clips, extractors) in self._missing.items():
            paths = {k: self._path(k, name) for k in extractors}
            yield ShardSpec(clips, paths, {k: fingerprints[k] for k in extractors})

    def clean(self) -> None:
        """Remove unfinished files of processes of this machine that no longer run."""
        for name in self.names:
            remove_stale(self.store.root / name)

    def _own_shards(self) -> Iterator[tuple[str, _PlannedShard]]:
        i, n = self.array_index
        return ((name, shard) for k, (name, shard) in enumerate(self._shards.items()) if k % n == i)

    def _path(self, extractor: int, name: str) -> Path:
        return self.store.root / self.names[extractor] / name


def _describe_extractors(settings: ExtractionSettings) -> list[ExtractorDescription]:
    """Describe the extractors, whose weights must be usable; on the CPU, as nothing is computed.

    Raises:
        AvlocError: if weights cannot be used, or two extractors have one name.
    """
    extractors = replace(settings, device="cpu").build_extractors()
    for extractor in extractors:
        extractor.load()
    names = [extractor.name for extractor in extractors]
    if len(set(names)) < len(names):
        raise AvlocError(f"each extractor once, got {', '.join(names)}: they would share a folder in the store")
    return [describe_extractor(extractor, settings.backend) for extractor in extractors]


def _with_augmentation(description: ExtractorDescription, settings: ExtractionSettings) -> ExtractorDescription:
    augmentation = settings.augmentation
    return description if augmentation is None else replace(description, augmentation=augmentation.describe())


def _check_arguments(settings: ExtractionSettings, shard_clips: int | None, array_index: tuple[int, int]) -> None:
    i, n = array_index
    if not 0 <= i < n:
        raise AvlocError(f"--shard i/n needs 0 <= i < n, got {i}/{n}")
    if shard_clips is not None and shard_clips < 1:
        raise AvlocError(f"a shard holds at least 1 clip, got {shard_clips}")
    if settings.workers < 0 or settings.timeout_s <= 0:
        raise AvlocError(f"a job needs workers ≥ 0 and a time-out > 0, got {settings.workers} and {settings.timeout_s}")


def _check_devices(settings: ExtractionSettings, devices: Sequence[str]) -> None:
    """Raise unless the devices exist, are distinct, and are of one kind."""
    names = [f"{device}:0" if device == "cuda" else device for device in devices]
    if len(set(names)) < len(names) or len({name.partition(":")[0] for name in names}) > 1:
        raise AvlocError(f"--device: want different devices of one kind, as in cuda:0,cuda:1, got {','.join(devices)}")
    for device in devices:
        if device != "cpu":  # also where no extractor runs a network: a wrong name is a mistake
            require_device(device)
    for device in devices:
        replace(settings, device=device).build_extractors()


def check_writable(folder: Path) -> None:
    """Raise now, rather than after hours, if a folder is not writable.

    Raises:
        StoreError: if a file cannot be written there.
    """
    probe = temporary_path(folder / "probe")
    try:
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"{folder}: cannot be written to ({error.strerror or error})")


def _check_same_files(path: Path, tables: ShardTables, root: Path) -> None:
    """Raise unless a shard was made of the present files, judged by the sizes of some of them."""
    for k in evenly_spaced(range(len(tables.files)), CHECKED_FILES):
        file, size = tables.files[k], int(tables.bytes[k])
        present = file_size(root / file)
        if tables.status[k] == OK and NO_FILE not in (size, present) and size != present:
            raise StoreError(
                f"{path}: was made of another {file}, of {size} bytes; the one in {root} has {present}. A store belongs to one "
                "set of clips: name another store"
            )
