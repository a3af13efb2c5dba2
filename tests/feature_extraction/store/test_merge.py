from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.merge import plan_merge, run_merge
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.feature_extraction.store.verify import verify_store

PLANNED = (["a", "b"], ["c", "d", "e"], ["f"])


def make(root, which, name="toy", plan=PLANNED, failing=(), value=1.0, hop_s=0.5, **more):
    """Make a store with some of the planned shards, as one machine of several does."""
    store = FeatureStore(root)
    folder = store.prepare(ExtractorDescription(name, "audio", hop_s=hop_s, dim=3, **more))
    names = [shard_name(k, files) for k, files in enumerate(plan)]
    store.save_plan(name, PlanFile(names))
    for k in which:
        with ShardWriter(folder / names[k], 3, store.fingerprint(name)) as shard:
            for file in plan[k]:
                if file in failing:
                    shard.fail(file, "no sound")
                else:
                    values = np.full((ord(file) - 96, 3), value, np.float32)
                    shard.add(file, Features(values, TimeGrid(0.0, 0.5, len(values))))
    return store


def merge(out, *stores, link=False):
    """Merge stores; returns the numbers of copied and of kept shards."""
    plan = plan_merge(FeatureStore(out), list(stores))
    return run_merge(plan, link=link), plan.kept


def test_parts_of_one_job_become_whole(tmp_path):
    one, two = make(tmp_path / "1", [0, 2]), make(tmp_path / "2", [1])
    make(tmp_path / "2", [0, 1], name="other", plan=(["x"], ["y"]))
    out = tmp_path / "out"
    assert [f.problem for f in verify_store(one, "toy").faults] == ["is planned, but missing"]
    assert merge(out, one, two) == (5, 0)
    store = FeatureStore(out)
    assert store.extractors() == ["other", "toy"]
    assert store.files("toy") == ["a", "b", "c", "d", "e", "f"]
    assert store.length("toy", "e") == 5
    assert verify_store(store, "toy").faults == verify_store(store, "other").faults == []
    assert store.describe("toy") == one.describe("toy")
    assert not list(out.rglob(".*"))


def test_a_merge_resumes_and_may_write_into_one_of_the_stores(tmp_path):
    one, two = make(tmp_path / "1", [0, 1]), make(tmp_path / "2", [1, 2])
    assert merge(tmp_path / "1", one, two) == (1, 2)
    assert merge(tmp_path / "1", two) == (0, 3)
    (tmp_path / "1" / "toy" / shard_name(2, ["f"])).unlink()
    assert merge(tmp_path / "1" / ".." / "1", one, two) == (1, 2)
    assert verify_store(FeatureStore(tmp_path / "1"), "toy").faults == []


def test_different_splits_keep_both_plans(tmp_path):
    one = make(tmp_path / "1", [0], plan=(["a", "b"],))
    two = make(tmp_path / "2", [0, 1], plan=(["c"], ["d"]))
    merge(tmp_path / "out", one, two)
    store = FeatureStore(tmp_path / "out")
    assert len(store.plans("toy")) == 2
    assert len(store.planned_shards("toy")) == 3
    assert verify_store(store, "toy").faults == []


