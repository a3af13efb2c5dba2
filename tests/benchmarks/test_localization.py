"""The benchmark of localizers: its clips, its baselines, and (slow) the order of the systems on a small set."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.synthetic.composition import plan
from avloc.errors import AvlocError
from avloc.heads.points import PointTargets

RUN = Path(__file__).parents[2] / "benchmarks" / "localization" / "run.py"


def speech(length=6400, seed=0):
    """Something like a vowel."""
    t = np.arange(length) / 16000
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 30))
    return (0.1 * tone + np.random.default_rng(seed).normal(0, 0.005, length)).astype(np.float32)


@pytest.mark.parametrize("name", ["mel-griffin-lim", "lpc", "band-replication", "phase-search"])
def test_forged_words_keep_length_and_level_and_nothing_else(name):
    from forgers import SOUND

    for length in (1600, 6417):
        samples = speech(length)
        forged = SOUND[name](samples)
        assert forged.shape == samples.shape
        assert forged.dtype == np.float32
        assert np.isfinite(forged).all()
        assert np.sqrt(np.mean(forged**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=0.02)
        assert np.abs(forged - samples).mean() > 0.05 * np.abs(samples).mean()
        np.testing.assert_array_equal(forged, SOUND[name](samples))
    silent = SOUND[name](np.zeros(3200, np.float32))
    assert np.isfinite(silent).all()


@pytest.mark.parametrize("name", ["low-resolution", "blurred", "averaged", "coded"])
def test_forged_mouths_are_repainted_where_they_are(name):
    from forgers import MOUTH

    frames = np.random.default_rng(0).integers(0, 255, (7, 48, 64, 3), dtype=np.uint8)
    before, where = frames.copy(), np.array([0, 0, 1, 1, 0, 1, 0], dtype=bool)
    MOUTH[name](frames, np.full((7, 2), [30.0, 20.0]), where, 16, 2.2)
    np.testing.assert_array_equal(frames[~where], before[~where])
    changed = (frames != before).any(axis=(0, 3))
    assert changed[14:27, 24:37].mean() > 0.8
    changed[12:28, 22:38] = False
    assert not changed.any()


def test_the_last_method_of_each_is_in_the_test_split_only():
    import corpus
    from forgers import UNSEEN_MOUTH, UNSEEN_SOUND

    found = {split: set() for split in ("train", "dev", "test")}
    unseen = []
    for clip in plan(600, corpus.SEED):
        found[clip.split].update(corpus.methods(clip))
        how = corpus._methods_of(clip)
        assert bool(how) == (clip.kind != "real")
        unseen.append(clip.split == "test" and corpus.is_unseen(how))
    assert not {UNSEEN_MOUTH, UNSEEN_SOUND} & (found["train"] | found["dev"])
    assert len(found["test"]) == 8
    assert 20 < sum(unseen) < 60  # two in five of 100 forged ones
    assert not set(corpus.SPEAKERS["train"]) & {*corpus.SPEAKERS["dev"], *corpus.SPEAKERS["test"]}


def make_package(path, files):
    """A Debian package with nothing but data."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with path.open("wb") as out:
        out.write(b"!<arch>\n")
        for name, content in (("debian-binary", b"2.0"), ("data.tar.xz", tar.getvalue())):
            out.write(f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            out.write(content + b"\n" * (len(content) % 2))


def test_recordings_come_out_of_the_packages(tmp_path, monkeypatch):
    import speech as recordings

    files = {
        "./usr/share/x/en_US/vm-intro.g722": b"a" * 9000,
        "./usr/share/x/digits/1.g722": b"b" * 100,
        "./doc": b"c" * 9000,
    }
    path = tmp_path / recordings.PACKAGE.format("en")
    make_package(path, files)
    monkeypatch.setattr(recordings, "SHA256", {"en": hashlib.sha256(path.read_bytes()).hexdigest()})
    recordings.fetch(tmp_path)
    assert [p.name for p in sorted((tmp_path / "en").glob("*.g722"))] == ["en_US-vm-intro.g722"]
    path.unlink()
    recordings.fetch(tmp_path)  # it is there
    make_package(tmp_path / recordings.PACKAGE.format("en"), files | {"./more": b""})
    (tmp_path / "en" / "complete").unlink()
    with pytest.raises(AvlocError, match="not the package that this benchmark is made of"):
        recordings.fetch(tmp_path)


@pytest.mark.parametrize("name", ["actionformer", "ummaformer", "frame_wise"])
def test_a_baseline_learns_one_clip_by_heart(name):
    from dataclasses import replace

    import run
    from systems import SYSTEMS

    torch.manual_seed(0)
    small = {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2, "radius": 4, "audio_spectral_channels": 0}
    network = run.network_of(replace(SYSTEMS[name], arguments=small))
    record = VideoRecord("x", "train", None, (Segment(0.12, 0.36),), ())
    grid = TimeGrid(0, 0.04, 19)
    one, _ = network.target_maker(record, grid, 19)
    none, _ = network.target_maker(VideoRecord("y", "train"), grid, 19)
    targets = PointTargets(
        *(torch.stack([torch.as_tensor(a), torch.as_tensor(b)]) for a, b in zip(one, none, strict=True))
    )
    mask = torch.ones(2, 19, dtype=torch.bool)
    given = torch.randn(2, 19, 7), torch.randn(2, 19, 5), mask, mask
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(80):
        loss = network.loss(network(*given), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fake, real = network.eval().decode(network(*given), [grid] * 2)
    assert fake.segments[0] == pytest.approx([0.12, 0.36], abs=0.045)
    assert fake.scores[0] > 2 * real.scores.max(initial=0)


def test_runs_by_hand():
    from baselines import _runs

    chance = np.array([0.0, 0.4, 0.8, 0.4, 0.0])
    assert _runs(chance, 0.6) == [(2.0, 3.0, pytest.approx(0.8))]
    assert _runs(chance, 0.2) == [(1.0, 4.0, pytest.approx(1.6 / 3))]
    assert _runs(chance, 0.9) == []
    assert _runs(np.ones(3), 0.5) == [(0.0, 3.0, 1.0)]
    assert _runs(np.zeros(0), 0.5) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_order_of_the_systems(tmp_path):
    """The small form of the benchmark, one seed: ours is not behind where boundaries count."""
    subprocess.run(
        [sys.executable, str(RUN), "--out", str(tmp_path), "--quick", "--seeds", "0", "--jobs", "2"], check=True
    )
    found = {
        path.stem[:-2]: json.loads(path.read_text())["scores"]["all"]
        for path in (tmp_path / "quick" / "runs").glob("*.json")
    }
    best = max(scores["ap@0.75"] for name, scores in found.items() if name != "boundary_transformer")
    assert found["boundary_transformer"]["ap@0.75"] > best
