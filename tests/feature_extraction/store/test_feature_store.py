from __future__ import annotations

import dataclasses
import pickle

import h5py
import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shard_tables import read_attribute, shard_name
from avloc.feature_extraction.store.shards import ShardWriter

TOY = ExtractorDescription("toy", "audio", hop_s=0.5, dim=3)

STORE_JSON = """{
 "format_version": 3,
 "name": "r3d_18",
 "modality": "visual",
 "hop_s": 0.32,
 "dim": 512,
 "version": 2,
 "parameters": {"stride": 8, "crop": "face"},
 "weights_sha256": "b3b3c2",
 "start_offset_s": 0.0,
 "layers": 1,
 "receptive_field_s": 0.64,
 "window_s": 30.0,
 "decoder": "pyav"
}"""
# The first 16 digits that `sha256sum` prints for the same object on one line, with sorted keys.
STORE_FINGERPRINT = "41421601a86ef5ba"


def features(steps, value, start_s=0.0):
    return Features(np.full((steps, 3), value, dtype=np.float32), TimeGrid(start_s, 0.5, steps))


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "s")
    folder = store.prepare(TOY)
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
    assert store.describe("toy") == TOY
    assert store.format_version("toy") == 3


def test_locate_reads_and_ends(store):
    places = store.locate("toy", ["d", "bé d", "a"])
    assert places.tolist() == [[1, 1], [-1, -1], [0, 0]]
    assert store.read_at("toy", *places[0].tolist()).values.shape == (7, 3)
    assert store.ends_s("toy", places[[0, 2]]).tolist() == [3.5, 0.25 + 2.5]


def test_failures_have_a_reason(store):
    assert store.failures("toy") == {"bé d": "no such file"}
    assert not store.has("toy", "bé d")
    with pytest.raises(StoreError, match="bé d, it failed: no such file"):
        store.read("toy", "bé d")
    with pytest.raises(StoreError, match="for x, not extracted"):
        store.read("toy", "x")


def test_a_pickled_store_opens_its_own_files(store):
    store.read("toy", "a")
    assert pickle.loads(pickle.dumps(store)).read("toy", "a").values.shape == (5, 3)


def test_places_of_a_pickled_store_do_not_change(store):
    """Loader workers get a pickled store, and another list of clips may be extracted meanwhile."""
    places = store.locate("toy", ["d", "a"])
    with ShardWriter(store.root / "toy" / "00000-00000000.h5", 3) as shard:  # before the others
        shard.add("e", features(9, 2.5))
        shard.add("f", features(4, 3.5))
    for reader in (store, pickle.loads(pickle.dumps(store))):
        assert reader.read_at("toy", *places[0].tolist()).values.shape == (7, 3)
        assert reader.read_at("toy", *places[1].tolist()).values.tolist() == [[1.5] * 3] * 5
        assert reader.ends_s("toy", places).tolist() == [3.5, 0.25 + 2.5]
        assert not reader.has("toy", "e")
    assert FeatureStore(store.root).has("toy", "e")


def test_other_settings_are_refused(store):
    assert store.check(TOY)
    assert not store.check(ExtractorDescription("other", "audio", hop_s=0.5, dim=3))
    assert store.prepare(TOY) == store.root / "toy"
    with pytest.raises(StoreError, match=r"hop_s was 0\.5, now it is 0\.25"):
        store.prepare(ExtractorDescription("toy", "audio", hop_s=0.25, dim=3))
    with pytest.raises(StoreError, match="no features of 'other', the store has: toy"):
        store.describe("other")


def test_a_store_without_the_extractors_class_may_be_extended(store):
    """Earlier releases did not record the class of a user's own extractor."""
    assert store.check(dataclasses.replace(TOY, factory="mine.Toy"))
    other = FeatureStore(store.root.parent / "other")
    other.prepare(dataclasses.replace(TOY, factory="mine.Toy"))
    with pytest.raises(StoreError, match=r"factory was 'mine\.Toy', now it is 'theirs\.Toy'"):
        other.check(dataclasses.replace(TOY, factory="theirs.Toy"))


def test_version_2_can_be_read_but_not_extended(store):
    path = store.root / "toy" / "store.json"
    path.write_text(path.read_text().replace('"format_version": 3', '"format_version": 2'))
    assert store.format_version("toy") == 2
    assert store.read("toy", "a").values.shape == (5, 3)
    with pytest.raises(StoreError, match="has format version 2, which can be read but not extended"):
        store.prepare(TOY)


def test_fingerprint_of_an_existing_store(tmp_path):
    """Shards made by earlier releases carry this hash of the text in `store.json`."""
    (tmp_path / "r3d_18").mkdir()
    (tmp_path / "r3d_18" / "store.json").write_text(STORE_JSON)
    store = FeatureStore(tmp_path)
    assert store.fingerprint("r3d_18") == STORE_FINGERPRINT
    assert store.describe("r3d_18").parameters == {"stride": 8, "crop": "face"}


