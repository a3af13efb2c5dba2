from __future__ import annotations

import errno
import os
import pickle
import re

import h5py
import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import index as module
from avloc.feature_extraction.store.index import ShardIndex, name_keys, shard_paths
from avloc.feature_extraction.store.shard_file import file_identity
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter


def write(folder, number, clips, start_s=0.0):
    """Write a shard of clips (name → number of rows, or the reason of a failure) whose rows count up from 0."""
    path = folder / shard_name(number, list(clips))
    with ShardWriter(path, 2) as shard:
        for file, rows in clips.items():
            if isinstance(rows, str):
                shard.fail(file, rows)
            else:
                values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
                shard.add(file, Features(values, TimeGrid(start_s, 0.5, rows)))
    return path


def test_name_keys_are_stable_and_distinct():
    assert name_keys(["a", "é", "a"]).tolist() == [*name_keys(["a", "é"]).tolist(), *name_keys(["a"]).tolist()]
    assert len(set(name_keys(map(str, range(1000))).tolist())) == 1000
    assert name_keys([]).shape == (0,)


def test_shard_paths_are_in_order_and_leave_out_other_files(tmp_path):
    paths = [write(tmp_path, number, {f"{number}": 1}) for number in (2, 0)]
    (tmp_path / "old.h5").touch()
    (tmp_path / ".00000-a.host.1.tmp.h5").touch()
    assert shard_paths(tmp_path) == paths[::-1]


def test_places_grids_and_values(tmp_path):
    write(tmp_path, 0, {"a": 3, "x": "no sound", "b": 0})
    write(tmp_path, 1, {"c": 2}, start_s=0.25)
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    places = index.locate(["c", "nowhere", "b", "a", "x"])
    assert places.tolist() == [[1, 0], [-1, -1], [0, 2], [0, 0], [-1, -1]]
    assert index.ends_s(places[[0, 2, 3]]).tolist() == [1.25, 0.0, 1.5]
    assert index.grid(1, 0) == TimeGrid(0.25, 0.5, 2)
    assert index.values(0, 0).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert index.values(0, 2).shape == (0, 2)
    assert index.failures == {"x": "no sound"}


def test_a_clip_that_another_shard_has_is_no_failure(tmp_path):
    write(tmp_path, 0, {"a": "no sound", "b": 1})
    write(tmp_path, 1, {"a": 2})
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    assert index.failures == {}
    assert index.locate(["a"]).tolist() == [[1, 0]]


def test_the_last_of_several_shards_counts(tmp_path):
    write(tmp_path, 0, {"a": 1})
    write(tmp_path, 1, {"a": 2})
    assert ShardIndex(tmp_path, hop_s=0.5, dim=2).locate(["a"]).tolist() == [[1, 0]]


def test_an_empty_folder(tmp_path):
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    assert index.locate(["a"]).tolist() == [[-1, -1]]
    assert index.locate([]).shape == (0, 2)
    assert index.ends_s(np.zeros((0, 2), np.int32)).shape == (0,)


def test_rows_across_chunks(tmp_path):
    write(tmp_path, 0, {"a": 300, "b": 5, "c": 700})  # chunks are of 256 rows
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    for entry, rows in enumerate((300, 5, 700)):
        np.testing.assert_array_equal(index.values(0, entry)[:, 1], np.arange(1, 2 * rows, 2))


def test_more_shards_than_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN_SHARDS", 3)
    for number in range(8):
        write(tmp_path, number, {f"{number}": number + 1})
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    before = open_files()
    for number in [*range(8), 3, 0, 7]:
        assert len(index.values(number, 0)) == number + 1
    assert len(open_files() - before) == 3
    del index
    assert open_files() <= before


def open_files():
    """The open shards of this process."""
    paths = (
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    )
    return {path for path in paths if path.endswith(".h5")}


