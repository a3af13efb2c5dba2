from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.media.clock import (
    MOST_HELD,
    ClipClock,
    HeldPictures,
    format_names,
    frame_times,
    has_reliable_header,
    header_end_s,
    header_start_s,
    may_restart,
    scan_end_s,
    starts_at_zero,
)

BASE = Fraction(1, 100)


def container(names, start_s=0.0, duration_s=None, streams=()):
    """An open file; `streams` are the start and the duration of its pictures."""
    duration = None if duration_s is None else round(duration_s * 1_000_000)
    pictures = [
        SimpleNamespace(start_time=round(100 * start), duration=round(100 * length), time_base=BASE)
        for start, length in streams
    ]
    return SimpleNamespace(
        format=SimpleNamespace(name=names),
        start_time=round(start_s * 1_000_000),
        duration=duration,
        streams=SimpleNamespace(video=pictures, audio=[]),
    )


def placed(clock, *stamps):
    """The clip's times of packets of 0.04 s: (stream, seconds)."""
    times = []
    for stream, seconds in stamps:
        stamp = None if seconds is None else round(seconds * 100)
        packet = SimpleNamespace(stream_index=stream, pts=stamp, dts=stamp, duration=4, time_base=BASE)
        clock.place(packet)
        times.append(None if packet.pts is None else packet.pts / 100)
    return times


def test_a_broadcast_starts_at_0_and_a_file_at_its_own_time():
    assert placed(ClipClock(container("mpegts", 1.4)), (0, 1.4), (1, 1.46), (0, 1.44)) == [0, 0.06, 0.04]
    assert placed(ClipClock(container("mov,mp4", 1.4)), (0, 1.4), (1, 1.46)) == [1.4, 1.46]
    assert placed(ClipClock(container("mpegts")), (0, None)) == [None]


@pytest.mark.parametrize("frames_per_s", [1, 5])
@pytest.mark.parametrize("b_frames", [1, 3])
def test_a_slow_picture_with_reordered_frames_has_one_clock(tmp_path, frames_per_s, b_frames):
    """Its first packets have a display time alone, seconds ahead of the decoding times of the next ones."""
    path = tmp_path / "a.mkv"
    frames = np.random.default_rng(0).integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)
    with av.open(path, "w") as file:
        picture = file.add_stream("libx264", rate=frames_per_s, width=32, height=32, pix_fmt="yuv420p")
        picture.options = {"x264-params": f"bframes={b_frames}:b-adapt=0:scenecut=0"}
        for pixels in frames:
            file.mux(picture.encode(av.VideoFrame.from_ndarray(pixels)))
        file.mux(picture.encode())
    with av.open(path) as file:
        clock, stamps = ClipClock(file), []
        for packet in file.demux():
            stamps.append((packet.pts, packet.dts))
            clock.place(packet)
            assert (packet.pts, packet.dts) == stamps[-1]
    assert stamps[1][1] is None or stamps[0][1] is None
    assert clock.problems() == []
    assert clock.end_s == pytest.approx(24 / frames_per_s, abs=0.01)


def test_packets_without_decoding_times_may_start_again_later():
    clock, times = ClipClock(container("matroska,webm")), []
    for seconds in (*np.arange(0, 4, 0.04), 0.0):
        packet = SimpleNamespace(stream_index=0, pts=round(100 * seconds), dts=None, duration=4, time_base=BASE)
        clock.place(packet)
        times.append(packet.pts / 100)
    assert times[-1] == pytest.approx(4.0)
    assert len(clock.problems()) == 1


@pytest.mark.parametrize("names", ["mpegts", "matroska,webm"])
def test_a_clock_that_goes_back_continues_behind_the_end(names):
    clock = ClipClock(container(names, duration_s=2.0))
    first = [(k % 2, k * 0.02) for k in range(100)]  # two streams, up to 2.02 s
    times = placed(clock, *first, *first)
    assert times[:100] == [pytest.approx(k * 0.02) for k in range(100)]
    assert times[100:] == [pytest.approx(2.02 + k * 0.02) for k in range(100)]  # both streams by the same amount
    assert clock.problems() == ["its clock goes back by 2.02 s at 2.02 s; the rest follows there"]
    assert clock.end_s == pytest.approx(4.04)


def test_the_last_packet_of_the_first_file_may_come_late():
    clock = ClipClock(container("mpegts"))
    times = placed(clock, (0, 0.0), (0, 2.0), (1, 1.9), (0, 0.0), (1, 1.94), (0, 0.04), (1, 0.02))
    assert times == [0, 2.0, 1.9, 2.04, 1.94, 2.08, 2.06]


def test_a_leap_is_left_out_of_a_broadcast_only():
    stamps = [(0, 0.0), (1, 0.0), (0, 4.0), (1, 4.02), (0, 500.0), (1, 500.02), (0, 500.04)]
    clock = ClipClock(container("mpegts"))
    assert placed(clock, *stamps) == [0, 0, 4.0, 4.02, 4.06, 4.08, 4.1]
    assert clock.problems() == ["its clock leaps by 495.94 s at 4.06 s; that time is left out"]
    assert placed(ClipClock(container("matroska,webm", duration_s=504)), *stamps)[-1] == 500.04


