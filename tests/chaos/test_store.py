"""Stores are tampered with in every way that was thought of; two containers work in one folder.

Whatever was done, a reader returns the very features that were stored or raises a `StoreError` of one line, and `verify` names
the shard.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.merge import plan_merge
from avloc.feature_extraction.store.npy_export import plan_export, run_export
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.feature_extraction.store.summary import iter_problems, summarize
from avloc.feature_extraction.store.verify import verify_store

CLIPS = (["a.mp4", "broken.mp4", "ü/c.mp4"], ["d.mp4", "e.mp4"])
DIM = 3
TABLES = ("files", "status", "offsets", "start", "bytes", "problems", "gaps")


def fill(root, name="toy", dim=DIM):
    """Make a store of two shards, one with a failed clip, one with problems and gaps."""
    store = FeatureStore(root)
    folder = store.prepare(ExtractorDescription(name, "audio", hop_s=0.5, dim=dim))
    names = [shard_name(k, clips) for k, clips in enumerate(CLIPS)]
    store.save_plan(name, PlanFile(names))
    numbers = np.random.default_rng(0)
    for file_name, clips in zip(names, CLIPS, strict=True):
        with ShardWriter(folder / file_name, dim, store.fingerprint(name)) as shard:
            for k, clip in enumerate(clips):
                if clip == "broken.mp4":
                    shard.fail(clip, "no sound", 100)
                else:
                    shard.append(numbers.normal(size=(k + 4, dim)).astype(np.float32))
                    shard.end(clip, k / 4, 100 + k, problems=["cut off"] if k else [], gaps=[(1, 3)] if k else [])
    return store


def contents(store) -> dict[str, tuple[object, ...]]:
    """All that a store says of its clips."""
    clips = {}
    for file in store.files("toy"):
        features = store.read("toy", file)
        clips[file] = (features.grid, features.gaps, features.values.tobytes())
    return clips


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("original") / "s")


@pytest.fixture
def store(original, tmp_path):
    return FeatureStore(shutil.copytree(original.root, tmp_path / "s"))


def edit(change):
    """Make a tampering that changes the open first shard."""

    def tamper(store):
        with h5py.File(store.shards("toy")[0], "a") as file:
            change(file)

    return tamper


def table(name, make, **options):
    """Make a tampering that replaces a table by another one."""

    def change(file):
        data = make(file[name][()])
        del file[name]
        file.create_dataset(name, data=data, **options)

    return edit(change)


def place(name, make):
    """Make a tampering that puts something else where a table was."""

    def change(file):
        del file[name]
        make(file, name)

    return edit(change)


def as_file(change):
    """Make a tampering that changes the bytes of the first shard."""

    def tamper(store):
        path = store.shards("toy")[0]
        content = bytearray(path.read_bytes())
        path.write_bytes(change(content) or content)

    return tamper


def virtual(file, name):
    layout = h5py.VirtualLayout(shape=(10, DIM), dtype="<f2")
    layout[:] = h5py.VirtualSource("00001.h5", "values", shape=(10, DIM))
    file.create_virtual_dataset(name, layout)


def swap_files(store):
    one, two = store.shards("toy")
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def rename(store):
    path = store.shards("toy")[0]
    path.rename(path.with_name("00000-12345678.h5"))


def another_extractor(store):
    other = fill(store.root.parent / "other", name="other", dim=5)
    shutil.copy(other.shards("other")[0], store.shards("toy")[0])


def replace_file(make):
    def tamper(store):
        path = store.shards("toy")[0]
        path.unlink()
        make(path)

    return tamper


QUICK = {  # found by the tables alone
    "cut in half": as_file(lambda content: content[: len(content) // 2]),
    "last byte gone": as_file(lambda content: content[:-1]),
    "empty": as_file(lambda content: b"\0"),
    "text": as_file(lambda content: b"no shard at all"),
    "only zeros": as_file(lambda content: bytes(len(content))),
    "head overwritten": as_file(lambda content: b"\0" * 64 + content[64:]),
    **{f"without {name}": edit(lambda file, name=name: file.__delitem__(name)) for name in (*TABLES[:5], "values")},
    "without gaps": edit(lambda file: file.__delitem__("gaps")),
    "without problems": edit(lambda file: file.__delitem__("problems")),
    "longer offsets": table("offsets", lambda old: np.append(old, old[-1])),
    "swapped offsets": table("offsets", lambda old: np.array([0, 6, 6, 10])),
    "falling offsets": table("offsets", lambda old: old[::-1].copy()),
    "offsets past the end": table("offsets", lambda old: old * 10**9),
    "negative offsets": table("offsets", lambda old: old - 1),
    "no offsets": table("offsets", lambda old: old[:0]),
    "another start": table("start", lambda old: old + 0.25),
    "start not finite": table("start", lambda old: old * np.nan),
    "other sizes": table("bytes", lambda old: old + 1),
    "names swapped": table("files", lambda old: np.frombuffer("ü/c.mp4\0broken.mp4\0a.mp4".encode(), np.uint8)),
    "names not text": table("files", lambda old: np.full_like(old, 255)),
    "one name less": table("files", lambda old: old[:5]),
    "a failure made good": table("status", lambda old: np.frombuffer(b"ok\0ok\0ok", np.uint8)),
    "another reason": table("status", lambda old: np.frombuffer(b"ok\0no time\0ok", np.uint8)),
    "problems erased": table("problems", lambda old: np.frombuffer(b"\0\0", np.uint8)),
    "gaps erased": table("gaps", lambda old: old[:0]),
    "gaps elsewhere": table("gaps", lambda old: old + np.array([1, 0, 0])),
    "text of HDF5": table("files", lambda old: ["a.mp4", "broken.mp4", "ü/c.mp4"], dtype=h5py.string_dtype()),
    "a soft link": place("start", lambda file, name: file.__setitem__(name, h5py.SoftLink("/bytes"))),
    "an external link": place(
        "values", lambda file, name: file.__setitem__(name, h5py.ExternalLink("00001.h5", "/values"))
    ),
    "an external file": place(
        "start", lambda file, name: file.create_dataset(name, shape=(3,), dtype="f8", external=[("/etc/passwd", 0, 24)])
    ),
    "virtual values": place("values", virtual),
    "a group": place("bytes", lambda file, name: file.create_group(name)),
    "a huge table": place("start", lambda file, name: file.create_dataset(name, shape=(1 << 40,), dtype="f8")),
    "huge values": place(
        "values", lambda file, name: file.create_dataset(name, shape=(1 << 36, DIM), dtype="<f2", chunks=(256, DIM))
    ),
    "unwritten values": place(
        "values", lambda file, name: file.create_dataset(name, shape=(10, DIM), dtype="<f2", chunks=(4, DIM))
    ),
    "wrong dim": table("values", lambda old: np.hstack([old, old]).astype("<f2"), chunks=(4, 2 * DIM)),
    "compressed": table("values", lambda old: old, chunks=(4, DIM), compression="gzip"),
    "single precision": table("values", lambda old: old.astype("<f4"), chunks=(4, DIM)),
    "rows gone": table("values", lambda old: old[:-1], chunks=(4, DIM), maxshape=(None, DIM)),
    "of another extractor": another_extractor,
    "of nobody": edit(lambda file: file.attrs.__setitem__("extractor", "")),
    "renamed": rename,
    "swapped": swap_files,
    "missing": replace_file(lambda path: None),
    "a folder": replace_file(lambda path: path.mkdir()),
    "a pipe": replace_file(os.mkfifo),
    "a device": replace_file(lambda path: path.symlink_to("/dev/zero")),
    "a link to nothing": replace_file(lambda path: path.symlink_to("nowhere")),
}
FULL = {  # found only when the values are read
    "a changed value": edit(lambda file: file["values"].__setitem__((1, 1), 7)),
    "values swapped": table("values", lambda old: old[::-1].copy(), chunks=(4, DIM), maxshape=(None, DIM)),
    "not a number": edit(lambda file: file["values"].__setitem__((0, 0), np.nan)),
    "no checksum": edit(lambda file: file.attrs.__delitem__("sha256")),
    "another checksum": edit(lambda file: file.attrs.__setitem__("sha256", np.bytes_("0" * 64))),
}


def outcome(function):
    """Run a function: its result, or the `StoreError`, which must be one line; any other exception is a failure."""
    try:
        return function()
    except AvlocError as error:
        assert isinstance(error, StoreError)
        assert "\n" not in str(error)
        return error


@pytest.mark.parametrize("kind", [*QUICK, *FULL])
def test_tampering_is_found_and_never_read_as_features(original, store, tmp_path, kind):
    (QUICK | FULL)[kind](store)
    quick, full = (verify_store(store, "toy", quick=quick).faults for quick in (True, False))
    assert bool(quick) == (kind in QUICK and kind != "text of HDF5")
    assert full or kind == "text of HDF5"  # a form of format version 2, with the same content
    read = outcome(lambda: contents(FeatureStore(store.root)))
    expected = contents(original)
    if kind in ("of nobody", "renamed", "no checksum", "another checksum", "text of HDF5", "swapped"):
        assert read == expected
    elif kind == "missing":
        assert read == {file: expected[file] for file in CLIPS[1]}
    elif kind in ("a changed value", "values swapped", "not a number"):
        assert read.keys() == expected.keys()  # a reader computes no checksums of values
    else:
        assert isinstance(read, StoreError), read
    outcome(lambda: summarize(store, "toy"))
    outcome(lambda: list(iter_problems(store, "toy")))
    outcome(lambda: run_export(plan_export(store, "toy", tmp_path / "npy")))
    outcome(lambda: plan_merge(FeatureStore(tmp_path / "merged"), [store]))


def test_the_number_of_kinds():
    assert len(QUICK | FULL) >= 50


FLIPS = """
import random, sys
import numpy as np
from avloc.errors import StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.verify import verify_store

root, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def contents():
    store = FeatureStore(root)
    read = ((f, store.read("toy", f)) for f in store.files("toy"))
    return {f: (x.grid, x.gaps, x.values.tobytes()) for f, x in read}

path = FeatureStore(root).shards("toy")[0]
whole, expected, numbers = path.read_bytes(), contents(), random.Random(seed)
told = read = unused = 0
for _ in range(count):
    changed = bytearray(whole)
    for _ in range(numbers.choice((1, 1, 1, 8))):
        changed[numbers.randrange(len(changed))] ^= 1 << numbers.randrange(8)
    if numbers.random() < 0.2:
        del changed[numbers.randrange(len(changed)):]
    path.write_bytes(changed)
    faults = verify_store(FeatureStore(root), "toy").faults
    try:
        clips = contents()
    except StoreError as error:
        assert "\\n" not in str(error) and faults
        told += 1
        continue
    read += 1
    if not faults:
        unused += 1
        assert clips == expected
    assert {f: c[:2] for f, c in clips.items()} == {f: c[:2] for f, c in expected.items()}, "tables"
print(told, read, unused)
"""


def flip(original, tmp_path, seed, count):
    """Change a shard at random, in a process of its own, as HDF5 may end it."""
    root = shutil.copytree(original.root, tmp_path / "flipped")
    command = [sys.executable, "-c", FLIPS, str(root), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told, read, unused = map(int, done.stdout.split())
    print(
        f"{count} changed shards: {told} refused by the reader, {read - unused} found by verify, {unused} without effect"
    )
    assert told + read == count
    return told


def test_shards_changed_at_random(original, tmp_path):
    assert flip(original, tmp_path, seed=0, count=40) > 12


@pytest.mark.slow
def test_a_thousand_shards_changed_at_random(original, tmp_path):
    assert flip(original, tmp_path, seed=1, count=1000) > 300


CONTAINER = """
import os, sys
from pathlib import Path
from avloc.io import files

