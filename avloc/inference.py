"""checkpoint + clip > decode > inputs > network > `Localization`; the same network on cached features for a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.checkpoint import first_line, load_weights, read_checkpoint
from avloc.errors import AvlocError
from avloc.models import build_model
from avloc.proposals import Proposals
from avloc.records import MODALITIES
from avloc.sources import AnyExample, Source, source_of
from avloc.timeline import TimeGrid

WINDOW_S = 40.0
OVERLAP = 0.25  # of a window
PRECISIONS = ("32", "bf16", "16")
# A modality is named for a segment if it is at least this sure of it, compared with the surer one.
MODALITY_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Localization:
    """What was found in one clip.

    Attributes:
        file: the clip.
        duration_s: its length.
        proposals: scored segments, sorted by falling score.
        grid: the clock of `fakeness`.
        fakeness: (T, M) per step and modality in [0, 1]; NaN where the clip has no such stream.
        problems: what could not be decoded, or was no number.
    """

    file: str
    duration_s: float
    proposals: Proposals
    grid: TimeGrid
    fakeness: npt.NDArray[np.float32]
    problems: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row per segment: start and end in seconds, score, modality, and each modality's score."""
        rows = []
        for segment, score, each in zip(
            self.proposals.segments, self.proposals.scores, self.proposals.modality_scores, strict=True
        ):
            rows.append(
                {
                    "start": round(float(segment[0]), 3), "end": round(float(segment[1]), 3),
                    "score": round(float(score), 4), "modality": modality_name(each),
                    **{f"{m}_score": round(float(s), 4) for m, s in zip(MODALITIES, each, strict=True)},
                }
            )  # fmt: skip
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values (NaN as null)."""
        steps = {
            m: [None if math.isnan(v) else round(float(v), 4) for v in self.fakeness[:, k]]
            for k, m in enumerate(MODALITIES)
        }
        return {
            "schema": "avloc.localization/1", "file": self.file, "duration": round(self.duration_s, 3),
            "segments": self.rows(), "step": {"start": self.grid.start_s, "hop": self.grid.hop_s, **steps},
            "problems": list(self.problems),
        }  # fmt: skip


def modality_name(scores: npt.NDArray[np.floating]) -> str:
    """`audio`, `visual` or `both`: a modality counts if its score is at least half the surer one's."""
    named = scores >= MODALITY_SHARE * scores.max()
    return "both" if named.all() else MODALITIES[int(scores.argmax())]


class Localizer:
    """A trained network, and where its inputs come from.

    Args:
        model: the network, in eval mode.
        source: its inputs (`avloc.sources`).
        device: where the network runs.
        precision: `32`, or `bf16` or `16` to run it under autocast.
    """

    def __init__(self, model: Any, source: Source, device: str = "cpu", precision: str = "32") -> None:
        if precision not in PRECISIONS:
            raise AvlocError(f"want precision of {', '.join(PRECISIONS)}, got {precision!r}")
        self.model, self.source, self.device, self.precision = model.eval().to(device), source, device, precision

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
            decoding: of boundary maps, instead of the checkpoint's own (`avloc.decoding.decode_map`).

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
        return cls(model, source_of(checkpoint, weights), device, precision)

    def localize(self, path: str | Path, *, keep: int = 100) -> Localization:
        """Find the fake segments of one clip; uses what decodes.

        Raises:
            MediaError: if neither picture nor sound can be decoded.
        """
        example, clip = self.source.read(path)
        found = next(self.run([example], keep=keep))
        return Localization(
            str(path), clip.duration_s, found.proposals, found.grid, found.fakeness, (*clip.problems, *found.problems)
        )

    def run(
        self, examples: Iterable[AnyExample], *, batch_size: int | None = None, keep: int = 100
    ) -> Iterator[Localization]:
        """Run the network on examples, one localization each, in order.

        Clips longer than `WINDOW_S`, or than the network takes at once, run in overlapping windows; a proposal counts in
        the window whose inner part its middle lies in, so that each place is judged with context on both sides. Short
        clips are batched.
        """
        batch_size = batch_size or self.source.batch_size
        pending: list[AnyExample] = []
        for example in examples:
            if self.source.windows and example.grid.length > self._window_steps():
                yield from self._run_batch(pending, keep)
                pending = []
                yield self._run_windows(example, keep)
            else:
                pending.append(example)
            if len(pending) == batch_size:
                yield from self._run_batch(pending, keep)
                pending = []
        yield from self._run_batch(pending, keep)

    def _window_steps(self) -> int:
        steps = round(WINDOW_S / self.source.hop_s)
        return steps if self.model.longest_steps is None else min(steps, self.model.longest_steps)

    def _run_batch(self, examples: Sequence[AnyExample], keep: int) -> list[Localization]:
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
                proposals = self.model.decode(output, batch.grids, keep=keep)
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
            found.append(Localization(example.record.file, duration, each.cut(example.end_s), grid, fakeness, problems))
        return found

    def _run_windows(self, example: AnyExample, keep: int) -> Localization:
        size = self._window_steps()
        grid = example.grid
        problems: dict[str, None] = {}
        parts, fakeness = [], np.full((grid.length, len(MODALITIES)), np.nan, dtype=np.float32)
        # The longest segment of a map fits into the overlap, so that one window has all of it.
        overlap = max(round(size * OVERLAP), min(getattr(self.model, "durations", 0), size // 2))
        for begin, end, inner in _windows(grid.length, size, overlap):
            window = example.window(begin, end)
            found = self._run_batch([window], keep)[0]
            problems.update(dict.fromkeys(found.problems))
            low, high = (float(s) for s in grid.to_seconds(inner))
            middle = found.proposals.segments.mean(axis=1)
            first, last = begin == 0, end == grid.length
            parts.append(found.proposals.take((first | (middle >= low)) & (last | (middle < high))))
            fakeness[inner[0] : inner[1]] = found.fakeness[inner[0] - begin : inner[1] - begin]
        proposals = Proposals.concatenate(parts).cut(example.end_s)
        # Long clips may hold more than `keep` segments: as many are kept for every `WINDOW_S` of them.
        count = keep * math.ceil(grid.length * grid.hop_s / WINDOW_S)
        duration = example.record.duration_s or grid.end_s
        return Localization(example.record.file, duration, proposals.best(count), grid, fakeness, tuple(problems))


def _windows(length: int, size: int, overlap: int) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Overlapping windows of a clip: first step, end, and the steps that each answers for."""
    stride = size - overlap
    for begin in range(0, max(1, length - overlap), stride):
        end = min(begin + size, length)
        low = 0 if begin == 0 else begin + overlap // 2
        yield begin, end, (low, length if end == length else begin + stride + overlap // 2)


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
