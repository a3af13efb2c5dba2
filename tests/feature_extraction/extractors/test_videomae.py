from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEModel

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor

SMALL = {
    "image_size": 32,
    "num_frames": 8,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 16,
}


def save(folder, kind=VideoMAEModel, colours=None, **settings):
    torch.manual_seed(3)
    network = kind(VideoMAEConfig(**SMALL | settings)).eval()
    network.save_pretrained(folder)
    if colours:
        (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return network


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("colours", [None, {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}])
def test_features_are_the_mean_of_the_tokens(tmp_path, pooled, colours):
    network = save(tmp_path, colours=colours, use_mean_pooling=pooled)
    assert (network.layernorm is None) == pooled
    extractor = build_extractor("videomae", {"weights": str(tmp_path), "stride": "8"})
    assert extractor.video_format == (32, 32, "rgb24", "swscale", "none")
    assert (extractor.dim, extractor.hop_s, extractor.receptive_field_s) == (24, 0.32, 0.32)
    frames = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), dtype=np.uint8)
    normalization = colours or {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    mean, deviation = (torch.tensor(normalization[key])[:, None, None] for key in ("image_mean", "image_std"))
    pixels = torch.from_numpy(frames).view(2, 8, 32, 32, 3).permute(0, 1, 4, 2, 3).float() / 255
    with torch.no_grad():
        tokens = network((pixels - mean) / deviation).last_hidden_state
    assert tokens.shape == (2, 16, 24)  # 4 tubelets of 2 × 2 patches
    (got,) = extractor.rows([frames])
    np.testing.assert_allclose(got, tokens.mean(1).numpy(), atol=1e-5)


def test_encoder_of_a_pretraining_checkpoint(tmp_path, capfd):
    network = save(tmp_path / "a", VideoMAEForPreTraining)
    extractor = build_extractor("videomae", {"weights": str(tmp_path / "a")})
    capfd.readouterr()
    extractor.load()
    assert capfd.readouterr().err == ""
    for name, value in network.videomae.state_dict().items():
        assert (extractor.network.state_dict()[name] == value).all()


def test_hash_covers_settings_and_weights(tmp_path):
    save(tmp_path)
    (tmp_path / "README.md").write_text("one")
    first = build_extractor("videomae", {"weights": str(tmp_path)}).weights_sha256()
    (tmp_path / "README.md").write_text("two")
    assert build_extractor("videomae", {"weights": str(tmp_path)}).weights_sha256() == first
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    assert build_extractor("videomae", {"weights": str(tmp_path)}).weights_sha256() != first


def test_missing_and_wrong_folders(tmp_path):
    for name in ("owner/model", str(tmp_path / "none"), "a/b/c"):
        with pytest.raises(AvlocError, match="no such folder, and no model of this name in the Hugging Face cache"):
            build_extractor("videomae", {"weights": name})
    with pytest.raises(AvlocError, match=r"needs a folder with config\.json and model\.safetensors"):
        build_extractor("videomae", {"weights": str(tmp_path)})
    save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for changed, message in (
        ({"model_type": "vit"}, "not a VideoMAE network but 'vit'"),
        ({"num_frames": "many"}, "num_frames must be a whole number from 1 on, got 'many'"),
        ({"image_size": [32, 64]}, r"image_size must be a whole number from 1 on, got \[32, 64\]"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | changed))
        with pytest.raises(AvlocError, match=message):
            build_extractor("videomae", {"weights": str(tmp_path)})
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(AvlocError, match=r"not weights of VideoMAE, they lack \w"):
        build_extractor("videomae", {"weights": str(tmp_path)}).load()
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(AvlocError, match=r"not weights of VideoMAE \("):
        build_extractor("videomae", {"weights": str(tmp_path)}).load()
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": 0.5}')
    with pytest.raises(AvlocError, match="expected three numbers each as image_mean and image_std"):
        build_extractor("videomae", {"weights": str(tmp_path)})


def test_name_in_the_hugging_face_cache(tmp_path, monkeypatch):
    import huggingface_hub

    snapshot = tmp_path / "models--owner--small" / "snapshots" / "0123"
    save(snapshot)
    (tmp_path / "models--owner--small" / "refs").mkdir()
    (tmp_path / "models--owner--small" / "refs" / "main").write_text("0123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    extractor = build_extractor("videomae", {"weights": "owner/small"})
    assert extractor.folder == snapshot
    assert extractor.rows([np.zeros((3, 32, 32, 3), np.uint8)])[0].shape == (1, 24)
