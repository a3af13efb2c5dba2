"""Two small neural vocoders, as forgers of any voice: word > log-mel spectrogram > network > samples (copy synthesis).

`SpectralVocoder` is in the manner of Vocos (Siuzdak, ICLR 2024): ConvNeXt blocks at the rate of the frames, then magnitude and
phase, then an inverse Fourier transform. `TransposedVocoder` is in the manner of HiFi-GAN (Kong et al., NeurIPS 2020): transposed
convolutions up to the rate of the samples, each followed by dilated residual blocks. Both are far smaller than the originals, at
most 3 MB in half precision. `train_vocoders.py` trains them; `VocoderForger` runs them.

Legend: B batch, N samples, F frames, M mel bands, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from forgers import match_level
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError

Samples = npt.NDArray[np.float32]

N_FFT, HOP, MEL_BANDS = 1024, 256, 80
MOST_BYTES = 3_000_000  # of the weights in half precision
SMALLEST_POWER = 1e-5
TRAINING_RMS = 0.08


@cache
def _mel_filters() -> Tensor:
    """The filters (M, N_FFT / 2 + 1)."""
    import torchaudio

    half = DEFAULT_SAMPLE_RATE / 2
    return torchaudio.functional.melscale_fbanks(
        N_FFT // 2 + 1, 0.0, half, MEL_BANDS, DEFAULT_SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    ).T.contiguous()


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel spectrogram: (B, N) → (B, M, F), F = N / HOP rounded up; frame k is centred on sample (k + ½) · HOP."""
    length = samples.shape[1]
    frames = -(-length // HOP)
    padding = (N_FFT - HOP) // 2
    padded = F.pad(samples, (padding, padding + frames * HOP - length))
    window = torch.hann_window(N_FFT, device=samples.device)
    magnitude = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True).abs()
    return (_mel_filters().to(samples.device) @ magnitude).clamp_min(SMALLEST_POWER).log()


class ConvNeXtBlock(nn.Module):
    """A depth-wise convolution over time and a point-wise network, scaled and added to the input: (B, C, F) → (B, C, F)."""

    def __init__(self, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2))
        return x + (self.scale * self.pointwise(y)).transpose(1, 2)


