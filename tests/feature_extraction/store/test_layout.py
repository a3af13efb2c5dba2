from __future__ import annotations

import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import layout
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.plan_file import read_plan
from avloc.feature_extraction.store.layout import Layout, shard_size
from avloc.feature_extraction.store.shards import ShardWriter, shard_name

ABOUT = {"name": "toy", "dim": 2, "hop_s": 0.1}
FILES = [f"{k}.mp4" for k in range(10)]


@pytest.fixture
def store(tmp_path):
    found = FeatureStore(tmp_path / "s")
    found.prepare(ABOUT)
    return found


def write(store, of, which=None):
    """The shards of a layout, or some of them; one clip is a failed one."""
    for index, name in enumerate(of.names):
        if which is not None and index not in which:
            continue
        with ShardWriter(store.root / "toy" / name, 2) as shard:
            for file in of.clips(index):
                if file == "3.mp4":
                    shard.fail(file, "odd")
                else:
                    shard.add(file, Features(np.ones((2, 2), np.float32), TimeGrid(0.0, 0.1, 2)))


def test_the_size_depends_on_the_set_only():
    assert [shard_size(n) for n in (1, 100, 480, 1_000_000)] == [8, 8, 30, 2000]
    assert shard_size(1_000_000, 9.3e6) == 461  # 13 layers of 768 numbers, 9.3 s: shards of 4 GiB
    assert shard_size(1_000_000, 1e12) == 1


def test_without_what_is_elsewhere():
    of = Layout(FILES, 3, [(0, 2), (5, 6)])
    assert [of.clips(k) for k in range(len(of))] == [
        ("2.mp4", "3.mp4", "4.mp4"), ("6.mp4", "7.mp4", "8.mp4"), ("9.mp4",),
    ]  # fmt: skip
    assert of.names == [shard_name(k, of.clips(k)) for k in range(3)]
    assert np.flatnonzero(of.skipped()).tolist() == [0, 1, 5]
    assert len(Layout([], 3)) == 0
    assert len(Layout(FILES, 3, [(0, 10)])) == 0


def test_what_is_noted_is_kept_to(store):
    assert layout.planned_layout(store, "toy", FILES) is None
    of = Layout(FILES, 3, [(0, 2)])
    store.save_plan("toy", of.plan())
    store.save_plan("toy", Layout(FILES, 4).plan())  # the first stands
    again = layout.planned_layout(store, "toy", FILES)
    assert (again.size, again.skip, again.names) == (3, [(0, 2)], of.names)
    assert layout.planned_layout(store, "toy", FILES[:9]) is None


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"shards": [1]}', '{"shards": [], "skip": [[4, 2]]}', '{"shards": [], "skip": 4}']
)
def test_a_damaged_plan_is_said(store, text):
    path = store.plan_path("toy", layout.list_digest(FILES))
    path.write_text(text)
    with pytest.raises(StoreError, match=f"{path.name}: not a plan; remove it"):
        layout.planned_layout(store, "toy", FILES)


def test_the_plan_of_another_list_is_said(store):
    other = Layout(FILES[:4], 2).plan()
    store.save_plan("toy", other)
    store.plan_path("toy", other.digest).rename(store.plan_path("toy", layout.list_digest(FILES)))
    with pytest.raises(StoreError, match="not the plan of these 10 clips"):
        layout.planned_layout(store, "toy", FILES)


def test_a_new_list_is_of_what_is_not_there(store):
    of = Layout(FILES[:7], 3)
    store.save_plan("toy", of.plan())
    write(store, of)
    more = layout.new(store, "toy", FILES, 2)
    assert [more.clips(k) for k in range(len(more))] == [("7.mp4", "8.mp4"), ("9.mp4",)]
    assert more.skip == [(0, 7)]  # a failed one too
    none = layout.new(store, "toy", FILES[2:5], 2)
    assert len(none) == 0
    assert [*layout.new(store, "toy", ["x.mp4"], 2).clips(0)] == ["x.mp4"]
    odd = layout.new(store, "toy", ["y.mp4", "5.mp4", "z.mp4", "0.mp4"], 8)
    assert odd.clips(0) == ("y.mp4", "z.mp4")
    assert odd.skip == [(1, 2), (3, 4)]


def test_half_of_another_list_is_no_ground_to_build_on(store):
    of = Layout(FILES[:7], 3)
    store.save_plan("toy", of.plan())
    write(store, of, {1})
    message = r"3 of these 10 clips are in shards of another list of clips, of whose 3 shards 2 are .* \(with --shard-clips 3\)"
    with pytest.raises(StoreError, match=message):
        layout.new(store, "toy", FILES, 2)
    assert len(layout.new(store, "toy", FILES[7:], 2)) == 2  # it has nothing to do with these


def test_plans_can_be_read(store):
    store.save_plan("toy", Layout(FILES, 6, [(1, 3)]).plan())
    plan = read_plan(store.plans("toy")[0])
    assert (len(plan.shards), plan.size, plan.skip) == (2, 6, [[1, 3]])
