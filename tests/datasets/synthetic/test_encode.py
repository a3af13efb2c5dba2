from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4, write_wav
from avloc.errors import AvlocError
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import VideoFormat


def test_same_frames_give_the_same_bytes(tmp_path):
    random = np.random.default_rng(0)
    grain = random.integers(90, 160, (40, 96, 96, 3)).astype(np.uint8)
    contents = set()
    for _ in range(6):
        write_mp4(tmp_path / "a.mp4", grain, None)
        contents.add((tmp_path / "a.mp4").read_bytes())
    assert len(contents) == 1


def test_streams_of_a_clip(tmp_path, frames, beep):
    write_mp4(tmp_path / "new" / "a.mp4", frames, np.stack([beep, beep]), fps=30, sample_rate=16_000)
    info = probe(tmp_path / "new" / "a.mp4")
    assert (info.fps, info.frames, info.width, info.height) == (30, 30, 64, 48)
    assert (info.sample_rate, info.channels) == (16_000, 2)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.mp4"]  # no temporary file is left


def test_audio_is_in_place_after_decoding(tmp_path, beep):
    write_mp4(tmp_path / "a.mp4", None, beep)
    assert probe(tmp_path / "a.mp4").width is None
    samples = decode(tmp_path / "a.mp4").samples
    loud = np.flatnonzero(np.abs(samples) > 0.25) / 16_000
    assert loud[0] == pytest.approx(0.5, abs=0.02)
    assert loud[-1] == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), 30])
@pytest.mark.parametrize("video_start_s", [0.0, 0.013, 0.039])
def test_late_picture_keeps_its_place(tmp_path, frames, beep, fps, video_start_s):
    write_mp4(tmp_path / "a.mp4", frames, beep, fps=fps, video_start_s=video_start_s)
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, video_start_s + np.arange(len(frames)) / float(fps), atol=1e-5)
    clip = decode(tmp_path / "a.mp4", [VideoFormat(16, 16, "gray")])
    assert clip.video_start_s == pytest.approx(video_start_s, abs=1e-3)
    lag = np.argmax(np.correlate(clip.samples[7000:11000], beep[7100:10900], "valid"))
    assert lag == 100


def test_picture_before_the_sound_is_refused(tmp_path, frames, beep):
    with pytest.raises(ValueError, match="video_start_s must not be negative, got -0.01"):
        write_mp4(tmp_path / "a.mp4", frames, beep, video_start_s=-0.01)


def test_clip_without_audio(tmp_path, frames):
    write_mp4(tmp_path / "a.mp4", frames[:3], None)
    info = probe(tmp_path / "a.mp4")
    assert (info.frames, info.sample_rate) == (3, None)


def test_folder_in_place_of_the_file(tmp_path, frames):
    with pytest.raises(AvlocError, match="is a folder, want the name of a file to write"):
        write_mp4(tmp_path, frames, None)


def test_a_wav_holds_the_samples(tmp_path, beep):
    write_wav(tmp_path / "new" / "a.wav", beep, 16_000)
    clip = decode(tmp_path / "new" / "a.wav")
    assert len(clip.samples) == len(beep)
    assert np.abs(clip.samples - beep).max() < 1 / 32000
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.wav"]
