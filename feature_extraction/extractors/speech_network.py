"""Networks on convolutions' clock: samples > passes > hidden states > the chosen layers, a row per step.

Row k is the network's own frame k of a stream without padding. With the usual convolutions it sees samples
[320·k, 320·k + 400), whose middle is 320·k + 200: rows start 40 samples (2.5 ms) after the stream, and the last samples may have
none.

Legend: B batch, N samples, T rows, C width, L hidden states (the transformer's input, then one per layer).
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Rows, Stream
from avloc.feature_extraction.extractors.network import NetworkExtractor

if TYPE_CHECKING:
    import torch

CONTEXT_S = 2.0  # the position convolution sees 1.28 s on each side; attention beyond that is cut between windows
FULLEST = 0.75  # a padded stream is at least this part of the longest beside it

_LAYERS = re.compile(r"all|last|[0-9]{1,3}(-[0-9]{1,3})?(\+[0-9]{1,3}(-[0-9]{1,3})?)*")


class Timing(NamedTuple):
    """Samples from row to row, and samples that the convolutions see for a row."""

    hop: int
    reach: int

    def rows(self, samples: int) -> int:
        """Rows of a stream."""
        return max(0, (samples - self.reach) // self.hop + 1)


def timing_of(kernels: Sequence[int], strides: Sequence[int]) -> Timing:
    """What a stack of convolutions without padding steps by and sees.

    >>> timing_of((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    Timing(hop=320, reach=400)
    """
    hop, reach = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        reach += (kernel - 1) * hop
        hop *= stride
    return Timing(hop, reach)


def chosen_layers(text: str, count: int) -> list[int]:
    """Which of `count` hidden states a text names: 0 is the transformer's input.

    >>> chosen_layers("0+6-8", 13)
    [0, 6, 7, 8]
    >>> chosen_layers("last", 13)
    [12]

    Raises:
        AvlocError: if it names none, one that is not there, or one twice.
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


def passes(lengths: Sequence[int], most: int, *, padded: bool) -> list[list[int]]:
    """Which streams share a forward pass, the longest first in each.

    Args:
        lengths: samples of each stream.
        most: samples of a pass, padding included; a longer stream goes alone.
        padded: whether streams that are not equally long may share one.

    >>> passes([9, 4, 9, 8], 27, padded=True)
    [[0, 2, 3], [1]]
    """
    groups: list[list[int]] = []
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        longest = lengths[groups[-1][0]] if groups else 0
        alike = lengths[k] >= FULLEST * longest if padded else lengths[k] == longest
        if groups and alike and longest * (len(groups[-1]) + 1) <= most:
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups


class SpeechNetwork(NetworkExtractor):
    """The base of all networks whose rows are hidden states on convolutions' clock.

    A stream of up to 30 s is done whole. A longer one is done in windows of 30 s, which are normalized each for itself, and of
    which 2 s at each inner end are left to the neighbour.

    Args:
        layers: `all`, `last`, a number, a range `6-9`, or several `0+6+12`; 0 is the transformer's input.
        mean: the mean of the layers; otherwise they lie side by side in a row.
        batch_s: seconds of sound in a forward pass at the most (but a single window always goes), which bounds memory.
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
        """Of its convolutions."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(L, C): how many hidden states there are, of which width."""

    @property
    @abstractmethod
    def pads(self) -> bool:
        """Whether streams of unequal length may share a pass, because padding changes nothing."""

    @abstractmethod
    def states(self, data: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        """Samples (B, N), and (B, N) 1 where they are not padding → each chosen hidden state (B, T, C)."""

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
        """What the convolutions see; the transformer sees the window."""
        return self.timing.reach / DEFAULT_SAMPLE_RATE

    @property
    def start_offset_s(self) -> float:  # type: ignore[override]
        """The middle of a step is the middle of what the convolutions see."""
        return (self.timing.reach - self.timing.hop) / 2 / DEFAULT_SAMPLE_RATE

    @property
    def context_s(self) -> float:
        return round(CONTEXT_S / self.hop_s) * self.hop_s

    @property
    def layers(self) -> int:  # type: ignore[override]
        """Side by side in a row."""
        return 1 if self.mean else len(self.numbers)

    @property
    def dim(self) -> int:  # type: ignore[override]
        """C, or as often C as layers lie side by side."""
        return self.layers * self.shape[1]

    def parameters(self) -> dict[str, Any]:
        return {"layers": self.chosen, "mean": self.mean}

    def load(self) -> None:
        _ = self.numbers
        super().load()

    def signal(self, samples: Stream) -> Stream:
        """What the network is given of a stream: at least the samples that one row sees."""
        return np.pad(samples, (0, max(0, self.timing.reach - len(samples))))

    def rows(self, streams: Sequence[Stream]) -> list[Rows]:
        signals = [self.signal(samples) for samples in streams]
        found: dict[int, Rows] = {}
        most = self.batch_s * DEFAULT_SAMPLE_RATE
        for group in passes([len(signal) for signal in signals], most, padded=self.pads):
            found.update(zip(group, self._pass([signals[k] for k in group]), strict=True))
        return [found[k] for k in range(len(signals))]

    def _pass(self, signals: Sequence[Stream]) -> list[Rows]:
        """One forward pass; the longest is the first."""
        import torch

        lengths = torch.tensor([len(signal) for signal in signals])
        data = torch.zeros(len(signals), len(signals[0]))  # B, N
        for row, signal in zip(data, signals, strict=True):
            row[: len(signal)] = torch.from_numpy(signal)
        mask = None
        if len(signals[-1]) < len(signals[0]):
            mask = self.on_device((torch.arange(data.shape[1]) < lengths[:, None]).long())
        with self.running():
            states = [state.float() for state in self.states(self.on_device(data), mask)]
            together = torch.stack(states).mean(0) if self.mean else torch.cat(states, dim=-1)  # B, T, dim
        values = together.cpu().numpy()
        return [v[: self.timing.rows(len(signal))] for v, signal in zip(values, signals, strict=True)]