folder, namespace, pid = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
os.readlink, os.getpid = lambda path: f"pid:[{namespace}]", lambda: pid
files._runs = lambda number: number == pid  # nobody else is seen from here
with files.replacing(folder / "00000-3f2a9c1d.h5") as temporary:
    temporary.write_text(namespace)
    print("ready", flush=True)
    sys.stdin.readline()
    print("removed", files.remove_stale(folder), flush=True)
    sys.stdin.readline()
print((folder / "00000-3f2a9c1d.h5").read_text())
"""


def test_two_containers_with_one_host_name_never_remove_each_other(tmp_path):
    """Each sees no process of the other."""
    with_pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    containers = [
        subprocess.Popen([sys.executable, "-c", CONTAINER, str(tmp_path), namespace, pid], **with_pipes)
        for namespace, pid in (("one", "7"), ("two", "8"))
    ]
    assert [container.stdout.readline() for container in containers] == ["ready\n"] * 2
    assert len(list(tmp_path.iterdir())) == 2
    for container in containers:
        container.stdin.write("\n")
        container.stdin.flush()
    assert [container.stdout.readline() for container in containers] == ["removed 0\n"] * 2
    for container in containers:
        out, _ = container.communicate("\n", timeout=600)
        assert container.returncode == 0
        assert out.strip() in ("one", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["00000-3f2a9c1d.h5"]
