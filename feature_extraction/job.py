"""The extraction job: clips > shards > a store. Resumable: a shard that is there is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.engines import local
from avloc.feature_extraction.extractors import build
from avloc.feature_extraction.media import decode
from avloc.feature_extraction.shards import NO_FILE, ShardRows, ShardWriter, read_rows, shard_name
from avloc.feature_extraction.store import FeatureStore
from avloc.files import inside, remove_stale

LARGEST_SHARD_CLIPS = 2000
SMALLEST_SHARD_CLIPS = 8


def shard_size(clips: int) -> int:
    """Clips per shard for a set: a 16th of it within bounds. It depends on the set only, so that any machine can resume."""
    return min(LARGEST_SHARD_CLIPS, max(SMALLEST_SHARD_CLIPS, -(-clips // 16)))


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """One unit of work: some clips, and the extractors whose shard of them is still missing.

    Attributes:
        root: the folder that the clips' names are relative to.
        files: the clips.
        extractors: name and arguments of each extractor to run; one decode feeds them all.
        paths: the shard to write, per extractor.
        backend: who decodes the picture.
    """

    root: Path
    files: tuple[str, ...]
    extractors: tuple[tuple[str, dict[str, Any]], ...]
    paths: tuple[Path, ...]
    backend: str = "pyav"


@dataclass(slots=True)
class JobReport:
    """What a job did: clips now done, those that were there before, and which of either could not be read."""

    done: int = 0
    reused: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def run_shard(spec: ShardSpec) -> dict[str, str]:
    """Decode each clip once, extract, write the shards. Returns the clips that failed and why."""
    import contextlib

    extractors = [build(name, arguments) for name, arguments in spec.extractors]
    formats = [e.video_format for e in extractors if e.video_format is not None]
    audio = any(e.modality == "audio" for e in extractors)
    failures: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(ShardWriter(path, e.dim)) for path, e in zip(spec.paths, extractors, strict=True)
        ]
        for file in spec.files:
            size = file_size(spec.root / file)
            try:
                clip = decode(inside(spec.root, file), formats, audio=audio, backend=spec.backend)
                features = [e.extract(clip) for e in extractors]
            except (AvlocError, MemoryError) as error:
                failures[file] = str(error)
                for writer in writers:
                    writer.fail(file, str(error), size)
                continue
            for writer, result in zip(writers, features, strict=True):
                writer.add(file, result, size)
    return failures


def file_size(path: Path) -> int:
    """Bytes of a file; `NO_FILE` if it is not there."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return NO_FILE


def extract(
    root: Path,
    files: Sequence[str],
    extractors: Sequence[tuple[str, dict[str, Any]]],
    store: FeatureStore,
    *,
    workers: int = 1,
    shard_clips: int = LARGEST_SHARD_CLIPS,
    part: tuple[int, int] = (0, 1),
    backend: str = "pyav",
    retry_failed: bool = False,
    progress: Callable[[int], object] = lambda clips: None,
) -> JobReport:
    """Extract features of clips into a store.

    Args:
        root: the folder that `files` are relative to.
        files: the clips; their order decides the shards, so keep it to resume.
        extractors: name and arguments each.
        store: where to.
        workers: processes.
        shard_clips: clips per shard at the most.
        part: (i, n): do only every n-th shard from the i-th on, for a job array.
        backend: who decodes the picture.
        retry_failed: make the shards again in which a clip could not be read.
        progress: called with the number of clips of each shard when it is done.

    Raises:
        StoreError: if the store holds features made with other settings, or of other files with the same names.
    """
    if not 0 <= part[0] < part[1]:
        raise AvlocError(f"--shard i/n needs 0 <= i < n, got {part[0]}/{part[1]}")
    if shard_clips < 1:
        raise AvlocError(f"a shard holds at least 1 clip, got {shard_clips}")
    if workers < 1:
        raise AvlocError(f"a job needs at least 1 worker, got {workers}")
    report = JobReport()
    specs = []
    for paths, chosen in _shards(files, _prepared(extractors, store, backend), shard_clips, part):
        there = {path: read_rows(path) for path in paths if path.exists()}
        for path, rows in there.items():
            _check_same_files(path, rows, root)
        missing = [k for k, p in enumerate(paths) if p not in there or (retry_failed and there[p].failures)]
        if missing:
            wanted = tuple(extractors[k] for k in missing)
            specs.append(ShardSpec(root, chosen, wanted, tuple(paths[k] for k in missing), backend))
        else:
            report.reused += len(chosen)
            for rows in there.values():
                report.failures.update(rows.failures)
            progress(len(chosen))
    for spec, failures in local.run(_numbered, specs, workers):
        report.done += len(spec.files)
        report.failures.update(failures)
        progress(len(spec.files))
    return report


def _prepared(extractors: Sequence[tuple[str, dict[str, Any]]], store: FeatureStore, backend: str) -> list[Path]:
    """The extractors' folders in the store; whatever cannot be used is an error before anything is written."""
    built = [build(name, arguments) for name, arguments in extractors]
    for extractor in built:
        extractor.load()
    folders = []
    for extractor in built:
        decoder = {} if extractor.video_format is None else {"decoder": backend}
        folders.append(store.prepare({**extractor.describe(), **decoder}))
        remove_stale(folders[-1])
    return folders


def _shards(
    files: Sequence[str], folders: Sequence[Path], shard_clips: int, part: tuple[int, int]
) -> Iterator[tuple[list[Path], tuple[str, ...]]]:
    """This part's shards: where each extractor's goes, and the clips."""
    for index, begin in enumerate(range(0, len(files), shard_clips)):
        if index % part[1] == part[0]:
            chosen = tuple(files[begin : begin + shard_clips])
            yield [folder / shard_name(index, chosen) for folder in folders], chosen


def _check_same_files(path: Path, rows: ShardRows, root: Path) -> None:
    """Raise unless a shard was made of the files that are there now, as far as their sizes tell."""
    for file, size in zip(rows.files, rows.bytes.tolist(), strict=True):
        now = file_size(root / file)
        if NO_FILE not in (size, now) and size != now:
            raise StoreError(
                f"{path}: was made of another {file}, of {size} bytes; that in {root} has {now}. A store belongs to one "
                "set of clips: name another one"
            )


def _numbered(spec: ShardSpec) -> tuple[ShardSpec, dict[str, str]]:
    return spec, run_shard(spec)
