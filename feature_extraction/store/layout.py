"""Which shards a list of clips becomes, for one extractor of a store; noted in the store's `plan-….json`.

What is noted is kept to, so that every job over the same list, the parts of an array too, means the same shards. A list that
is new to the store is made into shards of the clips that no other shard holds: one clip more costs one clip, not all again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore, PlanFile, name_keys, read_plan
from avloc.feature_extraction.store.shards import read_rows, shard_name

LARGEST_SHARD_CLIPS = 2000
SMALLEST_SHARD_CLIPS = 8
LARGEST_SHARD_BYTES = 4 << 30  # what a kill can cost, and what one copies


def shard_size(clips: int, bytes_per_clip: float = 0.0) -> int:
    """Clips per shard for a set: a 16th of it within bounds, and no larger than `LARGEST_SHARD_BYTES`."""
    size = min(LARGEST_SHARD_CLIPS, max(SMALLEST_SHARD_CLIPS, -(-clips // 16)))
    return max(1, min(size, int(LARGEST_SHARD_BYTES / max(bytes_per_clip, 1.0))))


def list_digest(files: Sequence[str]) -> str:
    """A short hash of a list of clips."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file}\n".encode())
    return digest.hexdigest()[:16]


class Layout:
    """The shards of a list of clips.

    Args:
        files: the list.
        size: clips per shard at the most.
        skip: (a, b): `files[a:b]` are in shards made for other lists; several, ascending.
    """

    def __init__(self, files: Sequence[str], size: int, skip: Sequence[tuple[int, int]] = ()) -> None:
        self.files, self.size, self.skip = files, size, [(int(a), int(b)) for a, b in skip]
        kept = np.flatnonzero(~self.skipped()) if self.skip else None
        self._kept: npt.NDArray[np.int64] | range = range(len(files)) if kept is None else kept

    def __len__(self) -> int:
        return -(-len(self._kept) // self.size)

    def skipped(self) -> npt.NDArray[np.bool_]:
        """Which clips are elsewhere: (V,)."""
        mask = np.zeros(len(self.files), dtype=bool)
        for begin, end in self.skip:
            mask[begin:end] = True
        return mask

    def clips(self, index: int) -> tuple[str, ...]:
        """The clips of a shard."""
        return tuple(self.files[k] for k in self._kept[index * self.size : (index + 1) * self.size])

    @cached_property
    def names(self) -> list[str]:
        """The files of the shards."""
        return [shard_name(index, self.clips(index)) for index in range(len(self))]

    @cached_property
    def digest(self) -> str:
        """Of the list."""
        return list_digest(self.files)

    def plan(self) -> PlanFile:
        """What the store notes of it."""
        return PlanFile(self.names, self.digest, self.size, self.skip)


def planned_layout(store: FeatureStore, extractor: str, files: Sequence[str]) -> Layout | None:
    """The layout of a list that the store knows.

    Raises:
        StoreError: if it cannot be read.
    """
    digest = list_digest(files)
    path = store.plan_path(extractor, digest)
    if not path.is_file():
        return None
    plan = read_plan(path)
    ends = [end for _, end in plan.skip]
    if plan.digest != digest or plan.size < 1 or (ends and max(ends) > len(files)):
        raise StoreError(f"{path}: not the plan of these {len(files)} clips; remove it and run the same again")
    return Layout(files, plan.size, plan.skip)


class Holding(NamedTuple):
    """What of a list of clips is in a store: which of them (V,), and in which shards."""

    there: npt.NDArray[np.bool_]
    shards: list[Path]


def holding(store: FeatureStore, extractor: str, files: Sequence[str]) -> Holding:
    """Look through an extractor's shards for clips, failed ones included."""
    keys = name_keys(files)
    order = np.argsort(keys, kind="stable")
    ascending, there, shards = keys[order], np.zeros(len(files), dtype=bool), []
    for path in store.shards(extractor):
        has = np.isin(ascending, name_keys(read_rows(path).files))
        if has.any():
            there[order[has]] = True
            shards.append(path)
    return Holding(there, shards)


def new(store: FeatureStore, extractor: str, files: Sequence[str], size: int) -> Layout:
    """The layout of a list that the store does not know: of the clips that are in none of its shards.

    Raises:
        StoreError: if some of them are in shards of a list that is not finished: its other shards would hold them twice.
    """
    found = holding(store, extractor, files)
    names = {path.name for path in found.shards}
    for path in store.plans(extractor) if names else ():
        plan = read_plan(path)
        left = sum(not (path.parent / name).exists() for name in plan.shards)
        if left and names.intersection(plan.shards):
            how = f" (with --shard-clips {plan.size})" if plan.size else ""
            raise StoreError(
                f"{path.parent}: {int(found.there.sum())} of these {len(files)} clips are in shards of another list of clips, of "
                f"whose {len(plan.shards)} shards {left} are still to come; finish that extraction first{how}, or name another "
                "store"
            )
    edges = np.flatnonzero(np.diff(np.concatenate([[False], found.there, [False]]).astype(np.int8)))
    return Layout(files, size, [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)])
