from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.examples.example import (
    cut_example,
    cut_record,
    example_on_grid,
    make_example,
    random_window,
    read_decodable,
)
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.extractors.base import Features


def counting(steps, hop_s, dim, start_s=0.0):
    """Features whose values are the number of their row."""
    values = np.arange(steps, dtype=np.float32)[:, None].repeat(dim, 1)
    return Features(values, TimeGrid(start_s, hop_s, steps))


def test_streams_meet_by_time():
    record = VideoRecord("x", "train")
    features = {"audio": [counting(40, 0.01, 2)], "visual": [counting(5, 0.04, 3, start_s=0.2)]}
    example = make_example(record, features, 0.04)
    assert example.grid == TimeGrid(0, 0.04, 10)
    audio, visual = example.streams
    np.testing.assert_allclose(audio[:, 0], np.arange(10) * 4 + 1.5, rtol=1e-6)
    assert example.masks[1].tolist() == [False] * 5 + [True] * 5
    np.testing.assert_allclose(visual[5:, 0], np.arange(5), atol=1e-6)


def test_a_clip_without_sound_has_an_empty_mask():
    features = {"audio": [counting(0, 0.01, 2)], "visual": [counting(5, 0.04, 3)]}
    example = make_example(VideoRecord("x", "train"), features, 0.04)
    assert not example.masks[0].any()
    assert example.masks[1].all()
    with pytest.raises(AvlocError, match="needs audio features"):
        make_example(VideoRecord("x", "train"), {"visual": [counting(5, 0.04, 3)]}, 0.04)


def test_several_extractors_of_a_modality_are_concatenated():
    features = {"audio": [counting(8, 0.02, 2), counting(4, 0.04, 3)], "visual": [counting(4, 0.04, 1)]}
    assert make_example(VideoRecord("x", "train"), features, 0.04).streams[0].shape == (4, 5)


def test_streams_on_a_given_grid():
    features = {"audio": [counting(10, 0.04, 2)], "visual": [counting(5, 0.04, 3)]}
    example = example_on_grid(VideoRecord("x", "train"), features, TimeGrid(0.08, 0.04, 6), 0.4)
    np.testing.assert_allclose(example.streams[0][:, 0], [2, 3, 4, 5, 6, 7], atol=1e-6)
    assert example.masks[1].tolist() == [True] * 3 + [False] * 3
    assert example.end_s == 0.4


def test_windows_keep_the_record_and_cuts_do_not():
    record = VideoRecord("x", "t", None, (Segment(0.1, 0.3),), (Segment(0.0, 0.04),))
    example = make_example(record, {"audio": [counting(10, 0.04, 2)], "visual": [counting(10, 0.04, 3)]}, 0.04)
    window = example.window(5, 8)
    assert window.record is record
    assert window.streams[1][:, 0].tolist() == [5, 6, 7]
    assert (window.grid.start_s, window.end_s) == (pytest.approx(0.2), pytest.approx(0.32))
    cut = cut_example(example, 5, 3)
    assert cut.record.audio_segments == (Segment(pytest.approx(0.2), 0.3),)
    assert cut.record.visual_segments == ()


def test_records_are_cut_to_a_window():
    record = VideoRecord("x", "t", 9.0, (Segment(0, 1), Segment(1, 3), Segment(4, 5)), (Segment(3, 9),))
    cut = cut_record(record, 1.0, 4.0)
    assert cut.audio_segments == (Segment(1, 3),)
    assert cut.visual_segments == (Segment(3, 4),)
    assert cut.duration_s == 9.0


def test_random_windows_keep_segments_whole():
    record = VideoRecord("x", "t", None, (Segment(3.0, 3.4),), (Segment(9.0, 9.2),))
    example = make_example(record, {"audio": [counting(1000, 0.01, 2)], "visual": [counting(250, 0.04, 3)]}, 0.04)
    segments = set()
    for seed in range(40):
        window = random_window(example, 4.0, np.random.default_rng(seed))
        assert window.grid.length == 100
        assert window.streams[0].shape == (100, 2)
        first = round(window.grid.start_s / 0.04)
        np.testing.assert_array_equal(window.streams[1], example.streams[1][first : first + 100])
        for segment in window.record.segments:
            segments.add(segment)
            assert window.grid.start_s <= segment.start_s < segment.end_s <= window.grid.end_s + 1e-9
    assert segments == {Segment(3.0, 3.4), Segment(9.0, 9.2)}  # never cut
    assert random_window(example, 40.0, np.random.default_rng(0)) is example


