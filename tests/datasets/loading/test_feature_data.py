from __future__ import annotations

import json
import shutil
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from avloc.core.clip_records import ClipRecord
from avloc.core.descriptions import TrainingContext
from avloc.datasets.loading.feature_data import FeatureData
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.loading.split_data import DatasetWarning
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError, StoreError
from avloc.heads.clip_labels import ClipTargetMaker
from avloc.heads.maps import MapTargetMaker

EXTRACTORS = ["logspec", "residual_grid"]


def test_a_network_sets_a_limit_to_clips(tiny_set, tiny_store, attach_network, feature_data):
    data = feature_data(str(tiny_set), str(tiny_store))
    attach_network(data, longest_steps=50)
    with pytest.warns(DatasetWarning, match="dev: [1-3] clips are longer than the network takes at once"):
        validation = data.split("dev")
    example = validation[0]
    assert (example.grid.start_s, example.grid.length) == (0.0, 50)
    assert all(s.end_s <= 2.0 + 1e-9 for s in example.record.segments)
    training = data.split("train", training=True)
    assert training.longest_s == pytest.approx(2.0)
    assert max(training.lengths()) == 50


def test_networks_that_do_not_fit(tiny_set, tiny_store, feature_data):
    features = feature_data(str(tiny_set), str(tiny_store))
    with pytest.raises(AvlocError, match="wants visual features of width 3, the store's have 320"):
        features.check_network(SimpleNamespace(cached_features=True, arguments={"audio_dim": 513, "visual_dim": 3}))
    with pytest.raises(AvlocError, match="train it with .*ClipData"):
        features.check_network(SimpleNamespace(cached_features=False, longest_steps=30))
    features.check_network(SimpleNamespace(cached_features=True, arguments={"audio_dim": 513, "visual_dim": 320}))


def test_features_without_a_trainer(tiny_set, tiny_store, feature_data):
    """Batches without targets, of whole clips."""
    data = feature_data(tiny_set, tiny_store, batch_size=2)
    (first, second) = data.val_dataloader()
    assert [len(first.grids), len(second.grids)] in ([2, 1], [1, 2])
    assert first.targets is None
    assert first.inputs.audio.shape[2] == 513
    assert data.split("dev").longest_s is None
    assert data.state_dict() == {}


def test_context_describes_the_extractors(tiny_set, tiny_store, feature_data):
    data = feature_data(tiny_set, tiny_store, hop_s=0.08)
    assert data.dims() == {"audio": 513, "visual": 320}
    assert data.context() == TrainingContext(0.08, tuple(data.store.describe(name) for name in EXTRACTORS))
    assert [e.name for e in data.context().extractors] == EXTRACTORS


def test_home_folder_is_expanded(monkeypatch, tiny_set, tiny_store, feature_data):
    monkeypatch.setenv("HOME", str(tiny_set.parent))
    assert feature_data("~/clips", "~/features").store.root == tiny_set.parent / "features"


def test_cut_segments_are_warned_of(tiny_set, tiny_store, tmp_path, feature_data):
    root = tmp_path / "set"
    root.mkdir()
    entries = json.loads((tiny_set / "metadata.min.json").read_text())
    fake = next(e for e in entries if e["split"] == "train" and e["fake_periods"])
    fake["fake_periods"][-1][1] += 50
    (root / "metadata.json").write_text(json.dumps(entries))
    message = "train: [12] segments reached past the end of what was decoded and were cut"
    with pytest.warns(DatasetWarning, match=message):
        feature_data(root, tiny_store).split("train", training=True)


