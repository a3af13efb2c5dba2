from __future__ import annotations

from fractions import Fraction

import av
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.media.completeness import claimed_ends_s, describe_shortfalls, missing_bytes
from avloc.feature_extraction.media.decode import stream
from avloc.feature_extraction.media.types import Span, VideoFormat

GRAY = VideoFormat(6, 8, "gray")


def write(path, frames, beep):
    """Write a clip of 1.2 s in the container that the suffix names, its index at the beginning."""
    source = path.with_name("source.mp4")
    write_mp4(source, frames, beep)
    with av.open(str(source)) as given, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        streams = {each: target.add_stream_from_template(each) for each in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    return path


def problems(path, *, formats=(GRAY,), **options):
    *_, last = stream(path, formats, **options)
    return last.problems


@pytest.mark.parametrize(("suffix", "part"), [("mp4", 0.97), ("mov", 0.97), ("mkv", 0.6), ("flv", 0.6)])
def test_a_whole_file_has_no_problem_and_one_that_was_cut_off_has(tmp_path, frames, beep, suffix, part):
    whole = write(tmp_path / f"whole.{suffix}", frames, beep)
    assert problems(whole) == []
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(part * whole.stat().st_size)])
    kind = "clip" if suffix == "flv" else "audio"
    assert any(f"the {kind} ends at 0." in line and "its header claims 1.2" in line for line in problems(cut))


def write_late(path, start_s):
    """Write 17 frames at 25 fps, the first one at `start_s`, a whole number of seconds."""
    with av.open(str(path), "w") as target:
        picture = target.add_stream("mpeg2video", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for k in range(17):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = 25 * start_s + k, Fraction(1, 25)
            target.mux(picture.encode(frame))
        target.mux(picture.encode())
    return path


@pytest.mark.parametrize("start_s", [0, 3, 100])
@pytest.mark.parametrize("suffix", ["asf", "wmv", "wtv", "mov", "mkv"])
def test_a_late_start_is_no_claim_of_a_later_end(tmp_path, suffix, start_s):
    path = write_late(tmp_path / f"a.{suffix}", start_s)
    with av.open(str(path)) as container:
        (end_s,) = claimed_ends_s(container, {"visual": container.streams.video[0], "audio": None}).values()
    assert end_s == pytest.approx(start_s + 17 / 25, abs=0.05)
    assert not any("its header claims" in line for line in problems(path, audio=False))


def test_a_part_that_ends_before_the_cut_is_complete(tmp_path, frames, beep):
    whole = write(tmp_path / "whole.mkv", frames, beep)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert problems(cut, span=Span(0.0, 0.3)) == []
    assert len(problems(cut, span=Span(0.0, 1.1))) == 2


def test_streams_of_unequal_length_are_complete(tmp_path, frames, beep):
    path = tmp_path / "short.mp4"
    write_mp4(path, frames[:10], beep)  # 0.4 s of picture, 1.2 s of sound
    assert problems(path) == problems(path, audio=False) == problems(path, formats=()) == []


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_either_decoder_reports_the_end(tmp_path, frames, beep, backend):
    whole = write(tmp_path / "whole.mkv", frames, beep)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert len([line for line in problems(cut, backend=backend) if "its header claims 1.2" in line]) == 2


def test_shortfalls_by_hand():
    assert describe_shortfalls({"audio": 10.0, "visual": 4.0}, {"audio": 9.76, "visual": 4.5}, 99.0) == []
    assert describe_shortfalls({"audio": 10.0}, {"audio": 9.7}, 99.0) == [
        "the audio ends at 9.70 s, its header claims 10.00 s"
    ]
    assert describe_shortfalls({"audio": 10.0}, {"audio": 3.0}, 3.0) == []
    assert describe_shortfalls({"clip": 5.0}, {"audio": 3.0, "visual": 4.9}, 99.0) == []
    assert describe_shortfalls({"clip": 5.0}, {"audio": 3.0, "visual": 2.0}, 99.0) == [
        "the clip ends at 3.00 s, its header claims 5.00 s"
    ]
    assert describe_shortfalls({"audio": 10.0}, {}, 99.0) == []
    assert describe_shortfalls({}, {"visual": 1.0}, 99.0) == []


@pytest.mark.parametrize(("suffix", "missing"), [("mp4", 1000), ("mov", 1000), ("mkv", 0)])
def test_bytes_that_an_index_counts_behind_the_end(tmp_path, frames, beep, suffix, missing):
    whole = write(tmp_path / f"whole.{suffix}", frames, beep)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[:-1000])
    for path, expected in ((whole, 0), (cut, missing)):
        with av.open(str(path)) as container:
            assert missing_bytes(container) == expected


def test_the_end_of_a_stream_by_its_header_or_by_its_tag(tmp_path, frames, beep):
    for suffix in ("mp4", "mkv"):
        with av.open(str(write(tmp_path / f"a.{suffix}", frames, beep))) as container:
            ends = claimed_ends_s(container, {"visual": container.streams.video[0], "audio": None})
            assert ends == {"visual": pytest.approx(1.2, abs=0.07)}
