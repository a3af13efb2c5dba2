from __future__ import annotations

import json
import re
import shutil

import h5py
import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shard_tables import checksum, shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.feature_extraction.store.verify import verify_store

HOP_S = 0.5
CLIPS = (["a.mp4", "bé d.mp4"], ["c.mp4", "d.mp4", "e.mp4"], ["f.mp4"])


def write(path, files, dim, fingerprint, value=1.0, start_s=0.0):
    """Write a shard: clip k has k + 2 rows; the second one is a failed clip."""
    with ShardWriter(path, dim, fingerprint) as shard:
        for k, file in enumerate(files):
            if k == 1:
                shard.fail(file, "no such file")
            else:
                values = np.full((k + 2, dim), value + k, dtype=np.float32)
                shard.add(file, Features(values, TimeGrid(start_s, HOP_S, k + 2)))


def fill(root, name="toy", dim=3, clips=CLIPS, **more):
    """Make a store with the planned shards."""
    store = FeatureStore(root)
    folder = store.prepare(ExtractorDescription(name, "audio", hop_s=HOP_S, dim=dim))
    names = [shard_name(k, files) for k, files in enumerate(clips)]
    store.save_plan(name, PlanFile(names))
    for file_name, files in zip(names, clips, strict=True):
        write(folder / file_name, files, dim, store.fingerprint(name), **more)
    return store


@pytest.fixture
def store(tmp_path):
    return fill(tmp_path / "s")


def change(path, edit):
    """Apply a function to the open shard."""
    with h5py.File(path, "a") as file:
        edit(file)


def replace(name, make):
    """Make an edit that replaces the content of a dataset."""

    def edit(file):
        old = file[name][()]
        del file[name]
        file[name] = make(old)

    return edit


