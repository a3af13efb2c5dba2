from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest


@pytest.fixture(scope="module")
def films(footage, tmp_path_factory):
    """A folder with a film of 50 frames of 192 × 240, in which a portrait moves to the right, and the film."""
    import face_materials

    path = footage / "people" / "a.mp4"
    film = face_materials.Film("a", "train", "none", "a.mp4", hashlib.sha256(path.read_bytes()).hexdigest(), 25)
    folder = tmp_path_factory.mktemp("films")
    shutil.copy(path, face_materials.film_file(folder, film))
    face_materials.fetch(folder, [film])
    return folder, film


def test_films_play_forth_and_back():
    from composing.portraits import play_order

    assert play_order(5, 3, 9).tolist() == [3, 4, 3, 2, 1, 0, 1, 2, 3]
    assert play_order(1, 0, 3).tolist() == [0, 0, 0]
    assert (np.abs(np.diff(play_order(50, 17, 300))) == 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_windows_have_the_face_and_the_shape_of_the_picture(seed):
    from composing.portraits import ROOM, draw_window

    rng = np.random.default_rng(seed)
    middles = np.array([[150.0, 110.0], [210.0, 118.0]])
    window = draw_window(rng, middles, 60.0, 288, 360)
    assert 0 <= window.left <= 360 - window.width
    assert 0 <= window.top <= 288 - window.height
    assert window.width % 2 == window.height % 2 == 0
    assert window.width / window.height == pytest.approx(360 / 288, abs=0.03)
    edges = middles.min(axis=0) - ROOM * 60, middles.max(axis=0) + ROOM * 60
    assert window.left <= edges[0][0] + 2
    assert window.top <= edges[0][1] + 2
    assert window.left + window.width >= edges[1][0] - 2
    assert window.top + window.height >= edges[1][1] - 2


def test_a_face_larger_than_the_picture_takes_all_of_it():
    from composing.portraits import draw_window

    window = draw_window(np.random.default_rng(0), np.array([[50.0, 40.0]]), 90.0, 81, 101)
    assert window == (0, 0, 100, 80)


def test_a_stretch_follows_the_mouth(films):
    """The mouth of the portrait is red, wherever the window, and also in a mirror."""
    from composing.portraits import draw_portrait

    shapes = set()
    for seed in range(6):
        portrait = draw_portrait(*films, 70, (seed, 9))
        height, width = portrait.frames.shape[1:3]
        shapes.add((height, width))
        assert portrait.frames.shape == (70, height, width, 3)
        assert portrait.frames.dtype == np.uint8
        assert portrait.side % 2 == 0
        assert portrait.side <= min(height, width)
        for t in (0, 33, 69):
            x, y = portrait.mouths[t].round().astype(int)
            red, _, blue = portrait.frames[t, y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0)
            assert red > blue + 20
    assert len(shapes) > 1
    again = draw_portrait(*films, 70, (5, 9))
    np.testing.assert_array_equal(again.frames, portrait.frames)
    assert draw_portrait(*films, 31, (5, 9)).frames.shape[0] == 31


def test_large_films_are_shrunk(films, monkeypatch):
    from composing import portraits

    frames = np.zeros((2, 90, 120, 3), np.uint8)
    frames[:, 20:, 30:] = 200
    whole, scale = portraits.cut_window(frames, portraits.Window(10, 0, 100, 80))
    assert (whole.shape, scale) == ((2, 80, 100, 3), 1.0)
    assert whole[0, 19, 20].tolist() == [0, 0, 0]
    assert whole[0, 20, 20].tolist() == [200, 200, 200]
    monkeypatch.setattr(portraits, "LONGEST_SIDE", 50)
    half, scale = portraits.cut_window(frames, portraits.Window(10, 0, 100, 80))
    assert (half.shape, scale) == ((2, 40, 50, 3), 0.5)
    assert half[0, 30, 30] == pytest.approx(200, abs=3)


def test_mouths_are_forged_in_the_frames_of_the_labels(films):
    """Words, cut and conditions as for drawn faces: nothing else changes but blended words."""
    from composing import portraits
    from composing.acoustics import Recording
    from composing.rendering import Forgers, blended_frames, cut_frames, forged_frames
    from composing.utterances import Edit, Timeline

    samples = np.random.default_rng(0).normal(0, 0.08, 40_007).astype(np.float32)
    edits = [Edit("replace", False, True), Edit("replace", True, False)]
    spans = [(8001, 16_345), (30_011, 36_013)]
    timeline = Timeline(samples, samples.copy(), [(1000, 6000), *spans], edits, spans)
    recording = replace(Recording.draw(np.random.default_rng(0)), video_start_s=0.0)
    cut = cut_frames(np.random.default_rng(1), timeline, recording)
    portrait = portraits.draw_portrait(*films, len(cut.edges_s) - 1, (2, 9))

    def paint(frames, mouths, forged, side, strength):
        frames[forged] = 0

    forgers = Forgers(np.negative, paint, 1.5, 8000.0)
    frames = portraits.film(np.random.default_rng(3), portrait, timeline, cut, recording, forgers)
    forged = forged_frames(cut)
    assert 10 < forged.sum() < 20
    np.testing.assert_array_equal((frames == 0).all(axis=(1, 2, 3)), forged)
    changed = (frames != portrait.frames).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, forged | blended_frames(np.random.default_rng(3), timeline, cut))
    assert portrait.frames[forged].any()