def test_all_stores_of_a_process_share_the_open_shards(tmp_path, monkeypatch):
    """Copies and extractors multiply: each with a limit of its own would pass that of the process."""
    monkeypatch.setattr(module, "MAX_OPEN_SHARDS", 4)
    folders = [tmp_path / str(k) for k in range(5)]
    for k, folder in enumerate(folders):
        folder.mkdir()
        for number in range(2):
            write(folder, number, {f"{number}": k + number + 1})
    indices = [ShardIndex(folder, hop_s=0.5, dim=2) for folder in folders]
    for _ in range(2):
        for k, index in enumerate(indices):
            assert [len(index.values(number, 0)) for number in range(2)] == [k + 1, k + 2]
    opened = {path for path in open_files() if path.startswith(str(tmp_path))}
    assert opened == {str(path) for folder in folders[3:] for path in shard_paths(folder)}


def test_a_shard_that_is_being_read_stays_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN_SHARDS", 1)
    for number in range(2):
        write(tmp_path, number, {f"{number}": 2})
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    reader = index._reader(0)
    index.values(1, 0)  # as another thread might
    assert reader.rows(0, 2).tolist() == [[0, 1], [2, 3]]


def test_values_of_another_type_are_refused(tmp_path):
    path = write(tmp_path, 0, {"a": 3})
    with h5py.File(path, "a") as file:
        values = file["values"][()]
        del file["values"]
        file.create_dataset("values", data=values.astype(np.float32), chunks=(2, 2))
    with pytest.raises(StoreError, match="want values of plain float16, int16 or uint8 in chunks of rows, got float32"):
        ShardIndex(tmp_path, hop_s=0.5, dim=2).values(0, 0)


def test_gaps_are_those_of_the_clip(tmp_path):
    path = tmp_path / shard_name(0, ["a", "b"])
    with ShardWriter(path, 2) as shard:
        for file, gaps in (("a", []), ("b", [(1, 3)])):
            shard.append(np.ones((4, 2), np.float32))
            shard.end(file, 0.0, gaps=gaps)
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    assert index.gaps(0, 0) == ()
    assert index.gaps(0, 1) == ((1, 3),)


def test_rows_of_another_width_are_refused(tmp_path):
    write(tmp_path, 0, {"a": 3})
    with pytest.raises(StoreError, match="its rows have 2 numbers, rows of this extractor have 3"):
        ShardIndex(tmp_path, hop_s=0.5, dim=3).values(0, 0)


def test_values_that_were_never_written_are_damage(tmp_path):
    """HDF5 would fill them with zeros."""
    path = write(tmp_path, 0, {"a": 3})
    with h5py.File(path, "a") as file:
        del file["values"]
        file.create_dataset("values", shape=(3, 2), dtype="<f2", chunks=(2, 2))
    with pytest.raises(StoreError, match="it lacks some of its values"):
        ShardIndex(tmp_path, hop_s=0.5, dim=2).values(0, 0)


def test_a_shard_that_shrinks_after_it_was_opened_is_damage(tmp_path):
    path = write(tmp_path, 0, {"a": 3, "b": 700})
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    assert len(index.values(0, 0)) == 3
    os.truncate(path, 2000)
    with pytest.raises(StoreError, match="it ends before its values do"):
        index.values(0, 1)


