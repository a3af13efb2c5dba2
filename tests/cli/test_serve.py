"""`avloc serve` as a process of its own, from outside: by requests, and in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.cli.serve import networks_text, parse
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.inference.settings import LocalizerSettings
from avloc.localization.text import network_text
from avloc.models.packaged import packaged_description
from avloc.web.server import listen

CASES = Path(__file__).parents[1] / "data" / "cases"


@pytest.fixture(scope="module")
def server(make_server, tmp_path_factory):
    limits = ("--largest", "1", "--total", "20", "--longest", "30s", "--parallel", "2")
    return make_server(tmp_path_factory.mktemp("serve"), *limits)


@pytest.fixture
def clip(tmp_path, frames, beep):
    write_mp4(tmp_path / "clip.mp4", frames, beep)
    return tmp_path / "clip.mp4"


def test_many_uploads_at_once(server, clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no media " * 50)
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:700])
    (tmp_path / "large.mp4").write_bytes(bytes(1_000_001))
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{clip.name}'\n")
    write_mp4(tmp_path / "long.mp4", None, np.zeros(16_000 * 33, np.float32))
    bad = [tmp_path / f"{name}.mp4" for name in ("text", "cut", "list", "large", "long")]
    good = [shutil.copy(clip, tmp_path / f"good {k}.mp4") for k in range(6)]
    good.append(shutil.copy(CASES / "eight_channels.mp4", tmp_path / "eight_channels.mp4"))
    memory_mb = server.rss_mb()
    with ThreadPoolExecutor(12) as pool:
        answers = dict(zip([*good, *bad], pool.map(server.localize, [*good, *bad]), strict=True))
    for path in good:
        status, page = server.request(f"/timeline/{answers[path]}/")
        assert status == 200, answers[path]
        assert f"<h1>{path.name}</h1>".encode() in page
    for path in bad[:3]:
        assert answers[path].startswith(f"{path.name}: cannot be opened as media")
    assert answers[bad[3]] == "large.mp4: is larger than 1 MB"
    assert answers[bad[4]] == "long.mp4: lasts 0.6 minutes, the limit is 0.5 minutes"
    assert str(server.folder) not in str(answers)
    assert server.rss_mb() < memory_mb + 50
    assert "Traceback" not in server.log.read_text()


def test_a_worker_that_is_killed_is_replaced(server, clip):
    workers = server.workers()
    assert len(workers) >= 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    # The message to whom it concerned is tested with the queue; whoever comes next sees nothing of it.
    time.sleep(0.5)
    assert server.request("/")[0] == 200
    assert server.request(f"/timeline/{server.localize(clip)}/")[0] == 200


def test_upload_and_timeline_in_a_browser(server, clip, browser, screenshot):
    page = browser.new_page(viewport={"width": 1100, "height": 1400})
    logged, requested = [], []
    page.on("console", lambda message: logged.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(server.url)
    page.get_by_text("Up to 1 MB and 0.5 minutes").wait_for()
    page.get_by_text("Network: the checkpoint c.ckpt: BoundaryTransformer (weights' sha256 ").wait_for()
    start = page.get_by_role("button", name="Localize", exact=True)
    start.click()
    page.get_by_text("Choose a clip first.").wait_for()
    page.set_input_files("input[type=file]", clip)
    start.click()
    page.wait_for_selector("iframe[title=Timeline]", timeout=300_000)
    frame = page.frame_locator("iframe[title=Timeline]")
    assert frame.locator(".provenance").inner_text().count("c.ckpt, ") == 1
    # The timeline fills the page: the window scrolls, the frame does not.
    inner = "document.querySelector('iframe').contentDocument.documentElement"
    for width in (1100, 380):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_timeout(300)
        sizes = f"[{inner}.scrollHeight - {inner}.clientHeight, {inner}.scrollWidth - {inner}.clientWidth]"
        assert page.evaluate(sizes) == [0, 0]
        unused = page.evaluate(f"{inner}.clientHeight - {inner}.querySelector('body').offsetHeight")
        assert 0 <= unused <= 2  # parts of pixels
    page.set_viewport_size({"width": 1100, "height": 1400})
    with page.expect_download() as waiting:
        frame.get_by_role("button", name="csv").click()
    assert waiting.value.suggested_filename == "clip.csv"
    assert waiting.value.path().read_text().startswith("file,start,end,")
    frame.locator("tbody tr:visible button").nth(3).click()
    start_s = float(frame.locator("tr.chosen").get_attribute("data-start"))
    frame.locator("#clip").evaluate("e => new Promise(done => e.seeking ? e.addEventListener('seeked', done) : done())")
    assert frame.locator("#clip").evaluate("e => e.currentTime") == pytest.approx(start_s, abs=0.02)
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    screenshot(page, "serve_phone")
    page.set_viewport_size({"width": 1100, "height": 1400})
    screenshot(page, "serve")
    assert {url for url in requested if not url.startswith((server.url, "data:", "blob:"))} == set()
    assert logged == []
    page.set_input_files("input[type=file]", {"name": "<b>x.mp4", "mimeType": "video/mp4", "buffer": b"no media"})
    start.click()
    page.get_by_text("<b>x.mp4: cannot be opened as media").wait_for()
    page.set_input_files("input[type=file]", {"name": "x.mp4", "mimeType": "video/mp4", "buffer": bytes(1_000_001)})
    start.click()
    error = page.locator("#result").get_by_text("x.mp4: is larger than 1 MB")  # in the place of the result
    error.wait_for()
    assert page.locator("iframe").count() == 0
    page.close()


def test_a_recording_in_a_browser(server, screenshot):
    api = pytest.importorskip("playwright.sync_api")
    program = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if program is None:
        pytest.skip("no browser (Debian: apt-get install chromium)")
    script = CAMERA.format(program=program, url=server.url)
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert process.stdout.splitlines() == ["recording.webm", "[]"], process.stderr
    assert api


# A process of its own: Playwright allows one connection in each thread, and this browser needs a false camera.
CAMERA = """
from playwright.sync_api import sync_playwright
words = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
with sync_playwright() as playwright:
    page = playwright.chromium.launch(executable_path={program!r}, args=words).new_page()
    logged = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto({url!r})
    page.get_by_role("button", name="Record with the camera").click()
    page.get_by_role("button", name="Stop recording").wait_for()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_text("recording.webm (").wait_for()
    page.get_by_role("button", name="Localize", exact=True).click()
    print(page.frame_locator("iframe[title=Timeline]").locator("h1").inner_text(timeout=300_000))
    print(logged)
