from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from avloc.models import BATFD, BATFDPlus
from avloc.models.checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def arguments(tmp_path_factory):
    """What each extractor needs that has no default: small random checkpoints, by the extractor's name."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {**batfd_arguments(folder), **speech_arguments(folder), **video_arguments(folder)}


def batfd_arguments(folder: Path) -> dict[str, dict[str, object]]:
    """A checkpoint of ours for each extractor that is an encoder of BA-TFD or BA-TFD+."""
    torch.manual_seed(0)
    small = {"width": 8, "map_widths": (4, 3), "frames": 32, "durations": 3}
    batfd = BATFD(video_widths=(3, 4, 5, 4), audio_widths=(3, 4, 2), **small)
    plus = BATFDPlus(video_encoder="mvit_t", audio_encoder="vit_t", **small)
    networks = {"batfd_c3d": batfd, "batfd_mvit": plus, "batfd_audio": batfd}
    for name, network in networks.items():
        write_checkpoint(
            folder / name, network, {"hop_s": 0.04, "extractors": [], "clips": {"frames": 32, "fit": "pad"}}
        )
    return {name: {"weights": str(folder / name)} for name in networks}


def video_arguments(folder: Path) -> dict[str, dict[str, object]]:
    """Random weights, and as few windows as show the timing: some of these networks take a second for each."""
    from transformers import VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    VideoMAEModel(VideoMAEConfig(image_size=32, **sizes)).save_pretrained(folder / "videomae")
    settings: dict[str, dict[str, object]] = {
        "r3d_18": {"window": 8},
        "mc3_18": {"window": 8, "stride": 8},
        "r2plus1d_18": {"window": 8, "stride": 8},
        "s3d": {"stride": 12},
        "mvit_v1_b": {"stride": 23},
        "mvit_v2_s": {"stride": 23},
        "swin3d_t": {"window": 8, "stride": 8},
    }
    found: dict[str, dict[str, object]] = {name: {"random": True} | s for name, s in settings.items()}
    return {**found, "videomae": {"weights": str(folder / "videomae")}}


# Small networks of speech: two layers of 16, convolutions of 8 with the usual kernels and strides.
SMALL_SPEECH = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
SMALL_WAVLM = {
    "encoder_layers": 3, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2", "conv_pos": 8, "conv_pos_groups": 4,
    "relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": 32, "max_distance": 80,
}  # fmt: skip


def speech_arguments(folder: Path) -> dict[str, dict[str, object]]:
    """Small networks of speech whose norms are per step, so that a click changes the steps that see it and no others."""
    found: dict[str, dict[str, object]] = {}
    kinds = {
        "wavlm": ("wavlm_base", "wavlm_base_plus", "wavlm_large"),
        "wav2vec2": ("wav2vec2_base", "wav2vec2_large", "xls_r_300m"),
        "hubert": ("hubert_base", "hubert_large"),
    }
    for kind, names in kinds.items():
        _save_speech(folder / kind, kind, norm="layer", normalize=False)
        found |= {name: {"weights": str(folder / kind)} for name in names}
    _save_original_wavlm(folder / "wavlm.pt", extractor_mode="layer_norm")
    return found | {"s3prl": {"upstream": "wavlm_base_plus", "weights": str(folder / "wavlm.pt")}}


def _save_speech(folder: Path, kind: str, *, norm: str, normalize: bool, **settings: object) -> torch.nn.Module:
    """A small random network of transformers in a folder, as transformers saves it; also returned."""
    import transformers

    torch.manual_seed(0)
    name = {"wavlm": "WavLM", "wav2vec2": "Wav2Vec2", "hubert": "Hubert"}[kind]
    stable = {"do_stable_layer_norm": norm == "layer", "feat_extract_norm": norm}
    config = getattr(transformers, f"{name}Config")(**SMALL_SPEECH | stable | settings)
    network = getattr(transformers, f"{name}Model")(config).eval()
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return network


def _save_original_wavlm(file: Path, **settings: object) -> torch.nn.Module:
    """A small random WavLM in a file like Microsoft's, made by the original code in s3prl; also returned."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of code older than the torch it runs on
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

        torch.manual_seed(0)
        cfg = SMALL_WAVLM | settings
        network = WavLM(WavLMConfig(cfg)).eval()
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith("grep_a"):  # one at first, as are many others
                values.uniform_(0.5, 1.5)
    torch.save({"cfg": cfg, "model": network.state_dict()}, file)
    return network


@pytest.fixture(scope="session")
def save_speech():
    """What saves a small network of speech as transformers does."""
    return _save_speech


@pytest.fixture(scope="session")
def save_original_wavlm():
    """What saves a small WavLM as Microsoft does."""
    return _save_original_wavlm


@pytest.fixture
def one_thread():
    """Networks as small as these only wait for their other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_network(monkeypatch):
    """Whoever tries the network fails."""

    def refuse(*arguments, **settings):
        raise AssertionError("the network was tried")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
