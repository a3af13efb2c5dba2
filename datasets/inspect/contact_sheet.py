"""Records > one png with a row per clip: frames, waveform and fake segments."""

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
from avloc.io.figures import save_png
from avloc.io.files import resolve_inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES_PER_ROW = 8
FRAME_HEIGHT = 90
WAVEFORM_POINTS = 4000
COLOURS = {"audio": "#e07b00", "visual": "#7b3fb5"}


def choose_clips(table: RecordTable, count: int, seed: int) -> list[VideoRecord]:
    """Draw clips at random, evenly from the modalities (real, audio, visual, both), and return them in the table's order.

    Args:
        table: the records.
        count: number of clips; all if the table has fewer.
        seed: seed of the choice.
    """
    rng = np.random.default_rng(seed)
    modality = table.modality()
    groups = [np.flatnonzero(modality.codes == code) for code in range(len(modality.names))]
    queues = [rng.permutation(group).tolist() for group in groups if len(group)]
    rows: list[int] = []
    while len(rows) < min(count, len(table)):
        for queue in queues:
            if queue and len(rows) < count:
                rows.append(queue.pop())
    return [table[row] for row in sorted(rows)]


def draw_contact_sheet(root: Path, records: Sequence[VideoRecord], path: Path) -> list[str]:
    """Write a png with a row per clip.

    Args:
        root: the dataset's folder.
        records: the clips.
        path: the png.

    Returns:
        An error message for each clip that cannot be decoded; its row says so.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.1 * len(records) + 0.3), layout="constrained")
    grid = figure.subplots(2 * len(records), 1, gridspec_kw={"height_ratios": [3, 2] * len(records)}, squeeze=False)
    errors = []
    for record, frame_axes, wave_axes in zip(records, grid[::2, 0], grid[1::2, 0], strict=True):
        frame_axes.axis("off")
        title = f"{record.file} · {record.modality if record.labelled else 'hidden'}"
        frame_axes.set_title(title, fontsize=8, loc="left", parse_math=False)
        try:
            _draw_clip(root, record, frame_axes, wave_axes)
        except AvlocError as error:
            errors.append(str(error))
            wave_axes.axis("off")
            frame_axes.text(0.5, 0.5, "cannot be decoded", ha="center", va="center", transform=frame_axes.transAxes)
    save_png(figure, path, dpi=100)
    return errors


def _draw_clip(root: Path, record: VideoRecord, frame_axes: Axes, wave_axes: Axes) -> None:
    video_format = VideoFormat(FRAME_HEIGHT, FRAME_HEIGHT * 16 // 9)
    clip = decode(resolve_inside(root, record.file), [video_format])
    frames = clip.frames.get(video_format)
    if frames is not None:
        shown = np.linspace(0, len(frames) - 1, FRAMES_PER_ROW).astype(int)
        frame_axes.imshow(np.concatenate(frames[shown], axis=1), aspect="auto")
    if clip.samples is not None:
        times = clip.audio_start_s + np.arange(len(clip.samples)) / clip.sample_rate
        step = max(1, len(times) // WAVEFORM_POINTS)
        wave_axes.plot(times[::step], clip.samples[::step], color="0.6", linewidth=0.4)
    for k, modality in enumerate(MODALITIES):
        low = 0.5 * (1 - k)  # audio in the upper half, visual in the lower
        for start, end in record.modality_segments(modality):
            wave_axes.axvspan(start, end, ymin=low, ymax=low + 0.5, color=COLOURS[modality], alpha=0.5, linewidth=0)
    wave_axes.set(xlim=(0, max(clip.duration_s, 1e-3)), ylim=(-1, 1), yticks=[0.5, -0.5], yticklabels=list(MODALITIES))
    wave_axes.tick_params(labelsize=7)
