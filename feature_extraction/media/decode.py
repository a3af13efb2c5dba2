"""Decoding: a media file > frames and samples on a clock that starts with the file.

Frames come at a fixed rate (by default 25 per second) whatever the file's own: frame k is the one shown at the middle of step k.
Decoding goes packet by packet, so everything readable is recovered from a damaged file. `stream` yields a clip in parts, in flat
memory for any length; `decode` returns it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, Segment
from avloc.errors import MediaError
from avloc.feature_extraction.media.backends.decord import decord_frames
from avloc.feature_extraction.media.backends.pyav import Consumer, decode_packets, seek
from avloc.feature_extraction.media.clock import ClipClock, has_reliable_header, header_end_s, header_start_s
from avloc.feature_extraction.media.completeness import claimed_ends_s, describe_shortfalls
from avloc.feature_extraction.media.limits import bound_decoder, check_length, check_picture
from avloc.feature_extraction.media.probe import (
    Tracks,
    media_errors,
    open_container,
    probe,
    select_tracks,
)
from avloc.feature_extraction.media.sampling import PART_S, FrameSampler, SampleCollector, clip_parts
from avloc.feature_extraction.media.types import UNDECODED, WHOLE, Clip, ImageArray, MediaInfo, Span, VideoFormat

# `decode` keeps all raw frames of a clip in memory, so their size is bounded before memory is taken.
MAX_DECODED_BYTES = 8 << 30
BACKENDS = ("pyav", "decord")


LISTED_GAPS = 3


def stream(
    path: str | Path,
    formats: Iterable[VideoFormat] = (),
    *,
    audio: bool = True,
    fps: float = DEFAULT_FPS,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    backend: str = "pyav",
    part_s: float = PART_S,
    span: Span = WHOLE,
    pulse: Callable[[], object] | None = None,
) -> Iterator[Clip]:
    """Decode a clip in one pass, in consecutive parts, each of frames or of sound.

    Args:
        path: the file.
        formats: the picture formats; without any, the picture is not decoded.
        audio: decode the sound.
        fps: frames per second of the result.
        sample_rate: samples per second of the result.
        backend: the decoder of the picture, `pyav` or `decord`. The sound is always PyAV's (decord's audio reader leaks).
        part_s: seconds per part; only the last part of each stream is shorter.
        span: the part of the file to decode; times stay those of the file.
        pulse: called during the decoding, to show that this process is alive: a file that cannot be sought gives no part before
            the span's start.

    Yields:
        Parts, and an empty one at the end. All share their `problems`, `gaps` and `failures`, which are complete with the last
        part.

    Raises:
        MediaError: if nothing at all could be decoded, or the clip is above a limit (`Span.longest_s`, `limits.MOST_PIXELS`), by
            its header or while it is decoded. A missing stream is a problem of the clip and no error as long as the
            file has another stream, because sound may be requested alone.
    """
    if backend not in BACKENDS:
        raise MediaError(f"the decoding backend must be {' or '.join(BACKENDS)}, got {backend!r}")
    path = Path(path)
    whole = Clip(path=path, fps=fps, sample_rate=sample_rate)
    with media_errors(path):
        with open_container(path) as container:
            decoding = _Decoding(
                container, whole, tuple(dict.fromkeys(formats)), audio=audio, part_s=part_s, span=span, pulse=pulse
            )
            yield from decoding.decode_packets(picture=backend == "pyav")
        if backend == "decord":
            yield from decoding.decode_with_decord()
        yield from decoding.finish()
        yield whole


class _Decoding:
    """The state of one `stream`: the file's selected streams, and the frames and samples on their way to parts.

    Args:
        container: the open file.
        whole: the clip without its content; a requested stream that is missing is added to its problems.
        formats: the picture formats.
        audio: decode the sound.
        part_s: seconds per part.
        span: the part of the file to decode.
        pulse: called with each packet, and with each of decord's frames.
    """

    def __init__(
        self,
        container: Any,
        whole: Clip,
        formats: tuple[VideoFormat, ...],
        *,
        audio: bool,
        part_s: float,
        span: Span,
        pulse: Callable[[], object] | None = None,
    ) -> None:
        self.container, self.whole, self.span = container, whole, span
        self.pulse: Callable[[], object] = pulse or (lambda: None)
        self.clock, self.tracks = ClipClock(container), select_tracks(container, span.audio_track)
        self.picture = self.tracks.picture if formats else None
        self.sound = self.tracks.sound if audio else None
        self.end_s = header_end_s(container) if has_reliable_header(container) else 0.0
        start_s = header_start_s(container)
        whole.claimed_s = WHOLE.overlap_s(start_s, self.end_s)
        check_length(whole.path, span.overlap_s(start_s, self.end_s), span.longest_s)
        if self.picture is not None:
            check_picture(whole.path, self.picture.width or 0, self.picture.height or 0)
            bound_decoder(self.picture)
        self.claimed_ends_s = claimed_ends_s(container, {"visual": self.picture, "audio": self.sound})
        _note_missing(whole, self.tracks, {"visual": bool(formats), "audio": audio})
        selected_count = (self.picture is not None) + (self.sound is not None)
        self.has_other_streams = len(container.streams.video) + len(container.streams.audio) > selected_count
        picture_end_s = self.claimed_ends_s.get("visual", 0.0)
        self.frames = FrameSampler(formats, whole.fps, self.end_s, span.start_s, span.end_s, picture_end_s)
        self.samples = SampleCollector(whole.sample_rate, span.start_s, span.end_s)
        whole.gaps = {"audio": self.samples.gaps, "visual": self.frames.gaps}
        self.frames_per_part = max(1, round(part_s * whole.fps))
        self.samples_per_part = max(1, round(part_s * whole.sample_rate))

    def decode_packets(self, *, picture: bool) -> Iterator[Clip]:
        """Decode the sound and, with `picture`, the frames by PyAV, up to the span's end; yield the completed parts."""
        consumers: dict[int, Consumer] = {}
        if picture and self.picture is not None:
            consumers[self.picture.index] = self.frames
        if self.sound is not None:
            consumers[self.sound.index] = self.samples
        seek(self.container, self.span.start_s)
        for _ in decode_packets(self.container, self.tracks, consumers, self.clock, self.whole.problems):
            self.pulse()
            self._check_length()
            frames, samples = self.frames.take(self.frames_per_part), self.samples.take(self.samples_per_part)
            yield from clip_parts(self.whole, frames, samples)
            if all(consumer.ended for consumer in consumers.values()):
                break

    def _check_length(self) -> None:
        """Raise once more than the limit is decoded: the header may claim less, or nothing."""
        seconds = max(self.frames.steps / self.whole.fps, self.samples.count / self.whole.sample_rate)
        check_length(self.whole.path, seconds, self.span.longest_s)

    def decode_with_decord(self) -> Iterator[Clip]:
        """Decode the frames by decord, up to the span's end; yield the completed parts."""
        if self.picture is None:
            return
        frames, problems = self.frames, self.whole.problems
        first = len(problems)
        for frame in decord_frames(self.whole.path, frames.formats, problems, frames.reformatters):
            frames.push(frame.time_s, frame.images, frame.duration_s, frame.picture)
            if frames.ended:
                break
            self.pulse()
            self._check_length()
            yield from clip_parts(self.whole, frames.take(self.frames_per_part), ())
        frames.damage = next(iter(problems[first:]), None)

    def finish(self) -> Iterator[Clip]:
        """Yield the last parts.

        Raises:
            MediaError: if nothing could be decoded.
        """
        frames, samples, whole = self.frames, self.samples, self.whole
        frames.finish()
        samples.finish()
        last_frames, last_samples = frames.take_rest(self.frames_per_part), samples.take_rest(self.samples_per_part)
        yield from clip_parts(whole, last_frames, last_samples)
        whole.problems += self.clock.problems()
        results = (
            ("visual", self.picture, frames.steps, frames.gaps, frames.damage),
            ("audio", self.sound, samples.count, samples.gaps, samples.damage),
        )
        for modality, selected, count, gaps, damage in results:
            if selected is not None and not count:
                whole.problems.append(UNDECODED[modality])
                whole.failures[modality] = whole.problems[-1] + (f" ({damage})" if damage else "")
            whole.problems += _describe_gaps(modality, gaps)
        ends_s = {
            "visual": (frames.start_s, frames.steps / whole.fps),
            "audio": (samples.start_s, samples.count / whole.sample_rate),
        }
        decoded_s = {
            m: start_s + length_s for m, (start_s, length_s) in ends_s.items() if start_s is not None and length_s
        }
        whole.problems += describe_shortfalls(self.claimed_ends_s, decoded_s, self.span.end_s)
        nothing_selected = self.picture is None and self.sound is None
        if not frames.steps and not samples.count and not (nothing_selected and self.has_other_streams):
            if 0 < self.end_s <= self.span.start_s:
                raise MediaError(
                    f"{whole.path}: the start at {self.span.start_s:g} s is past the clip's end at {self.end_s:.2f} s"
                )
            reason = "; ".join(whole.problems) or "neither picture nor sound was requested"
            raise MediaError(f"{whole.path}: nothing could be decoded ({reason})")


