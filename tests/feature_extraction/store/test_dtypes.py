"""Types of stored numbers, and whole numbers through all that a store does: writing, reading, verifying, copies, files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.dtypes import as_features, storage_dtype, to_half, to_stored
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.merge import plan_merge, run_merge
from avloc.feature_extraction.store.npy_export import plan_export, run_export
from avloc.feature_extraction.store.npy_import import ImportOptions, import_features, read_npy_folder
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.feature_extraction.store.verify import verify_store

LIMITS = {"int16": (-32768, 32767), "uint8": (0, 255)}
ROWS = {"a.mp4": 300, "b.mp4": 0, "c.mp4": 7}


def random_rows(file, dtype, dim=5):
    random = np.random.default_rng(ord(file[0]))
    low, high = LIMITS[dtype]
    values = random.integers(low, high, (ROWS[file], dim), endpoint=True).astype(dtype)
    values[:1], values[1:2] = low, high
    return values


def fill(root, dtype):
    """A store of one shard with odd rows of five whole numbers, the smallest and largest among them."""
    store = FeatureStore(root)
    folder = store.prepare(ExtractorDescription("raw", "audio", hop_s=0.01, dim=5, dtype=dtype))
    with ShardWriter(folder / shard_name(0, list(ROWS)), 5, store.fingerprint("raw"), dtype) as shard:
        for file, count in ROWS.items():
            shard.add(file, Features(random_rows(file, dtype), TimeGrid(0.0, 0.01, count)))
    return store


def check_equal(store, dtype):
    for file in ROWS:
        values = store.read("raw", file).values
        assert values.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(values, random_rows(file, dtype))


def test_half_clips_outliers():
    assert to_half(np.array([1e9, -1e9, 0.5])).tolist() == [65504, -65504, 0.5]
    assert np.isnan(to_half(np.array([np.nan]))[0])
    assert to_stored(np.array([3, 4], np.int16)).dtype == np.float16


@pytest.mark.parametrize("value", [0.5, 32768.0, -32769.0, np.nan, np.inf])
def test_whole_numbers_are_never_changed(value):
    with pytest.raises(AvlocError, match="want whole numbers that fit into int16, got"):
        to_stored(np.array([[1.0, value]]), "int16")


def test_types_in_memory():
    assert as_features(np.float16([1.5])).dtype == np.float32
    assert as_features(np.int16([-7])).tolist() == [-7]
    assert [storage_dtype(name).str for name in ("float16", "int16", "uint8")] == ["<f2", "<i2", "|u1"]


@pytest.mark.parametrize("dtype", LIMITS)
def test_whole_numbers_survive_the_store(tmp_path, dtype):
    store = fill(tmp_path / "s", dtype)
    check_equal(store, dtype)
    assert verify_store(store, "raw").faults == []
    assert store.describe("raw").dtype == dtype
    run_merge(plan_merge(FeatureStore(tmp_path / "m"), [store, fill(tmp_path / "t", dtype)]))
    check_equal(FeatureStore(tmp_path / "m"), dtype)


@pytest.mark.parametrize(
    ("dtype", "exported"), [("int16", None), ("int16", "float32"), ("uint8", None), ("uint8", "float16")]
)
def test_whole_numbers_survive_an_export_and_an_import(tmp_path, dtype, exported):
    run_export(plan_export(fill(tmp_path / "s", dtype), "raw", tmp_path / "npy", dtype=exported))
    assert np.load(tmp_path / "npy" / "c.npy").dtype == np.dtype(exported or dtype)
    store = FeatureStore(tmp_path / "back")
    report = import_features(read_npy_folder(tmp_path / "npy", ImportOptions()), store)
    assert (report.done, report.failures, report.clipped) == (3, {}, 0)
    check_equal(store, dtype)
    assert verify_store(store, "raw").faults == []


def test_an_export_that_would_change_samples_is_refused(tmp_path):
    with pytest.raises(AvlocError, match="int16 values can be exported as int16 or float32, got float16"):
        plan_export(fill(tmp_path / "s", "int16"), "raw", tmp_path / "npy", dtype="float16")


def test_a_changed_sample_fails_the_check(tmp_path):
    store = fill(tmp_path / "s", "int16")
    with h5py.File(store.shards("raw")[0], "a") as file:
        file["values"][17, 3] += 1
    assert ["the checksum is wrong" in fault.problem for fault in verify_store(store, "raw").faults] == [True]


def test_a_shard_of_another_type_is_a_fault(tmp_path):
    store = fill(tmp_path / "s", "int16")
    with ShardWriter(store.shards("raw")[0], 5, store.fingerprint("raw")) as shard:
        for file, count in ROWS.items():
            shard.add(file, Features(np.ones((count, 5), np.float32), TimeGrid(0.0, 0.01, count)))
    (fault,) = verify_store(store, "raw").faults
    assert fault.problem == "its values are float16, those of this extractor are int16"
    with pytest.raises(StoreError, match="its values are float16, those of this extractor are int16"):
        FeatureStore(store.root).read("raw", "a.mp4")


def test_clips_of_whole_numbers_in_two_shards_are_compared(tmp_path):
    store = fill(tmp_path / "s", "uint8")
    changed = random_rows("c.mp4", "uint8")
    changed[3, 2] ^= 1
    with ShardWriter(store.root / "raw" / shard_name(1, ["c.mp4"]), 5, store.fingerprint("raw"), "uint8") as shard:
        shard.add("c.mp4", Features(changed, TimeGrid(0.0, 0.01, 7)))
    assert [fault.problem for fault in verify_store(store, "raw").faults] == [
        f"has other features of c.mp4 than {store.shards('raw')[0].name}"
    ]


def test_a_store_of_samples_takes_no_features(tmp_path):
    store = fill(tmp_path / "s", "int16")
    with pytest.raises(StoreError, match="dtype was 'int16', now it is 'float16'"):
        store.check(ExtractorDescription("raw", "audio", hop_s=0.01, dim=5))
