"""Pieces of one clip > another clip, in place of its own sound and picture, with exact labels.

Two uses. A piece of a real clip in a real one is a cut, as editors make it: the label stays real (`splice_real_piece`). A fake
clip's forgery in a real clip takes its label along (`borrow_forgery`). Both streams come together, so lips and sound still
fit; the sound is cross-faded within the piece. Pieces begin and end on whole steps, so samples move by at most half a sample
and other rows by at most half a row; labels move with the steps.

Legend: R rows of a stream's clock, D numbers per row, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from avloc.core.clip_records import video_record
from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.examples.example import FeatureExample
from avloc.datasets.examples.raw_rows import Samples, are_samples, from_samples, to_samples
from avloc.errors import AvlocError

SHORTEST_S, LONGEST_S = 0.1, 0.8
"""Length of a real piece, and of the window of a pseudo-forgery."""
MARGIN_S = 0.5
"""Genuine time on each side that comes along with a forgery, at most: so a cut and a forgery's beginning are not the same."""
FADE_S = 0.005
PLACES = 8
"""Places that are tried for a piece."""


@dataclass(frozen=True, slots=True)
class MixingShares:
    """Shares of the training clips that other clips or made forgeries change, drawn again in each epoch.

    Attributes:
        pseudo_forgeries: of the real clips, that get a pseudo-forgery (`avloc.datasets.examples.pseudo_forgeries`).
        borrowed_forgeries: of the real clips, that get a forgery of a fake one, with its label (`borrow_forgery`).
        hard_negatives: of the real clips, that get a piece of another real one and stay real (`splice_real_piece`);
            pseudo-forgeries are then not spliced.
        revoiced_clips: of all labelled clips, of which one to three words are re-voiced and labelled
            (`avloc.datasets.examples.revoicing`).

    Raises:
        AvlocError: if a share is not within 0 and 1, or those of the real clips sum to more than 1.

    >>> MixingShares(hard_negatives=0.5).chosen
    ('hard_negatives',)
    """

    pseudo_forgeries: float = 0.0
    borrowed_forgeries: float = 0.0
    hard_negatives: float = 0.0
    revoiced_clips: float = 0.0

    def __post_init__(self) -> None:
        for name, share in zip(self.names(), astuple(self), strict=True):
            if not 0 <= share <= 1:
                raise AvlocError(f"want {name} within 0 and 1, got {share:g}")
        if sum(self.of_real) > 1 + 1e-9:
            raise AvlocError(f"want {', '.join(self.names()[:3])} of at most 1 together, got {sum(self.of_real):g}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the shares."""
        return tuple(field.name for field in fields(cls))

    @property
    def of_real(self) -> tuple[float, float, float]:
        """The shares of the real clips, which exclude each other."""
        return self.pseudo_forgeries, self.borrowed_forgeries, self.hard_negatives

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of those above 0."""
        return tuple(name for name in self.names() if getattr(self, name))


NO_MIXING = MixingShares()


def holds_sound(example: FeatureExample, stream: int) -> bool:
    """Tell whether a stream of an example is sound at 16 kHz, as rows of whole numbers."""
    if not example.rows or MODALITIES[stream] != "audio":
        return False
    rows = example.streams[stream]
    return are_samples(rows.dtype, rows.shape[1], example.rows[stream].grid.hop_s)


def step_rows(example: FeatureExample, stream: int, first: int, length: int) -> slice:
    """Return the rows of a stream whose middles lie within `length` steps from `first`."""
    if not example.rows:
        return slice(first, first + length)
    rows = example.rows[stream].grid
    ends_s = example.grid.to_seconds([first, first + length])
    begin, end = np.ceil(rows.to_steps(ends_s) - 0.5 - 1e-6).clip(0, rows.length).astype(int).tolist()
    return slice(begin, end)


def read_samples(example: FeatureExample, stream: int, first: int, length: int) -> Samples:
    """Return the samples of `length` steps from `first`: (N,), N by the steps alone; silence outside of the stream."""
    begin = _first_sample(example, stream, first)
    count = round(length * example.grid.hop_s * DEFAULT_SAMPLE_RATE)
    whole = example.streams[stream].reshape(-1)
    part = np.zeros(count, np.float32)
    low, high = max(0, begin), min(len(whole), begin + count)
    if low < high:
        part[low - begin : high - begin] = to_samples(whole[low:high])
    return part


def write_samples(example: FeatureExample, stream: int, first: int, new: Samples) -> npt.NDArray[np.int16]:
    """Return a stream's rows (R, D) with new samples (N,) from a step on, cross-faded within them; gaps stay empty.

    Samples outside of the new ones are the same to the bit.
    """
    rows = example.streams[stream]
    begin = _first_sample(example, stream, first)
    count = rows.size
    low, high = max(0, begin), min(count, begin + len(new))
    whole = rows.reshape(-1).copy()
    if low < high:
        old = to_samples(whole[low:high])
        weight = fade_weights(len(new))[low - begin : high - begin]
        mixed = old + weight * (new[low - begin : high - begin] - old)
        whole[low:high] = from_samples(mixed, 1)[:, 0]
    changed = whole.reshape(rows.shape)
    changed[~example.rows[stream].present] = 0
    return changed


def fade_weights(count: int, sample_rate: int = DEFAULT_SAMPLE_RATE) -> Samples:
    """Return the weights of new samples: from 0 to 1 and back within `FADE_S` at each end, (count,).

    >>> fade_weights(4).tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    fade = min(round(FADE_S * sample_rate), count // 2)
    weight = np.ones(count, dtype=np.float32)
    weight[:fade] = np.linspace(0, 1, fade, endpoint=False)
    weight[count - fade :] = weight[:fade][::-1]
    return weight


def _first_sample(example: FeatureExample, stream: int, first: int) -> int:
    seconds = float(example.grid.to_seconds(first)) - example.rows[stream].grid.start_s
    return round(seconds * DEFAULT_SAMPLE_RATE)


def splice_real_piece(
    example: FeatureExample, other: FeatureExample, random: np.random.Generator
) -> FeatureExample | None:
    """Put 0.1 to 0.8 s of a real clip in place of a real clip's own.

    Args:
        example: a real clip.
        other: another real clip.
        random: source of the piece and of its place.

    Returns:
        A changed copy, still real; None if the clips share no such time in all streams of `example`.
    """
    hop_s = example.grid.hop_s
    shortest, longest = math.ceil(SHORTEST_S / hop_s - 1e-6), round(LONGEST_S / hop_s)
    most = min(longest, example.grid.length, other.grid.length)
    if most < shortest:
        return None
    length = int(random.integers(shortest, most + 1))
    source = int(random.integers(0, other.grid.length - length + 1))
    return _put(example, other, source, length, random)


def borrow_forgery(
    example: FeatureExample, other: FeatureExample, random: np.random.Generator
) -> FeatureExample | None:
    """Put a forgery of a fake clip, with up to `MARGIN_S` of its surroundings, in place of a real clip's own.

    Args:
        example: a real clip.
        other: a fake clip as a whole.
        random: source of the forgery, the margins and the place.

    Returns:
        A changed copy with the label; None if no place has all streams of `example`.
    """
    segments = video_record(other.record).segments
    if not segments:
        return None
    start_s, end_s = segments[random.integers(len(segments))]
    for a, b in segments:  # in the order of time; the same forgery in the other stream comes along as a whole
        if a < end_s and start_s < b:
            start_s, end_s = min(a, start_s), max(b, end_s)
    margins = random.integers(0, round(MARGIN_S / example.grid.hop_s) + 1, 2).tolist()
    ends = other.grid.to_steps([start_s, end_s])
    source = max(0, math.floor(float(ends[0]) + 1e-6) - margins[0])
    end = min(other.grid.length, math.ceil(float(ends[1]) - 1e-6) + margins[1])
    return _put(example, other, source, end - source, random)


def _put(
    example: FeatureExample, other: FeatureExample, source: int, length: int, random: np.random.Generator
) -> FeatureExample | None:
    """Put `length` steps of another clip from `source` at a random place; None if there is no such place."""
    streams = [k for k in range(len(MODALITIES)) if example.masks[k].any()]
    if not streams or length < 1 or length > example.grid.length:
        return None
    if not all(other.masks[k][source : source + length].all() for k in streams):
        return None
    for first in random.integers(0, example.grid.length - length + 1, PLACES).tolist():
        if all(example.masks[k][first : first + length].all() for k in streams):
            return _replace_steps(example, other, first, source, length, streams)
    return None


def _replace_steps(
    example: FeatureExample, other: FeatureExample, first: int, source: int, length: int, streams: Sequence[int]
) -> FeatureExample:
    """Replace steps of some streams by another clip's, with the labels of these."""
    values = [*example.streams]
    for k in streams:
        if holds_sound(example, k):
            values[k] = write_samples(example, k, first, read_samples(other, k, source, length))
            continue
        values[k] = values[k].copy()
        old, new = (
            values[k][step_rows(example, k, first, length)],
            other.streams[k][step_rows(other, k, source, length)],
        )
        count = min(len(old), len(new))  # streams differ in phase
        old[:count] = new[:count]
        if example.rows:
            values[k][~example.rows[k].present] = 0
    begin_s, end_s = other.grid.to_seconds([source, source + length]).tolist()
    shift_s = float(example.grid.to_seconds(first)) - begin_s
    labels: list[tuple[Segment, ...]] = [(), ()]
    forged = video_record(other.record)
    for k in streams:
        inner = ((max(a, begin_s), min(b, end_s)) for a, b in forged.modality_segments(MODALITIES[k]))
        labels[k] = tuple(Segment(a + shift_s, b + shift_s) for a, b in inner if b > a)
    record = replace(video_record(example.record), audio_segments=labels[0], visual_segments=labels[1])
    return replace(example, record=record, streams=tuple(values))
