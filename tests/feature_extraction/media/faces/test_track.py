from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.media.cropping import Face, crop_square
from avloc.feature_extraction.media.decode import decode, stream
from avloc.feature_extraction.media.faces.track import PICTURES_AT_ONCE, FaceFollower
from avloc.feature_extraction.media.types import VideoFormat

FACE = VideoFormat(48, 48, crop="face")
PORTRAIT_FACE = Face(0.49, 0.461, 0.444, 0.492, 0.55)  # the detector's face in the portrait, relative to its side


def true_face(place, size=120):
    x, y, side, mouth_x, mouth_y = (size * value for value in PORTRAIT_FACE)
    return Face(place[0] + x, place[1] + y, side, place[0] + mouth_x, place[1] + mouth_y)


def face_at(x, y, side):
    return Face(x, y, side, x, y + 0.3 * side)


class ScriptedDetector:
    """A detector with fixed detections per look."""

    def __init__(self, looks):
        self.looks = iter(looks)

    def __call__(self, pictures):
        assert len(pictures) <= PICTURES_AT_ONCE
        return [next(self.looks) for _ in pictures]


def follow(looks, interval=5):
    """The track of a clip whose looks detect these faces: per step the face's place, and its detection around that time."""
    follower = FaceFollower(5 * interval, ScriptedDetector(looks))
    followed = []
    for k in range(len(looks) * interval):
        followed += follower.push(k, None, 1)
        assert len(follower._queue) <= 8 * interval  # 1.6 s
        assert len(follower._track._points) <= 15
    followed += follower.finish()
    assert [f.frame for f in followed] == list(range(len(looks) * interval))
    return [f.face for f in followed], [f.is_detected for f in followed]


A, B = face_at(50, 40, 20), face_at(200, 60, 30)


def test_steady_motion_is_followed_without_delay():
    faces, detected = follow([[face_at(50 + 4 * k, 40, 20)] for k in range(12)])
    assert [f.x for f in faces[:56]] == pytest.approx([50 + 4 * k / 5 for k in range(56)])
    assert all(detected)


def test_jitter_is_smoothed():
    rng = np.random.default_rng(0)
    shaken = rng.normal(0, 2, 60)
    faces, _ = follow([[face_at(50 + s, 40, 20)] for s in shaken])
    inner = np.array([f.x for f in faces])[20:-20] - 50
    assert inner.std() < 0.7 * shaken.std()


def test_cut_moves_the_box_at_once_and_false_alarm_does_not():
    faces, _ = follow([[A]] * 10 + [[B]] * 10)
    assert faces[45] == A
    assert faces[50] == B
    assert set(faces) == {A, B}
    faces, _ = follow([[A]] * 5 + [[B]] + [[A]] * 5)
    assert set(faces) == {A}
    faces, _ = follow([[A]] * 5 + [[B], [B]] + [[A]] * 5)  # the old one comes back soon
    assert set(faces) == {A}


def test_the_largest_then_the_nearest():
    faces, _ = follow([[A, B]] * 3 + [[face_at(203, 60, 29), face_at(51, 40, 60)]] * 3)
    assert faces[0].x == 200
    assert faces[-1].x == 203


def test_gaps_hold_the_last_box_and_are_counted_after_a_second():
    faces, detected = follow([[], [], [], []] + [[A]] * 4 + [[]] * 12 + [[B]] * 5)
    assert faces[:5] == [None] * 5
    assert faces[12:98] == [A] * 86
    assert faces[98:] == [B] * 27  # from the middle between two looks on
    assert detected.index(True) == 8  # the step whose nearest look is 0.4 s before the first face
    late = detected[40:]
    assert late.index(False) == 23  # and 1 s after the last
    assert all(detected[-25:])


def test_single_look_of_a_short_clip_is_accepted():
    assert follow([[A]])[0] == [A] * 5
    assert follow([[]]) == ([None] * 5, [False] * 5)
    assert follow([[A], [], [], []])[0] == [None] * 20


def test_frames_that_are_shown_for_long():
    follower = FaceFollower(25, ScriptedDetector([[A], [A], [B]]))
    followed = [*follower.push(0, None, 1), *follower.push(1, None, 499), *follower.push(2, None, 500)]
    followed += follower.finish()
    assert followed == [(0, 1, A, True), (1, 499, A, True), (2, 500, B, True)]


