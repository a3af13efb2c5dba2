"""examples > batches, and windows of long clips > network > the output of each: what all localizers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.inference.streaming import Window, Windowing

if TYPE_CHECKING:
    from avloc.core.timeline import TimeGrid
    from avloc.datasets.examples.example import Example
    from avloc.inference.sources.base import InputSource
    from avloc.models.network import Network

T = TypeVar("T")
WINDOW_S = 40.0
OVERLAP = 0.25  # of a window
NOT_FINITE = "the network's output holds NaN or infinity"


class NotFiniteError(AvlocError):
    """A network's output that is not finite: it gives no scores."""


class NetworkOutput(NamedTuple):
    """The output of a network for one example.

    Attributes:
        example: the clip, or a window of one.
        grid: its clock.
        fakeness: (T, 2) of each step and modality, in [0, 1]; NaN at steps without the modality.
        decoded: the decoder's result.
    """

    example: Example
    grid: TimeGrid
    fakeness: npt.NDArray[np.float32]
    decoded: Any


@dataclass(frozen=True, slots=True)
class Handlers(Generic[T]):
    """A localizer's functions from examples to results; the first two run the network.

    Attributes:
        batch: for short clips.
        windows: for the windows of one long clip.
        failure: for a clip whose output is not finite, and the reason.
    """

    batch: Callable[[Sequence[Example]], list[T]]
    windows: Callable[[Iterable[Window]], T]
    failure: Callable[[Example, str], T]


class WindowedNetwork:
    """A network on the inputs of a source, in batches of short clips and in overlapping windows of long ones.

    Args:
        model: the network, on its device.
        source: its inputs.
        device: device of the network.
        precision: `32`, or `bf16` or `16` to run it under autocast.
    """

    def __init__(self, model: Network, source: InputSource, device: str, precision: str) -> None:
        self.model, self.source, self.device, self.precision = model, source, device, precision

    @property
    def window_steps(self) -> int:
        """Steps of a window: `WINDOW_S`, or the network's longest input if that is shorter."""
        steps = round(WINDOW_S / self.source.hop_s)
        return steps if self.model.longest_steps is None else min(steps, self.model.longest_steps)

    def windowing(self) -> Windowing:
        """The size and the overlap of the windows of a clip."""
        size = self.window_steps if self.source.windows else None
        return Windowing(size, 0 if size is None else self._overlap(size))

    def shares(self, steps: int) -> int:
        """Count each `WINDOW_S` that begins in so many steps: a clip may have this many times the rows of a short one."""
        return math.ceil(steps * self.source.hop_s / WINDOW_S)

    def run(self, examples: Iterable[Example], batch_size: int | None, handlers: Handlers[T]) -> Iterator[T]:
        """Run the network on examples, and yield the handlers' results, in order.

        Args:
            examples: clips, of any length.
            batch_size: short clips at a time; None: the source's.
            handlers: run the network; output that is not finite costs one clip and not its batch.
        """
        for batch in self._batches(examples, batch_size or self.source.batch_size):
            yield from self._run_batch(batch, handlers)

    def infer(self, examples: Sequence[Example], decode: Callable[[Any, Any], list[Any]]) -> list[NetworkOutput]:
        """Run one batch.

        Args:
            examples: clips or windows.
            decode: output and clocks → a result per example.

        Raises:
            NotFiniteError: if the network's output is not finite, or cannot be decoded.
        """
        import torch

        if not examples:
            return []
        batch = self.source.collate(examples).to(self.device)
        kind = torch.device(self.device).type
        half = {"bf16": torch.bfloat16, "16": torch.float16}.get(self.precision)
        with torch.inference_mode(), torch.autocast(kind, dtype=half, enabled=half is not None):
            output = self.model(**batch.inputs._asdict())
            steps = output.step_logits.float().sigmoid().cpu().numpy()
            finite = output.step_logits.isfinite().cpu().numpy()
            try:
                decoded = decode(output, batch.grids)
            except AvlocError as error:
                raise NotFiniteError(str(error)) from error
        return [
            NetworkOutput(example, grid, fakeness, decoded[b])
            for b, (example, grid) in enumerate(zip(examples, batch.grids, strict=True))
            for fakeness in [_check_fakeness(example, grid, np.where(finite[b], steps[b], np.inf)[: grid.length])]
        ]

    def answers(self, windows: Iterable[Window]) -> Iterator[tuple[Window, int, int]]:
        """Yield each window with the clip's steps that it answers for, up to the middle of its overlap with the next."""
        first = 0
        for window in windows:
            overlap = self._overlap(window.example.grid.length)
            end = window.begin + window.example.grid.length
            end = end if window.last else end - overlap + overlap // 2
            yield window, first, end
            first = end

    def _batches(self, examples: Iterable[Example], batch_size: int) -> Iterator[list[Example]]:
        """Yield short examples in batches, and each long one alone, in order."""
        pending: list[Example] = []
        for example in examples:
            if self._is_long(example):
                yield pending
                pending = []
                yield [example]
            else:
                pending.append(example)
            if len(pending) == batch_size:
                yield pending
                pending = []
        yield pending

    def _run_batch(self, examples: Sequence[Example], handlers: Handlers[T]) -> list[T]:
        """Run a batch, or one example of any length."""
        try:
            if len(examples) == 1 and self._is_long(examples[0]):
                return [handlers.windows(self._windows(examples[0]))]
            return handlers.batch(examples)
        except NotFiniteError as error:
            if len(examples) == 1:
                return [handlers.failure(examples[0], str(error))]
            return [each for example in examples for each in self._run_batch([example], handlers)]

    def _is_long(self, example: Example) -> bool:
        return self.source.windows and example.grid.length > self.window_steps

    def _overlap(self, size: int) -> int:
        """Steps that windows share: the longest segment of a map fits in, so that one window has all of it."""
        return max(round(size * OVERLAP), min(self.model.longest_segment_steps, size // 2))

    def _windows(self, example: Example) -> Iterator[Window]:
        """A long example in overlapping windows."""
        size, length = self.window_steps, example.grid.length
        overlap = self._overlap(size)
        for begin in range(0, max(1, length - overlap), size - overlap):
            end = min(begin + size, length)
            yield Window(example.window(begin, end), begin, end == length)


def _check_fakeness(example: Example, grid: TimeGrid, fakeness: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the fakeness, with NaN at steps without the modality.

    Raises:
        NotFiniteError: if it is not finite elsewhere.
    """
    for k, mask in enumerate(example.masks):
        # A squeezed clip's clock has other steps than the example's: each takes the mask at its middle.
        middles = np.floor(example.grid.to_steps(grid.centers_s())).astype(int)
        fakeness[~mask[np.clip(middles, 0, max(0, len(mask) - 1))], k] = np.nan
    if np.isinf(fakeness).any():
        raise NotFiniteError(NOT_FINITE)
    return fakeness
