from __future__ import annotations

import time

import pytest

from avloc.web.upload_store import UploadStore


@pytest.fixture
def store(tmp_path):
    return UploadStore(tmp_path / "results", keep_s=60.0)


def test_a_result_is_found_by_name_and_by_stem(store):
    token, folder = store.create()
    (folder / "clip.mp4").write_bytes(b"x")
    (folder / "timeline.html").write_text("x")
    assert store.find(token, "clip") == folder / "clip.mp4"
    assert store.find(token, "timeline.html") == folder / "timeline.html"
    assert store.find(token, "other") is None


@pytest.mark.parametrize("token", ["", "..", "x", "../results", "a" * 32, "é" * 32, "a" * 21 + "/"])
def test_an_unknown_token_is_not_looked_up(store, token):
    store.create()
    assert store.find(token, "clip") is None


def test_a_folder_that_the_store_did_not_create_is_not_found(store):
    (store.folder / ("a" * 32)).mkdir()
    (store.folder / ("a" * 32) / "clip").write_bytes(b"x")
    assert store.find("a" * 32, "clip") is None


def test_tokens_differ(store):
    assert len({store.create()[0] for _ in range(50)}) == 50


def test_a_finished_result_expires_and_is_swept(tmp_path):
    store = UploadStore(tmp_path / "results", keep_s=0.02)
    (finished, finished_folder), (unfinished, unfinished_folder) = store.create(), store.create()
    for folder in (finished_folder, unfinished_folder):
        (folder / "clip").write_bytes(b"x")
    store.finish(finished)
    time.sleep(0.05)
    assert store.find(finished, "clip") is None
    store.sweep()
    assert not finished_folder.exists()
    assert store.find(unfinished, "clip") == unfinished_folder / "clip"  # it does not expire before it is finished


def test_remove_and_close(store):
    (first, first_folder), (_, second_folder) = store.create(), store.create()
    store.remove(first)
    store.remove("a" * 32)
    assert store.find(first, "clip") is None
    assert not first_folder.exists()
    store.close()
    assert not second_folder.exists()
    assert not store.folder.exists()
