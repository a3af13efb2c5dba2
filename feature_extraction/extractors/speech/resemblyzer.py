"""The speaker encoder of Resemblyzer: samples > mel power > three LSTM layers over 1.6 s > a unit vector of the voice.

Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018. The weights come with the package `resemblyzer`
(1.4 million numbers, Apache 2.0); the network and its input are written here. Two deviations, so that a row depends on its own
1.6 s alone: each window, not each clip, is raised to −30 dB, and pauses are not cut out.

Legend: N samples, F mel frames of 10 ms, T rows, B windows of a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError, one_line
from avloc.feature_extraction.extractors.base import FeatureArray, Parameters, Stream
from avloc.feature_extraction.extractors.network import LocalWeights
from avloc.feature_extraction.extractors.speech.installed import installed_file
from avloc.models.mel import HOP, mel_power

if TYPE_CHECKING:
    from torch import Tensor

MELS = 40
WINDOW_FRAMES = 160
WIDTH = 256
LOUDNESS = 10 ** (-30 / 10)  # mean square that a window is raised to
QUIETEST = 1e-10  # mean square; silence stays silence


class VoiceEncoder(nn.Module):
    """The network: mel power (B, F, 40) → unit vectors (B, 256); its parameters have the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mel: Tensor) -> Tensor:
        """Embed windows: (B, F, 40) → (B, 256)."""
        last = self.lstm(mel)[1][0][-1]
        return nn.functional.normalize(self.linear(last).relu(), dim=1)


class Resemblyzer(LocalWeights):
    """A vector of the speaker's voice over 1.6 s, centred on the row: 256 numbers, 6.25 rows/s.

    Args:
        weights: Resemblyzer's `pretrained.pt`; None: that of the installed package.
        random: use random weights (of a fixed seed), for tests of the pipeline.
        stride: rows are this many times 10 ms apart.
        batch: windows per forward pass.

    Raises:
        AvlocError: if the weights are missing, or a number is under 1.
    """

    name = "resemblyzer"
    modality = "audio"
    dim = WIDTH
    receptive_field_s = WINDOW_FRAMES * HOP / DEFAULT_SAMPLE_RATE

    def __init__(self, *, weights: str | None = None, random: bool = False, stride: int = 16, batch: int = 64) -> None:
        if weights is None and not random:
            weights = installed_file(self.name, "resemblyzer", "pretrained.pt", "resemblyzer")
        super().__init__(weights, random)
        if stride < 1 or batch < 1:
            raise AvlocError(f"extractor {self.name}: stride and batch must be at least 1, got {stride}, {batch}")
        self.stride, self.batch = stride, batch
        self.hop_s = stride * HOP / DEFAULT_SAMPLE_RATE

    def parameters(self) -> Parameters:
        return {"random": self.random, "stride": self.stride}

    def _load(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = VoiceEncoder()
        if self.weights is not None:
            try:
                values = torch.load(self.weights, map_location="cpu", weights_only=True)["model_state"]
                names = network.state_dict()
                network.load_state_dict({name: value for name, value in values.items() if name in names})
            except Exception as error:  # torch raises errors of many types for other files
                reason = one_line(error, 200)
                raise AvlocError(f"{self.weights}: not weights of Resemblyzer ({reason})") from error
        return network

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [self._rows(torch.from_numpy(samples)) for samples in streams]

    def _rows(self, samples: Tensor) -> FeatureArray:
        count = -(-len(samples) // (self.stride * HOP))
        if not count:
            return np.zeros((0, WIDTH), np.float32)
        margin = WINDOW_FRAMES // 2 - self.stride // 2  # frames before the first row
        after = max(0, (count - 1) * self.stride + WINDOW_FRAMES - margin - (len(samples) // HOP + 1))
        mel = nn.functional.pad(mel_power(samples, MELS), (0, 0, margin, after))  # F, 40
        windows = mel.unfold(0, WINDOW_FRAMES, self.stride)[:count].transpose(1, 2)  # T, 160, 40
        energy = nn.functional.pad(samples.square(), (margin * HOP, after * HOP + HOP))
        means = energy.unfold(0, WINDOW_FRAMES * HOP, self.stride * HOP)[:count].mean(1)
        gains = (LOUDNESS / means.clamp(min=QUIETEST)).clamp(min=1)
        outputs = []
        for begin in range(0, count, self.batch):
            batch = slice(begin, begin + self.batch)
            with self.running():
                vectors = self.network(self.on_device(windows[batch] * gains[batch, None, None]))
            outputs.append(vectors.float().cpu().numpy())
        return np.concatenate(outputs)