def _note_missing(whole: Clip, tracks: Tracks, requested: dict[str, bool]) -> None:
    """Add the requested streams that are missing, or cannot be decoded, to a clip's problems."""
    selected = {"visual": tracks.picture, "audio": tracks.sound}
    for modality, kind in (("visual", "video"), ("audio", "audio")):
        if not requested[modality] or selected[modality] is not None:
            continue
        if modality in tracks.failures:
            whole.failures[modality] = tracks.failures[modality]
        whole.problems.append(tracks.failures.get(modality, f"no {kind} stream"))


def _describe_gaps(modality: str, gaps: Sequence[Segment]) -> list[str]:
    """Describe gaps for people: one by one, or their number and sum if they are many."""
    if len(gaps) > LISTED_GAPS:
        total_s = sum(gap.duration_s for gap in gaps)
        return [f"{UNDECODED[modality]} in {len(gaps)} gaps, {total_s:.2f} s in all"]
    return [f"{UNDECODED[modality]} from {gap.start_s:.2f} to {gap.end_s:.2f} s" for gap in gaps]


def decode(
    path: str | Path,
    formats: Iterable[VideoFormat] = (),
    *,
    audio: bool = True,
    fps: float = DEFAULT_FPS,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    backend: str = "pyav",
    span: Span = WHOLE,
    info: MediaInfo | None = None,
    pulse: Callable[[], object] | None = None,
) -> Clip:
    """Decode a clip as a whole: the parts of `stream`, joined.

    Args:
        path: the file.
        formats: see `stream`.
        audio: see `stream`.
        fps: see `stream`.
        sample_rate: see `stream`.
        backend: see `stream`.
        span: see `stream`.
        info: the file's header, if it has been probed; otherwise it is read to check the size of the frames.
        pulse: see `stream`.

    Raises:
        MediaError: as `stream`, and if the frames would take more than `MAX_DECODED_BYTES`.
    """
    formats = tuple(dict.fromkeys(formats))
    clip = Clip(path=Path(path), fps=fps, sample_rate=sample_rate)
    frames: dict[VideoFormat, list[ImageArray]] = {f: [] for f in formats}
    samples: list[npt.NDArray[np.float32]] = []
    step_bytes, steps = sum(f.frame_bytes for f in formats), 0
    if formats:
        check_fits(path, formats, span, fps=fps, info=probe(path, pulse) if info is None else info)
    parts = stream(
        path, formats, audio=audio, fps=fps, sample_rate=sample_rate, backend=backend, span=span, pulse=pulse
    )
    for part in parts:
        clip.problems, clip.gaps, clip.failures = part.problems, part.gaps, part.failures
        clip.claimed_s = part.claimed_s
        if part.frames:
            clip.video_start_s = clip.video_start_s if steps else part.video_start_s
            clip.faceless_frames += part.faceless_frames
            steps += part.video_grid.length
            _check_size(clip.path, steps * step_bytes)  # the header may understate the duration
            for f, images in part.frames.items():
                frames[f].append(images)
        if part.samples is not None:
            clip.audio_start_s = clip.audio_start_s if samples else part.audio_start_s
            samples.append(part.samples)
    clip.frames = {f: np.concatenate(images) for f, images in frames.items()} if steps else {}
    clip.samples = np.concatenate(samples) if samples else None
    return clip


def check_fits(
    path: str | Path,
    formats: Iterable[VideoFormat],
    span: Span = WHOLE,
    *,
    fps: float = DEFAULT_FPS,
    info: MediaInfo | None = None,
) -> None:
    """Check that a clip's frames fit into memory at once, as far as its header tells.

    Args:
        path: the file.
        formats: the picture formats.
        span: the part of the file.
        fps: frames per second.
        info: the file's header, if it has been probed; otherwise the file is opened to read it.

    Raises:
        MediaError: if they would take more than `MAX_DECODED_BYTES`.
    """
    info = probe(path) if info is None else info
    _check_size(Path(path), info.seconds_in(span) * fps * sum(f.frame_bytes for f in formats))


def _check_size(path: Path, size: float) -> None:
    if size > MAX_DECODED_BYTES:
        raise MediaError(f"{path}: its frames would take {size / 2**30:.0f} GiB at once, cut it into parts")
