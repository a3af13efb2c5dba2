from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avloc.core.descriptions import TrainingContext
from avloc.datasets import read_records
from avloc.errors import AvlocError
from avloc.feature_extraction import FeatureStore
from avloc.inference.localizer import Localizer
from avloc.inference.settings import LocalizerSettings
from avloc.inference.split.parts import ClipPredicted, PartDone, PartSpec, PredictionSettings, run_parts
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import write_checkpoint


@pytest.fixture
def settings(tiny_set, tiny_store, tmp_path):
    torch.manual_seed(0)
    store = FeatureStore(tiny_store)
    context = TrainingContext(0.04, tuple(store.describe(name) for name in ("logspec", "residual_grid")))
    model = BoundaryTransformer(audio_dim=513, visual_dim=320, width=8, heads=2, levels=1)
    write_checkpoint(tmp_path / "c.ckpt", model, context)
    return PredictionSettings(LocalizerSettings(tmp_path / "c.ckpt"), "lavdf", tiny_set, "test", tiny_store, keep=7)


def specs_of(folder, *ends):
    folder.mkdir(exist_ok=True)
    begins = [0, *ends[:-1]]
    return [PartSpec(a, b, folder / f"{k}.part") for k, (a, b) in enumerate(zip(begins, ends, strict=True))]


def lines(path):
    return path.read_text().splitlines()


def test_parts_hold_the_clips_in_order(settings, tmp_path):
    specs = specs_of(tmp_path / "j", 2, 3)
    events = list(run_parts(specs, settings))
    predicted = ClipPredicted(failed=False)
    assert events == [predicted, predicted, PartDone(specs[0]), predicted, PartDone(specs[1])]
    assert json.loads(lines(specs[0].path)[0]) == {"clips": 2, "rows": 14, "failures": {}}
    clips = json.loads("{" + "".join(lines(specs[0].path)[1:]) + "," + "".join(lines(specs[1].path)[1:]) + "}")
    assert list(clips) == list(settings.records().files)
    assert {len(rows) for rows in clips.values()} == {7}


def test_a_part_does_not_depend_on_its_neighbours(settings, tmp_path):
    from dataclasses import replace

    for options in ({}, {"store": None, "workers": 0}):
        chosen = replace(settings, **options)
        together, alone = specs_of(tmp_path / "a", 2, 3), specs_of(tmp_path / "b", 2, 3)
        list(run_parts(together, chosen))
        for spec in reversed(alone):
            list(run_parts([spec], chosen))
        for one, other in zip(together, alone, strict=True):
            assert one.path.read_bytes() == other.path.read_bytes()


def test_no_parts_load_nothing(settings):
    from dataclasses import replace

    assert list(run_parts([], replace(settings, localizer=LocalizerSettings("none.ckpt")))) == []


def test_an_error_of_torch_is_one_line(settings, tmp_path, monkeypatch):
    def run(self, examples, **options):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        yield

    monkeypatch.setattr(Localizer, "run", run)
    with pytest.raises(AvlocError, match=r"failed on cpu \(OutOfMemoryError: CUDA out of memory. Tried.*--batch-size"):
        list(run_parts(specs_of(tmp_path / "j", 3), settings))


def test_settings_travel(settings, tmp_path, monkeypatch):
    assert pickle.loads(pickle.dumps(settings)) == settings
    other = settings.with_resources(3, "cuda:1")
    assert (other.workers, other.localizer.device, settings.localizer.device) == (3, "cuda:1", "cpu")
    assert settings.with_resources(2).localizer.device == "cpu"
    monkeypatch.chdir(tmp_path)
    near = PredictionSettings(LocalizerSettings("c.ckpt", weights={"x": "w.pth"}), "lavdf", Path("set"), "test")
    assert near.absolute().root == tmp_path / "set"
    assert near.absolute().localizer.checkpoint == tmp_path / "c.ckpt"
    assert near.absolute().store is None
    packaged = replace(near, localizer=LocalizerSettings(streams="audio"))
    assert packaged.absolute().localizer == packaged.localizer  # each machine has its own networks of the package
    assert PartSpec(0, 1, Path("x.part")).absolute().path == tmp_path / "x.part"
    assert len(settings.records()) == len(read_records("lavdf", settings.root, "test"))
