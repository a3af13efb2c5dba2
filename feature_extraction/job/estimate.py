"""A sample of a job's clips > an estimate of the job's time and of its room on the disk."""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from avloc.core.descriptions import ExtractorDescription
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Extractor
from avloc.feature_extraction.job.worker import ClipDone, ClipTask, ExtractionSettings, process_clip
from avloc.feature_extraction.media.limits import check_claims
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import WHOLE, Span
from avloc.feature_extraction.store.dtypes import storage_dtype, to_stored
from avloc.io.workers.pool import run_tasks
from avloc.io.workers.processes import one_thread
from avloc.io.workers.worker_process import Pulse, TaskFunction

PROBED_CLIPS = 32
PROBE_TIMEOUT_S = 60.0  # for one header
SAMPLED_CLIPS = 8

T = TypeVar("T")


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """Pick at most `count` items at even distances over the whole list.

    >>> evenly_spaced("abcdefg", 3)
    ['a', 'd', 'g']
    """
    return [items[k] for k in np.unique(np.linspace(0, len(items) - 1, count).astype(int)).tolist()] if items else []


def bytes_per_second(description: ExtractorDescription) -> float:
    """Bytes in a store per second of media.

    >>> bytes_per_second(ExtractorDescription("logmel", "audio", hop_s=0.01, dim=64))
    12800.0
    """
    return storage_dtype(description.dtype).itemsize * description.dim / description.hop_s


@dataclass(frozen=True, slots=True)
class _ProbeJob:
    """The work of a process that reads headers: a task is a path, its result the seconds of the clip."""

    longest_s: float

    def build(self, pulse: Pulse) -> TaskFunction:
        """Return the function for a path."""
        return functools.partial(self._probe, pulse)

    def _probe(self, pulse: Pulse, path: Path) -> Iterator[float]:
        info = probe(path, pulse)
        check_claims(info, Span(longest_s=self.longest_s))
        yield info.seconds_in(WHOLE)


def mean_duration_s(settings: ExtractionSettings, files: Sequence[str]) -> float:
    """The mean length of clips, from the headers of a sample; unreadable ones, and ones above a limit, are left out.

    Headers are read in a process of their own, unless the settings have no `workers`.
    """
    paths = [settings.folder / file for file in evenly_spaced(files, PROBED_CLIPS)]
    results = run_tasks(
        _ProbeJob(settings.longest_s),
        paths,
        workers=min(1, settings.workers),
        timeout_s=min(PROBE_TIMEOUT_S, settings.timeout_s),
        threads=None,
    )
    durations = [result.result for result in results if result.failure is None]
    return float(np.mean(durations)) if durations else 0.0


def free_bytes(folder: Path) -> int:
    """Free room on the disk of a folder, which need not exist yet."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def check_space(store: Path, needed_bytes: float, clips: int) -> None:
    """Raise unless the features fit on the disk.

    Args:
        store: the store's folder.
        needed_bytes: size of the features of all clips.
        clips: their number, for the message.

    Raises:
        StoreError: if they do not fit.
    """
    free = free_bytes(store)
    if needed_bytes > free:
        raise StoreError(
            f"{store}: the features of {clips} clips will take about {needed_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "make room, or go on regardless with --no-space-check"
        )


@dataclass(frozen=True, slots=True)
class JobEstimate:
    """The expected costs of a job.

    Attributes:
        clips: in the job.
        sampled: clips processed for the estimate; `failed` of them could not be read.
        failed: see `sampled`.
        media_s: seconds of all clips.
        decode_s: core seconds of decoding all clips.
        extract_s: core seconds of extraction of all clips in the workers.
        device_s: seconds of a device for all clips; 0 if the workers run the networks.
        wall_s: duration with the job's workers and devices.
        size_bytes: by extractor, of all clips.
        free_bytes: on the store's disk.
    """

    clips: int
    sampled: int
    failed: int
    media_s: float
    decode_s: float
    extract_s: float
    device_s: float
    wall_s: float
    size_bytes: dict[str, float]
    free_bytes: int


def estimate_job(
    files: Sequence[str],
    store: Path,
    settings: ExtractionSettings,
    names: Sequence[str],
    *,
    devices: int = 1,
    sample: int = SAMPLED_CLIPS,
) -> JobEstimate:
    """Process a sample of the clips, in one process with one thread, and discard the features.

    The first clip of the sample warms up lazy loading, and does not count unless it is the only one.

    Args:
        files: the clips of the job.
        store: the store's folder, for the free room.
        settings: the job's.
        names: of the extractors, in the settings' order.
        devices: number of devices that run networks.
        sample: number of clips.
    """
    chosen = evenly_spaced(files, sample + 1)
    costs = _sample_costs(chosen, settings)
    counted = [c for c in (costs[1:] or costs) if c is not None]
    scale = len(files) / max(1, len(counted))
    decode_s, extract_s, device_s, media_s = (
        scale * sum(getattr(c, key) for c in counted) for key in ("decode_s", "extract_s", "device_s", "media_s")
    )
    return JobEstimate(
        clips=len(files),
        sampled=len(chosen),
        failed=sum(c is None for c in costs),
        media_s=media_s,
        decode_s=decode_s,
        extract_s=extract_s,
        device_s=device_s,
        wall_s=max((decode_s + extract_s) / max(1, settings.workers), device_s / devices),
        size_bytes={name: scale * sum(c.sizes[k] for c in counted) for k, name in enumerate(names)},
        free_bytes=free_bytes(store),
    )


class _ClipCosts(NamedTuple):
    """The costs of a clip.

    Attributes:
        decode_s: core seconds of decoding.
        extract_s: core seconds of extraction in the worker.
        device_s: seconds of a device.
        media_s: seconds of media.
        sizes: bytes of the features, by extractor.
    """

    decode_s: float
    extract_s: float
    device_s: float
    media_s: float
    sizes: list[int]


def _sample_costs(files: Sequence[str], settings: ExtractionSettings) -> list[_ClipCosts | None]:
    """Measure the costs of clips one by one; None for one that cannot be read."""
    job, workers = _MeasureJob(settings), min(1, settings.workers)
    with one_thread() if not workers else contextlib.nullcontext():
        results = run_tasks(job, files, workers=workers, timeout_s=settings.timeout_s)
        return [result.result for result in results]


@dataclass(frozen=True, slots=True)
class _MeasureJob:
    """The work of a process that measures the costs of clips: a task is a clip's name, its result its costs."""

    settings: ExtractionSettings

    def build(self, pulse: Pulse) -> TaskFunction:
        """Build the extractors, and return the function for a clip."""
        extractors = self.settings.build_extractors()
        for extractor in extractors:
            extractor.pulse = pulse  # type: ignore[attr-defined]
        return functools.partial(_measure_clip, extractors=extractors, settings=self.settings, pulse=pulse)


def _measure_clip(
    file: str, extractors: Sequence[Extractor], settings: ExtractionSettings, pulse: Pulse
) -> Iterator[_ClipCosts]:
    """Measure the costs of a clip."""
    sizes, device_s = [0] * len(settings.extractors), 0.0
    for message in process_clip(ClipTask(file, tuple(range(len(sizes)))), extractors, settings, pulse):
        if isinstance(message, ClipDone):
            yield _ClipCosts(message.decode_s, message.extract_s, device_s, message.media_s, sizes)
            return
        rows, begin = message.data, time.perf_counter()
        if not message.is_rows:
            extractor = extractors[message.extractor]
            rows = to_stored(extractor.rows([message.data])[0][message.low : message.high], extractor.dtype)
            device_s += time.perf_counter() - begin
        sizes[message.extractor] += rows.nbytes
