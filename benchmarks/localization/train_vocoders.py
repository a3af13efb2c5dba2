"""Train the benchmark's two neural vocoders on its training speakers; keep their weights in half precision.

    python benchmarks/localization/train_vocoders.py --speech /data/loc/speech --out benchmarks/localization/weights

Losses as in HiFi-GAN and Vocos: L1 of log-mel spectrograms, least-squares adversaries over periods and over resolutions, L1 of
their features. The adversaries begin after a tenth of the steps. The kept weights were trained
on a CPU with fewer and narrower adversaries (weights/README.md has the commands).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import materials
import numpy as np
import torch
from forging.vocoders import VOCODERS, save_weights
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from avloc.datasets.synthetic.vocoder import HOP, TRAINING_RMS, log_mel

CROP = 32 * HOP
PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = (256, 512, 1024)
MEL_WEIGHT, FEATURE_WEIGHT = 45.0, 2.0
REPORT_STEPS = 500


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the training.

    Attributes:
        steps: number of steps.
        batch: crops per step.
        learning_rate: at the start; it falls to a hundredth along a cosine.
        device: of the training.
        seed: of weights and crops.
        warm_up: share of the steps without adversaries.
        adversary_width: channels of the adversaries' first layers.
        periods_only: leave out the adversaries over resolutions, which cost the most on a CPU.
    """

    steps: int = 20_000
    batch: int = 32
    learning_rate: float = 4e-4
    device: str = "cpu"
    seed: int = 0
    warm_up: float = 0.1
    adversary_width: int = 16
    periods_only: bool = False


class PeriodAdversary(nn.Module):
    """2-D convolutions over samples folded by a period: (B, N) → features of each layer, the last one scores."""

    def __init__(self, period: int, width: int = 16) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 2 * width, 4 * width, 8 * width]
        layers = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in itertools.pairwise(widths)]
        self.layers = nn.ModuleList(map(weight_norm, [*layers, nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0))]))

    def forward(self, samples: Tensor) -> list[Tensor]:
        padded = F.pad(samples, (0, -samples.shape[1] % self.period))
        return _features(padded.view(len(samples), 1, -1, self.period), self.layers)


class ResolutionAdversary(nn.Module):
    """2-D convolutions over a log spectrogram: (B, N) → features of each layer, the last one scores."""

    def __init__(self, size: int, width: int = 16) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size))
        layers = [nn.Conv2d(a, width, (3, 9), (1, s), (1, 4)) for a, s in ((1, 1), (width, 2), (width, 2), (width, 2))]
        self.layers = nn.ModuleList(map(weight_norm, [*layers, nn.Conv2d(width, 1, 3, 1, 1)]))

    def forward(self, samples: Tensor) -> list[Tensor]:
        spectrum = torch.stft(samples, self.size, self.size // 4, window=self.window, return_complex=True)
        return _features(spectrum.abs().clamp_min(1e-5).log()[:, None], self.layers)


def _features(x: Tensor, layers: nn.ModuleList) -> list[Tensor]:
    features = []
    for k, layer in enumerate(layers):
        x = layer(x)
        features.append(x)
        if k < len(layers) - 1:
            x = F.leaky_relu(x, 0.1)
    return features


def build_adversaries(width: int = 16, *, periods_only: bool = False) -> nn.ModuleList:
    """All adversaries: one per period and, unless they are left out, one per resolution."""
    resolutions = () if periods_only else RESOLUTIONS
    return nn.ModuleList(
        [*(PeriodAdversary(p, width) for p in PERIODS), *(ResolutionAdversary(r, width) for r in resolutions)]
    )


def crops(
    speakers: Sequence[Sequence[materials.Samples]], batch: int, generator: np.random.Generator
) -> Iterator[Tensor]:
    """Endless batches (B, CROP) of loud crops at about `TRAINING_RMS`; each speaker is equally frequent."""
    while True:
        rows: list[Tensor] = []
        while len(rows) < batch:
            recordings = speakers[generator.integers(len(speakers))]
            recording = recordings[generator.integers(len(recordings))]
            first = generator.integers(max(1, len(recording) - CROP))
            crop = np.pad(recording[first : first + CROP], (0, max(0, CROP - len(recording))))
            rms = np.sqrt(np.mean(crop**2))
            if rms > 0.1 * np.sqrt(np.mean(recording**2)):
                gain = TRAINING_RMS / max(1e-4, rms) * 10 ** (generator.uniform(-6, 6) / 20)
                rows.append(torch.from_numpy((crop * gain).astype(np.float32)).clamp(-1, 1))
        yield torch.stack(rows)


def adversary_loss(adversaries: nn.ModuleList, real: Tensor, voiced: Tensor) -> Tensor:
    """Least squares: real samples score 1, voiced ones 0."""
    losses = [(a(real)[-1] - 1).square().mean() + a(voiced.detach())[-1].square().mean() for a in adversaries]
    return torch.stack(losses).mean()


def vocoder_loss(adversaries: nn.ModuleList, real: Tensor, voiced: Tensor) -> Tensor:
    """Least squares of the scores, and L1 of the features relative to their size."""
    losses = []
    for adversary in adversaries:
        with torch.no_grad():
            references = adversary(real)
        features = adversary(voiced)
        distances = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(features[:-1], references[:-1], strict=True)]
        losses.append((features[-1] - 1).square().mean() + FEATURE_WEIGHT * torch.stack(distances).mean())
    return torch.stack(losses).mean()


