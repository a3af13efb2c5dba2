from __future__ import annotations

import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.layout import (
    ShardLayout,
    list_digest,
    new_layout,
    saved_layout,
    shard_size,
    shards_of_other_lists,
    stored_clips,
)
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter

TOY = ExtractorDescription("toy", "visual", hop_s=0.1, dim=2)
FILES = [f"{k}.mp4" for k in range(10)]


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "s")
    store.prepare(TOY)
    return store


def write(store, layout, which=None):
    """Write the shards of a layout, or some of them; 3.mp4 is a failed clip."""
    for index, name in enumerate(layout.names):
        if which is not None and index not in which:
            continue
        with ShardWriter(store.root / "toy" / name, 2) as shard:
            for file in layout.clips(index):
                if file == "3.mp4":
                    shard.fail(file, "odd")
                else:
                    shard.add(file, Features(np.ones((2, 2), np.float32), TimeGrid(0.0, 0.1, 2)))


def test_the_size_of_shards_depends_on_the_set_only():
    assert [shard_size(n) for n in (1, 100, 480, 1_000_000)] == [8, 8, 30, 2000]
    assert shard_size(1_000_000, 9.3e6) == 461  # 13 layers of 768 numbers, 9.3 s: shards of 4 GiB
    assert shard_size(1_000_000, 1e12) == 1


def test_skipped_clips_are_in_no_shard():
    layout = ShardLayout(FILES, 3, [(0, 2), (5, 6)])
    assert [layout.clips(k) for k in range(len(layout))] == [
        ("2.mp4", "3.mp4", "4.mp4"),
        ("6.mp4", "7.mp4", "8.mp4"),
        ("9.mp4",),
    ]
    assert layout.names == [shard_name(k, layout.clips(k)) for k in range(3)]
    assert np.flatnonzero(layout.skipped()).tolist() == [0, 1, 5]
    assert len(ShardLayout([], 3)) == 0
    assert len(ShardLayout(FILES, 3, [(0, 10)])) == 0


def test_the_first_saved_layout_stays_in_force(store):
    assert saved_layout(store, "toy", FILES) is None
    layout = ShardLayout(FILES, 3, [(0, 2)])
    store.save_plan("toy", layout.plan())
    store.save_plan("toy", ShardLayout(FILES, 4).plan())
    saved = saved_layout(store, "toy", FILES)
    assert (saved.size, saved.skip, saved.names) == (3, [(0, 2)], layout.names)
    assert saved_layout(store, "toy", FILES[:9]) is None


def test_a_damaged_plan_is_named(store):
    path = store.plan_path("toy", list_digest(FILES))
    path.write_text('{"shards": [1]}')
    with pytest.raises(StoreError, match=f"{path.name}: not a plan; remove it"):
        saved_layout(store, "toy", FILES)


def test_the_plan_of_another_list_is_refused(store):
    other = ShardLayout(FILES[:4], 2).plan()
    store.save_plan("toy", other)
    store.plan_path("toy", other.digest).rename(store.plan_path("toy", list_digest(FILES)))
    with pytest.raises(StoreError, match="not the plan of these 10 clips"):
        saved_layout(store, "toy", FILES)


def test_shards_of_other_lists(store):
    """They are those of the clips that the layout leaves out, and must exist."""
    other = ShardLayout(FILES[2:5], 2)
    write(store, other)
    layout = ShardLayout(FILES, 3, [(2, 5)])
    assert [path.name for path in shards_of_other_lists(store, "toy", layout)] == other.names
    assert shards_of_other_lists(store, "toy", ShardLayout(FILES, 3)) == []
    store.shards("toy")[0].unlink()
    message = rf"toy: 2 clips were in shards that are gone; remove plan-{layout.digest[:8]}\.json there and run the same again"
    with pytest.raises(StoreError, match=message):
        shards_of_other_lists(store, "toy", layout)


def test_stored_clips_include_failed_ones(store):
    layout = ShardLayout(FILES[2:5], 2)
    write(store, layout)
    stored = stored_clips(store, "toy", ["x.mp4", *FILES[3:6]])
    assert stored.mask.tolist() == [False, True, True, False]
    assert [path.name for path in stored.shards] == layout.names
    assert stored_clips(store, "toy", []).mask.shape == (0,)


def test_a_new_layout_has_only_clips_that_are_not_stored(store):
    layout = ShardLayout(FILES[:7], 3)
    store.save_plan("toy", layout.plan())
    write(store, layout)
    more = new_layout(store, "toy", FILES, 2)
    assert [more.clips(k) for k in range(len(more))] == [("7.mp4", "8.mp4"), ("9.mp4",)]
    assert more.skip == [(0, 7)]  # the failed clip too
    assert len(new_layout(store, "toy", FILES[2:5], 2)) == 0
    assert new_layout(store, "toy", ["x.mp4"], 2).clips(0) == ("x.mp4",)
    mixed = new_layout(store, "toy", ["y.mp4", "5.mp4", "z.mp4", "0.mp4"], 8)
    assert mixed.clips(0) == ("y.mp4", "z.mp4")
    assert mixed.skip == [(1, 2), (3, 4)]


def test_clips_of_an_unfinished_list_are_refused(store):
    layout = ShardLayout(FILES[:7], 3)
    store.save_plan("toy", layout.plan())
    write(store, layout, {1})
    message = r"3 of these 10 clips are in shards of another list of clips, of whose 3 shards 2 are .* \(with --shard-clips 3\)"
    with pytest.raises(StoreError, match=message):
        new_layout(store, "toy", FILES, 2)
    assert len(new_layout(store, "toy", FILES[7:], 2)) == 2  # none of these is in the unfinished list
