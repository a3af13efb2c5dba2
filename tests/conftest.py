from __future__ import annotations

import json
import os
import shutil
import zlib
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")
BATFD_DATA = Path(__file__).parent / "data" / "batfd"


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated LAV-DF set of 9 clips: 3 in each split."""
    from avloc.datasets.synthetic.generate import synthesize

    root = tmp_path_factory.mktemp("tiny") / "clips"
    synthesize(root, layout="lavdf", clips=9, seed=3)
    return root


@pytest.fixture(scope="session")
def tiny_store(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of the tiny set."""
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.job.run import extract
    from avloc.feature_extraction.job.worker import ExtractionSettings
    from avloc.feature_extraction.store.feature_store import FeatureStore

    root = tmp_path_factory.mktemp("store")
    files = [r.file for r in read_records("lavdf", tiny_set)]
    settings = ExtractionSettings(tiny_set, (("logspec", {}), ("residual_grid", {})))
    report = extract(files, FeatureStore(root), settings, shard_clips=4)
    assert report.done == 9
    assert not report.failures
    return root


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
