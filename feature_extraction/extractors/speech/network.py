"""Networks on the clock of their convolutions: samples > passes > hidden states > the chosen layers, a row per step.

Row k is the network's own frame k of a stream without padding. With the usual convolutions it sees samples
[320·k, 320·k + 400), whose middle is 320·k + 200: rows start 40 samples (2.5 ms) after the stream, and the last samples may have
no row.

Legend: B batch, N samples, T rows, C width, L hidden states (the transformer's input, then one per layer).
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import FeatureArray, Parameters, Stream
from avloc.feature_extraction.extractors.network import NetworkExtractor
from avloc.models.front_ends.speech_encoder import Timing

if TYPE_CHECKING:
    import torch

CONTEXT_S = 2.0  # the position convolution sees 1.28 s on each side; windows cut attention beyond that
SHORTEST_SHARE = 0.75  # a padded stream is at least this share of the longest stream in its pass

_LAYERS = re.compile(r"all|last|[0-9]{1,3}(-[0-9]{1,3})?(\+[0-9]{1,3}(-[0-9]{1,3})?)*")


def chosen_layers(text: str, count: int) -> list[int]:
    """Parse a choice among `count` hidden states; number 0 is the transformer's input.

    >>> chosen_layers("0+6-8", 13)
    [0, 6, 7, 8]
    >>> chosen_layers("last", 13)
    [12]

    Raises:
        AvlocError: if the text chooses no state, a state beyond the last, or one twice.
    """
    if not _LAYERS.fullmatch(text):
        raise AvlocError(f"layers must be all, last, or numbers like 7, 6-9 or 0+6+12, got {text!r}")
    if text in ("all", "last"):
        return list(range(count))[0 if text == "all" else -1 :]
    numbers: list[int] = []
    for part in text.split("+"):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    if not numbers or len(set(numbers)) < len(numbers) or max(numbers) >= count:
        raise AvlocError(f"layers must name some of 0 to {count - 1}, each once, got {text!r}")
    return numbers


def plan_passes(lengths: Sequence[int], max_samples: int, *, padded: bool) -> list[list[int]]:
    """Group streams into forward passes, the longest stream first in each.

    Args:
        lengths: samples of each stream.
        max_samples: samples per pass, padding included; a longer stream gets a pass of its own.
        padded: true if streams of different lengths may share a pass.

    Returns:
        The streams' indices, a list per pass.

    >>> plan_passes([9, 4, 9, 8], 27, padded=True)
    [[0, 2, 3], [1]]
    """
    groups: list[list[int]] = []
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        longest = lengths[groups[-1][0]] if groups else 0
        alike = lengths[k] >= SHORTEST_SHARE * longest if padded else lengths[k] == longest
        if groups and alike and longest * (len(groups[-1]) + 1) <= max_samples:
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups


class SpeechNetwork(NetworkExtractor):
    """The base of networks whose rows are hidden states on the clock of their convolutions.

    A stream of up to 30 s is extracted whole. A longer one is extracted in windows of 30 s, each normalized on its own; 2 s at
    each inner end of a window are left to its neighbour.

    Args:
        layers: `all`, `last`, a number, a range `6-9`, or several `0+6+12`; 0 is the transformer's input.
        mean: take the mean of the layers; otherwise they lie side by side in a row.
        batch_s: at most this many seconds of sound per forward pass, which bounds memory; a single window always fits.

    Raises:
        AvlocError: if `layers` is no such choice, or `batch_s` is under 1.
    """

    modality = "audio"
    window_s = 30.0

    def __init__(self, layers: str, mean: bool, batch_s: int) -> None:
        self.chosen, self.mean, self.batch_s = str(layers), mean, batch_s
        if not _LAYERS.fullmatch(self.chosen):
            chosen_layers(self.chosen, 0)
        if batch_s < 1:
            raise AvlocError(f"extractor {self.name}: batch_s must be at least 1, got {batch_s}")

    @property
    @abstractmethod
    def timing(self) -> Timing:
        """The timing of the convolutions."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(L, C): the number of hidden states and their width."""

    @property
    @abstractmethod
    def pads(self) -> bool:
        """True if padding changes nothing, so that streams of unequal length may share a pass."""

    @abstractmethod
    def states(self, data: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        """Run the network.

        Args:
            data: samples (B, N).
            mask: (B, N), 0 for padding and 1 elsewhere; None without padding.

        Returns:
            Each chosen hidden state (B, T, C).
        """

    @cached_property
    def numbers(self) -> list[int]:
        """The chosen layers."""
        try:
            return chosen_layers(self.chosen, self.shape[0])
        except AvlocError as error:
            raise AvlocError(f"extractor {self.name}: {error}") from error

    @property
    def hop_s(self) -> float:  # type: ignore[override]
        """20 ms with the usual convolutions."""
        return self.timing.hop / DEFAULT_SAMPLE_RATE

    @property
    def receptive_field_s(self) -> float:  # type: ignore[override]
        """The reach of the convolutions; the transformer sees the whole window."""
        return self.timing.reach / DEFAULT_SAMPLE_RATE

    @property
    def start_offset_s(self) -> float:  # type: ignore[override]
        """Half of the reach beyond a hop: a step's middle is the middle of the samples that its convolutions see."""
        return (self.timing.reach - self.timing.hop) / 2 / DEFAULT_SAMPLE_RATE

    @property
    def context_s(self) -> float:
        return round(CONTEXT_S / self.hop_s) * self.hop_s

    @property
    def layers(self) -> int:  # type: ignore[override]
        """The layers that lie side by side in a row; 1 for their mean."""
        return 1 if self.mean else len(self.numbers)

    @property
    def dim(self) -> int:  # type: ignore[override]
        """C times the layers that lie side by side."""
        return self.layers * self.shape[1]

    def parameters(self) -> Parameters:
        return {"layers": self.chosen, "mean": self.mean}

    def load(self) -> None:
        _ = self.numbers
        super().load()

    def signal(self, samples: Stream) -> Stream:
        """The network's input for a stream, padded with silence to the samples that one row sees."""
        return np.pad(samples, (0, max(0, self.timing.reach - len(samples))))

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        signals = [self.signal(samples) for samples in streams]
        rows: dict[int, FeatureArray] = {}
        max_samples = self.batch_s * DEFAULT_SAMPLE_RATE
        for group in plan_passes([len(signal) for signal in signals], max_samples, padded=self.pads):
            rows.update(zip(group, self._run_pass([signals[k] for k in group]), strict=True))
        return [rows[k] for k in range(len(signals))]

    def _run_pass(self, signals: Sequence[Stream]) -> list[FeatureArray]:
        """Run one forward pass; the first signal is the longest."""
        import torch

        lengths = torch.tensor([len(signal) for signal in signals])
        data = torch.zeros(len(signals), len(signals[0]))  # B, N
        for row, signal in zip(data, signals, strict=True):
            row[: len(signal)] = torch.from_numpy(signal)
        mask = None
        if len(signals[-1]) < len(signals[0]):
            mask = self.on_device((torch.arange(data.shape[1]) < lengths[:, None]).long())
        with self.running():
            values = self.merge(self.states(self.on_device(data), mask)).cpu().numpy()
        return [v[: self.timing.rows(len(signal))] for v, signal in zip(values, signals, strict=True)]

    def merge(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """The rows (B, T, dim) of the chosen states: their mean, or all side by side."""
        import torch

        whole = [state.float() for state in states]
        return torch.stack(whole).mean(0) if self.mean else torch.cat(whole, dim=-1)
