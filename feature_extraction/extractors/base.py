"""The base of all extractors: a small class that declares its timing and turns one stream of a clip into a row per step."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import STORED_DTYPES, ExtractorDescription
from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.names import EXTRACTORS, factory_name
from avloc.feature_extraction.extractors.windows import StreamWindow, WindowCutter
from avloc.feature_extraction.media.types import Clip, VideoFormat

Stream = npt.NDArray[Any]
"""Frames (N, H, W[, 3]) in the extractor's format, or samples (N,) float32; never empty."""
FeatureArray = npt.NDArray[Any]
"""(T, dim), a row per step: float32, or the whole numbers of an extractor that stores such."""
Parameters = dict[str, object]
"""Arguments of a constructor by name."""


@dataclass(frozen=True, slots=True, repr=False)
class Features:
    """The features of one clip and modality, with their clock.

    Attributes:
        values: (T, dim) float32, or the whole numbers of an extractor that stores such; T = 0 if the clip lacks the stream.
        grid: the clock, of T steps.
        gaps: (first, end) pairs of rows for which nothing was decoded.

    Raises:
        ValueError: if the number of rows differs from the number of steps.

    >>> Features(np.zeros((2, 3), np.float32), TimeGrid(0.0, 0.04, 2)).grid.end_s
    0.08
    """

    values: FeatureArray
    grid: TimeGrid
    gaps: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        return f"Features({self.values.shape} {self.values.dtype} on {self.grid})"

    def __post_init__(self) -> None:
        if len(self.values) != self.grid.length:
            raise ValueError(f"features must have a row per step, got {len(self.values)} and {self.grid.length} steps")

    def present_on(self, grid: TimeGrid) -> npt.NDArray[np.bool_]:
        """Mark the steps of a clock in whose middle there are rows, and not those of a gap: (grid.length,)."""
        present = grid.inside(self.grid) & (self.grid.length > 0)
        for first, end in self.gaps:
            present &= ~grid.inside(self.grid.part(first, end))
        return present


def no_features(description: ExtractorDescription) -> Features:
    """The features of a clip without the extractor's stream: (0, dim)."""
    values = np.zeros((0, description.dim), working_dtype(description.dtype))
    return Features(values, TimeGrid(0.0, description.hop_s, 0))


def working_dtype(stored: str) -> np.dtype[Any]:
    """The type of rows in memory, by their type in a store: float32 for float16; whole numbers stay as they are."""
    return np.dtype("float32" if stored == "float16" else stored)


def gap_rows(gaps: Iterable[Segment], grid: TimeGrid) -> tuple[tuple[int, int], ...]:
    """Find the rows whose middle lies in a gap.

    Args:
        gaps: spans in which nothing was decoded, ascending.
        grid: the rows' clock.

    Returns:
        (first, end) pairs of rows, ascending, none empty.

    >>> gap_rows([Segment(0.13, 0.22), Segment(0.25, 9.0)], TimeGrid(0.1, 0.04, 5))
    ((1, 3), (4, 5))
    """
    pairs = []
    for gap in gaps:
        # The middle of row k is k + ½ steps from the start.
        first, end = (
            np.ceil(grid.to_steps([gap.start_s, gap.end_s]) - 0.5 - 1e-6).clip(0, grid.length).astype(int).tolist()
        )
        if first < end:
            pairs.append((first, end))
    return tuple(pairs)


def gaps_inside(gaps: Iterable[tuple[int, int]], rows: int) -> tuple[tuple[int, int], ...]:
    """Cut (first, end) pairs of rows to those of a clip; empty ones are left out.

    >>> gaps_inside([(2, 4), (6, 1000), (9, 12)], 7)
    ((2, 4), (6, 7))
    """
    inside = ((max(0, first), min(end, rows)) for first, end in gaps)
    return tuple((first, end) for first, end in inside if first < end)


