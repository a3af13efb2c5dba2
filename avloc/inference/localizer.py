"""checkpoint + clip > decode > inputs > network > `Localization`; the same network on cached features for a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.core.calibration import CALIBRATED, PlattFit, best_scores
from avloc.core.proposals import Proposals
from avloc.core.provenance import CLIP, CheckpointIdentity, current_provenance
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError, CheckpointError
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import WHOLE, Span
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw.windows import FITTED_ROWS, inner_rows, inner_seconds, join_windows
from avloc.inference.sources.base import InputSource, Request, clip_name
from avloc.inference.sources.checkpoint import build_source
from avloc.inference.streaming import Window, decoding_problems
from avloc.inference.windowed_network import NOT_FINITE, Handlers, NetworkOutput, NotFiniteError, WindowedNetwork
from avloc.io.provenance import identify_file
from avloc.localization.preview import Preview
from avloc.localization.result import Localization
from avloc.models.network import candidate_network
from avloc.models.packaged import identify_checkpoint

if TYPE_CHECKING:
    from avloc.core.descriptions import NetworkDescription
    from avloc.datasets.examples.example import Example
    from avloc.feature_extraction.extractors.base import Extractor
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.feature_extraction.media.types import MediaInfo
    from avloc.models.network import Network

CHANGED = "the file changed while it was read: its hash may be that of other content"
PRECISIONS = ("32", "bf16", "16")
LocalizationProgress = Callable[[float], object]
"""Called with the seconds of a clip that are done."""


class Localizer:
    """A trained network and the source of its inputs.

    Args:
        model: the network.
        source: its inputs (`avloc.inference.sources.base`).
        device: of the network; features of a clip are computed on the CPU.
        precision: `32`, or `bf16` or `16` to run it under autocast.
        calibration: the fits that turn scores into evidence and probabilities (`avloc.core.calibration`).
        description: the identity of the network, which its results name.

    Attributes:
        file: the checkpoint that it was loaded from; None for a network that was made in memory.
        windowed: the network in batches and windows.

    Raises:
        AvlocError: if the model lacks members of `avloc.models.Network`, or the precision is unknown.

    >>> from avloc.inference.sources.feature import FeatureSource
    >>> from avloc.models import BoundaryTransformer
    >>> source = FeatureSource((), hop_s=0.04)
    >>> Localizer(BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2), source)
    Localizer(BoundaryTransformer on cpu, precision 32, uncalibrated)
    """

    def __init__(
        self,
        model: Any,
        source: InputSource,
        device: str = "cpu",
        precision: str = "32",
        calibration: Mapping[str, PlattFit] | None = None,
        description: NetworkDescription | None = None,
    ) -> None:
        from avloc.models.network import as_module, check_network

        if precision not in PRECISIONS:
            raise AvlocError(f"want precision of {', '.join(PRECISIONS)}, got {precision!r}")
        self.model: Network = check_network(model)
        as_module(self.model).eval().to(device)
        self.source, self.device, self.precision = source, device, precision
        self.windowed = WindowedNetwork(self.model, source, device, precision)
        self.calibration, self.description = dict(calibration or {}), description
        self.file: Path | None = None
        self.pulse: Callable[[], object] = lambda: None  # called during the decoding and other long work

    def __repr__(self) -> str:
        calibrated = "calibrated" if self.is_calibrated else "uncalibrated"
        return f"Localizer({type(self.model).__name__} on {self.device}, precision {self.precision}, {calibrated})"

    @property
    def is_calibrated(self) -> bool:
        """True if the clip and each modality that the network is given have a calibration."""
        judged = CALIBRATED if self.source.modality is None else ("clip", self.source.modality)
        return set(self.calibration) >= set(judged)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str = "cpu",
        weights: Mapping[str, str | Path] | None = None,
        precision: str = "32",
        decoding: str | None = None,
        network: type[Any] | str | None = None,
        own_extractors: Sequence[type[Extractor] | str] = (),
    ) -> Localizer:
        """Load a checkpoint that `avloc train` or `avloc convert` wrote (tensors and plain values only; no code is run).

        Args:
            path: the checkpoint.
            device: of the network; features of a clip are computed on the CPU.
            weights: by extractor, the file of its weights, for those that have any.
            precision: see `Localizer`.
            decoding: decoding of boundary maps, instead of the checkpoint's own (`avloc.heads.decode_map`).
            network: the class of the network or its dotted name, if it is your own: a checkpoint never names one to import.
            own_extractors: the same for extractors of your own.

        Raises:
            CheckpointError: if the file is missing, is no checkpoint of avloc, or does not fit its network.
            AvlocError: if a decoding is given for a network without boundary maps.
        """
        from avloc.models.catalog import build_model
        from avloc.models.checkpoint import load_weights, read_checkpoint

        checkpoint = read_checkpoint(path)
        arguments = dict(checkpoint.arguments)
        if decoding is not None:
            if "decoding" not in arguments:
                raise AvlocError(f"{path}: a {checkpoint.model} has no boundary maps; leave out --decoding")
            arguments["decoding"] = decoding
        try:
            model = build_model(checkpoint.model, arguments, network)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}; was it trained by another version? Train it again") from error
        load_weights(model, checkpoint)
        source = build_source(checkpoint, weights, own_extractors)
        localizer = cls(model, source, device, precision, checkpoint.context.calibration, checkpoint.description)
        localizer.file = checkpoint.path
        return localizer

    @cached_property
    def identity(self) -> CheckpointIdentity | None:
        """The checkpoint's identity, which its results record; None for a network that was made in memory.

        The file is hashed when this is first asked for.
        """
        if self.file is None:
            return None
        return identify_checkpoint(self.file, self.description, pulse=self.pulse)

    def localize(
        self,
        clip: str | Path | ClipArrays,
        *,
        keep: int = 100,
        span: Span = WHOLE,
        preview: bool = False,
        info: MediaInfo | None = None,
        progress: LocalizationProgress | None = None,
    ) -> Localization:
        """Find the fake segments of one clip, window by window as it is decoded; a damaged clip gives what decodes.

        Args:
            clip: a file, or a clip in memory.
            keep: at most this many segments per 40 s of the clip.
            span: the part of a file, and the audio track.
            preview: whether to keep thumbnails and the loudness (`Localization.preview`).
            info: the file's header, if you have probed it: it is not opened for that again.
            progress: see `LocalizationProgress`.

        Raises:
            MediaError: if neither audio nor video can be decoded, or the span or track does not exist.
            NotFiniteError: if the network's output is not finite.
            AvlocError: if `keep` is less than 1.
        """
        if isinstance(clip, str):
            clip = Path(clip).expanduser()
        if keep < 1:
            raise AvlocError(f"keep: want at least 1 segment, got {keep}")
        if not isinstance(clip, Path):
            localization = self._localize(clip, keep, span, preview, info, progress)
            return replace(localization, provenance=current_provenance(checkpoint=self.identity))
        info = probe(clip, self.pulse) if info is None else info
        before = clip.stat()
        localization = self._localize(clip, keep, span, preview, info, progress)
        identity = identify_file(clip, duration_s=info.duration_s or None, pulse=self.pulse)
        after = clip.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            localization = replace(localization, problems=(*localization.problems, CHANGED))
        return replace(localization, provenance=current_provenance(checkpoint=self.identity, inputs={CLIP: identity}))

    def _localize(
        self,
        clip: Path | ClipArrays,
        keep: int,
        span: Span,
        preview: bool,
        info: MediaInfo | None,
        progress: LocalizationProgress | None,
    ) -> Localization:
        """Find the fake segments of one clip, without their provenance."""
        observer = Preview(self.source.crop) if preview else None
        request = Request(span, () if observer is None else (observer.format,), observer, info, self.pulse)
        tracks, windows = self.source.open(clip, self.windowed.windowing(), request)
        try:
            localization = self._merge(_with_progress(windows, progress), keep)
        except NotFiniteError as error:
            raise NotFiniteError(f"{clip_name(clip)}: {error}") from error
        # A network may run past the end of its clip: its output there means nothing.
        duration_s = max(t.decoded_s[1] for t in tracks if t.decoded_s is not None)
        by_modality = dict(zip(MODALITIES, tracks, strict=True))
        unjudged = {
            modality: "; ".join(by_modality[modality].problems) or str(by_modality[modality].error or reason)
            for modality, reason in localization.unjudged.items()
        }
        return replace(
            localization,
            file=clip_name(clip),
            duration_s=duration_s,
            decoded_s={modality: track.decoded_s for modality, track in by_modality.items()},
            preview=observer,
            problems=tuple(decoding_problems(tracks, clip_name(clip))),
            unjudged=unjudged,
        )

    def run(
        self, examples: Iterable[Example], *, batch_size: int | None = None, keep: int = 100
    ) -> Iterator[Localization]:
        """Run the network on examples, one localization each, in order.

        Clips longer than 40 s, or than the network takes at once, run in overlapping windows; a proposal counts in
        the window whose inner part holds its middle, so that each place is judged with context on both sides. Short
        clips are batched. If the network's output is not finite, the clip gets a problem instead of scores.
        """
        handlers = Handlers(partial(self._run_batch, keep=keep), partial(self._merge, keep=keep), _failed)
        yield from self.windowed.run(examples, batch_size, handlers)

    def set_decoding(self, decoding: PointDecoding) -> None:
        """Set the decoding of the network's candidates; fits of the calibration that were made on other scores are dropped.

        All settings have an effect on the scores and ends of segments, and so on their fit; those of `PointDecoding.scores_like`
        alone on the best score of a clip.

        Raises:
            AvlocError: if the network gives no candidates.
        """
        network = candidate_network(self.model)
        if decoding != network.decoding:
            kept = CALIBRATED if decoding.scores_like(network.decoding) else ()
            self.calibration = {name: fit for name, fit in self.calibration.items() if name in kept}
        network.decoding = decoding

    def _run_batch(self, examples: Sequence[Example], keep: int) -> list[Localization]:
        decode = partial(self.model.decode, keep=max(keep, FITTED_ROWS))
        return [self._localization(output, keep) for output in self.windowed.infer(examples, decode)]

    def _localization(self, output: NetworkOutput, keep: int) -> Localization:
        """The localization of one clip of a batch; a missing modality is never scored.

        Raises:
            NotFiniteError: if a score is not finite.
        """
        example, proposals = output.example, output.decoded
        numbers = (proposals.scores, proposals.segments, proposals.modality_scores)
        if not all(np.isfinite(each).all() for each in numbers):
            raise NotFiniteError(NOT_FINITE)
        duration_s = example.record.duration_s or output.grid.end_s
        exists = np.array([mask.any() for mask in example.masks])
        proposals = _without_missing(proposals, exists).cut(example.end_s)
        localization = self._calibrated(example, duration_s, proposals, output.grid, output.fakeness)
        return replace(localization, proposals=proposals.take(slice(keep)))

    def _calibrated(
        self,
        example: Example,
        duration_s: float,
        proposals: Proposals,
        grid: TimeGrid,
        fakeness: npt.NDArray[np.float32],
    ) -> Localization:
        unjudged = self._unjudged(fakeness)
        without = CALIBRATED if len(unjudged) == len(MODALITIES) else unjudged
        scores = dict(zip(CALIBRATED, best_scores(proposals).tolist(), strict=True)) | dict.fromkeys(without)
        file = example.record.file
        return Localization(
            file,
            duration_s,
            proposals,
            grid,
            fakeness,
            scores=scores,
            calibration=self.calibration,
            network=self.description,
            unjudged=unjudged,
        )

    def _unjudged(self, fakeness: npt.NDArray[np.float32]) -> dict[str, str]:
        """Return why a modality has no score at any step, by modality."""
        judged = self.source.modality
        alone = f"the network judges the {judged} stream alone"
        return {
            modality: f"no {modality} data" if judged in (None, modality) else alone
            for k, modality in enumerate(MODALITIES)
            if np.isnan(fakeness[:, k]).all()
        }

    def _merge(self, windows: Iterable[Window], keep: int) -> Localization:
        """Run windows one by one; each answers for its inner part, the first and the last also for the clip's ends.

        The evidence is that of at least `FITTED_ROWS` rows of each window, however few are kept.
        """
        rows = max(keep, FITTED_ROWS)
        parts: list[Proposals] = []
        fakeness: list[npt.NDArray[np.float32]] = []
        grid, example, end = None, None, 0  # `end`: steps that are answered
        for window, first, end in self.windowed.answers(windows):
            example = window.example
            localization = self._run_batch([example], rows)[0]
            if window.begin == 0 and window.last:
                return replace(localization, proposals=localization.proposals.take(slice(keep)))
            grid = grid or example.grid
            parts.append(inner_rows(localization.proposals, inner_seconds(window, localization.grid, first, end)))
            fakeness.append(localization.fakeness[first - window.begin : end - window.begin])
        assert grid is not None
        assert example is not None
        whole = TimeGrid(grid.start_s, grid.hop_s, end)
        # Long clips may hold more than `keep` segments: keep as many for every 40 s of them.
        shares = self.windowed.shares(end)
        proposals = join_windows(parts, example.end_s, rows * shares)
        duration_s = example.record.duration_s or whole.end_s
        localization = self._calibrated(example, duration_s, proposals, whole, np.concatenate(fakeness))
        return replace(localization, proposals=proposals.take(slice(keep * shares)))


def _without_missing(proposals: Proposals, exists: npt.NDArray[np.bool_]) -> Proposals:
    """Take the missing modalities (M,) out of the rows: their scores become 0, and each row keeps the share of its score that its
    best modality has left. Rows without them stay as they are: those of `BoundaryTransformer`, which never scores them.
    """
    present = proposals.modality_scores * exists
    if not len(proposals) or np.array_equal(present, proposals.modality_scores):
        return proposals
    best = proposals.modality_scores.max(axis=1)
    share = present.max(axis=1) / np.where(best > 0, best, 1.0)
    return Proposals(proposals.segments, proposals.scores * share, present).best(len(proposals))


def _failed(example: Example, problem: str) -> Localization:
    """The localization of a clip without scores."""
    grid = example.grid
    fakeness = np.full((grid.length, len(MODALITIES)), np.nan, np.float32)
    duration_s = example.record.duration_s or grid.end_s
    nothing = dict.fromkeys(CALIBRATED)
    unjudged = dict.fromkeys(MODALITIES, problem)
    return Localization(
        example.record.file, duration_s, Proposals.empty(), grid, fakeness, (problem,), nothing, unjudged=unjudged
    )


def _with_progress(windows: Iterator[Window], progress: LocalizationProgress | None) -> Iterator[Window]:
    """Pass windows on, and report after each the seconds that are done."""
    for window in windows:
        yield window
        if progress is not None:
            progress(window.example.grid.end_s)
