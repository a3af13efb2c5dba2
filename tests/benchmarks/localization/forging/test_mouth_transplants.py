from __future__ import annotations

import numpy as np


def test_mouths_move_by_fractions_of_a_pixel():
    from forging.mouth_transplants import cut_mouth

    x, y = np.meshgrid(np.arange(60), np.arange(50))
    frame = np.stack([4 * x, 5 * y, 0 * x], axis=-1).astype(np.uint8)
    patch = cut_mouth(frame, np.array([30.25, 20.0]), (8, 12), np.array([18.0, 22.0]), 16)
    # The pixel (left, top) of the square comes from (left + 30.25 − 18, top + 20 − 22).
    assert patch[0, 0].tolist() == [4 * 20.25, 5 * 10, 0]
    assert patch[9, 6].tolist() == [4 * 26.25, 5 * 19, 0]


def test_a_mouth_takes_the_colour_around_it():
    """Frame 1 is 30 levels brighter than frame 0, but for its mouth, which is black."""
    from forging.mouth_transplants import FilmedFace, transplant

    frames = np.stack([np.full((40, 50, 3), level, np.uint8) for level in (100, 130)])
    frames[1, 18:22, 23:27] = 0
    face = FilmedFace(frames, np.array([[25.0, 20.0], [25.0, 20.0]]), 16)
    painted = frames.copy()
    assert transplant(face, painted, 0, 1) == 0
    assert painted[0, 20, 25].tolist() == [0, 0, 0]  # black less 30 levels
    assert (painted[0, 12:28, 17:20] == 100).all()
    assert (painted[1] == frames[1]).all()
    assert (frames[0] == 100).all()


def test_frames_that_no_other_stretch_can_serve_keep_their_mouths_and_are_painted():
    from forging.mouth_transplants import FilmedFace, replace_mouths

    frames = np.random.default_rng(0).integers(0, 255, (9, 40, 50, 3)).astype(np.uint8)
    face = FilmedFace(frames.copy(), np.full((9, 2), 20.0), 16)
    seen = []

    def forger(frames, mouths, forged, side, strength):
        seen.append((frames.copy(), forged.tolist(), side))

    replace_mouths(face, frames, 2, 7, forger, np.random.default_rng(1))
    [(before, forged, side)] = seen
    assert (before == face.frames).all()
    assert (forged, side) == ([False] * 2 + [True] * 5 + [False] * 2, 16)
    replace_mouths(face, frames, 5, 7, forger, np.random.default_rng(1))
    assert (seen[1][0][5:7] != face.frames[5:7]).any()
