from __future__ import annotations

import pickle

import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.job import clip_features
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.job.worker import Chunk, ClipDone, ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

EXTRACTORS = ["waveform", "logmel:bands=17", "mouth:side=24,crop=center", "residual_grid"]
NAMES = ["waveform", "logmel", "mouth", "residual_grid"]


def test_features_are_those_of_a_store(clips, names, tmp_path):
    """Samples, pixels and rounded numbers, also of the clip without sound."""
    store, live = FeatureStore(tmp_path / "s"), pickle.loads(pickle.dumps(ClipFeatures(clips, EXTRACTORS)))
    arguments = [{}, {"bands": 17}, {"side": 24, "crop": "center"}, {}]
    settings = ExtractionSettings(clips, tuple(zip(NAMES, arguments, strict=True)))
    assert extract(names[:5], store, settings).done == 5
    assert live.extractors() == NAMES
    for name in NAMES:
        assert live.describe(name) == store.describe(name)
    for file in names[:5]:
        features = live.read(file, NAMES)
        assert list(features) == NAMES
        for name, each in features.items():
            stored = store.read(name, file)
            np.testing.assert_array_equal(each.values, stored.values)
            assert each.values.dtype == stored.values.dtype
            assert (each.grid, each.gaps) == (stored.grid, stored.gaps)
    assert list(live.read(names[0], ["residual_grid"])) == ["residual_grid"]


def test_gaps_are_cut_to_the_rows(clips, names, monkeypatch):
    def process(*arguments):
        for rows in (2, 1):
            yield Chunk(0, True, 0, None, np.full((rows, 64), rows, np.float16))
        yield ClipDone((0.24,), 1.0, 0, 0.1, 0.1, gaps=(((-2, 0), (1, 9)),), failures=(None,))

    monkeypatch.setattr(clip_features, "process_clip", process)
    features = ClipFeatures(clips, ["logmel"]).read(names[0], ["logmel"])["logmel"]
    assert features.gaps == ((1, 3),)
    assert features.values[:, 5].tolist() == [2, 2, 1]
    assert features.grid == TimeGrid(0.24, 0.01, 3)


def test_clips_that_cannot_be_decoded_are_named(clips, names, monkeypatch):
    live = ClipFeatures(clips, ["waveform"])
    with pytest.raises(MediaError, match=r"clips/broken\.mp4: cannot be opened as media"):
        live.read("broken.mp4", ["waveform"])
    with pytest.raises(MediaError, match=r"clips/none\.mp4: no such file"):
        live.read("none.mp4", ["waveform"])

    def process(*arguments):
        yield ClipDone((0.0,), 1.0, 0, 0.1, 0.1, gaps=((),), failures=("no audio could be decoded",))

    monkeypatch.setattr(clip_features, "process_clip", process)
    with pytest.raises(MediaError, match=r"0 ä\.mp4: no audio could be decoded"):
        live.read(names[0], ["waveform"])


def test_extractors_that_do_not_fit(clips):
    with pytest.raises(
        AvlocError, match=r"^r3d_18 runs a network, too slow for every epoch: extract it \(avloc extract\)"
    ):
        ClipFeatures(clips, ["waveform", "r3d_18:random=true"])
    with pytest.raises(AvlocError, match="unknown extractor 'wavform' \\(did you mean waveform"):
        ClipFeatures(clips, ["wavform"])
    with pytest.raises(AvlocError, match="name each once, got mouth, mouth"):
        ClipFeatures(clips, ["mouth", "mouth:side=24"])
