from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.job import device_batches as module
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.device_batches import DeviceQueue, StreamBatcher
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def network(toys):
    import avloc_toys

    return avloc_toys.Network


def frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, 6, 8), dtype=np.uint8)


def run(executor, extractor, streams, low=0, high=None):
    """Run the network on streams; returns their rows, no longer pending."""
    rings = []
    batcher = StreamBatcher(executor, extractor, lambda: rings.append(1))
    results = [batcher.add(f"{k}.mp4", stream, low, high) for k, stream in enumerate(streams)]
    batcher.flush()
    executor.submit(lambda: None).result()
    assert rings
    batcher.settle()
    return results


def test_rows_to_keep_are_half_precision(executor, network):
    streams = [frames(7, 1), frames(3, 2)]
    results = run(executor, network(), streams, 1, 5)
    alone = [network().rows([s])[0] for s in streams]
    for pending, rows, count in zip(results, alone, (4, 2), strict=True):
        assert pending.rows.dtype == np.float16
        assert pending.nbytes == pending.rows.nbytes == count * 3 * 2
        np.testing.assert_array_equal(pending.rows, rows[1:5].astype(np.float16))


def test_pending_rows_count_as_memory(executor, network):
    batcher = StreamBatcher(executor, network(dim=100), lambda: None)
    pending = batcher.add("a.mp4", frames(7))
    assert pending.nbytes == 7 * 48 + 8 * 100 * 2  # the stream, and at most eight rows of it


def test_a_batch_is_limited_by_its_rows_too(executor, network, monkeypatch):
    monkeypatch.setattr(module, "BATCH_BYTES", 10_000)
    sizes = []
    extractor = network(dim=200)
    original = extractor.rows
    extractor.rows = lambda streams: sizes.append(len(streams)) or original(streams)
    run(executor, extractor, [frames(5)] * 7)  # 240 bytes, and 6 rows of 800
    assert sizes == [2, 2, 2, 1]


@pytest.mark.parametrize("error", ["RuntimeError", "memory"])
def test_a_batch_that_is_too_large_is_halved(executor, network, error):
    sizes = []
    extractor = network(together=2, error=error)
    original = extractor.rows
    extractor.rows = lambda streams: sizes.append(len(streams)) or original(streams)
    results = run(executor, extractor, [frames(5, k) for k in range(8)])
    assert all(pending.rows is not None and pending.stream is None for pending in results)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_an_odd_stream_fails_alone(executor, network):
    results = run(executor, network(frames=6), [frames(5), frames(6), frames(7)])
    assert [pending.rows is None for pending in results] == [False, True, False]
    assert results[1].failure == "1.mp4: network: RuntimeError: too much"


def test_rows_that_are_not_finite_fail_alone(executor, network):
    extractor = network()
    original = extractor.rows
    extractor.rows = lambda streams: [rows * (np.nan if len(rows) == 6 else 1) for rows in original(streams)]
    results = run(executor, extractor, [frames(5), frames(6)])
    assert [pending.rows is None for pending in results] == [False, True]
    assert results[1].failure == "1.mp4: network gave features that are not finite numbers"


@pytest.mark.parametrize(
    ("arguments", "constants", "message"),
    [
        ({"together": 0, "error": "memory"}, {}, "too little memory on the device for a single stream, of 0.mp4"),
        ({"together": 0}, {"MAX_EQUAL_FAILURES": 3}, "3 streams in a row failed alike: RuntimeError: too much"),
    ],
)
def test_failures_of_the_device_end_the_job(executor, network, monkeypatch, arguments, constants, message):
    for name, value in constants.items():
        monkeypatch.setattr(module, name, value)
    with pytest.raises(AvlocError, match=message):
        run(executor, network(**arguments), [frames(5, k) for k in range(4)])


def test_failures_with_a_success_between_are_of_the_streams(executor, network, monkeypatch):
    monkeypatch.setattr(module, "MAX_EQUAL_FAILURES", 2)
    results = run(executor, network(frames=6), [frames(6), frames(5), frames(6), frames(5)])
    assert [pending.failure is None for pending in results] == [False, True, False, True]


def test_a_lost_device_ends_the_job(toys, clips, names, tmp_path, monkeypatch):
    """As after an illegal memory access: every further call fails. None of these failures may be recorded."""
    settings = ExtractionSettings(clips, (("avloc_toys.Network", {"frames": 10}),), networks_in_parent=True)
    monkeypatch.setattr("avloc_toys.Network.device", "cuda:7", raising=False)
    monkeypatch.setattr("avloc_toys.Network.to", lambda *_: None)
    monkeypatch.setattr("avloc_toys.Network.network", lambda self, x: x @ x.new_ones(48, 3), raising=False)
    monkeypatch.setattr("avloc_toys.Network.running", lambda self: __import__("torch").inference_mode())
    for works, message in (
        (True, None),
        (False, "network: the device cannot be used any more: RuntimeError: too much"),
    ):
        monkeypatch.setattr(module, "_works", lambda device, works=works: works)
        store = FeatureStore(tmp_path / f"s{works}")
        if message is None:
            assert len(job.extract(names, store, settings).failures) == 6  # each has a window of 10 frames
        else:
            with pytest.raises(AvlocError, match=message):
                job.extract(names, store, settings)
            assert not [*store.root.rglob("*.h5")]


def test_a_missing_device_does_not_work():
    assert module._works("cpu")
    assert not module._works("cuda:77")


def test_the_queue_wakes_after_a_batch(network):
    queue = DeviceQueue({0: network(), 3: network()})
    try:
        pending = [queue.batchers[k].add("a.mp4", frames(4, k)) for k in (0, 3)]
        queue.settle()
        assert not queue.wake.poll()
        queue.flush()
        assert queue.wake.poll(10)
        while any(rows.rows is None for rows in pending):
            queue.wake.poll(10)
        queue.settle()
        assert [rows.rows.shape for rows in pending] == [(4, 3), (4, 3)]
    finally:
        queue.close()
