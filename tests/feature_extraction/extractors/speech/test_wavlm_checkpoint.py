from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.speech.wavlm_checkpoint import parse_convolutions, read_wavlm

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")

SETTINGS = {
    "base": {},
    "large": {"extractor_mode": "layer_norm", "layer_norm_first": True, "normalize": True},
    "other": {
        "conv_bias": True,
        "activation_fn": "relu",
        "conv_feature_layers": "[(6,10,5), (9,3,2)] + [(5,3,2)] * 3",
        "encoder_attention_heads": 4,
        "conv_pos": 7,
        "conv_pos_groups": 2,
    },
}


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0.01, 0.1, samples).astype(np.float32)


def original_layers(network, samples):
    """The original code's layers (T, C): the input of each, and the network's output."""
    depth = len(network.encoder.layers)
    with torch.no_grad():
        (last, layers), _ = network.extract_features(
            torch.from_numpy(samples)[None], ret_layer_results=True, output_layer=depth
        )
        last = network.extract_features(torch.from_numpy(samples)[None])[0]
    return [*(values.transpose(0, 1)[0].numpy() for values, _ in layers[:-1]), last[0].numpy()]


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_layers_equal_the_originals(kind, tmp_path, save_original_wavlm):
    network = save_original_wavlm(tmp_path / "w.pt", **SETTINGS[kind])
    extractor = build_extractor("wavlm_large", {"weights": str(tmp_path / "w.pt"), "layers": "all"})
    samples = noise(60000)  # positions beyond max_distance
    network_input = samples
    if kind == "large":
        network_input = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    expected = original_layers(network, network_input)
    assert len(expected) == 4
    (got,) = extractor.rows([samples])
    for k, layer in enumerate(expected):
        assert layer.std() > 0.1
        np.testing.assert_allclose(got[:, 16 * k : 16 * (k + 1)], layer, atol=1e-5)
    (middle,) = build_extractor("wavlm_large", {"weights": str(tmp_path / "w.pt"), "layers": "1"}).rows([samples])
    np.testing.assert_allclose(middle, expected[1], atol=1e-5)


def test_settings_of_the_file(tmp_path, save_original_wavlm):
    save_original_wavlm(tmp_path / "w.pt", **SETTINGS["large"])
    extractor = build_extractor("wavlm_base", {"weights": str(tmp_path / "w.pt")})
    config, normalize = extractor.settings
    assert normalize
    assert extractor.pads
    assert (config.num_buckets, config.max_bucket_distance, config.do_stable_layer_norm) == (32, 80, True)
    assert (extractor.dim, extractor.hop_s) == (16, 0.02)
    assert len(extractor.weights_sha256()) == 64
    save_original_wavlm(tmp_path / "w.pt", **SETTINGS["other"])
    other = build_extractor("wavlm_base", {"weights": str(tmp_path / "w.pt")})
    assert not other.settings[1]
    assert not other.pads
    assert other.hop_s * 16000 == pytest.approx(80)
    assert other.weights_sha256() != extractor.weights_sha256()


def test_convolutions_are_not_evaluated():
    usual = parse_convolutions("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2")
    assert usual == [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    assert parse_convolutions("[(1,2,3),(4,5,6)]*2+[(7,8,9),]") == [
        (1, 2, 3),
        (4, 5, 6),
        (1, 2, 3),
        (4, 5, 6),
        (7, 8, 9),
    ]
    long = "[(1,2,3)]" + "+[(1,2,3)]" * 500
    code = "__import__('os').getcwd()"
    for text in ("", "[]", code, "[(1,2)]", "[(1,2,3)] * 999", "[(1,2,3)] * 0", "[(1,0,3)]", None, long):
        with pytest.raises(AvlocError, match="conv_feature_layers must"):
            parse_convolutions(text)


def test_wrong_files(tmp_path, save_original_wavlm):
    file = tmp_path / "w.pt"
    save_original_wavlm(file)
    content = torch.load(file, weights_only=True)

    def check_refused(problem, *, without=(), settings=None, **tensors):
        model = {k: v for k, v in (content["model"] | tensors).items() if k not in without}
        torch.save({"cfg": content["cfg"] | (settings or {}), "model": model}, file)
        with pytest.raises(AvlocError, match=rf"w\.pt: .*{problem}"):
            read_wavlm(file)

    for name in content["model"]:
        check_refused(f"lacks {name}", without=[name])
    check_refused("has no place for final_proj.weight", **{"final_proj.weight": torch.zeros(2)})
    check_refused(r"mask_emb must be of shape \(16,\), got \(3,\)", mask_emb=torch.zeros(3))
    check_refused(r"mask_emb must be of shape \(16,\), got int", mask_emb=3)
    check_refused("lacks encoder.layers.3.fc1.bias", settings={"encoder_layers": 4})
    check_refused("has no place for encoder.layers.2", settings={"encoder_layers": 2})
    check_refused("expected gated relative positions, got gru_rel_pos False", settings={"gru_rel_pos": False})
    check_refused("extractor_mode must be one of default, layer_norm", settings={"extractor_mode": "x"})
    check_refused("activation_fn must be gelu or relu, got 'glu'", settings={"activation_fn": "glu"})
    check_refused("conv_feature_layers must be like", settings={"conv_feature_layers": "print('hello')"})
    check_refused("is of no WavLM", settings={"encoder_attention_heads": 5})
    check_refused("is of no WavLM", settings={"encoder_embed_dim": "wide"})
    torch.save({"model": {}}, file)
    with pytest.raises(AvlocError, match="not a WavLM file of Microsoft's"):
        read_wavlm(file)
    torch.save({"cfg": content["cfg"], "model": torch.nn.Linear(1, 1)}, file)
    with pytest.raises(AvlocError, match="holds more than tensors"):
        build_extractor("wavlm_base", {"weights": str(file)}).load()
    file.write_text("none")
    with pytest.raises(AvlocError, match=r"w\.pt: not a checkpoint"):
        build_extractor("wavlm_base", {"weights": str(file)}).load()
