"""checkpoint + clip > decode > inputs > network > `Localization`; the same network on cached features for a dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.core.calibration import CALIBRATED, PlattFit, clip_probabilities
from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.datasets.loading.example import Example
from avloc.errors import AvlocError, CheckpointError, first_line
from avloc.feature_extraction.media.arrays import ClipArrays
from avloc.feature_extraction.media.types import WHOLE, Span
from avloc.inference.clip_source import ClipSource
from avloc.inference.feature_source import FeatureSource
from avloc.inference.source import InputSource, Request, clip_name
from avloc.inference.streaming import Window, Windowing, decoding_problems
from avloc.localization.preview import Preview
from avloc.localization.result import Localization
from avloc.models import build_model
from avloc.models.checkpoint import Checkpoint, load_weights, read_checkpoint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from avloc.core.timeline import TimeGrid
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.feature_extraction.media.types import Span
    from avloc.inference.streaming import Window, Windowing

WINDOW_S = 40.0
OVERLAP = 0.25  # of a window
FITTED_ROWS = 100
PRECISIONS = ("32", "bf16", "16")
Progress = Callable[[float], object]
"""Is told how many seconds of a clip are done."""


class Localizer:
    """A trained network, and where its inputs come from.

    Args:
        model: the network, in eval mode.
        source: its inputs (`avloc.inference.source`).
        device: where the network runs.
        precision: `32`, or `bf16` or `16` to run it under autocast.
        calibration: how best scores become probabilities (`avloc.core.calibration`).
    """

    def __init__(
        self,
        model: Any,
        source: InputSource,
        device: str = "cpu",
        precision: str = "32",
        calibration: Mapping[str, PlattFit] | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise AvlocError(f"want precision of {', '.join(PRECISIONS)}, got {precision!r}")
        self.model, self.source, self.device, self.precision = model.eval().to(device), source, device, precision
        self.calibration = dict(calibration or {})

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str = "cpu",
        weights: Mapping[str, str | Path] | None = None,
        precision: str = "32",
        decoding: str | None = None,
    ) -> Localizer:
        """Load a checkpoint that `avloc train` or `avloc convert` wrote (tensors and plain values only; no code is run).

        Args:
            path: the checkpoint.
            device: where the network runs.
            weights: by extractor, the file of its weights, for those that have any.
            precision: see `Localizer`.
            decoding: of boundary maps, instead of the checkpoint's own (`avloc.heads.maps.decode_map`).

        Raises:
            CheckpointError: if the file is missing, is no checkpoint of ours, or does not fit its network.
            AvlocError: if the network has no boundary maps to decode so.
        """
        checkpoint = read_checkpoint(path)
        arguments = dict(checkpoint.arguments)
        if decoding is not None:
            if "decoding" not in arguments:
                raise AvlocError(f"{path}: a {checkpoint.model} has no boundary maps, so --decoding says nothing to it")
            arguments["decoding"] = decoding
        model = build_model(checkpoint.model, arguments)
        load_weights(model, checkpoint)
        return cls(model, build_source(checkpoint, weights), device, precision, checkpoint.calibration)

    def localize(
        self,
        clip: str | Path | ClipArrays,
        *,
        keep: int = 100,
        span: Span = WHOLE,
        preview: bool = False,
        progress: Progress | None = None,
    ) -> Localization:
        """Find the fake segments of one clip, window by window as it is decoded; uses what decodes.

        Args:
            clip: a file, or a clip in memory.
            keep: segments at the most, per `WINDOW_S` of the clip.
            span: which part of a file, and which audio track.
            preview: whether to keep small pictures and the loudness (`Localization.preview`).
            progress: see `Progress`.

        Raises:
            MediaError: if neither picture nor sound can be decoded, or there is no such part or track.
        """
        seen = Preview(self.source.crop) if preview else None
        request = Request(span, () if seen is None else (seen.format,), seen)
        size = self._window_steps() if self.source.windows else None
        tracks, windows = self.source.open(clip, Windowing(size, self._overlap(size)), request)
        found = self._merge(_with_progress(windows, progress), keep)
        # A network that runs over its clip's end has said nothing of what is not there.
        duration_s = max(t.decoded_s[1] for t in tracks if t.decoded_s is not None)
        decoded = {m: track.decoded_s for m, track in zip(MODALITIES, tracks, strict=True)}
        return replace(
            found, file=clip_name(clip), duration_s=duration_s, decoded_s=decoded, preview=seen,
            problems=tuple(dict.fromkeys((*decoding_problems(tracks), *found.problems))),
        )  # fmt: skip

    def run(
        self, examples: Iterable[Example], *, batch_size: int | None = None, keep: int = 100
    ) -> Iterator[Localization]:
        """Run the network on examples, one localization each, in order.

        Clips longer than `WINDOW_S`, or than the network takes at once, run in overlapping windows; a proposal counts in
        the window whose inner part its middle lies in, so that each place is judged with context on both sides. Short
        clips are batched.
        """
        batch_size = batch_size or self.source.batch_size
        pending: list[Example] = []
        for example in examples:
            if self.source.windows and example.grid.length > self._window_steps():
                yield from self._run_batch(pending, keep)
                pending = []
                yield self._merge(self._windows(example), keep)
            else:
                pending.append(example)
            if len(pending) == batch_size:
                yield from self._run_batch(pending, keep)
                pending = []
        yield from self._run_batch(pending, keep)

    def _window_steps(self) -> int:
        steps = round(WINDOW_S / self.source.hop_s)
        return steps if self.model.longest_steps is None else min(steps, self.model.longest_steps)

    def _run_batch(self, examples: Sequence[Example], keep: int) -> list[Localization]:
        import torch

        if not examples:
            return []
        batch = self.source.collate(examples).to(self.device)
        half = {"bf16": torch.bfloat16, "16": torch.float16}.get(self.precision)
        kind = torch.device(self.device).type
        problems: tuple[str, ...] = ()
        with torch.inference_mode(), torch.autocast(kind, dtype=half, enabled=half is not None):
            output = self.model(**batch.inputs._asdict())
            try:
                # How sure it is was fitted on so many rows, however few are wanted.
                proposals = self.model.decode(output, batch.grids, keep=max(keep, FITTED_ROWS))
            except AvlocError as error:
                # NaN, say of half precision: the other clips of a batch shall not suffer from it.
                if len(examples) > 1:
                    return [found for example in examples for found in self._run_batch([example], keep)]
                proposals, problems = [Proposals.empty()], (str(error),)
        steps = output.step_logits.float().sigmoid().cpu().numpy()
        found = []
        for b, (example, grid) in enumerate(zip(examples, batch.grids, strict=True)):
            fakeness = steps[b, : grid.length].copy()
            for k, mask in enumerate(example.masks):
                # A squeezed clip's clock has other steps than the example's: each takes the mask at its middle.
                middles = np.floor(example.grid.to_steps(grid.centers_s())).astype(int)
                fakeness[~mask[np.clip(middles, 0, max(0, len(mask) - 1))], k] = np.nan
            duration = example.record.duration_s or example.grid.end_s
            # What a clip does not have cannot be forged in it.
            there = np.array([mask.any() for mask in example.masks])
            each = replace(proposals[b], modality_scores=proposals[b].modality_scores * there)
            localized = self._found(example, duration, each.cut(example.end_s), grid, fakeness, problems)
            found.append(replace(localized, proposals=localized.proposals.take(slice(keep))))
        return found

    def _found(
        self,
        example: Example,
        duration_s: float,
        found: Proposals,
        grid: TimeGrid,
        fakeness: npt.NDArray[np.float32],
        problems: tuple[str, ...],
    ) -> Localization:
        sure = clip_probabilities(found, self.calibration)
        known = set(self.calibration) >= set(CALIBRATED)
        return Localization(example.record.file, duration_s, found, grid, fakeness, problems, sure, known)

    def _overlap(self, size: int | None) -> int:
        """Steps that windows share: the longest segment of a map fits in, so that one window has all of it."""
        return 0 if size is None else max(round(size * OVERLAP), min(getattr(self.model, "durations", 0), size // 2))

    def _windows(self, example: Example) -> Iterator[Window]:
        """A long example in overlapping windows."""
        size, length = self._window_steps(), example.grid.length
        overlap = self._overlap(size)
        for begin in range(0, max(1, length - overlap), size - overlap):
            end = min(begin + size, length)
            yield Window(example.window(begin, end), begin, end == length)

    def _merge(self, windows: Iterable[Window], keep: int) -> Localization:
        """Run windows one by one; each answers for its inner part, the first and the last also for the clip's ends."""
        parts: list[Proposals] = []
        fakeness: list[npt.NDArray[np.float32]] = []
        problems: dict[str, None] = {}
        done, grid, example = 0, None, None  # steps that are answered
        for example, begin, last in windows:
            found = self._run_batch([example], keep)[0]
            if begin == 0 and last:
                return found
            grid = grid or example.grid
            size = example.grid.length
            overlap = self._overlap(size)
            end = begin + size if last else begin + size - overlap + overlap // 2
            low, high = (float(s) for s in found.grid.to_seconds([done - begin, end - begin]))
            middle = found.proposals.segments.mean(axis=1)
            parts.append(found.proposals.take(((begin == 0) | (middle >= low)) & (last | (middle < high))))
            fakeness.append(found.fakeness[done - begin : end - begin])
            problems.update(dict.fromkeys(found.problems))
            done = end
        assert grid is not None
        assert example is not None
        whole = TimeGrid(grid.start_s, grid.hop_s, done)
        # Long clips may hold more than `keep` segments: as many are kept for every `WINDOW_S` of them.
        count = keep * math.ceil(done * grid.hop_s / WINDOW_S)
        proposals = Proposals.concatenate(parts).cut(example.end_s).best(count)
        duration = example.record.duration_s or whole.end_s
        return self._found(example, duration, proposals, whole, np.concatenate(fakeness), tuple(problems))