class Extractor(ABC):
    """Decoded clip > features. The results depend on the clip alone, never on others in a batch.

    A subclass declares the attributes and implements `rows`; with a picture as input, also `video_format`.

    Attributes:
        name: the name in the store, and on the command line.
        version: raised when the numbers change.
        modality: `audio` or `visual`.
        hop_s: seconds per row; a whole number of frames or samples.
        start_offset_s: start of the first row, relative to the stream's own start: row k covers
            [start + k·hop, start + (k+1)·hop) of the clip.
        dim: numbers per row.
        layers: layers of a network that lie side by side in a row, each of dim / layers numbers.
        receptive_field_s: seconds that a row sees, centred on its step.
        window_s: a longer stream is extracted in windows of this length.
        dtype: type of the numbers in a store: `float16`; or `int16`, `uint8` for whole numbers, which `rows` then returns.
        decoder: the only decoder of the picture whose frames it takes, known after `load`; None: any.
        runs_network: true if a network does the work, which gains from a device and from several clips at once.
        shares_crop: true if `avloc extract --crop` may set the constructor's argument `crop`; false if it is set by name alone,
            because a common crop would change what the rows mean: one that follows the face hides its motion.

    >>> class Peak(Extractor):
    ...     name, modality, hop_s, dim, receptive_field_s = "peak", "audio", 0.01, 1, 0.01
    ...
    ...     def rows(self, streams):
    ...         return [np.abs(samples.reshape(-1, 160)).max(axis=1, keepdims=True) for samples in streams]
    >>> clip = Clip(Path("clip.mp4"), fps=25, sample_rate=16_000, samples=np.repeat(np.float32([0, 0.5]), 160))
    >>> Peak().extract(clip).values.tolist()
    [[0.0], [0.5]]
    """

    name: str
    version: int = 1
    modality: str
    hop_s: float
    start_offset_s: float = 0.0
    dim: int
    layers: int = 1
    receptive_field_s: float
    window_s: float = 30.0
    dtype: str = "float16"
    decoder: str | None = None
    runs_network: bool = False
    shares_crop: bool = True

    @property
    def video_format(self) -> VideoFormat | None:
        """The format of the frames to decode; None for an audio extractor."""
        return None

    @property
    def context_s(self) -> float:
        """Seconds at each inner end of a window whose rows are left to the neighbouring window; whole hops."""
        return (math.ceil(self.receptive_field_s / 2 / self.hop_s - 1e-6) + 1) * self.hop_s

    def parameters(self) -> Parameters:
        """The constructor's arguments that change the numbers; a store remembers them."""
        return {}

    def load(self) -> None:  # noqa: B027 - most have nothing to load
        """Load the weights now instead of on first use.

        Raises:
            AvlocError: if the weights cannot be used.
        """

    def weights_sha256(self) -> str | None:
        """The SHA-256 of the weights' file; None without weights."""
        return None

    @abstractmethod
    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        """Compute the rows of several streams, none longer than a window.

        Batching is for speed only: the rows of a stream are the same as if it came alone.
        """

    def select_stream(self, clip: Clip) -> Stream | None:
        """The stream of a clip, or of a part of one, that this extractor reads; None if the clip lacks it."""
        return clip.samples if self.video_format is None else clip.frames.get(self.video_format)

    def stream_gaps(self, clip: Clip) -> list[Segment]:
        """The gaps of that stream, which are shared by all parts of a clip."""
        return clip.gaps["audio" if self.video_format is None else "visual"]

    def first_row_start_s(self, clip: Clip) -> float:
        """The start of the first row of a clip, or of a part of one, in seconds."""
        return (clip.audio_start_s if self.video_format is None else clip.video_start_s) + self.start_offset_s

    def window_cutter(self) -> WindowCutter:
        """A new cutter of one clip's stream into windows of `window_s` that overlap by twice `context_s`."""
        per_second = DEFAULT_SAMPLE_RATE if self.video_format is None else DEFAULT_FPS
        context = round(self.context_s / self.hop_s)
        rows = max(round(self.window_s / self.hop_s), 2 * context + 1)
        return WindowCutter(round(self.hop_s * per_second), rows, context)

    def window_rows(self, window: StreamWindow) -> FeatureArray:
        """The rows of a window that are kept.

        Raises:
            AvlocError: if `rows` does not return one array per stream, or a number of rows that does not fit to `hop_s`.
        """
        arrays = self.rows([window.data])
        if len(arrays) != 1:
            raise AvlocError(f"{self.name}: rows must return one array per stream, got {len(arrays)} for 1")
        check_row_count(self, window.data, arrays[0])
        return arrays[0][window.low : window.high]

    def extract(self, clip: Clip) -> Features:
        """The features of a whole clip in memory; without the modality's stream, T = 0."""
        stream = self.select_stream(clip)
        if stream is None or not len(stream):
            return self.empty_features()
        cutter = self.window_cutter()
        windows = [*cutter.push(stream), *cutter.finish()]
        values = np.concatenate([self.window_rows(window) for window in windows])
        grid = TimeGrid(self.first_row_start_s(clip), self.hop_s, len(values))
        return Features(values, grid, gap_rows(self.stream_gaps(clip), grid))

    def describe(self) -> ExtractorDescription:
        """Everything that tells two extractors apart, for a store and a checkpoint.

        The class of an extractor that is neither built in nor a plug-in is recorded by its dotted path, as information for
        people: nothing is ever imported because a file names it.
        """
        factory = factory_name(type(self))
        return ExtractorDescription(
            name=self.name,
            modality=self.modality,
            hop_s=self.hop_s,
            dim=self.dim,
            version=self.version,
            parameters=self.parameters(),
            weights_sha256=self.weights_sha256(),
            start_offset_s=self.start_offset_s,
            layers=self.layers,
            dtype=self.dtype,
            receptive_field_s=self.receptive_field_s,
            window_s=self.window_s,
            factory=None if factory == self.name else factory,
        )

    def empty_features(self) -> Features:
        """The features of a clip without this modality."""
        return Features(np.zeros((0, self.dim), working_dtype(self.dtype)), TimeGrid(0.0, self.hop_s, 0))


