from __future__ import annotations

import pickle
import shutil
import warnings
from types import SimpleNamespace

import pytest

from avloc.core.descriptions import ClipInputFormat
from avloc.datasets.loading.clip_data import ClipData
from avloc.errors import AvlocError, MediaError
from avloc.heads.maps import MapTargetMaker


def test_clips_become_batches(tiny_set, tmp_path, attach_network):
    data = ClipData(dataset="lavdf", root=str(tiny_set), frames=40, batch_size=2, cache=str(tmp_path))
    attach_network(data, target_maker=MapTargetMaker(12))
    batches = list(data.train_dataloader())
    assert sum(len(b.grids) for b in batches) == 3
    for batch in batches:
        assert batch.inputs.video.shape[1:] == (3, 40, 96, 96)
        assert batch.targets.fused_map.shape == (len(batch.grids), 12, 40)
        assert batch.inputs.n_frames.tolist() == [40] * len(batch.grids)  # all are longer
    pickle.loads(pickle.dumps(data.collate_fn(MapTargetMaker(3))))
    squeezed = ClipData(dataset="lavdf", root=str(tiny_set), frames=16, fit="squeeze")
    whole = squeezed.split("dev")[0]
    batch = squeezed.collate_fn(None)([whole])
    assert batch.grids[0].end_s == pytest.approx(whole.grid.end_s)
    assert squeezed.context().clips == ClipInputFormat(16, "squeeze")


def test_clips_that_cannot_be_decoded(tiny_set, tmp_path, attach_network):
    root = tmp_path / "set"
    shutil.copytree(tiny_set, root)
    broken = sorted((root / "train").glob("*.mp4"))[0]
    broken.write_text("none")
    strict = ClipData(dataset="lavdf", root=str(root), frames=20, batch_size=3)
    attach_network(strict)
    with pytest.raises(MediaError, match="cannot be opened as media"):
        list(strict.train_dataloader())
    lenient = ClipData(dataset="lavdf", root=str(root), frames=20, batch_size=3, allow_missing=True)
    attach_network(lenient)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (batch,) = list(lenient.train_dataloader())
    files = [record.file for record in batch.records]
    assert len(files) == 3  # the next clip replaces the broken one
    assert len(set(files)) == 2
    assert any("left out" in str(w.message) for w in caught)


def test_networks_that_do_not_fit(tiny_set):
    clips = ClipData(dataset="lavdf", root=str(tiny_set), frames=20)
    with pytest.raises(AvlocError, match="train it with .*FeatureData"):
        clips.check_network(SimpleNamespace(cached_features=True))
    with pytest.raises(AvlocError, match="takes clips of 30 frames, the data has 20"):
        clips.check_network(SimpleNamespace(cached_features=False, longest_steps=30))
    clips.check_network(SimpleNamespace(cached_features=False, longest_steps=20))
    clips.check_network(SimpleNamespace(cached_features=False, longest_steps=None))


def test_home_folder_is_expanded(monkeypatch, tiny_set):
    monkeypatch.setenv("HOME", str(tiny_set.parent))
    data = ClipData(dataset="lavdf", root="~/clips", cache="~/cache")
    assert (data.root, data.cache) == (tiny_set, tiny_set.parent / "cache")
    assert len(data.split("dev")) == 3


def test_wrong_settings():
    with pytest.raises(AvlocError, match="want fit of pad, squeeze and frames ≥ 1, got 'fold' and 3"):
        ClipData(dataset="lavdf", root=".", frames=3, fit="fold")
