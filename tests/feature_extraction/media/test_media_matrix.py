"""Files of many kinds: each gives the right features at the right times, or a recorded failure. Mirrors no single source."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.verify import verify_store

EVENT_S = 1.0  # start of the flash, of 0.12 s, and of the click
DURATION_S = 2.4
RECEPTIVE_FIELDS_S = {"logmel": 512 / 16000, "residual_grid": 0.08, "small_r3d_18": 8 / 25}


def write(
    path, *, fps=Fraction(25), times=None, size=(64, 48), rate=16000, channels=1, video=True, audio=True, options=None
):
    """Write a dark clip with a flash and a click; `times` are those of the frames, in milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(0).integers(0, 20, (size[1], size[0], 3)).astype(np.uint8)
    with av.open(str(path), "w", container_options=options or {}) as container:
        if video:
            picture = container.add_stream(
                "libx264", rate=fps, options={"crf": "10", "preset": "veryfast", "threads": "1"}
            )
            picture.width, picture.height, picture.pix_fmt = *size, "yuv420p" if size[0] % 2 == 0 else "yuv444p"
            base = Fraction(1, 1000) if times is not None else 1 / fps
            picture.codec_context.time_base = base
        if audio:
            sound = container.add_stream("aac", rate=rate, layout="mono" if channels == 1 else "stereo")
        if video:
            marks = times if times is not None else range(round(DURATION_S * fps))
            for pts in marks:
                in_flash = EVENT_S <= pts * base + Fraction(1, 1000) < EVENT_S + 0.12
                image = texture + np.uint8(200 if in_flash else 30)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = pts, base
                container.mux(picture.encode(frame))
            container.mux(picture.encode())
        if audio:
            t = np.arange(round(DURATION_S * rate)) / rate
            click = 0.8 * np.sin(2 * np.pi * 1500 * t) * ((t >= EVENT_S) & (t < EVENT_S + 0.06))
            samples = np.ascontiguousarray(np.repeat(click[None], channels, axis=0).astype(np.float32))
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono" if channels == 1 else "stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            container.mux(sound.encode(frame))
            container.mux(sound.encode())


def set_rotation(path):
    """Set a rotation by 90° in the file's first track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") - 4 + 48
    matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], dtype=">i4")
    data[at : at + 36] = matrix.tobytes()
    path.write_bytes(bytes(data))


def matrix(root):
    """Write the files: name → (has picture, has sound), or None where a failure is right."""
    fine = {
        "good": {},
        "faststart": {"options": {"movflags": "faststart"}},
        "fps 30": {"fps": Fraction(30)},
        "fps 29.97": {"fps": Fraction(30000, 1001)},
        "48 kHz stereo": {"rate": 48000, "channels": 2},
        "odd sizes": {"size": (61, 47)},
        "no audio": {"audio": False},
        "audio only": {"video": False},
        "variable": {
            "times": [*range(0, 600, 40), *range(600, 900, 100), *range(900, 1300, 20), *range(1300, 2400, 50)]
        },
        "rotated": {},
    }
    expected = {}
    for name, options in fine.items():
        write(root / f"{name}.mp4", **options)
        expected[f"{name}.mp4"] = (options.get("video", True), options.get("audio", True))
    set_rotation(root / "rotated.mp4")
    good = (root / "good.mp4").read_bytes()
    assert good.index(b"moov") > len(good) // 2 > (root / "faststart.mp4").read_bytes().index(b"moov")
    (root / "cut.mp4").write_bytes(good[: len(good) // 2])  # the index is at the end
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("I am a film.\n" * 100)
    return expected | dict.fromkeys(["cut.mp4", "empty.mp4", "text.mp4", "missing.mp4"])


SMALL_NETWORK = """
import torch
from torchvision.models.video import r3d_18

from avloc.feature_extraction.extractors.video import R3D18


class SmallR3D18(R3D18):
    name, side = "small_r3d_18", 40

    def _load(self):
        torch.manual_seed(0)
        network = r3d_18()
        network.fc = torch.nn.Identity()
        return network
