from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.loading.samplers import BucketSampler
from avloc.errors import AvlocError


def clips(batches):
    return [index.clip for batch in batches for index in batch]


def test_batches_have_similar_lengths_and_cover_an_epoch():
    lengths = np.random.default_rng(0).integers(50, 500, 101).tolist()
    sampler = BucketSampler(lengths, 8, seed=3)
    first, second = list(sampler), list(sampler)
    assert sorted(clips(first)) == list(range(101))
    assert first != second
    assert len(first) == len(sampler)
    again = BucketSampler(lengths, 8, seed=3)
    assert list(again) == first
    again.set_epoch(1)
    assert list(again) == second
    padded = sum(len(b) * max(lengths[index.clip] for index in b) for b in first)
    assert padded < 1.25 * sum(lengths)


@pytest.mark.parametrize(("count", "size", "ranks"), [(101, 8, 2), (101, 4, 3), (17, 8, 2), (33, 4, 4), (5, 2, 5)])
def test_ranks_share_an_epoch(count, size, ranks):
    lengths = np.random.default_rng(1).integers(50, 500, count)
    parts = [BucketSampler(lengths, size, seed=1, rank=r, ranks=ranks) for r in range(ranks)]
    batches = [list(part) for part in parts]
    assert len({len(b) for b in batches}) == 1  # equal numbers of batches, or a rank would wait forever
    assert all(len(b) == len(part) for b, part in zip(batches, parts, strict=True))
    assert all(batch for rank in batches for batch in rank)
    assert sorted(k for b in batches for k in clips(b)) == list(range(count))


def test_a_resumed_epoch_continues():
    lengths = np.random.default_rng(2).integers(50, 500, 77)
    whole = BucketSampler(lengths, 8, seed=5)
    whole.set_epoch(3)
    expected = list(whole)
    resumed = BucketSampler(lengths, 8, seed=5)
    resumed.resume(3, 4)
    resumed.set_epoch(3)
    assert list(resumed) == expected[4:]
    following = list(resumed)
    assert sorted(clips(following)) == list(range(77))  # the next epoch is whole


def test_classes_are_drawn_equally_often():
    classes = np.array([0] * 90 + [1] * 9 + [3] * 3)
    sampler = BucketSampler(np.full(102, 7), 8, seed=0, classes=classes)
    drawn = classes[clips(sampler)]
    assert [int((drawn == k).sum()) for k in (0, 1, 3)] == [34, 34, 34]
    assert len(set(clips(sampler)) & set(range(99, 102))) == 3


def test_draws_of_a_clip_are_numbered_within_an_epoch():
    """Over all batches and ranks, in the order of the batches, resumed or not."""
    lengths, classes = np.random.default_rng(4).integers(50, 500, 35), np.array([0] * 32 + [1] * 3)
    samplers = [BucketSampler(lengths, 2, seed=6, rank=rank, ranks=2, classes=classes) for rank in range(2)]
    for epoch in range(2):
        parts = [list(sampler) for sampler in samplers]
        batches = [[*first, *second] for first, second in zip(*parts, strict=True)]
        earlier = []
        for index in (index for batch in batches for index in batch):
            assert index.repeat == earlier.count(index.clip)
            earlier.append(index.clip)
        assert max(earlier.count(clip) for clip in (32, 33, 34)) == 6  # 18 draws of three clips
        resumed = BucketSampler(lengths, 2, seed=6, rank=1, ranks=2, classes=classes)
        resumed.resume(epoch, 5)
        resumed.set_epoch(epoch)
        assert list(resumed) == parts[1][5:]
    plain = BucketSampler(lengths, 2, seed=6)
    assert {index.repeat for batch in plain for index in batch} == {0}


def test_without_shuffling_clips_are_ordered_by_length():
    sampler = BucketSampler([5, 1, 4, 2, 3], 2, shuffle=False)
    assert [[index.clip for index in batch] for batch in sampler] == [[1, 3], [4, 2], [0]]
    assert clips(sampler) == [1, 3, 4, 2, 0]  # every epoch


def test_seeds_differ_between_draws_and_epochs():
    sampler = BucketSampler([7] * 9, 4, seed=1)
    seeds = [index.seed for _ in range(3) for batch in sampler for index in batch]
    assert len(set(seeds)) == 27


def test_no_clips():
    with pytest.raises(AvlocError, match="1 processes cannot share 0 clips"):
        BucketSampler([], 4)


def test_sampler_errors():
    with pytest.raises(AvlocError, match="want 0 ≤ rank < ranks, got 2 of 2"):
        BucketSampler([1, 2], 1, rank=2, ranks=2)
    with pytest.raises(AvlocError, match="3 processes cannot share 2 clips"):
        BucketSampler([1, 2], 1, ranks=3)


def test_draws_know_their_epoch():
    sampler = BucketSampler([3, 1, 2], batch_size=2)
    assert [{index.epoch for batch in sampler for index in batch} for _ in range(3)] == [{0}, {1}, {2}]
    sampler.set_epoch(7)
    assert {index.epoch for batch in sampler for index in batch} == {7}
