from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated LAV-DF set of 9 clips: 3 in each split."""
    from avloc.datasets.synth import synthesize

    root = tmp_path_factory.mktemp("tiny") / "clips"
    synthesize(root, layout="lavdf", clips=9, seed=3)
    return root


@pytest.fixture(scope="session")
def tiny_store(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of the tiny set."""
    from avloc.datasets.catalog import read_records
    from avloc.feature_extraction.job import extract
    from avloc.feature_extraction.store import FeatureStore

    root = tmp_path_factory.mktemp("store")
    files = [r.file for r in read_records("lavdf", tiny_set)]
    report = extract(tiny_set, files, [("logspec", {}), ("residual_grid", {})], FeatureStore(root), shard_clips=4)
    assert report.done == 9
    assert not report.failures
    return root


@pytest.fixture
def frames() -> np.ndarray:
    """30 frames of 48 × 64 whose brightness is their number times 7."""
    return np.stack([np.full((48, 64, 3), 7 * k, dtype=np.uint8) for k in range(30)])


@pytest.fixture
def beep() -> np.ndarray:
    """1.2 s at 16 kHz: silence, but for a 1 kHz tone from 0.5 to 0.6 s."""
    t = np.arange(19200) / 16000
    return (0.5 * np.sin(2 * np.pi * 1000 * t) * ((t >= 0.5) & (t < 0.6))).astype(np.float32)
