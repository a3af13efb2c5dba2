"""Train the benchmark's two neural mouth generators on drawn faces; keep their weights in half precision.

    python benchmarks/localization/train_mouths.py --out benchmarks/localization/weights

No recording and no real face is needed: drawn people of their own (of no split) at many sizes, half of the regions centred on the
mouth and half anywhere, with a camera's noise, blur, JPEG coding, and changes of colour. An auto-encoder with a latent picture is
local, so it repaints real mouths too.

Losses: L1 of pixels and of their differences at three sizes, and a least-squares adversary on patches (pix2pix; Isola et al.,
CVPR 2017), which begins after a fifth of the steps. At the end, L1 and PSNR on other people.
"""

from __future__ import annotations

import argparse
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from forging.mouth_generators import GENERATORS, resize, save_generator
from torch import Tensor, nn
from torch.nn import functional as F

from avloc.datasets.synthetic import face

Picture = npt.NDArray[np.uint8]

PEOPLE, HELD_OUT_PEOPLE = 400, 40
REGIONS_PER_PERSON = 12
PERFORMANCE_FRAMES = 3
SIDE, CROP = 48, 32  # pixels of a region and of a crop: smaller than in use, as the networks are convolutional
HELD_OUT_STREAM = 1
ADVERSARY_WEIGHT, DIFFERENCE_WEIGHT = 0.02, 1.0
WARM_UP_SHARE = 0.2  # of the steps, without an adversary
REPORT_STEPS = 100


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the training.

    Attributes:
        steps: number of steps.
        batch: crops per step.
        learning_rate: at the start; it falls to a hundredth along a cosine.
        seed: of people, weights and crops.
    """

    steps: int = 2000
    batch: int = 24
    learning_rate: float = 1e-3
    seed: int = 0


class Errors(NamedTuple):
    """Errors on regions, in grey levels of 255.

    Attributes:
        l1: mean absolute error.
        psnr_db: peak signal-to-noise ratio.
    """

    l1: float
    psnr_db: float


def draw_regions(people: int, seed: int, stream: int = 0) -> Tensor:
    """Draw square regions of faces of all sizes, half of them around the mouth.

    Args:
        people: number of people; each gives `REGIONS_PER_PERSON` regions.
        seed: of everything.
        stream: another stream has other people.

    Returns:
        (people · REGIONS_PER_PERSON, 3, SIDE, SIDE) uint8.
    """
    regions = []
    for person in range(people):
        rng = np.random.default_rng([seed, stream, person])
        frames, mouths = _film(rng)
        size = frames.shape[1]
        for k in range(REGIONS_PER_PERSON):
            t = int(rng.integers(len(frames)))
            side = int(size * rng.uniform(0.24, 0.42))
            centre = mouths[t] + rng.normal(0, 0.02 * size, 2) if k % 2 else rng.uniform(0, size, 2)
            left, top = np.clip(centre - side / 2, 0, size - side).astype(int)
            pixels = torch.from_numpy(frames[t, top : top + side, left : left + side].copy()).permute(2, 0, 1)[None]
            regions.append(resize(pixels.float(), SIDE).clamp(0, 255).round().to(torch.uint8))
    return torch.cat(regions)


def _film(rng: np.random.Generator) -> tuple[Picture, npt.NDArray[np.float64]]:
    """Film a new person: frames (T, H, W, 3), noisy and coded, and the mouths' middles in pixels (T, 2)."""
    identity = face.Identity(seed=int(rng.integers(2**31)), size=int(rng.integers(96, 289)))
    opening, width = rng.beta(0.8, 1.2, (2, PERFORMANCE_FRAMES))
    frames, mouths = face.render(identity, face.perform(rng, opening, width, 25))
    frames = face.add_camera_noise(rng, frames, rng.uniform(0, 7))
    if rng.random() < 0.6:
        frames = np.stack([code_jpeg(frame, int(rng.integers(30, 96))) for frame in frames])
    return frames, mouths


def code_jpeg(frame: Picture, quality: int) -> Picture:
    """Code a frame (H, W, 3) as JPEG and decode it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def batches(regions: Tensor, batch: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches (B, 3, CROP, CROP) in [-1, 1] of crops with other colours, flipped and turned."""
    while True:
        chosen = regions[rng.integers(0, len(regions), batch)].float() / 127.5 - 1
        top, left = rng.integers(0, SIDE - CROP + 1, 2)
        crops = chosen[:, :, top : top + CROP, left : left + CROP]
        if rng.random() < 0.5:
            crops = crops.flip(3)
        if rng.random() < 0.25:
            crops = crops.transpose(2, 3)
        yield _recolour(crops, rng)


