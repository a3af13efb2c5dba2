"""Several stores > one store: shards and plans are compared first, then copied unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from avloc.core.descriptions import ExtractorDescription
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store.feature_store import FORMAT_VERSION, FeatureStore
from avloc.feature_extraction.store.repeats import RepeatedClips
from avloc.feature_extraction.store.shard_file import open_shard
from avloc.feature_extraction.store.shard_tables import read_attribute, read_tables
from avloc.io.files import copy_file, file_sha256, remove_stale


@dataclass(slots=True)
class MergePlan:
    """The files to copy, as compared and planned by `plan_merge`.

    Attributes:
        out: the store to write.
        descriptions: extractor → its description.
        store_files: (source, target) of each `store.json` that is still missing; it is copied, not written again, so that the
            fingerprint in the shards stays valid.
        shards: (source, target) of each shard that is still missing.
        plans: (source, target) of each plan that is still missing.
        kept: shards that the store already has.
    """

    out: FeatureStore
    descriptions: dict[str, ExtractorDescription] = field(default_factory=dict)
    store_files: list[tuple[Path, Path]] = field(default_factory=list)
    shards: list[tuple[Path, Path]] = field(default_factory=list)
    plans: list[tuple[Path, Path]] = field(default_factory=list)
    kept: int = 0


def plan_merge(
    out: FeatureStore, stores: Sequence[FeatureStore], *, progress: Callable[[int], object] = lambda shards: None
) -> MergePlan:
    """Compare stores, without writing anything.

    Args:
        out: the store to write; its present content counts as one of the stores, and is kept.
        stores: the others.
        progress: called with 1 for each shard compared.

    Raises:
        StoreError: if a folder is no store, has an older format, or has a damaged shard; or if two stores differ in an
            extractor's settings, in a shard's content, or in the features of a clip.
    """
    sources = _distinct([out, *stores])
    for store in sources:
        if store.root.resolve() != out.root.resolve() and not store.extractors():
            raise StoreError(f"{store.root}: no store, it has no features of any extractor")
    plan = MergePlan(out)
    for extractor in sorted({name for store in sources for name in store.extractors()}):
        holders = [store for store in sources if extractor in store.extractors()]
        plan.descriptions[extractor] = _common_description(holders, extractor)
        _add_extractor(plan, holders, extractor, progress)
    return plan


def run_merge(plan: MergePlan, *, link: bool = False, progress: Callable[[int], object] = lambda shards: None) -> int:
    """Copy the planned files; returns the number of shards. After an interruption, a second run resumes.

    Args:
        plan: the files to copy.
        link: make hard links instead of copies of shards on the same file system.
        progress: called with 1 for each shard.
    """
    for source, target in plan.store_files:
        _copy(source, target, link=False)
    for description in plan.descriptions.values():
        remove_stale(plan.out.prepare(description))
    for source, target in plan.plans:  # before the shards, so that `verify` recognizes missing ones
        _copy(source, target, link=False)
    for source, target in plan.shards:
        _copy(source, target, link=link)
        progress(1)
    return len(plan.shards)


def _distinct(stores: Sequence[FeatureStore]) -> list[FeatureStore]:
    return list({store.root.resolve(): store for store in reversed(stores)}.values())[::-1]


def _common_description(stores: Sequence[FeatureStore], extractor: str) -> ExtractorDescription:
    """The description of an extractor, which must be the same in all stores."""
    first = stores[0].describe(extractor)
    for store in stores:
        version = store.format_version(extractor)
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{store.root / extractor}: has format version {version}, which can be read but not merged; extract again"
            )
        other = store.describe(extractor)
        key = first.first_difference(other)
        if key is not None:
            raise StoreError(
                f"{extractor}: {key} is {getattr(first, key)!r} in {stores[0].root} and {getattr(other, key)!r} in "
                f"{store.root}; features made with other settings do not go into one store"
            )
        if store.fingerprint(extractor) != stores[0].fingerprint(extractor):
            raise StoreError(
                f"{extractor}: the store.json in {stores[0].root} and in {store.root} mean the same but are not written "
                "alike, so that shards of one do not fit the other; extract again"
            )
    return first


def _add_extractor(
    plan: MergePlan, stores: Sequence[FeatureStore], extractor: str, progress: Callable[[int], object]
) -> None:
    """Add the shards and plans of an extractor to the plan."""
    folder = plan.out.root / extractor
    shards = _distinct_shards(stores, extractor, progress)
    plans: dict[str, Path] = {}
    for path in (path for store in stores for path in store.plans(extractor)):
        name = path.name
        if name in plans and plans[name].read_bytes() != path.read_bytes():  # the same clips in shards of another size
            name = f"{path.stem}-{file_sha256(path)[:8]}{path.suffix}"
        plans.setdefault(name, path)
    if not (folder / "store.json").exists():
        plan.store_files.append((stores[0].root / extractor / "store.json", folder / "store.json"))
    plan.shards += [(path, folder / name) for name, path in sorted(shards.items()) if not (folder / name).exists()]
    plan.plans += [(path, folder / name) for name, path in sorted(plans.items()) if not (folder / name).exists()]
    plan.kept += sum((folder / name).exists() for name in shards)


def _distinct_shards(
    stores: Sequence[FeatureStore], extractor: str, progress: Callable[[int], object]
) -> dict[str, Path]:
    """The shards of all stores by name, each once.

    Raises:
        StoreError: if two shards of one name, or the features of a clip in two shards, differ.
    """
    shards: dict[str, Path] = {}
    repeated, fingerprint = RepeatedClips(), stores[0].fingerprint(extractor)
    for store in stores:
        store.planned_shards(extractor)  # raises if a plan cannot be read
        for path in store.shards(extractor):
            _check_fingerprint(path, fingerprint)
            if path.name in shards:
                _check_equal(shards[path.name], path)
            else:
                shards[path.name] = path
                repeated.add(path, read_tables(path))
            progress(1)
    for difference in repeated.differing():
        raise StoreError(
            f"{difference.file}: its features in {difference.second} differ from {difference.first}; remove the shard that "
            "is wrong"
        )
    return shards


class _Attributes(NamedTuple):
    """The checksum and the fingerprint that a shard carries."""

    sha256: str | None
    fingerprint: str | None


def _read_attributes(path: Path) -> _Attributes:
    with open_shard(path) as file:
        return _Attributes(read_attribute(file, "sha256"), read_attribute(file, "extractor"))


def _check_fingerprint(path: Path, fingerprint: str) -> None:
    if _read_attributes(path).fingerprint != fingerprint:
        raise StoreError(f"{path}: is of another extractor, or of other settings; move it out of the store")


def _check_equal(first: Path, second: Path) -> None:
    """Raise unless two shards of one name carry the same checksum."""
    if _read_attributes(first).sha256 != _read_attributes(second).sha256:
        raise StoreError(
            f"{second}: holds the same clips as {first}, but its content differs; remove the one that is wrong"
        )


def _copy(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
        except FileExistsError:
            return  # another process has just brought the same file
        except OSError:
            pass  # another file system, or one without links
        else:
            return
    try:
        copy_file(source, target, sync=True)
    except FileNotFoundError as error:
        raise AvlocError(f"{source}: disappeared while it was copied; run the same merge again") from error
