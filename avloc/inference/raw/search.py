"""Raw rows + labels > the settings of decoding that score best, and their gain by cross-validation over sources.

One setting after the other is tried with the others as they are, and the best value kept, until nothing changes. This is done
once on all clips, for the result, and once without each fold of sources, for the gain: no clip has a part in the choice of the
settings that it is judged under.

Legend: F folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from avloc.errors import AvlocError
from avloc.evaluation.bootstrap import RESAMPLES, Interval, fold_differences
from avloc.evaluation.evidence.folds import FOLDS, source_folds
from avloc.evaluation.fusion.fold_scores import FoldScores, default_objective, fold_scores
from avloc.evaluation.inputs.names import describe_mismatch
from avloc.evaluation.matching import IntArray, PredictionRows
from avloc.evaluation.predictions import Predictions, align, iter_clips
from avloc.evaluation.protocols import Protocol
from avloc.evaluation.scoring import Evaluation, evaluate_aligned
from avloc.evaluation.truth import Truth
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw.decoding import RawDecoder
from avloc.inference.raw.raw_file import RawFile, is_validation
from avloc.inference.raw.tuned_file import TunedSettings

ROUNDS = 2
TRIED: dict[str, tuple[float, ...]] = {
    "sigma": (0.1, 0.2, 0.35, 0.5, 0.75, 1.0),
    "boundary_power": (0.0, 0.125, 0.25, 0.5, 1.0),
    "voting_iou": (0.0, 0.7, 0.8, 0.9, 0.95),
    "video_gate": (0.0, 0.25, 0.5, 1.0),
    "before_nms": (100, 300, 600),
}
TRIED_OF_TWO_BRANCHES: dict[str, tuple[float, ...]] = {"merge_iou": (0.5, 0.7, 0.8, 0.9), "merge_hull": (False, True)}
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Tuning:
    """The result of a search.

    Attributes:
        tuned: the settings that score best on all clips.
        untuned: the checkpoint's settings, and the rows that its run kept.
        fold_tuned: the settings that are best without each fold.
        objective: name of the score.
        untuned_scores: strict scores of the checkpoint's settings, mean over folds, by name (`ap@0.5`, …).
        gains: for each score, tuned minus untuned, mean over folds under `fold_tuned`.
        tried: number of settings.
        sources: number of source videos.
    """

    tuned: TunedSettings
    untuned: TunedSettings
    fold_tuned: tuple[TunedSettings, ...]
    objective: str
    untuned_scores: Mapping[str, float]
    gains: Mapping[str, Interval]
    tried: int
    sources: int


def check_validation(raw: RawFile) -> None:
    """Check that raw rows are of a validation split.

    Raises:
        AvlocError: if they are of another: settings tuned on a test split would make its scores worthless.
    """
    settings = raw.settings
    if not is_validation(settings.split, settings.validation):
        has_validation = is_validation(settings.validation, settings.validation)
        cure = (
            f": avloc predict --raw --split {settings.validation}" if has_validation else ", which this dataset lacks"
        )
        raise AvlocError(
            f"{raw.path}: rows of the split {settings.split!r} of {settings.dataset}; settings are tuned on validation rows "
            f"alone{cure}"
        )


def tune(
    raw: RawFile,
    truth: Truth,
    protocol: Protocol,
    *,
    objective: str | None = None,
    clips: int | None = None,
    folds: int = FOLDS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    workers: int = 0,
    progress: Progress = lambda settings: None,
) -> Tuning:
    """Search the settings of decoding that score best.

    Args:
        raw: rows of a validation split.
        truth: its labels. Clips without raw rows count as not found, as in `avloc evaluate`.
        protocol: thresholds and counts.
        objective: the score to raise, see `objectives`; None: the protocol's combined score, or mean AP if it has none.
        clips: search on about this many clips, drawn by whole sources; None: on all.
        folds: number of folds of source videos.
        resamples: number of draws of the bootstrap.
        seed: seed of the draw, of the folds and of the bootstrap.
        workers: processes that decode; 0 decodes in this one.
        progress: called with the number of settings done since the last call.

    Raises:
        AvlocError: if the rows are of no validation split or of other clips, there is no such objective, or fake or real
            clips come from fewer than two sources.
    """
    check_validation(raw)
    if clips is not None:
        truth = draw_clips(truth, clips, seed)
    untuned = TunedSettings(raw.settings.decoding, raw.settings.keep)
    objective = objective or default_objective(protocol)
    fold = source_folds(truth.source, np.diff(truth.labels.offsets) > 0, folds=folds, seed=seed)
    tried = _tried_values(raw, protocol)
    with RawDecoder(raw, _labelled_names(raw, truth), workers=workers) as decoder:
        search = _Search(decoder, truth, protocol, objective, fold, progress)
        best = search.climb(untuned, tried, lambda scores: scores.whole)
        chosen = tuple(search.climb(untuned, tried, partial(_score_without, k)) for k in range(int(fold.max()) + 1))
        pairs = search.fold_evaluations(untuned, chosen)
    gains = fold_differences(pairs, resamples=resamples, seed=seed)
    sources = [len(np.unique(fold_before.truth.source)) for _, fold_before in pairs]
    named = [_named_scores(fold_before) for _, fold_before in pairs]
    untuned_scores = {name: float(np.average([scores[name] for scores in named], weights=sources)) for name in gains}
    return Tuning(best, untuned, chosen, objective, untuned_scores, gains, len(search.scores), sum(sources))


def draw_clips(truth: Truth, clips: int, seed: int) -> Truth:
    """Draw sources until they have at least this many clips, and return the labels of these."""
    if clips >= len(truth):
        return truth
    source = np.unique(truth.source, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(int(source.max()) + 1)
    drawn = np.searchsorted(np.cumsum(np.bincount(source)[order]), clips) + 1
    return truth.select(np.isin(source, order[:drawn]))


def _labelled_names(raw: RawFile, truth: Truth) -> dict[str, str]:
    """Return the names of the labelled clips of a file, by their names there.

    Raises:
        AvlocError: if no clip is labelled.
    """
    files = raw.files()
    named = Predictions.from_dict(dict.fromkeys(files, np.zeros((0, 3)))).renamed(truth.files)
    labelled = set(truth.files)
    names = {file: name for file, name in zip(files, named.files, strict=True) if name in labelled}
    if not names:
        raise AvlocError(describe_mismatch(raw.path, files, truth.files, "the labels", named.notes))
    return names


def _tried_values(raw: RawFile, protocol: Protocol) -> dict[str, tuple[float, ...]]:
    """Return the values that are tried, by setting; a setting without effect is left out."""
    clip = next((clip for _, clip in raw if clip is not None), None)
    branches = 1 if clip is None else len(clip.windows[0].candidates.branches)
    keeps = {raw.settings.keep, max(protocol.ar_counts)}
    return TRIED | (TRIED_OF_TWO_BRANCHES if branches > 1 else {}) | {"keep": tuple(sorted(keeps))}


class _Search:
    """Decoded and scored settings, each once."""

    def __init__(
        self,
        decoder: RawDecoder,
        truth: Truth,
        protocol: Protocol,
        objective: str,
        fold: IntArray,
        progress: Progress,
    ) -> None:
        self.decoder, self.truth, self.protocol, self.objective = decoder, truth, protocol, objective
        self.fold, self.progress = fold, progress
        self.scores: dict[TunedSettings, FoldScores] = {}

    def climb(
        self, start: TunedSettings, tried: Mapping[str, Sequence[float]], value: Callable[[FoldScores], float]
    ) -> TunedSettings:
        """Improve one setting after the other; equal scores change nothing."""
        best = start
        for _ in range(ROUNDS):
            before = best
            for name, values in tried.items():
                for candidate in (_with_value(best, name, each) for each in values):
                    if value(self.score(candidate)) > value(self.score(best)):
                        best = candidate
            if best == before:
                break
        return best

    def score(self, tuned: TunedSettings) -> FoldScores:
        """Score settings on all folds."""
        if tuned not in self.scores:
            self.scores[tuned] = fold_scores(self.rows(tuned), self.truth, self.protocol, self.fold, self.objective)
            self.progress(1)
        return self.scores[tuned]

    def rows(self, tuned: TunedSettings) -> PredictionRows:
        """Decode all clips, in the order of the labels."""
        return align(Predictions.from_dict(self.decoder.rows(tuned)), self.truth.files).rows

    def fold_evaluations(
        self, untuned: TunedSettings, chosen: Sequence[TunedSettings]
    ) -> list[tuple[Evaluation, Evaluation]]:
        """Evaluate each fold under the settings that were chosen without it, and under the checkpoint's."""
        evaluations: dict[tuple[int, TunedSettings], Evaluation] = {}
        for tuned in dict.fromkeys((untuned, *chosen)):
            rows = self.rows(tuned)
            for k, best in enumerate(chosen):
                if tuned in (untuned, best):
                    evaluations[k, tuned] = self._evaluate_fold(rows, k)
        return [(evaluations[k, best], evaluations[k, untuned]) for k, best in enumerate(chosen)]

    def _evaluate_fold(self, rows: PredictionRows, k: int) -> Evaluation:
        mask = self.fold == k
        truth = self.truth.select(mask)
        clips = {
            file: clip for (file, clip), keep in zip(iter_clips(self.truth.files, rows), mask, strict=True) if keep
        }
        return evaluate_aligned(
            truth, align(Predictions.from_dict(clips), truth.files), self.protocol, modes=("strict",)
        )


def _score_without(fold: int, scores: FoldScores) -> float:
    return float(scores.others[fold])


def _with_value(tuned: TunedSettings, name: str, value: float) -> TunedSettings:
    if name == "keep":
        return replace(tuned, keep=int(value))
    return replace(tuned, decoding=PointDecoding.from_dict({**tuned.decoding.to_dict(), name: value}))


def _named_scores(evaluation: Evaluation) -> dict[str, float]:
    """Return the strict scores by the names of `bootstrap_intervals`."""
    scores = evaluation.strict
    named = {f"ap@{iou:g}": value for iou, value in scores.ap.items()}
    named |= {f"ar@{count}": value for count, value in scores.ar.items()}
    return named | ({} if scores.score is None else {"score": scores.score})
