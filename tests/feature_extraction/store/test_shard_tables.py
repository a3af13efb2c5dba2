from __future__ import annotations

import hashlib
import re

import h5py
import numpy as np
import pytest

from avloc.errors import StoreError
from avloc.feature_extraction.store.shard_tables import (
    NO_GAPS,
    ShardTables,
    checksum,
    encode_names,
    fingerprint,
    read_attribute,
    read_open_tables,
    read_tables,
    shard_name,
    table_problem,
    tables_checksum,
)
from avloc.feature_extraction.store.shards import ShardWriter

TABLES = ShardTables(
    files=["a", "b", "c"],
    status=["ok", "no sound", "ok"],
    bytes=np.array([7, 8, 9]),
    offsets=np.array([0, 2, 2, 5]),
    starts=np.zeros(3),
    problems=[(), (), ("cut off",)],
    gaps=np.array([[0, 0, 1], [2, 1, 3]]),
)


def test_shard_names_depend_on_the_clips():
    assert shard_name(0, ["a"])[:6] == "00000-"
    assert len({shard_name(0, ["a", "b"]), shard_name(0, ["b", "a"]), shard_name(0, ["a"]), shard_name(1, ["a"])}) == 4


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 2.5})
    assert fingerprint({}) == "44136fa355b3678a"  # printf '{}' | sha256sum


@pytest.mark.parametrize("name", ["files", "status", "offsets", "start", "bytes"])
def test_a_missing_table_is_damage(tmp_path, name):
    with ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.end("a", 0.0)
    with h5py.File(tmp_path / "0.h5", "a") as file:
        del file[name]
    with pytest.raises(StoreError, match=r"0.h5: a damaged shard .*remove it and run the same extraction again"):
        read_tables(tmp_path / "0.h5")


def test_texts_of_format_version_2(tmp_path):
    """It kept them as strings of HDF5."""
    with ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.end("é", 0.0)
    with h5py.File(tmp_path / "0.h5", "a") as file:
        for name, text in (("files", "é"), ("status", "ok")):
            del file[name]
            file.create_dataset(name, data=[text], dtype=h5py.string_dtype())
    assert read_tables(tmp_path / "0.h5").files == ["é"]


def test_names_of_clips_keep_bytes_that_are_not_utf8():
    assert encode_names(["ü", "\udcff"], "\0").decode("utf-8", "surrogatepass") == "ü\0\udcff"
    assert shard_name(0, ["\udcff"]) != shard_name(0, ["\udcfe"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"files": ["a", "b"]}, "unequal length: files 2, status 3"),
        ({"problems": []}, "unequal length: .*problems 0"),
        ({"offsets": np.array([], np.int64)}, "unequal length: .*offsets -1"),
        ({"offsets": np.array([0, 2, 1, 5])}, "do not rise"),
        ({"offsets": np.array([1, 2, 2, 5])}, "do not rise"),
        ({"starts": np.array([0, np.inf, 0])}, "not a finite number"),
        ({"offsets": np.array([0, 2, 3, 6])}, "rows of a clip that failed"),
        ({"gaps": NO_GAPS}, None),
        ({"gaps": np.array([[0, 0, 3]])}, "gaps outside"),
        ({"gaps": np.array([[1, 0, 1]])}, "gaps outside"),
        ({"gaps": np.array([[3, 0, 1]])}, "gaps outside"),
        ({"gaps": np.array([[-1, 0, 1]])}, "gaps outside"),
        ({"gaps": np.array([[2, 2, 2]])}, "gaps outside"),
    ],
)
def test_tables_that_contradict_each_other(change, problem):
    text = table_problem(TABLES._replace(**change))
    assert text is None if problem is None else re.search(problem, text)


def test_an_empty_shard_has_no_problem():
    empty = ShardTables([], [], np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0), [], NO_GAPS)
    assert table_problem(empty) is None
    assert table_problem(empty._replace(offsets=np.zeros(0, np.int64))) is not None


def test_the_checksum_of_the_tables_covers_each():
    other = {
        "files": ["a", "b", "d"],
        "status": ["ok", "no", "ok"],
        "bytes": np.array([7, 8, 0]),
        "offsets": np.array([0, 1, 2, 5]),
        "starts": np.array([0, 0, 0.5]),
        "problems": [(), (), ()],
        "gaps": NO_GAPS,
    }
    assert len({tables_checksum(TABLES), *(tables_checksum(TABLES._replace(**{k: v})) for k, v in other.items())}) == 8


def write(path):
    with ShardWriter(path, 2) as shard:
        shard.append(np.ones((3, 2), np.float32))
        shard.end("a", 0.5, size_bytes=7)
    return path


def test_the_checksum_without_problems_is_that_of_earlier_releases(tmp_path):
    with h5py.File(write(tmp_path / "0.h5"), "r") as file:
        expected = hashlib.sha256(np.ones(6, "<f2").tobytes())
        expected.update(np.array([0, 3], "<i8").tobytes() + np.array([0.5], "<f8").tobytes())
        expected.update(np.array([7], "<i8").tobytes() + b"a" + b"ok")
        assert checksum(file) == read_attribute(file, "sha256") == expected.hexdigest()


def test_shards_of_earlier_releases_have_no_problems_and_no_gaps(tmp_path):
    path = write(tmp_path / "0.h5")
    with h5py.File(path, "a") as file:
        del file["problems"], file["gaps"], file.attrs["tables_sha256"]
    tables = read_tables(path)
    assert tables.problems == [()]
    assert tables.gaps.shape == (0, 3)
    with h5py.File(path, "r") as file:
        assert checksum(file) == read_attribute(file, "sha256")
        assert read_open_tables(file).files == ["a"]


def test_offsets_must_end_with_the_values(tmp_path):
    path = write(tmp_path / "0.h5")
    with h5py.File(path, "a") as file:
        file["offsets"][1] = 2
    with pytest.raises(StoreError, match="its offsets end at 2, it has 3 rows"):
        read_tables(path)
