from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.media import decode as media
from avloc.feature_extraction.media.arrays import ClipArrays
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import Span
from avloc.inference import windowed_network as inference
from avloc.inference.localizer import Localizer
from avloc.inference.sources.base import Request, read_whole
from avloc.inference.sources.clip import ClipSource
from avloc.inference.sources.feature import FeatureSource
from avloc.inference.streaming import RowBuffer, Track, Windowing
from avloc.models import BATFD, BoundaryTransformer

LENGTH = 233  # frames: 9.32 s
SMALL = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (4, 3), "samples": 4}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of noise of both kinds, and ones with less."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (LENGTH, 12, 16, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    samples = random.normal(0, 0.1, LENGTH * 640 + 3000).astype(np.float32)
    write_mp4(folder / "both.mp4", frames, samples)
    write_mp4(folder / "silent.mp4", frames, None)
    write_mp4(folder / "blind.mp4", None, samples)
    write_mp4(folder / "short_sound.mp4", frames, samples[:50_000])
    return folder


@pytest.fixture(scope="module")
def on_features():
    torch.manual_seed(0)
    extractors = [build_extractor(name, {}) for name in ("logspec", "residual_grid")]
    model = BoundaryTransformer(audio_dim=513, visual_dim=320, width=12, heads=3, levels=2)
    return Localizer(model, FeatureSource([e.describe() for e in extractors], 0.04))


@pytest.fixture(scope="module")
def on_rows():
    """On features at their own rate."""
    torch.manual_seed(0)
    extractors = [build_extractor(name, {}) for name in ("logspec", "residual_grid")]
    rates = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 1.0}
    model = BoundaryTransformer(
        audio_dim=513, visual_dim=320, width=12, heads=3, levels=2, audio_spectral_channels=2, **rates
    )
    return Localizer(model, FeatureSource([e.describe() for e in extractors], 0.04, native_rate=True))


@pytest.fixture(scope="module")
def on_clips():
    torch.manual_seed(0)
    return Localizer(BATFD(**SMALL, frames=50, durations=9), ClipSource(50, "pad"))


@pytest.mark.parametrize("name", ["both", "silent", "blind", "short_sound"])
@pytest.mark.parametrize("kind", ["features", "rows", "clips"])
def test_streamed_windows_equal_those_of_the_whole_clip(clips, on_features, on_rows, on_clips, kind, name, monkeypatch):
    """In windows as they are decoded, whatever parts they come in, as the whole clip cut into windows."""
    monkeypatch.setattr(inference, "WINDOW_S", 2.6)
    monkeypatch.setitem(media.stream.__kwdefaults__, "part_s", 0.7)
    localizer = {"features": on_features, "rows": on_rows, "clips": on_clips}[kind]
    reported = []
    streamed = localizer.localize(clips / f"{name}.mp4", progress=reported.append)
    (whole,) = localizer.run([read_whole(localizer.source, clips / f"{name}.mp4")])
    assert streamed.grid == whole.grid
    np.testing.assert_allclose(streamed.fakeness, whole.fakeness, atol=1e-5)
    np.testing.assert_allclose(streamed.proposals.segments[:30], whole.proposals.segments[:30], atol=1e-4)
    np.testing.assert_allclose(streamed.proposals.scores, whole.proposals.scores, atol=1e-5)
    assert len(reported) > 3
    assert reported == sorted(reported)
    assert reported[-1] == pytest.approx(streamed.grid.end_s)
    expected = {"silent": ("no audio stream",), "blind": ("no video stream",)}.get(name, ())
    assert streamed.problems == expected
    assert (streamed.decoded_s["audio"] is None) == (name == "silent")
    assert (streamed.decoded_s["visual"] is None) == (name == "blind")


def test_buffers_stay_bounded(clips, on_features, monkeypatch):
    monkeypatch.setattr(inference, "WINDOW_S", 1.0)
    monkeypatch.setattr("avloc.feature_extraction.extractors.base.Extractor.window_s", 1.0)
    buffered = []
    source = on_features.source
    tracks, windows = source.open(clips / "both.mp4", Windowing(25, 6), Request())
    for _ in windows:
        buffered.append(
            max(sum(len(part) for part in consumer._parts) * consumer.hop_s for t in tracks for consumer in t.consumers)
        )
    assert len(buffered) == 13
    assert max(buffered) < 9  # the parts of a decoder are of 4 s
    assert max(buffered[6:]) <= max(buffered[:6]) + 1


