from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.resize import resize_frame
from avloc.feature_extraction.media.types import VideoFormat

DATA = np.load(Path(__file__).parents[2] / "data" / "preprocess" / "preprocess.npz")


def test_bicubic_equals_the_published_preprocessing():
    for image, expected in zip(
        DATA["frames"].transpose(0, 2, 3, 1), DATA["resized"].transpose(0, 2, 3, 1), strict=True
    ):
        assert resize_frame(image, 96, 96, "bicubic") == pytest.approx(expected, abs=1e-6)


def test_nearest_frame_by_frame_equals_the_whole_clip():
    frames = np.random.default_rng(0).integers(0, 255, (5, 17, 23, 3), dtype=np.uint8)
    whole = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float()
    expected = torch.nn.functional.interpolate(whole, (5, 9, 11), mode="nearest")[0].permute(1, 2, 3, 0).numpy()
    assert (np.stack([resize_frame(f, 9, 11, "nearest") for f in frames]) == expected).all()


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_decoding_resizes_from_the_files_size(tmp_path, frames, backend):
    from avloc.datasets.synthetic.encode import write_mp4

    write_mp4(tmp_path / "a.mp4", frames, None)
    height, width = frames.shape[1:3]
    formats = [VideoFormat(height, width), VideoFormat(96, 96, resize="bicubic"), VideoFormat(20, 30, resize="nearest")]
    clip = decode(tmp_path / "a.mp4", formats, backend=backend)
    original, bicubic, nearest = (clip.frames[f] for f in formats)
    assert bicubic.dtype == np.float32
    assert nearest.dtype == np.uint8
    assert bicubic[3] == pytest.approx(resize_frame(original[3], 96, 96, "bicubic"), abs=1e-6)
    assert (nearest[3] == resize_frame(original[3], 20, 30, "nearest")).all()
