from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.feature_extraction.media.types import Clip


@pytest.fixture(scope="session")
def arguments(tmp_path_factory):
    """By extractor, the arguments without a default: small random checkpoints."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "checkpoint": {"weights": _save_front_ends(folder / "front_end.ckpt", "spectrogram", n_fft=320, channels=2)},
        **batfd_arguments(folder),
        **speech_arguments(folder),
        **video_arguments(folder),
    }


def _save_front_ends(path: Path, audio: str, **options: object) -> str:
    """Save a checkpoint of a small network on a front end for each stream, and return its path."""
    from avloc.core.descriptions import TrainingContext
    from avloc.feature_extraction.extractors.catalog import build_extractor
    from avloc.models import BoundaryTransformer
    from avloc.models.checkpoint import write_checkpoint

    torch.manual_seed(0)
    network = BoundaryTransformer(
        audio_dim=160,
        visual_dim=1024,
        width=8,
        heads=2,
        audio_rows_per_step=4.0,
        visual_rows_per_step=1.0,
        audio_front_end=audio,
        audio_front_end_options=options,
        visual_front_end="lips",
        visual_front_end_options={"side": 32, "channels": 4},
    )
    raw = (build_extractor("waveform"), build_extractor("mouth", {"side": 32, "crop": "center"}))
    context = TrainingContext(0.04, tuple(extractor.describe() for extractor in raw), native_rate=True)
    write_checkpoint(path, network, context)
    return str(path)


def batfd_arguments(folder: Path) -> dict[str, dict[str, object]]:
    """A checkpoint for each extractor that is an encoder of BA-TFD or BA-TFD+."""
    from avloc.core.descriptions import ClipInputFormat, TrainingContext
    from avloc.models import BATFD, BATFDPlus
    from avloc.models.checkpoint import write_checkpoint

    torch.manual_seed(0)
    small = {"width": 8, "map_widths": (4, 3), "frames": 32, "durations": 3}
    batfd = BATFD(video_widths=(3, 4, 5, 4), audio_widths=(3, 4, 2), **small)
    plus = BATFDPlus(video_encoder="mvit_t", audio_encoder="vit_t", **small)
    networks = {"batfd_c3d": batfd, "batfd_mvit": plus, "batfd_audio": batfd}
    for name, network in networks.items():
        write_checkpoint(folder / name, network, TrainingContext(0.04, clips=ClipInputFormat(32, "pad")))
    return {name: {"weights": str(folder / name)} for name in networks}


def video_arguments(folder: Path) -> dict[str, dict[str, object]]:
    """Random weights, and just enough windows to show the timing: some of these networks take a second per window."""
    from transformers import VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    VideoMAEModel(VideoMAEConfig(image_size=32, **sizes)).save_pretrained(folder / "videomae")
    settings: dict[str, dict[str, object]] = {
        "raft": {"size": 128, "updates": 1, "batch": 23},
        "r3d_18": {"window": 8},
        "mc3_18": {"window": 8, "stride": 8},
        "r2plus1d_18": {"window": 8, "stride": 8},
        "s3d": {"stride": 12},
        "mvit_v1_b": {"stride": 23},
        "mvit_v2_s": {"stride": 23},
        "swin3d_t": {"window": 8, "stride": 8},
    }
    arguments: dict[str, dict[str, object]] = {name: {"random": True} | s for name, s in settings.items()}
    return {**arguments, "videomae": {"weights": str(folder / "videomae")}}


# Small speech networks: two layers of 16, convolutions of 8 with the usual kernels and strides.
SMALL_SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
SMALL_WAVLM = {
    "encoder_layers": 3,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2",
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "num_buckets": 32,
    "max_distance": 80,
}


def speech_arguments(folder: Path) -> dict[str, dict[str, object]]:
    """Small speech networks with norms per step, so that a click changes only the steps that see it."""
    arguments: dict[str, dict[str, object]] = {}
    kinds = {
        "wavlm": ("wavlm_base", "wavlm_base_plus", "wavlm_large"),
        "wav2vec2": ("wav2vec2_base", "wav2vec2_large", "xls_r_300m"),
        "hubert": ("hubert_base", "hubert_large"),
    }
    for kind, names in kinds.items():
        _save_speech(folder / kind, kind, norm="layer", normalize=False)
        arguments |= {name: {"weights": str(folder / kind)} for name in names}
    _save_original_wavlm(folder / "wavlm.pt", extractor_mode="layer_norm")
    arguments["resemblyzer"] = {"weights": _save_voice_encoder(folder / "voice.pt")}
    whisper = _save_whisper(folder / "whisper")
    arguments |= {name: {"weights": whisper} for name in ("whisper_base", "whisper_small", "whisper_large_v3")}
    arguments["whisper_packaged"] = {"layers": "0"}  # the transformer's input: a click changes every row behind it
    return arguments | {"s3prl": {"upstream": "wavlm_base_plus", "weights": str(folder / "wavlm.pt")}}


def _save_whisper(folder: Path) -> str:
    """Save a small random Whisper with three layers in its encoder."""
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(0)
    encoder = {"encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24}
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
    WhisperModel(WhisperConfig(vocab_size=7, d_model=16, **encoder, **decoder, **special)).save_pretrained(folder)
    return str(folder)


def _save_voice_encoder(path: Path) -> str:
    """Save a random speaker encoder whose first layer sums over the window, where others would remember its end alone."""
    from avloc.feature_extraction.extractors.speech.resemblyzer import WIDTH, VoiceEncoder

    torch.manual_seed(0)
    network = VoiceEncoder()
    with torch.no_grad():
        for name, values in network.named_parameters():
            if "_hh_" in name:
                values.zero_()
            if name.startswith("lstm.bias_hh"):
                values[WIDTH : 2 * WIDTH] = 10 if name.endswith("l0") else -10  # of the forget gates
    torch.save({"model_state": network.state_dict()}, path)
    return str(path)


def _save_speech(folder: Path, kind: str, *, norm: str, normalize: bool, **settings: object) -> torch.nn.Module:
    """Save a small random network of transformers to a folder, and return it."""
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
    """Save a small random WavLM, built by the original code in s3prl, to a file like Microsoft's, and return it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the code is older than torch
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

        torch.manual_seed(0)
        cfg = SMALL_WAVLM | settings
        network = WavLM(WavLMConfig(cfg)).eval()
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith("grep_a"):  # initialized to one
                values.uniform_(0.5, 1.5)
    torch.save({"cfg": cfg, "model": network.state_dict()}, file)
    return network


