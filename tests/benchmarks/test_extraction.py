from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avloc.feature_extraction.job.worker import ExtractionSettings


@pytest.fixture(scope="module")
def files(tiny_set):
    return sorted(str(path.relative_to(tiny_set)) for path in tiny_set.rglob("*.mp4"))[:4]


def test_costs_are_core_seconds_of_each_stage(tiny_set, files):
    from extraction import costs

    cost = costs(ExtractionSettings(tiny_set, (("logmel", {}),)), files[:2])
    assert 0 < cost.decode < 5
    assert 0 < cost.extract < 5


def test_a_round_compares_the_pipeline_with_its_bound(tiny_set, files):
    from extraction import measure_round

    measured = measure_round(ExtractionSettings(tiny_set, (("logmel", {}),), workers=1), files, cores=1)
    assert measured.bound == pytest.approx(1 / (measured.decode_s + measured.extract_s))
    assert measured.share == pytest.approx(measured.rate / measured.bound)
    assert measured.first_clip_s > 0


def test_device_rates_of_each_round(tiny_set, files):
    from extraction import device_rates

    settings = ExtractionSettings(tiny_set, (("logmel", {}),), workers=1, networks_in_parent=True)
    rates = device_rates(settings, files, rounds=2)
    assert len(rates) == 2
    assert all(rate > 0 for measured in rates for rate in measured)


def test_streams_are_those_of_the_extractor(tiny_set, files):
    from extraction import decode_streams

    (audio,) = ExtractionSettings(tiny_set, (("logmel", {}),)).build_extractors()
    (visual,) = ExtractionSettings(tiny_set, (("residual_grid", {}),)).build_extractors()
    samples = decode_streams(audio, tiny_set, files[:2])
    frames = decode_streams(visual, tiny_set, files[:2])
    assert [stream.ndim for stream in samples] == [1, 1]
    assert [len(stream) for stream in samples] == pytest.approx([640 * len(stream) for stream in frames], rel=0.02)


def test_streams_per_batch_by_count_and_by_bytes():
    from extraction import streams_per_batch

    assert streams_per_batch([np.zeros(10, np.float32)]) == 64
    assert streams_per_batch([np.empty((100 << 20,), np.uint8), np.zeros(1, np.uint8)]) == 2
    assert streams_per_batch([np.empty((300 << 20,), np.uint8)]) == 1


def test_share_of_the_lower_rate():
    from extraction import DeviceRates

    assert DeviceRates(network=10.0, decoding=4.0, pipeline=3.0).share == 0.75
    assert DeviceRates(network=2.0, decoding=4.0, pipeline=1.0).share == 0.5


def test_options():
    from extraction import parse

    options = parse(["--clips", "/data", "--count", "3"])
    assert (options.clips, options.count, options.rounds) == (Path("/data"), 3, 3)
    assert options.workers >= 1
