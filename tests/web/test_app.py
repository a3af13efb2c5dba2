from __future__ import annotations

import itertools
import json
import sys
import threading
import time

import pytest

from avloc.errors import AvlocError
from avloc.web.app import create_app

# Requests that once read files of the machine, or that servers of other frameworks answer.
FILE_DATA = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
BODIES = [
    {"data": [FILE_DATA]},
    {"data": [[FILE_DATA]]},
    {"data": [{"video": FILE_DATA}]},
    {"data": [{**FILE_DATA, "url": "http://127.0.0.1:1/x", "is_stream": True}]},
    {"data": [{"url": "file:///etc/passwd", "meta": {"_type": "gradio.FileData"}}]},
    {"data": ["/dev/zero"]},
    {"path": "/etc/passwd", "name": "../../etc/passwd", "file": "file:///etc/passwd"},
]
PLAYLISTS = ["ffconcat version 1.0\nfile '{}'\n", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n"]
OTHER_PATHS = [
    "/gradio_api/queue/join",
    "/gradio_api/queue/data?session_hash=x",
    "/gradio_api/call/localize",
    "/gradio_api/upload",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/proxy=http://127.0.0.1:1/",
    "/gradio_api/component_server",
    "/file=/etc/passwd",
    "/config",
    "/docs",
    "/openapi.json",
    "/clips/",
    "/clips/..%2f..%2fetc%2fpasswd",
    "/timeline/",
    "/timeline/../clip",
    "/timeline/..%2F..%2Fetc/clip",
    "/timeline/%2e%2e/clip",
    "/timeline/00000001/clip",
    "/timeline/uploads/",
    "/timeline//etc/passwd",
    "/form.html/../../app.py",
    "/..%2fform.js",
    "//etc/passwd",
]


def test_a_clip_is_uploaded_localized_and_shown(make_site, clip):
    site = make_site()
    token = site.send(clip)[1]["token"]
    assert site.wait(token) == {
        "state": "done",
        "name": "my clip.MP4",
        "fraction": 1.0,
        "text": "1 of 1 s",
        "position": 0,
    }
    status, page, headers = site.request(f"/timeline/{token}/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<h1>my clip.MP4</h1>" in page
    assert b'src="clip"' in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
    status, part, headers = site.request(f"/timeline/{token}/clip", headers={"Range": "bytes=2-4"})
    assert (status, part, headers["content-type"]) == (206, clip[2:5], "video/mp4")
    assert headers["content-security-policy"].startswith("sandbox")


def test_a_misleading_name_is_never_served_as_a_page(make_site, clip):
    site = make_site()
    token = site.send(clip, name="<b>evil</b>.html")[1]["token"]
    site.wait(token)
    status, _, headers = site.request(f"/timeline/{token}/clip")
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert headers["x-content-type-options"] == "nosniff"
    assert b"<b>evil" not in site.request(f"/timeline/{token}/")[1]


def test_the_form_loads_from_this_server_only(make_site):
    site = make_site(max_megabytes=7, max_duration_s=150.0)
    for path, media_type in (("/", "text/html"), ("/form.css", "text/css"), ("/form.js", "text/javascript")):
        status, content, headers = site.request(path)
        assert (status, headers["content-type"]) == (200, f"{media_type}; charset=utf-8")
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert b"http" not in content.replace(b"https or of this machine", b"")
    assert json.loads(site.request("/room")[1]) == {"megabytes": 7, "minutes": 2.5, "network": "a network"}
    assert "server" not in headers


def test_room_is_checked_before_an_upload(make_site, make_localizer, clip):
    released = threading.Event()
    site = make_site(make_localizer(released=released), max_megabytes=1, total_megabytes=1, queue_size=1)
    assert site.request("/room?bytes=1000000")[0] == 200
    assert site.request("/room?bytes=1000001")[0] == 413
    first = site.send(clip)[1]["token"]
    site.wait(first, ["running"])
    assert site.request("/room?bytes=999999")[0] == 507
    second = site.send(clip)[1]["token"]
    assert site.state(second)["position"] == 1
    status, answer, _ = site.request("/room")
    assert (status, json.loads(answer)["error"]) == (503, "1 clips wait already; try again in some minutes.")
    assert site.send(clip)[0] == 503
    released.set()
    assert [site.wait(token)["state"] for token in (first, second)] == ["done", "done"]


def test_no_other_path_exists(make_site):
    site = make_site()
    methods = (("GET", None), ("POST", json.dumps(BODIES[0])), ("PUT", b"x"), ("DELETE", None))
    for path, (method, body) in itertools.product(OTHER_PATHS, methods):
        status, answer, _ = site.request(path, method, body, {"Content-Type": "application/json"})
        assert status in (404, 405), (method, path)
        assert b"root:" not in answer


def test_a_request_that_names_a_file_is_no_upload(make_site, tmp_path):
    """A body is a clip's bytes, whatever it says; a name is text, whatever it looks like."""
    site = make_site()
    for body in map(json.dumps, BODIES):
        assert site.request("/clips", "POST", body, {"Content-Type": "application/json"})[0] == 415
        status, answer = site.send(body.encode(), name="/etc/passwd")
        assert status == 201
        state = site.wait(answer["token"])
        assert (state["state"], state["text"].partition(" (")[0]) == ("failed", "passwd: cannot be opened as media")
        assert str(tmp_path) not in json.dumps(state)


def test_a_playlist_is_followed_nowhere(make_site, clip, tmp_path):
    site = make_site()
    (tmp_path / "clip.mp4").write_bytes(clip)
    targets = ("{clip}", "file://{clip}", "http://127.0.0.1:{port}/secret.mp4", "clip.mp4", "/dev/zero")
    for playlist, target, name in itertools.product(PLAYLISTS, targets, ("list.mp4", "list.ffconcat", "list.m3u8")):
        content = playlist.format(target.format(clip=tmp_path / "clip.mp4", port=site.port)).encode()
        state = site.wait(site.send(content, name=name)[1]["token"])
        assert state["state"] == "failed", (playlist, target, name)


def test_visitors_see_nothing_of_each_other(make_site, make_localizer, clip, tmp_path):
    released = threading.Event()
    site = make_site(make_localizer(released=released))
    alice, bob = (site.send(clip, name=f"{name}.mp4")[1]["token"] for name in ("alice", "bob"))
    site.wait(alice, ["running"])
    assert site.state(bob) == {"state": "waiting", "name": "bob.mp4", "fraction": 0.0, "text": "", "position": 1}
    released.set()
    assert [site.wait(token)["state"] for token in (alice, bob)] == ["done", "done"]
    for token, other in ((alice, "bob"), (bob, "alice")):
        for path in (f"/clips/{token}", f"/timeline/{token}/"):
            answer = site.request(path)[1].decode()
            assert other not in answer
            assert alice not in answer
            assert bob not in answer
            assert str(tmp_path) not in answer
    # Without the whole token, nothing.
    for guess in (
        alice[:-1],
        alice.swapcase(),
        alice + bob,
        "*",
        "%",
        alice[:16] + bob[16:],
        f"{alice}%00",
        f"{alice}%2f",
    ):
        for path in (f"/clips/{guess}", f"/timeline/{guess}/", f"/timeline/{guess}/clip"):
            assert site.request(path)[0] == 404
    assert site.request(f"/timeline/{alice}/other.mp4")[0] == 404
    assert site.request(f"/clips/{alice}", "POST", clip)[0] == 405


def test_an_unfinished_clip_has_no_timeline(make_site, make_localizer, clip):
    released = threading.Event()
    site = make_site(make_localizer(released=released))
    token = site.send(clip)[1]["token"]
    for path in (f"/timeline/{token}/", f"/timeline/{token}/clip"):
        status, answer, _ = site.request(path)
        assert (status, json.loads(answer)["error"]) == (404, "No such clip, or it has expired.")
    status, answer, headers = site.request(f"/timeline/{token}/", headers={"Accept": "text/html,*/*"})
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")  # a browser shows a sentence
    assert b'<p role="alert">No such clip, or it has expired.</p>' in answer
    assert "default-src 'none'" in headers["content-security-policy"]
    released.set()


def test_pages_of_other_sites_cannot_upload(make_site, clip):
    site = make_site()
    assert site.send(clip, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert site.send(clip, **{"Sec-Fetch-Site": "same-site"})[0] == 403
    assert site.send(clip, **{"Sec-Fetch-Site": "same-origin"})[0] == 201


def test_clips_expire(make_site, clip):
    site = make_site(keep_s=0.3)
    token = site.send(clip)[1]["token"]
    for _ in range(15_000):  # 5 minutes
        if site.request(f"/clips/{token}")[0] == 404:
            break
        time.sleep(0.02)
    assert site.request(f"/timeline/{token}/clip")[0] == 404
    for _ in range(15_000):  # 5 minutes
        if not site.store.total_bytes:  # counted down after the files are removed
            break
        time.sleep(0.02)
    assert (list(site.store.folder.iterdir()), site.store.total_bytes) == ([], 0)


def test_everything_is_removed_when_the_application_stops(make_site, clip):
    site = make_site()
    site.wait(site.send(clip)[1]["token"])
    assert site.store.folder.is_dir()
    site.stop()
    assert not site.store.folder.exists()


def test_the_missing_extra_is_named(make_queue, monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(AvlocError, match=r"the web page needs the extra web: pip install 'avloc\[web\]'"):
        create_app(make_queue())
