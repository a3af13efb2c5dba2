"""Entries of the published metadata, and a function that writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def lavdf_entry() -> dict[str, object]:
    return {
        "file": "test/000001.mp4",
        "n_fakes": 1,
        "fake_periods": [[1.0, 1.5]],
        "duration": 4.2,
        "original": None,
        "modify_video": True,
        "modify_audio": False,
        "split": "test",
        "video_frames": 105,
        "audio_frames": 67200,
    }


@pytest.fixture
def one_m_entry() -> dict[str, object]:
    """An entry that contradicts itself: visual segments in a clip of modified audio."""
    return {
        "file": "id1/yt/0/fake.mp4",
        "split": "val",
        "modify_type": "audio_modified",
        "fake_segments": [[1, 2]],
        "audio_fake_segments": [[1, 2]],
        "visual_fake_segments": [[3, 4]],
        "video_frames": 100,
        "audio_frames": 64000,
    }


@pytest.fixture
def write_metadata(tmp_path: Path) -> Callable[[str, object], Path]:
    """Write JSON, or text as it is, into a dataset's folder; returns the folder."""

    def write(name: str, content: object) -> Path:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "set"

    return write
