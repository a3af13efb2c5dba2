"""Two small neural vocoders, as forgers of any voice: word > log-mel spectrogram > network > samples (copy synthesis).

`SpectralVocoder`, in the manner of Vocos, is the package's. `TransposedVocoder` is in the manner of HiFi-GAN (Kong et al.,
NeurIPS 2020): transposed convolutions up to the rate of the samples, each followed by dilated residual blocks. Both are far
smaller than the originals, at most 3 MB in half precision. `train_vocoders.py` trains them; the package's `VocoderForger` runs
them.

Legend: B batch, N samples, F frames, M mel bands, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from avloc.datasets.synthetic.vocoder import HOP, MEL_BANDS, SpectralVocoder
from avloc.errors import AvlocError

MOST_BYTES = 3_000_000  # of the weights in half precision


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
    """Write a network's weights in half precision, weight norms folded in (`network` itself is changed).

    Raises:
        ValueError: if they take more than `MOST_BYTES`.
    """
    _fold_weight_norms(network)
    weights = {name: value.detach().cpu().half() for name, value in network.state_dict().items()}
    size = sum(value.nbytes for value in weights.values())
    if size > MOST_BYTES:
        raise ValueError(f"weights must take at most {MOST_BYTES} bytes, got {size}")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)


def load_weights(network: nn.Module, path: Path, cure: str) -> nn.Module:
    """Load weights that `save_weights` wrote into a new network, and make it ready for inference.

    Args:
        network: the network (it is changed).
        path: of the weights.
        cure: end of the error's text if the file is missing.

    Raises:
        AvlocError: if the file is missing.
    """
    if not path.is_file():
        raise AvlocError(f"{path}: {cure}")
    _fold_weight_norms(network)
    network.load_state_dict({key: value.float() for key, value in torch.load(path, weights_only=True).items()})
    return network.eval().requires_grad_(False)


def load_vocoder(name: str, folder: Path) -> nn.Module:
    """Build a trained vocoder, ready for inference.

    Args:
        name: a key of `VOCODERS`.
        folder: of the weights.

    Raises:
        AvlocError: if its weights are missing.
    """
    network, file = VOCODERS[name]
    return load_weights(network(), folder / file, f"no weights of the vocoder {name}; train it by train_vocoders.py")


def _fold_weight_norms(network: nn.Module) -> None:
    for module in network.modules():
        if hasattr(module, "parametrizations"):
            remove_parametrizations(module, "weight")
