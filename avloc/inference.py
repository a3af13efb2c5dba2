"""checkpoint + clip > decode > features > network > `Localization`; the same network on cached features for a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.checkpoint import first_line, load_weights, read_checkpoint
from avloc.errors import AvlocError, CheckpointError
from avloc.models import build_model
from avloc.proposals import Proposals
from avloc.records import MODALITIES, VideoRecord
from avloc.timeline import TimeGrid

if TYPE_CHECKING:
    from avloc.datasets.features import Example
    from avloc.feature_extraction.extractors import Extractor

WINDOW_S = 40.0
OVERLAP_S = 10.0
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
        problems: what could not be decoded.
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
    """A trained network with its extractors.

    Args:
        model: the network, in eval mode.
        extractors: descriptions (name, parameters, …) of the extractors it was trained on.
        hop_s: seconds per step.
        device: where the network runs.
        weights: by extractor, the file of its weights; only `localize` needs it.
    """

    def __init__(
        self,
        model: Any,
        extractors: Sequence[dict[str, Any]],
        hop_s: float,
        device: str = "cpu",
        weights: Mapping[str, str | Path] | None = None,
    ) -> None:
        self._weights = dict(weights or {})
        self._extractors: list[Extractor] = []
        self.model, self.descriptions, self.hop_s, self.device = (
            model.eval().to(device),
            list(extractors),
            hop_s,
            device,
        )

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, device: str = "cpu", weights: Mapping[str, str | Path] | None = None
    ) -> Localizer:
        """Load a checkpoint that `avloc train` wrote (tensors and plain values only; no code is run).

        Args:
            path: the checkpoint.
            device: where the network runs.
            weights: by extractor, the file of its weights, for those that have any.

        Raises:
            CheckpointError: if the file is missing, is no checkpoint of ours, or does not fit its network.
        """
        checkpoint = read_checkpoint(path)
        model = build_model(checkpoint.model, checkpoint.arguments)
        load_weights(model, checkpoint)
        return cls(model, checkpoint.extractors, checkpoint.hop_s, device, weights)

    @property
    def extractor_names(self) -> list[str]:
        """The extractors it needs."""
        return [str(d["name"]) for d in self.descriptions]

    def extractors(self) -> list[Extractor]:
        """The extractors, made on first use.

        Raises:
            CheckpointError: if one needs a weights file that was not given, or that is another one than in training.
        """
        from avloc.feature_extraction.extractors import build

        if not self._extractors:
            made = []
            for wanted in self.descriptions:
                name, sha256 = wanted["name"], wanted.get("weights_sha256")
                file = self._weights.get(name)
                if sha256 is not None and file is None:
                    raise CheckpointError(
                        f"{name} needs the weights file it was trained with: give --weights {name}=FILE"
                    )
                extractor = build(name, wanted["parameters"] | ({"weights": str(file)} if file is not None else {}))
                if extractor.weights_sha256() != sha256:
                    raise CheckpointError(f"{file}: not the weights of {name} that the network was trained on")
                made.append(extractor)
            self._extractors = made
        return self._extractors

    def check_store(self, store: Any) -> None:
        """Raise a CheckpointError unless a store's features were made as those that the network was trained on."""
        for wanted in self.descriptions:
            there = store.describe(wanted["name"])
            for key in ("version", "parameters", "weights_sha256", "hop_s", "dim", "decoder"):
                if there.get(key) != wanted.get(key):
                    raise CheckpointError(
                        f"{store.root}: the features of {wanted['name']} have {key} {there.get(key)!r}, the checkpoint "
                        f"was trained on {wanted.get(key)!r}"
                    )

    def localize(self, path: str | Path, *, keep: int = 100) -> Localization:
        """Find the fake segments of one clip; uses what decodes.

        Raises:
            MediaError: if neither picture nor sound can be decoded.
        """
        from avloc.datasets.features import make_example
        from avloc.feature_extraction.extractors import Features
        from avloc.feature_extraction.media import decode

        extractors = self.extractors()
        backend = next((str(d["decoder"]) for d in self.descriptions if "decoder" in d), "pyav")
        clip = decode(path, [e.video_format for e in extractors if e.video_format is not None], backend=backend)
        features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
        for extractor in extractors:
            features[extractor.modality].append(extractor.extract(clip))
        example = make_example(VideoRecord(str(path), "", clip.duration_s), features, self.hop_s)
        found = next(self.run([example], keep=keep))
        return Localization(
            str(path), clip.duration_s, found.proposals, found.grid, found.fakeness, tuple(clip.problems)
        )

    def run(self, examples: Iterable[Example], *, batch_size: int = 16, keep: int = 100) -> Iterator[Localization]:
        """Run the network on examples, one localization each, in order.

        Clips longer than `WINDOW_S` run in overlapping windows; a proposal counts in the window whose inner part its
        middle lies in, so that each place is judged with context on both sides. Short clips are batched.
        """
        pending: list[Example] = []
        for example in examples:
            if example.grid.length * example.grid.hop_s > WINDOW_S:
                yield from self._run_batch(pending, keep)
                pending = []
                yield self._run_windows(example, keep)
            else:
                pending.append(example)
            if len(pending) == batch_size:
                yield from self._run_batch(pending, keep)
                pending = []
        yield from self._run_batch(pending, keep)

    def _run_batch(self, examples: Sequence[Example], keep: int) -> list[Localization]:
        import torch

        from avloc.datasets.features import collate

        if not examples:
            return []
        batch = collate(examples)
        with torch.inference_mode():
            output = self.model(*(x.to(self.device) for x in batch.inputs))
            proposals = self.model.decode(output, batch.grids, keep=keep)
        steps = output.step_logits.sigmoid().float().cpu().numpy()
        found = []
        for b, example in enumerate(examples):
            fakeness = steps[b, : example.grid.length].copy()
            for k in range(len(MODALITIES)):
                fakeness[~example.masks[k], k] = np.nan
            duration = example.record.duration_s or example.grid.end_s
            within = proposals[b].cut(example.end_s)
            found.append(Localization(example.record.file, duration, within, example.grid, fakeness))
        return found

    def _run_windows(self, example: Example, keep: int) -> Localization:
        parts, fakeness = [], np.full((example.grid.length, len(MODALITIES)), np.nan, dtype=np.float32)
        for window, inner in _windows(example):
            found = self._run_batch([window], keep)[0]
            middle = found.proposals.segments.mean(axis=1)
            parts.append(found.proposals.take((middle >= inner[0]) & (middle < inner[1])))
            times = window.grid.centers_s()
            at = np.flatnonzero((times >= inner[0]) & (times < inner[1]))
            first = round((window.grid.start_s - example.grid.start_s) / example.grid.hop_s)
            fakeness[first + at] = found.fakeness[at]
        proposals = Proposals.concatenate(parts).cut(example.end_s)
        # Long clips may hold more than `keep` segments: as many per window's length are kept.
        count = keep * math.ceil(example.grid.length * example.grid.hop_s / WINDOW_S)
        duration = example.record.duration_s or example.grid.end_s
        return Localization(example.record.file, duration, proposals.best(count), example.grid, fakeness)


def _windows(example: Example) -> Iterator[tuple[Example, tuple[float, float]]]:
    """Overlapping parts of an example, each with the stretch (seconds) that it answers for."""
    from avloc.datasets.features import Example

    grid = example.grid
    size = round(WINDOW_S / grid.hop_s)
    stride = round((WINDOW_S - OVERLAP_S) / grid.hop_s)
    for begin in range(0, max(1, grid.length - (size - stride)), stride):
        end = min(begin + size, grid.length)
        part = TimeGrid(grid.start_s + begin * grid.hop_s, grid.hop_s, end - begin)
        low = -math.inf if begin == 0 else part.start_s + OVERLAP_S / 2
        high = math.inf if end == grid.length else part.start_s + (stride * grid.hop_s) + OVERLAP_S / 2
        streams = tuple(s[begin:end] for s in example.streams)
        yield Example(example.record, part, streams, tuple(m[begin:end] for m in example.masks)), (low, high)


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
