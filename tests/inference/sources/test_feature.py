from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.datasets import read_records
from avloc.errors import CheckpointError
from avloc.feature_extraction import Extractor, FeatureStore, build_extractor
from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.inference.sources.base import read_whole
from avloc.inference.sources.feature import FeatureSource


class Loudness(Extractor):
    """The largest sample of each 20 ms."""

    name = "loudness"
    modality = "audio"
    hop_s = 0.02
    receptive_field_s = 0.02
    dim = 1

    def rows(self, streams):
        return [np.abs(s[: len(s) // 320 * 320]).reshape(-1, 320).max(1, keepdims=True) for s in streams]


def test_extractors_are_built_from_their_descriptions():
    described = build_extractor("logmel", {"bands": 40}).describe()
    source = FeatureSource([described], 0.04)
    (extractor,) = source.extractors()
    assert extractor.dim == 40
    assert source.crop == "none"
    assert source.extractors()[0] is extractor  # once


def test_an_own_extractor_must_be_named_by_the_caller():
    described = Loudness().describe()
    with pytest.raises(CheckpointError, match=f"name its class: --extractor {described.factory}"):
        FeatureSource([described], 0.04).prepare()
    (extractor,) = FeatureSource([described], 0.04, own_extractors=[Loudness]).extractors()
    assert type(extractor) is Loudness


def test_weights_must_be_given():
    described = ExtractorDescription("r3d_18", "visual", 0.64, 512, weights_sha256="0" * 64)
    with pytest.raises(
        CheckpointError, match="r3d_18 needs the weights file it was trained with: give --weights r3d_18=FILE"
    ):
        FeatureSource([described], 0.64).prepare()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "logspec have version 1, the checkpoint was trained on 9"),
        ({"hop_s": 0.5}, "logspec have hop_s 0.01, the checkpoint was trained on 0.5"),
        ({"dim": 3}, "logspec have dim 513, the checkpoint was trained on 3"),
        ({"decoder": "decord"}, "logspec have decoder None, the checkpoint was trained on 'decord'"),
    ],
)
def test_a_store_of_other_features_is_refused(tiny_set, tiny_store, change, message):
    store, records = FeatureStore(tiny_store), read_records("lavdf", tiny_set)
    described = store.describe("logspec")
    with pytest.raises(CheckpointError, match=message):
        FeatureSource([replace(described, **change)], 0.04).stored(records, store, allow_missing=False)


@pytest.mark.parametrize(
    ("key", "value"), [("version", 99), ("modality", "visual"), ("hop_s", 0.02), ("start_offset_s", 0.5)]
)
def test_features_other_than_in_training_are_refused(key, value):
    described = replace(build_extractor("logmel", {}).describe(), **{key: value})
    with pytest.raises(
        CheckpointError, match=f"logmel: the network was trained on features whose {key} was {value}, it is"
    ):
        FeatureSource([described], 0.04).extractors()


@pytest.mark.parametrize("modality", ["audio", "visual"])
@pytest.mark.parametrize("native_rate", [False, True])
def test_a_network_of_one_stream_gets_it_alone_from_clip_and_store(tiny_set, tiny_store, modality, native_rate):
    """The same example comes from the clip and from the store; the other stream is empty, and its segments do not count."""
    store, records = FeatureStore(tiny_store), read_records("lavdf", tiny_set)
    described = [store.describe(name) for name in ("logspec", "residual_grid")]
    source = FeatureSource(described, 0.04, native_rate=native_rate, modality=modality)
    k = next(k for k, record in enumerate(records) if record.modality == "both")
    stored = source.stored(records, store, allow_missing=False)[k]
    decoded = read_whole(source, tiny_set / records[k].file)
    present = [mask.any() for mask in stored.masks]
    assert present == [modality == "audio", modality == "visual"]
    for a, b in zip((*stored.streams, *stored.masks), (*decoded.streams, *decoded.masks), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=0.01)  # the store keeps half precision
    assert [bool(stored.record.modality_segments(m)) for m in ("audio", "visual")] == present
    left_out = stored.streams[1 if modality == "audio" else 0]
    assert not left_out.any()


R3D = ExtractorDescription("r3d_18", "visual", 0.64, 512, weights_sha256="0" * 64)
OWN = ExtractorDescription("mine", "visual", 0.1, 3, factory="somewhere.Mine")


@pytest.mark.parametrize("unused", [R3D, OWN], ids=["weights", "class"])
@pytest.mark.parametrize("native_rate", [False, True])
def test_a_network_of_one_stream_needs_nothing_of_the_other(tiny_set, tiny_store, unused, native_rate):
    """Neither weights nor the class of the other stream's extractor, nor its features in the store; its width is known."""
    store, records = FeatureStore(tiny_store), read_records("lavdf", tiny_set)
    described = [store.describe("logspec"), unused]
    source = FeatureSource(described, 0.04, native_rate=native_rate, modality="audio")
    source.prepare()
    assert [extractor.name for extractor in source.extractors()] == ["logspec"]
    stored = source.stored(records, store, allow_missing=False)[1]
    decoded = read_whole(source, tiny_set / records[1].file)
    for example in (stored, decoded):
        assert example.streams[0].any()
        assert example.streams[1].shape[1] == unused.dim
        assert [mask.any() for mask in example.masks] == [True, False]
    with pytest.raises(CheckpointError):
        FeatureSource(described, 0.04, native_rate=native_rate).prepare()


def test_samples_and_pixels_are_the_same_live_and_from_a_store(tiny_set, tmp_path):
    """To the bit: nothing is rounded on the way."""
    specs = (("waveform", {}), ("mouth", {"side": 32, "crop": "center"}))
    records = read_records("lavdf", tiny_set, "test")
    store = FeatureStore(tmp_path / "s")
    extract([record.file for record in records], store, ExtractionSettings(tiny_set, specs))
    source = FeatureSource([store.describe(name) for name, _ in specs], 0.04, native_rate=True)
    stored = source.stored(records, store, allow_missing=False)[0]
    decoded = read_whole(source, tiny_set / records[0].file)
    assert [stream.dtype for stream in stored.streams] == [np.int16, np.uint8]
    for a, b in zip((*stored.streams, *stored.masks), (*decoded.streams, *decoded.masks), strict=True):
        np.testing.assert_array_equal(a, b)
