from __future__ import annotations

import numpy as np
import pytest

from avloc.augment import Brightness, Gain, Recipe, Saturation, Step
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job import plan as plan_module
from avloc.feature_extraction.job.copies import copy_jobs, plan_jobs
from avloc.feature_extraction.job.run import extract, run_plan
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


def test_a_copy_of_all_extractors_is_of_one_recipe(toys, clips, names, tmp_path):
    """The streams of a copy are drawn together, so those of two recipes would be one clip that never was."""
    store = FeatureStore(tmp_path / "s")
    both = Recipe(SOFTER.audio, DARKER.visual)
    sound, picture = (ExtractionSettings(clips, ((name, {}),)) for name in ("waveform", "avloc_toys.Toy"))
    for plan in plan_jobs(names[:1], store, sound, recipe=both):
        run_plan(plan)
    with pytest.raises(StoreError, match=r"copies/1: its features of waveform are of another recipe .* give the same"):
        plan_jobs(names[:1], store, picture, recipe=DARKER)
    for plan in plan_jobs(names[:1], store, picture, recipe=both):
        run_plan(plan)
    assert store.copy(1).extractors() == ["toy", "waveform"]


def test_colours_of_grey_frames_are_no_change(toys, clips, names, tmp_path):
    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}), ("logmel", {})))
    store, paler = FeatureStore(tmp_path / "s"), Step(Saturation, 1.0, {"factor": 0.5})
    with pytest.raises(AvlocError, match="no steps for the input of toy, logmel; want .* others than those of colours"):
        list(copy_jobs(store, settings, Recipe(visual=(paler,)), 1))
    warnings = []
    (job,) = copy_jobs(store, settings, Recipe(SOFTER.audio, (paler,)), 1, warn=warnings.append)
    assert (job.extractors, [name for name, _ in job.settings.extractors]) == ((1,), ["logmel"])
    assert warnings == ["1 steps of the recipe change nothing but colours, and the frames of toy are grey"]
    (job,) = copy_jobs(store, settings, Recipe(visual=(paler, *DARKER.visual)), 1, warn=warnings.append)
    assert (job.extractors, len(warnings)) == ((0,), 2)


def test_weights_are_read_once_and_the_room_is_checked_for_all_copies(toys, clips, names, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(plan_module, "check_space", lambda root, size, clips: calls.append((root.name, size, clips)))
    loaded = []
    load = plan_module._describe_extractors
    monkeypatch.setattr(plan_module, "_describe_extractors", lambda settings: loaded.append(1) or load(settings))
    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}), ("waveform", {})))
    store, jobs = FeatureStore(tmp_path / "s"), {"recipe": DARKER, "shard_clips": 2}
    run_plan(plan_jobs(names, store, settings, copies=1, **jobs)[1])  # the first copy exists
    loaded.clear()
    calls.clear()
    plans = plan_jobs(names, store, settings, copies=3, **jobs)
    assert len(loaded) == 1
    first = store.copy(1).describe("toy").augmentation
    assert [plan.descriptions[0].augmentation for plan in plans] == [None, *({**first, "copy": k} for k in (1, 2, 3))]
    list(plans[0].prepare())
    ((root, size, count),) = calls
    alone = 25 * 2 * 2 * len(names)  # bytes per second of toy in all clips
    assert (root, count) == ("s", 3 * len(names))
    seconds = size / (3 * alone + 100 * 160 * 2 * len(names))
    assert seconds == pytest.approx(1.2, rel=0.3)