def test_span_keeps_the_times_of_the_file(clips, on_features):
    whole = decode(clips / "both.mp4", [])
    part = decode(clips / "both.mp4", [], span=Span(3.3, 5.0))
    assert part.audio_start_s == 3.3
    np.testing.assert_allclose(part.samples, whole.samples[52_800:80_000], atol=2e-3)
    localization = on_features.localize(clips / "both.mp4", span=Span(3.3, 5.0))
    assert localization.grid.start_s == 3.3
    assert localization.duration_s == pytest.approx(5.0)
    assert localization.proposals.segments.min() >= 3.3
    assert localization.proposals.segments.max() <= 5.0 + 1e-9
    assert localization.decoded_s == {"audio": (3.3, 5.0), "visual": (3.3, pytest.approx(5.0, abs=0.05))}


@pytest.mark.parametrize("start", [0.0, 0.02, 4.57, 9.2])
def test_frames_of_a_span(clips, on_features, start):
    shape = on_features.source.extractors()[1].video_format
    whole = decode(clips / "both.mp4", [shape], audio=False).frames[shape]
    part = decode(clips / "both.mp4", [shape], audio=False, span=Span(start, start + 1.0))
    count = round(min(1.0, 9.32 - start) * 25)
    assert abs(len(part.frames[shape]) - count) <= 1
    first = int((start + 0.02) * 25 + 1e-6)  # what is shown at the middle of the first step
    np.testing.assert_array_equal(part.frames[shape][:3], whole[first : first + 3])


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (Span(2.0, 2.0), "want 0 ≤ start < end, got 2 and 2 s"),
        (Span(-1.0), "want 0 ≤ start < end, got -1 and inf s"),
        (Span(50.0), "the start at 50 s is past the clip's end at 9.51 s"),
        (Span(audio_track=3), r"both.mp4: has no audio track 3, it has 1 \(numbered from 0\)"),
        (Span(audio_track=-1), "has no audio track -1"),
    ],
)
def test_span_outside_the_file_is_refused(clips, on_features, span, message):
    with pytest.raises(MediaError, match=message):
        on_features.localize(clips / "both.mp4", span=span)


def test_one_of_several_audio_tracks(tmp_path):
    path = tmp_path / "tracks.mkv"
    tones = [np.sin(np.arange(16_000) * 2 * np.pi * f / 16_000).astype(np.float32) * 0.5 for f in (300, 900)]
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in tones]
        for stream, tone in zip(streams, tones, strict=True):
            frame = av.AudioFrame.from_ndarray((tone[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    for track, tone in enumerate(tones):
        localization = decode(path, [], span=Span(audio_track=track)).samples
        np.testing.assert_allclose(localization, tone, atol=1e-3)


def test_arrays_are_clips(on_features):
    random = np.random.default_rng(1)
    frames = random.integers(0, 255, (61, 40, 50, 3)).astype(np.uint8)
    samples = random.normal(0, 0.1, (2, 44_100)).astype(np.float32)
    localization = on_features.localize(ClipArrays(frames, samples, fps=30, sample_rate=22_050, name="mine"))
    assert localization.file == "mine"
    assert localization.decoded_s["visual"] == (0.0, pytest.approx(61 / 30, abs=0.04))
    assert localization.decoded_s["audio"] == (0.0, pytest.approx(2.0, abs=0.01))
    assert not np.isnan(localization.fakeness[:50]).any()
    with pytest.raises(MediaError, match="mine: a span is for files"):
        on_features.localize(ClipArrays(frames, name="mine"), span=Span(1.0, 2.0))
    alone = on_features.localize(ClipArrays(None, samples[0]))
    assert alone.problems == ("no video stream",)
    assert np.isnan(alone.fakeness[:, 1]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None), "has neither frames nor samples"),
        ((np.zeros((3, 4, 5), np.uint8),), r"frames must be \(T, H, W, 3\) uint8, got \(3, 4, 5\) uint8"),
        ((np.zeros((3, 4, 5, 3)),), "uint8, got .* float64"),
        ((None, np.zeros(5, np.int16)), r"samples must be \(N,\) or \(channels, N\) of floats, got \(5,\) int16"),
        ((None, np.zeros(5), 0.0), "want fps and sample_rate > 0, got 0 and 16000"),
    ],
)
def test_wrong_arrays_are_refused(arguments, message):
    with pytest.raises(MediaError, match=message):
        ClipArrays(*arguments)


def test_row_buffer_by_hand():
    buffered = RowBuffer(0.5)
    assert buffered.between(0, 9)[0].size == 0
    buffered.start_s = 1.0
    buffered.add(np.arange(3))
    buffered.add(np.arange(3, 7))
    assert buffered.end_s == 4.5
    rows, start_s = buffered.between(1.7, 3.0)
    assert (rows.tolist(), start_s) == ([1, 2, 3], 1.5)
    assert buffered.between(0, 99)[0].tolist() == list(range(7))
    buffered.drop_before(3.1)  # row 4 begins at 3.0; the one before it is kept to interpolate from
    assert buffered.between(0, 99) == (pytest.approx(np.arange(3, 7)), 2.5)
    buffered.drop_before(99)
    assert buffered.end_s == 4.5