def test_wrong_settings(feature_data):
    with pytest.raises(AvlocError, match="want pseudo_forgeries within 0 and 1, got 2"):
        feature_data(".", ".", pseudo_forgeries=2.0)
    with pytest.raises(AvlocError, match="want hard_negatives within 0 and 1, got -1"):
        feature_data(".", ".", hard_negatives=-1.0)
    with pytest.raises(
        AvlocError, match="want pseudo_forgeries, borrowed_forgeries, hard_negatives of at most 1 together, got 1.1"
    ):
        feature_data(".", ".", pseudo_forgeries=0.5, borrowed_forgeries=0.6)
    with pytest.raises(AvlocError, match="want revoiced_clips within 0 and 1, got 1.5"):
        feature_data(".", ".", revoiced_clips=1.5)
    with pytest.raises(AvlocError, match="want hop_s > 0 and longest_s > 0, got 0 and 40"):
        feature_data(".", ".", hop_s=0.0)


def test_streams_at_their_own_rate(tiny_set, tiny_store, feature_data):
    data = feature_data(tiny_set, tiny_store, batch_size=2, native_rate=True)
    assert data.context().rows_per_step() == {"audio": 4.0, "visual": 1.0}
    batch = next(iter(data.val_dataloader()))
    steps = batch.inputs.step_mask.shape[1]
    assert batch.inputs.audio.shape[1:] == (4 * steps, 513)
    dims = {"audio_dim": 513, "visual_dim": 320}
    rates = {"audio_rows_per_step": 4, "visual_rows_per_step": 1}
    data.check_network(SimpleNamespace(cached_features=True, arguments={**dims, **rates}))
    with pytest.raises(
        AvlocError, match="data have audio_rows_per_step 4, the network takes None: correct its argument"
    ):
        data.check_network(SimpleNamespace(cached_features=True, arguments=dims))
    averaged = feature_data(tiny_set, tiny_store, native_rate=False)
    with pytest.raises(AvlocError, match="takes audio_rows_per_step 4, and the data average .* correct native_rate"):
        averaged.check_network(SimpleNamespace(cached_features=True, arguments={**dims, **rates}))


def test_the_network_says_whether_it_takes_rows(tiny_set, tiny_store, attach_network, feature_data):
    data = feature_data(tiny_set, tiny_store)
    assert not data.context().native_rate
    attach_network(data)
    assert not data.split("dev").native_rate
    attach_network(data, arguments={"audio_rows_per_step": 4.0, "visual_rows_per_step": 1.0})
    assert data.context().native_rate
    assert data.split("dev").native_rate


def test_a_modality_leaves_out_the_other_stream_and_its_segments(tiny_set, tiny_store, attach_network, feature_data):
    data = feature_data(str(tiny_set), str(tiny_store), modality="audio")
    attach_network(data)
    assert data.context().modality == "audio"
    assert data.dims() == {"audio": 513, "visual": 320}  # the network's sizes stay
    batch = data.collate_fn(None)([data.split("train")[k] for k in range(3)])
    assert batch.inputs.audio_mask.any()
    assert not batch.inputs.video_mask.any()
    assert not batch.inputs.video.any()
    assert {record.modality for record in batch.records} <= {"real", "audio"}


def test_a_store_of_one_stream_serves_its_specialist(tiny_set, tiny_store, tmp_path, attach_network, feature_data):
    """The other stream's extractor only sizes the network, and need not be extracted."""
    whole = feature_data(str(tiny_set), str(tiny_store), modality="audio")
    store = tmp_path / "s"
    shutil.copytree(tiny_store / "logspec", store / "logspec")
    data = feature_data(str(tiny_set), str(store), modality="audio")
    assert data.dims() == {"audio": 513, "visual": 320}
    assert [d.name for d in data.context().extractors] == ["logspec", "residual_grid"]
    for module in (data, whole):
        attach_network(module)
    one, other = (
        module.collate_fn(None)([module.split("train")[k] for k in range(3)]).inputs for module in (data, whole)
    )
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    for module in (feature_data(str(tiny_set), str(store)), feature_data(str(tiny_set), str(store), modality="visual")):
        with pytest.raises(StoreError, match="no features of 'residual_grid', the store has: logspec"):
            module.dims()
    weights = FeatureData(
        dataset="lavdf", root=tiny_set, store=store, extractors=["logspec", "r3d_18"], modality="audio"
    )
    with pytest.raises(StoreError, match="no features of 'r3d_18'"):
        weights.dims()


