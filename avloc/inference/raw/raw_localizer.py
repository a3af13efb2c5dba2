"""examples > network > the candidates of each clip, before suppression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from avloc.inference.raw.windows import RawClip, RawWindow, inner_seconds
from avloc.inference.windowed_network import Handlers
from avloc.models.network import candidate_network

if TYPE_CHECKING:
    from avloc.core.timeline import TimeGrid
    from avloc.datasets.examples.example import Example
    from avloc.inference.localizer import Localizer
    from avloc.inference.streaming import Window

RAW_ROWS = 600
"""At most this many candidates of each branch and window are kept: twice as many as soft-NMS takes by default."""


class RawLocalizer:
    """A localizer that stops before suppression.

    Args:
        localizer: a trained network and the source of its inputs.

    Raises:
        AvlocError: if the network gives no candidates.
    """

    def __init__(self, localizer: Localizer) -> None:
        self.candidates = candidate_network(localizer.model)
        self._windowed = localizer.windowed

    def run(self, examples: Iterable[Example], *, batch_size: int | None = None) -> Iterator[RawClip | str]:
        """Yield the candidates of each example in order, or the reason for its failure; see `Localizer.run`."""
        handlers: Handlers[RawClip | str] = Handlers(self._clips, self._clip, lambda _, problem: problem)
        yield from self._windowed.run(examples, batch_size, handlers)

    def _clips(self, examples: Sequence[Example]) -> list[RawClip | str]:
        return [RawClip((window,)) for _, window in self._windows(examples)]

    def _clip(self, windows: Iterable[Window]) -> RawClip:
        """Run windows one by one, each for its inner part."""
        parts, end = [], 0
        for window, first, end in self._windowed.answers(windows):
            ((grid, raw),) = self._windows([window.example])
            parts.append(replace(raw, inner_s=inner_seconds(window, grid, first, end)))
        return RawClip(tuple(parts), self._windowed.shares(end))

    def _windows(self, examples: Sequence[Example]) -> list[tuple[TimeGrid, RawWindow]]:
        windows = []
        for example, grid, _, candidates in self._windowed.infer(examples, self.candidates.candidates):
            power = self.candidates.decoding.boundary_power
            branches = tuple(branch.best(RAW_ROWS, power) for branch in candidates.branches)
            windows.append((grid, RawWindow(replace(candidates, branches=branches), example.end_s)))
        return windows
