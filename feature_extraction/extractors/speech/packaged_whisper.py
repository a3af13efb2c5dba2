"""The beginning of Whisper Base, with its weights in the package: samples > log mel > convolutions > three layers.

Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023; OpenAI's multilingual weights (MIT), the
matrices rounded to four bits. The network and its input are written here. Two deviations: a stream is not padded to 30 s, and
behind a stream of 30 s comes silence, where Whisper mirrors its end.

Legend: B batch, N samples, F mel frames of 10 ms, M mel bands, T = F / 2 rows, C width.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import FeatureArray, Stream
from avloc.feature_extraction.extractors.speech.four_bits import unpack
from avloc.feature_extraction.extractors.speech.mel import HOP as MEL_HOP
from avloc.feature_extraction.extractors.speech.mel import WINDOW as MEL_WINDOW
from avloc.feature_extraction.extractors.speech.mel import mel_power
from avloc.feature_extraction.extractors.speech.network import SpeechNetwork
from avloc.feature_extraction.extractors.speech.whisper import HOP, CentredTiming

if TYPE_CHECKING:
    from torch import Tensor

# `PackagedWhisper.version` rises with every change of this file: the description has no hash of it, as nobody gives it.
WEIGHTS = Path(__file__).parent / "weights" / "whisper_base.npz"
LAYERS = 3
WIDTH, HEADS, HIDDEN, MELS = 512, 8, 2048, 80
QUIETEST = 1e-10
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error)
RANGE = 8  # decades of power under the loudest band of any frame
SLOWEST = 10_000  # of the positions' periods, in 2π rows


class EncoderLayer(nn.Module):
    """A layer of Whisper's encoder: (B, T, C) → (B, T, C); its parameters have the names of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict(
            {f"{part}_proj": nn.Linear(WIDTH, WIDTH, bias=part != "k") for part in ("q", "k", "v", "out")}
        )
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.self_attn_layer_norm(x)
        heads = (self.self_attn[f"{part}_proj"](y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in "qkv")
        x = x + self.self_attn["out_proj"](scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2))
        return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x))))


class EarlyLayers(nn.Module):
    """The beginning of Whisper's encoder: log mel (B, M, F) → its first `LAYERS` + 1 hidden states (B, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(LAYERS))

    def forward(self, mel: Tensor) -> list[Tensor]:
        x = gelu(self.conv2(gelu(self.conv1(mel)))).transpose(1, 2)
        states = [x + positions(x.shape[1], x.device)]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states


class PackagedWhisper(SpeechNetwork):
    """The first three of the six layers of Whisper Base, a row per 20 ms; needs no file, no download and no other package.

    Each stream runs alone and unpadded, a longer one than 30 s in windows. Positions and the loudest band are those of a window.

    Args:
        layers: see `SpeechNetwork`.
        mean: see `SpeechNetwork`.

    >>> extractor = PackagedWhisper()
    >>> extractor.dim, [rows.shape for rows in extractor.rows([np.zeros(16_000, np.float32)])]
    (1536, [(50, 1536)])
    """

    name = "whisper_packaged"
    timing = CentredTiming(HOP, 4 * MEL_HOP + MEL_WINDOW)  # type: ignore[assignment]
    start_offset_s = -HOP / 2 / DEFAULT_SAMPLE_RATE  # row k is centred on sample k · HOP
    shape = (LAYERS + 1, WIDTH)  # type: ignore[assignment]
    pads = False  # type: ignore[assignment]

    def __init__(self, *, layers: str = f"1-{LAYERS}", mean: bool = False) -> None:
        super().__init__(layers, mean, batch_s=30)

    def _load(self) -> nn.Module:
        try:
            with WEIGHTS.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                network = build_encoder(unpack(file))
        except UNREADABLE as error:
            raise AvlocError(f"{WEIGHTS}: not the weights of {self.name}; install avloc again") from error
        network.layers = network.layers[: max(self.numbers)]
        return network

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [self._rows(samples) for samples in streams]

    def _rows(self, samples: Stream) -> FeatureArray:
        if not len(samples):
            return np.zeros((0, self.dim), np.float32)
        mel = whisper_log_mel(torch.from_numpy(samples))[None]
        with self.running():
            values: FeatureArray = self.merge(self.states(self.on_device(mel), None)).cpu().numpy()[0]
        return values

    def states(self, data: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Run the network on log mel (1, M, F)."""
        states = self.network(data)
        return [states[k] for k in self.numbers]


def build_encoder(weights: Mapping[str, Any]) -> EarlyLayers:
    """Make the network of arrays by name; those of more layers are left out.

    Raises:
        KeyError: if an array is missing.
        RuntimeError: if one has another number of values.
    """
    with torch.device("meta"):
        network = EarlyLayers()
    shapes = {name: parameter.shape for name, parameter in network.state_dict().items()}
    values = {name: torch.as_tensor(weights[name]).float().reshape(shape) for name, shape in shapes.items()}
    network.load_state_dict(values, assign=True)
    return network


def positions(rows: int, device: torch.device | str = "cpu") -> Tensor:
    """The encoding of the rows' positions: sines, then cosines, of `WIDTH` / 2 periods (Vaswani et al., NeurIPS 2017).

    >>> positions(2)[:, [0, 256]].round(decimals=3)
    tensor([[0.0000, 1.0000],
            [0.8410, 0.5400]])
    """
    rates = torch.exp(-math.log(SLOWEST) / (WIDTH // 2 - 1) * torch.arange(WIDTH // 2, device=device))
    phases = torch.arange(rows, device=device)[:, None] * rates
    return torch.cat([phases.sin(), phases.cos()], dim=1)


def whisper_log_mel(samples: Tensor) -> Tensor:
    """Compute Whisper's input, frame k centred on sample 160 k: (N,) → (M, F), two frames per row.

    The logarithm of the mel power, at most `RANGE` decades under its largest value; the sound is mirrored at its start
    and followed by silence.

    >>> whisper_log_mel(torch.zeros(1601)).shape
    torch.Size([80, 12])
    """
    frames = 2 * -(-len(samples) // HOP)
    sound = pad(samples, (0, frames * MEL_HOP + MEL_WINDOW - len(samples)))  # at least half a window to mirror, too
    mirrored = torch.cat([sound[1 : MEL_WINDOW // 2 + 1].flip(0), sound])
    logarithm = mel_power(mirrored, MELS, centred=False)[:frames].clamp(min=QUIETEST).log10().T
    return (logarithm.clamp(min=logarithm.max() - RANGE) + 4) / 4
