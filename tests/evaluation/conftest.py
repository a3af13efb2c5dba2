from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn
from avloc.evaluation.matching import Labels
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS, score
from avloc.evaluation.truth import Truth

# (file, modality, source, seconds, labels, rows)
SMALL = [
    ("a.mp4", "audio", 0, 4.0, [(1.0, 1.5)], [(0.9, 1.0, 1.5), (0.4, 3.0, 3.2)]),
    ("b.mp4", "real", 0, 4.0, [], [(0.3, 0.0, 1.0)]),
    ("c.mp4", "both", 1, 9.0, [(2.0, 2.3), (6.0, 7.0)], [(0.8, 6.1, 7.0), (0.7, 6.0, 7.1), (0.2, 0.0, 0.1)]),
    ("d.mp4", "visual", 2, 30.0, [(20.0, 20.4)], [(0.6, 20.0, 20.8)]),
]


@pytest.fixture
def small_truth() -> Truth:
    """Four clips of three sources; one of each modality."""
    return Truth(
        files=[c[0] for c in SMALL],
        labels=Labels.of([np.array(c[4], dtype=float).reshape(-1, 2) for c in SMALL]),
        modality=CategoricalColumn.of(c[1] for c in SMALL),
        generators={"audio_model": CategoricalColumn.of(["tts", "", "vits", ""])},
        duration_s=np.array([c[3] for c in SMALL]),
        source=np.array([c[2] for c in SMALL]),
    )


@pytest.fixture
def small_evaluation(small_truth):
    rows = Predictions.of({c[0]: np.array(c[5]) for c in SMALL})
    return score(small_truth, align(rows, small_truth.files), PROTOCOLS["avdeepfake1m"])


@pytest.fixture
def small_files(tmp_path) -> tuple[Path, Path]:
    """The same as files: predictions, AV-Deepfake1M metadata."""
    kinds = {"audio": "audio_modified", "visual": "visual_modified", "both": "both-modified", "real": "real"}
    entries = [
        {
            "file": f, "original": None if m == "real" else f"source{s}.mp4", "modify_type": kinds[m], "split": "val",
            "audio_model": "tts", "fake_segments": [list(x) for x in labels], "video_frames": int(25 * t),
        }
        for f, m, s, t, labels, _ in SMALL
    ]  # fmt: skip
    predictions, metadata = tmp_path / "predictions.json", tmp_path / "metadata.json"
    predictions.write_text(json.dumps({c[0]: c[5] for c in SMALL}))
    metadata.write_text(json.dumps(entries))
    return predictions, metadata
