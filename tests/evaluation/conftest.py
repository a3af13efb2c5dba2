from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn
from avloc.evaluation.bootstrap import bootstrap_intervals
from avloc.evaluation.matching import Labels, PredictionRows
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS
from avloc.evaluation.reporting.insight import compute_insight
from avloc.evaluation.reporting.results import Comparison, EvaluationReport
from avloc.evaluation.scoring import evaluate_aligned
from avloc.evaluation.truth import Truth

# (file, modality, source, seconds, labels, rows)
SMALL_SET = [
    ("a.mp4", "audio", 0, 4.0, [(1.0, 1.5)], [(0.9, 1.0, 1.5), (0.4, 3.0, 3.2)]),
    ("b.mp4", "real", 0, 4.0, [], [(0.3, 0.0, 1.0)]),
    ("c.mp4", "both", 1, 9.0, [(2.0, 2.3), (6.0, 7.0)], [(0.8, 6.1, 7.0), (0.7, 6.0, 7.1), (0.2, 0.0, 0.1)]),
    ("d.mp4", "visual", 2, 30.0, [(20.0, 20.4)], [(0.6, 20.0, 20.8)]),
]


@pytest.fixture
def build_arrays():
    """A function: [(rows, labels)] per video → PredictionRows, Labels."""

    def build(videos):
        rows = [np.asarray(video_rows, dtype=np.float64).reshape(-1, 3) for video_rows, _ in videos]
        flat = np.concatenate([np.zeros((0, 3)), *rows])
        labels = Labels.from_clips([np.asarray(segments, dtype=np.float64).reshape(-1, 2) for _, segments in videos])
        return PredictionRows(flat[:, 0], flat[:, 1:], np.cumsum([0, *map(len, rows)])), labels

    return build


@pytest.fixture
def small_truth() -> Truth:
    """Four clips of three sources; one of each modality."""
    return Truth(
        files=[clip[0] for clip in SMALL_SET],
        labels=Labels.from_clips([np.array(clip[4], dtype=float).reshape(-1, 2) for clip in SMALL_SET]),
        modality=CategoricalColumn.from_strings(clip[1] for clip in SMALL_SET),
        generators={"audio_model": CategoricalColumn.from_strings(["tts", "", "vits", ""])},
        duration_s=np.array([clip[3] for clip in SMALL_SET]),
        source=np.array([clip[2] for clip in SMALL_SET]),
    )


@pytest.fixture
def small_evaluation(small_truth):
    """The small set, scored by the challenge's protocol."""
    predictions = Predictions.from_dict({clip[0]: np.array(clip[5]) for clip in SMALL_SET})
    return evaluate_aligned(small_truth, align(predictions, small_truth.files), PROTOCOLS["avdeepfake1m"])


@pytest.fixture
def small_files(tmp_path) -> tuple[Path, Path]:
    """The small set as files: predictions, AV-Deepfake1M metadata."""
    types = {"audio": "audio_modified", "visual": "visual_modified", "both": "both-modified", "real": "real"}
    entries = [
        {
            "file": file,
            "original": None if modality == "real" else f"source{source}.mp4",
            "modify_type": types[modality],
            "split": "val",
            "audio_model": "tts",
            "fake_segments": [list(segment) for segment in segments],
            "video_frames": int(25 * duration_s),
        }
        for file, modality, source, duration_s, segments, _ in SMALL_SET
    ]
    predictions, metadata = tmp_path / "predictions.json", tmp_path / "metadata.json"
    predictions.write_text(json.dumps({clip[0]: clip[5] for clip in SMALL_SET}))
    metadata.write_text(json.dumps(entries))
    return predictions, metadata


@pytest.fixture
def small_report(small_evaluation) -> EvaluationReport:
    """The small set with intervals, insight, and a comparison with itself."""
    difference = bootstrap_intervals(small_evaluation, small_evaluation, resamples=5)
    return EvaluationReport(
        small_evaluation.table,
        intervals=bootstrap_intervals(small_evaluation, resamples=5),
        insight=compute_insight(small_evaluation),
        versus=Comparison("b.json", small_evaluation.table, difference),
    )


@pytest.fixture
def cases() -> Path:
    """A folder of predictions for 15 clips as other programs wrote them, some of them wrong, beside their metadata."""
    return Path(__file__).parents[1] / "data" / "cases" / "peer_results"
