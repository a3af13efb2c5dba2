from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.heads.maps import MapTargetMaker, boundary_map, boundary_overlap, decode_map, rounded_frame_labels

DATA = np.load(Path(__file__).parents[1] / "data" / "batfd" / "postprocess.npz")


@pytest.mark.parametrize("k", range(4))
def test_labels_equal_the_published_ones(k):
    got = boundary_map(DATA[f"label{k}_segments"], TimeGrid(0, 0.04, 256), 40, int(DATA[f"label{k}_frames"]))
    assert got == pytest.approx(DATA[f"label{k}_map"], abs=1e-6)


def _reference_map(segments, frames, durations, steps):
    label = np.zeros((durations, frames))
    for d in range(durations):
        for t in range(frames):
            if t + d <= steps:
                for start, end in segments:
                    shared = max(0.0, min(end, t + d + 1) - max(start, t))
                    label[d, t] = max(label[d, t], shared / (max(end, t + d + 1) - min(start, t)) if shared else 0)
    return label


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 30), st.floats(-3, 30)), max_size=4), st.integers(1, 9), st.integers(1, 23), st.data()
)  # fmt: skip
def test_labels_equal_plain_loops(pairs, durations, frames, data):
    segments = np.array([sorted(p) for p in pairs]).reshape(-1, 2)
    steps = data.draw(st.integers(0, frames))
    got = boundary_map(segments, TimeGrid(0, 1.0, frames), durations, steps)
    assert got == pytest.approx(_reference_map(segments, frames, durations, steps), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_round_trip_gives_back_what_lies_on_frames(data):
    """Ground truth → map → aligned decoding: the best rows are the segments, whatever they are, as long as D."""
    frames, durations = data.draw(st.integers(3, 60)), data.draw(st.integers(1, 12))
    count = data.draw(st.integers(0, 3))
    found, position = [], 0
    for _ in range(count):
        start = position + data.draw(st.integers(0, 9))
        length = data.draw(st.integers(1, durations))
        if start + length > frames:
            break
        found.append((start, start + length))
        position = start + length + 1
    grid = TimeGrid(0.0, 0.04, frames)
    segments = grid.to_seconds(np.array(found, dtype=float).reshape(-1, 2))
    proposals = decode_map(boundary_map(segments, grid, durations, frames), grid)
    best = proposals.segments[proposals.scores > 0.999]
    assert sorted(map(tuple, best.round(6))) == sorted(map(tuple, segments.round(6)))


def test_shares_by_hand():
    """A boundary at 5.0 reaches from 3.5 to 6.5."""
    grid = TimeGrid(0, 0.04, 9)
    assert boundary_overlap(np.array([0.2]), grid).tolist() == pytest.approx([0, 0, 0, 0.5, 1, 1, 0.5, 0, 0], abs=1e-6)
    assert boundary_overlap(np.array([0.0, 0.36]), grid).tolist() == pytest.approx(
        [1, 0.5, 0, 0, 0, 0, 0, 0.5, 1], abs=1e-6
    )
    assert not boundary_overlap(np.zeros(0), grid).any()


def test_whole_steps():
    grid = TimeGrid(0, 0.04, 6)
    assert rounded_frame_labels(np.array([[0.05, 0.2]]), grid).tolist() == [0, 1, 1, 1, 1, 0]
    assert rounded_frame_labels(np.array([[0.04, 0.08], [-1.0, 0.03]]), grid).tolist() == [0, 1, 0, 0, 0, 0]
    assert rounded_frame_labels(np.array([[0.2, 9.0]]), grid).tolist() == [0, 0, 0, 0, 0, 1]


def test_maker_keeps_modalities_apart():
    record = VideoRecord("x", "t", None, (Segment(0.04, 0.12),), (Segment(0.2, 0.28), Segment(0.0, 0.28)))
    targets, unassigned_segments = MapTargetMaker(3)(record, TimeGrid(0, 0.04, 8), 11)
    assert unassigned_segments == 1  # 7 steps do not fit 3 durations
    assert targets.fused_map.shape == (3, 11)
    assert targets.modality_maps[0, 1, 1] == pytest.approx(1)
    assert targets.modality_maps[1, 1, 5] == pytest.approx(1)
    assert targets.modality_maps[0, 1, 5] == 0
    assert targets.frame_labels.tolist() == [[0, 1, 1] + [0] * 8, [1] * 7 + [0] * 4]
    assert targets.mask.tolist() == [True] * 8 + [False] * 3
    assert targets.is_fake == 1
    assert targets.modality_boundaries.shape == (2, 2, 11)
    real, unassigned_segments = MapTargetMaker(3)(VideoRecord("y", "t"), TimeGrid(0, 0.04, 8), 8)
    assert (real.is_fake, unassigned_segments, real.fused_map.max()) == (0, 0, 0)


def test_wrong_durations():
    with pytest.raises(AvlocError, match="at least 1 duration, got 0"):
        boundary_map(np.zeros((0, 2)), TimeGrid(0, 1, 3), 0)
