"""Data for training, with and without a network, and a store of samples and pixels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from avloc.datasets import read_records
from avloc.datasets.loading.feature_data import FeatureData
from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore


@pytest.fixture(scope="session")
def feature_data():
    """A function that makes data of the features of `tiny_store`."""

    def make(root, store, **options):
        return FeatureData(dataset="lavdf", root=root, store=store, extractors=["logspec", "residual_grid"], **options)

    return make


@pytest.fixture(scope="session")
def attach_network():
    """A function that gives data a trainer of a network with these members."""

    def attach(data, *, longest_steps=None, target_maker=None, arguments=None):
        network = SimpleNamespace(longest_steps=longest_steps, target_maker=target_maker, arguments=arguments or {})
        data.trainer = SimpleNamespace(
            lightning_module=SimpleNamespace(model=network), is_global_zero=True, global_rank=0, world_size=1
        )

    return attach


@pytest.fixture(scope="module")
def raw_store(tiny_set, make_once):
    """The sound and small crops of the tiny set, beside features of its picture."""

    def fill(folder):
        extractors = [("waveform", {}), ("mouth", {"side": 24, "crop": "none"}), ("residual_grid", {})]
        files = [record.file for record in read_records("lavdf", tiny_set)]
        report = extract(files, FeatureStore(folder), ExtractionSettings(tiny_set, extractors), shard_clips=4)
        assert report.done == 9

    return make_once("raw-store", fill)
