from __future__ import annotations

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter

WAVE = ExtractorDescription("wave", "audio", hop_s=0.02, dim=12, version=2, layers=3)
FILES = ["test/a.mp4", "test/b.mp4", "c.mp4"]


@pytest.fixture
def fill():
    """A function that makes a store with two shards, of two clips and of one; the second clip is a failed one."""

    def write(root, which=(0, 1), description=WAVE):
        store = FeatureStore(root)
        folder = store.prepare(description)
        parts = [FILES[:2], FILES[2:]]
        names = [shard_name(k, part) for k, part in enumerate(parts)]
        store.save_plan("wave", PlanFile(names))
        for k in which:
            with ShardWriter(folder / names[k], 12, store.fingerprint("wave")) as shard:
                for file in parts[k]:
                    if file == "test/b.mp4":
                        shard.fail(file, "no sound")
                    else:
                        shard.add(file, Features(np.ones((5400, 12), np.float32), TimeGrid(0.0, 0.02, 5400)))
        return store

    return write


@pytest.fixture
def store(fill, tmp_path):
    return fill(tmp_path / "s")


@pytest.fixture
def run():
    """A function that runs an action of `avloc store`."""
    return lambda action, *words: main(["store", action, *map(str, words)])
