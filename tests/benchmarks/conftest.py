from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOLDERS = (BENCHMARKS, BENCHMARKS / "localization")


@pytest.fixture(scope="module", autouse=True)
def _importable_benchmarks():
    """A benchmark's modules import each other by bare names, as scripts do; other tests must not see these names."""
    roots = {
        path.relative_to(folder).parts[0].removesuffix(".py") for folder in FOLDERS for path in folder.rglob("*.py")
    }

    def benchmark_modules():
        return [name for name in sys.modules if name.partition(".")[0] in roots]

    hidden = {name: sys.modules.pop(name) for name in benchmark_modules()}
    paths = [str(folder) for folder in FOLDERS]
    sys.path[:0] = paths
    yield
    for path in paths:
        sys.path.remove(path)
    for name in benchmark_modules():
        del sys.modules[name]
    sys.modules.update(hidden)


@pytest.fixture(scope="session")
def benchmarks():
    """The folder of the benchmarks."""
    return BENCHMARKS


PORTRAIT = Path(__file__).parents[1] / "data" / "face" / "astronaut.jpg"


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """A folder of two clips of a photographed face with buzzes for words, and one without a face."""
    import numpy as np
    from torchvision.io import decode_image

    from avloc.datasets.synthetic.encode import write_mp4

    folder = tmp_path_factory.mktemp("footage")
    portrait = decode_image(str(PORTRAIT)).permute(1, 2, 0).numpy()
    rng = np.random.default_rng(0)
    for k, seconds in enumerate((2.0, 2.4)):
        frames = np.full((round(25 * seconds), 192, 240, 3), 128, np.uint8)
        for t, frame in enumerate(frames):
            left = 20 + 10 * k + t // 10
            frame[:, left : left + 192] = portrait
        frames = np.clip(frames + rng.normal(0, 3, (*frames.shape[:3], 1)), 0, 255).astype(np.uint8)
        time = np.arange(round(16000 * seconds))
        buzz = sum(np.sin(2 * np.pi * 150 * h / 16000 * time) / h for h in range(1, 20))
        samples = (np.where(time % 8000 < 5600, 0.2 * buzz, 0) + rng.normal(0, 0.001, len(time))).astype(np.float32)
        write_mp4(folder / "people" / f"{'ab'[k]}.mp4", frames, samples, crf=16)
    write_mp4(folder / "wall.mp4", np.full((25, 64, 64, 3), 90, np.uint8), samples[:16000])
    return folder
