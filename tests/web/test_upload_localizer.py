from __future__ import annotations

import re

import pytest

from avloc.errors import AvlocError, MediaError
from avloc.web.upload_localizer import UploadLimits, UploadLocalizer, hide_paths
from avloc.web.upload_store import UploadStore


@pytest.fixture
def make_worker(tmp_path):
    def make(localizer, **limits):
        store = UploadStore(tmp_path / "results", 60.0)
        return UploadLocalizer(localizer, store, tmp_path / "uploads", UploadLimits(**limits), 0.2)

    return make


def ignore(fraction, text):
    pass


def test_an_upload_becomes_a_timeline(make_worker, make_localizer, upload):
    worker, reports = make_worker(make_localizer()), []
    iframe = worker.localize(str(upload), lambda fraction, text: reports.append((fraction, text)))
    token = re.search(r'src="timeline/([\w-]+)/"', iframe)[1]
    text = worker.results.find(token, "timeline.html").read_text()
    assert "<h1>my clip.MP4</h1>" in text
    assert "my clip.MP4: a problem" in text
    assert str(upload.parent.parent.parent) not in text
    assert worker.results.find(token, "clip").name == "clip.mp4"
    assert upload.is_file()  # an equal upload of another visitor may need it
    assert reports[0] == (0.0, "decoding")
    assert [text for _, text in reports[1:]] == ["0 of 1 s", "1 of 1 s"]
    assert all(0 <= fraction <= 0.99 for fraction, _ in reports)


def test_no_file_was_chosen(make_worker, make_localizer):
    with pytest.raises(AvlocError, match="Choose a clip first"):
        make_worker(make_localizer()).localize(None, ignore)


def test_other_files_and_folders_are_no_uploads(make_worker, make_localizer, upload, tmp_path):
    outside = tmp_path / "secret.mp4"
    outside.write_bytes(b"x")
    link = upload.with_name("link.mp4")
    link.symlink_to(outside)
    for path in (outside, link, upload.parent, upload.parent / ".." / ".." / "secret.mp4"):
        with pytest.raises(AvlocError, match="This is not an upload"):
            make_worker(make_localizer()).localize(str(path), ignore)


def test_a_removed_upload_is_named(make_worker, make_localizer, upload):
    with pytest.raises(AvlocError, match=r"gone\.mp4: was removed while it waited, upload it again"):
        make_worker(make_localizer()).localize(str(upload.with_name("gone.mp4")), ignore)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_megabytes": 0}, r"my clip\.MP4: is larger than 0 MB"),
        ({"max_duration_s": 0.6}, r"my clip\.MP4: lasts 0\.0 minutes, the limit is 0\.01 minutes"),
    ],
)
def test_limits(make_worker, make_localizer, upload, limits, message):
    worker = make_worker(make_localizer(), **limits)
    with pytest.raises(AvlocError, match=message):
        worker.localize(str(upload), ignore)
    assert list(worker.results.folder.iterdir()) == []


def test_a_clip_longer_than_its_header_is_stopped(make_worker, make_localizer, upload):
    worker = make_worker(make_localizer(times_s=(10.0, 40.0, 100.1)), max_duration_s=90.0)
    with pytest.raises(AvlocError, match=r"lasts 1\.5 minutes, the limit is 1\.5 minutes"):
        worker.localize(str(upload), ignore)


def test_messages_hide_the_paths_of_the_server(make_worker, make_localizer, upload):
    class Failing(make_localizer):
        def localize(self, clip, **options):
            raise MediaError(f"{clip}: cannot be opened as media ({clip.parent}/other)")

    worker = make_worker(Failing())
    with pytest.raises(AvlocError) as caught:
        worker.localize(str(upload), ignore)
    assert str(caught.value) == "my clip.MP4: cannot be opened as media (/other)"
    assert list(worker.results.folder.iterdir()) == []


def test_an_unexpected_error_goes_to_the_log_only(make_worker, make_localizer, upload, caplog):
    worker = make_worker(make_localizer(error=RuntimeError("a secret")))
    with pytest.raises(AvlocError) as caught:
        worker.localize(str(upload), ignore)
    assert str(caught.value) == "my clip.MP4: could not be localized; the server's log has the reason"
    assert "a secret" in caplog.text


def test_hide_paths_leaves_other_texts(tmp_path):
    assert hide_paths("nothing to hide", tmp_path / "clip.mp4", "x.mp4") == "nothing to hide"
