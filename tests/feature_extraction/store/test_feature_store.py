from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore, PlanFile
from avloc.feature_extraction.store.shards import ShardWriter, shard_name

ABOUT = {"name": "toy", "modality": "audio", "hop_s": 0.5, "dim": 3}


def features(steps, value, start_s=0.0):
    return Features(np.full((steps, 3), value, dtype=np.float32), TimeGrid(start_s, 0.5, steps))


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "s")
    folder = store.prepare(ABOUT)
    with ShardWriter(folder / shard_name(0, ["a", "bé d"]), 3) as shard:
        shard.add("a", features(5, 1.5, start_s=0.25))
        shard.fail("bé d", "no such\nfile")
    with ShardWriter(folder / shard_name(1, ["c", "d"]), 3) as shard:
        shard.add("c", features(0, 0))
        shard.add("d", features(7, 1e9))
    return FeatureStore(tmp_path / "s")


def test_round_trip(store):
    read = store.read("toy", "a")
    assert read.values.tolist() == [[1.5] * 3] * 5
    assert read.grid == TimeGrid(0.25, 0.5, 5)
    assert store.read("toy", "c").values.shape == (0, 3)
    assert store.read("toy", "d").values.max() == 65504  # the largest float16, not infinity
    assert [store.length("toy", f) for f in "acd"] == [5, 0, 7]
    assert store.files("toy") == ["a", "c", "d"]
    assert store.extractors() == ["toy"]


def test_failures_are_rows_with_a_reason(store):
    assert store.failures("toy") == {"bé d": "no such file"}
    assert not store.has("toy", "bé d")
    with pytest.raises(StoreError, match="bé d, it failed: no such file"):
        store.read("toy", "bé d")
    with pytest.raises(StoreError, match="for x, not extracted"):
        store.read("toy", "x")


def test_a_store_opens_anew_in_each_process(store):
    store.read("toy", "a")
    assert pickle.loads(pickle.dumps(store)).read("toy", "a").values.shape == (5, 3)


def test_other_settings_are_refused(store):
    assert store.prepare(ABOUT) == store.root / "toy"
    with pytest.raises(StoreError, match="hop_s is 0.5 there and 0.25 now"):
        store.prepare({**ABOUT, "hop_s": 0.25})
    with pytest.raises(StoreError, match="no features of 'other' here, there are: toy"):
        store.describe("other")


def test_an_interrupted_shard_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.add("a", features(2, 1))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_shard_or_description_is_named(store):
    path = sorted((store.root / "toy").glob("*.h5"))[0]
    path.write_bytes(b"no shard")
    with pytest.raises(StoreError, match="a damaged shard"):
        FeatureStore(store.root).files("toy")
    (store.root / "toy" / "store.json").write_text("{")
    with pytest.raises(StoreError, match="not a JSON file"):
        store.describe("toy")


def test_plans_tell_which_shards_are_to_be(store):
    assert store.planned("toy") == []
    store.note("toy", PlanFile(["00000-a.h5", "00001-b.h5"]))
    store.note("toy", PlanFile(["00001-b.h5", "00002-c.h5"]))
    store.note("toy", PlanFile(["00001-b.h5", "00002-c.h5"]))
    assert len(store.plans("toy")) == 2
    assert sorted(store.planned("toy")) == ["00000-a.h5", "00001-b.h5", "00002-c.h5"]
    assert store.shards("toy") == sorted((store.root / "toy").glob("0*.h5"))


@pytest.mark.parametrize("text", ["[]", "{}", '{"shards": "a"}', '{"shards": [1]}', "{"])
def test_a_plan_that_is_none(store, text):
    (store.root / "toy" / "plan-0.json").write_text(text)
    with pytest.raises(StoreError, match=r"plan-0.json: not a (plan|JSON file)"):
        store.planned("toy")


def test_more_shards_than_files_may_be_open(tmp_path, monkeypatch):
    from avloc.feature_extraction.store import feature_store as module

    monkeypatch.setattr(module, "OPEN_SHARDS", 3)
    store = FeatureStore(tmp_path / "s")
    folder = store.prepare(ABOUT)
    for k in range(8):
        with ShardWriter(folder / shard_name(k, [f"{k}"]), 3) as shard:
            shard.add(f"{k}", features(2, k))
    for k in [*range(8), 3, 0, 7]:
        assert store.read("toy", f"{k}").values[0, 0] == k
    assert len(store._index("toy")._open) == 3


@pytest.mark.parametrize("text", ["[]", b"\xff", "{}", '{"format_version": 1}'])
def test_a_description_that_is_none(store, text):
    (store.root / "toy" / "store.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StoreError, match=r"store.json: (not a JSON file|want a store of format version 2 or 3)"):
        store.describe("toy")


def test_a_shard_without_its_tables_is_named(store):
    path = sorted((store.root / "toy").glob("*.h5"))[0]
    with h5py.File(path, "a") as file:
        del file["files"]
    with pytest.raises(StoreError, match=f"{path.name}: a damaged shard"):
        FeatureStore(store.root).files("toy")
