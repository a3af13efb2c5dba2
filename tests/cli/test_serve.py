"""`avloc serve` as a process of its own, from outside: through its interface, and in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from avloc.cli.serve import parse
from avloc.core.descriptions import TrainingContext
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
KEEP_S = 20


class Server:
    """A running server, its answers, its files and its memory."""

    def __init__(self, folder, *words):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url = folder / "tmp", f"http://127.0.0.1:{self.port}"
        self.folder.mkdir()
        torch.manual_seed(0)
        extractors = [build_extractor(name, {}) for name in ("logspec", "residual_grid")]
        model = BoundaryTransformer(audio_dim=513, visual_dim=320, width=12, heads=3, levels=2)
        with torch.no_grad():
            model.point_head.out.bias += 4  # so that the timeline has segments
        context = TrainingContext(0.04, tuple(extractor.describe() for extractor in extractors))
        write_checkpoint(folder / "c.ckpt", model, context)
        self.log = folder / "log"
        command = [sys.executable, "-m", "avloc", "serve", "--checkpoint", str(folder / "c.ckpt"), "--threshold", "0"]
        environment = {**os.environ, "TMPDIR": str(self.folder), "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), *words], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        for _ in range(600):
            if self.process.poll() is not None or self.get("/")[0] == 200:
                break
            time.sleep(0.1)
        assert self.get("/")[0] == 200, self.log.read_text()

    def get(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)
        except OSError:
            return 0, b"", {}

    def localize(self, path):
        """Upload a clip; return the iframe, or the error message."""
        from gradio_client import Client, handle_file

        try:
            client = Client(self.url, verbose=False, analytics_enabled=False)
            return client.predict(handle_file(str(path)), api_name="/localize")
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def rss_mb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def files(self):
        return [p for p in self.folder.rglob("*") if p.is_file()]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("gradio_client")
    server = Server(
        tmp_path_factory.mktemp("serve"),
        "--largest",
        "1",
        "--longest",
        "0.5",
        "--parallel",
        "2",
        "--keep",
        str(KEEP_S / 60),
    )
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="module")
def clips(tiny_set):
    return sorted(tiny_set.rglob("*.mp4"))


def timeline_path(answer):
    return re.search(r'src="(timeline/[\w-]{20,}/)"', answer)[1]


def test_many_uploads_at_once(server, clips, tmp_path):
    with ThreadPoolExecutor(11) as pool:  # a second crowd must not need more memory
        assert all("<iframe" in answer for answer in pool.map(server.localize, clips))
    before = server.rss_mb()
    names = [tmp_path / f"good {k}.mp4" for k in range(8)]
    for name, clip in zip(names, clips, strict=False):
        shutil.copy(clip, name)
    (tmp_path / "text.mp4").write_text("no media " * 50)
    (tmp_path / "cut.mp4").write_bytes(clips[0].read_bytes()[:700])
    (tmp_path / "large.mp4").write_bytes(bytes(3_000_000))
    names += [tmp_path / "text.mp4", tmp_path / "cut.mp4", tmp_path / "large.mp4"]
    with ThreadPoolExecutor(11) as pool:
        answers = list(pool.map(server.localize, names))
    pages = [server.get("/" + timeline_path(s)) for s in answers[:8]]
    for name, (status, text, headers) in zip(names, pages, strict=False):
        assert status == 200
        assert f"<h1>{name.name}</h1>".encode() in text
        assert b'src="clip"' in text
        assert "default-src 'none'" in headers["content-security-policy"]
    for name, message in zip(names[8:10], answers[8:10], strict=True):
        assert f"{name.name}: cannot be opened as media" in message
        assert str(server.folder) not in message
    assert "File size exceeds" in answers[10] or "413" in answers[10] or "max" in answers[10].lower(), answers[10]
    status, _, headers = server.get("/" + timeline_path(answers[0]) + "clip")
    assert (status, headers["content-type"]) == (200, "video/mp4")
    deadline = time.monotonic() + 3 * KEEP_S + 60
    while server.files() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert server.files() == []
    assert server.get("/" + timeline_path(answers[0]))[0] == 404
    assert server.rss_mb() < 1.1 * before + 20


def test_no_path_of_the_server_can_be_reached(server, clips):
    secret = server.folder.parent / "c.ckpt"
    for path in (
        f"/gradio_api/file={secret}",
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        f"/gradio_api/file={server.log}",
        "/timeline/../../etc/passwd/",
        "/timeline/..%2F..%2Fetc/clip",
        "/timeline/%2e%2e/clip",
        "/timeline/x/clip",
        "/timeline/results/clip",
    ):
        status, body, _ = server.get(path)
        assert status in (400, 403, 404), path
        assert b"root:" not in body
        assert str(server.folder).encode() not in body
    frame = server.localize(clips[0])
    token = timeline_path(frame).split("/")[1]
    assert server.get(f"/timeline/{token}/clip")[0] == 200
    assert server.get(f"/timeline/{token}/other.mp4")[0] == 404
    assert server.get(f"/timeline/{token[:-1]}/clip")[0] == 404


def test_a_clip_over_the_longest_duration_is_refused(server, tmp_path):
    import numpy as np

    from avloc.datasets.synthetic.encode import write_mp4

    write_mp4(tmp_path / "long.mp4", None, np.zeros(16_000 * 33, np.float32))
    assert "long.mp4: lasts 0.6 minutes, the limit is 0.5 minutes" in server.localize(tmp_path / "long.mp4")


def test_upload_and_timeline_in_a_browser(server, clips, browser, screenshot):
    page = browser.new_page(viewport={"width": 1100, "height": 1400})
    logged, requested = [], []
    page.on("console", lambda message: logged.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(server.url)
    page.wait_for_selector("input[type=file]", state="attached")
    page.get_by_role("button", name="Localize", exact=True).click()
    page.get_by_text("Choose a clip first.").wait_for()
    page.set_input_files("input[type=file]", clips[4])
    page.get_by_text(clips[4].name).first.wait_for()
    page.get_by_role("button", name="Localize", exact=True).click()
    page.wait_for_selector("iframe[title=Timeline]", timeout=60_000)
    frame = page.frame_locator("iframe[title=Timeline]")
    frame.locator("tbody tr:visible button").nth(3).click()
    start = float(frame.locator("tr.chosen").get_attribute("data-start"))
    frame.locator("#clip").evaluate("e => new Promise(done => e.seeking ? e.addEventListener('seeked', done) : done())")
    assert frame.locator("#clip").evaluate("e => e.currentTime") == pytest.approx(start, abs=0.02)
    frame.locator("#threshold").fill("1")
    assert frame.locator("#none").is_visible()
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1100, "height": 1400})
    frame.locator("#threshold").fill("0")
    screenshot(page, "serve")
    page.close()
    assert {url for url in requested if not url.startswith((server.url, "data:", "blob:"))} == set()
    # Gradio itself logs two such lines at its start.
    assert [line for line in logged if "Method not implemented" not in line] == []


def test_no_file_is_left_after_the_server_stops(tmp_path, clips):
    server = Server(tmp_path)
    assert "<iframe" in server.localize(clips[0])
    assert len(server.files()) >= 2
    assert server.stop() == 0
    assert list(server.folder.glob("avloc-serve-*")) == []
    assert "127.0.0.1" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_a_file_of_the_server_is_no_upload(server, tmp_path):
    """A request that names a file of the server instead of uploading one fails, and leaves the file."""
    body = json.dumps({"data": [{"path": str(server.log), "meta": {"_type": "gradio.FileData"}}]}).encode()
    request = urllib.request.Request(
        f"{server.url}/gradio_api/call/localize", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            event = json.loads(answer.read())["event_id"]
        with urllib.request.urlopen(f"{server.url}/gradio_api/call/localize/{event}", timeout=60) as answer:
            assert b"event: error" in answer.read()
    except urllib.error.HTTPError as error:
        assert error.code in (400, 403, 422, 500)
    assert server.log.is_file()


def test_equal_uploads_and_misleading_names(server, clips, tmp_path):
    """Equal uploads share one file, and none removes it from another. A clip named .html is never served as a page."""
    shutil.copy(clips[0], tmp_path / "same.mp4")
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(server.localize, [tmp_path / "same.mp4"] * 3))
    assert all("<iframe" in s for s in answers)
    shutil.copy(clips[0], tmp_path / "evil.html")
    status, _, headers = server.get("/" + timeline_path(server.localize(tmp_path / "evil.html")) + "clip")
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert headers["content-security-policy"].startswith("sandbox")


def test_defaults(tmp_path):
    (tmp_path / "c.ckpt").touch()
    options = parse(["--checkpoint", str(tmp_path / "c.ckpt")])
    assert (options.host, options.port, options.threshold) == ("127.0.0.1", 7860, 0.2)
    assert (options.largest, options.longest, options.parallel, options.queue, options.keep) == (200, 30.0, 1, 20, 30.0)
    assert options.localizer.checkpoint == tmp_path / "c.ckpt"


@pytest.mark.parametrize("words", [("--longest", "0"), ("--keep", "-1"), ("--longest", "nan")])
def test_durations_must_be_positive(tmp_path, words):
    (tmp_path / "c.ckpt").touch()
    with pytest.raises(AvlocError, match="want --longest and --keep > 0, got"):
        parse(["--checkpoint", str(tmp_path / "c.ckpt"), *words])
