from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

from avloc.datasets import read_records
from avloc.errors import StoreError
from avloc.feature_extraction import FeatureStore
from avloc.inference.examples import NO_FEATURES, DecodedExamples, DecodingJob, StoredExamples
from avloc.inference.sources.feature import FeatureSource

NAMES = ("logspec", "residual_grid")


@pytest.fixture(scope="module")
def source(tiny_store):
    store = FeatureStore(tiny_store)
    return FeatureSource([store.describe(name) for name in NAMES], 0.04)


def missing_one(tiny_set, folder):
    """A copy of the set whose second test clip has another name."""
    shutil.copytree(tiny_set, folder)
    metadata = folder / "metadata.min.json"
    (folder / "metadata.json").unlink(missing_ok=True)
    second = read_records("lavdf", tiny_set, "test").files[1]
    metadata.write_text(metadata.read_text().replace(second, second.replace("test/", "test/new_")))
    return read_records("lavdf", folder, "test")


def test_stored_examples_by_row(source, tiny_set, tiny_store):
    records = read_records("lavdf", tiny_set, "test")
    examples = StoredExamples(source, records, tiny_store, allow_missing=False)
    clips = list(examples.iterate([2, 0]))
    assert [(clip.row, clip.example.record.file) for clip in clips] == [(2, records[2].file), (0, records[0].file)]


def test_clips_without_features_have_a_reason(source, tiny_set, tiny_store, tmp_path):
    records = missing_one(tiny_set, tmp_path / "set")
    examples = StoredExamples(source, records, tiny_store, allow_missing=True)
    clips = list(examples.iterate(range(3)))
    assert [clip.failure for clip in clips] == ["", NO_FEATURES, ""]
    assert clips[1].example is None
    assert [clips[k].example.record.file for k in (0, 2)] == [records[k].file for k in (0, 2)]
    with pytest.raises(StoreError, match="1 of 3 clips have no features"):
        StoredExamples(source, records, tiny_store, allow_missing=False)


@pytest.mark.parametrize("workers", [0, 2])
def test_decoded_examples_equal_stored_ones(source, tiny_set, tiny_store, tmp_path, workers):
    root = tmp_path / "set"
    shutil.copytree(tiny_set, root)
    records = read_records("lavdf", root, "test")
    (root / records[1].file).write_text("no clip")
    decoded = list(DecodedExamples(source, records, root, workers=workers).iterate(range(3)))
    stored = list(StoredExamples(source, records, tiny_store, allow_missing=False).iterate(range(3)))
    assert [clip.row for clip in decoded] == [0, 1, 2]
    assert decoded[1].example is None
    assert decoded[1].failure.startswith("cannot be opened as media")  # without the clip's name
    for k in (0, 2):
        assert decoded[k].example.record.file == records[k].file
        for one, other in zip(decoded[k].example.streams, stored[k].example.streams, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)  # a store has half precision


def test_a_clip_that_is_too_long_fails(source, tiny_set):
    records = read_records("lavdf", tiny_set, "test")
    (clip,) = DecodedExamples(source, records, tiny_set, workers=0, longest_s=0.5).iterate([1])
    assert "raise the limit with --longest" in clip.failure


def test_a_job_shows_life_while_it_decodes(source, tiny_set):
    pulses = []
    job = pickle.loads(pickle.dumps(DecodingJob(source, tiny_set)))
    (example,) = job.build(lambda: pulses.append(1))(read_records("lavdf", tiny_set, "test").files[0])
    assert example.grid.length > 10
    assert pulses
