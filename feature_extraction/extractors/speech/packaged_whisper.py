"""The beginning of Whisper Base, with its weights in the package, as an extractor: samples > log mel > hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.feature_extraction.extractors.base import FeatureArray, Stream
from avloc.feature_extraction.extractors.speech.network import SpeechNetwork
from avloc.feature_extraction.extractors.speech.whisper import CentredTiming
from avloc.models.mel import HOP as MEL_HOP
from avloc.models.mel import WINDOW as MEL_WINDOW
from avloc.models.whisper.network import HOP, LAYERS, WIDTH, load_encoder, whisper_log_mel

if TYPE_CHECKING:
    from torch import Tensor, nn


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
        network = load_encoder()
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
