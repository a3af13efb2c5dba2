"""Data for training, with and without a network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from avloc.datasets.loading.feature_data import FeatureData


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
