"""Predictions and ground truth, from files or memory > `Evaluation`: a protocol's table in both modes, whole and by modality.

Legend: V clips, N labels of all clips.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.evaluation.error_analysis import BACKGROUND_IOU
from avloc.evaluation.hits import Hits, Scores, find_hits
from avloc.evaluation.inputs.names import describe_mismatch
from avloc.evaluation.inputs.plausibility import implausible_rows
from avloc.evaluation.matching import MODES, Mode
from avloc.evaluation.metrics import challenge_score
from avloc.evaluation.predictions import Alignment, Predictions, align, read_predictions
from avloc.evaluation.protocols import Protocol, get_protocol
from avloc.evaluation.row_supply import RowSupply, measure_row_supply
from avloc.evaluation.truth import Truth, read_truth

RowsByClip: TypeAlias = Mapping[str, npt.ArrayLike]
FORGED_MODALITIES = ("audio", "visual", "both")
SUBSETS = {"full": (), "visual": ("audio",), "audio": ("visual",)}
"""For each subset, the modalities whose fakes are left out (LAV-DF's subsets); real clips stay in all."""
UNITS = ("seconds", "frames")


class EvaluationWarning(UserWarning):
    """A prediction file that likely means something else than it says, or whose clips had to be matched by parts of names."""


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Scores of a group of clips.

    Attributes:
        videos: number of clips.
        segments: number of their fake segments.
        by_mode: scores for each mode that was computed.

    >>> GroupScores(4, 2, {"strict": Scores({0.5: 1.0}, {10: 0.5})}).strict.ap
    {0.5: 1.0}
    """

    videos: int
    segments: int
    by_mode: dict[Mode, Scores]

    @property
    def official(self) -> Scores:
        """Scores as the published evaluators compute them; an AvlocError if that mode was not computed."""
        return self._mode("official")

    @property
    def strict(self) -> Scores:
        """Correct scores; an AvlocError if that mode was not computed."""
        return self._mode("strict")

    def _mode(self, mode: Mode) -> Scores:
        if mode not in self.by_mode:
            raise AvlocError(f"no {mode} scores: only {', '.join(self.by_mode)} was computed, see the argument modes")
        return self.by_mode[mode]

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        scores: dict[str, object] = {mode: scores.to_dict() for mode, scores in self.by_mode.items()}
        return {"videos": self.videos, "segments": self.segments, **scores}


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """A protocol's table of scores.

    Attributes:
        protocol: name of the protocol.
        subset: `full`, `visual` or `audio`.
        overall: scores of all clips.
        missing_files: labelled clips without predictions; they count as not found.
        empty_files: clips with an empty list.
        extra_files: predicted clips without a label; they are left out.
        by_modality: for each forged modality, scores of its clips together with all real ones.
        rows: rows per clip, and the recall that more rows could reach; None without strict scores.
    """

    protocol: str
    subset: str
    overall: GroupScores
    missing_files: int
    empty_files: int
    extra_files: int
    by_modality: dict[str, GroupScores]
    rows: RowSupply | None = None

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: text keys, null for NaN."""
        rows = {} if self.rows is None else {"rows": self.rows.to_dict()}
        return {
            "protocol": self.protocol,
            "subset": self.subset,
            **self.overall.to_dict(),
            "missing_files": self.missing_files,
            "empty_files": self.empty_files,
            "extra_files": self.extra_files,
            "by_modality": {name: group.to_dict() for name, group in self.by_modality.items()},
            **rows,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """Result of `evaluate`.

    `result.strict.ap[0.5]`, `result.official.ar[100]` and `result.strict.score` are numbers in [0, 1]; NaN where no label
    exists. `result.by_modality["audio"].strict` has the same for one modality, `result.table` the numbers of clips.

    Attributes:
        protocol: thresholds and counts.
        table: the scores.
        truth: the labelled clips.
        aligned: their rows, in the same order.
        hits: for each mode, the matches of rows and labels; clips are grouped by the codes of `truth.modality`. With details,
            pairs are kept down to the lowest IoU of a near miss in the error analysis.
        warnings: signs that the predictions mean something else than they say, such as frames instead of seconds, and notes on
            how their clips were matched; each one line.

    >>> result = evaluate({"a.mp4": [[0.9, 1.0, 1.5]]}, {"a.mp4": [[1.0, 1.6]], "b.mp4": []})
    >>> result.strict.ar[10], result.table.missing_files
    (0.7, 1)
    """

    protocol: Protocol
    table: ScoreTable
    truth: Truth
    aligned: Alignment
    hits: dict[Mode, Hits]
    warnings: tuple[str, ...] = ()

    @property
    def official(self) -> Scores:
        """Scores of all clips as the published evaluators compute them."""
        return self.table.overall.official

    @property
    def strict(self) -> Scores:
        """Correct scores of all clips."""
        return self.table.overall.strict

    @property
    def by_modality(self) -> dict[str, GroupScores]:
        """For each forged modality, scores of its clips together with all real ones."""
        return self.table.by_modality

    def strict_hits(self) -> Hits:
        """Return the strict hits with their near misses, the basis of insight, intervals and reports.

        They are matched now if only official was scored, or without details.
        """
        if "strict" not in self.hits or self.hits["strict"].min_iou > BACKGROUND_IOU:
            self.hits.update(_match(self.truth, self.aligned, self.protocol, ("strict",), near_misses=True))
        return self.hits["strict"]

    def to_dict(self, *, insight: bool = False) -> dict[str, object]:
        """Convert to the JSON of `avloc evaluate --json`.

        Args:
            insight: include the key `insight` with breakdowns, errors and calibration (`--insight`).
        """
        from avloc.evaluation.reporting.insight import compute_insight

        return self.table.to_dict() | ({"insight": compute_insight(self).to_dict()} if insight else {})

    def __repr__(self) -> str:
        texts = [f"{self.table.overall.videos} clips"]
        for mode, scores in self.table.overall.by_mode.items():
            (iou, ap), (count, ar) = next(iter(scores.ap.items())), next(iter(scores.ar.items()))
            texts.append(f"{mode} AP@{iou:g} {100 * ap:.2f} AR@{count} {100 * ar:.2f}")
        return f"Evaluation({self.protocol.name}: {', '.join(texts)})"


def evaluate(
    predictions: str | os.PathLike[str] | RowsByClip,
    truth: str | os.PathLike[str] | RowsByClip | Truth,
    protocol: str | Protocol = "lavdf",
    *,
    modes: Mode | Sequence[Mode] = MODES,
    split: str | None = None,
    subset: str = "full",
    unit: str = "seconds",
    details: bool = True,
) -> Evaluation:
    """Score predictions against ground truth.

    A clip of the truth without predictions counts as not found. Predicted clips without a label are left out. The numbers
    of both are in `result.table`. Names that differ from the truth's in folders or in the suffix are matched. Predictions
    that likely mean something else, such as frames instead of seconds, raise an `EvaluationWarning`; see `result.warnings`.

    Args:
        predictions: a prediction file (`~` is expanded) in a form of `read_predictions`, or for each clip its rows (n, 3) of
            score, start, end.
        truth: the dataset's metadata file, or for each clip its fake segments (n, 2) of start, end in seconds; `[]` for a
            real clip. Or a `Truth`.
        protocol: name of a protocol (`lavdf`, `avdeepfake1m`, `avdeepfake1m++`), a YAML file, or a `Protocol`.
        modes: `official`, `strict`, or both.
        split: score only clips of this split of the metadata file.
        subset: `full`, `visual` (without clips forged in audio only), or `audio` (without clips forged in video only).
        unit: unit of the predictions: `seconds`, or `frames` (25 per second, as LAV-DF's published evaluator reads them).
        details: prepare breakdowns, errors and intervals: read generators and sources from the metadata file, see `read_truth`,
            and keep near misses when rows are matched. Without it, scores come sooner; near misses are matched on demand.

    Returns:
        The scores, and all that reports need.

    Raises:
        AvlocError: if a file or a value is malformed, or no prediction belongs to a labelled clip; names clip and row.

    >>> result = evaluate({"a.mp4": [[0.9, 1.0, 1.5]], "b.mp4": []}, {"a.mp4": [[1.0, 1.6]], "b.mp4": []}, modes=["strict"])
    >>> result
    Evaluation(lavdf: 2 clips, strict AP@0.5 100.00 AR@100 70.00)
    >>> result.strict.ap[0.95]
    0.0
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    if not isinstance(protocol, Protocol):
        raise AvlocError(f"protocol: want a name or a Protocol, got {type(protocol).__name__}")
    if unit not in UNITS:
        raise AvlocError(f"the unit must be {' or '.join(UNITS)}, got {unit!r}")
    labelled, truth_name = _load_truth(truth, protocol, split, details=details)
    labelled = select_subset(labelled, subset, truth_name)
    loaded, rows_name = _load_predictions(predictions)
    loaded = loaded.renamed(labelled.files)
    aligned = align(loaded, labelled.files, frames_per_second=DEFAULT_FPS if unit == "frames" else None)
    if aligned.missing == len(labelled):
        raise AvlocError(describe_mismatch(rows_name, loaded.files, labelled.files, truth_name, loaded.notes))
    result = evaluate_aligned(labelled, aligned, protocol, modes=_checked_modes(modes), subset=subset, details=details)
    labels = None if _finds_any(result.table.overall) else labelled.labels
    signs = implausible_rows(aligned.rows, labelled.duration_s, labels, unit=unit)
    result = dataclasses.replace(result, warnings=(*loaded.notes, *signs))
    for text in result.warnings:
        warnings.warn(f"{rows_name}: {text}", EvaluationWarning, stacklevel=2)
    return result


def _finds_any(group: GroupScores) -> bool:
    return any(recall > 0 for scores in group.by_mode.values() for recall in scores.ar.values())


def _load_predictions(predictions: str | os.PathLike[str] | RowsByClip) -> tuple[Predictions, str]:
    """Return the predictions, and their name in errors."""
    if isinstance(predictions, Mapping):
        return Predictions.from_dict(predictions), "predictions"
    if not isinstance(predictions, str | os.PathLike):
        raise AvlocError(f"predictions: want a file or an object of clip: rows, got {type(predictions).__name__}")
    return read_predictions(predictions), str(Path(predictions).expanduser())


def _checked_modes(modes: Mode | Sequence[Mode]) -> Sequence[Mode]:
    """Return modes as a sequence; a single one may come as text."""
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if not modes or not set(modes) <= set(MODES):
        raise AvlocError(f"modes must be {' or '.join(MODES)} or both, got {', '.join(map(repr, modes)) or 'none'}")
    return modes


def _load_truth(
    truth: str | os.PathLike[str] | RowsByClip | Truth, protocol: Protocol, split: str | None, *, details: bool
) -> tuple[Truth, str]:
    """Return the labelled clips, and their name in errors."""
    if isinstance(truth, Truth):
        if split is not None:
            raise AvlocError(
                f"a split needs a metadata file as truth, got split {split!r} and a Truth; select the clips"
            )
        return truth, "the truth"
    if not isinstance(truth, Mapping | str | os.PathLike):
        raise AvlocError(f"truth: want a metadata file or an object of clip: segments, got {type(truth).__name__}")
    if not isinstance(truth, Mapping):
        return read_truth(truth, protocol.segments_field, split, details=details), str(Path(truth).expanduser())
    if split is not None:
        raise AvlocError(f"a split needs a metadata file as truth, got split {split!r} and segments by clip")
    return Truth.from_dict(truth), "the truth"


def select_subset(truth: Truth, subset: str, metadata: str | Path) -> Truth:
    """Select the clips of a subset.

    Raises:
        AvlocError: if the subset is unknown, or the metadata do not say which modality of a clip is forged.
    """
    if subset not in SUBSETS:
        raise AvlocError(f"the subset must be {', '.join(SUBSETS)}, got {subset!r}")
    if subset == "full":
        return truth
    if "" in truth.modality.names:
        clip = truth.files[int(np.argmax(truth.modality.isin("")))]
        raise AvlocError(f"{metadata}: does not say which modality of {clip} is forged, so there is no subset {subset}")
    return truth.select(~truth.modality.isin(*SUBSETS[subset]))


def evaluate_aligned(
    truth: Truth,
    aligned: Alignment,
    protocol: Protocol,
    *,
    modes: Sequence[Mode] = MODES,
    subset: str = "full",
    details: bool = True,
) -> Evaluation:
    """Score rows that are in the order of the labelled clips; arguments as of `evaluate`."""
    hits = _match(truth, aligned, protocol, modes, near_misses=details)
    names = truth.modality.names
    present = {names[code] for code in np.unique(truth.modality.codes)}
    table = ScoreTable(
        protocol=protocol.name,
        subset=subset,
        overall=_score_group(truth, hits, protocol, names),
        missing_files=aligned.missing,
        empty_files=aligned.empty,
        extra_files=aligned.extra,
        by_modality={
            name: _score_group(truth, hits, protocol, (name, "real")) for name in FORGED_MODALITIES if name in present
        },
        rows=measure_row_supply(aligned.rows, truth.labels, hits["strict"], max(protocol.ar_counts))
        if "strict" in hits
        else None,
    )
    return Evaluation(protocol, table, truth, aligned, hits)


def _match(
    truth: Truth, aligned: Alignment, protocol: Protocol, modes: Sequence[Mode], *, near_misses: bool
) -> dict[Mode, Hits]:
    return find_hits(
        aligned.rows,
        truth.labels,
        modes=modes,
        ap_ious=protocol.ap_ious,
        ar_counts=protocol.ar_counts,
        group=truth.modality.codes.astype(np.int64),
        min_iou=BACKGROUND_IOU if near_misses else 1.0,
        official_segments=aligned.official_segments,
    )


def _score_group(truth: Truth, hits: dict[Mode, Hits], protocol: Protocol, modalities: Sequence[str]) -> GroupScores:
    """Score the clips of some modalities."""
    mask = truth.modality.isin(*modalities)
    groups = np.unique(truth.modality.codes[mask]).tolist()
    counts = np.diff(truth.labels.offsets)
    by_mode = {}
    for mode, mode_hits in hits.items():
        scores = mode_hits.scores(protocol.ap_ious, groups)
        by_mode[mode] = dataclasses.replace(scores, score=challenge_score(scores) if protocol.has_score else None)
    return GroupScores(int(mask.sum()), int(counts[mask].sum()), by_mode)
