from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from avloc.datasets.readers import index
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.table import TableBuilder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "SMALLEST_BYTES", 0)
    return tmp_path / "cache"


def entries(count):
    return [
        {
            "file": f"id/{k}.mp4",
            "modify_type": "audio_modified",
            "fake_segments": [[1, 2]],
            "audio_fake_segments": [[1, 2]],
            "visual_fake_segments": [[3, 4]] if k == 7 else [],
            "audio_model": "tts",
            "video_frames": 100,
            "original": None,
        }
        for k in range(count)
    ]


@pytest.fixture
def metadata(tmp_path):
    path = tmp_path / "set" / "train_metadata.json"
    path.parent.mkdir()
    path.write_text(json.dumps(entries(20)))
    return path


def test_copy_is_read_instead_of_the_metadata(cache, metadata, monkeypatch):
    first = read_records("avdeepfake1m", metadata.parent, "train")
    assert sum(first.repaired.values()) == 1
    assert len(list(cache.rglob("*.npz"))) == 1
    assert [p.name for p in metadata.parent.iterdir()] == ["train_metadata.json"]  # the dataset's folder is untouched
    monkeypatch.setattr("avloc.datasets.readers.avdeepfake1m.for_each_entry", lambda *_: pytest.fail("read again"))
    again = read_records("avdeepfake1m", metadata.parent, "train")
    assert list(again) == list(first)
    assert again.repaired == first.repaired


def test_changed_metadata_are_read_again(cache, metadata):
    read_records("avdeepfake1m", metadata.parent, "train")
    metadata.write_text(json.dumps(entries(21)))
    assert len(read_records("avdeepfake1m", metadata.parent, "train")) == 21
    metadata.write_text(metadata.read_text().replace("tts", "abc"))  # of the same size
    os.utime(metadata, ns=(1, 1))
    assert read_records("avdeepfake1m", metadata.parent, "train")[0].attributes[0] == ("audio_model", "abc")


def test_damaged_copy_is_replaced(cache, metadata):
    read_records("avdeepfake1m", metadata.parent, "train")
    [copy] = cache.rglob("*.npz")
    copy.write_bytes(b"damaged")
    assert len(read_records("avdeepfake1m", metadata.parent, "train")) == 20
    assert copy.stat().st_size > 100


def test_unwritable_cache_is_no_error(cache, metadata, monkeypatch):
    monkeypatch.setenv("AVLOC_CACHE", str(metadata))  # a file
    assert len(read_records("avdeepfake1m", metadata.parent, "train")) == 20


def test_small_metadata_have_no_copy(cache, metadata, monkeypatch):
    monkeypatch.setattr(index, "SMALLEST_BYTES", 1 << 20)
    read_records("avdeepfake1m", metadata.parent, "train")
    assert not cache.exists()


def test_readers_of_the_same_file_have_their_own_copies(cache, metadata):
    def read(name):
        builder = TableBuilder()
        builder.add(name, "train")
        return builder.build()

    for kind in ("a", "b", "a"):
        assert index.cached_table([metadata], kind, lambda kind=kind: read(kind))[0].file == kind
    assert len(list(cache.rglob("*.npz"))) == 2


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("AVLOC_CACHE", "/c")
    assert index.cache_folder() == Path("/c")
    monkeypatch.delenv("AVLOC_CACHE")
    assert index.cache_folder().name == "avloc"
