from __future__ import annotations

import pickle
import warnings
from types import SimpleNamespace

import pytest

from avloc.datasets.loading.data_modules import ClipData, DatasetWarning, FeatureData
from avloc.errors import AvlocError, MediaError
from avloc.heads.maps import MapTargetMaker

EXTRACTORS = ["logspec", "residual_grid"]


def trained_with(data, **network):
    """As if a trainer had a network with such attributes."""
    model = SimpleNamespace(longest_steps=None, target_maker=None, **network)
    data.trainer = SimpleNamespace(
        lightning_module=SimpleNamespace(model=model), is_global_zero=True, global_rank=0, world_size=1
    )
    return model


def test_a_network_sets_a_limit_to_clips(tiny_set, tiny_store):
    data = FeatureData(dataset="lavdf", root=str(tiny_set), store=str(tiny_store), extractors=EXTRACTORS)
    trained_with(data).longest_steps = 50
    with pytest.warns(DatasetWarning, match="dev: [1-3] clips are longer than the network takes at once"):
        validation = data.split("dev")
    example = validation[0]
    assert (example.grid.start_s, example.grid.length) == (0.0, 50)
    assert all(s.end_s <= 2.0 + 1e-9 for s in example.record.segments)
    training = data.split("train", training=True)
    assert training.longest_s == pytest.approx(2.0)
    assert max(training.lengths()) == 50


def test_clips_become_batches(tiny_set, tmp_path):
    data = ClipData(dataset="lavdf", root=str(tiny_set), frames=40, batch_size=2, cache=str(tmp_path))
    trained_with(data).target_maker = MapTargetMaker(12)
    batches = list(data.train_dataloader())
    assert sum(len(b.grids) for b in batches) == 3
    for batch in batches:
        assert batch.inputs.video.shape[1:] == (3, 40, 96, 96)
        assert batch.targets.fused_map.shape == (len(batch.grids), 12, 40)
        assert batch.inputs.n_frames.tolist() == [40] * len(batch.grids)  # all are longer
    pickle.loads(pickle.dumps(data.collate(MapTargetMaker(3))))
    squeezed = ClipData(dataset="lavdf", root=str(tiny_set), frames=16, fit="squeeze")
    whole = squeezed.split("dev")[0]
    batch = squeezed.collate(None)([whole])
    assert batch.grids[0].end_s == pytest.approx(whole.grid.end_s)
    assert squeezed.context()["clips"] == {"frames": 16, "fit": "squeeze"}


def test_clips_that_cannot_be_decoded(tiny_set, tmp_path):
    import shutil

    root = tmp_path / "set"
    shutil.copytree(tiny_set, root)
    broken = sorted((root / "train").glob("*.mp4"))[0]
    broken.write_text("none")
    strict = ClipData(dataset="lavdf", root=str(root), frames=20, batch_size=3)
    trained_with(strict)
    with pytest.raises(MediaError, match="cannot be opened as media"):
        list(strict.train_dataloader())
    lenient = ClipData(dataset="lavdf", root=str(root), frames=20, batch_size=3, allow_missing=True)
    trained_with(lenient)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (batch,) = list(lenient.train_dataloader())
    files = [record.file for record in batch.records]
    assert len(files) == 3  # the next one stands for the broken one
    assert len(set(files)) == 2
    assert any("left out" in str(w.message) for w in caught)


def test_networks_that_do_not_fit(tiny_set, tiny_store):
    features = FeatureData(dataset="lavdf", root=str(tiny_set), store=str(tiny_store), extractors=EXTRACTORS)
    clips = ClipData(dataset="lavdf", root=str(tiny_set), frames=20)
    cached = SimpleNamespace(cached_features=True, arguments={"audio_dim": 513, "visual_dim": 3})
    pixels = SimpleNamespace(cached_features=False, frames=30)
    with pytest.raises(AvlocError, match="wants visual features of width 3, the store's have 320"):
        features.check_network(cached)
    with pytest.raises(AvlocError, match="train it with .*ClipData"):
        features.check_network(pixels)
    with pytest.raises(AvlocError, match="train it with .*FeatureData"):
        clips.check_network(cached)
    with pytest.raises(AvlocError, match="takes clips of 30 frames, the data has 20"):
        clips.check_network(pixels)


def test_wrong_settings():
    with pytest.raises(AvlocError, match="want fit of pad, squeeze and frames ≥ 1, got 'fold' and 3"):
        ClipData(dataset="lavdf", root=".", frames=3, fit="fold")
    with pytest.raises(AvlocError, match="want batch_size ≥ 1 and workers ≥ 0, got 0 and 0"):
        ClipData(dataset="lavdf", root=".", batch_size=0)
    with pytest.raises(AvlocError, match="want hop_s > 0 and longest_s > 0, got 0 and 40"):
        FeatureData(dataset="lavdf", root=".", store=".", extractors=[], hop_s=0.0)
