from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.loading.clips import (
    ClipDataset,
    clip_example,
    collate_clips,
    fit_audio,
    fit_grid,
    fit_video,
    place_on_grid,
)
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.extractors.log_mel import log_mel
from avloc.feature_extraction.media.types import Clip, VideoFormat
from avloc.heads.maps import MapTargetMaker

DATA = np.load(Path(__file__).parents[2] / "data" / "preprocess" / "preprocess.npz")
BICUBIC = VideoFormat(96, 96, resize="bicubic")


def test_audio_equals_the_published_preprocessing():
    wave = torch.from_numpy(DATA["wave"])
    audio = fit_audio(wave, len(wave) // 640, "pad")
    assert audio.numpy() == pytest.approx(DATA["log_mel"], abs=1e-5)


def test_padding_and_cutting():
    frames = torch.rand(7, 96, 96, 3)
    video = fit_video(frames, 10, "pad")
    assert video.shape == (3, 10, 96, 96)
    torch.testing.assert_close(video[:, :7], frames.permute(3, 0, 1, 2))
    assert not video[:, 7:].any()
    assert fit_video(frames, 5, "pad").shape == (3, 5, 96, 96)
    samples = torch.randn(7 * 640)
    audio = fit_audio(samples, 10, "pad")
    assert audio.shape == (64, 40)
    torch.testing.assert_close(audio, log_mel(torch.cat([samples, torch.zeros(3 * 640)])))
    assert fit_audio(samples, 5, "pad").shape == (64, 20)
    assert fit_grid(TimeGrid(0, 0.04, 7), 5, "pad") == TimeGrid(0, 0.04, 5)


def test_squeezing_keeps_the_whole_clip():
    frames = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 96, 96, 3) * 10
    video = fit_video(frames, 4, "squeeze")
    assert (video[0, :, 0, 0] * 255).tolist() == pytest.approx([0, 20, 40, 60])  # nearest
    samples = torch.sin(torch.arange(16 * 640) * 0.05)
    assert fit_audio(samples, 4, "squeeze").shape == (64, 16)
    assert fit_grid(TimeGrid(0, 0.04, 8), 4, "squeeze").end_s == pytest.approx(0.32)


def clip_of_ones(frames, samples, video_start_s=0.0, audio_start_s=0.0):
    images = {BICUBIC: np.ones((frames, 96, 96, 3), np.float32)} if frames else {}
    sound = np.ones(samples, np.float32) if samples else None
    return Clip(Path("x"), 25, 16000, images, video_start_s, sound, audio_start_s)


