from __future__ import annotations

import pytest

from avloc.datasets.synthetic.encode import write_mp4

TOYS = '''
import os, signal, time
from pathlib import Path

import numpy as np

from avloc.feature_extraction.extractors.base import Extractor
from avloc.feature_extraction.extractors.network import NetworkExtractor
from avloc.feature_extraction.media.types import VideoFormat


class Toy(Extractor):
    """The mean and the largest grey level of each frame; `frames` identifies a clip by its number of frames."""

    name, modality, hop_s, dim, receptive_field_s = "toy", "visual", 0.04, 2, 0.04

    def __init__(self, *, frames: int = 0, folder: str = "") -> None:
        self.frames, self.folder = frames, folder

    @property
    def video_format(self):
        return VideoFormat(6, 8, "gray")

    def rows(self, streams):
        return [self.one(s) for s in streams]

    def one(self, s):
        if len(s) == self.frames:
            self.trouble()
        return np.stack([s.mean(axis=(1, 2)), s.max(axis=(1, 2))], axis=1).astype(np.float32)


class Crash(Toy):
    def trouble(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class CrashOnce(Toy):
    def trouble(self):
        if not (Path(self.folder) / "crashed").exists():
            (Path(self.folder) / "crashed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


class KillParent(Toy):
    def trouble(self):
        os.kill(os.getppid(), signal.SIGKILL)


class Hang(Toy):
    def trouble(self):
        time.sleep(600)


class Slow(Toy):
    def one(self, s):
        time.sleep(0.05)
        return super().one(s)


class Odd(Toy):
    def trouble(self):
        raise ZeroDivisionError("oh")


class NotFinite(Toy):
    def trouble(self):
        pass

    def one(self, s):
        return super().one(s) * (np.nan if len(s) == self.frames else 1)


class Patient(Toy, NetworkExtractor):
    """Takes long for one clip, in several passes."""

    def _load(self):
        import torch

        return torch.nn.Identity()

    def trouble(self):
        for _ in range(8):
            with self.running():
                time.sleep(1.2)


class Network(NetworkExtractor):
    """A linear map; raises `error` for more than `together` streams at once, and for any stream of `frames` frames."""

    name, modality, hop_s, dim, receptive_field_s = "network", "visual", 0.04, 3, 0.04
    window_s = 0.4

    def __init__(self, *, together: int = 1000, frames: int = 0, dim: int = 3, error: str = "RuntimeError") -> None:
        self.together, self.frames, self.dim, self.error = together, frames, dim, error

    @property
    def video_format(self):
        return VideoFormat(6, 8, "gray")

    def _load(self):
        import torch

        torch.manual_seed(0)
        return torch.nn.Linear(48, self.dim)

    def rows(self, streams):
        import torch

        if len(streams) > self.together or any(len(s) == self.frames for s in streams):
            raise {"RuntimeError": RuntimeError, "memory": torch.OutOfMemoryError}[self.error]("too much")
        with self.running():
            return [self.network(torch.from_numpy(s).float().flatten(1) / 255).numpy() for s in streams]
'''


@pytest.fixture
def toys(write_module):
    """A module `avloc_toys` of extractors that misbehave, importable here and in processes started by the test."""
    return write_module("avloc_toys", TOYS)


@pytest.fixture
def clips(tmp_path, frames, beep):
    """A folder of five clips of 10 to 14 frames, the fourth without sound, and of a text file."""
    root = tmp_path / "clips"
    for k in range(5):
        write_mp4(root / f"{k} ä.mp4", frames[: 10 + k], None if k == 3 else beep)
    (root / "broken.mp4").write_text("no clip")
    return root


@pytest.fixture
def names():
    """The names of these clips and of the text file."""
    return [*(f"{k} ä.mp4" for k in range(5)), "broken.mp4"]