def test_an_unknown_modality_is_refused(feature_data):
    with pytest.raises(AvlocError, match="want modality of audio, visual, or none for both, got 'smell'"):
        feature_data("set", "store", modality="smell")


def raw_data(root, store, *extractors, **options):
    options = {"batch_size": 2, "native_rate": True, **options}
    return FeatureData(dataset="lavdf", root=root, store=store, extractors=list(extractors), **options)


def epochs(data, count=2):
    """By epoch and clip, the sum of the augmented sound."""
    loader = data.train_dataloader()
    return [
        {
            r.file: int(a.long().abs().sum())
            for batch in loader
            for r, a in zip(batch.records, batch.inputs.audio, strict=True)
        }
        for _ in range(count)
    ]


def test_training_clips_are_augmented_otherwise_in_each_epoch(tiny_set, raw_store, tmp_path, attach_network):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("audio: [{name: Noise, snr_db: [0, 20]}]\nvisual: [{name: Brightness, factor: [0.4, 0.8]}]")
    data = raw_data(tiny_set, raw_store, "waveform", "mouth", augment=recipe)
    attach_network(data)
    clean = data.split("train")
    validation = [sample.inputs for sample in data.val_dataloader()]
    for one, other in zip(validation, raw_data(tiny_set, raw_store, "waveform", "mouth").val_dataloader(), strict=True):
        assert (one.audio == other.inputs.audio).all()
        assert (one.video == other.inputs.video).all()
    first, second = epochs(data)
    assert set(first) == set(second) == set(clean.records.files)
    assert all(first[file] != second[file] for file in first)
    again = raw_data(tiny_set, raw_store, "waveform", "mouth", augment=recipe, workers=2, batch_size=3)
    attach_network(again)
    assert epochs(again) == [first, second]  # whatever the workers and the batches
    other = raw_data(tiny_set, raw_store, "waveform", "mouth", augment=recipe, seed=1)
    attach_network(other)
    assert all(epochs(other, 1)[0][file] != first[file] for file in first)


def test_clips_of_a_rare_class_are_augmented_otherwise_in_each_draw(tiny_set, raw_store, tmp_path, attach_network):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("audio: [{name: Noise, snr_db: [0, 20]}]")
    data = raw_data(tiny_set, raw_store, "waveform", "mouth", augment=recipe, batch_size=1)
    attach_network(data)
    loader = data.train_dataloader()
    loader.batch_sampler.classes = np.array([0, 0, 1])  # draw the third clip twice
    draws = [(batch.records[0].file, batch.inputs.audio.numpy().tobytes()) for batch in loader]
    assert [file for file, _ in draws].count(loader.dataset.records[2].file) == 2
    assert len(set(draws)) == 3


def test_labels_of_augmented_clips_stay(tiny_set, raw_store, attach_network):
    data = raw_data(tiny_set, raw_store, "waveform", "residual_grid", augment="strong")
    attach_network(data)
    with pytest.warns(
        DatasetWarning, match="train: 11 steps of the recipe do nothing on residual_grid: it holds features"
    ):
        augmented = data.split("train", training=True)
    clean = data.split("train")
    for k in range(3):
        draw = augmented[SampleIndex(k, 0)]
        assert draw.record == clean[k].record
        assert draw.grid == clean[k].grid
        np.testing.assert_array_equal(draw.streams[1], clean[k].streams[1])
    assert any((augmented[SampleIndex(k, 0)].streams[0] != clean[k].streams[0]).any() for k in range(3))