def test_streams_are_placed_at_their_start():
    """Picture from 0.18 s, sound from 0.1 s: the clock starts with the sound."""
    example = clip_example(clip_of_ones(5, 3200, 0.18, 0.1), VideoRecord("x", "t"), "pad")
    assert example.grid == TimeGrid(0.1, 0.04, 7)
    assert example.frames[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert example.masks[1].tolist() == [False] * 2 + [True] * 5
    assert np.flatnonzero(example.samples)[[0, -1]].tolist() == [0, 3199]
    part = example.window(2, 5)
    assert (part.grid.start_s, part.end_s, len(part.samples)) == (pytest.approx(0.18), pytest.approx(0.3), 3 * 640)
    assert part.frames.all()
    # A transport stream's clock may start anywhere; that costs no memory.
    assert clip_example(clip_of_ones(5, 3200, 36000.0, 36000.0), VideoRecord("x", "t"), "pad").grid.length == 5


def test_a_part_is_padded_to_a_longer_clock():
    record, grid = VideoRecord("x", "t"), TimeGrid(0.0, 0.04, 7)
    part = clip_example(clip_of_ones(3, 3 * 640, 0.08, 0.08), record, "pad")
    padded = place_on_grid(part, record, grid, "pad")
    assert padded.grid == grid
    assert padded.frames[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert np.flatnonzero(padded.samples)[[0, -1]].tolist() == [2 * 640, 5 * 640 - 1]
    assert padded.masks[1].tolist() == [False] * 2 + [True] * 3 + [False] * 2
    assert place_on_grid(part, record, part.grid, "pad") is part
    empty = place_on_grid(None, record, grid, "squeeze")
    assert empty.frames.dtype == np.uint8
    assert not any(array.any() for array in (empty.frames, empty.samples, *empty.masks))


def test_audio_after_the_last_frame_is_kept():
    long = clip_example(clip_of_ones(5, 40 * 640), VideoRecord("x", "t"), "pad")
    assert long.grid.length == 40
    assert long.masks[0].all()
    assert long.masks[1].tolist() == [True] * 5 + [False] * 35
    assert not long.frames[5:].any()
    usual = clip_example(clip_of_ones(5, 7 * 640), VideoRecord("x", "t"), "pad")  # AAC's last block
    assert usual.grid.length == 5


def test_clips_without_streams_or_too_long():
    with pytest.raises(MediaError, match="has neither a frame nor a sample"):
        clip_example(clip_of_ones(0, 0), VideoRecord("x", "t"), "squeeze")
    with pytest.raises(MediaError, match="do not fit into memory"):
        clip_example(clip_of_ones(5, 640, 0.0, 1e6), VideoRecord("x", "t"), "pad")


def test_segments_are_cut_to_the_used_frames(tmp_path, frames):
    write_mp4(tmp_path / "a.mp4", frames, None)
    record = VideoRecord("a.mp4", "train", None, (), (Segment(0.4, 1.1), Segment(1.12, 1.2)))
    example = ClipDataset([record], tmp_path, longest=20)[0]  # 0.8 s
    assert example.record.segments == (Segment(0.4, pytest.approx(0.8)),)


def test_a_damaged_cached_copy_is_replaced(tmp_path, frames):
    write_mp4(tmp_path / "set" / "a.mp4", frames, None)
    dataset = ClipDataset([VideoRecord("a.mp4", "train")], tmp_path / "set", cache=tmp_path / "cache")
    first = dataset[0]
    (copy,) = (tmp_path / "cache").glob("*.npz")
    copy.write_bytes(copy.read_bytes()[:1000])
    np.testing.assert_array_equal(dataset[0].frames, first.frames)
    assert copy.stat().st_size > 1000


def test_clips_without_audio_or_video_and_their_cache(tmp_path, frames, beep):
    root, cache = tmp_path / "set", tmp_path / "cache"
    write_mp4(root / "a.mp4", frames, beep)
    write_mp4(root / "silent.mp4", frames[:10], None)
    write_mp4(root / "blind.mp4", None, beep)
    records = [VideoRecord(f"{name}.mp4", "train") for name in ("a", "silent", "blind")]
    dataset = ClipDataset(records, root, cache=cache)
    batch = collate_clips([dataset[k] for k in range(3)], 32, "pad")
    assert batch.inputs.video.shape == (3, 3, 32, 96, 96)
    assert batch.inputs.audio.shape == (3, 64, 128)
    assert batch.inputs.n_frames.tolist() == [30, 10, 30 + 1]  # AAC adds a little to the 1.2 s of sound
    assert [grid.length for grid in batch.grids] == [30, 10, 31]
    brightness = batch.inputs.video[0, :, :30].mean(dim=(0, 2, 3)) * 255
    assert brightness.tolist() == pytest.approx([7 * k for k in range(30)], abs=3)
    assert not batch.inputs.video[2].any()
    assert not dataset[1].masks[0].any()
    assert not dataset[2].masks[1].any()
    silence = np.log(0.01)
    assert batch.inputs.audio[1].numpy() == pytest.approx(np.full((64, 128), silence), abs=1e-5)
    loud = batch.inputs.audio[0].max(dim=0).values > silence + 3
    assert np.flatnonzero(loud.numpy())[[0, -1]].tolist() == pytest.approx([50, 59], abs=2)
    again = collate_clips([dataset[k] for k in range(3)], 32, "pad")
    assert len(list(cache.glob("*.npz"))) == 3
    torch.testing.assert_close(again.inputs.video, batch.inputs.video, atol=5e-4, rtol=0)
    torch.testing.assert_close(again.inputs.audio, batch.inputs.audio)
    assert again.inputs.n_frames.tolist() == batch.inputs.n_frames.tolist()
    write_mp4(root / "a.mp4", frames[::-1].copy(), beep)  # a changed clip is decoded again
    assert dataset[0].frames[0].mean() > 0.5
    squeezed = collate_clips([ClipDataset(records, root, fit="squeeze")[0]], 8, "squeeze")
    assert squeezed.inputs.video.shape == (1, 3, 8, 96, 96)
    assert squeezed.inputs.audio.shape == (1, 64, 32)
    assert squeezed.inputs.n_frames.tolist() == [8]
    assert ClipDataset(records, root, longest=12)[0].grid.length == 12


def test_targets_lie_on_the_clock_of_the_input(tmp_path, frames):
    write_mp4(tmp_path / "a.mp4", frames, None)
    record = VideoRecord("a.mp4", "train", None, (), (Segment(0.4, 0.8),))
    example = ClipDataset([record], tmp_path)[0]
    padded = collate_clips([example], 40, "pad", MapTargetMaker(12))
    assert padded.targets.modality_maps[0, 1, 9, 10] == pytest.approx(1)
    squeezed = collate_clips([example], 15, "squeeze", MapTargetMaker(12))  # a step is 0.08 s
    assert squeezed.targets.modality_maps[0, 1, 4, 5] == pytest.approx(1)
    hidden = ClipDataset([VideoRecord("a.mp4", "test", labelled=False)], tmp_path)[0]
    assert collate_clips([hidden], 40, "pad", MapTargetMaker(12)).targets is None


def test_broken_clips_and_wrong_options(tmp_path):
    (tmp_path / "x.mp4").write_text("none")
    broken = [VideoRecord("x.mp4", "t")]
    with pytest.raises(AvlocError, match="cannot be opened as media"):
        ClipDataset(broken, tmp_path)[0]
    with (
        pytest.warns(UserWarning, match="left out: .*cannot be opened"),
        pytest.raises(MediaError, match="none of the 1 clips can be decoded"),
    ):
        _ = ClipDataset(broken, tmp_path, allow_missing=True)[0]
    with pytest.raises(AvlocError, match="leads out of"):
        ClipDataset([VideoRecord("../x.mp4", "t")], tmp_path / "set")[0]
    with pytest.raises(AvlocError, match="want fit of pad, squeeze and longest ≥ 1, got 'fold'"):
        ClipDataset([], tmp_path, fit="fold")
    with pytest.raises(AvlocError, match="where nothing is written; name another cache"):
        ClipDataset([], tmp_path, cache=tmp_path / "cache")


def test_gaps_are_masked_and_stay_filled():
    clip = clip_of_ones(10, 10 * 640)
    clip.gaps["audio"].append(Segment(0.12, 0.2))
    clip.gaps["visual"].append(Segment(0.3, 0.4))
    example = clip_example(clip, VideoRecord("c.mp4", "train"), "pad")
    assert example.masks[0].tolist() == [*[True] * 3, False, False, *[True] * 5]
    assert example.masks[1].tolist() == [*[True] * 7, False, False, False]
    assert example.frames.min() == example.samples.min() == 1
