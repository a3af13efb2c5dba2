from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.speech.packaged_whisper import PackagedWhisper
from avloc.feature_extraction.media.types import Clip
from avloc.io.files import file_sha256
from avloc.models.whisper.network import WEIGHTS

pytestmark = pytest.mark.usefixtures("one_thread")


def sound(samples, seed=0):
    return np.random.default_rng(seed).normal(0.01, 0.1, samples).astype(np.float32)


@pytest.fixture(scope="module")
def extractor():
    return PackagedWhisper(layers="all")


def reference(rows):
    """transformers' encoder for streams of this number of rows, with the weights of the package."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 512, "encoder_layers": 3, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
    encoder = WhisperEncoder(WhisperConfig(**sizes, max_source_positions=rows)).eval()
    ours = PackagedWhisper().network.state_dict()
    missing, unexpected = encoder.load_state_dict(ours, strict=False)
    assert (set(missing), unexpected) == ({"embed_positions.weight", "layer_norm.weight", "layer_norm.bias"}, [])
    encoder.layer_norm = torch.nn.Identity()
    return encoder


@pytest.mark.parametrize("samples", [1, 150, 9999, 479_777])
def test_layers_equal_transformers(samples, extractor):
    from transformers import WhisperFeatureExtractor

    stream = sound(samples)
    count = -(-samples // 320)
    mel = WhisperFeatureExtractor()([np.pad(stream, (0, 600))], sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        states = reference(count)(mel[..., : 2 * count], output_hidden_states=True).hidden_states
    expected = np.concatenate([state[0].numpy() for state in states], axis=1)
    (rows,) = extractor.rows([stream])
    assert (rows.shape, rows.dtype) == ((count, 4 * 512), np.float32)
    np.testing.assert_allclose(rows, expected, atol=2e-4, rtol=1e-4)


def test_a_stream_does_not_depend_on_its_neighbours(extractor):
    streams = [sound(n, seed=n) for n in (2000, 1, 321, 320)] + [np.zeros(0, np.float32)]
    together = extractor.rows(streams)
    assert [len(rows) for rows in together] == [7, 1, 2, 1, 0]
    for stream, rows in zip(streams, together, strict=True):
        assert np.array_equal(extractor.rows([stream])[0], rows)


def test_layers_above_the_highest_are_not_run():
    assert [len(PackagedWhisper(layers=layers).network.layers) for layers in ("0", "2", "0+1", "1-3")] == [0, 2, 1, 3]


def test_layers_and_their_mean(extractor):
    stream = sound(4000)
    (whole,) = extractor.rows([stream])
    (chosen,) = PackagedWhisper().rows([stream])
    assert np.array_equal(chosen, whole[:, 512:])
    (averaged,) = PackagedWhisper(layers="0+3", mean=True).rows([stream])
    np.testing.assert_allclose(averaged, (whole[:, :512] + whole[:, 1536:]) / 2, atol=1e-5)
    with pytest.raises(AvlocError, match="layers must name some of 0 to 3, each once, got '4'"):
        PackagedWhisper(layers="4").load()


def test_timing_and_windows(extractor):
    clip = Clip(Path("x.mp4"), fps=25, sample_rate=16000, audio_start_s=0.1)
    clip.samples = sound(16000 * 31 + 123)
    features = PackagedWhisper().extract(clip)
    assert (features.grid.length, features.grid.hop_s) == (1551, 0.02)  # of 31.008 s
    assert features.grid.start_s == pytest.approx(0.09)  # row 0 is centred on the first sample
    first, second = PackagedWhisper().rows([clip.samples[: 30 * 16000], clip.samples[26 * 16000 :]])
    np.testing.assert_allclose(features.values, np.concatenate([first[:1400], second[100:]]), atol=1e-5)


@pytest.mark.parametrize(("precision", "error"), [("bf16", 0.011), ("16", 0.0011)])
def test_lower_precision_costs_little(precision, error):
    """The sums over the layers stay in 32 bits, as those of transformers do."""
    stream, exact = sound(16000), PackagedWhisper()
    lower = PackagedWhisper()
    lower.to("cpu", precision)
    (expected,), (rows,) = exact.rows([stream]), lower.rows([stream])
    assert rows.dtype == np.float32
    assert 0 < np.linalg.norm(rows - expected) < error * np.linalg.norm(expected)


WEIGHTS_OF_VERSIONS = {1: "72f93301b05dd3f88a3f73200d2afd0416acd5389f37527d4fb08a70a365360f"}
"""Only ever add a line: features of other weights must be of another version, as their description has no hash."""


def test_description_and_the_version_of_its_weights():
    description = build_extractor("whisper_packaged", {}).describe()
    assert description.parameters == {"layers": "1-3", "mean": False}
    assert (description.dim, description.layers, description.modality) == (1536, 3, "audio")
    assert description.weights_sha256 is None
    assert file_sha256(WEIGHTS) == WEIGHTS_OF_VERSIONS[description.version]
    assert len({*WEIGHTS_OF_VERSIONS.values()}) == len(WEIGHTS_OF_VERSIONS)


def test_needs_neither_transformers_nor_s3prl(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from avloc.feature_extraction.extractors.catalog import build_extractor\n"
        "build_extractor('whisper_packaged', {}).rows([np.zeros(999, np.float32)])\n"
        "assert not {'transformers', 's3prl'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
