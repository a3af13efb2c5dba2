"""What a job will take, from a sample of its clips: time, and room on the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors import Extractor
from avloc.feature_extraction.job.worker import ClipDone, ClipTask, ExtractionSettings, process_clip
from avloc.feature_extraction.media.decode import probe
from avloc.feature_extraction.store.shards import to_half

PROBED = 32
SAMPLED = 8
FLOAT16_BYTES = 2


def spread(files: Sequence[Any], count: int) -> list[Any]:
    """Some of the items, evenly from all of the list."""
    return [files[k] for k in np.unique(np.linspace(0, len(files) - 1, count).astype(int)).tolist()] if files else []


def bytes_per_second(description: Mapping[str, Any]) -> float:
    """Bytes in a store per second of media."""
    return FLOAT16_BYTES * int(description["dim"]) / float(description["hop_s"])


def mean_duration_s(root: Path, files: Sequence[str]) -> float:
    """Of clips, from the headers of some; those that cannot be read are left out."""
    durations = []
    for file in spread(files, PROBED):
        try:
            durations.append(probe(root / file).duration_s)
        except AvlocError:
            continue
    return float(np.mean(durations)) if durations else 0.0


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder that need not exist yet."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def check_space(store: Path, needed_bytes: float, clips: int) -> None:
    """Raise a StoreError if the features of so many clips, of so many bytes in all, cannot fit."""
    free = free_bytes(store)
    if needed_bytes > free:
        raise StoreError(
            f"{store}: the features of {clips} clips will take about {needed_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "make room, or go on regardless with --no-space-check"
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be expected of a job.

    Attributes:
        clips: in the job.
        sampled: clips that were done to find out; `failed` of them could not be read.
        media_s: seconds of all clips.
        decode_s: core seconds of decoding all clips.
        extract_s: core seconds of extraction of all clips in the workers.
        device_s: seconds of a device for all clips; 0 where the workers run the networks.
        wall_s: with the job's workers and devices.
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


def estimate(
    files: Sequence[str],
    store: Path,
    settings: ExtractionSettings,
    names: Sequence[str],
    *,
    devices: int = 1,
    sample: int = SAMPLED,
) -> Estimate:
    """Do a sample of the clips, one thread each, and throw the features away.

    The first of the sample warms up what is loaded lazily, and is not counted unless it is the only one.

    Args:
        files: the clips of the job.
        store: its folder, for the free room.
        settings: the job's.
        names: of the extractors, in the settings' order.
        devices: how many run networks.
        sample: clips.
    """
    import torch

    chosen = spread(files, sample + 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extractors = settings.build_extractors()
        costs = [_cost(file, extractors, settings) for file in chosen]
    finally:
        torch.set_num_threads(threads)
    counted = [c for c in (costs[1:] or costs) if c is not None]
    scale = len(files) / max(1, len(counted))
    decode_s, extract_s, device_s, media_s = (
        scale * sum(getattr(c, key) for c in counted) for key in ("decode_s", "extract_s", "device_s", "media_s")
    )
    return Estimate(
        clips=len(files), sampled=len(chosen), failed=sum(c is None for c in costs), media_s=media_s,
        decode_s=decode_s, extract_s=extract_s, device_s=device_s,
        wall_s=max((decode_s + extract_s) / max(1, settings.workers), device_s / devices),
        size_bytes={name: scale * sum(c.sizes[k] for c in counted) for k, name in enumerate(names)},
        free_bytes=free_bytes(store),
    )  # fmt: skip


class _Cost(NamedTuple):
    """Of a clip: core seconds of decoding and of extraction, seconds of a device and of media, bytes by extractor."""

    decode_s: float
    extract_s: float
    device_s: float
    media_s: float
    sizes: list[int]


def _cost(file: str, extractors: Sequence[Extractor], settings: ExtractionSettings) -> _Cost | None:
    """What a clip takes; None for one that cannot be read."""
    sizes, device_s = [0] * len(settings.extractors), 0.0
    try:
        for message in process_clip(ClipTask(file, tuple(range(len(sizes)))), extractors, settings):
            if isinstance(message, ClipDone):
                return _Cost(message.decode_s, message.extract_s, device_s, message.media_s, sizes)
            rows, begin = message.data, time.perf_counter()
            if not message.is_rows:
                rows = to_half(extractors[message.extractor].rows([message.data])[0][message.low : message.high])
                device_s += time.perf_counter() - begin
            sizes[message.extractor] += rows.nbytes
    except Exception:  # as in the job, an odd clip is a failed one
        return None
    return None