def claim(name):
    """Make an edit that lets a table claim more rows than memory holds."""

    def edit(file):
        del file[name]
        file.create_dataset(name, shape=(1 << 40,), dtype="f8")

    return edit


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    with h5py.File(path, "r") as file:
        at = file["values"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def swap(path):
    other = sorted(path.parent.glob("0*.h5"))[-1]
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def from_another(path):
    other = fill(path.parents[2] / "other", name="other")
    shutil.copy(other.shards("other")[0], path)


def as_float32(path):
    change(path, replace("values", lambda old: old.astype(np.float32)))


def link(file):
    del file["values"]
    file["values"] = h5py.ExternalLink("00001.h5", "values")


DAMAGE = {
    "truncated": (truncate, r"a damaged shard \(.*truncated file", True),
    "not HDF5": (lambda p: p.write_bytes(b"no shard"), "a damaged shard", True),
    "empty": (lambda p: p.write_bytes(b""), "a damaged shard", True),
    "a table gone": (lambda p: change(p, lambda f: f.__delitem__("files")), "a damaged shard .*files", True),
    "a huge table": (lambda p: change(p, claim("start")), "its table start is larger than the file", True),
    "a flipped bit": (flip, "the checksum is wrong", False),
    "no checksum": (lambda p: change(p, lambda f: f.attrs.__delitem__("sha256")), "has no checksum", False),
    "deleted": (lambda p: p.unlink(), "is planned, but missing; run the same extraction again", True),
    "of another extractor": (from_another, "is of another extractor.*move it out", True),
    "of nobody": (
        lambda p: change(p, lambda f: f.attrs.__setitem__("extractor", "")),
        "does not say which extractor",
        True,
    ),
    "renamed": (lambda p: p.rename(p.with_name("00000-12345678.h5")), "name does not match its clips", True),
    "renumbered": (lambda p: p.rename(p.with_name(p.name.replace("00000", "00007"))), "is in no plan", True),
    "swapped": (swap, "name does not match its clips", True),
    "other type": (as_float32, "want values of plain float16", True),
    "short table": (lambda p: change(p, replace("start", lambda s: s[:-1])), "unequal length: files 2.*start 1", True),
    "offsets falling": (lambda p: change(p, replace("offsets", lambda o: o[::-1].copy())), "do not rise", True),
    "offsets short": (
        lambda p: change(p, replace("offsets", lambda o: o - [0, 1, 1])),
        "end at 1, it has 2 rows",
        True,
    ),
    "rows of a failed clip": (
        lambda p: change(p, replace("offsets", lambda o: o - [0, 1, 0])),
        "rows of a clip that failed",
        True,
    ),
    "start": (lambda p: change(p, replace("start", lambda s: s * np.nan)), "not a finite number", True),
    "another start": (
        lambda p: change(p, replace("start", lambda s: s + 0.5)),
        "checksum of its tables is wrong",
        True,
    ),
    "another size": (lambda p: change(p, replace("bytes", lambda b: b + 8)), "checksum of its tables is wrong", True),
    "a problem removed": (lambda p: change(p, replace("problems", lambda t: t[:-1])), "unequal length", True),
    "gaps": (lambda p: change(p, replace("gaps", lambda g: np.array([[0, 0, 1]]))), "checksum of its tables", True),
    "a link": (lambda p: change(p, link), "its table values is a link to another place", True),
}


def test_a_store_without_faults(store):
    progress = []
    check = verify_store(store, "toy", progress=progress.append)
    assert (check.shards, check.faults, check.notes, progress) == (3, [], [], [1, 1, 1])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_detected(store, kind):
    damage, message, is_quick = DAMAGE[kind]
    path = store.shards("toy")[0]
    damage(path)
    check = verify_store(store, "toy")
    text = "\n".join(map(str, check.faults))
    assert re.search(message, text)
    assert path.name in text
    assert bool(verify_store(store, "toy", quick=True).faults) == is_quick


def test_damage_of_one_shard_is_a_fault_of_that_shard_alone(store):
    truncate(store.shards("toy")[1])
    (fault,) = verify_store(store, "toy").faults
    assert fault.path == store.shards("toy")[1]
    assert str(fault).endswith("; remove it and run the same extraction again")


def test_every_truncation_and_every_changed_value_is_detected(store):
    path = store.shards("toy")[0]
    content = path.read_bytes()
    with h5py.File(path, "r") as file:
        first, last = file["values"].id.get_chunk_info(0).byte_offset, file["values"].size * 2
    for at in range(first, first + last):
        changed = bytearray(content)
        changed[at] ^= 16
        path.write_bytes(changed)
        assert "the checksum is wrong" in verify_store(store, "toy").faults[0].problem
    for size in range(0, len(content), 397):
        path.write_bytes(content[:size])
        assert "a damaged shard" in verify_store(store, "toy").faults[0].problem


def test_dimensions_are_those_of_the_extractor(tmp_path):
    store = fill(tmp_path / "s", clips=(["a"],))
    write(store.shards("toy")[0], ["a"], 5, store.fingerprint("toy"))
    assert "its rows have 5 numbers, rows of this extractor have 3" in str(verify_store(store, "toy").faults[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_their_clip(tmp_path, value):
    store = fill(tmp_path / "s", clips=(["a", "x", "c"],))
    with ShardWriter(store.shards("toy")[0], 3, store.fingerprint("toy")) as shard:
        shard.add("a", Features(np.ones((2, 3), np.float32), TimeGrid(0, HOP_S, 2)))
        shard.fail("x", "no")
        shard.append(np.ones((1, 3), np.float32))
        shard._values[2, 1] = value
        shard.end("c", 0.0)
    with h5py.File(store.shards("toy")[0], "a") as file:
        file.attrs["sha256"] = checksum(file)
    (fault,) = verify_store(store, "toy").faults
    assert "has values of c that are not finite numbers; correct the extractor" in str(fault)
    assert verify_store(store, "toy", quick=True).faults == []


def test_a_repeated_clip_is_a_fault_only_with_other_features(tmp_path):
    clips = (["a", "x", "c"], ["c", "y", "a"])
    store = fill(tmp_path / "s", clips=clips)
    text = str(verify_store(store, "toy").faults[0])
    assert "has other features of" in text
    assert "and 1 more clips than 00000-" in text
    assert verify_store(store, "toy", quick=True).faults  # other lengths
    same = fill(tmp_path / "t", clips=(["a", "x"], ["a", "y"]))
    assert verify_store(same, "toy").faults == []
    write(same.shards("toy")[1], ["a", "y"], 3, same.fingerprint("toy"), value=2.0)
    assert len(verify_store(same, "toy").faults) == 1
    assert verify_store(same, "toy", quick=True).faults == []  # by length and start alone
    write(same.shards("toy")[1], ["a", "y"], 3, same.fingerprint("toy"), start_s=0.25)
    assert len(verify_store(same, "toy", quick=True).faults) == 1


def test_notes_are_no_faults(store):
    folder = store.root / "toy"
    (folder / ".00007-ab.host.1.tmp.h5").write_bytes(b"")
    shutil.copy(store.shards("toy")[0], folder / "old.h5")
    check = verify_store(store, "toy")
    assert check.faults == []
    assert [note.partition(": ")[2][:16] for note in check.notes] == ["is unfinished; i", "does not have th"]
    for plan in store.plans("toy"):
        plan.unlink()
    assert "has no plan, so missing shards cannot be recognized" in verify_store(store, "toy").notes[0]
    store.shards("toy")[0].unlink()
    assert verify_store(store, "toy").faults == []


def test_an_unreadable_plan_is_a_fault_and_hides_no_others(store):
    (store.root / "toy" / "plan-0.json").write_text("[]")
    store.shards("toy")[0].unlink()
    assert [f.problem for f in verify_store(store, "toy").faults] == [
        "is a plan that cannot be read",
        "is planned, but missing",
    ]


def test_an_extractor_without_shards_or_rows(tmp_path):
    store = FeatureStore(tmp_path / "s")
    store.prepare(ExtractorDescription("toy", "audio", hop_s=HOP_S, dim=3))
    assert verify_store(store, "toy").faults == []
    folder, name = store.root / "toy", shard_name(0, ["a"])
    store.save_plan("toy", PlanFile([name]))
    with ShardWriter(folder / name, 3, store.fingerprint("toy")) as shard:
        shard.end("a", 0.0)
    assert verify_store(store, "toy").faults == []


def test_format_version_2_has_no_plans_and_no_fingerprints(store):
    path = store.root / "toy" / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    for path in store.shards("toy"):
        change(path, lambda file: file.attrs.__delitem__("extractor"))
    check = verify_store(store, "toy")
    assert check.faults == []
    assert "format version 2, in which missing shards" in check.notes[0]
    flip(store.shards("toy")[0])
    assert len(verify_store(store, "toy").faults) == 1


def test_an_unknown_extractor_is_refused(store):
    with pytest.raises(StoreError, match="no features of 'other', the store has: toy"):
        verify_store(store, "other")


def test_swapped_lengths_of_two_clips_are_found_without_the_values(tmp_path):
    store = fill(tmp_path / "s", clips=(["a", "x", "c"],))
    path = store.shards("toy")[0]
    change(path, replace("offsets", lambda o: np.array([0, 4, 4, 6])))  # a and c had 2 and 4 rows
    (fault,) = verify_store(store, "toy", quick=True).faults
    assert fault.problem == "the checksum of its tables is wrong, its content was changed"


def test_shards_of_earlier_releases_are_noted_by_a_quick_check(store):
    for path in store.shards("toy")[:2]:
        change(path, lambda file: [file.__delitem__("problems"), file.__delitem__("gaps")])
        change(path, lambda file: file.attrs.__delitem__("tables_sha256"))
    check = verify_store(store, "toy", quick=True)
    assert check.faults == []
    assert len(check.notes) == 1
    assert "has 2 shards of earlier releases" in check.notes[0]
    assert verify_store(store, "toy").notes == verify_store(store, "toy").faults == []


def test_a_shard_that_may_not_be_read_is_not_to_be_removed(store, monkeypatch):
    def refuse(*_, **__):
        raise OSError("Unable to lock file, errno = 37, error message = 'No locks available'")

    monkeypatch.setattr(h5py, "File", refuse)
    for fault in verify_store(store, "toy").faults:
        assert "cannot be read (No locks available); the file may be whole" in str(fault)
        assert "remove" not in str(fault)
