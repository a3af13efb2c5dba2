from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import importlib.util
import io
import json
import multiprocessing
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

import av
import numpy as np
import pytest
import torch
from filelock import FileLock

os.environ.setdefault("MPLBACKEND", "Agg")
BATFD_DATA = Path(__file__).parent / "data" / "batfd"


MOST_WORKERS = 4  # a worker process takes about 1 GB, and many tests start processes of their own


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes for `-n auto`, which the settings give: one per core for folders, none for single files.

    Nor does a run whose output is wanted as it comes (`-s`) have workers.
    """
    files = [argument for argument in config.args if not Path(argument).is_dir()]
    return 0 if files or config.option.capture == "no" else min(len(os.sched_getaffinity(0)), MOST_WORKERS)


def pytest_xdist_setupnodes() -> None:
    """Give each worker, and every process that it starts, one thread, so that they do not fight for the cores.

    The C library keeps the memory that tensors free: giving it back, and getting it again page by page, costs tests of networks a
    tenth of their time.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 30))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 32))


@pytest.fixture(scope="session")
def make_once(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[str, Callable[[Path], None]], Path]:
    """A function that returns a folder of the session's, filled once for all worker processes: the others wait.

    Tests must not change what is in it.
    """
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, filled = root / f"shared-{name}", root / f"shared-{name}.filled"
        with FileLock(root / f"shared-{name}.lock"):
            if not filled.exists():
                shutil.rmtree(folder, ignore_errors=True)  # the rest of a failure
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make


class TerminalRun(NamedTuple):
    """A finished command: its exit code, and the terminal's text without colours."""

    code: int
    text: str


@pytest.fixture(scope="session")
def run_in_terminal() -> Callable[..., TerminalRun]:
    """A function that runs `avloc` with arguments in a pseudo-terminal of a number of columns."""
    return _run_in_terminal


def _run_in_terminal(arguments: Sequence[str], columns: int) -> TerminalRun:
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "avloc", *map(str, arguments)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**environment, "TERM": "xterm"},
    )
    os.close(terminal)
    output = b""
    with contextlib.suppress(OSError):  # Linux's sign that the last process has closed the terminal
        while block := os.read(controller, 65536):
            output += block
    os.close(controller)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode()).replace("\r\n", "\n")
    return TerminalRun(process.wait(), text)


FORKED_COMMAND = """
import os, signal, sys, warnings
os.chdir(folder)
for number, path in ((1, out), (2, err)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
warnings.simplefilter("ignore")
from avloc.cli.main import main
sys.exit(main(words))
"""


class AvlocProcess:
    """A process of its own that runs `avloc`; it has the members of `subprocess.Popen` that tests need."""

    def __init__(self, context: Any, words: Sequence[Any], folder: Path, outputs: Path) -> None:
        self._outputs = (outputs / "out", outputs / "err")
        names = {
            "words": [*map(str, words)],
            "folder": str(folder),
            "out": str(self._outputs[0]),
            "err": str(self._outputs[1]),
        }
        self._process = context.Process(target=exec, args=(FORKED_COMMAND, names), daemon=False)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, and return what was printed."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"runs for more than {timeout} s"
        out, err = (path.read_text() if path.exists() else "" for path in self._outputs)
        return out, err


@pytest.fixture(scope="session")
def start_avloc(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[Any], Path], AvlocProcess]:
    """A function that starts `avloc` with arguments in a folder, in a process of its own that has PyTorch at once.

    It is forked from a server process that has imported it, which saves some seconds of each start.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["avloc.inference.split.parts", "avloc.inference.localizer", "avloc.inference.split.run"]
    )
    return lambda words, folder: AvlocProcess(context, words, folder, tmp_path_factory.mktemp("avloc"))


@pytest.fixture(scope="session")
def render_once(make_once) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A context in which sets of the bundled speech share clips: one of the same plan and seed is rendered once, then copied.

    A clip takes a second to render, and does not depend on the set's layout. It works without worker processes of `synthesize`.
    """
    from avloc.datasets.synthetic import generate
    from avloc.io.files import temporary_path

    folder, render = make_once("rendered", lambda folder: None), generate.render

    def copy(composition, path):
        rendered = folder / f"{hashlib.sha256(repr(composition.clip).encode()).hexdigest()}.mp4"
        if not rendered.exists():
            partial = temporary_path(rendered)
            render(composition, partial)
            partial.replace(rendered)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(rendered, path)

    @contextlib.contextmanager
    def patched():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(generate, "render", copy)
            yield

    return patched


