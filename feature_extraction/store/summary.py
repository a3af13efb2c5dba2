"""A store > the amount of features of each extractor, from the tables alone: one shard at a time, 16 bytes per clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.errors import StoreError
from avloc.feature_extraction.media.types import UNDECODED
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.index import name_keys
from avloc.feature_extraction.store.shard_tables import OK, ShardTables, read_tables

LISTED_SPANS = 3  # more are counted only


@dataclass(frozen=True, slots=True)
class ExtractorSummary:
    """The amount of features of one extractor in a store.

    Attributes:
        description: the extractor's.
        format_version: of its folder.
        clips: clips with features; a clip in several shards counts once.
        seconds: their total length.
        failures: clips that could not be read, and are in no shard.
        problems: clips with decoding problems or rows without data; see `iter_problems`.
        shards: existing shards.
        planned: planned shards; None without plans.
        damaged: shards that cannot be read, and whose clips are not counted.
        size_bytes: on the disk.
    """

    description: ExtractorDescription
    format_version: int
    clips: int
    seconds: float
    failures: int
    problems: int
    shards: int
    planned: int | None
    damaged: tuple[Path, ...]
    size_bytes: int

    def to_dict(self) -> dict[str, object]:
        """The summary as plain values, for JSON."""
        return {
            "extractor": self.description.name,
            "description": {"format_version": self.format_version, **self.description.to_dict()},
            "clips": self.clips,
            "hours": self.seconds / 3600,
            "failures": self.failures,
            "problems": self.problems,
            "shards": self.shards,
            "planned": self.planned,
            "damaged": [path.name for path in self.damaged],
            "bytes": self.size_bytes,
        }


@dataclass(slots=True)
class _Scan:
    """The content of an extractor's shards: hashes of the names of clips, one array per shard.

    Attributes:
        readable: of the clips with features.
        lengths: the numbers of rows of these.
        failed: of the clips that could not be read.
        problematic: of the clips with decoding problems or gaps.
        damaged: shards that cannot be read.
        size_bytes: of all shards.
    """

    readable: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    lengths: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    failed: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    problematic: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    damaged: list[Path] = field(default_factory=list)
    size_bytes: int = 0


def _scan(store: FeatureStore, extractor: str) -> _Scan:
    scan = _Scan()
    for path in store.shards(extractor):
        try:
            scan.size_bytes += path.stat().st_size
            tables = read_tables(path)
        except (StoreError, OSError):
            scan.damaged.append(path)
            continue
        keys = name_keys(tables.files)
        is_readable = np.array([state == OK for state in tables.status], dtype=bool)
        scan.readable.append(keys[is_readable])
        scan.lengths.append(np.diff(tables.offsets)[is_readable])
        scan.failed.append(keys[~is_readable])
        scan.problematic.append(keys[_problem_entries(tables)])
    return scan


def summarize(store: FeatureStore, extractor: str) -> ExtractorSummary:
    """Summarize the features of an extractor.

    Raises:
        StoreError: if the store has none, or the description or a plan cannot be read.
    """
    description = store.describe(extractor)
    planned = len(store.planned_shards(extractor)) if store.plans(extractor) else None
    scan = _scan(store, extractor)
    clips, first = np.unique(np.concatenate(scan.readable), return_index=True)
    failed = np.unique(np.concatenate(scan.failed))
    return ExtractorSummary(
        description=description,
        format_version=store.format_version(extractor),
        clips=len(clips),
        seconds=float(np.concatenate(scan.lengths)[first].sum()) * description.hop_s,
        failures=int((~np.isin(failed, clips)).sum()),
        problems=len(np.unique(np.concatenate(scan.problematic))),
        shards=len(store.shards(extractor)),
        planned=planned,
        damaged=tuple(scan.damaged),
        size_bytes=scan.size_bytes,
    )


def iter_failures(store: FeatureStore, extractor: str) -> Iterator[tuple[str, str]]:
    """Yield the clips that could not be read, with the reasons; a clip that another shard has is left out."""
    readable = np.unique(np.concatenate(_scan(store, extractor).readable))
    for path in store.shards(extractor):
        try:
            failures = read_tables(path).failures
        except StoreError:
            continue
        is_missing = ~np.isin(name_keys(failures), readable)
        yield from (item for item, missing in zip(failures.items(), is_missing.tolist(), strict=True) if missing)


def iter_problems(store: FeatureStore, extractor: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the clips that were decoded with problems, each once, with the problems.

    Spans of rows without data are among them, in the words of the decoder if it told them.
    """
    description = store.describe(extractor)
    hop_s, undecoded = description.hop_s, UNDECODED[description.modality]
    files: set[str] = set()
    for path in store.shards(extractor):
        try:
            tables = read_tables(path)
        except StoreError:
            continue
        for k in _problem_entries(tables).tolist():
            file, start_s = tables.files[k], float(tables.starts[k])
            if file not in files:
                files.add(file)
                problems = tables.problems[k]
                is_listed = any(problem.startswith(undecoded) for problem in problems)
                gaps = () if is_listed else tables.gaps_of(k)
                spans = [(start_s + first * hop_s, start_s + end * hop_s) for first, end in gaps]
                yield file, (*problems, *_describe_spans(spans))


def _describe_spans(spans: list[tuple[float, float]]) -> list[str]:
    """Describe spans without data one by one, or their number and sum if they are many."""
    if len(spans) > LISTED_SPANS:
        return [f"no data in {len(spans)} spans, {sum(b - a for a, b in spans):.2f} s in all"]
    return [f"no data from {a:.2f} to {b:.2f} s" for a, b in spans]


def _problem_entries(tables: ShardTables) -> npt.NDArray[np.int64]:
    """The entries of the clips that have problems or gaps, ascending."""
    with_lines = np.array([k for k, lines in enumerate(tables.problems) if lines], dtype=np.int64)
    return np.union1d(with_lines, tables.gaps[:, 0])