def test_links_or_else_copies(tmp_path, monkeypatch):
    one = make(tmp_path / "1", [0])
    assert merge(tmp_path / "out", one, link=True) == (1, 0)
    assert os.path.samefile(one.shards("toy")[0], FeatureStore(tmp_path / "out").shards("toy")[0])

    def no_link(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    assert merge(tmp_path / "far", one, link=True) == (1, 0)
    assert not os.path.samefile(one.shards("toy")[0], FeatureStore(tmp_path / "far").shards("toy")[0])
    assert (
        verify_store(FeatureStore(tmp_path / "far"), "toy", quick=False).faults[0].problem == "is planned, but missing"
    )


def test_another_process_brings_the_same_shard(tmp_path):
    one = make(tmp_path / "1", [0])
    plans = [plan_merge(FeatureStore(tmp_path / "out"), [one]) for _ in range(2)]
    assert [run_merge(plan, link=True) for plan in plans] == [1, 1]
    assert len(FeatureStore(tmp_path / "out").shards("toy")) == 1


def test_a_clip_that_failed_in_one_store_is_taken_from_another(tmp_path):
    one = make(tmp_path / "1", [0], failing=("b",))
    two = make(tmp_path / "2", [0], plan=(["b", "x"],))
    merge(tmp_path / "out", one, two)
    assert FeatureStore(tmp_path / "out").failures("toy") == {}
    assert FeatureStore(tmp_path / "out").length("toy", "b") == 2


def test_equal_features_of_a_clip_in_two_shards_are_accepted(tmp_path):
    one = make(tmp_path / "1", [0])
    two = make(tmp_path / "2", [0], plan=(["b", "x"],))
    assert merge(tmp_path / "out", one, two) == (2, 0)
    assert verify_store(FeatureStore(tmp_path / "out"), "toy").faults[0].problem == "is planned, but missing"


def check_refused(tmp_path, *stores, match):
    with pytest.raises(StoreError, match=match):
        plan_merge(FeatureStore(tmp_path / "out"), stores)
    assert not (tmp_path / "out").exists()


def test_other_features_of_a_clip_are_refused(tmp_path):
    one = make(tmp_path / "1", [0, 1])
    two = make(tmp_path / "2", [0], plan=(["x", "b"],), value=2.0)
    check_refused(tmp_path, one, two, match=r"b: its features in .*2/toy/00000.* differ from .*1/toy/00000")


def test_other_content_under_the_same_name_is_refused(tmp_path):
    one, two = make(tmp_path / "1", [0]), make(tmp_path / "2", [0], value=2.0)
    check_refused(
        tmp_path, one, two, match=r"2/toy/00000-.* holds the same clips as .*1/toy/00000.* its content differs"
    )


@pytest.mark.parametrize(("more", "key"), [({"hop_s": 0.25}, "hop_s"), ({"decoder": "x"}, "decoder")])
def test_other_settings_are_refused_and_named(tmp_path, more, key):
    one, two = make(tmp_path / "1", [0]), make(tmp_path / "2", [1], **more)
    check_refused(
        tmp_path, one, two, match=rf"toy: {key} is .* in .*1 and .* in .*2; features made with other settings"
    )
    check_refused(tmp_path, two, one, match=rf"toy: {key} is .* in .*2 and .* in .*1")


def test_an_older_format_is_refused(tmp_path):
    one = make(tmp_path / "1", [0])
    path = one.root / "toy" / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    check_refused(tmp_path, one, match="has format version 2, which can be read but not merged")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 1}))
    check_refused(tmp_path, one, match="want a store of format version 2 or 3, got 1")


def test_damaged_and_foreign_shards_are_refused(tmp_path):
    one, two = make(tmp_path / "1", [0]), make(tmp_path / "2", [1])
    path = two.shards("toy")[0]
    with h5py.File(path, "a") as file:
        file.attrs["extractor"] = "other"
    check_refused(tmp_path, one, two, match=f"{path.name}: is of another extractor")
    path.write_bytes(path.read_bytes()[:-50])
    check_refused(tmp_path, one, two, match=f"{path.name}: a damaged shard")
    (two.root / "toy" / "plan-0.json").write_text("[]")
    check_refused(tmp_path, one, two, match="plan-0.json: not a plan")


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    check_refused(tmp_path, FeatureStore(tmp_path / "none"), match="none: no store")


def test_a_shard_that_disappears_meanwhile(tmp_path):
    one = make(tmp_path / "1", [0])
    plan = plan_merge(FeatureStore(tmp_path / "out"), [one])
    one.shards("toy")[0].unlink()
    with pytest.raises(ValueError, match="disappeared while it was copied; run the same merge again"):
        run_merge(plan)
    assert not list((tmp_path / "out").rglob("*.h5"))


def test_an_extractor_without_shards(tmp_path):
    store = FeatureStore(tmp_path / "1")
    store.prepare(ExtractorDescription("toy", "audio", hop_s=0.5, dim=3))
    assert merge(tmp_path / "out", store) == (0, 0)
    assert FeatureStore(tmp_path / "out").extractors() == ["toy"]


def test_shards_stay_valid_whatever_the_text_of_store_json(tmp_path):
    """The fingerprint is of the text's content, so the text is copied: here an older one, without optional keys."""
    one = FeatureStore(tmp_path / "1")
    (one.root / "toy").mkdir(parents=True)
    text = '{"format_version": 3, "name": "toy", "modality": "audio", "hop_s": 1, "dim": 3}'
    (one.root / "toy" / "store.json").write_text(text)
    with ShardWriter(one.root / "toy" / shard_name(0, ["a"]), 3, one.fingerprint("toy")) as shard:
        shard.end("a", 0.0)
    assert merge(tmp_path / "out", one) == (1, 0)
    assert (tmp_path / "out" / "toy" / "store.json").read_text() == text
    assert verify_store(FeatureStore(tmp_path / "out"), "toy").faults == []
    two = make(tmp_path / "2", [], hop_s=1.0)  # the same settings, written in full
    check_refused(tmp_path / "other", one, two, match="mean the same but are not written alike")