@pytest.fixture(scope="session")
def render_plainly() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A context in which each clip of a generated set is a grey picture and a hum of its own length, rendered in a moment.

    For tests of files, labels and streams, which do not look at what a clip shows.
    """
    from avloc.datasets.synthetic import generate
    from avloc.datasets.synthetic.encode import write_mp4

    def write(composition, path):
        hum = 0.1 * np.sin(np.arange(composition.length, dtype=np.float32) / 9)
        frames = np.full((composition.length * generate.FPS // 16_000, 64, 64, 3), 99, np.uint8)
        write_mp4(path, frames, hum)

    @contextlib.contextmanager
    def patched():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(generate, "render", write)
            yield

    return patched


@pytest.fixture(scope="session")
def tiny_set(make_once, render_once) -> Path:
    """A generated LAV-DF set of 9 clips: 3 in each split."""
    from avloc.datasets.synthetic.generate import synthesize

    def fill(folder: Path) -> None:
        with render_once():
            synthesize(folder / "clips", layout="lavdf", clips=9, seed=3)

    return make_once("tiny", fill) / "clips"


@pytest.fixture(scope="session")
def demo(make_once) -> Path:
    """The folder of a demo of 18 clips and one epoch."""
    from avloc.cli.main import main

    def fill(folder: Path) -> None:
        with warnings.catch_warnings():  # Lightning's own hints, and the deprecations of the libraries under it
            warnings.simplefilter("ignore")
            assert main(["demo", "--out", str(folder / "out"), "--clips", "18", "--epochs", "1", "--workers", "2"]) == 0

    return make_once("demo", fill) / "out"


@pytest.fixture(scope="session")
def tiny_store(tiny_set: Path, make_once) -> Path:
    """The features of the tiny set."""
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.job.run import extract
    from avloc.feature_extraction.job.worker import ExtractionSettings
    from avloc.feature_extraction.store.feature_store import FeatureStore

    def fill(folder: Path) -> None:
        files = [r.file for r in read_records("lavdf", tiny_set)]
        settings = ExtractionSettings(tiny_set, (("logspec", {}), ("residual_grid", {})))
        report = extract(files, FeatureStore(folder), settings, shard_clips=4)
        assert report.done == 9
        assert not report.failures

    return make_once("store", fill)


@pytest.fixture(scope="session")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files with large claims: `long`, of 1,000 hours, and `big`, of 16,000 × 16,000 pixels."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = {"long": folder / "long.mkv", "big": folder / "big.mkv"}
    with av.open(str(paths["long"]), "w") as container:
        picture = container.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 1000)
        for k in range(11):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = k * 360_000_000, Fraction(1, 1000)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
    with av.open(str(paths["big"]), "w") as container:
        picture = container.add_stream("mjpeg", rate=25)
        picture.width, picture.height, picture.pix_fmt = 16_000, 16_000, "yuvj420p"
        for k in range(3):
            packet = av.Packet(bytes(50))
            packet.pts, packet.dts, packet.time_base, packet.stream = k, k, Fraction(1, 25), picture
            container.mux(packet)
    return paths


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """A function that writes a module that the test, and processes started by it, can import; it returns its folder."""
    written = []

    def write(name: str, text: str) -> Path:
        folder = tmp_path / "modules"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        written.append(name)
        return folder

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def frames() -> np.ndarray:
    """30 frames of 48 × 64 whose brightness is their number times 7."""
    return np.stack([np.full((48, 64, 3), 7 * k, dtype=np.uint8) for k in range(30)])


@pytest.fixture
def beep() -> np.ndarray:
    """1.2 s at 16 kHz: silence, but for a 1 kHz tone from 0.5 to 0.6 s."""
    t = np.arange(19200) / 16000
    return (0.5 * np.sin(2 * np.pi * 1000 * t) * ((t >= 0.5) & (t < 0.6))).astype(np.float32)


def _weight(salt, name, shape):
    """The published networks' fixtures: weights and inputs are a pure function of their names."""
    random = np.random.default_rng(zlib.crc32((salt + name).encode()))
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape)
    if name.endswith("running_mean"):
        return random.normal(0, 0.1, shape)
    if name.endswith("bias"):
        return random.normal(0, 0.05, shape)
    if len(shape) == 1:
        return random.uniform(0.8, 1.2, shape)
    return random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)


class Published(NamedTuple):
    """A fixture: its published state and settings, inputs, and expected outputs."""

    state: dict
    settings: dict
    video: torch.Tensor
    audio: torch.Tensor
    expected: dict

    @property
    def frames(self):
        return self.video.shape[2]


