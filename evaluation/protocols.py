"""Protocols: metadata + predictions > the published table, in both modes, as a whole and by modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.datasets.entries import field, read_entries, segments_field
from avloc.errors import AvlocError
from avloc.evaluation.metrics import MODES, Labels, Mode, Rows, Scores, challenge_score, evaluate
from avloc.evaluation.predictions import Alignment, align, read_predictions
from avloc.timeline import DEFAULT_FPS, Segment

MODALITY_OF_TYPE = {
    "real": "real", "audio_modified": "audio", "visual_modified": "visual", "both_modified": "both",
    "both-modified": "both",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a dataset's table reports.

    Attributes:
        name: on the command line.
        segments_field: the metadata's list of fake segments.
        ap_ious: thresholds of AP.
        ar_counts: rows per video of AR.
        has_score: whether the benchmark defines a combined score.
    """

    name: str
    segments_field: str
    ap_ious: tuple[float, ...]
    ar_counts: tuple[int, ...]
    has_score: bool


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("lavdf", "fake_periods", (0.5, 0.75, 0.95), (100, 50, 20, 10), has_score=False),
        Protocol("avdeepfake1m", "fake_segments", (0.5, 0.75, 0.9, 0.95), (50, 30, 20, 10, 5), has_score=True),
    )
}


@dataclass(frozen=True, slots=True)
class Truth:
    """The labelled clips of a metadata file: files, segments each, and which modality is forged (`""`: not said)."""

    files: list[str]
    segments: list[tuple[Segment, ...]]
    modalities: list[str]

    def labels(self) -> Labels:
        """As arrays for the metrics."""
        return Labels.of([np.array(s, dtype=np.float64).reshape(-1, 2) for s in self.segments])

    def chosen(self, index: Sequence[int]) -> Truth:
        """Some of the clips."""
        return Truth(
            [self.files[k] for k in index], [self.segments[k] for k in index], [self.modalities[k] for k in index]
        )


def protocol_named(name: str) -> Protocol:
    """A protocol by name; an AvlocError names those there are."""
    if name not in PROTOCOLS:
        raise AvlocError(f"unknown protocol {name!r}, there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def read_truth(path: Path, protocol: Protocol, split: str | None = None) -> Truth:
    """The labelled clips of a dataset's own metadata; only `file` and the segments are needed.

    Args:
        path: the metadata file.
        protocol: whose fields it has.
        split: only the clips of this split, where the metadata says (LAV-DF's holds all three).
    """
    truth = Truth([], [], [])
    for number, entry in enumerate(read_entries(path)):
        if split is not None and entry.get("split", split) != split:
            continue
        truth.files.append(field(entry, "file", str, path, number))
        truth.segments.append(segments_field(entry, protocol.segments_field, path, number))
        truth.modalities.append(_modality(entry))
    if not truth.files:
        raise AvlocError(f"{path}: no clips" + (f" of the split {split}" if split else ""))
    if len(set(truth.files)) < len(truth.files):
        twice = next(f for k, f in enumerate(truth.files) if f in truth.files[:k])
        raise AvlocError(f"{path}: the clip {twice} is there twice")
    return truth


def _modality(entry: dict[str, Any]) -> str:
    if "modify_type" in entry:
        return MODALITY_OF_TYPE.get(str(entry["modify_type"]), "")
    if "modify_audio" in entry and "modify_video" in entry:
        kinds = {(False, False): "real", (True, False): "audio", (False, True): "visual", (True, True): "both"}
        return kinds[bool(entry["modify_audio"]), bool(entry["modify_video"])]
    return ""


def score_files(
    predictions: Path,
    metadata: Path,
    protocol: Protocol,
    *,
    modes: Sequence[Mode] = MODES,
    split: str | None = None,
    unit: str = "seconds",
) -> tuple[dict[str, Any], Truth, Alignment]:
    """Score a prediction file: the table as `metrics.json` has it, the truth, and the aligned rows.

    Args:
        predictions: the file.
        metadata: the dataset's own file.
        protocol: what to report.
        modes: `official`, `strict`, or both.
        split: only clips of this split.
        unit: `seconds`, or `frames` (25 per second, as LAV-DF's reference reads them).

    Raises:
        AvlocError: if a file is not as it should be, or no prediction is of a labelled clip.
    """
    if unit not in ("seconds", "frames"):
        raise AvlocError(f"the unit must be seconds or frames, got {unit!r}")
    truth = read_truth(metadata, protocol, split)
    aligned = align(
        read_predictions(predictions), truth.files, seconds_per_unit=1 / DEFAULT_FPS if unit == "frames" else 1.0
    )
    if aligned.missing == len(truth.files):
        raise AvlocError(f"{predictions}: none of its clips is in {metadata}; do the file names match?")
    table = {
        "protocol": protocol.name,
        **_table(aligned.rows, truth, protocol, modes),
        "missing_files": aligned.missing, "empty_files": aligned.empty, "extra_files": aligned.extra,
        "by_modality": by_modality(aligned.rows, truth, protocol, modes),
    }  # fmt: skip
    return table, truth, aligned


def by_modality(rows: Rows, truth: Truth, protocol: Protocol, modes: Sequence[Mode]) -> dict[str, Any]:
    """The table for each forged modality on its own: its clips, and the real ones, which stay in all."""
    tables = {}
    for kind in ("audio", "visual", "both"):
        index = [k for k, m in enumerate(truth.modalities) if m in (kind, "real")]
        if any(truth.modalities[k] == kind for k in index):
            tables[kind] = _table(select_videos(rows, index), truth.chosen(index), protocol, modes)
    return tables


def select_videos(rows: Rows, index: Sequence[int]) -> Rows:
    """The rows of some of the videos."""
    counts = np.diff(rows.offsets)[list(index)] if len(index) else np.zeros(0, np.int64)
    at = np.concatenate([np.zeros(0, np.int64), *(np.arange(rows.offsets[k], rows.offsets[k + 1]) for k in index)])
    return Rows(rows.scores[at], rows.segments[at], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _table(rows: Rows, truth: Truth, protocol: Protocol, modes: Sequence[Mode]) -> dict[str, Any]:
    labels = truth.labels()
    table: dict[str, Any] = {"videos": len(truth.files), "segments": len(labels.segments)}
    for mode in modes:
        scores = evaluate(rows, labels, mode=mode, ap_ious=protocol.ap_ious, ar_counts=protocol.ar_counts)
        table[mode] = _as_json(scores, protocol)
    return table


def _as_json(scores: Scores, protocol: Protocol) -> dict[str, Any]:
    def value(x: float) -> float | None:
        return None if np.isnan(x) else x

    return {
        "ap": {f"{k:g}": value(v) for k, v in scores.ap.items()},
        "ar": {str(k): value(v) for k, v in scores.ar.items()},
        "score": value(challenge_score(scores)) if protocol.has_score else None,
    }
