"""The beginning of Whisper Base's encoder: log mel > convolutions > three layers; its weights come with the package.

Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023; OpenAI's multilingual weights (MIT), the
matrices rounded to four bits. The network and its input are written here. Two deviations: a stream is not padded to 30 s, and
behind a stream of 30 s comes silence, where Whisper mirrors its end.

Legend: B batch, N samples, F mel frames of 10 ms, M mel bands, T = F / 2 rows, C width.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, pad, scaled_dot_product_attention

from avloc.errors import AvlocError
from avloc.models.mel import HOP as MEL_HOP
from avloc.models.mel import WINDOW as MEL_WINDOW
from avloc.models.mel import mel_power
from avloc.models.whisper.four_bits import unpack

# The extractor's version rises with every change of this file: its description has no hash of it, as nobody gives it.
WEIGHTS = Path(__file__).parent / "weights" / "whisper_base.npz"
LAYERS = 3
WIDTH, HEADS, HIDDEN, MELS = 512, 8, 2048, 80
HOP = 2 * MEL_HOP
QUIETEST = 1e-10
RANGE = 8  # decades of power under the loudest band of any frame
SLOWEST = 10_000  # of the positions' periods, in 2π rows
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error)


class EncoderLayer(nn.Module):
    """A layer of Whisper's encoder: (B, T, C) → (B, T, C); its parameters have the names of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict(
            {f"{part}_proj": nn.Linear(WIDTH, WIDTH, bias=part != "k") for part in ("q", "k", "v", "out")}
        )
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the layer.

        Args:
            x: (B, T, C).
            mask: (B, 1, 1, T) bool, rows to attend to; None: all.
        """
        y = self.self_attn_layer_norm(x)
        q, k, v = (self.self_attn[f"{part}_proj"](y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in "qkv")
        context = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.self_attn["out_proj"](context.transpose(1, 2).flatten(-2))
        return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x))))


class EarlyLayers(nn.Module):
    """The beginning of Whisper's encoder: log mel (B, M, F) → its first `LAYERS` + 1 hidden states (B, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(LAYERS))

    def forward(self, mel: Tensor, rows: Tensor | None = None, *, first_frame: Literal[0, 1] = 0) -> list[Tensor]:
        """Run the network.

        Args:
            mel: (B, M, F), 0 behind the end of a shorter stream.
            rows: (B,) of each stream, for streams of unequal length; None: all have T.
            first_frame: the frame on which the first row is centred. With 1 there are a frame before the first row's and one
                behind the last one's, F = 2T + 1.
        """
        maps = gelu(self.conv1(mel))
        maps = conv1d(maps, self.conv2.weight, self.conv2.bias, stride=2, padding=1 - first_frame)
        x = gelu(maps).transpose(1, 2)
        mask = None if rows is None else (torch.arange(x.shape[1], device=x.device) < rows[:, None])[:, None, None]
        states = [x + positions(x.shape[1], x.device).to(self.conv1.weight.dtype)]
        for layer in self.layers:
            states.append(layer(states[-1], mask))
        return states


def load_encoder() -> EarlyLayers:
    """Make the network with the weights of the package; on the device `meta`, an outline without them.

    Raises:
        AvlocError: if their file is damaged.
    """
    if torch.get_default_device().type == "meta":
        return EarlyLayers()
    try:
        with WEIGHTS.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return build_encoder(unpack(file))
    except UNREADABLE as error:
        raise AvlocError(f"{WEIGHTS}: not the weights of Whisper's early layers; install avloc again") from error


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
    return log_mel(mel_power(mirrored, MELS, centred=False)[:frames])


def log_mel(power: Tensor) -> Tensor:
    """Scale the mel power of a stream as Whisper takes it: (F, M) → (M, F).

    >>> log_mel(torch.tensor([[1.0, 1e-3, 0.0]])).tolist()  # 8 decades under the loudest band, at most
    [[1.0], [0.25], [-1.0]]
    """
    logarithm = power.clamp(min=QUIETEST).log10().T
    return (logarithm.clamp(min=logarithm.max() - RANGE) + 4) / 4