@pytest.fixture(scope="session")
def published():
    """Name → the fixture."""
    made = {}

    def make(name: str) -> Published:
        if name not in made:
            about = json.loads((BATFD_DATA / f"{name}.json").read_text())
            salt, frames, batch = about["salt"], about["temporal_dim"], about["batch"]
            state = {
                key: torch.from_numpy(np.asarray(_weight(salt, key, shape), dtype=np.float32))
                if shape
                else torch.zeros((), dtype=torch.int64)
                for key, shape in about["state_dict"].items()
            }

            def given(which, shape, low, high):
                random = np.random.default_rng(zlib.crc32((salt + which).encode()))
                return torch.from_numpy(random.uniform(low, high, shape).astype(np.float32))

            video = given("video", (batch, 3, frames, 96, 96), 0, 1)
            audio = given("audio", (batch, 64, 4 * frames), -4, 2)
            with np.load(BATFD_DATA / f"{name}.npz") as file:
                expected = {key: torch.from_numpy(file[key]) for key in file.files}
            made[name] = Published(state, about["hparams"], video, audio, expected)
        return made[name]

    return make


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium: Debian's, or Playwright's own. Without one these tests are skipped; AVLOC_BROWSER=1 forbids that."""
    api = pytest.importorskip("playwright.sync_api")
    path = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as error:
            if os.environ.get("AVLOC_BROWSER"):
                raise
            pytest.skip(f"no browser (Debian: apt-get install chromium): {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def screenshot(tmp_path):
    """Writes a picture of a page for people to look at."""
    folder = Path(os.environ.get("AVLOC_SCREENSHOTS") or tmp_path)

    def take(page, name):
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        assert (folder / f"{name}.png").stat().st_size > 10_000

    return take


@pytest.fixture(scope="session")
def loop():
    """Makes a long clip in a moment: the packets of short ones, of equal streams, one after the other."""

    def make(path, sources):
        """Returns the seconds of the first source: all count as so long."""
        read, turn_s = {}, None
        for source in dict.fromkeys(sources):
            with av.open(str(source)) as given:
                packets = [p for p in given.demux() if p.dts is not None]
                if turn_s is None:  # whole frames, and no overlap of the sound's last packet
                    turn_s = Fraction(round(max((p.pts + p.duration) * p.time_base for p in packets) * 25), 25)
                read[source] = [
                    (p.stream.index, p.pts, p.dts, p.duration, p.time_base, bytes(p), p.is_keyframe) for p in packets
                ]
        with av.open(str(sources[0])) as given, av.open(str(path), "w") as made:
            streams = {s.index: made.add_stream_from_template(s) for s in given.streams}
            last = dict.fromkeys(streams, -(10**9))
            for k, source in enumerate(sources):
                for index, pts, dts, duration, base, content, key in read[source]:
                    packet, shift = av.Packet(content), round(k * turn_s / base)
                    if dts + shift <= last[index]:
                        continue
                    last[index] = dts + shift
                    packet.pts, packet.dts, packet.duration, packet.time_base = pts + shift, dts + shift, duration, base
                    packet.is_keyframe, packet.stream = key, streams[index]
                    made.mux(packet)
        return float(turn_s)

    return make


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small network that finds many segments in every clip."""
    from avloc.core.descriptions import TrainingContext
    from avloc.feature_extraction.extractors.catalog import build_extractor
    from avloc.models import BoundaryTransformer
    from avloc.models.checkpoint import write_checkpoint

    path = tmp_path_factory.mktemp("checkpoint") / "c.ckpt"
    torch.manual_seed(0)
    extractors = [build_extractor(name, {}) for name in ("logspec", "residual_grid")]
    model = BoundaryTransformer(audio_dim=513, visual_dim=320, width=12, heads=3, levels=2)
    with torch.no_grad():
        model.branches[0].point_head.out.bias += 4
    write_checkpoint(path, model, TrainingContext(0.04, tuple(extractor.describe() for extractor in extractors)))
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small network on the features of the tiny set."""
    from avloc.core.descriptions import TrainingContext
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.models import BoundaryTransformer
    from avloc.models.checkpoint import write_checkpoint

    path, store = tmp_path_factory.mktemp("tiny") / "c.ckpt", FeatureStore(tiny_store)
    torch.manual_seed(0)
    model = BoundaryTransformer(audio_dim=513, visual_dim=320, width=8, heads=2, levels=2)
    write_checkpoint(path, model, TrainingContext(0.04, tuple(map(store.describe, ("logspec", "residual_grid")))))
    return path


@pytest.fixture(scope="session")
def raw_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`val.h5`, raw rows of 60 clips of 30 sources (a real one and its fake each), and their labels `m.json`.

    Around each label lie copies with a jitter, which the settings of the file, without voting and with a wide soft-NMS, leave
    as they are.
    """
    from avloc.heads.candidates import ClipCandidates, PointCandidates, PointDecoding
    from avloc.inference.raw.raw_file import NamedClip, RawSettings, pack_clips, write_raw
    from avloc.inference.raw.windows import RawClip, RawWindow

    folder, random = tmp_path_factory.mktemp("raw"), np.random.default_rng(5)
    clips, entries = [], []
    for k in range(60):
        start = random.uniform(1, 6)
        centre = start if k % 2 else random.uniform(1, 6)
        segments = np.array([centre, centre + 1]) + random.normal(0, 0.12, (7, 2))
        scores = random.uniform(0.5, 0.9, 7) if k % 2 else random.uniform(0.2, 0.6, 7)
        branch = PointCandidates(segments, np.stack([scores, 0 * scores], 1).astype(np.float32), np.full((7, 2), 0.5))
        window = RawWindow(ClipCandidates((branch,), 0.8 if k % 2 else 0.3), end_s=8.0)
        clips.append(NamedClip(f"{k}.mp4", RawClip((window,))))
        fakes = [[round(start, 3), round(start + 1, 3)]] if k % 2 else []
        original = f"{k - 1}.mp4" if k % 2 else None
        entries.append({"file": f"{k}.mp4", "fake_segments": fakes, "original": original, "duration": 8.0})
    (folder / "m.json").write_text(json.dumps(entries))
    settings = RawSettings(PointDecoding(sigma=2.0, voting_iou=0.0), 50, "abc", "avdeepfake1m", "val", "val")
    parts = [io.BytesIO(pack_clips(clips[:32])), io.BytesIO(pack_clips(clips[32:]))]
    write_raw(folder / "val.h5", parts, settings)
    return folder


