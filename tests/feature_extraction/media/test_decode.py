from __future__ import annotations

import re
from fractions import Fraction

import av
import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.media import decode as decoding
from avloc.feature_extraction.media.decode import check_fits, decode, stream
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import Span, VideoFormat

GRAY = VideoFormat(48, 64, "gray")


@pytest.fixture
def clip(tmp_path, frames, beep):
    write_mp4(tmp_path / "clip.mp4", frames, beep, crf=1)
    return tmp_path / "clip.mp4"


def frame_numbers(clip):
    """The number of the grey frame at each step."""
    return np.rint(clip.frames[GRAY].mean(axis=(1, 2)) / 7).astype(int).tolist()


def tone_s(clip):
    """The times of the first and last loud sample."""
    loud = np.flatnonzero(np.abs(clip.samples) > 0.1) / clip.sample_rate + clip.audio_start_s
    return loud[0], loud[-1]


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_frames_and_samples_come_at_their_times(clip, backend):
    decoded = decode(clip, [GRAY, VideoFormat(24, 32)], backend=backend)
    assert frame_numbers(decoded) == list(range(30))
    assert decoded.frames[VideoFormat(24, 32)].shape == (30, 24, 32, 3)
    assert tone_s(decoded) == pytest.approx((0.5, 0.6), abs=0.01)
    assert decoded.problems == []


@pytest.mark.parametrize(("fps", "expected"), [(50, 15), (10, 75)])
def test_other_frame_rates_are_brought_to_the_clock(tmp_path, frames, fps, expected):
    write_mp4(tmp_path / "c.mp4", frames, None, fps=fps, crf=1)
    decoded = decode(tmp_path / "c.mp4", [GRAY])
    assert len(decoded.frames[GRAY]) == expected
    middles = (np.arange(expected) + 0.5) / 25
    shown = np.floor(middles * fps + 1e-6).astype(int)
    assert np.abs(np.array(frame_numbers(decoded)) - shown).max() <= (1 if fps == 50 else 0)


def test_stereo_at_48_khz(tmp_path, frames, beep):
    high = np.repeat(beep, 3)
    write_mp4(tmp_path / "c.mp4", frames, np.stack([high, 0 * high]), sample_rate=48000)
    decoded = decode(tmp_path / "c.mp4", [])
    assert tone_s(decoded) == pytest.approx((0.5, 0.6), abs=0.01)
    assert np.abs(decoded.samples).max() == pytest.approx(0.25, abs=0.1)  # the mean of 0.5 and silence
    assert decoded.frames == {}


def test_missing_streams_are_problems(tmp_path, frames, beep):
    write_mp4(tmp_path / "silent.mp4", frames, None)
    write_mp4(tmp_path / "blind.mp4", None, beep)
    silent, blind = decode(tmp_path / "silent.mp4", [GRAY]), decode(tmp_path / "blind.mp4", [GRAY])
    assert silent.samples is None
    assert silent.problems == ["no audio stream"]
    assert blind.frames == {}
    assert blind.problems == ["no video stream"]
    assert blind.duration_s == pytest.approx(1.2, abs=0.07)
    # A missing stream that is requested alone is a problem, and no error.
    assert decode(tmp_path / "blind.mp4", [GRAY], audio=False).problems == ["no video stream"]
    assert decode(tmp_path / "silent.mp4").problems == ["no audio stream"]