def expected_crop(frames, places, crop, size):
    """The crops at the true places, resized by averaging."""
    out = []
    for frame, place in zip(frames, places, strict=True):
        left, top, side = crop_square(crop, true_face(place), *frame.shape[:2]).inside(*frame.shape[:2])
        piece = torch.from_numpy(frame[top : top + side, left : left + side]).permute(2, 0, 1)[None].float()
        small = torch.nn.functional.interpolate(piece, (size, size), mode="bilinear", antialias=True)
        out.append(small[0].permute(1, 2, 0).numpy())
    return np.stack(out)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_crop_follows_a_moving_face(tmp_path, backend, portrait_frames):
    places = [(10 + 2 * k, 20 + k // 2) for k in range(60)]
    frames = portrait_frames(places)
    write_mp4(tmp_path / "c.mp4", frames, None, crf=12)
    formats = [FACE, VideoFormat(48, 48, crop="mouth"), VideoFormat(24, 24, "gray")]
    clip = decode(tmp_path / "c.mp4", formats, backend=backend)
    assert clip.faceless_frames == 0
    assert [clip.frames[f].shape for f in formats] == [(60, 48, 48, 3), (60, 48, 48, 3), (60, 24, 24)]
    for f in formats[:2]:
        error = np.abs(clip.frames[f].astype(float) - expected_crop(frames, places, f.crop, 48)).mean(axis=(1, 2, 3))
        still = expected_crop(frames, places[:1] * 60, f.crop, 48)[-1]
        apart = np.abs(expected_crop(frames, places, f.crop, 48)[-1] - still).mean()
        assert error.mean() < 0.3 * apart
        assert error[:-5].max() < 0.5 * apart  # after the last look the box stands still


def test_parts_and_formats_change_nothing(tmp_path, portrait_frames):
    write_mp4(tmp_path / "c.mp4", portrait_frames([(10 + 2 * k, 30) for k in range(40)] + [None] * 60), None)
    nearest = VideoFormat(40, 40, resize="nearest", crop="face")
    bicubic = VideoFormat(40, 40, resize="bicubic", crop="center")
    gray = VideoFormat(40, 40, "gray", crop="mouth")
    formats = [FACE, nearest, bicubic, gray]
    whole = decode(tmp_path / "c.mp4", formats)
    parts = [p for p in stream(tmp_path / "c.mp4", formats, part_s=0.52) if p.frames]
    assert [p.video_grid.length for p in parts] == [13] * 7 + [9]
    assert [p.video_start_s for p in parts] == pytest.approx([0.52 * k for k in range(8)])
    assert whole.faceless_frames == sum(p.faceless_frames for p in parts)
    assert 30 <= whole.faceless_frames <= 40  # 60 frames without a face, less the second after the last
    for f in formats:
        np.testing.assert_array_equal(np.concatenate([p.frames[f] for p in parts]), whole.frames[f])
    assert whole.frames[bicubic].dtype == np.float32
    np.testing.assert_array_equal(decode(tmp_path / "c.mp4", [FACE]).frames[FACE], whole.frames[FACE])
    assert whole.frames[nearest][20].mean() == pytest.approx(whole.frames[FACE][20].mean(), abs=4)


def test_clip_without_a_face_shows_its_middle(tmp_path, portrait_frames):
    write_mp4(tmp_path / "c.mp4", portrait_frames([None] * 30), None)
    formats = [FACE, VideoFormat(48, 48, crop="center")]
    clip = decode(tmp_path / "c.mp4", formats)
    assert clip.faceless_frames == 30
    face, center = (clip.frames[f].astype(float) for f in formats)
    assert np.abs(face - center).max() <= 4
    assert decode(tmp_path / "c.mp4", formats[1:]).faceless_frames == 0


def test_one_frame_and_a_cut(tmp_path, portrait_frames):
    write_mp4(tmp_path / "one.mp4", portrait_frames([(100, 30)]), None)
    one = decode(tmp_path / "one.mp4", [FACE])
    assert one.frames[FACE].shape == (1, 48, 48, 3)
    assert one.faceless_frames == 0
    places = [(5, 20)] * 30 + [(190, 50)] * 30
    frames = portrait_frames(places)
    write_mp4(tmp_path / "cut.mp4", frames, None, crf=12)
    cut = decode(tmp_path / "cut.mp4", [FACE]).frames[FACE].astype(float)
    error = np.abs(cut - expected_crop(frames, places, "face", 48)).mean(axis=(1, 2, 3))
    assert (error > 25).sum() <= 3  # frames around the cut
    assert error[[0, 25, 35, 59]].max() < 20


@pytest.mark.skipif("AVLOC_FOOTAGE" not in os.environ, reason="AVLOC_FOOTAGE names no folder of real clips")
def test_faces_of_footage_are_followed():
    """Each clip is of one person who looks into the camera: mouths are mouths, in the lower half of the face."""
    (clip, *_) = sorted(Path(os.environ["AVLOC_FOOTAGE"]).rglob("*.mpg"))
    formats = [FACE, VideoFormat(48, 48, crop="mouth")]
    decoded = decode(clip, formats, audio=False)
    assert decoded.faceless_frames == 0
    face, mouth = (decoded.frames[f].astype(float) for f in formats)
    # A mouth's square is 0.55 / 1.2 as wide as a face's: shrunk to 22 pixels it lies in the lower half of the face's crop.
    small = torch.nn.functional.interpolate(torch.from_numpy(mouth).permute(0, 3, 1, 2), (22, 22), mode="area")
    small = small.permute(0, 2, 3, 1).numpy()
    errors = {
        (top, left): np.abs(face[:, top : top + 22, left : left + 22] - small).mean()
        for top in range(27)
        for left in range(27)
    }
    top, left = min(errors, key=lambda place: errors[place])
    assert 16 <= top <= 26
    assert left == pytest.approx(13, abs=3)