class Server:
    """A process of `avloc serve`, and its answers, files, processes and memory."""

    def __init__(self, folder, checkpoint, *words):
        self.folder, self.log = folder / "tmp", folder / "log"
        self.folder.mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "avloc",
            "serve",
            "--checkpoint",
            str(checkpoint),
            "--threshold",
            "0",
            "--port",
            "0",
        ]
        environment = {**os.environ, "TMPDIR": str(self.folder), "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*command, *words], env=environment, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(6000):
            if self.process.poll() is not None or "http" in self.log.read_text():
                break
            time.sleep(0.05)
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text())[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def request(self, path, method="GET", body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def localize(self, path):
        """Upload a clip; return its token, or the error message."""
        headers = {"Content-Type": "application/octet-stream", "X-Clip-Name": quote(path.name)}
        status, answer = self.request("/clips", "POST", path.read_bytes(), headers)
        if status != 201:
            return json.loads(answer)["error"]
        token = json.loads(answer)["token"]
        while True:
            state = json.loads(self.request(f"/clips/{token}")[1])
            if state["state"] in ("done", "failed"):
                return state["text"] if state["state"] == "failed" else token
            time.sleep(0.05)

    def rss_mb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def files(self):
        # Folders may vanish meanwhile, which only `os.walk` takes calmly.
        return [Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names]

    def size_bytes(self):
        total = 0
        for path in self.files():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def workers(self):
        """The processes that this server has started."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@pytest.fixture(scope="session")
def make_server(small_checkpoint: Path) -> Iterator[Callable[..., Server]]:
    """Starts `avloc serve` in a folder, with more options; it is killed at the end of the session."""
    pytest.importorskip("uvicorn")
    servers: list[Server] = []

    def make(folder: Path, *words: str) -> Server:
        servers.append(Server(folder, small_checkpoint, *words))
        return servers[-1]

    yield make
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="session")
def wait_for_end() -> Callable[[Sequence[int]], None]:
    """A function that waits until processes have ended; multiprocessing's resource tracker ends a moment after its parent."""

    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def wait(pids: Sequence[int]) -> None:
        deadline_s = time.monotonic() + 60
        while any(map(runs, pids)):
            assert time.monotonic() < deadline_s, "workers outlive their parent"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def generated_split() -> ModuleType:
    """The module `tests/chaos/generated_split.py`, which writes a split of any size for predictions."""
    path = Path(__file__).with_name("chaos") / "generated_split.py"
    spec = importlib.util.spec_from_file_location("avloc_generated_split", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
