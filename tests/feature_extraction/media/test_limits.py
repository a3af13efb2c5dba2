from __future__ import annotations

import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.media.decode import decode, stream
from avloc.feature_extraction.media.limits import MOST_PIXELS, check_claims, check_length, check_picture
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import WHOLE, Span, VideoFormat

GRAY = VideoFormat(6, 8, "gray")


def test_the_limits_themselves_are_allowed():
    check_length("a.mp4", 21_600.0, 21_600.0)
    check_picture("a.mp4", 8192, 8192)
    assert MOST_PIXELS == 8192 * 8192
    with pytest.raises(
        MediaError, match=r"a\.mp4: 6\.01 hours long, want at most 6 hours; raise the limit with --longest"
    ):
        check_length("a.mp4", 21_636.0, WHOLE.longest_s)
    with pytest.raises(MediaError, match=r"a\.mp4: its picture claims 8193 × 8192 pixels, want at most 67 million"):
        check_picture("a.mp4", 8193, 8192)


def test_bombs_are_refused_by_their_headers(bombs):
    assert all(path.stat().st_size < 10_000 for path in bombs.values())
    assert probe(bombs["long"]).duration_s >= 3_600_000
    assert (probe(bombs["big"]).width, probe(bombs["big"]).height) == (16_000, 16_000)
    for name, message in (
        ("long", r"long\.mkv: 1000 hours long"),
        ("big", r"big\.mkv: its picture claims 16000 × 16000"),
    ):
        with pytest.raises(MediaError, match=message):
            check_claims(probe(bombs[name]))
        for backend in ("pyav", "decord"):
            with pytest.raises(MediaError, match=message):
                next(stream(bombs[name], [GRAY], backend=backend))


def test_the_limit_is_of_the_part_that_is_read(bombs):
    check_claims(probe(bombs["long"]), Span(3600.0, 7200.0))
    check_claims(probe(bombs["long"]), Span(longest_s=4e6))
    clip = decode(bombs["long"], [GRAY], audio=False, span=Span(0.0, 2.0))
    assert clip.video_grid.length <= 50


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_the_decoder_stops_at_the_limit_where_the_header_claims_less(tmp_path, frames, beep, backend, monkeypatch):
    from avloc.feature_extraction.media import decode as module

    path = tmp_path / "a.mp4"
    write_mp4(path, frames, beep)  # 1.2 s
    monkeypatch.setattr(module, "header_end_s", lambda container: 0.0)
    with pytest.raises(MediaError, match=r"a\.mp4: 0\.\d+ s long, want at most 0\.5 s"):
        for _ in stream(path, [GRAY], backend=backend, span=Span(longest_s=0.5)):
            pass
    assert len(list(stream(path, [GRAY], backend=backend, span=Span(longest_s=1.5)))) > 1


def test_the_decoder_refuses_a_larger_picture_than_the_header_claims(tmp_path, frames, monkeypatch):
    from avloc.feature_extraction.media import decode as module
    from avloc.feature_extraction.media import limits

    path = tmp_path / "a.mp4"
    write_mp4(path, frames, None)  # 64 × 48
    monkeypatch.setattr(limits, "MOST_PIXELS", 1000)
    monkeypatch.setattr(module, "check_picture", lambda *_: None)
    with pytest.raises(MediaError, match=r"a\.mp4: "):
        decode(path, [GRAY], audio=False)