def _with_progress(windows: Iterator[Window], progress: Progress | None) -> Iterator[Window]:
    """The same; after each it is told how much is done."""
    for window in windows:
        yield window
        if progress is not None:
            progress(window.example.grid.end_s)


def require_device(device: str) -> str:
    """Check that a device is there.

    Raises:
        AvlocError: if torch does not know or see it.
    """
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AvlocError(f"device {device!r} cannot be used here: {first_line(error)}") from error
    return device


def read_whole(source: InputSource, clip: str | Path | ClipArrays) -> Example:
    """A clip as one example, decoded whole.

    Raises:
        MediaError: if neither picture nor sound can be decoded.
    """
    from avloc.inference.streaming import Windowing

    return next(source.open(clip, Windowing(None), Request())[1]).example


def build_source(checkpoint: Checkpoint, weights: Mapping[str, str | Path] | None = None) -> InputSource:
    """The source that a checkpoint's network was trained on."""
    if checkpoint.clips is not None:
        from avloc.datasets.loading.clips import FITS

        frames, fit = checkpoint.clips["frames"], checkpoint.clips["fit"]
        if fit not in FITS or frames != checkpoint.arguments.get("frames"):
            raise CheckpointError(f"{checkpoint.path}: a damaged checkpoint, its note 'clips' is {checkpoint.clips!r}")
        return ClipSource(int(frames), fit)
    return FeatureSource(checkpoint.extractors, checkpoint.hop_s, weights)