def test_a_disk_error_is_no_damage(tmp_path, monkeypatch):
    write(tmp_path, 0, {"a": 3})
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    index.values(0, 0)

    def fail(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(StoreError, match=r"cannot be read \(Stale file handle\); the file may be whole"):
        index.values(0, 0)


def test_contradicting_tables_are_an_error_of_the_reader(tmp_path):
    path = write(tmp_path, 0, {"a": 3})
    with h5py.File(path, "a") as file:
        file["offsets"][1] = 10**12
    with pytest.raises(StoreError, match="its offsets end at 1000000000000, it has 3 rows"):
        ShardIndex(tmp_path, hop_s=0.5, dim=2)


def test_shards_made_with_other_settings_are_refused(tmp_path):
    """One that does not name its extractor, as of format version 2, is read."""
    write(tmp_path, 0, {"a": 3})
    named = tmp_path / shard_name(1, ["b"])
    with ShardWriter(named, 2, "5d41402abc4b2a76") as shard:
        shard.add("b", Features(np.ones((5, 2), np.float32), TimeGrid(0.0, 0.5, 5)))
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2, fingerprint="5d41402abc4b2a76")
    assert index.locate(["a", "b"]).tolist() == [[0, 0], [1, 0]]
    message = (
        f"{named}: is of another extractor, or of other settings: want the fingerprint 44136fa3, got 5d41402abc4b2a76; "
    )
    with pytest.raises(StoreError, match=f"^{re.escape(message)}.*move it out of the store, or name another store$"):
        ShardIndex(tmp_path, hop_s=0.5, dim=2, fingerprint="44136fa3")


def fill(path, clips, fingerprint=""):
    """Write a shard of clips (name → rows, value, start, gaps; or the reason of a failure)."""
    with ShardWriter(path, 2, fingerprint) as shard:
        for file, clip in clips.items():
            if isinstance(clip, str):
                shard.fail(file, clip)
            else:
                rows, value, start_s, gaps = clip
                shard.append(np.full((rows, 2), value, np.float32))
                shard.end(file, start_s, gaps=gaps)


FAILED_FIRST = {"x": "no sound", "a": (3, 1.0, 0.25, [(0, 2)]), "b": (5, 2.0, 0.0, [])}
RETRIED = {**FAILED_FIRST, "x": (7, 9.0, 0.0, [(1, 4)])}


@pytest.fixture
def retried(tmp_path):
    """A shard whose first clip failed when it was indexed: its index and path."""
    path = tmp_path / shard_name(0, list(FAILED_FIRST))
    fill(path, FAILED_FIRST)
    return ShardIndex(tmp_path, hop_s=0.5, dim=2), path


@pytest.mark.parametrize("pickled", [False, True])
def test_a_shard_that_is_written_again_is_read_at_its_new_positions(retried, pickled):
    index, path = retried
    fill(path, RETRIED)
    index = pickle.loads(pickle.dumps(index)) if pickled else index
    for _ in range(2):
        assert index.values(0, 1).tolist() == [[1, 1]] * 3
        assert index.values(0, 2).tolist() == [[2, 2]] * 5
        assert index.grid(0, 1) == TimeGrid(0.25, 0.5, 3)
        assert (index.gaps(0, 1), index.gaps(0, 2)) == (((0, 2),), ())
    assert index.ends_s(np.array([[0, 1], [0, 2]])).tolist() == [1.75, 2.5]
    assert index.locate(["x"]).tolist() == [[-1, -1]]


def test_an_open_shard_is_read_to_the_end(retried, monkeypatch):
    """Its file remains as long as it is open; the next one is read as a new one."""
    index, path = retried
    index.values(0, 1)
    fill(path, RETRIED)
    assert index.values(0, 2).tolist() == [[2, 2]] * 5
    monkeypatch.setattr(module, "MAX_OPEN_SHARDS", 1)
    folder = path.parent / "other"
    folder.mkdir()
    write(folder, 0, {"z": 4})
    ShardIndex(folder, hop_s=0.5, dim=2).values(0, 0)
    assert index.values(0, 2).tolist() == [[2, 2]] * 5