@pytest.fixture(scope="session")
def save_front_ends():
    """A function that saves a small network on front ends, whose audio one is of this kind."""
    return _save_front_ends


@pytest.fixture(scope="session")
def small_speech():
    """Settings of small speech networks."""
    return {**SMALL_SPEECH, "conv_dim": [*SMALL_SPEECH["conv_dim"]]}


@pytest.fixture(scope="session")
def save_speech():
    """A function that saves a small speech network as transformers does."""
    return _save_speech


@pytest.fixture(scope="session")
def save_original_wavlm():
    """A function that saves a small WavLM as Microsoft does."""
    return _save_original_wavlm


@pytest.fixture
def one_thread():
    """Run torch in one thread: networks this small lose time to more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _make_clip(extractor, *, steps=23, event=11, start_s=0.2) -> Clip:
    """A quiet, grey clip of `steps` frames with a click and a flash in the middle of frame `event`; None: without them."""
    clip = Clip(Path("x.mp4"), fps=25, sample_rate=16000, video_start_s=start_s, audio_start_s=start_s)
    rng = np.random.default_rng(0)
    if extractor.modality == "audio":
        clip.samples = rng.normal(0, 1e-4, steps * 640).astype(np.float32)
        if event is not None:
            clip.samples[event * 640 + 318 : event * 640 + 322] = 0.8
    else:
        f = extractor.video_format
        shape = (steps, f.height, f.width) if f.pixel_format == "gray" else (steps, f.height, f.width, 3)
        frames = np.full(shape, 100, dtype=np.uint8)
        if event is not None:
            frames[event, ::3, ::3] = 240
        clip.frames[f] = frames if f.resize == "swscale" else (frames / 255).astype(np.float32)
    return clip


@pytest.fixture(scope="session")
def make_clip():
    """A function that makes a clip with one event for an extractor."""
    return _make_clip


@pytest.fixture
def no_network(monkeypatch):
    """Fail on any use of the internet."""

    def refuse(*arguments, **settings):
        raise AssertionError("the network was tried")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
