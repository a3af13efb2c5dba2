"""The extraction job: clips > shards > a store. Resumable: a shard that is there is not made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError
from avloc.feature_extraction.engines import local
from avloc.feature_extraction.extractors import build
from avloc.feature_extraction.media import decode
from avloc.feature_extraction.store import FeatureStore, ShardWriter, failures_in, shard_name

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
            try:
                clip = decode(spec.root / file, formats, audio=audio, backend=spec.backend)
                features = [e.extract(clip) for e in extractors]
            except (AvlocError, MemoryError) as error:
                failures[file] = str(error)
                for writer in writers:
                    writer.fail(file, str(error))
                continue
            for writer, result in zip(writers, features, strict=True):
                writer.add(file, result)
    return failures


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
        progress: called with the number of clips of each shard when it is done.

    Raises:
        StoreError: if the store holds features made with other settings.
    """
    if not 0 <= part[0] < part[1]:
        raise AvlocError(f"--shard i/n needs 0 <= i < n, got {part[0]}/{part[1]}")
    if shard_clips < 1:
        raise AvlocError(f"a shard holds at least 1 clip, got {shard_clips}")
    descriptions = [build(name, arguments).describe() for name, arguments in extractors]
    folders = [store.prepare(description) for description in descriptions]
    report = JobReport()
    specs = []
    for index, begin in enumerate(range(0, len(files), shard_clips)):
        if index % part[1] != part[0]:
            continue
        chosen = tuple(files[begin : begin + shard_clips])
        paths = [folder / shard_name(index, chosen) for folder in folders]
        missing = [k for k, path in enumerate(paths) if not path.exists()]
        if missing:
            specs.append(
                ShardSpec(
                    root, chosen, tuple(extractors[k] for k in missing), tuple(paths[k] for k in missing), backend
                )
            )
        else:
            report.reused += len(chosen)
            report.failures.update(failures_in(paths))
            progress(len(chosen))
    for spec, failures in local.run(_numbered, specs, workers):
        report.done += len(spec.files)
        report.failures.update(failures)
        progress(len(spec.files))
    return report


def _numbered(spec: ShardSpec) -> tuple[ShardSpec, dict[str, str]]:
    return spec, run_shard(spec)
