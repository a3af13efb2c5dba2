from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.datasets.clips import ClipDataset, collate_clips, fit_audio, fit_video, log_mel, resized
from avloc.datasets.encode import write_mp4
from avloc.errors import AvlocError
from avloc.records import VideoRecord

DATA = np.load(Path(__file__).parents[1] / "data" / "preprocess" / "preprocess.npz")


def test_equal_to_the_published_preprocessing():
    assert log_mel(torch.from_numpy(DATA["wave"])).numpy() == pytest.approx(DATA["log_mel"], abs=1e-5)
    assert resized(torch.from_numpy(DATA["frames"])).numpy() == pytest.approx(DATA["resized"], abs=1e-6)


def test_padding_and_cutting():
    frames = torch.randint(0, 255, (7, 3, 20, 30), dtype=torch.uint8)
    video = fit_video(frames, 10, "pad")
    assert video.shape == (3, 10, 96, 96)
    torch.testing.assert_close(video[:, :7], resized(frames).transpose(0, 1))
    assert not video[:, 7:].any()
    assert fit_video(frames, 5, "pad").shape == (3, 5, 96, 96)
    samples = torch.randn(7 * 640)
    audio = fit_audio(samples, 10, "pad")
    assert audio.shape == (64, 40)
    torch.testing.assert_close(audio, log_mel(torch.cat([samples, torch.zeros(3 * 640)])))
    assert fit_audio(samples, 5, "pad").shape == (64, 20)


def test_squeezing_takes_the_whole_clip():
    frames = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 3, 4, 4) * 10
    video = fit_video(frames, 4, "squeeze")
    assert (video[0, :, 0, 0] * 255).tolist() == pytest.approx([0, 20, 40, 60])  # nearest
    samples = torch.sin(torch.arange(16 * 640) * 0.05)
    assert fit_audio(samples, 4, "squeeze").shape == (64, 16)


def test_clips(tmp_path, frames, beep):
    root, cache = tmp_path / "set", tmp_path / "cache"
    write_mp4(root / "a.mp4", frames, beep)
    write_mp4(root / "silent.mp4", frames[:10], None)
    write_mp4(root / "blind.mp4", None, beep)
    records = [VideoRecord(f"{name}.mp4", "train") for name in ("a", "silent", "blind")]
    dataset = ClipDataset(records, root, length=32, cache=cache)
    batch = collate_clips([dataset[k] for k in range(3)])
    assert batch.video.shape == (3, 3, 32, 96, 96)
    assert batch.audio.shape == (3, 64, 128)
    assert batch.n_frames.tolist() == [30, 10, 30 + 1]  # AAC adds a little to the 1.2 s of sound
    brightness = batch.video[0, :, :30].mean(dim=(0, 2, 3)) * 255
    assert brightness.tolist() == pytest.approx([7 * k for k in range(30)], abs=3)
    assert not batch.video[2].any()
    silence = np.log(0.01)
    assert batch.audio[1].numpy() == pytest.approx(np.full((64, 128), silence), abs=1e-5)
    loud = batch.audio[0].max(dim=0).values > silence + 3
    assert np.flatnonzero(loud.numpy())[[0, -1]].tolist() == pytest.approx([50, 59], abs=2)
    again = collate_clips([dataset[k] for k in range(3)])
    assert len(list(cache.glob("*.npz"))) == 3
    torch.testing.assert_close(again.video, batch.video, atol=5e-4, rtol=0)
    torch.testing.assert_close(again.audio, batch.audio, atol=5e-3, rtol=0)
    assert again.n_frames.tolist() == batch.n_frames.tolist()
    write_mp4(root / "a.mp4", frames[::-1].copy(), beep)  # a changed clip is decoded anew
    assert dataset[0].video[0, 0].mean() > 0.5
    squeezed = ClipDataset(records, root, length=8, fit="squeeze")[0]
    assert (squeezed.video.shape, squeezed.audio.shape, squeezed.n_frames) == ((3, 8, 96, 96), (64, 32), 8)


def test_errors(tmp_path):
    (tmp_path / "x.mp4").write_text("none")
    with pytest.raises(AvlocError, match="cannot be opened as media"):
        ClipDataset([VideoRecord("x.mp4", "t")], tmp_path)[0]
    with pytest.raises(AvlocError, match="leads out of"):
        ClipDataset([VideoRecord("../x.mp4", "t")], tmp_path / "set")[0]
    with pytest.raises(AvlocError, match="want fit of pad, squeeze and length ≥ 1, got 'fold'"):
        ClipDataset([], tmp_path, fit="fold")
    with pytest.raises(AvlocError, match="where nothing is written; name another cache"):
        ClipDataset([], tmp_path, cache=tmp_path / "cache")
