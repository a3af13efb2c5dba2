from __future__ import annotations

import numpy as np
import pytest

from avloc.augment import Brightness, Gain, Recipe, Step
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job.copies import copy_jobs
from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

DARKER = Recipe(visual=(Step(Brightness, 1.0, {"factor": 0.5}),))
SOFTER = Recipe(audio=(Step(Gain, 1.0, {"gain_db": -6.0}),))


def test_each_copy_has_a_store_and_resumes(toys, clips, names, tmp_path):
    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}), ("waveform", {})))
    store = FeatureStore(tmp_path / "s")
    extract(names, store, settings)
    jobs = list(copy_jobs(store, settings, DARKER, 2))
    assert [job.store.root for job in jobs] == [store.root / "copies" / "1", store.root / "copies" / "2"]
    for job in jobs:
        report = extract(names, job.store, job.settings)
        assert (report.done, report.reused) == (len(names), 0)
        again = extract(names, job.store, job.settings)
        assert (again.done, again.reused) == (0, len(names))
        assert job.store.extractors() == ["toy"]  # the recipe leaves the sound as it is
        clean, copy = store.read("toy", names[2]), job.store.read("toy", names[2])
        np.testing.assert_allclose(copy.values, clean.values / 2, atol=1)
        assert (copy.grid, copy.gaps) == (clean.grid, clean.gaps)
    assert store.extractors() == ["toy", "waveform"]
    assert [job.store.describe("toy").augmentation["copy"] for job in jobs] == [1, 2]
    assert store.describe("toy").augmentation is None


def test_other_recipes_and_copies_are_refused(toys, clips, names, tmp_path):
    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}),))
    store = FeatureStore(tmp_path / "s")
    first, second = copy_jobs(store, settings, DARKER, 2)
    extract(names[:1], first.store, first.settings)
    (other,) = copy_jobs(store, settings, Recipe(visual=(Step(Brightness, 0.9, {"factor": 0.5}),)), 1)
    for wrong in (other.settings, second.settings, settings):
        with pytest.raises(StoreError, match="holds features made with other settings: augmentation was"):
            extract(names[:1], first.store, wrong)


def test_numbers_and_recipes_that_do_not_fit(tmp_path):
    settings, store = ExtractionSettings(tmp_path, (("logmel", {}),)), FeatureStore(tmp_path)
    for count in (0, 101):
        with pytest.raises(AvlocError, match=f"want 1 to 100 copies, got {count}"):
            list(copy_jobs(store, settings, SOFTER, count))
    with pytest.raises(AvlocError, match="the recipe has no steps for the input of logmel"):
        list(copy_jobs(store, settings, DARKER, 1))
    assert len(list(copy_jobs(store, settings, SOFTER, 3))) == 3
