"""Two small neural mouth generators, as forgers of any face: mouth region > auto-encoder > region, blended back.

Lip-sync networks of today end in the decoder of an auto-encoder with a narrow latent picture (MuseTalk and LatentSync in that of
Stable Diffusion), so all that is painted carries the decoder's traces. Here such a decoder repaints the mouth that is drawn or
filmed already: the shape of the mouth is right, and the pixels are the network's. The two generators differ in their up-sampling:
nearest neighbours and a convolution, or a transposed convolution (Odena et al., "Deconvolution and checkerboard artifacts",
Distill 2016). Noise enters the decoder at each size (StyleGAN; Karras et al., CVPR 2019), as the source of the grain that the
latent picture cannot carry. `train_mouths.py` trains them; `MouthForger` runs them.

Legend: B batch, C width, S side of a region in the network, a multiple of 4; T frames of the picture of H × W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from forging.vocoders import load_weights, save_weights
from torch import Tensor, nn
from torch.nn import functional as F

from avloc.datasets.synthetic import forge

Frames = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SIDE = 64  # pixels of a mouth region in the network
LATENT_CHANNELS = 8
BATCH = 64  # regions per pass


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions, added to the input: (B, C, S, S) → (B, C, S, S)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_activated(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Noise(nn.Module):
    """Noise, the same in all channels but for a learned factor: (B, C, S, S) → (B, C, S, S)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.05))

    def forward(self, x: Tensor, random: torch.Generator | None) -> Tensor:
        noise = torch.randn((len(x), 1, *x.shape[2:]), generator=random, device=x.device)
        return x + self.scale * noise


def _activated(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width_out, 3, stride, 1), nn.LeakyReLU(0.2))


def _nearest(width_in: int, width_out: int) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(width_in, width_out, 3, padding=1))


def _transposed(width_in: int, width_out: int) -> nn.Module:
    return nn.ConvTranspose2d(width_in, width_out, 4, stride=2, padding=1)


UPSAMPLINGS = {"nearest": _nearest, "transposed": _transposed}


class MouthGenerator(nn.Module):
    """Picture > strided convolutions > latent picture of a quarter of the side > up-sampling: (B, 3, S, S) → (B, 3, S, S).

    Values lie in [-1, 1], those of the result almost.

    Args:
        upsampling: a key of `UPSAMPLINGS`.
        widths: C at a quarter, at half, and at the whole of the side.
        latent_channels: channels of the latent picture.
    """

    def __init__(
        self,
        *,
        upsampling: str,
        widths: Sequence[int] = (64, 48, 24),
        latent_channels: int = LATENT_CHANNELS,
    ) -> None:
        super().__init__()
        deep, middle, shallow = widths
        up = UPSAMPLINGS[upsampling]
        self.encoder = nn.Sequential(
            _activated(3, shallow),
            _activated(shallow, middle, 2),
            _activated(middle, deep, 2),
            ResidualBlock(deep),
            nn.Conv2d(deep, latent_channels, 1),
            nn.Tanh(),
        )
        self.stem = nn.Sequential(_activated(latent_channels, deep), ResidualBlock(deep))
        self.ups = nn.ModuleList([up(deep, middle), up(middle, shallow)])
        self.noises = nn.ModuleList([Noise(middle), Noise(shallow)])
        self.head = nn.Conv2d(shallow, 3, 3, padding=1)

    def forward(self, pictures: Tensor, random: torch.Generator | None = None) -> Tensor:
        x = self.stem(self.encoder(pictures))
        for up, noise in zip(self.ups, self.noises, strict=True):
            x = F.leaky_relu(noise(up(x), random), 0.2)
        return self.head(x)


class Architecture(NamedTuple):
    """A generator's up-sampling and the file of its weights, in the folder `weights` of the benchmark."""

    upsampling: str
    file: str

    def build(self) -> MouthGenerator:
        """Build the untrained network."""
        return MouthGenerator(upsampling=self.upsampling)


GENERATORS = {
    "nearest-generator": Architecture("nearest", "nearest_generator.pt"),
    "transposed-generator": Architecture("transposed", "transposed_generator.pt"),
}


class MouthForger(NamedTuple):
    """A generator as a forger of mouths; called as `Style.repaint`.

    Attributes:
        generator: pictures (B, 3, S, S) in [-1, 1] and a source of noise → pictures.
        side: S, a multiple of 4; regions of any size are resized to it and back.
    """

    generator: nn.Module
    side: int = SIDE

    def __call__(self, frames: Frames, mouths: Positions, forged: Mask, side: int, strength: float) -> None:
        """Repaint mouths in place; arguments as of `Style.repaint`. A network has one strength, so `strength` is ignored."""
        painted = frames.copy()
        corners = list(region_corners(frames, mouths, forged, side))
        random = torch.Generator().manual_seed(len(frames))
        for first in range(0, len(corners), BATCH):
            batch = corners[first : first + BATCH]
            regions = np.stack([frames[t, top : top + side, left : left + side] for t, top, left in batch])
            for (t, top, left), region in zip(batch, self.repaint_regions(regions, random), strict=True):
                painted[t, top : top + side, left : left + side] = region
        forge.repaint_mouths(frames, painted, mouths, forged, side, shrink=1)

    def repaint_regions(self, regions: Frames, random: torch.Generator | None = None) -> Frames:
        """Send square regions through the generator: (B, side, side, 3) → the same shape."""
        pixels = torch.from_numpy(regions).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            small = resize(pixels, self.side)
            large = resize(self.generator(small, random).clamp(-1, 1), regions.shape[1])
        levels = ((large.clamp(-1, 1) + 1) * 127.5).round()
        return levels.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()


def region_corners(frames: Frames, mouths: Positions, forged: Mask, side: int) -> Iterator[tuple[int, int, int]]:
    """Yield the frame, the top and the left of each forged region, as `forge.repaint_mouths` places it."""
    height, width = frames.shape[1:3]
    for t in np.flatnonzero(forged):
        left = int(np.clip(mouths[t, 0] - side / 2, 0, width - side))
        top = int(np.clip(mouths[t, 1] - side / 2, 0, height - side))
        yield int(t), top, left


def resize(pictures: Tensor, side: int) -> Tensor:
    """Resize pictures (B, 3, S, S) to another side: bicubic, with a low-pass filter if they shrink."""
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, (side, side), mode="bicubic", align_corners=False, antialias=True)


def save_generator(generator: nn.Module, name: str, folder: Path) -> None:
    """Write a generator's weights in half precision.

    Args:
        generator: the network.
        name: a key of `GENERATORS`.
        folder: of the weights.
    """
    save_weights(generator, folder / GENERATORS[name].file)


def load_generator(name: str, folder: Path) -> MouthForger:
    """Build a trained generator as a forger.

    Args:
        name: a key of `GENERATORS`.
        folder: of the weights.

    Raises:
        AvlocError: if its weights are missing.
    """
    architecture = GENERATORS[name]
    hint = f"no weights of the {name}; train it by train_mouths.py"
    return MouthForger(load_weights(architecture.build(), folder / architecture.file, hint))