def test_augmentation_needs_samples_or_pixels(tiny_set, tiny_store, raw_store, feature_data):
    network = SimpleNamespace(cached_features=True, arguments={"audio_dim": 513, "visual_dim": 320})
    features = feature_data(tiny_set, tiny_store, augment="light", native_rate=False)
    with pytest.raises(AvlocError, match="augment: none of logspec, residual_grid holds samples or pixels"):
        features.check_network(network)
    alone = raw_data(tiny_set, raw_store, "waveform", "residual_grid", augment="light", modality="visual")
    with pytest.raises(AvlocError, match="augment: none of residual_grid holds samples or pixels"):
        alone.split("train", training=True)
    with pytest.raises(AvlocError, match=r"nothing\.yaml: no such recipe"):
        feature_data(tiny_set, tiny_store, augment="nothing.yaml")


def test_clips_give_the_batches_of_their_store(tiny_set, raw_store, attach_network):
    """Random windows, pieces of other clips and augmentation, of samples and pixels as they are."""
    options = {"longest_s": 2.0, "hard_negatives": 0.7, "revoiced_clips": 0.5, "augment": "light", "seed": 3}
    stored = raw_data(tiny_set, raw_store, "waveform", "mouth", **options)
    live = raw_data(tiny_set, None, "waveform", "mouth:side=24,crop=none", from_clips=True, workers=1, **options)
    assert live.extractors == ["waveform", "mouth"]
    assert live.context() == stored.context()
    for data in (stored, live):
        attach_network(data)
        data.split = partial(with_metadata_lengths, data.split)
    for make_loader in ("train_dataloader", "val_dataloader"):
        batches, others = (list(getattr(data, make_loader)()) for data in (live, stored))
        assert [batch.records for batch in batches] == [batch.records for batch in others]
        for batch, other in zip(batches, others, strict=True):
            assert batch.grids == other.grids
            for a, b in zip(batch.inputs, other.inputs, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a.numpy(), b.numpy())