def test_damaged_file_gives_its_readable_part(clip):
    data = bytearray(clip.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(200, len(data) // 2, 60):
        data[position] ^= 0xFF
    broken = clip.with_name("broken.mp4")
    broken.write_bytes(bytes(data))
    try:
        decoded = decode(broken, [GRAY])
    except MediaError as error:
        assert "broken.mp4" in str(error)
    else:
        assert decoded.frames or decoded.samples is not None


@pytest.mark.parametrize("content", [b"", b"this is no clip\n" * 50])
def test_other_files_are_one_error(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"x\.mp4: cannot be opened as media"):
        decode(tmp_path / "x.mp4", [GRAY])
    with pytest.raises(MediaError, match=r"y\.mp4: no such file"):
        decode(tmp_path / "y.mp4")


def test_truncated_without_index(clip):
    half = clip.with_name("half.mp4")
    half.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"half\.mp4: "):
        decode(half, [GRAY])


def test_unknown_backend(clip):
    with pytest.raises(MediaError, match="must be pyav or decord, got 'x'"):
        decode(clip, backend="x")


def test_parts_equal_the_whole(clip):
    whole = decode(clip, [GRAY])
    parts = list(stream(clip, [GRAY], part_s=0.28))
    assert [p.video_grid.length for p in parts if p.frames] == [7, 7, 7, 7, 2]
    assert [round(p.video_start_s, 6) for p in parts if p.frames] == [0, 0.28, 0.56, 0.84, 1.12]
    np.testing.assert_array_equal(np.concatenate([p.frames[GRAY] for p in parts if p.frames]), whole.frames[GRAY])
    sounds = [p for p in parts if p.samples is not None]
    assert {len(p.samples) for p in sounds[:-1]} == {4480}
    assert sounds[2].audio_start_s == pytest.approx(whole.audio_start_s + 0.56)
    np.testing.assert_array_equal(np.concatenate([p.samples for p in sounds]), whole.samples)
    assert (parts[-1].frames, parts[-1].samples) == ({}, None)


def write_held(path, frames, held_s, **options):
    """12 frames, of which the last is shown for longer, and 5 more."""
    with av.open(str(path), "w", options=options.pop("container", {})) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for k, image in enumerate(frames[:17]):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = 40 * k + (round(1000 * held_s) if k >= 12 else 0), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_a_picture_that_is_held_for_a_stated_time_is_no_gap(tmp_path, frames, backend, b_frames):
    """With frames out of order, the display time is stated by the packet that is decoded when the held frame appears."""
    write_held(tmp_path / "c.mp4", frames, 8.0, bf=b_frames)
    clip = decode(tmp_path / "c.mp4", [GRAY], audio=False, backend=backend)
    assert (clip.gaps["visual"], clip.problems) == ([], [])
    assert frame_numbers(clip) == [*range(12), *[11] * 200, *range(12, 17)]


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize(("name", "b_frames"), [("c.mp4", "0"), ("c.mp4", "3"), ("c.mkv", "0")])
def test_slides_of_two_seconds_are_no_gaps(tmp_path, frames, backend, name, b_frames):
    """No packet is decoded at the times of the last two slides if there are B-frames, and Matroska has no decoding times."""
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1, 2), options={"crf": "1", "bf": b_frames})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in frames[:7]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    clip = decode(tmp_path / name, [GRAY], audio=False, backend=backend)
    assert (clip.gaps["visual"], clip.problems) == ([], [])
    assert frame_numbers(clip) == [k for k in range(7) for _ in range(50)]


@pytest.mark.parametrize("has_sound", [False, True])
def test_the_last_frame_does_not_seem_to_be_held_as_another_is(tmp_path, frames, has_sound):
    """The last packet states the long time of the held frame; the sound may be longer than the picture."""
    write_held(tmp_path / "c.mp4", frames, 8.0, bf="3")
    with av.open(str(tmp_path / "c.mp4")) as source, av.open(str(tmp_path / "d.mp4"), "w") as copy:
        picture = copy.add_stream_from_template(source.streams.video[0])
        sound = copy.add_stream("aac", rate=16_000) if has_sound else None
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        last = next(k for k, packet in enumerate(packets) if packet.duration * packet.time_base > 1)
        end_s = float(max(packet.pts * packet.time_base for packet in packets[: last + 1])) + 0.04
        for packet in packets[: last + 1]:
            packet.stream = picture
            copy.mux(packet)
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16_000 * 17), np.float32), "fltp", "mono")
            silence.sample_rate = 16_000
            copy.mux(sound.encode(silence))
            copy.mux(sound.encode())
    clip = decode(tmp_path / "d.mp4", [GRAY], audio=False)
    assert clip.problems == []
    numbers = frame_numbers(clip)
    assert numbers[:212] == [*range(12), *[11] * 200]
    assert len(numbers) == round(25 * end_s) > 212


