from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avloc.augment.picture.timing import HeldFrames


def shown(held, count, seed=1):
    """Index of the frame that each frame shows."""
    frames = np.arange(count, dtype=np.uint8)[:, None, None]
    return held(np.random.default_rng(seed), frames).ravel().astype(int)


@given(
    count=st.integers(1, 60),
    share=st.floats(0, 1),
    level=st.floats(0, 1),
    run=st.integers(1, 70),
    seed=st.integers(0, 2**32),
)
def test_frames_are_held_and_never_come_early(count, share, level, run, seed):
    indices = shown(HeldFrames(share=share, run=run, level=level), count, seed)
    assert indices[0] == 0
    assert (indices <= np.arange(count)).all()
    kept = indices == np.arange(count)
    assert (~kept).sum() <= round(share * level * count)
    for k in np.flatnonzero(~kept):
        assert indices[k] == indices[k - 1]


@pytest.mark.parametrize(("share", "dropped"), [(0.0, 0), (0.2, 10), (1.0, 49)])
def test_single_drops_are_as_many_as_stated(share, dropped):
    assert (shown(HeldFrames(share=share), 50) != np.arange(50)).sum() == dropped


def test_a_freeze_is_one_run():
    indices = shown(HeldFrames(share=0.3, run=1000), 50)
    frozen = np.flatnonzero(indices != np.arange(50))
    assert frozen.tolist() == [*range(frozen[0], frozen[0] + 15)]
    assert {int(k) for k in indices[frozen]} == {int(frozen[0]) - 1}


def test_half_the_level_drops_half_as_many():
    assert (shown(HeldFrames(share=0.4, level=0.5), 50) != np.arange(50)).sum() == 10


def test_every_frame_but_the_first_can_be_dropped():
    dropped = {
        int(k) for seed in range(99) for k in np.flatnonzero(shown(HeldFrames(share=0.1), 10, seed) < np.arange(10))
    }
    assert dropped == {*range(1, 10)}
