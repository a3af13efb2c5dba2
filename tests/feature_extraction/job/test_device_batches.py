from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.job import device_batches as batches
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.device_batches import Batches
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
    """Tickets, all done."""
    rings = []
    found = Batches(executor, extractor, lambda: rings.append(1))
    tickets = [found.add(f"{k}.mp4", stream, low, high) for k, stream in enumerate(streams)]
    found.flush()
    executor.submit(lambda: None).result()
    assert rings
    found.settle()
    return tickets


def test_rows_are_those_that_count_in_half(executor, network):
    streams = [frames(7, 1), frames(3, 2)]
    tickets = run(executor, network(), streams, 1, 5)
    alone = [network().rows([s])[0] for s in streams]
    for ticket, rows, count in zip(tickets, alone, (4, 2), strict=True):
        assert ticket.rows.dtype == np.float16
        assert ticket.held == ticket.rows.nbytes == count * 3 * 2
        np.testing.assert_array_equal(ticket.rows, rows[1:5].astype(np.float16))


def test_what_is_to_come_is_counted(executor, network):
    found = Batches(executor, network(dim=100), lambda: None)
    ticket = found.add("a.mp4", frames(7))
    assert ticket.held == 7 * 48 + 8 * 100 * 2  # the stream, and at most eight rows of it


def test_a_batch_is_full_of_rows_too(executor, network, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_BYTES", 10_000)
    sizes = []
    extractor = network(dim=200)
    original = extractor.rows
    extractor.rows = lambda streams: sizes.append(len(streams)) or original(streams)
    run(executor, extractor, [frames(5)] * 7)  # 240 bytes, and 6 rows of 800
    assert sizes == [2, 2, 2, 1]


@pytest.mark.parametrize("error", ["RuntimeError", "memory"])
def test_what_is_too_much_is_halved(executor, network, error):
    sizes = []
    extractor = network(together=2, error=error)
    original = extractor.rows
    extractor.rows = lambda streams: sizes.append(len(streams)) or original(streams)
    tickets = run(executor, extractor, [frames(5, k) for k in range(8)])
    assert all(ticket.rows is not None and ticket.stream is None for ticket in tickets)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_an_odd_stream_fails_alone(executor, network):
    tickets = run(executor, network(frames=6), [frames(5), frames(6), frames(7)])
    assert [ticket.rows is None for ticket in tickets] == [False, True, False]
    assert tickets[1].failure == "1.mp4: network: RuntimeError: too much"


def test_rows_that_are_no_numbers_fail_alone(executor, network):
    extractor = network()
    original = extractor.rows
    extractor.rows = lambda streams: [rows * (np.nan if len(rows) == 6 else 1) for rows in original(streams)]
    tickets = run(executor, extractor, [frames(5), frames(6)])
    assert [ticket.rows is None for ticket in tickets] == [False, True]
    assert tickets[1].failure == "1.mp4: network gave features that are not finite numbers"


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        ({"together": 0, "error": "memory"}, {}, "too little memory on the device for a single stream, of 0.mp4"),
        ({"together": 0}, {"ALIKE": 3}, "3 streams in a row failed alike: RuntimeError: too much"),
    ],
)
def test_what_no_stream_can_help_is_no_streams_failure(executor, network, monkeypatch, given, how, message):
    for name, value in how.items():
        monkeypatch.setattr(batches, name, value)
    with pytest.raises(AvlocError, match=message):
        run(executor, network(**given), [frames(5, k) for k in range(4)])


def test_failures_with_a_success_between_are_the_streams_own(executor, network, monkeypatch):
    monkeypatch.setattr(batches, "ALIKE", 2)
    tickets = run(executor, network(frames=6), [frames(6), frames(5), frames(6), frames(5)])
    assert [ticket.failure is None for ticket in tickets] == [False, True, False, True]


def test_a_device_that_is_of_no_use_ends_the_job(toys, clips, names, tmp_path, monkeypatch):
    """As after an illegal memory access: whatever is tried fails from then on. Nothing of it may be recorded."""
    settings = ExtractionSettings(clips, (("avloc_toys.Network", {"frames": 10}),), networks_in_parent=True)
    monkeypatch.setattr("avloc_toys.Network.device", "cuda:7", raising=False)
    monkeypatch.setattr("avloc_toys.Network.to", lambda *_: None)
    monkeypatch.setattr("avloc_toys.Network.network", lambda self, x: x @ x.new_ones(48, 3), raising=False)
    monkeypatch.setattr("avloc_toys.Network.running", lambda self: __import__("torch").inference_mode())
    for works, message in (
        (True, None),
        (False, "network: the device cannot be used any more: RuntimeError: too much"),
    ):
        monkeypatch.setattr(batches, "_works", lambda device, works=works: works)
        store = FeatureStore(tmp_path / f"s{works}")
        if message is None:
            assert len(job.extract(names, store, settings).failures) == 6  # each has a window of 10 frames
        else:
            with pytest.raises(AvlocError, match=message):
                job.extract(names, store, settings)
            assert not [*store.root.rglob("*.h5")]


def test_a_device_that_is_not_there_does_not_work():
    assert batches._works("cpu")
    assert not batches._works("cuda:77")