def test_leap_of_hours_is_left_out_of_any_file():
    clock = ClipClock(container("matroska,webm", duration_s=9000))
    assert placed(clock, (0, 0.0), (1, 3000.0), (0, 8000.0), (1, 8000.02)) == [0, 3000.0, 3000.04, 3000.06]
    assert clock.problems() == ["its clock leaps by 4999.96 s at 3000.04 s; that time is left out"]


def test_one_damaged_stamp_moves_nothing_else():
    clock = ClipClock(container("mpegts"))
    assert placed(clock, (0, 1.0), (0, 900.0), (0, 1.08), (1, 1.1), (0, 1.12)) == [1.0, 1.04, 1.08, 1.1, 1.12]
    clock = ClipClock(container("matroska,webm", duration_s=3))
    assert placed(clock, (0, 0.0), (0, 90.0), (0, 0.08)) == [0, None, 0.08]
    assert placed(clock, (0, 2.0), (0, 1.2)) == [2.0, 1.2]  # not the start of a second file
    assert clock.problems() == []


def test_many_jumps_are_counted():
    clock = ClipClock(container("flv"))
    placed(clock, *[(0, k * 100.0) for k in range(200)])
    assert len(clock.problems()) == 4
    assert clock.problems()[-1] == "its clock changes 196 more times"
    assert len(clock.jumps) == 199


def test_formats():
    assert starts_at_zero(container("mpegts"))
    assert not starts_at_zero(container("mov,mp4,m4a"))
    assert format_names(container("mov,mp4")) == {"mov", "mp4"}
    assert [may_restart(container(names)) for names in ("mov,mp4,m4a", "mpegts", "matroska,webm")] == [
        False,
        True,
        True,
    ]
    assert has_reliable_header(container("avi", duration_s=3))
    for unreliable in (
        container("avi"),
        container("mp3", duration_s=3),
        container("h264", duration_s=3),
        container("avi", duration_s=-1),
    ):
        assert not has_reliable_header(unreliable)


@pytest.mark.parametrize(
    ("names", "end_s", "start_s"),
    [("mov,mp4,m4a", 4.5, 3.2), ("asf", 1.3, 3.2), ("mpegts", 4.5, 0.0)],  # of asf, durations count from 0
)
def test_the_end_and_the_start_of_a_header(names, end_s, start_s):
    late = container(names, 3.2, 1.1, streams=[(3.2, 1.3), (0.0, 0.5)])
    assert header_end_s(late) == pytest.approx(end_s)
    assert header_start_s(late) == pytest.approx(start_s)
    assert header_end_s(container(names, duration_s=-1)) == header_start_s(container(names, -0.02)) == 0


def test_frames_of_a_held_picture():
    held = HeldPictures()
    held.add(0.4, 8.4)
    held.add(8.4, 8.44)  # no long time
    assert [round(held.left_s(time_s), 6) for time_s in (0.36, 0.4, 1.4, 8.4)] == [0, 8, 7, 0]
    held.drop_before(8.4)
    assert held.left_s(1.4) == 0


def test_display_times_of_a_damaged_file_are_not_collected_without_end():
    held = HeldPictures()
    for k in range(2 * MOST_HELD):
        held.add(k, 1e6)
        held.drop_before(k)
        assert held.left_s(k) == 1e6 - k
    assert held.left_s(MOST_HELD - 1) == 0  # forgotten


def test_times_and_end_of_real_packets(tmp_path, frames, beep):
    write_mp4(tmp_path / "c.mp4", frames, beep)
    with av.open(str(tmp_path / "c.mp4")) as clip:
        times = frame_times(clip, list(clip.streams), clip.streams.video[0])
    assert [t.time_s for t in times] == pytest.approx([k / 25 for k in range(30)])
    assert {t.duration_s for t in times} == {0.04}
    assert not any(t.is_discarded for t in times)
    with av.open(str(tmp_path / "c.mp4")) as clip:
        assert scan_end_s(clip, list(clip.streams)) == pytest.approx(1.2, abs=0.07)
        assert scan_end_s(clip, []) == 0


def test_frames_without_times(cases):
    with av.open(str(cases / "raw.h264")) as clip:
        assert frame_times(clip, list(clip.streams), clip.streams[0]) is None
    with av.open(str(cases / "raw.h264")) as clip:
        assert scan_end_s(clip, list(clip.streams)) == pytest.approx(8.0)
    with av.open(str(cases / "cut_copy.mp4")) as clip:
        times = frame_times(clip, list(clip.streams), clip.streams.video[0])
    assert sum(t.is_discarded for t in times) == 39
    assert [t.time_s for t in times if not t.is_discarded][:2] == pytest.approx([0, 1 / 30])
