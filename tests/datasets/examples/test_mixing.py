from __future__ import annotations

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.examples.example import cut_example, make_example
from avloc.datasets.examples.mixing import (
    borrow_forgery,
    fade_weights,
    holds_sound,
    read_samples,
    splice_real_piece,
    write_samples,
)
from avloc.feature_extraction.extractors.base import Features


def clip(sound, pixels, steps=60, *, audio_start_s=0.0, gaps=(), native_rate=True, whole=True, **segments):
    """A clip whose samples are all `sound`, and whose pixels are all `pixels`; features instead if not `whole`."""
    rows = 4 * steps
    types = (np.int16, np.uint8) if whole else (np.float32, np.float32)
    audio = Features(np.full((rows, 160), sound, types[0]), TimeGrid(audio_start_s, 0.01, rows), gaps)
    visual = Features(np.full((steps, 25), pixels, types[1]), TimeGrid(0.0, 0.04, steps))
    record = VideoRecord(f"{sound}.mp4", "train", **segments)
    return make_example(record, {"audio": [audio], "visual": [visual]}, 0.04, native_rate=native_rate)


def changed_span_s(stream, value, row_s):
    """Begin and end in seconds of the rows that are not `value`; they have no holes."""
    rows = np.flatnonzero((stream.reshape(-1) if row_s < 0.001 else stream[:, 0]) != value)
    assert rows.tolist() == list(range(rows[0], rows[-1] + 1))
    return rows[0] * row_s, (rows[-1] + 1) * row_s


def test_weights_fade_in_and_out():
    weight = fade_weights(1000)
    assert weight[:80].tolist() == pytest.approx((np.arange(80) / 80).tolist())
    np.testing.assert_array_equal(weight, weight[::-1])
    assert (weight[80:920] == 1).all()
    assert fade_weights(0).tolist() == []
    assert fade_weights(1).tolist() == [1.0]


def test_samples_are_read_and_written_by_time():
    example = clip(0, 9, audio_start_s=0.0132)
    example.streams[0].reshape(-1)[: 240 * 160] = np.arange(240 * 160) % 30000
    example.streams[0][~example.rows[0].present] = 0
    assert holds_sound(example, 0)
    assert not holds_sound(example, 1)
    assert not holds_sound(clip(1, 9, whole=False), 0)
    first = round((0.4 - example.rows[0].grid.start_s) * 16000)
    samples = read_samples(example, 0, 10, 3)
    np.testing.assert_array_equal(np.rint(samples * 32768), example.streams[0].reshape(-1)[first : first + 1920])
    np.testing.assert_array_equal(write_samples(example, 0, 10, samples), example.streams[0])  # a round trip
    new = np.full(1920, 0.5, np.float32)
    changed = write_samples(example, 0, 10, new).reshape(-1)
    assert (changed[first + 80 : first + 1840] == 16384).all()
    np.testing.assert_array_equal(changed[:first], example.streams[0].reshape(-1)[:first])
    np.testing.assert_array_equal(changed[first + 1920 :], example.streams[0].reshape(-1)[first + 1920 :])


def test_a_cut_stays_real():
    real, other = clip(1000, 10), clip(-9000, 200, steps=33)
    lengths = set()
    for seed in range(30):
        mixed = splice_real_piece(real, other, np.random.default_rng(seed))
        assert mixed.record == real.record
        assert mixed.record.segments == ()
        begin, end = changed_span_s(mixed.streams[1], 10, 0.04)
        assert 0.1 <= end - begin <= 0.8 + 1e-9
        lengths.add(round((end - begin) / 0.04))
        # Sound and picture come together; the first sample has weight 0.
        assert changed_span_s(mixed.streams[0], 1000, 1 / 16000) == pytest.approx((begin, end), abs=2 / 16000)
        assert set(np.unique(mixed.streams[1])) == {10, 200}
        middle = mixed.streams[0].reshape(-1)[round(begin * 16000) + 80 : round(end * 16000) - 80]
        assert (middle == -9000).all()
        assert np.abs(np.diff(mixed.streams[0].reshape(-1).astype(int))).max() <= 10000 / 80 + 1  # no click
    assert min(lengths) == 3
    assert len(lengths) > 8
    assert (real.streams[0] == 1000).all()  # a copy was changed


