from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import avloc
from avloc.core.descriptions import TrainingContext
from avloc.errors import AvlocError
from avloc.feature_extraction import FeatureStore, build_extractor
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import write_checkpoint
from avloc.models.packaged import packaged_description


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained network on the default extractors."""
    import torch

    torch.manual_seed(0)
    extractors = [build_extractor(name) for name in ("logspec", "residual_grid")]
    dims = {"audio_dim": extractors[0].dim, "visual_dim": extractors[1].dim}
    model = BoundaryTransformer(**dims, width=8, heads=2, levels=2)
    described = [e.describe() for e in extractors]
    described[1] = replace(described[1], decoder="pyav")  # as a store has it
    path = tmp_path_factory.mktemp("verbs") / "c.ckpt"
    write_checkpoint(path, model, TrainingContext(0.04, tuple(described)))
    return path


def test_localize_takes_text_and_a_span(checkpoint, tiny_set):
    clip = next((tiny_set / "test").glob("*.mp4"))
    localization = avloc.localize(str(clip), checkpoint=str(checkpoint), keep=7)
    assert localization.file == str(clip)
    assert len(localization.proposals) == 7
    assert repr(localization).count("\n") == 0
    part = avloc.localize(clip, checkpoint=checkpoint, start_s=1.0, end_s=2.0)
    assert part.grid.start_s == 1.0
    assert part.duration_s == pytest.approx(2.0, abs=0.05)


def test_extract_predict_and_evaluate_are_one_way(checkpoint, tiny_set, tmp_path):
    report = avloc.extract("lavdf", str(tiny_set), store=tmp_path / "s", extractors=["logspec", "residual_grid"])
    assert report.done == 9
    assert repr(report).count("\n") == 0
    assert FeatureStore(tmp_path / "s").extractors() == ["logspec", "residual_grid"]
    predictions = avloc.predict(checkpoint, "lavdf", tiny_set, store=tmp_path / "s", keep=20)
    assert len(predictions) == 3
    assert all(rows.shape == (20, 3) for rows in predictions.values())
    entries = json.loads((tiny_set / "metadata.min.json").read_text())
    truth = {e["file"]: e["fake_periods"] for e in entries if e["split"] == "test"}
    in_memory = avloc.evaluate(predictions, truth, protocol="lavdf")
    from_file = avloc.evaluate(predictions, tiny_set / "metadata.min.json", protocol="lavdf", split="test")
    assert in_memory.strict.ap == from_file.strict.ap
    perfect = {file: [[0.9, *segment] for segment in segments] for file, segments in truth.items()}
    assert avloc.evaluate(perfect, truth, protocol="lavdf").strict.ap[0.95] == 1.0


def test_predict_without_a_store_decodes(checkpoint, tiny_set):
    predictions = avloc.predict(checkpoint, "lavdf", tiny_set, keep=5)
    assert [len(rows) for rows in predictions.values()] == [5, 5, 5]
    assert (np.diff(next(iter(predictions.values()))[:, 0]) <= 0).all()


def test_a_device_that_does_not_exist_is_one_line(checkpoint, tiny_set):
    with pytest.raises(avloc.AvlocError, match="device 'warp' cannot be used here"):
        avloc.localize(tiny_set / "x.mp4", checkpoint=checkpoint, device="warp")


def test_without_a_checkpoint_the_package_localizes_and_predicts(tmp_path):
    folder = avloc.datasets.examples_folder()
    localization = avloc.localize(folder / "both-1.mp4")
    assert localization.network == packaged_description("both")
    assert localization.network.scope in str(localization._repr_html_())
    predictions = avloc.predict(None, "folder", folder, "all", keep=5)
    assert len(predictions) == 12
    assert not predictions.failures
    best = predictions["both-1.mp4"][0]
    assert best[0] == pytest.approx(localization.proposals.scores[0], abs=1e-3)


def test_copies_without_a_recipe_are_refused(tmp_path):
    with pytest.raises(AvlocError, match="copies=3 has no effect without augment"):
        avloc.extract("folder", tmp_path, store=tmp_path / "s", extractors=["logspec"], copies=3)