def train(
    network: nn.Module,
    batches: Iterator[Tensor],
    options: Options,
    progress: Callable[[int, float], object] = lambda step, mel_error: None,
) -> float:
    """Train a vocoder in place.

    Args:
        network: log-mel spectrogram (B, M, F) → samples (B, F · HOP).
        batches: samples (B, CROP).
        options: of the training.
        progress: called after every `REPORT_STEPS` with the step and the mean L1 of log-mel spectrograms.

    Returns:
        The mean L1 of the last `REPORT_STEPS` steps, in nepers.
    """
    network.to(options.device).train()
    adversaries = build_adversaries(options.adversary_width, periods_only=options.periods_only)
    adversaries.to(options.device)
    optimizers = [
        torch.optim.AdamW(module.parameters(), options.learning_rate, (0.8, 0.99)) for module in (network, adversaries)
    ]
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(o, options.steps, options.learning_rate / 100) for o in optimizers
    ]
    errors: list[float] = []
    for step, samples in enumerate(itertools.islice(batches, options.steps), 1):
        real = samples.to(options.device)
        is_adversarial = step > options.warm_up * options.steps
        errors.append(_step(network, adversaries if is_adversarial else None, optimizers, real))
        for schedule in schedules if is_adversarial else schedules[:1]:
            schedule.step()
        if step % REPORT_STEPS == 0:
            progress(step, float(np.mean(errors[-REPORT_STEPS:])))
    return float(np.mean(errors[-REPORT_STEPS:]))


def _step(
    network: nn.Module,
    adversaries: nn.ModuleList | None,
    optimizers: Sequence[torch.optim.Optimizer],
    real: Tensor,
) -> float:
    """One step of the adversaries, if they take part, then one of the vocoder; returns the L1 of log-mel spectrograms."""
    mel = log_mel(real)
    voiced = network(mel)
    if adversaries is not None:
        _update(optimizers[1], adversaries, adversary_loss(adversaries, real, voiced))
    mel_error = (log_mel(voiced) - mel).abs().mean()
    loss = MEL_WEIGHT * mel_error
    if adversaries is not None:
        adversaries.requires_grad_(False)
        loss = loss + vocoder_loss(adversaries, real, voiced)
    _update(optimizers[0], network, loss)
    if adversaries is not None:
        adversaries.requires_grad_(True)
    return float(mel_error.detach())


def _update(optimizer: torch.optim.Optimizer, module: nn.Module, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 100.0)
    optimizer.step()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    defaults = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="cache of the recordings, outside of the repository")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--vocoders", nargs="+", choices=[*VOCODERS], default=[*VOCODERS], help="default: all")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="default: %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    parser.add_argument(
        "--warm-up",
        type=float,
        default=defaults.warm_up,
        help="share of the steps without adversaries; default: %(default)s",
    )
    parser.add_argument("--adversary-width", type=int, default=defaults.adversary_width, help="default: %(default)s")
    parser.add_argument("--periods-only", action="store_true", help="no adversaries over resolutions")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    speakers = materials.speakers_of_split("train")
    materials.fetch(args.speech, speakers, print)
    recordings = [materials.load(args.speech, speaker.name) for speaker in speakers]
    options = Options(
        args.steps,
        args.batch,
        device=args.device,
        seed=args.seed,
        warm_up=args.warm_up,
        adversary_width=args.adversary_width,
        periods_only=args.periods_only,
    )
    for name in args.vocoders:
        torch.manual_seed(options.seed)
        network = VOCODERS[name].network()
        batches = crops(recordings, options.batch, np.random.default_rng(options.seed))
        error = train(network, batches, options, lambda step, e: print(f"step {step}: mel L1 {e:.3f}", flush=True))
        save_weights(network, args.out / VOCODERS[name].file)
        print(f"{name}: mel L1 {error:.3f} after {options.steps} steps")


if __name__ == "__main__":
    main()