def test_a_borrowed_forgery_brings_its_label():
    audio, visual = Segment(0.613, 0.951), Segment(0.65, 0.97)
    fake = clip(0, 0, steps=50, audio_segments=(audio,), visual_segments=(visual,))
    fake.streams[0].reshape(-1)[round(0.613 * 16000) : round(0.951 * 16000)] = 8000
    fake.streams[1][16:24] = 77
    for seed in range(30):
        mixed = borrow_forgery(clip(1000, 10), fake, np.random.default_rng(seed))
        (one,), (two,) = mixed.record.audio_segments, mixed.record.visual_segments
        assert one.duration_s == pytest.approx(audio.duration_s)
        assert two.start_s - one.start_s == pytest.approx(visual.start_s - audio.start_s)
        assert (one.start_s - audio.start_s) / 0.04 == pytest.approx(round((one.start_s - audio.start_s) / 0.04))
        samples = mixed.streams[0].reshape(-1)
        loud = np.flatnonzero(samples == 8000)
        assert loud[0] / 16000 == pytest.approx(one.start_s, abs=0.0051)  # a fade where there is no margin
        assert (loud[-1] + 1) / 16000 == pytest.approx(one.end_s, abs=0.0051)
        crops = np.flatnonzero(mixed.streams[1][:, 0] == 77)
        assert (crops[0] - 16) * 0.04 == pytest.approx(one.start_s - audio.start_s)
        begin, end = changed_span_s(mixed.streams[1], 10, 0.04)
        assert begin <= one.start_s + 1e-9
        assert two.end_s <= end + 1e-9
        assert end - begin <= 0.97 - 0.6 + 2 * 0.5 + 0.08


def test_margins_differ_so_that_cuts_are_no_hint():
    fake = clip(0, 0, steps=50, audio_segments=(Segment(0.8, 1.0),))
    margins = []
    for seed in range(40):
        mixed = borrow_forgery(clip(1000, 10), fake, np.random.default_rng(seed))
        begin, end = changed_span_s(mixed.streams[1], 10, 0.04)
        (segment,) = mixed.record.audio_segments
        margins.append((segment.start_s - begin, end - segment.end_s))
        assert mixed.record.visual_segments == ()
    assert np.ptp(margins, axis=0).min() > 0.3


def test_other_segments_of_the_piece_are_cut_to_it():
    fake = clip(0, 0, steps=50, audio_segments=(Segment(0.4, 0.6), Segment(0.7, 1.9)))
    for seed in range(30):
        mixed = borrow_forgery(clip(1000, 10), fake, np.random.default_rng(seed))
        begin, end = changed_span_s(mixed.streams[1], 10, 0.04)
        for segment in mixed.record.audio_segments:
            assert begin - 1e-9 <= segment.start_s < segment.end_s <= end + 1e-9


def test_averaged_features_and_windows():
    fake = clip(5, 6, whole=False, native_rate=False, audio_segments=(Segment(1.0, 1.2),))
    real = cut_example(clip(1, 2, whole=False, native_rate=False, steps=90), 31, 40)
    for seed in range(9):
        mixed = borrow_forgery(real, fake, np.random.default_rng(seed))
        (segment,) = mixed.record.audio_segments
        assert real.grid.start_s <= segment.start_s < segment.end_s <= real.grid.end_s + 1e-9
        rows = np.flatnonzero(mixed.streams[0][:, 0] == 5)
        first, end = real.grid.to_steps(np.array(segment)).tolist()
        assert rows[0] <= first + 1e-6
        assert end <= rows[-1] + 1 + 1e-6
        assert set(np.unique(mixed.streams[1])) <= {2.0, 6.0}


def test_a_piece_needs_its_time_in_all_streams():
    random = np.random.default_rng(0)
    real, short = clip(1000, 10), clip(2, 3, steps=2)
    assert splice_real_piece(real, short, random) is None
    assert splice_real_piece(short, real, random) is None
    assert borrow_forgery(real, clip(2, 3), random) is None  # no fake
    assert borrow_forgery(short, clip(2, 3, audio_segments=(Segment(0.1, 1.9),)), random) is None  # no room
    torn = clip(2, 3, gaps=((0, 240),), visual_segments=(Segment(1.0, 1.2),))
    assert borrow_forgery(real, torn, random) is None
    silent = clip(2, 3, gaps=((0, 240),))
    mixed = borrow_forgery(silent, clip(5, 6, visual_segments=(Segment(1.0, 1.2),)), random)
    assert mixed.record.modality == "visual"
    assert not mixed.streams[0].any()
    deaf = borrow_forgery(silent, clip(5, 6, audio_segments=(Segment(1.0, 1.2),)), random)
    assert deaf.record.segments == ()  # the forgery is in the stream that the clip lacks
    empty = clip(1, 1, steps=0)
    assert splice_real_piece(empty, real, random) is None
    assert borrow_forgery(empty, torn, random) is None


def test_gaps_of_the_clip_stay_empty():
    real = clip(1000, 10, gaps=((100, 110),))
    for seed in range(20):
        mixed = splice_real_piece(real, clip(-9000, 200), np.random.default_rng(seed))
        assert not mixed.streams[0][100:110].any()
        np.testing.assert_array_equal(mixed.rows[0].present, real.rows[0].present)