def check_extractor(extractor: Extractor) -> Extractor:
    """Return an extractor whose declared attributes fulfil the contract.

    Raises:
        AvlocError: naming the class, the attribute, the expected value, and the value that it has.
    """
    path = f"{type(extractor).__module__}.{type(extractor).__qualname__}"
    checks: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "name": ("a name of letters, digits and _ . + -", lambda v: bool(re.fullmatch(r"\w[\w.+-]*", v))),
        "modality": (" or ".join(MODALITIES), lambda v: v in MODALITIES),
        "hop_s": ("seconds above 0", lambda v: 0 < v < math.inf),
        "dim": ("a whole number of at least 1", lambda v: v >= 1 and v == int(v)),
        "dtype": (" or ".join(STORED_DTYPES), lambda v: v in STORED_DTYPES),
        "receptive_field_s": ("seconds of at least 0", lambda v: 0 <= v < math.inf),
    }
    for attribute, (expected, fulfils) in checks.items():
        try:
            value = getattr(extractor, attribute)
            fine = fulfils(value)
        except AttributeError as error:
            raise AvlocError(f"{path}: an extractor must declare {attribute}, {expected}") from error
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise AvlocError(f"{path}: an extractor's {attribute} must be {expected}, got {value!r}")
    built_in = extractor.name in EXTRACTORS and EXTRACTORS[extractor.name] != path
    if built_in:
        raise AvlocError(f"{path}: {extractor.name!r} is the name of an extractor of avloc; choose another name")
    return extractor


def check_row_count(extractor: Extractor, stream: Stream, rows: FeatureArray) -> None:
    """Check the number of rows of a stream: with a wrong `hop_s`, everything later lies at wrong times.

    Short streams may lose the rows that their receptive field does not fill; so only a factor of two counts.

    Raises:
        AvlocError: if they are far too few or too many.
    """
    seconds = len(stream) / (DEFAULT_SAMPLE_RATE if extractor.video_format is None else DEFAULT_FPS)
    fewest = (seconds - extractor.receptive_field_s) / extractor.hop_s
    most = seconds / extractor.hop_s
    if not fewest / 2 - 2 <= len(rows) <= 2 * most + 2:
        raise AvlocError(
            f"{extractor.name}: gave {len(rows)} rows for {seconds:.2f} s, want about {most:.0f} at its hop_s of "
            f"{extractor.hop_s:g} s; correct hop_s, or the rows"
        )


def check_rows(path: str | Path, extractor: Extractor, rows: FeatureArray) -> None:
    """Check the features of a file.

    Raises:
        AvlocError: if they are not (T, dim) numbers, or one is NaN or infinite.
    """
    shape = np.shape(rows)
    if len(shape) != 2 or shape[1] != extractor.dim:
        raise AvlocError(f"{path}: {extractor.name} must give rows of shape (T, {extractor.dim}), got {shape}")
    if not np.isfinite(rows).all():
        raise AvlocError(f"{path}: {extractor.name} gave features that are not finite numbers")
