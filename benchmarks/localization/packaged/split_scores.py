"""A network on a labelled split > its rows and clip scores > operating point, calibration and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from packaged.facts import Figures
from packaged.trainings import Data
from real_footage.alarms import ALARMS_PER_MINUTE, Setting, choose_setting, count_alarms

from avloc.core.calibration import PlattFit, best_scores
from avloc.core.naming import FoundSegments, find_segments
from avloc.core.proposals import Proposals
from avloc.core.records import VideoRecord
from avloc.core.timeline import segment_array
from avloc.datasets import RecordTable, TableBuilder, read_records
from avloc.evaluation import TemporalAveragePrecision, Truth, score_detection
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.inference import Localizer
from avloc.io.files import read_json
from avloc.training.clip_scores import ClipScores

IOUS, ROWS = (0.5, 0.75, 0.9, 0.95), (10,)
THRESHOLD_DIGITS = 2
NO_SEGMENTS = find_segments(Proposals.empty(), VideoRecord("", ""))


class SplitScores(NamedTuple):
    """A network's output on a split; a clip counts as forged if it is forged in the network's streams.

    Attributes:
        rows: by clip, (N, 3) score, start and end in seconds, by falling score.
        segments: by clip, its fake segments (n, 2) in seconds.
        clip_scores: by clip, the best score.
        duration_s: by clip, in seconds.
        calibration: fits of clips, modalities and segments to these labels.
        right: the right rows of all clips.
    """

    rows: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    segments: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    clip_scores: dict[str, float]
    duration_s: dict[str, float]
    calibration: dict[str, PlattFit]
    right: FoundSegments = NO_SEGMENTS

    @property
    def truth(self) -> Truth:
        """The labels, with the clips' lengths."""
        return replace(Truth.from_dict(self.segments), duration_s=np.array([*self.duration_s.values()]))


def read_labels(data: Data, split: str) -> RecordTable:
    """Read a split with its labels; a set of the benchmark keeps those of the test split apart, in ROOT/truth.

    Raises:
        AvlocError: if they are hidden.
    """
    records: RecordTable = read_records(data.dataset, data.root, split)
    if records.labelled.all():
        return records
    builder = TableBuilder()
    for entry in read_json(data.root / "truth" / f"{split}_metadata.json", f"hidden labels of the split {split}"):
        builder.add(
            f"{split}/{entry['file']}", split, audio=entry["audio_fake_segments"], visual=entry["visual_fake_segments"]
        )
    return builder.build()


def score_split(localizer: Localizer, data: Data, split: str) -> SplitScores:
    """Run a network on a split."""
    dataset = localizer.source.stored(read_labels(data, split), FeatureStore(data.store), allow_missing=False)
    scores, clip_scores = SplitScores({}, {}, {}, {}, {}), ClipScores()
    right = [NO_SEGMENTS]
    localizations = localizer.run(dataset[k] for k in range(len(dataset)))
    for record, end_s, localization in zip(dataset.records, dataset.ends_s.tolist(), localizations, strict=True):
        proposals = localization.proposals
        scores.rows[record.file] = np.column_stack([proposals.scores, proposals.segments])
        scores.segments[record.file] = segment_array(record.with_joined_segments().segments)
        scores.clip_scores[record.file] = float(best_scores(proposals)[0])
        scores.duration_s[record.file] = end_s
        clip_scores.update(proposals, record)
        right.append(find_segments(proposals, record))
    scores.calibration.update(clip_scores.compute().calibration)
    return scores._replace(right=FoundSegments(*map(np.concatenate, zip(*right, strict=True))))


def by_face(scores: SplitScores, details: Mapping[str, Mapping[str, Any]]) -> dict[str, SplitScores]:
    """The clips with drawn faces and those with real ones, if the split has both.

    Args:
        scores: of the split.
        details: the benchmark's details of each clip.
    """
    drawn = {file for file in scores.rows if not details.get(file, {}).get("face")}
    parts = {"drawn faces": drawn, "real faces": scores.rows.keys() - drawn}
    return {name: take(scores, files) for name, files in parts.items()} if all(parts.values()) else {}


def take(scores: SplitScores, files: Set[str]) -> SplitScores:
    """The scores of some clips, in their order, with the calibration of all."""
    parts = ({file: each[file] for file in scores.rows if file in files} for each in scores[:4])
    return SplitScores(*parts, scores.calibration)


def choose_threshold(scores: SplitScores, per_minute: float = ALARMS_PER_MINUTE) -> Setting:
    """Choose the operating point, rounded up so that it can be said in `THRESHOLD_DIGITS` digits."""
    setting = choose_setting(scores.rows, scores.truth, per_minute)
    scale = 10**THRESHOLD_DIGITS
    threshold = min(1.0, math.ceil(setting.threshold * scale) / scale)
    real = [file for file, segments in scores.segments.items() if not len(segments)]
    return setting._replace(
        threshold=threshold, alarms=sum(count_alarms(scores.rows[file], threshold) for file in real)
    )


def figures(scores: SplitScores, threshold: float) -> Figures:
    """The figures of a split: strict AP and AR, clip AUC, and the clips that the operating point flags, rightly and wrongly."""
    metric = TemporalAveragePrecision(ap_ious=IOUS, ar_counts=ROWS)
    for file, rows in scores.rows.items():
        metric.update([(rows[:, 0], rows[:, 1:])], [scores.segments[file]])
    is_fake = np.array([len(segments) > 0 for segments in scores.segments.values()])
    clip_scores = np.array([*scores.clip_scores.values()])
    alarms = np.array([count_alarms(rows, threshold) for rows in scores.rows.values()])
    minutes = np.array([*scores.duration_s.values()]) / 60
    real_minutes = float(minutes[~is_fake].sum())
    return {
        "clips": len(is_fake),
        "forged_clips": int(is_fake.sum()),
        "segments": int(sum(map(len, scores.segments.values()))),
        "real_minutes": real_minutes,
        **{name: float(value) for name, value in metric.compute().items()},
        "clip_auc": score_detection(clip_scores, is_fake).auc if 0 < is_fake.sum() < len(is_fake) else None,
        "forged_clips_flagged": int((alarms[is_fake] > 0).sum()),
        "real_clips_flagged": int((alarms[~is_fake] > 0).sum()),
        "false_alarms_per_minute": float(alarms[~is_fake].sum()) / real_minutes if real_minutes else None,
    }
