from __future__ import annotations

import shutil

import numpy as np
import pytest

from avloc.datasets import read_records, synthesize
from avloc.datasets.readers.catalog import public_name
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction import FeatureStore
from avloc.inference.localizer import Localizer
from avloc.inference.sources.feature import FeatureSource
from avloc.inference.split.prediction import SplitPredictions, predict
from avloc.models import BoundaryTransformer


@pytest.fixture(scope="module")
def localizer(tiny_store):
    store = FeatureStore(tiny_store)
    described = [store.describe(name) for name in ("logspec", "residual_grid")]
    model = BoundaryTransformer(audio_dim=513, visual_dim=320, width=8, heads=2, levels=1)
    return Localizer(model, FeatureSource(described, 0.04))


def test_progress_counts_clips(localizer, tiny_set, tiny_store):
    calls = []
    predictions = predict(localizer, "lavdf", tiny_set, store=tiny_store, progress=lambda *done: calls.append(done))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert sorted(predictions) == [f"test/{k:06d}.mp4" for k in (6, 7, 8)] or len(predictions) == 3


def test_a_broken_clip_has_no_rows_and_a_reason(localizer, tiny_set, tmp_path):
    shutil.copytree(tiny_set, tmp_path / "set")
    broken = sorted((tmp_path / "set" / "test").glob("*.mp4"))[1]
    broken.write_text("none")
    predictions = predict(localizer, "lavdf", tmp_path / "set", keep=9)
    (file,) = predictions.failures
    assert file == f"test/{broken.name}"
    assert "cannot be opened as media" in predictions.failures[file]
    assert sorted(len(rows) for rows in predictions.values()) == [0, 9, 9]


def test_failures_have_the_names_of_the_predictions(localizer, tmp_path, render_once):
    """AV-Deepfake1M's own names leave out the split's folder."""
    with render_once():
        synthesize(tmp_path / "set", layout="avdeepfake1m", clips=9, seed=3)
    names = [public_name("avdeepfake1m", r) for r in read_records("avdeepfake1m", tmp_path / "set", "val")]
    (tmp_path / "set" / "val" / names[0]).write_text("none")
    predictions = predict(localizer, "avdeepfake1m", tmp_path / "set", "val", keep=3)
    assert sorted(predictions) == sorted(names)
    assert list(predictions.failures) == [names[0]]


def test_clips_without_features(localizer, tiny_set, tiny_store, tmp_path):
    shutil.copytree(tiny_set, tmp_path / "set")
    metadata = tmp_path / "set" / "metadata.min.json"
    metadata.write_text(metadata.read_text().replace("test/", "test/new_"))
    (tmp_path / "set" / "metadata.json").unlink(missing_ok=True)
    with pytest.raises(StoreError, match="3 of 3 clips have no features"):
        predict(localizer, "lavdf", tmp_path / "set", store=tiny_store)


def test_no_clip_at_all(localizer, tmp_path):
    with pytest.raises(AvlocError):
        predict(localizer, "lavdf", tmp_path)


def test_repr_is_one_line():
    assert (
        repr(SplitPredictions({"a": np.zeros((2, 3)), "b": np.zeros((0, 3))}))
        == "SplitPredictions(2 clips, 2 rows, 0 failed)"
    )
