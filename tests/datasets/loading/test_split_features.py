from __future__ import annotations

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.datasets.loading.split_features import find_features
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.table import as_table
from avloc.errors import StoreError
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.store.feature_store import FeatureStore

EXTRACTORS = ["logspec", "residual_grid"]


def test_clips_that_the_store_lacks_are_left_out(tiny_set, tiny_store):
    records, store = list(read_records("lavdf", tiny_set)), FeatureStore(tiny_store)
    table = as_table([*records[:2], VideoRecord("none.mp4", "test"), *records[2:5]])
    with pytest.raises(
        StoreError, match=r"1 of 6 clips have no features of logspec, residual_grid .* first is none\.mp4"
    ):
        find_features(store, EXTRACTORS, table)
    features = find_features(store, EXTRACTORS, table, allow_missing=True)
    assert (features.missing, features.rows.tolist(), features.knows_ends) == (["none.mp4"], [0, 1, 3, 4, 5], True)
    some = features.take(np.array([1, 3]))
    assert (some.rows.tolist(), some.ends_s.tolist()) == ([1, 4], features.ends_s[[1, 3]].tolist())
    read = some.read(1, ["residual_grid"])
    np.testing.assert_array_equal(read["residual_grid"].values, store.read("residual_grid", records[3].file).values)
    with pytest.raises(StoreError, match="none of the 1 clips has features of logspec"):
        find_features(store, ["logspec"], as_table([VideoRecord("none.mp4", "test")]), allow_missing=True)


def test_clips_are_all_there_with_the_lengths_of_the_metadata(tiny_set, tiny_store):
    records = list(read_records("lavdf", tiny_set))
    table = as_table([VideoRecord("none.mp4", "test"), *records])
    features = find_features(ClipFeatures(tiny_set, EXTRACTORS), EXTRACTORS, table)
    assert (list(features.missing), features.rows.tolist(), features.knows_ends) == ([], list(range(10)), False)
    assert np.isnan(features.ends_s[0])
    assert features.ends_s[1:].tolist() == [record.duration_s for record in records]
    read = features.take(np.array([4, 2])).read(1, ["logspec"])
    np.testing.assert_array_equal(
        read["logspec"].values, FeatureStore(tiny_store).read("logspec", records[1].file).values
    )
