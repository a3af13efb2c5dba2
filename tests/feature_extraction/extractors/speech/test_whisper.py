from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.media.types import Clip

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


def sound(samples, seed=0, level=0.1):
    return np.random.default_rng(seed).normal(0.01, level, samples).astype(np.float32)


@pytest.fixture(scope="module")
def folder(arguments):
    return Path(arguments["whisper_base"]["weights"])


@pytest.fixture
def build(folder):
    return lambda **others: build_extractor("whisper_base", {"weights": str(folder), **others})


def reference(folder, samples):
    """The forward pass of transformers on one stream, padded to 30 s: every hidden state (1500, C)."""
    import transformers

    network = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
    prepare = transformers.WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
    states = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, values: states.append(values[0][0].numpy()))
        for layer in network.layers
    ]
    with torch.no_grad():
        last = network(prepare(samples, sampling_rate=16000, return_tensors="pt").input_features).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*states, last[0].numpy()]


def test_layers_equal_transformers(folder, build):
    samples = sound(9999)
    states = [state[:32] for state in reference(folder, samples)]  # 9999 samples are 31.2 rows
    assert len(states) == 4
    for layers, numbers in {"all": [0, 1, 2, 3], "last": [3], "0": [0], "2+1": [2, 1]}.items():
        side = np.concatenate([states[k] for k in numbers], axis=1)
        for averaged, expected in ((False, side), (True, np.mean([states[k] for k in numbers], axis=0))):
            extractor = build(layers=layers, mean=averaged)
            assert (extractor.layers, extractor.dim) == (1 if averaged else len(numbers), expected.shape[1])
            (got,) = extractor.rows([samples])
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected, atol=1e-5)


def test_batch_equals_one_by_one_and_passes_are_bounded(build, monkeypatch):
    lengths = (2000, 1, 321, 320, 48001)
    extractor = build(layers="all", batch_s=60)
    passes = []
    run = extractor.states
    monkeypatch.setattr(extractor, "states", lambda data, mask: passes.append(tuple(data.shape)) or run(data, mask))
    batch = [sound(n, seed=k) for k, n in enumerate(lengths)]
    together = extractor.rows(batch)
    assert passes == [(2, 80, 3000), (2, 80, 3000), (1, 80, 3000)]
    assert [len(rows) for rows in together] == [7, 1, 2, 1, 151]
    for samples, rows in zip(batch, together, strict=True):
        np.testing.assert_allclose(extractor.rows([samples])[0], rows, atol=1e-5)
    assert extractor.rows([]) == []


def test_timing_and_windows(build):
    extractor = build()
    assert (extractor.hop_s, extractor.receptive_field_s) == (0.02, 0.065)
    assert extractor.start_offset_s == pytest.approx(-0.01)
    clip = Clip(Path("x.mp4"), fps=25, sample_rate=16000, audio_start_s=0.1)
    clip.samples = sound(16000 * 31 + 123)
    features = extractor.extract(clip)
    assert features.grid.length == 1551  # of 31.008 s
    assert features.grid.start_s == pytest.approx(0.09)
    first, second = extractor.rows([clip.samples[: 30 * 16000], clip.samples[26 * 16000 :]])
    np.testing.assert_allclose(features.values, np.concatenate([first[:1400], second[100:]]), atol=1e-5)


@pytest.mark.parametrize("click", [1000, 3199, 4001])
def test_click_is_in_the_row_whose_middle_is_nearest(click, build):
    """Of the rows that the convolutions make; below their reach nothing else changes, as the loudest frame stays."""
    extractor = build(layers="0")
    samples = sound(9000, level=1e-4)
    samples[7000] = 0.8
    other = samples.copy()
    other[click] = 0.8
    changes = np.abs(extractor.rows([other])[0] - extractor.rows([samples])[0]).mean(axis=1)
    seen = np.flatnonzero(changes > 1e-4)
    middles = (extractor.start_offset_s + (seen + 0.5) * extractor.hop_s) * 16000
    assert np.abs(middles - click).max() <= extractor.receptive_field_s * 16000 / 2
    weighted = (changes[seen] * middles).sum() / changes[seen].sum()
    assert abs(weighted - click) < 160


def test_description(build):
    extractor = build(layers="1-2")
    description = extractor.describe()
    assert description.parameters == {"layers": "1-2", "mean": False, "random": False}
    assert len(description.weights_sha256) == 64
    assert (description.dim, description.layers, description.modality) == (32, 2, "audio")


def test_random_weights_have_the_standard_size(monkeypatch):
    from avloc.feature_extraction.extractors.speech import whisper

    extractor = build_extractor("whisper_large_v3", {"random": True})
    assert (extractor.shape, extractor.settings[0].num_mel_bins) == ((33, 1280), 128)
    monkeypatch.setattr(whisper.WhisperLargeV3, "size", whisper.WhisperSize(8, 2, 2, 16, 128))
    one, two = (build_extractor("whisper_large_v3", {"random": True}).rows([sound(640)])[0] for _ in range(2))
    assert one.shape == (2, 8)
    np.testing.assert_array_equal(one, two)


def test_wrong_files(folder, tmp_path):
    for name in ("kind", "window", "lacking"):
        shutil.copytree(folder, tmp_path / name)

    def load(name, **changed):
        file = tmp_path / name / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))
        build_extractor("whisper_base", {"weights": str(tmp_path / name)}).load()

    with pytest.raises(AvlocError, match="whisper_base needs a whisper model, got hubert"):
        load("kind", model_type="hubert")
    with pytest.raises(AvlocError, match="want a network for windows of 30 s, 1500 rows, got 750"):
        load("window", max_source_positions=750)
    with pytest.raises(AvlocError, match=r"they lack encoder\.layers\.3\."):
        load("lacking", encoder_layers=4)