def test_clip_without_decodable_streams_is_an_error(tmp_path):
    track = Track(iter(()), [])
    track.decode_until(1.0)
    assert track.ended
    (tmp_path / "x.mp4").write_bytes(b"no media")
    localizer = Localizer(BATFD(**SMALL, frames=50, durations=9), ClipSource(50, "pad"))
    with pytest.raises(MediaError, match=r"x\.mp4: cannot be opened as media"):
        localizer.localize(tmp_path / "x.mp4")
    with pytest.raises(MediaError, match="no such file"):
        localizer.localize(tmp_path / "y.mp4")


def late(source, path, video_s, audio_s):
    """The same packets with other times of the picture and of the sound."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        streams = {s.index: made.add_stream_from_template(s) for s in given.streams}
        shift = {s.index: video_s if s.type == "video" else audio_s for s in given.streams}
        for packet in given.demux():
            if packet.dts is None:
                continue
            by = round(shift[packet.stream.index] / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + by, packet.dts + by, streams[packet.stream.index]
            made.mux(packet)


def test_gap_between_video_and_audio(clips, on_clips, tmp_path):
    late(clips / "short_sound.mp4", tmp_path / "gap.mkv", 0.0, 14.0)
    localization = on_clips.localize(tmp_path / "gap.mkv")
    assert localization.grid.end_s == pytest.approx(14 + 50_000 / 16_000, abs=0.2)
    nothing = (localization.grid.centers_s() > 9.6) & (localization.grid.centers_s() < 13.8)
    assert np.isnan(localization.fakeness[nothing]).all()


def test_a_recording_with_a_clock_of_its_own(clips, on_features, tmp_path):
    late(clips / "both.mp4", tmp_path / "late.mkv", 3600.0, 3600.0)
    localization = on_features.localize(tmp_path / "late.mkv")
    assert 3599.9 <= localization.grid.start_s <= 3600.04
    assert localization.grid.length == pytest.approx(LENGTH, abs=10)  # its sound goes on for some steps


def test_a_span_of_a_transport_stream(clips, on_features, tmp_path):
    late(clips / "both.mp4", tmp_path / "x.ts", 0.0, 0.0)
    localization = on_features.localize(tmp_path / "x.ts", span=Span(5.0, 8.0))
    assert localization.decoded_s["visual"] == (pytest.approx(5.0, abs=0.05), pytest.approx(8.0, abs=0.05))


def write_with_pause(path, pause_s, seconds=2.0):
    """A clip whose clock leaps over `pause_s` in the middle, where it has neither picture nor sound."""
    half = round(seconds * 25 / 2)
    random = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25, options={"bf": "0"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for k in range(2 * half):
            later = round(pause_s * 25) if k >= half else 0
            frame = av.VideoFrame.from_ndarray(random.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts = k + later
            container.mux(picture.encode(frame))
            samples = random.integers(-3000, 3000, (1, 640)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, (k + later) * 640
            container.mux(sound.encode(frame))
        container.mux(picture.encode())
        container.mux(sound.encode())
    return path


@pytest.mark.parametrize("kind", ["features", "rows", "clips"])
def test_pause_is_absent_and_never_judged(tmp_path, on_features, on_rows, on_clips, kind, monkeypatch):
    """Some windows lie in the pause altogether."""
    monkeypatch.setattr(inference, "WINDOW_S", 1.0)
    localizer = {"features": on_features, "rows": on_rows, "clips": on_clips}[kind]
    localization = localizer.localize(write_with_pause(tmp_path / "c.mkv", 5.0))
    assert localization.grid.length == pytest.approx(175, abs=1)
    assert localization.problems == (
        "no audio could be decoded from 1.00 to 6.00 s",
        "no frame could be decoded from 1.00 to 6.00 s",
    )
    is_judged = ~np.isnan(localization.fakeness)
    assert is_judged[:24].all()
    assert not is_judged[26:149].any()
    assert is_judged[151:175].all()
    assert np.isfinite(localization.proposals.scores).all()


def test_windows_of_rows_are_those_of_the_whole_clip(clips, on_rows):
    """The inputs themselves, at the rate of each stream, in windows that begin at any step."""
    source = on_rows.source
    whole = read_whole(source, clips / "both.mp4")
    _, windows = source.open(clips / "both.mp4", Windowing(25, 6), Request())
    for example, begin, _ in windows:
        expected = whole.window(begin, begin + example.grid.length)
        for k in range(2):
            np.testing.assert_allclose(example.streams[k], expected.streams[k], rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(example.rows[k].present, expected.rows[k].present)
            assert example.rows[k].grid.start_s == pytest.approx(expected.rows[k].grid.start_s)
            np.testing.assert_array_equal(example.masks[k], expected.masks[k])
