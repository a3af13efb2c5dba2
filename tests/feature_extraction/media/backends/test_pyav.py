from __future__ import annotations

import re

import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.media.backends import pyav
from avloc.feature_extraction.media.backends.pyav import decode_packets, seek
from avloc.feature_extraction.media.clock import ClipClock
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import open_container, select_tracks
from avloc.feature_extraction.media.sampling import FrameSampler, SampleCollector
from avloc.feature_extraction.media.types import Span, VideoFormat

GRAY = VideoFormat(48, 64, "gray")


@pytest.fixture
def clip(tmp_path, frames, beep):
    write_mp4(tmp_path / "clip.mp4", frames, beep, crf=1)
    return tmp_path / "clip.mp4"


@pytest.fixture
def damaged(monkeypatch):
    """Lets packets of the picture fail from 0.4 s to before 0.6 s."""
    original = pyav._decode_packet

    def decode_packet(packet, consumer):
        if packet.stream.type == "video" and packet.pts is not None and 0.39 < packet.pts * packet.time_base < 0.59:
            consumer.lose(float(packet.pts * packet.time_base))
            return "damaged"
        return original(packet, consumer)

    monkeypatch.setattr(pyav, "_decode_packet", decode_packet)


def test_each_stream_goes_to_its_consumer(clip):
    problems, frames, samples = [], FrameSampler([GRAY], 25), SampleCollector(16_000)
    with open_container(clip) as container:
        tracks = select_tracks(container)
        consumers = {tracks.picture.index: frames, tracks.sound.index: samples}
        for _ in decode_packets(container, tracks, consumers, ClipClock(container), problems):
            pass
    frames.finish()
    samples.finish()
    assert (frames.steps, samples.count, problems) == (30, pytest.approx(19_200, abs=1024), [])
    assert (frames.damage, samples.damage) == (None, None)


def test_without_consumers_nothing_is_read(clip):
    with open_container(clip) as container:
        assert list(decode_packets(container, select_tracks(container), {}, ClipClock(container), [])) == []


def test_frames_lost_to_damage_are_a_gap_even_if_short(clip, damaged):
    """Five packets in the middle cannot be decoded: 0.2 s."""
    decoded = decode(clip, [GRAY])
    ((start_s, end_s),) = decoded.gaps["visual"]
    assert (start_s, end_s) == pytest.approx((0.4, 0.6), abs=0.05)
    assert decoded.problems[0] == "5 damaged packets were left out (damaged)"


def test_damage_is_told_of_a_span_that_ends_early(clip, damaged):
    assert "5 damaged packets were left out (damaged)" in decode(clip, [GRAY], span=Span(0.2, 0.8)).problems


def test_damage_that_a_decoder_conceals_is_told(tmp_path):
    """Bytes within one of the later packets: the decoder fills the frame from the one before."""
    clip = tmp_path / "noise.mp4"
    write_mp4(clip, np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3)).astype(np.uint8), None)
    with open_container(clip) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20]
    data = bytearray(clip.read_bytes())
    data[position + size // 2 : position + size] = bytes(size - size // 2)
    clip.write_bytes(bytes(data))
    decoded = decode(clip, [GRAY], audio=False)
    assert decoded.video_grid.length == 30
    (problem,) = decoded.problems
    assert re.fullmatch(r"(1 damaged packet was|\d damaged packets were) decoded as far as possible", problem)
    assert decode(clip, [GRAY], audio=False, span=Span(0.0, 0.2)).problems == []


def test_reading_ends_at_an_error(clip, monkeypatch):
    frames, problems = FrameSampler([GRAY], 25), []
    with open_container(clip) as container:
        tracks = select_tracks(container)

        class Failing:
            format = container.format

            def demux(self, *streams):
                yield from list(container.demux(*streams))[:20]
                raise IndexError("stream 7")

        consumers = {tracks.picture.index: frames}
        assert len(list(decode_packets(Failing(), tracks, consumers, ClipClock(container), problems))) > 10
    assert problems == ["reading stopped early (IndexError: stream 7)"]


def test_seeking(clip, cases):
    with open_container(clip) as container:
        seek(container, 1e18)
        seek(container, float(2**40))
    with open_container(cases / "plain.ts") as container:
        seek(container, 5.0)  # read from its beginning: FFmpeg would not find a key frame
        assert next(container.demux(video=0)).dts < 2 * 90_000
    with open_container(cases / "src.mp4") as container:
        seek(container, 8.0)
        assert next(container.demux(video=0)).pts > 0
