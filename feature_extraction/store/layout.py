"""The layout of a list of clips: its division into the shards of one extractor, saved as a plan file.

A saved layout stays in force, so that every job over the same list, also each task of a job array, means the same shards. A
list that is new to the store gets shards of only those clips that no other shard holds: one more clip costs one clip, not a
new extraction of all.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.index import name_keys
from avloc.feature_extraction.store.plan_file import PlanFile, read_plan
from avloc.feature_extraction.store.shard_tables import encode_names, read_tables, shard_name

LARGEST_SHARD_CLIPS = 2000
SMALLEST_SHARD_CLIPS = 8
LARGEST_SHARD_BYTES = 4 << 30  # bounds the loss when a job is killed, and the size of one copy


def shard_size(clips: int, bytes_per_clip: float = 0.0) -> int:
    """Choose the number of clips per shard: a 16th of the set, within bounds and at most `LARGEST_SHARD_BYTES`.

    >>> shard_size(100), shard_size(480), shard_size(1_000_000)
    (8, 30, 2000)
    """
    size = min(LARGEST_SHARD_CLIPS, max(SMALLEST_SHARD_CLIPS, -(-clips // 16)))
    return max(1, min(size, int(LARGEST_SHARD_BYTES / max(bytes_per_clip, 1.0))))


def list_digest(files: Sequence[str]) -> str:
    """Hash a list of clips to 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(encode_names((file, ""), "\n"))
    return digest.hexdigest()[:16]


class ShardLayout:
    """The division of a list of clips into shards.

    Args:
        files: the list of clips.
        size: clips per shard, at most.
        skip: ascending (a, b) pairs: `files[a:b]` are in shards made for other lists.

    Raises:
        StoreError: if a name has a zero byte, which separates names in a shard.

    >>> layout = ShardLayout(["a", "b", "c", "d"], size=2, skip=[(1, 2)])
    >>> [layout.clips(k) for k in range(len(layout))]
    [('a', 'c'), ('d',)]
    """

    def __init__(self, files: Sequence[str], size: int, skip: Sequence[tuple[int, int]] = ()) -> None:
        impossible = next((file for file in files if "\0" in file), None)
        if impossible is not None:
            raise StoreError(f"{impossible!r}: the name of a clip cannot have a zero byte; correct the list of clips")
        self.files, self.size, self.skip = files, size, [(int(a), int(b)) for a, b in skip]
        kept = np.flatnonzero(~self.skipped()) if self.skip else None
        self._kept: npt.NDArray[np.int64] | range = range(len(files)) if kept is None else kept

    def __len__(self) -> int:
        return -(-len(self._kept) // self.size)

    def skipped(self) -> npt.NDArray[np.bool_]:
        """Mask of the clips that are in shards of other lists: (V,)."""
        mask = np.zeros(len(self.files), dtype=bool)
        for begin, end in self.skip:
            mask[begin:end] = True
        return mask

    def clips(self, index: int) -> tuple[str, ...]:
        """The clips of a shard."""
        return tuple(self.files[k] for k in self._kept[index * self.size : (index + 1) * self.size])

    @cached_property
    def names(self) -> list[str]:
        """The file names of the shards."""
        return [shard_name(index, self.clips(index)) for index in range(len(self))]

    @cached_property
    def digest(self) -> str:
        """The hash of the list."""
        return list_digest(self.files)

    def plan(self) -> PlanFile:
        """The plan file of this layout."""
        return PlanFile(self.names, self.digest, self.size, self.skip)


def saved_layout(store: FeatureStore, extractor: str, files: Sequence[str]) -> ShardLayout | None:
    """Read the layout of a list of clips; None if the store has no plan for it.

    Raises:
        StoreError: if the plan cannot be read.
    """
    digest = list_digest(files)
    path = store.plan_path(extractor, digest)
    if not path.is_file():
        return None
    plan = read_plan(path)
    ends = [end for _, end in plan.skip]
    if plan.digest != digest or plan.size < 1 or (ends and max(ends) > len(files)):
        raise StoreError(f"{path}: not the plan of these {len(files)} clips; remove it and run the same again")
    return ShardLayout(files, plan.size, plan.skip)


class StoredClips(NamedTuple):
    """The clips of a list that a store holds.

    Attributes:
        mask: (V,) true for a clip that is in a shard, also for a failed one.
        shards: the shards that hold them.
    """

    mask: npt.NDArray[np.bool_]
    shards: list[Path]


def stored_clips(store: FeatureStore, extractor: str, files: Sequence[str]) -> StoredClips:
    """Search the shards of an extractor for clips, failed ones included.

    Raises:
        StoreError: if a shard is of another extractor or other settings than the store's description, or cannot be read.
    """
    fingerprint = store.fingerprint(extractor) if extractor in store.extractors() else None
    keys = name_keys(files)
    order = np.argsort(keys, kind="stable")
    ascending, mask, shards = keys[order], np.zeros(len(files), dtype=bool), []
    for path in store.shards(extractor):
        in_shard = np.isin(ascending, name_keys(read_tables(path, fingerprint).files))
        if in_shard.any():
            mask[order[in_shard]] = True
            shards.append(path)
    return StoredClips(mask, shards)


def shards_of_other_lists(store: FeatureStore, extractor: str, layout: ShardLayout) -> list[Path]:
    """Find the shards that hold the clips which a layout leaves out.

    Raises:
        StoreError: if some of these clips are in no shard any more, or a shard cannot be read.
    """
    files = dict.fromkeys(itertools.compress(layout.files, layout.skipped().tolist()))
    stored = stored_clips(store, extractor, [*files]) if files else StoredClips(np.zeros(0, dtype=bool), [])
    if not stored.mask.all():
        raise StoreError(
            f"{store.root / extractor}: {int((~stored.mask).sum())} clips were in shards that are gone; remove "
            f"{store.plan_path(extractor, layout.digest).name} there and run the same again"
        )
    return stored.shards


def new_layout(store: FeatureStore, extractor: str, files: Sequence[str], size: int) -> ShardLayout:
    """Lay out a list that is new to the store: its shards hold the clips that no existing shard holds.

    Raises:
        StoreError: if some of the clips are in shards of an unfinished list, whose other shards would hold clips twice.
    """
    stored = stored_clips(store, extractor, files)
    names = {path.name for path in stored.shards}
    for path in store.plans(extractor) if names else ():
        plan = read_plan(path)
        missing = sum(not (path.parent / name).exists() for name in plan.shards)
        if missing and names.intersection(plan.shards):
            option = f" (with --shard-clips {plan.size})" if plan.size else ""
            raise StoreError(
                f"{path.parent}: {int(stored.mask.sum())} of these {len(files)} clips are in shards of another list of clips, "
                f"of whose {len(plan.shards)} shards {missing} are still missing; finish that extraction first{option}, or "
                "name another store"
            )
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stored.mask, [False]]).astype(np.int8)))
    return ShardLayout(files, size, [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)])
