from __future__ import annotations

import time

import pytest

from avloc.web.limits import UploadLimits, UploadRefusedError
from avloc.web.upload_store import UploadStore


@pytest.fixture
def make_store(tmp_path):
    return lambda **limits: UploadStore(tmp_path / "uploads", UploadLimits(**limits))


def add_clip(store, size_bytes=10, name="a.mp4"):
    upload = store.create(name)
    store.grow(upload, size_bytes)
    upload.clip.write_bytes(bytes(size_bytes))
    return upload


@pytest.mark.parametrize(
    ("name", "file"),
    [("a.MP4", "clip.mp4"), ("a.b.webm", "clip.webm"), ("a.html", "clip"), ("a", "clip"), ("../../x.wav/..", "clip")],
)
def test_files_have_names_of_the_server(make_store, name, file):
    store = make_store()
    upload = store.create(name)
    assert upload.clip == upload.folder / file
    assert upload.folder.parent == store.folder
    assert upload.token not in str(upload.clip)


def test_tokens_differ_and_find_their_uploads_only(make_store):
    store = make_store()
    uploads = [store.create("a.mp4") for _ in range(50)]
    assert len({upload.token for upload in uploads}) == 50
    assert all(store.find(upload.token) is upload for upload in uploads)
    for token in ("", "..", "00000001", "x" * 32, uploads[0].token[:-1], uploads[0].token + "/", "é" * 32):
        assert store.find(token) is None


def test_a_clip_over_the_limit_is_refused_while_it_grows(make_store):
    store = make_store(max_megabytes=1)
    upload = store.create("a.mp4")
    store.grow(upload, 600_000)
    with pytest.raises(UploadRefusedError, match="is larger than 1 MB"):
        store.grow(upload, 400_001)
    store.grow(upload, 400_000)
    assert upload.size_bytes == store.total_bytes == 1_000_000


def test_all_clips_together_have_a_limit(make_store):
    store = make_store(max_megabytes=1, total_megabytes=2)
    first, second, third = (store.create("a.mp4") for _ in range(3))
    store.grow(first, 900_000)
    store.grow(second, 900_000)
    with pytest.raises(UploadRefusedError, match="has no room for it now") as caught:
        store.grow(third, 200_001)
    assert caught.value.status == 507
    with pytest.raises(UploadRefusedError, match="The server is full. It removes old clips after 30 minutes"):
        store.check_room(200_001)
    store.remove(first)
    store.grow(third, 200_001)
    assert store.total_bytes == 1_100_001


def test_the_number_of_clips_has_a_limit(make_store):
    store = make_store(max_clips=2)
    uploads = [store.create("a.mp4") for _ in range(2)]
    with pytest.raises(UploadRefusedError, match="The server is full"):
        store.create("a.mp4")
    assert len(list(store.folder.iterdir())) == 2
    store.remove(uploads[0])
    store.create("a.mp4")


def test_a_failed_clip_is_removed_and_its_reason_is_kept(make_store):
    store = make_store()
    upload = add_clip(store)
    store.fail(upload, "no sound")
    assert (upload.state, upload.text, store.total_bytes, list(store.folder.iterdir())) == ("failed", "no sound", 0, [])
    assert store.find(upload.token) is upload


def test_failed_clips_take_no_place_and_only_the_last_messages_stay(make_store):
    store = make_store(max_clips=3)
    waiting = add_clip(store)
    failed = [add_clip(store, size_bytes) for size_bytes in (5, 7)]
    for k, upload in enumerate(failed):
        store.fail(upload, f"reason {k}")
    for k in range(2, 5):
        failed.append(add_clip(store))
        store.fail(failed[k], f"reason {k}")
    assert [store.find(upload.token) for upload in failed] == [None, None, *failed[2:]]
    assert [upload.text for upload in failed[2:]] == ["reason 2", "reason 3", "reason 4"]
    more = [store.create("b.mp4") for _ in range(2)]
    with pytest.raises(UploadRefusedError, match="The server is full"):
        store.create("c.mp4")
    store.fail(more[0], "no sound")
    store.fail(more[0], "no sound")  # counts once
    store.remove(failed[3])
    store.create("c.mp4")
    assert (store.total_bytes, store.find(waiting.token), store.find(failed[3].token)) == (10, waiting, None)


def test_finished_clips_expire_and_others_do_not(make_store):
    store = make_store(keep_s=0.02)
    finished, failed, waiting = (add_clip(store) for _ in range(3))
    finished.page.write_text("12345")
    store.finish(finished)
    store.fail(failed, "no sound")
    assert (finished.state, store.total_bytes) == ("done", 25)  # the timeline counts
    time.sleep(0.05)
    assert [store.find(upload.token) for upload in (finished, failed, waiting)] == [None, None, waiting]
    store.sweep()
    assert list(store.folder.iterdir()) == [waiting.folder]
    assert store.total_bytes == 10


def test_remove_twice_and_close(make_store):
    store = make_store()
    upload = add_clip(store)
    store.remove(upload)
    store.remove(upload)
    assert store.total_bytes == 0
    store.close()
    assert not store.folder.exists()
