"""A picture of what is in a set: frames of some clips, their sound, and their fake segments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avloc.core.records import MODALITIES, VideoRecord
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import VideoFormat
from avloc.io.files import resolve_inside
from avloc.io.pictures import save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES = 8
HEIGHT = 90
COLOURS = {"audio": "#e07b00", "visual": "#7b3fb5"}


def choose(table: RecordTable, count: int, seed: int) -> list[VideoRecord]:
    """Some clips by chance, as many of each modality as there is room for."""
    random = np.random.default_rng(seed)
    modality = table.modality()
    kinds = [np.flatnonzero(modality.codes == k) for k in range(len(modality.names))]
    queues = [random.permutation(kind).tolist() for kind in kinds if len(kind)]
    chosen: list[int] = []
    while len(chosen) < min(count, len(table)):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return [table[k] for k in sorted(chosen)]


def draw(root: Path, records: Sequence[VideoRecord], path: Path) -> list[str]:
    """Write a png with a row per clip: frames, waveform, segments. Returns what could not be decoded.

    Args:
        root: the dataset's folder.
        records: the clips.
        path: the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.1 * len(records) + 0.3), layout="constrained")
    problems = []
    rows = figure.subplots(2 * len(records), 1, gridspec_kw={"height_ratios": [3, 2] * len(records)}, squeeze=False)[
        :, 0
    ]
    for record, frames, lanes in zip(records, rows[::2], rows[1::2], strict=True):
        frames.axis("off")
        frames.set_title(
            f"{record.file} · {record.modality if record.labelled else 'hidden'}",
            fontsize=8,
            loc="left",
            parse_math=False,
        )
        try:
            _draw_clip(root, record, frames, lanes)
        except AvlocError as error:
            problems.append(str(error))
            lanes.axis("off")
            frames.text(0.5, 0.5, "cannot be decoded", ha="center", va="center", transform=frames.transAxes)
    save_png(figure, path, dpi=100)
    return problems


def _draw_clip(root: Path, record: VideoRecord, frames: Axes, lanes: Axes) -> None:
    shape = VideoFormat(HEIGHT, HEIGHT * 16 // 9)
    clip = decode(resolve_inside(root, record.file), [shape])
    pictures = clip.frames.get(shape)
    if pictures is not None:
        at = np.linspace(0, len(pictures) - 1, FRAMES).astype(int)
        frames.imshow(np.concatenate(pictures[at], axis=1), aspect="auto")
    if clip.samples is not None:
        times = clip.audio_start_s + np.arange(len(clip.samples)) / clip.sample_rate
        step = max(1, len(times) // 4000)
        lanes.plot(times[::step], clip.samples[::step], color="0.6", linewidth=0.4)
    for k, modality in enumerate(MODALITIES):
        for start, end in record.modality_segments(modality):
            lanes.axvspan(
                start,
                end,
                ymin=0.5 * (1 - k),
                ymax=0.5 * (1 - k) + 0.5,
                color=COLOURS[modality],
                alpha=0.5,
                linewidth=0,
            )
    lanes.set(xlim=(0, max(clip.duration_s, 1e-3)), ylim=(-1, 1), yticks=[0.5, -0.5], yticklabels=list(MODALITIES))
    lanes.tick_params(labelsize=7)