def with_metadata_lengths(split, name, **options):
    """A split with the lengths of its metadata, by which batches are made without a store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)  # colours do nothing on grey crops
        dataset = split(name, **options)
    dataset.ends_s = dataset.records.duration_s
    return dataset


def test_features_of_clips_equal_those_of_the_store(tiny_set, tiny_store, attach_network):
    live = raw_data(tiny_set, None, "logspec", "residual_grid", from_clips=True, native_rate=None)
    stored = raw_data(tiny_set, tiny_store, "logspec", "residual_grid", native_rate=None)
    for data in (live, stored):
        attach_network(data)
    for k in range(3):
        one, other = (data.split("dev")[k] for data in (live, stored))
        assert (one.record, one.grid, one.end_s) == (other.record, other.grid, other.end_s)
        for a, b in zip(one.streams, other.streams, strict=True):
            np.testing.assert_array_equal(a, b)


def test_options_that_go_against_clips(tiny_set, tiny_store):
    with pytest.raises(AvlocError, match="from_clips decodes the clips, so the store .* set --data.store null"):
        raw_data(tiny_set, tiny_store, "waveform", from_clips=True)
    with pytest.raises(
        AvlocError, match=r"want a store of features \(--data.store FOLDER\), or --data.from_clips true"
    ):
        raw_data(tiny_set, None, "waveform")
    with pytest.raises(AvlocError, match="copies are read from a store; leave them out, or give a store instead"):
        raw_data(tiny_set, None, "waveform", from_clips=True, copies=2)
    with pytest.raises(AvlocError, match="r3d_18 runs a network"):
        raw_data(tiny_set, None, "waveform", "r3d_18", from_clips=True)
    network = SimpleNamespace(cached_features=True, arguments={"audio_dim": 160, "visual_dim": 3})
    with pytest.raises(AvlocError, match="wants visual features of width 3, the clips' have 320"):
        raw_data(tiny_set, None, "waveform", "residual_grid", from_clips=True).check_network(network)


@pytest.fixture(scope="module")
def clip_label_data(tiny_set, tiny_store, feature_data):
    """A function that makes the data, whose splits are both all three."""

    def make(**options):
        return feature_data(str(tiny_set), str(tiny_store), **{"clip_labels_only": True, "batch_size": 2, **options})

    return make


@pytest.fixture
def both_kinds(monkeypatch):
    """All splits of a dataset as one, which has real and fake clips."""
    from avloc.datasets.loading import split_data

    monkeypatch.setattr(split_data, "read_records", lambda dataset, root, split: read_records(dataset, root))


def test_no_segment_is_in_the_batches_of_clip_labels(clip_label_data, both_kinds, attach_network):
    data = clip_label_data()
    attach_network(data, target_maker=ClipTargetMaker())
    for loader in (data.train_dataloader(), data.val_dataloader()):
        batches = list(loader)
        assert sum(len(batch.records) for batch in batches) == 9
        for batch in batches:
            assert {type(record) for record in batch.records} == {ClipRecord}
            assert batch.targets._fields == ("labels",)
            assert batch.targets.labels.shape == (len(batch.records), 2)
            expected = [[m in record.forged_modalities for m in ("audio", "visual")] for record in batch.records]
            assert batch.targets.labels.bool().tolist() == expected
    assert type(data.train_dataloader().dataset.records) is ClipRecordTable
    with_segments = clip_label_data(report_segments=True)
    assert type(with_segments.split("train", training=True).records) is ClipRecordTable
    assert type(with_segments.split("dev").records) is RecordTable


def test_clips_with_clip_labels_are_never_cut(clip_label_data, both_kinds, tiny_store, tiny_set):
    whole = clip_label_data(longest_s=None).split("train", training=True)
    middle = float(np.sort(whole.ends_s)[5])
    with pytest.warns(DatasetWarning, match="train: 3 clips are longer than longest_s and are left out"):
        dataset = clip_label_data(longest_s=middle).split("train", training=True)
    assert (len(dataset), dataset.longer) == (6, 3)
    for k in range(6):
        record, length = dataset.records[k], dataset[k].grid.length
        (at,) = [j for j in range(9) if whole.records[j] == record]
        assert length == whole[at].grid.length
    with pytest.raises(AvlocError, match=r"longest_s: all 9 clips are longer than 0\.5 s"):
        clip_label_data(longest_s=0.5).split("train", training=True)


def test_options_that_go_against_clip_labels(clip_label_data, both_kinds, monkeypatch, tiny_set, tiny_store):
    for share in ("pseudo_forgeries", "borrowed_forgeries", "hard_negatives", "revoiced_clips"):
        with pytest.raises(AvlocError, match=f"clip_labels_only: {share} need or make segments"):
            clip_label_data(**{share: 0.5})
    with pytest.raises(AvlocError, match="report_segments has no effect without clip_labels_only"):
        clip_label_data(clip_labels_only=False, report_segments=True)
    arguments = {"audio_dim": 513, "visual_dim": 320}
    weak = SimpleNamespace(cached_features=True, arguments=arguments, target_maker=ClipTargetMaker())
    strong = SimpleNamespace(cached_features=True, arguments=arguments, target_maker=MapTargetMaker(3))
    clip_label_data().check_network(weak)
    with pytest.raises(AvlocError, match="clip_labels_only: the network learns from segments"):
        clip_label_data().check_network(strong)
    with pytest.raises(AvlocError, match="set --data.clip_labels_only true"):
        clip_label_data(clip_labels_only=False).check_network(weak)
    records = read_records("lavdf", tiny_set)
    real = records.take(records.modality().isin("real"))
    from avloc.datasets.loading import split_data

    monkeypatch.setattr(split_data, "read_records", lambda dataset, root, split: real)
    with pytest.raises(AvlocError, match=rf"clip_labels_only: all {len(real)} clips of dev are real"):
        clip_label_data().split("dev")


def test_clip_labels_balance_and_shuffle(clip_label_data, both_kinds, attach_network):
    data = clip_label_data(balance="real", shuffle_labels=True)
    attach_network(data, target_maker=ClipTargetMaker())
    shuffled = data.train_dataloader().dataset.records
    plain = clip_label_data().split("train", training=True).records
    assert list(shuffled.files) == list(plain.files)
    assert sorted(r.modality for r in shuffled) == sorted(r.modality for r in plain)
