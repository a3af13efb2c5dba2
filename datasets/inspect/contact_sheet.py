"""Records > one png with a row per clip: frames, waveform and fake segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.records import LANE_ORDER, VideoRecord
from avloc.datasets.readers.table import RecordTable
from avloc.errors import shown
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import VideoFormat
from avloc.io.figures import save_png
from avloc.io.files import resolve_inside
from avloc.io.workers.pool import run_tasks
from avloc.io.workers.worker_process import Pulse, TaskFunction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES_PER_ROW = 8
FRAME_HEIGHT = 90
WAVEFORM_POINTS = 4000
TIMEOUT_S = 120.0
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


class ClipPreview(NamedTuple):
    """Some frames and the waveform of a clip, as a process decoded them.

    Attributes:
        strip: (H, N·W, 3) frames side by side; None without a picture.
        times: (T,) seconds of the points of the waveform.
        waveform: (T,) samples in [-1, 1]; empty without sound.
        duration_s: the clip's length.
    """

    strip: npt.NDArray[np.uint8] | None
    times: npt.NDArray[np.float64]
    waveform: npt.NDArray[np.float32]
    duration_s: float


@dataclass(frozen=True, slots=True)
class _PreviewJob:
    """The work of the process that decodes: a task is a clip's name, its result a `ClipPreview`."""

    root: Path

    def build(self, pulse: Pulse) -> TaskFunction:
        """Return the function for a clip."""
        return self._preview

    def _preview(self, file: str) -> Iterator[ClipPreview]:
        video_format = VideoFormat(FRAME_HEIGHT, FRAME_HEIGHT * 16 // 9)
        clip = decode(resolve_inside(self.root, file), [video_format])
        frames, strip = clip.frames.get(video_format), None
        if frames is not None:
            chosen = np.linspace(0, len(frames) - 1, FRAMES_PER_ROW).astype(int)
            strip = np.concatenate(frames[chosen], axis=1)
        samples = np.zeros(0, np.float32) if clip.samples is None else clip.samples
        times = clip.audio_start_s + np.arange(len(samples)) / clip.sample_rate
        step = max(1, len(times) // WAVEFORM_POINTS)
        yield ClipPreview(strip, times[::step].copy(), samples[::step].copy(), clip.duration_s)


def draw_contact_sheet(root: Path, records: Sequence[VideoRecord], path: Path, *, workers: int = 1) -> list[str]:
    """Write a png with a row per clip.

    Args:
        root: the dataset's folder.
        records: the clips.
        path: the png.
        workers: processes that decode; 0 decodes in this one, so a clip that crashes ends it.

    Returns:
        An error message for each clip that cannot be decoded; its row says so.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.1 * len(records) + 0.3), layout="constrained")
    grid = figure.subplots(2 * len(records), 1, gridspec_kw={"height_ratios": [3, 2] * len(records)}, squeeze=False)
    errors = []
    files = [record.file for record in records]
    results = run_tasks(_PreviewJob(root), files, workers=workers, timeout_s=TIMEOUT_S, threads=None)
    for record, frame_axes, wave_axes, result in zip(records, grid[::2, 0], grid[1::2, 0], results, strict=True):
        frame_axes.axis("off")
        title = f"{shown(record.file)} · {record.modality if record.labelled else 'hidden'}"
        frame_axes.set_title(title, fontsize=8, loc="left", parse_math=False)
        if result.failure is None:
            _draw_clip(result.result, record, frame_axes, wave_axes)
        else:
            errors.append(
                result.failure if shown(record.file) in result.failure else f"{record.file}: {result.failure}"
            )
            wave_axes.axis("off")
            frame_axes.text(0.5, 0.5, "cannot be decoded", ha="center", va="center", transform=frame_axes.transAxes)
    save_png(figure, path, dpi=100)
    return errors


def _draw_clip(clip: ClipPreview, record: VideoRecord, frame_axes: Axes, wave_axes: Axes) -> None:
    if clip.strip is not None:
        frame_axes.imshow(clip.strip, aspect="auto")
    wave_axes.plot(clip.times, clip.waveform, color="0.6", linewidth=0.4)
    for k, modality in enumerate(LANE_ORDER):
        low = 0.5 * (1 - k)  # from above
        for start, end in record.modality_segments(modality):
            wave_axes.axvspan(start, end, ymin=low, ymax=low + 0.5, color=COLOURS[modality], alpha=0.5, linewidth=0)
    wave_axes.set(xlim=(0, max(clip.duration_s, 1e-3)), ylim=(-1, 1), yticks=[0.5, -0.5], yticklabels=list(LANE_ORDER))
    wave_axes.tick_params(labelsize=7)