"""


def test_nothing_is_left_after_a_server_stops_or_is_killed(tmp_path, make_server, wait_for_end, clip):
    killed = make_server(tmp_path)
    assert killed.request(f"/timeline/{killed.localize(clip)}/")[0] == 200
    workers = killed.workers()
    assert workers
    killed.process.kill()
    killed.process.wait()
    names = {path.name for path in killed.files()}
    assert names == {"avloc-serve.lock", "clip.mp4", "timeline.html"}
    server = make_server(tmp_path)
    assert {path.name for path in server.files()} == {"avloc-serve.lock"}
    wait_for_end(workers)
    workers = server.workers()
    assert workers
    assert server.stop() == 0
    assert list(server.folder.iterdir()) == []
    wait_for_end(workers)
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def no_checkpoint(tmp_path):
    (tmp_path / "c.ckpt").touch()
    return ["--checkpoint", str(tmp_path / "c.ckpt")]


def test_a_taken_port_is_an_error_before_the_network_is_loaded(no_checkpoint, capsys):
    with listen("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        assert main(["serve", *no_checkpoint, "--port", port]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"avloc serve: error: cannot listen on http://127.0.0.1:{port} (Address already in use); "
        "choose another --host or --port\n"
    )


@pytest.mark.parametrize("port", ["99999", "65536", "-1", "x", "9" * 5000, "1.5", "²"])
def test_an_impossible_port_is_one_line(no_checkpoint, capsys, port):
    assert main(["serve", *no_checkpoint, "--port", port]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "want a port of 0 to 65535" in error


def test_a_foreign_host_is_one_line(no_checkpoint, capsys):
    assert main(["serve", *no_checkpoint, "--host", "203.0.113.9"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_checkpoint_that_is_none_is_one_line(tmp_path, small_checkpoint):
    (tmp_path / "c.ckpt").write_bytes(small_checkpoint.read_bytes()[:1000])
    command = [sys.executable, "-m", "avloc", "serve", "--checkpoint", str(tmp_path / "c.ckpt"), "--port", "0"]
    process = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=600
    )
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert process.stdout == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "c.ckpt"]


def test_defaults(no_checkpoint):
    options = parse(no_checkpoint)
    assert (options.host, options.port, options.threshold) == ("127.0.0.1", 7860, None)
    assert (options.largest, options.longest, options.parallel, options.queue, options.expire) == (
        200,
        1800.0,
        1,
        20,
        1800.0,
    )
    assert (options.total, options.capacity, options.time_limit, options.memory) == (4000, 500, 1800.0, 8.0)
    limits = options.limits()
    assert (limits.max_duration_s, limits.keep_s, limits.time_limit_s) == (1800.0, 1800.0, 1800.0)
    assert limits.memory_bytes == 8 << 30


@pytest.mark.parametrize(
    ("option", "value"),
    [("--longest", "0"), ("--expire", "-1"), ("--longest", "nan"), ("--time-limit", "inf"), ("--memory", "0")],
)
def test_limits_must_be_positive(no_checkpoint, option, value):
    with pytest.raises(AvlocError, match=f"{option}: want a (number|length of time) above 0.*, got '{value}'"):
        parse([*no_checkpoint, option, value])


def test_the_total_must_hold_the_largest_clip(no_checkpoint):
    with pytest.raises(AvlocError, match=r"want --total of at least --largest \(50 MB\), got 49"):
        parse([*no_checkpoint, "--largest", "50", "--total", "49"])


def test_the_page_names_the_network():
    assert networks_text(LocalizerSettings("folder/c.ckpt")) == "Network: the checkpoint c.ckpt."
    audio = network_text(packaged_description("audio"))
    assert networks_text(LocalizerSettings(streams="audio")) == f"Network for all clips: {audio}."
    version, scope = packaged_description().version, packaged_description().scope
    assert networks_text(LocalizerSettings()) == (
        f"Networks: avloc-both {version} for clips with audio and visual streams, avloc-audio {version} for audio alone, "
        f"avloc-visual {version} for visual streams alone; each timeline names its own. Trained only on {scope}."
    )


@pytest.mark.parametrize("option", ["--longest", "--expire", "--time-limit"])
def test_times_say_their_unit(option, capsys):
    """A bare number meant minutes once."""
    with pytest.raises(AvlocError, match=f"argument {option}: want a unit, as 30m or 30s, got '30'"):
        parse([option, "30"])
    parse([option, "30s"])
