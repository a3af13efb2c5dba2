"""Stores made apart > one store: shards and plans are copied as they are, after all of them were compared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store.feature_store import FORMAT_VERSION, FeatureStore, first_difference
from avloc.feature_extraction.store.repeats import RepeatedClips
from avloc.feature_extraction.store.shards import attribute
from avloc.feature_extraction.store.verify import UNREADABLE, checked_rows
from avloc.io.files import file_sha256, remove_stale, replacing

SHOWN = 3


@dataclass(slots=True)
class Merge:
    """What is to be copied: made by `plan_merge`, which has compared everything.

    Attributes:
        out: where to.
        descriptions: extractor → its description.
        shards: what is not there yet, and where it goes.
        plans: the same of plans.
        kept: shards that are there already.
    """

    out: FeatureStore
    descriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: list[tuple[Path, Path]] = field(default_factory=list)
    plans: list[tuple[Path, Path]] = field(default_factory=list)
    kept: int = 0


def plan_merge(
    out: FeatureStore, stores: Sequence[FeatureStore], *, progress: Callable[[int], object] = lambda shards: None
) -> Merge:
    """Compare stores; nothing is written yet.

    Args:
        out: where to; what it holds already is one of the stores, and is kept.
        stores: the others.
        progress: called with 1 for each shard that was looked at.

    Raises:
        StoreError: if one is no store, is of an older format, or has a damaged shard; or if two differ in an extractor's
            settings, in a shard's content, or in the features of a clip.
    """
    sources = _distinct([out, *stores])
    for store in sources:
        if store.root.resolve() != out.root.resolve() and not store.extractors():
            raise StoreError(f"{store.root}: no store, it has no features of any extractor")
    merge = Merge(out)
    for extractor in sorted({name for store in sources for name in store.extractors()}):
        having = [store for store in sources if extractor in store.extractors()]
        merge.descriptions[extractor] = _same_description(having, extractor)
        _add(merge, having, extractor, progress)
    return merge


def run_merge(merge: Merge, *, link: bool = False, progress: Callable[[int], object] = lambda shards: None) -> int:
    """Copy what was planned; returns the number of shards. Run it again to go on where it stopped.

    Args:
        merge: what to copy.
        link: let shards on the same file system be further names of the same files instead of copies.
        progress: called with 1 for each shard.
    """
    for description in merge.descriptions.values():
        about = {key: value for key, value in description.items() if key != "format_version"}
        remove_stale(merge.out.prepare(about))
    for source, target in merge.plans:  # before the shards, so that a check finds which are missing
        _copy(source, target, link=False)
    for source, target in merge.shards:
        _copy(source, target, link=link)
        progress(1)
    return len(merge.shards)


def _distinct(stores: Sequence[FeatureStore]) -> list[FeatureStore]:
    return list({store.root.resolve(): store for store in reversed(stores)}.values())[::-1]


def _same_description(stores: Sequence[FeatureStore], extractor: str) -> dict[str, Any]:
    """What all of them say of an extractor."""
    first = stores[0].describe(extractor)
    for store in stores:
        there = store.describe(extractor)
        if there["format_version"] != FORMAT_VERSION:
            raise StoreError(
                f"{store.root / extractor}: is of format version {there['format_version']}, which can be read but not "
                "merged; extract again"
            )
        key = first_difference(first, there)
        if key is not None:
            raise StoreError(
                f"{extractor}: {key} is {first.get(key)!r} in {stores[0].root} and {there.get(key)!r} in {store.root}; "
                "features made with other settings do not go into one store"
            )
    return first


def _add(merge: Merge, stores: Sequence[FeatureStore], extractor: str, progress: Callable[[int], object]) -> None:
    """Choose the shards and plans of an extractor."""
    folder = merge.out.root / extractor
    chosen: dict[str, Path] = {}
    repeated, fingerprint = RepeatedClips(), stores[0].fingerprint(extractor)
    for store in stores:
        store.planned(extractor)  # says which cannot be read
        for path in store.shards(extractor):
            _check_shard(path, fingerprint)
            if path.name in chosen:
                _check_equal(chosen[path.name], path)
            else:
                chosen[path.name] = path
                repeated.add(path, checked_rows(path))
            progress(1)
    for twice in repeated.differing():
        raise StoreError(
            f"{twice.file}: its features in {twice.second} are not those in {twice.first}; remove the shard that is wrong"
        )
    plans: dict[str, Path] = {}
    for path in (path for store in stores for path in store.plans(extractor)):
        name = path.name
        if name in plans and plans[name].read_bytes() != path.read_bytes():  # the same clips in shards of another size
            name = f"{path.stem}-{file_sha256(path)[:8]}{path.suffix}"
        plans.setdefault(name, path)
    merge.shards += [(path, folder / name) for name, path in sorted(chosen.items()) if not (folder / name).exists()]
    merge.plans += [(path, folder / name) for name, path in sorted(plans.items()) if not (folder / name).exists()]
    merge.kept += sum((folder / name).exists() for name in chosen)


def _attributes(path: Path) -> tuple[Any, Any]:
    """The checksum and the fingerprint that a shard says it has."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return attribute(file, "sha256"), attribute(file, "extractor")
    except UNREADABLE as error:
        raise StoreError(f"{path}: a damaged shard ({error}); remove it and extract again") from error


def _check_shard(path: Path, fingerprint: str) -> None:
    if _attributes(path)[1] != fingerprint:
        raise StoreError(f"{path}: is of another extractor, or of other settings; move it out of the store")


def _check_equal(first: Path, second: Path) -> None:
    """Raise unless two shards of one name say that their content is the same."""
    if _attributes(first)[0] != _attributes(second)[0]:
        raise StoreError(
            f"{second}: is of the same clips as {first}, but its content differs; remove the one that is wrong"
        )


def _copy(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
        except FileExistsError:
            return  # someone else has just brought the same one
        except OSError:
            pass  # another file system, or one without links
        else:
            return
    try:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
    except FileNotFoundError as error:
        raise AvlocError(f"{source}: has gone while it was copied; run the same merge again") from error
