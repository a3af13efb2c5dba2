from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest

from avloc.augment import Gain, Recipe, Step
from avloc.core.columns import StringArray
from avloc.datasets.examples.mixing import MixingShares
from avloc.datasets.loading.copies import AugmentedCopies
from avloc.datasets.loading.feature_data import FeatureData
from avloc.datasets.loading.features import FeatureDataset
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.loading.split_data import DatasetWarning
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.verbs import extract

SOFTER = Recipe(audio=(Step(Gain, 1.0, {"gain_db": -20.0}),))


@pytest.fixture(scope="module")
def copied(tiny_set, make_once):
    """A store of the sound and of features of the picture, with two copies of the sound at a tenth of its level."""

    def fill(folder):
        options = {"store": folder / "s", "extractors": ["waveform", "residual_grid"], "augment": SOFTER, "copies": 2}
        report = extract("lavdf", tiny_set, **options)
        assert (report.done, report.failed) == (27, 0)
        again = extract("lavdf", tiny_set, **options)
        assert (again.done, again.reused) == (0, 27)

    return make_once("copied", fill) / "s"


def dataset(root, store, copies=2, **options):
    records = read_records("lavdf", root, "train")
    options = {"hop_s": 0.04, "native_rate": True, "copies": copies, **options}
    return FeatureDataset(records, FeatureStore(store), ["waveform", "residual_grid"], **options)


def test_training_draws_a_copy_or_the_clip(tiny_set, copied):
    drawn, clean = dataset(tiny_set, copied), dataset(tiny_set, copied, copies=0)
    assert (drawn.copies.names, drawn.copies.unchanged) == (["waveform"], ["residual_grid"])
    ratios = []
    for seed in range(40):
        example, plain = drawn[SampleIndex(seed % 3, seed)], clean[seed % 3]
        ratios.append(np.abs(example.streams[0].astype(float)).sum() / np.abs(plain.streams[0].astype(float)).sum())
        np.testing.assert_array_equal(example.streams[1], plain.streams[1])
        assert (example.record, example.grid, example.rows[0].grid) == (plain.record, plain.grid, plain.rows[0].grid)
        again = drawn[SampleIndex(seed % 3, seed)]
        np.testing.assert_array_equal(example.streams[0], again.streams[0])
    ratios = np.array(ratios)
    assert (np.isclose(ratios, 1) | np.isclose(ratios, 0.1, rtol=0.05)).all()
    assert 0.15 < np.isclose(ratios, 1).mean() < 0.55  # a third


def test_every_copy_is_as_likely(tiny_set, copied):
    copies = AugmentedCopies(
        FeatureStore(copied), ["waveform"], StringArray.from_strings(files(tiny_set)), 2, allow_missing=False
    )
    random = np.random.default_rng(0)
    counts = np.bincount([copies.draw(0, random) for _ in range(600)])
    assert (np.abs(counts - 200) < 50).all()
    assert pickle.loads(pickle.dumps(copies)).read("waveform", 0, 2).grid == copies.read("waveform", 0, 1).grid


def files(root):
    return list(read_records("lavdf", root, "train").files)


def test_the_data_module_draws_in_training_only(tiny_set, copied):
    data = FeatureData(
        dataset="lavdf",
        root=tiny_set,
        store=copied,
        extractors=["waveform", "residual_grid"],
        copies=2,
        native_rate=True,
    )
    with pytest.warns(DatasetWarning, match=r"train: 1 streams have no augmented copies .* \(residual_grid\)"):
        assert data.split("train", training=True).copies is not None
    for split in ("train", "dev", "test"):
        assert data.split(split).copies is None
    with pytest.raises(AvlocError, match="want copies ≥ 0, got -1"):
        FeatureData(dataset="lavdf", root=tiny_set, store=copied, extractors=["waveform"], copies=-1)


def test_copies_are_never_evaluated(tiny_set, copied):
    records = read_records("lavdf", tiny_set, "test")
    with pytest.raises(StoreError, match="copies/1: holds augmented copies, which are for training"):
        FeatureDataset(records, FeatureStore(copied / "copies" / "1"), ["waveform"], hop_s=0.04, native_rate=True)


def test_stores_without_enough_copies(tiny_set, tiny_store, copied):
    with pytest.raises(
        StoreError, match="want 3 augmented copies, has 2 of waveform; run avloc extract with --augment"
    ):
        dataset(tiny_set, copied, copies=3)
    with pytest.raises(AvlocError, match="want copies ≥ 0, got -1"):
        dataset(tiny_set, copied, copies=-1)
    with pytest.raises(StoreError, match="want 1 augmented copies, has none of logspec"):
        FeatureDataset(read_records("lavdf", tiny_set), FeatureStore(tiny_store), ["logspec"], hop_s=0.04, copies=1)


def test_missing_and_foreign_copies(tiny_set, copied, tmp_path):
    store = tmp_path / "s"
    shutil.copytree(copied, store)
    for shard in (store / "copies" / "2" / "waveform").glob("*.h5"):
        shard.unlink()
    with pytest.raises(StoreError, match=r"3 of 6 augmented copies of waveform failed or were not extracted"):
        dataset(tiny_set, store)
    lenient = dataset(tiny_set, store, allow_missing=True)
    assert {lenient.copies.draw(k, np.random.default_rng(s)) for k in range(3) for s in range(30)} == {0, 1}
    path = store / "copies" / "1" / "waveform" / "store.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "version": 9}))
    with pytest.raises(StoreError, match="is no augmented copy of .*, they differ in version; remove the folder"):
        dataset(tiny_set, store, allow_missing=True)
    path.write_text(json.dumps(description))
    other = store / "copies" / "2" / "waveform" / "store.json"
    for changes in ({"recipe": "0" * 16}, {"seed": 1}, {"copy": 1}):
        changed = json.loads(other.read_text())
        other.write_text(json.dumps({**changed, "augmentation": {**changed["augmentation"], **changes}}))
        with pytest.raises(StoreError, match="copies/2/waveform: is of the augmentation .*, want .* with one recipe"):
            dataset(tiny_set, store, allow_missing=True)
        other.write_text(json.dumps(changed))
    del description["augmentation"]
    path.write_text(json.dumps(description))
    with pytest.raises(StoreError, match="they differ in augmentation"):
        dataset(tiny_set, store, allow_missing=True)


def test_a_piece_of_another_clip_comes_from_a_copy_too(tiny_set, copied, monkeypatch):
    """A piece that was always clean would be told from a copy by that alone."""
    forged, numbers = dataset(tiny_set, copied, mixing=MixingShares(pseudo_forgeries=1.0)), []
    read = forged._read
    monkeypatch.setattr(forged, "_read", lambda clip, copy=0: numbers.append(copy) or read(clip, copy))
    partners = []
    for seed in range(60):
        numbers.clear()
        forged[SampleIndex(seed % 3, seed)]
        partners += numbers[1:]
    assert len(partners) > 10
    assert set(partners) == {0, 1, 2}