class SpectralVocoder(nn.Module):
    """Log-mel spectrogram > ConvNeXt blocks > magnitude and phase > inverse Fourier transform: (B, M, F) → (B, F · HOP).

    Args:
        width: C of the blocks.
        blocks: number of blocks.
    """

    def __init__(self, *, width: int = 160, blocks: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv1d(MEL_BANDS, width, 7, padding=3)
        self.stem_norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, 3 * width, 1 / blocks) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, N_FFT + 2)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(mel).transpose(1, 2)).transpose(1, 2)
        x = self.head(self.norm(self.blocks(x).transpose(1, 2))).transpose(1, 2)  # (B, N_FFT + 2, F)
        log_magnitude, phase = x.chunk(2, dim=1)
        magnitude = log_magnitude.clamp_max(4.6).exp()
        return self._overlap_add(torch.polar(magnitude, phase))

    def _overlap_add(self, spectrum: Tensor) -> Tensor:
        """Windowed inverse transform with "same" padding: (B, N_FFT / 2 + 1, F) → (B, F · HOP).

        `torch.istft` without `center` refuses a window that falls to zero at the ends, so frames are folded by hand.
        """
        frames = spectrum.shape[2]
        pieces = torch.fft.irfft(spectrum, N_FFT, dim=1) * self.window[:, None]
        size = (1, (frames - 1) * HOP + N_FFT)
        envelope = (self.window**2)[None, :, None].expand(1, N_FFT, frames)
        samples, weight = (F.fold(x, size, (1, N_FFT), stride=(1, HOP))[:, 0, 0] for x in (pieces, envelope))
        inner = slice((N_FFT - HOP) // 2, (N_FFT - HOP) // 2 + frames * HOP)
        return samples[:, inner] / weight[:, inner].clamp_min(1e-6)


class ResidualBlock(nn.Module):
    """Dilated convolutions, each added to its input: (B, C, N) → (B, C, N)."""

    def __init__(self, width: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, dilation=d, padding=d * (kernel - 1) // 2)) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = x + convolution(F.leaky_relu(x, 0.1))
        return x


class TransposedVocoder(nn.Module):
    """Log-mel spectrogram > transposed convolutions with residual blocks > samples: (B, M, F) → (B, F · HOP).

    Args:
        width: C after the first layer; each up-sampling halves it.
        factors: of the up-samplings; their product is HOP.
        kernels: of the residual blocks, whose outputs are averaged.
        dilations: of each residual block.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        factors: Sequence[int] = (8, 8, 4),
        kernels: Sequence[int] = (3, 7),
        dilations: Sequence[int] = (1, 3, 5),
    ) -> None:
        super().__init__()
        if np.prod(factors) != HOP:
            raise ValueError(f"factors must multiply to {HOP}, got {tuple(factors)}")
        self.stem = weight_norm(nn.Conv1d(MEL_BANDS, width, 7, padding=3))
        self.ups, self.blocks = nn.ModuleList(), nn.ModuleList()
        for factor in factors:
            up = nn.ConvTranspose1d(width, width // 2, 2 * factor, stride=factor, padding=factor // 2)
            self.ups.append(weight_norm(up))
            width //= 2
            self.blocks.append(nn.ModuleList(ResidualBlock(width, kernel, dilations) for kernel in kernels))
        self.head = weight_norm(nn.Conv1d(width, 1, 7, padding=3))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.stem(mel)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(block(x) for block in blocks) / len(blocks)
        return torch.tanh(self.head(F.leaky_relu(x, 0.1)))[:, 0]


class Architecture(NamedTuple):
    """A vocoder's network and the file of its weights, in the folder `weights` of the benchmark."""

    network: type[nn.Module]
    file: str


VOCODERS = {
    "spectral": Architecture(SpectralVocoder, "spectral_vocoder.pt"),
    "transposed": Architecture(TransposedVocoder, "transposed_vocoder.pt"),
}


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a vocoder's weights in half precision, weight norms folded in (`network` itself is changed).

    Raises:
        ValueError: if they take more than `MOST_BYTES`.
    """
    for module in network.modules():
        if hasattr(module, "parametrizations"):
            remove_parametrizations(module, "weight")
    weights = {name: value.detach().cpu().half() for name, value in network.state_dict().items()}
    size = sum(value.nbytes for value in weights.values())
    if size > MOST_BYTES:
        raise ValueError(f"weights must take at most {MOST_BYTES} bytes, got {size}")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)


def load_vocoder(name: str, folder: Path) -> nn.Module:
    """Build a trained vocoder, ready for inference.

    Raises:
        AvlocError: if its weights are missing.
    """
    network, file = VOCODERS[name]
    path = folder / file
    if not path.is_file():
        raise AvlocError(f"{path}: no weights of the vocoder {name}; train it by train_vocoders.py")
    vocoder = network()
    for module in vocoder.modules():
        if hasattr(module, "parametrizations"):
            remove_parametrizations(module, "weight")
    vocoder.load_state_dict({key: value.float() for key, value in torch.load(path, weights_only=True).items()})
    return vocoder.eval().requires_grad_(False)


class VocoderForger(NamedTuple):
    """A vocoder as a forger of words: samples (N,) → (N,) of the same level.

    Attributes:
        vocoder: log-mel spectrogram (B, M, F) → samples (B, F · HOP).
    """

    vocoder: nn.Module

    def __call__(self, samples: Samples) -> Samples:
        wave = torch.from_numpy(np.ascontiguousarray(samples))[None]
        # Vocoders are trained at one level; words come at any.
        gain = TRAINING_RMS / wave.square().mean().sqrt().clamp_min(1e-5)
        with torch.inference_mode():
            voiced = self.vocoder(log_mel(wave * gain))[0, : len(samples)]
        return match_level(voiced.numpy(), samples)