def test_a_time_without_frames_that_no_frame_states_is_a_gap(tmp_path, frames):
    write_held(tmp_path / "c.mkv", frames, 8.0)
    clip = decode(tmp_path / "c.mkv", [GRAY], audio=False)
    assert clip.problems == ["no frame could be decoded from 0.48 to 8.48 s"]


@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_a_lost_fragment_is_a_gap(tmp_path, frames, b_frames):
    """Three fragments of 1.2 s, 25 fps; the second one is missing."""
    path, flags = tmp_path / "c.mp4", "frag_keyframe+empty_moov+default_base_moof+delay_moov"
    with av.open(str(path), "w", options={"movflags": flags}) as container:
        options = {"crf": "1", "bf": b_frames, "g": "30", "sc_threshold": "0", "x264-params": "open-gop=0"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in [*frames] * 3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    _, second, third = (found.start() - 4 for found in re.finditer(b"moof", data))
    path.write_bytes(data[:second] + data[third:])
    clip = decode(path, [GRAY], audio=False)
    assert clip.problems == ["no frame could be decoded from 1.20 to 2.40 s"]
    assert frame_numbers(clip) == [*range(30), *[29] * 30, *range(30)]


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_the_pulse_comes_before_the_span_that_is_decoded(clip, backend):
    pulses = []
    options = {"audio": False, "backend": backend, "span": Span(0.96, 1.16), "pulse": lambda: pulses.append(1)}
    part = next(stream(clip, [GRAY], part_s=0.04, **options))
    assert part.video_start_s == 0.96
    assert 24 < len(pulses) < 30  # the frames before, and those that PyAV's decoder waits for
    assert decode(clip, [GRAY], **options).frames[GRAY].shape == (5, 48, 64)
    assert len(pulses) > 50


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("resize", ["swscale", "nearest", "bicubic"])
def test_central_square(tmp_path, backend, resize):
    picture = np.zeros((48, 80, 3), dtype=np.uint8)
    picture[:, :16], picture[:, 16:40], picture[:, 40:64], picture[:, 64:] = 250, 50, 150, 250
    write_mp4(tmp_path / "c.mp4", np.stack([picture] * 3), None, crf=1)
    formats = [VideoFormat(24, 24, resize=resize, crop=crop) for crop in ("center", "none")]
    center, whole = (decode(tmp_path / "c.mp4", formats, backend=backend).frames[f] for f in formats)
    scale = 255 if resize == "bicubic" else 1
    assert center.shape == whole.shape == (3, 24, 24, 3)
    assert scale * center[:, :, 2:10] == pytest.approx(50, abs=6)
    assert scale * center[:, :, 14:22] == pytest.approx(150, abs=6)
    assert scale * whole[:, :, :4] == pytest.approx(250, abs=6)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_span_keeps_the_files_times(clip, backend):
    decoded = decode(clip, [GRAY], span=Span(0.48, 0.8), backend=backend)
    assert frame_numbers(decoded) == list(range(12, 20))
    assert decoded.video_start_s == pytest.approx(0.48)
    assert decoded.audio_start_s == pytest.approx(0.48)
    assert len(decoded.samples) == round(0.32 * 16000)
    assert tone_s(decoded) == pytest.approx((0.5, 0.6), abs=0.01)


def test_nothing_requested_is_nothing_decoded(clip):
    decoded = decode(clip, audio=False)
    assert (decoded.frames, decoded.samples, decoded.problems) == ({}, None, [])


def test_span_behind_the_end_is_an_error(clip):
    with pytest.raises(MediaError, match=r"clip\.mp4: the start at 30 s is past the clip's end at 1\.20 s"):
        decode(clip, [GRAY], span=Span(30, 40))


def test_frames_that_do_not_fit_into_memory(clip, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", GRAY.frame_bytes * 20)
    check_fits(clip, [GRAY], Span(0.2, 0.9))
    for check in (check_fits, lambda path, formats: decode(path, formats)):
        with pytest.raises(MediaError, match=r"clip\.mp4: its frames would take 0 GiB at once, cut it into parts"):
            check(clip, [GRAY])
    assert decode(clip).samples is not None


def test_header_that_has_been_probed_is_not_read_again(clip, monkeypatch):
    info = probe(clip)
    opened = []
    open_container = decoding.open_container
    monkeypatch.setattr(decoding, "open_container", lambda path: opened.append(path) or open_container(path))
    monkeypatch.setattr(decoding, "probe", lambda path, pulse=None: pytest.fail("probed again"))
    check_fits(clip, [GRAY], info=info)
    assert len(decode(clip, [GRAY], info=info).frames[GRAY]) == 30
    assert opened == [clip]


def flash_s(clip, gray=GRAY):
    """The time of the first bright frame."""
    level = clip.frames[gray].mean(axis=(1, 2))
    return clip.video_start_s + np.flatnonzero(level > (level.min() + level.max()) / 2)[0] / clip.fps


def beep_s(clip):
    """The time of the first loud sample."""
    loud = np.abs(clip.samples)
    return clip.audio_start_s + np.flatnonzero(loud > loud.max() / 2)[0] / clip.sample_rate


@pytest.mark.parametrize(
    ("name", "expected_flash_s", "expected_beep_s"),
    [
        ("src.mp4", 3.0, 3.0),
        ("late_video.mp4", 3.7, 3.0),  # the whole picture is late, and so is its flash
        ("cut_copy.mp4", 1.7, 1.7),
        ("plain.ts", 3.0, 3.0),
    ],
)
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_flash_and_beep_are_where_players_show_them(cases, name, expected_flash_s, expected_beep_s, backend):
    if backend == "decord" and name in ("cut_copy.mp4", "plain.ts"):
        with pytest.raises(MediaError, match=rf"{name}: decord misplaces frames .*; use the decoder pyav"):
            decode(cases / name, [GRAY], backend=backend)
        return
    clip = decode(cases / name, [GRAY], backend=backend)
    assert flash_s(clip) == pytest.approx(expected_flash_s, abs=0.03)
    assert beep_s(clip) == pytest.approx(expected_beep_s, abs=0.03)
    assert clip.problems == []
    end_s = max(clip.video_grid.end_s, clip.audio_start_s + len(clip.samples) / 16_000)
    assert probe(cases / name).duration_s == pytest.approx(end_s, abs=0.05)


@pytest.mark.parametrize("name", ["src.mp4", "plain.ts"])
def test_spans_are_on_the_same_clock(cases, name):
    clip = decode(cases / name, [GRAY], span=Span(2.5, 3.3))
    assert (clip.video_start_s, clip.audio_start_s) == pytest.approx((2.5, 2.5), abs=0.03)
    assert flash_s(clip) == pytest.approx(3.0, abs=0.041)
    assert beep_s(clip) == pytest.approx(3.0, abs=0.03)


def test_program_stream_starts_at_0(tmp_path, mpeg_clip):
    """FFmpeg's own muxer lets the clock start at 0.5 s."""
    clip = decode(mpeg_clip(tmp_path / "c.mpg"), [GRAY])
    assert min(clip.video_start_s, clip.audio_start_s) == 0
    assert flash_s(clip) == pytest.approx(1.0, abs=0.07)
    assert beep_s(clip) == pytest.approx(1.0, abs=0.05)
    assert probe(tmp_path / "c.mpg").duration_s == pytest.approx(clip.duration_s, abs=0.05)
    with pytest.raises(MediaError, match="decord misplaces frames of mpeg; use the decoder pyav"):
        decode(tmp_path / "c.mpg", [GRAY], backend="decord")


def test_first_frame_without_a_time_is_at_0(cases):
    clip = decode(cases / "raw.h264", [GRAY])
    assert (clip.video_start_s, clip.video_grid.length) == (0, 200)
    assert flash_s(clip) == pytest.approx(3.0, abs=0.001)
    with pytest.raises(MediaError, match=r"raw\.h264: .*decord"):
        decode(cases / "raw.h264", [GRAY], backend="decord")


def test_eight_channels(cases):
    clip = decode(cases / "eight_channels.mp4", [GRAY])
    assert (clip.video_grid.length, len(clip.samples)) == (25, pytest.approx(16_000, abs=50))
    # Each channel has the tone with an amplitude of 0.13: 0.13 · (0.5 + 0.5 + 0.707 + 4 · 0.354).
    assert np.abs(clip.samples).max() == pytest.approx(0.13 * 3.12, abs=0.02)
    assert np.abs(np.fft.rfft(clip.samples[:16_000])).argmax() == pytest.approx(440, abs=2)


@pytest.mark.parametrize("name", ["rate_change.mp3", "chan_change.mp3"])
def test_sound_that_changes_on_the_way(cases, name):
    clip = decode(cases / name)
    assert clip.audio_start_s == 0
    assert clip.duration_s == pytest.approx(6.0, abs=0.1)
    levels = np.sqrt(np.square(clip.samples[: 16_000 * 6]).reshape(6, -1).mean(axis=1))
    assert levels == pytest.approx(levels[0], rel=0.5)
    for second in range(6):
        part = clip.samples[second * 16_000 : (second + 1) * 16_000]
        assert np.abs(np.fft.rfft(part)).argmax() == pytest.approx(500, abs=2)
    assert clip.problems == ["1 damaged packet was left out (Invalid data found when processing input)"]
    assert clip.gaps["audio"] == []
    assert probe(cases / name).duration_s == pytest.approx(clip.duration_s, abs=0.05)


@pytest.mark.parametrize("name", ["cover.m4a", "cover.mp3"])
def test_a_cover_is_no_picture(cases, name):
    clip = decode(cases / name, [GRAY])
    assert clip.frames == {}
    assert clip.problems == ["no video stream"]
    assert clip.failures == {}
    assert beep_s(clip) == pytest.approx(3.0, abs=0.01)
    assert probe(cases / name).width is None


def jumped(remux, clip, path, jump_s):
    """The clip, whose clock jumps after 0.6 s."""
    return remux(clip, path, lambda kind, time_s: time_s if time_s < 0.6 else time_s + jump_s)


def test_leap_in_a_transport_stream_is_left_out_and_reported(steady_clip, remux):
    leap = jumped(remux, steady_clip, steady_clip.with_name("leap.ts"), 496.0)
    decoded = decode(leap, [GRAY])
    assert decoded.duration_s == pytest.approx(1.25, abs=0.1)
    assert decoded.video_grid.length == pytest.approx(30, abs=2)
    assert len([p for p in decoded.problems if "its clock leaps by 49" in p]) == len(decoded.problems) == 1
    assert probe(leap).duration_s == pytest.approx(decoded.duration_s, abs=0.05)


def test_leap_in_a_file_is_a_gap(steady_clip, remux):
    """Here the file's own clock counts, so that the time exists, with nothing in it."""
    decoded = decode(jumped(remux, steady_clip, steady_clip.with_name("leap.mkv"), 5.0), [GRAY])
    assert decoded.duration_s == pytest.approx(6.2, abs=0.09)
    ((audio_start_s, audio_end_s),), ((start_s, end_s),) = decoded.gaps["audio"], decoded.gaps["visual"]
    assert (start_s, end_s) == pytest.approx((0.6, 5.6), abs=0.07)  # AAC's first packet starts before 0
    assert end_s - start_s == pytest.approx(5.0)
    assert (audio_start_s, audio_end_s) == pytest.approx((0.6, 5.6), abs=0.11)
    assert [p.split(" from ")[0] for p in decoded.problems] == [
        "no frame could be decoded",
        "no audio could be decoded",
    ]
    silent = decoded.samples[round(0.8 * 16_000) : round(5.5 * 16_000)]
    assert np.abs(silent).max() < 1e-3
    assert frame_numbers(decoded)[17:139] == [14] * 122


@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".mp3", ".mkv"])
def test_two_files_joined_byte_by_byte_follow_each_other(tmp_path, clip, remux, mpeg_clip, sound_clip, suffix):
    one, joined = tmp_path / f"one{suffix}", tmp_path / f"joined{suffix}"
    if suffix == ".mpg":
        mpeg_clip(one)
    elif suffix == ".mp3":
        sound_clip(one)
    else:
        remux(clip, one, lambda kind, time_s: time_s)
    joined.write_bytes(one.read_bytes() * 2)
    first, both = decode(one, [GRAY]), decode(joined, [GRAY])
    assert both.duration_s == pytest.approx(2 * first.duration_s, abs=0.1)
    assert len(both.samples) == pytest.approx(2 * len(first.samples), abs=1700)
    if first.frames:
        assert both.video_grid.length == pytest.approx(2 * first.video_grid.length, abs=2)
    assert not any(both.gaps.values())
    # The packets of an mp3 have no times of their own.
    assert any("its clock goes back by 1." in p for p in both.problems) == (suffix != ".mp3")
    if suffix == ".mkv":  # its header holds the length of the first file
        return
    assert probe(joined).duration_s == pytest.approx(both.duration_s, abs=0.05)


