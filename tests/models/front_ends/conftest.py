"""Small front ends, streams of noise for them, and small speech networks with random weights."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch

from avloc.core.timeline import TimeGrid, rows_in
from avloc.models.front_ends import whisper
from avloc.models.front_ends.catalog import build_front_end
from avloc.models.stream_clock import StreamClock
from avloc.models.whisper.network import load_encoder

STEP_S = 0.04
SMALL_SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
}
LARGE_KIND = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def speech_settings(kind: str, *, large: bool = False):
    """The settings of a small network of the base or of the large kind."""
    return {"model_type": kind, **SMALL_SPEECH, **(LARGE_KIND if large else {})}


SMALL = {
    "spectrogram": ("spectrogram", {"n_fft": 512, "channels": 4, "differences": False}),
    "magnitude": ("spectrogram", {"n_fft": 320, "channels": 4, "phase": False, "differences": False}),
    "two_windows": ("spectrogram", {"n_fft": 512, "channels": 4, "differences": False, "windows": [512, 320]}),
    "sinc": ("raw", {"filters": 12, "kernel": 200}),
    "learned": ("raw", {"filters": 12, "kernel": 200, "kind": "learned"}),
    "lips": ("lips", {"side": 32, "channels": 4}),
    "wavlm": ("speech", {"settings": speech_settings("wavlm")}),
    "wavlm_large": ("speech", {"settings": speech_settings("wavlm", large=True)}),
    "wav2vec2": ("speech", {"settings": speech_settings("wav2vec2")}),
    "xls_r": ("speech", {"settings": speech_settings("wav2vec2", large=True)}),
    "hubert": ("speech", {"settings": speech_settings("hubert")}),
    "whisper": ("whisper", {}),
    "parallel": ("parallel", {"front_ends": [{"name": "whisper"}, {"name": "raw", "filters": 12, "kernel": 200}]}),
}
whisper_encoder = cache(load_encoder)


def make_front_end(name, *, width=8, layers=0, seed=0, **options):
    """A small front end by its name in `SMALL`, in evaluation mode."""
    kind, small = SMALL[name]
    modality, row_width = ("visual", 1024) if kind == "lips" else ("audio", 160)
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whisper, "load_encoder", lambda: deepcopy(whisper_encoder()))  # its file takes longer to read
        return build_front_end(
            kind,
            small | options,
            modality=modality,
            row_width=row_width,
            rows_per_step=STEP_S / hop_s(name),
            width=width,
            layers=layers,
            dropout=0.1,
        ).eval()


def look_at_inputs_alone(front_end):
    """Let a pretrained network's input through, and none of the layers that see the whole stream."""
    with torch.no_grad():
        for module in front_end.modules():
            if hasattr(module, "layer_weights"):
                module.layer_weights[0] = 50.0
            if isinstance(module, whisper.WhisperFrontEnd):
                module.project.weight[:, whisper.WIDTH :] = 0


def hop_s(name):
    return 0.04 if name == "lips" else 0.01


def make_stream(name, steps, *, start_s=0.0, clips=1, seed=0):
    """Noise: rows (B, R, D), their mask, their clock, and the clocks of steps and of rows of one clip."""
    grid = TimeGrid(0.0, STEP_S, steps)
    rows = TimeGrid(start_s, hop_s(name), rows_in(steps, STEP_S / hop_s(name)))
    random = np.random.default_rng(seed)
    if name == "lips":
        x = torch.from_numpy(random.integers(80, 120, (clips, rows.length, 1024)).astype(np.uint8))
    else:
        x = torch.from_numpy(random.normal(0, 30, (clips, rows.length, 160)).astype(np.int16))
    mask = torch.ones(clips, rows.length, dtype=torch.bool)
    phase = torch.full((clips,), start_s / rows.hop_s)
    clock = StreamClock(STEP_S / rows.hop_s, phase, torch.ones(clips, steps, dtype=torch.bool))
    return x, mask, clock, grid, rows


@pytest.fixture(params=list(SMALL))
def front_end_name(request):
    """Each small front end."""
    return request.param


@pytest.fixture
def front_end_of():
    return make_front_end


@pytest.fixture
def stream_of():
    return make_stream


@pytest.fixture
def inputs_alone():
    return look_at_inputs_alone


@pytest.fixture
def settings_of():
    return speech_settings
