from __future__ import annotations

import os
import sys
import time

import pytest

from avloc.errors import AvlocError
from avloc.web.app import add_timeline_routes, create_app, make_lifespan, remove_old_uploads
from avloc.web.upload_localizer import UploadLimits
from avloc.web.upload_store import UploadStore


@pytest.fixture
def store(tmp_path):
    return UploadStore(tmp_path / "results", keep_s=60.0)


@pytest.fixture
def client(store, tmp_path):
    """The application's own routes and lifespan, without Gradio."""
    fastapi, testclient = pytest.importorskip("fastapi"), pytest.importorskip("fastapi.testclient")
    app = fastapi.FastAPI(lifespan=make_lifespan(store, tmp_path / "uploads"))
    add_timeline_routes(app, store)
    with testclient.TestClient(app) as client:
        yield client


def test_a_timeline_and_its_clip_are_served(client, store):
    token, folder = store.create()
    (folder / "timeline.html").write_text("<p>é</p>", encoding="utf-8")
    (folder / "clip.mp4").write_bytes(b"0123456789")
    store.finish(token)
    answer = client.get(f"/timeline/{token}/")
    assert (answer.status_code, answer.text) == (200, "<p>é</p>")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    answer = client.get(f"/timeline/{token}/clip", headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (206, b"234", "video/mp4")
    assert answer.headers["content-security-policy"].startswith("sandbox")


def test_a_clip_of_unknown_type_is_a_download(client, store):
    token, folder = store.create()
    (folder / "clip").write_bytes(b"<script>")
    answer = client.get(f"/timeline/{token}/clip")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/timeline/x/", "/timeline/x/clip", f"/timeline/{'a' * 32}/", "/timeline/../clip"])
def test_an_unknown_timeline_is_not_found(client, store, path):
    (store.folder / ("a" * 32)).mkdir()
    (store.folder / ("a" * 32) / "timeline.html").write_text("secret")
    assert client.get(path).status_code == 404


def test_folders_are_removed_when_the_application_stops(store, tmp_path):
    fastapi, testclient = pytest.importorskip("fastapi"), pytest.importorskip("fastapi.testclient")
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    with testclient.TestClient(fastapi.FastAPI(lifespan=make_lifespan(store, uploads))):
        assert store.folder.is_dir()
    assert not store.folder.exists()
    assert not uploads.exists()


def test_the_missing_extra_is_named(make_localizer, tmp_path, monkeypatch):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(AvlocError, match=r"the web page needs the extra web: pip install 'avloc\[web\]'"):
        create_app(make_localizer(), tmp_path, UploadLimits())


def test_old_uploads_and_empty_files_are_removed(tmp_path):
    ages_s = {"new": 1, "old": 4000, "empty": 100, "new empty": 1}
    for name, age_s in ages_s.items():
        path = tmp_path / "0123" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"" if "empty" in name else b"x")
        os.utime(path, times=(time.time() - age_s,) * 2)
    remove_old_uploads(tmp_path, keep_s=1800.0)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"new", "new empty"}


def test_a_missing_folder_of_uploads_is_no_error(tmp_path):
    remove_old_uploads(tmp_path / "missing", keep_s=1.0)
