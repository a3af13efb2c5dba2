from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


@pytest.fixture
def cases():
    """The folder of files that failed in the field."""
    return Path(__file__).parents[2] / "data" / "cases"


@pytest.fixture
def remux():
    """Copies the packets of a file to another one: `move(kind, seconds)` returns a packet's new time, or None to drop it."""

    def copy(source, path, move, kinds=("video", "audio")):
        with av.open(str(source)) as given, av.open(str(path), "w") as made:
            streams = {s.index: made.add_stream_from_template(s) for s in given.streams if s.type in kinds}
            for packet in given.demux([given.streams[k] for k in streams]):
                if packet.dts is None:
                    continue
                time_s = float(packet.pts * packet.time_base)
                moved_s = move(packet.stream.type, time_s)
                if moved_s is None:
                    continue
                shift = round((moved_s - time_s) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream_index]
                made.mux(packet)
        return path

    return copy


def _encode_tone(container, stream, seconds, at_s):
    """Encode silence with a tone of 1 kHz for 0.1 s."""
    time_s = np.arange(round(seconds * 48_000)) / 48_000
    tone = 16_000 * np.sin(2 * np.pi * 1000 * time_s) * ((time_s >= at_s) & (time_s < at_s + 0.1))
    frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    for part in av.AudioResampler(format=stream.codec_context.format).resample(frame):
        container.mux(stream.encode(part))
    container.mux(stream.encode())


@pytest.fixture
def steady_clip(tmp_path, frames, beep):
    """A clip like that of `write_mp4`, in which packets lie in the order of their frames."""
    path = tmp_path / "steady.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25, options={"bf": "0", "crf": "1"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for image in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(beep[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@pytest.fixture
def mpeg_clip():
    """Writes an MPEG program stream of 1.6 s, with a flash of 0.2 s and a beep of 0.1 s at 1 s."""

    def write(path):
        with av.open(str(path), "w") as container:
            picture = container.add_stream("mpeg2video", rate=25)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            sound = container.add_stream("mp2", rate=48_000, layout="mono")
            for k in range(40):
                image = np.full((48, 64, 3), 200 if 25 <= k < 30 else 40, np.uint8)
                container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(picture.encode())
            _encode_tone(container, sound, 1.6, 1.0)
        return path

    return write


@pytest.fixture
def sound_clip():
    """Writes a sound file of 1.6 s with a beep at 1 s, in the format of its name."""

    def write(path, codec="libmp3lame"):
        with av.open(str(path), "w") as container:
            _encode_tone(container, container.add_stream(codec, rate=48_000, layout="mono"), 1.6, 1.0)
        return path

    return write