@pytest.mark.parametrize(("modality", "kind"), [("visual", "video"), ("audio", "audio")])
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_stream_without_a_decoder_is_that_streams_failure(tmp_path, frames, beep, modality, kind, backend):
    odd = tmp_path / "odd.avi"
    with av.open(str(odd), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for image in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray((beep * 32_000).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
    data = odd.read_bytes()
    at = data.index(b"strf", data.index(b"auds")) + 8  # the number of the sound's codec
    odd.write_bytes(
        data.replace(b"FMP4", b"Xyzw") if modality == "visual" else data[:at] + b"\x34\x12" + data[at + 2 :]
    )
    decoded = decode(odd, [GRAY], backend=backend)
    assert decoded.failures == {modality: f"no decoder for its {kind} codec"}
    assert decoded.problems == [f"no decoder for its {kind} codec"]
    assert (decoded.frames == {}, decoded.samples is None) == (modality == "visual", modality == "audio")
    info = probe(odd)
    assert info.problems == (f"no decoder for its {kind} codec",)
    assert (info.width is None, info.sample_rate is None) == (modality == "visual", modality == "audio")


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_picture_that_gives_nothing_is_a_failure_of_the_picture(clip, backend):
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for position, size in packets:
        data[position : position + size] = bytes(size)
    blank = clip.with_name("blank.mp4")
    blank.write_bytes(bytes(data))
    decoded = decode(blank, [GRAY], backend=backend)
    assert decoded.frames == {}
    assert decoded.failures["visual"].startswith("no frame could be decoded (")
    assert "audio" not in decoded.failures
    assert "no frame could be decoded" in decoded.problems
    assert tone_s(decoded) == pytest.approx((0.5, 0.6), abs=0.01)


def test_strange_exceptions_become_media_errors(clip, monkeypatch):
    for error in (
        AttributeError("no codec"),
        IndexError("5"),
        OverflowError("too large"),
        MemoryError(),
        ZeroDivisionError(),
    ):

        def fail(*arguments, error=error):
            raise error

        monkeypatch.setattr(decoding, "select_tracks", fail)
        with pytest.raises(MediaError, match=rf"clip\.mp4: cannot be read as media \({type(error).__name__}"):
            decode(clip, [GRAY])


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_start_beyond_all_numbers(clip, backend):
    with pytest.raises(MediaError, match=r"clip\.mp4: the start at 1e\+18 s is past the clip's end at 1\.20 s"):
        decode(clip, [GRAY], span=Span(1e18), backend=backend)


def test_the_default_track_is_taken_and_any_by_its_number(tmp_path):
    path = tmp_path / "tracks.mkv"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(3)]
        for k, track in enumerate(tracks):
            track.disposition = int(k == 1)
        for k, track in enumerate(tracks):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, 1600), 3000 * (k + 1), np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(track.encode(frame))
            container.mux(track.encode())
    for track, expected in ((None, 6000), (0, 3000), (1, 6000), (2, 9000)):
        assert decode(path, span=Span(audio_track=track)).samples.mean() * 32768 == pytest.approx(expected, abs=5)