def test_a_new_store_file_has_the_same_fingerprint_as_an_existing_one(tmp_path):
    (tmp_path / "r3d_18").mkdir()
    (tmp_path / "r3d_18" / "store.json").write_text(STORE_JSON)
    description = FeatureStore(tmp_path).describe("r3d_18")
    new = FeatureStore(tmp_path / "new")
    new.prepare(description)
    assert new.fingerprint("r3d_18") == STORE_FINGERPRINT
    assert FeatureStore(tmp_path).check(description)


def test_shards_carry_the_fingerprint(tmp_path):
    store = FeatureStore(tmp_path)
    folder = store.prepare(TOY)
    with ShardWriter(folder / shard_name(0, ["a"]), 3, store.fingerprint("toy")) as shard:
        shard.end("a", 0.0)
    with h5py.File(store.shards("toy")[0], "r") as file:
        assert read_attribute(file, "extractor") == store.fingerprint("toy")


def test_shards_of_other_settings_are_not_read(tmp_path):
    store = FeatureStore(tmp_path)
    with ShardWriter(store.prepare(TOY) / shard_name(0, ["a"]), 3, "0123456789abcdef") as shard:
        shard.end("a", 0.0)
    message = f"want the fingerprint {store.fingerprint('toy')}, got 0123456789abcdef"
    for read in (store.files, store.failures, lambda name: store.has(name, "a")):
        with pytest.raises(StoreError, match=message):
            read("toy")


def test_a_lost_description_is_replaced_only_by_the_one_of_the_shards(tmp_path):
    store = FeatureStore(tmp_path)
    path = store.prepare(TOY) / "store.json"
    text = path.read_text()
    with ShardWriter(path.with_name(shard_name(0, ["a"])), 3, store.fingerprint("toy")) as shard:
        shard.end("a", 0.0)
    path.unlink()
    other = dataclasses.replace(TOY, parameters={"n_fft": 2048})
    assert store.expected_fingerprint(other) != store.expected_fingerprint(TOY)
    for refuse in (store.check, store.prepare):
        with pytest.raises(StoreError, match="of other settings: .*move it out of the store, or name another store"):
            refuse(other)
    assert not path.exists()
    assert not store.check(TOY)
    store.prepare(TOY)
    assert path.read_text() == text
    assert store.expected_fingerprint(other) == store.fingerprint("toy")


def test_damaged_shard_and_description_are_named(store):
    path = sorted((store.root / "toy").glob("*.h5"))[0]
    path.write_bytes(b"no shard")
    with pytest.raises(StoreError, match="a damaged shard"):
        FeatureStore(store.root).files("toy")
    (store.root / "toy" / "store.json").write_text("{")
    with pytest.raises(StoreError, match="not a JSON file"):
        store.describe("toy")


def test_plans_list_the_planned_shards(store):
    assert store.planned_shards("toy") == []
    store.save_plan("toy", PlanFile(["00000-a.h5", "00001-b.h5"]))
    store.save_plan("toy", PlanFile(["00001-b.h5", "00002-c.h5"]))
    store.save_plan("toy", PlanFile(["00001-b.h5", "00002-c.h5"]))
    assert len(store.plans("toy")) == 2
    assert sorted(store.planned_shards("toy")) == ["00000-a.h5", "00001-b.h5", "00002-c.h5"]
    assert store.shards("toy") == sorted((store.root / "toy").glob("0*.h5"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "want a store of format version 2 or 3"),
        (b"\xff", "not a JSON file"),
        ("{}", "want a store of format version 2 or 3, got None"),
        ('{"format_version": 1}', "want a store of format version 2 or 3, got 1"),
        ('{"format_version": 3, "name": "toy"}', "an extractor's description lacks modality, hop_s, dim"),
        ('{"format_version": 3, "name": "toy", "modality": "audio", "hop_s": "x", "dim": 3}', "wrong number"),
    ],
)
def test_invalid_description(store, text, message):
    (store.root / "toy" / "store.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (store.describe, store.fingerprint, store.format_version):
        with pytest.raises(StoreError, match=f"store.json: .*{message}"):
            read("toy")


def test_a_shard_without_its_tables_is_named(store):
    path = sorted((store.root / "toy").glob("*.h5"))[0]
    with h5py.File(path, "a") as file:
        del file["files"]
    with pytest.raises(StoreError, match=f"{path.name}: a damaged shard"):
        FeatureStore(store.root).files("toy")


def test_root_as_text_with_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FeatureStore("~/s").root == tmp_path / "s"
    assert repr(FeatureStore("s")) == "FeatureStore('s')"


def test_copies_lie_in_stores_of_their_own(tmp_path):
    store = FeatureStore(tmp_path)
    plain = ExtractorDescription("mel", "audio", hop_s=0.01, dim=2)
    copy = dataclasses.replace(plain, augmentation={"recipe": "5d41402a", "copy": 3, "seed": 0})
    store.prepare(plain)
    store.copy(3).prepare(copy)
    assert store.copy(3).root == tmp_path / "copies" / "3"
    assert store.extractors() == store.copy(3).extractors() == ["mel"]
    assert store.copy(3).describe("mel") == copy
    assert store.fingerprint("mel") != store.copy(3).fingerprint("mel")
    assert store.copy(1).extractors() == []