"""


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """The matrix in a store; the video network sees small pictures, which cost an eighth of the time."""
    root = tmp_path_factory.mktemp("matrix")
    expected = matrix(root / "clips")
    (root / "avloc_small_network.py").write_text(SMALL_NETWORK)
    extractors = (
        ("logmel", {}),
        ("residual_grid", {"size": 32, "cells": 4}),
        ("avloc_small_network.SmallR3D18", {"random": True, "stride": 8, "window": 8}),
    )
    store = FeatureStore(root / "s")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        report = job.extract(
            list(expected), store, ExtractionSettings(root / "clips", extractors, workers=2), shard_clips=5
        )
    sys.modules.pop("avloc_small_network", None)
    return expected, store, report


def test_unreadable_files_and_no_others_are_failures(extracted):
    expected, store, report = extracted
    assert set(report.failures) == {name for name, streams in expected.items() if streams is None}
    assert report.done == len(expected)
    for name in store.extractors():
        assert verify_store(store, name).faults == []
        assert set(store.failures(name)) == set(report.failures)


@pytest.mark.parametrize("extractor", ["logmel", "residual_grid", "small_r3d_18"])
def test_lengths_and_times(extracted, extractor):
    expected, store, _ = extracted
    for name, streams in expected.items():
        if streams is None:
            continue
        features = store.read(extractor, name)
        has_stream = streams[1] if extractor == "logmel" else streams[0]
        assert np.isfinite(features.values).all()
        if not has_stream:
            assert features.grid.length == 0, name
            continue
        # AAC's frames of 1024 samples at both ends; a picture ends within a frame.
        spare = 0.14 if extractor == "logmel" else 0.05
        assert abs(features.grid.end_s - DURATION_S) <= spare + features.grid.hop_s, name
        values, centers = features.values[1:], features.grid.centers_s()[1:]  # the first frame has no motion
        level = values.mean(axis=1) if extractor == "logmel" else np.abs(values - np.median(values, axis=0)).sum(axis=1)
        event_s = centers[level > level.min() + 0.5 * (level.max() - level.min())]
        reach = RECEPTIVE_FIELDS_S[extractor] / 2 + features.grid.hop_s
        assert event_s.min() >= EVENT_S - reach - 0.03, name
        assert event_s.max() <= EVENT_S + 0.12 + reach + 0.03, name


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_damaged_files_never_harm(tmp_path, backend):
    """400 flipped bytes in ten ways; and a file with an index but without its end."""
    root = tmp_path / "clips"
    write(root / "good.mp4", options={"movflags": "faststart"})
    good = (root / "good.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(good[: len(good) * 2 // 3])
    names = ["good.mp4", "cut.mp4"]
    for seed in range(10):
        data = np.frombuffer(good, np.uint8).copy()
        rng = np.random.default_rng(seed)
        # In half of them the header stays whole, so that something can be decoded.
        data[rng.integers(0 if seed % 2 else len(data) // 3, len(data), 400)] ^= rng.integers(1, 256, 400).astype(
            np.uint8
        )
        names.append(f"flipped {seed}.mp4")
        (root / names[-1]).write_bytes(data.tobytes())
    store = FeatureStore(tmp_path / "s")
    extractors = (("logmel", {}), ("residual_grid", {"size": 32, "cells": 4}))
    report = job.extract(
        names, store, ExtractionSettings(root, extractors, backend=backend, workers=2, timeout_s=60), shard_clips=4
    )
    assert report.done == 12
    for name in store.extractors():
        assert verify_store(store, name).faults == []
        for file in store.files(name):
            features = store.read(name, file)
            assert len(features.values) == features.grid.length
            assert features.grid.end_s < 2 * DURATION_S
            assert np.isfinite(features.values).all()
    if backend == "pyav":
        assert store.has("residual_grid", "cut.mp4")
    else:  # the picture alone failed
        assert "no frame could be decoded (decord cannot open it" in store.failures("residual_grid")["cut.mp4"]
    assert 0 < store.length("logmel", "cut.mp4") < store.length("logmel", "good.mp4")


def test_five_frames(tmp_path, frames):
    from avloc.datasets.synthetic.encode import write_mp4

    write_mp4(tmp_path / "clips" / "five.mp4", frames[:5], None)
    store = FeatureStore(tmp_path / "s")
    extractors = (("residual_grid", {}), ("r3d_18", {"random": True}))
    job.extract(["five.mp4"], store, ExtractionSettings(tmp_path / "clips", extractors))
    assert store.length("residual_grid", "five.mp4") == 5
    assert store.length("r3d_18", "five.mp4") == 2  # steps of four frames


PEAK = """
import json, resource, sys
from pathlib import Path
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.job.worker import ExtractionSettings
root, name, store = Path(sys.argv[1]), sys.argv[2], FeatureStore(sys.argv[3])
extractors = (("logmel", {}), ("residual_grid", {"size": 32, "cells": 4}))
report = job.extract([name], store, ExtractionSettings(root, extractors))
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "failed": report.failures,
                  "rows": [store.length(e, name) for e, _ in extractors]}))
"""


@pytest.mark.parametrize(("few", "loops"), [(60, 200), pytest.param(100, 1500, marks=pytest.mark.slow)])
def test_a_long_clip_takes_the_memory_of_minutes(tmp_path, loop, few, loops):
    """2.4 minutes and 8 (or 4 and 60), each in its own process; every loop has a flash and a click in its place."""
    root = tmp_path / "clips"
    write(root / "once.mp4")
    reports = {}
    for name, times in (("minutes.mp4", few), ("long.mp4", loops)):
        seconds = loop(root / name, [root / "once.mp4"] * times)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(root), name, str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=True,
        )
        reports[name] = json.loads(done.stdout)
        assert reports[name]["failed"] == {}
        for rows, per_second in zip(reports[name]["rows"], (100, 25), strict=True):
            assert abs(rows - seconds * times * per_second) <= 0.2 * per_second
    assert reports["long.mp4"]["peak"] < 1.1 * reports["minutes.mp4"]["peak"]
    store = FeatureStore(tmp_path / "long.mp4")
    level = store.read("logmel", "long.mp4").values.mean(axis=1)
    centers = store.grid("logmel", "long.mp4").centers_s()
    last = centers[level > level.min() + 0.5 * (level.max() - level.min())].max()
    assert last == pytest.approx((loops - 1) * seconds + EVENT_S + 0.06, abs=0.06)
