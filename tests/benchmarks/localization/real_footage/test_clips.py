from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.feature_extraction.media.probe import probe


def test_clips_are_found_by_name(tmp_path, footage):
    from real_footage.clips import clip_name, find_clips

    paths = find_clips(footage)
    assert [clip_name(footage, path) for path in paths] == ["people/a", "people/b", "wall"]
    with pytest.raises(AvlocError, match="no clips"):
        find_clips(tmp_path)
    for name in ("a.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(AvlocError, match="two clips of the name a; rename one"):
        find_clips(tmp_path)


def test_frames_samples_and_words_share_a_clock(footage):
    from real_footage.clips import read_clip
    from real_footage.words import quiet_points

    clip = read_clip(footage / "people" / "a.mp4", quiet_points)
    assert clip.frames.shape == (50, 192, 240, 3)
    assert clip.samples.shape == (50 * 640,)
    words_s = [(word.start / 16000, word.end / 16000) for word in clip.words]
    assert words_s == [pytest.approx((start_s, start_s + 0.35), abs=0.05) for start_s in (0.5, 1.0, 1.5)]
    assert clip.side % 2 == 0
    # The mouth of the portrait, which moves to the right by a pixel each 0.4 s.
    first, last = clip.mouths[0], clip.mouths[-1]
    assert last - first == pytest.approx([4, 0], abs=2)
    red, _, blue = clip.frames[25, round(clip.mouths[25, 1]), round(clip.mouths[25, 0])].astype(int)
    assert red > blue + 30


def test_large_and_long_clips_are_reduced(tmp_path, footage, monkeypatch):
    from real_footage import clips
    from real_footage.words import quiet_points

    monkeypatch.setattr(clips, "LONGEST_SIDE", 170)
    monkeypatch.setattr(clips, "LONGEST_CLIP_S", 1.6)
    clip = clips.read_clip(footage / "people" / "b.mp4", quiet_points)
    assert clip.frames.shape == (40, 136, 170, 3)
    assert len(clip.samples) == 40 * 640


def test_clips_that_cannot_be_used_say_why(tmp_path, footage):
    from real_footage.clips import read_clip
    from real_footage.words import quiet_points

    with pytest.raises(AvlocError, match="no face in 25 of 25 frames"):
        read_clip(footage / "wall.mp4", quiet_points)
    with pytest.raises(AvlocError, match="no word of 0.12 to 1.0 s"):
        read_clip(footage / "people" / "a.mp4", lambda samples: [])
    write_mp4(tmp_path / "mute.mp4", np.zeros((9, 32, 32, 3), np.uint8), None)
    write_mp4(tmp_path / "blind.mp4", None, np.zeros(16000, np.float32))
    for name, reason in (("mute", "no sound"), ("blind", "no picture")):
        with pytest.raises(AvlocError, match=f"^{reason}$"):
            read_clip(tmp_path / f"{name}.mp4", quiet_points)


def test_forgeable_words_have_margins_and_usual_lengths():
    from real_footage.clips import forgeable_words
    from real_footage.words import Word

    words = [Word(1600, 4800), Word(4800, 6400), Word(8000, 12_000), Word(12_000, 25_000), Word(28_000, 30_400)]
    assert forgeable_words(words, 32_000) == [Word(8000, 12_000)]
    assert forgeable_words(words, 32_080) == [Word(8000, 12_000), Word(28_000, 30_400)]
    assert forgeable_words([Word(4000, 12_000)], 16_000) == []  # no other frames are as long


@pytest.mark.skipif("AVLOC_FOOTAGE" not in os.environ, reason="AVLOC_FOOTAGE names no folder of real clips")
def test_footage_can_be_forged():
    """Clips of one person each, who speaks into the camera: a mouth in the picture's middle, and several words."""
    from real_footage.clips import FPS, find_clips, read_clip
    from real_footage.words import load_word_finder

    path = find_clips(Path(os.environ["AVLOC_FOOTAGE"]))[0]
    clip = read_clip(path, load_word_finder("en"))
    height, width = clip.frames.shape[1:3]
    assert (np.abs(clip.mouths - [width / 2, height / 2]) < [width / 3, height / 2]).all()
    assert np.abs(np.diff(clip.mouths, axis=0)).max() < clip.side / 4
    assert len(clip.frames) / FPS == pytest.approx(probe(path).duration_s, abs=0.1)
    assert len(clip.words) >= 2