@pytest.mark.parametrize(
    "clips",
    [
        {"x": "no sound", "a": "no picture", "b": (5, 2.0, 0.0, [])},
        {"x": "no sound", "a": (4, 1.0, 0.25, [(0, 2)]), "b": (5, 2.0, 0.0, [])},
        {"x": "no sound", "a": (3, 1.0, 0.5, [(0, 2)]), "b": (5, 2.0, 0.0, [])},
        {"x": "no sound", "a": (3, 1.0, 0.25, []), "b": (5, 2.0, 0.0, [])},
        {"x": "no sound", "b": (3, 1.0, 0.25, [(0, 2)]), "a": (5, 2.0, 0.0, [])},
        {"x": "no sound", "a": (3, 1.0, 0.25, [(0, 2)])},
        {},
    ],
    ids=["failed", "longer", "later", "no gap", "other names", "fewer", "empty"],
)
def test_a_shard_with_other_clips_or_rows_is_refused(retried, clips):
    index, path = retried
    fill(path, clips)
    message = f"{path}: was replaced while it was in use, and its clips or their rows are others now; run the same command again"
    for _ in range(2):
        with pytest.raises(StoreError, match=f"^{re.escape(message)}$"):
            index.values(0, 2)


def test_a_shard_that_is_replaced_by_one_of_other_settings_is_refused(tmp_path):
    path = tmp_path / shard_name(0, list(FAILED_FIRST))
    fill(path, FAILED_FIRST, "5d41402abc4b2a76")
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2, fingerprint="5d41402abc4b2a76")
    fill(path, FAILED_FIRST, "44136fa3")
    with pytest.raises(StoreError, match="want the fingerprint 5d41402abc4b2a76, got 44136fa3"):
        index.values(0, 2)


def test_a_shard_that_is_replaced_while_it_is_opened(retried, monkeypatch):
    """Positions and rows are those of one file."""
    index, path = retried

    def identify_and_replace(file):
        identity = file_identity(file)
        fill(path, RETRIED)
        return identity

    monkeypatch.setattr(module, "file_identity", identify_and_replace)
    assert index.values(0, 2).tolist() == [[2, 2]] * 5


def test_two_threads_that_open_a_shard_before_and_after_its_replacement(retried):
    """Each has the positions of the file that it opened."""
    index, path = retried
    others = []

    class Positions(list):
        def __getitem__(self, shard):
            positions = super().__getitem__(shard)
            if not others:  # as another thread might, before this one goes on
                others.append(None)
                fill(path, RETRIED)
                others.append(index._open(shard))
            return positions

    index._positions = Positions(index._positions)
    first = index._open(0)
    for reader in (first, others[1]):
        assert (reader.clip(1).tolist(), reader.clip(2).tolist()) == ([[1, 1]] * 3, [[2, 2]] * 5)


def test_a_shard_that_another_machine_replaced_is_opened_again(retried, monkeypatch):
    """NFS does not keep the open file then: reading it fails."""
    index, path = retried
    index.values(0, 1)
    fill(path, RETRIED)
    read, stale = os.pread, [True]

    def pread(*arguments):
        if stale:
            stale.clear()
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(*arguments)

    monkeypatch.setattr(os, "pread", pread)
    assert index.values(0, 2).tolist() == [[2, 2]] * 5


def test_a_shard_that_disappears(retried):
    """It is read while it is open; after that, one line says so."""
    index, path = retried
    later = pickle.loads(pickle.dumps(index))
    index.values(0, 1)
    path.unlink()
    assert index.values(0, 2).tolist() == [[2, 2]] * 5
    message = f"{path}: cannot be read (No such file or directory); it disappeared; run the same command again"
    with pytest.raises(StoreError, match=f"^{re.escape(message)}$"):
        later.values(0, 1)


def test_a_pickled_index_keeps_the_numbers_of_its_shards(tmp_path):
    write(tmp_path, 3, {"a": 3})
    index = ShardIndex(tmp_path, hop_s=0.5, dim=2)
    write(tmp_path, 0, {"b": 1, "c": 2})
    copy = pickle.loads(pickle.dumps(index))
    del index
    assert copy.locate(["a", "b"]).tolist() == [[0, 0], [-1, -1]]
    assert copy.values(0, 0).shape == (3, 2)
    assert open_files() >= {str(copy.shards[0])}
    del copy
    assert not any(path.startswith(str(tmp_path)) for path in open_files())
