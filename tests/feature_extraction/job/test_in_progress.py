from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from avloc.feature_extraction.job.device_batches import DeviceQueue
from avloc.feature_extraction.job.in_progress import ClipInProgress, ShardInProgress, ShardSpec
from avloc.feature_extraction.job.worker import Chunk, ClipDone
from avloc.feature_extraction.store.shard_tables import read_tables


@pytest.fixture
def shard(tmp_path):
    """A shard of two clips by extractors 0 and 2, of widths 2 and 3, opened."""
    paths = {0: tmp_path / "0.h5", 2: tmp_path / "2.h5"}
    shard = ShardInProgress(ShardSpec(("a", "b"), paths, {0: "first", 2: "third"}), last=1)
    assert not shard.is_started
    shard.open([SimpleNamespace(dim=dim, dtype="float16") for dim in (2, 9, 3)])
    return shard


def rows(extractor, count, dim):
    return Chunk(extractor, True, 0, None, np.ones((count, dim), np.float16))


def test_chunks_are_written_in_order_and_the_last_clip_closes_the_shard(shard):
    first, last = ClipInProgress(0, "a", shard, size=5), ClipInProgress(1, "b", shard)
    first.add(rows(0, 4, 2), for_device=False)
    first.add(rows(2, 1, 3), for_device=False)
    first.add(rows(0, 1, 2), for_device=False)
    assert first.nbytes == 2 * (8 + 3 + 2)
    assert first.unreleased_bytes == 0
    assert first.write() is None
    assert (first.nbytes, first.is_decided) == (0, False)
    first.done = ClipDone((0.25, 0.5), 1.0, 0, 0.0, 0.0)
    assert first.is_decided
    first.finish()
    last.fail("no picture")
    last.finish()
    for k, (offsets, start_s) in {0: ([0, 5, 5], 0.25), 2: ([0, 1, 1], 0.5)}.items():
        tables = read_tables(shard.spec.paths[k])
        assert (tables.files, tables.status) == (["a", "b"], ["ok", "no picture"])
        assert tables.offsets.tolist() == offsets
        assert tables.starts.tolist() == [start_s, 0.0]
        assert tables.bytes.tolist() == [5, -1]


def test_streams_wait_for_their_network(shard, toys):
    import avloc_toys

    device = DeviceQueue({2: avloc_toys.Network()})
    clip = ClipInProgress(0, "a", shard)
    try:
        clip.add(rows(0, 1, 2), for_device=True)
        clip.add(Chunk(2, False, 1, 4, np.zeros((6, 6, 8), np.uint8)), for_device=True)
        assert clip.unreleased_bytes == 4 + 288
        (_, none), (_, queued) = clip.unreleased
        assert none is None
        assert clip.write() is None
        assert [waiting is queued for waiting in clip.chunks] == [True]  # the rows before it are written
        queued.hand_over("a", device)
        assert queued.nbytes == 288 + 7 * 3 * 2  # the stream, and at most seven rows of three numbers
        device.flush()
        while queued.rows is None:
            device.wake.poll(10)
        assert queued.rows.shape == (3, 3)
        assert clip.write() is None
        assert not clip.chunks
    finally:
        device.close()
        shard.discard()


def test_a_stream_that_fails(shard, toys):
    import avloc_toys

    device = DeviceQueue({2: avloc_toys.Network(frames=6)})
    clip = ClipInProgress(0, "a", shard)
    try:
        clip.add(Chunk(2, False, 0, None, np.zeros((6, 6, 8), np.uint8)), for_device=True)
        clip.chunks[0].hand_over("a", device)
        device.flush()
        device.wake.poll(10)
        assert clip.write() == "a: network: RuntimeError: too much"
    finally:
        device.close()
        shard.discard()


def test_a_reset_clip_starts_again(shard):
    clip = ClipInProgress(0, "a", shard)
    clip.add(rows(0, 4, 2), for_device=True)
    clip.write()
    clip.add(rows(0, 4, 2), for_device=True)
    clip.reset()
    shard.drop_clip()
    assert (clip.nbytes, clip.unreleased_bytes) == (0, 0)
    clip.add(rows(0, 1, 2), for_device=True)
    clip.write()
    clip.done = ClipDone((0.0, 0.0), 1.0, 0, 0.0, 0.0)
    clip.finish()
    shard.close()
    assert read_tables(shard.spec.paths[0]).offsets.tolist() == [0, 1]


def test_a_discarded_shard_leaves_nothing(shard, tmp_path):
    assert shard.is_started
    shard.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_gave_nothing_fails_for_its_extractor_alone(shard):
    first, last = ClipInProgress(0, "a", shard, size=5), ClipInProgress(1, "b", shard)
    first.add(rows(2, 4, 3), for_device=False)
    first.write()
    first.done = ClipDone(
        (0.0, 0.5), 1.0, 0, 0.0, 0.0, gaps=((), ((1, 3),)), failures=("no frame", None), problems=("no frame", "a gap")
    )
    assert first.done.failure == "no frame"
    first.finish()
    last.fail("gone")
    last.finish()
    tables = [read_tables(shard.spec.paths[k]) for k in (0, 2)]
    assert [each.status[0] for each in tables] == ["no frame", "ok"]
    assert [each.offsets.tolist() for each in tables] == [[0, 0, 0], [0, 4, 4]]
    assert tables[1].problems[0] == ("no frame", "a gap")
    assert (tables[0].gaps_of(0), tables[1].gaps_of(0)) == ((), ((1, 3),))
