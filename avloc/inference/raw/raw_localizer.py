"""examples > network > the candidates of each clip, before suppression."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from avloc.inference import localizer as inference
from avloc.inference.localizer import Localizer, NotFiniteError, check_fakeness
from avloc.inference.raw.windows import RawClip, RawWindow, inner_seconds
from avloc.models.network import candidate_network

if TYPE_CHECKING:
    from avloc.core.timeline import TimeGrid
    from avloc.datasets.loading.example import Example
    from avloc.inference.streaming import Window

RAW_ROWS = 600
"""At most this many candidates of each branch and window are kept: twice as many as soft-NMS takes by default."""


class RawLocalizer(Localizer):
    """A localizer that stops before suppression.

    Args:
        localizer: a trained network and the source of its inputs.

    Raises:
        AvlocError: if the network gives no candidates.
    """

    def __init__(self, localizer: Localizer) -> None:
        super().__init__(localizer.model, localizer.source, localizer.device, localizer.precision)
        self.network = candidate_network(self.model)

    def run_raw(self, examples: Iterable[Example], *, batch_size: int | None = None) -> Iterator[RawClip | str]:
        """Yield the candidates of each example in order, or the reason for which it has none; see `Localizer.run`."""
        for batch in self._batches(examples, batch_size):
            yield from self._run_raw_alone(batch)

    def _run_raw_alone(self, examples: Sequence[Example]) -> list[RawClip | str]:
        try:
            if len(examples) == 1 and self._is_long(examples[0]):
                return [self._raw_clip(self._windows(examples[0]))]
            return [RawClip((window,)) for _, window in self._raw_windows(examples)]
        except NotFiniteError as error:
            if len(examples) == 1:
                return [str(error)]
            return [each for example in examples for each in self._run_raw_alone([example])]

    def _raw_windows(self, examples: Sequence[Example]) -> list[tuple[TimeGrid, RawWindow]]:
        windows = []
        for example, grid, fakeness, candidates in self._infer(examples, self.network.candidates):
            check_fakeness(example, grid, fakeness)
            power = self.network.decoding.boundary_power
            branches = tuple(branch.best(RAW_ROWS, power) for branch in candidates.branches)
            windows.append((grid, RawWindow(replace(candidates, branches=branches), example.end_s)))
        return windows

    def _raw_clip(self, windows: Iterable[Window]) -> RawClip:
        """Run windows one by one, each for its inner part."""
        parts, seconds = [], 0.0
        for window, first, end in self._with_inner(windows):
            ((grid, raw),) = self._raw_windows([window.example])
            parts.append(replace(raw, inner_s=inner_seconds(window, grid, first, end)))
            seconds = end * window.example.grid.hop_s
        return RawClip(tuple(parts), math.ceil(seconds / inference.WINDOW_S))
