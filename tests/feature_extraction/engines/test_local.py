from __future__ import annotations

import functools

import pytest

from avloc.errors import StoreError
from avloc.feature_extraction import job
from avloc.feature_extraction.engines import local
from avloc.feature_extraction.store import FeatureStore
from avloc.feature_extraction.worker import Settings

TWO = functools.partial(local.run, devices=["cpu", "cpu"])


def content(store):
    return {file: store.read("toy", file).values.tolist() for file in store.files("toy")}


def test_several_devices_share_the_shards(toys, clips, names, tmp_path):
    settings = Settings(clips, (("avloc_toys.Toy", {}), ("avloc_toys.Network", {})), workers=2, central=True)
    store, plain = FeatureStore(tmp_path / "s"), FeatureStore(tmp_path / "plain")
    report = job.extract(names, store, settings, shard_clips=1, engine=TWO)
    assert (report.done, list(report.failures)) == (6, ["broken.mp4"])
    job.extract(names, plain, Settings(clips, settings.extractors), shard_clips=1)
    assert content(store) == content(plain)
    assert store.files("network") == plain.files("network") == names[:5]


def test_a_device_that_dies_ends_the_job_when_the_others_are_through(toys, clips, names, tmp_path):
    """What the dead one was at, and had with it, is not there; the other shards are."""
    settings = Settings(clips, (("avloc_toys.KillParent", {"frames": 12}),), workers=2)
    store = FeatureStore(tmp_path / "s")
    with pytest.raises(OSError, match=r"the process of a device died \(exit code -9\); run the same again"):
        job.extract(names, store, settings, shard_clips=1, engine=TWO)
    assert names[2] not in store.files("toy")
    assert len(store.files("toy")) >= 2
    again = job.extract(
        names, FeatureStore(tmp_path / "s"), Settings(clips, (("avloc_toys.Toy", {"frames": 0}),)), shard_clips=1
    )
    assert again.done + again.reused == 6
    assert again.reused >= 3


def test_a_shard_that_cannot_be_written_is_told(toys, clips, names, tmp_path):
    settings = Settings(clips, (("avloc_toys.Toy", {}),), workers=2)

    def run(specs, settings):
        specs = list(specs)
        specs[0].paths[0].mkdir()
        yield from TWO(specs, settings)

    with pytest.raises(StoreError, match="cannot be written"):
        job.extract(names, FeatureStore(tmp_path / "s"), settings, shard_clips=3, engine=run)