def test_steps_of_a_gap_are_masked():
    """Rows 8 to 20 of 10 ms, so 0.08 to 0.2 s: the steps of 40 ms from the third to the fifth."""
    audio = Features(np.ones((40, 2), np.float32), TimeGrid(0, 0.01, 40), ((8, 20), (39, 40)))
    features = {"audio": [audio, counting(10, 0.04, 1)], "visual": [counting(10, 0.04, 3)]}
    example = make_example(VideoRecord("x", "train"), features, 0.04)
    assert example.masks[0].tolist() == [True, True, False, False, False, *[True] * 5]
    assert example.masks[1].all()
    assert example.streams[0].shape == (10, 3)


@pytest.mark.parametrize("hop_s", [0.01, 0.02, 0.04, 0.16, 1 / 29.97])
@pytest.mark.parametrize("start_s", [0.0, 0.013, 0.2])
def test_rows_keep_their_values_and_times(hop_s, start_s):
    features = {"audio": [counting(33, hop_s, 2, start_s)], "visual": [counting(5, 0.04, 3)]}
    example = make_example(VideoRecord("x", "train"), features, 0.04, native_rate=True)
    values, rows = example.streams[0], example.rows[0]
    assert rows.present.sum() == 33
    assert values[rows.present, 0].tolist() == list(range(33))  # nothing is averaged
    np.testing.assert_allclose(rows.grid.centers_s()[rows.present], start_s + (np.arange(33) + 0.5) * hop_s)
    assert not values[~rows.present].any()
    assert example.masks[1].sum() == 5


def test_gaps_of_rows_lead_to_masks_of_steps():
    gappy = replace(counting(40, 0.01, 2), gaps=((8, 20), (34, 35)))
    example = make_example(
        VideoRecord("x", "t"), {"audio": [gappy], "visual": [counting(0, 0.04, 3)]}, 0.04, native_rate=True
    )
    present = example.rows[0].present
    assert np.flatnonzero(~present).tolist() == [*range(8, 20), 34]
    assert example.masks[0].tolist() == [True, True, False, False, False, True, True, True, True, True]
    assert not example.masks[1].any()
    assert not example.rows[1].present.any()


def test_several_extractors_share_the_finest_clock():
    features = {"audio": [counting(8, 0.02, 2), counting(16, 0.01, 3)], "visual": [counting(4, 0.04, 1)]}
    example = make_example(VideoRecord("x", "train"), features, 0.04, native_rate=True)
    assert example.streams[0].shape == (16, 5)
    assert example.streams[0][:, 2].tolist() == list(range(16))
    np.testing.assert_allclose(example.streams[0][1:15, 0], np.arange(1, 15) / 2 - 0.25)  # between middles


@pytest.mark.parametrize("begin", [0, 3, 7])
def test_a_window_of_rows_equals_rows_of_the_window(begin):
    """As a window is cut from a long example, and as streaming makes it."""
    features = {"audio": [counting(100, 0.01, 2, 0.013)], "visual": [counting(29, 1 / 29.97, 3, 0.07)]}
    example = make_example(VideoRecord("x", "t"), features, 0.04, native_rate=True)
    window = example.window(begin, begin + 9)
    direct = example_on_grid(example.record, features, window.grid, window.end_s, native_rate=True)
    for k in range(2):
        np.testing.assert_array_equal(window.streams[k], direct.streams[k])
        np.testing.assert_array_equal(window.rows[k].present, direct.rows[k].present)
        np.testing.assert_array_equal(window.masks[k], direct.masks[k])
        assert window.rows[k].grid.start_s == pytest.approx(direct.rows[k].grid.start_s)


def test_a_clip_that_cannot_be_decoded_is_replaced_by_the_next_one():
    def read(clip):
        if clip not in readable:
            raise MediaError(f"{clip}.mp4: broken")
        return example

    readable, example = (
        {2},
        make_example(
            VideoRecord("2.mp4", "t"), {"audio": [counting(3, 0.01, 2)], "visual": [counting(2, 0.04, 1)]}, 0.04
        ),
    )
    assert read_decodable(read, 2, 5, allow_missing=True) is example
    with pytest.raises(MediaError, match=r"^4\.mp4: broken"):
        read_decodable(read, 4, 5, allow_missing=False)
    with pytest.warns(UserWarning, match=r"^left out: 4\.mp4: broken"):
        assert read_decodable(read, 4, 5, allow_missing=True) is example
    readable.clear()
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(MediaError, match="none of the 5 clips can be decoded"),
    ):
        read_decodable(read, 4, 5, allow_missing=True)
