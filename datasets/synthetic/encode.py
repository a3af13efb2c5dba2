"""Frames and samples > an mp4 with H.264 4:2:0 and AAC, the field's usual streams; samples alone > a wav of 16 bits."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.io.files import replacing

TICKS_PER_S = 90_000  # of a picture that starts late; frames of 25, 29.97 and 30 fps last whole ticks


def write_mp4(
    path: Path,
    frames: npt.NDArray[np.uint8] | None,
    samples: npt.NDArray[np.float32] | None,
    *,
    fps: int | Fraction = 25,
    video_start_s: float = 0.0,
    sample_rate: int = 16_000,
    crf: int = 20,
    audio_bit_rate: int = 64_000,
) -> None:
    """Write a clip, atomically.

    The same frames and samples give the same bytes. The first sample is at time 0.

    Args:
        path: the file; its folder is created.
        frames: (T, H, W, 3) uint8 RGB with even sides, or None for a clip without video.
        samples: (N,) or (channels, N) float32 in [-1, 1], or None for a clip without audio.
        fps: frames per second.
        video_start_s: time of the first frame, not before the first sample, rounded to 1 / `TICKS_PER_S`.
        sample_rate: samples per second.
        crf: x264's quality, lower is better.
        audio_bit_rate: bits per second.
    """
    import av

    if video_start_s < 0:
        raise ValueError(f"video_start_s must not be negative, got {video_start_s}")
    options = {"video_track_timescale": str(TICKS_PER_S)} if video_start_s else {}
    with replacing(path) as temporary, av.open(str(temporary), "w", options=options) as container:
        video = audio = None
        if frames is not None:
            # For equal bytes: x264's result depends on the number of threads, and without its cpu-independent paths
            # even varies from run to run.
            x264 = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": "cpu-independent=1"}
            video = container.add_stream("libx264", rate=fps, options=x264)
            video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            if video_start_s:
                video.codec_context.time_base = Fraction(1, TICKS_PER_S)
        if samples is not None:
            samples = np.atleast_2d(samples)
            layout = "mono" if len(samples) == 1 else "stereo"
            audio = container.add_stream("aac", rate=sample_rate, layout=layout)
            audio.bit_rate = audio_bit_rate
        if video is not None and frames is not None:
            for k, image in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                if video_start_s:
                    picture.pts = round((Fraction(video_start_s) + k / Fraction(fps)) * TICKS_PER_S)
                    picture.time_base = Fraction(1, TICKS_PER_S)
                container.mux(video.encode(picture))
            container.mux(video.encode())
        if audio is not None and samples is not None:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
            container.mux(audio.encode(frame))
            container.mux(audio.encode())


def write_wav(path: Path, samples: npt.NDArray[np.float32], sample_rate: int) -> None:
    """Write samples (N,) in [-1, 1] to a .wav file of 16 bits, atomically; its folder is created."""
    import soundfile  # type: ignore[import-untyped]

    with replacing(path) as temporary, temporary.open("wb") as file:
        soundfile.write(file, samples, sample_rate, subtype="PCM_16", format="WAV")