def _recolour(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Change exposure, gamma, contrast and colours of each crop, and the order of the channels of some."""
    count = len(crops)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, channels, 1, 1)).astype(np.float32))

    grey = crops.mean(1, keepdim=True)
    coloured = grey + (crops - grey) * uniform(0, 1.5)
    light = ((coloured + 1) / 2).clamp(1e-3, 1) ** uniform(0.6, 1.6)
    light = light * uniform(0.5, 1.15) * uniform(0.85, 1.15, 3) + uniform(-0.08, 0.08, 3)
    order = torch.from_numpy(rng.permutation(3)) if rng.random() < 0.3 else torch.arange(3)
    return (light.clamp(0, 1) * 2 - 1)[:, order]


def build_adversary(width: int = 24) -> nn.Sequential:
    """An adversary on overlapping patches of 16 pixels: (B, 3, S, S) → scores (B, 1, S / 4, S / 4)."""
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 3, 1, 1),
    )


def reconstruction_loss(painted: Tensor, real: Tensor) -> Tensor:
    """L1 of pixels, and of horizontal and vertical differences at three sizes."""
    loss = (painted - real).abs().mean()
    for _ in range(3):
        for axis in (2, 3):
            difference = painted.diff(dim=axis) - real.diff(dim=axis)
            loss = loss + DIFFERENCE_WEIGHT / 6 * difference.abs().mean()
        painted, real = F.avg_pool2d(painted, 2), F.avg_pool2d(real, 2)
    return loss


def train(
    generator: nn.Module,
    crops: Iterator[Tensor],
    options: Options,
    progress: Callable[[int, float], object] = lambda step, error: None,
) -> None:
    """Train a generator in place.

    Args:
        generator: pictures (B, 3, S, S) in [-1, 1] → pictures.
        crops: batches of pictures.
        options: of the training.
        progress: called after every `REPORT_STEPS` with the step and the mean L1, in grey levels.
    """
    generator.train()
    adversary = build_adversary()
    optimizers = [torch.optim.Adam(m.parameters(), options.learning_rate, (0.5, 0.99)) for m in (generator, adversary)]
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(o, options.steps, options.learning_rate / 100) for o in optimizers
    ]
    errors: list[float] = []
    for step, real in enumerate(itertools.islice(crops, options.steps), 1):
        is_adversarial = step > WARM_UP_SHARE * options.steps
        errors.append(_step(generator, adversary if is_adversarial else None, optimizers, real))
        for schedule in schedules if is_adversarial else schedules[:1]:
            schedule.step()
        if step % REPORT_STEPS == 0:
            progress(step, 127.5 * float(np.mean(errors[-REPORT_STEPS:])))
    generator.eval()


def _step(
    generator: nn.Module, adversary: nn.Module | None, optimizers: Sequence[torch.optim.Optimizer], real: Tensor
) -> float:
    """One step of the adversary, if it takes part, then one of the generator; returns the L1."""
    painted = generator(real)
    loss = reconstruction_loss(painted, real)
    if adversary is not None:
        wrong = (adversary(real) - 1).square().mean() + adversary(painted.detach()).square().mean()
        _update(optimizers[1], wrong)
        adversary.requires_grad_(False)
        loss = loss + ADVERSARY_WEIGHT * (adversary(painted) - 1).square().mean()
    _update(optimizers[0], loss)
    if adversary is not None:
        adversary.requires_grad_(True)
    return float((painted.detach() - real).abs().mean())


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure(generator: nn.Module, regions: Tensor, seed: int = 0) -> Errors:
    """Measure a generator on regions (N, 3, S, S) uint8."""
    random = torch.Generator().manual_seed(seed)
    absolute, squared = [], []
    with torch.inference_mode():
        for pixels in regions.float().split(64):
            painted = (generator(pixels / 127.5 - 1, random).clamp(-1, 1) + 1) * 127.5
            absolute.append((painted - pixels).abs().mean(dim=(1, 2, 3)))
            squared.append((painted - pixels).square().mean(dim=(1, 2, 3)))
    return Errors(float(torch.cat(absolute).mean()), float(10 * (255**2 / torch.cat(squared)).log10().mean()))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    defaults = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--generators", nargs="+", choices=[*GENERATORS], default=[*GENERATORS], help="default: all")
    parser.add_argument("--people", type=int, default=PEOPLE, help="drawn people to train on; default: %(default)s")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    options = Options(args.steps, args.batch, seed=args.seed)
    regions = draw_regions(args.people, options.seed)
    others = draw_regions(min(args.people, HELD_OUT_PEOPLE), options.seed, HELD_OUT_STREAM)
    for name in args.generators:
        torch.manual_seed(options.seed)
        generator = GENERATORS[name].build()
        crops = batches(regions, options.batch, np.random.default_rng(options.seed))
        train(generator, crops, options, lambda step, e: print(f"step {step}: L1 {e:.2f} of 255", flush=True))
        save_generator(generator, name, args.out)
        errors = measure(generator, others)
        print(
            f"{name}: L1 {errors.l1:.2f} of 255, PSNR {errors.psnr_db:.2f} dB on {len(others)} regions of other people"
        )


if __name__ == "__main__":
    main()
